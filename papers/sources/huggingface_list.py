"""A list of entries of Daily Papers -> records.

Shared by the API's answers, its archives and the page.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from papers.records import PaperRecord, Parsed, SourceFormatError, count, one_line
from papers.sources.huggingface_entry import read_entry
from papers.sources.huggingface_fields import most_frequent, unknown_fields, vanished
from papers.sources.protocol import View


def read_json(text: bytes | str) -> Any:
    """Raises SourceFormatError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        start = text[:80].decode("utf-8", "replace") if isinstance(text, bytes) else text[:80]
        raise SourceFormatError(f"no JSON: {one_line(start)!r}") from None


def read_entries(items: Sequence[Any], view: View = View.DAY) -> Parsed:
    """The entries of a list, bare or wrapped as an archive's lines are.

    `day` is where their own word for it, submittedOnDailyAt, is the same for all; without a view
    of a period there is none. A field has vanished also where none of its values can be read.
    """
    records: list[PaperRecord] = []
    problems: list[str] = []
    unknown: Counter[str] = Counter()
    entries = [_entry(item) for item in items]
    for number, (item, entry) in enumerate(zip(items, entries, strict=True), start=1):
        unknown.update(unknown_fields(entry))
        try:
            records.append(read_entry(entry, position=_rank(item) or number))
        except ValueError as error:
            problems.append(f"entry {number}: {error}")
    days = {first_day(each.listed_at.date(), view) for each in records if each.listed_at}
    return Parsed(
        tuple(records),
        tuple(problems),
        len(items),
        day=days.pop() if len(days) == 1 else None,
        unknown=most_frequent(unknown),
        vanished=vanished(entries),
    )


def first_day(day: date, view: View) -> date | None:
    """The day that stands for the period of that view with `day` in it."""
    match view:
        case View.DAY:
            return day
        case View.WEEK:
            return day - timedelta(days=day.weekday())
        case View.MONTH:
            return day.replace(day=1)
        case _:
            return None


def _entry(item: Any) -> Any:
    """Out of an archive's line, and with an envelope where it came without."""
    entry = item["entry"] if isinstance(item, dict) and "entry" in item else item
    is_bare = isinstance(entry, dict) and "paper" not in entry and "id" in entry
    return {"paper": entry} if is_bare else entry


def _rank(item: Any) -> int | None:
    return count(item.get("rank")) if isinstance(item, dict) and "entry" in item else None
