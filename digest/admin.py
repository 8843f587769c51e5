"""Digests, their account and their delivery for the operator. What the ledger says is read-only.

A digest in doubt is the one thing that waits for the operator: `settle as sent` or `send again`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from papers import admin as papers_admin
from papers.models import Paper
from subscribers import schedule
from subscribers.admin import SubscriberAdmin
from subscribers.models import Subscriber, address_hash

from . import assembly, rendering, sending
from .compose import Item
from .models import DeliveryEvent, Digest, Feedback, Slot
from .ranking import Reason

RECENT_DIGESTS = 10


class ReadOnly(papers_admin.ReadOnly):
    """The ledger's rows: to be looked at, and never deleted by hand."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class DeliveryEventInline(ReadOnly, admin.TabularInline):
    model = DeliveryEvent
    fields = ["occurred_at", "event_type", "reject_reason", "provider", "received_at"]
    extra = 0
    show_change_link = True


@admin.register(Digest)
class DigestAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["slot", "reader", "state", "skip_reason", "outcome", "full_items", "sent_at"]
    list_filter = ["state", "skip_reason", "outcome", "is_first", "transport"]
    list_select_related = ["subscriber", "slot"]
    date_hierarchy = "slot__date"
    search_fields = ["provider_message_id"]
    search_help_text = _("A whole address, a digest's UUID, or a provider's message id.")
    actions = ["settle_as_sent", "send_again"]
    inlines = [DeliveryEventInline]
    fieldsets = [
        (None, {"fields": ["reader", "slot", ("state", "skip_reason"), "mail_link"]}),
        (
            _("What it says"),
            {
                "fields": [
                    ("edition_day", "candidates"),
                    ("is_first", "closed_seq"),
                    "thinned_at",
                    "items_table",
                ]
            },
        ),
        (
            _("Delivery"),
            {
                "fields": [
                    ("due_at", "assembled_at", "sent_at"),
                    ("attempts", "retry_at", "lease_until"),
                    ("outcome", "outcome_at"),
                    ("transport", "provider_message_id"),
                    ("uuid", "claim_token"),
                    "error",
                ]
            },
        ),
    ]
    readonly_fields = ["reader", "mail_link", "items_table"]

    def get_urls(self) -> list[URLPattern]:
        mail = self.admin_site.admin_view(self.mail_view)
        return [path("<int:pk>/mail/", mail, name="digest_digest_mail"), *super().get_urls()]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Digest], search_term: str
    ) -> tuple[QuerySet[Digest], bool]:
        """An address is found by its hash: the whole of it, and nobody else's."""
        if "@" in search_term:
            return queryset.filter(subscriber__address_hash=address_hash(search_term)), False
        if wanted := _uuid(search_term):
            return queryset.filter(uuid=wanted), False
        return super().get_search_results(request, queryset, search_term)

    def mail_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The mail in a sandboxed frame, with no link in it that acts for the reader."""
        digest = get_object_or_404(Digest.objects.select_related("subscriber", "slot"), pk=pk)
        if not self.has_view_permission(request, digest):
            raise PermissionDenied
        content = rendering.unaddressed(
            [Item.from_json(stored) for stored in digest.items],
            edition_day=digest.edition_day,
            candidates=digest.candidates,
            slot=digest.slot.date,
            is_weekly=digest.is_weekly and not digest.is_first,
            is_first=digest.is_first,
        )
        back = reverse("admin:digest_digest_change", args=[pk])
        return _framed(request, self, content, title=str(digest), back=back)

    @admin.display(description=_("reader"), ordering="subscriber__email")
    def reader(self, digest: Digest) -> str:
        if digest.subscriber is None:
            return gettext("erased")
        url = reverse("admin:subscribers_subscriber_change", args=[digest.subscriber.pk])
        return format_html('<a href="{}">{}</a>', url, digest.subscriber.email)

    @admin.display(description=_("papers"))
    def full_items(self, digest: Digest) -> int:
        return digest.full_count

    @admin.display(description=_("the mail"))
    def mail_link(self, digest: Digest) -> str:
        if not digest.items:
            return gettext("It has none.")
        url = reverse("admin:digest_digest_mail", args=[digest.pk])
        return format_html('<a href="{}">{}</a>', url, gettext("Look at it"))

    @admin.display(description=_("items"))
    def items_table(self, digest: Digest) -> str:
        return _items_table([Item.from_json(stored) for stored in digest.items])

    @admin.action(description=_("Settle as sent"), permissions=["settle"])
    def settle_as_sent(
        self, request: HttpRequest, queryset: QuerySet[Digest]
    ) -> HttpResponse | None:
        question = {
            "action": "settle_as_sent",
            "title": _("Settle as sent"),
            "said": _("These digests are taken as delivered; their papers never come again."),
        }
        return self._confirmed(request, queryset, sending.settle_as_sent, question=question)

    @admin.action(description=_("Send again"), permissions=["settle"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Digest]) -> HttpResponse | None:
        question = {
            "action": "send_again",
            "title": _("Send again"),
            "said": _(
                "These digests are sent once more, with the same Message-ID. A reader who has "
                "theirs already may get it twice."
            ),
        }
        return self._confirmed(request, queryset, sending.send_again, question=question)

    def has_settle_permission(self, request: HttpRequest) -> bool:
        """Nobody may edit a digest; who may in principle, may settle one."""
        return request.user.has_perm("digest.change_digest")

    def _confirmed(
        self,
        request: HttpRequest,
        queryset: QuerySet[Digest],
        act: Callable[[Digest, datetime], bool],
        *,
        question: dict[str, Any],
    ) -> HttpResponse | None:
        """Asks first, then acts on each digest that is in doubt still."""
        uncertain = list(
            queryset.filter(state=Digest.State.UNCERTAIN).select_related("subscriber", "slot")
        )
        if uncertain and "confirmed" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                **question,
                "opts": self.model._meta,
                "digests": uncertain,
                "checkbox_name": ACTION_CHECKBOX_NAME,
            }
            return TemplateResponse(request, "admin/digest_settle.html", context)
        now = timezone.now()
        done = sum(act(digest, now) for digest in uncertain)
        text = ngettext("%(done)d digest is settled.", "%(done)d digests are settled.", done)
        self.message_user(request, text % {"done": done}, messages.SUCCESS)
        if left := queryset.count() - done:
            text = ngettext(
                "%(left)d stays: not in doubt, too late, or a newer one is on its way.",
                "%(left)d stay: not in doubt, too late, or a newer one is on its way.",
                left,
            )
            self.message_user(request, text % {"left": left}, messages.WARNING)
        return None


@admin.register(Slot)
class SlotAdmin(ReadOnly, admin.ModelAdmin):
    """The account of each date: what fell due must have ended somewhere."""

    list_display = [
        "date", "due", "is_conserved", *(f"{state}_count" for state in Digest.State),
    ]  # fmt: skip
    date_hierarchy = "date"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Slot]:
        return Slot.objects.with_counts()

    @admin.display(description=_("adds up"), boolean=True)
    def is_conserved(self, slot: Slot) -> bool:
        counts: list[int] = [getattr(slot, f"{state}_count") for state in Digest.State]
        return sum(counts) == slot.due


def _count_column(state: Digest.State) -> Callable[[SlotAdmin, Slot], str]:
    @admin.display(description=state.label, ordering=f"{state}_count")
    def column(self: SlotAdmin, slot: Slot) -> str:
        url = reverse("admin:digest_digest_changelist")
        count = getattr(slot, f"{state}_count")
        query = f"slot__date__exact={slot.date}&state__exact={state}"
        return format_html('<a href="{}?{}">{}</a>', url, query, count) if count else "–"

    return column


for _state in Digest.State:
    setattr(SlotAdmin, f"{_state}_count", _count_column(_state))


@admin.register(DeliveryEvent)
class DeliveryEventAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["occurred_at", "event_type", "reject_reason", "provider", "digest"]
    list_filter = ["event_type", "reject_reason", "provider"]
    list_select_related = ["digest__slot"]
    date_hierarchy = "occurred_at"
    search_fields = ["event_id", "provider_message_id"]


@admin.register(Feedback)
class FeedbackAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["at", "kind", "paper", "subscriber"]
    list_filter = ["kind"]
    list_select_related = ["paper", "subscriber"]
    date_hierarchy = "at"
    search_fields = ["paper__arxiv_id", "paper__title", "subscriber__email"]


admin.site.unregister(Subscriber)


@admin.register(Subscriber)
class ReaderAdmin(SubscriberAdmin):
    """A reader's page with what they got, and what they would get now."""

    readonly_fields = [*SubscriberAdmin.readonly_fields, "recent_digests", "upcoming_link"]
    fieldsets = [
        *SubscriberAdmin.fieldsets[:1],
        (_("Digests"), {"fields": ["upcoming_link", "recent_digests"]}),
        *SubscriberAdmin.fieldsets[1:],
    ]

    def get_urls(self) -> list[URLPattern]:
        upcoming = self.admin_site.admin_view(self.upcoming_view)
        found: list[URLPattern] = super().get_urls()
        return [path("<int:pk>/upcoming/", upcoming, name="digest_upcoming"), *found]

    def upcoming_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        subscriber = get_object_or_404(Subscriber, pk=pk)
        if not self.has_view_permission(request, subscriber):
            raise PermissionDenied
        now = timezone.now()
        choice = assembly.upcoming(subscriber, now=now)
        content = rendering.unaddressed(
            choice.items,
            edition_day=choice.edition_day,
            candidates=choice.candidates,
            slot=schedule.slot_date(now, subscriber.time_zone),
            is_weekly=subscriber.is_weekly,
        )
        title = gettext("What %(reader)s would get now") % {"reader": subscriber}
        back = reverse("admin:subscribers_subscriber_change", args=[pk])
        shown = content if choice.items else None
        return _framed(request, self, shown, title=title, back=back)

    @admin.display(description=_("what they would get now"))
    def upcoming_link(self, subscriber: Subscriber) -> str:
        url = reverse("admin:digest_upcoming", args=[subscriber.pk])
        return format_html('<a href="{}">{}</a>', url, gettext("Look at it"))

    @admin.display(description=_("recent digests"))
    def recent_digests(self, subscriber: Subscriber) -> str:
        digests = subscriber.digests.select_related("slot").order_by("-slot__date")
        rows = [
            (
                reverse("admin:digest_digest_change", args=[digest.pk]),
                digest.slot.date.isoformat(),
                digest.get_skip_reason_display() or digest.get_state_display(),
                digest.outcome,
                digest.full_count,
            )
            for digest in digests[:RECENT_DIGESTS]
        ]
        row = '<tr><td><a href="{}">{}</a></td><td>{}</td><td>{}</td><td>{}</td></tr>'
        heads = [_("slot"), _("state"), _("outcome"), _("papers")]
        return _table(heads, format_html_join("", row, rows)) if rows else gettext("None yet.")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None


# -- showing -------------------------------------------------------------------------------


def _framed(
    request: HttpRequest,
    model_admin: admin.ModelAdmin,
    content: rendering.Content | None,
    *,
    title: str,
    back: str,
) -> HttpResponse:
    made = None if content is None else rendering.preview(content, to="reader@example.org")
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": model_admin.model._meta,
        "back": back,
        "subject": made.subject if made else "",
        "html": made.alternatives[0][0] if made else "",
        "text": made.body if made else "",
    }
    return TemplateResponse(request, "admin/digest_mail.html", context)


def _items_table(items: Sequence[Item]) -> str:
    papers = Paper.objects.only("arxiv_id", "title").in_bulk([item.paper_id for item in items])
    rows = [
        (
            item.section,
            reverse("admin:papers_paper_change", args=[item.paper_id]),
            papers[item.paper_id] if item.paper_id in papers else gettext("deleted"),
            f"{item.score:.2f}",
            _reason_words(item.reason),
        )
        for item in items
    ]
    row = '<tr><td>{}</td><td><a href="{}">{}</a></td><td>{}</td><td>{}</td></tr>'
    heads = [_("section"), _("paper"), _("score"), _("reason")]
    return _table(heads, format_html_join("", row, rows)) if rows else gettext("None.")


def _reason_words(reason: Reason | None) -> str:
    """The facts that the mail's sentence is made of, and the numbers that it leaves out."""
    if reason is None:
        return ""
    facts = [reason.topic, reason.name, *reason.terms]
    if reason.upvotes:
        facts.append(f"{reason.upvotes} ▲")
    numbers = [f"{name} {value:g}" for name, value in reason.parts.items()]
    said = ", ".join(fact for fact in facts if fact)
    return f"{reason.kind}: {said} ({', '.join(numbers)})" if numbers else f"{reason.kind}: {said}"


def _table(heads: Sequence[Any], body: SafeString) -> SafeString:
    head = format_html_join("", "<th>{}</th>", ((each,) for each in heads))
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)
