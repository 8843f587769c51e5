"""A mail server as a process of its own, which may be killed: `python -m tests.crash.sink`.

What it accepts stands in its log before it says 250, so the log outlives it, and a mail whose 250
was never read counts as accepted. A line of the log: what happened, when (seconds since the
epoch), to whom, and the mail's Message-ID or the process's id, with a tab between them.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from argparse import ArgumentParser
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

ACCEPTED, GREYLISTED, CUT, KILLED = "accepted", "greylisted", "cut", "killed"
CUT_ORDER, KILL_ORDER, KILL_UNANSWERED_ORDER = "XCUT", "XKILL", "XKILLUNANSWERED"
END_OF_BODY = b"\r\n.\r\n"
MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


@dataclass
class Server:
    """One for all connections. An order is carried out once, on the mail that comes next."""

    log: int
    seconds_a_mail: float
    greylists_one_in: int  # 0: nobody
    met: set[str] = field(default_factory=set)
    orders: list[str] = field(default_factory=list)

    def note(self, event: str, recipient: str, about: object) -> None:
        os.write(self.log, f"{event}\t{time.time():.6f}\t{recipient}\t{about}\n".encode())

    def is_greylisted(self, recipient: str) -> bool:
        """Always the same recipients, each at their first mail."""
        one_in = self.greylists_one_in
        if not one_in or crc32(recipient.encode()) % one_in or recipient in self.met:
            return False
        self.met.add(recipient)
        return True

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Talk(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the sender was killed: nothing of this mail was accepted
        finally:
            writer.close()


@dataclass
class _Talk:
    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    recipient: str = ""

    async def run(self) -> None:
        self.say("220 sink ready")
        while line := (await self.reader.readline()).decode().strip():
            verb = line.split(maxsplit=1)[0].upper()
            if verb == "QUIT":
                self.say("221 bye")
                return
            if verb == "DATA" and self.recipient:
                if not await self.take_body():
                    return
            else:
                self.obey(verb, line)

    def obey(self, verb: str, line: str) -> None:
        match verb:
            case "EHLO":
                self.say("250-sink\r\n250-8BITMIME\r\n250 PIPELINING")
            case "MAIL" | "RSET":
                self.recipient = ""
                self.say("250 ok")
            case "RCPT":
                self.take_recipient(line.partition("<")[2].partition(">")[0])
            case "DATA":
                self.say("503 no recipient")
            case "XCUT" | "XKILL" | "XKILLUNANSWERED":
                self.server.orders.append(verb)
                self.say("250 ok")
            case _:
                self.say("250 ok")

    def take_recipient(self, recipient: str) -> None:
        if self.server.is_greylisted(recipient):
            self.server.note(GREYLISTED, recipient, "")
            self.say("451 come back later")
        else:
            self.recipient = recipient
            self.say("250 ok")

    async def take_body(self) -> bool:
        """False where the talk is over."""
        self.say("354 go on")
        order = self.server.orders.pop(0) if self.server.orders else ""
        if order == CUT_ORDER:
            await self.reader.readline()
            self.server.note(CUT, self.recipient, "")
            return False
        # The line end before the dot may be the one that ended DATA's own line: a mail has headers.
        body = await self.reader.readuntil(END_OF_BODY)
        await asyncio.sleep(self.server.seconds_a_mail)
        sender = self.sender() if order else 0
        found = MESSAGE_ID.search(body)
        self.server.note(ACCEPTED, self.recipient, found[1].decode() if found else "")
        if order != KILL_UNANSWERED_ORDER:
            self.say("250 taken")
            await self.writer.drain()
        if order:
            self.kill(sender)
        self.recipient = ""
        return True

    def kill(self, sender: int) -> None:
        try:
            os.kill(sender, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.server.note(KILLED, self.recipient, sender)

    def sender(self) -> int:
        """The process at the other end of the connection."""
        return _owner(_inode(self.writer.get_extra_info("peername")[1]))

    def say(self, line: str) -> None:
        self.writer.write(line.encode() + b"\r\n")


def _inode(port: int) -> str:
    """Of the socket that has this port on its own side (proc(5), /proc/net/tcp)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if int(columns[1].rpartition(":")[2], 16) == port and columns[9] != "0":
            return columns[9]
    raise ProcessLookupError(f"no socket has port {port}")


def _owner(inode: str) -> int:
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(fd.readlink()) == f"socket:[{inode}]":
                return int(fd.parts[2])
        except OSError:  # closed, or ended, meanwhile
            continue
    raise ProcessLookupError(f"nobody holds socket {inode}")


async def serve(server: Server, port: int) -> None:
    listener = await asyncio.start_server(server.talk, "127.0.0.1", port, limit=2**22)
    async with listener:
        await listener.serve_forever()


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seconds-a-mail", type=float, default=0)
    parser.add_argument("--greylists-one-in", type=int, default=0)
    asked = parser.parse_args()
    log = os.open(asked.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    asyncio.run(serve(Server(log, asked.seconds_a_mail, asked.greylists_one_in), asked.port))


if __name__ == "__main__":
    main()
