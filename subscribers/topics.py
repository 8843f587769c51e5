"""What a reader wants to hear of and what not: topics, the interests they are made of, mutes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Subquery

from papers.models import Paper

from .models import Interest, Subscriber, Topic

TOPICS_MAX = 20
INTERESTS_MAX = 200


@dataclass(frozen=True, slots=True)
class Wish:
    """One interest as it was typed and checked. `value` of a PAPER is its arXiv id."""

    kind: Interest.Kind
    value: str


class TopicRefused(Exception):
    """The topic's name is taken, or the reader has as many topics as there may be."""


def add_topic(subscriber: Subscriber, name: str, wishes: Sequence[Wish], *, now: datetime) -> Topic:
    """A new topic. Raises TopicRefused. A name without wishes is taken as what to look for."""
    with transaction.atomic():
        # The lock keeps two submits from both taking the last place.
        Subscriber.objects.select_for_update().get(pk=subscriber.pk)
        topics = subscriber.topics.all()
        if topics.count() >= TOPICS_MAX or topics.filter(name__iexact=name).exists():
            raise TopicRefused(name)
        topic = Topic.objects.create(subscriber=subscriber, name=name, created_at=now)
        _replace(topic, wishes, now)
    return topic


def revise_topic(topic: Topic, name: str, wishes: Sequence[Wish], *, now: datetime) -> None:
    """Its name and all its interests become these. Raises TopicRefused if the name is taken."""
    with transaction.atomic():
        Subscriber.objects.select_for_update().get(pk=topic.subscriber_id)
        others = Topic.objects.filter(subscriber=topic.subscriber_id).exclude(pk=topic.pk)
        if others.filter(name__iexact=name).exists():
            raise TopicRefused(name)
        topic.name = name
        topic.save(update_fields=["name"])
        _replace(topic, wishes, now)


def set_muted(subscriber: Subscriber, wishes: Sequence[Wish], *, now: datetime) -> None:
    """What the reader never wants to see becomes exactly this."""
    with transaction.atomic():
        Subscriber.objects.select_for_update().get(pk=subscriber.pk)
        kept = _drop_all_but(subscriber.interests.muted(), wishes)
        Interest.objects.bulk_create(
            Interest(
                subscriber=subscriber,
                kind=wish.kind,
                value=wish.value,
                is_muted=True,
                created_at=now,
            )
            for wish in _unique(wishes)
            if wish not in kept
        )


def link_seed_papers(now: datetime) -> int:
    """Seed papers known by id alone get their paper once it is stored; how many did."""
    stored = Paper.objects.filter(arxiv_id=OuterRef("value"))
    waiting = Interest.objects.filter(kind=Interest.Kind.PAPER, paper__isnull=True)
    return waiting.filter(Exists(stored)).update(paper=Subquery(stored.values("pk")[:1]))


def wishes_of(interests: Iterable[Interest]) -> list[Wish]:
    return [Wish(Interest.Kind(interest.kind), interest.value) for interest in interests]


def _replace(topic: Topic, wishes: Sequence[Wish], now: datetime) -> None:
    wishes = wishes or [Wish(Interest.Kind.TEXT, topic.name)]
    kept = _drop_all_but(topic.interests.all(), wishes)
    papers = _stored_papers(wishes)
    Interest.objects.bulk_create(
        Interest(
            subscriber_id=topic.subscriber_id,
            topic=topic,
            kind=wish.kind,
            value=wish.value,
            paper_id=papers.get(wish.value) if wish.kind == Interest.Kind.PAPER else None,
            created_at=now,
        )
        for wish in _unique(wishes)
        if wish not in kept
    )


def _drop_all_but(interests: Iterable[Interest], wishes: Sequence[Wish]) -> set[Wish]:
    """Deletes what is no longer wished, and returns what stays with its date and paper."""
    wanted, rows = set(wishes), list(interests)
    gone = [row.pk for row in rows if wishes_of([row])[0] not in wanted]
    Interest.objects.filter(pk__in=gone).delete()
    return wanted.intersection(wishes_of(rows))


def _unique(wishes: Sequence[Wish]) -> list[Wish]:
    return list(dict.fromkeys(wishes))


def _stored_papers(wishes: Sequence[Wish]) -> dict[str, int]:
    ids = [wish.value for wish in wishes if wish.kind == Interest.Kind.PAPER]
    return dict(Paper.objects.filter(arxiv_id__in=ids).values_list("arxiv_id", "pk"))
