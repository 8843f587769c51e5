"""SMTP: for every answer or silence what it really means.

A message whose body the server has begun to take may have been delivered, whatever happened
after; before that it cannot have been. All else follows from this line (RFC 5321, 4.2.5). A
server that pipelines is asked about the next message in the same breath as it gets the body of
this one: the next one's body has not begun by that.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.utils import parseaddr
from functools import lru_cache
from itertools import chain, pairwise
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.message import sanitize_address

from . import Receipt, Status
from .smtp_connection import CLOSING, Connection, Letter, Refusal, Reply, Server, kept
from .window import COMPOSING_ERRORS, Attempt, collect, composed, own_message_id, unsendable

TOO_LARGE = 552
NEEDS_LOGIN = (530, 534, 535, 538)

# What needs neither parsing nor encoding, which is nearly every address.
_PLAIN = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")


class SmtpTransport:
    """Whatever EMAIL_URL names. SMTP has no idempotency key: what is uncertain stays so."""

    repeats_safely = False
    window: int | None = None

    def __init__(
        self, backend: str = "", *, server: Server | None = None, name: str = "smtp"
    ) -> None:
        self.name = name
        self._server = server or Server.from_settings()

    @classmethod
    def of(
        cls, config: Mapping[str, Any], name: str, *, setting: str = "FALLBACK_EMAIL_URL"
    ) -> Self:
        """A second server, from EMAIL_* names. Raises ImproperlyConfigured, naming `setting`."""
        return cls(server=Server.of(config, setting=setting), name=name)

    def send(self, messages: Sequence[EmailMessage]) -> list[Receipt]:
        letters = map(_letter, messages)
        with _Line(self._server) as line:
            return collect(
                messages,
                (line.send(letter, then) for letter, then in pairwise(chain(letters, [None]))),
            )


class _Line:
    """What one window is sent by: a connection, taken when needed and again when it was lost."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._drop()
        elif self._connection is not None:
            kept.give(self._connection)

    def send(self, letter: Letter | Attempt | None, then: Letter | Attempt | None) -> Attempt:
        """then: the next one, which may be asked about on the way."""
        assert letter is not None
        if isinstance(letter, Attempt):
            return letter
        following = then if isinstance(then, Letter) else None
        attempt, is_stale = self._attempt(letter, following)
        if is_stale:
            # It was closed after the message before: idle, or full. That is no error of this one.
            attempt, _is_stale = self._attempt(letter, following, anew=True)
        return attempt

    def _attempt(
        self, letter: Letter, following: Letter | None, *, anew: bool = False
    ) -> tuple[Attempt, bool]:
        """And whether that was only a used connection's end, with nothing begun."""
        try:
            connection = self._open(anew=anew)
        except (OSError, ValueError) as error:
            return _not_connected(_words(error), letter, self._server), False
        was_used = connection.letters > 0
        attempt, body_started = _exchange(connection, letter, following)
        if attempt.is_broken or attempt.ends_window or connection.is_lost:
            self._drop()
        return attempt, was_used and attempt.is_broken and not body_started

    def _open(self, *, anew: bool) -> Connection:
        if self._connection is not None and self._connection.is_full:
            self._connection.quit()
            self._connection = None
        if self._connection is None:
            known = None if anew else kept.take(self._server)
            self._connection = known or Connection.open(self._server)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _exchange(
    connection: Connection, letter: Letter, following: Letter | None
) -> tuple[Attempt, bool]:
    """One letter over one connection, and whether its body was begun."""
    if not connection.takes(letter):
        text = "the mail server takes no such address (it does not offer SMTPUTF8)"
        return Attempt(Receipt(Status.FAILED, letter.message_id, text)), False
    body_started = False
    try:
        if refusal := connection.ask(letter):
            return _refused(refusal, letter, connection.server), False
        body_started = True
        reply = connection.hand_over(letter, following)
    except OSError as error:  # every SMTPException is one
        return _lost(error, letter, body_started=body_started), body_started
    return _answered(reply, letter, connection.server, body_started=True), True


def _letter(message: EmailMessage) -> Letter | Attempt:
    try:
        sender = _sender(message.from_email)
    except ValueError as error:
        receipt = Receipt(Status.RETRY, own_message_id(message), f"MAIL_FROM: {error}")
        return Attempt(receipt, ends_window=True)
    try:
        recipients = message.recipients()
        if len(recipients) != 1:
            raise ValueError(f"it has {len(recipients) or 'no'} recipients instead of one")
        recipient = _envelope(recipients[0])
        content, message_id = composed(message)
    except COMPOSING_ERRORS as error:
        return unsendable(message, error)
    return Letter(sender, recipient, content, message_id)


def _envelope(address: str) -> str:
    """The bare address, its host in ASCII. Raises ValueError for what is none."""
    if _PLAIN.fullmatch(address):
        return address
    spelled = parseaddr(sanitize_address(address, settings.DEFAULT_CHARSET))[1]
    name = parseaddr(address)[1].rpartition("@")[0]
    if not name.isascii():  # in an envelope, the encoding of headers would be another address
        spelled = f"{name}@{spelled.rpartition('@')[2]}"
    if not spelled.isprintable():
        raise ValueError("it holds control characters")
    return spelled


_sender = lru_cache(maxsize=8)(_envelope)


def _not_connected(words: str, letter: Letter, server: Server) -> Attempt:
    # Auth refused, no TLS, no server, no such host: nothing left, and nobody's mail would.
    text = f"{server.setting}: cannot connect or log in: {words}"
    return Attempt(Receipt(Status.RETRY, letter.message_id, text), ends_window=True)


def _refused(refusal: Refusal, letter: Letter, server: Server) -> Attempt:
    code = refusal.reply.code
    if (
        refusal.verb == "MAIL"
        and 500 <= code <= 599
        and code != TOO_LARGE
        and code not in NEEDS_LOGIN
    ):
        text = f"MAIL_FROM: the server refuses the sender: {_said(refusal.reply)}"
        return Attempt(Receipt(Status.RETRY, letter.message_id, text), ends_window=True)
    attempt = _answered(refusal.reply, letter, server, body_started=False)
    if refusal.lost is None:
        return attempt
    # That the line went is no news about this mail, and the next one gets another.
    return replace(attempt, ends_window=attempt.ends_window or _is_timeout(refusal.lost))


def _answered(reply: Reply, letter: Letter, server: Server, *, body_started: bool) -> Attempt:
    """What an answer means, to the body or (not body_started) to a command it was no consent to."""
    code = reply.code
    if 200 <= code <= 299 and body_started:
        return Attempt(Receipt(Status.SENT, letter.message_id))
    words = _said(reply)
    if code in NEEDS_LOGIN:
        return _not_connected(words, letter, server)
    if code == CLOSING:
        return Attempt(Receipt(Status.RETRY, letter.message_id, words), is_broken=True)
    if 400 <= code <= 499:
        return Attempt(Receipt(Status.RETRY, letter.message_id, words))
    if 500 <= code <= 599:
        return Attempt(Receipt(Status.FAILED, letter.message_id, words))
    return _lost(smtplib.SMTPException(words), letter, body_started=body_started)


def _lost(error: OSError, letter: Letter, *, body_started: bool) -> Attempt:
    status = Status.UNCERTAIN if body_started else Status.RETRY
    is_timeout = _is_timeout(error)
    return Attempt(
        Receipt(status, letter.message_id, _words(error)),
        is_broken=not is_timeout,
        ends_window=is_timeout,
    )


def _is_timeout(error: OSError) -> bool:
    # smtplib hides the time-out behind its own exception.
    return isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)


def _words(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_decoded(error.smtp_error)}"
    return f"{error}" or type(error).__name__


def _said(reply: Reply) -> str:
    return f"{reply.code} {_decoded(reply.text)}"


def _decoded(text: bytes | str) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else text
