from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest import plots
from digest.plots import BASE, LEFT, RIGHT, TOP, WIDTH

KINDS = ("sent", "skipped", "failed")

counts = st.integers(0, 3_000_000)


def days(numbers):
    return [(f"day {place}", number) for place, number in enumerate(numbers)]


def points(text):
    return [tuple(map(float, point.split(","))) for point in text.split()]


@given(st.lists(counts, min_size=1, max_size=31))
def test_a_line_stays_within_its_scales_and_ends_at_the_newest_day(numbers):
    plot = plots.trend(days(numbers))
    drawn = points(plot.line)
    assert len(drawn) == len(numbers)
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= BASE for x, y in drawn)
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    assert plot.end == drawn[-1]
    assert plot.across[-1].at == drawn[-1][0]


@given(st.lists(counts, min_size=2, max_size=31))
def test_more_readers_never_stand_lower(numbers):
    drawn = points(plots.trend(days(numbers)).line)
    by_number = sorted(zip(numbers, (y for _, y in drawn), strict=True))
    for (_, lower), (_, higher) in pairwise(by_number):
        assert higher <= lower


def test_the_scale_of_a_line_begins_at_nothing_and_has_round_numbers():
    plot = plots.trend(days([1200, 1204, 1190]))
    assert [tick.label for tick in plot.up] == ["0", "500", "1,000", "1,500"]
    assert plot.up[0].at == BASE
    assert plot.up[-1].at == TOP


def test_a_months_line_is_labelled_by_the_week_counted_back_from_the_newest_day():
    plot = plots.trend(days(range(31)))
    assert [tick.label for tick in plot.across] == ["day 2", "day 9", "day 16", "day 23", "day 30"]


@given(st.lists(st.tuples(counts, counts, counts), min_size=1, max_size=14))
def test_the_parts_of_a_stack_stand_on_each_other_and_are_as_high_as_they_count(numbers):
    slots = days([dict(zip(KINDS, parts, strict=True)) for parts in numbers])
    plot = plots.stacks(slots, KINDS)
    assert len(plot.bars) == sum(1 for parts in numbers for part in parts if part)
    by_x: dict[float, list[plots.Bar]] = {}
    for bar in plot.bars:
        by_x.setdefault(bar.x, []).append(bar)
        assert bar.x >= LEFT
        assert bar.x + bar.width <= WIDTH - RIGHT
        assert bar.y >= TOP - 0.1
        assert bar.y + bar.height <= BASE + 0.1
    for stack in by_x.values():
        assert stack[0].y + stack[0].height == pytest.approx(BASE, abs=0.1)
        for below, above in pairwise(stack):
            assert above.y + above.height == pytest.approx(below.y, abs=0.15)
    full = max(sum(parts) for parts in numbers)
    if full:
        share = (BASE - TOP) / full
        tallest = max(bar.height for bar in plot.bars)
        assert tallest <= max(map(max, numbers)) * share + 0.2


def test_stacks_are_drawn_oldest_first_with_the_newest_labelled():
    slots = days([{"sent": 10}, {"sent": 5, "failed": 5}])
    first, *second = plots.stacks(slots, KINDS).bars
    assert (first.kind, [bar.kind for bar in second]) == ("sent", ["sent", "failed"])
    assert first.x < second[0].x == second[1].x
    assert first.height == pytest.approx(2 * second[0].height, abs=0.1)
    assert plots.stacks(slots, KINDS).across[-1].label == "day 1"


def test_a_delay_reaches_from_its_median_up_to_the_slow_ones_at_its_hour():
    plot = plots.delays({6: (20.0, 90.0), 18: (5.0, 5.0)})
    morning, evening = plot.spans
    assert morning.x < evening.x
    assert morning.high < morning.low < BASE
    assert evening.high == evening.low > morning.low
    assert [tick.label for tick in plot.up] == ["0 s", "30 s", "1 min", "1.5 min"]


def test_without_any_number_there_are_scales_and_nothing_on_them():
    for plot in (plots.trend([]), plots.stacks([], KINDS), plots.delays({})):
        assert plot.up
        assert (plot.line, plot.area, plot.bars, plot.spans) == ("", "", (), ())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.25, "0.2 s"),
        (9.96, "10 s"),
        (59, "59 s"),
        (59.9, "60 s"),
        (90, "1.5 min"),
        (3600, "1 h"),
        (86_400 * 3, "3 d"),
    ],
)
def test_a_duration_is_said_in_its_largest_unit(seconds, said):
    assert plots.duration(seconds) == said
