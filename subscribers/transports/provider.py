"""Any mail provider that anymail knows: its API's answers, in the ledger's terms."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import structlog
from anymail.exceptions import (
    AnymailError,
    AnymailInvalidAddress,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from anymail.message import AnymailStatus
from anymail.utils import parse_address_list
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from urllib3.exceptions import NewConnectionError

from . import Receipt, Status, load_backend
from .window import Attempt, deliver, own_message_id, unsendable

log = structlog.get_logger(__name__)

# Providers allow as little as two requests a second and say "wait one": a window waits that out,
# but ends long before its lease does.
PATIENCE_SECONDS = 30.0
LEAST_WAIT_SECONDS = 0.5

OPERATORS_FAULT = frozenset({401, 402, 403, 404, 405, 407})  # key, credit, sender, address of API
LATER = frozenset({408, 425, 429, 503})
TOO_MANY = 429


class ProviderTransport:
    """One API call per message over one session. anymail passes no idempotency key on, so the
    provider would deliver a repeated message again.
    """

    repeats_safely = False
    window: int | None = None

    def __init__(self, backend: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._connection: Any = _with_a_number_for_timeout(load_backend(backend)())
        self._sleep = sleep
        self.name = self._connection.esp_name.lower().replace(" ", "_")[:40]

    def send(self, messages: Sequence[EmailMessage]) -> list[Receipt]:
        window = _Window(self._connection, self._sleep)
        self._connection.open()
        try:
            return deliver(messages, window.send)
        finally:
            self._connection.close()


def _with_a_number_for_timeout(connection: Any) -> Any:
    # From the environment it comes as text, over which every single request would fall.
    timeout = getattr(connection, "timeout", None)
    if isinstance(timeout, str):
        try:
            connection.timeout = float(timeout)
        except ValueError:
            text = f"ANYMAIL_REQUESTS_TIMEOUT must be a number of seconds, not {timeout!r}"
            raise ImproperlyConfigured(text) from None
    return connection


@dataclass(slots=True)
class _Window:
    connection: Any
    sleep: Callable[[float], None]
    patience_seconds: float = PATIENCE_SECONDS

    def send(self, message: EmailMessage) -> Attempt:
        while True:
            attempt = _attempt(self.connection, message)
            wait_seconds = _wait_seconds(message, attempt)
            if wait_seconds is None or wait_seconds > self.patience_seconds:
                return attempt
            self.patience_seconds -= wait_seconds
            self.sleep(wait_seconds)


def _wait_seconds(message: EmailMessage, attempt: Attempt) -> float | None:
    """How long to wait before the same message is tried again; None if it is not to be."""
    after = attempt.receipt.retry_after_seconds
    if attempt.receipt.status != Status.RETRY or after is None:
        return None
    return max(after, LEAST_WAIT_SECONDS)


def _attempt(connection: Any, message: EmailMessage) -> Attempt:
    try:
        parse_address_list(message.from_email)
    except AnymailInvalidAddress as error:
        return Attempt(_receipt(message, Status.RETRY, f"MAIL_FROM: {error}"), ends_window=True)
    message.anymail_status = AnymailStatus()  # type: ignore[attr-defined]  # how anymail answers
    try:
        connection.send_messages([message])
    except (AnymailInvalidAddress, AnymailSerializationError) as error:
        return unsendable(message, error)
    except AnymailUnsupportedFeature as error:
        text = f"{error} (ANYMAIL_IGNORE_UNSUPPORTED_FEATURES would leave it out)"
        return Attempt(_receipt(message, Status.RETRY, text), ends_window=True)
    except AnymailError as error:
        return _by_recipient(message, error) or _judge(message, error)
    except Exception as error:  # such as a parser's, over a strange answer to a sent request
        log.exception("transport fell over", transport=connection.esp_name)
        return _by_recipient(message, error) or _fell_over(message, error)
    return _by_recipient(message, None) or _cancelled(message)


def _by_recipient(message: EmailMessage, error: Exception | None) -> Attempt | None:
    """What the provider said of the one recipient, if it said anything at all."""
    answer: AnymailStatus = message.anymail_status  # type: ignore[attr-defined]
    # One recipient may stand there twice, as we and as the provider spell the address.
    by_status = {recipient.status: recipient for recipient in answer.recipients.values()}
    if not by_status:
        return None
    if accepted := by_status.get("sent") or by_status.get("queued"):
        return Attempt(Receipt(Status.SENT, str(accepted.message_id or own_message_id(message))))
    text = f"the provider says {', '.join(map(str, by_status))}: {error or 'no reason'}"
    is_refusal = 400 <= getattr(answer.esp_response, "status_code", 0) <= 499
    if is_refusal or by_status.keys() & {"invalid", "rejected", "failed"}:
        return Attempt(_receipt(message, Status.FAILED, text))
    return Attempt(_receipt(message, Status.UNCERTAIN, text))


def _judge(message: EmailMessage, error: AnymailError) -> Attempt:
    code = _status_code(error)
    if code is None:
        return _unanswered(message, error)
    if code in OPERATORS_FAULT:
        return _operators_fault(message, error)
    if code in LATER:
        receipt = _receipt(message, Status.RETRY, str(error), _retry_after(error))
        return Attempt(receipt, ends_window=True)
    if 400 <= code <= 499:
        return Attempt(_receipt(message, Status.FAILED, str(error)))
    return _fell_over(message, error)


def _unanswered(message: EmailMessage, error: AnymailError) -> Attempt:
    cause = error.__cause__
    if isinstance(cause, requests.RequestException) and _never_asked(cause):
        return _operators_fault(message, error)
    if isinstance(cause, requests.Timeout):
        return Attempt(_receipt(message, Status.UNCERTAIN, str(error)), ends_window=True)
    return _fell_over(message, error)


def _never_asked(error: requests.RequestException) -> bool:
    """Whether the request cannot have gone out: no such host, nobody there, a bad certificate,
    an address or a header that is none.
    """
    if isinstance(error, requests.ConnectTimeout | ValueError):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    reason = getattr(reason, "original_error", reason)  # what stopped the proxy
    if isinstance(error, requests.exceptions.SSLError):
        return any(isinstance(arg, ssl.SSLCertVerificationError) for arg in _arguments(reason))
    return isinstance(reason, NewConnectionError)


def _arguments(reason: object) -> tuple[object, ...]:
    return reason.args if isinstance(reason, Exception) else ()


def _operators_fault(message: EmailMessage, error: AnymailError) -> Attempt:
    text = f"EMAIL_BACKEND, the ANYMAIL_* settings or MAIL_FROM: {error}"
    return Attempt(_receipt(message, Status.RETRY, text), ends_window=True)


def _fell_over(message: EmailMessage, error: Exception) -> Attempt:
    return Attempt(_receipt(message, Status.UNCERTAIN, str(error)), is_broken=True)


def _cancelled(message: EmailMessage) -> Attempt:
    return Attempt(_receipt(message, Status.FAILED, "cancelled, or it has no recipient"))


def _status_code(error: AnymailError) -> int | None:
    code: int | None = error.status_code
    if code is None and isinstance(error.response, dict):  # Amazon SES, by boto
        code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code


def _retry_after(error: AnymailError) -> float | None:
    headers = getattr(error.response, "headers", None) or {}
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value, datetime.now(UTC))
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _seconds_until(date: str, now: datetime) -> float | None:
    try:
        at = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max((at - now).total_seconds(), 0.0) if at.tzinfo else None


def _receipt(
    message: EmailMessage, status: Status, error: str, retry_after_seconds: float | None = None
) -> Receipt:
    return Receipt(status, own_message_id(message), error, retry_after_seconds)
