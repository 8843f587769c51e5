"""Pages that show papers chosen for one person: web view, feedback; and health.

A signed link is the only authority, as on the reader's other pages; GET and HEAD change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from papers import pseudo
from papers.models import Paper
from subscribers import languages, schedule, signup, tokens
from subscribers.models import Subscriber
from subscribers.tokens import BadToken, Purpose
from subscribers.transports import outbox
from subscribers.views import bad_link, is_operator, posted_from, private, reader_page

from . import gallery, health, onboarding, rendering
from . import metrics as installation
from .models import Digest, Feedback

View = Callable[..., HttpResponse]
LANGUAGES_SHOWN = [*settings.LANGUAGES, *pseudo.LANGUAGES]  # in the mail gallery
# A mail's styles stand in its elements. Nothing else of it is let in: no script, no request.
FRAME_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_safe_or_post = require_http_methods(["GET", "HEAD", "POST"])


@posted_from("digest:onboarding")
@reader_page(Purpose.MANAGE)
def send_first(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    """With what the form beside the button says by then: that is what its preview shows."""
    if page := onboarding.unsaved(request, subscriber, token):
        return page
    now = timezone.now()
    signup.bring_forward(subscriber, now)
    due = subscriber.next_due_at
    context = {
        "is_due": due is not None and due <= now,
        "next_on": schedule.slot_date(due, subscriber.time_zone) if due else None,
        "preferences_url": reverse("subscribers:preferences", args=[token]),
    }
    return render(request, "digest/on_its_way.html", context)


def digest_page(view: View) -> View:
    """Gives the view the digest that a read token is about, or shows a way out."""

    @wraps(view)
    def wrapped(request: HttpRequest, token: str, *args: object, **kwargs: object) -> HttpResponse:
        try:
            subject = tokens.read(Purpose.READ, token, today=tokens.utc_today())
            digest = Digest.objects.select_related("subscriber", "slot").get(uuid=UUID(subject))
        except (BadToken, ValueError, Digest.DoesNotExist):
            return bad_link(request, status=404)
        if digest.subscriber is None:
            return bad_link(request, status=404)
        language = digest.subscriber.language
        return languages.said_in(language, view, request, digest, token, *args, **kwargs)

    return csrf_exempt(private(wrapped))


@require_safe
@digest_page
def read(request: HttpRequest, digest: Digest, token: str) -> HttpResponse:
    """The digest on the web. Holds no key but its own: a forwarded page cannot unsubscribe."""
    content = rendering.contents([digest], now=timezone.now())[digest.pk]
    given: dict[int, set[str]] = {}
    for said in Feedback.objects.filter(
        subscriber=digest.subscriber, paper_id__in=digest.paper_ids
    ):
        given.setdefault(said.paper_id, set()).add(said.kind)
    context = {"content": content, "feedback": given, "is_thinned": digest.thinned_at is not None}
    return render(request, "digest/read.html", context)


@_safe_or_post
@digest_page
def feedback(
    request: HttpRequest, digest: Digest, token: str, verb: str, paper_id: int
) -> HttpResponse:
    """GET asks, POST records; the same answer however often it is pressed."""
    paper = get_object_or_404(Paper, pk=paper_id if paper_id in digest.paper_ids else 0)
    assert digest.subscriber is not None, "digest_page sees to it"
    if request.method == "POST":
        Feedback.give(subscriber=digest.subscriber, paper=paper, kind=verb, at=timezone.now())
    context = {
        "item": {
            "title": rendering.shown_title(paper),
            "abstract_url": paper.abstract_url,
            "authors_line": rendering.authors_line(paper.authors),
            "organization": paper.organization,
        },
        "verb": verb,
        "done": request.method == "POST",
        "action_url": request.path,
        "web_url": reverse("digest:read", args=[token]),
    }
    return render(request, "digest/feedback.html", context)


# -- the mail gallery ----------------------------------------------------------------------


def for_who_looks_after_it(view: View) -> View:
    """404 unless on this machine, or staff."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if not is_operator(request):
            raise Http404
        return view(request, *args, **kwargs)

    return private(wrapped)


@require_safe
@for_who_looks_after_it
def mail_gallery(request: HttpRequest) -> HttpResponse:
    shown = gallery.exhibits(_language(request))
    return render(request, "digest/gallery.html", {"exhibits": shown, **_choices(request)})


@require_safe
@for_who_looks_after_it
def mail_exhibit(request: HttpRequest, name: str) -> HttpResponse:
    view = request.GET.get("view")
    exhibit = _exhibit(request, name)
    context = {
        "exhibit": exhibit,
        "mail": outbox.parts(outbox.parsed(exhibit.message.message().as_bytes())),
        "view": view if view in ("text", "source") else "html",
        **_choices(request),
    }
    return render(request, "digest/exhibit.html", context)


@require_safe
@xframe_options_sameorigin
@for_who_looks_after_it
def mail_exhibit_html(request: HttpRequest, name: str) -> HttpResponse:
    """The mail itself, for a frame: nothing in it runs or loads."""
    html = gallery.in_state(_exhibit(request, name).html, _choices(request)["state"])
    return HttpResponse(html, headers={"Content-Security-Policy": FRAME_POLICY})


def _exhibit(request: HttpRequest, name: str) -> gallery.Exhibit:
    for exhibit in gallery.exhibits(_language(request)):
        if exhibit.name == name:
            return exhibit
    raise Http404


def _choices(request: HttpRequest) -> dict[str, Any]:
    state = request.GET.get("state", "")
    return {
        "language": _language(request),
        "languages": LANGUAGES_SHOWN,
        "state": state if state in gallery.STATES else "light",
        "states": {name: words for name, (words, _made) in gallery.STATES.items()},
    }


def _language(request: HttpRequest) -> str:
    asked = request.GET.get("language", "")
    return asked if asked in dict(LANGUAGES_SHOWN) else settings.LANGUAGE_CODE


# -- health --------------------------------------------------------------------------------


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while this process serves and its database answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 while all parts do their work, else 503; which does not, as lines or as JSON."""
    checks = health.checks(timezone.now())
    is_ready = all(check.is_ok for check in checks)
    status = 200 if is_ready else 503
    if request.get_preferred_type(["text/plain", "application/json"]) == "application/json":
        said = {"ready": is_ready, "checks": [asdict(check) for check in checks]}
        return JsonResponse(said, status=status)
    lines = (f"{'ok  ' if each.is_ok else 'FAIL'} {each.name}: {each.said}\n" for each in checks)
    return HttpResponse("".join(lines), content_type="text/plain; charset=utf-8", status=status)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """For a monitor that knows METRICS_TOKEN; without one, for this machine and for staff."""
    if token := getattr(settings, "METRICS_TOKEN", ""):
        if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token}"):
            return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    elif not is_operator(request):
        said = _("Only for this machine and for staff, unless METRICS_TOKEN is set.")
        return HttpResponse(f"{said}\n", content_type="text/plain; charset=utf-8", status=403)
    return HttpResponse(installation.exposition(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
