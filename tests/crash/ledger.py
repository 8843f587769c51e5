"""The installation's tables and the sink's log, read from outside, whatever is dead just now."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg

from . import sink
from .speed import SPEED

OPEN = ("assembled", "claimed", "sending", "retry")
Away = (psycopg.Error, sqlite3.Error)


@dataclass(frozen=True)
class Row:
    """A digest: its UUID as hex digits."""

    digest: str
    state: str
    skip_reason: str
    claim: str


@dataclass(frozen=True)
class Accepted:
    """A mail that the server took. digest: the UUID in its Message-ID, or ""."""

    at: float
    recipient: str
    digest: str


@dataclass(frozen=True)
class Ledger:
    """Opened anew for every question: the server may have been killed since the last one.

    Every method raises one of `Away` while the database cannot be reached.
    """

    url: str

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement, so what it tells was true at one moment."""
        if self.is_sqlite:
            with closing(sqlite3.connect(unquote(urlsplit(self.url).path), timeout=20)) as database:
                rows = database.execute(sql).fetchall()
                database.commit()
                return rows
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            answer = connection.execute(sql)
            return answer.fetchall() if answer.description else []

    def everybody_falls_due(self) -> None:
        moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}{'' if self.is_sqlite else '+00'}"
        self.ask(f"UPDATE subscribers_subscriber SET next_due_at = '{moment}'")

    def hurry(self, seconds: float) -> None:
        """Has retries, circuits and planners' shares wait so much less. Rows that a worker holds
        are left to it.
        """
        for table, column, condition in (
            ("digest_digest", "retry_at", "state = 'retry'"),
            ("subscribers_transportstate", "open_until", "open_until IS NOT NULL"),
            ("digest_lease", "until", "until IS NOT NULL"),
        ):
            mine = f"SELECT id FROM {table} WHERE {condition}"
            if not self.is_sqlite:
                mine += " FOR UPDATE SKIP LOCKED"
            earlier = self._earlier(column, seconds)
            self.ask(f"UPDATE {table} SET {column} = {earlier} WHERE id IN ({mine})")

    def _earlier(self, column: str, seconds: float) -> str:
        if self.is_sqlite:  # as Django writes it there
            return f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-{seconds} seconds') || '000'"
        return f"{column} - interval '{seconds} seconds'"

    def unbalanced(self) -> list[str]:
        """Slots whose digests are not as many as the readers who fell due."""
        rows = self.ask(
            "SELECT slot.date, slot.due, count(digest.id) FROM digest_slot slot "
            "LEFT JOIN digest_digest digest ON digest.slot_id = slot.id "
            "GROUP BY slot.id, slot.date, slot.due"
        )
        return [f"{day}: due {due}, digests {count}" for day, due, count in rows if due != count]

    def states(self) -> Counter[str]:
        return Counter(dict(self.ask("SELECT state, count(*) FROM digest_digest GROUP BY state")))

    def unfinished(self) -> dict[str, int]:
        """What keeps the morning from being over, and how many of it; nothing where it is."""
        opened = ", ".join(f"'{state}'" for state in OPEN)
        now = "strftime('%Y-%m-%d %H:%M:%f', 'now')" if self.is_sqlite else "now()"
        counts = {
            "open": f"SELECT count(*) FROM digest_digest WHERE state IN ({opened})",
            "under a lease": "SELECT count(*) FROM digest_digest WHERE lease_until IS NOT NULL",
            "overdue readers": "SELECT count(*) FROM subscribers_subscriber "
            f"WHERE state = 'active' AND next_due_at < {now}",
        }
        found = {name: self.ask(sql)[0][0] for name, sql in counts.items()}
        return {name: count for name, count in found.items() if count}

    def forgotten(self) -> list[int]:
        """Active readers who have no digest, though all have fallen due."""
        rows = self.ask(
            "SELECT reader.id FROM subscribers_subscriber reader WHERE reader.state = 'active' "
            "AND NOT EXISTS (SELECT 1 FROM digest_digest digest "
            "WHERE digest.subscriber_id = reader.id)"
        )
        return [pk for (pk,) in rows]

    def digests(self) -> list[Row]:
        rows = self.ask("SELECT uuid, state, skip_reason, claim_token FROM digest_digest")
        return [Row(_hex(key), state, why, _hex(claim)) for key, state, why, claim in rows]

    def readers(self) -> dict[str, str]:
        """Address -> UUID as hex digits."""
        rows = self.ask("SELECT email, uuid FROM subscribers_subscriber ORDER BY id")
        return {email: _hex(key) for email, key in rows}

    def heartbeats(self) -> set[str]:
        return {name for (name,) in self.ask("SELECT name FROM digest_heartbeat")}

    def backends(self) -> list[int]:
        """The server's processes that work for the installation."""
        name = urlsplit(self.url).path[1:]
        rows = self.ask(
            f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return [pid for (pid,) in rows]


def _hex(key: Any) -> str:
    return key.hex if isinstance(key, uuid.UUID) else str(key or "")


@dataclass
class SinkLog:
    """Follows the sink's log; what was read is not read again."""

    path: Path
    lines: list[list[str]] = field(default_factory=list)
    _read: int = 0

    def follow(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            news, _newline, _unfinished = file.read().rpartition(b"\n")
        if news:
            self._read += len(news) + 1
            self.lines += [line.split("\t") for line in news.decode().split("\n")]

    def count(self, event: str) -> int:
        self.follow()
        return sum(line[0] == event for line in self.lines)

    def accepted(self) -> list[Accepted]:
        self.follow()
        return [
            Accepted(float(at), recipient, _digest(message_id))
            for event, at, recipient, message_id in self.lines
            if event == sink.ACCEPTED
        ]


def _digest(message_id: str) -> str:
    digest, _dot, rest = message_id.removeprefix("<").partition(".")
    return digest if rest.startswith("digest@") else ""


@dataclass
class Observer:
    """Looks every second whether the account adds up, and makes minutes pass."""

    ledger: Ledger
    breaches: list[str] = field(default_factory=list)
    looked: int = 0

    def __enter__(self) -> Observer:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(1):
            with suppress(*Away):
                self._look()

    def _look(self) -> None:
        self.breaches += [f"in mid-send, {slot}" for slot in self.ledger.unbalanced()]
        self.looked += 1
        self.ledger.hurry(SPEED - 1)
