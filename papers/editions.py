"""Records -> papers, their places in editions, their votes; the closing of a day; an editor's word.

A day is recorded whole or not at all, in one short transaction, by set-based statements. All
that changes an edition or closes one takes the same lock first, the rows of Source in the order
of their ids, so that no paper slips into an edition while its number is given.
"""

from __future__ import annotations

import hashlib
import json
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

from . import encoding, trending
from .models import Edition, Entry, Fetch, Paper, Signal, Source, utc_day
from .records import PaperRecord, one_line

log = structlog.get_logger(__name__)

BATCH = 500
MOST_PICKS = 3
NOTE_MAX = 500
NAME_MAX = 100
CLOSER_MAX = 150
MAX_POSITION = 32_767  # a small integer column
_READ = (
    "title", "abstract", "tldr", "authors", "organization", "categories", "keywords",
    "published_at", "project_url", "code_url", "upvotes", "comments", "stars",
)  # fmt: skip
_MERGED = (*_READ, "withdrawn_at")
_SHOWN_IN_MAIL = (
    "title", "abstract", "tldr", "authors", "organization", "project_url", "code_url",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one reading of a day held: papers seen, never seen before, changed by it."""

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
    day afterwards is news in the next open edition, unless the day is backfill.
    """
    unique = {record.arxiv_id: record for record in reversed(records)}
    if not unique:
        return Recorded(seen=0, new=0, updated=0)
    with transaction.atomic():
        _lock()
        merged = _merge(list(reversed(unique.values())), now=now, read_at=read_at)
        _keep_signals(merged, read_at=read_at)
        _place(merged, day, source=source, now=now, backfill=backfill)
    return Recorded(
        seen=len(merged),
        new=sum(each.is_new for each in merged),
        updated=sum(each.is_changed and not each.is_new for each in merged),
    )


def record_paper(record: PaperRecord, *, now: datetime) -> Paper:
    """Stores one paper read by itself just now, with its votes; it is in no edition by that."""
    with transaction.atomic():
        _lock()
        merged = _merge([record], now=now, read_at=now)
        _keep_signals(merged, read_at=now)
    return merged[0].paper


def close_due(now: datetime) -> list[Edition]:
    """Closes the editions whose time has come, oldest day first, and returns them.

    Day D closes at the first of (a) EDITION_QUIET_FROM_HOUR UTC of D or later, when nothing was
    added for EDITION_QUIET_HOURS and the last reading did not fail, and (b) EDITION_CLOSE_HOUR
    UTC of D+1, whatever failed; the failure is noted. An edition that grew meanwhile is left for
    the next round.
    """
    waiting = Edition.objects.open().filter(day__lte=utc_day(now)).order_by("day")
    closed = []
    for edition in waiting:
        fetch = _last_fetch(edition.day, now)
        if _is_due(edition, fetch, now) and (done := _close(edition, fetch, now)):
            closed.append(done)
    return closed


def close_now(edition: Edition, now: datetime, *, by: str) -> bool:
    """Closes it whatever the clock says, under that name; the day's later papers are news in the
    next one. False where it is closed already, or grew at this very moment."""
    if not edition.is_open:
        return False
    return _close(edition, _last_fetch(edition.day, now), now, by=by) is not None


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
    encoding.encode_missing([paper.pk])
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


# -- papers --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Merged:
    record: PaperRecord
    paper: Paper
    is_new: bool
    is_stale: bool  # a later reading of it is known
    is_changed: bool


def _merge(records: Sequence[PaperRecord], *, now: datetime, read_at: datetime) -> list[_Merged]:
    ids = [record.arxiv_id for record in records]
    rows = Paper.objects.filter(arxiv_id__in=ids).order_by("id").select_for_update()
    known = {paper.arxiv_id: paper for paper in rows}
    latest = _latest_readings(known.values())
    merged = []
    for record in records:
        paper = known.get(record.arxiv_id) or Paper(arxiv_id=record.arxiv_id, first_seen_at=now)
        is_new, is_stale = paper.pk is None, latest.get(paper.pk, read_at) > read_at
        is_changed = _apply(record, paper, now=now, is_stale=is_stale)
        merged.append(_Merged(record, paper, is_new, is_stale, is_changed))
    _save([each.paper for each in merged if each.is_changed])
    return merged


def _latest_readings(papers: Iterable[Paper]) -> dict[int, datetime]:
    read = Signal.objects.filter(paper__in=papers).order_by().values_list("paper_id")
    return dict(read.annotate(latest=Max("read_at")))


def _apply(record: PaperRecord, paper: Paper, *, now: datetime, is_stale: bool) -> bool:
    """Merges the record into the row; whether that changed it. What is empty erases nothing."""
    before = [getattr(paper, name) for name in _MERGED]
    text = paper.text
    for name in _READ:
        value = getattr(record, name)
        if not _is_empty(value) and (_is_empty(getattr(paper, name)) or not is_stale):
            setattr(paper, name, list(value) if isinstance(value, tuple) else value)
    if record.withdrawn and paper.withdrawn_at is None:
        paper.withdrawn_at = now
    if paper.text != text:
        paper.encoder, paper.vector = "", b""
    paper.content_hash = _content_hash(paper)
    return paper.pk is None or before != [getattr(paper, name) for name in _MERGED]


def _is_empty(value: object) -> bool:
    return value is None or value in ("", [], ())


def _content_hash(paper: Paper) -> str:
    shown = json.dumps([getattr(paper, name) for name in _SHOWN_IN_MAIL])
    return hashlib.blake2b(shown.encode(), digest_size=16).hexdigest()


def _save(papers: Sequence[Paper]) -> None:
    for paper in papers:
        paper.pk = None  # the row is found by its arXiv id, and its key comes back
    Paper.objects.bulk_create(
        papers,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["arxiv_id"],
        update_fields=[*_MERGED, "content_hash", "encoder", "vector", "updated_at"],
    )


def _keep_signals(merged: Sequence[_Merged], *, read_at: datetime) -> None:
    readings = [
        Signal(
            paper=each.paper,
            read_at=read_at,
            upvotes=each.record.upvotes,
            comments=each.record.comments or 0,
            stars=each.record.stars,
        )
        for each in merged
        if each.record.upvotes is not None
    ]
    Signal.objects.bulk_create(readings, batch_size=BATCH, ignore_conflicts=True)


# -- entries -------------------------------------------------------------------------------


def _place(
    merged: Sequence[_Merged], day: date, *, source: Source, now: datetime, backfill: bool
) -> None:
    edition, _made = Edition.objects.get_or_create(
        day=day, defaults={"is_backfill": backfill, "opened_at": now, "grew_at": now}
    )
    if edition.is_open:
        _add(edition, merged, source=source, now=now)
    elif not (backfill or edition.is_backfill) and (late := _without_entry(merged)):
        current, _made = Edition.objects.get_or_create(
            day=next_open_day(now), defaults={"opened_at": now, "grew_at": now}
        )
        _add(current, late, source=source, now=now)


def _without_entry(merged: Sequence[_Merged]) -> list[_Merged]:
    papers = [each.paper for each in merged]
    placed = set(Entry.objects.filter(paper__in=papers).values_list("paper_id", flat=True))
    return [each for each in merged if each.paper.pk not in placed]


def _add(edition: Edition, merged: Sequence[_Merged], *, source: Source, now: datetime) -> None:
    """Adds the papers that the edition lacks; those it has take their latest position."""
    positions = dict(edition.entries.values_list("paper_id", "position"))
    wanted = [
        each
        for each in merged
        if each.paper.pk not in positions
        or (positions[each.paper.pk] != each.record.position and not each.is_stale)
    ]
    Entry.objects.bulk_create(
        [
            Entry(
                edition=edition,
                paper=each.paper,
                source=source,
                position=each.record.position,
                added_at=now,
            )
            for each in wanted
        ],
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["edition", "paper"],
        update_fields=["position"],
    )
    if any(each.paper.pk not in positions for each in wanted):
        Edition.objects.filter(pk=edition.pk).update(grew_at=now)


# -- closing -------------------------------------------------------------------------------


def _is_due(edition: Edition, fetch: Fetch | None, now: datetime) -> bool:
    if now >= closes_by(edition.day):
        return True
    quiet_from = _at(edition.day, settings.EDITION_QUIET_FROM_HOUR)
    quiet_since = edition.grew_at + timedelta(hours=settings.EDITION_QUIET_HOURS)
    return now >= max(quiet_from, quiet_since) and not _failed(fetch)


def _last_fetch(day: date, now: datetime) -> Fetch | None:
    fetches = Fetch.objects.filter(day=day, started_at__lte=now)
    return fetches.order_by("-started_at", "-id").first()


def _close(edition: Edition, fetch: Fetch | None, now: datetime, *, by: str = "") -> Edition | None:
    # Encoding takes its time, so it is done before the lock.
    paper_ids = sorted(edition.entries.values_list("paper_id", flat=True))
    encoding.encode_missing(paper_ids)
    groups = encoding.duplicate_groups(paper_ids)
    with transaction.atomic():
        _lock()
        entries = list(edition.entries.all())
        has_grown = sorted(entry.paper_id for entry in entries) != paper_ids
        if has_grown or not Edition.objects.open().filter(pk=edition.pk).exists():
            return None
        _rank(entries, edition.day, groups)
        highest = Edition.objects.aggregate(highest=Max("closed_seq"))["highest"]
        edition.closed_seq, edition.closed_at = (highest or 0) + 1, now
        edition.closed_by, edition.note = one_line(by)[:CLOSER_MAX], _note(edition, fetch, now)
        edition.save(update_fields=["closed_seq", "closed_at", "closed_by", "note"])
    log.info(
        "edition closed",
        day=edition.day,
        closed_seq=edition.closed_seq,
        papers=len(entries),
        duplicates=len(groups),
    )
    return edition


def _rank(entries: Sequence[Entry], day: date, groups: dict[int, int]) -> None:
    placed = {place.paper_id: place for place in trending.rank(_contenders(entries, day))}
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


def _contenders(entries: Sequence[Entry], day: date) -> list[trending.Contender]:
    readings: dict[int, list[trending.Reading]] = defaultdict(list)
    signals = Signal.objects.filter(paper__in=[entry.paper_id for entry in entries])
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
        )
        for entry in entries
    ]


def _listed_from(
    readings: Sequence[trending.Reading], times: Sequence[datetime], day: date
) -> datetime:
    """The last reading of the day that lacked the paper; its first hour if none did."""
    if not readings:
        return _at(day, 0)
    first = readings[0].read_at
    earlier = bisect_left(times, first)
    return times[earlier - 1] if earlier else min(first, _at(day, 0))


def _note(edition: Edition, fetch: Fetch | None, now: datetime) -> str:
    if fetch is not None and _failed(fetch):
        error = fetch.error.partition("\n")[0]
        return _("The last reading of this day failed: %(error)s") % {"error": error}
    ended_at = _at(edition.day, 24)
    read_after = Fetch.objects.succeeded().filter(
        day=edition.day, started_at__gte=ended_at, started_at__lte=now
    )
    if now >= ended_at and not read_after.exists():
        return _("This day was not read again after it had ended.")
    return ""


def _failed(fetch: Fetch | None) -> bool:
    return fetch is not None and fetch.status == Fetch.Status.FAILED


def _at(day: date, hour: int) -> datetime:
    return datetime.combine(day, time(), UTC) + timedelta(hours=hour)


def _lock() -> None:
    """Held to the end of the transaction. SQLite's IMMEDIATE transactions are such a lock."""
    list(Source.objects.order_by("id").select_for_update().values_list("id", flat=True))
