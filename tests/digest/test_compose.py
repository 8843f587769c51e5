from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from digest.compose import (
    BRIEF,
    BRIEF_PLACES,
    FLOOR,
    FULL,
    MOST_PICKS,
    PICK,
    Frame,
    Item,
    Shelf,
    compose,
)
from digest.profile import Opinion, Profile, TopicProfile
from digest.ranking import PaperFacts, Ranking, Reason
from tests.fakes.corpus import GARDEN, GRASP, NOW, SPEECH, keyword, paper, rank_one, reader

TWO_TOPICS = Profile((TopicProfile("robots", {"robots": 1.0}), TopicProfile("soup", {"soup": 1.0})))
NOBODY = Profile()


def papers_of(size: int, *, trending=(), groups=()) -> list[PaperFacts]:
    return [
        paper(
            n + 1,
            trending=trending[n] if n < len(trending) else 0.0,
            group=groups[n] if n < len(groups) else None,
        )
        for n in range(size)
    ]


def ranked(relevance, *, best=None, muted=None, prior=None, who=TWO_TOPICS) -> Ranking:
    relevance = np.array(relevance, float)
    size = len(relevance)
    best = np.array(best if best is not None else [0] * size, np.int64)
    return Ranking(
        who,
        relevance + np.array(prior if prior is not None else [0.0] * size),
        relevance,
        best,
        np.array(muted if muted is not None else [False] * size, np.bool_),
        lambda place: Reason("topic", who.topics[int(best[place])].name),
    )


def chosen(ranking: Ranking, papers, *, places=5, allowed=None) -> list[Item]:
    allowed = np.array([True] * len(papers) if allowed is None else allowed, np.bool_)
    shelf = Shelf(papers)
    return shelf.items(compose(ranking, shelf, allowed, places=places))


def full(items: list[Item]) -> list[int]:
    return [item.paper_id for item in items if item.section == FULL]


def brief(items: list[Item]) -> list[int]:
    return [item.paper_id for item in items if item.section == BRIEF]


def picks(items: list[Item]) -> list[int]:
    return [item.paper_id for item in items if item.section == PICK]


def with_picks(papers: list[PaperFacts], *ids: int, **fields) -> list[PaperFacts]:
    """`papers`, of which the editor picked those."""
    return [
        replace(each, picked_by="Ben", **fields) if each.paper_id in ids else each
        for each in papers
    ]


def test_what_does_not_clear_the_floor_is_never_a_full_item():
    items = chosen(ranked([FLOOR + 1, FLOOR, FLOOR - 0.01, -1]), papers_of(4))
    assert full(items) == [1, 2]
    assert brief(items) == [3, 4]


def test_nothing_above_the_floor_means_no_mail():
    assert chosen(ranked([0.9 * FLOOR, 0]), papers_of(2, trending=[1.0, 1.0])) == []
    assert chosen(ranked([]), []) == []


def test_what_trends_helps_nothing_over_the_floor():
    assert chosen(ranked([FLOOR - 0.1], prior=[0.5]), papers_of(1)) == []


def test_full_items_are_in_the_order_of_their_score():
    assert full(chosen(ranked([2, 4, 3]), papers_of(3))) == [2, 3, 1]


def test_equal_scores_fall_by_the_paper_id():
    papers = papers_of(3)[::-1]
    assert full(chosen(ranked([3, 3, 3]), papers)) == [1, 2, 3]


def test_every_topic_has_a_place_if_it_clears_the_floor():
    relevance, best = [5, 4.5, 4, 3.5, FLOOR], [0, 0, 0, 0, 1]
    assert full(chosen(ranked(relevance, best=best), papers_of(5), places=3)) == [1, 2, 5]


def test_a_topic_below_the_floor_has_no_place():
    assert full(chosen(ranked([5, 0.5], best=[0, 1]), papers_of(2))) == [1]


def test_with_more_topics_than_places_the_best_ones_win():
    three = Profile(tuple(TopicProfile(name, {name: 1.0}) for name in "abc"))
    items = chosen(ranked([2, 4, 3], best=[0, 1, 2], who=three), papers_of(3), places=2)
    assert full(items) == [2, 3]


def test_the_popular_place_is_the_last_and_says_so():
    items = chosen(ranked([3, 0, 0]), papers_of(3, trending=[0.1, 0.4, 0.9]))
    assert full(items) == [1, 3]
    assert items[1].is_popular
    assert items[1].reason is not None
    assert items[1].reason.kind == "popular"
    assert not items[0].is_popular


def test_the_popular_place_is_one_of_the_places_asked_for():
    items = chosen(ranked([5, 4, 3, 0]), papers_of(4, trending=[0, 0, 0, 0.9]), places=3)
    assert full(items) == [1, 2, 4]
    assert brief(items) == [3]


def test_the_popular_place_is_never_taken_from_a_topic():
    relevance, best, trending = [5, 4, 3, FLOOR, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0.9]
    items = chosen(ranked(relevance, best=best), papers_of(5, trending=trending), places=3)
    assert full(items) == [1, 4, 5]
    items = chosen(ranked(relevance, best=best), papers_of(5, trending=trending), places=2)
    assert full(items) == [1, 4]


def test_the_popular_place_does_not_say_again_what_a_near_duplicate_says():
    papers = papers_of(3, trending=[0, 0.9, 0.5], groups=[(9, 1), (9, 1)])
    assert full(chosen(ranked([3, 0, 0]), papers)) == [1, 3]
    assert full(chosen(ranked([3, 0, 0]), papers, allowed=[False, True, True])) == []
    assert full(chosen(ranked([0, 0, 3]), papers, allowed=[False, True, True])) == [3, 2]


def test_what_is_hardly_popular_is_not_called_so():
    assert full(chosen(ranked([3, 0]), papers_of(2, trending=[0, 0.2]))) == [1]


def test_somebody_who_wants_one_paper_gets_their_own():
    items = chosen(ranked([3, 0]), papers_of(2, trending=[0, 0.9]), places=1)
    assert full(items) == [1]


def test_of_near_duplicates_the_best_stands_for_all():
    papers = papers_of(4, groups=[(9, 1), (9, 1), None, None])
    items = chosen(ranked([3, 4, 2, 0]), papers)
    assert full(items) == [2, 3]
    assert brief(items) == [4]


def test_groups_of_two_editions_are_not_confused():
    papers = papers_of(2, groups=[(9, 1), (10, 1)])
    assert full(chosen(ranked([3, 4]), papers)) == [2, 1]


def test_muted_and_shown_papers_are_nowhere():
    papers = papers_of(4, trending=[0.9, 0.9, 0, 0])
    items = chosen(
        ranked([5, 5, 3, 0], muted=[True, False, False, False]),
        papers,
        allowed=[True, False, True, True],
    )
    assert {item.paper_id for item in items} == {3, 4}


def test_a_brief_list_has_an_end():
    items = chosen(ranked([3] + [0] * 30), papers_of(31))
    assert brief(items) == list(range(2, 2 + BRIEF_PLACES))
    assert all(item.reason is None for item in items[1:])


# -- editors' picks ------------------------------------------------------------------------


def test_a_pick_stands_apart_and_takes_none_of_the_places():
    papers = with_picks(papers_of(4), 1)
    items = chosen(ranked([5, 4, 3, 2]), papers, places=2)
    assert (picks(items), full(items), brief(items)) == ([1], [2, 3], [4])


def test_a_pick_carries_the_editors_name_and_words():
    papers = with_picks(papers_of(2), 1, editor_note="Read this.")
    item = chosen(ranked([0, 3]), papers)[0]
    assert item.reason == Reason("editor", name="Ben", note="Read this.")


def test_a_pick_the_reader_would_have_wanted_is_worth_a_mail_by_itself():
    papers = with_picks(papers_of(3, trending=[0, 0.9, 0]), 1)
    items = chosen(ranked([FLOOR, 0, 0]), papers)
    assert (picks(items), full(items), brief(items)) == ([1], [], [2, 3])


def test_a_pick_below_the_floor_makes_no_mail_and_comes_with_one():
    papers = with_picks(papers_of(2, trending=[1.0, 0]), 1)
    assert chosen(ranked([0.9 * FLOOR, 0.5 * FLOOR]), papers) == []
    items = chosen(ranked([0.9 * FLOOR, FLOOR]), papers)
    assert (picks(items), full(items)) == ([1], [2])


def test_one_wanted_pick_brings_the_other_with_it():
    papers = with_picks(papers_of(2), 1, 2)
    assert picks(chosen(ranked([FLOOR, 0]), papers)) == [1, 2]


def test_of_many_picks_the_newest_editions_come_and_then_as_they_trend():
    ages, trends = [2, 0, 1, 0, 0], [0.9, 0.1, 0.9, 0.5, 0.1]
    papers = [
        replace(each, age_days=age, trending=trend)
        for each, age, trend in zip(papers_of(5), ages, trends, strict=True)
    ]
    items = chosen(ranked([FLOOR] * 5), with_picks(papers[::-1], 1, 2, 3, 4, 5))
    assert picks(items) == [4, 2, 5]
    assert len(picks(items)) == MOST_PICKS
    assert sorted(full(items)) == [1, 3]


def test_muted_and_shown_picks_are_nowhere():
    papers = with_picks(papers_of(3), 1, 2)
    ranking = ranked([5, 5, 3], muted=[True, False, False])
    items = chosen(ranking, papers, allowed=[True, False, True])
    assert {item.paper_id for item in items} == {3}


def test_what_is_like_a_pick_is_not_shown_beside_it():
    papers = with_picks(papers_of(5, groups=[(9, 1), (9, 1), (9, 2), (8, 1), None]), 1, 3)
    items = chosen(ranked([3, 9, 3, 3, 0]), papers)
    assert (picks(items), full(items), brief(items)) == ([1, 3], [4], [5])


def test_of_two_picks_that_say_the_same_one_comes():
    papers = with_picks(papers_of(3, groups=[(9, 1), (9, 1), None], trending=[0.1, 0.9, 0]), 1, 2)
    items = chosen(ranked([3, 3, 3]), papers)
    assert (picks(items), full(items)) == ([2], [3])


def test_what_is_like_a_muted_pick_may_be_chosen():
    papers = with_picks(papers_of(2, groups=[(9, 1), (9, 1)]), 1)
    items = chosen(ranked([3, 3], muted=[True, False]), papers)
    assert (picks(items), full(items)) == ([], [2])


def test_the_most_popular_paper_is_not_said_twice_where_it_is_picked():
    papers = with_picks(papers_of(3, trending=[0, 0.9, 0.5]), 2)
    items = chosen(ranked([3, 0, 0]), papers)
    assert (picks(items), full(items)) == ([2], [1, 3])


# -- readers without topics ----------------------------------------------------------------


def front_page(who, papers, *, stored=(), places=2) -> list[Item]:
    made = rank_one(who, papers, stored=stored)
    return chosen(made, papers, places=places)


def test_a_reader_who_minds_it_has_no_popular_place():
    papers = papers_of(3, trending=[0, 0, 0.9])
    minding = replace(TWO_TOPICS, likes_popular=False)
    assert full(chosen(ranked([3, 0, 0]), papers)) == [1, 3]
    assert full(chosen(ranked([3, 0, 0], who=minding), papers)) == [1]


def test_without_topics_it_is_the_trending_front_page():
    papers = papers_of(4, trending=[0.1, 0.9, 0.3, 0.5])
    items = front_page(reader(), papers)
    assert full(items) == [2, 4]
    assert brief(items) == [3, 1]
    assert {item.reason.kind for item in items[:2]} == {"popular"}


def test_the_front_page_has_its_picks_apart():
    papers = with_picks(papers_of(4, trending=[0.1, 0.9, 0.3, 0.5]), 2)
    items = front_page(reader(), papers)
    assert (picks(items), full(items), brief(items)) == ([2], [4, 3], [1])


def test_without_topics_a_pick_is_worth_a_mail_by_itself():
    assert picks(front_page(reader(), with_picks(papers_of(1), 1))) == [1]


def test_muting_alone_keeps_the_front_page_and_what_is_muted_out_of_it():
    papers = [paper(1, GARDEN, trending=0.9), paper(2, SPEECH, trending=0.1)]
    assert full(front_page(reader(mute=[keyword("tulip")]), papers)) == [2]


def test_one_liked_paper_does_not_end_the_front_page_but_leads_it():
    papers = [paper(1, GARDEN, trending=0.9), paper(2, "Cups and robots\nA robot arm grasps cups.")]
    who = reader(opinions=[Opinion(50, "more", NOW)])
    items = front_page(who, papers, stored=[paper(50, GRASP)])
    assert full(items) == [2, 1]
    assert [item.reason.kind for item in items] == ["more", "popular"]


def test_one_disliked_paper_sends_its_like_to_the_end():
    papers = [paper(1, GARDEN, trending=0.9), paper(2, SPEECH), paper(3, GRASP)]
    who = reader(opinions=[Opinion(50, "less", NOW)])
    items = front_page(who, papers, stored=[paper(50, GARDEN)], places=3)
    assert full(items)[-1] == 1
    assert {item.reason.kind for item in items} == {"popular"}


# -- stored items --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        Item(7, BRIEF, -0.25),
        Item(7, FULL, 2.5, is_popular=True, reason=Reason("popular", upvotes=3)),
        Item(7, FULL, 2.5, reason=Reason("topic", "robots", ("arm", "Müller's"), parts={"z": 2.5})),
        Item(7, FULL, 2.5, reason=Reason("paper", "robots", title="<b>", paper_id=4)),
        Item(7, PICK, 2.5, reason=Reason("editor", name="Ben", note="“So”, \n he said")),
        Item(7, FULL, 2.5, upvotes=0, stars=None, content_hash="0123456789ab"),
    ],
)
def test_an_item_survives_being_stored(item):
    assert Item.from_json(json.loads(json.dumps(item.to_json()))) == item


def test_an_item_stored_before_numbers_were_kept_can_be_read():
    stored = {"paper_id": 7, "section": "full", "score": 2.5, "reason": {"kind": "popular"}}
    assert Item.from_json(stored) == Item(7, FULL, 2.5, reason=Reason("popular"))


def test_every_section_keeps_the_papers_numbers_as_they_are():
    papers = with_picks(
        [
            paper(n, upvotes=n, stars=None if n == 3 else 10 * n, content_hash=f"{n}" * 32)
            for n in (1, 2, 3)
        ],
        1,
    )
    items = chosen(ranked([3, 3, 0]), papers)
    assert [item.section for item in items] == [PICK, FULL, BRIEF]
    assert [(item.upvotes, item.stars, item.content_hash) for item in items] == [
        (1, 10, "1" * 12), (2, 20, "2" * 12), (3, None, "3" * 12),
    ]  # fmt: skip


def test_what_is_written_at_once_is_what_the_items_say():
    """The text is joined of pieces; no note, name or number may break it."""
    nasty = 'a "quote", a \\, a\nline, é, 🦓'
    papers = with_picks(
        [paper(n, upvotes=n, trending=0.3 * n, content_hash=f"{n}" * 32) for n in (1, 2, 3)], 1,
        editor_note=nasty,
    )  # fmt: skip
    papers[1] = replace(papers[1], stars=7)
    who = Profile((TopicProfile(nasty, {"robots": 1.0}),))
    shelf = Shelf(papers)
    lines = compose(ranked([3, 2.5, -0.0], who=who), shelf, np.ones(3, np.bool_), places=1)
    for _ in range(2):
        assert json.loads(shelf.as_json(lines)) == [each.to_json() for each in shelf.items(lines)]
    assert shelf.as_json(lines) == json.dumps([each.to_json() for each in shelf.items(lines)])
    assert shelf.as_json([]) == "[]"


@pytest.mark.parametrize(
    "frame",
    [
        Frame("daily", (), 7, "UTC", "en"),
        Frame(
            "chosen", (0, 4), 0, "Asia/Tokyo", "de",
            next_on=date(2026, 11, 24), consented_on=date(2026, 1, 2),
        ),
    ],
)  # fmt: skip
def test_a_frame_survives_being_stored(frame):
    assert Frame.from_json(json.loads(json.dumps(frame.to_json()))) == frame


def test_what_is_composed_can_be_stored():
    papers = [paper(1, GRASP, trending=0.9), paper(2, SPEECH, trending=0.4), paper(3, GARDEN)]
    for item in front_page(reader("robot manipulation"), papers):
        assert Item.from_json(json.loads(json.dumps(item.to_json()))) == item


def test_an_empty_profile_is_composed_of_nothing_when_there_is_nothing():
    empty = ranked([], who=NOBODY)
    assert chosen(empty, []) == []
