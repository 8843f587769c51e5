"""What a parser saw: the same shape from every source, and the cleaning that all of them share.

Everything a source says is foreign text. It is cleaned here of what no page or mail can carry;
it is not escaped, that is the templates' work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

MAX_URL_LENGTH = 500
MAX_TEXT_LENGTH = 20_000  # arXiv takes abstracts of 1,920 characters
MAX_NAMES = 10_000  # the longest list of authors on arXiv has about 5,000
MAX_COUNT = 2_147_483_647  # what a database's integer column holds
ENOUGH_TO_MISS = 5  # items without a field, before it counts as gone

# Control characters and lone surrogates, which XML, PostgreSQL or UTF-8 refuse, and the
# direction overrides with which a title could rewrite the line it stands in.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_PARAGRAPH = re.compile(r"\n(?:[ \t]*\n|[ \t]{2,})")
_ID_PREFIX = re.compile(
    r"^(?:arxiv:\s*|(?:https?://)?(?:www\.|export\.)?arxiv\.org/(?:abs|pdf|html)/"
    r"|(?:https?://)?(?:www\.)?huggingface\.co/papers/|(?:https?://)?(?:dx\.)?doi\.org/10\.48550/arxiv\.)",
    re.IGNORECASE,
)
_ID_SUFFIX = re.compile(r"(?:v\d+)?(?:\.pdf)?/?$", re.IGNORECASE)
_NEW_ID = re.compile(r"\d{4}\.\d{4,5}", re.ASCII)
_OLD_ID = re.compile(r"([a-z]+(?:-[a-z]+)?)(?:\.[a-z]{2})?/(\d{7})", re.ASCII)


@dataclass(frozen=True, slots=True)
class PaperRecord:
    """One paper as one reading of a source showed it.

    `upvotes`, `comments`, `citations` and `version` are None where the source did not say, which
    is not zero. `position` is the place in the source's list, from 1. Without `is_listed` the
    source only mentions it, as a replacement: it may improve a stored paper, and is nobody's news.
    Without `is_dated` it does not say when the paper appeared: `published_at` is a bound, which
    fills what is empty and corrects nothing. `submitter` is whoever put it on the list, as a
    hash of 16 hex digits; who they are is nobody's business here.
    """

    arxiv_id: str
    title: str
    published_at: datetime
    position: int
    abstract: str = ""
    tldr: str = ""
    authors: tuple[str, ...] = ()
    organization: str = ""
    categories: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    listed_at: datetime | None = None
    project_url: str = ""
    code_url: str = ""
    upvotes: int | None = None
    comments: int | None = None
    stars: int | None = None
    citations: int | None = None
    version: int | None = None
    withdrawn: bool = False
    is_listed: bool = True
    is_dated: bool = True
    submitter: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One answer: what could be read, what could not, and how many items there were.

    next_url: where the list goes on, as far as this answer tells; empty at its end.
    day: the UTC day, or the first one of the period, that the answer says it is of; None where it
    does not say.
    expected: how many items there are on all pages, where the answer says so.
    unknown: fields that the reader does not know -> in how many items they came.
    vanished: fields that were expected, and that no item had, of at least ENOUGH_TO_MISS.
    """

    records: tuple[PaperRecord, ...]
    problems: tuple[str, ...]
    size: int
    next_url: str = ""
    day: date | None = None
    expected: int | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedDay:
    """One day of a saved file; `day` and `read_at` are None where the file does not say."""

    day: date | None
    read_at: datetime | None
    parsed: Parsed


class SourceFormatError(Exception):
    """The answer as a whole is not what the source should send. Says what came instead."""


def arxiv_id(text: str) -> str:
    """The canonical id in an id or a link to a paper: no version, no prefix, no subject class.

    `arXiv:2512.08765v2` is 2512.08765; `math.CA/0611800` is math/0611800. Says nothing about
    whether such a paper exists. Raises ValueError.
    """
    rest = text.strip().partition("#")[0].partition("?")[0]
    rest = _ID_SUFFIX.sub("", _ID_PREFIX.sub("", rest))
    if _NEW_ID.fullmatch(rest) and 1 <= int(rest[2:4]) <= 12:
        return rest
    if old := _OLD_ID.fullmatch(rest.lower()):
        return f"{old[1]}/{old[2]}"
    raise ValueError(f"not an arXiv id or a link to one: {text[:80]!r}")


def one_line(value: Any) -> str:
    """The text with its white space collapsed; empty where `value` is not text."""
    return " ".join(_printable(value).split())


def paragraphs(value: Any) -> str:
    """The text with its hard wrapping undone; paragraphs stay, parted by an empty line.

    arXiv marks a paragraph by a line break followed by two spaces, before and after the change
    of its API in November 2025.
    """
    text = _printable(value).replace("\r\n", "\n").replace("\r", "\n").strip()
    parts = (" ".join(part.split()) for part in _PARAGRAPH.split(text))
    return "\n\n".join(part for part in parts if part)


def web_url(value: Any) -> str:
    """The address if it is an http(s) one that can be stored, else empty."""
    url = value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return ""
    has_gap = any(character.isspace() for character in url) or _UNPRINTABLE.search(url)
    return url if is_web and not has_gap and len(url) <= MAX_URL_LENGTH else ""


def moment(value: Any) -> datetime | None:
    """The ISO 8601 text as an aware UTC time; without a zone it is taken as UTC. Else None."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value.strip())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def count(value: Any) -> int | None:
    """A count from 0 to MAX_COUNT, also from "1,234"; None where there is none."""
    if isinstance(value, str) and value.replace(",", "").isdecimal():
        value = int(value.replace(",", "")[:12])
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return min(max(value, 0), MAX_COUNT)


def _printable(value: Any) -> str:
    """What is longer than any text may be is cut."""
    return _UNPRINTABLE.sub("", value[:MAX_TEXT_LENGTH]) if isinstance(value, str) else ""
