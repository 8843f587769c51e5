"""Signs of life: of beat by its own hand, of each queue's workers by a task that came through."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import structlog
from celery import beat
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone

from .models import Heartbeat

log = structlog.get_logger(__name__)

EVERY = timedelta(seconds=15)
JUMP_SECONDS = 5.0


class Pulse:
    """One heartbeat, noted at most every 15 seconds. A database that is away stops nobody."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._noted_at: datetime | None = None

    def note(self, now: datetime) -> None:
        # Not "later than": a clock that is put back must not silence it.
        if self._noted_at is not None and timedelta(0) <= now - self._noted_at < EVERY:
            return
        self._noted_at = now
        try:
            Heartbeat.note(self._name, now)
        except DatabaseError as error:
            log.warning("heartbeat not noted", name=self._name, error=str(error))
            connection.close()


class Scheduler(beat.Scheduler):
    """Celery's own, in memory: intervals alone need no file, and no memory of an earlier run."""

    max_interval = 5  # seconds asleep at most, however far off the next task is

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._pulse = Pulse("beat")
        self._ahead = _ahead_seconds()
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        self._pulse.note(timezone.now())
        self._mind_the_clock()
        return float(super().tick(*args, **kwargs))

    def _mind_the_clock(self) -> None:
        """Celery plans by the wall clock: when that is put back, what was due in a minute is due
        in as many hours, and everything stands still. So then it plans anew.
        """
        ahead = _ahead_seconds()
        put_back_seconds = self._ahead - ahead
        self._ahead = ahead
        if put_back_seconds < JUMP_SECONDS:
            return
        log.warning("clock was put back", seconds=round(put_back_seconds))
        for entry in self.schedule.values():
            entry.last_run_at = self.app.now()
        self._heap = None

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """A broker that is away is one line; the next round comes in a minute."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            log.warning("task not handed out", task=entry.task, error=error)

    def _ensure_connected(self) -> Any:
        # Celery's waits here until the broker is there, and gives no sign of life meanwhile.
        return self.connection


def _ahead_seconds() -> float:
    """By how much the clock on the wall is ahead of the one that nobody sets."""
    return time.time() - time.monotonic()
