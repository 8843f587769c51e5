"""A mail server that keeps nothing: it says yes, counts, and costs as little as Python can.

    python benchmarks/sink.py --rtt-ms 20

Prints its port. `XCOUNT`, said to it as a command, is answered with what it has counted so far:

    250 {"messages": 2, "recipients": 2, "bytes": 51240, "cpu_seconds": 0.01}

`bytes` are those of the bodies as they came over the line, without the final dot; `recipients`
are distinct ones. Answers within one read leave together, `--rtt-ms` later: what a line of that
round trip costs a client. A message counts when its 250 is given, before that has arrived.
"""

from __future__ import annotations

import argparse
import json
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READ_BYTES = 1 << 18
END = b"\r\n.\r\n"
GREETING = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 10485760\r\n"
PLAIN_GREETING = b"250 sink\r\n"


@dataclass(slots=True)
class Tally:
    """What was accepted. `recipients` keeps a hash of each: a million of them are 60 MB."""

    messages: int = 0
    body_bytes: int = 0
    recipients: set[int] = field(default_factory=set)

    def to_json(self) -> bytes:
        said = {
            "messages": self.messages,
            "recipients": len(self.recipients),
            "bytes": self.body_bytes,
            "cpu_seconds": round(time.process_time(), 3),
        }
        return json.dumps(said).encode()


class Talk:
    """One client's SMTP (RFC 5321, RFC 2920): bytes in, answers out; it touches no socket."""

    __slots__ = ("_body_bytes", "_greeting", "_in_body", "_recipient", "_rest", "_tally")

    def __init__(self, tally: Tally, *, pipelining: bool = True) -> None:
        self._tally = tally
        self._greeting = GREETING if pipelining else PLAIN_GREETING
        self._in_body = False
        self._body_bytes = 0
        self._recipient = b""
        self._rest = b""

    def hear(self, data: bytes) -> bytes:
        """The answers to all that is complete by now."""
        data = self._rest + data if self._rest else data
        answers = []
        at = 0
        while True:
            if self._in_body:
                end = data.find(END, at)
                if end < 0:
                    # An end may begin in what has come so far.
                    keep = max(len(data) - len(END) + 1, at)
                    self._body_bytes += keep - at
                    self._rest = data[keep:]
                    break
                answers.append(self._accept(end + 2 - at))
                at = end + len(END)
            else:
                end = data.find(b"\r\n", at)
                if end < 0:
                    self._rest = data[at:]
                    break
                answers.append(self._obey(data[at:end]))
                # The line end before a body is part of an empty one's end.
                at = end if self._in_body else end + 2
        return b"".join(answers)

    def _accept(self, more: int) -> bytes:
        self._tally.messages += 1
        self._tally.body_bytes += self._body_bytes + more - 2
        self._tally.recipients.add(hash(self._recipient))
        self._in_body, self._body_bytes, self._recipient = False, 0, b""
        return b"250 taken\r\n"

    def _obey(self, line: bytes) -> bytes:
        match line[:4].upper():
            case b"RCPT":
                self._recipient = line[line.find(b"<") + 1 : line.find(b">")].lower()
                return b"250 ok\r\n"
            case b"DATA":
                if not self._recipient:
                    return b"503 nobody to take it for\r\n"
                self._in_body = True
                return b"354 go on\r\n"
            case b"EHLO":
                return self._greeting
            case b"MAIL" | b"RSET":
                self._recipient = b""
                return b"250 ok\r\n"
            case b"HELO" | b"NOOP":
                return b"250 ok\r\n"
            case b"XCOU":
                return b"250 " + self._tally.to_json() + b"\r\n"
            case b"QUIT":
                return b"221 bye\r\n"
            case _:
                return b"502 not here\r\n"


class Server:
    """One thread, any number of clients."""

    def __init__(self, *, port: int = 0, rtt_ms: float = 0, pipelining: bool = True) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.tally = Tally()
        self._rtt_seconds = rtt_ms / 1000
        self._pipelining = pipelining
        # The pause is the same for all, so they leave in the order in which they are put here.
        self._later: deque[tuple[float, socket.socket, bytes]] = deque()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._buffer = bytearray(READ_BYTES)

    def serve(self, *, end_with_stdin: bool = False) -> None:
        if end_with_stdin:
            self._selector.register(sys.stdin, selectors.EVENT_READ, "stdin")
        while True:
            for key, _events in self._selector.select(self._pause_seconds()):
                if key.data == "stdin":
                    return
                if key.data is None:
                    self._greet()
                else:
                    self._listen_to(key.fileobj, key.data)  # type: ignore[arg-type]
            self._say_what_is_due()

    def _pause_seconds(self) -> float | None:
        return max(self._later[0][0] - time.monotonic(), 0) if self._later else None

    def _greet(self) -> None:
        client, _address = self._listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk = Talk(self.tally, pipelining=self._pipelining)
        self._selector.register(client, selectors.EVENT_READ, talk)
        self._answer(client, b"220 sink ready\r\n")

    def _listen_to(self, client: socket.socket, talk: Talk) -> None:
        try:
            size = client.recv_into(self._buffer)
        except OSError:
            size = 0
        if not size:
            self._close(client)
            return
        if answers := talk.hear(bytes(memoryview(self._buffer)[:size])):
            self._answer(client, answers)

    def _answer(self, client: socket.socket, answers: bytes) -> None:
        if self._rtt_seconds:
            self._later.append((time.monotonic() + self._rtt_seconds, client, answers))
        else:
            self._say(client, answers)

    def _say_what_is_due(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            _due, client, answers = self._later.popleft()
            self._say(client, answers)

    def _say(self, client: socket.socket, answers: bytes) -> None:
        try:
            client.sendall(answers)
        except OSError:  # gone, or it never reads
            self._close(client)
            return
        if answers.endswith(b"221 bye\r\n"):
            self._close(client)

    def _close(self, client: socket.socket) -> None:
        if client.fileno() >= 0:
            self._selector.unregister(client)
            client.close()


# -- for whoever starts one ----------------------------------------------------------------


@dataclass
class Sink:
    """A running sink, and a line to it on which to ask."""

    port: int
    pid: int

    def __post_init__(self) -> None:
        line = socket.create_connection(("127.0.0.1", self.port))
        self._line = line.makefile("rwb", buffering=0)
        line.close()  # the file holds it open
        self._line.readline()

    def count(self) -> dict[str, Any]:
        """`messages`, distinct `recipients`, `bytes`, `cpu_seconds`: since it began."""
        self._line.write(b"XCOUNT\r\n")
        said: dict[str, Any] = json.loads(self._line.readline().removeprefix(b"250 "))
        return said

    def close(self) -> None:
        self._line.close()


@contextmanager
def running(*, rtt_ms: float = 0, pipelining: bool = True) -> Iterator[Sink]:
    """A sink in a process of its own, which ends with the block, or with us."""
    command = [sys.executable, str(Path(__file__)), "--end-with-stdin", f"--rtt-ms={rtt_ms}"]
    command += [] if pipelining else ["--no-pipelining"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a Ctrl-C is ours to answer
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        sink = Sink(int(process.stdout.readline()), process.pid)
        try:
            yield sink
        finally:
            sink.close()
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


def main() -> None:
    arguments = parser().parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    server = Server(
        port=arguments.port, rtt_ms=arguments.rtt_ms, pipelining=not arguments.no_pipelining
    )
    print(server.port, flush=True)
    server.serve(end_with_stdin=arguments.end_with_stdin)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--port", type=int, default=0, help="0: any free one")
    found.add_argument("--rtt-ms", type=float, default=0, metavar="MS", help="each answer's delay")
    found.add_argument("--no-pipelining", action="store_true", help="do not offer it")
    found.add_argument("--end-with-stdin", action="store_true", help="end when stdin is closed")
    return found


if __name__ == "__main__":
    main()
