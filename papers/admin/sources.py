"""Sources with their health, and every attempt to read them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..confirming import ActionsOnPage, Question, ask
from ..freshness import Freshness, freshness
from ..listing import LongList
from ..models import Fetch, Source
from .reading import ReadOnly


@admin.register(Source)
class SourceAdmin(ActionsOnPage, admin.ModelAdmin):
    list_display = [
        "name", "health", "last_attempt", "last_success", "last_papers", "failures", "next_fetch",
    ]  # fmt: skip
    actions = ["fetch_now"]
    fieldsets = [
        (None, {"fields": ["name", "slug", "is_enabled", "next_fetch_at"]}),
        (
            _("Health"),
            {"fields": ["health", "last_attempt", "last_success", "last_papers", "failures"]},
        ),
    ]  # fmt: skip
    readonly_fields = ["slug", "health", "last_attempt", "last_success", "last_papers", "failures"]

    class Media:
        css = {"all": ["papers/editor.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A source is a parser, and its setting, found by its slug: code makes the row."""
        return False

    @admin.display(description=_("health"))
    def health(self, source: Source) -> str:
        return render_to_string("admin/source_health.html", {"found": _found(source)})

    @admin.display(description=_("last attempt"))
    def last_attempt(self, source: Source) -> str:
        fetch = source.fetches.first()
        if fetch is None:
            return gettext("none yet")
        return f"{_minute(fetch.started_at)}, {fetch.get_status_display()}"

    @admin.display(description=_("last success"))
    def last_success(self, source: Source) -> str:
        found = _found(source)
        return _minute(found.last_success_at) if found.last_success_at else gettext("none yet")

    @admin.display(description=_("last papers"))
    def last_papers(self, source: Source) -> str:
        found = _found(source)
        if found.last_papers_day is None:
            return gettext("none yet")
        text = ngettext("%(day)s: %(count)d paper", "%(day)s: %(count)d papers", found.last_papers)
        return text % {
            "day": found.last_papers_day,
            "count": found.last_papers,
        }

    @admin.display(description=_("failures since"))
    def failures(self, source: Source) -> int:
        return _found(source).failures

    @admin.display(description=_("next fetch"), ordering="next_fetch_at")
    def next_fetch(self, source: Source) -> str:
        return _minute(source.next_fetch_at)

    @admin.action(description=_("Fetch now"), permissions=["fetch"])
    def fetch_now(self, request: HttpRequest, queryset: QuerySet[Source]) -> HttpResponse | None:
        return ask(
            self,
            request,
            queryset,
            Question(
                action="fetch_now",
                title=_("Fetch now"),
                said=_(
                    "Today's list, and each day that is due, is read within a minute, by the "
                    "worker of the queue “fetch”."
                ),
                left=_("It is switched off."),
                act=_make_due,
                applies=lambda sources: sources.filter(is_enabled=True),
            ),
        )

    def has_fetch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("papers.change_source")


@admin.register(Fetch)
class FetchAdmin(ReadOnly, LongList, admin.ModelAdmin):
    list_display = [
        "started", "day", "status", "papers_seen", "papers_new", "papers_skipped", "duration",
        "first_error", "source",
    ]  # fmt: skip
    list_filter = ["status", "origin", "source"]
    list_select_related = ["source"]
    search_fields = ["error"]
    fieldsets = [
        (None, {"fields": ["source", "day", "origin", "status"]}),
        (_("When"), {"fields": ["started_at", "finished_at", "duration"]}),
        (
            _("What came"),
            {"fields": ["http_status", "pages", "papers_seen", "papers_new", "papers_skipped"]},
        ),
        (_("What went wrong"), {"fields": ["whole_error"]}),
    ]
    readonly_fields = ["duration", "whole_error"]

    class Media:
        css = {"all": ["papers/editor.css"]}

    @admin.display(description=_("started"), ordering="started_at")
    def started(self, fetch: Fetch) -> str:
        return _minute(fetch.started_at)

    @admin.display(description=_("duration"))
    def duration(self, fetch: Fetch) -> str:
        if fetch.finished_at is None:
            return gettext("not finished")
        return _seconds(fetch.finished_at - fetch.started_at)

    @admin.display(description=_("error"))
    def first_error(self, fetch: Fetch) -> str:
        return fetch.error.partition("\n")[0][:100]

    @admin.display(description=_("error"))
    def whole_error(self, fetch: Fetch) -> str:
        lines = fetch.error.splitlines()
        return render_to_string("admin/source_error.html", {"lines": lines})


def _found(source: Source) -> Freshness:
    """Judged once for all columns of a row."""
    kept: dict[str, Any] = vars(source)
    if "freshness" not in kept:
        kept["freshness"] = freshness(source, timezone.now())
    found: Freshness = kept["freshness"]
    return found


def _make_due(source: Source, answers: dict[str, Any]) -> bool:
    return bool(Source.objects.filter(pk=source.pk).update(next_fetch_at=timezone.now()))


def _minute(moment: datetime) -> str:
    return date_format(moment, "Y-m-d H:i")


def _seconds(length: timedelta) -> str:
    return gettext("%(seconds).1f s") % {"seconds": length.total_seconds()}
