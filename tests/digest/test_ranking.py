from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from digest import matching, nearness, ranking
from digest.compose import FLOOR
from digest.profile import Opinion, Rule, RuleKind, TopicFacts
from papers.vectors import terms
from tests.fakes.corpus import (
    GARDEN,
    GRASP,
    LLM_PROOF,
    NOW,
    ORDINARY,
    SPEECH,
    author,
    keyword,
    paper,
    rank,
    rank_one,
    reader,
)

DAY = [paper(1, GRASP), paper(2, LLM_PROOF), paper(3, SPEECH), paper(4, GARDEN)]


def order(ranked: ranking.Ranking) -> list[int]:
    return [int(place) + 1 for place in np.argsort(-ranked.score, kind="stable")]


# -- topics --------------------------------------------------------------------------------


def test_topics_are_scored_apart_and_the_best_one_is_the_reason():
    ranked = rank_one(reader("robot manipulation", "whispered speech"), DAY)
    assert set(order(ranked)[:2]) == {1, 3}
    assert ranked.explain(0).topic == "robot manipulation"
    assert ranked.explain(2).topic == "whispered speech"


def test_the_terms_of_a_reason_are_in_topic_and_paper_and_spelled_as_the_paper_does():
    reason = rank_one(reader("robotic manipulators in a garden"), DAY).explain(0)
    assert reason.kind == "topic"
    assert set(reason.terms) == {"robots", "manipulation"}


def test_no_term_of_a_reason_says_again_what_another_said():
    reason = rank_one(reader("robot arm, tactile fingers"), DAY).explain(0)
    assert "robot arm" in reason.terms
    assert "robot" not in reason.terms
    assert "arm" not in reason.terms


def test_a_short_word_is_no_part_of_a_longer_one():
    text = "Training an ai in training camps\nAn ai, and training."
    reason = rank_one(reader("training, ai"), [paper(1, text)]).explain(0)
    assert {"ai", "training"} <= {word for term in reason.terms for word in term.split()}


def test_a_paper_with_more_of_the_words_comes_first():
    both = "A speaking robot\nIt has an arm and hears."
    once = "Robot robot robot\nAll about the robot and robots, robots and a robot."
    ranked = rank_one(reader("speaking robot that hears"), [paper(1, once), paper(2, both)])
    assert order(ranked) == [2, 1]


def test_a_day_without_the_topic_gives_nothing():
    ranked = rank_one(reader("zebrafish genomics"), [paper(n, t) for n, t in enumerate(ORDINARY)])
    assert ranked.relevance.max() < FLOOR


def test_broad_and_narrow_topics_come_to_one_scale():
    papers = [*DAY, *(paper(100 + n, text) for n, text in enumerate(ORDINARY[:20]))]
    broad = rank_one(reader("model network data"), papers)
    narrow = rank_one(reader("whispered speech"), papers)
    assert broad.relevance.max() < narrow.relevance.max() <= nearness.Z_CAP
    assert narrow.relevance[2] >= FLOOR
    assert abs(float(np.median(broad.relevance))) < 1


def test_seeds_find_what_is_like_them_and_are_the_reason():
    seed = paper(50, "A robot hand with tactile fingers\nThe robot learns manipulation of cups.")
    topic = TopicFacts("hands", seeds=(50,))
    ranked = rank_one(reader(topic), DAY, stored=[seed])
    assert order(ranked)[0] == 1
    reason = ranked.explain(0)
    assert (reason.kind, reason.topic, reason.paper_id) == ("paper", "hands", 50)


def test_words_are_the_reason_where_they_did_more_than_the_seeds():
    topic = TopicFacts("", texts=("whispered speech recognition",), seeds=(50,))
    ranked = rank_one(reader(topic), DAY, stored=[paper(50, GARDEN)])
    assert ranked.explain(2).kind == "topic"
    assert ranked.explain(2).terms


def test_a_seed_is_no_news_to_its_reader():
    ranked = rank_one(reader(TopicFacts("robots", seeds=(1,))), DAY)
    assert ranked.muted.tolist() == [True, False, False, False]


def test_a_seed_that_is_not_stored_is_passed_over():
    topic = TopicFacts("", texts=("whispered speech",), seeds=(999,))
    assert order(rank_one(reader(topic), DAY))[0] == 3


def test_a_line_asks_for_all_its_words_and_lines_are_alternatives():
    lines = ("whispered speech", "tulips in a garden")
    apart = rank_one(reader(TopicFacts("", texts=lines)), DAY)
    as_one = rank_one(reader(TopicFacts("", texts=(" ".join(lines),))), DAY)
    assert apart.relevance[2] > as_one.relevance[2]
    assert order(apart)[0] == 3


def test_a_topic_of_an_unknown_seed_alone_finds_nothing():
    ranked = rank_one(reader(TopicFacts("", seeds=(999,))), DAY)
    assert ranked.relevance.tolist() == [0, 0, 0, 0]


def test_seeds_among_the_recent_papers_do_not_change_what_is_ordinary():
    seed = paper(50, "A robot hand with tactile fingers\nThe robot learns manipulation.")
    who = reader(TopicFacts("", seeds=(50,)))
    without = rank([who], DAY, stored=[seed])[0]
    among = [*ORDINARY, f"{seed.title}\n{seed.abstract}"]
    with_seed = rank([who], DAY, stored=[seed], reference=among)[0]
    assert np.allclose(with_seed.score, without.score, atol=0.2)


# -- feedback ------------------------------------------------------------------------------

KITCHEN = "A robot arm stirs soup\nThe robot arm learns manipulation in a kitchen."
FACTORY = "A robot arm sorts bolts\nThe robot arm learns manipulation in a factory."


def test_liked_papers_pull_their_like_up_and_are_the_reason():
    liked = paper(50, GRASP)
    who = reader("whispered speech", opinions=[Opinion(50, "more", NOW)])
    ranked = rank_one(who, [paper(1, KITCHEN), paper(2, GARDEN)], stored=[liked])
    plain = rank_one(reader("whispered speech"), [paper(1, KITCHEN), paper(2, GARDEN)])
    assert ranked.relevance[0] > plain.relevance[0]
    reason = ranked.explain(0)
    assert (reason.kind, reason.topic, reason.paper_id) == ("more", "", 50)


def test_newer_likes_pull_more_than_older_ones():
    stored = [paper(50, GRASP), paper(51, SPEECH)]
    opinions = [Opinion(50, "more", NOW), Opinion(51, "more", NOW - timedelta(days=365))]
    ranked = rank_one(
        reader(opinions=opinions),
        [paper(1, "Speech in quiet rooms"), paper(2, "Robots grasp cups")],
        stored=stored,
    )
    assert order(ranked) == [2, 1]


def test_dislikes_push_their_like_down_and_nothing_up():
    papers = [paper(1, KITCHEN), paper(2, FACTORY), paper(3, SPEECH), paper(4, GARDEN)]
    disliked = paper(50, "Soup in a kitchen\nA kitchen full of soup; stirs soup.")
    plain = rank_one(reader("robot arm manipulation"), papers)
    who = reader("robot arm manipulation", opinions=[Opinion(50, "less", NOW)])
    ranked = rank_one(who, papers, stored=[disliked])
    assert ranked.relevance[0] < plain.relevance[0]
    assert ranked.relevance[0] < ranked.relevance[1]
    assert (ranked.relevance <= plain.relevance + 1e-12).all()


def test_what_a_reader_dislikes_lifts_no_stranger_over_the_floor():
    papers = [paper(n, text) for n, text in enumerate([*ORDINARY[:10], GARDEN])]
    opinions = [Opinion(n, "less", NOW) for n in range(10)]
    ranked = rank_one(reader("zebrafish genomics", opinions=opinions), papers)
    assert ranked.relevance.max() < FLOOR


# -- exact matches -------------------------------------------------------------------------


def by(*names: str) -> list[ranking.PaperFacts]:
    return [paper(1, authors=names), paper(2, authors=("Somebody Else",))]


def hits(rule: Rule, facts: ranking.PaperFacts) -> bool:
    (muted,) = rank_one(reader(mute=[rule]), [facts]).muted
    return bool(muted)


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        ("Ada Example", "Ada Example"),
        ("ada EXAMPLE", "Ada Example"),
        ("Jurgen Muller", "Jürgen Müller"),
        ("Lukasz Kowalski", "Łukasz Kowalski"),
        ("Ada Example", "Ada B. Example"),
        ("Jean-Luc Sample", "Jeanluc Sample"),
    ],
)
def test_an_author_is_known_by_first_and_last_name(wanted, written):
    assert hits(author(wanted), paper(1, authors=(written,)))


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        ("Example", "Ada Example"),
        ("A. Example", "Ada Example"),
        ("Ada Example", "A. Example"),
        ("Ada Example", "Ben Example"),
        ("Ada Example", "Ada Examples"),
        ("Jean-Luc Sample", "Jean Sample"),
        ("", "Ada Example"),
        ("…", ""),
    ],
)
def test_a_namesake_is_somebody_else(wanted, written):
    assert not hits(author(wanted), paper(1, authors=(written,)))


def test_a_named_author_passes_the_floor_whatever_the_paper_is_about():
    topic = TopicFacts("robots", rules=(author("Ada Example"),))
    ranked = rank_one(reader(topic), by("Ada Example"))
    assert ranked.relevance[0] >= FLOOR > ranked.relevance[1]
    reason = ranked.explain(0)
    assert (reason.kind, reason.topic, reason.name) == ("author", "robots", "Ada Example")


def test_the_reason_names_the_author_as_the_paper_does():
    topic = TopicFacts("", rules=(author("jurgen muller"),))
    assert rank_one(reader(topic), by("Jürgen Müller")).explain(0).name == "Jürgen Müller"


def test_topics_of_rules_alone_work():
    topic = TopicFacts("", rules=(Rule(RuleKind.ORGANIZATION, "meta"),))
    papers = [paper(1, organization="AI at Meta"), paper(2, organization="Metaphor Labs"), paper(3)]
    ranked = rank_one(reader(topic), papers)
    assert (ranked.relevance >= FLOOR).tolist() == [True, False, False]
    assert ranked.explain(0).name == "AI at Meta"


def test_a_category_includes_what_is_below_it_and_does_not_pass_the_floor_alone():
    papers = [paper(1, categories=("cs.CL",)), paper(2, categories=("csx.CL",))]
    ranked = rank_one(reader(TopicFacts("", rules=(Rule(RuleKind.CATEGORY, "CS"),))), papers)
    assert 0 < ranked.relevance[0] < FLOOR
    assert ranked.relevance[1] == 0


def test_a_keyword_matches_across_endings_and_as_a_whole_phrase():
    assert hits(keyword("survey"), paper(1, "Surveys of robots"))
    assert hits(keyword("diffusion model"), paper(1, "On Diffusion Models"))
    assert hits(keyword("naive bayes"), paper(1, "Naïve Bayes, again"))
    assert not hits(keyword("diffusion model"), paper(1, "Models of diffusion"))
    assert not hits(keyword("art"), paper(1, "State-of-the-party"))


def test_a_phrase_does_not_reach_from_the_title_into_the_abstract():
    assert not hits(keyword("cups model"), paper(1, "Robots and cups\nModels of robots"))


def test_a_keyword_without_words_matches_nothing():
    assert not hits(keyword("?!"), paper(1))
    assert not hits(keyword(""), paper(1))


@pytest.mark.parametrize(
    "facts",
    [
        paper(1, "A survey of robots"),
        paper(1, "Robots\nWe surveyed forty robots."),
        paper(1, "Robots", keywords=("surveys",)),
    ],
)
def test_muting_looks_into_title_abstract_and_keywords(facts):
    ranked = rank_one(reader("robots", mute=[keyword("Survey")]), [facts])
    assert ranked.muted.tolist() == [True]


def test_ten_matching_keywords_are_no_tenfold_reason():
    one = TopicFacts("", rules=(keyword("garden"),))
    many = TopicFacts("", rules=(keyword("garden"), keyword("tulips"), keyword("drone")))
    bonus = matching.BONUS[RuleKind.KEYWORD]
    for topic in (one, many):
        assert rank_one(reader(topic), DAY).relevance[3] <= bonus + nearness.Z_CAP
    who = reader(TopicFacts("", rules=(author("Ada Example"), author("Ada Example"))))
    assert rank_one(who, DAY).relevance.tolist() == [matching.BONUS[RuleKind.AUTHOR]] * 4


# -- what everybody likes ------------------------------------------------------------------


def test_what_trends_lifts_nothing_over_the_floor():
    papers = [paper(1, GARDEN, trending=1.0, upvotes=900), paper(2, SPEECH)]
    ranked = rank_one(reader("whispered speech"), papers)
    assert order(ranked) == [2, 1]
    assert ranked.relevance[0] < FLOOR


def test_of_equally_near_papers_the_trending_and_then_the_newer_one_leads():
    papers = [
        paper(1, SPEECH, trending=0.8, age_days=6),
        paper(2, SPEECH, trending=0.8),
        paper(3, SPEECH),
    ]
    assert order(rank_one(reader("whispered speech"), papers)) == [2, 1, 3]


def test_a_reader_who_minds_it_is_ranked_without_what_trends():
    papers = [paper(1, SPEECH), paper(2, SPEECH, trending=0.8)]
    minding = replace(reader("whispered speech"), likes_popular=False)
    assert order(rank_one(reader("whispered speech"), papers)) == [2, 1]
    ranked = rank_one(minding, papers)
    assert ranked.score.tolist() == ranked.relevance.tolist()


def test_without_topics_what_trends_leads_whatever_the_switch_says():
    papers = [paper(1), paper(2, trending=0.9)]
    assert order(rank_one(replace(reader(), likes_popular=False), papers)) == [2, 1]


def test_without_topics_the_trending_score_is_all():
    papers = [paper(1), paper(2, trending=0.9, upvotes=90), paper(3, trending=0.4)]
    ranked = rank_one(reader(), papers)
    assert order(ranked) == [2, 3, 1]
    assert ranked.explain(1) == ranking.Reason("popular", upvotes=90, parts={"trending": 0.9})


# -- batches and edges ---------------------------------------------------------------------


def test_no_papers_no_readers_no_reference():
    assert rank([], DAY) == []
    for who in (reader(), reader("robots"), reader("robots", mute=[keyword("x1")])):
        assert len(rank_one(who, []).score) == 0
        assert len(rank([who], [], reference=[])[0].score) == 0
        scores = rank([who], DAY, reference=[])[0].score
        assert np.isfinite(scores).all()


def test_one_paper_without_any_reference_is_no_reason_to_write():
    (ranked,) = rank([reader("whispered speech")], [paper(1, SPEECH)], reference=[])
    assert np.isfinite(ranked.score).all()


def test_a_paper_without_text_is_far_from_everything():
    ranked = rank_one(reader("robots"), [paper(1, ""), paper(2, GRASP)])
    assert ranked.relevance[0] <= 0
    assert ranked.explain(0).terms == ()


@pytest.mark.parametrize("name", ["<b>", "\x00", "x", "日本語", "$\\alpha$", "a" * 80, "🦓 🦓"])
def test_no_topic_is_too_odd_to_be_ranked(name):
    ranked = rank_one(reader(name, mute=[keyword(name), author(name)]), DAY)
    assert np.isfinite(ranked.score).all()
    assert ranked.relevance.max() < FLOOR


WORDS = sorted({word for text in (GRASP, LLM_PROOF, SPEECH, GARDEN) for word in terms(text)})
LIBRARY = [paper(50 + n, text) for n, text in enumerate([*ORDINARY[:12], KITCHEN, FACTORY])]
IDS = [each.paper_id for each in [*DAY, *LIBRARY]]
TOPICS = st.builds(
    TopicFacts,
    st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join),
    seeds=st.lists(st.sampled_from(IDS), max_size=5, unique=True).map(tuple),
    rules=st.lists(st.sampled_from(WORDS).map(keyword), max_size=2).map(tuple),
)
OPINIONS = st.builds(
    Opinion,
    st.sampled_from(IDS),
    st.sampled_from(["more", "less", "saved"]),
    st.integers(0, 200).map(lambda days: NOW - timedelta(days=days)),
)
READERS = st.builds(
    lambda topics, opinions, mute: reader(*topics, opinions=opinions, mute=mute),
    st.lists(TOPICS, max_size=3),
    st.lists(OPINIONS, max_size=4),
    st.lists(st.sampled_from(WORDS).map(keyword), max_size=1),
)


@settings(max_examples=4, deadline=None, phases=[Phase.generate])
@given(st.lists(READERS, min_size=1, max_size=8).map(lambda some: [*some * 50][:50]), st.randoms())
def test_a_batch_of_fifty_gives_exactly_what_one_by_one_gives(readers, random):
    random.shuffle(readers)
    together = rank(readers, DAY, stored=LIBRARY)
    for who, batched in zip(readers, together, strict=True):
        (alone,) = rank([who], DAY, stored=LIBRARY)
        assert np.array_equal(batched.score, alone.score)
        assert np.array_equal(batched.relevance, alone.relevance)
        assert np.array_equal(batched.muted, alone.muted)
        assert [batched.explain(n) for n in range(4)] == [alone.explain(n) for n in range(4)]


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(READERS)
def test_every_reason_is_true(who):
    ranked = rank_one(who, DAY, stored=LIBRARY)
    words_of = [set(terms(f"{each.title}\n{each.abstract}")) for each in DAY]
    for place in range(len(DAY)):
        reason = ranked.explain(place)
        assert all(set(terms(term)) <= words_of[place] for term in reason.terms)
        if reason.kind in ("paper", "more"):
            assert reason.paper_id in who.topics[int(ranked.best[place])].seeds


def test_the_order_of_the_papers_does_not_matter():
    who = reader("robot arm", "whispered speech", opinions=[Opinion(4, "less", NOW)])
    there, back = rank_one(who, DAY), rank_one(who, DAY[::-1])
    assert np.array_equal(there.score, back.score[::-1])
