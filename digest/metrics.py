"""What a monitor reads: numbers out of the database, the same whatever process answers.

They are read at most every SCRAPE_SECONDS, so a second monitor costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Count
from django.utils import timezone
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from papers import freshness
from papers.freshness import Freshness
from papers.models import Edition, Entry
from subscribers import flow
from subscribers.models import Subscriber, Suppression

from . import health
from .models import DeliveryEvent, Digest, Hold

SCRAPE_SECONDS = 30
EVENTS_FOR = timedelta(hours=24)
# So that the number of series stays the same for ever.
SLOTS = ("current", "previous")

Samples = Iterable[tuple[tuple[str, ...], float]]


def exposition() -> bytes:
    """The whole answer: the installation's numbers, then this process's own."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Installation())
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return generate_latest(registry)


class _Installation(Collector):
    def collect(self) -> Iterable[Metric]:
        found: list[Metric] | None = cache.get("metrics")
        if found is None:
            found = list(families(timezone.now()))
            cache.set("metrics", found, SCRAPE_SECONDS)
        return [_build(), *found]


def families(now: datetime) -> Iterator[Metric]:
    yield from _readers()
    yield from _slots(now)
    yield from _waiting(now)
    yield from _transports(now)
    yield from _processes(now)
    yield from _sources(now)
    yield from _papers(now)
    yield from _complaints(now)


def _build() -> Metric:
    info = InfoMetricFamily("paperround_build", "The version that answers.")
    info.add_metric([], {"version": settings.VERSION})
    return info


def _readers() -> Iterator[Metric]:
    rows = Subscriber.objects.order_by().values_list("state").annotate(number=Count("*"))
    yield _by("readers", "Readers by state.", "state", _filled(Subscriber.State.values, dict(rows)))


def _slots(now: datetime) -> Iterator[Metric]:
    """Of the newest slot and the one before it; the sums over all that are looked at."""
    recent = health.recent_accounts(now)
    broken = {account.date for account in health.broken(recent)}
    labelled = list(zip(SLOTS, recent, strict=False))
    yield _family(
        "slot_digests",
        "Digests of a slot by state.",
        ["slot", "state"],
        (
            ((slot, state), account.count(state))
            for slot, account in labelled
            for state in Digest.State.values
        ),
    )
    due = {slot: account.due for slot, account in labelled}
    yield _by("slot_due_readers", "Readers who fell due in a slot.", "slot", due)
    began = {slot: _midnight(account.date) for slot, account in labelled}
    yield _by("slot_timestamp_seconds", "The slot's date, at midnight UTC.", "slot", began)
    gaps = {slot: account.missing * (account.date in broken) for slot, account in labelled}
    text = "Readers who fell due in a slot less its digests; anything but 0 is a fault."
    yield _by("slot_conservation_gap", text, "slot", gaps)
    text = f"Slots of the last {health.SLOTS} that do not add up; must be 0."
    yield _one("slots_not_conserved", text, len(broken))


def _waiting(now: datetime) -> Iterator[Metric]:
    open_rows = Digest.objects.open().order_by().values_list("state").annotate(number=Count("*"))
    text = "Digests that have not ended, by state."
    yield _by("open_digests", text, "state", _filled(Digest.OPEN, dict(open_rows)))
    uncertain = Digest.objects.filter(state=Digest.State.UNCERTAIN).count()
    yield _one("uncertain_digests", "Digests that may or may not have left.", uncertain)
    oldest = {
        "reader": _seconds_since(health.oldest_due_reader(now), now),
        "digest": _seconds_since(health.oldest_due_digest(now), now),
        "service_mail": _seconds_since(health.oldest_due_service_mail(now), now),
    }
    text = "For how long the oldest that is due has waited; 0 where none waits."
    yield _by("oldest_due_age_seconds", text, "what", oldest)
    held = Hold.objects.in_force().exists()
    yield _one("hold_in_force", "1 while the operator holds sending.", held)


def _transports(now: datetime) -> Iterator[Metric]:
    """Nothing where the settings name none that can be used: then no mail leaves, and the log
    says why.
    """
    try:
        stand = flow.standings(now)
    except ImproperlyConfigured:
        return
    limits = {each.name: each.limit for each in stand if each.limit is not None}
    text = "Mails that a transport may be given this UTC day; none where there is no limit."
    yield _by("transport_limit_today", text, "transport", limits)
    used = {each.name: each.used for each in stand}
    text = "Mails that it was given this UTC day; counted only while there is a limit."
    yield _by("transport_used_today", text, "transport", used)
    rests = {each.name: each.is_open for each in stand}
    text = "1 while a transport rests after trouble, and nothing is given to it."
    yield _by("transport_circuit_open", text, "transport", rests)


def _processes(now: datetime) -> Iterator[Metric]:
    """Of those who do the rounds here; a tick by hand leaves no series that ages for ever."""
    signs = health.signs(now)
    ages = {sign.part: _seconds_since(sign.at, now) for sign in signs if sign.at is not None}
    text = "Since the last sign of life of beat, of a worker of the queue, or of manage.py tick."
    yield _by("heartbeat_age_seconds", text, "name", ages)
    text = "1 while beat and the workers of all queues live, or manage.py tick does."
    yield _one("rounds_alive", text, all(sign.is_fresh(now) for sign in signs))


def _sources(now: datetime) -> Iterator[Metric]:
    judged = {each.source.slug: each for each in freshness.all_sources(now)}

    def by_source(name: str, text: str, number: Callable[[Freshness], float]) -> Metric:
        numbers = {slug: number(each) for slug, each in judged.items()}
        return _by(f"source_{name}", text, "source", numbers)

    yield by_source("fresh", "1 where the source tells what is new.", lambda each: each.is_fresh)
    ages = {
        slug: _seconds_since(each.last_success_at, now)
        for slug, each in judged.items()
        if each.last_success_at is not None
    }
    yield _by("source_success_age_seconds", "Since the last good reading.", "source", ages)
    text = "Papers of the last day that had any."
    yield by_source("last_papers", text, lambda each: each.last_papers)
    text = "Fields of its last list that nobody reads yet."
    yield by_source("unknown_fields", text, lambda each: len(each.unknown))
    text = "Fields that were expected, and that no item of its last list had."
    yield by_source("vanished_fields", text, lambda each: len(each.vanished))
    text = "1 while it is read by another reader than its first."
    yield by_source("fallback_in_use", text, lambda each: bool(each.fallback))
    text = "For how long it asks to be left alone."
    yield by_source("rest_seconds", text, lambda each: _seconds_until(each.resting_until, now))


def _papers(now: datetime) -> Iterator[Metric]:
    text = "Editions that should have closed by now; must be 0."
    yield _one("editions_overdue", text, len(health.overdue_editions(now)))
    edition = Edition.objects.filter(is_backfill=False).first()
    if edition is None:
        return
    papers = Entry.objects.standing().filter(edition=edition).count()
    yield _one("edition_papers", "Papers of the newest edition.", papers)
    yield _one("edition_timestamp_seconds", "Its date, at midnight UTC.", _midnight(edition.day))
    yield _one("edition_closed", "1 once it is closed.", not edition.is_open)


def _complaints(now: datetime) -> Iterator[Metric]:
    reasons = Suppression.objects.order_by().values_list("reason").annotate(number=Count("*"))
    counted = _filled(Suppression.Reason.values, dict(reasons))
    yield _by("suppressions", "Addresses not to be mailed, by reason.", "reason", counted)
    since = _first_event_since(now - EVENTS_FOR)
    events = DeliveryEvent.objects.filter(pk__gte=since).order_by().values_list("event_type")
    text = "What providers reported in the last 24 hours."
    counted = dict(events.annotate(number=Count("*")))
    yield _by("delivery_events_last_day", text, "type", counted)


def _first_event_since(moment: datetime) -> int:
    """The lowest id that came at `moment` or later. Ids rise with time, so halving finds it; the
    moment itself has no index.
    """
    events = DeliveryEvent.objects.order_by("pk")
    newest = events.values_list("pk", flat=True).last() or 0
    low, high = 0, newest + 1
    while low < high:
        middle = (low + high) // 2
        at = events.filter(pk__gte=middle).values_list("received_at", flat=True).first()
        low, high = (low, middle) if at is None or at >= moment else (middle + 1, high)
    return low


def _family(name: str, text: str, labels: list[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(f"paperround_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, float(number))
    return family


def _by(name: str, text: str, label: str, numbers: Mapping[str, float]) -> Metric:
    return _family(name, text, [label], (((value,), number) for value, number in numbers.items()))


def _one(name: str, text: str, number: float) -> Metric:
    return _family(name, text, [], [((), number)])


def _filled(values: Iterable[str], counted: Mapping[str, int]) -> dict[str, int]:
    """With a zero for what there is none of: a series that vanishes is no zero to a monitor."""
    return {str(value): counted.get(value, 0) for value in values}


def _seconds_since(then: datetime | None, now: datetime) -> float:
    return max((now - then).total_seconds(), 0.0) if then else 0.0


def _seconds_until(then: datetime | None, now: datetime) -> float:
    return max((then - now).total_seconds(), 0.0) if then else 0.0


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()
