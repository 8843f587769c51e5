"""Polite HTTP: reads a source for a day, and decides which days are due to be read.

The only module that opens a socket to a source. Every attempt at a day, also one from a file,
leaves one Fetch row that says how it ended.
"""

from __future__ import annotations

import io
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as datetime_time
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import structlog
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Max
from django.utils.translation import gettext as _
from requests.adapters import HTTPAdapter

from . import editions, freshness, sources
from .models import Edition, Fetch, Paper, Source, utc_day
from .records import PaperRecord, Parsed, SavedDay, SourceFormatError

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_PAGES = 20
MAX_REDIRECTS = 3
ATTEMPTS = 4
MAX_WAIT_SECONDS = 60.0  # between tries, for a whole round
WHOLE_ANSWER = 3  # times FETCH_TIMEOUT_SECONDS, which is for each silence within it
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


def look_up(arxiv_id: str, *, now: datetime, client: Client | None = None) -> Paper:
    """The paper that Hugging Face knows under that id, stored as a day's list would store it.

    Asks once, since somebody waits for the answer. Raises FetchError, and then stores nothing:
    where the source knows no such paper, knows that it is withdrawn, or gives no usable answer.
    """
    ensure_sources()
    reader = sources.get("huggingface", settings.HUGGINGFACE_URL)
    client = client or Client(patience_seconds=0)
    try:
        record = reader.parse_paper(client.get(reader.url_for_paper(arxiv_id)))
    except SourceFormatError as error:
        raise FetchError(str(error), status=200) from None
    except FetchError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        text = _("the source knows no paper %(arxiv_id)s")
        raise FetchError(text % {"arxiv_id": arxiv_id}, status=error.status) from None
    if record.arxiv_id != arxiv_id:
        text = _("asked for %(asked)s, the source answered with %(got)s")
        raise FetchError(text % {"asked": arxiv_id, "got": record.arxiv_id}, status=200)
    if record.withdrawn:
        raise FetchError(_("it has been withdrawn by its authors"), status=200)
    return editions.record_paper(record, now=now)


def record_saved(source: Source, saved: SavedDay, *, now: datetime, backfill: bool) -> Fetch:
    """Records a day of a saved file, which must name its day and when it was read."""
    assert saved.day is not None and saved.read_at is not None
    attempt = _Attempt.start(source, saved.day, now=now, origin=Fetch.Origin.FILE)
    attempt.take(saved.parsed)
    return attempt.finish(read_at=saved.read_at, backfill=backfill)


class Client:
    """A session that asks politely: named, patient within limits, never beyond one site.

    found_down: it gave up on the source, so that another day would fare no better.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], None] = time.sleep,
        patience_seconds: float = MAX_WAIT_SECONDS,
    ) -> None:
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _InTime())
        self._session.headers["User-Agent"] = (
            f"{settings.SITE_NAME}/{settings.VERSION} (+{settings.SITE_URL})"
        )
        self._session.headers["Accept"] = "application/json"
        if settings.HUGGINGFACE_TOKEN:
            self._session.auth = _bearer
        self._sleep = sleep
        self._wait_left = patience_seconds
        self.found_down = False

    def get(self, url: str) -> bytes:
        """The body of a 200 answer. Raises FetchError."""
        try:
            return self._get_patiently(url)
        except FetchError as error:
            self.found_down = error.is_source_down
            raise

    def _get_patiently(self, url: str) -> bytes:
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
        began = time.monotonic()
        try:
            with self._follow(url) as response:
                return _body(response)
        except (requests.RequestException, ValueError) as error:
            # ValueError: `requests` looks at where a redirect leads, though it is not to follow it.
            # What they say repeats the address, and with it a password: not even chained.
            if time.monotonic() - began >= WHOLE_ANSWER * seconds:
                message = _("no whole answer within %(seconds)g s (3 times FETCH_TIMEOUT_SECONDS)")
                raise _TransientError(message % {"seconds": WHOLE_ANSWER * seconds}) from None
            if isinstance(error, requests.Timeout):
                message = _("no answer within %(seconds)g s (FETCH_TIMEOUT_SECONDS)")
                raise _TransientError(message % {"seconds": seconds}) from None
            message = _("cannot reach %(host)s (%(reason)s)")
            facts = {"host": _host(url), "reason": type(error).__name__}
            raise _TransientError(message % facts) from None

    def _follow(self, url: str) -> requests.Response:
        """The first answer that is no redirect. The token goes to the site it is for alone."""
        for _hop in range(MAX_REDIRECTS + 1):
            response = self._session.get(
                url, timeout=settings.FETCH_TIMEOUT_SECONDS, stream=True, allow_redirects=False
            )
            if not response.is_redirect:
                return response
            response.close()
            url = _redirected(url, response)
        raise FetchError(_("redirected in circles"), status=response.status_code)


class _TransientError(FetchError):
    """Worth another try; when tries run out, the source is down."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float = 0) -> None:
        super().__init__(message, status=status, is_source_down=True, retry_after=retry_after)


def _bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = f"Bearer {settings.HUGGINGFACE_TOKEN}"
    return request


def _redirected(url: str, response: requests.Response) -> str:
    status = response.status_code
    try:
        target = urljoin(url, response.headers["Location"])
        is_same_site = _is_same_site(url, target)
    except ValueError:
        text = _("redirected to what is no address")
        raise FetchError(text, status=status, is_source_down=True) from None
    if not is_same_site:
        text = _("redirected to another site, %(site)s: not followed") % {"site": _host(target)}
        raise FetchError(text, status=status, is_source_down=True)
    return target


def _is_same_site(old: str, new: str) -> bool:
    before, after = urlsplit(old), urlsplit(new)
    allowed = {(before.scheme, before.port), ("https", None)}
    return before.hostname == after.hostname and (after.scheme, after.port) in allowed


def _host(url: str) -> str:
    """Host and port alone: a mirror's name and password may stand before them."""
    return urlsplit(url).netloc.rpartition("@")[2] or "?"


class _InTime(HTTPAdapter):
    """Answers come to their end in time, however small the drops in which they come.

    A time-out is for one silence, and the libraries know no other: a byte now and then, in the
    headers too, would hold the thread for hours.
    """

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _hurried(pool.ConnectionCls)
        return pool


@cache
def _hurried(connection: Any) -> Any:
    if connection.response_class is _HurriedResponse:
        return connection
    return type(connection.__name__, (connection,), {"response_class": _HurriedResponse})


class _HurriedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Hurried(self.fp.detach(), sock))


class _Hurried(io.RawIOBase):
    """What comes from the socket until its time is up; the socket's own time-out is the unit."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._sock = raw, sock
        self._silence = sock.gettimeout() or 0
        self._deadline = time.monotonic() + WHOLE_ANSWER * self._silence

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(min(left, self._silence))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _body(response: requests.Response) -> bytes:
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
            log.exception("day not stored", source=self.source.slug, day=fetch.day)
            self.fail(error)
        fetch.papers_skipped = len(self.problems)
        fetch.status = self._status()
        fetch.error = "\n".join([*([str(self.error)] if self.error else []), *self.problems])
        fetch.finished_at = self.now + timedelta(seconds=time.monotonic() - self.began)
        fetch.save()
        log.log(
            logging.WARNING if fetch.error else logging.INFO,
            "day read",
            source=self.source.slug,
            day=fetch.day,
            status=fetch.status,
            pages=fetch.pages,
            papers=fetch.papers_seen,
            new=fetch.papers_new,
            skipped=fetch.papers_skipped,
            **({"error": fetch.error.splitlines()[0]} if fetch.error else {}),
        )
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
    _warn_if_stale(source, now)
    return fetches


def _warn_if_stale(source: Source, now: datetime) -> None:
    """Each failure has its own line; this one is for what goes on too long, a dry list too."""
    found = freshness.freshness(source, now)
    if not found.is_fresh:
        log.warning(
            "source not fresh", source=source.slug, health=found.health.value, said=found.said
        )


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
