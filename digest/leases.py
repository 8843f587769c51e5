"""When a lease ends: by the database's clock, the only one that all workers share."""

from __future__ import annotations

from typing import Any

from django.db.models import DateTimeField, Func, IntegerField, Value
from django.db.models.expressions import Expression


class FromNow(Func):
    """So many seconds from now.

    Not `Now() + a duration`: on SQLite Django adds these in Python, for each row anew, which took
    half the time of a claim.
    """

    output_field = DateTimeField()

    def __init__(self, seconds: int | Expression) -> None:
        given = seconds if isinstance(seconds, Expression) else Value(seconds, IntegerField())
        super().__init__(given)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = (
            "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW', %(expressions)s || ' seconds')"
        )
        return self.as_sql(compiler, connection, template=template, **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "STATEMENT_TIMESTAMP() + make_interval(secs => %(expressions)s)"
        return self.as_sql(compiler, connection, template=template, **context)
