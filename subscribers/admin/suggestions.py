"""What is suggested while an operator types: organizations of stored papers, arXiv's categories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib.admin import site
from django.contrib.admin.widgets import AutocompleteMixin
from django.db.models import Count
from django.http import Http404, HttpRequest, JsonResponse

from papers.models import Paper

from ..categories import NAMES

AT_MOST = 20

Suggestion = tuple[str, str]  # what is taken, and how it reads in the list


def organizations(term: str) -> list[Suggestion]:
    """Those that most papers come from first."""
    named = Paper.objects.order_by().exclude(organization="")
    found = named.filter(organization__icontains=term).values_list("organization")
    counted = found.annotate(papers=Count("pk")).order_by("-papers", "organization")
    return [(name, name) for name, _papers in counted[:AT_MOST]]


def categories(term: str) -> list[Suggestion]:
    """By id or by name; an id that begins so comes first."""
    wanted = term.casefold()
    found = [(id, f"{id} {name}") for id, name in NAMES.items()]
    matching = [pair for pair in found if wanted in pair[1].casefold()]
    return sorted(matching, key=lambda pair: not pair[0].casefold().startswith(wanted))[:AT_MOST]


_SOURCES: dict[str, Callable[[str], list[Suggestion]]] = {
    "organization": organizations,
    "categories": categories,
}


def answer(request: HttpRequest) -> JsonResponse:
    """In the shape that the admin's own autocomplete field reads."""
    suggest = _SOURCES.get(request.GET.get("field_name", ""))
    if suggest is None:
        raise Http404
    found = suggest(request.GET.get("term", "").strip()[:100])
    results = [{"id": value, "text": text} for value, text in found]
    return JsonResponse({"results": results, "pagination": {"more": False}})


class Tags(AutocompleteMixin, forms.SelectMultiple):
    """The lines of a WishesField as tags: typed freely, or taken from what is suggested."""

    url_name = "%s:subscribers_suggestions"

    def __init__(self, field_name: str) -> None:
        field = Paper._meta.get_field(field_name)
        # Its place may be folded when it is made, so it cannot measure itself.
        attrs = {"data-tags": "true", "data-width": "100%"}
        super().__init__(field, site, attrs=attrs)

    def format_value(self, value: Any) -> list[str]:
        return value.splitlines() if isinstance(value, str) else [str(each) for each in value or []]

    def optgroups(
        self, name: str, value: Sequence[str], attrs: dict[str, Any] | None = None
    ) -> list[Any]:
        options = [
            self.create_option(name, each, each, True, index) for index, each in enumerate(value)
        ]
        return [(None, options, 0)]

    def value_from_datadict(self, data: Any, files: Any, name: str) -> str:
        return "\n".join(data.getlist(name) if hasattr(data, "getlist") else data.get(name, []))

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return False
