"""What an editor types about a paper, checked."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from . import records
from .editions import NOTE_MAX
from .models import Source
from .query import MAX_LENGTH, Asked, Order


class NoteField(forms.CharField):
    """An editor's note: one line, at most NOTE_MAX characters."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"})
        super().__init__(**{"max_length": NOTE_MAX, "widget": widget, **kwargs})

    def to_python(self, value: Any) -> str:
        return records.one_line(super().to_python(value))


class PickForm(forms.Form):
    note = NoteField(
        label=_("Note"),
        help_text=_("Why readers should look at it, in your words. It stands under your name."),
    )


class AddPaperForm(forms.Form):
    paper = forms.CharField(
        label=_("arXiv id or link"),
        max_length=200,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=_("Such as 2512.08765, or the address of its page."),
    )
    note = NoteField(
        label=_("Note"),
        required=False,
        help_text=_("With a note it becomes a pick at once."),
    )

    def clean_paper(self) -> str:
        typed: str = self.cleaned_data["paper"]
        try:
            return records.arxiv_id(typed)
        except ValueError:
            raise ValidationError(
                gettext("“%(typed)s” is not an arXiv id or a link to one."),
                params={"typed": typed[:80]},
            ) from None


class SearchForm(forms.Form):
    """What the search page's address says. An impossible filter is an error, an odd query none."""

    q = forms.CharField(required=False)
    since = forms.DateField(label=_("From"), required=False)
    until = forms.DateField(label=_("Until"), required=False)
    source = forms.ChoiceField(label=_("Listed by"), required=False)
    category = forms.CharField(label=_("arXiv category"), required=False, max_length=40)
    organization = forms.CharField(label=_("Organization"), required=False, max_length=100)
    code = forms.BooleanField(label=_("with code"), required=False)
    order = forms.ChoiceField(
        label=_("Order"),
        required=False,
        choices=[("", _("the best first")), (Order.DATE, _("the newest first"))],
    )
    spelling = forms.CharField(required=False)
    page = forms.IntegerField(required=False, min_value=1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        for name in ("since", "until"):
            self.fields[name].widget = forms.DateInput({"type": "date"}, format="%Y-%m-%d")
        source = self.fields["source"]
        assert isinstance(source, forms.ChoiceField)
        sources = Source.objects.order_by("name").values_list("slug", "name")
        source.choices = [("", _("anybody")), *sources]

    def clean_q(self) -> str:
        return records.one_line(self.cleaned_data["q"])

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        since, until = found.get("since"), found.get("until")
        if since and until and until < since:
            self.add_error("until", _("This day lies before the first one."))
        return found

    @property
    def asked(self) -> Asked:
        """What is right of it; a wrong filter is named on the page and left out."""
        given = self.cleaned_data
        return Asked(
            words=given.get("q", ""),
            since=given.get("since"),
            until=given.get("until"),
            source=given.get("source", ""),
            organization=records.one_line(given.get("organization", "")),
            category=records.one_line(given.get("category", "")),
            has_code=given.get("code", False),
            order=Order(given.get("order") or Order.RELEVANCE),
            as_typed=given.get("spelling") == "typed",
        )

    @property
    def is_too_long(self) -> bool:
        return len(self.cleaned_data.get("q", "")) > MAX_LENGTH
