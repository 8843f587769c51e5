"""Rows as the flow leaves them: papers, closed editions, readers whose digest is due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import count

from papers.models import Edition, Entry, Paper, Source
from subscribers.models import Interest, Subscriber, Topic, address_hash

# A Monday morning; the edition that closed the evening before is Sunday's.
DUE = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
SUNDAY = date(2026, 11, 22)

_numbers = count(1)


def make_paper(title: str = "", **fields) -> Paper:
    number = next(_numbers)
    defaults = {
        "arxiv_id": f"2611.{number:05}",
        "title": title or f"Paper number {number}",
        "abstract": f"What paper {number} is about. It says so in two sentences.",
        "authors": ["Ada Example", "Ben Sample"],
        "published_at": datetime(2026, 11, 20, tzinfo=UTC),
        "content_hash": f"{number:032}",
        "upvotes": 10,
    }
    return Paper.objects.create(**defaults | fields)


def make_edition(
    day: date, papers: Sequence[Paper], *, closed_seq: int | None = None, is_backfill: bool = False
) -> Edition:
    """A closed edition, ranked in the order of `papers`."""
    source, _made = Source.objects.get_or_create(
        slug="huggingface", defaults={"name": "Hugging Face"}
    )
    closed_at = datetime.combine(day, time(20), UTC)
    edition = Edition.objects.create(
        day=day,
        opened_at=closed_at - timedelta(hours=20),
        closed_at=closed_at,
        closed_seq=closed_seq or Edition.objects.closed().count() + 1,
        is_backfill=is_backfill,
    )
    Entry.objects.bulk_create(
        Entry(
            edition=edition, paper=paper, source=source, position=place, rank=place, score=1 / place
        )
        for place, paper in enumerate(papers, 1)
    )
    return edition


def make_reader(email: str = "ada@example.org", topics: Sequence[str] = (), **fields) -> Subscriber:
    """Active, reading every day at six UTC, and due since DUE."""
    defaults = {
        "state": Subscriber.State.ACTIVE,
        "created_at": DUE - timedelta(days=30),
        "confirmed_at": DUE - timedelta(days=30),
        "cadence": Subscriber.Cadence.DAILY,
        "hour": 6,
        "next_due_at": DUE,
    }
    reader = Subscriber.objects.create(
        email=email, address_hash=address_hash(email), **defaults | fields
    )
    for name in topics:
        topic = Topic.objects.create(subscriber=reader, name=name)
        Interest.objects.create(subscriber=reader, topic=topic, kind=Interest.Kind.TEXT, value=name)
    return reader


def make_readers(number: int, **fields) -> list[Subscriber]:
    return [make_reader(f"reader{each}@example.org", **fields) for each in range(1, number + 1)]
