"""SMTP: for every answer or silence what it really means.

A message whose body the server has begun to take may have been delivered, whatever happened
after; before that it cannot have been. All else follows from this line (RFC 5321, 4.2.5). A
server that pipelines is asked about the next message in the same breath as it gets the body of
this one: the next one's body has not begun by that. While it thinks about one message, the next
is on its way over another connection (SMTP_CONNECTIONS), each of which has one message at a time.
"""

from __future__ import annotations

import re
import smtplib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from email.utils import parseaddr
from functools import lru_cache
from itertools import cycle, islice
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.message import sanitize_address

from . import Receipt, Status
from .ready import ReadyMail
from .smtp_connection import CLOSING, Connection, Letter, Refusal, Reply, Server, kept
from .window import (
    COMPOSING_ERRORS,
    Attempt,
    Course,
    composed,
    own_message_id,
    receipts,
    unsendable,
)

# Of so many letters a line of their own is worth it.
LETTERS_A_LINE = 4
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
        course = Course()
        most = min(settings.SMTP_CONNECTIONS, len(messages) // LETTERS_A_LINE)
        with _Lines(self._server, most=most) as lines:
            letters = map(_letter, messages)
            attempts = [course.heard(tried) for tried in lines.attempts(letters, course)]
        return receipts(messages, attempts, course)


class _Lines:
    """What one window is sent by: one line; up to `most` where the server is known to be there."""

    def __init__(self, server: Server, *, most: int) -> None:
        self._lines = [_Line(server, kept.take(server))]
        while self._lines[-1].is_open and len(self._lines) < most:
            if (another := kept.another(server)) is None:
                break
            self._lines.append(_Line(server, another))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for line in self._lines:
            line.end(in_peace=error is None)

    def attempts(self, letters: Iterator[Letter | Attempt], course: Course) -> Iterator[Attempt]:
        """One a letter, in their order, until the course ends and what is under way is answered.

        Each line is asked about its next letter as it gets this one's body, so letters are put
        together a round before their turn, while the server reads.
        """
        coming = deque(islice(letters, len(self._lines)))
        for line, letter in zip(self._lines, coming, strict=False):
            line.ask_ahead(letter)
        under_way: deque[_Line] = deque()
        for line in cycle(self._lines):
            if len(under_way) == len(self._lines):
                yield under_way.popleft().finish()
            if not coming or not course.goes_on:
                break
            letter = coming.popleft()
            following = next(letters, None)
            if following is not None:
                coming.append(following)
            line.begin(letter, following)
            under_way.append(line)
        for line in under_way:
            yield line.finish()


class _Line:
    """One letter at a time: `begin`, then `finish`. A connection, taken when needed and again
    when it was lost.
    """

    def __init__(self, server: Server, connection: Connection | None = None) -> None:
        self._server = server
        self._connection = connection
        self._letter: Letter | None = None
        self._decided: Attempt | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def ask_ahead(self, letter: Letter | Attempt) -> None:
        """About the first letter; so all lines' answers are on their way at the same time."""
        if self._connection is not None and isinstance(letter, Letter):
            self._connection.ask_ahead(letter)

    def begin(self, letter: Letter | Attempt, then: Letter | Attempt | None) -> None:
        """As far as to the last byte of its body. then: the next one on this line, which may be
        asked about on the way.
        """
        if isinstance(letter, Attempt):
            self._decided = letter
            return
        self._letter = letter
        following = then if isinstance(then, Letter) else None
        self._decided, is_stale = self._begun(letter, following)
        if is_stale:
            # It was closed after the message before: idle, or full. That is no error of this one.
            self._drop()
            self._decided, _is_stale = self._begun(letter, following)

    def finish(self) -> Attempt:
        attempt = self._decided or self._answered()
        is_lost = self._connection is not None and self._connection.is_lost
        if attempt.is_broken or attempt.ends_window or is_lost:
            self._drop()
        return attempt

    def end(self, *, in_peace: bool) -> None:
        """Gives the connection back, where nothing is open on it."""
        if self._connection is not None and in_peace and self._connection.is_between_mails:
            kept.give(self._connection)
        else:
            self._drop()

    def _begun(self, letter: Letter, following: Letter | None) -> tuple[Attempt | None, bool]:
        """What is decided before there is an answer to the body; and whether that was only a used
        connection's end, with nothing begun.
        """
        try:
            connection = self._open()
        except (OSError, ValueError) as error:
            return _not_connected(_words(error), letter, self._server), False
        was_used = connection.letters > 0
        attempt, body_started = _begun(connection, letter, following)
        is_broken = attempt is not None and attempt.is_broken
        return attempt, was_used and is_broken and not body_started

    def _answered(self) -> Attempt:
        letter, connection = self._letter, self._connection
        assert letter is not None and connection is not None, "it was begun"
        try:
            reply = connection.answer()
        except OSError as error:  # every SMTPException is one
            return _lost(error, letter, body_started=True)
        return _answered(reply, letter, connection.server, body_started=True)

    def _open(self) -> Connection:
        if self._connection is not None and self._connection.is_full:
            self._connection.quit()
            self._connection = None
        if self._connection is None:
            self._connection = Connection.open(self._server)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _begun(
    connection: Connection, letter: Letter, following: Letter | None
) -> tuple[Attempt | None, bool]:
    """One letter over one connection, up to its body's last byte: what became of it, if that is
    known by then, and whether its body was begun.
    """
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
    if reply is None:
        return None, True
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
    is_dotless = isinstance(message, ReadyMail)  # by its pieces
    return Letter(sender, recipient, content, message_id, is_dotless)


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
