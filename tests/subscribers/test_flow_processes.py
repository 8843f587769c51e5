"""Limits as several processes keep them together, each with threads of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connection

PROJECT = Path(__file__).resolve().parents[2]
PROCESSES, THREADS = 3, 2
PER_SECOND, SECONDS = 200, 2.0
PER_DAY, FOR_SERVICE = 400, 20

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

# Prints the moment of every grant, and how many mails it came to; of full ones some are given back.
WORKER = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import django
django.setup()
from django.utils import timezone
from subscribers import flow

threads, seconds, wanted, returned = json.loads(sys.argv[1])

def work(number):
    way, taken, ends = flow.way_out(timezone.now()), [], time.monotonic() + seconds
    while way and time.monotonic() < ends:
        granted = flow.grant(way, wanted, patience_seconds=1)
        if not granted:
            break
        too_many = returned if granted == wanted else 0
        taken.append((time.time(), granted - too_many))
        flow.give_back(way, too_many)
    return taken

flow.way_out(timezone.now())
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(threads) as pool:
    print(json.dumps(sum(pool.map(work, range(threads)), [])))
"""


@dataclass
class Round:
    """What processes were granted that began together: (moment, mails), in order of time."""

    grants: list[tuple[float, int]]

    @property
    def mails(self) -> int:
        return sum(number for _moment, number in self.grants)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Where processes find the test's tables: SQLite's are in our memory."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(tmp_path / "copy.sqlite3")])
        return f"sqlite:///{tmp_path}/copy.sqlite3"
    facts = connection.settings_dict
    host, port = facts["HOST"] or "localhost", facts["PORT"] or 5432
    return f"postgres://{facts['USER']}:{facts['PASSWORD']}@{host}:{port}/{facts['NAME']}"


def run(
    database: str,
    *,
    processes: int = PROCESSES,
    wanted: int = 32,
    returned: int = 0,
    seconds: float = SECONDS,
    **settings: str,
) -> Round:
    arguments = json.dumps([THREADS, seconds, wanted, returned])
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"} | settings
    environment |= {"DATABASE_URL": database}
    with started([sys.executable, "-c", WORKER, arguments], environment, processes) as all_of_them:
        for each in all_of_them:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        with ThreadPoolExecutor(processes) as pool:
            said = list(pool.map(lambda each: each.communicate("go\n", timeout=60)[0], all_of_them))
    return Round(sorted((moment, mails) for one in said for moment, mails in json.loads(one)))


@contextmanager
def started(
    command: list[str], environment: dict[str, str], number: int
) -> Iterator[list[subprocess.Popen[str]]]:
    all_of_them = [
        subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(number)
    ]
    try:
        yield all_of_them
    finally:
        for each in all_of_them:
            each.kill()
            each.wait()


def test_processes_keep_the_rate_together(database: str) -> None:
    done = run(database, MAIL_PER_SECOND=str(PER_SECOND))
    (began, together), (ended, _last) = done.grants[0], done.grants[-1]
    # The first ones' moments were before they left together.
    per_second = (done.mails - together) / (ended - began)
    assert per_second >= PER_SECOND * 0.9
    # At every moment and at the last. A busy machine notes some up to 50 ms after they left.
    for moment, left in running_sums(done):
        assert left - together <= PER_SECOND * 1.02 * (moment - began) + 0.05 * PER_SECOND


def running_sums(done: Round) -> Iterator[tuple[float, int]]:
    left = 0
    for moment, mails in done.grants:
        left += mails
        yield moment, left


def test_a_day_s_limit_holds_for_all_of_them_and_those_who_come_later(database: str) -> None:
    settings = {"MAIL_PER_DAY": str(PER_DAY)}
    assert run(database, wanted=9, returned=2, **settings).mails == PER_DAY - FOR_SERVICE
    assert run(database, processes=1, wanted=1, **settings).mails == 0
