"""Readers for the operator. What only a reader may decide (consent, address) is read-only here.

Every change is a step of `signup` or `topics`, as on the reader's own page: one save, or one action
that asks first.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from papers.confirming import ActionsOnPage, Question, ask
from papers.listing import LongList
from papers.models import utc_day

from .. import schedule, signup, topics
from ..forms import PauseForm, hours, time_zones
from ..models import ConsentEvent, Subscriber, Suppression, Topic, address_hash
from ..topics import TopicRefused
from . import suggestions
from .filters import HasTopics, Paused, Since, Suppressed
from .wishes import (
    INTERESTS,
    MUTED,
    PREFERENCES,
    TIME_ZONES_ID,
    NewSubscriberForm,
    ReaderForm,
    TopicInline,
    by_kind,
)

VIA = ConsentEvent.Via.ADMIN


class HourForm(forms.Form):
    # Nothing is chosen at first: a careless press must not move anybody to midnight.
    hour = forms.TypedChoiceField(
        label=_("Hour"), choices=lambda: [("", "–"), *hours()], coerce=int
    )


class NoteForm(forms.Form):
    note = forms.CharField(
        label=_("Note"),
        max_length=200,
        help_text=_("Why, for your colleagues. It outlives the reader, so write no name in it."),
    )


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_("Why"), max_length=200, help_text=_("Kept in the history, for your colleagues.")
    )


class ReaderList(ChangeList):
    """Adds what else the list says, to the rows of one page alone."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        suppressions = Suppression.objects.filter(address_hash=OuterRef("address_hash"))
        named = Topic.objects.order_by().filter(subscriber=OuterRef("pk")).values("subscriber")
        self.result_list = self.result_list.annotate(
            suppressed_by=Subquery(suppressions.values("reason")[:1]),
            topics_named=Coalesce(Subquery(named.annotate(n=Count("pk")).values("n")), 0),
        )


@admin.register(Subscriber)
class SubscriberAdmin(ActionsOnPage, LongList, admin.ModelAdmin):
    form = ReaderForm
    change_form_template = "admin/reader.html"
    list_display = [
        "email", "state_in_words", "rhythm", "next_due", "topic_count", "created",
    ]  # fmt: skip
    list_filter = [
        "state", "cadence", Paused, Suppressed, HasTopics, Since,
    ]  # fmt: skip
    ordering = ["-created_at", "-id"]
    sortable_by = ["email", "created"]
    show_facets = admin.ShowFacets.NEVER  # they count the whole table once for each filter
    search_fields = ["email"]
    search_help_text = _("A whole address in any spelling, or how one begins.")
    inlines = [TopicInline]
    readonly_fields = [
        "uuid",
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
        "old_email",
        "moved_at",
        "moved_due_at",
        "moved_sent_at",
        "welcome_due_at",
        "welcome_sent_at",
        "goodbye_due_at",
        "goodbye_sent_at",
        "silent_slots",
        "silence_due_at",
        "silence_sent_at",
    ]
    preferences = (
        _("Preferences"),
        {
            "fields": [
                ("cadence", "days"),
                ("hour", "time_zone"),
                ("papers_per_digest", "paused_until", "language"),
                "likes_popular",
            ],
        },
    )
    muted = (
        _("Never shown"),
        {"fields": [("keywords", "authors"), ("organizations", "categories")]},
    )
    machinery = (
        _("Clock and service mails"),
        {
            "classes": ["collapse"],
            "fields": [
                ("next_due_at", "last_slot", "cursor"),
                ("created_at", "confirmed_at", "unsubscribed_at"),
                ("confirmation_due_at", "confirmation_sent_at", "confirmations_unanswered"),
                ("link_due_at", "link_sent_at"),
                ("new_email", "address_change_due_at", "address_change_sent_at"),
                ("old_email", "moved_at", "moved_due_at", "moved_sent_at"),
                ("welcome_due_at", "welcome_sent_at"),
                ("goodbye_due_at", "goodbye_sent_at"),
                ("silent_slots", "silence_due_at", "silence_sent_at"),
                "uuid",
            ],
        },
    )
    actions = [
        "ask_again", "mail_link", "pause", "resume", "change_hour", "unsubscribe", "suppress",
        "allow_mail",
    ]  # fmt: skip

    class Media:
        css = {"all": ["subscribers/reader.css"]}

    # -- the list --------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ReaderList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Subscriber], search_term: str
    ) -> tuple[QuerySet[Subscriber], bool]:
        """Through an index: a million addresses are not to be read through for a part of one."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if "@" in term:
            exact = queryset.filter(address_hash=address_hash(term))
            if exact.exists():
                return exact, False
        begins = Q(email__startswith=term)
        if term != term.lower():
            begins |= Q(email__startswith=term.lower())
        return queryset.filter(begins), False

    @admin.display(description=_("state"))
    def state_in_words(self, reader: Subscriber) -> str:
        """And what keeps their mail back. That they unsubscribed is the state itself."""
        said = [reader.get_state_display()]
        if reader.paused_until and reader.is_paused(_local_today(reader, timezone.now())):
            until = date_format(reader.paused_until, "DATE_FORMAT")
            said.append(gettext("paused until %(until)s") % {"until": until})
        suppressed_by = getattr(reader, "suppressed_by", None)
        if suppressed_by and suppressed_by != Suppression.Reason.UNSUBSCRIBE:
            why = Suppression.Reason(suppressed_by).label
            said.append(gettext("suppressed: %(why)s") % {"why": why})
        return ", ".join(said)

    @admin.display(description=_("when"))
    def rhythm(self, reader: Subscriber) -> str:
        return rhythm(reader)

    @admin.display(description=_("next due"))
    def next_due(self, reader: Subscriber) -> str:
        """By the reader's clock."""
        if reader.next_due_at is None:
            return "–"
        local = reader.next_due_at.astimezone(ZoneInfo(reader.time_zone))
        return date_format(local, "BRIEF_TIME_FORMAT")

    @admin.display(description=_("created"), ordering="created_at")
    def created(self, reader: Subscriber) -> str:
        return date_format(reader.created_at, "DATE_FORMAT")

    @admin.display(description=_("topics"))
    def topic_count(self, reader: Subscriber) -> int:
        return int(getattr(reader, "topics_named", 0))

    # -- the page --------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.suggestions_view)
        return [path("suggestions/", view, name="subscribers_suggestions"), *super().get_urls()]

    def suggestions_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_change_permission(request):
            return JsonResponse({"error": "403 Forbidden"}, status=403)
        return suggestions.answer(request)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except TopicRefused:  # the reader named a topic in this very moment
            said = _("The reader changed their topics meanwhile. Nothing is saved: look once more.")
            self.message_user(request, said, messages.ERROR)
            return redirect(request.path)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        reader = kwargs.get("obj")
        if reader is not None:
            context |= self.page_context(request, reader)
        return super().render_change_form(request, context, *args, **kwargs)

    def page_context(self, request: HttpRequest, reader: Subscriber) -> dict[str, Any]:
        """What the page shows beside the form. Read anew: a refused form has changed its row."""
        stored = Subscriber.objects.get(pk=reader.pk)
        suppression = Suppression.objects.filter(address_hash=stored.address_hash).first()
        return {
            "title": stored.email,
            "subtitle": None,
            "show_save_and_add_another": False,
            "reader": stored,
            "rhythm": rhythm(stored),
            "suppression": suppression,
            "is_barred": suppression and suppression.reason not in Suppression.LIFTED_BY_CONSENT,
            "is_paused": stored.is_paused(_local_today(stored, timezone.now())),
            "consent_events": stored.consent_events.all(),
            "time_zones": time_zones(),
            "time_zones_id": TIME_ZONES_ID,
            "may_change": self.has_change_permission(request, reader),
            "topics": stored.topics.prefetch_related(INTERESTS),
            "muted": by_kind(stored.interests.muted()),
        }

    def get_form(
        self,
        request: HttpRequest,
        obj: Subscriber | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> Any:
        if obj is None:
            kwargs["form"] = NewSubscriberForm
        elif not self.has_change_permission(request, obj):
            kwargs["form"] = forms.ModelForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Subscriber | None = None) -> Any:
        """Who may only look is shown the wishes in words, which the page has beside the form."""
        if obj is None:
            return [(None, {"fields": ["email"]})]
        if not self.has_change_permission(request, obj):
            return [self.machinery]
        return [self.preferences, self.muted, self.machinery]

    def get_readonly_fields(self, request: HttpRequest, obj: Subscriber | None = None) -> Any:
        return super().get_readonly_fields(request, obj) if obj else []

    def get_inlines(self, request: HttpRequest, obj: Subscriber | None) -> Any:
        may_change = obj is not None and self.has_change_permission(request, obj)
        return super().get_inlines(request, obj) if may_change else []

    def save_model(self, request: HttpRequest, obj: Subscriber, form: Any, change: bool) -> None:
        """By the same steps as on the reader's own page, so that no tick is overwritten."""
        now = timezone.now()
        if not change:
            signup.subscribe(
                obj.email, time_zone="UTC", language=settings.LANGUAGE_CODE, now=now, via=VIA
            )
            obj.pk = Subscriber.objects.with_address(obj.email).get().pk
            return
        cleaned, changed = form.cleaned_data, set(form.changed_data)
        if changed & PREFERENCES:
            signup.set_preferences(
                obj,
                form.preferences,
                papers_per_digest=cleaned["papers_per_digest"],
                likes_popular=cleaned["likes_popular"],
                now=now,
            )
        if "paused_until" in changed:
            if cleaned["paused_until"] is None:
                signup.resume(obj, now)
            else:
                signup.pause(obj, cleaned["paused_until"], now)
        if "language" in changed:
            Subscriber.objects.filter(pk=obj.pk).update(language=cleaned["language"])
        if changed.intersection(MUTED):
            topics.set_muted(obj, form.wishes, now=now)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What is the reader's own goes with them, though nobody may delete it by itself."""
        found, counts, _perms_needed, protected = super().get_deleted_objects(objs, request)
        return found, counts, set(), protected

    # -- actions ---------------------------------------------------------------------------

    def page_actions(self, request: HttpRequest, obj: Subscriber) -> list[str]:
        """Those that would do something to the row as it is stored, whatever a form made of it."""
        reader = Subscriber.objects.get(pk=obj.pk)
        is_barred = Suppression.objects.total().filter(address_hash=reader.address_hash).exists()
        is_active = reader.state == Subscriber.State.ACTIVE
        offered = {
            "ask_again": reader.state == Subscriber.State.PENDING and not is_barred,
            "mail_link": is_active and not is_barred,
            "pause": is_active and not reader.is_paused(_local_today(reader, timezone.now())),
            "resume": reader.paused_until is not None,
            "change_hour": is_active,
            "unsubscribe": reader.state != Subscriber.State.UNSUBSCRIBED,
            "suppress": not is_barred,
            "allow_mail": is_barred,
        }
        return [name for name, applies in offered.items() if applies]

    def has_suppress_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("subscribers.add_suppression")

    def has_allow_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("subscribers.delete_suppression")

    @admin.action(description=_("Resend confirmation"), permissions=["change"])
    def ask_again(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> Any:
        question = Question(
            action="ask_again",
            title=_("Resend confirmation"),
            said=_("A mail asks them once more whether they want the digests."),
            left=_("Only who is pending is asked, once a day and three times in all."),
            act=lambda reader, _answers: signup.ask_again(reader, now=timezone.now(), via=VIA),
            applies=lambda readers: readers.filter(state=Subscriber.State.PENDING),
        )
        return ask(self, request, queryset, question)

    @admin.action(description=_("Mail the link"), permissions=["change"])
    def mail_link(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> Any:
        question = Question(
            action="mail_link",
            title=_("Mail the link"),
            said=_("A mail brings them a new link to their own settings."),
            left=_("Only who is active gets one, once an hour."),
            act=lambda reader, _answers: signup.request_link(reader.email, timezone.now()),
            applies=_active,
        )
        return ask(self, request, queryset, question)

    @admin.action(description=_("Pause"), permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> Any:
        question = Question(
            action="pause",
            title=_("Pause"),
            said=_("No digest until the day that you name; then they come again by themselves."),
            left=_("Only who is active can be paused, and until a day to come."),
            act=_pause,
            form=partial(PauseForm, today=utc_day(timezone.now())),
            applies=_active,
        )
        return ask(self, request, queryset, question)

    @admin.action(description=_("Resume"), permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> Any:
        question = Question(
            action="resume",
            title=_("Resume"),
            said=_("Their pause ends; the next digest comes at their next hour."),
            left=_("They were not paused."),
            act=lambda reader, _answers: signup.resume(reader, timezone.now()),
            applies=lambda readers: readers.filter(paused_until__isnull=False),
        )
        return ask(self, request, queryset, question)

    @admin.action(description=_("Change hour"), permissions=["change"])
    def change_hour(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> Any:
        question = Question(
            action="change_hour",
            title=_("Change hour"),
            said=_("Their mail comes at this hour of their own time zone. Their days stay."),
            left=_("It is their hour already."),
            act=_change_hour,
            form=HourForm,
        )
        return ask(self, request, queryset, question)

    @admin.action(description=_("Unsubscribe"), permissions=["change"])
    def unsubscribe(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> Any:
        question = Question(
            action="unsubscribe",
            title=_("Unsubscribe"),
            said=_(
                "They get no digest from now on, and no mail tells them. Their topics stay. You "
                "cannot take it back: they come back by their own link or by confirming anew."
            ),
            left=_("They were unsubscribed already."),
            act=lambda reader, _answers: signup.unsubscribe(reader, now=timezone.now(), via=VIA),
            applies=lambda readers: readers.exclude(state=Subscriber.State.UNSUBSCRIBED),
            is_dangerous=True,
        )
        return ask(self, request, queryset, question)

    @admin.action(description=_("Suppress"), permissions=["suppress"])
    def suppress(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> Any:
        barred = Suppression.objects.total().filter(address_hash=OuterRef("address_hash"))
        question = Question(
            action="suppress",
            title=_("Suppress"),
            said=_(
                "No mail of any kind goes to these addresses: no digest, no link, no confirmation. "
                "Their own sign-up does not lift it; “Allow mail again” does."
            ),
            left=_("They are suppressed already."),
            act=lambda reader, answers: signup.suppress(
                reader.address_hash, note=answers["note"], now=timezone.now(), via=VIA
            ),
            form=NoteForm,
            applies=lambda readers: readers.filter(~Exists(barred)),
            is_dangerous=True,
        )
        return ask(self, request, queryset, question)

    @admin.action(description=_("Allow mail again"), permissions=["allow"])
    def allow_mail(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> Any:
        barred = Suppression.objects.total().filter(address_hash=OuterRef("address_hash"))
        question = Question(
            action="allow_mail",
            title=_("Allow mail again"),
            said=ALLOWED_AGAIN,
            left=_("They are not suppressed by a bounce, a complaint or an operator."),
            act=_allow_mail,
            form=ReasonForm,
            applies=lambda readers: readers.filter(Exists(barred)),
            is_dangerous=True,
        )
        return ask(self, request, queryset, question)


ALLOWED_AGAIN = _(
    "Whoever is active gets digests again from their next hour on; anybody else may sign up and is "
    "asked to confirm. An address that bounced may bounce again, and one that complained will "
    "complain: both harm every mail you send. Do it only if you know what changed."
)


def rhythm(reader: Subscriber) -> str:
    """In short words: `Mon–Fri 07:00 Europe/Berlin`."""
    return f"{_days(reader)} {reader.hour:02}:00 {reader.time_zone.replace('_', ' ')}"


def _days(reader: Subscriber) -> str:
    match reader.cadence:
        case Subscriber.Cadence.DAILY:
            return gettext("daily")
        case Subscriber.Cadence.WEEKDAYS:
            return gettext("Mon–Fri")
    monday = date(2024, 1, 1)
    return ", ".join(date_format(monday.replace(day=1 + day), "D") for day in sorted(reader.days))


def _active(readers: QuerySet[Subscriber]) -> QuerySet[Subscriber]:
    return readers.filter(state=Subscriber.State.ACTIVE)


def _pause(reader: Subscriber, answers: dict[str, Any]) -> bool:
    now = timezone.now()
    if answers["until"] <= _local_today(reader, now):
        return False
    signup.pause(reader, answers["until"], now)
    return True


def _change_hour(reader: Subscriber, answers: dict[str, Any]) -> bool:
    if reader.hour == answers["hour"]:
        return False
    signup.set_preferences(
        reader,
        replace(reader.preferences, hour=answers["hour"]),
        papers_per_digest=reader.papers_per_digest,
        now=timezone.now(),
    )
    return True


def _allow_mail(reader: Subscriber, answers: dict[str, Any]) -> bool:
    suppression = Suppression.objects.total().filter(address_hash=reader.address_hash).first()
    return suppression is not None and signup.allow_again(suppression)


def _local_today(reader: Subscriber, now: datetime) -> date:
    return schedule.slot_date(now, reader.time_zone)
