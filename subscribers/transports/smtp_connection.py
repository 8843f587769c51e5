"""Connections to SMTP servers: opened by the library, kept between windows, and talked to in as
few round trips as the server allows (RFC 5321; pipelining: RFC 2920).

What an answer means for a mail is decided in `smtp`; this module knows what to say next.
"""

from __future__ import annotations

import atexit
import os
import re
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple, Self

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.utils import DNS_NAME

log = structlog.get_logger(__name__)

START_MAIL_INPUT = 354
CLOSING = 421
# What many servers allow: after it a new connection is made, before the server asks for one.
MAILS_PER_CONNECTION = 100
IDLE_SECONDS = 20.0
# After a server has refused one connection more, for how long it is called by those there are.
ALONE_SECONDS = 600.0
TIMEOUT_SECONDS = 30.0
# For an answer whose time was over before it was looked for.
LAST_LOOK_SECONDS = 0.1
# A server that does not even answer a farewell is not waited for any longer.
QUIT_SECONDS = 2.0
MOST_OF_A_LINE = 512  # RFC 5321, 4.5.3.1.5

_SETTINGS = (
    "EMAIL_HOST", "EMAIL_PORT", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD", "EMAIL_USE_TLS",
    "EMAIL_USE_SSL", "EMAIL_TIMEOUT", "EMAIL_SSL_KEYFILE", "EMAIL_SSL_CERTFILE",
)  # fmt: skip
_DOT_FIRST = re.compile(rb"(?m)^\.")
_DOT_LATER = re.compile(rb"\n\.")  # found, or not, at half the cost of `in` and of the above


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail goes, and how. `setting` is the one to name when it does not work."""

    host: str
    port: int = 0  # 0: what is usual, 25 or (use_ssl) 465
    user: str = ""
    password: str = field(default="", repr=False)
    use_tls: bool = False
    use_ssl: bool = False
    timeout_seconds: float = TIMEOUT_SECONDS
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    local_hostname: str = ""  # "": this machine's
    setting: str = "EMAIL_URL"

    @classmethod
    def from_settings(cls) -> Self:
        return cls.of({name: getattr(settings, name) for name in _SETTINGS})

    @classmethod
    def of(cls, config: Mapping[str, Any], *, setting: str = "EMAIL_URL") -> Self:
        """From Django's EMAIL_* names. Without EMAIL_TIMEOUT the settings' own holds, and where
        there is none TIMEOUT_SECONDS. Raises ImproperlyConfigured, naming `setting`, for what
        can never work.
        """
        timeout = config.get("EMAIL_TIMEOUT", settings.EMAIL_TIMEOUT)
        server = cls(
            host=config.get("EMAIL_HOST") or "",
            port=config.get("EMAIL_PORT") or 0,
            user=config.get("EMAIL_HOST_USER") or "",
            password=config.get("EMAIL_HOST_PASSWORD") or "",
            use_tls=bool(config.get("EMAIL_USE_TLS")),
            use_ssl=bool(config.get("EMAIL_USE_SSL")),
            timeout_seconds=TIMEOUT_SECONDS if timeout is None else timeout,
            ssl_keyfile=config.get("EMAIL_SSL_KEYFILE"),
            ssl_certfile=config.get("EMAIL_SSL_CERTFILE"),
            setting=setting,
        )
        if problem := _problem(server):
            raise ImproperlyConfigured(f"{setting}: {problem}")
        return server


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail ready to be handed over. sender, recipient: bare addresses, without line breaks.
    content: the whole message, CRLF, not dot-stuffed. is_dotless: no line of it begins with a dot.
    """

    sender: str
    recipient: str
    content: bytes
    message_id: str
    is_dotless: bool = False

    @property
    def needs_utf8(self) -> bool:
        return not (self.sender.isascii() and self.recipient.isascii())


class Reply(NamedTuple):
    code: int  # -1 where there was none to be read
    text: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first answer that was no consent, and to what: MAIL, RCPT, DATA or RSET."""

    verb: str
    reply: Reply
    lost: OSError | None = None  # the connection did not outlive it


class Connection:
    """Logged in and ready for letters: `ask` for each, then, where nothing is refused, `hand_over`
    and `answer`.

    Every reply to what came before has been read when a body starts, so that an answer which
    comes after that is the body's.
    """

    def __init__(self, server: Server, smtp: smtplib.SMTP) -> None:
        self.server = server
        self.letters = 0  # asked for
        self.is_lost = False
        self.idle_since = 0.0
        self._smtp = smtp
        self._pipelines = smtp.has_extn("pipelining")
        self._takes_size, self._takes_8bit = smtp.has_extn("size"), smtp.has_extn("8bitmime")
        self._gone_ahead: Letter | None = None
        self._must_reset = False
        self._written = 0
        self._handed_over_at = 0.0

    @classmethod
    def open(cls, server: Server) -> Self:
        """Raises OSError or ValueError where the server cannot be reached or does not want us."""
        smtp = _connected(server)
        try:
            _introduced(smtp, server)
        except BaseException:
            smtp.close()
            raise
        connection = cls(server, smtp)
        log.debug("smtp connection opened", host=server.host, pipelines=connection._pipelines)
        return connection

    @property
    def is_full(self) -> bool:
        return self.letters >= MAILS_PER_CONNECTION

    @property
    def is_between_mails(self) -> bool:
        """Nothing has been asked about a letter that is still to come."""
        return self._gone_ahead is None

    def takes(self, letter: Letter) -> bool:
        """False for an address outside ASCII at a server without SMTPUTF8 (RFC 6531)."""
        return not letter.needs_utf8 or self._smtp.has_extn("smtputf8")

    def is_quiet(self) -> bool:
        """False where the server has closed it, or said something that nobody asked for (421)."""
        sock, replies = self._smtp.sock, self._smtp.file
        assert sock is not None and replies is not None
        sock.settimeout(0)
        try:
            # None: nothing to read. b"": closed.
            return replies.read(1) is None
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        finally:
            sock.settimeout(self.server.timeout_seconds)

    def ask_ahead(self, letter: Letter) -> None:
        """Says now what `ask` would, where the server pipelines; `ask` then hears the answers, and
        is the one to notice that the connection was lost.
        """
        if self._may_go_ahead(letter) and not self._must_reset:
            self._gone_ahead = letter
            with suppress(OSError):
                self._write(b"".join(line for _verb, line in self._commands(letter)))

    def ask(self, letter: Letter) -> Refusal | None:
        """Whether the server wants the letter; None: it waits for the body, and hand_over() must
        follow. Raises OSError where the connection was lost before anything was refused.
        """
        self.letters += 1
        refusal: Refusal | None = None
        try:
            for verb, reply in self._answers(letter):
                if refusal is None and not _is_consent(verb, reply):
                    refusal = Refusal(verb, reply)
                    if reply.code == CLOSING or not self._pipelines:
                        break
                elif refusal is not None and reply.code == START_MAIL_INPUT:
                    self._send_no_body(refusal)
        except OSError as error:
            self.is_lost = True
            if refusal is None:
                raise
            return replace(refusal, lost=error)
        self._must_reset = refusal is not None
        return refusal

    def hand_over(self, letter: Letter, following: Letter | None) -> Reply | None:
        """Writes the body, and what there is to ask about the following letter (RFC 2920, 3.1).
        None: `answer` waits for what the server says; a reply: it said so before all was written.
        Raises OSError where the connection was lost, after which the letter may have been taken.
        """
        end = b".\r\n" if letter.content.endswith(b"\r\n") else b"\r\n.\r\n"
        body = letter.content if letter.is_dotless else _stuffed(letter.content)
        self._gone_ahead = following if self._may_go_ahead(following) else None
        commands = self._commands(self._gone_ahead) if self._gone_ahead else ()
        try:
            self._write(b"".join((body, end, *(line for _verb, line in commands))))
        except OSError:
            reply = self._said_meanwhile()
            # Before its last byte was written, no body can have been accepted.
            if reply and (reply.code >= 400 or self._written >= len(body) + len(end)):
                self.is_lost = True
                return reply
            raise
        self._handed_over_at = time.monotonic()
        return None

    def answer(self) -> Reply:
        """To the body; the server has had its time since that was written, whatever was done
        meanwhile. Raises OSError where none came, after which the letter may have been taken.
        """
        sock, most = self._smtp.sock, self.server.timeout_seconds
        if sock is None:
            raise smtplib.SMTPServerDisconnected("the connection was lost")
        sock.settimeout(max(self._handed_over_at + most - time.monotonic(), LAST_LOOK_SECONDS))
        reply = self._reply()
        sock.settimeout(most)
        return reply

    def quit(self) -> None:
        """The polite end, for a connection in no one's hands."""
        with suppress(OSError):
            assert self._smtp.sock is not None
            self._smtp.sock.settimeout(QUIT_SECONDS)
            self._smtp.quit()
        self.close()

    def close(self) -> None:
        """Without a QUIT: in the middle of a body that would become part of it."""
        with suppress(OSError):
            self._smtp.close()

    def _answers(self, letter: Letter) -> Iterator[tuple[str, Reply]]:
        """Each command's reply, in order. Pipelined, all are read although one was refused."""
        if self._gone_ahead is letter:
            self._gone_ahead = None
            for verb in ("MAIL", "RCPT", "DATA"):
                yield verb, self._reply()
            return
        commands = self._commands(letter)
        if self._pipelines:
            self._write(b"".join(line for _verb, line in commands))
        for verb, line in commands:
            if not self._pipelines:
                self._write(line)
            yield verb, self._reply()

    def _commands(self, letter: Letter) -> list[tuple[str, bytes]]:
        # A refused transaction may still be open, a body's answer has ended its own.
        reset = [("RSET", b"RSET\r\n")] if self._must_reset else []
        parameters = self._parameters(letter)
        return [
            *reset,
            ("MAIL", f"MAIL FROM:<{letter.sender}>{parameters}\r\n".encode()),
            ("RCPT", f"RCPT TO:<{letter.recipient}>\r\n".encode()),
            ("DATA", b"DATA\r\n"),
        ]

    def _parameters(self, letter: Letter) -> str:
        """RFC 1870, RFC 6152, RFC 6531."""
        size = f" SIZE={len(letter.content)}" if self._takes_size else ""
        is_8bit = self._takes_8bit and not letter.content.isascii()
        return (
            size
            + (" BODY=8BITMIME" if is_8bit else "")
            + (" SMTPUTF8" if letter.needs_utf8 else "")
        )

    def _may_go_ahead(self, letter: Letter | None) -> bool:
        return letter is not None and self._pipelines and not self.is_full and self.takes(letter)

    def _send_no_body(self, refusal: Refusal) -> None:
        """DATA was granted although nobody would get the mail: a lone dot, whose answer says
        nothing (RFC 2920, 3.1). Who refused the sender may still know the recipient.
        """
        if refusal.verb != "RCPT":
            raise smtplib.SMTPServerDisconnected("it asks for the body of a refused mail")
        self._write(b".\r\n")
        self._reply()

    def _write(self, data: bytes) -> None:
        sock = self._smtp.sock
        if sock is None:
            raise smtplib.SMTPServerDisconnected("the connection was lost")
        self._written = 0
        view = memoryview(data)
        while self._written < len(data):
            self._written += sock.send(view[self._written :])

    def _reply(self) -> Reply:
        """As smtplib reads one, which reads a line that is all of it at four times the cost."""
        file: Any = self._smtp.file
        line = b"" if file is None else file.peek(MOST_OF_A_LINE)[:MOST_OF_A_LINE]
        end = line.find(b"\n") + 1
        if end and line[3:4] == b" " and line[:3].isdigit():
            file.read(end)
            return Reply(int(line[:3]), line[4:end].strip())
        return Reply(*self._smtp.getreply())

    def _said_meanwhile(self) -> Reply | None:
        """What a server that stopped listening had said before."""
        with suppress(OSError):
            assert self._smtp.sock is not None
            self._smtp.sock.settimeout(0)
            return self._reply()
        return None


class Kept:
    """The idle connections of this process. Who takes one has it alone, in whatever thread, and
    gives it back between two transactions; so nothing is ever said into the middle of a body.
    """

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self.forget()

    def take(self, server: Server) -> Connection | None:
        """One that is still good, as far as can be seen from here."""
        while connection := self._taken(server):
            if connection.is_quiet():
                return connection
            connection.close()
        return None

    def another(self, server: Server) -> Connection | None:
        """One more, besides one that is in use: kept, or new. None where the server has lately
        refused to be called by so many.
        """
        if known := self.take(server):
            return known
        if time.monotonic() < self._alone_until.get(server, 0):
            return None
        try:
            return Connection.open(server)
        except (OSError, ValueError) as error:
            self._alone_until[server] = time.monotonic() + ALONE_SECONDS
            log.info("smtp server takes no more connections", host=server.host, error=str(error))
            return None

    def give(self, connection: Connection) -> None:
        if connection.is_full:
            connection.quit()
            return
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(connection)
            self._watch()

    def close(self) -> None:
        """Ends what is idle; connections in use stay with their users."""
        self._end(lambda connection: True)

    def forget(self) -> None:
        """After a fork: they are the parent's, and so is every word on them."""
        for connection in getattr(self, "_idle", ()):
            connection.close()
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._watcher: threading.Timer | None = None
        self._alone_until: dict[Server, float] = {}

    def _taken(self, server: Server) -> Connection | None:
        with self._lock:
            for connection in reversed(self._idle):
                if connection.server == server:
                    self._idle.remove(connection)
                    return connection
        return None

    def _watch(self) -> None:
        if self._watcher is None and self._idle:
            oldest = min(connection.idle_since for connection in self._idle)
            pause = oldest + self._idle_seconds - time.monotonic()
            watcher = threading.Timer(max(pause, 0), self._end_the_idle)
            watcher.daemon = True
            with suppress(RuntimeError):  # no new threads: the process is ending, or at a limit
                watcher.start()
                self._watcher = watcher

    def _end_the_idle(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._watcher = None
        self._end(lambda connection: now - connection.idle_since >= self._idle_seconds)
        with self._lock:
            self._watch()

    def _end(self, is_over: Callable[[Connection], bool]) -> None:
        with self._lock:
            ended = [connection for connection in self._idle if is_over(connection)]
            self._idle = [connection for connection in self._idle if connection not in ended]
        for connection in ended:
            connection.quit()


kept = Kept()
# A forked child of Celery's ends without atexit: the worker's own signal has to say it there.
atexit.register(kept.close)
os.register_at_fork(after_in_child=kept.forget)


def _problem(server: Server) -> str:
    if not server.host:
        return "it names no host"
    if server.use_tls and server.use_ssl:
        return "it asks for EMAIL_USE_TLS and EMAIL_USE_SSL, and only one of them can be"
    if not isinstance(server.port, int) or not 0 <= server.port <= 65535:
        return f"{server.port!r} is no port"
    if server.timeout_seconds <= 0:
        return "EMAIL_TIMEOUT must be more than 0"
    return ""


def _connected(server: Server) -> smtplib.SMTP:
    name = server.local_hostname or DNS_NAME.get_fqdn()
    if server.use_ssl:
        return smtplib.SMTP_SSL(
            server.host, server.port, name,
            timeout=server.timeout_seconds, context=_tls(server),
        )  # fmt: skip
    return smtplib.SMTP(server.host, server.port, name, timeout=server.timeout_seconds)


def _introduced(smtp: smtplib.SMTP, server: Server) -> None:
    if server.use_tls:
        smtp.starttls(context=_tls(server))  # raises where it is not offered
    if server.user and server.password:
        smtp.login(server.user, server.password)
    smtp.ehlo_or_helo_if_needed()


@lru_cache(maxsize=8)
def _tls(server: Server) -> ssl.SSLContext:
    """Reading the authorities' certificates takes longer than a connection does."""
    context = ssl.create_default_context()
    if server.ssl_certfile:
        context.load_cert_chain(server.ssl_certfile, server.ssl_keyfile)
    return context


def _is_consent(verb: str, reply: Reply) -> bool:
    if verb == "DATA":
        return reply.code == START_MAIL_INPUT
    return 200 <= reply.code <= 299 or (verb == "RSET" and reply.code != CLOSING)


def _stuffed(content: bytes) -> bytes:
    """RFC 5321, 4.5.2. Hardly any mail has such a line, and finding none is cheaper."""
    if _DOT_LATER.search(content) or content.startswith(b"."):
        return _DOT_FIRST.sub(b"..", content)
    return content
