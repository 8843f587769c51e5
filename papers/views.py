"""Public pages: today so far, a day, a paper, search. The same for everybody, so cacheable."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.conf import settings
from django.core.paginator import InvalidPage
from django.db.models import Min
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from . import editions, front, results
from . import search as paper_search
from .brand import brand
from .forms import SearchForm
from .models import Edition, Paper, utc_day
from .records import arxiv_id
from .search import Found

LIKE_SHOWN = 5
MAX_CATEGORY_LENGTH = 40
_shared_for_a_minute = cache_control(public=True, max_age=60)


@require_safe
@_shared_for_a_minute
def home(request: HttpRequest) -> HttpResponse:
    """Today's edition so far; before anything trends in it, the newest of the week that does."""
    today = utc_day(timezone.now())
    past = Edition.objects.filled().filter(day__lte=today)
    edition = front.with_front(past, today).first()
    shown_day = edition.day if edition else None
    return render(request, "papers/home.html", _context(edition, shown_day, today))


@require_safe
@_shared_for_a_minute
def day(request: HttpRequest, day: date) -> HttpResponse:
    """One day; between the first edition and today also one without papers."""
    today = utc_day(timezone.now())
    edition = Edition.objects.filter(day=day).first()
    if edition is None and not _is_within_range(day, today):
        raise Http404
    return render(request, "papers/day.html", _context(edition, day, today))


@require_safe
@_shared_for_a_minute
def day_list(request: HttpRequest, day: date) -> HttpResponse:
    """All that a day's edition holds, a page at a time, or what is in one arXiv category."""
    edition = get_object_or_404(Edition.objects.filled(), day=day)
    category = request.GET.get("category", "")[:MAX_CATEGORY_LENGTH]
    try:
        found = front.listing(edition, category=category, page=int(request.GET.get("page", "1")))
    except (InvalidPage, ValueError):
        raise Http404 from None
    context = {"edition": edition, "category": category, "listing": found, "page": found.page}
    return render(request, "papers/list.html", context)


@require_safe
@_shared_for_a_minute
def paper(request: HttpRequest, paper_id: str) -> HttpResponseBase:
    if (canonical := arxiv_id(paper_id)) != paper_id:
        return redirect("papers:paper", canonical, permanent=True)
    paper = get_object_or_404(Paper, arxiv_id=paper_id)
    entries = paper.entries.standing().select_related("edition").order_by("edition__day")
    near = [] if paper.withdrawn_at else paper_search.like(paper, limit=LIKE_SHOWN)
    context = {"paper": paper, "entries": entries, "near": near}
    return render(request, "papers/paper.html", context)


@require_safe
@_shared_for_a_minute
def search(request: HttpRequest) -> HttpResponse:
    form = SearchForm(request.GET)
    is_right = form.is_valid()
    page = form.cleaned_data.get("page") or 1
    found = Found()
    if is_right:
        offset = (page - 1) * paper_search.PER_PAGE
        found = paper_search.search(form.asked, limit=paper_search.PER_PAGE, offset=offset)
    if page > 1 and not found.papers:
        raise Http404
    context = {"form": form, "found": found, "shown": results.shown(found, page=page)}
    return render(request, "papers/search.html", context | results.about(form.asked))


@require_safe
def old_search(request: HttpRequest) -> HttpResponseBase:
    """Where the search was; links to it stay good."""
    query = request.META.get("QUERY_STRING", "")
    return redirect(reverse("papers:search") + (f"?{query}" if query else ""), permanent=True)


def site(request: HttpRequest) -> dict[str, Any]:
    """Context processor: what every page's frame says about the installation."""
    return {**brand(), "HAS_OWN_COLORS": settings.HAS_OWN_COLORS}


@require_safe
@cache_control(public=True, max_age=3600)
def colors(request: HttpRequest) -> HttpResponse:
    """The installation's own colours, over those of site.css."""
    return render(request, "papers/colors.css", content_type="text/css; charset=utf-8")


def _context(edition: Edition | None, day: date | None, today: date) -> dict[str, Any]:
    previous, following = editions.neighbours(day) if day else (None, None)
    shown = front.front(edition) if edition else front.Front()
    return {
        "edition": edition,
        "day": day,
        "is_today_open": edition is not None and edition.is_open and edition.day == today,
        "is_incomplete": edition is not None and bool(edition.note),
        "front": shown,
        "entries": shown.entries,
        "previous": previous,
        "next": following,
    }


def _is_within_range(day: date, today: date) -> bool:
    first = Edition.objects.aggregate(first=Min("day"))["first"]
    return first is not None and first <= day <= today
