"""arXiv's OAI-PMH interface: everything that changed in a long range, a thousand papers a page.

Ranges are of dates of *change*: a paper of 2011 stands among those of yesterday if its record was
touched, so no day's edition can be made of it (https://info.arxiv.org/help/oa/, OAI-PMH 2.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar
from urllib.parse import urlencode
from xml.etree.ElementTree import Element

from papers.records import PaperRecord, Parsed, SourceFormatError, arxiv_id, count, paragraphs
from papers.sources import arxiv_xml as xml
from papers.sources.arxiv_names import is_withdrawn, names, split_names
from papers.sources.protocol import View

OAI = "{http://www.openarchives.org/OAI/2.0/}"

_ROOT = (f"{OAI}OAI-PMH",)
_LISTS = [_ROOT, (*_ROOT, f"{OAI}ListRecords"), (*_ROOT, f"{OAI}GetRecord")]
_IN_PHYSICS = frozenset({
    "astro-ph", "cond-mat", "gr-qc", "hep-ex", "hep-lat", "hep-ph", "hep-th", "math-ph", "nlin",
    "nucl-ex", "nucl-th", "physics", "quant-ph",
})  # fmt: skip
_KNOWN = frozenset({
    "id", "created", "updated", "authors", "title", "categories", "comments", "abstract", "license",
    "journal-ref", "doi", "report-no", "msc-class", "acm-class", "proxy", "submitter", "version",
})  # fmt: skip
_EXPECTED = frozenset({"id", "authors", "title", "categories", "abstract"})


class ArXivOAI:
    name: ClassVar[str] = "arxiv_oai"
    settings: ClassVar[tuple[str, ...]] = ("ARXIV_OAI_URL",)
    views: ClassVar[frozenset[View]] = frozenset()
    pace_seconds: ClassVar[float] = xml.PACE_SECONDS
    accept: ClassVar[str] = "text/xml, application/xml"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.base_url = config.get("ARXIV_OAI_URL", "")

    def url_for(self, day: date, view: View = View.DAY) -> str:
        """It has no list of any day's news. Raises ValueError."""
        raise ValueError("arXiv's OAI interface lists changes, not announcements")

    def url_for_range(self, set_name: str, since: date, until: date) -> str:
        """What changed from `since` to `until`, both included, of a set; see `set_of`.

        `arXiv` has authors with their names' parts, unlike `arXivRaw`, which `parse` reads as well.
        """
        query = {"metadataPrefix": "arXiv", "from": since, "until": until, "set": set_name}
        return self._url(**{name: str(value) for name, value in query.items() if value})

    def parse(self, body: bytes, url: str) -> Parsed:
        """A page; `next_url` carries its resumption token, which is good until midnight Eastern."""
        reading = xml.Reading(_KNOWN, _EXPECTED)
        token, total, is_answer = "", None, False
        for element in xml.elements(body, _LISTS):
            name = xml.local(element.tag)
            is_answer = is_answer or name in ("record", "ListRecords", "GetRecord", "error")
            if name == "error" and element.get("code") != "noRecordsMatch":
                raise SourceFormatError(_said(element))
            if name == "record":
                _take(element, reading)
            elif name == "resumptionToken":
                token, total = xml.text(element).strip(), count(element.get("completeListSize"))
        if not is_answer:
            raise SourceFormatError("an OAI answer with neither records nor an error")
        next_url = self._url(resumptionToken=token) if token else ""
        return reading.parsed(next_url=next_url, expected=total)

    def _url(self, **query: str) -> str:
        return f"{self.base_url}/oai?{urlencode({'verb': 'ListRecords'} | query)}"


def set_of(category: str) -> str:
    """The name of a category's or an archive's set: cs:cs:AI of cs.AI, physics:hep-th of hep-th."""
    archive, dot, subject = category.partition(".")
    group = "physics" if archive in _IN_PHYSICS else archive
    if dot:
        return f"{group}:{archive}:{subject}"
    return group if group == archive else f"{group}:{archive}"


def _said(error: Element) -> str:
    code, said = error.get("code", "")[:40], xml.line(error)[:200]
    if code == "badResumptionToken":
        return f"the resumption token is no longer good, begin the range again ({said or code})"
    return f"arXiv says: {said or 'Error'} ({code or 'without a code'})"


def _take(record: Element, reading: xml.Reading) -> None:
    header = record.find(f"{OAI}header")
    if header is not None and header.get("status") == "deleted":
        identifier = xml.line(header.find(f"{OAI}identifier"))[:80]
        reading.size += 1
        reading.problems.append(f"entry {reading.size}: {identifier} is deleted")
        return
    formats = record.findall(f"{OAI}metadata/*")
    reading.take(formats[0] if formats else record, _record)


def _record(paper: Element, position: int) -> PaperRecord:
    """Raises ValueError where it is no paper: without an id, a title or a date."""
    fields = {xml.local(child.tag): child for child in paper}
    if "id" not in fields:
        raise ValueError(f"no arXiv record, but <{xml.local(paper.tag)}>")
    paper_id = arxiv_id(xml.text(fields["id"]))
    versions = _versions(paper)
    said = xml.line(versions[min(versions)][0] if versions else fields.get("created"))
    abstract = paragraphs(xml.text(fields.get("abstract")))
    return xml.record(
        paper_id,
        xml.line(fields.get("title")),
        xml.first_appeared(paper_id, xml.instant(said)),
        abstract=abstract,
        authors=_authors(fields.get("authors")),
        categories=xml.categories(xml.text(fields.get("categories")).split()),
        version=max(versions, default=None),
        withdrawn=is_withdrawn(xml.text(fields.get("comments")), abstract),
        position=position,
    )


def _versions(paper: Element) -> dict[int, Element]:
    """Number -> the version, its date first, in `arXivRaw`; in no order that one could rely on."""
    found = [child for child in paper if xml.local(child.tag) == "version" and len(child)]
    numbers = [(xml.version(child.get("version", "")), child) for child in found]
    return {number: child for number, child in numbers if number}


def _authors(authors: Element | None) -> tuple[str, ...]:
    """`arXivRaw` has them in one string."""
    if authors is None or not len(authors):
        return split_names(xml.text(authors))
    return names(_name(author) for author in authors)


def _name(author: Element) -> str:
    parts: dict[str, list[str]] = {}
    for child in author:
        parts.setdefault(xml.local(child.tag), []).append(xml.text(child))
    order = ("forenames", "keyname", "suffix")
    return " ".join(part for name in order for part in parts.get(name, ())) or xml.text(author)
