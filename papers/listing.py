"""Changelists that stay fast whatever the number of rows: nothing counts or sorts a whole table."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

MOST_COUNTED = 10_000


class CappedPaginator(Paginator):
    """Counts no further than MOST_COUNTED; the pages end there, and a filter leads on.

    A page is found by its keys alone, so that nothing else is read of the rows before it.
    """

    @cached_property
    def count(self) -> int:
        return min(self._counted, MOST_COUNTED)

    @property
    def is_capped(self) -> bool:
        return self._counted > MOST_COUNTED

    def page(self, number: int | str) -> Page[Any]:
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        last = min(first + self.per_page, self.count)
        keys = list(self._rows.values_list("pk", flat=True)[first:last])
        return Page(self._rows.filter(pk__in=keys), number, self)

    @cached_property
    def _counted(self) -> int:
        return int(self._rows.order_by()[: MOST_COUNTED + 1].count())

    @property
    def _rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows


class LongList:
    """Mixin of a ModelAdmin whose table grows with the readers.

    Its `ordering` must be an index's, and so must each filter that stands alone. It has no
    date_hierarchy, which reads every row to find the years that there are.
    """

    paginator: ClassVar[type] = CappedPaginator
    show_full_result_count = False
    list_per_page = 100
    list_max_show_all = 0
