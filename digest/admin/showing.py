"""What several of the admin's pages show or send: a mail in its frame, a digest's numbers."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.core.mail import EmailMultiAlternatives
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from papers.models import Paper
from subscribers import mail
from subscribers.transports import Receipt, get_transport

from .. import rendering
from ..compose import Item
from ..models import Digest
from ..views import FRAME_POLICY
from . import scores

# A signed link's key (subscribers.tokens): a subject, the day, 128 bits in URL-safe base64.
KEY = re.compile(r"[0-9A-Za-z]{32,}-[0-9a-z]+-[\w-]{22}")
MADE_ANEW = {"Date", "Content-Type", "MIME-Version"}


def framed(
    request: HttpRequest,
    model_admin: admin.ModelAdmin[Any],
    content: rendering.Content | None,
    *,
    title: str,
    back: str,
) -> HttpResponse:
    """A page with the mail in a frame; under `?frame`, the mail itself, for that frame alone.

    Of a mail that there is not, the page says so.
    """
    made = None if content is None else rendering.preview(content, to="reader@example.org")
    return framed_mail(request, model_admin, made, title=title, back=back)


def framed_mail(
    request: HttpRequest,
    model_admin: admin.ModelAdmin[Any],
    made: EmailMultiAlternatives | None,
    *,
    title: str,
    back: str,
) -> HttpResponse:
    """The same of a mail that is made already.

    The frame is a document of its own: one within the page would inherit the page's policy, which
    allows no style in an element.
    """
    if "frame" in request.GET:
        headers = {"Content-Security-Policy": FRAME_POLICY, "X-Frame-Options": "SAMEORIGIN"}
        return HttpResponse(html_of(made) if made else "", headers=headers)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": model_admin.model._meta,
        "back": back,
        "has_mail": made is not None,
        "subject": made.subject if made else "",
        "text": without_keys(str(made.body)) if made else "",
    }
    return TemplateResponse(request, "admin/digest_mail.html", context)


def html_of(made: EmailMultiAlternatives) -> str:
    return without_keys(str(made.alternatives[0][0]))


def headers_of(made: EmailMultiAlternatives) -> list[tuple[str, str]]:
    """As they stood, but for what is made anew with every copy."""
    found = made.message().items()
    return [(name, without_keys(str(value))) for name, value in found if name not in MADE_ANEW]


def without_keys(text: str) -> str:
    """The same with links that open nothing: who looks at a mail must not act for its reader."""
    return KEY.sub("…", text)


def send_test(content: rendering.Content, to: str) -> Receipt:
    """Hands the mail to the transport now, with no link that acts for a reader; stores nothing.

    For the signed-in operator's own address. Raises ImproperlyConfigured where the transport
    lacks a setting.
    """
    made = rendering.preview(content, to=to)
    made.subject = gettext("[Test] %(subject)s") % {"subject": made.subject}
    # An id of its own: a mailbox shows a second mail under the same id only once.
    made.extra_headers["Message-ID"] = mail.message_id(uuid.uuid4().hex, "test")
    made.extra_headers.pop("Feedback-ID", None)
    return get_transport().send([made])[0]


def items_of(digest: Digest) -> list[Item]:
    return [Item.from_json(stored) for stored in digest.items]


def items_table(items: Sequence[Item]) -> str:
    """The papers with their scores, what those are made of, and the reason in the mail's words."""
    found = scores.table(items, Paper.objects.only("arxiv_id", "title").in_bulk(_named(items)))
    return render_to_string("admin/digest_scores.html", {"table": found})


def _named(items: Iterable[Item]) -> set[int]:
    reasons = (item.reason for item in items if item.reason is not None)
    seeds = {reason.paper_id for reason in reasons if reason.paper_id is not None}
    return seeds.union(item.paper_id for item in items)
