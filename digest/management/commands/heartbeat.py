"""Whether parts of the installation are alive, as an exit code."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.utils import timezone

from digest.models import Heartbeat


class Command(BaseCommand):
    help = (
        "Exit code 0 if every part named has shown a sign of life lately, else 1. A part is `beat` "
        "or the name of a queue; a queue's sign is written by a task that came from beat through "
        "the broker to a worker, so it needs all three. Where several workers share a queue, one "
        "that lives is enough. Where cron runs `tick` instead, its sign is `tick`."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names", nargs="+", metavar="NAME", help="beat, default, fetch, send, tick"
        )
        parser.add_argument(
            "--within",
            type=float,
            metavar="SECONDS",
            help="how old the sign may be (default: READY_BEAT_SECONDS, READY_WORKER_SECONDS)",
        )

    def handle(self, *, names: list[str], within: float | None, **options: Any) -> None:
        now = timezone.now()
        try:
            noted = dict(Heartbeat.objects.filter(name__in=names).values_list("name", "at"))
        except DatabaseError as error:
            raise CommandError(f"the database cannot be read: {error}") from error
        ages = {name: age(noted.get(name), now) for name in names}
        late = {name: said for name, said in ages.items() if not is_young(said, name, within)}
        if late:
            raise CommandError(", ".join(f"{name}: {told(span)}" for name, span in late.items()))
        self.stdout.write(", ".join(f"{name}: {told(span)}" for name, span in ages.items()))


def age(at: datetime | None, now: datetime) -> timedelta | None:
    return None if at is None else now - at


def is_young(span: timedelta | None, name: str, within_seconds: float | None) -> bool:
    if span is None:
        return False
    limit = default_limit_seconds(name) if within_seconds is None else within_seconds
    return span <= timedelta(seconds=limit)


def default_limit_seconds(name: str) -> float:
    return settings.READY_BEAT_SECONDS if name == "beat" else settings.READY_WORKER_SECONDS


def told(span: timedelta | None) -> str:
    return "no sign of life yet" if span is None else f"{span.total_seconds():.0f} s ago"
