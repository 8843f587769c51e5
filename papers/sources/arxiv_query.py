"""arXiv's query API: papers by their ids, and a missed day by when its papers were submitted.

Two shapes of Atom: before and after arXiv rewrote it in November 2025, with namespaces on the root,
other links, another order and abstracts that are no longer wrapped. Read by namespace, both are one
(https://info.arxiv.org/help/api/user-manual.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree.ElementTree import Element

from papers.records import PaperRecord, Parsed, SourceFormatError, arxiv_id, count, paragraphs
from papers.sources import arxiv_xml as xml
from papers.sources.arxiv_names import is_withdrawn, names
from papers.sources.arxiv_schedule import submitted_for
from papers.sources.protocol import View

SLICE = 500  # of at most 2,000 a call; its answers of that size often time out
MOST_CATEGORIES = 60  # in one address

_KNOWN = frozenset({
    "id", "title", "updated", "published", "link", "summary", "category", "comment",
    "primary_category", "journal_ref", "author", "doi",
})  # fmt: skip
_EXPECTED = frozenset({"id", "title", "published", "summary", "category", "author"})
# Archives that are no categories themselves: `cat:` wants them with a wildcard.
_ARCHIVES = ("astro-ph", "cond-mat", "cs", "econ", "eess", "math", "nlin", "physics", "q-bio",
             "q-fin", "stat")  # fmt: skip
_ASKED = re.compile(r"cat:([a-zA-Z.-]+[a-zA-Z])")
_TOTAL = "{http://a9.com/-/spec/opensearch/1.1/}totalResults"


class ArXivQuery:
    name: ClassVar[str] = "arxiv_query"
    settings: ClassVar[tuple[str, ...]] = ("ARXIV_URL", "ARXIV_CATEGORIES")
    views: ClassVar[frozenset[View]] = frozenset({View.DAY})
    pace_seconds: ClassVar[float] = xml.PACE_SECONDS
    accept: ClassVar[str] = "application/atom+xml, application/xml;q=0.5"
    most_ids: ClassVar[int] = 100

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.base_url = config.get("ARXIV_URL", "")
        self.categories = sorted(xml.categories(config.get("ARXIV_CATEGORIES", ())))

    def url_for(self, day: date, view: View = View.DAY) -> str:
        """New submissions alone: it does not know which old papers were cross-listed that day.

        Raises ValueError on a day without announcements, a Saturday or Sunday.
        """
        xml.refuse(view, self.categories)
        since, until = submitted_for(day)
        window = f"[{since:%Y%m%d%H%M} TO {until - timedelta(minutes=1):%Y%m%d%H%M}]"
        return self._day_url(self.categories[:MOST_CATEGORIES], window)

    def parse(self, body: bytes, url: str) -> Parsed:
        reading, total = _read(body)
        query = dict(parse_qsl(urlsplit(url).query))
        start = count(query.get("start")) or 0
        if total is not None and not reading.size and total > start:
            raise SourceFormatError(f"no entries after {start}, though there are {total} results")
        end = start + reading.size
        has_more = total is not None and end < total
        next_url = self._url(**query | {"start": end}) if has_more else self._next(query)
        return reading.parsed(next_url=next_url, expected=total)

    def url_for_papers(self, arxiv_ids: Sequence[str]) -> str:
        """Ids that cannot be are not asked for, as a single one would spoil the whole answer.

        Raises ValueError where none is left.
        """
        asked = [known for name in arxiv_ids if (known := xml.askable(name))]
        if not asked:
            raise ValueError(f"no arXiv id: {', '.join(arxiv_ids)[:200]}")
        return self._url(id_list=",".join(asked), start=0, max_results=len(asked))

    def parse_papers(self, body: bytes, url: str) -> Parsed:
        reading, total = _read(body)
        # Of one unknown id alone arXiv says that there is one result, and gives none.
        if not reading.size and total is not None and total > 1:
            raise SourceFormatError(f"no entries, though there are {total} results")
        return reading.parsed()

    def _day_url(self, names: Sequence[str], window: str) -> str:
        in_any = " OR ".join(f"cat:{name}{'.*' * (name in _ARCHIVES)}" for name in names)
        return self._url(
            search_query=f"({in_any}) AND submittedDate:{window}",
            sortBy="submittedDate",
            sortOrder="ascending",
            start=0,
            max_results=SLICE,
        )

    def _next(self, query: Mapping[str, str]) -> str:
        """The first slice of the categories after those asked for; empty after the last one."""
        asked = _ASKED.findall(query.get("search_query", ""))
        later = [name for name in self.categories if asked and name > asked[-1]]
        window = query.get("search_query", "").rpartition("submittedDate:")[2]
        return self._day_url(later[:MOST_CATEGORIES], window) if later else ""

    def _url(self, **query: str | int) -> str:
        return f"{self.base_url}/api/query?{urlencode(query, safe=',:/*')}"


def _read(body: bytes) -> tuple[xml.Reading, int | None]:
    reading = xml.Reading(_KNOWN, _EXPECTED)
    total, is_feed = None, False
    for element in xml.elements(body, [(f"{xml.ATOM}feed",)]):
        is_feed = True
        if element.tag == _TOTAL:
            total = count(xml.line(element))
        elif element.tag == f"{xml.ATOM}entry":
            if "/api/errors" in xml.text(element.find(f"{xml.ATOM}id")):
                said = xml.line(element.find(f"{xml.ATOM}summary"))
                raise SourceFormatError(f"arXiv says: {said[:200] or 'Error'}")
            # Where a paper is unknown, an entry without any may stand for it.
            if xml.text(element.find(f"{xml.ATOM}id")).strip():
                reading.take(element, _record)
    if not is_feed:
        raise SourceFormatError("an empty feed")
    return reading, total


def _record(entry: Element, position: int) -> PaperRecord:
    """Raises ValueError where it is no paper: without an id, a title or a date."""
    identifier = xml.line(entry.find(f"{xml.ATOM}id"))
    paper_id = arxiv_id(identifier)
    abstract = paragraphs(xml.text(entry.find(f"{xml.ATOM}summary")))
    return xml.record(
        paper_id,
        xml.line(entry.find(f"{xml.ATOM}title")),
        xml.instant(xml.line(entry.find(f"{xml.ATOM}published"))),
        abstract=abstract,
        authors=names(xml.text(name) for name in entry.findall(f"{xml.ATOM}author/{xml.ATOM}name")),
        categories=xml.categories(_terms(entry)),
        version=xml.version(identifier),
        withdrawn=is_withdrawn(xml.text(entry.find(f"{xml.ARXIV}comment")), abstract),
        position=position,
    )


def _terms(entry: Element) -> Iterator[str]:
    primary = entry.findall(f"{xml.ARXIV}primary_category")
    for category in [*primary, *entry.findall(f"{xml.ATOM}category")]:
        yield category.get("term", "")
