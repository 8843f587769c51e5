"""Records -> papers, their places in editions, their votes; the closing of a day; an editor's word.

A day is recorded whole or not at all, in one short transaction, by set-based statements. All
that changes an edition or closes one takes the same lock first, the rows of Source in the order
of their ids, so that no paper slips into an edition while its number is given.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Max, QuerySet
from django.utils.translation import gettext as _

from . import encoding, expecting, storing, trending
from .merging import has_votes
from .models import Edition, Entry, Fetch, FetchQuerySet, Paper, Signal, Source, utc_day
from .records import PaperRecord, one_line

log = structlog.get_logger(__name__)

BATCH = 500
MOST_PICKS = 3
NOTE_MAX = 500
NAME_MAX = 100
CLOSER_MAX = 150
MAX_POSITION = 32_767  # a small integer column


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one reading held: papers in it, never seen before, changed by it.

    Of a day's list, papers that it only mentions are not counted as seen.
    """

    seen: int
    new: int
    updated: int


def record_day(
    day: date,
    records: Sequence[PaperRecord],
    *,
    source: Source,
    now: datetime,
    read_at: datetime,
    backfill: bool,
) -> Recorded:
    """Stores one reading of a day's list; the same reading twice changes nothing.

    `read_at` is when the source said so: votes follow the latest reading by that time, and an
    older one only fills what is empty. A closed edition never changes: a paper first seen for its
    day afterwards is news in the next open edition, unless the day is backfill. Papers that the
    list only mentions are in no edition by that.
    """
    if not records:
        return Recorded(seen=0, new=0, updated=0)
    with transaction.atomic():
        _lock()
        stored = storing.store(records, source=source.slug, now=now, read_at=read_at)
        if listed := [each for each in stored if each.record.is_listed]:
            _place(listed, day, source=source, now=now, backfill=backfill)
    return _recorded(stored, seen=len(listed))


def record_papers(
    records: Sequence[PaperRecord], *, source: Source, now: datetime, read_at: datetime
) -> Recorded:
    """Stores papers and their votes as `record_day` does; they are in no edition by that.

    A record that is not listed improves a stored paper and makes none.
    """
    if not records:
        return Recorded(seen=0, new=0, updated=0)
    with transaction.atomic():
        _lock()
        stored = storing.store(records, source=source.slug, now=now, read_at=read_at)
    return _recorded(stored, seen=len(stored))


def close_due(now: datetime) -> list[Edition]:
    """Closes the editions whose time has come, oldest day first, and returns them.

    Day D closes at the first of (a) EDITION_QUIET_FROM_HOUR UTC of D or later, when nothing was
    added for EDITION_QUIET_HOURS and no source's last reading failed, and (b) EDITION_CLOSE_HOUR
    UTC of D+1, whatever failed; the failures are noted. An edition that grew meanwhile is left
    for the next round.
    """
    waiting = Edition.objects.open().filter(day__lte=utc_day(now)).order_by("day")
    closed = []
    for edition in waiting:
        failures = _failures(edition.day, now)
        if _is_due(edition, failures, now) and (done := _close(edition, failures, now)):
            closed.append(done)
    return closed


def close_now(edition: Edition, now: datetime, *, by: str) -> bool:
    """Closes it whatever the clock says, under that name; the day's later papers are news in the
    next one. False where it is closed already, or grew at this very moment."""
    if not edition.is_open:
        return False
    return _close(edition, _failures(edition.day, now), now, by=by) is not None


def make_news(days: Iterable[date]) -> None:
    """Opens backfilled editions of these days again: they close as news, under new numbers."""
    with transaction.atomic():
        _lock()
        Edition.objects.filter(day__in=list(days), is_backfill=True).update(
            is_backfill=False, closed_at=None, closed_seq=None, closed_by="", note=""
        )


def closes_by(day: date) -> datetime:
    """When that day's edition is closed whatever fails: after it, the day is the past."""
    return _at(day + timedelta(days=1), settings.EDITION_CLOSE_HOUR)


def next_open_day(now: datetime) -> date:
    """The day whose edition takes what comes late: today's, or tomorrow's once that is closed."""
    day = utc_day(now)
    while Edition.objects.closed().filter(day=day).exists():
        day += timedelta(days=1)
    return day


def neighbours(day: date) -> tuple[Edition | None, Edition | None]:
    """The nearest editions with papers before and after that day."""
    filled = Edition.objects.filled()
    return (
        filled.filter(day__lt=day).order_by("-day").first(),
        filled.filter(day__gt=day).order_by("day").first(),
    )


# -- an editor's word ----------------------------------------------------------------------


class EditorError(Exception):
    """What an editor asked for is not done; says why, in words for them."""


class AlreadyThereError(EditorError):
    """The edition has the paper already: `entry`."""

    def __init__(self, message: str, entry: Entry) -> None:
        super().__init__(message)
        self.entry = entry


def drop(entry: Entry, now: datetime) -> bool:
    """Takes it out of its edition, open or closed: digests that have not left lack it from now on.

    A pick ends with it; the others' scores and ranks stay. False where it was dropped before.
    """
    kept = Entry.objects.filter(pk=entry.pk, dropped_at__isnull=True)
    return _decide(kept, entry, "paper dropped", dropped_at=now, picked_by="", editor_note="")


def restore(entry: Entry) -> bool:
    """Undoes `drop`, at the rank that it had. False where it was not dropped."""
    dropped = Entry.objects.filter(pk=entry.pk, dropped_at__isnull=False)
    return _decide(dropped, entry, "paper restored", dropped_at=None)


def pick(entry: Entry, *, by: str, note: str) -> None:
    """Makes it an editor's pick under that name, or changes the note of one. Raises EditorError."""
    by, note = one_line(by)[:NAME_MAX], one_line(note)
    if not by or not 0 < len(note) <= NOTE_MAX:
        text = _("A pick needs a name and a note of 1 to %(most)d characters.")
        raise EditorError(text % {"most": NOTE_MAX})
    with transaction.atomic():
        _lock()
        row = Entry.objects.select_related("paper").get(pk=entry.pk)
        if row.dropped_at is not None:
            raise EditorError(_("It is dropped. Take it back first."))
        _refuse_withdrawn(row.paper)
        others = Entry.objects.standing().filter(edition=row.edition_id, picked_by__gt="")
        if others.exclude(pk=row.pk).count() >= MOST_PICKS:
            text = _("This edition has its %(most)d picks. Take one back first.")
            raise EditorError(text % {"most": MOST_PICKS})
        _decide(Entry.objects.filter(pk=row.pk), row, "paper picked",
                picked_by=by, editor_note=note)  # fmt: skip


def unpick(entry: Entry) -> bool:
    """False where it was no pick."""
    picked = Entry.objects.filter(pk=entry.pk, picked_by__gt="")
    return _decide(picked, entry, "pick taken back", picked_by="", editor_note="")


def add(edition: Edition, paper: Paper, now: datetime) -> Entry:
    """Puts the paper into the edition, open or closed, after all the others. Raises EditorError.

    In a closed one it has no rank; readers who had that edition already do not get it again. It
    does not count as growth: when an edition closes, the source's list decides.
    """
    with transaction.atomic():
        _lock()
        _refuse_withdrawn(Paper.objects.only("withdrawn_at").get(pk=paper.pk))
        if there := edition.entries.filter(paper=paper).first():
            raise AlreadyThereError(_("It is in this edition already."), there)
        last = edition.entries.aggregate(last=Max("position"))["last"] or 0
        entry = Entry.objects.create(
            edition=edition, paper=paper, position=min(last + 1, MAX_POSITION), added_at=now
        )
    encoding.encode_missing([paper.pk], with_meaning=False)
    log.info("paper added", day=edition.day, paper=paper.arxiv_id)
    return entry


def _refuse_withdrawn(paper: Paper) -> None:
    if paper.withdrawn_at is not None:
        raise EditorError(_("This paper has been withdrawn by its authors."))


def _decide(rows: QuerySet[Entry], entry: Entry, event: str, **fields: Any) -> bool:
    with transaction.atomic():
        _lock()
        is_changed = bool(rows.update(**fields))
    if is_changed:
        log.info(event, day=entry.edition.day, paper=entry.paper.arxiv_id)
    return is_changed


# -- entries -------------------------------------------------------------------------------


def _recorded(stored: Sequence[storing.Stored], *, seen: int) -> Recorded:
    return Recorded(
        seen=seen,
        new=sum(each.is_new for each in stored),
        updated=sum(each.is_changed for each in stored),
    )


def _place(
    listed: Sequence[storing.Stored], day: date, *, source: Source, now: datetime, backfill: bool
) -> None:
    edition, _made = Edition.objects.get_or_create(
        day=day, defaults={"is_backfill": backfill, "opened_at": now, "grew_at": now}
    )
    if edition.is_open:
        _add(edition, listed, source=source, now=now)
    elif not (backfill or edition.is_backfill) and (late := _never_placed(listed, source)):
        current, _made = Edition.objects.get_or_create(
            day=next_open_day(now), defaults={"opened_at": now, "grew_at": now}
        )
        _add(current, late, source=source, now=now)


def _never_placed(listed: Sequence[storing.Stored], source: Source) -> list[storing.Stored]:
    """Papers in no edition; for a source with votes, those that stand on no front page."""
    entries = Entry.objects.filter(paper__in=[each.paper for each in listed])
    if has_votes(source.slug):
        entries = entries.filter(is_trending=True)
    placed = set(entries.values_list("paper_id", flat=True))
    return [each for each in listed if each.paper.pk not in placed]


def _add(
    edition: Edition, listed: Sequence[storing.Stored], *, source: Source, now: datetime
) -> None:
    """Adds the papers that the edition lacks; those it has take their latest position.

    A source with votes takes over what another one had listed: it stands on the front page then.
    Whoever submitted it first remains its submitter.
    """
    known = {entry.paper_id: entry for entry in edition.entries.all()}
    is_trending = has_votes(source.slug)
    entries = []
    for each in listed:
        position = min(each.record.position, MAX_POSITION)
        entry = known.get(each.paper.pk)
        is_moved = entry is None or _moves(
            entry, position, is_trending=is_trending, is_stale=each.is_stale
        )
        if entry is None:
            entry = Entry(edition=edition, paper=each.paper, source=source, added_at=now)
        is_named = bool(each.record.submitter) and not entry.submitter
        if not (is_moved or is_named):
            continue
        if is_moved:
            if entry.source_id is not None:  # what an editor added stays theirs
                entry.source = source
            entry.position, entry.is_trending = position, is_trending
        if is_named:
            entry.submitter = each.record.submitter
        entry.pk = None  # found by edition and paper
        entries.append(entry)
    Entry.objects.bulk_create(
        entries,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["edition", "paper"],
        update_fields=["position", "source", "is_trending", "submitter"],
    )
    if any(each.paper.pk not in known for each in listed):
        Edition.objects.filter(pk=edition.pk).update(grew_at=now)


def _moves(entry: Entry, position: int, *, is_trending: bool, is_stale: bool) -> bool:
    if entry.is_trending != is_trending:
        return is_trending
    return entry.position != position and not is_stale


# -- closing -------------------------------------------------------------------------------


def _is_due(edition: Edition, failures: Sequence[Fetch], now: datetime) -> bool:
    if now >= closes_by(edition.day):
        return True
    quiet_from = _at(edition.day, settings.EDITION_QUIET_FROM_HOUR)
    quiet_since = edition.grew_at + timedelta(hours=settings.EDITION_QUIET_HOURS)
    return now >= max(quiet_from, quiet_since) and not failures


def _failures(day: date, now: datetime) -> list[Fetch]:
    """Of every source that is switched on, its last reading of that day if that failed.

    An announcement is whole once it was read; a list that grows is so until it is read again.
    """
    failures = []
    for source in Source.objects.filter(is_enabled=True):
        readings = _readings(source, day, now)
        last = readings.order_by("-started_at", "-id").first()
        if last is None or last.status != Fetch.Status.FAILED:
            continue
        if has_votes(source.slug) or not readings.succeeded().exists():
            last.source = source
            failures.append(last)
    return failures


def _readings(source: Source, day: date, now: datetime) -> FetchQuerySet:
    """Attempts at the day's list that have ended. A replay asked nobody."""
    ended = source.fetches.filter(kind=Fetch.Kind.DAY, day=day, started_at__lte=now)
    return ended.exclude(status=Fetch.Status.RUNNING).exclude(origin=Fetch.Origin.REPLAY)


def _close(
    edition: Edition, failures: Sequence[Fetch], now: datetime, *, by: str = ""
) -> Edition | None:
    # Encoding takes its time, and so does looking back: both are done before the lock.
    paper_ids = sorted(edition.entries.values_list("paper_id", flat=True))
    encoding.encode_missing(paper_ids, with_meaning=False)
    groups = encoding.duplicate_groups(paper_ids)
    lifts = expecting.lifts(edition)
    with transaction.atomic():
        _lock()
        entries = list(edition.entries.all())
        has_grown = sorted(entry.paper_id for entry in entries) != paper_ids
        if has_grown or not Edition.objects.open().filter(pk=edition.pk).exists():
            return None
        _rank(entries, edition.day, groups, lifts)
        highest = Edition.objects.aggregate(highest=Max("closed_seq"))["highest"]
        edition.closed_seq, edition.closed_at = (highest or 0) + 1, now
        edition.closed_by, edition.note = one_line(by)[:CLOSER_MAX], _note(edition, failures, now)
        edition.save(update_fields=["closed_seq", "closed_at", "closed_by", "note"])
    log.info(
        "edition closed",
        day=edition.day,
        closed_seq=edition.closed_seq,
        papers=len(entries),
        duplicates=len(groups),
    )
    return edition


def _rank(
    entries: Sequence[Entry], day: date, groups: dict[int, int], lifts: dict[int, float]
) -> None:
    placed = {place.paper_id: place for place in trending.rank(_contenders(entries, day, lifts))}
    for entry in entries:
        place = placed[entry.paper_id]
        entry.score, entry.rank = place.score, place.rank
        entry.group = groups.get(entry.paper_id)
        entry.pk = None  # found by edition and paper
    Entry.objects.bulk_create(
        entries,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["edition", "paper"],
        update_fields=["score", "rank", "group"],
    )


def _contenders(
    entries: Sequence[Entry], day: date, lifts: dict[int, float]
) -> list[trending.Contender]:
    """Votes count where a source with votes listed the paper in this edition."""
    readings: dict[int, list[trending.Reading]] = defaultdict(list)
    trend = [entry.paper_id for entry in entries if entry.is_trending]
    signals = Signal.objects.filter(paper__in=trend)
    for signal in signals.order_by("read_at"):
        readings[signal.paper_id].append(
            trending.Reading(signal.read_at, signal.upvotes, signal.comments, signal.stars)
        )
    times = sorted({reading.read_at for those in readings.values() for reading in those})
    return [
        trending.Contender(
            paper_id=entry.paper_id,
            listed_from=_listed_from(readings[entry.paper_id], times, day),
            position=entry.position,
            readings=tuple(readings[entry.paper_id]),
            lift=lifts.get(entry.paper_id, 0.0),
        )
        for entry in entries
    ]


def _listed_from(
    readings: Sequence[trending.Reading], times: Sequence[datetime], day: date
) -> datetime:
    """The last reading of the day that lacked the paper; its first hour if none did.

    Others of the day may have been read long before it, as what is listed once more was.
    """
    if not readings:
        return _at(day, 0)
    first = readings[0].read_at
    begins = min(first, _at(day, 0))
    earlier = bisect_left(times, first)
    return max(times[earlier - 1], begins) if earlier else begins


def _note(edition: Edition, failures: Sequence[Fetch], now: datetime) -> str:
    if failures:
        text = _("The last reading of %(source)s failed: %(error)s")
        return "\n".join(
            text % {"source": fetch.source, "error": fetch.error.partition("\n")[0]}
            for fetch in failures
        )
    ended_at = _at(edition.day, 24)
    growing = [each for each in Source.objects.filter(is_enabled=True) if has_votes(each.slug)]
    was_read_again = all(
        _readings(source, edition.day, now).succeeded().filter(started_at__gte=ended_at).exists()
        for source in growing
    )
    if now >= ended_at and not was_read_again:
        return _("This day was not read again after it had ended.")
    return ""


def _at(day: date, hour: int) -> datetime:
    return datetime.combine(day, time(), UTC) + timedelta(hours=hour)


def _lock() -> None:
    """Held to the end of the transaction. SQLite's IMMEDIATE transactions are such a lock."""
    list(Source.objects.order_by("id").select_for_update().values_list("id", flat=True))
