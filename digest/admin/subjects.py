"""A reader's papers become topics by the operator's hand: the reader's own pages, in the admin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST

from subscribers.models import Subscriber

from .. import onboarding
from ..onboarding import Place

_safe_or_post = require_http_methods(["GET", "HEAD", "POST"])


def urls(desk: ModelAdmin[Subscriber]) -> list[URLPattern]:
    def closed(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        return desk.admin_site.admin_view(partial(view, desk))

    return [
        path("<int:pk>/papers/", closed(_start), name="digest_reader_papers"),
        path("<int:pk>/papers/subjects/", closed(_subjects), name="digest_reader_subjects"),
        path("<int:pk>/papers/preview/", closed(_preview), name="digest_reader_preview"),
    ]


def _start(desk: ModelAdmin[Subscriber], request: HttpRequest, pk: int) -> HttpResponse:
    reader = _reader(desk, request, pk)
    answer = _safe_or_post(onboarding.start_page)(request, reader, _place(desk, request, reader))
    return _logged(desk, request, reader, answer)


def _subjects(desk: ModelAdmin[Subscriber], request: HttpRequest, pk: int) -> HttpResponse:
    reader = _reader(desk, request, pk)
    answer = require_POST(onboarding.subjects_page)(request, reader, _place(desk, request, reader))
    return _logged(desk, request, reader, answer)


def _preview(desk: ModelAdmin[Subscriber], request: HttpRequest, pk: int) -> HttpResponse:
    return require_POST(onboarding.preview_part)(request, _reader(desk, request, pk))


def _reader(desk: ModelAdmin[Subscriber], request: HttpRequest, pk: int) -> Subscriber:
    reader = get_object_or_404(Subscriber, pk=pk)
    if not desk.has_change_permission(request, reader):
        raise PermissionDenied
    return reader


def _place(desk: ModelAdmin[Subscriber], request: HttpRequest, reader: Subscriber) -> Place:
    extra: dict[str, Any] = {
        **desk.admin_site.each_context(request),
        "title": gettext("What %(reader)s wants to read, by papers") % {"reader": reader},
        "opts": desk.opts,
        "original": reader,
        "reader_name": str(reader),
        "is_admin": True,
    }
    return Place(
        start_url=reverse("admin:digest_reader_papers", args=[reader.pk]),
        subjects_url=reverse("admin:digest_reader_subjects", args=[reader.pk]),
        preview_url=reverse("admin:digest_reader_preview", args=[reader.pk]),
        done_url=reverse("admin:subscribers_subscriber_change", args=[reader.pk]),
        base="admin/base_site.html",
        extra=extra,
    )


def _logged(
    desk: ModelAdmin[Subscriber], request: HttpRequest, reader: Subscriber, answer: HttpResponse
) -> HttpResponse:
    """The way on is taken when something was saved, and only then."""
    if answer.status_code == 302:
        desk.log_change(request, reader, gettext("Took topics from papers."))
        desk.message_user(request, gettext("The topics are saved."))
    return answer
