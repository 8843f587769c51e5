"""The papers that may be news, read once for any number of readers.

What their texts and names say is kept from one call to the next, for as long as these and what is
ordinary stay as they are (`_reading`). All else (votes, picks, age) is read anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from django.db.models import Exists, F, OuterRef, Q
from numpy.typing import NDArray

from papers import encoding, trending, vectors
from papers.models import Edition, Entry, Paper

from . import profile, ranking
from .compose import Shelf
from .recent import Recent

LONGEST_WINDOW_DAYS = 8
REFERENCE_PAPERS = 500
READINGS_KEPT = 1  # of each generation: the morning's, and one that an operator looks at


class News(NamedTuple):
    """Which candidates are new to a reader. allowed: (all,). papers: how many. newest: edition."""

    allowed: NDArray[np.bool_]
    papers: int
    newest: Edition


@dataclass(frozen=True, slots=True)
class Candidates:
    """edition_of: (papers,), the place of its newest edition in `editions`. listed_before: papers
    that an older edition listed too, so that somebody may have been shown them.
    """

    editions: Sequence[Edition]
    corpus: ranking.Corpus
    shelf: Shelf
    edition_of: NDArray[np.int64]
    listed_before: frozenset[int]
    first_listed: date | None
    encoder: vectors.Encoder
    _news: dict[tuple[int, date, bool], News | None] = field(default_factory=dict)

    def news(self, cursor: int, since: date, *, newest_only: bool) -> News | None:
        """Of the editions closed after the cursor (open ones count as never closed), not older
        than `since`; None where there is no paper. newest_only: of the newest of these.
        """
        key = cursor, since, newest_only
        if key not in self._news:
            self._news[key] = self._look(*key)
        return self._news[key]

    def may_repeat(self, news: News | None) -> bool:
        """Whether a reader may have been shown one of these papers already."""
        if news is None or not self.listed_before:
            return False
        place_of = self.corpus.place_of
        return any(news.allowed[place_of[paper]] for paper in self.listed_before)

    def codes(self, profiles: Sequence[profile.Profile]) -> dict[int, bytes]:
        """Of the stored papers that the profiles name, by their id."""
        wanted = {key for key in profile.keys(profiles) if isinstance(key, int)}
        return _codes(sorted(wanted), self.encoder)

    def _look(self, cursor: int, since: date, newest_only: bool) -> News | None:
        there = [self.editions[place] for place in np.unique(self.edition_of)]
        new = [each for each in there if (each.closed_seq or 0) > cursor and each.day >= since]
        if not new:
            return None
        newest = max(new, key=lambda edition: (edition.closed_seq or 0, edition.day))
        wanted = [newest] if newest_only else new
        allowed = np.isin(self.edition_of, [self.editions.index(each) for each in wanted])
        allowed.flags.writeable = False
        return News(allowed, int(allowed.sum()), newest)


def editions_for(now: datetime) -> list[Edition]:
    """The closed news of the longest window, and the newest edition whatever its age."""
    news = Edition.objects.news().filled()
    since = now.date() - timedelta(days=LONGEST_WINDOW_DAYS + 1)
    newest = news.order_by("-closed_seq").values("pk")[:1]
    return list(news.filter(Q(day__gte=since) | Q(pk__in=newest)).order_by("closed_seq"))


def read(editions: Sequence[Edition], *, now: datetime) -> Candidates:
    """The papers of the editions, each once, in its newest edition."""
    encoder = encoding.encoder()
    rows = _rows(editions)
    place_of = {edition.pk: place for place, edition in enumerate(editions)}
    papers = [_facts(row, editions[place_of[row.edition_id]], now=now) for row in rows]
    corpus = ranking.Corpus(papers, _reading(rows, papers, encoder))
    listed_before, first_listed = _listed_before(editions)
    return Candidates(
        editions,
        corpus,
        Shelf(papers),
        np.array([place_of[row.edition_id] for row in rows], np.int64),
        listed_before & corpus.place_of.keys(),
        first_listed,
        encoder,
    )


# -- rows ----------------------------------------------------------------------------------


class _Row(NamedTuple):
    """An entry, and its paper as the ranker sees it."""

    paper_id: int
    edition_id: int
    added_at: datetime
    score: float | None
    group: int | None
    picked_by: str
    editor_note: str
    upvotes: int
    stars: int | None
    content_hash: str
    encoder: str
    title: str
    abstract: str
    organization: str
    authors: Any
    categories: Any
    keywords: Any


_OF_PAPER = _Row._fields[_Row._fields.index("upvotes") :]
_COLUMNS = [*_Row._fields[: -len(_OF_PAPER)], *(f"paper__{name}" for name in _OF_PAPER)]


def _rows(editions: Sequence[Edition]) -> list[_Row]:
    """One a paper, of its newest edition."""
    entries = (
        Entry.objects.standing()
        .filter(edition__in=editions)
        .order_by("-edition__day", F("rank").asc(nulls_last=True), "id")
        .values_list(*_COLUMNS)
    )
    found: dict[int, _Row] = {}
    for row in map(_Row._make, entries):
        known = found.setdefault(row.paper_id, row)
        if row.picked_by and not known.picked_by:
            # Listed once more, it is an editor's pick still: who was shown it is asked elsewhere.
            found[row.paper_id] = known._replace(
                picked_by=row.picked_by, editor_note=row.editor_note
            )
    return list(found.values())


def _facts(row: _Row, edition: Edition, *, now: datetime) -> ranking.PaperFacts:
    return ranking.PaperFacts(
        paper_id=row.paper_id,
        title=row.title,
        abstract=row.abstract,
        authors=tuple(row.authors),
        organization=row.organization,
        categories=tuple(row.categories),
        keywords=tuple(row.keywords),
        trending=_trending(row, now=now),
        upvotes=row.upvotes,
        age_days=max((now.date() - edition.day).days, 0),
        group=None if row.group is None else (edition.pk, row.group),
        code=b"",
        stars=row.stars,
        content_hash=row.content_hash,
        picked_by=row.picked_by,
        editor_note=row.editor_note,
    )


def _trending(row: _Row, *, now: datetime) -> float:
    """As ranked when the edition closed; of an open one, by the votes so far."""
    if row.score is not None:
        return row.score
    return trending.score(row.upvotes, (now - row.added_at).total_seconds() / 3600)


def _listed_before(editions: Sequence[Edition]) -> tuple[frozenset[int], date | None]:
    """Papers that more than one edition lists, and the first day on which one of them was."""
    other = Entry.objects.filter(paper=OuterRef("paper")).exclude(pk=OuterRef("pk"))
    again = Entry.objects.filter(Exists(other), edition__in=editions)
    papers = frozenset(again.values_list("paper_id", flat=True))
    if not papers:
        return papers, None
    days = Entry.objects.filter(paper__in=papers).values_list("edition__day", flat=True)
    return papers, min(days)


# -- what is kept --------------------------------------------------------------------------

_Kept = tuple[vectors.Encoder, ranking.Reading]
_readings: Recent[Any, _Kept] = Recent(READINGS_KEPT)


def _reading(
    rows: Sequence[_Row], papers: Sequence[ranking.PaperFacts], encoder: vectors.Encoder
) -> ranking.Reading:
    """Kept under all that it is made of: what is read of each paper, and which papers say what is
    ordinary. A vector is made of the text and the encoder; a table fitted anew is a new encoder.
    """
    recent = Paper.objects.filter(encoder=encoder.id).order_by("-first_seen_at", "-id")
    columns = ("id", "content_hash", "updated_at")
    ordinary = tuple(recent.values_list(*columns)[:REFERENCE_PAPERS])
    said = tuple((p.paper_id, p.title, p.abstract, p.authors, p.organization) for p in papers)
    named = tuple((paper.categories, paper.keywords) for paper in papers)
    key = said, named, tuple(row.encoder for row in rows), ordinary
    kept = _readings.get(key)
    if kept is not None and kept[0] is encoder:
        return kept[1]
    codes = _codes([row.paper_id for row in rows], encoder)
    usual = _codes([id for id, *_ in ordinary], encoder)
    coded = [replace(paper, code=codes.get(paper.paper_id, b"")) for paper in papers]
    reading = ranking.Reading.of(
        coded, reference=[usual[id] for id, *_ in ordinary if id in usual], encoder=encoder
    )
    _readings.put(key, (encoder, reading))
    return reading


def _codes(paper_ids: Sequence[int], encoder: vectors.Encoder) -> dict[int, bytes]:
    """As stored, or made now where the paper changed since it was encoded."""
    if not paper_ids:
        return {}
    papers = Paper.objects.filter(id__in=paper_ids)
    stored = papers.filter(encoder=encoder.id).values_list("id", "vector")
    codes = {id: bytes(vector) for id, vector in stored}
    if len(codes) < len(paper_ids):
        for paper in papers.exclude(encoder=encoder.id).only("title", "abstract"):
            codes[paper.pk] = encoder.encode(paper.text)
    return codes
