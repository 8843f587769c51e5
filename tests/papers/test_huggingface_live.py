"""Both readers of Hugging Face, asked over HTTP: what is asked for, and what the row then says."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from papers import fetching
from papers.client import Client
from papers.models import Fetch, Paper
from papers.sources import View
from tests.fakes.source_server import entry
from tests.papers.factories import utc

DATA = Path(__file__).resolve().parent.parent / "data"
JANUARY_4 = utc("2027-01-04T09:00")
MONDAY = date(2026, 12, 28)


def without_waiting():
    return Client(sleep=lambda seconds: None)


def test_week_53_is_read_by_its_days_up_to_the_sunday_of_the_next_year(source, server):
    server.list_papers("2026-12-28", [entry(1, day="2026-12-28"), entry(2, day="2026-12-28")])
    server.list_papers("2026-12-31", [entry(3, day="2026-12-31")])
    server.list_papers("2027-01-03", [entry(4, day="2027-01-03")])

    fetch = fetching.fetch_view(source, View.WEEK, MONDAY, now=JANUARY_4)

    assert server.days_asked() == [
        "2026-12-28", "2026-12-29", "2026-12-30", "2026-12-31",
        "2027-01-01", "2027-01-02", "2027-01-03",
    ]  # fmt: skip
    assert not any("week" in request.query or "#" in request.path for request in server.requests)
    assert (fetch.status, fetch.pages, fetch.papers_new) == (Fetch.Status.OK, 7, 4)


def test_kept_answers_of_week_53_are_read_again_to_the_same_papers(source, server):
    server.list_papers("2026-12-31", [entry(3, day="2026-12-31")])
    fetch = fetching.fetch_view(source, View.WEEK, MONDAY, now=JANUARY_4)

    again = fetching.replay(fetch, now=JANUARY_4)

    assert (again.status, again.pages, again.papers_seen) == (Fetch.Status.OK, 7, 1)


@pytest.mark.parametrize("shape", [b'{"error":"gone"}', b'[{"work":{"id":"2610.11001"}}]'])
def test_an_api_of_another_shape_leaves_the_page_even_if_only_its_cards_can_be_read(
    source, server, shape
):
    cards = (DATA / "hf_page_2026-10-02.html").read_bytes().replace(b"dailyPapers", b"renamed")
    server.answer_next("/api/daily_papers", shape)
    server.answer_next("/papers/date/2026-10-02", cards)

    fetch = fetching.fetch_day(
        source, date(2026, 10, 2), now=utc("2026-10-02T20:00"), client=without_waiting()
    )

    assert (fetch.status, fetch.reader) == (Fetch.Status.OK, "huggingface_page")
    assert fetch.vanished_fields == ["dailyPapers"]
    assert dict(Paper.objects.values_list("arxiv_id", "upvotes")) == {
        "2609.11001": 566, "2610.11002": 43, "2006.11003": 0,
    }  # fmt: skip


def test_fields_that_came_and_went_stand_in_the_row(source, server):
    changed = [entry(number, upvotes=None, mood="hopeful") for number in range(1, 7)]
    server.list_papers("2026-11-23", changed)

    fetch = fetching.fetch_day(source, date(2026, 11, 23), now=utc("2026-11-23T12:00"))

    assert (fetch.status, fetch.papers_new) == (Fetch.Status.OK, 6)
    assert (fetch.unknown_fields, fetch.vanished_fields) == ({"paper.mood": 6}, ["paper.upvotes"])
