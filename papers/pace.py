"""How often a site may be asked, by all processes and machines of this installation together.

The rows of Pace are the turnstile, and the database's clock is its clock. A site's row (`*.` and
its name: arXiv's limit is over all of its hosts together, https://info.arxiv.org/help/api/tou.html)
gives out turns; a host's own row says how long it is left in peace after a 429: from `next_at`,
when it asked for that, to `cool_until`.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db.models import DateTimeField, ExpressionWrapper, Q
from django.db.models.functions import Now

from .models import Pace

log = structlog.get_logger(__name__)

LONGEST_WAIT_SECONDS = 120.0
LOOK_AGAIN_SECONDS = 1.0  # whoever holds the turn may give it back early
FIRST_REST = timedelta(minutes=5)
LONGEST_REST = timedelta(hours=5)
# A request may take a time-out to connect and three for its answer.
LEASE_TIMEOUTS = 5


class NotNowError(Exception):
    """No request may be made: the host rests until `until`; where that is None, too many wait."""

    def __init__(self, *, until: datetime | None, seconds: float) -> None:
        super().__init__(f"until {until}" if until else "no turn came")
        self.until = until
        self.seconds = seconds


class Turn:
    """The right to make one request."""

    def __init__(self) -> None:
        self._answered_at: float | None = None

    def is_answered(self) -> None:
        """The other side has had the request: from now on counts the time to the next one."""
        self._answered_at = time.monotonic()

    @property
    def seconds_ago(self) -> float:
        """That the request had arrived at the latest; 0 where it may be on its way still."""
        return 0.0 if self._answered_at is None else time.monotonic() - self._answered_at


@contextmanager
def turn(
    url: str,
    *,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    patience_seconds: float = LONGEST_WAIT_SECONDS,
) -> Iterator[Turn]:
    """Within it the one request to that site may be made, `seconds` after the one before arrived.

    Waits for that, in no transaction. Leaving it without an exception says that the host answered:
    it need not rest any longer. A process that dies in its turn blocks the others for five times
    FETCH_TIMEOUT_SECONDS at most. Nothing is asked of the database where `seconds` is 0. Raises
    NotNowError at once while the host rests, and where no turn comes in `patience_seconds`.
    """
    mine = Turn()
    if not seconds:
        yield mine
        return
    has_rested = _has_rested(url)
    lease = _wait(url, seconds, sleep, patience_seconds)
    try:
        # Somebody else's request may have been refused while this one waited.
        has_rested = _has_rested(url) or has_rested
        yield mine
        if has_rested:
            Pace.objects.filter(host=_host(url), cool_until__lte=Now()).update(cool_until=None)
    finally:
        left = timedelta(seconds=max(seconds - mine.seconds_ago, 0))
        # Unless the lease ran out, and the turn is another's.
        held = Pace.objects.filter(host=_site(url), busy_until=lease)
        held.update(busy_until=None, next_at=_from_now(left))


def rest(url: str, seconds: float = 0) -> float:
    """Leaves the host in peace: as long as it asked for, else for 5 minutes, doubled each time.

    Never longer than 5 hours. Returns the seconds.
    """
    row, now = _row(_host(url))
    length = timedelta(seconds=seconds) if seconds > 0 else _grown(row.next_at, row.cool_until)
    length = min(length, LONGEST_REST)
    # Whoever is refused meanwhile lengthens it, and does not cut it short.
    later = Q(cool_until__isnull=True) | Q(cool_until__lt=now + length)
    Pace.objects.filter(later, pk=row.pk).update(next_at=now, cool_until=now + length)
    log.warning("host rests", host=row.host, seconds=round(length.total_seconds()))
    return length.total_seconds()


def _grown(rested_from: datetime, rested_until: datetime | None) -> timedelta:
    """Twice the last rest where the host has not answered since."""
    return max(FIRST_REST, 2 * (rested_until - rested_from)) if rested_until else FIRST_REST


def _has_rested(url: str) -> bool:
    """Whether it rested since it last answered. Raises NotNowError while it does."""
    found = _found(_host(url))
    if found is None or found.row.cool_until is None:
        return False
    left = (found.row.cool_until - found.now).total_seconds()
    if left > 0:
        raise NotNowError(until=found.row.cool_until, seconds=left)
    return True


def _wait(
    url: str, seconds: float, sleep: Callable[[float], None], patience_seconds: float
) -> datetime:
    """Takes the turn as soon as it is free; the lease under which it is held."""
    waited = 0.0
    while (lease := _claim(_site(url), seconds)) is None:
        row, now = _row(_site(url))
        pause = _pause(row, now, look_again=min(seconds, LOOK_AGAIN_SECONDS))
        if waited + pause > patience_seconds:
            raise NotNowError(until=None, seconds=pause)
        if pause:
            sleep(pause)
            waited += pause
    return lease


def _claim(site: str, seconds: float) -> datetime | None:
    """One statement looks and takes, so that of many exactly one has it."""
    lease = timedelta(seconds=LEASE_TIMEOUTS * settings.FETCH_TIMEOUT_SECONDS)
    free = Pace.objects.filter(
        Q(busy_until__isnull=True) | Q(busy_until__lte=Now()), host=site, next_at__lte=Now()
    )
    taken = free.update(next_at=_from_now(timedelta(seconds=seconds)), busy_until=_from_now(lease))
    return Pace.objects.values_list("busy_until", flat=True).get(host=site) if taken else None


def _pause(row: Pace, now: datetime, *, look_again: float) -> float:
    """Seconds until it is worth looking again."""
    until_next = (row.next_at - now).total_seconds()
    if until_next > 0:
        return until_next
    until_free = (row.busy_until - now).total_seconds() if row.busy_until else 0.0
    return min(max(until_free, 0.0), look_again)


def _from_now(after: timedelta) -> ExpressionWrapper:
    return ExpressionWrapper(Now() + after, output_field=DateTimeField())


@dataclass(frozen=True, slots=True)
class _Found:
    row: Pace
    now: datetime  # the database's


def _found(host: str) -> _Found | None:
    row = Pace.objects.annotate(now=Now()).filter(host=host).first()
    return _Found(row, row.now) if row else None


def _row(host: str) -> tuple[Pace, datetime]:
    """The row, made if it is not there yet, and the database's time."""
    found = _found(host)
    if found is None:
        free = Pace(host=host, next_at=Now())
        Pace.objects.bulk_create([free], ignore_conflicts=True)
        found = _found(host)
    assert found is not None
    return found.row, found.now


def _host(url: str) -> str:
    """Host and port, without a name and password."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _site(url: str) -> str:
    """`*.arxiv.org` for `https://rss.arxiv.org/…`; an address by numbers is its own site."""
    host = _host(url)
    name = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        is_part = name.count(".") > 1
        return f"*.{host.partition('.')[2]}" if is_part else f"*.{host}"
    return f"*.{host}"
