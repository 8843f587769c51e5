"""Filters of the readers' lists. Each reads an index, or stops at the first page."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from papers.models import utc_day

from ..models import Suppression, Topic

Choices = list[tuple[str, Any]]


class Since(SimpleListFilter):
    """Rows of today, of the past 7 or 30 days; by UTC."""

    parameter_name = "since"
    field = "created_at"
    title = _("created")

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        return [("1", _("Today")), ("7", _("Past 7 days")), ("30", _("Past 30 days"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("1", "7", "30"):
            return queryset
        now: datetime = timezone.now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        first = midnight - timedelta(days=int(self.value() or 1) - 1)
        return queryset.filter(**{f"{self.field}__gte": first})


class ConsentSince(Since):
    field = "at"
    title = _("when")


class _YesOrNo(SimpleListFilter):
    wanted: tuple[str | Promise, str | Promise]

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        yes, no = self.wanted
        return [("yes", yes), ("no", no)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "yes":
                return queryset.filter(self.is_met(timezone.now()))
            case "no":
                return queryset.exclude(self.is_met(timezone.now()))
        return queryset

    @abstractmethod
    def is_met(self, now: datetime) -> Q:
        """Which rows “yes” stands for."""


class Paused(_YesOrNo):
    parameter_name = "paused"
    title = _("pause")
    wanted = (_("Paused"), _("Not paused"))

    def is_met(self, now: datetime) -> Q:
        """By the UTC date; the reader's own may be one day on."""
        return Q(paused_until__isnull=False, paused_until__gt=utc_day(now))


class Suppressed(_YesOrNo):
    parameter_name = "suppressed"
    title = _("suppression")
    wanted = (_("Suppressed"), _("Not suppressed"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """From the short table to the long one, where it is the short one that is asked for."""
        if self.value() == "yes":
            return queryset.filter(address_hash__in=Suppression.objects.values("address_hash"))
        return super().queryset(request, queryset)

    def is_met(self, now: datetime) -> Q:
        return Q(Exists(Suppression.objects.filter(address_hash=OuterRef("address_hash"))))


class HasTopics(_YesOrNo):
    parameter_name = "topics"
    title = _("topics")
    wanted = (_("With topics"), _("Without topics"))

    def is_met(self, now: datetime) -> Q:
        return Q(Exists(Topic.objects.filter(subscriber=OuterRef("pk"))))
