"""arXiv's announcements: `GET /rss/cs.AI+cs.LG`, one feed of one announcement day.

RSS rather than Atom: only its `pubDate` says which day it is of, also when it is empty. The feed is
made anew at midnight Eastern time and holds what was announced four hours before; yesterday's can
not be had again (https://info.arxiv.org/help/rss_specifications.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit
from xml.etree.ElementTree import Element

from papers.records import PaperRecord, Parsed, SourceFormatError, arxiv_id, paragraphs
from papers.sources import arxiv_xml as xml
from papers.sources.arxiv_names import is_withdrawn, split_names
from papers.sources.arxiv_schedule import eastern_day
from papers.sources.protocol import View

MOST_ITEMS = 2_000  # where arXiv cuts a feed
MOST_CATEGORIES = 25  # in one address
NEWS = ("new", "cross")

_LISTS = [("rss", "channel"), (f"{xml.ATOM}feed",)]
_KNOWN = frozenset({
    "title", "link", "description", "guid", "category", "pubDate", "announce_type", "rights",
    "creator", "DOI", "journal_reference", "id", "updated", "published", "summary",
})  # fmt: skip
_EXPECTED = frozenset({"title", "category", "announce_type", "creator"})
_DESCRIPTION = re.compile(
    r"\A\s*arXiv:(?P<id>\S+)\s+Announce Type:\s*(?P<kind>[\w-]+)"
    r"\s*(?:Abstract:)?\s*(?P<abstract>.*)",
    re.DOTALL,
)


class ArXiv:
    name: ClassVar[str] = "arxiv"
    settings: ClassVar[tuple[str, ...]] = ("ARXIV_FEED_URL", "ARXIV_CATEGORIES")
    views: ClassVar[frozenset[View]] = frozenset({View.DAY})
    pace_seconds: ClassVar[float] = xml.PACE_SECONDS
    accept: ClassVar[str] = "application/rss+xml, application/atom+xml;q=0.8, application/xml;q=0.5"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.base_url = config.get("ARXIV_FEED_URL", "")
        self.categories = sorted(xml.categories(config.get("ARXIV_CATEGORIES", ())))

    def url_for(self, day: date, view: View = View.DAY) -> str:
        """The one feed there is, whatever the day; the answer says of which day it is."""
        xml.refuse(view, self.categories)
        return self._url(self.categories[:MOST_CATEGORIES])

    def parse(self, body: bytes, url: str) -> Parsed:
        """RSS 2.0, or Atom. New papers and cross-lists are listed, replacements only mentioned."""
        reading = xml.Reading(_KNOWN, _EXPECTED)
        about: dict[str, str] = {}
        for element in xml.elements(body, _LISTS):
            if xml.local(element.tag) in ("item", "entry"):
                reading.take(element, _record)
            else:
                about.setdefault(xml.local(element.tag), xml.line(element)[:200])
        title = about.get("title", "")
        if not title or title.lower().startswith("feed error"):
            said = about.get("description") or about.get("subtitle") or title or "nothing"
            raise SourceFormatError(f"no feed of announcements; arXiv says: {said}")
        asked = self._asked(url)
        if reading.size >= MOST_ITEMS and len(asked) == 1:
            reading.problems.append(f"{asked[0]}: the feed is cut at {MOST_ITEMS} items")
        made = about.get("pubDate") or about.get("lastBuildDate") or about.get("updated", "")
        day = eastern_day(xml.instant(made))
        return reading.parsed(next_url=self._next(asked, reading.size), day=day)

    def _url(self, names: Sequence[str]) -> str:
        return f"{self.base_url}/rss/{quote('+'.join(names), safe='+')}" if names else ""

    def _asked(self, url: str) -> list[str]:
        return unquote(urlsplit(url).path.rpartition("/")[2]).split("+")

    def _next(self, asked: Sequence[str], size: int) -> str:
        """The categories after those asked for; or, as their feed was cut, half of the same."""
        if size >= MOST_ITEMS and len(asked) > 1:
            return self._url(asked[: len(asked) // 2])
        later = [name for name in self.categories if name > asked[-1]]
        return self._url(later[:MOST_CATEGORIES])


def _record(item: Element, position: int) -> PaperRecord:
    """Raises ValueError where it is no paper: without an id, a title or any date."""
    fields = {xml.local(child.tag): child for child in item}
    said = xml.text(fields.get("description", fields.get("summary")))
    described = _DESCRIPTION.match(said)
    identifier = _identifier(fields, described)
    paper_id, number = arxiv_id(identifier), xml.version(identifier)
    announced = xml.instant(xml.line(fields.get("pubDate", fields.get("published"))))
    kind = xml.line(fields.get("announce_type")) or (described["kind"] if described else "")
    is_listed = kind.lower() in NEWS if kind else number in (None, 1)
    abstract = paragraphs(described["abstract"] if described else said)
    return xml.record(
        paper_id,
        xml.line(fields.get("title")),
        xml.first_appeared(paper_id, announced),
        abstract=abstract,
        authors=split_names(xml.text(fields.get("creator"))),
        categories=xml.categories(_terms(item)),
        listed_at=announced if is_listed else None,
        version=number,
        withdrawn=is_withdrawn(abstract),
        is_listed=is_listed,
        position=position,
    )


def _identifier(fields: Mapping[str, Element], described: re.Match[str] | None) -> str:
    """With its version, wherever it stands: `oai:arXiv.org:2609.26811v1` in RSS and in Atom."""
    known = (xml.text(fields.get(name)).strip() for name in ("guid", "id"))
    found = [*known, described["id"] if described else "", xml.text(fields.get("link")).strip()]
    return next((value for value in found if value), "").removeprefix("oai:arXiv.org:")


def _terms(item: Element) -> Iterator[str]:
    """RSS has a category's name as text, Atom as an attribute."""
    for child in item:
        if xml.local(child.tag) == "category":
            yield child.get("term") or xml.text(child).strip()
