"""`{% load texts %}`: the words of a paper as templates show them, escaped as ever."""

from __future__ import annotations

from collections.abc import Iterable

from django import template

from papers import texts

register = template.Library()


@register.filter
def readable(text: object) -> str:
    """LaTeX and junk as plain text; see papers.texts."""
    return texts.readable(str(text))


@register.filter
def readable_each(names: Iterable[object]) -> list[str]:
    return [texts.readable(str(name)) for name in names]


@register.filter
def paragraphs(text: object) -> list[str]:
    """The same, paragraph by paragraph; none of no text."""
    made = (texts.readable(part) for part in str(text).split("\n\n"))
    return [paragraph for paragraph in made if paragraph]


@register.filter
def language(text: object) -> str:
    """For `lang`: `en`, or empty where it is not known, which HTML takes for just that."""
    return texts.language_of(str(text))
