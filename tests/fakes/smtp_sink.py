"""An SMTP server on loopback that takes mail, and misbehaves exactly where it is told to."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """At a stage, answer `reply`, or close without a word, or (`hangs`) say nothing more.

    Stages: connect, ehlo, starttls, auth, mail, rcpt, data, body (after its first line), dot
    (after the last line), after (the 250 was given), quit. `nth` counts connections for the first
    four and MAIL commands for the others, from 1; None is always.
    """

    stage: str
    reply: str = ""
    nth: int | None = None
    hangs: bool = False
    then_close: bool = False
    goes_on: bool = False  # says it, and does as if it had not


@dataclass(frozen=True)
class Certificate:
    """For 127.0.0.1, signed by itself."""

    certificate: Path
    key: Path

    @classmethod
    def made_in(cls, folder: Path) -> Certificate:
        made = cls(folder / "certificate.pem", folder / "key.pem")
        options = "-nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        kind = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
        files = ["-keyout", made.key, "-out", made.certificate]
        subprocess.run(
            ["openssl", "req", "-x509", *options.split(), *kind.split(), *files],
            check=True,
            capture_output=True,
        )
        return made

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


class Closed(Exception):
    pass


@dataclass
class SmtpSink:
    """`offers` are EHLO's lines. `login` is what AUTH PLAIN must bring, "user password"."""

    faults: list[Fault] = field(default_factory=list)
    offers: tuple[str, ...] = ()
    offers_in_clear: tuple[str, ...] = ()
    login: str = ""
    certificate: Certificate | None = None
    is_tls: bool = False  # from the first byte, not by STARTTLS
    accepted: list[tuple[str, str]] = field(default_factory=list)  # recipient, message
    connections: int = 0
    open_connections: int = 0
    mails: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock, repr=False)
    round_trips: int = 0  # how often the client waited for an answer
    commands: list[str] = field(default_factory=list)
    hangs: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)  # whatever hangs
    unfinished: list[str] = field(default_factory=list)  # bodies that no dot ended
    talks: list[tuple[threading.Thread, _Talk]] = field(default_factory=list, repr=False)

    def __enter__(self) -> SmtpSink:
        self._listener = socket.create_server(("127.0.0.1", 0))
        # So that a body of some megabytes does not fit into what lies on the way.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_exception) -> None:
        self.release.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else it would accept one more
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Closes every connection, as a server does that is restarted, or tired of waiting."""
        for thread, talk in self.talks:
            with contextlib.suppress(OSError):
                talk.connection.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=2)

    def say_to_all(self, line: str) -> None:
        for _thread, talk in self.talks:
            with contextlib.suppress(OSError):
                talk.connection.sendall(line.encode() + b"\r\n")

    def recipients(self) -> list[str]:
        return [recipient for recipient, _message in self.accepted]

    def verbs(self) -> list[str]:
        return [command.split()[0].upper() for command in self.commands]

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self.open_connections += 1
                talk = _Talk(self, connection, self.connections)
                thread = threading.Thread(target=self._serve, args=[talk], daemon=True)
                self.talks.append((thread, talk))
                thread.start()

    def _serve(self, talk: _Talk) -> None:
        with contextlib.suppress(Closed, OSError):
            talk.run()
        talk.connection.close()
        self.open_connections -= 1

    def fault(self, stage: str, talk: _Talk) -> Fault | None:
        of_connections = stage in ("connect", "ehlo", "starttls", "auth")
        count = talk.number if of_connections else talk.mail
        for fault in self.faults:
            if fault.stage == stage and fault.nth in (None, count):
                return fault
        return None


@dataclass
class _Talk:
    sink: SmtpSink
    connection: socket.socket
    number: int  # of all connections
    mail: int = 0  # of all MAIL commands
    has_sender: bool = False
    recipient: str = ""
    unread: bytes = b""
    unsaid: bytes = b""

    def run(self) -> None:
        if self.sink.is_tls:
            self.begin_tls()
        self.answer("connect", "220 sink ready")
        while line := self.line():
            command = line.decode().strip()
            self.sink.commands.append(command)
            self.obey(command)

    def obey(self, command: str) -> None:
        match command.split(maxsplit=1)[0].upper():
            case "EHLO" | "HELO":
                self.answer("ehlo", _lines("250", "sink", *self.offers()))
            case "STARTTLS":
                if self.answer("starttls", "220 go on"):
                    self.flush()
                    self.begin_tls()
            case "AUTH":
                _plain, _, brought = command.partition(" ")[2].partition(" ")
                user_and_password = base64.b64decode(brought).decode().split("\0")[1:]
                knows = " ".join(user_and_password) == self.sink.login
                self.answer("auth", "235 welcome" if knows else "535 5.7.8 wrong")
            case "MAIL":
                with self.sink.counting:
                    self.sink.mails += 1
                    self.mail = self.sink.mails
                self.recipient = ""
                self.has_sender = self.answer("mail", "250 ok")
            case "RCPT":
                recipient = command.partition("<")[2].rpartition(">")[0]
                if not self.has_sender:
                    self.say("503 nobody sends it")
                elif self.answer("rcpt", "250 ok"):
                    self.recipient = recipient
            case "DATA":
                if self.sink.fault("data", self) is None and not self.recipient:
                    self.say("503 nobody to deliver it to")
                elif self.answer("data", "354 go on"):
                    self.take_body()
            case "QUIT":
                self.answer("quit", "221 bye")
                self.flush()
                raise Closed
            case _:
                self.say("250 ok")

    def offers(self) -> tuple[str, ...]:
        in_clear = not isinstance(self.connection, ssl.SSLSocket)
        starttls = ("STARTTLS",) if self.sink.certificate and in_clear else ()
        offers = self.sink.offers_in_clear if in_clear else ()
        return (
            *self.sink.offers,
            *offers,
            *starttls,
            *(("AUTH PLAIN",) if self.sink.login else ()),
        )

    def begin_tls(self) -> None:
        assert self.sink.certificate is not None
        context = self.sink.certificate.context()
        self.connection = context.wrap_socket(self.connection, server_side=True)

    def take_body(self) -> None:
        message = []
        while (line := self.line()) != b".\r\n":
            if not line:
                self.sink.unfinished.append("".join(message) + self.unread.decode())
                raise Closed
            message.append(line.decode())
            if len(message) == 1:
                self.answer("body", "")
        if self.sink.fault("body", self):
            return
        if self.sink.fault("dot", self):
            self.answer("dot", "")
            return
        if self.recipient:
            self.sink.accepted.append((self.recipient, "".join(message)))
        self.say("250 taken")
        self.answer("after", "")

    def answer(self, stage: str, good: str) -> bool:
        """Whether all went well there."""
        fault = self.sink.fault(stage, self)
        if fault is None:
            if good:
                self.say(good)
            return True
        if fault.hangs:
            if fault.reply:
                self.say(fault.reply)
            self.flush()
            self.sink.hangs.set()
            self.sink.release.wait()
            if stage == "body":
                return True  # what came meanwhile is worth reading
        if not fault.reply:
            self.flush()
            raise Closed
        self.say(fault.reply)
        if fault.then_close:
            self.flush()
            raise Closed
        return fault.goes_on

    def say(self, line: str) -> None:
        self.unsaid += line.encode() + b"\r\n"

    def line(self) -> bytes:
        """The next line; answers wait for the moment when there is none (RFC 2920, 3.2)."""
        while b"\n" not in self.unread:
            self.flush()
            received = self.connection.recv(65536)
            if not received:
                return b""
            self.unread += received
        line, newline, self.unread = self.unread.partition(b"\n")
        return line + newline

    def flush(self) -> None:
        if self.unsaid:
            self.sink.round_trips += 1
            self.connection.sendall(self.unsaid)
            self.unsaid = b""


def _lines(code: str, *lines: str) -> str:
    *before, last = lines
    return "\r\n".join([*(f"{code}-{line}" for line in before), f"{code} {last}"])
