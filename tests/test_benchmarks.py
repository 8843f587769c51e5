"""What measures the delivery: it must see a lost mail, and must itself cost and leave nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import psycopg
import pytest

from benchmarks import delivery, sink, stages
from benchmarks.peers.rounds import Contender, summary
from digest.models import Digest, Slot
from tests.factories import DUE, SUNDAY, make_reader

PROJECT = Path(__file__).resolve().parent.parent
SEED = 7

ONE_MAIL = (
    b"MAIL FROM:<digest@example.org>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n"
    b"Subject: one\r\n\r\n..\r\nIt names \r\n.not the end\r\n.\r\n"
)
BODY_BYTES = len(b"Subject: one\r\n\r\n..\r\nIt names \r\n.not the end\r\n")


# -- the sink ------------------------------------------------------------------------------


def test_the_sink_counts_mails_readers_and_bytes_however_the_line_cuts_them() -> None:
    said = b"EHLO us\r\n" + 3 * ONE_MAIL + ONE_MAIL.replace(b"ada", b"ben") + b"QUIT\r\n"
    whole = sink.Talk(sink.Tally()).hear(said)
    rng = random.Random(SEED)
    for _ in range(200):
        tally = sink.Tally()
        talk = sink.Talk(tally)
        cuts = sorted(rng.sample(range(len(said)), 12))
        answers = b"".join(talk.hear(said[a:b]) for a, b in pairwise([0, *cuts, len(said)]))
        assert answers == whole
        assert (tally.messages, len(tally.recipients)) == (4, 2)
        assert tally.body_bytes == 4 * BODY_BYTES


def test_the_sink_takes_an_empty_mail_for_one_and_none_without_a_recipient() -> None:
    tally = sink.Tally()
    talk = sink.Talk(tally)
    assert talk.hear(b"MAIL FROM:<>\r\nDATA\r\n").endswith(b"503 nobody to take it for\r\n")
    assert talk.hear(b"RCPT TO:<ben@example.org>\r\nDATA\r\n").endswith(b"354 go on\r\n")
    assert talk.hear(b".\r\n") == b"250 taken\r\n"
    assert (tally.messages, tally.body_bytes) == (1, 0)


def test_a_running_sink_is_asked_for_its_count_and_ends_with_whoever_started_it() -> None:
    with sink.running() as server, smtplib.SMTP("127.0.0.1", server.port) as line:
        for name in ("ada", "ben", "ada"):
            line.sendmail("digest@example.org", [f"{name}@example.org"], b"Subject: a\r\n\r\nb\r\n")
        said = server.count()
    assert (said["messages"], said["recipients"]) == (3, 2)
    assert said["bytes"] == 3 * len(b"Subject: a\r\n\r\nb\r\n")
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_far_sink_answers_a_pipelined_group_after_one_round_trip() -> None:
    with (
        sink.running(rtt_ms=60) as server,
        socket.create_connection(("127.0.0.1", server.port)) as line,
    ):
        assert line.recv(100).startswith(b"220")
        began = time.monotonic()
        head, body = ONE_MAIL.split(b"DATA\r\n")
        line.sendall(head + b"DATA\r\n")
        answers = b""
        while answers.count(b"\r\n") < 3:
            answers += line.recv(100)
        took_seconds = time.monotonic() - began
        line.sendall(body)
        assert line.recv(100) == b"250 taken\r\n"
    assert answers == b"250 ok\r\n250 ok\r\n354 go on\r\n"
    assert 0.06 <= took_seconds < 0.12


# -- stages --------------------------------------------------------------------------------


def test_every_stage_is_a_function_that_the_product_has() -> None:
    for stage, places in stages.STAGES.items():
        for place in places:
            assert stages.functions_at(place, stage=stage)


def test_a_stage_whose_function_is_gone_is_an_error_that_names_it() -> None:
    with pytest.raises(stages.NameGone, match=r"render: there is no digest\.rendering:gone"):
        stages.functions_at("digest.rendering:gone", stage="render")


def test_a_stage_within_a_stage_takes_its_time_from_the_outer_one() -> None:
    timers = stages.Stages()

    def busy(seconds: float) -> None:
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass

    inner = timers.timed("send", lambda: busy(0.03))

    def outer() -> None:
        busy(0.01)
        inner()

    timers.timed("claim and mark", outer)()
    taken = timers.take()
    assert taken["send"] == pytest.approx(0.03, abs=0.01)
    assert taken["claim and mark"] == pytest.approx(0.01, abs=0.009)
    assert set(timers.take().values()) == {0.0}


# -- what must never be --------------------------------------------------------------------


@pytest.fixture
def sent() -> Digest:
    slot = Slot.objects.create(date=SUNDAY, due=1)
    later = DUE.replace(year=2099)
    return Digest.objects.create(
        subscriber=make_reader(next_due_at=later),
        slot=slot,
        due_at=DUE,
        state="sent",
        sent_at=DUE,
    )


def breaches(states: dict[str, int], *, messages: int, recipients: int) -> list[str]:
    taken = {"messages": messages, "recipients": recipients}
    morning = SimpleNamespace(taken=taken)
    return delivery.breaches(morning, states, readers=sum(states.values()))


@pytest.mark.django_db
def test_a_morning_that_went_well_breaches_nothing(sent: Digest) -> None:
    assert breaches({"sent": 1}, messages=1, recipients=1) == []


@pytest.mark.django_db
def test_a_lost_mail_and_a_second_one_and_an_open_digest_are_breaches(sent: Digest) -> None:
    assert breaches({"sent": 1}, messages=0, recipients=0) == [
        "1 digests are sent, 0 mails arrived"
    ]
    assert breaches({"sent": 2}, messages=2, recipients=1) == ["2 mails for 1 readers"]
    assert breaches({"sent": 1, "failed": 1}, messages=1, recipients=1) == [
        "some are neither sent nor skipped"
    ]
    Digest.objects.update(state="assembled", sent_at=None)
    Slot.objects.update(due=2)
    assert breaches({"sent": 1}, messages=1, recipients=1) == [
        f"slot {SUNDAY}: due 2, accounted for 1",
        "digests are open still",
    ]


def test_a_peer_is_held_against_our_sending_and_against_all_that_we_do() -> None:
    ours = Contender("Paperround", process=None, log=Path(), mails=4, bytes=8)
    peer = Contender("another", process=None, log=Path(), mails=4, bytes=4)
    ours.sending = {"wall": [100.0, 300.0, 200.0], "cpu": [100.0]}
    ours.assembling = {"wall": [300.0], "cpu": [400.0]}
    peer.sending = {"wall": [2000.0], "cpu": [1000.0]}
    found = summary(peer, ours)
    assert (found["wall_times_ours"], found["cpu_times_ours"]) == (10.0, 10.0)
    assert (found["wall_times_ours_all"], found["cpu_times_ours_all"]) == (4.0, 2.0)
    assert summary(ours, ours)["wall_us_spread"] == [100.0, 300.0]


# -- a whole morning -----------------------------------------------------------------------


@contextmanager
def benchmark(tmp_path: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.delivery", "--json", *words],
        cwd=PROJECT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def check_morning(tmp_path: Path, *words: str) -> dict:
    with benchmark(tmp_path, "--readers=200", "--papers=40", *words) as process:
        out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]
    found = json.loads(out)
    assert found["breaches"] == []
    assert sum(found["digests"].values()) == 200
    assert found["digests"]["sent"] > 150
    assert 5_000 < found["bytes_per_mail"] < 100_000
    cpu = found["cpu_us_per_digest"]
    own = [took for stage, took in cpu.items() if stage in (*stages.STAGES, "other")]
    assert min(own) >= 0
    assert sum(own) == pytest.approx(cpu["workers"], rel=0.01)
    assert cpu["all"] > cpu["workers"] > cpu["render"] > 0
    assert 20 < found["rss_mb"]["at the end"] <= found["rss_mb"]["peak"] < 400
    assert list(tmp_path.iterdir()) == []
    return found


@pytest.mark.processes
def test_a_morning_in_one_process_on_sqlite_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    found = check_morning(tmp_path)
    assert found["cpu_us_per_digest"]["database server"] is None


@pytest.mark.processes
def test_a_morning_shared_by_two_processes_on_postgresql_is_measured(
    tmp_path: Path, postgresql_url: str
) -> None:
    words = ("--database=postgresql", f"--url={postgresql_url}", "--processes=2")
    found = check_morning(tmp_path, *words)
    assert found["cpu_us_per_digest"]["database server"] > 0


@pytest.mark.processes
def test_an_interrupted_benchmark_leaves_neither_files_nor_a_database(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGAPPNAME", f"benchmark-{uuid4().hex}")
    words = ("--readers=1000000", "--database=postgresql", f"--url={postgresql_url}")
    with (
        psycopg.connect(postgresql_url, autocommit=True) as server,
        benchmark(tmp_path, *words) as process,
    ):
        wait_for_the_loading(process)
        made = own_databases(server)
        assert made
        process.send_signal(signal.SIGINT)
        _out, errors = process.communicate(timeout=60)
        rows = server.execute("SELECT datname FROM pg_database").fetchall()
    assert process.returncode == 1
    assert errors.strip().endswith("stopped")
    assert not made.intersection(name for (name,) in rows)
    assert list(tmp_path.iterdir()) == []


def wait_for_the_loading(process: subprocess.Popen[str]) -> None:
    """A signal that comes earlier, while modules are imported, may fall into a finalizer: Python
    ignores whatever is raised there."""
    killer = threading.Timer(60, process.kill)
    killer.start()
    try:
        while "readers:" not in (said := process.stderr.readline()):
            assert said, "it ended before it loaded"
    finally:
        killer.cancel()


def own_databases(server: psycopg.Connection) -> set[str]:
    rows = server.execute(
        "SELECT datname FROM pg_stat_activity WHERE application_name = %s AND datname LIKE %s",
        [os.environ["PGAPPNAME"], "bench%"],
    )
    return {name for (name,) in rows.fetchall()}
