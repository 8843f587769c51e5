"""The Atom feed that is the same for everybody: the newest closed editions."""

from __future__ import annotations

from datetime import UTC, datetime, time

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.feedgenerator import Atom1Feed
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import conditional_page, require_safe

from . import front
from .models import Edition, Entry, utc_day
from .texts import readable

EDITIONS = 3


@require_safe
@cache_control(public=True, max_age=600)
@conditional_page
def feed(request: HttpRequest) -> HttpResponse:
    """The front pages of the last three editions that closed as news, newest day first; in the
    installation's own language: who reads a feed has no other."""
    with translation.override(settings.LANGUAGE_CODE):
        response = _feed()
    response["Content-Language"] = settings.LANGUAGE_CODE
    return response


def _feed() -> HttpResponse:
    atom = Atom1Feed(
        title=settings.SITE_NAME,
        link=_absolute(reverse("papers:home")),
        description=_("The papers of the day, the most talked about first"),
        feed_url=_absolute(reverse("papers:feed")),
        feed_guid=_absolute(reverse("papers:feed")),
        language=settings.LANGUAGE_CODE,
    )
    news = front.with_front(Edition.objects.news(), utc_day(timezone.now()))
    for edition in news.order_by("-day")[:EDITIONS]:
        for entry in front.front(edition).entries:
            _add(atom, entry, edition)
    response = HttpResponse(content_type="application/atom+xml; charset=utf-8")
    atom.write(response, "utf-8")
    return response


def _add(atom: Atom1Feed, entry: Entry, edition: Edition) -> None:
    paper = entry.paper
    address = _absolute(paper.get_absolute_url())
    atom.add_item(
        title=readable(paper.title),
        link=address,
        # A feed's summary is HTML by its type, a paper's is text.
        description=render_to_string("papers/feed_summary.html", {"entry": entry}).strip(),
        unique_id=address,
        author_name=", ".join(map(readable, paper.authors)) or None,
        pubdate=datetime.combine(edition.day, time(), UTC),
        updateddate=edition.closed_at,
    )


def _absolute(path: str) -> str:
    return f"{settings.SITE_URL}{path}"
