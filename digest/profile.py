"""Topics + Feedback -> Profile: what the ranker knows of a reader.

A topic becomes one Rocchio vector (Rocchio, 1971): the mean of its seed papers and its words,
less a part of the mean of what the reader disliked. Here a vector is still a recipe, weights
over named texts (`Weights`), so that a batch of readers shares every text it has in common and
the ranker makes all vectors in one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Title(NamedTuple):
    """A paper of which nothing is known but its title."""

    title: str


# A text is known to the ranker by its key: a stored paper's id, another's title, or the reader's
# own words.
Key = int | Title | str
Weights = dict[Key, float]

LIKE_HALF_LIFE_DAYS = 60.0
SAVED_WEIGHT = 0.5  # saving says "later", which is less than "more like this"


class RuleKind(StrEnum):
    KEYWORD = "keyword"
    AUTHOR = "author"
    ORGANIZATION = "organization"
    CATEGORY = "category"


class Rule(NamedTuple):
    """An exact thing to match: a phrase, a person, an organization, an arXiv category."""

    kind: RuleKind
    value: str


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as its reader made it. `seeds` are ids of stored papers, `titles` of others that are
    known by their titles alone.
    """

    name: str
    texts: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    seeds: tuple[int, ...] = ()
    titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opinion:
    """A reader's word on a paper: kind is more, less or saved."""

    paper_id: int
    kind: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ReaderFacts:
    """Everything a reader has told us."""

    topics: tuple[TopicFacts, ...] = ()
    muted: tuple[Rule, ...] = ()
    opinions: tuple[Opinion, ...] = ()
    likes_popular: bool = True


@dataclass(frozen=True, slots=True)
class TopicProfile:
    """`wanted` weighs texts; `seeds` are the papers among them that a reason may name."""

    name: str
    wanted: Weights
    rules: tuple[Rule, ...] = ()
    seeds: tuple[int, ...] = ()
    is_feedback: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """Topics scored apart; `disliked` is taken from each of them; `muted` excludes.

    likes_popular: whether what trends counts beside topics.
    """

    topics: tuple[TopicProfile, ...] = ()
    disliked: Weights = field(default_factory=dict)
    muted: tuple[Rule, ...] = ()
    likes_popular: bool = True

    @property
    def is_empty(self) -> bool:
        """Nothing to go by: neither topics nor feedback."""
        return not self.topics

    @property
    def names_topics(self) -> bool:
        """If not, this reader gets the trending front page, which feedback bends but never ends."""
        return any(not topic.is_feedback for topic in self.topics)

    @property
    def minds_popular(self) -> bool:
        """Topics alone count for this reader. Who names none gets what trends, whatever they said:
        there is nothing else.
        """
        return self.names_topics and not self.likes_popular


def build(facts: ReaderFacts, *, now: datetime) -> Profile:
    """The profile of one reader. Deterministic in `facts` and the day of `now`."""
    topics = tuple(
        topic for topic in (_topic(each) for each in facts.topics) if topic.wanted or topic.rules
    )
    liked = _liked(facts.opinions, now=now)
    disliked: Weights = {each.paper_id: 1.0 for each in facts.opinions if each.kind == "less"}
    if liked or (disliked and not topics):
        seeds = tuple(key for key in liked if isinstance(key, int))
        topics += (TopicProfile("", liked, seeds=seeds, is_feedback=True),)
    return Profile(topics, disliked, facts.muted, facts.likes_popular)


def keys(profiles: Sequence[Profile]) -> set[Key]:
    """Every text that the profiles are made of."""
    found: set[Key] = set()
    for profile in profiles:
        found.update(profile.disliked)
        for topic in profile.topics:
            found.update(topic.wanted)
    return found


def _topic(facts: TopicFacts) -> TopicProfile:
    # Lines that describe it are one text. The name is a label beside them, and alone is what to
    # look for; keywords are rules, and as words would only water down the lines. Papers speak
    # for themselves, so each seed counts as much as all lines together. A category says too little
    # (hundreds of papers a day) to stand without the name.
    is_named = any(rule.kind != RuleKind.CATEGORY for rule in facts.rules)
    is_alone = not (facts.texts or facts.seeds or facts.titles or is_named)
    lines = [facts.name] if is_alone else facts.texts
    text = "\n".join(dict.fromkeys(line for line in lines if line.strip()))
    papers: tuple[Key, ...] = (*facts.seeds, *map(Title, facts.titles))
    wanted: Weights = dict.fromkeys(papers, 1.0)
    if text:
        wanted[text] = 1.0
    return TopicProfile(facts.name, wanted, facts.rules, facts.seeds)


def _liked(opinions: Sequence[Opinion], *, now: datetime) -> Weights:
    weights: Weights = {}
    for each in opinions:
        strength = {"more": 1.0, "saved": SAVED_WEIGHT}.get(each.kind)
        if strength is not None:
            age_days = max((now - each.at).days, 0)
            decayed = strength * 0.5 ** (age_days / LIKE_HALF_LIFE_DAYS)
            weights[each.paper_id] = max(weights.get(each.paper_id, 0.0), decayed)
    return weights
