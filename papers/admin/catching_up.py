"""What is still to be read: papers that somebody named, and long ranges under way."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import wanted
from ..confirming import ActionsOnPage, Question, ask
from ..listing import LongList
from ..models import Harvest, WantedCategory, WantedPaper
from .reading import ReadOnly


@admin.register(WantedPaper)
class WantedPaperAdmin(ReadOnly, ActionsOnPage, LongList, admin.ModelAdmin):
    list_display = ["arxiv_id", "standing", "tries", "asked", "next_look", "error"]
    ordering = ["not_before", "id"]
    search_fields = ["arxiv_id__exact"]
    search_help_text = _("A whole arXiv id.")
    actions = ["look_up_now"]
    fields = ["arxiv_id", "standing", "tries", "asked_at", "next_look", "error"]
    readonly_fields = ["standing", "next_look"]

    class Media:
        css = {"all": ["papers/editor.css"]}

    @admin.display(description=_("state"))
    def standing(self, row: WantedPaper) -> str:
        if wanted.is_given_up(row):
            return gettext("given up: nobody knows it")
        if row.not_before <= timezone.now():
            return gettext("looked up within minutes")
        if row.tries:
            text = ngettext("asked %(tries)d time, and unknown so far",
                            "asked %(tries)d times, and unknown so far", row.tries)  # fmt: skip
            return text % {"tries": row.tries}
        return gettext("waiting") if row.error else gettext("being looked up")

    @admin.display(description=_("asked for"), ordering="asked_at")
    def asked(self, row: WantedPaper) -> str:
        return _minute(row.asked_at)

    @admin.display(description=_("next look"), ordering="not_before")
    def next_look(self, row: WantedPaper) -> str:
        return gettext("never") if wanted.is_given_up(row) else _minute(row.not_before)

    @admin.action(description=_("Look up now"), permissions=["look_up"])
    def look_up_now(
        self, request: HttpRequest, queryset: QuerySet[WantedPaper]
    ) -> HttpResponse | None:
        return ask(
            self,
            request,
            queryset,
            Question(
                action="look_up_now",
                title=_("Look up now"),
                said=_(
                    "It is asked for within minutes, by the worker of the queue “fetch”, also "
                    "where it was given up; its tries begin anew."
                ),
                left=_("It was found meanwhile, or is being looked up."),
                act=_make_due,
            ),
        )

    def has_look_up_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("papers.change_source")


@admin.register(WantedCategory)
class WantedCategoryAdmin(ReadOnly, admin.ModelAdmin):
    """Those that readers follow; the setting's stand beside them, on the page of the source."""

    list_display = ["name", "asked_at"]
    search_fields = ["name"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Harvest)
class HarvestAdmin(ReadOnly, admin.ModelAdmin):
    """Begun and gone on with by `fetch_papers --harvest`; deleting one makes it begin anew."""

    list_display = ["name", "days", "progress", "began", "finished", "source"]
    list_select_related = ["source"]
    fields = [
        "source", "name", "since", "until", "progress", "papers", "papers_expected", "began_at",
        "finished_at", "token",
    ]  # fmt: skip
    readonly_fields = ["progress"]

    class Media:
        css = {"all": ["papers/editor.css"]}

    @admin.display(description=_("days"), ordering="since")
    def days(self, harvest: Harvest) -> str:
        return gettext("%(since)s to %(until)s") % {"since": harvest.since, "until": harvest.until}

    @admin.display(description=_("progress"))
    def progress(self, harvest: Harvest) -> str:
        context = {"harvest": harvest, "most": max(harvest.papers_expected or 0, harvest.papers)}
        return render_to_string("admin/harvest_progress.html", context)

    @admin.display(description=_("began"), ordering="began_at")
    def began(self, harvest: Harvest) -> str:
        return _minute(harvest.began_at)

    @admin.display(description=_("finished"), ordering="finished_at")
    def finished(self, harvest: Harvest) -> str:
        return _minute(harvest.finished_at) if harvest.finished_at else gettext("not yet")


def _make_due(row: WantedPaper, answers: dict[str, Any]) -> bool:
    now = timezone.now()
    waiting = WantedPaper.objects.filter(pk=row.pk, not_before=row.not_before)
    return bool(waiting.update(not_before=now, tries=0, error=""))


def _minute(moment: datetime) -> str:
    return date_format(moment, "Y-m-d H:i")
