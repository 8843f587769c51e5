"""A backup's file: a tar of a manifest, the database, and, where wished, the keys.

Nothing here knows what the database is; `on_sqlite` and `on_postgresql` copy it and put it back.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Protocol

FORMAT = 1
MANIFEST, DATABASE, KEYS = "manifest.json", "database", "keys.json"
KEY_NAMES = ("SECRET_KEY", "SUPPRESSION_KEY")
WORKPLACE = ".paperround-work-"
ABANDONED_AFTER = timedelta(days=1)


class BackupError(Exception):
    """What went wrong, and what to do about it, in words for whoever typed the command."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself.

    version: of the program. made_at: ISO 8601, UTC. engine: the database's vendor, and its major
    version. rows: per table. migrations: the applied ones, as `digest.0001_initial`. keys: prints
    of the keys. sha256: of the database's part.
    """

    version: str
    made_at: str
    engine: str
    engine_version: int
    rows: dict[str, int]
    migrations: list[str]
    keys: dict[str, str]
    sha256: str
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Dump:
    """The database as a file, and what was counted in the very state that the file holds."""

    file: Path
    rows: dict[str, int]
    migrations: list[str]


class Store(Protocol):
    """A kind of database. Both verbs raise BackupError."""

    @property
    def engine(self) -> str: ...

    @property
    def engine_version(self) -> int: ...

    def dump(self, folder: Path) -> Dump:
        """Copies everything that is stored, as it is at one moment, while others go on writing."""

    def load(self, file: Path, *, rows: Mapping[str, int], then: Callable[[], list[str]]) -> None:
        """Puts `file` in place of everything that is stored, with the statements that `then` tells
        at the last moment before: wholly or not at all.

        It is not done either where the counts differ from `rows`.
        """


def fingerprint(name: str, key: str) -> str:
    """Tells whether two keys are the same, and nothing else about them."""
    return hmac.new(key.encode(), f"paperround {name}".encode(), hashlib.sha256).hexdigest()[:32]


@contextmanager
def workplace(beside: Path, now: datetime) -> Iterator[Path]:
    """A folder of our own on the same disk, gone afterwards whatever happens, or, after a SIGKILL
    or a power cut, with the next one there that begins a day later.
    """
    beside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in beside.parent.glob(f"{WORKPLACE}*"):
        if _is_abandoned(folder, now):
            shutil.rmtree(folder, ignore_errors=True)
    with TemporaryDirectory(prefix=WORKPLACE, dir=beside.parent) as made:
        yield Path(made)


def _is_abandoned(folder: Path, now: datetime) -> bool:
    """Whether nothing in it has been written to for a day."""
    with suppress(OSError):  # gone in this moment, or somebody else's
        newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
        return newest < (now - ABANDONED_AFTER).timestamp()
    return False


def write(path: Path, manifest: Manifest, database: Path, keys: Mapping[str, str]) -> None:
    """Writes the whole file, to be read by its owner alone, and waits until the disk has it."""
    with _written_for_good(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
        _add_json(tar, MANIFEST, asdict(manifest))
        if keys:
            _add_json(tar, KEYS, dict(keys))
        tar.add(database, DATABASE, filter=_anonymous)


def write_secret(path: Path, secret: str) -> None:
    with _written_for_good(path) as file:
        file.write(secret.encode())


@contextmanager
def _written_for_good(path: Path) -> Iterator[IO[bytes]]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def publish(path: Path, whole: Path) -> None:
    """Gives the finished file its name, for good."""
    whole.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path) -> Manifest:
    with _opened(path) as tar:
        facts = _json(tar, MANIFEST)
    try:
        if facts["format"] > FORMAT:
            raise BackupError(f"{path} was made by a newer version; install that one.")
        manifest = Manifest(**facts)
        datetime.fromisoformat(manifest.made_at)
        _expect_plain_names(manifest.rows)
    except (TypeError, KeyError, ValueError) as error:
        raise BackupError(f"{path} is no backup of Paperround: {error!r}.") from error
    return manifest


def read_keys(path: Path) -> dict[str, str]:
    """By their names, which become those of files."""
    with _opened(path) as tar:
        keys = _json(tar, KEYS) if KEYS in tar.getnames() else {}
    is_ours = isinstance(keys, dict) and set(keys) <= set(KEY_NAMES)
    if not is_ours or not all(isinstance(key, str) and key for key in keys.values()):
        raise BackupError(f"{path} is no backup of Paperround: {KEYS} holds something else.")
    return keys


def extract(path: Path, manifest: Manifest, to: Path) -> None:
    """The database's part, proved to be what was written."""
    with _opened(path) as tar, to.open("xb") as copy:
        shutil.copyfileobj(_member(tar, DATABASE), copy)
    if sha256(to) != manifest.sha256:
        raise BackupError(f"{path} is damaged: its database is not the one that was written.")


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except FileNotFoundError as error:
        raise BackupError(f"There is no file {path}.") from error
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"{path} is no backup of Paperround, or not whole: {error}.") from error


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        file = tar.extractfile(name)
    except KeyError as error:
        raise BackupError(f"{tar.name!s} is no backup of Paperround: it has no {name}.") from error
    if file is None:
        raise BackupError(f"{tar.name!s} is no backup of Paperround: its {name} is no file.")
    return file


def _json(tar: tarfile.TarFile, name: str) -> Any:
    try:
        return json.load(_member(tar, name))
    except ValueError as error:
        raise BackupError(f"{tar.name!s} is damaged: {name}: {error}.") from error


def _expect_plain_names(rows: Mapping[str, int]) -> None:
    """They go into SQL."""
    for table, count in rows.items():
        if not (table.isidentifier() and table.isascii() and isinstance(count, int)):
            raise ValueError(table)


def _add_json(tar: tarfile.TarFile, name: str, facts: Mapping[str, Any]) -> None:
    body = json.dumps(facts, indent=1).encode()
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(body), 0o600
    tar.addfile(info, BytesIO(body))


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info
