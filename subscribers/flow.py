"""Which way mail leaves now, and how much of it: limits, circuit breakers, the second transport.

What all processes must know together stands in one row a transport (TransportState). Where no
limit is set and nothing is in trouble, a window costs no query here. Circuits go by the `now` of
whoever asks, as retries do; the meter and the day go by the database's clock.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext, ngettext

from papers.models import utc_day

from .models import TransportState
from .transports import Receipt, Status, Transport, get_transports

log = structlog.get_logger(__name__)

# So many seconds' mails leave together at most; and so much of its time may a meter be behind and
# still make up for it, which is what a worker needs to write down what it sent.
TOGETHER_SECONDS = 0.1
CATCH_UP_SECONDS = 0.25
# A meter further ahead than any patience was set by a clock that has since been put back.
FURTHEST_AHEAD_SECONDS = 3600
ASK_AGAIN_SECONDS = 0.1

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 30, 1800
LONGEST_ASKED_SECONDS = 86_400
MOST_FAILURES = 1000

# Digests leave this part of a day's limit to confirmations and other service mails.
SERVICE_PART = 20
# Who may have so many mails a day is warm.
WARM = 10_000_000

_rng = random.SystemRandom()  # forked workers must not all wait for the same time


@dataclass(frozen=True, slots=True)
class Standing:
    """How a transport stands. used, limit: mails of this UTC day, which are counted only while a
    limit is set; None where the day has none. open_until: only while it rests. is_on_trial: its
    rest is over, and one mail must get through before others follow.
    """

    name: str
    used: int = 0
    limit: int | None = None
    failures: int = 0
    open_until: datetime | None = None
    is_on_trial: bool = False
    error: str = ""
    error_at: datetime | None = None

    @property
    def is_used_up(self) -> bool:
        return self.limit is not None and self.used >= self.limit

    @property
    def is_open(self) -> bool:
        """It rests: nothing is given to it."""
        return self.open_until is not None

    @property
    def said(self) -> str:
        """In words, without what the server said, which may name its user."""
        if self.open_until is not None:
            until = gettext("It rests until %(until)s UTC") % {"until": _moment(self.open_until)}
            return f"{until}: {self._why_it_rests}"
        if self.limit is not None and self.is_used_up:
            text = gettext("Today’s %(limit)s mails are used up; it goes on at midnight UTC.")
            return text % {"limit": number_format(self.limit, force_grouping=True)}
        if self.is_on_trial:
            return gettext("Its rest is over: one mail will try it.")
        return gettext("Mail may leave by it.")

    @property
    def _why_it_rests(self) -> str:
        if not self.failures:
            return gettext("the service asked for it.")
        text = ngettext(
            "nothing got through last time.",
            "nothing got through the last %(count)s times.",
            self.failures,
        )
        return text % {"count": self.failures}


@dataclass(frozen=True, slots=True)
class Way:
    """A transport as it stood at `asked_at`. It is a Transport itself.

    rested_until: its rest is over since then, and what it is given first is a probe.
    """

    transport: Transport
    asked_at: datetime
    failures: int = 0
    rested_until: datetime | None = None
    for_service: bool = False

    @property
    def name(self) -> str:
        return self.transport.name

    @property
    def repeats_safely(self) -> bool:
        return self.transport.repeats_safely

    @property
    def window(self) -> int | None:
        return self.transport.window

    @property
    def is_probe(self) -> bool:
        return self.rested_until is not None

    def send(self, messages: Sequence[EmailMessage]) -> list[Receipt]:
        return self.transport.send(messages)


def way_out(now: datetime, *, for_service: bool = False) -> Way | None:
    """The first transport that is not at rest and whose day is not used up; None if there is none.

    for_service: for mails that somebody waits for; the last of a day's limit is theirs alone.
    """
    return next(iter(ways_out(now, for_service=for_service)), None)


def ways_out(now: datetime, *, for_service: bool = False) -> list[Way]:
    """All such, in the order in which they are tried."""
    rows, ways = _rows(), []
    for transport in get_transports():
        row = rows.get(transport.name, TransportState(name=transport.name))
        room = _room(row, utc_day(now), for_service=for_service)
        if not _rests(row, now) and (room is None or room > 0):
            ways.append(Way(transport, now, row.failures, row.open_until, for_service))
    return ways


def available_again(now: datetime) -> datetime:
    """From when any transport may take mail; `now` where one may already."""
    return min(_available(standing, now) for standing in standings(now))


def standings(now: datetime) -> list[Standing]:
    """Of the transports in use, in the order in which they are tried."""
    rows = _rows()
    return [
        standing(rows.get(transport.name, TransportState(name=transport.name)), now)
        for transport in get_transports()
    ]


def standing(row: TransportState, now: datetime) -> Standing:
    today = utc_day(now)
    return Standing(
        name=row.name,
        used=row.used if row.day == today else 0,
        limit=limit_of(today),
        failures=row.failures,
        open_until=row.open_until if _rests(row, now) else None,
        is_on_trial=row.open_until is not None and not _rests(row, now),
        error=row.error,
        error_at=row.error_at,
    )


def grant(
    way: Way,
    wanted: int,
    *,
    patience_seconds: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """How many of `wanted` mails may be handed over now. They count as used from here on.

    Waits for its turn, at most `patience_seconds`, and asks `should_stop` meanwhile. Of what
    leaves for a probe it gives one, once. Not to be called in a transaction.
    """
    if way.is_probe:
        wanted = 1 if wanted and _take_probe(way) else 0
    if wanted < 1 or not _is_limited(way):
        return wanted
    turn = _take(way, wanted, patience_seconds)
    if not turn.count:
        return 0
    if _wait(turn.wait_seconds, should_stop):
        return turn.count
    give_back(way, turn.count)
    return 0


def give_back(way: Way, count: int) -> None:
    """So many of the granted mails were not handed over: the day has room for others.

    Never raises for a database that is away: what it keeps count of would then be too much, not
    too little, and what was marked beside it must leave.
    """
    if count < 1:
        return
    rows = TransportState.objects.filter(name=way.name)
    try:
        if way.is_probe:
            rows.filter(open_until=_probe_until(way)).update(open_until=way.rested_until)
        if limit_of(utc_day(way.asked_at)) is not None:
            # Not of a day that has begun since.
            mine = rows.filter(day=utc_day(way.asked_at), used__gte=count)
            mine.update(used=F("used") - count)
    except (OperationalError, InterfaceError) as error:
        log.warning("mails not given back", transport=way.name, count=count, error=str(error))


def note(way: Way, receipts: Sequence[Receipt], now: datetime, rng: random.Random = _rng) -> bool:
    """Learns from what a window came to. False: the transport rests now, so leave it alone.

    Never raises for a database that is away: the receipts must be recorded, and the next window
    will say the same.
    """
    word = judged(receipts)
    try:
        if word.is_trouble or word.asked_seconds:
            _rest(way, word, now=now, rng=rng)
            return False
        if way.is_probe or (way.failures and word.got_through):
            _go_on(way, word)
    except (OperationalError, InterfaceError) as error:
        log.warning("transport's state not noted", transport=way.name, error=str(error))
        return not word.is_trouble
    return True


def close_circuit(name: str) -> bool:
    """The operator's word that it works again. False where it was not in trouble."""
    rows = TransportState.objects.filter(name=name)
    closed = rows.exclude(open_until=None, failures=0).update(open_until=None, failures=0)
    if closed:
        log.info("transport is back", transport=name, by="operator")
    return bool(closed)


# -- the limits ----------------------------------------------------------------------------


def limit_of(day: date) -> int | None:
    """How many mails a transport may be given on that UTC day; None for any number."""
    limits = [settings.MAIL_PER_DAY] if settings.MAIL_PER_DAY else []
    if settings.MAIL_WARMUP_FROM:
        warm = ramp(
            (day - settings.MAIL_WARMUP_FROM).days,
            first_day=settings.MAIL_WARMUP_FIRST_DAY,
            growth=settings.MAIL_WARMUP_GROWTH,
        )
        limits += [warm] if warm < WARM else []
    return min(limits, default=None)


def ramp(days: int, *, first_day: int, growth: float) -> int:
    """The limit of a domain that has sent for so many days: first_day × growth^days, and WARM once
    it comes so far. Before its first day it may send as many as on it.
    """
    days = max(days, 0)
    days_to_go = math.log(max(WARM / first_day, 1)) / math.log(growth)
    return WARM if days >= days_to_go else round(first_day * growth**days)


@dataclass(frozen=True, slots=True)
class Turn:
    """`count` mails may leave together after `wait_seconds`; the one after them at `free_at`."""

    count: int
    wait_seconds: float
    free_at: datetime


def turn_of(
    wanted: int,
    *,
    free_at: datetime | None,
    now: datetime,
    per_second: float,
    patience_seconds: float,
) -> Turn:
    """The turn of `wanted` mails or fewer, by virtual scheduling (ITU-T I.371, annex A).

    Each mail has a moment, 1/per_second after the one before, and none leaves earlier: those that
    leave together wait for the last one's. A meter that stood still begins anew, so that there is
    no burst after a pause.
    """
    spacing = 1 / per_second
    ahead_seconds = (free_at - now).total_seconds() if free_at else -math.inf
    if free_at is None or not -CATCH_UP_SECONDS <= ahead_seconds <= FURTHEST_AHEAD_SECONDS:
        free_at, ahead_seconds = now, 0.0
    together = max(int(per_second * TOGETHER_SECONDS), 1)
    in_patience = math.floor((patience_seconds - ahead_seconds) / spacing) + 1
    count = max(min(wanted, together, in_patience), 0)
    last_seconds = ahead_seconds + (count - 1) * spacing
    return Turn(count, max(last_seconds, 0.0), free_at + timedelta(seconds=count * spacing))


def _is_limited(way: Way) -> bool:
    """By the day on which it was asked for: limits only grow."""
    return bool(settings.MAIL_PER_SECOND) or limit_of(utc_day(way.asked_at)) is not None


def _room(row: TransportState, today: date, *, for_service: bool) -> int | None:
    """What is left of the day, maybe less than nothing; None for any number."""
    limit = limit_of(today)
    if limit is None:
        return None
    reserved = 0 if for_service else limit // SERVICE_PART
    return limit - reserved - (row.used if row.day == today else 0)


def _take(way: Way, wanted: int, patience_seconds: float) -> Turn:
    """Counts them as used, and puts the meter forward, before any of them leaves."""
    with transaction.atomic(durable=True):
        row, now = _locked(way.name)
        today = utc_day(now)
        room = _room(row, today, for_service=way.for_service)
        turn = Turn(max(wanted if room is None else min(wanted, room), 0), 0.0, now)
        if turn.count and settings.MAIL_PER_SECOND:
            turn = turn_of(
                turn.count,
                free_at=row.free_at,
                now=now,
                per_second=settings.MAIL_PER_SECOND,
                patience_seconds=patience_seconds,
            )
            row.free_at = turn.free_at
        row.used = turn.count + (row.used if row.day == today else 0)
        row.day = today
        row.save(update_fields=["free_at", "day", "used"])
    return turn


def _wait(seconds: float, should_stop: Callable[[], bool]) -> bool:
    """False if it was stopped. Slept in short pieces, so that a worker ends when it is told to."""
    ends = time.monotonic() + seconds
    while (left_seconds := ends - time.monotonic()) > 0:
        if should_stop():
            return False
        time.sleep(min(left_seconds, ASK_AGAIN_SECONDS))
    return True


# -- the circuit breaker -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """What a window says of its transport. asked_seconds: the service wants to be left alone."""

    got_through: bool
    is_trouble: bool
    asked_seconds: float
    error: str


def judged(receipts: Sequence[Receipt]) -> Word:
    """A refusal is an answer about one mail, so the service works: for good, or for now, be it of
    every mail (greylisting puts off each stranger once, and a whole morning may be strangers).
    """
    services = [receipt for receipt in receipts if receipt.is_services]
    tried = [receipt for receipt in receipts if receipt.was_tried]
    got_through = any(
        receipt.status in (Status.SENT, Status.FAILED) and not receipt.is_services
        for receipt in receipts
    )
    asked_seconds = max((receipt.retry_after_seconds or 0 for receipt in services), default=0)
    said = [receipt.error for receipt in (*services, *tried) if receipt.was_tried and receipt.error]
    return Word(
        got_through=got_through,
        is_trouble=not got_through and bool(services),
        asked_seconds=min(asked_seconds, LONGEST_ASKED_SECONDS),
        error=said[0] if said else "",
    )


def rest_seconds(failures: int, rng: random.Random) -> float:
    """How long to rest after so many failures in a row: twice as long each time, and the half to
    the whole of it, so that workers and installations do not all come back at once.
    """
    longest = min(FIRST_REST_SECONDS * 2 ** min(failures - 1, 30), LONGEST_REST_SECONDS)
    return longest * rng.uniform(0.5, 1)


def _rests(row: TransportState, now: datetime) -> bool:
    # Longer than anybody may ask for: set by a clock that was ahead.
    longest = timedelta(seconds=LONGEST_ASKED_SECONDS)
    return row.open_until is not None and timedelta(0) < row.open_until - now <= longest


def _rest(way: Way, word: Word, *, now: datetime, rng: random.Random) -> None:
    with transaction.atomic():
        row, _clock = _locked(way.name)
        # Of several workers who meet the same trouble at once the first one's counts.
        is_own_probe = way.is_probe and row.open_until == _probe_until(way)
        is_first = is_own_probe or not _rests(row, now)
        if word.got_through:
            row.failures = 0
        elif is_first:
            row.failures = min(row.failures + 1, MOST_FAILURES)
        pause = rest_seconds(row.failures, rng) if word.is_trouble and is_first else 0.0
        until = now + timedelta(seconds=max(pause, word.asked_seconds))
        row.open_until = until if is_first or row.open_until is None else max(row.open_until, until)
        row.error, row.error_at = word.error, now
        row.save(update_fields=["failures", "open_until", "error", "error_at"])
    log.warning(
        "transport rests",
        transport=way.name,
        failures=row.failures,
        until=row.open_until,
        error=word.error,
    )


def _go_on(way: Way, word: Word) -> None:
    """Not where somebody has met new trouble since. A probe that says nothing of the service does
    not make good what went before: the next trouble rests for longer.
    """
    rows = TransportState.objects.filter(name=way.name, failures=way.failures)
    failures = 0 if word.got_through else way.failures
    if rows.update(open_until=None, failures=failures):
        log.info("transport is back", transport=way.name)


def _take_probe(way: Way) -> bool:
    """For whoever comes first. If its worker dies, somebody else may try after a while."""
    rows = TransportState.objects.filter(name=way.name, open_until=way.rested_until)
    return bool(rows.update(open_until=_probe_until(way)))


def _probe_until(way: Way) -> datetime:
    """Longer than a server that hangs is waited for."""
    return way.asked_at + timedelta(seconds=2 * settings.EMAIL_TIMEOUT)


# -- the rows ------------------------------------------------------------------------------


def _rows() -> dict[str, TransportState]:
    return {row.name: row for row in TransportState.objects.all()}


def _locked(name: str) -> tuple[TransportState, datetime]:
    """The row, this transaction's alone, and the time as it is once the lock is there."""
    row, _made = TransportState.objects.select_for_update().get_or_create(name=name)
    now = TransportState.objects.filter(pk=row.pk).values_list(Now(), flat=True).get()
    return row, now


def _available(standing: Standing, now: datetime) -> datetime:
    rested = standing.open_until or now
    if not standing.is_used_up:
        return rested
    midnight = datetime.combine(utc_day(now) + timedelta(days=1), time_of_day(), UTC)
    return max(rested, midnight)


def _moment(moment: datetime) -> str:
    return date_format(moment.astimezone(UTC), "MONTH_DAY_TIME_FORMAT")
