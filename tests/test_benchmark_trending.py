"""What measures the trending score must not look ahead, and must see what there is to see."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from benchmarks import trending
from benchmarks.trending import Day
from tests.fakes.source_server import entry

FIRST, DAYS, A_DAY = date(2025, 5, 1), 240, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An archive in which one person's papers win every day, listed in the order of their votes."""
    root = tmp_path_factory.mktemp("data")
    (root / "hf_daily").mkdir()
    rng = np.random.default_rng(7)
    lines, best = [], []
    for number in range(0, DAYS, 3):
        day = FIRST + timedelta(days=number)
        votes = sorted(rng.poisson(9, A_DAY - 1).tolist(), reverse=True)
        for rank, upvotes in enumerate([16, *votes], start=1):
            paper = entry(
                100 * number + rank, day=day.isoformat(), upvotes=upvotes,
                submittedOnDailyBy={"user": "ada" if rank == 1 else f"s{number}-{rank}"},
            )  # fmt: skip
            paper["paper"]["id"] = f"{day:%y%m}.{100 * number + rank:05}"
            read_at = f"{day}T07:50:00Z"
            lines.append({"date": f"{day}", "captured_at": read_at, "rank": rank, "entry": paper})
            if day >= trending.SETTLED_FROM and rank <= 3:
                best.append(paper["paper"]["id"])
    body = "\n".join(map(json.dumps, lines))
    (root / trending.ARCHIVE).write_bytes(gzip.compress(body.encode()))
    rows = [f"{place},{id}" for place, id in enumerate(best, start=1)]
    (root / trending.SETTLED).write_text("\n".join(["rank,arxiv_id", *rows]))
    return root


@pytest.fixture(scope="module")
def days(folder) -> Sequence[Day]:
    return trending.load(folder / trending.ARCHIVE)


def test_every_method_is_measured_with_its_interval(folder, monkeypatch):
    monkeypatch.setattr(trending, "RESAMPLED", 200)
    found = trending.measure(folder)

    after, early, before = (
        found[name]
        for name in ("after the first votes", "after a tenth of them", "before any vote")
    )
    assert after["sort by upvotes"]["auc"]["value"] > 0.9
    assert after["random"]["auc"]["value"] < 0.75
    assert early["ours"]["auc"]["value"] > early["sort by upvotes"]["auc"]["value"]
    assert early["ours"]["auc less upvotes'"][0] > 0
    assert before["ours"]["ndcg@5"]["value"] > before["random"]["ndcg@5"]["value"]
    assert before["ours without submitter"]["less ours"][1][1] < 0
    assert before["before (one prior for all)"]["spearman"]["value"] == 0
    for measured in (after, early):
        low, high = measured["ours"]["auc"]["95%"]
        assert low <= measured["ours"]["auc"]["value"] <= high
    json.dumps(found, allow_nan=False)


def test_nothing_is_known_of_a_day_before_it(days):
    """Its votes, and those of all later days, turned round: what was expected of it stays."""
    middle = days[len(days) // 2].day
    turned = [
        each
        if each.day < middle
        else replace(
            each,
            listings=tuple(replace(one, votes=99 - one.votes) for one in each.listings),
        )
        for each in days
    ]
    before, after = (trending.walk(some)[middle].lift() for some in (days, turned))

    assert before.any()
    assert before.tolist() == after.tolist()


def test_a_paper_is_new_on_the_first_of_its_days_alone(folder, tmp_path):
    lines = gzip.decompress((folder / trending.ARCHIVE).read_bytes()).decode().splitlines()
    again = json.loads(lines[0]) | {"date": "2025-12-28"}
    path = tmp_path / "archive.gz"
    path.write_bytes(gzip.compress("\n".join([*lines, json.dumps(again)]).encode()))

    assert trending.load(path)[-1].day < date(2025, 12, 28)


def test_ties_are_worth_half_and_do_not_fall_by_the_order_of_the_archive():
    is_top = np.array([True, True, False, False])
    assert trending.auc_of(np.zeros(4), is_top) == 0.5
    assert trending.auc_of(np.array([4.0, 3, 2, 1]), is_top) == 1
    assert np.isnan(trending.auc_of(np.zeros(2), np.array([True, True])))
    places = np.arange(1, 31)
    assert np.mean([trending.overlap(np.zeros(n), places[:n]) for n in range(10, 31)]) < 0.4
    assert trending.overlap(-places.astype(float), places) == 1


def test_a_perfect_order_is_judged_so_and_one_that_says_nothing_has_no_correlation():
    votes = np.array([9.0, 4, 2, 1, 0, 0])
    assert trending.judge(votes, votes) == pytest.approx((1, 1))
    assert trending.judge(-votes, votes)[0] == pytest.approx(-1)
    assert trending.judge(np.zeros(6), votes)[0] == 0
