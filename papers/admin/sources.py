"""Sources with their health, and every attempt to read them with what was answered."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import wanted
from ..confirming import ActionsOnPage, Question, ask
from ..freshness import Freshness, freshness, hosts
from ..listing import LongList
from ..models import Answer, Fetch, Pace, Source
from .reading import ReadOnly


@admin.register(Source)
class SourceAdmin(ActionsOnPage, admin.ModelAdmin):
    list_display = [
        "name", "health", "last_attempt", "last_success", "last_papers", "failures", "next_fetch",
    ]  # fmt: skip
    actions = ["fetch_now"]
    readonly_fields = [
        "slug", "health", "last_attempt", "last_success", "last_papers", "failures", "fields_seen",
        "odd", "categories", "pace", "fetches",
    ]  # fmt: skip

    class Media:
        css = {"all": ["papers/editor.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A source is a parser, and its setting, found by its slug: code makes the row."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """It would take its attempts along, and come back. What is unwanted is switched off."""
        return False

    def save_model(self, request: HttpRequest, obj: Source, form: Any, change: bool) -> None:
        """Whoever was switched off is not late: it is due from now on."""
        if "is_enabled" in form.changed_data and obj.is_enabled:
            obj.next_fetch_at = max(obj.next_fetch_at, timezone.now())
        super().save_model(request, obj, form, change)

    def get_fieldsets(self, request: HttpRequest, obj: Source | None = None) -> list[Any]:
        asked = ["categories", "pace"] if obj is not None and obj.slug == "arxiv" else ["pace"]
        state = ["health", "odd", "last_attempt", "last_success", "last_papers", "failures"]
        return [
            (None, {"fields": ["name", "slug", "is_enabled", "next_fetch_at"]}),
            (_("Health"), {"fields": [*state, "fields_seen", "fetches"]}),
            (_("What is asked"), {"fields": asked}),
        ]

    @admin.display(description=_("health"))
    def health(self, source: Source) -> str:
        return render_to_string("admin/source_health.html", {"found": _found(source)})

    @admin.display(description=_("last attempt"))
    def last_attempt(self, source: Source) -> str:
        fetch = source.fetches.first()
        if fetch is None:
            return gettext("none yet")
        kind = [] if fetch.kind == Fetch.Kind.DAY else [fetch.get_kind_display()]
        return ", ".join([_minute(fetch.started_at), *kind, fetch.get_status_display()])

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

    @admin.display(description=_("fields"))
    def fields_seen(self, source: Source) -> str:
        found = _found(source)
        context = {
            "vanished": found.vanished,
            "unknown": found.unknown,
            "is_judged": found.last_papers_day is not None,
        }
        return render_to_string("admin/source_fields.html", context)

    @admin.display(description=_("what was odd"))
    def odd(self, source: Source) -> str:
        """Of the last success, in the words of whoever said it."""
        return _found(source).note or gettext("Nothing.")

    @admin.display(description=_("categories"))
    def categories(self, source: Source) -> str:
        return ", ".join(wanted.categories())

    @admin.display(description=_("pace"))
    def pace(self, source: Source) -> str:
        own, now = hosts(source), timezone.now()
        rows = [row for row in Pace.objects.order_by("host") if _is_of(row, own)]
        context = {"hosts": [(row.host, _standing(row, now)) for row in rows]}
        return render_to_string("admin/source_pace.html", context)

    @admin.display(description=_("attempts"))
    def fetches(self, source: Source) -> str:
        return render_to_string("admin/source_fetches.html", {"source": source})

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
                    "Today's list, unless it came whole already, and each day that is due, is read "
                    "within a minute, by the worker of the queue “fetch”."
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
        "started", "of", "status", "said", "by", "papers", "duration",
    ]  # fmt: skip
    list_filter = ["status", "kind", "origin", "source"]
    list_select_related = ["source"]
    search_fields = ["error", "note"]
    fieldsets = [
        (None, {"fields": ["source", "kind", "day", "origin", "status", "believed"]}),
        (_("When"), {"fields": ["started_at", "finished_at", "duration"]}),
        (
            _("What came"),
            {
                "fields": [
                    "http_status", "pages", "papers_seen", "papers_new", "papers_updated",
                    "papers_skipped", "fields_seen", "answers",
                ],
            },
        ),
        (_("What went wrong"), {"fields": ["whole_error", "whole_note"]}),
    ]  # fmt: skip
    readonly_fields = [
        "believed",
        "duration",
        "fields_seen",
        "answers",
        "whole_error",
        "whole_note",
    ]

    class Media:
        css = {"all": ["papers/editor.css"]}

    def get_urls(self) -> list[URLPattern]:
        raw = self.admin_site.admin_view(self.answer_view)
        own = path("<int:pk>/answers/<int:number>/", raw, name="papers_fetch_answer")
        return [own, *super().get_urls()]

    def answer_view(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        """The answer as it came, to be saved as a file. It is foreign: no browser may read it as
        a page, whatever is in it."""
        if not request.user.has_perm("papers.view_answer"):
            raise PermissionDenied
        answer = get_object_or_404(Answer, fetch=pk, number=number)
        response = HttpResponse(zlib.decompress(answer.body), content_type="text/plain")
        response["Content-Disposition"] = f'attachment; filename="fetch-{pk}-{number}.txt"'
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = "sandbox; default-src 'none'"
        return response

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if (fetch := kwargs.get("obj")) is not None:
            fetch.may_read_answers = request.user.has_perm("papers.view_answer")
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=_("reader"), ordering="reader")
    def believed(self, fetch: Fetch) -> str:
        return fetch.reader or gettext("not noted")

    @admin.display(description=_("fields"))
    def fields_seen(self, fetch: Fetch) -> str:
        context = {
            "vanished": fetch.vanished_fields,
            "unknown": fetch.unknown_fields,
            "is_judged": fetch.papers_seen > 0,
        }
        return render_to_string("admin/source_fields.html", context)

    @admin.display(description=_("answers"))
    def answers(self, fetch: Fetch) -> str:
        context = {
            "fetch": fetch,
            "answers": fetch.answers.defer("body").order_by("number"),
            "may_read": getattr(fetch, "may_read_answers", False),
        }
        return render_to_string("admin/source_answers.html", context)

    @admin.display(description=_("started"), ordering="started_at")
    def started(self, fetch: Fetch) -> str:
        return _minute(fetch.started_at)

    @admin.display(description=_("what"), ordering="day")
    def of(self, fetch: Fetch) -> str:
        if fetch.kind in (Fetch.Kind.DAY, Fetch.Kind.WEEK, Fetch.Kind.MONTH):
            day = date_format(fetch.day, "Y-m-d")
            return day if fetch.kind == Fetch.Kind.DAY else f"{fetch.get_kind_display()}, {day}"
        return str(fetch.get_kind_display())

    @admin.display(description=_("by"), ordering="reader")
    def by(self, fetch: Fetch) -> str:
        """The reader's name begins with the source's."""
        return fetch.reader or fetch.source.slug

    @admin.display(description=_("papers"), ordering="papers_seen")
    def papers(self, fetch: Fetch) -> str:
        counted = [
            (fetch.papers_new, gettext("%(count)d new")),
            (fetch.papers_updated, gettext("%(count)d changed")),
            (fetch.papers_skipped, gettext("%(count)d unreadable")),
        ]
        parts = [text % {"count": count} for count, text in counted if count]
        return f"{fetch.papers_seen} ({', '.join(parts)})" if parts else f"{fetch.papers_seen}"

    @admin.display(description=_("duration"))
    def duration(self, fetch: Fetch) -> str:
        if fetch.finished_at is None:
            return gettext("not finished")
        return _seconds(fetch.finished_at - fetch.started_at)

    @admin.display(description=_("error or note"))
    def said(self, fetch: Fetch) -> str:
        return (fetch.error or fetch.note).partition("\n")[0][:100]

    @admin.display(description=_("error"))
    def whole_error(self, fetch: Fetch) -> str:
        return render_to_string("admin/source_error.html", {"lines": fetch.error.splitlines()})

    @admin.display(description=_("note"))
    def whole_note(self, fetch: Fetch) -> str:
        return render_to_string("admin/source_error.html", {"lines": fetch.note.splitlines()})


def _found(source: Source) -> Freshness:
    """Judged once for all columns of a row."""
    kept: dict[str, Any] = vars(source)
    if "freshness" not in kept:
        kept["freshness"] = freshness(source, timezone.now())
    found: Freshness = kept["freshness"]
    return found


def _is_of(row: Pace, own: set[str]) -> bool:
    """Whether the row is a host's own, or that of the site to which the host belongs."""
    return any(row.host == host or f"*.{host}".endswith(row.host[1:]) for host in own)


def _standing(row: Pace, now: datetime) -> str:
    if row.cool_until is not None and row.cool_until > now:
        return gettext("it asked for rest until %(until)s") % {"until": _minute(row.cool_until)}
    if row.busy_until is not None and row.busy_until > now:
        return gettext("a request is under way")
    return gettext("it may be asked")


def _make_due(source: Source, answers: dict[str, Any]) -> bool:
    return bool(Source.objects.filter(pk=source.pk).update(next_fetch_at=timezone.now()))


def _minute(moment: datetime) -> str:
    return date_format(moment, "Y-m-d H:i")


def _seconds(length: timedelta) -> str:
    return gettext("%(seconds).1f s") % {"seconds": length.total_seconds()}
