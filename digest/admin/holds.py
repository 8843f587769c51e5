"""The hold on sending, and the heartbeats: what the operator stops, and what keeps going."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from papers.listing import LongList

from .. import sending
from ..models import Alert, Digest, Heartbeat, Hold
from .ledger import ReadOnly

LIST = "admin:digest_hold_changelist"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The digests that are made and have not left."""

    count: int
    oldest: datetime | None


class HoldForm(forms.Form):
    note = forms.CharField(
        label=_("Why"),
        max_length=200,
        required=False,
        help_text=_("For your colleagues; it stands beside the hold."),
        widget=forms.TextInput(attrs={"size": 60}),
    )


class ReleaseForm(forms.Form):
    SEND, SKIP = "send", "skip"
    waiting = forms.ChoiceField(
        label=_("What waits"),
        choices=[
            (SEND, _("Send what waits, as far as it is not too late for its slot")),
            (SKIP, _("Skip what waits: those papers come with the next digest")),
        ],
        widget=forms.RadioSelect,
    )


@admin.register(Hold)
class HoldAdmin(ReadOnly, LongList, admin.ModelAdmin):
    list_display = ["began_at", "began_by", "note", "released_at", "released_by", "late_before"]
    ordering = ["-began_at", "-id"]
    sortable_by = []
    change_list_template = "admin/hold_list.html"

    class Media:
        css = {"all": ["digest/ledger.css"]}

    def get_urls(self) -> list[URLPattern]:
        hold = self.admin_site.admin_view(self.hold_view)
        release = self.admin_site.admin_view(self.release_view)
        return [
            path("begin/", hold, name="digest_hold_sending"),
            path("release/", release, name="digest_release_sending"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "held": Hold.objects.in_force().first(),
            "may_hold": request.user.has_perm("digest.add_hold"),
            "may_release": request.user.has_perm("digest.change_hold"),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def hold_view(self, request: HttpRequest) -> HttpResponse:
        """Asks first; nothing leaves from the POST on."""
        if not request.user.has_perm("digest.add_hold"):
            raise PermissionDenied
        form = HoldForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            now = timezone.now()
            note = form.cleaned_data["note"]
            held = sending.hold(by=request.user.get_username(), note=note, now=now)
            if held.began_at == now:
                self._log(request, held, ADDITION, gettext("Sending is held."))
                self.message_user(request, _("Sending is held."), messages.SUCCESS)
            else:
                self.message_user(request, _("Sending was held already."), messages.WARNING)
            return self._back(request)
        context = {
            "title": gettext("Hold sending"),
            "said": gettext(
                "No digest leaves until you release it; what is being handed over this moment "
                "goes out. Readers still fall due and their digests are made. Confirmations and "
                "other mails that somebody asked for go on."
            ),
        }
        return self._ask(request, form, context)

    def release_view(self, request: HttpRequest) -> HttpResponse:
        """Asks what is to become of what waits."""
        if not request.user.has_perm("digest.change_hold"):
            raise PermissionDenied
        held = Hold.objects.in_force().first()
        if held is None:
            self.message_user(request, _("Sending is not held."), messages.WARNING)
            return self._back(request)
        answer = request.POST if request.method == "POST" else None
        form = ReleaseForm(answer, initial={"waiting": ReleaseForm.SEND})
        if request.method == "POST" and form.is_valid():
            skips = form.cleaned_data["waiting"] == ReleaseForm.SKIP
            by = request.user.get_username()
            if sending.release(by=by, now=timezone.now(), skip_waiting=skips):
                said = _skipped if skips else _sent
                self._log(request, held, CHANGE, str(said))
                self.message_user(request, said, messages.SUCCESS)
            return self._back(request)
        return self._ask(request, form, {"title": gettext("Release sending"), "held": held})

    def _ask(self, request: HttpRequest, form: forms.Form, context: dict[str, Any]) -> HttpResponse:
        page = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "form": form,
            "waiting": waiting(),
            **context,
        }
        return TemplateResponse(request, "admin/hold_ask.html", page)

    def _back(self, request: HttpRequest) -> HttpResponse:
        return redirect(LIST if self.has_view_permission(request) else "admin:index")

    def _log(self, request: HttpRequest, held: Hold, flag: int, said: str) -> None:
        assert request.user.pk is not None, "the admin lets nobody in who is not logged in"
        LogEntry.objects.log_actions(
            request.user.pk, [held], flag, change_message=said, single_object=True
        )


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["name", "at", "ago"]
    ordering = ["name"]

    @admin.display(description=_("ago"))
    def ago(self, heartbeat: Heartbeat) -> str:
        return timesince(heartbeat.at, timezone.now())


def waiting() -> Waiting:
    found = Digest.objects.open().aggregate(count=Count("id"), oldest=Min("due_at"))
    return Waiting(found["count"], found["oldest"])


_sent = _("Sending goes on, with what waited.")
_skipped = _("Sending goes on. What waited is skipped; its papers come with the next digest.")


@admin.register(Alert)
class AlertAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["name", "began_at", "ended_at", "told_at", "said"]
