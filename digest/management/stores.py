"""The database at hand as a backup sees it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from django.apps import apps
from django.db import Error as DatabaseError
from django.db import connection

from .archive import BackupError, Store
from .on_postgresql import Postgresql
from .on_sqlite import Sqlite, way_past

COUNTED_APPS = ("papers", "subscribers", "digest", "auth")
KINDS: dict[str, type[Sqlite] | type[Postgresql]] = {"sqlite": Sqlite, "postgresql": Postgresql}


def store() -> Store:
    """For the database that DATABASE_URL names."""
    kind = KINDS.get(connection.vendor)
    if kind is None:
        raise BackupError(f"DATABASE_URL: {connection.vendor} has backup tools of its own.")
    return kind(connection, counted_tables())


def counted_tables() -> list[str]:
    return sorted(
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if model._meta.app_label in COUNTED_APPS
    )


def way_past_damage(error: DatabaseError) -> str:
    is_file = connection.vendor == "sqlite"
    name = str(connection.settings_dict["NAME"])
    return way_past(error.__cause__, Path(name)) if is_file else ""


@contextmanager
def tidy_on_sigterm() -> Iterator[None]:
    """SIGTERM, which systemd and docker send, then leaves nothing half behind either."""

    def leave(*_: Any) -> NoReturn:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
