"""Rows -> pure core -> Digest rows, a batch of readers at a time.

Planning reads and ranks outside any transaction. Writing is one short transaction in which every
reader's `next_due_at` is advanced where it is still as planned and, for those, the slot is counted
up and one Digest inserted. Whoever loses the race writes nothing.
"""

from __future__ import annotations

import json
import logging
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypedDict

import numpy as np
import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import (
    Case,
    Exists,
    F,
    Field,
    Func,
    JSONField,
    Max,
    Model,
    OuterRef,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest

from papers.models import Edition
from subscribers import schedule
from subscribers.models import Subscriber, Suppression

from . import candidates, letters, profile, ranking, shares, told
from .by_row import ByRow
from .candidates import Candidates, News
from .compose import Item, Line, compose
from .models import Digest, Hold, Slot
from .rendering import frame_of
from .rows import insert_rows, spelled

log = structlog.get_logger(__name__)

BATCH = 500
THIN_BATCHES = 10  # a call: five million a day, should it be called every minute
FRESH_SECONDS = 60
WINDOW_DAYS, WEEKLY_WINDOW_DAYS = 7, candidates.LONGEST_WINDOW_DAYS
_WAITING = (Digest.State.ASSEMBLED, Digest.State.CLAIMED, Digest.State.RETRY)

rule_of = told.rule_of


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom to choose, and among what.

    since: editions from this day on. cursor: only editions closed after it; without one, open
    ones too. newest_only: only the newest of those (a first digest). shown: ids of papers never
    to show again.
    """

    facts: profile.ReaderFacts
    places: int
    since: date
    cursor: int = -1
    newest_only: bool = False
    shown: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reader would get: items, out of how many candidates, of which editions.

    since: as of compose.Frame.
    """

    items: tuple[Item, ...] = ()
    candidates: int = 0
    edition_day: date | None = None
    closed_seq: int = 0
    since: date | None = None


def assemble_due(
    now: datetime,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    token: uuid.UUID | None = None,
) -> int:
    """Digests for readers whose due moment has passed; how many clocks were advanced.

    Goes on until nobody is due whom no other worker has in hand, so that days of downtime leave
    one row for each missed slot; or until `should_stop`, asked between batches. A reader whose
    clock would not move (another worker was faster, or what they told us cannot be read) is left
    for the next call and stops nobody. What becomes of the papers meanwhile is seen after a minute.

    token: whose leases these are; it also says where to begin, so that workers begin apart.
    """
    token = token or uuid.uuid4()
    morning = _Morning(now)
    left: set[int] = set()
    count, before = 0, -1
    while count > before and not should_stop():
        before = count
        for share in _shuffled(shares.due(now), token):
            if should_stop():
                break
            morning = morning.of_late()
            count += _work_off(share, morning, token, left=left, should_stop=should_stop)
    return count


def late_before(now: datetime) -> datetime:
    """Digests that fell due before this moment are late, for their slot or by a hold's word."""
    limit = now - timedelta(hours=settings.LATE_LIMIT_HOURS)
    held = Hold.objects.aggregate(newest=Max("late_before"))["newest"]
    return limit if held is None else max(limit, held)


def thin_old(now: datetime) -> int:
    """Old digests keep which papers they showed (none may come twice) and lose the rest.

    Their mails cannot be made again from then on.
    """
    thinned = 0
    for _ in range(THIN_BATCHES):
        old = Digest.objects.to_thin(now).order_by("assembled_at").values_list("pk", "items")
        thin = {pk: json.dumps([_thin(item) for item in items]) for pk, items in old[:BATCH]}
        rows = Digest.objects.filter(pk__in=thin)
        thinned += rows.update(items=ByRow(thin, JSONField()), thinned_at=now) if thin else 0
        if len(thin) < BATCH:
            break
    return thinned


def _thin(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"paper_id": item["paper_id"], "section": item["section"], "score": 0.0}


def choose(
    readers: Sequence[Reader], editions: Sequence[Edition], *, now: datetime
) -> list[Choice]:
    """One Choice per reader out of `editions`. Reads, ranks and writes nothing."""
    return _choices(readers, candidates.read(editions, now=now), now=now)


def facts_of(subscribers: Sequence[Subscriber]) -> dict[int, profile.ReaderFacts]:
    """What the readers told us, by subscriber id; four queries for any number of readers."""
    return told.facts_of([subscriber.pk for subscriber in subscribers])


def upcoming(
    subscriber: Subscriber,
    *,
    now: datetime,
    also_muted: tuple[profile.Rule, ...] = (),
    also_topics: tuple[profile.TopicFacts, ...] = (),
) -> Choice:
    """What the reader would get if their digest were made now, and if they had said this besides.
    Writes nothing.
    """
    news = candidates.read(candidates.editions_for(now), now=now)
    facts = told.facts_of([subscriber.pk])[subscriber.pk]
    reader = Reader(
        replace(facts, muted=facts.muted + also_muted, topics=facts.topics + also_topics),
        subscriber.papers_per_digest,
        **_limits(
            subscriber.cursor,
            slot=schedule.slot_date(now, subscriber.time_zone),
            is_weekly=subscriber.is_weekly,
        ),
    )
    (reader,) = _with_what_they_had({subscriber.pk: reader}, news).values()
    return _choices([reader], news, now=now)[0]


# -- a share of the morning ----------------------------------------------------------------


class _Morning:
    """What is the same for all readers, read when the first of them needs it."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._began = time.monotonic()

    def of_late(self) -> _Morning:
        return self if time.monotonic() - self._began < FRESH_SECONDS else _Morning(self.now)

    @cached_property
    def candidates(self) -> Candidates:
        return candidates.read(candidates.editions_for(self.now), now=self.now)

    @cached_property
    def late_before(self) -> datetime:
        return late_before(self.now)


def _shuffled(found: Iterable[shares.Share], token: uuid.UUID) -> list[shares.Share]:
    order = list(found)
    random.Random(token.int).shuffle(order)  # noqa: S311  no secret
    return order


def _work_off(
    share: shares.Share,
    morning: _Morning,
    token: uuid.UUID,
    *,
    left: set[int],
    should_stop: Callable[[], bool],
) -> int:
    """How many clocks of the share were advanced; the readers of the others are now in `left`."""
    count = 0
    with shares.held(share, token) as is_ours:
        due = [pk for pk in share.due_ids(morning.now) if pk not in left] if is_ours else []
        for start in range(0, len(due), BATCH):
            if should_stop() or not shares.renew(share, token):
                break
            some = due[start : start + BATCH]
            advanced = _assemble(_due(some, morning.now), morning)
            left.update(pk for pk in some if pk not in advanced)
            count += len(advanced)
    return count


# -- planning ------------------------------------------------------------------------------


class _Due(NamedTuple):
    """A reader who is due, as light as they can be read."""

    pk: int
    cadence: str
    days: list[int]
    hour: int
    time_zone: str
    language: str
    papers_per_digest: int
    paused_until: date | None
    next_due_at: datetime
    last_slot: date | None
    cursor: int
    confirmed_at: datetime
    is_suppressed: bool
    has_history: bool
    has_waiting: bool = False  # an older digest that has not left

    @property
    def is_weekly(self) -> bool:
        return self.cadence == Subscriber.Cadence.WEEKLY


_COLUMNS = _Due._fields[: _Due._fields.index("is_suppressed")]


@dataclass(slots=True)
class _Digest:
    """One to be written. items, frame: JSON as text."""

    state: str = Digest.State.ASSEMBLED
    skip_reason: str = ""
    items: str = "[]"
    frame: str = "{}"
    candidates: int = 0
    edition_day: date | None = None
    closed_seq: int = 0
    is_first: bool = False
    uuid: uuid.UUID = field(default_factory=uuid.uuid4)

    def skip(self, reason: str) -> None:
        self.state, self.skip_reason = Digest.State.SKIPPED, reason


@dataclass(frozen=True, slots=True)
class _Plan:
    reader: _Due
    clockwork: _Clockwork
    digest: _Digest | None  # None where the slot has had its digest: only the clock moves


class _Clockwork(NamedTuple):
    """The slot that fell due, and the moment after it. is_repeated: the slot had its digest."""

    slot: date
    last_slot: date
    next_due_at: datetime
    is_repeated: bool
    is_paused: bool


def _due(ids: Sequence[int], now: datetime) -> list[_Due]:
    """Those of them to assemble for now. One whose digest is being sent this moment, or may have
    left and will be tried once more, is waited for: its papers cannot be taken back.
    """
    left = Digest.objects.filter(
        subscriber=OuterRef("pk"), state__in=[Digest.State.SENT, Digest.State.UNCERTAIN]
    )
    suppressed = Suppression.objects.filter(address_hash=OuterRef("address_hash"))
    rows = (
        Subscriber.objects.due(now)
        .filter(pk__in=ids)
        .order_by("pk")
        .values_list(*_COLUMNS, Exists(suppressed), Exists(left))
    )
    stands = {pk: (state, transport) for pk, state, transport in _open_digests(ids)}
    awaited = {pk for pk, (state, by) in stands.items() if by or state == Digest.State.SENDING}
    return [_Due._make((*row, row[0] in stands)) for row in rows if row[0] not in awaited]


def _open_digests(ids: Collection[int]) -> Iterable[tuple[int, str, str]]:
    """(subscriber, state, transport)."""
    digests = Digest.objects.open().filter(subscriber__in=ids).order_by()
    return digests.values_list("subscriber_id", "state", "transport")


def _assemble(batch: Sequence[_Due], morning: _Morning) -> set[int]:
    """Ids of the readers whose clock moved. A batch that fails is halved until who is to blame
    stands alone.
    """
    if not batch:
        return set()
    try:
        plans = [_plan_for(reader) for reader in batch]
        _supersede(plans, now=morning.now)
        _plan(plans, morning)
        return _write(plans, now=morning.now)
    except (OperationalError, InterfaceError):
        raise  # the database's trouble is everybody's
    except Exception:
        if len(batch) == 1:
            log.exception("reader stays due", reader=_uuid_of(batch[0]))
            return set()
    middle = len(batch) // 2
    return _assemble(batch[:middle], morning) | _assemble(batch[middle:], morning)


def _uuid_of(reader: _Due) -> uuid.UUID:
    return Subscriber.objects.values_list("uuid", flat=True).get(pk=reader.pk)


def _plan_for(reader: _Due) -> _Plan:
    clockwork = _clockwork(
        reader.cadence, tuple(reader.days), reader.hour, reader.time_zone,
        reader.paused_until, reader.next_due_at, reader.last_slot,
    )  # fmt: skip
    return _Plan(reader, clockwork, None if clockwork.is_repeated else _Digest())


@lru_cache(maxsize=8192)  # the readers of one morning have few rhythms
def _clockwork(
    cadence: str,
    days: tuple[int, ...],
    hour: int,
    time_zone: str,
    paused_until: date | None,
    due_at: datetime,
    last_slot: date | None,
) -> _Clockwork:
    reader = Subscriber(
        cadence=cadence, days=list(days), hour=hour, time_zone=time_zone, paused_until=paused_until
    )
    slot = schedule.slot_date(due_at, time_zone)
    is_repeated = last_slot is not None and slot <= last_slot
    newest = last_slot if last_slot is not None and is_repeated else slot
    next_due_at = reader.due_after(due_at, last_slot=newest)
    return _Clockwork(slot, newest, next_due_at, is_repeated, reader.is_paused(slot))


def _supersede(plans: Sequence[_Plan], *, now: datetime) -> None:
    """Takes back what has not left, before planning, so that its papers can be chosen again.

    Only from readers who are due still: what a faster worker has just made is not the older one.
    """
    ids = [p.reader.pk for p in plans if p.digest is not None and p.reader.has_waiting]
    if not ids:
        return
    readers = Subscriber.objects.due(now).filter(pk__in=ids)
    Digest.objects.filter(subscriber__in=readers, state__in=_WAITING, transport="").update(
        state=Digest.State.SKIPPED,
        skip_reason=Digest.SkipReason.SUPERSEDED,
        claim_token=None,
        lease_until=None,
        retry_at=None,
    )


def _plan(plans: Sequence[_Plan], morning: _Morning) -> None:
    """Decides what becomes of each digest, and fills those that are to be sent."""
    writers = []
    for plan in plans:
        if plan.digest is not None:
            _rule_out(plan.digest, plan, limit=morning.late_before)
            if plan.digest.state == Digest.State.ASSEMBLED:
                writers.append((plan, plan.digest))
    if writers:
        _fill(writers, morning)


def _rule_out(digest: _Digest, plan: _Plan, *, limit: datetime) -> None:
    if plan.reader.is_suppressed:
        digest.state = Digest.State.SUPPRESSED
    elif plan.clockwork.is_paused:
        digest.skip(Digest.SkipReason.PAUSED)
    elif plan.reader.next_due_at < limit:
        digest.skip(Digest.SkipReason.LATE)


def _fill(plans: Sequence[tuple[_Plan, _Digest]], morning: _Morning) -> None:
    facts = told.facts_of([plan.reader.pk for plan, _ in plans])
    readers = {
        plan.reader.pk: Reader(
            facts[plan.reader.pk],
            plan.reader.papers_per_digest,
            **_limits(
                plan.reader.cursor, slot=plan.clockwork.slot, is_weekly=plan.reader.is_weekly
            ),
        )
        for plan, _ in plans
    }
    readers = _with_what_they_had(readers, morning.candidates)
    pages = _pages(list(readers.values()), morning.candidates, now=morning.now)
    for (plan, digest), page in zip(plans, pages, strict=True):
        _freeze(digest, page, plan)


def _freeze(digest: _Digest, page: _Page, plan: _Plan) -> None:
    digest.is_first = not plan.reader.has_history
    digest.candidates = page.candidates
    digest.edition_day = page.edition_day
    digest.closed_seq = page.closed_seq
    if page.news is None or not page.lines:
        digest.skip(Digest.SkipReason.NOTHING)
        return
    digest.items = page.news.shelf.as_json(page.lines)
    reader = plan.reader
    digest.frame = _frame(
        reader.cadence, tuple(reader.days), reader.hour, reader.time_zone, reader.language,
        reader.confirmed_at.date(), plan.clockwork.next_due_at, page.news.since,
    )  # fmt: skip


@lru_cache(maxsize=8192)
def _frame(
    cadence: str,
    days: tuple[int, ...],
    hour: int,
    time_zone: str,
    language: str,
    consented_on: date,
    next_due_at: datetime,
    since: date | None,
) -> str:
    """compose.Frame as JSON."""
    reader = Subscriber(
        cadence=cadence, days=list(days), hour=hour, time_zone=time_zone, language=language
    )
    frame = frame_of(reader, next_due_at=next_due_at)
    return json.dumps(replace(frame, consented_on=consented_on, since=since).to_json())


class _Limits(TypedDict):
    since: date
    cursor: int
    newest_only: bool


def _limits(cursor: int, *, slot: date, is_weekly: bool) -> _Limits:
    # Nobody's cursor is 0 once a digest has dealt with an edition, be it by silence.
    is_new = cursor == 0
    days = WEEKLY_WINDOW_DAYS if is_weekly else WINDOW_DAYS
    since = date.min if is_new else slot - timedelta(days=days)
    return {"since": since, "cursor": cursor, "newest_only": is_new}


def _with_what_they_had(readers: Mapping[int, Reader], among: Candidates) -> dict[int, Reader]:
    """Each reader with the candidates that were in one of their digests already.

    The cursor keeps editions from coming twice, so only a paper that was listed before (in
    another edition) can have been shown: where there is none, nothing is read.
    """
    ids = [
        pk
        for pk, reader in readers.items()
        if (news := _news(reader, among)) is not None and news.may_repeat
    ]
    found: dict[int, set[int]] = defaultdict(set)
    if ids:
        digests = Digest.objects.shown().filter(
            subscriber_id__in=ids, slot__date__gte=among.first_listed
        )
        for pk, papers in digests.order_by().values_list("subscriber_id", _PaperIds("items")):
            found[pk].update(papers)
    return {
        pk: replace(reader, shown=among.listed_before & found[pk]) if pk in found else reader
        for pk, reader in readers.items()
    }


class _PaperIds(Func):
    """Of stored items. Reasons and scores, which are ten times as long, stay in the database."""

    output_field = JSONField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        each = "SELECT json_group_array(json_extract(value, '$.paper_id')) FROM json_each"
        template = f"({each}(%(expressions)s))"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "jsonb_path_query_array(%(expressions)s, '$[*].paper_id')"
        return self.as_sql(compiler, connection, template=template, **context)


# -- choosing ------------------------------------------------------------------------------


class _Page(NamedTuple):
    """A Choice before its papers are looked up: places among the news."""

    news: News | None = None
    lines: Sequence[Line] = ()
    candidates: int = 0
    edition_day: date | None = None
    closed_seq: int = 0

    @property
    def items(self) -> tuple[Item, ...]:
        return () if self.news is None else tuple(self.news.shelf.items(self.lines))

    @property
    def since(self) -> date | None:
        return None if self.news is None else self.news.since


def _choices(readers: Sequence[Reader], among: Candidates, *, now: datetime) -> list[Choice]:
    pages = _pages(readers, among, now=now)
    return [
        Choice(page.items, page.candidates, page.edition_day, page.closed_seq, page.since)
        for page in pages
    ]


def _pages(readers: Sequence[Reader], among: Candidates, *, now: datetime) -> list[_Page]:
    """Those with the same news are ranked together."""
    together: dict[News | None, list[int]] = defaultdict(list)
    for place, reader in enumerate(readers):
        together[_news(reader, among)].append(place)
    pages: dict[int, _Page] = {}
    for news, places in together.items():
        some = [readers[place] for place in places]
        pages.update(zip(places, _pages_of(news, some, among, now=now), strict=True))
    return [pages[place] for place in range(len(readers))]


def _pages_of(
    news: News | None, readers: Sequence[Reader], among: Candidates, *, now: datetime
) -> list[_Page]:
    if news is None:
        return [_Page(closed_seq=reader.cursor) for reader in readers]
    profiles = [profile.build(reader.facts, now=now) for reader in readers]
    ranked = ranking.rank(profiles, news.corpus, texts=among.texts(profiles))
    return [_page(reader, each, news) for reader, each in zip(readers, ranked, strict=True)]


def _page(reader: Reader, ranked: ranking.Ranking, news: News) -> _Page:
    place_of = news.corpus.place_of
    allowed = np.ones(len(place_of), np.bool_)
    allowed[[place_of[paper] for paper in reader.shown if paper in place_of]] = False
    lines = compose(ranked, news.shelf, allowed, places=reader.places)
    newest = news.newest
    return _Page(news, lines, int(allowed.sum()), newest.day, newest.closed_seq or reader.cursor)


def _news(reader: Reader, among: Candidates) -> News | None:
    return among.news(reader.cursor, reader.since, newest_only=reader.newest_only)


# -- writing -------------------------------------------------------------------------------

_WRITTEN = (
    "uuid", "subscriber", "slot", "due_at", "is_first", "is_weekly", "items", "candidates",
    "edition_day", "closed_seq", "frame", "state", "skip_reason", "assembled_at",
)  # fmt: skip


@transaction.atomic
def _write(plans: Sequence[_Plan], *, now: datetime) -> set[int]:
    """Advances the clocks that are still as planned, and writes their digests; whose moved."""
    moved = _as_planned(plans)
    if not moved:
        return set()
    _advance(moved)
    made = [(plan, plan.digest) for plan in moved if plan.digest is not None]
    due = Counter(plan.clockwork.slot for plan, _ in made)
    _insert(made, _slots(due), now=now)
    letters.after_silence(
        {
            plan.reader.pk: digest.is_first
            for plan, digest in made
            if digest.skip_reason == Digest.SkipReason.NOTHING
        },
        now=now,
    )
    # The last of all: every worker waits for these few rows.
    _count_due(due)
    return {plan.reader.pk for plan in moved}


def _as_planned(plans: Sequence[_Plan]) -> list[_Plan]:
    """Those whose reader is active still, due since the same moment and, where there is a digest
    to be made, has no open one. Their rows are locked, so that exactly one of any number of
    workers sees them so.
    """
    ids = sorted(plan.reader.pk for plan in plans)
    # In one order everywhere, so that two workers never wait for each other's rows. SQLite has no
    # such lock: its transaction has held the only one since it began.
    rows = Subscriber.objects.active().filter(pk__in=ids).order_by("pk")
    locked = rows.select_for_update(no_key=True).values_list("pk", "next_due_at", "cursor")
    # A cursor that moved: an older digest has left meanwhile, with papers that were chosen again.
    stands = {pk: (due_at, cursor) for pk, due_at, cursor in locked}
    busy = {pk for pk, *_ in _open_digests(ids)}
    return [
        plan
        for plan in plans
        if stands.get(plan.reader.pk) == (plan.reader.next_due_at, plan.reader.cursor)
        and (plan.digest is None or plan.reader.pk not in busy)
    ]


def _advance(plans: Sequence[_Plan]) -> None:
    """One UPDATE. What says nothing has dealt with its editions, so the cursor moves with it."""
    of = {plan.reader.pk: plan.clockwork for plan in plans}
    changes = {
        "next_due_at": _each({pk: clock.next_due_at for pk, clock in of.items()}, "next_due_at"),
        "last_slot": _each({pk: clock.last_slot for pk, clock in of.items()}, "last_slot"),
        "silent_slots": _silent_slots(plans),
    }
    silent = {
        plan.reader.pk: plan.digest.closed_seq
        for plan in plans
        if plan.digest is not None and plan.digest.skip_reason == Digest.SkipReason.NOTHING
    }
    if silent:
        changes["cursor"] = Case(
            *(
                When(
                    pk__in=[pk for pk, seq in silent.items() if seq == dealt_with],
                    then=Greatest(F("cursor"), dealt_with),
                )
                for dealt_with in set(silent.values())
            ),
            default=F("cursor"),
        )
    Subscriber.objects.filter(pk__in=of).update(**changes)


def _silent_slots(plans: Sequence[_Plan]) -> Combinable:
    """One more where there was nothing to send, none where there is; a pause says neither."""
    column = _field(Subscriber, "silent_slots")
    none = Value(0, output_field=column)
    made = {p.reader.pk: p.digest for p in plans if p.digest is not None}
    heard = [pk for pk, digest in made.items() if digest.state == Digest.State.ASSEMBLED]
    if len(heard) == len(plans):
        return none
    nothing = Digest.SkipReason.NOTHING
    silent = [pk for pk, digest in made.items() if digest.skip_reason == nothing]
    return Case(
        When(pk__in=silent, then=F("silent_slots") + 1),
        When(pk__in=heard, then=none),
        default=F("silent_slots"),
        output_field=column,
    )


def _each(values: Mapping[int, Hashable], name: str) -> Combinable:
    """Primary key -> value; most batches have one for all."""
    column = _field(Subscriber, name)
    if len(different := set(values.values())) == 1:
        return Value(different.pop(), output_field=column)
    texts = {value: str(spelled(column, value)) for value in different}
    return ByRow({pk: texts[value] for pk, value in values.items()}, output_field=column)


def _slots(days: Iterable[date]) -> dict[date, Slot]:
    return {day: Slot.objects.get_or_create(date=day)[0] for day in sorted(days)}


def _count_due(due: Counter[date]) -> dict[date, Slot]:
    slots = _slots(due)
    for day, count in sorted(due.items()):
        # What was counted for good is so no longer: new digests belong to it.
        Slot.objects.filter(date=day).update(due=F("due") + count, counts=None)
    return slots


def _insert(
    made: Sequence[tuple[_Plan, _Digest]], slots: Mapping[date, Slot], *, now: datetime
) -> None:
    if not made:
        return
    rows = [_row(plan, digest, slots[plan.clockwork.slot].pk, now) for plan, digest in made]
    insert_rows(Digest, _WRITTEN, rows)
    states = Counter(str(digest.skip_reason or digest.state) for _, digest in made)
    log.info("digests assembled", digests=len(made), **dict(sorted(states.items())))
    if log.isEnabledFor(logging.DEBUG):
        for _, digest in made:
            log.debug(f"digest {digest.state}", digest=digest.uuid, why=digest.skip_reason)


def _row(plan: _Plan, digest: _Digest, slot_id: int, now: datetime) -> tuple[object, ...]:
    """In the order of _WRITTEN."""
    return (
        digest.uuid.hex, plan.reader.pk, slot_id,
        _spelled("due_at", plan.reader.next_due_at), digest.is_first, plan.reader.is_weekly,
        digest.items, digest.candidates, _spelled("edition_day", digest.edition_day),
        digest.closed_seq, digest.frame, str(digest.state), str(digest.skip_reason),
        _spelled("assembled_at", now),
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _spelled(name: str, value: Hashable) -> object:
    return spelled(_field(Digest, name), value)


def _field(model: type[Model], name: str) -> Field[Any, Any]:
    found = model._meta.get_field(name)
    assert isinstance(found, Field), "a column of its own"
    return found
