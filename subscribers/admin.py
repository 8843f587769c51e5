"""Readers for the operator. What only a reader may decide (consent, address) is read-only here."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import CharField, ForeignKey, Model, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import signup
from .forms import PreferencesForm
from .models import (
    ConsentEvent,
    Interest,
    Subscriber,
    Suppression,
    Topic,
    address_hash,
)

_VIA = ConsentEvent.Via.ADMIN


class NewSubscriberForm(forms.ModelForm):
    """An address to ask: it becomes a reader only by its owner's confirmation."""

    class Meta:
        model = Subscriber
        fields = ["email"]

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        if Subscriber.objects.with_address(email).exists():
            raise ValidationError(_("There is a reader with this address."))
        if Suppression.objects.total().filter(address_hash=address_hash(email)).exists():
            raise ValidationError(_("This address is suppressed: no mail may go there."))
        return email


class SubscriberForm(PreferencesForm, forms.ModelForm):
    """The reader's preferences, checked as on their own page; and their pause."""

    class Meta:
        model = Subscriber
        fields = [
            "cadence",
            "days",
            "hour",
            "time_zone",
            "papers_per_digest",
            "paused_until",
            "language",
        ]


class TopicInline(admin.TabularInline):
    model = Topic
    fields = ["name"]
    extra = 0
    show_change_link = True


class InterestInline(admin.TabularInline):
    model = Interest
    fields = ["topic", "kind", "value", "is_muted"]
    formfield_overrides = {CharField: {"widget": forms.TextInput(attrs={"size": 24})}}
    extra = 0

    def formfield_for_foreignkey(
        self, db_field: ForeignKey, request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "topic" and request.resolver_match:
            reader = request.resolver_match.kwargs.get("object_id")
            kwargs["queryset"] = Topic.objects.filter(subscriber=reader)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class ConsentEventInline(admin.TabularInline):
    model = ConsentEvent
    readonly_fields = ["at", "kind", "via", "text_version"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Subscriber)
class SubscriberAdmin(admin.ModelAdmin):
    form = SubscriberForm
    list_display = [
        "email",
        "state",
        "cadence",
        "hour",
        "time_zone",
        "next_due_at",
        "paused_until",
        "created_at",
    ]
    list_filter = ["state", "cadence", "created_at"]
    date_hierarchy = "created_at"
    search_fields = ["email"]
    search_help_text = _("A whole address, or a part of one.")
    readonly_fields = [
        "email",
        "uuid",
        "state",
        "created_at",
        "confirmed_at",
        "unsubscribed_at",
        "next_due_at",
        "last_slot",
        "cursor",
        "confirmation_due_at",
        "confirmation_sent_at",
        "confirmations_unanswered",
        "link_due_at",
        "link_sent_at",
        "new_email",
        "address_change_due_at",
        "address_change_sent_at",
    ]
    fieldsets = [
        (None, {"fields": ["email", "state"]}),
        (
            _("Preferences"),
            {
                "fields": [
                    ("cadence", "days"),
                    ("hour", "time_zone"),
                    "papers_per_digest",
                    "paused_until",
                    "language",
                ]
            },
        ),
        (_("Clock"), {"fields": [("next_due_at", "last_slot", "cursor")]}),
        (
            _("Consent and service mails"),
            {
                "classes": ["collapse"],
                "fields": [
                    "uuid",
                    ("created_at", "confirmed_at", "unsubscribed_at"),
                    ("confirmation_due_at", "confirmation_sent_at", "confirmations_unanswered"),
                    ("link_due_at", "link_sent_at"),
                    ("new_email", "address_change_due_at", "address_change_sent_at"),
                ],
            },
        ),
    ]
    inlines = [TopicInline, InterestInline, ConsentEventInline]
    actions = ["unsubscribe", "send_link", "ask_again"]

    @admin.action(description=_("Unsubscribe"), permissions=["change"])
    def unsubscribe(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> None:
        for subscriber in queryset:
            signup.unsubscribe(subscriber, now=timezone.now(), via=_VIA)
        self.message_user(request, _("They get no further mail."))

    @admin.action(description=_("Mail the link to their settings"), permissions=["change"])
    def send_link(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> None:
        for subscriber in queryset:
            signup.request_link(subscriber.email, timezone.now())
        said = _("A mail goes to those who are active and had none within the hour.")
        self.message_user(request, said)

    @admin.action(description=_("Ask again for a confirmation"), permissions=["change"])
    def ask_again(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> None:
        for subscriber in queryset.filter(state=Subscriber.State.PENDING):
            _ask(subscriber.email, subscriber.time_zone, subscriber.language)
        said = _(
            "A mail goes to those who are pending and had none within a day, nor three in all."
        )
        self.message_user(request, said)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Subscriber], search_term: str
    ) -> tuple[QuerySet[Subscriber], bool]:
        if "@" in search_term:
            hashed = address_hash(search_term)
            exact = queryset.filter(address_hash=hashed)
            if exact.exists():
                return exact, False
        return super().get_search_results(request, queryset, search_term)

    def get_form(
        self,
        request: HttpRequest,
        obj: Subscriber | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> Any:
        if obj is None:
            kwargs["form"] = NewSubscriberForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Subscriber | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else [(None, {"fields": ["email"]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Subscriber | None = None) -> Any:
        return super().get_readonly_fields(request, obj) if obj else []

    def get_inlines(self, request: HttpRequest, obj: Subscriber | None) -> Any:
        return super().get_inlines(request, obj) if obj else []

    def save_model(self, request: HttpRequest, obj: Subscriber, form: Any, change: bool) -> None:
        """By the same steps as on the reader's own page, so that no tick is overwritten."""
        now = timezone.now()
        if not change:
            _ask(obj.email, "UTC", obj.language)
            obj.pk = Subscriber.objects.with_address(obj.email).get().pk
            return
        paused_until, language = obj.paused_until, obj.language
        signup.set_preferences(
            obj,
            form.preferences,
            papers_per_digest=form.cleaned_data["papers_per_digest"],
            now=now,
        )
        if "paused_until" in form.changed_data:
            if paused_until is None:
                signup.resume(obj, now)
            else:
                signup.pause(obj, paused_until, now)
        if "language" in form.changed_data:
            Subscriber.objects.filter(pk=obj.pk).update(language=language)


class TopicInterestInline(admin.TabularInline):
    model = Interest
    fields = ["kind", "value", "paper"]
    raw_id_fields = ["paper"]
    extra = 0


@admin.register(Topic)
class TopicAdmin(admin.ModelAdmin):
    list_display = ["name", "subscriber", "created_at"]
    list_select_related = ["subscriber"]
    search_fields = ["name", "subscriber__email"]
    readonly_fields = ["subscriber", "created_at"]
    inlines = [TopicInterestInline]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_formset(
        self,
        request: HttpRequest,
        form: Any,
        formset: BaseInlineFormSet,
        change: bool,
    ) -> None:
        for interest in formset.save(commit=False):
            interest.subscriber_id = form.instance.subscriber_id
            interest.save()
        for interest in formset.deleted_objects:
            interest.delete()


class SuppressionForm(forms.ModelForm):
    address = forms.EmailField(help_text=_("Kept as a keyed hash only; it cannot be shown again."))

    class Meta:
        model = Suppression
        fields = ["reason", "note"]

    def clean_address(self) -> str:
        email: str = self.cleaned_data["address"]
        if Suppression.objects.filter(address_hash=address_hash(email)).exists():
            raise ValidationError(_("This address is suppressed already."))
        return email


@admin.register(Suppression)
class SuppressionAdmin(admin.ModelAdmin):
    list_display = ["short_hash", "reason", "note", "created_at"]
    list_filter = ["reason", "created_at"]
    date_hierarchy = "created_at"
    readonly_fields = ["address_hash", "created_at"]
    search_fields = ["address_hash", "note"]
    search_help_text = _("An address is looked up by its hash.")

    @admin.display(description=_("address (hash)"), ordering="address_hash")
    def short_hash(self, suppression: Suppression) -> str:
        return f"{suppression.address_hash[:10]}…"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Suppression], search_term: str
    ) -> tuple[QuerySet[Suppression], bool]:
        if "@" in search_term:
            return queryset.filter(address_hash=address_hash(search_term)), False
        return super().get_search_results(request, queryset, search_term)

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

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        if not change:
            obj.address_hash = address_hash(form.cleaned_data["address"])
        super().save_model(request, obj, form, change)


@admin.register(ConsentEvent)
class ConsentEventAdmin(admin.ModelAdmin):
    """The record of consent. Read-only."""

    list_display = ["at", "kind", "via", "subscriber", "text_version"]
    list_filter = ["kind", "via", "at"]
    list_select_related = ["subscriber"]
    date_hierarchy = "at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def _ask(email: str, time_zone: str, language: str) -> None:
    signup.subscribe(
        email,
        time_zone=time_zone,
        language=language,
        now=timezone.now(),
        via=_VIA,
    )
