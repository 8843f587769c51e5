"""Is this installation doing its work? A check a part; each answers for itself alone.

What is said here is said to anybody: no address, and no name of anybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from celery import current_app
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.models import Count, Exists, F, Min, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils.translation import gettext, ngettext

from papers import editions, freshness
from papers.freshness import Health
from papers.models import Edition
from subscribers import flow
from subscribers.mail import SERVICE_MAILS
from subscribers.models import Subscriber

from . import accounts, shares
from .accounts import Account
from .models import Digest, Heartbeat, Hold, Slot
from .plots import duration

log = structlog.get_logger(__name__)

SLOTS = 14
ACCOUNTS_SECONDS = 30
BROKER_SECONDS = 1
BEAT, TICK = "beat", "tick"

Answer = tuple[bool, str]
Look = Callable[[datetime], Answer]


@dataclass(frozen=True, slots=True)
class Check:
    """said: what is so, in words."""

    name: str
    is_ok: bool
    said: str


@dataclass(frozen=True, slots=True)
class Sign:
    """A part's last sign of life, if any, and how old it may be."""

    part: str
    at: datetime | None
    within: timedelta

    def is_fresh(self, now: datetime) -> bool:
        return self.at is not None and now - self.at <= self.within


def checks(now: datetime) -> list[Check]:
    """Every check. Those that read the database are not tried, and fail, where it is away."""
    database = _checked("database", _database, now)
    broker = _checked("broker", _broker, now)
    if database.is_ok:
        work = [_checked(name, look, now) for name, look in _LOOKS.items()]
        return [database, broker, *_life(now), *work]
    names = [*map(_named, _processes({})), *_LOOKS]
    unknown = gettext("Unknown while the database is away.")
    return [database, broker, *(Check(name, False, unknown) for name in names)]


def queues() -> list[str]:
    return list(settings.CELERY_TASK_QUEUES)


def signs(now: datetime) -> list[Sign]:
    """Of whoever does the rounds here: beat and the workers, or `manage.py tick` by cron."""
    return doing_rounds(dict(Heartbeat.objects.values_list("name", "at")), now)


def doing_rounds(seen: Mapping[str, datetime], now: datetime) -> list[Sign]:
    """Beat and the workers where all of them live, else the tick where it lives, else those whose
    last sign is the newest. A tick by hand is no part of an installation that is well.
    """
    processes = _processes(seen)
    tick = Sign(TICK, seen.get(TICK), _limit("READY_WORKER_SECONDS", 300))
    if all(sign.is_fresh(now) for sign in processes) or tick.at is None:
        return processes
    is_newest = all(sign.at is None or sign.at < tick.at for sign in processes)
    return [tick] if tick.is_fresh(now) or is_newest else processes


def oldest_due_reader(now: datetime) -> datetime | None:
    """Since when the reader is due who waits the longest for a digest to be made.

    Not one whose older digest is being sent or may have left: assembling waits for that one, and
    it is looked at by itself.
    """
    in_flight = Q(state=Digest.State.SENDING) | ~Q(transport="")
    awaited = Digest.objects.open().filter(in_flight, subscriber=OuterRef("pk"))
    due = shares.due_readers(now).filter(~Exists(awaited)).order_by("next_due_at")
    return due.values_list("next_due_at", flat=True).first()


def oldest_due_digest(now: datetime) -> datetime | None:
    """Since when the oldest digest waits that could leave now: since it was due, or since its pause
    or its lease ended. Not one whose pause or lease still runs.
    """
    waits_since = Coalesce("retry_at", "lease_until", "due_at")
    waiting = Digest.objects.open().alias(since=waits_since).filter(since__lte=now)
    oldest: datetime | None = waiting.aggregate(at=Min(waits_since))["at"]
    return oldest


def oldest_due_service_mail(now: datetime) -> datetime | None:
    """Since when the oldest of those that may leave is due. One that is in hand, or is to be
    retried, is due later: its moment has moved.
    """
    is_held = Hold.objects.in_force().exists()
    free = (mail for mail in SERVICE_MAILS if not (is_held and mail.is_bulk))
    return min(filter(None, (_first(mail.due_field, now) for mail in free)), default=None)


def overdue_editions(now: datetime) -> list[Edition]:
    """Those that should have closed. One opened for a day long past had no chance before."""
    limit = now - _limit("READY_OLDEST_DUE_SECONDS", 900)
    waiting = Edition.objects.open().order_by("day")
    return [each for each in waiting if max(editions.closes_by(each.day), each.opened_at) < limit]


def recent_accounts(now: datetime) -> list[Account]:
    """Of the newest slots, newest first; a moment old, for whoever asks often."""
    found: list[Account] | None = cache.get("recent-accounts")
    if found is None:
        found = accounts.recent(SLOTS, now)
        cache.set("recent-accounts", found, ACCOUNTS_SECONDS)
    return found


def broken(recent: Sequence[Account]) -> list[Account]:
    """Those that do not add up.

    A slot's `due` and its digests are read one after the other, so a slot that just then grew may
    seem broken. One statement sees one moment: it has the last word.
    """
    suspected = [account.date for account in recent if not account.is_conserved]
    if not suspected:
        return []
    counted = Slot.objects.filter(date__in=suspected).annotate(digests_count=Count("digests"))
    wrong = counted.exclude(due=F("digests_count"), counts__isnull=True)
    dates = set(wrong.values_list("date", flat=True))
    return [account for account in recent if account.date in dates]


def _first(due_field: str, now: datetime) -> datetime | None:
    due = Subscriber.objects.filter(**{f"{due_field}__lte": now}).order_by(due_field)
    return due.values_list(due_field, flat=True).first()


def _processes(seen: Mapping[str, datetime]) -> list[Sign]:
    within = _limit("READY_WORKER_SECONDS", 300)
    beat = Sign(BEAT, seen.get(BEAT), _limit("READY_BEAT_SECONDS", 180))
    return [beat, *(Sign(queue, seen.get(queue), within) for queue in queues())]


def _life(now: datetime) -> list[Check]:
    try:
        return [_alive(sign, now) for sign in signs(now)]
    except Exception as error:
        return [_broken_off("signs of life", error)]


def _alive(sign: Sign, now: datetime) -> Check:
    if sign.at is None:
        said = gettext("No sign of life yet.")
    else:
        said = gettext("Last sign of life %(ago)s ago.") % {"ago": _ago(sign.at, now)}
    if sign.part == TICK:
        said += " " + gettext("It does the rounds here, not beat and workers.")
    return Check(_named(sign), sign.is_fresh(now), said)


def _named(sign: Sign) -> str:
    return sign.part if sign.part in (BEAT, TICK) else f"worker of {sign.part}"


def _checked(name: str, look: Look, now: datetime) -> Check:
    """Whatever goes wrong in looking is that check's failure, and no other's."""
    try:
        is_ok, said = look(now)
    except Exception as error:
        return _broken_off(name, error)
    return Check(name, is_ok, said)


def _broken_off(name: str, error: Exception) -> Check:
    log.warning("check failed", check=name, error=repr(error))
    return Check(name, False, gettext("It failed: %(error)s.") % {"error": type(error).__name__})


def _database(now: datetime) -> Answer:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return True, gettext("%(vendor)s answers.") % {"vendor": connection.vendor}


def _broker(now: datetime) -> Answer:
    if settings.CELERY_BROKER_URL.startswith("memory:"):
        return True, gettext("In memory.")
    with current_app.connection_for_write() as broker:
        half = BROKER_SECONDS / 2  # to connect, and to answer
        limits = {"socket_connect_timeout": half, "socket_timeout": half}
        broker.transport_options = {**broker.transport_options, **limits}
        broker.ensure_connection(max_retries=0, timeout=BROKER_SECONDS)
    return True, gettext("It answers.")


def _readers(now: datetime) -> Answer:
    return _in_time(oldest_due_reader(now), now)


def _digests(now: datetime) -> Answer:
    oldest = oldest_due_digest(now)
    if oldest is not None and Hold.objects.in_force().exists():
        said = gettext("The oldest has waited for %(ago)s; sending is held.")
        return True, said % {"ago": _ago(oldest, now)}
    return _in_time(oldest, now)


def _service_mails(now: datetime) -> Answer:
    return _in_time(oldest_due_service_mail(now), now)


def _in_time(oldest: datetime | None, now: datetime) -> Answer:
    if oldest is None:
        return True, gettext("None waits.")
    said = gettext("The oldest has waited for %(ago)s.") % {"ago": _ago(oldest, now)}
    return now - oldest <= _limit("READY_OLDEST_DUE_SECONDS", 900), said


def _editions(now: datetime) -> Answer:
    if overdue := overdue_editions(now):
        days = ", ".join(f"{edition.day}" for edition in overdue)
        return False, gettext("These should have closed by now: %(days)s.") % {"days": days}
    return True, gettext("None should have closed by now.")


def _sources(now: datetime) -> Answer:
    """What is odd is said, also where papers come all the same; that is no failure."""
    known = freshness.all_sources(now)
    judged = [each for each in known if each.health != Health.OFF]
    if not judged:
        return bool(known), gettext("None is switched on.") if known else gettext("There is none.")
    if aloud := [each for each in judged if each.is_remarkable]:
        said = " ".join(f"{each.source.slug}: {each.said}" for each in aloud)
        return all(each.is_fresh for each in judged), said
    text = ngettext(
        "%(count)d is as it should be.", "%(count)d are as they should be.", len(judged)
    )
    return True, text % {"count": len(judged)}


def _sending(now: datetime) -> Answer:
    """A hold is somebody's decision, no failure."""
    hold = Hold.objects.in_force().first()
    if hold is None:
        return True, gettext("Not held.")
    return True, gettext("Held for %(ago)s.") % {"ago": _ago(hold.began_at, now)}


def _transports(now: datetime) -> Answer:
    """Limits are somebody's decision; trouble is a failure once there is no other way out."""
    all_of_them = flow.standings(now)
    said = " ".join(f"{each.name}: {each.said}" for each in all_of_them)
    return not all(each.is_open for each in all_of_them), said


def _accounts(now: datetime) -> Answer:
    recent = recent_accounts(now)
    if wrong := broken(recent):
        dates = ", ".join(f"{account.date}" for account in wrong)
        return False, gettext("Readers due and digests differ: %(dates)s.") % {"dates": dates}
    text = ngettext("%(count)d slot adds up.", "%(count)d slots add up.", len(recent))
    return True, text % {"count": len(recent)}


_LOOKS: Mapping[str, Look] = {
    "readers": _readers,
    "digests": _digests,
    "service mails": _service_mails,
    "editions": _editions,
    "sources": _sources,
    "sending": _sending,
    "transports": _transports,
    "accounts": _accounts,
}


def _limit(name: str, default: float) -> timedelta:
    return timedelta(seconds=getattr(settings, name, default))


def _ago(then: datetime, now: datetime) -> str:
    return duration(max((now - then).total_seconds(), 0))
