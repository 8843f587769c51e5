"""What a reader of a source can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from papers.records import Parsed, SavedDay


class View(StrEnum):
    """What may be listed; a week by its Monday, a month by its first day."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TRENDING = "trending"


class Reader(Protocol):
    """What every reader of a source can do.

    settings: names of the settings it is made of. pace_seconds: the least time between the
    beginnings of two requests, over all machines of an installation; 0 where there is no such rule.
    accept: the media types that it reads (RFC 9110, 12.5.1).
    """

    name: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]
    views: ClassVar[frozenset[View]]
    pace_seconds: ClassVar[float]
    accept: ClassVar[str]

    def __init__(self, config: Mapping[str, Any]) -> None:
        """config: the values of `settings`."""

    def url_for(self, day: date, view: View = View.DAY) -> str:
        """The address of the first page of the list of that UTC day, or of the view it begins.

        Raises ValueError for a view that it does not have.
        """

    def parse(self, body: bytes, url: str) -> Parsed:
        """The records of the answer to `url`. A bad item is a problem; raises SourceFormatError."""


class LooksUp(Protocol):
    """A reader that also answers to papers' ids, at most `most_ids` at once."""

    most_ids: ClassVar[int]

    def url_for_papers(self, arxiv_ids: Sequence[str]) -> str:
        """The address of these papers, whatever their day; `parse_papers` reads the answer."""

    def parse_papers(self, body: bytes, url: str) -> Parsed:
        """Papers that the source does not know are missing in it. Raises SourceFormatError."""


class ReadsFiles(Protocol):
    """A reader of saved answers and archives."""

    def parse_file(self, body: bytes) -> list[SavedDay]:
        """The days of a saved answer or of an archive. Raises SourceFormatError."""
