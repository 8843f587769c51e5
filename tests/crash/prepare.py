"""The database every scenario begins with. Runs inside the installation, Django set up."""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle, islice

from django.utils import timezone

from subscribers.models import Interest, Subscriber, Topic, address_hash

ZONES = ["UTC", "Europe/Berlin", "America/Lima", "Asia/Tokyo"]
SUBJECTS = ["reinforcement learning", "image generation", "language models", "robots", ""]


def load(number: int) -> None:
    """So many active readers of four zones, due tomorrow; four of five follow a topic.

    They read at noon: who has had today's digest is not due again within the hour.
    """
    now = timezone.now()
    zones, subjects = cycle(ZONES), islice(cycle(SUBJECTS), number)
    readers = Subscriber.objects.bulk_create(
        (
            _reader(f"reader{each}@example.org", time_zone=next(zones), now=now)
            for each in range(1, number + 1)
        ),
        batch_size=1000,
    )
    following = [(reader, name) for reader, name in zip(readers, subjects, strict=True) if name]
    topics = Topic.objects.bulk_create(
        (Topic(subscriber=reader, name=name) for reader, name in following), batch_size=1000
    )
    Interest.objects.bulk_create(
        (
            Interest(
                subscriber=topic.subscriber, topic=topic, kind=Interest.Kind.TEXT, value=topic.name
            )
            for topic in topics
        ),
        batch_size=1000,
    )


def _reader(email: str, *, time_zone: str, now) -> Subscriber:
    return Subscriber(
        email=email,
        address_hash=address_hash(email),
        state=Subscriber.State.ACTIVE,
        created_at=now - timedelta(days=30),
        confirmed_at=now - timedelta(days=30),
        cadence=Subscriber.Cadence.DAILY,
        hour=12,
        time_zone=time_zone,
        next_due_at=now + timedelta(days=1),
    )
