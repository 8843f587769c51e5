"""Saved answers of the API, and archives of them.

An archive is JSON lines of {date, captured_at, rank, entry}: the day that was asked for, when, the
place in the answer, and an entry as it came.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any

from papers.records import Parsed, SavedDay, SourceFormatError, moment
from papers.sources.huggingface_entry import shown
from papers.sources.huggingface_list import read_entries, read_json


def read_file(body: bytes) -> list[SavedDay]:
    """The days of either. Lines of an archive that belong to no day are the problems of a last day
    of None. Raises SourceFormatError.
    """
    if not body.lstrip().startswith(b"["):
        return _archive(body)
    answer = read_json(body)
    parsed = _of_the_past(answer if isinstance(answer, list) else [answer])
    return [SavedDay(parsed.day, None, parsed)]


def _archive(body: bytes) -> list[SavedDay]:
    items: dict[date, list[Any]] = {}
    read_at: dict[date, datetime] = {}
    problems: list[str] = []
    for number, line in enumerate(body.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = read_json(line)
            day = _day(item)
        except SourceFormatError as error:
            problems.append(f"line {number}: {error}")
            continue
        items.setdefault(day, []).append(item)
        if captured_at := moment(item.get("captured_at")):
            read_at[day] = max(read_at.get(day, captured_at), captured_at)
    if not items:
        no_list = "it is no list of papers, nor JSON lines with a date each"
        raise SourceFormatError(f"{no_list} ({problems[0]})" if problems else "it is empty")
    days = [SavedDay(day, read_at.get(day), _of_the_past(items[day])) for day in items]
    if problems:
        days.append(SavedDay(None, None, Parsed((), tuple(problems), len(problems))))
    return days


def _day(item: Any) -> date:
    try:
        return date.fromisoformat(item["date"])
    except (TypeError, KeyError, ValueError):
        raise SourceFormatError(f"no line with a date, but {shown(item)}") from None


def _of_the_past(items: list[Any]) -> Parsed:
    """A field that had not come yet has not vanished."""
    return replace(read_entries(items), vanished=())
