"""Profiles x papers -> scores with structured reasons, whole batches of readers at once.

The score of a paper for a reader is its best topic's nearness (`nearness`), plus fixed bonuses
for exact matches (`matching`), plus a small prior for what the community trends. See
docs/ranking.md for what was measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from papers import vectors

from .matching import BONUS as BONUS
from .matching import Matcher, plain
from .nearness import NUMBERS_KEPT, Part, Recipe, Space, Standing, Text
from .nearness import Z_CAP as Z_CAP
from .profile import Key, Profile, Title, TopicProfile, Weights
from .recent import Recent

TRENDING_WEIGHT = 0.5
AGE_HALF_LIFE_DAYS = 3.0


@dataclass(frozen=True, slots=True)
class PaperFacts:
    """A candidate as the ranker sees it. `trending` is 0 to 1, `age_days` since its edition.

    What stands below `code` ranks nothing: it is what a digest shows, and who picked the paper.
    """

    paper_id: int
    title: str
    abstract: str
    authors: tuple[str, ...]
    organization: str
    categories: tuple[str, ...]
    keywords: tuple[str, ...]
    trending: float
    upvotes: int
    age_days: float
    group: tuple[int, int] | None  # edition and number, shared by near-duplicates
    code: bytes  # the encoder's; read where a Reading is made, as the model's meaning is
    meaning: bytes = b""
    stars: int | None = None
    content_hash: str = ""
    picked_by: str = ""  # the editor's name; empty: chosen by score alone
    editor_note: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the papers say: all that costs time and follows from their texts and names alone.

    Made once and kept for as long as these stay; it remembers what it was asked, within bounds.
    """

    space: Space
    matcher: Matcher
    joined: Recent[Any, NDArray[np.float64]] = field(default_factory=lambda: Recent(NUMBERS_KEPT))

    @classmethod
    def of(
        cls,
        papers: Sequence[PaperFacts],
        *,
        reference: Sequence[Text],
        encoder: vectors.Encoder,
        sense: vectors.Sense | None = None,
    ) -> Self:
        """reference: recent papers that say what is ordinary. sense: of the texts' model."""
        texts = [
            Text(paper.code, paper.meaning, f"{paper.title}\n{paper.abstract}") for paper in papers
        ]
        space = Space(texts, reference=reference, encoder=encoder, sense=sense)
        return cls(space, Matcher(papers))


class Corpus:
    """The candidates that readers are ranked against: their numbers of today over a reading."""

    def __init__(self, papers: Sequence[PaperFacts], reading: Reading) -> None:
        """reading: of papers that say the same, in the same order."""
        self.papers = papers
        self.space, self.matcher, self.joined = reading.space, reading.matcher, reading.joined
        self.prior = _prior(papers)
        self.place_of = {paper.paper_id: place for place, paper in enumerate(papers)}
        self.place_of_title = {plain(paper.title): place for place, paper in enumerate(papers)}
        self.nothing_muted = np.zeros(len(papers), np.bool_)
        self.nothing_muted.flags.writeable = False
        self.first_topic = np.zeros(len(papers), np.int64)
        self.first_topic.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Ranking:
    """One reader's scores. Arrays are of length n, in the order of the corpus's papers.

    score: higher is better. relevance: the part that the floor is held against (no prior).
    best: index of the best topic in `profile.topics`, -1 without topics. muted: never show, for
    the reader muted it or named it as a seed, so that it is no news to them.
    """

    profile: Profile
    score: NDArray[np.float64]
    relevance: NDArray[np.float64]
    best: NDArray[np.int64]
    muted: NDArray[np.bool_]
    explain: Callable[[int], Reason]


@dataclass(frozen=True)
class Reason:
    """Why a paper is there, taken from the parts that made its score. Its text is kept with it.

    kind: topic (words in common: `terms`), keyword / author / organization / category (`name`),
    paper (close to the seed `title` of `topic`), more (close to `title`, which was liked),
    popular (`upvotes`), editor (picked by `name`, who says `note`).
    """

    kind: str
    topic: str = ""
    terms: tuple[str, ...] = ()
    name: str = ""
    title: str = ""
    paper_id: int | None = None
    upvotes: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Without what says nothing."""
        words = {
            "kind": self.kind,
            "topic": self.topic,
            "terms": list(self.terms),
            "name": self.name,
            "title": self.title,
            "paper_id": self.paper_id,
            "upvotes": self.upvotes,
            "parts": self.parts,
            "note": self.note,
        }
        return {name: said for name, said in words.items() if said}

    @cached_property
    def text(self) -> str:
        """As JSON."""
        return json.dumps(self.to_json())


def rank(
    profiles: Sequence[Profile], corpus: Corpus, *, texts: Mapping[Key, Text]
) -> list[Ranking]:
    """One Ranking per profile. Deterministic; nothing is drawn at random.

    texts: of all that the profiles name (`profile.keys`); what is not there is passed over.
    """
    recipes = [recipe for profile in profiles for recipe in _recipes(profile, texts)]
    standings = iter(corpus.space.standings(recipes))
    return [
        _rank_one(profile, [next(standings) for _ in profile.topics], corpus, texts)
        for profile in profiles
    ]


def popular(paper: PaperFacts) -> Reason:
    return Reason("popular", upvotes=paper.upvotes, parts={"trending": round(paper.trending, 3)})


def picked(paper: PaperFacts) -> Reason:
    return Reason("editor", name=paper.picked_by, note=paper.editor_note)


def _recipes(profile: Profile, texts: Mapping[Key, Text]) -> list[Recipe]:
    disliked = _part(profile.disliked, texts)
    return [Recipe(_part(topic.wanted, texts), disliked) for topic in profile.topics]


def _part(weights: Weights, texts: Mapping[Key, Text]) -> Part:
    return tuple((texts[key], weight) for key, weight in weights.items() if key in texts)


def _rank_one(
    profile: Profile, standings: Sequence[Standing], corpus: Corpus, texts: Mapping[Key, Text]
) -> Ranking:
    relevance, best = _best_topic(profile, standings, corpus)

    def explain(paper: int) -> Reason:
        topic = int(best[paper])
        if topic < 0:
            return popular(corpus.papers[paper])
        return _reason(profile.topics[topic], standings[topic], paper, corpus, texts)

    score = relevance if profile.minds_popular else relevance + corpus.prior
    return Ranking(profile, score, relevance, best, _muted(profile, corpus), explain)


def _best_topic(
    profile: Profile, standings: Sequence[Standing], corpus: Corpus
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Per paper the relevance of its best topic, and which one that is."""
    if profile.is_empty:
        size = len(corpus.papers)
        return np.zeros(size), np.full(size, -1)
    relevance, *others = map(_with_bonus, profile.topics, standings, repeat(corpus))
    best = corpus.first_topic
    for topic, other in enumerate(others, 1):
        best = np.where(other > relevance, topic, best)  # of equals the first
        relevance = np.maximum(relevance, other)
    return relevance, best


def _with_bonus(topic: TopicProfile, standing: Standing, corpus: Corpus) -> NDArray[np.float64]:
    if not topic.rules:
        return standing.z
    key = standing.key, topic.rules
    joined: NDArray[np.float64] | None = corpus.joined.get(key)
    if joined is None:
        joined = _joined(standing.z, corpus.matcher.bonus(topic.rules))
        corpus.joined.put(key, joined, len(joined))
    return joined


def _joined(z: NDArray[np.float64], bonus: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if bonus is None:
        return z
    # A named person is wanted whatever the paper is about: no far topic takes from the bonus.
    return np.where(bonus > 0, np.maximum(z, 0) + bonus, z)


def _muted(profile: Profile, corpus: Corpus) -> NDArray[np.bool_]:
    # What the reader named or judged is known to them, and closest to itself.
    known = set(profile.disliked).union(*(topic.seeds for topic in profile.topics))
    places = {corpus.place_of[paper] for paper in known if paper in corpus.place_of}
    titles = {plain(key.title) for topic in profile.topics for key in topic.wanted
              if isinstance(key, Title)}  # fmt: skip
    places.update(corpus.place_of_title[each] for each in titles & corpus.place_of_title.keys())
    places.update(*(corpus.matcher.places(rule) for rule in profile.muted))
    if not places:
        return corpus.nothing_muted
    muted = corpus.nothing_muted.copy()
    muted[list(places)] = True
    return muted


def _prior(papers: Sequence[PaperFacts]) -> NDArray[np.float64]:
    trending = np.array([paper.trending for paper in papers], np.float64)
    age = np.array([paper.age_days for paper in papers], np.float64)
    return TRENDING_WEIGHT * trending * 0.5 ** (age / AGE_HALF_LIFE_DAYS)


# -- reasons -------------------------------------------------------------------------------


def _reason(
    topic: TopicProfile,
    standing: Standing,
    paper: int,
    corpus: Corpus,
    texts: Mapping[Key, Text],
) -> Reason:
    """Made once for all who share the topic."""
    # Two titles may be one to the encoder; each reader is told their own.
    papers = tuple(key for key in topic.wanted if not isinstance(key, str))
    key = standing.key, topic.name, topic.rules, papers, topic.is_feedback, paper
    reason: Reason | None = corpus.space.said.get(key)
    if reason is None:
        reason = _explain(topic, standing, paper, corpus, texts)
        corpus.space.said.put(key, reason)
    return reason


def _explain(
    topic: TopicProfile,
    standing: Standing,
    paper: int,
    corpus: Corpus,
    texts: Mapping[Key, Text],
) -> Reason:
    parts = {"z": round(float(standing.z[paper]), 3)}
    match = corpus.matcher.strongest(topic.rules, paper) if topic.rules else None
    if match is not None:
        parts = {"z": max(parts["z"], 0.0), "bonus": BONUS[match.rule.kind]}  # as _with_bonus
        if parts["bonus"] >= parts["z"]:
            return Reason(match.rule.kind.value, topic.name, name=match.name, parts=parts)
    seed = _closest_seed(topic, standing, paper, texts)
    if isinstance(seed, Title):
        return Reason("paper", topic.name, title=seed.title, parts=parts)
    if seed is not None:
        kind = "more" if topic.is_feedback else "paper"
        return Reason(kind, topic.name, paper_id=seed, parts=parts)
    terms = corpus.space.shared_terms(standing, paper)
    if not terms and match is not None:
        return Reason(match.rule.kind.value, topic.name, name=match.name, parts=parts)
    return Reason("topic", topic.name, terms=terms, parts=parts)


def _closest_seed(
    topic: TopicProfile, standing: Standing, paper: int, texts: Mapping[Key, Text]
) -> int | Title | None:
    """The seed that did more for the nearness than the topic's words; none if they did more."""
    if standing.closest is None:
        return None
    known = [key for key in topic.wanted if key in texts]
    strongest = known[int(standing.closest[paper])]
    return None if isinstance(strongest, str) else strongest
