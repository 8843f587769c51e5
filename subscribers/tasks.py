"""What Celery may call. Each task is a hint: the rows know what is due."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from . import topics


@shared_task(name="subscribers.encode_topics")
def encode_topics() -> None:
    topics.encode_due(timezone.now())


@shared_task(name="subscribers.pass_on_wishes")
def pass_on_wishes() -> None:
    topics.pass_on_wishes(timezone.now())
