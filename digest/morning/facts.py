"""What the morning page is made of: read at most once a minute, holds and doubts each time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.core.cache import cache
from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDate, TruncHour

from papers import freshness
from papers.models import Edition, Entry, utc_day
from subscribers.models import ConsentEvent, Subscriber, Suppression

from .. import accounts, health, sending
from ..accounts import Account, Delay
from ..health import Check
from ..models import Digest, Hold

FACTS_SECONDS, DELAYS_SECONDS = 60, 600
DAYS = 30
RATED_DAYS = 7
_TOLD_APART = ("database", "editions", "sources", "accounts")  # or not at all

State = Digest.State


@dataclass(frozen=True, slots=True)
class Day:
    """An edition in numbers."""

    pk: int
    day: date
    papers: int
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the page counts, as it was at `as_of`.

    overdue: editions that should have closed. recent: accounts of the newest slots, newest first.
    skipped: why, in the slot of today. readers: active ones at the end of each day. due: readers
    who fall due, by hour. delays: by UTC hour of the due moment, in the slot `delays_of`.
    """

    as_of: datetime
    closed: Day | None
    open: tuple[Day, ...]
    overdue: tuple[Day, ...]
    recent: tuple[Account, ...]
    broken: tuple[Account, ...]
    skipped: Mapping[str, int]
    readers: tuple[tuple[date, int], ...]
    due_now: int
    due: tuple[tuple[datetime, int], ...]
    delays_of: date | None
    delays: Mapping[int, Delay]
    stale: tuple[tuple[int, str, str], ...]
    ill: tuple[Check, ...]
    bounces: int
    complaints: int

    @property
    def today(self) -> date:
        return utc_day(self.as_of)

    def account(self, day: date) -> Account | None:
        return next((each for each in self.recent if each.date == day), None)


@dataclass(frozen=True, slots=True)
class Live:
    """What is read anew each time, because a click on this page changes it."""

    hold: Hold | None
    uncertain: int


def facts_at(now: datetime) -> Facts:
    facts: Facts | None = cache.get("morning")
    if facts is None:
        facts = _read(now)
        cache.set("morning", facts, FACTS_SECONDS)
    return facts


def live() -> Live:
    uncertain = Digest.objects.filter(state=State.UNCERTAIN).count()
    return Live(hold=sending.current_hold(), uncertain=uncertain)


def _read(now: datetime) -> Facts:
    today = utc_day(now)
    recent = health.recent_accounts(now)
    delays_of = next((each.date for each in recent if each.sent and each.date <= today), None)
    since = now - timedelta(days=RATED_DAYS)
    return Facts(
        as_of=now,
        closed=_newest_closed(),
        open=tuple(map(_numbers, Edition.objects.open().order_by("day"))),
        overdue=tuple(map(_numbers, health.overdue_editions(now))),
        recent=tuple(recent),
        broken=tuple(health.broken(recent)),
        skipped=_skipped(today),
        readers=tuple(walked_back(_active(), today, changes=_changes(today))),
        due_now=Subscriber.objects.due(now).count(),
        due=tuple(_due_by_hour(now)),
        delays_of=delays_of,
        delays=_delays_lately(delays_of) if delays_of else {},
        stale=tuple(
            (each.source.pk, each.source.name, each.said)
            for each in freshness.all_sources(now)
            if not each.is_fresh
        ),
        ill=tuple(
            check
            for check in health.checks(now)
            if not check.is_ok and check.name not in _TOLD_APART
        ),
        bounces=_suppressed(Suppression.Reason.BOUNCE, since=since),
        complaints=_suppressed(Suppression.Reason.COMPLAINT, since=since),
    )


def _newest_closed() -> Day | None:
    edition = Edition.objects.news().filled().order_by("-day").first()
    return _numbers(edition) if edition else None


def _numbers(edition: Edition) -> Day:
    papers = Entry.objects.standing().filter(edition=edition).count()
    return Day(edition.pk, edition.day, papers, edition.closed_at)


def _skipped(day: date) -> dict[str, int]:
    rows = Digest.objects.filter(slot__date=day, state=State.SKIPPED).order_by()
    return dict(rows.values_list("skip_reason").annotate(number=Count("*")))


def _active() -> int:
    return Subscriber.objects.active().count()


def _changes(today: date) -> dict[date, int]:
    """Day -> readers won less readers lost. Whoever never confirmed was no reader to lose."""
    kinds = ConsentEvent.Kind
    since = datetime.combine(today - timedelta(days=DAYS), time(), UTC)
    events = ConsentEvent.objects.filter(at__gte=since)
    changes = Counter(_byday_name(events.filter(kind__in=[kinds.CONFIRMED, kinds.RESUBSCRIBED])))
    changes.subtract(
        _byday_name(events.filter(kind=kinds.UNSUBSCRIBED, subscriber__confirmed_at__isnull=False))
    )
    return changes


def _byday_name(events: QuerySet[ConsentEvent]) -> dict[date, int]:
    days = events.annotate(day=TruncDate("at", tzinfo=UTC)).order_by().values_list("day")
    return dict(days.annotate(number=Count("*")))


def walked_back(
    present: int, today: date, *, changes: Mapping[date, int]
) -> list[tuple[date, int]]:
    """(day, readers at its end), oldest first, from what there are and what each day changed."""
    days, number = [], present
    for back in range(DAYS + 1):
        day = today - timedelta(days=back)
        days.append((day, max(number, 0)))
        number -= changes.get(day, 0)
    return days[::-1]


def _due_by_hour(now: datetime) -> list[tuple[datetime, int]]:
    coming = Subscriber.objects.active().filter(
        next_due_at__gt=now, next_due_at__lte=now + timedelta(days=1)
    )
    hours = coming.annotate(due_hour=TruncHour("next_due_at", tzinfo=UTC)).order_by("due_hour")
    return list(hours.values_list("due_hour").annotate(number=Count("*")))


def _delays_lately(day: date) -> Mapping[int, Delay]:
    """Reading them reads every digest of the slot, so it is done less often than the rest."""
    key = f"morning-delays:{day}"
    found: Mapping[int, Delay] | None = cache.get(key)
    if found is None:
        found = _delays(day)
        cache.set(key, found, DELAYS_SECONDS)
    return found


def _delays(day: date) -> dict[int, Delay]:
    """A batch shares its moments, so there are few pairs of them however many digests."""
    sent = Digest.objects.filter(slot__date=day, state=State.SENT).order_by()
    by_hour: dict[int, Counter[timedelta]] = defaultdict(Counter)
    pairs = sent.values_list("due_at", "sent_at").annotate(number=Count("*"))
    for due_at, sent_at, number in pairs:
        by_hour[due_at.hour][max(sent_at - due_at, timedelta())] += number
    judged = {hour: accounts.delay_of(delays) for hour, delays in by_hour.items()}
    return {hour: delay for hour, delay in judged.items() if delay is not None}


def _suppressed(reason: str, *, since: datetime) -> int:
    return Suppression.objects.filter(reason=reason, created_at__gte=since).count()
