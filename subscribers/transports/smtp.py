"""SMTP: one connection a window, and for every answer or silence what it really means.

A message whose body the server has begun to take may have been delivered, whatever happened
after; before that it cannot have been. All else follows from this line (RFC 5321, 4.2.5).
"""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.message import sanitize_address

from . import Receipt, Status
from .window import COMPOSING_ERRORS, Attempt, composed, deliver, unsendable

START_MAIL_INPUT = 354
CLOSING = 421
TOO_LARGE = 552
NEEDS_LOGIN = (530, 534, 535, 538)


class SmtpTransport:
    """Whatever EMAIL_URL names. SMTP has no idempotency key: what is uncertain stays so."""

    name = "smtp"
    repeats_safely = False
    window: int | None = None

    def __init__(self, backend: str) -> None:
        try:
            self._backend = _Backend()
        except ValueError as error:
            raise ImproperlyConfigured(f"EMAIL_URL: {error}") from error

    def send(self, messages: Sequence[EmailMessage]) -> list[Receipt]:
        with _Line(self._backend) as line:
            return deliver(messages, line.send)


class _BodyWatch(smtplib.SMTP):
    """Remembers whether a body was asked for, and so may have been taken."""

    body_started = False

    def getreply(self) -> tuple[int, bytes]:
        code, text = super().getreply()
        if code == START_MAIL_INPUT:
            self.body_started = True
        return code, text


class _BodyWatchSSL(_BodyWatch, smtplib.SMTP_SSL):
    pass


class _Backend(EmailBackend):
    """Django's own, for its settings, TLS and login; only the sending is ours."""

    connection: _BodyWatch | None
    _partial_connection: _BodyWatch | None

    @property
    def connection_class(self) -> type[_BodyWatch]:
        return _BodyWatchSSL if self.use_ssl else _BodyWatch


@dataclass(frozen=True, slots=True)
class _Letter:
    sender: str
    recipients: list[str]
    body: bytes
    message_id: str


class _Line:
    """The connection of one window, opened when needed and again when it was lost."""

    def __init__(self, backend: _Backend) -> None:
        self._backend = backend

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            # A QUIT in the middle of a body would become part of it.
            self._drop()
        try:
            self._backend.close()
        except OSError:
            self._drop()

    def send(self, message: EmailMessage) -> Attempt:
        try:
            sender = _envelope(message.from_email)
        except ValueError as error:
            return Attempt(Receipt(Status.RETRY, error=f"MAIL_FROM: {error}"), ends_window=True)
        try:
            letter = _letter(message, sender)
        except COMPOSING_ERRORS as error:
            return unsendable(message, error)
        return self._hand_over(letter)

    def _hand_over(self, letter: _Letter) -> Attempt:
        was_used = self._backend.connection is not None
        attempt, body_started = self._attempt(letter)
        if was_used and attempt.is_broken and not body_started:
            # It was closed after the message before: idle, or full. That is no error of this one.
            attempt, body_started = self._attempt(letter)
        return attempt

    def _attempt(self, letter: _Letter) -> tuple[Attempt, bool]:
        try:
            self._backend.open()
        except (OSError, UnicodeError) as error:
            self._drop()
            return _not_connected(error, letter), False
        connection = self._backend.connection
        assert connection is not None
        connection.body_started = False
        try:
            connection.sendmail(letter.sender, letter.recipients, letter.body)
        except OSError as error:  # every SMTPException is one
            attempt = _judge(error, letter, body_started=connection.body_started)
        else:
            attempt = Attempt(Receipt(Status.SENT, letter.message_id))
        if attempt.is_broken or attempt.ends_window:
            self._drop()
        return attempt, connection.body_started

    def _drop(self) -> None:
        # Closed without a QUIT: the server may be in the middle of anything.
        for connection in (self._backend.connection, self._backend._partial_connection):
            if connection is not None:
                connection.close()
        self._backend.connection = self._backend._partial_connection = None


def _letter(message: EmailMessage, sender: str) -> _Letter:
    recipients = [_envelope(address) for address in message.recipients()]
    if not recipients:
        raise ValueError("it has no recipient")
    body, message_id = composed(message)
    return _Letter(sender, recipients, body, message_id)


def _envelope(address: str) -> str:
    return sanitize_address(address, settings.DEFAULT_CHARSET)


def _not_connected(error: Exception, letter: _Letter) -> Attempt:
    # Auth refused, no TLS, no server, no such host: nothing left, and nobody's mail would.
    text = f"EMAIL_URL: cannot connect or log in: {_words(error)}"
    return Attempt(Receipt(Status.RETRY, letter.message_id, text), ends_window=True)


def _judge(error: OSError, letter: _Letter, *, body_started: bool) -> Attempt:
    match error:
        case smtplib.SMTPSenderRefused():
            return _sender_refused(error, letter)
        case smtplib.SMTPRecipientsRefused():
            code, _text = next(iter(error.recipients.values()))
            return _answered(code, error, letter, body_started=body_started)
        case smtplib.SMTPDataError():
            return _answered(error.smtp_code, error, letter, body_started=body_started)
        case smtplib.SMTPHeloError():
            return _not_connected(error, letter)
        case _:
            return _lost(error, letter, body_started=body_started)


def _sender_refused(error: smtplib.SMTPSenderRefused, letter: _Letter) -> Attempt:
    code = error.smtp_code
    if 500 <= code <= 599 and code != TOO_LARGE and code not in NEEDS_LOGIN:
        text = f"MAIL_FROM: the server refuses the sender: {_words(error)}"
        return Attempt(Receipt(Status.RETRY, letter.message_id, text), ends_window=True)
    return _answered(code, error, letter, body_started=False)


def _answered(code: int, error: OSError, letter: _Letter, *, body_started: bool) -> Attempt:
    """What a refusal means. smtplib calls anything but 250 one, also other 2xx after a body."""
    if code in NEEDS_LOGIN:
        return _not_connected(error, letter)
    if code == CLOSING:
        return Attempt(Receipt(Status.RETRY, letter.message_id, _words(error)), is_broken=True)
    if 400 <= code <= 499:
        return Attempt(Receipt(Status.RETRY, letter.message_id, _words(error)))
    if 500 <= code <= 599:
        return Attempt(Receipt(Status.FAILED, letter.message_id, _words(error)))
    if 200 <= code <= 299 and body_started:
        return Attempt(Receipt(Status.SENT, letter.message_id))
    return _lost(error, letter, body_started=body_started)


def _lost(error: OSError, letter: _Letter, *, body_started: bool) -> Attempt:
    status = Status.UNCERTAIN if body_started else Status.RETRY
    # smtplib hides the time-out behind its own exception.
    is_timeout = isinstance(error.__context__, TimeoutError)
    return Attempt(
        Receipt(status, letter.message_id, _words(error)),
        is_broken=not is_timeout,
        ends_window=is_timeout,
    )


def _words(error: Exception) -> str:
    match error:
        case smtplib.SMTPRecipientsRefused():
            code, text = next(iter(error.recipients.values()))
            return f"{code} {_decoded(text)}"
        case smtplib.SMTPResponseException():
            return f"{error.smtp_code} {_decoded(error.smtp_error)}"
        case _:
            return f"{error}" or type(error).__name__


def _decoded(text: bytes | str) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else text
