"""An SMTP server on loopback that takes mail, and misbehaves exactly where it is told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fault:
    """At a stage, answer `reply`, or close without a word, or (`hangs`) say nothing.

    Stages: connect, ehlo, mail, rcpt, data, body (in the middle of it), dot (after the last line),
    after (the 250 was given). `nth` counts connections for the first two and MAIL commands for
    the others, from 1; None is always.
    """

    stage: str
    reply: str = ""
    nth: int | None = None
    hangs: bool = False
    then_close: bool = False


class Closed(Exception):
    pass


@dataclass
class SmtpSink:
    faults: list[Fault] = field(default_factory=list)
    accepted: list[tuple[str, str]] = field(default_factory=list)  # recipient, message
    connections: int = 0
    mails: int = 0
    unfinished: list[str] = field(default_factory=list)  # bodies that no dot ended
    talks: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> SmtpSink:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._over = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_exception) -> None:
        self._over.set()
        self._listener.close()
        for talk in self.talks:
            talk.join(timeout=2)

    def recipients(self) -> list[str]:
        return [recipient for recipient, _message in self.accepted]

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._listener.accept()
                self.connections += 1
                talk = threading.Thread(target=self._serve, args=[connection], daemon=True)
                self.talks.append(talk)
                talk.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines, contextlib.suppress(Closed, OSError):
            _Talk(self, connection, lines).run()

    def fault(self, stage: str) -> Fault | None:
        count = self.connections if stage in ("connect", "ehlo") else self.mails
        for fault in self.faults:
            if fault.stage == stage and fault.nth in (None, count):
                return fault
        return None


@dataclass
class _Talk:
    sink: SmtpSink
    connection: socket.socket
    lines: object
    recipient: str = ""

    def run(self) -> None:
        self.answer("connect", "220 sink ready")
        while line := self.lines.readline():
            command = line.decode().strip()
            self.obey(command)

    def obey(self, command: str) -> None:
        match command.split(maxsplit=1)[0].upper():
            case "EHLO" | "HELO":
                self.answer("ehlo", "250 sink")
            case "MAIL":
                self.sink.mails += 1
                self.answer("mail", "250 ok")
            case "RCPT":
                self.recipient = command.partition("<")[2].partition(">")[0]
                self.answer("rcpt", "250 ok")
            case "DATA":
                if self.answer("data", "354 go on"):
                    self.take_body()
            case "QUIT":
                self.say("221 bye")
                raise Closed
            case _:
                self.say("250 ok")

    def take_body(self) -> None:
        if self.sink.fault("body"):
            self.lines.readline()
            self.answer("body", "")
        message = []
        while (line := self.lines.readline()) != b".\r\n":
            if not line:
                self.sink.unfinished.append("".join(message))
                raise Closed
            message.append(line.decode())
        if self.sink.fault("dot"):
            self.answer("dot", "")
            return
        self.sink.accepted.append((self.recipient, "".join(message)))
        self.say("250 taken")
        self.answer("after", "")

    def answer(self, stage: str, good: str) -> bool:
        """Whether all went well there."""
        fault = self.sink.fault(stage)
        if fault is None:
            if good:
                self.say(good)
            return True
        if fault.hangs:
            self.sink._over.wait()
        if not fault.reply:
            raise Closed
        self.say(fault.reply)
        if fault.then_close:
            raise Closed
        return False

    def say(self, line: str) -> None:
        self.connection.sendall(line.encode() + b"\r\n")
