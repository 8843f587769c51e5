from __future__ import annotations

import json
from datetime import timedelta

import pytest
import time_machine

from papers import editions, enriching, fetching, tasks
from papers.models import Answer, Edition, Fetch, Paper, Source
from papers.sources.semantic_scholar import SemanticScholar
from tests.papers.factories import record, utc

NOW = utc("2026-11-23T07:00")
pytestmark = pytest.mark.django_db


@pytest.fixture
def server(server, monkeypatch):
    monkeypatch.setattr(SemanticScholar, "pace_seconds", 0)
    return server


@pytest.fixture
def scholar(db) -> Source:
    """Switched on."""
    fetching.ensure_sources()
    Source.objects.filter(slug="semantic_scholar").update(is_enabled=True, next_fetch_at=NOW)
    return Source.objects.get(slug="semantic_scholar")


@pytest.fixture
def papers(source) -> list[Paper]:
    """Two of yesterday's."""
    day_before = NOW - timedelta(days=1)
    editions.record_papers(
        [record(1, tldr="Hugging Face's own summary."), record(2)],
        source=source,
        now=day_before,
        read_at=day_before,
    )
    return list(Paper.objects.order_by("arxiv_id"))


def enrich(now=NOW) -> list[Fetch]:
    Source.objects.filter(slug="semantic_scholar").update(next_fetch_at=now)
    return enriching.enrich_due(now, sleep=lambda _seconds: None)


def asked(server) -> list[list[str]]:
    posts = [request for request in server.requests if request.path.startswith("/graph/")]
    return [json.loads(request.body)["ids"] for request in posts]


def test_a_disabled_source_is_not_asked(server, papers):
    assert enrich() == []
    assert server.requests == []


def test_citations_are_stored_and_a_summary_where_there_is_none(server, scholar, papers):
    server.cite("2611.00001", 3, tldr="Another summary.")
    server.cite("2611.00002", 0, tldr="The only summary.")

    (fetch,) = enrich()

    first, second = Paper.objects.order_by("arxiv_id")
    assert (first.citations, first.tldr) == (3, "Hugging Face's own summary.")
    assert (second.citations, second.tldr) == (0, "The only summary.")
    assert second.title == "Paper number 2"
    assert {first.enriched_at, second.enriched_at} == {NOW}
    assert (fetch.kind, fetch.status, fetch.papers_seen) == ("enrichment", "ok", 2)
    assert asked(server) == [["ARXIV:2611.00001", "ARXIV:2611.00002"]]


def test_a_better_summary_that_comes_later_replaces_it(server, scholar, source, papers):
    server.cite("2611.00002", 1, tldr="The only summary.")
    enrich()
    before = Paper.objects.get(arxiv_id="2611.00002").content_hash

    editions.record_papers([record(2, tldr="Better.")], source=source, now=NOW, read_at=NOW)

    second = Paper.objects.get(arxiv_id="2611.00002")
    assert second.tldr == "Better."
    assert second.content_hash != before


def test_enrichment_makes_no_paper_and_no_news(server, scholar, papers):
    server.cite("2611.00001", 3)
    enrich()

    assert Paper.objects.count() == 2
    assert not Edition.objects.exists()


def test_a_paper_is_asked_about_less_and_less_and_then_never(server, scholar, papers):
    server.cite("2611.00001", 1)
    seen = papers[0].first_seen_at
    days = []
    for day in range(60):
        before = len(server.requests)
        enrich(seen + timedelta(days=day, minutes=1))
        if len(server.requests) > before:
            days.append(day)

    assert days == [1, 2, 4, 6, 9, 12, 19, 26]


def test_what_a_backfill_brought_is_left_alone(server, scholar, source):
    old = record(1, published_at=NOW - timedelta(days=400))
    day_before = NOW - timedelta(days=1)
    editions.record_papers([old], source=source, now=day_before, read_at=day_before)

    assert enrich() == []


def test_papers_that_it_does_not_know_are_not_asked_for_every_hour(server, scholar, papers):
    (fetch,) = enrich()

    assert (fetch.status, fetch.error) == ("empty", "")
    assert enrich(NOW + timedelta(hours=1)) == []
    assert len(enrich(NOW + timedelta(days=1))) == 1


def test_the_newest_count_counts_also_when_it_is_lower(server, scholar, papers):
    server.cite("2611.00001", 3)
    enrich()
    server.cite("2611.00001", 2)
    enrich(NOW + timedelta(days=2))

    assert Paper.objects.get(arxiv_id="2611.00001").citations == 2


def test_the_key_is_sent_where_there_is_one(server, scholar, papers, settings):
    settings.SEMANTIC_SCHOLAR_KEY = "k1"
    enrich()

    assert server.requests[0].headers["x-api-key"] == "k1"


def test_five_hundred_are_asked_for_at_a_time(server, scholar, source):
    day_before = NOW - timedelta(days=1)
    editions.record_papers(
        [record(number) for number in range(1, 701)],
        source=source,
        now=day_before,
        read_at=day_before,
    )
    server.cite("2611.00700", 1)
    server.cite("2611.00001", 1)

    assert [fetch.papers_seen for fetch in enrich()] == [1, 1]
    assert [len(ids) for ids in asked(server)] == [500, 200]


def test_after_a_failure_nothing_is_marked_and_it_is_asked_again_later(server, scholar, papers):
    server.answer_always("/graph", b"", status=403)

    (fetch,) = enrich()

    assert (fetch.status, fetch.http_status) == ("failed", 403)
    assert not Paper.objects.filter(enriched_at__isnull=False).exists()
    scholar.refresh_from_db()
    assert scholar.next_fetch_at == NOW + timedelta(hours=1)


def test_a_wish_for_rest_is_heeded(server, scholar, papers):
    server.answer_always("/graph", b"", status=429, headers={"Retry-After": "9000"})

    enrich()

    scholar.refresh_from_db()
    assert scholar.next_fetch_at == NOW + timedelta(seconds=9000)


def test_a_bad_item_is_named_and_stops_nothing(server, scholar, papers):
    good = {"externalIds": {"ArXiv": "2611.00002"}, "citationCount": 4, "tldr": None}
    server.answer_next("/graph", [{"externalIds": {}}, good])

    (fetch,) = enrich()

    assert (fetch.status, fetch.papers_seen, fetch.papers_skipped) == ("ok", 1, 1)
    assert "entry 1: without an arXiv id" in fetch.error
    assert Paper.objects.get(arxiv_id="2611.00002").citations == 4


def test_the_task_does_it_when_it_is_time(server, scholar, papers):
    with time_machine.travel(NOW - timedelta(minutes=1), tick=False):
        tasks.enrich()
    assert server.requests == []

    with time_machine.travel(NOW, tick=False):
        tasks.enrich()
    assert len(server.requests) == 1


def test_two_workers_do_not_ask_at_once(server, scholar, papers):
    assert enriching._claim(NOW) is not None
    assert enriching.enrich_due(NOW) == []
    assert server.requests == []


def test_a_kept_answer_is_replayed_unless_a_later_one_is_known(server, scholar, papers):
    server.cite("2611.00001", 3)
    server.cite("2611.00002", 3)
    (first,) = enrich()
    assert Answer.objects.filter(fetch=first).count() == 1
    Paper.objects.update(citations=None)
    Paper.objects.filter(arxiv_id="2611.00002").update(enriched_at=utc("2027-01-01"), citations=9)

    replayed = enriching.replay(first, now=NOW + timedelta(days=1))

    assert (replayed.origin, replayed.status) == ("replay", "ok")
    assert list(Paper.objects.order_by("arxiv_id").values_list("citations", flat=True)) == [3, 9]
