"""What a reader's library says, from any file or text that people send: papers by title and id.

BibTeX, RIS and CSV as Zotero and Mendeley export them, lists of arXiv links and ids in any prose,
and a list of works as ORCID answers. Everything is foreign: what cannot be read is skipped and
counted, and nothing but ImportRefused is ever raised.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from html import unescape
from itertools import pairwise
from typing import Any, TypeVar

import rispy
from bibtexparser import middlewares
from bibtexparser.entrypoint import parse_string
from pylatexenc.latex2text import LatexNodes2Text

from papers.records import arxiv_id, one_line, paragraphs

MOST_BYTES = 8 * 1024 * 1024
MOST_PAPERS = 5000
ENTRY_LENGTH = 64 * 1024
TITLE_LENGTH = 500
NAMES = 50

# Both spell what they cannot read into the log, which is the reader's library.
logging.getLogger("bibtexparser").setLevel(logging.CRITICAL)
logging.getLogger("pylatexenc").setLevel(logging.CRITICAL)

_FREE = re.compile(
    r"(?<![\w.])(?:\d{4}\.\d{4,5}(?!\d)|[a-z]+(?:-[a-z]+)?(?:\.[A-Z]{2})?/\d{7}(?!\d))"
)
_NAMED = re.compile(
    r"arxiv(?:\.org/(?:abs|pdf|html)/|[.:/\s]+)"
    r"(\d{4}\.\d{4,5}(?!\d)|[a-z]+(?:-[a-z]+)?(?:\.[A-Z]{2})?/\d{7}(?!\d))",
    re.IGNORECASE,
)
_DOI = re.compile(r"10\.\d{4,9}/[^\s\"<>{}]+")
_YEAR = re.compile(r"(?<!\d)(?:1[5-9]|20)\d\d(?!\d)")
_TAG = re.compile(r"</?(?:i|b|em|strong|sub|sup|span|p|jats:\w+)\b[^<>]{0,200}>", re.IGNORECASE)
_IS_BIBTEX = re.compile(r"^[ \t]{0,9}@[ \t]{0,9}\w{1,40}[ \t]{0,9}[{(]", re.MULTILINE)
_NO_ENTRY = re.compile(r"@\s*(?:string|comment|preamble)\b", re.IGNORECASE)
_STACK = [middlewares.NormalizeFieldKeys(), middlewares.RemoveEnclosingMiddleware()]
_IS_RIS = re.compile(r"^TY {1,2}- ", re.MULTILINE)
_NAMES_END = re.compile(r"\s+and\s+", re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImportedPaper:
    """One work as somebody's library has it. arxiv_id is canonical; what it does not say is empty
    or None. It has a title or an arXiv id."""

    title: str = ""
    abstract: str = ""
    authors: tuple[str, ...] = ()
    arxiv_id: str = ""
    doi: str = ""
    year: int | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """Each paper once, as they stood. skipped: entries that were broken, or that say neither a
    title nor an id; left_out: what came after the first MOST_PAPERS."""

    papers: tuple[ImportedPaper, ...] = ()
    skipped: int = 0
    left_out: int = 0


class Refusal(StrEnum):
    TOO_LARGE = "too_large"
    NO_PAPERS = "no_papers"


class ImportRefused(Exception):
    """The whole of it is of no use; `why` tells the page what to say."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why.value)
        self.why = why


def read(name: str, body: bytes) -> Imported:
    """The papers of a file by that name, or of a pasted text (no name). Raises ImportRefused.

    By what stands in it and not by its name, which often lies; only what looks like nothing else
    is taken for a table if it is called .csv or .tsv.
    """
    if len(body) > MOST_BYTES:
        raise ImportRefused(Refusal.TOO_LARGE)
    text = _decoded(body).replace("\x00", "")
    if _IS_BIBTEX.search(text):
        found = _all(_bibtex(text))
    elif _IS_RIS.search(text):
        found = _all(_ris(text))
    elif header := _header(text, is_table=name.casefold().endswith((".csv", ".tsv"))):
        found = _all(_table(text, *header))
    else:
        found = _all(_links(text))
    if not found.papers:
        raise ImportRefused(Refusal.NO_PAPERS)
    return found


def read_works(body: bytes) -> Imported:
    """The works of an ORCID record, as `GET /v3.0/{id}/works` gives them in JSON: groups of
    summaries of one work, the preferred one first. Raises ImportRefused where it is none.

    https://info.orcid.org/documentation/api-tutorials/api-tutorial-read-data-on-a-record/
    """
    try:
        groups = json.loads(body)["group"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ImportRefused(Refusal.NO_PAPERS) from None
    if not isinstance(groups, list):
        raise ImportRefused(Refusal.NO_PAPERS)
    return _all(map(_work, groups))


# -- the four kinds ------------------------------------------------------------------------

# An entry that is broken, or that says nothing, is None.
_Found = Iterator[ImportedPaper | None]


def _bibtex(text: str) -> _Found:
    """Entry by entry: over a file that lost a brace, or that means ill, the parser takes quadratic
    time. Abbreviations (@string) stay as they are; no title is one."""
    starts = [found.start() for found in _IS_BIBTEX.finditer(text)]
    for start, end in pairwise([*starts, len(text)]):
        block = text[start:end].strip()
        if not _NO_ENTRY.match(block):
            yield _entry(block) if len(block) <= ENTRY_LENGTH else None


def _entry(block: str) -> ImportedPaper | None:
    library = _or_nothing(lambda: parse_string(block, parse_stack=_STACK))
    if library is None or not library.blocks:
        return None
    # A field that stands twice makes it a failed one, readable all the same.
    entry = getattr(library.blocks[0], "ignore_error_block", None) or library.blocks[0]
    return _or_nothing(lambda: _of_bibtex(entry))


def _of_bibtex(entry: Any) -> ImportedPaper | None:
    said: dict[str, str] = {}
    for field in entry.fields:
        said.setdefault(str(field.key).casefold(), _unclosed(str(field.value)))
    eprint = said.get("eprint", "")
    is_arxiv = said.get("archiveprefix", said.get("eprinttype", "arxiv")).strip().casefold()
    return _paper(
        title=_plain(said.get("title", "")),
        abstract=said.get("abstract", "").replace("{", "").replace("}", ""),
        authors=[_in_order(_plain(name)) for name in _names(said.get("author", ""))],
        own_id=eprint if is_arxiv == "arxiv" else "",
        elsewhere=[
            said.get(name, "")
            for name in ("url", "note", "journal", "number", "howpublished", "annote", "file")
        ],
        doi=said.get("doi", ""),
        year=said.get("year", "") or said.get("date", ""),
    )


def _ris(text: str) -> _Found:
    """Entry by entry, for the same reason."""
    starts = [found.start() for found in _IS_RIS.finditer(text)]
    for start, end in pairwise([*starts, len(text)]):
        block = text[start:end]
        entries = None
        if len(block) <= ENTRY_LENGTH:
            entries = _or_nothing(lambda: rispy.loads(block, skip_unknown_tags=True))  # noqa: B023
        yield _or_nothing(lambda: _of_ris(entries[0])) if entries else None  # noqa: B023


def _of_ris(entry: Mapping[str, Any]) -> ImportedPaper | None:
    def said(*names: str) -> str:
        return next((text for name in names if (text := _first(entry.get(name)))), "")

    authors = entry.get("authors") or entry.get("first_authors") or []
    return _paper(
        title=said("title", "primary_title", "translated_title"),
        abstract=said("abstract", "notes_abstract"),
        authors=[_in_order(name) for name in authors if isinstance(name, str)],
        own_id="",
        elsewhere=[
            text
            for name in ("urls", "url", "notes", "number", "journal_name", "secondary_title")
            for text in _texts(entry.get(name))
        ],
        doi=said("doi"),
        year=said("year", "publication_year", "date"),
    )


_COLUMNS = {
    "title": ("title",),
    "abstract": ("abstract note", "abstract"),
    "authors": ("author", "authors"),
    "own_id": ("arxiv id", "arxiv", "eprint"),
    "doi": ("doi",),
    "year": ("publication year", "year", "date"),
    "elsewhere": ("url", "urls", "link", "extra", "notes", "note", "archive location", "number"),
}
_TELLING = ("title", "arxiv id", "arxiv", "url", "link", "doi")


def _header(text: str, *, is_table: bool) -> tuple[str, list[str]] | None:
    """The delimiter and the names of a table's columns; None where it is no table."""
    first = text.lstrip().partition("\n")[0]
    if len(first) > 10_000:
        return None
    for delimiter in ",;\t":
        cells = _or_nothing(lambda d=delimiter: next(csv.reader([first], delimiter=d), []))  # type: ignore[misc]
        names = [cell.strip().casefold() for cell in cells or []]
        is_known = sum(name in _TELLING for name in names)
        if is_known and (len(names) > 1 or is_table):
            return delimiter, names
    return None


def _table(text: str, delimiter: str, names: Sequence[str]) -> _Found:
    rows = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=delimiter)
    next(rows, None)
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield None
            continue
        if any(cell.strip() for cell in cells):
            yield _of_row(dict(zip(names, cells, strict=False)))


def _of_row(row: Mapping[str, str]) -> ImportedPaper | None:
    def said(name: str) -> str:
        return next((row[column] for column in _COLUMNS[name] if row.get(column)), "")

    authors = said("authors")
    return _paper(
        title=said("title"),
        abstract=said("abstract"),
        # With semicolons between them a comma stands within a name.
        authors=[_in_order(name) for name in authors.split(";")]
        if ";" in authors
        else [_in_order(authors)],
        own_id=said("own_id"),
        elsewhere=[row.get(column, "") for column in _COLUMNS["elsewhere"]],
        doi=said("doi"),
        year=said("year"),
    )


def _links(text: str) -> _Found:
    """Ids in prose, with or without a link around them. What looks like one and cannot be one (a
    price, a month 13) is no broken entry."""
    for found in _FREE.finditer(text):
        if id := _id(found[0]):
            yield ImportedPaper(arxiv_id=id)


def _work(group: Any) -> ImportedPaper | None:
    try:
        said = group["work-summary"][0]
        title = _dig(said, "title", "title", "value")
        ids = (_dig(said, "external-ids", "external-id") or []) + (
            _dig(group, "external-ids", "external-id") or []
        )
        by_kind = [
            (str(each.get("external-id-type")).casefold(), str(each.get("external-id-value") or ""))
            for each in ids
            if isinstance(each, dict)
        ]
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return _paper(
        title=title if isinstance(title, str) else "",
        own_id=next((value for kind, value in by_kind if kind == "arxiv"), ""),
        elsewhere=[str(_dig(said, "url", "value") or "")],
        doi=next((value for kind, value in by_kind if kind == "doi"), ""),
        year=str(_dig(said, "publication-date", "year", "value") or ""),
    )


# -- one paper -----------------------------------------------------------------------------


def _paper(
    *,
    title: str,
    own_id: str,
    elsewhere: Iterable[str],
    doi: str,
    year: str,
    abstract: str = "",
    authors: Iterable[str] = (),
) -> ImportedPaper | None:
    dois = _DOI.search(doi)
    found = _id(own_id) or _named_in([doi, *elsewhere])
    title = one_line(unescape(_TAG.sub("", title)))[:TITLE_LENGTH]
    if not (title or found):
        return None
    years = _YEAR.search(year)
    return ImportedPaper(
        title=title,
        abstract=paragraphs(unescape(_TAG.sub("", abstract))),
        authors=tuple(name for each in authors if (name := one_line(each)[:200]))[:NAMES],
        arxiv_id=found,
        doi=dois[0].rstrip(".,;") if dois else "",
        year=int(years[0]) if years else None,
    )


def _id(text: str) -> str:
    """The canonical arXiv id in an id or a link; empty where there is none."""
    try:
        return arxiv_id(text)
    except ValueError:
        return ""


def _named_in(texts: Iterable[str]) -> str:
    """The first one that is said to be of arXiv: a number alone may be anything."""
    found = (match[1] for text in texts for match in _NAMED.finditer(text[:10_000]))
    return next((id for each in found if (id := _id(each))), "")


def _all(found: Iterable[ImportedPaper | None]) -> Imported:
    papers: dict[tuple[str, str], ImportedPaper] = {}
    skipped = left_out = 0
    for paper in found:
        if paper is None:
            skipped += 1
            if skipped > MOST_PAPERS:
                break  # no library, and each broken entry takes its time
            continue
        key = (paper.arxiv_id, "") if paper.arxiv_id else ("", paper.title.casefold())
        if len(papers) < MOST_PAPERS or key in papers:
            papers.setdefault(key, paper)
        else:
            left_out += 1
    return Imported(tuple(papers.values()), skipped, left_out)


# -- spellings -----------------------------------------------------------------------------


def _decoded(body: bytes) -> str:
    """By its mark, else UTF-8, else what Windows wrote; latin-1 has a letter for every byte."""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return body.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            continue
    return body.decode("latin-1")


def _plain(text: str) -> str:
    """LaTeX as it reads. The parser takes half a millisecond, so only where there is a command."""
    text = one_line(text)[: 2 * TITLE_LENGTH]
    if "\\" in text or "$" in text:
        text = _or_nothing(lambda: str(_latex().latex_to_text(text))) or text
    return text.replace("{", "").replace("}", "").replace("~", " ")


@cache
def _latex() -> LatexNodes2Text:
    return LatexNodes2Text(math_mode="text", keep_comments=True)


def _names(field: str) -> list[str]:
    return _NAMES_END.split(field[:20_000])[:NAMES]


def _in_order(name: str) -> str:
    """“Lovelace, Ada” as she is called."""
    last, comma, first = name.partition(",")
    return f"{first.strip()} {last.strip()}" if comma else name


def _unclosed(value: str) -> str:
    """Without the braces or quotes that the parser leaves around a field given twice."""
    value = value.strip()
    is_enclosed = len(value) > 1 and (value[0] + value[-1] in ("{}", '""'))
    return value[1:-1] if is_enclosed else value


def _first(value: Any) -> str:
    return next(iter(_texts(value)), "")


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def _dig(value: Any, *names: str) -> Any:
    """None where it ends sooner: ORCID says null for whatever is not known."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _or_nothing(parse: Callable[[], T]) -> T | None:
    """What a foreign parser makes of foreign text; None where it stumbles, over whatever it is."""
    try:
        return parse()
    except Exception:
        return None
