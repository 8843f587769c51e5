"""What a page shows of an edition: its front page, and all that it holds by category."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.core.paginator import Page, Paginator
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from .models import Edition, Entry

PER_PAGE = 50
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Front:
    """The first entries of an edition.

    number: papers that trend or are picked; where none trends, all. more: papers that are not
    shown here. is_cut: some of these trend too.
    """

    entries: list[Entry] = field(default_factory=list)
    number: int = 0
    more: int = 0
    trends: bool = False

    @property
    def is_cut(self) -> bool:
        return self.number > len(self.entries)


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of all papers of an edition, or of those in one arXiv category.

    page: of Entry. categories: (name, how many papers), by name. number: papers of the edition.
    """

    page: Page[Any]
    categories: list[tuple[str, int]]
    number: int


def front(edition: Edition) -> Front:
    """What trends, at most PUBLIC_ENTRIES, and every editor's pick; where nothing trends, what
    the edition has."""
    numbers = edition.entries.standing().aggregate(
        all=Count("pk"),
        front=Count("pk", filter=_FRONT),
        trending=Count("pk", filter=Q(is_trending=True)),
    )
    trends = numbers["trending"] > 0
    rows = edition.entries.filter(_FRONT) if trends else edition.entries.all()
    first = _with_papers(rows.ranked()[: settings.PUBLIC_ENTRIES])
    number = numbers["front" if trends else "all"]
    if len(first) < number:
        shown = [entry.pk for entry in first]
        first += _with_papers(rows.filter(picked_by__gt="").exclude(pk__in=shown).ranked())
    return Front(first, number, numbers["all"] - len(first), trends)


def with_front(editions: QuerySet[Edition], today: date) -> QuerySet[Edition]:
    """Those in which something trends; all, once nothing has for a week: a holiday is shorter."""
    trending = Entry.objects.standing().filter(is_trending=True, edition=OuterRef("pk"))
    found = editions.filter(Exists(trending))
    return found if found.filter(day__gte=today - WEEK).exists() else editions


def listing(edition: Edition, *, category: str, page: int) -> Listing:
    """In the edition's order. Raises django.core.paginator.InvalidPage."""
    found = list(edition.entries.ranked().values_list("pk", "paper__categories"))
    counted = Counter(name for _pk, names in found for name in set(names))
    keys = [pk for pk, names in found if not category or category in names]
    shown: Page[Any] = Paginator(keys, PER_PAGE).page(page)
    by_key = {each.pk: each for each in _with_papers(Entry.objects.filter(pk__in=list(shown)))}
    shown.object_list = [by_key[key] for key in shown if key in by_key]
    return Listing(shown, sorted(counted.items()), len(found))


_FRONT = Q(is_trending=True) | Q(picked_by__gt="")


def _with_papers(entries: QuerySet[Entry]) -> list[Entry]:
    return list(entries.select_related("paper").defer("paper__vector", "paper__meaning"))
