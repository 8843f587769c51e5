"""What a new reader shows us -> subjects, before anything is saved: papers offered, papers given.

Reads and decides for the onboarding pages; `keep` alone writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from django.db import transaction

from papers import encoding, vectors
from papers.models import Edition, Entry, Paper
from subscribers import topics
from subscribers.models import Interest, Subscriber
from subscribers.seeds import Seed, from_fields
from subscribers.topics import INTERESTS_MAX, Wish

from . import profile
from .grouping import farthest_first, group

OFFERED = 20  # on a page
OFFERED_FROM = 400  # papers, the most noticed of some days
OFFERED_DAYS = 10
NAME_LENGTH = 80


@dataclass(frozen=True, slots=True)
class Subject:
    """Papers that may become one topic. is_rest: what belongs to none."""

    name: str
    seeds: tuple[Seed, ...] = ()
    is_rest: bool = False
    is_kept: bool = True

    @property
    def kept(self) -> tuple[Seed, ...]:
        """As many as a topic may hold, the most central first."""
        return self.seeds[:INTERESTS_MAX]

    @property
    def left_out(self) -> int:
        return len(self.seeds) - len(self.kept)


@dataclass(frozen=True, slots=True)
class Wanted:
    """All that was said on the pages. lines: subjects in words; authors: people to follow."""

    lines: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    subjects: tuple[Subject, ...] = field(default=())

    @property
    def topics(self) -> list[tuple[str, list[Wish]]]:
        """Names and what they are made of; without a name it is that of the first paper."""
        by_name: dict[str, tuple[str, list[Wish]]] = {}
        for name, wishes in self._each():
            by_name.setdefault(name.casefold(), (name, []))[1].extend(wishes)
        return list(by_name.values())

    def _each(self) -> Iterable[tuple[str, list[Wish]]]:
        yield from (topics.as_typed(line) for line in self.lines)
        for author in self.authors:
            yield author[:NAME_LENGTH], [Wish(Interest.Kind.AUTHOR, author)]
        for subject in self.subjects:
            if subject.is_kept and subject.kept:
                name = subject.name or subject.kept[0].shown[:NAME_LENGTH]
                yield name, [seed.wish for seed in subject.kept]


def offered(page: int) -> list[Paper]:
    """A page of papers of these days that are unlike each other, the most noticed first. The same
    for everybody, and for as long as the editions stay.
    """
    newest = Edition.objects.news().filled().order_by("-day").values_list("day", flat=True).first()
    if newest is None:
        return []
    entries = Entry.objects.standing().filter(
        is_trending=True,
        edition__day__gt=newest - timedelta(days=OFFERED_DAYS),
        edition__day__lte=newest,
        paper__withdrawn_at__isnull=True,
    )
    votes = dict(entries.order_by().values_list("paper_id", "paper__upvotes"))
    ids = sorted(votes, key=lambda id: (-votes[id], id))[:OFFERED_FROM]
    start = page * OFFERED
    chosen = _unlike(ids, size=start + OFFERED)[start:]
    papers = Paper.objects.defer("vector", "abstract").in_bulk(chosen)
    return [papers[id] for id in chosen]


def subjects(seeds: Sequence[Seed]) -> list[Subject]:
    """The papers as subjects, named by what they say. The rest is dropped unless the reader says
    otherwise.
    """
    if not seeds:
        return []
    stored = Paper.objects.filter(pk__in=[seed.paper_id for seed in seeds if seed.paper_id])
    texts = {paper.pk: paper.text for paper in stored.only("title", "abstract")}
    said = [texts.get(seed.paper_id or 0, seed.title) for seed in seeds]
    encoder = encoding.encoder()
    rows = encoder.rows([encoder.encode(text) for text in said])
    return [
        Subject(
            each.name,
            tuple(seeds[row] for row in each.members),
            is_rest=each.is_rest,
            is_kept=not each.is_rest,
        )
        for each in group(said, rows, _meanings(seeds))
    ]


def facts(wanted: Wanted) -> tuple[profile.TopicFacts, ...]:
    """As the ranker would see the topics, were they saved. A paper that is still to be looked up
    speaks by its title meanwhile.
    """
    seeds = {seed.wish: seed for each in wanted.subjects for seed in each.kept}
    typed = {wish.value for _, wishes in wanted.topics for wish in wishes if _is_paper(wish)}
    fields = (f"paper:{value}" for value in sorted(typed.difference(w.value for w in seeds)))
    seeds |= {seed.wish: seed for seed in from_fields(fields)}
    return tuple(_facts(name, wishes, seeds) for name, wishes in wanted.topics)


def keep(subscriber: Subscriber, wanted: Wanted, *, now: datetime) -> None:
    """Makes the topics, all or none. Raises topics.TopicRefused with the name for which there is no
    room. Papers of a subject that is followed already are added to it.
    """
    with transaction.atomic():
        followed = {topic.name.casefold(): topic for topic in subscriber.topics.all()}
        for name, wishes in wanted.topics:
            known = followed.get(name.casefold())
            if known is None:
                topics.add_topic(subscriber, name, wishes, now=now)
                continue
            present = topics.wishes_of(known.interests.all())
            more = [wish for wish in wishes if wish.kind != Interest.Kind.TEXT]
            both = list(dict.fromkeys([*present, *more]))[:INTERESTS_MAX]
            if len(both) > len(present):
                topics.revise_topic(known, known.name, both, now=now)


def _unlike(ids: Sequence[int], *, size: int) -> list[int]:
    encoder = encoding.encoder()
    papers = Paper.objects.filter(pk__in=ids, encoder=encoder.id)
    codes = {pk: bytes(code) for pk, code in papers.values_list("pk", "vector")}
    known = [id for id in ids if id in codes]
    unknown = [id for id in ids if id not in codes]
    matrix = encoder.rows([codes[id] for id in known]).matrix
    near = np.asarray((matrix @ matrix.T).todense(), np.float64)
    liking = 1 - np.arange(len(known)) / max(len(known), 1)
    found = [known[row] for row in farthest_first(near, liking, size=size)]
    return [*found, *unknown][:size]


def _meanings(seeds: Sequence[Seed]) -> np.ndarray | None:
    """(n, d) unit rows of one model's vectors, zero where there is none; None without any."""
    ids = [seed.paper_id for seed in seeds if seed.paper_id]
    papers = Paper.objects.filter(pk__in=ids).exclude(meaning_by="")
    rows = list(papers.values_list("pk", "meaning_by", "meaning"))
    if not rows:
        return None
    model = max({by for _, by, _ in rows}, key=lambda by: sum(row[1] == by for row in rows))
    of = {pk: bytes(meaning) for pk, by, meaning in rows if by == model}
    dense = vectors.unpacked(list(of.values()))
    place = dict(zip(of, dense, strict=True))
    nothing = np.zeros(dense.shape[1], np.float32)
    return np.array([place.get(seed.paper_id or 0, nothing) for seed in seeds], np.float32)


def _is_paper(wish: Wish) -> bool:
    return wish.kind == Interest.Kind.PAPER


_RULES = {kind.value: kind for kind in profile.RuleKind}


def _facts(name: str, wishes: Sequence[Wish], seeds: Mapping[Wish, Seed]) -> profile.TopicFacts:
    papers = [seeds.get(wish) for wish in wishes]
    is_id = all(_is_paper(wish) for wish in wishes) and name in {wish.value for wish in wishes}
    return profile.TopicFacts(
        "" if is_id else name,  # as digest.told has it: an id is no name
        texts=tuple(wish.value for wish in wishes if wish.kind == Interest.Kind.TEXT),
        rules=tuple(
            profile.Rule(_RULES[wish.kind], wish.value) for wish in wishes if wish.kind in _RULES
        ),
        seeds=tuple(seed.paper_id for seed in papers if seed and seed.paper_id),
        titles=tuple(seed.title for seed in papers if seed and not seed.paper_id and seed.title),
    )
