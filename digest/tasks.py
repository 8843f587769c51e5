"""What Celery may call. Each task is a hint: the rows know what is due."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from celery import shared_task, signals
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from papers import editions
from subscribers import topics

from . import accounts, alerts, assembly, erasure, letters, sending, shares
from .beat import Pulse
from .models import Heartbeat

log = structlog.get_logger(__name__)

MOST_TASKS_A_TICK = 50
MOST_ASSEMBLERS = 8
# So few are assembled by the tick itself: their mails leave within seconds.
FEW_READERS = 500
# Both shorter than the minute until the next tick, which shares the workers with these: what was
# not begun by then is handed out anew.
ASSEMBLE_TIME = timedelta(seconds=50)
ASSEMBLE_EXPIRES_SECONDS = 45
# Shorter than the lease of what it has claimed, and long before Celery's time limit would end it
# in the middle of a window.
SEND_TIME = timedelta(minutes=4)

# One byte that a worker's processes share: they are forked after this module is read. An Event
# would need a lock, which a child that was killed could hold for ever.
_stopping = mmap.mmap(-1, 1)
_sends = Pulse("send")


@signals.worker_shutting_down.connect
def stop_sending(**_: Any) -> None:
    """Lets every `send_due` of this worker end after the window it has in hand."""
    _stopping[0] = 1


def is_stopping() -> bool:
    return _stopping[0] == 1


@shared_task(name="digest.tick")
def tick() -> None:
    """Every minute: close, assemble, sweep, hand out sending. Any number may run at once."""
    now = timezone.now()
    prepare(now, assemble=share_out)
    try:
        for _ in range(min(sending.batches_due(now), MOST_TASKS_A_TICK)):
            send_due.apply_async(expires=300)
    except BrokerError as error:  # the next tick will see the same rows
        log.warning("sending not handed out", error=str(error))


@shared_task(name="digest.assemble_due")
def assemble_due() -> None:
    began_at = timezone.now()

    def is_over() -> bool:
        return is_stopping() or not timedelta(0) <= timezone.now() - began_at <= ASSEMBLE_TIME

    assembly.assemble_due(began_at, should_stop=is_over)


@shared_task(name="digest.send_due")
def send_due() -> None:
    began_at = timezone.now()

    def is_over() -> bool:
        """Asked between windows, so a long send shows that it is alive."""
        now = timezone.now()
        _sends.note(now)
        return is_stopping() or not timedelta(0) <= now - began_at <= SEND_TIME

    send_all(began_at, should_stop=is_over)


@shared_task(name="digest.heartbeat")
def heartbeat(queue: str) -> None:
    """It came from beat by way of the broker through this queue, to a worker with a database."""
    Heartbeat.note(queue, timezone.now())


def share_out(now: datetime) -> None:
    """Assembles for a few readers at once; for many, hands out a task for each of their shares."""
    waiting = shares.due(now)
    if sum(share.due for share in waiting) <= FEW_READERS:
        assembly.assemble_due(now, should_stop=is_stopping)
        return
    try:
        for _ in waiting[:MOST_ASSEMBLERS]:
            assemble_due.apply_async(expires=ASSEMBLE_EXPIRES_SECONDS)
    except BrokerError as error:  # the next tick will see the same rows
        log.warning("assembling not handed out", error=str(error))


def prepare(now: datetime, *, assemble: Callable[[datetime], object] | None = None) -> list[str]:
    """The steps of a tick before sending. One that fails is named, and does not stop the others.

    assemble: in place of assembling for every reader who is due, here and now.
    """
    broken = []
    steps = (
        editions.close_due,
        topics.link_seed_papers,
        sending.sweep,
        sending.skip_late,
        assemble or assembly.assemble_due,
        letters.send_due,
        erasure.forget_old_addresses,
        assembly.thin_old,
        accounts.keep_counts,
        alerts.watch,
    )
    for step in steps:
        try:
            step(now)
        except Exception:
            name = f"{step.__module__}.{step.__name__}"
            log.exception("step failed", step=name)
            broken.append(name)
    return broken


def send_all(now: datetime, *, should_stop: Callable[[], bool] = lambda: False) -> Counter[str]:
    """Sends inline until nothing is due, or nothing gets through; how each digest ended."""
    ended: Counter[str] = Counter()
    clock = sending.Clock(now)
    while batch := sending.send_due(clock.now, should_stop=should_stop):
        ended += batch
    return ended
