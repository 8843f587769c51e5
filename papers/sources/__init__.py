"""Where papers are listed: a source is the addresses of its pages and a parser of their bytes.

A source knows no network and no database; `papers.fetching` carries the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Protocol

from papers.records import PaperRecord, Parsed, SavedDay
from papers.sources.huggingface import HuggingFace


class UnknownSourceError(LookupError):
    """No parser has this name."""


class Source(Protocol):
    """What every source can do."""

    page_size: int

    def url_for(self, day: date, page: int) -> str:
        """The address of a page (from 0) of a UTC day's list."""

    def parse(self, body: bytes) -> Parsed:
        """The records of one answer. A bad item is a problem; raises SourceFormatError."""

    def url_for_paper(self, arxiv_id: str) -> str:
        """The address of one paper, whatever its day."""

    def parse_paper(self, body: bytes) -> PaperRecord:
        """What that address answers. Raises SourceFormatError."""

    def parse_file(self, body: bytes) -> list[SavedDay]:
        """The days of a saved answer or of an archive. Raises SourceFormatError."""


def get(slug: str, base_url: str) -> Source:
    """The source of that name at that address. Raises UnknownSourceError."""
    if slug not in _SOURCES:
        raise UnknownSourceError(
            f"no source is called {slug!r}; there is: {', '.join(sorted(_SOURCES))}"
        )
    return _SOURCES[slug](base_url)


_SOURCES: dict[str, Callable[[str], Source]] = {"huggingface": HuggingFace}
