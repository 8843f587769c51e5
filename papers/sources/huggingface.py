"""Hugging Face Daily Papers: `GET /api/daily_papers?date=…`, archives of its answers, one paper.

Its fields came and went twenty times in two years: unknown ones are ignored, and all but an id,
a title and a date may be absent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from urllib.parse import quote, urlencode

from papers.records import (
    PaperRecord,
    Parsed,
    SavedDay,
    SourceFormatError,
    arxiv_id,
    count,
    moment,
    one_line,
    paragraphs,
    web_url,
)

MAX_NAME_LENGTH = 200
MAX_POSITION = 32_767  # a small integer column


class HuggingFace:
    page_size = 100  # the most it gives; its own default of 50 cuts long days

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def url_for(self, day: date, page: int) -> str:
        query = {"date": day.isoformat(), "limit": self.page_size, "p": page}
        return f"{self.base_url}/api/daily_papers?{urlencode(query)}"

    def parse(self, body: bytes) -> Parsed:
        """A JSON list of entries, bare or wrapped as the archive's lines are."""
        answer = _json(body)
        if not isinstance(answer, list):
            raise SourceFormatError(f"a list was expected, there came {_shown(answer)}")
        return _parsed(answer)

    def url_for_paper(self, arxiv_id: str) -> str:
        return f"{self.base_url}/api/papers/{quote(arxiv_id)}"

    def parse_paper(self, body: bytes) -> PaperRecord:
        """An entry's inner object without the outer one; it does not say how many comments."""
        try:
            return _record(_json(body), position=1)
        except ValueError as error:
            raise SourceFormatError(f"no paper: {error}") from None

    def parse_file(self, body: bytes) -> list[SavedDay]:
        """A saved answer is one day; an archive is JSON lines of {date, captured_at, entry}.

        Lines of an archive that belong to no day are the problems of a last day of None.
        """
        if not body.lstrip().startswith(b"["):
            return _archive(body)
        parsed = self.parse(body)
        listed_on = {record.listed_at and record.listed_at.date() for record in parsed.records}
        return [SavedDay(listed_on.pop() if len(listed_on) == 1 else None, None, parsed)]


def _archive(body: bytes) -> list[SavedDay]:
    items: dict[date, list[Any]] = {}
    read_at: dict[date, datetime] = {}
    problems: list[str] = []
    for number, line in enumerate(body.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = _json(line)
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
    days = [SavedDay(day, read_at.get(day), _parsed(items[day])) for day in items]
    if problems:
        days.append(SavedDay(None, None, Parsed((), tuple(problems), len(problems))))
    return days


def _day(item: Any) -> date:
    try:
        return date.fromisoformat(item["date"])
    except (TypeError, KeyError, ValueError):
        raise SourceFormatError(f"no line with a date, but {_shown(item)}") from None


def _parsed(items: Sequence[Any]) -> Parsed:
    records: list[PaperRecord] = []
    problems: list[str] = []
    for number, item in enumerate(items, start=1):
        entry, position = _unwrapped(item, number)
        try:
            records.append(_record(entry, position=position))
        except ValueError as error:
            problems.append(f"entry {number}: {error}")
    return Parsed(tuple(records), tuple(problems), len(items))


def _unwrapped(item: Any, number: int) -> tuple[Any, int]:
    """The entry and its place, out of a line of the archive if it is one."""
    if not isinstance(item, dict) or "entry" not in item:
        return item, number
    return item["entry"], min(count(item.get("rank")) or number, MAX_POSITION)


def _record(entry: Any, *, position: int) -> PaperRecord:
    """Raises ValueError where it is no paper: without an id, a title or any date."""
    outer = _object(entry)
    paper = _object(outer.get("paper", outer))
    if not one_line(paper.get("id")):
        raise ValueError(f"without an id: {_shown(entry)}")
    paper_id = arxiv_id(one_line(paper["id"]))
    title = one_line(paper.get("title")) or one_line(outer.get("title"))
    # The outer publishedAt is New York clock time written with a Z: the last resort.
    listed_at = moment(paper.get("submittedOnDailyAt"))
    published_at = moment(paper.get("publishedAt")) or listed_at or moment(outer.get("publishedAt"))
    if not title or published_at is None:
        raise ValueError(f"{paper_id} without a {'date' if title else 'title'}")
    return PaperRecord(
        arxiv_id=paper_id,
        title=title,
        abstract=paragraphs(paper.get("summary")) or paragraphs(outer.get("summary")),
        tldr=one_line(paper.get("ai_summary")),
        authors=_names(paper.get("authors")),
        organization=_organization(paper) or _organization(outer),
        keywords=_words(paper.get("ai_keywords")),
        published_at=published_at,
        listed_at=listed_at,
        project_url=web_url(paper.get("projectPage")),
        code_url=web_url(paper.get("githubRepo")),
        upvotes=count(paper.get("upvotes")),
        comments=count(outer.get("numComments")),
        stars=count(paper.get("githubStars")),
        withdrawn=bool(paper.get("withdrawnAt")),
        position=position,
    )


def _names(authors: Any) -> tuple[str, ...]:
    """The authors in order. `hidden` ones too: they hide their profile, they wrote the paper."""
    found = (_object(author).get("name") for author in _list(authors))
    names = (one_line(name)[:MAX_NAME_LENGTH] for name in found)
    return tuple(name for name in names if name)


def _organization(holder: dict[str, Any]) -> str:
    organization = _object(holder.get("organization"))
    name = one_line(organization.get("fullname")) or one_line(organization.get("name"))
    return name[:MAX_NAME_LENGTH]


def _words(values: Any) -> tuple[str, ...]:
    words = (one_line(value)[:MAX_NAME_LENGTH] for value in _list(values))
    return tuple(dict.fromkeys(word for word in words if word))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        start = body[:80].decode("utf-8", "replace")
        raise SourceFormatError(f"no JSON: {one_line(start)!r}") from None


def _shown(value: Any) -> str:
    return one_line(json.dumps(value, ensure_ascii=False))[:120]
