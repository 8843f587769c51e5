from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import date, timedelta

import pytest
import requests

from papers import editions, fetching, tasks
from papers.models import Edition, Entry, Fetch, Paper, Signal, Source
from tests.fakes.source_server import SourceServer, entry
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
        client = fetching.Client(sleep=slept.append)
        return fetching.fetch_day(source, MONDAY, **{"now": MORNING, "client": client, **options})

    return read


@pytest.fixture
def due(source, server, slept):
    """One round at `now`; the days that were read."""

    def due(now):
        Source.objects.filter(next_fetch_at__gt=now).update(next_fetch_at=now)
        return [fetch.day.isoformat() for fetch in fetching.fetch_due(now, sleep=slept.append)]

    return due


def next_fetch_at():
    return Source.objects.values_list("next_fetch_at", flat=True).get()


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


def test_the_request_names_us_and_asks_for_whole_pages(read, server, settings):
    read()

    (request,) = server.requests
    assert request.path == "/api/daily_papers"
    assert request.query == {"date": "2026-11-23", "limit": "100", "p": "0"}
    assert request.headers["User-Agent"] == (
        f"Paperround/{settings.VERSION} (+http://paperround.test)"
    )
    assert "Authorization" not in request.headers


def test_the_token_is_sent_if_there_is_one(read, server, settings):
    settings.HUGGINGFACE_TOKEN = "hf_secret"

    read()

    assert server.requests[0].headers["Authorization"] == "Bearer hf_secret"


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


def test_a_missing_page_is_not_asked_for_again(read, server, slept):
    server.answer_once("2026-11-23", {"error": "no"}, status=404)

    fetch = read()

    assert (fetch.status, fetch.http_status, fetch.error) == ("failed", 404, "HTTP 404 Not Found")
    assert (len(server.requests), slept) == (1, [])


def test_a_source_without_a_parser_says_which_there_are(source, server):
    source.slug = "nature"
    source.save()

    fetch = fetching.fetch_day(source, MONDAY, now=MORNING)

    assert fetch.status == "failed"
    assert fetch.error == "no source is called 'nature'; there is: huggingface"


# -- patience ------------------------------------------------------------------------------


def test_a_rate_limit_is_waited_for_as_the_header_says(read, server, slept):
    limit = {"RateLimit": '"api";r=0;t=42', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    server.answer_once("2026-11-23", {}, status=429, headers=limit)
    server.list_papers("2026-11-23", [entry(1)])

    assert (read().status, slept) == ("ok", [42.0])


def test_retry_after_is_honoured_in_seconds_and_as_a_date(read, server, slept):
    server.answer_once("2026-11-23", {}, status=503, headers={"Retry-After": "7"})
    server.answer_once(
        "2026-11-23", {}, status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    )

    assert (read().status, slept) == ("empty", [7.0, 2.0])


def test_server_errors_are_tried_again_with_growing_waits_then_given_up(read, server, slept):
    for status in (500, 502, 504, 408):
        server.answer_once("2026-11-23", {}, status=status)

    fetch = read()

    assert (fetch.status, fetch.http_status) == ("failed", 408)
    assert slept == [1.0, 2.0, 4.0]


def test_a_wait_beyond_our_patience_is_not_begun(read, server, slept):
    server.answer_once("2026-11-23", {}, status=429, headers={"Retry-After": "3600"})

    fetch = read()

    assert (fetch.status, fetch.error) == ("failed", "HTTP 429 Too Many Requests")
    assert (slept, len(server.requests)) == ([], 1)


def test_a_silent_server_is_a_time_out_that_names_its_setting(read, server, slept, settings):
    settings.FETCH_TIMEOUT_SECONDS = 0.05
    for _ in range(fetching.ATTEMPTS):
        server.answer_once("2026-11-23", [], delay_seconds=0.2)

    fetch = read()

    assert fetch.error == "no answer within 0.05 s (FETCH_TIMEOUT_SECONDS)"
    assert len(slept) == fetching.ATTEMPTS - 1


def test_an_unreachable_server_fails_in_words(source, settings, slept):
    settings.HUGGINGFACE_URL = "http://127.0.0.1:9"

    fetch = fetching.fetch_day(
        source, MONDAY, now=MORNING, client=fetching.Client(sleep=slept.append)
    )

    assert fetch.error == "cannot reach 127.0.0.1:9 (ConnectionError)"
    assert fetch.http_status is None


@contextmanager
def dripping(opening: bytes, drop: bytes):
    """A server that says the opening at once, and then a drop now and then; its address."""
    stopped = threading.Event()

    def drip(listening: socket.socket) -> None:
        with suppress(OSError), listening.accept()[0] as connection:
            connection.recv(10_000)
            connection.sendall(opening)
            for _ in range(200):
                if stopped.wait(0.02):
                    return
                connection.sendall(drop)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/list"
        finally:
            stopped.set()
            thread.join()


@pytest.mark.parametrize(
    ("opening", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[", b" "),
        (b"HTTP/1.1 200 OK\r\n\r\n[", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"a"),
        (b"", b"H"),
    ],
    ids=["body", "body without an end", "length of a chunk", "header", "status line"],
)
def test_an_answer_that_only_drips_is_cut_off(settings, opening, drop):
    settings.FETCH_TIMEOUT_SECONDS = 0.1
    client = fetching.Client(patience_seconds=0)
    with dripping(opening, drop) as url:
        began = time.monotonic()
        with pytest.raises(fetching.FetchError, match=r"no whole answer within 0\.3 s"):
            client.get(url)
        assert time.monotonic() - began < 2
    assert client.found_down


def test_a_slow_answer_that_ends_in_time_is_taken_whole(settings):
    settings.FETCH_TIMEOUT_SECONDS = 2
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[", b" ") as url:
        assert fetching.Client(patience_seconds=0).get(url) == b"[    "


def test_the_name_and_password_of_a_mirror_are_in_no_error(source, server, settings, caplog):
    def error(url: str) -> str:
        settings.HUGGINGFACE_URL = url
        client = fetching.Client(patience_seconds=0)
        return fetching.fetch_day(source, MONDAY, now=MORNING, client=client).error

    assert error("http://me:s3cr3t@127.0.0.1:9") == "cannot reach 127.0.0.1:9 (ConnectionError)"
    away = {"Location": "http://me:s3cr3t@elsewhere.example:8080/list"}
    server.answer_once("2026-11-23", b"", status=302, headers=away)
    assert error(server.url.replace("//", "//me:s3cr3t@")) == (
        "redirected to another site, elsewhere.example:8080: not followed"
    )
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://[", "cannot reach 127.0.0.1:"),
        ("http://127.0.0.1:99999/", "redirected to what is no address"),
    ],
)
def test_a_redirect_to_what_is_no_address_is_a_failure(read, server, location, said):
    for _ in range(fetching.ATTEMPTS):
        server.answer_once("2026-11-23", b"", status=302, headers={"Location": location})

    fetch = read()

    assert fetch.status == "failed"
    assert fetch.error.startswith(said)


def test_an_endless_body_is_cut_off(read, server, monkeypatch):
    monkeypatch.setattr(fetching, "MAX_BODY_BYTES", 1000)
    server.answer_once("2026-11-23", b" " * 5000)

    assert read().error == "an answer of more than 32 MiB"


def test_a_redirect_on_the_same_site_is_followed(read, server):
    there = {"Location": "/api/daily_papers?date=2026-11-23&limit=100&p=0"}
    server.answer_once("2026-11-23", b"", status=307, headers=there)
    server.list_papers("2026-11-23", [entry(1)])

    assert read().papers_seen == 1


def test_a_redirect_to_another_site_is_refused_and_the_token_stays_here(read, server, settings):
    settings.HUGGINGFACE_TOKEN = "hf_secret"
    with SourceServer().running() as other:
        away = {"Location": f"{other.url}/api/daily_papers?date=2026-11-23&limit=100&p=0"}
        server.answer_once("2026-11-23", b"", status=302, headers=away)

        fetch = read()

        assert other.requests == []
    assert (fetch.status, fetch.http_status) == ("failed", 302)
    assert fetch.error.startswith("redirected to another site, 127.0.0.1:")


def test_redirects_in_circles_end(read, server):
    here = {"Location": "/api/daily_papers?date=2026-11-23&limit=100&p=0"}
    for _ in range(10):
        server.answer_once("2026-11-23", b"", status=301, headers=here)

    assert read().error == "redirected in circles"
    assert len(server.requests) == fetching.MAX_REDIRECTS + 1


def test_the_real_session_follows_no_redirect_by_itself(monkeypatch, source, server):
    seen = []
    get = requests.Session.get
    monkeypatch.setattr(
        requests.Session, "get", lambda self, url, **kw: seen.append(kw) or get(self, url, **kw)
    )

    fetching.Client().get(f"{server.url}/x?date=2026-11-23&limit=1&p=0")

    assert seen[0]["allow_redirects"] is False
    assert seen[0]["timeout"] == 5


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


def test_the_first_round_makes_its_source(db, server):
    Source.objects.all().delete()

    fetching.fetch_due(utc("2100-01-01T00:00"))
    fetching.ensure_sources()

    assert Source.objects.values_list("slug", "name").get() == (
        "huggingface", "Hugging Face Daily Papers",
    )  # fmt: skip


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

    due(MORNING)

    dead.refresh_from_db()
    alive.refresh_from_db()
    assert (dead.status, dead.error, alive.status) == ("failed", "interrupted", "running")


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
