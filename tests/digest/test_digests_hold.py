"""Whatever a reader told us and whatever the papers are: what a digest says of itself is true.

Everything is worked out again from the texts and the documented rules, not by asking the ranker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from digest import profile, ranking
from digest.compose import FLOOR, FULL, POPULAR_FLOOR, Item, Shelf, compose
from digest.matching import BONUS
from digest.nearness import Text
from digest.profile import Opinion, ReaderFacts, Rule, RuleKind, Title, TopicFacts
from papers import static_meaning
from papers.vectors import Sense, packed, terms
from tests.fakes.corpus import (
    ENCODER,
    GARDEN,
    GRASP,
    LLM_PROOF,
    NOW,
    ORDINARY,
    SPEECH,
    paper,
)

PLACES = 4
MODEL = static_meaning.shipped()
SENSE = Sense(MODEL.dimensions, MODEL.reach, None)
FACTS = {
    1: {"authors": ("Jean-Luc Müller", "Ada Example"), "categories": ("cs.RO",)},
    2: {"authors": ("Ben Sample",), "categories": ("cs.LO",), "organization": "Proof Labs"},
    3: {"authors": ("Jane Müller",), "keywords": ("whispering",), "trending": 0.8, "upvotes": 90},
    4: {"authors": ("Ada Sample",), "organization": "Garden Works", "trending": 0.3, "upvotes": 9},
    5: {"authors": ("A. Example",), "trending": 0.6, "upvotes": 40, "group": (7, 1)},
    6: {"authors": ("Wei Example",), "group": (7, 1)},
    7: {"authors": ("Cy Other",), "categories": ("stat.ML",)},
}
TEXTS = (
    GRASP, LLM_PROOF, SPEECH, GARDEN, "Robots grasp tea cups\nA robot arm learns to grasp.",
    "Robots that grasp tea cups\nA robot arm learns to grasp.", ORDINARY[7],
)  # fmt: skip
SEEDS = {
    50: "A robot hand with tactile fingers\nThe robot learns manipulation of cups.",
    51: "Hearing a whisper\nAcoustic speech models in a quiet room.",
    52: ORDINARY[3],
}
TITLES = ("Formal proofs by language models", "Language models by formal proofs", "Tulips")


def coded(text: str, *, with_meaning: bool) -> Text:
    meaning = packed(MODEL.encode([text])[0]) if with_meaning else b""
    return Text(ENCODER.encode(text), meaning)


@dataclass(frozen=True)
class Day:
    """The papers of a day, and all that readers may name, with meanings or without."""

    has_meanings: bool

    @property
    def papers(self) -> list[ranking.PaperFacts]:
        return [
            replace(
                paper(id, text, **FACTS[id]),
                meaning=coded(text, with_meaning=self.has_meanings).meaning,
            )
            for id, text in enumerate(TEXTS, 1)
        ]

    def corpus(self) -> ranking.Corpus:
        usual = [coded(text, with_meaning=self.has_meanings) for text in ORDINARY]
        sense = SENSE if self.has_meanings else None
        reading = ranking.Reading.of(self.papers, reference=usual, encoder=ENCODER, sense=sense)
        return ranking.Corpus(self.papers, reading)

    def texts(self, profiles: Sequence[profile.Profile]) -> dict[profile.Key, Text]:
        found: dict[profile.Key, Text] = {}
        stored = dict(enumerate(TEXTS, 1)) | SEEDS
        for key in profile.keys(profiles):
            words = key if isinstance(key, str) else _title_or_text(key, stored)
            text = coded(words, with_meaning=self.has_meanings)
            found[key] = text._replace(said=words) if isinstance(key, str) else text
        return found


def _title_or_text(key: int | Title, stored: dict[int, str]) -> str:
    return key.title if isinstance(key, Title) else stored[key]


CORPORA = {has: Day(has_meanings=has).corpus() for has in (False, True)}  # asked by all, as in life

WORDS = sorted({word for text in TEXTS for word in terms(text)})
SINGLE = [word for word in WORDS if " " not in word]
RULES = st.sampled_from(
    [
        *(Rule(RuleKind.KEYWORD, word) for word in (*SINGLE, "whispering", "robot arm")),
        *(Rule(RuleKind.AUTHOR, name) for name in ("Jean Luc Muller", "jeanluc muller", "Müller")),
        *(Rule(RuleKind.AUTHOR, name) for name in ("Ada Example", "A. Example", "Ada B. Sample")),
        *(Rule(RuleKind.ORGANIZATION, name) for name in ("Proof Labs", "works", "arden")),
        *(Rule(RuleKind.CATEGORY, name) for name in ("cs", "cs.RO", "stat", "c")),
    ]
)
KNOWN = st.sampled_from([*range(1, len(TEXTS) + 1), *SEEDS])
TOPICS = st.builds(
    TopicFacts,
    st.sampled_from(["robots", "proofs", "whispered speech", ""]),
    texts=st.lists(st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join), max_size=2).map(
        tuple
    ),
    rules=st.lists(RULES, max_size=2).map(tuple),
    seeds=st.lists(KNOWN, max_size=3, unique=True).map(tuple),
    titles=st.lists(st.sampled_from(TITLES), max_size=2, unique=True).map(tuple),
)
OPINIONS = st.builds(
    Opinion,
    KNOWN,
    st.sampled_from(["more", "less", "saved"]),
    st.integers(0, 200).map(lambda days: NOW - timedelta(days=days)),
)
READERS = st.builds(
    ReaderFacts,
    st.lists(TOPICS, max_size=3).map(tuple),
    st.lists(RULES, max_size=1).map(tuple),
    st.lists(OPINIONS, max_size=3).map(tuple),
    likes_popular=st.booleans(),
)


@dataclass(frozen=True)
class Made:
    """A digest with what it was made of."""

    day: Day
    who: profile.Profile
    ranked: ranking.Ranking
    items: list[Item]

    def place(self, item: Item) -> int:
        return self.ranked_place[item.paper_id]

    @property
    def ranked_place(self) -> dict[int, int]:
        return {each.paper_id: place for place, each in enumerate(self.day.papers)}


def digest(facts: ReaderFacts, shown: set[int], *, has_meanings: bool) -> Made:
    day, corpus = Day(has_meanings=has_meanings), CORPORA[has_meanings]
    who = profile.build(facts, now=NOW)
    (ranked,) = ranking.rank([who], corpus, texts=day.texts([who]))
    allowed = np.array([each.paper_id not in shown for each in corpus.papers], np.bool_)
    shelf = Shelf(corpus.papers)
    lines = compose(ranked, shelf, allowed, places=PLACES)
    return Made(day, who, ranked, shelf.items(lines))


made = st.builds(
    lambda facts, shown, has_meanings: digest(facts, shown, has_meanings=has_meanings),
    READERS,
    st.sets(st.integers(1, len(TEXTS)), max_size=2),
    st.booleans(),
)


# -- a matcher of its own ------------------------------------------------------------------


def folded(text: str) -> str:
    return text.casefold().replace("ü", "u").replace("-", "").replace(".", "")


def matches(rule: Rule, facts: ranking.PaperFacts) -> bool:
    wanted = folded(rule.value)
    match rule.kind:
        case RuleKind.AUTHOR:
            first, last = wanted.split()[0], wanted.split()[-1]
            is_person = len(wanted.split()) > 1 and len(first) > 1
            people = [folded(name).split() for name in facts.authors]
            return is_person and any((each[0], each[-1]) == (first, last) for each in people)
        case RuleKind.ORGANIZATION:
            return bool(re.search(rf"\b{re.escape(wanted)}\b", folded(facts.organization)))
        case RuleKind.CATEGORY:
            listed = [folded_category.casefold() for folded_category in facts.categories]
            wanted = rule.value.casefold()
            return any(each == wanted or each.startswith(f"{wanted}.") for each in listed)
        case RuleKind.KEYWORD:
            said = (facts.title, facts.abstract, *facts.keywords)
            return any(set(terms(rule.value)) <= set(terms(each)) for each in said)


# -- what holds ----------------------------------------------------------------------------

often = settings(max_examples=60, deadline=None, phases=[Phase.generate])


@often
@given(made)
def test_every_reason_holds_when_it_is_worked_out_again(digest):
    for item in digest.items:
        if item.reason is None or item.reason.kind == "editor":
            continue
        facts = digest.day.papers[digest.place(item)]
        if item.reason.kind == "popular":
            assert (item.reason.upvotes, item.upvotes) == (facts.upvotes, facts.upvotes)
            assert item.reason.parts["trending"] == facts.trending > 0
            continue
        topic = digest.who.topics[int(digest.ranked.best[digest.place(item)])]
        assert item.reason.topic == topic.name
        check_reason(item.reason, topic, facts)


def check_reason(reason: ranking.Reason, topic: profile.TopicProfile, facts) -> None:
    text = f"{facts.title}\n{facts.abstract}"
    if reason.kind in {kind.value for kind in RuleKind}:
        kind = RuleKind(reason.kind)
        true = [rule for rule in topic.rules if rule.kind == kind and matches(rule, facts)]
        names = {RuleKind.AUTHOR: facts.authors, RuleKind.ORGANIZATION: (facts.organization,)}
        assert true
        assert reason.name in names.get(kind, [rule.value for rule in true])
        assert reason.parts["bonus"] == max(
            BONUS[rule.kind] for rule in topic.rules if matches(rule, facts)
        )
    elif reason.title:
        assert Title(reason.title) in topic.wanted
    elif reason.kind in ("paper", "more"):
        assert reason.paper_id in topic.seeds
        assert (reason.kind == "more") == topic.is_feedback
    else:
        said = [_title_or_text(key, dict(enumerate(TEXTS, 1)) | SEEDS)
                if not isinstance(key, str) else key for key in topic.wanted]  # fmt: skip
        wanted = set().union(*(terms(each) for each in said))
        for term in reason.terms:
            assert set(terms(term)) <= set(terms(text)) & wanted
            assert term.casefold() in text.casefold()


@often
@given(made)
def test_the_parts_of_a_reason_add_up_to_what_the_floor_was_held_against(digest):
    for item in digest.items:
        if item.reason is not None and "z" in item.reason.parts:
            relevance = digest.ranked.relevance[digest.place(item)]
            assert abs(sum(item.reason.parts.values()) - relevance) < 0.001


@often
@given(READERS, st.sets(st.integers(1, len(TEXTS)), max_size=2), st.booleans())
def test_nothing_muted_known_or_shown_before_is_in_it(facts, shown, has_meanings):
    made = digest(facts, shown, has_meanings=has_meanings)
    known = {each.paper_id for each in facts.opinions} | shown
    known |= {seed for topic in facts.topics for seed in topic.seeds}
    for item in made.items:
        assert item.paper_id not in known
        candidate = made.day.papers[made.place(item)]
        assert not any(matches(rule, candidate) for rule in facts.muted)


@often
@given(READERS, st.booleans())
def test_who_has_topics_gets_what_clears_the_floor_of_each_and_one_popular_place(
    facts, has_meanings
):
    made = digest(facts, set(), has_meanings=has_meanings)
    if not made.who.names_topics:
        return
    full = [item for item in made.items if item.section == FULL]
    popular = [item for item in full if item.is_popular]
    own = [item for item in full if not item.is_popular]
    assert all(made.ranked.relevance[made.place(item)] >= FLOOR for item in own)
    assert len(full) <= PLACES
    assert bool(own) or not made.items
    assert len(popular) <= (1 if facts.likes_popular else 0)
    for item in popular:
        assert item.reason is not None and item.reason.kind == "popular"
        assert made.day.papers[made.place(item)].trending >= POPULAR_FLOOR
    open_to = ~made.ranked.muted & (made.ranked.relevance >= FLOOR)
    groups = [made.day.papers[place].group for place in np.flatnonzero(open_to)]
    if len(set(groups) - {None}) == 0 or groups.count((7, 1)) < 2:  # nothing stands for another
        served = {int(made.ranked.best[made.place(item)]) for item in own}
        assert served == set(made.ranked.best[open_to].tolist())


@often
@given(READERS, KNOWN, st.booleans())
def test_one_more_dislike_raises_nothing(facts, paper_id, has_meanings):
    if not facts.topics or any(each.paper_id == paper_id for each in facts.opinions):
        return
    more = replace(facts, opinions=(*facts.opinions, Opinion(paper_id, "less", NOW)))
    only = replace(facts, opinions=tuple(e for e in more.opinions if e.kind == "less"))
    none = replace(facts, opinions=())
    before = digest(none, set(), has_meanings=has_meanings).ranked.relevance
    after = digest(only, set(), has_meanings=has_meanings).ranked.relevance
    if digest(none, set(), has_meanings=has_meanings).who.names_topics:
        assert (after <= before + 1e-9).all()


def by_title(title: str, *, corpus: ranking.Corpus) -> ranking.Ranking:
    who = profile.build(ReaderFacts((TopicFacts("x", titles=(title,)),)), now=NOW)
    texts = {Title(title): Text(ENCODER.encode(title))}
    return ranking.rank([who], corpus, texts=texts)[0]


def test_two_who_imported_a_title_spelled_differently_are_each_told_their_own():
    for title in ("Tulips, counted", "tulips counted"):
        assert by_title(title, corpus=CORPORA[False]).explain(3).title == title


def test_a_paper_that_was_imported_by_its_title_is_no_news():
    ranked = by_title("Counting Tulips from the air.", corpus=CORPORA[False])
    assert ranked.muted.tolist() == [False, False, False, True, False, False, False]


@often
@given(made)
def test_no_other_paper_of_the_topic_is_nearer_than_the_one_a_reason_names(digest):
    for item in digest.items:
        if item.reason is None or item.reason.kind not in ("paper", "more"):
            continue
        topic = digest.who.topics[int(digest.ranked.best[digest.place(item)])]
        named: profile.Key = item.reason.paper_id or Title(item.reason.title)
        facts = digest.day.papers[digest.place(item)]
        near = {
            key: weighed_nearness(key, weight, facts)
            for key, weight in topic.wanted.items()
            if not isinstance(key, str)
        }
        by_words, by_meaning = near[named]
        for words, meaning in near.values():
            is_nearer = words > by_words + 1e-6
            if digest.day.has_meanings:
                is_nearer = is_nearer and meaning > by_meaning + 0.01  # a byte a dimension
            assert not is_nearer


def weighed_nearness(key: int | Title, weight: float, facts) -> tuple[float, float]:
    """By words and by meaning: cosines, times what the paper weighs in its topic."""
    words = _title_or_text(key, dict(enumerate(TEXTS, 1)) | SEEDS)
    text = f"{facts.title}\n{facts.abstract}"
    rows = ENCODER.rows([ENCODER.encode(words), ENCODER.encode(text)]).matrix.toarray()
    mine, its = MODEL.encode([words, text])
    return float(rows[0] @ rows[1]) * weight, float(mine @ its) * weight
