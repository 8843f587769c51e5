"""The same work from several sources -> one paper: whose word counts for which field.

What a paper is comes from the archive that holds it, what is thought of it from where it is talked
about. A source that knows better takes a field over and keeps it; an empty value erases nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from .records import PaperRecord

EASTERN = ZoneInfo("America/New_York")

HUGGINGFACE, ARXIV, SEMANTIC_SCHOLAR = "huggingface", "arxiv", "semantic_scholar"

_ARCHIVE = (ARXIV, HUGGINGFACE, SEMANTIC_SCHOLAR)
_COMMUNITY = (HUGGINGFACE, ARXIV, SEMANTIC_SCHOLAR)

# Field -> slugs of the sources, the best first. A source that is not named comes after these.
WINS: Mapping[str, tuple[str, ...]] = {
    "title": _ARCHIVE,
    "abstract": _ARCHIVE,
    "authors": _ARCHIVE,
    "categories": _ARCHIVE,
    "published_at": _ARCHIVE,
    "version": _ARCHIVE,
    "tldr": (HUGGINGFACE, SEMANTIC_SCHOLAR, ARXIV),
    "keywords": _COMMUNITY,
    "organization": _COMMUNITY,
    "project_url": _COMMUNITY,
    "code_url": _COMMUNITY,
    "upvotes": (HUGGINGFACE,),
    "comments": (HUGGINGFACE,),
    "stars": _COMMUNITY,
    "citations": (SEMANTIC_SCHOLAR,),
}

# Counts that move all the time and leave no trace; of votes, Signals are the history.
COUNTS = frozenset({"upvotes", "comments", "stars", "citations"})

MERGED = (*WINS, "withdrawn_at", "read_from")
_OF_A_VERSION = frozenset({"title", "abstract", "authors"})
_SHOWN_IN_MAIL = (
    "title", "abstract", "tldr", "authors", "organization", "project_url", "code_url",
)  # fmt: skip


class Stored(Protocol):
    """A paper's row, and its fields by the names in `MERGED`."""

    content_hash: str
    encoder: str
    vector: Any
    meaning_by: str
    meaning: Any
    read_from: Any
    version: Any
    withdrawn_at: Any


@dataclass(frozen=True, slots=True)
class Change:
    """What a reading changed of a paper: the field and its values, None where it had none."""

    field: str
    before: Any
    after: Any

    @property
    def is_traced(self) -> bool:
        return self.field not in COUNTS


def has_votes(source: str) -> bool:
    """Whether its readers vote: what it lists stands on the front page, and grows all day."""
    return source in WINS["upvotes"]


def apply(
    record: PaperRecord, paper: Stored, *, source: str, now: datetime, is_stale: bool
) -> list[Change]:
    """Merges the record into the row and says what that changed; saves nothing.

    source: slug. now: when we learnt of a withdrawal, which is final. is_stale: the source has
    said something later already, so that this only fills what is empty. `read_from`, the vectors
    and the content hash follow.
    """
    kept = _only_filled(record, paper)
    changes = []
    for field in WINS:
        value = _as_stored(getattr(record, field))
        before = getattr(paper, field)
        if _is_empty(value) or (field in kept and not _is_empty(before)):
            continue
        if _replaces(field, value, before, source=source, paper=paper, is_stale=is_stale):
            if field != "published_at" or record.is_dated:
                paper.read_from[field] = source
            if value != before:
                setattr(paper, field, value)
                changes.append(Change(field, before, value))
    if record.withdrawn and paper.withdrawn_at is None:
        paper.withdrawn_at = now
        changes.append(Change("withdrawn_at", None, now))
    _follow(paper, {change.field for change in changes})
    return changes


def content_hash(paper: object) -> str:
    """Of all that a mail shows of the paper."""
    shown = json.dumps([getattr(paper, name) for name in _SHOWN_IN_MAIL])
    return hashlib.blake2b(shown.encode(), digest_size=16).hexdigest()


def _only_filled(record: PaperRecord, paper: Stored) -> set[str]:
    """Fields in which this record corrects nothing, whoever says it."""
    fields: set[str] = set()
    if (record.version or paper.version or 0) < (paper.version or 0):
        fields |= _OF_A_VERSION
    if not record.is_dated:
        fields.add("published_at")
    return fields


def _replaces(
    field: str, value: Any, before: Any, *, source: str, paper: Stored, is_stale: bool
) -> bool:
    if _is_empty(before):
        return True
    if field == "version":
        return bool(value > before)
    is_as_good = _place(field, source) <= _place(field, paper.read_from.get(field))
    if field == "published_at":
        if field not in paper.read_from:
            return True  # so far a bound
        return _is_better_moment(value, before, is_preferred=is_as_good and not is_stale)
    return is_as_good and not is_stale


def _place(field: str, source: str | None) -> int:
    """Among those with a word on the field, from 0; nobody comes after everybody."""
    order = WINS[field]
    if source is None:
        return len(order) + 1
    return order.index(source) if source in order else len(order)


def _is_better_moment(value: datetime, before: datetime, *, is_preferred: bool) -> bool:
    """A moment before a bare date, whoever says it. Of two dates the earlier: an announcement bears
    its own, and no first version is later than that.
    """
    if _is_date(value) != _is_date(before):
        return _is_date(before)
    return value < before if _is_date(value) else is_preferred


def _is_date(moment: datetime) -> bool:
    """Midnight in UTC, or in New York, where arXiv and its feeds begin a day."""
    return time() in (moment.astimezone(UTC).time(), moment.astimezone(EASTERN).time())


def _follow(paper: Stored, changed: set[str]) -> None:
    if changed & {"title", "abstract"}:
        paper.encoder, paper.vector = "", b""
        paper.meaning_by, paper.meaning = "", b""
    if not changed.isdisjoint(_SHOWN_IN_MAIL) or not paper.content_hash:
        paper.content_hash = content_hash(paper)


def _as_stored(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _is_empty(value: object) -> bool:
    return value is None or value in ("", [])
