"""What visitors and readers type, checked. Forms read no reader and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.dates import WEEKDAYS
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from papers.records import one_line

from . import languages, schedule
from .categories import NAMES, spelt
from .models import Interest, Subscriber
from .topics import INTERESTS_MAX, FirstTopic, Wish, seed_id

VALUE_MAX = 500
PAUSE_MAX = timedelta(days=366)
FALLBACK_ZONE = "UTC"
TOPIC_MAX = 80
_SEARCHED = {
    "topic": Interest.Kind.TEXT,
    "organization": Interest.Kind.ORGANIZATION,
    "category": Interest.Kind.CATEGORY,
}

_REGIONS = {
    "Africa": _("Africa"),
    "America": _("America"),
    "Antarctica": _("Antarctica"),
    "Arctic": _("Arctic"),
    "Asia": _("Asia"),
    "Atlantic": _("Atlantic"),
    "Australia": _("Australia"),
    "Europe": _("Europe"),
    "Indian": _("Indian Ocean"),
    "Pacific": _("Pacific"),
}


class AddressField(forms.EmailField):
    """An address, or a message that says which text was not one. IDN domains are fine."""

    widget = forms.EmailInput(attrs={"autocomplete": "email", "inputmode": "email"})

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=254, **kwargs)  # RFC 5321's limit, and our column's

    def clean(self, value: Any) -> str:
        try:
            return str(super().clean(value))
        except ValidationError:
            typed = str(value or "").strip()
            if not typed:
                raise ValidationError(gettext("Please type your e-mail address.")) from None
            raise ValidationError(
                gettext("“%(typed)s” is not an e-mail address. Is there a typing error in it?"),
                params={"typed": typed[:100]},
            ) from None


class _Form(forms.Form):
    """Labels without a colon."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})


class SubscribeForm(_Form):
    email = AddressField(label=_("E-mail address"))
    # A field that people do not see and machines like to fill.
    website = forms.CharField(required=False)
    time_zone = forms.CharField(required=False, widget=forms.HiddenInput)
    # A search that becomes the first topic: its words, and the filters that are interests.
    topic = forms.CharField(required=False, widget=forms.HiddenInput)
    organization = forms.CharField(required=False, widget=forms.HiddenInput)
    category = forms.CharField(required=False, widget=forms.HiddenInput)

    @property
    def first_topic(self) -> FirstTopic | None:
        """What is too long for a topic, or no category of arXiv, is left out."""
        given = getattr(self, "cleaned_data", {})
        typed = {name: one_line(given.get(name, "")) for name in _SEARCHED}
        if not typed["topic"] and typed["category"]:
            typed["topic"] = NAMES.get(spelt(typed["category"]), "")
        wishes = [
            Wish(kind, spelt(value) if kind == Interest.Kind.CATEGORY else value)
            for name, kind in _SEARCHED.items()
            if (value := typed[name]) and len(value) <= VALUE_MAX
            if kind != Interest.Kind.CATEGORY or spelt(value) in NAMES
        ]
        name = typed["topic"] or typed["organization"]
        return FirstTopic(name[:TOPIC_MAX], tuple(wishes)) if wishes else None

    def clean_time_zone(self) -> str:
        guess: str = self.cleaned_data["time_zone"]
        return guess if guess in _zones() else FALLBACK_ZONE

    @property
    def is_from_a_machine(self) -> bool:
        return bool(self.data.get("website"))


class LinkForm(_Form):
    email = AddressField(label=_("E-mail address"))


class AddressForm(_Form):
    email = AddressField(
        label=_("New e-mail address"),
        help_text=_("A mail there asks for a confirmation; until then, papers go where they go."),
    )


class PauseForm(_Form):
    until = forms.DateField(
        label=_("No mail until"),
        help_text=_("The first mail comes on that day or after it."),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": _("Please give a date, such as 2026-12-31.")},
    )

    def __init__(self, *args: Any, today: date, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.today = today
        self.fields["until"].widget.attrs |= {
            "min": (today + timedelta(days=1)).isoformat(),
            "max": (today + PAUSE_MAX).isoformat(),
        }

    def clean_until(self) -> date:
        until: date = self.cleaned_data["until"]
        require_pause(until, today=self.today)
        return until


def require_pause(until: date, *, today: date) -> None:
    """ValidationError unless mail may be paused until that day; `today` is the reader's own."""
    if until <= today:
        raise ValidationError(gettext("That day has passed. Please give a later one."))
    if until > today + PAUSE_MAX:
        raise ValidationError(gettext("A pause lasts a year at most."))


def hours() -> list[tuple[int, str]]:
    return [(hour, f"{hour:02}:00") for hour in range(24)]


def time_zones() -> list[str]:
    return sorted(_zones())


def time_zone_choices() -> list[tuple[str | Promise, Any]]:
    """All zones, grouped by region, the plain UTC first."""
    groups: dict[str, list[tuple[str, str]]] = {region: [] for region in _REGIONS}
    others = []
    for name in sorted(_zones() - {FALLBACK_ZONE}):
        region, _slash, place = name.partition("/")
        if place and region in groups:
            groups[region].append((name, place.replace("_", " ").replace("/", ", ")))
        else:
            others.append((name, name))
    regions = [(_REGIONS[name], zones) for name, zones in groups.items()]
    return [(FALLBACK_ZONE, FALLBACK_ZONE), *regions, (_("Other"), others)]


class PreferencesForm(_Form):
    cadence = forms.ChoiceField(
        label=_("How often"),
        choices=[(value, capfirst(label)) for value, label in Subscriber.Cadence.choices],
        widget=forms.RadioSelect,
    )
    days = forms.TypedMultipleChoiceField(
        label=_("Days"),
        help_text=_("For “On chosen days” (one or more) and “Once a week” (exactly one)."),
        choices=list(WEEKDAYS.items()),
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    hour = forms.TypedChoiceField(label=_("Hour"), choices=hours, coerce=int)
    time_zone = forms.ChoiceField(label=_("Time zone"), choices=time_zone_choices)
    papers_per_digest = forms.IntegerField(
        label=_("Papers in a mail"),
        help_text=_("At most, from 1 to 10."),
        min_value=1,
        max_value=10,
    )
    likes_popular = forms.BooleanField(
        label=_("What is popular with everybody"),
        help_text=_(
            "Votes count a little, and one place goes to a paper that many vote for. Unticked, "
            "your topics alone count; while you have none, what is popular still comes."
        ),
        required=False,
    )
    language = forms.ChoiceField(
        label=_("Language"),
        help_text=_("Of the mails and of your pages. Papers stay in the language they came in."),
        choices=lambda: settings.LANGUAGES,
        required=False,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not languages.are_several():
            del self.fields["language"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        days, cadence = cleaned.get("days", []), cleaned.get("cadence")
        if "days" in self.errors:
            return cleaned
        if cadence == Subscriber.Cadence.CHOSEN and not days:
            self.add_error("days", gettext("Please choose at least one day."))
        if cadence == Subscriber.Cadence.WEEKLY and len(days) != 1:
            self.add_error("days", gettext("Please choose the one day of the week."))
        return cleaned

    @property
    def preferences(self) -> schedule.Preferences:
        """Of a valid form."""
        cleaned = self.cleaned_data
        return schedule.Preferences(
            cadence=schedule.Cadence(cleaned["cadence"]),
            days=frozenset(cleaned["days"]),
            hour=cleaned["hour"],
            time_zone=cleaned["time_zone"],
        )

    @staticmethod
    def initial_of(subscriber: Subscriber) -> dict[str, Any]:
        kept = {name: getattr(subscriber, name) for name in PreferencesForm.base_fields}
        return {**kept, "language": languages.offered(subscriber.language)}


class WishesField(forms.CharField):
    """One thing per line, each cleaned by its kind. Gives wishes; a wrong line is named."""

    widget = forms.Textarea(attrs={"rows": 2})

    def __init__(self, kind: Interest.Kind, **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)
        self.kind = kind

    def to_python(self, value: Any) -> Any:
        lines = [one_line(line) for line in (super().to_python(value) or "").splitlines()]
        return list(dict.fromkeys(self._wish(line) for line in lines if line))

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) or value is None else "\n".join(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            wishes = self.to_python(data)
        except ValidationError:
            return True
        return [wish.value for wish in wishes] != list(initial or [])

    def _wish(self, line: str) -> Wish:
        if len(line) > VALUE_MAX:
            raise ValidationError(
                gettext("“%(line)s…” is too long; a line has %(limit)s characters at most."),
                params={"line": line[:40], "limit": VALUE_MAX},
            )
        return Wish(self.kind, _CLEANERS.get(self.kind, str)(line))


class _WishesForm(_Form):
    """Fields of wishes, one per kind; together they may be so many."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if len(self.wishes) > INTERESTS_MAX:
            raise ValidationError(
                ngettext(
                    "Please keep it to %(limit)s line in all.",
                    "Please keep it to %(limit)s lines in all.",
                    INTERESTS_MAX,
                ),
                params={"limit": INTERESTS_MAX},
            )
        return cleaned

    @property
    def wishes(self) -> list[Wish]:
        """Of all fields that are valid."""
        return [wish for name in self._names() for wish in self.cleaned_data.get(name, [])]

    @classmethod
    def initial_wishes(cls, wishes: Iterable[Wish]) -> dict[str, list[str]]:
        wishes = list(wishes)
        return {
            name: [wish.value for wish in wishes if wish.kind == field.kind]
            for name, field in cls.base_fields.items()
            if isinstance(field, WishesField)
        }

    def _names(self) -> list[str]:
        return [name for name, field in self.fields.items() if isinstance(field, WishesField)]


class TopicForm(_WishesForm):
    name = forms.CharField(
        label=_("Name"),
        max_length=80,
        help_text=_(
            "In your own words, such as “sparse attention”. Alone, it is what we look for."
        ),
    )
    text = WishesField(
        Interest.Kind.TEXT,
        label=_("Descriptions"),
        help_text=_("What the papers are about, in a sentence or two. One description per line."),
    )
    keywords = WishesField(
        Interest.Kind.KEYWORD,
        label=_("Keywords"),
        help_text=_("Words or phrases that a paper should name. One per line."),
    )
    authors = WishesField(
        Interest.Kind.AUTHOR, label=_("Authors"), help_text=_("Full names, one per line.")
    )
    organizations = WishesField(
        Interest.Kind.ORGANIZATION, label=_("Organizations"), help_text=_("One per line.")
    )
    categories = WishesField(
        Interest.Kind.CATEGORY,
        label=_("arXiv categories"),
        help_text=_(
            "Such as cs.CL or stat.ML, one per line: where to look, for what the name says."
        ),
    )
    papers = WishesField(
        Interest.Kind.PAPER,
        label=_("Papers you liked"),
        help_text=_("arXiv ids or links, one per line; we look for papers like them."),
    )
    titles = WishesField(
        Interest.Kind.TITLE,
        label=_("Other papers, by title"),
        help_text=_("Papers that arXiv does not have, one title per line."),
    )

    def clean_name(self) -> str:
        name = one_line(self.cleaned_data["name"])
        if not name:
            raise ValidationError(gettext("Please give the topic a name."))
        return name


class MutedForm(_WishesForm):
    keywords = WishesField(
        Interest.Kind.KEYWORD,
        label=_("Words"),
        help_text=_("Papers that name one of these never come. One word or phrase per line."),
    )
    authors = WishesField(
        Interest.Kind.AUTHOR, label=_("Authors"), help_text=_("Full names, one per line.")
    )
    organizations = WishesField(
        Interest.Kind.ORGANIZATION, label=_("Organizations"), help_text=_("One per line.")
    )
    categories = WishesField(
        Interest.Kind.CATEGORY, label=_("arXiv categories"), help_text=_("One per line.")
    )


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _category(line: str) -> str:
    if name := spelt(line):
        return name
    raise ValidationError(
        gettext("“%(line)s” is not an arXiv category. They look like cs.CL or hep-th."),
        params={"line": line[:60]},
    )


def _seed_paper(line: str) -> str:
    try:
        return seed_id(line)
    except ValueError:
        raise ValidationError(
            gettext("“%(line)s” is not an arXiv paper. Give an id such as 1706.03762, or a link."),
            params={"line": line[:100]},
        ) from None


_CLEANERS: dict[Interest.Kind, Callable[[str], str]] = {
    Interest.Kind.CATEGORY: _category,
    Interest.Kind.PAPER: _seed_paper,
}
