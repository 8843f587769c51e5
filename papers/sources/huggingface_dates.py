"""When a paper on a card of a Daily Papers page appeared, as far as that can be told.

A record needs that. A card's own date is of New York's clock: taken is the midnight UTC that ends
that day, which is exact for what has a date alone, as all papers since April 2026, and less than a
day off for the others. Without one it is bounded by the month in the arXiv id and by the page: the
day before the page's, within that month; of the listings of 2024 and 2025 half are met so to the
day, 87 % within three days. Either is a bound alone (`is_dated`).
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta

from bs4 import Tag

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DATE = re.compile(rf"(?:Published on )?({'|'.join(_MONTHS)}) (\d\d?)(?:, (\d{{4}}))?", re.ASCII)


def published_at(paper_id: str, card: Tag, listed_by: date | None) -> datetime:
    """listed_by: the first day of the page, where known."""
    shown = _shown_date(card)
    first, last = _month(paper_id)
    day = _in_year(shown, last) if shown else None
    if day is not None:
        day += timedelta(days=1)
    elif listed_by is not None:
        day = min(max(listed_by, first + timedelta(days=1)) - timedelta(days=1), last, listed_by)
    return datetime.combine(day or first, time(), UTC)


def _shown_date(card: Tag) -> re.Match[str] | None:
    return next(filter(None, map(_DATE.fullmatch, card.stripped_strings)), None)


def _month(paper_id: str) -> tuple[date, date]:
    """The first and last day of the month in the id, by the end of which the paper is out."""
    year, month = 2000 + int(paper_id[:2]), int(paper_id[2:4])
    return date(year, month, 1), date(year, month, monthrange(year, month)[1])


def _in_year(shown: re.Match[str], last: date) -> date | None:
    """Where the year is left out it is the latest that the id allows; None for no such day."""
    month, day = _MONTHS.index(shown[1]) + 1, int(shown[2])
    years = [int(shown[3])] if shown[3] else [last.year, last.year - 1]
    for year in years:
        try:
            found = date(year, month, day)
        except ValueError:
            continue
        if found <= last:
            return found
    return None
