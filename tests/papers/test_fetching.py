from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from papers import answers, editions, fetching, tasks
from papers.client import Client, FetchError
from papers.models import (
    Answer,
    Edition,
    Entry,
    Fetch,
    Pace,
    Paper,
    Signal,
    Source,
    WantedCategory,
)
from papers.sources import View
from papers.sources.arxiv import ArXiv
from papers.sources.arxiv_query import ArXivQuery
from papers.sources.huggingface import HuggingFace
from tests.fakes.source_server import Submission, entry, packed, paper
from tests.fakes.source_server import page as listing_page
from tests.papers.factories import utc

MONDAY = date(2026, 11, 23)
MORNING = utc("2026-11-23T07:00")


@pytest.fixture
def slept():
    return []


@pytest.fixture
def read(source, server, slept):
    """Reads Monday: `read()`, the waits noted in `slept` and not waited."""

    def read(**options):
        client = Client(sleep=slept.append)
        return fetching.fetch_day(source, MONDAY, **{"now": MORNING, "client": client, **options})

    return read


@pytest.fixture
def due(source, server, slept):
    """One round of Hugging Face at `now`; the days that were read."""

    def due(now):
        Source.objects.filter(next_fetch_at__gt=now).update(next_fetch_at=now)
        return [fetch.day.isoformat() for fetch in fetching.fetch_due(now, sleep=slept.append)]

    return due


def next_fetch_at(slug="huggingface"):
    return Source.objects.values_list("next_fetch_at", flat=True).get(slug=slug)


# -- one day -------------------------------------------------------------------------------


def test_a_day_is_read_and_its_row_says_so(read, server):
    server.list_papers("2026-11-23", [entry(2), entry(1)])

    fetch = read()

    assert (fetch.status, fetch.origin, fetch.http_status) == ("ok", "live", 200)
    assert (fetch.pages, fetch.papers_seen, fetch.papers_new, fetch.papers_skipped) == (1, 2, 2, 0)
    assert (fetch.started_at, fetch.error) == (MORNING, "")
    assert MORNING <= fetch.finished_at < MORNING + timedelta(minutes=1)
    assert Paper.objects.get(arxiv_id="2611.00002").abstract == (
        "What paper 2 is about, told in wrapped lines.\n\nAnd a second part."
    )
    assert Signal.objects.filter(read_at=MORNING).count() == 2


def test_whole_pages_are_asked_for(read, server):
    read()

    (request,) = server.requests
    assert request.path == "/api/daily_papers"
    assert request.query == {"date": "2026-11-23", "limit": "100", "p": "0"}


def test_an_empty_weekend_is_no_failure_and_makes_no_edition(read):
    fetch = read()

    assert (fetch.status, fetch.pages, fetch.papers_seen) == ("empty", 1, 0)
    assert not Edition.objects.exists()


def test_a_list_that_grows_is_followed_through_the_day(read, server):
    server.list_papers("2026-11-23", [entry(1)])
    read()
    server.list_papers("2026-11-23", [entry(2), entry(1, upvotes=30)])

    fetch = read(now=MORNING + timedelta(hours=1))

    assert (fetch.papers_seen, fetch.papers_new) == (2, 1)
    assert Entry.objects.count() == 2
    assert Paper.objects.get(arxiv_id="2611.00001").upvotes == 30
    assert Signal.objects.count() == 3


def test_a_long_list_is_paged_to_its_end(read, server):
    server.list_papers("2026-11-23", [entry(number) for number in range(1, 251)])

    fetch = read()

    assert (fetch.pages, fetch.papers_seen) == (3, 250)
    positions = Entry.objects.order_by("position").values_list("position", flat=True)
    assert list(positions) == list(range(1, 251))


def test_a_paper_that_moves_to_the_next_page_meanwhile_is_taken_once(read, server):
    first = [entry(number) for number in range(1, 101)]
    server.answer_once("2026-11-23", first, page=0)
    server.answer_once("2026-11-23", [entry(100), entry(101)], page=1)

    assert read().papers_seen == 101
    assert Entry.objects.count() == 101


def test_exactly_one_full_page_is_followed_by_an_empty_one(read, server):
    server.list_papers("2026-11-23", [entry(number) for number in range(100)])

    assert (read().pages, len(server.requests)) == (2, 2)


def test_a_server_that_ignores_the_page_is_not_asked_for_ever(read, server):
    full = [entry(number) for number in range(100)]
    for page in range(5):
        server.answer_once("2026-11-23", full, page=page)

    assert (read().papers_seen, len(server.requests)) == (100, 2)


def test_one_bad_entry_is_named_and_the_rest_is_kept(read, server):
    server.list_papers("2026-11-23", [entry(1), entry(2, title=None), entry(3)])

    fetch = read()

    assert (fetch.status, fetch.papers_seen, fetch.papers_skipped) == ("ok", 2, 1)
    assert fetch.error == "entry 2: 2611.00002 without a title"


def test_a_list_of_nothing_readable_has_failed(read, server):
    server.list_papers("2026-11-23", [{}, None])

    assert (read().status, Fetch.objects.get().papers_skipped) == ("failed", 2)


def test_what_came_before_a_failed_page_is_kept(read, server):
    server.answer_once("2026-11-23", [entry(number) for number in range(100)])
    server.answer_once("2026-11-23", {"error": "gone"}, page=1, status=404)

    fetch = read()

    assert (fetch.status, fetch.http_status, fetch.papers_new) == ("failed", 404, 100)
    assert Entry.objects.count() == 100


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "Sorry, we can't find the page you are looking for."}, "a list was expected"),
        (b"<html>Just a moment", "no JSON"),
        (b"[{]", "no JSON"),
    ],
)
def test_an_answer_that_is_no_list_fails_with_what_came(read, server, body, said):
    server.answer_once("2026-11-23", body)

    fetch = read()

    assert (fetch.status, fetch.http_status) == ("failed", 200)
    assert said in fetch.error


def test_a_source_without_a_parser_says_which_there_are(source, server):
    source.slug = "nature"
    source.save()

    fetch = fetching.fetch_day(source, MONDAY, now=MORNING)

    assert fetch.status == "failed"
    assert fetch.error == "no source is called 'nature'; there is: arxiv, huggingface"


# -- what is due ---------------------------------------------------------------------------


def test_a_new_installation_reads_its_week_as_news(due, server):
    for day in range(16, 24):
        server.list_papers(f"2026-11-{day}", [entry(day, day=f"2026-11-{day}")])

    assert due(MORNING) == [
        "2026-11-23", "2026-11-16", "2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20",
        "2026-11-21", "2026-11-22",
    ]  # fmt: skip
    assert not Edition.objects.filter(is_backfill=True).exists()
    assert [edition.day.day for edition in editions.close_due(MORNING)] == list(range(16, 23))


def test_the_next_round_reads_today_alone(due):
    due(MORNING)

    assert due(MORNING + timedelta(minutes=30)) == ["2026-11-23"]


def test_votes_are_read_again_at_growing_intervals(due):
    due(MORNING)

    hours = range(6, 139, 6)
    days_read = {hour: due(MORNING + timedelta(hours=hour)) for hour in hours}

    # Sunday is one day old till midnight (every 6 hours), then two and three (24), then older.
    sunday = [hour for hour in hours if "2026-11-22" in days_read[hour]]
    assert sunday == [6, 12, 36, 60, 132]


def test_yesterday_is_read_until_its_edition_is_closed(due, server):
    server.list_papers("2026-11-23", [entry(1)])
    due(utc("2026-11-23T23:30"))

    assert "2026-11-23" in due(utc("2026-11-24T00:00"))
    assert "2026-11-23" in due(utc("2026-11-24T01:30"))
    editions.close_due(utc("2026-11-24T02:00"))
    assert "2026-11-23" not in due(utc("2026-11-24T02:01"))


def test_days_slept_through_are_read_up_to_a_week_and_no_further(due):
    due(MORNING)

    days = due(MORNING + timedelta(days=10))

    assert "2026-11-25" not in days  # eight days old and never read
    assert {"2026-11-26", "2026-12-01", "2026-12-03"} <= set(days)
    assert "2026-11-22" in days  # read before, and its votes still grow


def test_a_day_read_from_a_file_alone_is_still_read_live(due, source):
    Fetch.objects.create(
        source=source, day=date(2026, 11, 20), status="ok", origin="file", started_at=MORNING
    )

    assert "2026-11-20" in due(MORNING)


def test_a_source_that_another_worker_took_meanwhile_is_left_to_it(due, server, monkeypatch):
    see_due = Source.objects.due

    def see_and_lose(now):
        rows = list(see_due(now))
        Source.objects.update(next_fetch_at=now + fetching.LEASE)
        return rows

    monkeypatch.setattr(Source.objects, "due", see_and_lose)

    assert due(MORNING) == []
    assert server.requests == []


def test_a_disabled_source_is_left_alone(due, server):
    Source.objects.update(is_enabled=False)

    assert due(MORNING) == []
    assert server.requests == []


def test_the_first_round_makes_its_sources(db, server):
    Source.objects.all().delete()

    fetching.fetch_due(utc("2100-01-01T00:00"))
    fetching.ensure_sources()

    assert list(Source.objects.values_list("slug", "name", "is_enabled")) == [
        ("arxiv", "arXiv", False),
        ("huggingface", "Hugging Face Daily Papers", True),
        ("semantic_scholar", "Semantic Scholar", False),
    ]


def test_a_source_that_is_down_ends_the_round_and_is_left_longer_each_time(due, settings, slept):
    settings.HUGGINGFACE_URL = "http://127.0.0.1:9"
    waits = []
    now = MORNING
    for _ in range(6):
        assert due(now) == ["2026-11-23"]
        waits.append((next_fetch_at() - now).total_seconds() / 60)
        now = next_fetch_at()

    assert waits == [5, 10, 20, 30, 30, 30]


def test_a_source_that_asks_for_time_gets_it_up_to_half_an_hour(due, server):
    server.answer_once("2026-11-23", {}, status=429, headers={"Retry-After": "900"})
    due(MORNING)
    assert next_fetch_at() == MORNING + timedelta(minutes=15)

    later = MORNING + timedelta(hours=1)
    server.answer_once("2026-11-23", {}, status=429, headers={"Retry-After": "90000"})
    due(later)
    assert next_fetch_at() == later + timedelta(minutes=30)


def test_one_bad_day_does_not_stop_the_others(due, server):
    server.answer_once("2026-11-17", {"error": "odd"})

    assert len(due(MORNING)) == 8
    assert next_fetch_at() == MORNING + timedelta(minutes=30)
    assert due(MORNING + timedelta(minutes=30)) == ["2026-11-23", "2026-11-17"]


@pytest.mark.parametrize(
    ("now", "next_at"),
    [
        ("2026-11-23T07:00", "2026-11-23T07:30"),
        ("2026-11-23T23:45", "2026-11-24T00:00"),  # the new day is not missed
        ("2026-11-21T07:00", "2026-11-21T09:00"),  # an empty Saturday
    ],
)
def test_the_next_attempt_follows_the_day(due, now, next_at):
    due(utc(now))

    assert next_fetch_at() == utc(next_at)


def test_once_today_is_closed_the_source_rests_until_midnight(due, server):
    server.list_papers("2026-11-23", [entry(1)])
    due(MORNING)
    editions.close_due(utc("2026-11-23T18:00"))

    due(utc("2026-11-23T18:10"))

    assert next_fetch_at() == utc("2026-11-24T00:00")


def test_fetch_now_during_a_round_is_not_lost(due, server, monkeypatch):
    wished = MORNING + timedelta(seconds=1)
    read_day = fetching._read_day

    def click_meanwhile(*args, **options):
        Source.objects.update(next_fetch_at=wished)
        return read_day(*args, **options)

    monkeypatch.setattr(fetching, "_read_day", click_meanwhile)
    due(MORNING)

    assert next_fetch_at() == wished


def test_an_attempt_that_died_is_not_running_for_ever(due, source):
    dead = Fetch.objects.create(source=source, day=MONDAY, started_at=MORNING - timedelta(hours=1))
    alive = Fetch.objects.create(source=source, day=MONDAY, started_at=MORNING)
    long = Fetch.objects.create(
        source=source, day=MONDAY, kind="harvest", started_at=MORNING - timedelta(hours=5)
    )
    # Papers are looked up at arXiv also while it is switched off.
    elsewhere = Fetch.objects.create(
        source=Source.objects.get(slug="arxiv"),
        day=MONDAY,
        kind="look_up",
        started_at=MORNING - timedelta(hours=1),
    )

    due(MORNING)

    for row in (dead, elsewhere):
        row.refresh_from_db()
        assert (row.status, row.error) == ("failed", "interrupted")
    for row in (alive, long):
        row.refresh_from_db()
        assert row.status == "running"


def test_the_task_reads_what_is_due(source, server):
    tasks.fetch_due()

    assert Fetch.objects.filter(status="empty").count() == 8


def test_nothing_of_a_hostile_entry_stops_a_day(read, server):
    server.list_papers(
        "2026-11-23",
        [
            entry(1, title="\x00Nul\ud800 and \u202eback", summary="\x00", upvotes=10**30),
            entry(2, projectPage="javascript:alert(1)", authors=[{"name": "x" * 5000}, 7, None]),
            json.loads('{"paper": ' + "[" * 200 + "]" * 200 + "}"),
        ],
    )

    fetch = read()

    assert (fetch.status, fetch.papers_seen, fetch.papers_skipped) == ("ok", 2, 1)
    assert Paper.objects.get(arxiv_id="2611.00001").title == "Nul and back"
    assert Paper.objects.get(arxiv_id="2611.00002").project_url == ""


# -- a source that is dry ------------------------------------------------------------------


def test_a_list_that_stays_empty_for_weekdays_is_said_in_the_log(due, server, caplog):
    server.list_papers("2026-11-23", [entry(1)])
    due(MORNING)
    due(MORNING + timedelta(days=2))
    assert "source not fresh" not in caplog.text

    due(MORNING + timedelta(days=3))

    assert "health=dry" in caplog.text
    assert "2 weekdays since Monday, 23 November 2026 had no paper" in caplog.text


# -- one reader, then the next -------------------------------------------------------------


@pytest.fixture
def broken_api(server):
    server.answer_always("/api/daily_papers", {}, status=503)


def test_while_the_api_is_broken_the_page_is_believed_and_the_row_says_so(read, server, broken_api):
    server.show_page("2026-11-23", [entry(1), entry(2)])

    fetch = read()

    assert (fetch.status, fetch.reader, fetch.papers_new) == ("ok", "huggingface_page", 2)
    assert (fetch.note, fetch.error) == ("huggingface: HTTP 503 Service Unavailable", "")
    assert fetch.http_status == 200
    assert Signal.objects.count() == 2


@pytest.mark.parametrize(
    "broken",
    [
        {"body": {"error": "Sorry"}},
        {"body": b"\x00\xff" * 1000},
        {"body": [{"changed": "shape"}] * 10},
        {"body": b"", "status": 404},
        {"body": b"", "status": 403},
        {"body": b"[" + b" " * 1000, "cut_after": 10},
        {"body": b"", "status": 302, "headers": {"Location": "http://169.254.169.254/"}},
    ],
    ids=["error object", "garbage", "other shape", "gone", "forbidden", "cut line", "led away"],
)
def test_whatever_is_wrong_with_the_api_the_page_is_asked(read, server, broken):
    server.answer_always("/api/daily_papers", **broken)
    server.show_page("2026-11-23", [entry(1)])

    fetch = read()

    assert (fetch.status, fetch.reader, fetch.papers_seen) == ("ok", "huggingface_page", 1)
    assert fetch.note.startswith("huggingface: ")


def test_a_site_that_wants_rest_is_not_asked_by_another_way(read, server):
    server.answer_next("/api/daily_papers", {}, status=429, headers={"Retry-After": "3600"})

    fetch = read()

    assert (fetch.status, fetch.http_status) == ("failed", 429)
    assert server.paths_asked() == ["/api/daily_papers"]


def test_where_both_are_broken_both_say_why(read, server, broken_api):
    server.answer_always("/papers", b"<html>Just a moment", status=403)

    fetch = read()

    assert (fetch.status, fetch.reader) == ("failed", "")
    assert fetch.error.splitlines() == [
        "HTTP 503 Service Unavailable",
        "huggingface_page: HTTP 403 Forbidden",
    ]


def test_what_the_api_gave_before_it_broke_is_kept_where_the_page_is_broken_too(read, server):
    server.answer_once("2026-11-23", [entry(number) for number in range(100)])
    server.answer_once("2026-11-23", {"error": "odd"}, page=1)

    fetch = read()

    assert (fetch.status, fetch.papers_new, fetch.pages) == ("failed", 100, 1)


def test_a_broken_api_is_asked_once_a_round_and_its_page_for_each_day(due, server, broken_api):
    for day in range(16, 24):
        server.show_page(f"2026-11-{day}", [entry(day, day=f"2026-11-{day}")])

    assert len(due(MORNING)) == 8
    assert server.paths_asked().count("/api/daily_papers") == 4  # tries
    assert Fetch.objects.filter(status="ok", reader="huggingface_page").count() == 8
    assert next_fetch_at() == MORNING + timedelta(minutes=30)


def test_the_api_is_asked_again_as_soon_as_it_works(read, server, broken_api):
    server.show_page("2026-11-23", [entry(1)])
    read()
    server.forget("/api/daily_papers")
    server.list_papers("2026-11-23", [entry(1), entry(2)])

    fetch = read(now=MORNING + timedelta(minutes=30))

    assert (fetch.reader, fetch.note, fetch.papers_seen) == ("huggingface", "", 2)


def test_todays_page_of_yesterday_is_an_empty_list_that_says_so(read, server, broken_api):
    server.show_page("2026-11-20", [entry(1, day="2026-11-20")], shown_for="2026-11-23")

    fetch = read()

    assert (fetch.status, fetch.reader, fetch.pages) == ("empty", "", 0)
    assert "its list is still of 20 November 2026" in fetch.note
    assert not Entry.objects.exists()


def test_half_a_list_is_a_failure_where_the_page_is_of_another_day(read, server):
    server.answer_once("2026-11-23", [entry(number) for number in range(1, 101)])
    server.answer_once("2026-11-23", {"error": "odd"}, page=1)
    server.show_page("2026-11-20", [entry(1, day="2026-11-20")], shown_for="2026-11-23")

    fetch = read()

    assert (fetch.status, fetch.papers_seen) == ("failed", 100)
    assert "odd" in fetch.error
    assert "its list is still of 20 November 2026" in fetch.note


def test_a_mistake_in_a_reader_fails_that_reader_alone(read, server, monkeypatch, caplog):
    monkeypatch.setattr(HuggingFace, "parse", lambda self, body, url: {}["gone"])
    server.show_page("2026-11-23", [entry(1)])

    fetch = read()

    assert (fetch.status, fetch.reader) == ("ok", "huggingface_page")
    assert fetch.note == "huggingface: the reader stumbled: KeyError: 'gone'"
    assert "reader stumbled" in caplog.text


def test_fields_that_nobody_knows_and_fields_that_are_gone_are_counted(read, server, caplog):
    server.list_papers(
        "2026-11-23", [entry(number, mood="good", upvotes=None) for number in range(6)]
    )

    fetch = read()

    assert (fetch.status, fetch.papers_seen) == ("ok", 6)
    assert fetch.unknown_fields["paper.mood"] == 6
    assert "paper.upvotes" in fetch.vanished_fields
    assert "vanished" in caplog.text


def test_a_field_that_a_later_page_has_is_not_gone(read, server):
    first = [entry(number, upvotes=None) for number in range(100)]
    server.list_papers("2026-11-23", [*first, *(entry(number) for number in range(100, 110))])

    assert "paper.upvotes" not in read().vanished_fields


def test_a_packed_list_is_read(read, server):
    server.answer_once("2026-11-23", **packed([entry(1)]))

    assert read().papers_seen == 1


def test_fifty_megabytes_of_garbage_fail_by_name(read, server):
    server.answer_always("/api/daily_papers", b"garbage!" * (50 << 17))

    assert read().error.startswith("an answer of more than 32 MiB")


def test_a_list_that_shrinks_loses_nothing_and_is_remarked(read, server):
    server.list_papers("2026-11-23", [entry(1), entry(2), entry(3)])
    read()
    server.list_papers("2026-11-23", [entry(1)])

    fetch = read(now=MORNING + timedelta(hours=1))

    assert (fetch.status, fetch.papers_seen, Entry.objects.count()) == ("ok", 1, 3)
    assert fetch.note == "2 papers fewer than at the last reading; what is stored stays"


def test_a_late_paper_in_todays_edition_does_not_count_as_missing_in_todays_list(
    read, source, server
):
    server.list_papers("2026-11-22", [entry(1, day="2026-11-22")])
    fetching.fetch_day(source, date(2026, 11, 22), now=MORNING)
    editions.close_due(MORNING)
    server.list_papers("2026-11-22", [entry(1, day="2026-11-22"), entry(2, day="2026-11-22")])
    fetching.fetch_day(source, date(2026, 11, 22), now=MORNING)
    server.list_papers("2026-11-23", [entry(3)])

    assert (read().note, read().note) == ("", "")
    assert Entry.objects.filter(edition__day=MONDAY).count() == 2


# -- unchanged -----------------------------------------------------------------------------


def test_an_unchanged_list_is_not_sent_again_and_counts_as_read(read, server):
    server.has_etags = True
    server.list_papers("2026-11-23", [entry(1), entry(2)])
    first = read()

    second = read(now=MORNING + timedelta(minutes=30))
    third = read(now=MORNING + timedelta(minutes=60))

    assert first.etag
    assert [request.headers.get("If-None-Match") for request in server.requests] == [
        None, first.etag, first.etag,
    ]  # fmt: skip
    for fetch in (second, third):
        assert (fetch.status, fetch.http_status, fetch.papers_seen) == ("unchanged", 304, 2)
        assert (fetch.reader, fetch.etag) == ("huggingface", first.etag)
    assert Fetch.objects.succeeded().count() == 3


def test_a_list_that_grew_is_sent_whole(read, server):
    server.has_etags = True
    server.list_papers("2026-11-23", [entry(1)])
    read()
    server.list_papers("2026-11-23", [entry(1), entry(2)])

    assert read(now=MORNING + timedelta(minutes=30)).papers_new == 1


def test_who_calls_everything_unchanged_hides_a_list_for_six_hours_at_most(read, server):
    server.answer_once("2026-11-23", [entry(1)], headers={"ETag": '"same"'})
    read()
    said = []
    for half_hours in range(1, 13):
        server.answer_once("2026-11-23", b"", status=304)
        said.append(read(now=MORNING + timedelta(minutes=30 * half_hours)).status)
    assert said == ["unchanged"] * 12

    server.list_papers("2026-11-23", [entry(1), entry(2)])
    later = read(now=MORNING + timedelta(hours=6, minutes=30))

    assert "If-None-Match" not in server.requests[-1].headers
    assert (later.status, later.papers_new) == ("ok", 1)


def test_a_list_of_many_pages_is_always_read_whole(read, server):
    server.has_etags = True
    server.list_papers("2026-11-23", [entry(number) for number in range(150)])
    first = read()

    second = read(now=MORNING + timedelta(minutes=30))

    assert (first.etag, second.status, second.pages) == ("", "ok", 2)


def test_after_a_failed_reading_the_one_before_it_still_vouches(read, server):
    server.has_etags = True
    server.list_papers("2026-11-23", [entry(1)])
    read()
    server.answer_next("/api/daily_papers", {"error": "odd"})
    assert read().status == "failed"

    assert read().status == "unchanged"


def test_another_day_has_validators_of_its_own(read, source, server, slept):
    server.has_etags = True
    read()

    fetching.fetch_day(source, date(2026, 11, 22), now=MORNING)

    assert "If-None-Match" not in server.requests[1].headers


# -- answers kept, and read anew -----------------------------------------------------------


def test_every_answer_is_kept_also_what_could_not_be_read(read, server):
    server.answer_always("/api/daily_papers", b"\xffgarbage")
    server.show_page("2026-11-23", [entry(1)])

    fetch = read()

    kept = list(answers.bodies(fetch))
    assert [(each.number, each.reader, each.url) for each in kept] == [
        (0, "huggingface", "/api/daily_papers?date=2026-11-23&limit=100&p=0"),
        (1, "huggingface_page", "/papers/date/2026-11-23"),
    ]
    assert kept[0].body == b"\xffgarbage"
    assert kept[0].received_at == MORNING


def test_a_replay_rebuilds_what_was_lost(read, server):
    server.list_papers("2026-11-23", [entry(number) for number in range(1, 151)])
    fetch = read()
    before = list(Signal.objects.order_by("paper__arxiv_id").values_list("read_at", "upvotes"))
    Entry.objects.all().delete()
    Paper.objects.all().delete()
    asked = len(server.requests)

    replayed = fetching.replay(fetch, now=MORNING + timedelta(hours=2))

    assert (replayed.status, replayed.origin, replayed.pages) == ("ok", "replay", 2)
    assert (replayed.papers_new, replayed.day) == (150, MONDAY)
    assert len(server.requests) == asked
    after = Signal.objects.order_by("paper__arxiv_id").values_list("read_at", "upvotes")
    assert list(after) == before
    assert Entry.objects.count() == 150


def test_a_replay_changes_nothing_where_all_is_there(read, server):
    server.list_papers("2026-11-23", [entry(1, upvotes=5)])
    fetch = read()
    server.list_papers("2026-11-23", [entry(1, upvotes=50)])
    read(now=MORNING + timedelta(hours=1))

    for _ in range(2):
        replayed = fetching.replay(fetch, now=MORNING + timedelta(hours=2))

    assert (replayed.papers_new, replayed.papers_updated) == (0, 0)
    assert Paper.objects.get().upvotes == 50
    assert (Signal.objects.count(), Entry.objects.count()) == (2, 1)


def test_a_page_is_replayed_by_its_own_reader(read, server):
    server.answer_next("/api/daily_papers", {"error": "odd"})
    server.show_page("2026-11-23", [entry(1), entry(2)])
    fetch = read()

    replayed = fetching.replay(fetch, now=MORNING)

    assert (replayed.status, replayed.reader) == ("ok", "huggingface_page")
    assert "a list was expected" in replayed.note


def test_a_reader_that_has_learnt_to_read_more_is_believed_in_a_replay(read, server, monkeypatch):
    server.answer_next("/api/daily_papers", {"error": "odd"})
    server.show_page("2026-11-23", [entry(1)])
    fetch = read()
    parse = HuggingFace.parse
    learnt = json.dumps([entry(1), entry(2)]).encode()
    monkeypatch.setattr(HuggingFace, "parse", lambda self, body, url: parse(self, learnt, url))

    replayed = fetching.replay(fetch, now=MORNING)

    assert (replayed.reader, replayed.papers_new) == ("huggingface", 1)


def test_a_replay_of_a_past_day_makes_no_news(read, server):
    server.list_papers("2026-11-23", [entry(1)])
    fetch = read()
    Edition.objects.all().delete()
    Paper.objects.all().delete()

    fetching.replay(fetch, now=MORNING + timedelta(days=3))

    assert Edition.objects.get().is_backfill


def test_a_late_paper_of_a_replay_enters_no_open_edition(read, server):
    server.list_papers("2026-11-23", [entry(1), entry(2)])
    fetch = read()
    Entry.objects.filter(paper__arxiv_id="2611.00002").delete()
    Paper.objects.get(arxiv_id="2611.00002").delete()
    editions.close_due(utc("2026-11-24T02:00"))

    fetching.replay(fetch, now=utc("2026-11-24T03:00"))

    assert Paper.objects.count() == 2
    assert Entry.objects.count() == 1


def test_what_is_no_longer_kept_cannot_be_replayed(read, server):
    fetch = read()
    Answer.objects.all().delete()

    replayed = fetching.replay(fetch, now=MORNING)

    assert replayed.status == "failed"
    assert "none of its answers is kept any more" in replayed.error


def test_a_round_prunes_what_was_kept_long_enough(due, settings):
    due(MORNING)
    assert Answer.objects.count() == 8

    due(MORNING + timedelta(days=settings.ANSWER_RETENTION_DAYS, seconds=1))

    assert not Answer.objects.filter(received_at=MORNING).exists()


# -- other lists ---------------------------------------------------------------------------


def test_a_week_is_stored_and_is_in_no_edition(source, server):
    server.list_papers("2026-W48", [entry(number) for number in range(1, 131)])

    fetch = fetching.fetch_view(source, View.WEEK, MONDAY, now=MORNING)

    assert (fetch.kind, fetch.status, fetch.day) == ("week", "ok", MONDAY)
    assert (fetch.pages, fetch.papers_new) == (2, 130)
    assert Signal.objects.count() == 130
    assert not Edition.objects.exists()


def test_the_week_that_the_api_refuses_is_read_by_its_days(source, server):
    server.list_papers("2026-12-28", [entry(1, day="2026-12-28")])
    server.list_papers("2027-01-03", [entry(2, day="2027-01-03")])

    fetch = fetching.fetch_view(source, View.WEEK, date(2026, 12, 28), now=utc("2027-01-04T08:00"))

    assert (fetch.status, fetch.papers_new, fetch.pages) == ("ok", 2, 7)


def test_what_trends_falls_back_to_its_page(source, server):
    server.answer_always("/api/daily_papers", {"error": "odd"})
    trending = listing_page("2026-11-23", [entry(1)], period="trending")
    server.answer_always("/papers/trending", trending)

    fetch = fetching.fetch_view(source, View.TRENDING, MONDAY, now=MORNING)

    assert (fetch.kind, fetch.status) == ("trending", "ok")
    assert fetch.reader == "huggingface_page"


def test_a_view_that_no_reader_has_is_said(arxiv, server):
    fetch = fetching.fetch_view(arxiv, View.WEEK, MONDAY, now=MORNING)

    assert (fetch.status, fetch.error) == ("failed", "arXiv has no list of that kind")
    assert server.requests == []


def test_views_are_no_readings_of_a_day(due, source, server):
    fetching.fetch_view(source, View.TRENDING, date(2026, 11, 20), now=MORNING)

    assert "2026-11-20" in due(MORNING)


# -- papers by their ids -------------------------------------------------------------------


def test_arxiv_is_asked_for_what_hugging_face_does_not_know(source, server):
    server.arxiv.submit(Submission(7, title="A paper of its own"))

    found = fetching.look_up("2611.00007", now=MORNING)

    assert found.title == "A paper of its own"
    rows = Fetch.objects.order_by("pk").values_list("source__slug", "kind", "status", "reader")
    assert list(rows) == [
        ("huggingface", "look_up", "empty", "huggingface"),
        ("arxiv", "look_up", "ok", "arxiv_query"),
    ]


def test_a_paper_withdrawn_at_arxiv_is_not_stored(source, server):
    server.arxiv.submit(Submission(7))
    server.arxiv.withdraw("2611.00007")

    with pytest.raises(FetchError, match="withdrawn"):
        fetching.look_up("2611.00007", now=MORNING)

    assert not Paper.objects.exists()


def test_many_are_looked_up_in_batches(arxiv, server):
    server.arxiv.submit(*(Submission(number) for number in range(1, 241)))
    ids = [f"2611.{number:05}" for number in range(1, 251)]

    found, unknown = fetching.look_up_many(arxiv, ids, now=MORNING)

    assert ([paper.arxiv_id for paper in found], unknown) == (ids[:240], ids[240:])
    assert len(server.requests) == 3
    fetch = Fetch.objects.get()
    assert (fetch.kind, fetch.status, fetch.pages) == ("look_up", "ok", 3)
    assert (fetch.papers_new, fetch.note) == (240, "the source does not know 10 of the papers")


@pytest.mark.parametrize("is_strict", [True, False])
def test_one_bad_id_does_not_spoil_the_others(arxiv, server, monkeypatch, is_strict):
    server.arxiv.is_strict = is_strict
    server.arxiv.submit(Submission(1), Submission(2))
    monkeypatch.setattr(
        ArXivQuery,
        "url_for_papers",
        lambda self, ids: f"{self.base_url}/api/query?id_list={','.join(ids)}&max_results=99",
    )

    found, unknown = fetching.look_up_many(
        arxiv, ["2611.00001", "odd.1", "2611.00002", "odd.12"], now=MORNING
    )

    assert [paper.arxiv_id for paper in found] == ["2611.00001", "2611.00002"]
    assert unknown == ["odd.1", "odd.12"]
    assert Fetch.objects.get().status == "ok"


def test_ids_that_cannot_be_are_unknown_without_a_question(arxiv, server):
    assert fetching.look_up_many(arxiv, ["nonsense"], now=MORNING) == ([], ["nonsense"])
    assert server.requests == []


def test_what_was_found_before_a_failure_is_kept(arxiv, server):
    server.arxiv.submit(*(Submission(number) for number in range(1, 201)))
    ids = [f"2611.{number:05}" for number in range(1, 201)]
    real = server.arxiv.answer
    server.arxiv.answer = lambda path, query: (
        real(path, query) if len(server.requests) == 1 else (500, b"")
    )

    found, unknown = fetching.look_up_many(
        arxiv, ids, now=MORNING, client=Client(sleep=lambda seconds: None)
    )

    assert (len(found), unknown) == (100, [])
    assert Fetch.objects.get().status == "failed"


def test_where_nothing_was_answered_the_failure_is_raised(arxiv, server):
    server.answer_always("/api/query", b"", status=429, headers={"Retry-After": "99"})

    with pytest.raises(FetchError) as failed:
        fetching.look_up_many(arxiv, ["2611.00001"], now=MORNING)

    assert (failed.value.wants_rest, failed.value.retry_after) == (True, 99)
    assert Fetch.objects.get().http_status == 429


def test_a_looked_up_paper_is_replayed(arxiv, server):
    server.arxiv.submit(Submission(1), Submission(2))
    fetching.look_up_many(arxiv, ["2611.00001", "2611.00002"], now=MORNING)
    Paper.objects.all().delete()

    replayed = fetching.replay(Fetch.objects.get(), now=MORNING)

    assert (replayed.kind, replayed.papers_new) == ("look_up", 2)
    assert not Edition.objects.exists()


# -- a source that announces once a day ----------------------------------------------------


@pytest.fixture
def announced(arxiv, server, slept):
    """One round of arXiv alone at `now`: the days that were read, and how."""
    Source.objects.exclude(pk=arxiv.pk).update(is_enabled=False)

    def announced(now):
        Source.objects.filter(pk=arxiv.pk).update(next_fetch_at=now)
        fetches = fetching.fetch_due(now, sleep=slept.append)
        return [(fetch.day.isoformat(), fetch.status, fetch.reader) for fetch in fetches]

    return announced


def test_the_feed_is_read_until_it_is_of_today_and_then_not_again(announced, server):
    server.arxiv.announce("2026-11-22")
    assert announced(utc("2026-11-23T02:00")) == [("2026-11-23", "empty", "")]
    assert next_fetch_at("arxiv") == utc("2026-11-23T02:30")
    assert Fetch.objects.get().note == "its list is still of 22 November 2026"

    server.arxiv.announce("2026-11-23", [Submission(1), Submission(2, announced_as="cross")])
    assert announced(utc("2026-11-23T05:30")) == [("2026-11-23", "ok", "arxiv")]
    assert next_fetch_at("arxiv") == utc("2026-11-24T05:00")
    assert Entry.objects.filter(is_trending=False).count() == 2

    asked = len(server.requests)
    assert announced(utc("2026-11-23T06:00")) == []
    assert len(server.requests) == asked


def test_an_empty_feed_of_today_is_a_day_without_papers(announced, server):
    server.arxiv.announce("2026-11-22")

    assert announced(utc("2026-11-22T06:00")) == [("2026-11-22", "empty", "arxiv")]
    assert next_fetch_at("arxiv") == utc("2026-11-23T05:00")


@pytest.mark.parametrize(
    ("day", "next_at"),
    [
        ("2026-10-31", "2026-11-01T04:00"),
        ("2026-11-01", "2026-11-02T05:00"),
        ("2027-03-13", "2027-03-14T05:00"),
        ("2027-03-14", "2027-03-15T04:00"),
    ],
)
def test_the_next_feed_is_asked_for_when_it_is_made_at_midnight_in_new_york(
    announced, server, day, next_at
):
    server.arxiv.announce(day)
    announced(utc(f"{day}T23:50"))

    assert next_fetch_at("arxiv") == utc(next_at)


def test_missed_days_are_asked_for_by_the_query_and_the_feed_once(announced, server):
    server.arxiv.announce("2026-11-17", [Submission(1)])
    announced(utc("2026-11-17T06:00"))
    server.arxiv.submit(
        Submission(2, submitted=utc("2026-11-18T12:00")),  # announced on Thursday, the 19th
        Submission(3, submitted=utc("2026-11-19T12:00")),
    )
    server.arxiv.announce("2026-11-23", [Submission(4)])
    server.requests.clear()

    days = announced(utc("2026-11-23T06:00"))

    assert days == [
        ("2026-11-23", "ok", "arxiv"),
        ("2026-11-18", "empty", "arxiv_query"),
        ("2026-11-19", "ok", "arxiv_query"),
        ("2026-11-20", "ok", "arxiv_query"),
        ("2026-11-21", "empty", "arxiv_query"),
        ("2026-11-22", "empty", "arxiv_query"),
    ]
    assert sum(path.startswith("/rss/") for path in server.paths_asked()) == 2
    assert "announces nothing" in Fetch.objects.get(day="2026-11-21").note
    assert next_fetch_at("arxiv") == utc("2026-11-24T05:00")
    assert announced(utc("2026-11-23T07:00")) == []


def test_a_first_reading_brings_no_past_days(announced, server):
    server.arxiv.announce("2026-11-23", [Submission(1)])

    assert len(announced(utc("2026-11-23T06:00"))) == 1


def test_a_missed_day_that_cannot_be_had_is_a_failure_and_asked_for_again(announced, server):
    server.arxiv.announce("2026-11-19", [Submission(1)])
    announced(utc("2026-11-19T06:00"))
    server.arxiv.announce("2026-11-23", [Submission(2)])
    server.answer_always("/api/query", b"", status=500)

    now = utc("2026-11-23T06:00")
    assert announced(now) == [("2026-11-23", "ok", "arxiv"), ("2026-11-20", "failed", "")]
    failed = Fetch.objects.get(status="failed")
    assert failed.error == "HTTP 500 Internal Server Error"
    assert failed.note == "arxiv: its list is already of 23 November 2026"
    assert next_fetch_at("arxiv") == now + timedelta(minutes=5)

    server.forget("/api/query")
    assert [day for day, *how in announced(now + timedelta(minutes=5))] == [
        "2026-11-20", "2026-11-21", "2026-11-22",
    ]  # fmt: skip


def test_that_the_query_has_nothing_today_does_not_end_the_day(announced, server):
    server.answer_always("/rss/", b"", status=503)

    assert announced(utc("2026-11-23T02:00")) == [("2026-11-23", "empty", "arxiv_query")]
    assert announced(utc("2026-11-23T02:30")) == [("2026-11-23", "empty", "arxiv_query")]

    server.forget("/rss/")
    server.arxiv.announce("2026-11-23", [Submission(1)])
    assert announced(utc("2026-11-23T06:00")) == [("2026-11-23", "ok", "arxiv")]


def test_that_the_query_stood_in_for_the_feed_today_does_not_end_the_day(announced, server):
    """It knows no cross-lists, and at the hour of the announcement not yet everything."""
    server.answer_always("/rss/", b"", status=503)
    server.arxiv.submit(Submission(1, submitted=utc("2026-11-20T12:00")))
    now = utc("2026-11-23T05:10")
    assert announced(now) == [("2026-11-23", "ok", "arxiv_query")]
    assert next_fetch_at("arxiv") == now + timedelta(minutes=30)

    server.forget("/rss/")
    server.arxiv.announce("2026-11-23", [Submission(1), Submission(2, announced_as="cross")])
    assert announced(now + timedelta(minutes=30)) == [("2026-11-23", "ok", "arxiv")]
    assert Entry.objects.filter(edition__day=MONDAY).count() == 2
    assert announced(now + timedelta(hours=1)) == []


def test_a_saturday_without_a_feed_is_done_with(announced, server):
    server.answer_always("/rss/", b"", status=503)

    assert announced(utc("2026-11-21T06:00")) == [("2026-11-21", "empty", "arxiv_query")]
    assert next_fetch_at("arxiv") == utc("2026-11-22T05:00")


def test_a_page_of_categories_without_anything_new_is_not_the_last(announced, server, settings):
    settings.ARXIV_CATEGORIES = [f"cs.{letter}{other}" for letter in "ABCDEF" for other in "AGIX"]
    settings.ARXIV_CATEGORIES += [f"math.{letter}{other}" for letter in "ABCDEF" for other in "AX"]
    settings.ARXIV_CATEGORIES += [
        f"stat.{letter}{other}" for letter in "ABCDEF" for other in "ABCD"
    ]
    server.arxiv.announce(
        "2026-11-23",
        [Submission(1, categories=("cs.AA", "math.CX")), Submission(2, categories=("stat.FD",))],
    )

    announced(utc("2026-11-23T06:00"))

    fetch = Fetch.objects.get()
    assert (fetch.pages, fetch.papers_seen) == (3, 2)


def test_readers_categories_are_read_too(announced, server, settings):
    settings.ARXIV_CATEGORIES = ["cs.LG"]
    WantedCategory.objects.create(name="math.CO")
    server.arxiv.announce("2026-11-23", [Submission(1, categories=("math.CO",))])

    assert announced(utc("2026-11-23T06:00")) == [("2026-11-23", "ok", "arxiv")]
    assert server.paths_asked() == ["/rss/cs.LG+math.CO"]


def test_arxivs_pace_is_kept_and_its_429_is_rest_for_all(announced, server, monkeypatch):
    monkeypatch.setattr(ArXiv, "pace_seconds", 0.001)
    server.answer_next("/rss/", b"Rate exceeded.", status=429)

    now = utc("2026-11-23T06:00")
    assert announced(now) == [("2026-11-23", "failed", "")]
    assert announced(now + timedelta(minutes=30)) == [("2026-11-23", "failed", "")]

    assert len(server.requests) == 1
    assert "asked for rest" in Fetch.objects.order_by("-pk")[0].error
    Pace.objects.update(cool_until=None)
    assert announced(now + timedelta(minutes=60)) == [("2026-11-23", "empty", "arxiv")]


def test_what_lists_no_day_is_left_to_others(source, server):
    Source.objects.update(is_enabled=True, next_fetch_at=MORNING)

    fetching.fetch_due(MORNING)

    assert not Fetch.objects.filter(source__slug="semantic_scholar").exists()
    assert next_fetch_at("semantic_scholar") == MORNING


def test_readers_are_given_every_setting_of_a_source(db, settings):
    settings.SEMANTIC_SCHOLAR_KEY = "key"

    config = fetching.config()

    assert config["SEMANTIC_SCHOLAR_KEY"] == "key"
    assert {"HUGGINGFACE_URL", "ARXIV_URL", "ARXIV_FEED_URL", "ARXIV_OAI_URL"} <= config.keys()


def test_no_paper_is_looked_up_at_a_source_that_has_none(source, server):
    scholar = Source.objects.get(slug="semantic_scholar")

    with pytest.raises(FetchError, match="no source is called"):
        fetching.look_up_many(scholar, [paper(1)["id"]], now=MORNING)
