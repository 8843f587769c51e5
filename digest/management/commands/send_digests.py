"""Sends inline what is assembled and due; nothing is fetched or assembled."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from digest import health, sending, tasks
from digest.beat import Pulse
from digest.models import Hold


class Command(BaseCommand):
    help = (
        "Sends the digests that are assembled and due, without fetching or assembling anything. "
        "Safe beside running workers: each digest is claimed before it is sent. Ctrl-C stops it "
        "after the mails it has in hand. Nothing leaves while sending is held."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        pulse = sign_of_life()
        pulse.note(now)
        with soft_stop(pulse) as should_stop:
            ended = tasks.send_all(now, should_stop=should_stop)
        self.stdout.write(said(ended, sending.current_hold()))
        if sending.batches_due(now):
            raise CommandError("unfinished: digests are still waiting")


def sign_of_life() -> Pulse:
    """Of a round that cron began; where no Celery runs, nothing else shows that mail may leave."""
    return Pulse(health.TICK)


@contextmanager
def soft_stop(pulse: Pulse) -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM asked to stop, once; a second one is heard as ever.

    Asked between windows, so a long send shows that it is alive.
    """
    asked = Event()
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in kept.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        restore()

    def is_over() -> bool:
        pulse.note(timezone.now())
        return asked.is_set()

    for number in kept:
        signal.signal(number, ask)
    try:
        yield is_over
    finally:
        restore()


def said(ended: Counter[str], hold: Hold | None) -> str:
    counts = ", ".join(f"{state} {count}" for state, count in sorted(ended.items()))
    lines = [f"digests: {counts or 'none due'}"]
    if hold is not None:
        note = f" ({hold.note})" if hold.note else ""
        lines.append(
            f"sending is held by {hold.began_by} since {hold.began_at:%Y-%m-%d %H:%M} UTC{note}"
        )
    return "\n".join(lines)
