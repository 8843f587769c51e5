from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import F

from papers import pace
from papers.models import Pace
from tests.fakes.source_server import SourceServer
from tests.services import own_database

FEED = "https://rss.arxiv.org/rss/cs.LG"
QUERY = "https://export.arxiv.org/api/query"
OTHER = "https://api.semanticscholar.org/graph"
pytestmark = pytest.mark.django_db


def pass_time(seconds: float) -> None:
    """As if so much of it had passed by the database's clock."""
    ago = timedelta(seconds=seconds)
    Pace.objects.update(
        next_at=F("next_at") - ago,
        busy_until=F("busy_until") - ago,
        cool_until=F("cool_until") - ago,
    )


@pytest.fixture
def slept():
    return []


@pytest.fixture
def ask(slept):
    """Takes a turn; whoever has to wait sleeps through it at once."""

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        pass_time(seconds)

    def ask(url, seconds=3.0, **options):
        with pace.turn(url, seconds=seconds, sleep=sleep, **options):
            pass

    return ask


# -- turns ---------------------------------------------------------------------------------


def test_the_first_request_waits_for_nobody(ask, slept):
    ask(FEED)

    assert slept == []


def test_the_next_one_begins_so_many_seconds_after_the_last_began(ask, slept):
    ask(FEED)
    ask(FEED)

    assert sum(slept) == pytest.approx(3, abs=0.3)


def test_arxivs_hosts_have_one_limit_together_and_other_sites_their_own(ask, slept):
    ask(FEED)
    ask(OTHER)
    assert slept == []

    ask(QUERY)

    assert sum(slept) > 2


def test_without_a_pace_nothing_is_asked_of_the_database(django_assert_num_queries, ask):
    with django_assert_num_queries(0):
        ask(FEED, seconds=0)


def test_one_request_at_a_time(ask, slept):
    with pace.turn(FEED, seconds=3):
        pass_time(10)
        with pytest.raises(pace.NotNowError) as refused:
            ask(QUERY, patience_seconds=5)

    assert refused.value.until is None
    assert slept == [1.0] * 5
    ask(QUERY)


def test_a_turn_that_failed_is_given_back(ask):
    with pytest.raises(OSError, match="broken"), pace.turn(FEED, seconds=3):
        raise OSError("broken")

    ask(FEED, patience_seconds=4)


def test_whoever_died_in_its_turn_blocks_the_others_for_the_length_of_its_lease(
    ask, slept, settings
):
    settings.FETCH_TIMEOUT_SECONDS = 20
    turn = pace.turn(FEED, seconds=3)
    turn.__enter__()

    ask(FEED, patience_seconds=1000)

    assert sum(slept) == pytest.approx(100, abs=2)


def test_whose_lease_ran_out_does_not_give_back_the_turn_of_another(ask):
    late = pace.turn(FEED, seconds=3)
    late.__enter__()
    pass_time(1000)
    with pace.turn(FEED, seconds=3):
        late.__exit__(None, None, None)

        with pytest.raises(pace.NotNowError):
            ask(FEED, patience_seconds=10)


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_in_a_transaction():
    waited_in = []

    def sleep(seconds: float) -> None:
        waited_in.append(connection.in_atomic_block)
        pass_time(seconds)

    for _ in range(2):
        with pace.turn(FEED, seconds=3, sleep=sleep):
            waited_in.append(connection.in_atomic_block)

    assert len(waited_in) > 2
    assert not any(waited_in)


def test_the_time_to_the_next_request_counts_from_when_this_one_had_arrived(ask, slept):
    with pace.turn(FEED, seconds=3) as turn:
        Pace.objects.update(next_at=F("next_at") - timedelta(seconds=10))  # it was on its way
        turn.is_answered()
    ask(FEED)

    assert sum(slept) == pytest.approx(3, abs=0.3)


def test_a_name_and_a_password_are_not_stored(ask):
    ask("http://me:s3cr3t@rss.arxiv.org/rss")
    pace.rest("http://me:s3cr3t@127.0.0.1:8000/rss")

    hosts = Pace.objects.order_by("host").values_list("host", flat=True)
    assert list(hosts) == ["*.arxiv.org", "127.0.0.1:8000"]


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://export.arxiv.org/api", "*.arxiv.org"),
        ("https://arxiv.org/a", "*.arxiv.org"),
        ("https://huggingface.co/papers", "*.huggingface.co"),
        ("http://127.0.0.1:8000/", "*.127.0.0.1:8000"),
        ("http://[::1]:8000/", "*.[::1]:8000"),
        ("http://mirror:80/", "*.mirror:80"),
    ],
)
def test_a_site_is_all_hosts_of_a_name(url, site):
    assert pace._site(url) == site


# -- rest ----------------------------------------------------------------------------------


def test_a_host_that_rests_is_refused_at_once_and_says_until_when(ask, slept):
    assert pace.rest(QUERY) == 300

    with pytest.raises(pace.NotNowError) as refused:
        ask(QUERY)

    row = Pace.objects.get(host="export.arxiv.org")
    assert refused.value.until == row.cool_until
    assert refused.value.seconds == pytest.approx(300, abs=5)
    assert slept == []


def test_the_other_hosts_of_its_site_may_still_be_asked(ask):
    pace.rest(QUERY)

    ask(FEED)


def test_rest_doubles_up_to_five_hours_until_the_host_answers(ask):
    lengths = []
    for _ in range(9):
        lengths.append(pace.rest(QUERY) / 60)
        pass_time(lengths[-1] * 60)
    assert lengths == [5, 10, 20, 40, 80, 160, 300, 300, 300]

    ask(QUERY)

    assert pace.rest(QUERY) == 300


def test_a_request_that_failed_otherwise_ends_no_trouble():
    pace.rest(QUERY)
    pass_time(300)

    with pytest.raises(OSError, match="cut"), pace.turn(QUERY, seconds=0.001):
        raise OSError("cut")

    assert pace.rest(QUERY) == 600


def test_a_host_has_the_rest_that_it_asks_for_and_never_more_than_five_hours(ask):
    assert pace.rest(QUERY, 42) == 42
    pass_time(43)
    ask(QUERY)
    assert pace.rest(QUERY, 90_000) == 18_000


def test_a_second_refusal_does_not_cut_a_rest_short():
    pace.rest(QUERY, 3600)
    pace.rest(QUERY, 10)

    row = Pace.objects.get(host="export.arxiv.org")
    assert row.cool_until - row.next_at == timedelta(hours=1)


def test_who_waited_while_the_host_was_sent_to_rest_does_not_ask():
    def sleep(seconds: float) -> None:
        pass_time(seconds)
        pace.rest(QUERY)

    with pace.turn(QUERY, seconds=3):
        pass
    asked = False
    with pytest.raises(pace.NotNowError), pace.turn(QUERY, seconds=3, sleep=sleep):
        asked = True

    assert not asked
    assert not Pace.objects.filter(busy_until__isnull=False).exists()


# -- over all processes --------------------------------------------------------------------

# The lease lasts one time-out here, which is a second.
SETUP = (
    "import django, sys, time; django.setup(); from papers import pace, client\n"
    "pace.LEASE_TIMEOUTS = 1\n"
    "print('ready', flush=True); sys.stdin.readline()\n"
)
ASK = """
class Reader:
    name, accept, pace_seconds = "reader", "text/plain", 0.1
for path in ["/quick", "/slow"] * 3:
    client.Client().get(sys.argv[1] + path, reader=Reader)
"""
HOLD = """
with pace.turn(sys.argv[1], seconds=0.1):
    print("mine", flush=True)
    time.sleep(60)
"""
SLOW_SECONDS = 0.2


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request, tmp_path, django_db_blocker):
    """A database of its own, with the one table that matters."""
    with _database(request, tmp_path) as url:
        variables = os.environ | {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": url,
            "FETCH_TIMEOUT_SECONDS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        make = (
            "from django.db import connection\n"
            "from papers.models import Pace\n"
            "with connection.schema_editor() as editor: editor.create_model(Pace)\n"
        )
        maker = start(variables, make)
        made_ready(maker)
        let_go(maker)
        assert ended(maker)
        yield variables


@contextmanager
def _database(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/pace.sqlite3"
    else:
        with own_database(request.getfixturevalue("postgresql_url")) as url:
            yield url


def start(environment, code, *arguments) -> subprocess.Popen:
    """Waits for `let_go`."""
    command = [sys.executable, "-c", SETUP + code, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe)


def made_ready(*processes) -> None:
    for process in processes:
        assert process.stdout.readline() == b"ready\n"


def let_go(*processes) -> None:
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()


def ended(*processes) -> bool:
    codes = [process.wait(60) for process in processes]
    for process in processes:
        process.stdin.close()
        process.stdout.close()
    return not any(codes)


@pytest.fixture
def slow_server():
    with SourceServer().running() as server:
        server.answer_always("/quick", [])
        server.answer_always("/slow", [], delay_seconds=SLOW_SECONDS)
        yield server


@pytest.mark.processes
def test_three_processes_keep_one_pace_and_ask_one_at_a_time(environment, slow_server):
    processes = [start(environment, ASK, slow_server.url) for _ in range(3)]
    made_ready(*processes)
    let_go(*processes)
    assert ended(*processes)

    asked = sorted(slow_server.requests, key=lambda request: request.at)
    assert len(asked) == 18
    for before, after in pairwise(asked):
        least = SLOW_SECONDS if before.path == "/slow" else 0.1
        assert after.at - before.at >= least


@pytest.mark.processes
def test_the_pace_is_kept_after_the_holder_of_the_turn_was_killed(environment, slow_server):
    holder = start(environment, HOLD, slow_server.url)
    others = [start(environment, ASK, slow_server.url) for _ in range(2)]
    made_ready(holder, *others)
    let_go(holder)
    assert holder.stdout.readline() == b"mine\n"
    killed_at = time.monotonic()
    holder.send_signal(signal.SIGKILL)
    let_go(*others)

    assert ended(*others)
    assert not ended(holder)

    asked = sorted(request.at for request in slow_server.requests)
    assert len(asked) == 12
    assert 0.5 < asked[0] - killed_at < 20  # the lease of a second, not the minute of the holder
    assert all(after - before >= 0.1 for before, after in pairwise(asked))


def test_the_clock_is_the_databases(ask, monkeypatch):
    """A machine whose clock is an hour ahead waits as long as the others."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    ask(FEED)

    row = Pace.objects.get(host="*.arxiv.org")
    assert row.next_at.timestamp() < real() + 60
