"""The papers that may be news, read once for any number of readers.

Readers who have seen the same editions share their news, and each is ranked against no more than
that: an edition with all of arXiv's announcements holds a thousand papers, and a week of them is
read for those alone who get a week.

What their texts and names say is kept from one call to the next, for as long as these and what is
ordinary stay as they are (`_reading`). All else (votes, picks, age) is read anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Exists, F, Min, OuterRef, Q

from papers import encoding, trending, vectors
from papers.models import Edition, Entry, Paper

from . import profile, ranking
from .compose import Shelf
from .nearness import Text
from .phrasebook import Phrasebook
from .recent import Recent

LONGEST_WINDOW_DAYS = 8
MANY_DAYS = 3  # editions: an ordinary morning has one, and two after a morning without mail
REFERENCE_PAPERS = 500
MOST_RECENT = 20_000  # papers that these are taken from, when a harvest brings more
PAPERS_KEPT = 10_000  # of readings, each generation: 300 MB


@dataclass(frozen=True, slots=True, eq=False)
class News:
    """What is new to some readers: the papers of `newest` and perhaps of older editions.

    may_repeat: whether a reader may have been shown one of them already. since: the day of the
    oldest edition, where there are so many that they read as a stretch of days.
    """

    corpus: ranking.Corpus
    shelf: Shelf
    newest: Edition
    may_repeat: bool
    since: date | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """The papers of `editions`, each once, in its newest one.

    listed_before: papers that an older edition listed too, so that somebody may have been shown
    them; since first_listed.
    """

    editions: Sequence[Edition]
    now: datetime
    listed_before: frozenset[int]
    first_listed: date | None
    encoder: vectors.Encoder
    phrasebook: Phrasebook
    _places: dict[int, _Place]
    _asked: dict[tuple[int, date, bool], News | None] = field(default_factory=dict)
    _made: dict[frozenset[int], News | None] = field(default_factory=dict)

    def news(self, cursor: int, since: date, *, newest_only: bool) -> News | None:
        """Of the editions closed after the cursor (open ones count as never closed), not older
        than `since`; None where there is no paper. newest_only: of the newest of these.

        The same one for all who have the same editions before them.
        """
        key = cursor, since, newest_only
        if key not in self._asked:
            self._asked[key] = self._look(*key)
        return self._asked[key]

    def texts(self, profiles: Sequence[profile.Profile]) -> dict[profile.Key, Text]:
        """All that the profiles name; of stored papers those that there are."""
        keys = profile.keys(profiles)
        stored = _texts(sorted(key for key in keys if isinstance(key, int)), self.encoder)
        found: dict[profile.Key, Text] = dict(stored.items())
        return found | self.phrasebook.texts(keys)

    def _look(self, cursor: int, since: date, newest_only: bool) -> News | None:
        there = {place.edition_id for place in self._places.values()}
        new = [
            each
            for each in self.editions
            if each.pk in there and (each.closed_seq or 0) > cursor and each.day >= since
        ]
        if not new:
            return None
        newest = max(new, key=lambda edition: (edition.closed_seq or 0, edition.day))
        wanted = [newest] if newest_only else new
        key = frozenset(edition.pk for edition in wanted)
        if key not in self._made:
            self._made[key] = self._read(wanted, newest)
        return self._made[key]

    def _read(self, editions: Sequence[Edition], newest: Edition) -> News | None:
        day_of = {edition.pk: edition.day for edition in editions}
        rows = _rows(editions, self._places)
        if not rows:
            return None
        papers = [
            _facts(row, self._places[row.paper_id], day_of[row.edition_id], now=self.now)
            for row in rows
        ]
        corpus = ranking.Corpus(papers, _reading(rows, papers, self.encoder, now=self.now))
        may_repeat = not self.listed_before.isdisjoint(corpus.place_of)
        days = sorted({day_of[row.edition_id] for row in rows})
        since = days[0] if len(days) >= MANY_DAYS else None
        return News(corpus, Shelf(papers), newest, may_repeat, since)


def editions_for(now: datetime) -> list[Edition]:
    """The closed news of the longest window, and the newest edition whatever its age."""
    news = Edition.objects.news().filled()
    since = now.date() - timedelta(days=LONGEST_WINDOW_DAYS + 1)
    newest = news.order_by("-closed_seq").values("pk")[:1]
    return list(news.filter(Q(day__gte=since) | Q(pk__in=newest)).order_by("closed_seq"))


def read(editions: Sequence[Edition], *, now: datetime) -> Candidates:
    """The papers of the editions; what these say is read once it is somebody's news."""
    listed_before, first_listed = _listed_before(editions)
    encoder = encoding.encoder()
    return Candidates(
        editions=editions,
        now=now,
        listed_before=listed_before,
        first_listed=first_listed,
        encoder=encoder,
        phrasebook=_phrasebook(encoder, encoding.meaning_model()),
        _places=_newest_places(editions),
    )


# -- rows ----------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Where a paper stands: in its newest edition. Who picked it, there or in an older one."""

    edition_id: int
    picked_by: str
    editor_note: str


class _Row(NamedTuple):
    """An entry, and its paper as the ranker sees it."""

    paper_id: int
    edition_id: int
    added_at: datetime
    is_trending: bool
    score: float | None
    group: int | None
    upvotes: int
    stars: int | None
    content_hash: str
    encoder: str
    meaning_by: str
    title: str
    abstract: str
    organization: str
    authors: Any
    categories: Any
    keywords: Any


_OF_PAPER = _Row._fields[_Row._fields.index("upvotes") :]
_COLUMNS = [*_Row._fields[: -len(_OF_PAPER)], *(f"paper__{name}" for name in _OF_PAPER)]


def _newest_places(editions: Sequence[Edition]) -> dict[int, _Place]:
    """By paper."""
    entries = Entry.objects.standing().filter(edition__in=editions).order_by("-edition__day", "id")
    found: dict[int, _Place] = {}
    for paper_id, *place in entries.values_list("paper_id", *_Place._fields):
        known = found.setdefault(paper_id, _Place._make(place))
        if not known.picked_by:
            # Listed once more, it is an editor's pick still: who was shown it is asked elsewhere.
            found[paper_id] = _Place(known.edition_id, *place[1:])
    return found


def _rows(editions: Sequence[Edition], places: Mapping[int, _Place]) -> list[_Row]:
    """Of the papers whose place is in one of these editions."""
    entries = (
        Entry.objects.standing()
        .filter(edition__in=editions)
        .order_by("-edition__day", F("rank").asc(nulls_last=True), "id")
        .values_list(*_COLUMNS)
    )
    rows = map(_Row._make, entries)
    return [
        row
        for row in rows
        if row.paper_id in places and places[row.paper_id].edition_id == row.edition_id
    ]


def _facts(row: _Row, place: _Place, day: date, *, now: datetime) -> ranking.PaperFacts:
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
        age_days=max((now.date() - day).days, 0),
        group=None if row.group is None else (row.edition_id, row.group),
        code=b"",
        stars=row.stars,
        content_hash=row.content_hash,
        picked_by=place.picked_by,
        editor_note=place.editor_note,
    )


def _trending(row: _Row, *, now: datetime) -> float:
    """As ranked when the edition closed; of an open one, by the votes so far, where any count."""
    if row.score is not None or not row.is_trending:
        return row.score or 0.0
    return trending.score(row.upvotes, (now - row.added_at).total_seconds() / 3600)


def _listed_before(editions: Sequence[Edition]) -> tuple[frozenset[int], date | None]:
    """Papers that more than one edition lists, and the first day on which one of them was.

    A backfilled edition was nobody's news, so what it lists was shown to nobody by that.
    """
    listed = Entry.objects.filter(edition__is_backfill=False)
    other = listed.filter(paper=OuterRef("paper")).exclude(pk=OuterRef("pk"))
    again = Entry.objects.filter(Exists(other), edition__in=editions)
    papers = frozenset(again.values_list("paper_id", flat=True))
    if not papers:
        return papers, None
    return papers, listed.filter(paper__in=papers).aggregate(first=Min("edition__day"))["first"]


# -- what is kept --------------------------------------------------------------------------

_books: Recent[int, tuple[vectors.Encoder, vectors.Model | None, Phrasebook]] = Recent(1)


def _phrasebook(encoder: vectors.Encoder, model: vectors.Model | None) -> Phrasebook:
    """Kept while both stay the same."""
    kept = _books.get(0)
    if kept is None or kept[0] is not encoder or kept[1] is not model:
        kept = encoder, model, Phrasebook(encoder, encoding.meanings_of)
        _books.put(0, kept)
    return kept[2]


_Kept = tuple[vectors.Encoder, vectors.Sense | None, ranking.Reading]
_readings: Recent[Any, _Kept] = Recent(PAPERS_KEPT)


def _reading(
    rows: Sequence[_Row],
    papers: Sequence[ranking.PaperFacts],
    encoder: vectors.Encoder,
    *,
    now: datetime,
) -> ranking.Reading:
    """Kept under all that it is made of: what is read of each paper, and which papers say what is
    ordinary. A vector is made of the text and the encoder; a table fitted anew is a new encoder.
    """
    columns = ("id", "content_hash", "updated_at", "meaning_by")
    recent = Paper.objects.filter(pk__in=_ordinary(encoder)).order_by("-first_seen_at", "-id")
    ordinary = tuple(recent.values_list(*columns))
    said = tuple((p.paper_id, p.title, p.abstract, p.authors, p.organization) for p in papers)
    named = tuple((paper.categories, paper.keywords) for paper in papers)
    key = said, named, tuple((row.encoder, row.meaning_by) for row in rows), ordinary
    kept = _readings.get(key)
    sense = encoding.sense(now.date())
    if kept is not None and kept[0] is encoder and kept[1] is sense:
        return kept[2]
    texts = _texts([row.paper_id for row in rows], encoder)
    usual = _texts([id for id, *_ in ordinary], encoder)
    nothing = Text(b"")
    coded = [
        replace(paper, code=text.words, meaning=text.meaning)
        for paper in papers
        for text in [texts.get(paper.paper_id, nothing)]
    ]
    reading = ranking.Reading.of(
        coded,
        reference=[usual[id] for id, *_ in ordinary if id in usual],
        encoder=encoder,
        sense=sense,
    )
    _readings.put(key, (encoder, sense, reading), size=len(papers))
    return reading


def _ordinary(encoder: vectors.Encoder) -> list[int]:
    """Of the papers of the longest window, or else of the newest ones, some from everywhere: the
    last that were listed in a day may all be of one kind.
    """
    newest = Paper.objects.filter(encoder=encoder.id).order_by("-first_seen_at", "-id")
    last_at = newest.values_list("first_seen_at", flat=True).first()
    if last_at is None:
        return []
    begins = last_at - timedelta(days=LONGEST_WINDOW_DAYS)
    lately = newest.filter(first_seen_at__gt=begins)[:MOST_RECENT].count()
    seen = list(newest.values_list("pk", flat=True)[: max(lately, REFERENCE_PAPERS)])
    step = max(len(seen) / REFERENCE_PAPERS, 1)
    return [seen[int(n * step)] for n in range(min(len(seen), REFERENCE_PAPERS))]


def _texts(paper_ids: Sequence[int], encoder: vectors.Encoder) -> dict[int, Text]:
    """As stored, or made now where the paper changed since it was encoded; of meanings only those
    of the model in use.
    """
    if not paper_ids:
        return {}
    model = encoding.meaning_model()
    papers = Paper.objects.filter(id__in=paper_ids)
    stored = papers.filter(encoder=encoder.id).values_list("id", "vector", "meaning_by", "meaning")
    found = {
        id: Text(bytes(vector), bytes(meaning) if model and by == model.id else b"")
        for id, vector, by, meaning in stored
    }
    if len(found) < len(paper_ids):
        for paper in papers.exclude(encoder=encoder.id).only("title", "abstract"):
            found[paper.pk] = Text(encoder.encode(paper.text))
    return found
