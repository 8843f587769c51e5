from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from papers import fetching, tasks, wanted
from papers.models import Fetch, Paper, Source, WantedCategory, WantedPaper
from tests.fakes.source_server import Submission, entry, paper
from tests.papers.factories import utc

NOW = utc("2026-11-23T07:00")
pytestmark = pytest.mark.django_db


def look_up(now=NOW) -> int:
    return wanted.look_up_due(now, sleep=lambda _seconds: None)


def rows() -> dict[str, int]:
    return dict(WantedPaper.objects.values_list("arxiv_id", "tries"))


def batches(server) -> list[list[str]]:
    asked = [request.query for request in server.requests if request.path == "/api/query"]
    return [sorted(query["id_list"].split(",")) for query in asked]


# -- wanting -------------------------------------------------------------------------------


def test_papers_are_wanted_once_and_not_when_they_are_stored():
    fetching.ensure_sources()
    Paper.objects.create(
        arxiv_id="2611.00001", title="Stored", published_at=NOW, content_hash="1" * 32
    )

    wanted.want(["2611.00002", "2611.00001", "cs/9901001"], NOW)
    wanted.want(["2611.00002"], NOW + timedelta(hours=1))

    assert rows() == {"2611.00002": 0, "cs/9901001": 0}
    assert WantedPaper.objects.get(arxiv_id="2611.00002").asked_at == NOW


def test_an_id_that_fits_no_column_is_let_go():
    wanted.want(["a" * 60 + "/9901001", ""], NOW)

    assert rows() == {}


# -- looking up ----------------------------------------------------------------------------


def test_wanted_papers_are_looked_up_in_one_request_though_arxiv_is_disabled(server):
    server.arxiv.submit(Submission(1), Submission(2, arxiv_id="cs/9901001"))
    wanted.want(["2611.00001", "cs/9901001"], NOW)

    assert look_up() == 2

    assert batches(server) == [["2611.00001", "cs/9901001"]]
    assert not Source.objects.get(slug="arxiv").is_enabled
    assert set(Paper.objects.values_list("arxiv_id", flat=True)) == {"2611.00001", "cs/9901001"}
    assert rows() == {}
    assert Fetch.objects.get().kind == Fetch.Kind.LOOK_UP


def test_a_found_paper_has_its_vector_and_is_in_no_edition(server):
    server.arxiv.submit(Submission(1))
    wanted.want(["2611.00001"], NOW)
    look_up()

    found = Paper.objects.get()
    assert bytes(found.vector)
    assert not found.entries.exists()


def test_the_task_looks_up_what_is_due(server):
    server.arxiv.submit(Submission(1))
    wanted.want(["2611.00001"], timezone.now())

    tasks.look_up_wanted()

    assert rows() == {}
    assert Paper.objects.get().arxiv_id == "2611.00001"


def test_many_are_asked_for_a_hundred_at_a_time(server):
    ids = [f"2611.{number:05}" for number in range(1, 151)]
    server.arxiv.submit(*(Submission(number) for number in range(1, 151)))
    wanted.want(ids, NOW)

    assert look_up() == 150
    assert [len(batch) for batch in batches(server)] == [100, 50]


def test_what_is_asked_for_again_comes_after_what_is_asked_for_the_first_time(server, monkeypatch):
    monkeypatch.setattr(wanted, "BATCHES", 1)
    wanted.want([f"2611.{number:05}" for number in range(1, 151)], NOW)
    WantedPaper.objects.filter(arxiv_id__lt="2611.00150").update(tries=1)
    WantedPaper.objects.filter(arxiv_id="2611.00150").update(not_before=NOW + timedelta(hours=1))

    look_up(NOW + timedelta(hours=1))

    (batch,) = batches(server)
    assert "2611.00150" in batch


def test_nothing_is_asked_while_nothing_is_due(server):
    wanted.want(["2611.00001"], NOW + timedelta(minutes=1))

    assert look_up() == 0
    assert server.requests == []


def test_an_unknown_paper_is_asked_for_after_an_hour_a_day_and_a_week_and_then_never(server):
    wanted.want(["2611.99999"], NOW)
    asked = []
    for hours in (0, 0.9, 1, 2, 24.9, 25, 26, 192, 193, 194, 1000, 10_000):
        before = len(server.requests)
        look_up(NOW + timedelta(hours=hours))
        if len(server.requests) > before:
            asked.append(hours)

    assert asked == [0, 1, 25, 193]
    row = WantedPaper.objects.get()
    assert wanted.is_given_up(row)
    assert "arXiv knows no such paper" in row.error


def test_an_id_that_cannot_be_costs_no_request(server):
    wanted.want(["2599.99999"], NOW)

    look_up()

    assert rows() == {"2599.99999": 1}
    assert server.requests == []


def test_an_unknown_paper_does_not_hold_up_the_others(server):
    server.arxiv.submit(Submission(1))
    wanted.want(["2599.99999", "2611.00001"], NOW)

    assert look_up() == 1
    assert rows() == {"2599.99999": 1}


def test_a_paper_that_came_by_another_way_is_asked_for_no_more(server, source):
    wanted.want(["2611.00001"], NOW)
    server.list_papers("2026-11-23", [entry(1)])
    fetching.fetch_day(source, NOW.date(), now=NOW)
    server.requests.clear()

    assert look_up() == 0
    assert rows() == {}
    assert server.requests == []


def test_while_arxiv_fails_hugging_face_is_asked_one_by_one_and_no_paper_is_blamed(server):
    server.answer_always("/api/query", b"Rate exceeded.", status=429)
    server.answer_paper("2611.00001", paper(1))
    wanted.want(["2611.00001", "2611.00002", "cs/9901001"], NOW)

    assert look_up() == 1

    assert rows() == {"2611.00002": 0, "cs/9901001": 0}
    assert "/api/papers/cs/9901001" not in server.paths_asked()
    waiting = WantedPaper.objects.get(arxiv_id="cs/9901001")
    assert waiting.not_before >= NOW + wanted.BACK_OFF
    assert "429" in waiting.error


def test_after_a_failure_the_rest_is_found_when_its_time_has_come(server):
    server.answer_always("/api/query", b"", status=403)
    wanted.want(["cs/9901001"], NOW)
    assert look_up() == 0
    server.forget("/api/query")
    server.arxiv.submit(Submission(1, arxiv_id="cs/9901001"))

    assert look_up(NOW + timedelta(minutes=1)) == 0
    assert look_up(NOW + wanted.BACK_OFF) == 1


def test_what_another_worker_has_in_hand_is_left_to_it(server):
    server.arxiv.submit(Submission(1))
    wanted.want(["2611.00001"], NOW)
    assert len(wanted._claim(NOW)) == 1

    assert look_up(NOW + timedelta(minutes=1)) == 0
    assert server.requests == []
    assert look_up(NOW + wanted.LEASE) == 1, "it died, and its lease is over"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="threads share one in-memory database: needs PostgreSQL"
)
def test_two_workers_at_once_ask_for_each_paper_once(server):
    ids = [f"2611.{number:05}" for number in range(1, 251)]
    server.arxiv.submit(*(Submission(number) for number in range(1, 251)))
    fetching.ensure_sources()
    wanted.want(ids, NOW)
    found = []

    def work(second: int) -> None:
        found.append(look_up(NOW + timedelta(seconds=second)))
        connection.close()

    threads = [threading.Thread(target=work, args=(second,)) for second in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(found) == 250
    asked = [arxiv_id for batch in batches(server) for arxiv_id in batch]
    assert sorted(asked) == ids


# -- categories ----------------------------------------------------------------------------


def test_followed_categories_are_read_beside_the_settings_own(settings, server, arxiv):
    settings.ARXIV_CATEGORIES = ["cs.LG"]
    wanted.follow(["hep-th", "cs.CL", "cs.LG"], NOW)

    assert wanted.categories() == ["cs.CL", "cs.LG", "hep-th"]
    fetching.fetch_day(arxiv, NOW.date(), now=NOW)
    assert server.paths_asked() == ["/rss/cs.CL+cs.LG+hep-th"]


def test_what_could_be_no_category_is_left_out():
    wanted.follow(["cs.CL", "cs.CL+x", "../etc", "", "CS.CL", "c" * 80], NOW)

    assert list(WantedCategory.objects.values_list("name", flat=True)) == ["cs.CL"]


def test_categories_are_dropped_unless_somebody_followed_them_meanwhile():
    wanted.follow(["cs.CL", "cs.IR", "cs.SE"], NOW)
    wanted.follow(["cs.SE"], NOW + timedelta(minutes=5))

    assert wanted.unfollow(["cs.CL"], before=NOW + timedelta(minutes=1)) == 1
    assert set(WantedCategory.objects.values_list("name", flat=True)) == {"cs.CL", "cs.SE"}
