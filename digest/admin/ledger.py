"""Digests, what became of them, and what readers said, for the operator. All of it is read-only.

A digest in doubt is the one thing that waits for the operator: `settle as sent` or `send again`.
Whoever may not view readers sees no address here, and finds none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from papers import admin as papers_admin
from papers.confirming import ActionsOnPage, Question, ask
from papers.listing import LongList
from subscribers import mail
from subscribers.models import address_hash
from subscribers.transports import Receipt, Status

from .. import rendering, sending
from ..models import DeliveryEvent, Digest, Feedback
from . import filters, showing, story

MOST_TESTS = 10
SEES_READERS = "subscribers.view_subscriber"


class ReadOnly(papers_admin.ReadOnly):
    """The ledger's rows: to be looked at, and never deleted by hand."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class OfReaders(ReadOnly, LongList, admin.ModelAdmin):
    """Rows of single readers. `reader_columns`: only for who may view readers."""

    ordering = ["-id"]
    sortable_by = []
    show_facets = admin.ShowFacets.NEVER
    reader_columns: Sequence[str] = ["reader"]

    class Media:
        css = {"all": ["digest/ledger.css"]}

    def get_list_display(self, request: HttpRequest) -> Any:
        return self._allowed(request, super().get_list_display(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self._allowed(request, super().get_fields(request, obj))

    def _allowed(self, request: HttpRequest, columns: Iterable[Any]) -> list[str]:
        sees = request.user.has_perm(SEES_READERS)
        return [name for name in columns if sees or name not in self.reader_columns]


@admin.register(Digest)
class DigestAdmin(ActionsOnPage, OfReaders):
    list_display = ["slot", "reader", "standing", "outcome_words", "papers", "due_at", "sent_at"]
    list_filter = [
        "state", filters.RecentSlots, filters.SkipReason, filters.Outcome, filters.First,
        filters.TransportName,
    ]  # fmt: skip
    list_select_related = ["subscriber", "slot"]
    search_fields = ["provider_message_id__exact"]
    search_help_text = _(
        "A digest’s UUID or a provider’s message id; a reader’s whole address, for who may see it. "
        "The filters but state and slot look at the newest half million, or at the chosen slot."
    )
    readonly_fields = ["message_id"]
    actions = ["settle_as_sent", "send_again", "send_test"]
    change_form_template = "admin/digest_page.html"
    fieldsets = [
        (None, {"fields": [("slot", "due_at", "assembled_at"), ("state", "skip_reason", "error")]}),
        (
            _("What it says"),
            {
                "fields": [
                    ("edition_day", "candidates", "closed_seq"),
                    ("is_first", "is_weekly"),
                    ("thinned_at", "mail_hash"),
                ]
            },
        ),
        (
            _("Delivery"),
            {
                "fields": [
                    ("attempts", "retry_at", "lease_until"),
                    ("attempted_at", "doubted_at", "settled_at", "settled_by"),
                    ("sent_at", "transport", "message_id"),
                    ("outcome", "outcome_at"),
                    ("uuid", "claim_token"),
                ]
            },
        ),
    ]

    @admin.display(description=_("Message-ID"))
    def message_id(self, digest: Digest) -> str:
        return digest.message_id

    def get_queryset(self, request: HttpRequest) -> QuerySet[Digest]:
        return super().get_queryset(request).defer("frame")

    def get_urls(self) -> list[URLPattern]:
        mail = self.admin_site.admin_view(self.mail_view)
        return [path("<int:pk>/mail/", mail, name="digest_digest_mail"), *super().get_urls()]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Digest], search_term: str
    ) -> tuple[QuerySet[Digest], bool]:
        """An address is found by its hash: the whole of it, and nobody else's."""
        if wanted := _uuid(search_term):
            return queryset.filter(uuid=wanted), False
        if "@" in search_term and "<" not in search_term:
            return _of_address(request, queryset, search_term), False
        return super().get_search_results(request, queryset, search_term)

    # -- a digest's page -------------------------------------------------------------------

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        digest = kwargs.get("obj")
        if digest is not None:
            context |= self._story(request, digest)
        return super().render_change_form(request, context, *args, **kwargs)

    def page_actions(self, request: HttpRequest, obj: Digest) -> Sequence[str]:
        settle = ["settle_as_sent", "send_again"] if obj.state == Digest.State.UNCERTAIN else []
        return [*settle, "send_test"] if obj.items else settle

    def _story(self, request: HttpRequest, digest: Digest) -> dict[str, Any]:
        sees_reader = request.user.has_perm(SEES_READERS)
        remade = rendering.remade(digest, timezone.now()) if digest.items else None
        moments = self._moments(request, digest)
        return {
            "standing": story.standing(digest),
            "has_left": story.is_proved_to_have_left(digest),
            "outcome": story.outcome(digest.outcome),
            "sees_reader": sees_reader,
            "moments": moments,
            "untold_error": story.untold_error(digest, moments),
            "remade": remade,
            "text": showing.without_keys(str(remade.message.body)) if remade else "",
            "headers": showing.headers_of(remade.message) if remade and sees_reader else [],
            "scores": showing.items_table(showing.items_of(digest)),
        }

    def _moments(self, request: HttpRequest, digest: Digest) -> list[story.Moment]:
        user = request.user
        kind = ContentType.objects.get_for_model(Digest)
        entries = LogEntry.objects.filter(content_type=kind, object_id=str(digest.pk))
        feedback = Feedback.objects.filter(
            subscriber=digest.subscriber_id, paper__in=digest.paper_ids, at__gte=digest.assembled_at
        )
        sees_events = user.has_perm("digest.view_deliveryevent")
        sees_feedback = digest.subscriber_id and user.has_perm("digest.view_feedback")
        return story.timeline(
            digest,
            events=digest.events.all() if sees_events else (),
            entries=entries.select_related("user"),
            feedback=feedback.select_related("paper") if sees_feedback else (),
        )

    def mail_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The mail in a sandboxed frame, with no link in it that acts for the reader."""
        digest = get_object_or_404(Digest.objects.select_related("subscriber", "slot"), pk=pk)
        if not self.has_view_permission(request, digest):
            raise PermissionDenied
        made = rendering.remade(digest, timezone.now()).message if digest.items else None
        back = reverse("admin:digest_digest_change", args=[pk])
        return showing.framed_mail(request, self, made, title=str(digest), back=back)

    # -- columns ---------------------------------------------------------------------------

    @admin.display(description=_("reader"))
    def reader(self, digest: Digest) -> str:
        return render_to_string("admin/digest_reader.html", {"reader": digest.subscriber})

    @admin.display(description=_("state"))
    def standing(self, digest: Digest) -> str:
        state = digest.get_state_display()
        return f"{state}: {digest.get_skip_reason_display()}" if digest.skip_reason else str(state)

    @admin.display(description=_("outcome"))
    def outcome_words(self, digest: Digest) -> str:
        return str(story.outcome(digest.outcome)) if digest.outcome else ""

    @admin.display(description=_("papers"))
    def papers(self, digest: Digest) -> int:
        return digest.full_count

    # -- actions ---------------------------------------------------------------------------

    @admin.action(description=_("Settle as sent"), permissions=["settle"])
    def settle_as_sent(
        self, request: HttpRequest, queryset: QuerySet[Digest]
    ) -> HttpResponse | None:
        now = timezone.now()
        question = Question(
            action="settle_as_sent",
            title=_("Settle as sent"),
            said=_("These digests are taken as delivered; their papers never come again."),
            left=_("Only a digest in doubt can be settled."),
            act=lambda digest, _answers: sending.settle_as_sent(digest, now),
            applies=_in_doubt,
            describe=_doubt(request),
        )
        return ask(self, request, queryset, question)

    @admin.action(description=_("Send again"), permissions=["settle"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Digest]) -> HttpResponse | None:
        now = timezone.now()
        question = Question(
            action="send_again",
            title=_("Send again"),
            said=_(
                "These digests are sent once more, with the same Message-ID. A reader who has "
                "theirs already may get it twice."
            ),
            left=_("Not in doubt, too late for its slot, or a newer one is on its way."),
            act=lambda digest, _answers: sending.send_again(digest, now),
            applies=_in_doubt,
            describe=_doubt(request),
            is_dangerous=True,
        )
        return ask(self, request, queryset, question)

    @admin.action(description=_("Send a test to me"), permissions=["test"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[Digest]) -> HttpResponse | None:
        """What the digest says, without the reader's links, to the address of who asks."""
        to = str(getattr(request.user, "email", ""))
        if trouble := _no_test(to, queryset.count()):
            self.message_user(request, trouble, messages.ERROR)
            return None
        question = Question(
            action="send_test",
            title=_("Send a test to me"),
            said=gettext(
                "A copy goes to %(address)s now. It has no link that acts for the reader, and the "
                "ledger knows nothing of it."
            ) % {"address": to},
            left=_("It has no mail, or the copy could not be handed over."),
            act=lambda digest, _answers: self._test(request, digest, to),
            describe=str,
        )  # fmt: skip
        return ask(self, request, queryset, question)

    def _test(self, request: HttpRequest, digest: Digest, to: str) -> bool:
        if not digest.items:
            return False
        try:
            receipt = showing.send_test(rendering.for_nobody(digest), to)
        except ImproperlyConfigured as error:
            receipt = Receipt(Status.FAILED, error=str(error))
        if receipt.status != Status.SENT:
            self.message_user(request, receipt.error, messages.ERROR)
        return receipt.status == Status.SENT

    def has_settle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("digest.settle_digest")

    def has_test_permission(self, request: HttpRequest) -> bool:
        """Nobody may edit a digest; who may in principle, may have a copy of one."""
        return request.user.has_perm("digest.change_digest")


@admin.register(DeliveryEvent)
class DeliveryEventAdmin(OfReaders):
    list_display = ["occurred_at", "said", "why", "provider", "digest"]
    list_filter = [filters.EventKind, filters.Rejected, filters.Provider]
    list_select_related = ["digest__slot"]
    search_fields = ["digest__provider_message_id__exact"]
    search_help_text = _("A provider’s id of the event or of the mail, or a digest’s UUID.")
    fields = [
        "digest", "event_type", "reject_reason", "occurred_at", "received_at", "provider",
        "event_id", "provider_message_id", "raw",
    ]  # fmt: skip
    readonly_fields = ["raw"]
    reader_columns = ["raw"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeliveryEvent], search_term: str
    ) -> tuple[QuerySet[DeliveryEvent], bool]:
        """Each by an index: (provider, id of the event), and those of digests."""
        if wanted := _uuid(search_term):
            found = queryset.filter(digest__uuid=wanted)
            if found.exists():
                return found, False
        providers = [name for name, _words in filters.providers()]
        found = queryset.filter(provider__in=providers, event_id=search_term.strip())
        if found.exists():
            return found, False
        return super().get_search_results(request, queryset, search_term)

    @admin.display(description=_("what it says"))
    def said(self, event: DeliveryEvent) -> str:
        return str(story.outcome(event.event_type))

    @admin.display(description=_("reject reason"))
    def why(self, event: DeliveryEvent) -> str:
        return str(story.reject_reason(event.reject_reason))

    @admin.display(description=_("as the provider sent it"))
    def raw(self, event: DeliveryEvent) -> str:
        payload = json.dumps(event.payload, indent=2, ensure_ascii=False)
        return render_to_string("admin/digest_payload.html", {"payload": payload})


@admin.register(Feedback)
class FeedbackAdmin(OfReaders):
    list_display = ["at", "kind", "paper", "subscriber"]
    list_filter = ["kind"]
    list_select_related = ["paper", "subscriber"]
    search_fields = ["paper__arxiv_id__exact"]
    search_help_text = _("A paper’s arXiv id; a reader’s whole address, for who may see it.")
    fields = ["at", "kind", "paper", "subscriber"]
    reader_columns = ["subscriber"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Feedback], search_term: str
    ) -> tuple[QuerySet[Feedback], bool]:
        if "@" in search_term:
            return _of_address(request, queryset, search_term), False
        return super().get_search_results(request, queryset, search_term)


def _in_doubt(digests: QuerySet[Digest]) -> QuerySet[Digest]:
    return digests.filter(state=Digest.State.UNCERTAIN)


def _doubt(request: HttpRequest) -> Any:
    """Describes a digest in doubt; by the reader's address only for who may see it."""
    sees_reader = request.user.has_perm(SEES_READERS)

    def describe(digest: Digest) -> str:
        reader = digest.subscriber or gettext("erased")
        return " · ".join([str(digest.slot), *([str(reader)] * sees_reader), digest.error])

    return describe


def _no_test(to: str, count: int) -> str:
    """Why no test can be sent; empty where one can."""
    if not to:
        return gettext("Your staff account has no e-mail address that a test could go to.")
    if count > MOST_TESTS:
        return gettext("At most %(most)d tests at a time.") % {"most": MOST_TESTS}
    return ""


def _of_address(request: HttpRequest, queryset: QuerySet[Any], address: str) -> QuerySet[Any]:
    if not request.user.has_perm(SEES_READERS):
        return queryset.none()
    return queryset.filter(subscriber__address_hash=address_hash(address))


def _uuid(text: str) -> UUID | None:
    """Of a digest, in any spelling, its Message-ID among them."""
    try:
        return UUID(mail.first_part(text) or text.strip())
    except ValueError:
        return None
