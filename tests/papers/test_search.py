from __future__ import annotations

import pytest

from papers import editions
from papers.models import Paper
from papers.search import search
from tests.papers.factories import record, utc

NOW = utc("2026-11-23T07:00")


@pytest.fixture
def titles(source):
    """Stores papers and returns the titles that a query finds."""
    editions.record_day(
        NOW.date(),
        [
            record(1, title="Robots that fold laundry", published_at=utc("2026-11-20T00:00")),
            record(2, title="Laundry", abstract="A robots' survey.", authors=("Zoë Müller",)),
            record(3, title="100% sure", abstract="Nothing else.", arxiv_id="math/0611800"),
            record(4, title="Withdrawn robots and laundry", withdrawn=True),
            record(5, title="Laundry robots, newer", published_at=utc("2026-11-22T00:00")),
        ],
        source=source,
        now=NOW,
        read_at=NOW,
        backfill=False,
    )
    return lambda query, limit=10: [paper.title for paper in search(query, limit=limit)]


def test_all_words_must_occur_and_titles_come_first_then_the_newest(titles):
    assert titles("robots LAUNDRY") == [
        "Laundry robots, newer",
        "Robots that fold laundry",
        "Laundry",
    ]
    assert titles("robots cooking") == []


@pytest.mark.parametrize("name", ["ada", "Example Ada", "Müller", "Zoë"])
def test_authors_are_found_with_their_accents(titles, name):
    assert titles(name)


@pytest.mark.parametrize(
    "query", ["math/0611800", "arXiv:math.CA/0611800v2", "https://arxiv.org/abs/math/0611800"]
)
def test_an_id_or_a_link_finds_its_paper(titles, query):
    assert titles(query) == ["100% sure"]


def test_a_withdrawn_paper_is_found_by_its_id_alone(titles):
    assert titles("withdrawn") == []
    assert titles("2611.00004") == ["Withdrawn robots and laundry"]
    assert titles("2611.99999") == []


@pytest.mark.parametrize("query", ["", "   ", "\x00", "% _ '", '"; --', "\\"])
def test_signs_are_taken_literally_and_nothing_finds_nothing(titles, query):
    assert titles(query) == []


def test_a_percent_sign_finds_itself(titles):
    assert titles("100%") == ["100% sure"]


def test_length_words_and_answers_are_bounded(titles, django_assert_max_num_queries):
    with django_assert_max_num_queries(1):
        titles("laundry " * 10_000)
    assert len(titles("laundry", limit=1)) == 1


def test_vectors_are_not_loaded_to_list_papers(titles):
    titles("laundry")

    assert "vector" in search("laundry", limit=1)[0].get_deferred_fields()
    assert Paper.objects.count() == 5
