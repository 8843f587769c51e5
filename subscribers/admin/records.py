"""Consent, suppressions and topics as lists; what a machine or a reader wrote is read-only."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from papers.confirming import ActionsOnPage, Question, ask
from papers.listing import LongList

from .. import signup
from ..models import ConsentEvent, Subscriber, Suppression, Topic, address_hash
from .filters import ConsentSince, Since
from .readers import ALLOWED_AGAIN, ReasonForm
from .wishes import by_kind


class ReadOnly:
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class _OfAReader(admin.ModelAdmin):
    """Search by the reader's whole address, which is found by its hash."""

    search_fields = ["subscriber__address_hash"]
    search_help_text = _("A reader's whole address.")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term.strip():
            return queryset, False
        return queryset.filter(subscriber__address_hash=address_hash(search_term)), False


class SuppressionForm(forms.ModelForm):
    address = forms.EmailField(
        label=_("Address"), help_text=_("Kept as a keyed hash only; it cannot be shown again.")
    )

    class Meta:
        model = Suppression
        fields = ["reason", "note"]

    def clean_address(self) -> str:
        email: str = self.cleaned_data["address"]
        if Suppression.objects.total().filter(address_hash=address_hash(email)).exists():
            raise ValidationError(_("This address is suppressed already."))
        return email


@admin.register(Suppression)
class SuppressionAdmin(ActionsOnPage, LongList, admin.ModelAdmin):
    """Lifted by an action that asks why; neither edited into something else nor just deleted."""

    list_display = ["short_hash", "reason", "note", "created_at"]
    list_filter = ["reason", Since]
    ordering = ["-created_at", "-id"]
    sortable_by = ["created_at"]
    search_fields = ["address_hash"]
    search_help_text = _("A whole address, or how its hash begins.")
    actions = ["allow_mail"]

    @admin.display(description=_("address (hash)"))
    def short_hash(self, suppression: Suppression) -> str:
        return f"{suppression.address_hash[:10]}…"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Suppression], search_term: str
    ) -> tuple[QuerySet[Suppression], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if "@" in term:
            return queryset.filter(address_hash=address_hash(term)), False
        return queryset.filter(address_hash__startswith=term.lower().rstrip("…")), False

    def get_form(
        self,
        request: HttpRequest,
        obj: Suppression | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> Any:
        if obj is None:
            kwargs["form"] = SuppressionForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Suppression | None = None) -> Any:
        first = "address_hash" if obj else "address"
        return [first, "reason", "note", *(["created_at"] if obj else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: Suppression | None = None) -> Any:
        return ["address_hash", "reason", "created_at"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_allow_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("subscribers.delete_suppression")

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        """A new one is in the reader's record of consent too, where the address has a reader."""
        if change:
            super().save_model(request, obj, form, change)
            return
        obj.address_hash = address_hash(form.cleaned_data["address"])
        signup.suppress(
            obj.address_hash,
            reason=obj.reason,
            note=obj.note,
            now=timezone.now(),
            via=ConsentEvent.Via.ADMIN,
        )
        obj.pk = Suppression.objects.get(address_hash=obj.address_hash).pk

    @admin.action(description=_("Allow mail again"), permissions=["allow"])
    def allow_mail(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> Any:
        def act(suppression: Suppression, answers: dict[str, Any]) -> bool:
            is_lifted = signup.allow_again(suppression)
            if is_lifted:
                _log_on_reader(request, suppression, answers["reason"])
            return is_lifted

        question = Question(
            action="allow_mail",
            title=_("Allow mail again"),
            said=ALLOWED_AGAIN,
            left=_("They were lifted meanwhile."),
            act=act,
            form=ReasonForm,
            is_dangerous=True,
            removes_rows=True,
        )
        return ask(self, request, queryset, question)


@admin.register(ConsentEvent)
class ConsentEventAdmin(ReadOnly, LongList, _OfAReader):
    """The record of consent."""

    list_display = ["at", "kind", "via", "subscriber", "text_version"]
    list_filter = ["kind", "via", ConsentSince]
    list_select_related = ["subscriber"]
    ordering = ["-at", "-id"]
    sortable_by = ["at"]


@admin.register(Topic)
class TopicAdmin(ReadOnly, LongList, _OfAReader):
    """To look through; a topic is edited on its reader's page."""

    list_display = ["name", "subscriber", "created_at"]
    list_select_related = ["subscriber"]
    ordering = ["-id"]
    sortable_by = []
    fields = ["name", "subscriber", "created_at"]
    change_form_template = "admin/topic.html"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        topic: Topic = kwargs["obj"]
        context |= {"topic": topic, "interests": by_kind(topic.interests.all())}
        return super().render_change_form(request, context, *args, **kwargs)


def _log_on_reader(request: HttpRequest, suppression: Suppression, reason: str) -> None:
    """The suppression's own history goes with it; the reader's stays."""
    readers = list(Subscriber.objects.filter(address_hash=suppression.address_hash))
    assert request.user.pk is not None, "the admin lets nobody in who is not logged in"
    if readers:
        said = _("Mail allowed again (reason: %(reason)s)") % {"reason": reason}
        LogEntry.objects.log_actions(request.user.pk, readers, CHANGE, change_message=said)
