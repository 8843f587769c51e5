from __future__ import annotations

from datetime import timedelta

import pytest

from digest.profile import Opinion, ReaderFacts, Rule, RuleKind, TopicFacts, build, keys
from tests.fakes.corpus import NOW, keyword


def test_a_reader_who_said_nothing_has_an_empty_profile():
    made = build(ReaderFacts(), now=NOW)
    assert made.is_empty
    assert not made.names_topics


def test_the_lines_of_a_topic_are_one_text_and_no_line_counts_twice():
    facts = TopicFacts("robots", texts=("arms", "hands", "arms", " "))
    (topic,) = build(ReaderFacts((facts,)), now=NOW).topics
    assert topic.wanted == {"arms\nhands": 1.0}


@pytest.mark.parametrize(
    "more", [{"texts": ("arms",)}, {"seeds": (7,)}, {"rules": (keyword("arm"),)}]
)
def test_a_name_is_looked_for_only_where_nothing_says_more(more):
    (alone,) = build(ReaderFacts((TopicFacts("robots"),)), now=NOW).topics
    assert alone.wanted == {"robots": 1.0}
    (named,) = build(ReaderFacts((TopicFacts("robots", **more),)), now=NOW).topics
    assert "robots" not in named.wanted


def test_a_category_leaves_the_name_to_be_looked_for():
    facts = TopicFacts("robots", rules=(Rule(RuleKind.CATEGORY, "cs.RO"),))
    (topic,) = build(ReaderFacts((facts,)), now=NOW).topics
    assert topic.wanted == {"robots": 1.0}


def test_a_keyword_is_a_rule_and_no_word_of_the_text():
    facts = TopicFacts("", texts=("robots",), rules=(keyword("kitchen"),))
    (topic,) = build(ReaderFacts((facts,)), now=NOW).topics
    assert topic.wanted == {"robots": 1.0}
    assert topic.rules == (keyword("kitchen"),)


def test_each_seed_counts_as_much_as_all_lines_together():
    facts = TopicFacts("", texts=("robots", "arms"), seeds=(7, 8))
    (topic,) = build(ReaderFacts((facts,)), now=NOW).topics
    assert topic.wanted == {7: 1.0, 8: 1.0, "robots\narms": 1.0}
    assert topic.seeds == (7, 8)


def test_a_topic_of_nothing_is_left_out():
    assert build(ReaderFacts((TopicFacts("  "),)), now=NOW).is_empty


def test_likes_fade_with_a_half_life_of_sixty_days():
    opinions = (
        Opinion(1, "more", NOW),
        Opinion(2, "more", NOW - timedelta(days=60)),
        Opinion(3, "more", NOW - timedelta(days=120)),
    )
    (liked,) = build(ReaderFacts(opinions=opinions), now=NOW).topics
    assert liked.is_feedback
    assert liked.wanted == pytest.approx({1: 1.0, 2: 0.5, 3: 0.25})


def test_saving_a_paper_counts_half_and_never_less_than_liking_it_too():
    opinions = (Opinion(1, "saved", NOW), Opinion(2, "more", NOW), Opinion(2, "saved", NOW))
    (liked,) = build(ReaderFacts(opinions=opinions), now=NOW).topics
    assert liked.wanted == {1: 0.5, 2: 1.0}


def test_an_opinion_from_the_future_counts_like_one_of_now():
    opinions = (Opinion(1, "more", NOW + timedelta(days=3)),)
    assert build(ReaderFacts(opinions=opinions), now=NOW).topics[0].wanted == {1: 1.0}


def test_a_dislike_belongs_to_the_reader_and_makes_no_topic_beside_named_ones():
    facts = ReaderFacts((TopicFacts("robots"),), opinions=(Opinion(4, "less", NOW),))
    made = build(facts, now=NOW)
    assert [topic.name for topic in made.topics] == ["robots"]
    assert made.disliked == {4: 1.0}


def test_feedback_alone_names_no_topic():
    for kind in ("more", "less", "saved"):
        made = build(ReaderFacts(opinions=(Opinion(4, kind, NOW),)), now=NOW)
        assert not made.is_empty
        assert not made.names_topics


def test_keys_are_all_texts_of_all_profiles():
    facts = ReaderFacts(
        (TopicFacts("", texts=("robots",), seeds=(7,)),),
        opinions=(Opinion(8, "more", NOW), Opinion(9, "less", NOW)),
    )
    assert keys([build(facts, now=NOW), build(ReaderFacts(), now=NOW)]) == {"robots", 7, 8, 9}
