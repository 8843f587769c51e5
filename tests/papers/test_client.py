from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import tracemalloc
import zlib
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
import requests
from django.db.models import F

from papers import client as http
from papers import pace
from papers.client import Client, FetchError, Validators
from papers.models import Pace
from papers.sources.arxiv import ArXiv
from papers.sources.huggingface import HuggingFace
from tests.fakes.source_server import SourceServer

LIST = "/list"


class Hasty:
    """A reader with a pace."""

    name, accept, pace_seconds = "hasty", "application/xml", 0.001


class Patient(Hasty):
    pace_seconds = 3.0


@pytest.fixture
def slept():
    return []


@pytest.fixture
def get(server, slept):
    """Asks for the list; waits are noted in `slept` and not waited."""
    client = Client(sleep=slept.append)

    def get(path=LIST, **options):
        return client.get(server.url + path, **options)

    get.client = client
    return get


def refused(get, *args, **options) -> FetchError:
    with pytest.raises(FetchError) as caught:
        get(*args, **options)
    return caught.value


# -- asking --------------------------------------------------------------------------------


def test_the_request_names_us_and_says_what_it_takes(get, server, settings):
    server.answer_always(LIST, [])

    get()
    get(reader=ArXiv({}))

    first, second = server.requests
    assert first.headers["User-Agent"] == f"Paperround/{settings.VERSION} (+http://paperround.test)"
    assert first.headers["Accept"] == "application/json"
    assert first.headers["Accept-Encoding"] == "gzip"
    assert "Authorization" not in first.headers
    assert second.headers["Accept"].startswith("application/rss+xml")


def test_the_token_goes_to_hugging_face_alone(server, settings):
    settings.HUGGINGFACE_TOKEN = "hf_secret"
    with SourceServer().running() as other:
        for site in (server, other):
            site.answer_always(LIST, [])
            Client().get(site.url + LIST)

        assert server.requests[0].headers["Authorization"] == "Bearer hf_secret"
        assert "Authorization" not in other.requests[0].headers


def test_a_question_is_posted_as_json_with_the_headers_of_its_client(server):
    server.cite("2611.00001", 7)

    answer = Client(headers={"x-api-key": "key"}).post(
        f"{server.url}/graph/v1/paper/batch?fields=externalIds", {"ids": ["ARXIV:2611.00001"]}
    )

    assert json.loads(answer.body)[0]["citationCount"] == 7
    assert server.requests[0].headers["x-api-key"] == "key"


def test_what_is_known_is_not_sent_again(get, server):
    server.answer_next(LIST, [1], headers={"ETag": '"a"', "Last-Modified": "yesterday"})
    first = get()
    server.answer_next(LIST, b"", status=304)

    answer = get(validators=Validators(first.etag, first.last_modified))

    assert (first.body, first.etag, first.last_modified) == (b"[1]", '"a"', "yesterday")
    assert (answer.status, answer.body) == (304, b"")
    sent = server.requests[1].headers
    assert (sent["If-None-Match"], sent["If-Modified-Since"]) == ('"a"', "yesterday")


def test_an_answer_of_not_modified_to_nothing_known_is_an_error(get, server):
    server.answer_next(LIST, b"", status=304)

    assert str(refused(get)) == "HTTP 304 Not Modified"


def test_a_validator_too_long_to_be_stored_is_none(get, server):
    server.answer_next(LIST, [], headers={"ETag": f'"{"x" * 300}"'})

    assert get().etag == ""


def test_a_validator_that_cannot_be_sent_or_stored_is_none(get, server):
    head = b'HTTP/1.1 200 OK\r\nETag: "a\r b"\r\nLast-Modified: a\x00b\r\nContent-Length: 2\r\n\r\n'
    server.answer_next(LIST, head + b"[]", raw=True)

    answer = get()

    assert (answer.body, answer.etag, answer.last_modified) == (b"[]", "", "")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"404 No\x00\x1bpe", "HTTP 404 Nope"),
        (b"200 OK\r\nContent-Encoding: b\x00r", "an answer packed as br"),
        (b"302 Found\r\nLocation: http://ev\x00il.example/", "another site, evil.example: not"),
    ],
)
def test_what_is_said_of_an_answer_can_be_stored(get, server, head, said):
    raw = b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n"
    server.answer_next(LIST, raw, raw=True)

    assert said in str(refused(get))


def test_little_is_said_of_an_answer_that_says_much(get, server):
    raw = b"HTTP/1.1 404 " + b"x" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n"
    server.answer_next(LIST, raw, raw=True)

    assert len(str(refused(get))) == http.MAX_SAID


# -- patience ------------------------------------------------------------------------------


def test_a_rate_limit_is_waited_for_as_the_header_says(get, server, slept):
    limit = {"RateLimit": '"api";r=0;t=42', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    server.answer_next(LIST, {}, status=429, headers=limit)
    server.answer_next(LIST, [])

    assert (get().status, slept) == (200, [42.0])


def test_retry_after_is_honoured_in_seconds_and_as_a_date(get, server, slept):
    server.answer_next(LIST, {}, status=503, headers={"Retry-After": "7"})
    past = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server.answer_next(LIST, {}, status=503, headers=past)
    server.answer_next(LIST, [])

    assert (get().status, slept) == (200, [7.0, 2.0])


@pytest.mark.parametrize(
    "asked",
    [
        "soon",
        "-1",
        "Mon, 05 Jan 2026 00:00:00 +99999999999999999999",
        "Mon, 05 Jan 99999999999 00:00:00 +0000",
    ],
)
def test_a_time_that_is_none_is_not_waited_for(get, server, slept, asked):
    server.answer_next(LIST, {}, status=503, headers={"Retry-After": asked})
    server.answer_next(LIST, [])

    assert (get().status, slept) == (200, [1.0])


def test_server_errors_are_tried_again_with_growing_waits_then_given_up(get, server, slept):
    for status in (500, 502, 504, 408):
        server.answer_next(LIST, {}, status=status)

    error = refused(get)

    assert (error.status, error.is_source_down, slept) == (408, True, [1.0, 2.0, 4.0])


def test_a_wait_beyond_our_patience_is_not_begun(get, server, slept):
    server.answer_next(LIST, {}, status=429, headers={"Retry-After": "3600"})

    error = refused(get)

    assert (str(error), error.wants_rest) == ("HTTP 429 Too Many Requests", True)
    assert (error.retry_after, slept, len(server.requests)) == (3600, [], 1)


def test_who_was_patient_through_a_time_out_has_less_patience_left(server, slept, settings):
    settings.FETCH_TIMEOUT_SECONDS = 0.1
    server.answer_always(LIST, [], delay_seconds=0.5)
    client = Client(sleep=slept.append, patience_seconds=1.05)

    with pytest.raises(FetchError, match="no answer"):
        client.get(server.url + LIST)

    assert (slept, len(server.requests)) == ([], 1)


def test_a_missing_page_is_not_asked_for_again(get, slept):
    error = refused(get)

    assert (str(error), error.is_source_down, slept) == ("HTTP 404 Not Found", False, [])


def test_how_a_bad_request_was_bad_is_kept_and_no_more_than_that(get, server):
    server.answer_next(LIST, b"You asked " + b"x" * 100_000, status=400)

    error = refused(get)

    assert error.body.startswith(b"You asked")
    assert len(error.body) <= http.MAX_ERROR_BYTES


def test_a_silent_server_is_a_time_out_that_names_its_setting(get, server, slept, settings):
    settings.FETCH_TIMEOUT_SECONDS = 0.05
    server.answer_always(LIST, [], delay_seconds=0.2)

    assert str(refused(get)) == "no answer within 0.05 s (FETCH_TIMEOUT_SECONDS)"
    assert len(slept) == http.ATTEMPTS - 1


def test_an_unreachable_server_fails_in_words(slept):
    error = refused(Client(sleep=slept.append).get, "http://127.0.0.1:9/list")

    assert str(error) == "cannot reach 127.0.0.1:9 (ConnectionError)"
    assert error.status is None


def test_a_reader_without_an_answer_is_not_asked_again_at_once_and_others_are(db, get, server):
    server.answer_always("/api", {}, status=503)
    server.answer_always("/papers", [])
    reader = HuggingFace({})

    refused(get, "/api", reader=reader)
    asked = len(server.requests)
    assert str(refused(get, "/api?day=2", reader=reader)) == "HTTP 503 Service Unavailable"
    assert (len(server.requests), get.client.found_down) == (asked, True)

    get("/papers", reader=Hasty())
    assert not get.client.found_down


# -- on the wire ---------------------------------------------------------------------------


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
    client = Client(patience_seconds=0)
    with dripping(opening, drop) as url:
        began = time.monotonic()
        with pytest.raises(FetchError, match=r"no whole answer within 0\.3 s"):
            client.get(url)
        assert time.monotonic() - began < 2
    assert client.found_down


def test_a_slow_answer_that_ends_in_time_is_taken_whole(settings):
    settings.FETCH_TIMEOUT_SECONDS = 2
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[", b" ") as url:
        assert Client(patience_seconds=0).get(url).body == b"[    "


@pytest.mark.parametrize("wire", [{}, {"chunks": 7}], ids=["by its length", "in chunks"])
def test_a_line_that_is_cut_is_tried_again_and_half_an_answer_is_never_taken(
    get, server, slept, wire
):
    body = json.dumps(list(range(1000))).encode()
    server.answer_next(LIST, body, cut_after=2000, **wire)
    server.answer_next(LIST, body, **wire)

    assert get().body == body
    assert slept == [1.0]


def test_a_line_that_stays_cut_is_said_so(get, server):
    server.answer_always(LIST, b"x" * 1000, cut_after=10)

    assert str(refused(get)).startswith("the answer of 127.0.0.1:")
    assert "breaks off" in str(refused(get))


def test_a_packed_answer_is_unpacked(get, server):
    body = json.dumps(["Ünïcode"] * 10_000).encode()
    server.answer_next(LIST, gzip.compress(body), headers={"Content-Encoding": "gzip"}, chunks=3)

    assert get().body == body


@pytest.mark.parametrize(
    ("body", "packing", "said"),
    [
        (gzip.compress(b"[]" * 1000, mtime=0)[:20], "gzip", "breaks off (gzip)"),
        (b"no gzip at all", "gzip", "an answer that cannot be unpacked"),
        (zlib.compress(b"[]"), "br", "an answer packed as br"),
        (gzip.compress(b"[]", mtime=0), "gzip, gzip", "an answer packed as gzip, gzip"),
    ],
)
def test_what_is_packed_badly_or_as_nobody_asked_is_an_error(get, server, body, packing, said):
    server.answer_always(LIST, body, headers={"Content-Encoding": packing})

    assert said in str(refused(get))


def test_a_bomb_is_not_unpacked_beyond_the_limit(get, server, monkeypatch):
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 1 << 20)
    bomb = gzip.compress(b" " * (50 << 20))
    assert len(bomb) < http.CHUNK_BYTES  # so that all of it arrives at once
    server.answer_next(LIST, bomb, headers={"Content-Encoding": "gzip"})

    error, peak = peak_of(lambda: refused(get))

    assert str(error) == "an answer of more than 1 MiB"
    assert peak < 5 << 20


def test_fifty_megabytes_of_garbage_are_not_read_to_their_end(get, server):
    server.answer_next(LIST, b"\xff\x00garbage!" * 5_000_000)

    error, peak = peak_of(lambda: refused(get))

    assert str(error) == "an answer of more than 32 MiB"
    assert peak < 3 * http.MAX_BODY_BYTES


def peak_of(act):
    tracemalloc.start()
    try:
        return act(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_body_without_an_end_is_cut_off(get, server, monkeypatch):
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 1 << 20)
    server.answer_next(LIST, b" " * 65536, endless=True)

    assert str(refused(get)) == "an answer of more than 1 MiB"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200,
    ],
    ids=["nothing", "no HTTP", "no status", "too many headers"],
)
def test_what_is_no_http_is_an_unreachable_server(get, server, raw):
    server.answer_always(LIST, raw, raw=True)

    assert str(refused(get)).startswith("cannot reach 127.0.0.1:")


def test_the_name_of_the_encoding_is_not_believed(get, server):
    server.answer_next(LIST, "é".encode(), headers={"Content-Type": "application/json; charset=x"})

    assert get().body == "é".encode()


# -- redirects -----------------------------------------------------------------------------


def test_a_redirect_on_the_same_site_is_followed(get, server):
    server.answer_next(LIST, b"", status=307, headers={"Location": "/there"})
    server.answer_next("/there", [1])

    assert get().body == b"[1]"


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/",
        "http://localhost/list",
        "http://[::1]/list",
        "http://2130706433/list",
        "//elsewhere.example/list",
        "http://elsewhere.example/list",
        "file:///etc/passwd",
        "ftp://127.0.0.1/list",
        "gopher://127.0.0.1/",
    ],
)
def test_a_redirect_to_anywhere_else_is_not_followed(get, server, location):
    server.answer_next(LIST, b"", status=302, headers={"Location": location})

    error = refused(get)

    assert str(error).startswith("redirected to another site")
    assert (error.status, error.is_source_down) == (302, True)
    assert len(server.requests) == 1


def test_a_redirect_to_another_port_is_refused_and_the_token_stays_here(get, server, settings):
    settings.HUGGINGFACE_TOKEN = "hf_secret"
    with SourceServer().running() as other:
        away = {"Location": f"{other.url}/list"}
        server.answer_next(LIST, b"", status=302, headers=away)

        assert "another site, 127.0.0.1:" in str(refused(get))
        assert other.requests == []


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://[", "cannot reach 127.0.0.1:"),
        ("http://127.0.0.1:99999/", "redirected to what is no address"),
    ],
)
def test_a_redirect_to_what_is_no_address_is_a_failure(get, server, location, said):
    server.answer_always(LIST, b"", status=302, headers={"Location": location})

    assert str(refused(get)).startswith(said)


def test_redirects_in_circles_end(get, server):
    server.answer_always(LIST, b"", status=301, headers={"Location": LIST})

    assert str(refused(get)) == "redirected in circles"
    assert len(server.requests) == http.MAX_REDIRECTS + 1


def test_the_real_session_follows_no_redirect_by_itself(monkeypatch, get, server):
    seen = []
    request = requests.Session.request
    monkeypatch.setattr(
        requests.Session,
        "request",
        lambda self, method, url, **kw: seen.append(kw) or request(self, method, url, **kw),
    )
    server.answer_next(LIST, [])

    get()

    assert (seen[0]["allow_redirects"], seen[0]["timeout"]) == (False, 5)


def test_the_name_and_password_of_a_mirror_are_in_no_error(server, caplog):
    def error(url: str) -> str:
        return str(refused(Client(patience_seconds=0).get, url))

    assert error("http://me:s3cr3t@127.0.0.1:9") == "cannot reach 127.0.0.1:9 (ConnectionError)"
    away = {"Location": "http://me:s3cr3t@elsewhere.example:8080/list"}
    server.answer_next(LIST, b"", status=302, headers=away)
    assert error(server.url.replace("//", "//me:s3cr3t@") + LIST) == (
        "redirected to another site, elsewhere.example:8080: not followed"
    )
    assert "s3cr3t" not in caplog.text


# -- rest ----------------------------------------------------------------------------------


def test_after_a_429_the_host_rests_and_no_request_is_made(db, get, server):
    server.answer_next(LIST, b"Rate exceeded.", status=429)

    first = refused(get, reader=Hasty())
    second = refused(Client().get, server.url + LIST, reader=Hasty())

    assert (first.wants_rest, first.retry_after) == (True, 300)
    assert len(server.requests) == 1
    assert (second.wants_rest, second.is_source_down) == (True, True)
    assert "asked for rest: not asked again before" in str(second)
    assert 290 < second.retry_after <= 300


def test_whoever_is_patient_waits_the_rest_out(db, server):
    server.answer_next(LIST, b"", status=429, headers={"Retry-After": "30"})
    server.answer_next(LIST, [1])

    def sleep(seconds: float) -> None:
        Pace.objects.update(cool_until=F("cool_until") - timedelta(seconds=seconds))

    assert Client(sleep=sleep).get(server.url + LIST, reader=Hasty()).body == b"[1]"
    assert not Pace.objects.filter(cool_until__isnull=False).exists()


def test_who_is_impatient_does_not_wait_long_for_a_turn(db, server, slept):
    client = Client(sleep=slept.append, patience_seconds=0)

    with pace.turn(server.url, seconds=3):
        error = refused(client.get, server.url + LIST, reader=Patient())

    assert "no turn came in time" in str(error)
    assert sum(slept) <= http.TURN_SECONDS
    assert server.requests == []


def test_a_site_without_a_pace_costs_no_query(get, server, django_assert_num_queries, db):
    server.answer_next(LIST, [])

    with django_assert_num_queries(0):
        get()
