"""Admin actions that ask first: a page that says how many rows and which, then one POST that acts.

The same actions stand in the changelist's menu and, as buttons, on a row's own page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

Text = str | Promise

MOST_ROWS = 1000  # acted on within one request
SHOWN_ROWS = 20


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before an action, and the action.

    action: its name in `ModelAdmin.actions`. title: what it is called, also on the button.
    said: what will happen, one sentence. act: does it to one row, with the form's cleaned data;
    False where that row was left as it is. left: why one may be. applies: the rows it is
    for. describe: a row as the page shows it. removes_rows: the act deletes them, so that the way
    leads back to the list. most: rows at once, where fewer than MOST_ROWS.
    """

    action: str
    title: Text
    said: Text
    left: Text
    act: Callable[[Any, dict[str, Any]], bool]
    form: Callable[..., forms.Form] | None = None
    applies: Callable[[QuerySet[Any]], QuerySet[Any]] | None = None
    describe: Callable[[Any], Text] = str
    is_dangerous: bool = False
    removes_rows: bool = False
    most: int | None = None


def ask(
    model_admin: ModelAdmin[Any],
    request: HttpRequest,
    queryset: QuerySet[Any],
    question: Question,
) -> HttpResponse | None:
    """The confirming page; once confirmed, every row is acted on, logged and counted.

    What was confirmed is a number of rows. Where it is another one by then, it is asked again.
    The way leads back to where the action was asked for.
    """
    rows = question.applies(queryset) if question.applies else queryset
    most = question.most or MOST_ROWS
    count = rows.order_by()[: most + 1].count()
    if count > most:
        text = _("At most %(most)d at a time. Select fewer, or narrow the list by a filter.")
        model_admin.message_user(request, text % {"most": most}, messages.ERROR)
        return redirect(way_back(request))
    selected = queryset.count() if question.applies else count
    if not count:
        _say_left(model_admin, request, selected, question)
        return redirect(way_back(request))
    confirmed = request.POST.get("confirmed")
    form = question.form(request.POST if confirmed else None) if question.form else None
    if confirmed != str(count) or (form is not None and not form.is_valid()):
        return _page(model_admin, request, rows, question, count=count, left=selected - count,
                     form=form)  # fmt: skip
    _act(model_admin, request, rows, question, form.cleaned_data if form else {}, selected)
    return redirect(_list(model_admin) if question.removes_rows else way_back(request))


class ActionsOnPage:
    """Mixin of a ModelAdmin: its actions as buttons on a row's own page."""

    change_form_template: ClassVar[Any] = "admin/change_form_with_actions.html"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        obj = kwargs.get("obj")
        if obj is not None:
            context["page_actions"] = self._page_actions(request, obj)
            context["checkbox_name"] = ACTION_CHECKBOX_NAME
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]

    def page_actions(self, request: HttpRequest, obj: Any) -> Sequence[str] | None:
        """Names of those to offer for this row; None for all."""
        return None

    def _page_actions(self, request: HttpRequest, obj: Any) -> list[tuple[str, Text]]:
        wanted = self.page_actions(request, obj)
        found = self.get_actions(request).items()  # type: ignore[attr-defined]
        return [
            (name, description)
            for name, (_function, _name, description) in found
            if name != "delete_selected" and (wanted is None or name in wanted)
        ]


def _page(
    model_admin: ModelAdmin[Any],
    request: HttpRequest,
    rows: QuerySet[Any],
    question: Question,
    *,
    count: int,
    left: int,
    form: forms.Form | None,
) -> HttpResponse:
    context = {
        **model_admin.admin_site.each_context(request),
        "question": question,
        "title": question.title,
        "opts": model_admin.model._meta,
        "count": count,
        "is_another_count": request.POST.get("confirmed", str(count)) != str(count),
        "left": left,
        "form": form,
        "media": model_admin.media + form.media if form else model_admin.media,
        "rows": [question.describe(row) for row in rows[:SHOWN_ROWS]],
        "more": max(count - SHOWN_ROWS, 0),
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "select_across": request.POST.get("select_across", "0"),
        "back": way_back(request),
    }
    return TemplateResponse(request, "admin/confirm_action.html", context)


def _act(
    model_admin: ModelAdmin[Any],
    request: HttpRequest,
    rows: QuerySet[Any],
    question: Question,
    answers: dict[str, Any],
    selected: int,
) -> None:
    acted = 0
    for row in list(rows):
        if question.act(row, answers):
            _log(request, row, question, answers)
            acted += 1
    if acted:
        text = ngettext("%(title)s: %(count)d done.", "%(title)s: %(count)d done.", acted)
        said = text % {"title": question.title, "count": acted}
        model_admin.message_user(request, said, messages.SUCCESS)
    _say_left(model_admin, request, selected - acted, question)


def way_back(request: HttpRequest) -> str:
    """The row's own page where the action was asked for there; else the list as it was filtered."""
    asked: str = request.POST.get("back", "")
    is_ours = url_has_allowed_host_and_scheme(asked, {request.get_host()}, request.is_secure())
    return asked if is_ours else request.get_full_path()


def _list(model_admin: ModelAdmin[Any]) -> str:
    opts = model_admin.opts
    return reverse(f"{model_admin.admin_site.name}:{opts.app_label}_{opts.model_name}_changelist")


def _log(request: HttpRequest, row: Model, question: Question, answers: dict[str, Any]) -> None:
    """At once, row by row: what was done is in the history even if a later row's act fails."""
    assert request.user.pk is not None, "the admin lets nobody in who is not logged in"
    given = ", ".join(f"{name}: {value}" for name, value in answers.items() if value)
    said = f"{question.title} ({given})" if given else str(question.title)
    LogEntry.objects.log_actions(request.user.pk, [row], CHANGE, change_message=said)


def _say_left(
    model_admin: ModelAdmin[Any], request: HttpRequest, left: int, question: Question
) -> None:
    if left:
        text = ngettext(
            "%(left)d was left as it is. %(why)s", "%(left)d were left as they are. %(why)s", left
        )
        said = text % {"left": left, "why": question.left}
        model_admin.message_user(request, said, messages.WARNING)
