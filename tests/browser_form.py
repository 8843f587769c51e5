"""What a browser would post from a page's form, as it stands there."""

from __future__ import annotations

from bs4 import BeautifulSoup, Tag
from django.http import HttpResponse


def filled_in(response: HttpResponse, selector: str) -> dict[str, list[str]]:
    """Name -> values of the form's fields; without buttons, and without the formset's template."""
    form = BeautifulSoup(response.content, "html.parser").select_one(selector)
    assert form is not None, f"the page has no {selector}"
    data: dict[str, list[str]] = {}
    for field in form.select("input[name], select[name], textarea[name]"):
        if "__prefix__" not in field["name"] and field.get("type") not in ("submit", "button"):
            data.setdefault(field["name"], []).extend(_values(field))
    return data


def _values(field: Tag) -> list[str]:
    if field.name == "textarea":
        return [field.get_text().removeprefix("\n")]
    if field.name == "select":
        options = field.select("option[selected]")
        if not options and not field.has_attr("multiple"):
            options = field.select("option")[:1]
        return [option["value"] for option in options]
    if field.get("type") in ("checkbox", "radio") and not field.has_attr("checked"):
        return []
    return [field.get("value", "on" if field.get("type") == "checkbox" else "")]
