"""One round inline: for installations that have cron and no Celery, and for trying things out."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from digest import assembly, sending, tasks
from papers import encoding, enriching, fetching, wanted
from subscribers import topics

from .send_digests import said, sign_of_life, soft_stop


class Command(BaseCommand):
    help = (
        "Does one round: closes editions, assembles the digests that are due and sends them, "
        "sends confirmations and other service mails, then reads the sources that are due. "
        "Run it every minute from cron where no Celery worker runs."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--now",
            type=moment,
            metavar="ISO-8601",
            help="act as if it were this moment, as 2026-11-23T07:00+01:00; UTC if no offset",
        )
        parser.add_argument("--no-fetch", action="store_true", help="do not ask the sources")

    def handle(self, *args: Any, now: datetime | None, no_fetch: bool, **options: Any) -> None:
        moment = now or timezone.now()
        fetching.ensure_sources()
        pulse = sign_of_life()
        pulse.note(timezone.now())
        with soft_stop(pulse) as should_stop:

            def assemble_due(now: datetime) -> int:
                return assembly.assemble_due(now, should_stop=should_stop)

            broken = tasks.prepare(moment, assemble=assemble_due)
            ended = tasks.send_all(moment, should_stop=should_stop)
            is_stopped = should_stop()
        self.stdout.write(said(ended, sending.current_hold()))
        # Last: no mail waits for a source that takes minutes to fail.
        if not no_fetch and not is_stopped:
            self._fetch(now or timezone.now())
            pulse.note(timezone.now())
        waiting = sending.batches_due(moment)
        if broken or waiting:
            raise CommandError(f"unfinished: {', '.join(broken) or 'digests are still waiting'}")

    def _fetch(self, now: datetime) -> None:
        fetches = fetching.fetch_due(now)
        if now.minute == 0:  # it goes through all readers, and what they save is known at once
            topics.pass_on_wishes(now)
        wanted.look_up_due(now)
        fetches += enriching.enrich_due(now)
        if now.minute % 10 == 0:
            topics.encode_due(now)
        encoding.encode_due(now)
        failed = [fetch for fetch in fetches if fetch.status == fetch.Status.FAILED]
        self.stdout.write(f"fetched {len(fetches) - len(failed)}, failed {len(failed)}")


def moment(text: str) -> datetime:
    try:
        parsed = parse_datetime(text)
    except ValueError:  # well formed, and in no calendar
        parsed = None
    if parsed is None:
        raise ArgumentTypeError(f"{text!r} is no moment such as 2026-11-23T07:00+01:00")
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
