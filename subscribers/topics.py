"""What a reader wants to hear of and what not: topics, the interests they are made of, mutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, Q, QuerySet, Value, When

from papers import encoding, wanted
from papers.models import Paper, WantedPaper
from papers.records import arxiv_id

from .categories import NAMES, spelt, within
from .models import Interest, Subscriber, Topic

TOPICS_MAX = 20
INTERESTS_MAX = 200
MOST_WANTED = 1000  # told anew at a time
BATCH = 500
ENCODED_AHEAD = timedelta(hours=3)
ENCODE_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Wish:
    """One interest as it was typed and checked. `value` of a PAPER is its arXiv id."""

    kind: Interest.Kind
    value: str


@dataclass(frozen=True, slots=True)
class FirstTopic:
    """What somebody searched for as they subscribed."""

    name: str
    wishes: tuple[Wish, ...]


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


def keep_first(subscriber: Subscriber, first: FirstTopic, *, now: datetime) -> None:
    """The one topic of a reader who has not confirmed yet, and until then of no effect: whoever
    typed the address is perhaps somebody else, so nothing is read or looked up for it, and what a
    known reader follows is not touched. The last search counts. The caller holds the row's lock.
    """
    if subscriber.state != Subscriber.State.PENDING or subscriber.confirmed_at is not None:
        return
    subscriber.topics.all().delete()
    topic = Topic.objects.create(subscriber=subscriber, name=first.name, created_at=now)
    Interest.objects.bulk_create(
        Interest(
            subscriber=subscriber, topic=topic, kind=wish.kind, value=wish.value, created_at=now
        )
        for wish in _unique(first.wishes)
    )


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
    """Seed papers known by id alone get their paper once it is stored; how many did. What nobody
    names any more is not looked up any longer.

    Every minute, so first what waits is counted out, by its own index; seldom is any of it stored.
    """
    # One statement: a topic's seeds and its word of them are saved together.
    named = _waiting().filter(value=OuterRef("arxiv_id"))
    WantedPaper.objects.exclude(Exists(named)).delete()
    ids = list(_waiting().order_by().values_list("value", flat=True).distinct())
    found = [
        each
        for start in range(0, len(ids), BATCH)
        for each in Paper.objects.filter(arxiv_id__in=ids[start : start + BATCH])
        .order_by()
        .values_list("arxiv_id", "pk")
    ]
    return sum(_waiting().filter(value=arxiv_id).update(paper=pk) for arxiv_id, pk in found)


def pass_on_wishes(now: datetime) -> None:
    """The arXiv categories to be read become those that readers follow, beside the setting's.

    Saving a topic adds its own at once; this takes away what only those follow who have left, and
    adds what was saved without a word, seed papers too that nobody looks up.
    """
    staying = Interest.objects.wanted().filter(subscriber__state=Subscriber.State.ACTIVE)
    chosen = staying.filter(kind=Interest.Kind.CATEGORY)
    names = chosen.order_by().values_list("value", flat=True).distinct()
    followed = {category for name in names for category in within(name)}
    wanted.follow(followed, now)
    wanted.unfollow(followed, before=now)
    known = WantedPaper.objects.filter(arxiv_id=OuterRef("value"))
    unasked = _waiting().exclude(Exists(known)).order_by().values_list("value", flat=True)
    wanted.want(unasked.distinct()[:MOST_WANTED], now)


def encode_due(
    now: datetime, *, seconds: float = ENCODE_SECONDS, clock: Callable[[], float] = time.monotonic
) -> int:
    """What the model makes of the topics that are needed next, so that no morning waits for it;
    how many texts were looked at. Known ones cost next to nothing.

    seconds: after these no further portion is begun.
    """
    if not encoding.keeps_phrases() or encoding.meaning_model() is None:
        return 0
    texts = iter(dict.fromkeys(Topic.objects.due_before(now + ENCODED_AHEAD).descriptions()))
    until, seen = clock() + seconds, 0
    while clock() < until and (portion := list(islice(texts, encoding.PHRASES_AT_ONCE))):
        encoding.meanings_of(portion, today=now.date())
        seen += len(portion)
    return seen


def with_papers(interests: QuerySet[Interest]) -> QuerySet[Interest]:
    """Each with its seed paper's title, or with `look_up`: `waiting` while a seed is looked up,
    `unknown` where arXiv said that there is no such paper, empty for all else.
    """
    unknown = WantedPaper.objects.filter(arxiv_id=OuterRef("value"), tries__gt=0)
    is_missing = Q(kind=Interest.Kind.PAPER, paper__isnull=True)
    shown = interests.select_related("paper").defer(
        "paper__vector", "paper__meaning", "paper__abstract"
    )
    return shown.annotate(
        look_up=Case(
            When(is_missing & Q(Exists(unknown)), then=Value("unknown")),
            When(is_missing, then=Value("waiting")),
            default=Value(""),
        )
    )


def missing_seeds(interests: QuerySet[Interest]) -> QuerySet[Interest]:
    """Those whose paper is not stored, with `look_up`."""
    return with_papers(interests.filter(kind=Interest.Kind.PAPER, paper__isnull=True))


def as_typed(line: str) -> tuple[str, list[Wish]]:
    """A topic's name and wishes, of a line: a category of arXiv and what it is about (an archive's
    name may well be a word), a paper's id or link, else words.
    """
    if title := NAMES.get(name := spelt(line)):
        return name, [Wish(Interest.Kind.CATEGORY, name), Wish(Interest.Kind.TEXT, title)]
    try:
        seed = seed_id(line)
    except ValueError:
        return line, [Wish(Interest.Kind.TEXT, line)]
    return seed, [Wish(Interest.Kind.PAPER, seed)]


def seed_id(line: str) -> str:
    """The canonical id in an id or a link. Raises ValueError, also where no paper's is as long."""
    seed = arxiv_id(line)
    if len(seed) > (Paper._meta.get_field("arxiv_id").max_length or 0):
        raise ValueError(f"too long for an arXiv id: {seed[:80]!r}")
    return seed


def wishes_of(interests: Iterable[Interest]) -> list[Wish]:
    return [Wish(Interest.Kind(interest.kind), interest.value) for interest in interests]


def _replace(topic: Topic, wishes: Sequence[Wish], now: datetime) -> None:
    wishes = wishes or as_typed(topic.name)[1]
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
    _pass_on(wishes, papers, now)


def _pass_on(wishes: Sequence[Wish], stored: Mapping[str, int], now: datetime) -> None:
    """Leaves word of what has to be read or looked up. Nobody waits for that."""
    seeds = {wish.value for wish in wishes if wish.kind == Interest.Kind.PAPER}
    names = [wish.value for wish in wishes if wish.kind == Interest.Kind.CATEGORY]
    wanted.want(seeds.difference(stored), now)
    wanted.follow({category for name in names for category in within(name)}, now)


def _waiting() -> QuerySet[Interest]:
    return Interest.objects.filter(kind=Interest.Kind.PAPER, paper__isnull=True)


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
