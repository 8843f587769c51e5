"""What beat wakes. Each task finds its own due rows, so a lost one loses nothing."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from . import fetching


@shared_task(name="papers.fetch_due")
def fetch_due() -> None:
    fetching.fetch_due(timezone.now())
