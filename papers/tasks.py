"""What beat wakes. Each task finds its own due rows, so a lost one loses nothing."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from . import encoding, enriching, expecting, fetching, summarizing, wanted


@shared_task(name="papers.fetch_due")
def fetch_due() -> None:
    fetching.fetch_due(timezone.now())


@shared_task(name="papers.look_up_wanted")
def look_up_wanted() -> None:
    wanted.look_up_due(timezone.now())


@shared_task(name="papers.enrich")
def enrich() -> None:
    enriching.enrich_due(timezone.now())


@shared_task(name="papers.encode")
def encode() -> None:
    encoding.encode_due(timezone.now())


@shared_task(name="papers.summarize")
def summarize() -> None:
    summarizing.summarize_due(timezone.now())


@shared_task(name="papers.fit_trending")
def fit_trending() -> None:
    expecting.fit_due(timezone.now())
