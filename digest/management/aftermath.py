"""What must be true the moment a backup is in place, as SQL for the load's own transaction.

Since the backup was made its digests and service mails may have left, and readers may have; nothing
in it would know. So sending is held, what fell due until now is late, no service mail is due, and
nobody whom the database at hand suppresses is mailed again. What waited for a later step could be
lost with it, and these tables are not migrated yet: they look as the backup's migrations say.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.db import connection, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

from digest.models import Heartbeat, Hold
from subscribers.mail import SERVICE_MAILS
from subscribers.models import Subscriber, Suppression, normalise_address

from .archive import BackupError, Manifest

BY = "manage.py restore"
ROWS_A_STATEMENT = 500


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The addresses that the database at hand does not mail, as the restored one is to know them.

    unknown: how many hashes were made with another SUPPRESSION_KEY and are nobody's there.
    """

    rows: list[Suppression]
    unknown: int = 0

    def under(self, key: str, addresses: Mapping[str, str]) -> Self:
        """The same under another key, as far as the address of a hash is among `addresses`."""
        theirs = {each: hashed(address, key) for each, address in addresses.items()}
        rows = [
            Suppression(
                **_facts(row) | {"address_hash": theirs.get(row.address_hash, row.address_hash)}
            )
            for row in self.rows
        ]
        return type(self)(rows, sum(row.address_hash not in theirs for row in self.rows))


def hashed(address: str, key: str) -> str:
    """As `subscribers.models.address_hash` does it with the key of the settings."""
    return hmac.new(key.encode(), normalise_address(address).encode(), hashlib.sha256).hexdigest()


def afterwards(manifest: Manifest, suppressed: Suppressed, now: datetime) -> list[str]:
    then = schema_of(manifest.migrations)
    hold, reader = Table.of(Hold, then), Table.of(Subscriber, then)
    suppression, heartbeat = Table.of(Suppression, then), Table.of(Heartbeat, then)
    made_at = datetime.fromisoformat(manifest.made_at)
    note = f"Restored from the backup of {made_at:%Y-%m-%d %H:%M} UTC"
    return [
        hold.update({"released_at": literal(now), "released_by": literal(BY)}, _IN_FORCE),
        hold.insert([{"began_at": now, "began_by": BY, "note": note, "late_before": now}]),
        reader.update({mail.due_field: "NULL" for mail in SERVICE_MAILS}, "TRUE"),
        *_suppress(suppression, suppressed.rows),
        *_part_with(reader, suppression),
        f"DELETE FROM {heartbeat.name}",  # noqa: S608
    ]


_IN_FORCE = "released_at IS NULL"


def _suppress(table: Table, rows: Iterable[Suppression]) -> Iterator[str]:
    """A complaint outweighs the goodbye that the backup knows; among equals the newer counts."""
    strength = "{0}.reason NOT IN " + goodbyes() + ", {0}.created_at"
    new, old = strength.format("excluded"), strength.format(table.name)
    conflict = (
        "ON CONFLICT (address_hash) DO UPDATE SET reason = excluded.reason, "
        f"note = excluded.note, created_at = excluded.created_at WHERE ({new}) > ({old})"
    )
    # Once each: a statement may not touch a row twice.
    facts = list({row.address_hash: _facts(row) for row in sorted(rows, key=_strength)}.values())
    for start in range(0, len(facts), ROWS_A_STATEMENT):
        yield table.insert(facts[start : start + ROWS_A_STATEMENT], conflict)


def _part_with(reader: Table, suppression: Table) -> Iterator[str]:
    """Who has said goodbye since is no active reader, and comes back as others do."""
    said_goodbye = (
        f"FROM {suppression.name} WHERE reason IN {goodbyes()} "
        f"AND {suppression.name}.address_hash = {reader.name}.address_hash"
    )
    yield reader.update(
        {
            "state": literal(Subscriber.State.UNSUBSCRIBED),
            "unsubscribed_at": f"(SELECT {suppression.name}.created_at {said_goodbye})",
            "next_due_at": "NULL",
        },
        f"state = {literal(Subscriber.State.ACTIVE)} AND EXISTS (SELECT 1 {said_goodbye})",
    )


def _facts(row: Suppression) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("address_hash", "reason", "note", "created_at")}


def _strength(row: Suppression) -> tuple[bool, datetime]:
    return row.reason not in Suppression.LIFTED_BY_CONSENT, row.created_at


def goodbyes() -> str:
    return f"({', '.join(map(literal, Suppression.LIFTED_BY_CONSENT))})"


# -- the tables of that time ---------------------------------------------------------------


def schema_of(migrations: Iterable[str]) -> ProjectState:
    loader = MigrationLoader(None, replace_migrations=False)
    applied: Any = [tuple(name.split(".", 1)) for name in migrations]
    return loader.project_state(applied)


@dataclass(frozen=True, slots=True)
class Table:
    """Statements that name only the columns there are, and all that want a value."""

    name: str
    fields: Mapping[str, models.Field[Any, Any]]

    @classmethod
    def of(cls, model: type[models.Model], schema: ProjectState) -> Self:
        meta = model._meta
        found = schema.models.get((meta.app_label, str(meta.model_name)))
        if found is None:
            raise BackupError(
                f"It was made by a version without {meta.db_table}. Restore it there, and update."
            )
        return cls(meta.db_table, dict(found.fields))

    def update(self, values: Mapping[str, str], where: str) -> str:
        """`values` are expressions."""
        there = ", ".join(f"{name} = {to}" for name, to in values.items() if name in self.fields)
        return f"UPDATE {self.name} SET {there} WHERE {where}"  # noqa: S608

    def insert(self, rows: Iterable[Mapping[str, Any]], conflict: str = "") -> str:
        columns = [name for name, field in self.fields.items() if not field.primary_key]
        values = ", ".join(f"({', '.join(self._literals(row, columns))})" for row in rows)
        return f"INSERT INTO {self.name} ({', '.join(columns)}) VALUES {values} {conflict}"  # noqa: S608

    def _literals(self, row: Mapping[str, Any], columns: list[str]) -> Iterator[str]:
        for name in columns:
            yield literal(row[name] if name in row else self.fields[name].get_default())


def literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).upper()
        case int():
            return str(value)
        case datetime():
            return f"'{connection.ops.adapt_datetimefield_value(value)}'"
        case _:
            return "'" + str(value).replace("'", "''") + "'"
