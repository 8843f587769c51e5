"""What is kept changes nobody's numbers, and has an end."""

from __future__ import annotations

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from digest import nearness, ranking
from digest.nearness import Recipe, Text
from digest.profile import Opinion, TopicFacts
from digest.recent import Recent
from tests.digest.test_ranking import DAY, LIBRARY, READERS
from tests.fakes.corpus import (
    GRASP,
    NOW,
    SPEECH,
    author,
    corpus,
    paper,
    rank,
    rank_one,
    reader,
    said,
    texts,
)

LIKES_SPEECH = Opinion(52, "more", NOW)


def assert_same(one: ranking.Ranking, other: ranking.Ranking) -> None:
    assert np.array_equal(one.score, other.score)
    assert np.array_equal(one.relevance, other.relevance)
    assert np.array_equal(one.best, other.best)
    assert np.array_equal(one.muted, other.muted)
    assert [one.explain(n) for n in range(4)] == [other.explain(n) for n in range(4)]


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(st.lists(READERS, min_size=2, max_size=12), st.integers(1, 4))
def test_a_corpus_that_was_asked_before_answers_as_one_that_was_not(readers, size):
    everything, named = corpus(DAY), texts(readers, DAY, LIBRARY)
    for who in (*readers, *reversed(readers)):
        start = readers.index(who)
        some = readers[start : start + size]
        (asked, *_) = ranking.rank(some, everything, texts=named)
        (fresh,) = rank([who], DAY, stored=LIBRARY)
        assert_same(asked, fresh)


def test_readers_who_share_a_topics_words_keep_its_name_and_rules():
    everything = corpus(DAY)
    topics = [
        TopicFacts("arms", texts=("robot arm",)),
        TopicFacts("hands", texts=("robot arm",)),
        TopicFacts("arms", texts=("robot arm",), rules=(author("Ada Example"),)),
    ]
    readers = [reader(each) for each in topics]
    ranked = ranking.rank(readers, everything, texts=texts(readers))
    said = [(each.explain(0).topic, each.explain(0).kind) for each in ranked]
    assert said == [("arms", "topic"), ("hands", "topic"), ("arms", "topic")]
    assert [each.explain(3).kind for each in ranked] == ["topic", "topic", "author"]


def test_a_topic_is_measured_once_however_many_share_it(monkeypatch):
    space = corpus(DAY).space
    measured = []
    whole = nearness.Space._measured

    def counted(self, recipes):
        measured.extend(recipes)
        return whole(self, recipes)

    monkeypatch.setattr(nearness.Space, "_measured", counted)
    robots, speech = Recipe(((said("robots"), 1.0),)), Recipe(((said("speech"), 1.0),))
    space.standings([robots, speech, robots])
    space.standings([speech, robots])
    assert measured == [robots, speech]


def test_what_is_kept_of_topics_has_an_end(monkeypatch):
    monkeypatch.setattr(nearness, "NUMBERS_KEPT", 200)
    space = corpus(DAY).space
    recipes = [Recipe(((said(f"robot topic{n}"), 1.0),)) for n in range(500)]
    standings = space.standings(recipes)
    assert len(standings) == 500
    assert len(space._kept) <= 2 * 200 / min(standing.size for standing in standings)


def test_a_topic_holds_on_to_no_numbers_but_its_own():
    """A view would keep a whole batch's alive."""
    (standing, _) = corpus(DAY).space.standings(
        [Recipe(((said("robots"), 1.0),)), Recipe(((Text(DAY[1].code), 1.0),))]
    )
    for array in (standing.z, standing.columns, standing.weights):
        assert array.base is None


def test_shared_terms_are_words_of_both_spelled_as_the_paper_does():
    (standing,) = corpus(DAY).space.standings([Recipe(((said("grasping a cup in gardens"), 1.0),))])
    assert set(corpus(DAY).space.shared_terms(standing, 0)) == {"grasp", "cups"}
    assert set(corpus(DAY).space.shared_terms(standing, 2)) == set()


def test_a_text_that_two_liked_papers_share_counts_twice():
    twins = [paper(50, GRASP), paper(51, GRASP), paper(52, SPEECH)]
    both = reader(opinions=[Opinion(50, "more", NOW), Opinion(51, "more", NOW), LIKES_SPEECH])
    one = reader(opinions=[Opinion(50, "more", NOW), LIKES_SPEECH])
    with_both, with_one = (rank_one(who, DAY, stored=twins) for who in (both, one))
    assert with_both.score[0] > with_one.score[0]
    assert with_both.explain(0).paper_id == 50


def test_what_is_asked_for_stays_and_what_is_not_goes():
    recent: Recent[int, str] = Recent(10)
    for number in range(1000):
        assert number == 0 or recent.get(-1) == "often"
        recent.put(-1 if number == 0 else number, "often" if number == 0 else "once")
        assert len(recent) <= 20
    assert recent.get(-1) == "often"
    assert recent.get(1) is None


def test_what_is_large_counts_for_more():
    recent: Recent[int, str] = Recent(10)
    for number in range(100):
        recent.put(number, "", 6)
    assert len(recent) == 2


def test_a_seed_is_ones_own_also_beside_somebody_who_typed_its_words():
    lines = ["graph policy for agents", "speech without words", "robot arms grasp", "graphs"]
    everything = [paper(number, text) for number, text in enumerate(lines, 100)]

    def space() -> nearness.Space:
        return corpus(everything, reference=lines).space

    seed = Recipe(((Text(everything[0].code), 1.0),))
    typed = Recipe(((said(lines[0]), 1.0),))
    (alone,) = space().standings([seed])
    beside, _ = space().standings([seed, typed])
    assert np.array_equal(alone.z, beside.z)


def test_reasons_under_names_of_the_readers_own_have_an_end(monkeypatch):
    monkeypatch.setattr(nearness, "SAID_KEPT", 50)
    everything = corpus(DAY)
    for number in range(200):
        rules = (author("Ada Example"),)
        who = reader(TopicFacts(f"topic {number}", rules=rules))
        (ranked,) = ranking.rank([who], everything, texts=texts([who]))
        assert ranked.explain(3).kind == "author"
    assert len(everything.space.said) <= 100


def test_of_several_lines_the_one_that_a_paper_covers_best_counts():
    """However many there are, and whichever comes first: a line is one thing that may be met."""
    lines = ["bees in winter", "tulips", "speech recognition"]
    asked = [TopicFacts("mine", texts=("\n".join(order),)) for order in (lines, lines[::-1])]
    first, last = (rank_one(reader(each), DAY) for each in asked)
    alone = rank_one(reader(TopicFacts("mine", texts=("speech recognition",))), DAY)
    heard = next(n for n, each in enumerate(DAY) if each.title == SPEECH.partition("\n")[0])
    assert np.allclose(first.relevance, last.relevance)
    assert first.relevance[heard] > 0.5 * alone.relevance[heard] > 0
    assert set(first.explain(heard).terms) == {"speech", "recognition"}
