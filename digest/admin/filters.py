"""Filters of the ledger's lists that stay fast whatever the number of rows.

What has no index of its own is looked for among the newest rows only, or within the slot that
is chosen beside it; and no filter reads a table to find out its own choices.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..models import DeliveryEvent, Digest, Slot
from . import story

Choices = Iterable[tuple[str, Any]]

NEWEST_ROWS = 500_000
SAMPLED_ROWS = 1000
RECENT_SLOTS = 7
NONE = "none"  # what stands in an address for an empty value


class RecentSlots(admin.SimpleListFilter):
    """By the slot's date. A link may name any slot; offered are the newest."""

    title = _("slot")
    parameter_name = "slot"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        dates = list(Slot.objects.order_by("-date").values_list("date", flat=True)[:RECENT_SLOTS])
        asked = self.asked
        if asked is not None and asked not in dates:
            dates.append(asked)
        return [(day.isoformat(), day.isoformat()) for day in dates]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        if self.asked is None:
            raise IncorrectLookupParameters
        slot = Slot.objects.filter(date=self.asked).first()
        return queryset.filter(slot=slot) if slot else queryset.none()

    @property
    def asked(self) -> date | None:
        try:
            return date.fromisoformat(str(self.used_parameters.get(self.parameter_name, "")))
        except ValueError:
            return None


class AmongTheNewest(admin.SimpleListFilter):
    """By the exact value of a column without an index."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if "\0" in value:  # which PostgreSQL takes for no text
            raise IncorrectLookupParameters
        try:
            found = queryset.filter((str(self.parameter_name), "" if value == NONE else value))
        except (ValueError, ValidationError) as error:
            raise IncorrectLookupParameters from error
        return found if RecentSlots.parameter_name in request.GET else _newest(found)


class Outcome(AmongTheNewest):
    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(value or NONE, words) for value, words in story.OUTCOMES.items()]


class EventKind(AmongTheNewest):
    title = _("what it says")
    parameter_name = "event_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(value, words) for value, words in story.OUTCOMES.items() if value]


class Rejected(AmongTheNewest):
    title = _("reject reason")
    parameter_name = "reject_reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return list(story.REJECTED.items())


class First(AmongTheNewest):
    title = _("first digest")
    parameter_name = "is_first"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("True", _("the reader’s first")), ("False", _("a later one"))]


class SkipReason(AmongTheNewest):
    title = _("skip reason")
    parameter_name = "skip_reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return list(Digest.SkipReason.choices)


class TransportName(AmongTheNewest):
    title = _("transport")
    parameter_name = "transport"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return seen(Digest, "transport")


class Provider(AmongTheNewest):
    title = _("provider")
    parameter_name = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return providers()


def providers() -> list[tuple[str, str]]:
    return seen(DeliveryEvent, "provider")


def seen(model: type[Model], name: str) -> list[tuple[str, str]]:
    """The values of a column, as seen in the newest rows."""
    newest = model._default_manager.order_by("-pk").values_list(name, flat=True)
    return [(value, value) for value in sorted(set(newest[:SAMPLED_ROWS])) if value]


def _newest(rows: QuerySet[Any]) -> QuerySet[Any]:
    last = rows.model._default_manager.order_by("-pk").values_list("pk", flat=True).first()
    return rows.filter(pk__gt=(last or 0) - NEWEST_ROWS)
