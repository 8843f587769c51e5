"""What an editor types about a paper, checked."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from . import records
from .editions import NOTE_MAX


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
