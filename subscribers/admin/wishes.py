"""A reader's wishes as the operator edits them, under the rules of the reader's own page.

Preferences and what is muted stand in one form, each topic with everything in it in a form of a
formset; all are saved at once, or none.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.core.exceptions import ValidationError
from django.db.models import Case, Prefetch, QuerySet, Value, When
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from papers.models import Paper

from .. import schedule, topics
from ..forms import (
    MutedForm,
    PauseForm,
    PreferencesForm,
    TopicForm,
    WishesField,
    require_pause,
    time_zone_choices,
)
from ..models import Interest, Subscriber, Suppression, Topic, address_hash
from ..topics import Wish
from .suggestions import Tags

PREFERENCES = frozenset(
    {"cadence", "days", "hour", "time_zone", "papers_per_digest", "likes_popular"}
)
MUTED = frozenset({"keywords", "authors", "organizations", "categories"})
TIME_ZONES_ID = "time-zones"  # of the page's list of them


def by_kind(interests: QuerySet[Interest]) -> QuerySet[Interest]:
    """In the order in which the form asks for them, with the seed papers' titles."""
    place = Case(*(When(kind=kind, then=Value(n)) for n, kind in enumerate(Interest.Kind)))
    return (
        interests.select_related("paper")
        .defer("paper__vector", "paper__meaning")
        .order_by(place, "id")
    )


INTERESTS = Prefetch("interests", queryset=by_kind(Interest.objects.all()))

_ONE_A_LINE = _("One per line.")


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


class ReaderForm(PreferencesForm, MutedForm, forms.ModelForm):
    """Preferences, pause, language, and what the reader never wants to see."""

    time_zone = forms.ChoiceField(
        label=_("Time zone"),
        choices=time_zone_choices,
        widget=forms.TextInput(attrs={"list": TIME_ZONES_ID, "autocomplete": "off", "size": 30}),
        help_text=_("Type a part of its name, such as Berlin."),
        error_messages={"invalid_choice": _("“%(value)s” is none. They look like Europe/Berlin.")},
    )
    papers_per_digest = forms.IntegerField(label=_("Papers in a mail"), min_value=1, max_value=10)
    likes_popular = forms.BooleanField(
        label=PreferencesForm.base_fields["likes_popular"].label,
        help_text=_("Unticked, votes count for nothing, once the reader has a topic."),
        required=False,
    )
    paused_until = forms.DateField(
        label=_("No mail until"),
        required=False,
        widget=PauseForm.base_fields["until"].widget,
        help_text=_("The first mail comes on that day or after it. Empty: no pause."),
        error_messages={"invalid": _("Please give a date, such as 2026-12-31.")},
    )
    days = forms.TypedMultipleChoiceField(
        label=_("Days"),
        help_text=PreferencesForm.base_fields["days"].help_text,
        choices=list(WEEKDAYS_ABBR.items()),
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    language = forms.ChoiceField(label=_("Language"), choices=lambda: settings.LANGUAGES)
    keywords = WishesField(Interest.Kind.KEYWORD, label=_("Words"), help_text=_ONE_A_LINE)
    authors = WishesField(Interest.Kind.AUTHOR, label=_("Authors"), help_text=_ONE_A_LINE)
    organizations = WishesField(
        Interest.Kind.ORGANIZATION, label=_("Organizations"), widget=Tags("organization")
    )
    categories = WishesField(
        Interest.Kind.CATEGORY, label=_("arXiv categories"), widget=Tags("categories")
    )

    class Meta:
        model = Subscriber
        fields = [*PREFERENCES, "paused_until", "language"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        reader = kwargs.get("instance")
        muted = topics.wishes_of(reader.interests.muted()) if reader else []
        initial = {**self.initial_wishes(muted), **(kwargs.pop("initial", None) or {})}
        super().__init__(*args, initial=initial, **kwargs)
        _fit_rows(self)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        until = cleaned.get("paused_until")
        zone = cleaned.get("time_zone") or self.initial["time_zone"]
        if until and "paused_until" in self.changed_data:
            try:
                require_pause(until, today=schedule.slot_date(timezone.now(), zone))
            except ValidationError as error:
                self.add_error("paused_until", error)
        return cleaned


class TopicOnPageForm(TopicForm, forms.ModelForm):
    """One topic with all that it is made of."""

    name = forms.CharField(label=_("Name"), max_length=80)
    text = WishesField(
        Interest.Kind.TEXT,
        label=_("Descriptions"),
        help_text=_("One per line. Without any wish, the name is taken as one."),
    )
    keywords = WishesField(Interest.Kind.KEYWORD, label=_("Keywords"), help_text=_ONE_A_LINE)
    authors = WishesField(
        Interest.Kind.AUTHOR, label=_("Authors"), help_text=_("Full names, one per line.")
    )
    organizations = WishesField(
        Interest.Kind.ORGANIZATION, label=_("Organizations"), widget=Tags("organization")
    )
    categories = WishesField(
        Interest.Kind.CATEGORY, label=_("arXiv categories"), widget=Tags("categories")
    )
    seeds = forms.ModelMultipleChoiceField(
        Paper.objects.only("arxiv_id", "title"),
        required=False,
        label=_("Papers they liked"),
        widget=AutocompleteSelectMultiple(
            Interest._meta.get_field("paper"), admin.site, attrs={"data-width": "100%"}
        ),
        help_text=_("By title, author or arXiv id."),
    )
    papers = WishesField(
        Interest.Kind.PAPER,
        label=_("Papers not stored here"),
        help_text=_("arXiv ids or links, one per line."),
    )
    titles = WishesField(
        Interest.Kind.TITLE, label=_("Other papers, by title"), help_text=_ONE_A_LINE
    )

    class Meta:
        model = Topic
        fields = ["name"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        topic = kwargs.get("instance")
        interests = list(topic.interests.all()) if topic and topic.pk else []
        self.interests = interests
        seeds = [interest.paper_id for interest in interests if interest.paper_id]
        others = [interest for interest in interests if not interest.paper_id]
        initial = {"seeds": seeds, **self.initial_wishes(topics.wishes_of(others))}
        super().__init__(
            *args, initial={**initial, **(kwargs.pop("initial", None) or {})}, **kwargs
        )
        _fit_rows(self)

    @property
    def wishes(self) -> list[Wish]:
        seeds = self.cleaned_data.get("seeds") or []
        return super().wishes + [Wish(Interest.Kind.PAPER, paper.arxiv_id) for paper in seeds]

    def validate_unique(self) -> None:
        """Names are compared over the whole set, where deleted topics do not count."""

    def validate_constraints(self) -> None:
        """As above."""


class TopicFormSet(BaseInlineFormSet):
    """All topics of one reader. Saved by the steps that the reader's own page takes."""

    default_error_messages = {
        "too_many_forms": ngettext_lazy(
            "There may be %(num)d topic at most.", "There may be %(num)d topics at most.", "num"
        )
    }

    def clean(self) -> None:
        kept = [form for form in self.forms if form not in self.deleted_forms]
        names = [form.cleaned_data["name"].casefold() for form in kept if _has_name(form)]
        present = Counter(form.initial["name"].casefold() for form in kept if form.instance.pk)
        twice = {name for name, times in Counter(names).items() if times > 1}
        for form in kept:
            if not (_has_name(form) and "name" in form.changed_data):
                continue
            name, own = form.cleaned_data["name"].casefold(), form.initial.get("name", "")
            # One that gives up its name in the same save has it still when this one is saved.
            if name in twice or (name in present and name != own.casefold()):
                form.add_error("name", gettext("There is another topic of that name."))

    def save_existing_objects(self, commit: bool = True) -> list[Topic]:
        """Deletes first, so that their names can be taken."""
        Topic.objects.filter(pk__in=[form.instance.pk for form in self.deleted_forms]).delete()
        found: list[Topic] = super().save_existing_objects(commit)
        return found

    def delete_existing(self, obj: Topic, commit: bool = True) -> None:
        """Done before anything was saved."""

    def save_existing(self, form: Any, obj: Topic, commit: bool = True) -> Topic:
        topics.revise_topic(obj, form.cleaned_data["name"], form.wishes, now=timezone.now())
        return obj

    def save_new(self, form: Any, commit: bool = True) -> Topic:
        name = form.cleaned_data["name"]
        return topics.add_topic(self.instance, name, form.wishes, now=timezone.now())


class TopicInline(admin.StackedInline):
    """Topics are a part of the reader's page: whoever may change the reader may change them."""

    model = Topic
    form = TopicOnPageForm
    formset = TopicFormSet
    template = "admin/reader_topics.html"
    fields = [
        "name",
        "text",
        ("keywords", "authors"),
        ("organizations", "categories"),
        ("seeds", "papers"),
        "titles",
    ]
    extra = 0
    max_num = topics.TOPICS_MAX

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related(INTERESTS)

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        return super().get_formset(request, obj, validate_max=True, **kwargs)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("subscribers.change_subscriber")

    has_change_permission = has_delete_permission = has_view_permission = has_add_permission


def _has_name(form: forms.BaseForm) -> bool:
    return hasattr(form, "cleaned_data") and bool(form.cleaned_data.get("name"))


def _fit_rows(form: forms.BaseForm) -> None:
    """As many rows as there are lines, up to a screen's half."""
    for name, field in form.fields.items():
        if isinstance(field.widget, forms.Textarea):
            lines = len(form.initial.get(name) or [])
            field.widget.attrs["rows"] = min(max(lines + 1, 2), 12)
