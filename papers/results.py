"""What the search page shows of what was found: marked titles, excerpts, pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .excerpts import Part, excerpt, marked
from .models import Paper
from .query import Asked
from .search import PER_PAGE, RANKED, Found
from .texts import cut, readable

TITLE_LENGTH = 300  # of a result; the paper's page shows it all


@dataclass(frozen=True, slots=True)
class Result:
    """begins_some: the first of those that have not all of the words."""

    paper: Paper
    title: Sequence[Part]
    excerpt: Sequence[Part]
    begins_some: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A page of results. previous, following: numbers of pages, 0 where there is none.

    is_cut: there are more than can be leafed through.
    """

    results: Sequence[Result]
    number: int
    pages: int
    previous: int
    following: int
    is_cut: bool


def shown(found: Found, *, page: int) -> Shown:
    first = (page - 1) * PER_PAGE
    pages = max(-(-min(found.total, RANKED) // PER_PAGE), 1)
    return Shown(
        [_result(found, paper, first + place) for place, paper in enumerate(found.papers)],
        number=page,
        pages=pages,
        previous=page - 1,
        following=page + 1 if page < pages else 0,
        is_cut=found.is_more or found.total > RANKED,
    )


def about(asked: Asked) -> dict[str, Any]:
    """Facts for the template; `topic`: what a reader would follow, empty where there is nothing."""
    return {
        "query": asked.words,
        "asked": asked,
        "is_asked": bool(asked.words or asked.is_filtered),
    }


def _result(found: Found, paper: Paper, place: int) -> Result:
    return Result(
        paper,
        marked(cut(readable(paper.title), TITLE_LENGTH), found.words),
        excerpt(readable(paper.abstract), found.words),
        begins_some=found.is_parted and 0 < found.with_all == place,
    )
