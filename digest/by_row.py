"""One UPDATE that gives each row a value of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.db.models import Expression, F, Field, Func, TextField, Value


class ByRow(Func):
    """The value that `values` holds for the row, found by its primary key; NULL where it has none.

    One parameter however many rows there are: a CASE with a branch for each of them costs more to
    put together than the UPDATE costs the database.

    values: primary key -> the value as text, in the database's own spelling of `output_field`; or
    an expression that will be such a mapping `as_document`.
    """

    arity = 2

    def __init__(
        self,
        values: Mapping[int, str] | Expression,
        output_field: Field[Any, Any] | None = None,
    ) -> None:
        document = values if isinstance(values, Expression) else Value(as_document(values))
        super().__init__(document, F("pk"), output_field=output_field or TextField())

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = """json_extract(%(expressions)s || '"')"""
        return self.as_sql(
            compiler, connection, template=template, arg_joiner=""", '$."' || """, **context
        )

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        db_type = self.output_field.db_type(connection)
        template = f"(%(expressions)s::text)::{db_type}"
        return self.as_sql(
            compiler, connection, template=template, arg_joiner="::jsonb ->> ", **context
        )


def as_document(values: Mapping[int, str]) -> str:
    return json.dumps({str(pk): value for pk, value in values.items()})
