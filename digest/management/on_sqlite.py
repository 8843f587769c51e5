"""Copying a SQLite database while it is written to, and putting a copy in its place."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from tqdm import tqdm

from .archive import BackupError, Dump

PAGES_A_STEP = 2000
BUSY_SECONDS = 30.0
COMPRESSION = 3  # 1 to 9; beyond it costs much time and saves little


class Sqlite:
    engine = "sqlite"
    engine_version = 3

    def __init__(self, connection: BaseDatabaseWrapper, tables: list[str]) -> None:
        self._connection = connection
        self._tables = tables

    def dump(self, folder: Path) -> Dump:
        copy, packed = folder / "copy.sqlite3", folder / "copy.sqlite3.gz"
        try:
            self._copy_to(copy)
            with closing(sqlite3.connect(copy)) as database:
                database.execute("PRAGMA journal_mode=DELETE")  # one file, without its WAL
                rows, migrations = self._count(database), _migrations(database)
        except sqlite3.Error as error:
            raise BackupError(f"The database cannot be copied: {error}.") from error
        with copy.open("rb") as source, gzip.open(packed, "wb", COMPRESSION) as target:
            shutil.copyfileobj(source, target)
        copy.unlink()
        return Dump(packed, rows, migrations)

    def load(self, file: Path, *, rows: Mapping[str, int], then: Callable[[], list[str]]) -> None:
        copy = file.with_name("restored.sqlite3")
        try:
            with gzip.open(file) as source, copy.open("xb") as target:
                shutil.copyfileobj(source, target)
            with closing(sqlite3.connect(copy)) as database:
                self._prepare(database, rows=rows, then=then)
                self._put_in_place(database)
        except (sqlite3.Error, EOFError, gzip.BadGzipFile) as error:
            raise BackupError(f"Nothing was restored: {error}.") from error

    def _copy_to(self, copy: Path) -> None:
        with closing(sqlite3.connect(f"{self._path().as_uri()}?mode=ro", uri=True)) as source:
            # In a transaction of its own the copy is of one moment, and writers do not make it
            # begin anew with every write.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master")
            with closing(sqlite3.connect(copy)) as target, _bar() as bar:
                source.backup(target, pages=PAGES_A_STEP, progress=_told(bar))

    def _prepare(
        self,
        database: sqlite3.Connection,
        *,
        rows: Mapping[str, int],
        then: Callable[[], list[str]],
    ) -> None:
        """Proves the copy and does everything to it before it takes its place."""
        (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise BackupError(f"Nothing was restored: the copy is damaged: {verdict}.")
        for table, count in rows.items():
            found = _count(database, table)
            if found != count:
                raise BackupError(f"Nothing was restored: {table} has {found} rows, not {count}.")
        with database:
            for statement in then():
                database.execute(statement)

    def _put_in_place(self, copy: sqlite3.Connection) -> None:
        """By the online copy again, in one transaction: who has the file open sees it change, and
        a crash in the middle leaves what was there.
        """
        self._connection.close()
        path = self._path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as target, _bar() as bar:
            copy.backup(target, pages=PAGES_A_STEP, progress=_told(bar), sleep=0.05)

    def _path(self) -> Path:
        path = Path(str(self._connection.settings_dict["NAME"]))
        if not path.is_absolute():
            raise BackupError(f"DATABASE_URL: {path} is no file that could be kept.")
        return path

    def _count(self, database: sqlite3.Connection) -> dict[str, int]:
        return {table: _count(database, table) for table in self._tables}


def way_past(error: BaseException | None, path: Path) -> str:
    """What to do about a file that SQLite cannot read any more, nor write over; else nothing."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ""
    return (
        f" It is damaged. Move {path}, {path}-wal and {path}-shm away, as many of them as there "
        "are, and restore again. Who was suppressed since the backup is then known only there."
    )


def _count(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])  # noqa: S608


def _migrations(database: sqlite3.Connection) -> list[str]:
    found = database.execute("SELECT app || '.' || name FROM django_migrations ORDER BY 1")
    return [name for (name,) in found]


def _bar() -> tqdm[Any]:
    return tqdm(desc="Copying", unit=" pages", disable=None, leave=False)


def _told(bar: tqdm[Any]) -> Callable[[int, int, int], None]:
    """Moves the bar; gives up where somebody else keeps the database locked."""
    got_on_at = time.monotonic()

    def progress(status: int, remaining: int, total: int) -> None:
        nonlocal got_on_at
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            if time.monotonic() - got_on_at > BUSY_SECONDS:
                raise BackupError("Another process keeps the database locked. Stop it first.")
            return
        got_on_at = time.monotonic()
        bar.total = total
        bar.update(total - remaining - bar.n)

    return progress
