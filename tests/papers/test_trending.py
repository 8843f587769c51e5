from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.compose import POPULAR_FLOOR
from papers import trending
from papers.trending import Contender, Reading

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)


LIFTS = st.floats(-5, 5)


def contender(paper_id, upvotes, *, listed_hour=0, read_hour=20, stars=None, position=1, lift=0.0):
    reading = Reading(MIDNIGHT + timedelta(hours=read_hour), upvotes, stars=stars)
    return Contender(paper_id, MIDNIGHT + timedelta(hours=listed_hour), position, (reading,), lift)


def order(*contenders):
    return [placed.paper_id for placed in trending.rank(contenders)]


@given(st.integers(0, 2_147_483_647), st.floats(-1000, 10_000), LIFTS)
def test_a_score_lies_between_nought_and_one(votes, hours, lift):
    assert 0 < trending.score(votes, hours, lift=lift) < 1


@given(st.integers(0, 5000), st.floats(0, 400), LIFTS)
def test_another_vote_never_lowers_a_score_and_more_time_for_the_same_never_raises_it(
    votes, hours, lift
):
    score = trending.score(votes, hours, lift=lift)
    assert trending.score(votes + 1, hours, lift=lift) >= score
    assert trending.score(votes, hours + 1, lift=lift) <= score


@given(st.integers(0, 5000), st.floats(0, 400), LIFTS, st.floats(0, 3))
def test_more_hope_never_lowers_a_score(votes, hours, lift, more):
    score = trending.score(votes, hours, lift=lift)
    assert trending.score(votes, hours, lift=lift + more) >= score


@given(st.integers(0, 5000), st.floats(0, 400), LIFTS)
def test_doubt_shrinks_with_age_and_grows_less_than_the_votes(votes, hours, lift):
    now, later = (trending.outlook(votes, each, lift=lift) for each in (hours, hours + 10))
    assert later.doubt <= now.doubt
    louder = trending.outlook(votes + 100, hours, lift=lift)
    assert louder.doubt / louder.votes < now.doubt / now.votes


@given(st.integers(0, 5000), LIFTS)
def test_what_is_long_settled_is_what_was_counted(votes, lift):
    expected = trending.outlook(votes, 10_000, lift=lift).votes
    assert expected == pytest.approx(votes, rel=0.25, abs=1.3)


def test_before_any_vote_what_was_expected_is_expected():
    assert trending.outlook(0, 0).votes == pytest.approx(trending.TYPICAL_VOTES)
    assert trending.outlook(0, 0, lift=1).votes == pytest.approx(trending.TYPICAL_VOTES * math.e)


@given(st.floats(0, 400), st.floats(-100, 100))
def test_nobody_is_popular_on_reputation_alone(hours, lift):
    assert trending.score(0, hours, lift=lift) < POPULAR_FLOOR


def test_hope_counts_in_the_first_hour_and_hardly_any_more_after_a_day():
    def gap(hours):
        votes = round(40 * trending.exposure(hours))
        scores = [trending.score(votes, hours, lift=lift) for lift in (1, -1)]
        return scores[0] - scores[1]

    assert gap(1) > 4 * gap(24)


def test_of_two_with_as_many_votes_the_one_expected_to_have_them_leads():
    assert order(contender(1, 3), contender(2, 3, lift=0.5)) == [2, 1]


def test_many_votes_come_before_few():
    assert order(contender(1, 3), contender(2, 40), contender(3, 12)) == [2, 3, 1]


def test_a_late_listing_with_as_many_votes_is_the_stronger_one():
    assert order(contender(1, 15), contender(2, 15, listed_hour=12)) == [2, 1]


def test_two_votes_in_the_first_half_hour_do_not_beat_twenty_in_a_day():
    early_and_few = contender(1, 2, listed_hour=19.5)

    assert order(early_and_few, contender(2, 20)) == [2, 1]


def test_the_latest_reading_counts_whatever_order_they_are_given_in():
    readings = (Reading(MIDNIGHT + timedelta(hours=20), 30), Reading(MIDNIGHT, 1))

    first, second = trending.rank([contender(2, 20), Contender(1, MIDNIGHT, 1, readings=readings)])

    assert (first.paper_id, second.paper_id) == (1, 2)


def test_stars_then_the_position_break_ties():
    assert order(
        contender(1, 5, position=1), contender(2, 5, stars=900, position=3),
        contender(3, 5, position=2),
    ) == [2, 1, 3]  # fmt: skip


def test_a_paper_without_a_reading_comes_last_with_no_score():
    silent = Contender(9, MIDNIGHT, 1)

    placed = trending.rank([silent, contender(1, 0)])

    assert [(each.paper_id, each.rank) for each in placed] == [(1, 1), (9, 2)]
    assert placed[1].score is None


@given(st.permutations([contender(i, i % 3, position=i % 2) for i in range(8)]))
def test_the_ranking_does_not_depend_on_the_order_given(shuffled):
    fixed = sorted(shuffled, key=lambda each: each.paper_id)

    assert trending.rank(shuffled) == trending.rank(fixed)


def test_no_papers_no_ranking():
    assert trending.rank([]) == []


@pytest.mark.parametrize(("votes", "low", "high"), [(0, 0.0, 0.1), (7, 0.3, 0.6), (150, 0.85, 1)])
def test_scores_spread_over_what_a_morning_shows(votes, low, high):
    assert low <= trending.score(votes, 7.5) <= high
