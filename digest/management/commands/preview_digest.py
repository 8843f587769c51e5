"""Shows a digest without sending, storing or changing anything."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from digest import assembly, profile, rendering
from digest.assembly import Choice, Reader
from digest.rendering import Content
from papers.management.base import ExplainedCommand, day
from papers.models import Edition
from subscribers import schedule
from subscribers.models import Subscriber

PLACES = 5
EPILOG = """\
examples:
  manage.py preview_digest                                           what everybody reads
  manage.py preview_digest --topic "speech recognition" --mute survey
  manage.py preview_digest --subscriber ada@example.org --format html --output digest.html

Without --date, a subscriber is shown what is new to them, anybody else the newest edition that
has closed.
"""


class Command(ExplainedCommand):
    help = (
        "Prints the digest that a subscriber, or a reader of the topics you name, would get. "
        "Sends nothing and changes nothing."
    )
    epilog = EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        who = parser.add_mutually_exclusive_group()
        who.add_argument("--subscriber", metavar="EMAIL", help="a stored reader, as they are now")
        who.add_argument(
            "--topic",
            action="append",
            default=[],
            metavar="TEXT",
            help="a topic of a reader made up for the occasion; may be repeated",
        )
        parser.add_argument(
            "--mute",
            action="append",
            default=[],
            metavar="TEXT",
            help="a word or phrase the reader never wants to see; may be repeated",
        )
        parser.add_argument(
            "--date",
            type=day,
            metavar="D",
            help="the edition of this UTC day, as 2025-12-18; today's may be open still",
        )
        parser.add_argument(
            "--papers",
            type=int,
            choices=range(1, 11),
            default=PLACES,
            metavar="N",
            help="how many, 1 to 10 (default: 5); a subscriber has their own number",
        )
        parser.add_argument(
            "--format",
            choices=["text", "html", "eml", "json"],
            default="text",
            help="text or html of the mail, the whole mail, or the choice (default: text)",
        )
        parser.add_argument("--output", type=Path, metavar="FILE", help="instead of the terminal")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        subscriber = _subscriber(options["subscriber"])
        choice = _choice(subscriber, options, now=now)
        if not choice.items:
            why = "Nothing in it clears the floor" if choice.candidates else "Nothing is new"
            self.stderr.write(f"{why}: no mail would be sent.")
            if options["format"] != "json":
                return
        body = _formatted(choice, subscriber, options["format"], now=now)
        if options["output"] is None:
            sys.stdout.buffer.write(body)
            return
        try:
            options["output"].write_bytes(body)
        except OSError as error:
            raise CommandError(f"--output: {error.strerror}: {options['output']}") from None


def _subscriber(email: str | None) -> Subscriber | None:
    if email is None:
        return None
    found = Subscriber.objects.with_address(email).first()
    if found is None:
        raise CommandError(f"--subscriber: nobody is subscribed as {email}.")
    return found


def _choice(subscriber: Subscriber | None, options: dict[str, Any], *, now: datetime) -> Choice:
    muted = tuple(assembly.rule_of("keyword", text) for text in options["mute"])
    if subscriber is not None and options["date"] is None:
        return assembly.upcoming(subscriber, now=now, also_muted=muted)
    if subscriber is not None:
        facts = assembly.facts_of([subscriber])[subscriber.pk]
        facts = replace(facts, muted=facts.muted + muted)
        places = subscriber.papers_per_digest
    else:
        topics = tuple(profile.TopicFacts(text) for text in options["topic"])
        facts = profile.ReaderFacts(topics, muted)
        places = options["papers"]
    edition = _edition(options["date"])
    reader = Reader(facts, places=places, since=date.min)
    return assembly.choose([reader], [edition], now=now)[0]


def _edition(wanted: date | None) -> Edition:
    if wanted is None:
        edition = Edition.objects.closed().filled().order_by("-day").first()
        if edition is None:
            raise CommandError("No edition is closed yet: run fetch_papers first.")
        return edition
    edition = Edition.objects.filter(day=wanted).first()
    if edition is None:
        raise CommandError(f"--date: no papers are stored for {wanted}; see fetch_papers --date.")
    return edition


def _formatted(choice: Choice, subscriber: Subscriber | None, form: str, *, now: datetime) -> bytes:
    content = _content(choice, subscriber, now=now)
    if form == "json":
        items = [item.to_json() for item in choice.items]
        found = {
            "edition": choice.edition_day.isoformat() if choice.edition_day else None,
            "candidates": choice.candidates,
            "items": [
                {"arxiv_id": shown.arxiv_id, "title": shown.title, **item}
                for shown, item in zip(
                    (*content.picks, *content.full, *content.brief), items, strict=True
                )
            ],
        }
        return (json.dumps(found, ensure_ascii=False, indent=1) + "\n").encode()
    address = subscriber.email if subscriber else "reader@example.org"
    made = rendering.preview(content, to=address)
    if form == "eml":
        return made.message().as_bytes()
    html, _type = made.alternatives[0]
    return str(html if form == "html" else made.body).encode()


def _content(choice: Choice, subscriber: Subscriber | None, *, now: datetime) -> Content:
    return rendering.unaddressed(
        choice.items,
        edition_day=choice.edition_day,
        since=choice.since,
        candidates=choice.candidates,
        slot=schedule.slot_date(now, subscriber.time_zone if subscriber else "UTC"),
        is_weekly=subscriber is not None and subscriber.is_weekly,
    )
