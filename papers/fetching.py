"""Polite HTTP: reads a source for a day, and decides which days are due to be read.

The only module that opens a socket to a source. Every attempt, also one from a file, leaves one
Fetch row that says how it ended.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as datetime_time
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import requests
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Max
from django.utils.translation import gettext as _

from . import editions, sources
from .models import Edition, Fetch, Source, utc_day
from .records import PaperRecord, Parsed, SavedDay, SourceFormatError

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_PAGES = 20
MAX_REDIRECTS = 3
ATTEMPTS = 4
MAX_WAIT_SECONDS = 60.0  # between tries, for a whole round
RETRIED = (408, 429, 500, 502, 503, 504)

LEASE = timedelta(minutes=15)
NEW_DAYS = 7  # how far back a day never read is still news
GROWING_DAYS = 14  # how long votes grow
WEEKEND_PAUSE = timedelta(hours=2)
MAX_BACK_OFF = timedelta(minutes=30)
FIRST_BACK_OFF = timedelta(minutes=5)


class FetchError(Exception):
    """The source gave no usable answer. `is_source_down`: another day would fare no better."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        is_source_down: bool = False,
        retry_after: float = 0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_source_down = is_source_down
        self.retry_after = retry_after


def ensure_sources() -> None:
    """Makes the row of every built-in source that is not there yet."""
    Source.objects.get_or_create(slug="huggingface", defaults={"name": "Hugging Face Daily Papers"})


def fetch_due(now: datetime, *, sleep: Callable[[float], None] = time.sleep) -> list[Fetch]:
    """Reads every due source for the days that need it; any number of workers may do so.

    A source is claimed by moving its `next_fetch_at`; whoever moves it reads. Read are: today;
    yesterday until its edition is closed; days of the last 7 never read after they ended, oldest
    first (they count as news: a new installation, or one that slept, has its week); and, for
    votes still growing, days of the last 14 when their last reading is older than 6 hours (one
    day old), 24 (up to three) or 72. Where the source is down, the round ends.
    """
    ensure_sources()
    fetches: list[Fetch] = []
    for source in Source.objects.due(now):
        lease = now + LEASE
        claimed = Source.objects.filter(pk=source.pk, next_fetch_at=source.next_fetch_at)
        if claimed.update(next_fetch_at=lease):
            fetches += _round(source, now, lease=lease, client=Client(sleep=sleep))
    return fetches


def fetch_day(
    source: Source,
    day: date,
    *,
    now: datetime,
    backfill: bool = False,
    client: Client | None = None,
) -> Fetch:
    """Reads one UTC day's list and records it; what came before a failure is kept.

    Never raises for what the source did: the Fetch row says it.
    """
    return _read_day(source, day, now=now, backfill=backfill, client=client or Client()).fetch


def record_saved(source: Source, saved: SavedDay, *, now: datetime, backfill: bool) -> Fetch:
    """Records a day of a saved file, which must name its day and when it was read."""
    assert saved.day is not None and saved.read_at is not None
    attempt = _Attempt.start(source, saved.day, now=now, origin=Fetch.Origin.FILE)
    attempt.take(saved.parsed)
    return attempt.finish(read_at=saved.read_at, backfill=backfill)


class Client:
    """A session that asks politely: named, patient within limits, never beyond one site."""

    def __init__(
        self,
        *,
        sleep: Callable[[float], None] = time.sleep,
        patience_seconds: float = MAX_WAIT_SECONDS,
    ) -> None:
        self._session = requests.Session()
        self._session.headers["User-Agent"] = (
            f"{settings.SITE_NAME}/{settings.VERSION} (+{settings.SITE_URL})"
        )
        self._session.headers["Accept"] = "application/json"
        if settings.HUGGINGFACE_TOKEN:
            self._session.auth = _bearer
        self._sleep = sleep
        self._wait_left = patience_seconds

    def get(self, url: str) -> bytes:
        """The body of a 200 answer. Raises FetchError."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._get_once(url)
            except _TransientError as error:
                delay = max(error.retry_after, 2.0 ** (attempt - 1))
                if attempt == ATTEMPTS or delay > self._wait_left:
                    raise
            self._wait_left -= delay
            self._sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def _get_once(self, url: str) -> bytes:
        seconds = settings.FETCH_TIMEOUT_SECONDS
        deadline = time.monotonic() + 3 * seconds
        try:
            with self._follow(url) as response:
                return _body(response, deadline)
        except requests.Timeout:
            message = _("no answer within %(seconds)g s (FETCH_TIMEOUT_SECONDS)")
            raise _TransientError(message % {"seconds": seconds}) from None
        except requests.RequestException as error:
            message = _("cannot reach %(host)s (%(reason)s)")
            facts = {"host": urlsplit(url).netloc or url, "reason": type(error).__name__}
            raise _TransientError(message % facts) from error

    def _follow(self, url: str) -> requests.Response:
        """The first answer that is no redirect. The token goes to the site it is for alone."""
        for _hop in range(MAX_REDIRECTS + 1):
            response = self._session.get(
                url, timeout=settings.FETCH_TIMEOUT_SECONDS, stream=True, allow_redirects=False
            )
            if not response.is_redirect:
                return response
            response.close()
            target = urljoin(url, response.headers["Location"])
            if not _is_same_site(url, target):
                message = _("redirected to another site, %(site)s: not followed")
                raise FetchError(
                    message % {"site": urlsplit(target).netloc},
                    status=response.status_code,
                    is_source_down=True,
                )
            url = target
        raise FetchError(_("redirected in circles"), status=response.status_code)


class _TransientError(FetchError):
    """Worth another try; when tries run out, the source is down."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float = 0) -> None:
        super().__init__(message, status=status, is_source_down=True, retry_after=retry_after)


def _bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = f"Bearer {settings.HUGGINGFACE_TOKEN}"
    return request


def _is_same_site(old: str, new: str) -> bool:
    before, after = urlsplit(old), urlsplit(new)
    allowed = {(before.scheme, before.port), ("https", None)}
    return before.hostname == after.hostname and (after.scheme, after.port) in allowed


def _body(response: requests.Response, deadline: float) -> bytes:
    status = response.status_code
    if status in RETRIED:
        raise _TransientError(
            f"HTTP {status} {response.reason}", status=status, retry_after=_asked_to_wait(response)
        )
    if status != 200:
        raise FetchError(
            f"HTTP {status} {response.reason}", status=status, is_source_down=status in (401, 403)
        )
    body = bytearray()
    for chunk in response.iter_content(64 * 1024):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise FetchError(_("an answer of more than 32 MiB"), status=status)
        if time.monotonic() > deadline:
            raise requests.Timeout
    return bytes(body)


def _asked_to_wait(response: requests.Response) -> float:
    """Seconds, from Retry-After (RFC 9110, 10.2.3) or `RateLimit: "api";r=0;t=<seconds>`."""
    retry_after = response.headers.get("Retry-After", "").strip()
    if retry_after.isdecimal():
        return float(retry_after[:9])
    if limit := re.search(r";\s*r=0\s*;\s*t=(\d{1,9})", response.headers.get("RateLimit", "")):
        return float(limit[1])
    try:
        at = parsedate_to_datetime(retry_after)
        return max(0.0, (at - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


# -- one attempt ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Attempt:
    """One attempt to read a source for a day, gathered page by page, then recorded."""

    source: Source
    fetch: Fetch
    now: datetime
    began: float
    records: dict[str, PaperRecord] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    items: int = 0
    error: Exception | None = None

    @classmethod
    def start(cls, source: Source, day: date, *, now: datetime, origin: str) -> _Attempt:
        fetch = Fetch.objects.create(source=source, day=day, origin=origin, started_at=now)
        return cls(source, fetch, now, time.monotonic())

    @property
    def is_source_down(self) -> bool:
        return isinstance(self.error, FetchError) and self.error.is_source_down

    def take(self, parsed: Parsed) -> None:
        for record in parsed.records:
            placed = replace(record, position=record.position + self.items)
            self.records.setdefault(record.arxiv_id, placed)
        self.problems += parsed.problems
        self.items += parsed.size
        self.fetch.pages += 1

    def fail(self, error: Exception) -> None:
        self.error = error

    def finish(self, *, read_at: datetime, backfill: bool) -> Fetch:
        fetch = self.fetch
        try:
            recorded = editions.record_day(
                fetch.day,
                list(self.records.values()),
                source=self.source,
                now=self.now,
                read_at=read_at,
                backfill=backfill,
            )
            fetch.papers_seen, fetch.papers_new = recorded.seen, recorded.new
        except DatabaseError as error:
            log.exception("source=%s day=%s could not be stored", self.source.slug, fetch.day)
            self.fail(error)
        fetch.papers_skipped = len(self.problems)
        fetch.status = self._status()
        fetch.error = "\n".join([*([str(self.error)] if self.error else []), *self.problems])
        fetch.finished_at = self.now + timedelta(seconds=time.monotonic() - self.began)
        fetch.save()
        log.log(
            logging.WARNING if fetch.error else logging.INFO,
            "source=%s day=%s status=%s pages=%d papers=%d new=%d skipped=%d%s",
            self.source.slug, fetch.day, fetch.status, fetch.pages, fetch.papers_seen,
            fetch.papers_new, fetch.papers_skipped,
            f" error={fetch.error.splitlines()[0]!r}" if fetch.error else "",
        )  # fmt: skip
        return fetch

    def _status(self) -> str:
        if self.error or (self.problems and not self.records):
            return Fetch.Status.FAILED
        return Fetch.Status.OK if self.records else Fetch.Status.EMPTY


def _read_day(
    source: Source, day: date, *, now: datetime, backfill: bool, client: Client
) -> _Attempt:
    attempt = _Attempt.start(source, day, now=now, origin=Fetch.Origin.LIVE)
    try:
        for parsed in _pages(source, day, client):
            attempt.take(parsed)
            attempt.fetch.http_status = 200
    except FetchError as error:
        attempt.fetch.http_status = error.status
        attempt.fail(error)
    except SourceFormatError as error:
        attempt.fetch.http_status = 200
        attempt.fail(error)
    except sources.UnknownSourceError as error:
        attempt.fail(error)
    except KeyboardInterrupt:
        Fetch.objects.filter(pk=attempt.fetch.pk).update(
            status=Fetch.Status.FAILED, error=_("interrupted"), finished_at=now
        )
        raise
    attempt.finish(read_at=now, backfill=backfill)
    return attempt


def _pages(source: Source, day: date, client: Client) -> Iterator[Parsed]:
    """Pages until one is short or brings nothing new. Pages move while votes come in."""
    base_url = getattr(settings, f"{source.slug.upper()}_URL", "")
    reader = sources.get(source.slug, base_url)
    seen: set[str] = set()
    for page in range(MAX_PAGES):
        parsed = reader.parse(client.get(reader.url_for(day, page)))
        yield parsed
        ids = {record.arxiv_id for record in parsed.records}
        if parsed.size < reader.page_size or ids <= seen:
            return
        seen |= ids


# -- when ----------------------------------------------------------------------------------


def _round(source: Source, now: datetime, *, lease: datetime, client: Client) -> list[Fetch]:
    _end_interrupted(source, now)
    fetches: list[Fetch] = []
    error: Exception | None = None
    for day in _days_due(source, now):
        attempt = _read_day(source, day, now=now, backfill=False, client=client)
        fetches.append(attempt.fetch)
        if attempt.is_source_down:
            error = attempt.error
            break
    # Left alone where an operator's "fetch now" came meanwhile.
    Source.objects.filter(pk=source.pk, next_fetch_at=lease).update(
        next_fetch_at=_next_fetch_at(source, now, error)
    )
    return fetches


def _end_interrupted(source: Source, now: datetime) -> None:
    source.fetches.filter(status=Fetch.Status.RUNNING, started_at__lt=now - LEASE).update(
        status=Fetch.Status.FAILED, error=_("interrupted"), finished_at=now
    )


def _days_due(source: Source, now: datetime) -> list[date]:
    today = utc_day(now)
    live = source.fetches.succeeded().filter(origin=Fetch.Origin.LIVE, started_at__lte=now)
    read = live.filter(day__gte=today - timedelta(days=GROWING_DAYS), day__lt=today)
    last_read = dict(read.order_by().values_list("day").annotate(latest=Max("started_at")))
    past = [today - timedelta(days=age) for age in range(GROWING_DAYS, 0, -1)]
    return [today, *(day for day in past if _is_day_due(day, last_read.get(day), now))]


def _is_day_due(day: date, last_read: datetime | None, now: datetime) -> bool:
    age = (utc_day(now) - day).days
    if last_read is None:
        return age <= NEW_DAYS
    if age == 1 and now < editions.closes_by(day):
        return not Edition.objects.closed().filter(day=day).exists()
    hours = 6 if age == 1 else 24 if age <= 3 else 72
    return now - last_read >= timedelta(hours=hours)


def _next_fetch_at(source: Source, now: datetime, error: Exception | None) -> datetime:
    """When the source is asked again.

    While today's list may grow: after FETCH_MINUTES. Once today's edition is closed: at the next
    midnight UTC. On an empty Saturday or Sunday: after two hours. Where the source was down:
    after 5, 10, 20, then 30 minutes, or as long as it asked for, but never more than 30.
    """
    if isinstance(error, FetchError):
        asked = timedelta(seconds=error.retry_after)
        return now + min(max(_back_off(source), asked), MAX_BACK_OFF)
    today = utc_day(now)
    midnight = datetime.combine(today + timedelta(days=1), datetime_time(), UTC)
    pause = timedelta(minutes=settings.FETCH_MINUTES)
    edition = Edition.objects.filter(day=today).first()
    if edition is not None and not edition.is_open:
        return midnight
    if edition is None and today.weekday() >= 5:
        pause = max(pause, WEEKEND_PAUSE)
    return min(now + pause, midnight)


def _back_off(source: Source) -> timedelta:
    live = source.fetches.filter(origin=Fetch.Origin.LIVE)
    success = live.succeeded().order_by("-started_at").first()
    failed = live.filter(status=Fetch.Status.FAILED)
    if success is not None:
        failed = failed.filter(started_at__gte=success.started_at)
    doublings = min(max(failed.count() - 1, 0), 3)
    return FIRST_BACK_OFF * (1 << doublings)
