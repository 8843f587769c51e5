"""Statements that Django puts together once and the database runs many times.

Putting an UPDATE with its conditions together costs thirty times what running it costs, and the
same few are run for every window. So their values stand in them by name (`Given`), and each is
compiled when it is first needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from django.db import connection
from django.db.models import BooleanField, Expression, F, Field, Func, QuerySet, TextField
from django.db.models.sql.subqueries import UpdateQuery


class Given(Expression):
    """A value that is known when the statement is run. Like `Value`, by a name."""

    def __init__(self, name: str, output_field: Field[Any, Any]) -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return "%s", [self]

    def prepared(self, value: Any) -> Any:
        """As the database takes it."""
        return self.output_field.get_db_prep_value(value, connection)


class GivenIds(Given):
    """Any number of primary keys, as one value."""

    def __init__(self, name: str) -> None:
        super().__init__(name, TextField())

    def prepared(self, value: Any) -> Any:
        ids = list(value)
        return ids if connection.vendor == "postgresql" else json.dumps(ids)


class Among(Func):
    """Whether the row is one of `GivenIds`."""

    output_field = BooleanField()

    def __init__(self, name: str) -> None:
        super().__init__(F("pk"), GivenIds(name))

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(%(expressions)s))"
        joiner = " IN (SELECT value FROM json_each("
        return self.as_sql(
            compiler, connection, template=f"{template})", arg_joiner=joiner, **context
        )

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="(%(expressions)s))", arg_joiner=" = ANY(", **context
        )


class PreparedUpdate:
    """`rows().update(**changes)`, run with the values given to it. How many rows it changed.

    rows: called once for each kind of database, for a queryset and what to change in it.
    """

    def __init__(self, rows: Callable[[], tuple[QuerySet[Any], Mapping[str, Any]]]) -> None:
        self._rows = rows
        self._compiled: dict[str, tuple[str, tuple[Any, ...]]] = {}

    def __call__(self, **values: Any) -> int:
        sql, params = self._compiled.get(connection.vendor) or self._compile()
        given = [
            each.prepared(values[each.name]) if isinstance(each, Given) else each for each in params
        ]
        with connection.cursor() as cursor:
            cursor.execute(sql, given)
            return int(cursor.rowcount)

    def _compile(self) -> tuple[str, tuple[Any, ...]]:
        rows, changes = self._rows()
        query: UpdateQuery = rows.query.chain(UpdateQuery)  # type: ignore[assignment]
        query.add_update_values(dict(changes))
        compiled = query.get_compiler(connection=connection).as_sql()
        self._compiled[connection.vendor] = compiled
        return compiled
