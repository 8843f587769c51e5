"""What Celery may call. Each task is a hint: the rows know what is due."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime

from celery import shared_task
from django.utils import timezone

from papers import editions
from subscribers import mail, topics

from . import assembly, sending

logger = logging.getLogger(__name__)

MOST_TASKS_A_TICK = 50


@shared_task(name="digest.tick")
def tick() -> None:
    """Every minute: close, assemble, sweep, hand out sending. Any number may run at once."""
    now = timezone.now()
    prepare(now)
    for _ in range(min(sending.batches_due(now), MOST_TASKS_A_TICK)):
        send_due.apply_async(expires=300)


@shared_task(name="digest.send_due")
def send_due() -> None:
    sending.send_due(timezone.now())


def prepare(now: datetime) -> list[str]:
    """The steps of a tick before sending. One that fails is named, and does not stop the others."""
    broken = []
    steps = (
        editions.close_due,
        topics.link_seed_papers,
        sending.sweep,
        assembly.assemble_due,
        mail.send_due,
        assembly.thin_old,
    )
    for step in steps:
        try:
            step(now)
        except Exception:
            name = f"{step.__module__}.{step.__name__}"
            logger.exception("tick step=%s failed", name)
            broken.append(name)
    return broken


def send_all(now: datetime) -> Counter[str]:
    """Sends inline until nothing is due, or nothing gets through; how each digest ended."""
    ended: Counter[str] = Counter()
    while batch := sending.send_due(now):
        ended += batch
        if sending.is_refused(batch):
            break
    return ended
