"""What this installation has seen of votes -> what it expects of an edition's papers.

History is read from the entries of past editions when an edition closes; the words' weights are
fitted from time to time and stored. A new installation has neither, so both begin with a table in
the package, counted over the archive of 2024-05-27..2025-12-18: organizations, authors and words.
It knows no submitters: those every installation sees for itself.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from importlib import resources

import numpy as np
import structlog
from django.conf import settings
from django.db.models import Max

from .forecast import (
    NO_TEXT,
    USUAL_RATIO,
    Effects,
    Group,
    History,
    Listing,
    TextPrior,
    expected_lifts,
)
from .forecast import lifts as lifts_of
from .models import Edition, Entry, EntryQuerySet, TrendingFit, utc_day

log = structlog.get_logger(__name__)

SHIPPED_TABLE = "data/trending.tsv.gz"
SHIPPED_ENCODER = "words-1"
HISTORY_DAYS = 365
HISTORY_ENTRIES = 10_000  # 45 a day for a year
FITTED_ON = 20_000  # papers at most, the newest
SETTLED = timedelta(days=14)  # votes hardly grow after that
FIT_EVERY = timedelta(days=7)
FEWEST_EXPORTED = {Group.ORGANIZATION: 2, Group.AUTHOR: 3}  # papers of a name


class TooFewPapersError(Exception):
    """What is stored is less than what the shipped table was made of; says so."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """The table in the package. until: the last day that is counted in it."""

    until: date
    history: History
    text: TextPrior


def lifts(edition: Edition) -> dict[int, float]:
    """Paper id -> the lift expected of it, for the papers that trend. Two queries."""
    entries = Entry.objects.filter(edition=edition, is_trending=True).order_by("id")
    rows = entries.values_list("paper_id", *_COLUMNS)
    found = [(paper_id, _listing(*row)) for paper_id, *row in rows]
    if not found:
        return {}
    listings = [listing for _paper_id, listing in found]
    expected = expected_lifts(listings, history(edition.day), text_prior())
    return {paper_id: float(lift) for (paper_id, _), lift in zip(found, expected, strict=True)}


def history(day: date) -> History:
    """Of the year before that day; what the shipped table has counted is not counted again."""
    shipped = shipped_table()
    since = max(day - timedelta(days=HISTORY_DAYS), shipped.until)
    return History.of(_settling(since, day, most=HISTORY_ENTRIES), earlier=shipped.history)


def text_prior() -> TextPrior:
    """The newest fit for the encoder in use, else the shipped one, if it is of that encoder."""
    newest = TrendingFit.objects.filter(encoder=settings.ENCODER).order_by("id")
    found = newest.values_list("id").last()
    if found is not None:
        return _fitted(found[0])
    return shipped_table().text if settings.ENCODER == SHIPPED_ENCODER else NO_TEXT


def fit_due(now: datetime) -> TrendingFit | None:
    """Fits the words' weights where the last fit is a week old, and there are papers enough."""
    fits = TrendingFit.objects.filter(encoder=settings.ENCODER)
    if fits.filter(created_at__gt=now - FIT_EVERY).exists():
        return None
    try:
        return fit(now)
    except TooFewPapersError:
        return None


def fit(now: datetime) -> TrendingFit:
    """Fits the words' weights on the newest settled papers, and puts them to use.

    Raises TooFewPapersError rather than trade the shipped weights for some fitted on fewer.
    """
    needed = shipped_table().text.papers if settings.ENCODER == SHIPPED_ENCODER else 1
    stored = _settled(now).count()
    if stored >= needed:
        text = _fit_text(now)
        if text.papers >= needed:
            made = TrendingFit.objects.create(
                encoder=settings.ENCODER, papers=text.papers, table=text.to_bytes(), created_at=now
            )
            TrendingFit.objects.filter(encoder=made.encoder, pk__lt=made.pk).delete()
            log.info("words of trending papers weighed", papers=text.papers, terms=len(text.terms))
            return made
        stored = text.papers
    raise TooFewPapersError(
        f"{stored} settled papers with votes are stored; the shipped weights were fitted on "
        f"{needed} and are the better ones until there are more."
    )


def export(now: datetime) -> bytes:
    """All that is stored, in the format of the shipped table. Names of submitters are no part."""
    listings = _settling(date.min, utc_day(now), most=FITTED_ON)
    known, text = History.of(listings), _fit_text(now)
    days = Edition.objects.closed().filter(day__lt=utc_day(now))
    until = days.aggregate(last=Max("day"))["last"] or date.min
    lines = [f"papers\t{text.papers}", f"until\t{until}"]
    for group, fewest in FEWEST_EXPORTED.items():
        seen = sorted(known.effects[group].seen.items())
        lines += [
            f"{group}\t{name}\t{count}\t{total:.2f}"
            for name, (count, total) in seen
            if count >= fewest
        ]
    terms = zip(text.terms.tolist(), text.weights.tolist(), strict=True)
    lines += [f"term\t{term:016x}\t{weight:.3f}" for term, weight in terms]
    # Without a time stamp, so that the same papers give the same file.
    return gzip.compress("\n".join([*lines, ""]).encode(), 9, mtime=0)


@lru_cache(maxsize=1)
def shipped_table() -> Shipped:
    packed = resources.files("papers").joinpath(SHIPPED_TABLE).read_bytes()
    return read_table(packed)


def read_table(packed: bytes) -> Shipped:
    """What `export` wrote."""
    seen: dict[Group, dict[str, tuple[int, float]]] = {group: {} for group in Group}
    papers, until, terms, weights = 0, date.min, [], []
    for line in gzip.decompress(packed).decode().splitlines():
        match line.split("\t"):
            case ["papers", number]:
                papers = int(number)
            case ["until", day]:
                until = date.fromisoformat(day)
            case ["term", term, weight]:
                terms.append(int(term, 16))
                weights.append(float(weight))
            case [group, name, count, total]:
                seen[Group(group)][name] = int(count), float(total)
    effects = {group: Effects(USUAL_RATIO[group], names) for group, names in seen.items()}
    text = TextPrior(papers, np.array(terms, np.uint64), np.array(weights, np.float32))
    return Shipped(until, History(effects), text)


# -- rows ----------------------------------------------------------------------------------

_COLUMNS = (
    "edition__day",
    "paper__authors",
    "paper__organization",
    "submitter",
    "paper__code_url",
    "paper__project_url",
    "paper__upvotes",
    "paper__encoder",
    "paper__vector",
)


def _listing(
    day: date,
    authors: list[str],
    organization: str,
    submitter: str,
    code_url: str,
    project_url: str,
    votes: int,
    encoder: str = "",
    vector: bytes = b"",
) -> Listing:
    return Listing(
        day,
        tuple(authors),
        organization,
        submitter,
        bool(code_url),
        bool(project_url),
        bytes(vector) if encoder == settings.ENCODER else b"",
        votes,
    )


def _settling(after: date, before: date, *, most: int) -> list[Listing]:
    """Entries that trended, of closed editions between these days; the newest, without words."""
    entries = Entry.objects.filter(
        edition__day__gt=after,
        edition__day__lt=before,
        edition__closed_at__isnull=False,
        is_trending=True,
    ).order_by("-edition__day", "-id")
    return [_listing(*row) for row in entries.values_list(*_COLUMNS[:-2])[:most]]


def _settled(now: datetime) -> EntryQuerySet:
    """Entries whose votes hardly grow any more, with the words of their papers; newest first."""
    return Entry.objects.filter(
        edition__day__lte=utc_day(now - SETTLED),
        edition__closed_at__isnull=False,
        is_trending=True,
        paper__encoder=settings.ENCODER,
    ).order_by("-edition__day", "-id")


def _fit_text(now: datetime) -> TextPrior:
    listings = [_listing(*row) for row in _settled(now).values_list(*_COLUMNS)[:FITTED_ON]]
    found = lifts_of(listings)
    kept = np.flatnonzero(~np.isnan(found)).tolist()
    return TextPrior.fit([listings[place].code for place in kept], found[kept])


@lru_cache(maxsize=2)
def _fitted(id: int) -> TextPrior:
    """Cached by the row's id: rows are never edited, a new fit makes a new row."""
    row = TrendingFit.objects.get(id=id)
    return TextPrior.from_bytes(bytes(row.table), papers=row.papers)
