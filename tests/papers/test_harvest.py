from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from papers import harvest
from papers.models import Answer, Edition, Fetch, Harvest, Paper
from papers.sources.arxiv_oai import ArXivOAI
from tests.fakes.source_server import Submission
from tests.papers.factories import utc

NOW = utc("2026-11-23T07:00")
SINCE, UNTIL = date(2026, 11, 1), date(2026, 11, 20)
pytestmark = pytest.mark.django_db


class Stopped(BaseException):
    """The process ends here, as by kill -9: nothing of it catches this."""


def submissions(number: int, *, on: date = date(2026, 11, 5), first: int = 1):
    at = datetime(on.year, on.month, on.day, 12, tzinfo=UTC)
    return [Submission(n, submitted=at) for n in range(first, first + number)]


def run(arxiv, since=SINCE, until=UNTIL, *, now=NOW, name="cs", **options):
    return harvest.run(arxiv, name, since, until, now=now, **options)


def oai(server) -> list[dict[str, str]]:
    return [request.query for request in server.requests if request.path == "/oai"]


def stored() -> int:
    return Paper.objects.count()


def stop_after(pages: int):
    def on_progress(_progress) -> None:
        nonlocal pages
        pages -= 1
        if not pages:
            raise Stopped

    return on_progress


# -- a whole range -------------------------------------------------------------------------


def test_a_range_is_read_page_by_page_and_stored(arxiv, server):
    server.arxiv.page_size = 10
    server.arxiv.submit(*submissions(25))
    seen = []

    fetch = run(arxiv, on_progress=seen.append)

    assert (fetch.status, fetch.kind, fetch.pages) == ("ok", Fetch.Kind.HARVEST, 3)
    assert (fetch.papers_seen, fetch.papers_new, stored()) == (25, 25, 25)
    assert [each.papers for each in seen] == [10, 20, 25]
    row = Harvest.objects.get()
    assert (row.papers, row.papers_expected, row.token) == (25, 25, "")
    assert row.finished_at >= NOW


def test_what_is_harvested_is_nobodys_news(arxiv, server):
    server.arxiv.submit(*submissions(3, on=NOW.date()))

    run(arxiv, NOW.date(), NOW.date())

    assert stored() == 3
    assert not Edition.objects.exists()


def test_a_long_range_is_asked_for_in_parts_that_leave_nothing_out(arxiv, server):
    days = [date(2026, 1, 1) + timedelta(days=each) for each in range(0, 300, 10)]
    for number, day in enumerate(days, start=1):
        server.arxiv.submit(*submissions(1, on=day, first=number))

    fetch = run(arxiv, date(2026, 1, 1), UNTIL)

    assert stored() == fetch.papers_seen == len(days)
    asked = [(each["from"], each["until"]) for each in oai(server)]
    assert asked[:2] == [("2026-01-01", "2026-01-30"), ("2026-01-31", "2026-03-01")]
    assert asked[-1][1] == "2026-11-20"
    assert len(asked) == 11


def test_a_range_without_papers_is_empty_and_done(arxiv, server):
    assert run(arxiv).status == Fetch.Status.EMPTY
    assert run(arxiv) is None


def test_a_finished_range_is_not_read_twice(arxiv, server):
    server.arxiv.submit(*submissions(3))
    run(arxiv)
    server.requests.clear()

    assert run(arxiv, now=NOW + timedelta(days=30)) is None
    assert server.requests == []


def test_a_range_that_ended_today_is_read_again_when_today_is_over(arxiv, server):
    server.arxiv.submit(*submissions(1, on=NOW.date()))
    run(arxiv, NOW.date(), NOW.date())
    server.arxiv.submit(*submissions(1, on=NOW.date(), first=2))

    assert run(arxiv, NOW.date(), NOW.date(), now=NOW + timedelta(days=2)).papers_new == 1
    assert run(arxiv, NOW.date(), NOW.date(), now=NOW + timedelta(days=3)) is None


def test_a_later_version_improves_what_is_stored(arxiv, server):
    (first,) = submissions(1)
    server.arxiv.submit(first)
    run(arxiv)
    server.arxiv.submit(replace(first, title="A better title", updated=utc("2026-11-19T12:00")))

    again = run(arxiv, date(2026, 11, 19), UNTIL)

    assert (again.papers_new, again.papers_updated) == (0, 1)
    assert Paper.objects.get().title == "A better title"


def test_every_page_is_kept_and_can_be_replayed(arxiv, server):
    server.arxiv.page_size = 10
    server.arxiv.submit(*submissions(25))
    fetch = run(arxiv)
    assert Answer.objects.filter(fetch=fetch).count() == 3
    Paper.objects.all().delete()
    server.requests.clear()

    replayed = harvest.replay(fetch, now=NOW + timedelta(days=1))

    assert (replayed.origin, replayed.papers_new, stored()) == ("replay", 25, 25)
    assert server.requests == []


# -- interrupted ---------------------------------------------------------------------------


def test_a_run_goes_on_at_the_token_where_the_last_one_was_ended(arxiv, server):
    server.arxiv.page_size = 10
    server.arxiv.submit(*submissions(45))
    with pytest.raises(Stopped):
        run(arxiv, on_progress=stop_after(2))
    assert stored() == 20
    server.requests.clear()

    fetch = run(arxiv, now=NOW + timedelta(minutes=1))

    assert (fetch.papers_seen, stored()) == (25, 45)
    assert Fetch.objects.exclude(pk=fetch.pk).get().error == "interrupted"
    assert all("resumptionToken" in query for query in oai(server))
    assert Harvest.objects.get().papers == 45


def test_years_in_which_arxiv_has_no_date_of_change_are_not_asked_for(arxiv, server):
    run(arxiv, date(1991, 8, 14), date(2005, 10, 20))

    assert [query["from"] for query in oai(server)] == ["2005-09-16", "2005-10-16"]


def test_an_expired_token_begins_its_part_anew_and_says_so(arxiv, server):
    server.arxiv.page_size = 10
    server.arxiv.submit(*submissions(5, on=date(2026, 9, 1)))
    server.arxiv.submit(*submissions(45, first=6))
    since = date(2026, 8, 25)
    with pytest.raises(Stopped):
        run(arxiv, since, on_progress=stop_after(5))
    expired = server.arxiv.answer("/oai", {"verb": "ListRecords", "resumptionToken": "of old"})
    server.answer_next("/oai", expired[1])
    server.requests.clear()

    fetch = run(arxiv, since)

    assert (fetch.status, stored()) == ("ok", 50)
    assert "begun anew" in fetch.note
    assert fetch.error == ""
    first_asked = [query["from"] for query in oai(server) if "from" in query]
    assert first_asked == ["2026-10-24"], "the parts before it are not read again"


def test_a_list_that_breaks_twice_is_an_error_and_not_a_loop(arxiv, server):
    server.arxiv.page_size = 10
    server.arxiv.submit(*submissions(25))
    page = server.arxiv.answer("/oai", {"verb": "ListRecords", "set": "cs"})[1]
    for _pages in range(2):
        server.answer_next("/oai", page)
        server.answer_next("/oai", b"<html>not today</html>")

    fetch = run(arxiv)

    assert fetch.status == Fetch.Status.FAILED
    assert fetch.error
    assert Harvest.objects.get().finished_at is None
    assert run(arxiv).status == Fetch.Status.OK
    assert stored() == 25


def test_what_came_before_a_failure_is_kept_and_the_next_run_goes_on(arxiv, server):
    server.arxiv.page_size = 10
    server.arxiv.submit(*submissions(25))
    page = server.arxiv.answer("/oai", {"verb": "ListRecords", "set": "cs", "from": "2026-11-01",
                                        "until": "2026-11-20"})[1]  # fmt: skip
    server.answer_next("/oai", page)
    server.answer_always("/oai", b"gone", status=403)

    failed = run(arxiv)
    assert (failed.status, failed.http_status, failed.papers_seen) == ("failed", 403, 10)
    server.forget("/oai")

    assert run(arxiv).papers_seen == 15
    assert stored() == 25


def test_ctrl_c_leaves_a_fetch_that_says_so(arxiv, server):
    server.arxiv.page_size = 10
    server.arxiv.submit(*submissions(25))

    def interrupt(_progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(arxiv, on_progress=interrupt)

    fetch = Fetch.objects.get()
    assert (fetch.status, fetch.error, fetch.papers_seen) == ("failed", "interrupted", 10)


def test_the_token_names_no_site(arxiv, server, settings):
    """A mirror may have a password in its address, and may move between two runs."""
    server.arxiv.page_size = 10
    server.arxiv.submit(*submissions(25))
    settings.ARXIV_OAI_URL = server.url.replace("http://", "http://ada:secret@")

    with pytest.raises(Stopped):
        run(arxiv, on_progress=stop_after(1))

    assert "secret" not in Harvest.objects.get().token
    assert "127.0.0.1" not in Harvest.objects.get().token
    settings.ARXIV_OAI_URL = server.url
    assert run(arxiv).status == "ok"
    assert stored() == 25


def test_a_category_has_its_own_set(arxiv, server):
    server.arxiv.submit(Submission(1, submitted=utc("2026-11-05"), categories=("cs.CL",)))
    server.arxiv.submit(Submission(2, submitted=utc("2026-11-05"), categories=("stat.ML",)))

    run(arxiv, name="cs:cs:CL")

    assert [paper.categories for paper in Paper.objects.all()] == [["cs.CL"]]
    assert ArXivOAI.pace_seconds == 0, "the fixture's, so that no test waits"
