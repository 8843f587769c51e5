"""A reader's page with what they got, and what they would get now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from papers.confirming import Question, ask, way_back
from subscribers import schedule
from subscribers.admin import SubscriberAdmin
from subscribers.models import Subscriber, Suppression
from subscribers.transports import Status

from .. import assembly, erasure, rendering
from ..assembly import Choice
from ..models import Digest, Feedback
from ..rendering import Content
from . import subjects
from .showing import framed, send_test

RECENT = 10
AT_ONCE = 10  # previews on a page, tests in one go

admin.site.unregister(Subscriber)


@admin.register(Subscriber)
class ReaderAdmin(SubscriberAdmin):
    """A reader's page with what they got, and what they would get now."""

    actions = ["preview", "send_test", *SubscriberAdmin.actions]

    def get_urls(self) -> list[URLPattern]:
        upcoming = self.admin_site.admin_view(self.upcoming_view)
        found: list[URLPattern] = super().get_urls()
        own = path("<int:pk>/upcoming/", upcoming, name="digest_upcoming")
        return [own, *subjects.urls(self), *found]

    def upcoming_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        subscriber = get_object_or_404(Subscriber, pk=pk)
        if not self.has_view_permission(request, subscriber):
            raise PermissionDenied
        now = timezone.now()
        choice = assembly.upcoming(subscriber, now=now)
        title = gettext("What %(reader)s would get now") % {"reader": subscriber}
        back = reverse("admin:subscribers_subscriber_change", args=[pk])
        shown = _content(choice, subscriber, now=now) if choice.items else None
        return framed(request, self, shown, title=title, back=back)

    def page_context(self, request: HttpRequest, reader: Subscriber) -> dict[str, Any]:
        now = timezone.now()
        context = super().page_context(request, reader)
        stored: Subscriber = context["reader"]
        choice = assembly.upcoming(stored, now=now)
        content = _content(choice, stored, now=now)
        recent = stored.digests.select_related("slot").order_by("-slot__date")
        said = Feedback.objects.filter(subscriber=stored).select_related("paper")
        return context | {
            "beside": "admin/reader_beside.html",
            "may_add_papers": self.has_change_permission(request, reader),
            "hindrance": hindrance(stored, context["suppression"], is_paused=context["is_paused"]),
            "upcoming_subject": content.subject if choice.items else "",
            "upcoming_count": _count_words(choice, content),
            "upcoming_nothing": _nothing_words(choice),
            "digests": recent[:RECENT],
            "feedback": said.defer("paper__vector", "paper__meaning").order_by("-at", "-id")[
                :RECENT
            ],
            "may_view_digests": _may_view(request, Digest),
            "may_view_feedback": _may_view(request, Feedback),
        }

    def delete_model(self, request: HttpRequest, obj: Subscriber) -> None:
        erasure.erase(Subscriber.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> None:
        erasure.erase(queryset)

    def page_actions(self, request: HttpRequest, obj: Subscriber) -> list[str]:
        return ["send_test", *super().page_actions(request, obj)]

    @admin.action(description=_("Preview"), permissions=["view"])
    def preview(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> HttpResponse:
        """Changes nothing, so it does not ask first."""
        readers = list(queryset[: AT_ONCE + 1])
        if len(readers) > AT_ONCE:
            self._refuse_so_many(request)
            return redirect(request.get_full_path())
        if len(readers) == 1:
            page = reverse("admin:subscribers_subscriber_change", args=[readers[0].pk])
            return redirect(f"{page}#upcoming")
        context = {
            **self.admin_site.each_context(request),
            "title": _("What they would get now"),
            "opts": self.opts,
            "readers": readers,
        }
        return TemplateResponse(request, "admin/reader_previews.html", context)

    @admin.action(description=_("Send test to me"), permissions=["change"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> Any:
        address = getattr(request.user, "email", "")
        if not address:
            said = _("Your own account has no e-mail address to send to. Give it one first.")
            self.message_user(request, said, messages.ERROR)
            return redirect(way_back(request))
        if queryset[: AT_ONCE + 1].count() > AT_ONCE:
            self._refuse_so_many(request)
            return None

        def act(reader: Subscriber, _answers: dict[str, Any]) -> bool:
            return self._send_test(request, reader, address)

        question = Question(
            action="send_test",
            title=_("Send test to me"),
            said=gettext(
                "What they would get now is mailed to you, at %(address)s, and to nobody else. It "
                "holds no link that acts for the reader, and their next digest is not changed."
            )
            % {"address": address},
            left=_("No test mail was sent for them."),
            act=act,
        )
        return ask(self, request, queryset, question)

    def _send_test(self, request: HttpRequest, reader: Subscriber, address: str) -> bool:
        now = timezone.now()
        choice = assembly.upcoming(reader, now=now)
        if not choice.items:
            self.message_user(request, _nothing_words(choice), messages.WARNING)
            return False
        try:
            receipt = send_test(_content(choice, reader, now=now), address)
        except ImproperlyConfigured as error:
            self.message_user(request, str(error), messages.ERROR)
            return False
        if receipt.status != Status.SENT:
            said = gettext("The mail server did not take it (%(status)s): %(error)s")
            facts = {"status": receipt.status, "error": receipt.error}
            self.message_user(request, said % facts, messages.ERROR)
        return receipt.status == Status.SENT

    def _refuse_so_many(self, request: HttpRequest) -> None:
        said = _("At most %(most)d at a time. Select fewer.") % {"most": AT_ONCE}
        self.message_user(request, said, messages.ERROR)


def hindrance(reader: Subscriber, suppression: Suppression | None, *, is_paused: bool) -> str:
    """Why nothing leaves for this reader now, whatever there is to read; or nothing."""
    match reader.state:
        case Subscriber.State.PENDING:
            return gettext("Nothing leaves before they confirm. This is what it would be.")
        case Subscriber.State.UNSUBSCRIBED:
            return gettext("Nothing leaves: they unsubscribed. This is what it would be.")
    if suppression is not None:
        return gettext("Nothing leaves: the address is suppressed. This is what it would be.")
    if is_paused:
        return gettext("Nothing leaves while they pause. This is what it would be.")
    return ""


def _content(choice: Choice, reader: Subscriber, *, now: datetime) -> Content:
    return rendering.unaddressed(
        choice.items,
        edition_day=choice.edition_day,
        since=choice.since,
        candidates=choice.candidates,
        slot=schedule.slot_date(now, reader.time_zone),
        is_weekly=reader.is_weekly,
    )


def _count_words(choice: Choice, content: Content) -> str:
    said = ngettext(
        "%(full)d in full out of %(candidates)d new paper.",
        "%(full)d in full out of %(candidates)d new papers.",
        choice.candidates,
    )
    return said % {"full": content.chosen_count, "candidates": choice.candidates}


def _nothing_words(choice: Choice) -> str:
    if not choice.candidates:
        return gettext(
            "Nothing, so no mail would go out: no edition has closed since their last digest, or "
            "they have had all of it."
        )
    said = ngettext(
        "Nothing, so no mail would go out: %(candidates)d paper is new to them, and not near "
        "enough to what they want to read.",
        "Nothing, so no mail would go out: %(candidates)d papers are new to them, and none is near "
        "enough to what they want to read.",
        choice.candidates,
    )
    return said % {"candidates": choice.candidates}


def _may_view(request: HttpRequest, model: type[Digest] | type[Feedback]) -> bool:
    return admin.site.get_model_admin(model).has_view_permission(request)
