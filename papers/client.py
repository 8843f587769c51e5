"""Polite HTTP: the only module that opens a socket to a source.

It names us, waits as it is told, keeps each site's pace, and trusts nothing: an answer has a time
and a size within which it must end, and a redirect leads nowhere but to the same site.
"""

from __future__ import annotations

import io
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import requests
from django.conf import settings
from django.utils.translation import gettext as _
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from . import pace
from .records import one_line

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_SAID = 500  # characters of an error, which may repeat foreign ones
CHUNK_BYTES = 64 * 1024
MAX_REDIRECTS = 3
ATTEMPTS = 4
MAX_WAIT_SECONDS = 60.0  # between tries, for a whole round
TURN_SECONDS = 10.0  # for which even the impatient wait for their turn
GIVEN_UP_SECONDS = 300.0  # that a reader which gave no answer is not asked again by the same client
WHOLE_ANSWER = 3  # times FETCH_TIMEOUT_SECONDS, which is for each silence within it
RETRIED = (408, 429, 500, 502, 503, 504)
GZIP = 15 + 16  # zlib's window bits for it


class FetchError(Exception):
    """The source gave no usable answer.

    status: the answer's, if one came; 429 also while the host rests after one. is_source_down:
    another day would fare no better. retry_after: seconds that it asks for. body: how the answer
    to a bad request begins.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        is_source_down: bool = False,
        retry_after: float = 0,
        body: bytes = b"",
    ) -> None:
        super().__init__(one_line(message)[:MAX_SAID])
        self.status = status
        self.is_source_down = is_source_down
        self.retry_after = retry_after
        self.body = body

    @property
    def wants_rest(self) -> bool:
        return self.status == HTTPStatus.TOO_MANY_REQUESTS


@dataclass(frozen=True, slots=True)
class Validators:
    """Of an answer that is known (RFC 9110, 8.8); empty where it had none."""

    etag: str = ""
    last_modified: str = ""

    def as_headers(self) -> dict[str, str]:
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}


@dataclass(frozen=True, slots=True)
class Answered:
    """A usable answer. Status 304 has no body, and comes only where validators were sent."""

    body: bytes
    status: int = 200
    etag: str = ""
    last_modified: str = ""


class Asker(Protocol):
    """Who asks: a reader. See `papers.sources.Reader`."""

    @property
    def name(self) -> str: ...
    @property
    def accept(self) -> str: ...
    @property
    def pace_seconds(self) -> float: ...


class Client:
    """A session that asks politely: named, patient within limits, never beyond one site.

    patience_seconds: for all tries that failed and the waits between them together. accept, pace:
    media types, and the least seconds between requests to that site, where no reader says so.
    headers: sent with each. timeout_seconds: for each silence, where somebody waits; else
    the setting's. found_down: the last request found the source down, so that another
    day would fare no better. days: for whoever asks through it: address -> the day that the list
    there was found to be of.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], None] = time.sleep,
        patience_seconds: float = MAX_WAIT_SECONDS,
        accept: str = "application/json",
        pace: float = 0.0,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _InTime())
        self._session.headers.update(headers or {})
        self._session.headers["User-Agent"] = (
            f"{settings.SITE_NAME}/{settings.VERSION} (+{settings.SITE_URL})"
        )
        # What else `requests` would offer is unpacked without a limit.
        self._session.headers["Accept-Encoding"] = "gzip"
        if settings.HUGGINGFACE_TOKEN:
            self._session.auth = _bearer
        self._accept = accept
        self._pace_seconds = pace
        self._sleep = sleep
        self._wait_left = patience_seconds
        self._timeout_seconds = timeout_seconds
        self._given_up: dict[str, tuple[float, FetchError]] = {}
        self.found_down = False
        self.days: dict[str, date] = {}

    def get(
        self, url: str, *, validators: Validators | None = None, reader: Asker | None = None
    ) -> Answered:
        """The answer of 200, or of 304 to `validators`. Raises FetchError.

        A reader that got no answer is refused the same way for the next five minutes.
        """
        question = _Question("GET", url, *self._manner(reader), validators or Validators())
        return self._ask_unless_given_up(question, reader.name if reader else "")

    def post(self, url: str, json: Any) -> Answered:
        """The answer of 200 to that JSON. Raises FetchError."""
        question = _Question("POST", url, *self._manner(None), Validators(), json)
        return self._ask_unless_given_up(question, "")

    def _manner(self, reader: Asker | None) -> tuple[str, float]:
        if reader is None:
            return self._accept, self._pace_seconds
        return reader.accept, reader.pace_seconds

    def _ask_unless_given_up(self, question: _Question, reader: str) -> Answered:
        since, error = self._given_up.get(reader, (0.0, None))
        if error is not None and time.monotonic() < since + GIVEN_UP_SECONDS:
            self.found_down = True
            raise error
        try:
            answer = self._ask_patiently(question)
        except FetchError as error:
            self.found_down = error.is_source_down
            if reader and error.is_source_down:
                self._given_up[reader] = (time.monotonic(), error)
            raise
        self.found_down = False
        return answer

    def _ask_patiently(self, question: _Question) -> Answered:
        for attempt in range(1, ATTEMPTS + 1):
            began = time.monotonic()
            try:
                return self._ask(question)
            except _TransientError as error:
                self._wait_left -= time.monotonic() - began
                delay = max(error.retry_after, 2.0 ** (attempt - 1))
                if attempt == ATTEMPTS or delay > self._wait_left:
                    raise
            self._wait_left -= delay
            self._sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def _ask(self, question: _Question) -> Answered:
        """The first answer that is no redirect. The token goes to the site it is for alone."""
        url = question.url
        for _hop in range(MAX_REDIRECTS + 1):
            with self._answer(question, url) as response:
                if not response.is_redirect:
                    return _read(response, question)
                status = response.status_code
                url = _redirected(url, response)
        raise FetchError(_("redirected in circles"), status=status)

    @contextmanager
    def _answer(self, question: _Question, url: str) -> Iterator[requests.Response]:
        """The answer's headers; its body is read within, all of it in one turn."""
        patience = max(self._wait_left, TURN_SECONDS)
        with (
            _in_turn(url, question.pace_seconds, self._sleep, patience) as turn,
            _in_words(url),
        ):
            response = self._session.request(
                question.method,
                url,
                json=question.json,
                headers={"Accept": question.accept, **question.validators.as_headers()},
                timeout=self._timeout_seconds or settings.FETCH_TIMEOUT_SECONDS,
                stream=True,
                allow_redirects=False,
            )
            turn.is_answered()
            with response:
                yield response


@dataclass(frozen=True, slots=True)
class _Question:
    method: str
    url: str
    accept: str
    pace_seconds: float
    validators: Validators
    json: Any = None


class _TransientError(FetchError):
    """Worth another try; when tries run out, the source is down."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float = 0) -> None:
        super().__init__(message, status=status, is_source_down=True, retry_after=retry_after)


@contextmanager
def _in_turn(
    url: str, seconds: float, sleep: Callable[[float], None], patience_seconds: float
) -> Iterator[pace.Turn]:
    """At the site's pace. After a 429 its host has rest from all of us."""
    try:
        with pace.turn(
            url, seconds=seconds, sleep=sleep, patience_seconds=patience_seconds
        ) as turn:
            yield turn
    except pace.NotNowError as error:
        raise _not_now(url, error) from None
    except FetchError as error:
        if seconds and error.wants_rest:
            error.retry_after = pace.rest(url, error.retry_after)
        raise


def _not_now(url: str, error: pace.NotNowError) -> FetchError:
    if error.until is None:
        text = _("others are asking %(host)s: no turn came in time") % {"host": _host(url)}
        return _TransientError(text, retry_after=error.seconds)
    text = _("%(host)s asked for rest: not asked again before %(until)s UTC")
    facts = {"host": _host(url), "until": f"{error.until:%Y-%m-%d %H:%M}"}
    return _TransientError(text % facts, status=429, retry_after=error.seconds)


@contextmanager
def _in_words(url: str) -> Iterator[None]:
    """What goes wrong on the way, as a FetchError.

    What the libraries say repeats the address, and with it a password: it is not even chained.
    """
    seconds = settings.FETCH_TIMEOUT_SECONDS
    began = time.monotonic()
    try:
        yield
    except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
        # ValueError: `requests` looks at where a redirect leads, though it is not to follow it.
        if time.monotonic() - began >= WHOLE_ANSWER * seconds:
            message = _("no whole answer within %(seconds)g s (3 times FETCH_TIMEOUT_SECONDS)")
            raise _TransientError(message % {"seconds": WHOLE_ANSWER * seconds}) from None
        if isinstance(error, requests.Timeout | ReadTimeoutError | TimeoutError):
            message = _("no answer within %(seconds)g s (FETCH_TIMEOUT_SECONDS)")
            raise _TransientError(message % {"seconds": seconds}) from None
        message = _("cannot reach %(host)s (%(reason)s)")
        if isinstance(error, HTTPError):  # `requests` wraps what happens before the body
            message = _("the answer of %(host)s breaks off (%(reason)s)")
        facts = {"host": _host(url), "reason": type(error).__name__}
        raise _TransientError(message % facts) from None


def _bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
    if _is_same_site(settings.HUGGINGFACE_URL, request.url or ""):
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


# -- the body ------------------------------------------------------------------------------


def _read(response: requests.Response, question: _Question) -> Answered:
    status = response.status_code
    if status == HTTPStatus.NOT_MODIFIED and question.validators.as_headers():
        return Answered(b"", status)
    if status in RETRIED:
        raise _TransientError(
            f"HTTP {status} {response.reason}", status=status, retry_after=_asked_to_wait(response)
        )
    if status != HTTPStatus.OK:
        raise FetchError(
            f"HTTP {status} {response.reason}",
            status=status,
            is_source_down=status in (401, 403),
            body=_beginning(response),
        )
    body = bytearray()
    for piece in _unpacked(response, MAX_BODY_BYTES):
        body += piece
    headers = response.headers
    return Answered(
        bytes(body),
        status,
        _short(headers.get("ETag"), 200),
        _short(headers.get("Last-Modified"), 64),
    )


def _beginning(response: requests.Response) -> bytes:
    """Of what explains an error, as far as it can be read."""
    body = bytearray()
    try:
        for piece in _unpacked(response, MAX_ERROR_BYTES):
            body += piece
    except (FetchError, HTTPError, HTTPException, OSError):
        pass
    return bytes(body)


def _unpacked(response: requests.Response, most_bytes: int) -> Iterator[bytes]:
    """The body, at most that much of it unpacked; a bomb is never unpacked further than that.

    Raises FetchError where there is more, and where it is packed in a way that was not offered.
    """
    packing = response.headers.get("Content-Encoding", "identity").strip().lower() or "identity"
    if packing not in ("identity", "gzip", "x-gzip"):
        text = _("an answer packed as %(packing)s") % {"packing": packing[:40]}
        raise FetchError(text, status=response.status_code)
    unpack = None if packing == "identity" else zlib.decompressobj(GZIP)
    size = 0
    for packed in response.raw.stream(CHUNK_BYTES, decode_content=False):
        piece = (
            packed if unpack is None else _unpack(unpack, packed, most_bytes + 1 - size, response)
        )
        size += len(piece)
        if size > most_bytes:
            text = _("an answer of more than %(most)d MiB") % {"most": most_bytes >> 20}
            raise FetchError(text, status=response.status_code)
        yield piece
    if unpack is not None and not unpack.eof:
        text = _("the answer of %(host)s breaks off (%(reason)s)")
        facts = {"host": _host(response.url), "reason": "gzip"}
        raise _TransientError(text % facts, status=response.status_code)


def _unpack(unpack: Any, packed: bytes, most_bytes: int, response: requests.Response) -> bytes:
    try:
        piece: bytes = unpack.decompress(packed, most_bytes)
    except zlib.error:
        text = _("an answer that cannot be unpacked")
        raise FetchError(text, status=response.status_code) from None
    return piece


def _short(value: str | None, length: int) -> str:
    """A validator that cannot be stored or sent as it came is none."""
    return value if value and value.isprintable() and len(value) <= length else ""


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
    except (ValueError, TypeError, OverflowError):
        return 0.0


# -- the clock -----------------------------------------------------------------------------


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
