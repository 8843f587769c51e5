"""What arXiv's three interfaces share: XML from strangers, read item by item, and its vocabulary.

No DTD, no entity, no address in a document is followed (defusedxml), and no more of it is held
than one item.
"""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, iterparse

from papers.records import (
    ENOUGH_TO_MISS,
    PaperRecord,
    Parsed,
    SourceFormatError,
    arxiv_id,
    moment,
    one_line,
)
from papers.sources.protocol import View

ATOM = "{http://www.w3.org/2005/Atom}"
ARXIV = "{http://arxiv.org/schemas/atom}"
PACE_SECONDS = 3.0  # terms of use of its APIs: over all machines together

MAX_DEPTH = 32
MAX_ELEMENTS = 100_000  # of one item: 5,000 authors take 20,000
MAX_ITEMS = 10_000  # of one answer; arXiv gives at most 2,000
MAX_FIELDS = 50

_CATEGORY = re.compile(r"[a-z]+(?:-[a-z]+)*(?:\.[A-Za-z]+(?:-[a-z]+)*)?", re.ASCII)
_CONTROLS = bytes(range(9)) + b"\x0b\x0c" + bytes(range(14, 32))
# The archives that gave old ids, cs/9901001; no other one ever will.
_OLD_ARCHIVES = frozenset({
    "acc-phys", "adap-org", "alg-geom", "ao-sci", "astro-ph", "atom-ph", "bayes-an", "chao-dyn",
    "chem-ph", "cmp-lg", "comp-gas", "cond-mat", "cs", "dg-ga", "funct-an", "gr-qc", "hep-ex",
    "hep-lat", "hep-ph", "hep-th", "math", "math-ph", "mtrl-th", "nlin", "nucl-ex", "nucl-th",
    "patt-sol", "physics", "plasm-ph", "q-alg", "q-bio", "quant-ph", "solv-int", "supr-con",
})  # fmt: skip
_VERSION = re.compile(r"v(\d{1,4})(?:\.pdf)?/?\Z", re.ASCII)


def elements(body: bytes, inside: Collection[tuple[str, ...]]) -> Iterator[Element]:
    """The children of the elements at these paths, each once it is whole, then forgotten.

    inside: paths of tags from the root on. Raises SourceFormatError, also in mid-iteration.
    """
    try:
        yield from _children(body, frozenset(inside))
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        # LookupError and ValueError: encodings that do not exist or that the parser cannot read.
        reason = one_line(str(error))[:120]
        shown = one_line(body[:80].decode("utf-8", "replace"))
        raise SourceFormatError(f"no XML: {shown!r} ({reason})") from None


def _children(body: bytes, inside: frozenset[tuple[str, ...]]) -> Iterator[Element]:
    roots = {path[0] for path in inside}
    depths = {len(path) for path in inside}
    path: list[str] = []
    parents: list[Element] = []
    count = given = 0
    for event, element in iterparse(*_input(body)):
        if event == "start":
            if not path and element.tag not in roots:
                raise SourceFormatError(f"no list of papers, but <{local(element.tag)[:80]}>")
            path.append(element.tag)
            parents.append(element)
            count += 1
            if len(path) > MAX_DEPTH or count > MAX_ELEMENTS:
                raise SourceFormatError("elements without end")
            continue
        path.pop()
        parents.pop()
        if len(path) in depths and tuple(path) in inside:
            yield element
            del parents[-1][:]
            count, given = 0, given + 1
            if given > MAX_ITEMS:
                raise SourceFormatError(f"more than {MAX_ITEMS} items")


def _input(body: bytes) -> tuple[BytesIO, tuple[str, ...], Any]:
    """arXiv writes UTF-8, whatever is declared, now and then with characters that XML forbids."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return BytesIO(body), ("start", "end"), DefusedXMLParser(forbid_dtd=True)
    parser = DefusedXMLParser(encoding="utf-8", forbid_dtd=True)
    return BytesIO(body.translate(None, _CONTROLS)), ("start", "end"), parser


@dataclass(slots=True)
class Reading:
    """An answer while it is read: records and problems, and which fields came.

    known: names of an item's children. expected: those of them that every answer has.
    """

    known: Collection[str]
    expected: Collection[str]
    records: list[PaperRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    size: int = 0
    _came: Counter[str] = field(default_factory=Counter)

    def take(self, item: Element, read: Callable[[Element, int], PaperRecord]) -> None:
        self.size += 1
        self._came.update({local(child.tag) for child in item})
        try:
            self.records.append(read(item, self.size))
        except ValueError as error:
            self.problems.append(f"entry {self.size}: {error}")

    def parsed(self, **more: Any) -> Parsed:
        strange = {name: n for name, n in self._came.items() if name not in self.known}
        missing = sorted(name for name in self.expected if name not in self._came)
        return Parsed(
            tuple(self.records),
            tuple(self.problems),
            self.size,
            unknown=dict(Counter(strange).most_common(MAX_FIELDS)),
            vanished=tuple(missing) if self.size >= ENOUGH_TO_MISS else (),
            **more,
        )


def record(paper_id: str, title: str, published_at: datetime | None, **more: Any) -> PaperRecord:
    """Raises ValueError where it is no paper: without a title or a date."""
    if not title or published_at is None:
        raise ValueError(f"{paper_id} without a {'date' if title else 'title'}")
    return PaperRecord(arxiv_id=paper_id, title=title, published_at=published_at, **more)


def local(tag: str) -> str:
    """The name without its namespace."""
    return tag.rpartition("}")[2][:80]


def text(element: Element | None) -> str:
    """All text in it, as it stands; empty where there is none."""
    return "".join(element.itertext()) if element is not None else ""


def line(element: Element | None) -> str:
    """All text in it as one line."""
    return one_line(text(element))


def categories(found: Iterable[str]) -> tuple[str, ...]:
    """arXiv's categories in their order, the primary one first; ACM's and MSC's left out."""
    kept = (name for name in found if len(name) <= 40 and _CATEGORY.fullmatch(name))
    return tuple(dict.fromkeys(kept))


def version(identifier: str) -> int | None:
    """2 of `http://arxiv.org/abs/2409.12034v2`; None where the id has none."""
    found = _VERSION.search(identifier.strip())
    return int(found[1]) or None if found else None


def instant(value: str) -> datetime | None:
    """RFC 2822's or ISO 8601's moment, in UTC; None where it is neither or long before arXiv."""
    try:
        at = moment(parsedate_to_datetime(value).isoformat())
    except (ValueError, TypeError, IndexError, OverflowError):
        at = moment(value)
    return at if at is not None and 1980 <= at.year < 9999 else None


def first_appeared(paper_id: str, said: datetime | None) -> datetime | None:
    """When its first version appeared, by a date that may be that of a later one.

    A date more than a week after the month in the id is not the first version's: then it is that
    month's last day, so that whoever knows better knows an earlier one.
    """
    year, month = _month(paper_id)
    if not 1 <= month <= 12:
        return said
    last = datetime(year, month, calendar.monthrange(year, month)[1], tzinfo=UTC)
    return last if said is None or said > last + timedelta(days=8) else said


def askable(name: str) -> str:
    """The canonical id where arXiv takes it for one, else empty. Of others, one spoils a call."""
    try:
        known = arxiv_id(name)
    except ValueError:
        return ""
    archive, slash, _number = known.partition("/")
    may_exist = not slash or (archive in _OLD_ARCHIVES and 1 <= _month(known)[1] <= 12)
    return known if may_exist else ""


def refuse(view: View, names: Collection[str]) -> None:
    """Raises ValueError where arXiv has no such list: announcements are of a day, in categories."""
    if view != View.DAY:
        raise ValueError(f"arXiv has no list of a {view.value}")
    if not names:
        raise ValueError("no category to read: set ARXIV_CATEGORIES")


def _month(paper_id: str) -> tuple[int, int]:
    """The year and month in which the canonical id was given.

    https://info.arxiv.org/help/arxiv_identifier.html
    """
    digits = paper_id.rpartition("/")[2]
    year = int(digits[:2])
    return (1900 if year >= 91 else 2000) + year, int(digits[2:4])
