"""Sends inline what is assembled and due; nothing is fetched or assembled."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from digest import sending, tasks


class Command(BaseCommand):
    help = (
        "Sends the digests that are assembled and due, without fetching or assembling anything. "
        "Safe beside running workers: each digest is claimed before it is sent."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        ended = tasks.send_all(now)
        counts = ", ".join(f"{state} {count}" for state, count in sorted(ended.items()))
        self.stdout.write(f"digests: {counts or 'none due'}")
        if sending.batches_due(now):
            raise CommandError("unfinished: digests are still waiting")
