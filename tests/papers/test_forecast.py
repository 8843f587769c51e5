from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers import forecast
from papers.forecast import NO_HISTORY, NO_TEXT, Group, History, Listing, TextPrior
from papers.vectors import bag


def listing(edition=1, votes=0, **fields) -> Listing:
    return Listing(edition, votes=votes, **fields)


def past(days: int = 30, **first) -> list[Listing]:
    """Days of five papers each; the first one is by whom `first` says, and gets nine times more."""
    return [
        listing(day, votes=99 if place == 0 else 9, **(first if place == 0 else {}))
        for day in range(days)
        for place in range(5)
    ]


def test_a_lift_is_held_against_the_papers_own_day():
    quiet, loud = [1, 2, 3, 4, 5], [101, 201, 301, 401, 501]
    found = forecast.lifts([listing("q", n) for n in quiet] + [listing("l", n) for n in loud])

    assert found[:5].sum() == pytest.approx(0)
    assert found[5:].sum() == pytest.approx(0)
    assert found[4] == pytest.approx(np.log(6) - np.log([2, 3, 4, 5, 6]).mean())


def test_a_day_of_four_papers_says_nothing():
    assert np.isnan(forecast.lifts([listing(1, n) for n in range(4)])).all()
    assert History.of([listing(1, n, submitter="a") for n in range(4)]).effects[
        Group.SUBMITTER
    ].seen == {}  # fmt: skip


@pytest.mark.parametrize(
    ("group", "fields"),
    [
        (Group.ORGANIZATION, {"organization": "Example Lab"}),
        (Group.AUTHOR, {"authors": ("Ada Example",)}),
        (Group.SUBMITTER, {"submitter": "a" * 16}),
    ],
)
def test_who_had_many_votes_is_expected_to_have_them_again_and_more_surely_by_and_by(group, fields):
    few, many = (History.of(past(days, **fields)) for days in (2, 30))
    known = listing(**fields)
    lift = math.log(100 / 10) * 4 / 5

    assert 0 < few.expected(known, group) < many.expected(known, group) < lift
    ratio = forecast.USUAL_RATIO[group]
    assert many.expected(known, group) == pytest.approx(30 * lift / (30 + ratio))


def test_who_is_unknown_is_ordinary():
    history = History.of(past(authors=("Ada Example",)))
    stranger = listing(authors=("Ben Sample",), organization="Elsewhere", submitter="b" * 16)

    assert [history.expected(stranger, group) for group in Group] == [0, 0, 0]
    assert [NO_HISTORY.expected(stranger, group) for group in Group] == [0, 0, 0]


def test_names_are_known_whatever_their_accents_and_case():
    history = History.of(past(authors=("José  Núñez",)))

    assert history.expected(listing(authors=("JOSE NUNEZ",)), Group.AUTHOR) > 1


def test_three_famous_authors_are_as_good_as_three_hundred():
    names = tuple(f"Ada Example{n}" for n in range(300))
    history = History.of(past(authors=names))

    expected = [history.expected(listing(authors=names[:n]), Group.AUTHOR) for n in (1, 3, 300)]
    assert expected[0] < expected[1] == pytest.approx(expected[2])


def test_earlier_history_is_counted_in():
    fields = {"submitter": "a" * 16}
    both = History.of(past(4, **fields), earlier=History.of(past(3, **fields)))

    assert both.effects[Group.SUBMITTER].seen["a" * 16][0] == 7


def test_variances_are_estimated_as_they_were_made():
    """Two hundred names of ten papers: variance 0.5 among names, 2 inside one."""
    rng = np.random.default_rng(7)
    lifts = rng.normal(0, 0.5**0.5, (200, 1)) + rng.normal(0, 2**0.5, (200, 10))
    seen = [(10, total) for total in lifts.sum(axis=1)]

    assert forecast.variance_ratio(seen, float((lifts**2).sum())) == pytest.approx(4, rel=0.25)


def test_names_that_make_no_difference_are_not_believed():
    rng = np.random.default_rng(7)
    lifts = rng.normal(0, 1, (4, 200))
    lifts -= lifts.mean(axis=1, keepdims=True)
    ratio = forecast.variance_ratio([(200, row.sum()) for row in lifts], float((lifts**2).sum()))

    assert ratio == math.inf
    assert forecast.Effects(ratio, {"a": (200, 90.0)}).expected("a") == 0


@pytest.mark.parametrize("seen", [[], [(1, 0.5)], [(1, 0.5), (1, 0.1)], [(9, 1.0)]])
def test_too_little_to_estimate_variances_is_said(seen):
    assert forecast.variance_ratio(seen, 9.0) is None


def test_long_history_estimates_its_own_variances():
    """Here everybody's papers do alike, so that a name is worth nothing."""
    listings = [
        listing(day, votes=int(9 * (1 + (day + place) % 5)), submitter=f"{place:016}")
        for day in range(120)
        for place in range(5)
    ]

    assert History.of(listings).effects[Group.SUBMITTER].ratio > 100


# -- words ---------------------------------------------------------------------------------

ROBOT, TULIP = (bag(text).to_bytes() for text in ("robots grasp cups", "tulips from the air"))


def fitted() -> TextPrior:
    return TextPrior.fit([ROBOT, TULIP] * 40, np.array([1.0, -1.0] * 40))


def test_words_of_papers_that_had_votes_raise_what_is_expected():
    robots, tulips, both, unknown, empty = fitted().expected(
        [bag(text).to_bytes() for text in ("cups", "tulips", "cups, tulips", "violins", "")]
    )

    assert robots > 0.2 and tulips == pytest.approx(-robots, rel=0.5)
    assert tulips < both < robots
    assert (unknown, empty) == (0, 0)


def test_rare_words_have_no_weight():
    assert len(TextPrior.fit([ROBOT] * 9, np.ones(9)).terms) == 0
    assert len(TextPrior.fit([ROBOT] * 10, np.ones(10)).terms) == 5


def test_weights_survive_storing():
    stored = TextPrior.from_bytes(fitted().to_bytes(), papers=80)

    assert stored.papers == 80
    assert stored.expected([ROBOT]) == pytest.approx(fitted().expected([ROBOT]), rel=1e-2)
    with pytest.raises(ValueError, match="not a stored table"):
        TextPrior.from_bytes(b"123", papers=1)


def test_nothing_fitted_and_nothing_asked_are_fine():
    assert NO_TEXT.expected([ROBOT]).tolist() == [0]
    assert len(fitted().expected([])) == 0
    assert len(TextPrior.fit([], np.empty(0)).terms) == 0
    assert len(forecast.expected_lifts([], NO_HISTORY, fitted())) == 0


# -- together ------------------------------------------------------------------------------


def test_the_papers_of_an_edition_are_held_against_each_other():
    history = History.of(past(submitter="a" * 16))
    papers = [
        listing(submitter="a" * 16, code=ROBOT),
        listing(code=ROBOT, has_code=True),
        listing(code=TULIP),
    ]
    lifts = forecast.expected_lifts(papers, history, fitted())

    assert lifts.sum() == pytest.approx(0)
    assert lifts[0] > lifts[1] > lifts[2]


@given(st.lists(st.integers(0, 10_000), min_size=5, max_size=9))
def test_whatever_the_votes_expectations_are_finite(votes):
    listings = [listing(1, each, submitter="a", authors=("Ada",)) for each in votes]
    found = forecast.expected_lifts(listings, History.of(listings), fitted())

    assert np.isfinite(found).all()
