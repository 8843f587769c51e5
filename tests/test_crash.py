"""The crash matrix in small, and whether it would notice: `python -m tests.crash` plays it all."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.crash import verdict
from tests.crash.ledger import Accepted, Row
from tests.crash.rounds import Wanted, play
from tests.crash.scenarios import (
    Scenario,
    a_child_of,
    backend,
    broker,
    mail_server,
    sender_after_250,
    the_main_of,
)
from tests.crash.stage import bearing, end_all, prepared, wait_until
from tests.services import PROJECT, free_port

DIGESTS, WINDOW = 600, 8
NOTHING = verdict.Expected(doubts=0)
ADA = "ada@example.org"


# -- in small --------------------------------------------------------------------------------


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_whatever_is_killed_in_mid_send_no_digest_leaves_twice_and_none_is_lost(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # They ask whether services are wanted; the servers are our own, since they are killed.
    request.getfixturevalue("redis_url")
    if kind == "postgresql":
        request.getfixturevalue("postgresql_url")
    last = backend if kind == "postgresql" else mail_server
    blows = [a_child_of("sender"), sender_after_250, the_main_of("beat"), broker,
             the_main_of("sender"), last]  # fmt: skip
    wanted = Wanted(digests=DIGESTS, seed=1, seconds_a_mail=0.005, window=WINDOW)
    told: list[str] = []

    with prepared(tmp_path / "prepared", kind, digests=DIGESTS) as database:
        outcome = play(
            Scenario("short form", blows, len(blows)),
            database,
            tmp_path / "round",
            kind=kind,
            wanted=wanted,
            say=told.append,
        )

    assert outcome.breaches == [], told
    assert outcome.kills == len(blows), told
    assert outcome.counts.digests == DIGESTS
    assert outcome.counts.lost == outcome.counts.duplicates == 0
    assert outcome.counts.sent + outcome.counts.uncertain == DIGESTS
    assert outcome.looked > 3  # the observer did, while mails flowed
    assert bearing(f"DATA_DIR={tmp_path / 'round' / 'data'}") == []


# -- would it notice? ------------------------------------------------------------------------


def breaches(rows: list[Row], accepted: list[Accepted], **more) -> str:
    given = {"forgotten": [], "unbalanced": [], "unfinished": {}, "expected": NOTHING}
    return "\n".join(verdict.breaches(rows, accepted, **given | more))


def row(state: str, skip_reason: str = "", *, digest: str = "d1", claim: str = "c1") -> Row:
    return Row(digest, state, skip_reason, claim)


def mail(digest: str = "d1", *, at: float = 0) -> Accepted:
    return Accepted(at, ADA, digest)


def test_a_digest_that_was_sent_and_accepted_once_breaks_nothing() -> None:
    assert breaches([row("sent")], [mail()]) == ""


@pytest.mark.parametrize(
    ("rows", "accepted", "said"),
    [
        ([row("sent")], [mail(), mail()], "accepted more than once: 1 (d1)"),
        ([row("uncertain")], [mail(), mail()], "accepted more than once: 1 (d1)"),
        ([row("sent")], [], "sent, and never accepted: 1 (d1 sent)"),
        ([row("skipped", "consent")], [mail()], "accepted against the ledger"),
        ([row("suppressed")], [mail()], "accepted against the ledger"),
        ([row("failed")], [], "refused by nobody, and failed"),
        ([], [mail()], "accepted, and no digest: 1 (d1)"),
        ([row("retry")], [], "still open: 1 (d1 retry)"),
        ([row("sending")], [mail()], "still open: 1 (d1 sending)"),
        ([row("uncertain")], [], "uncertain beyond 0: 1 (d1)"),
        ([row("skipped", "late")], [], "skipped for no reason of the round's"),
        ([row("suppressed")], [], "suppressed, and nobody left"),
    ],
)
def test_a_broken_promise_is_named_with_its_rows(
    rows: list[Row], accepted: list[Accepted], said: str
) -> None:
    assert said in breaches(rows, accepted)


def test_readers_without_a_digest_and_slots_that_do_not_add_up_are_named() -> None:
    said = breaches([], [], forgotten=[7], unbalanced=["day: due 2"], unfinished={"open": 3})

    assert said == (
        "readers without a digest: 1 (7)\nunbalanced slots: 1 (day: due 2)\nunfinished: 1 (3 open)"
    )


def test_a_mail_may_still_reach_who_left_while_its_window_was_under_way_and_none_later() -> None:
    expected = verdict.Expected(doubts=0, gone={ADA: 100.0}, window_seconds=2)

    assert breaches([row("sent")], [mail(at=101.9)], expected=expected) == ""
    late = breaches([row("sent")], [mail(at=102.5)], expected=expected)
    assert late == f"accepted for one who had left: 1 ({ADA} 2.5 s later)"


def test_the_table_counts_what_was_lost_and_what_came_twice() -> None:
    rows = [
        row("sent", digest="d1"),
        row("sent", digest="d2"),
        row("uncertain", digest="d3", claim="c2"),
        row("uncertain", digest="d4", claim="c2"),
        row("skipped", "nothing", digest="d5"),
    ]

    found = verdict.counts(rows, [mail("d1"), mail("d1"), mail("d3")], forgotten=[8, 9])

    assert found == verdict.Counts(
        digests=5, sent=2, skipped=1, uncertain=2, windows_in_doubt=1, lost=3, duplicates=1
    )


# -- the sink --------------------------------------------------------------------------------


def test_the_sink_has_written_a_mail_down_when_it_says_250_and_kills_whom_it_is_told_to(
    tmp_path: Path,
) -> None:
    port, log = free_port(), tmp_path / "sink.log"
    environment = {"DATA_DIR": str(tmp_path / "data")}
    sink = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.sink", "--port", str(port), "--log", str(log)],
        cwd=PROJECT,
        env=environment,
    )
    try:
        assert wait_until(lambda: _talks(port), within_seconds=10)
        first = subprocess.run([sys.executable, "-c", SENDER, str(port), "XNOTHING"], check=False)
        assert first.returncode == 0
        killed = subprocess.run([sys.executable, "-c", SENDER, str(port), "XKILL"], check=False)
        assert killed.returncode == -9
        # It is killed a moment before that is written down.
        assert wait_until(lambda: "killed" in log.read_text(), within_seconds=5)
    finally:
        end_all(tmp_path)
        sink.wait()

    events = [line.split("\t") for line in log.read_text().splitlines()]
    assert [(event, to) for event, _at, to, _about in events] == [
        ("accepted", ADA), ("accepted", ADA), ("killed", ADA)
    ]  # fmt: skip
    assert [about for *_, about in events][:2] == ["<1.digest@site>"] * 2
    assert all(abs(float(at) - time.time()) < 60 for _event, at, *_ in events)


# Hands over one mail, and lives on for a while to be killed.
SENDER = """
import smtplib, sys, time
line = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
line.docmd(sys.argv[2])
line.sendmail("a@example.org", ["ada@example.org"], "Message-ID: <1.digest@site>\\r\\n\\r\\nhello")
time.sleep(10 if sys.argv[2] == "XKILL" else 0)
"""


def _talks(port: int) -> bool:
    answer = subprocess.run(
        [sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}))"],
        check=False,
        stderr=subprocess.DEVNULL,
    )
    return answer.returncode == 0
