"""The command in processes of its own: ended by Ctrl-C or by kill -9, and given again."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.fakes.source_server import SourceServer, Submission, entry

pytestmark = pytest.mark.processes

# arXiv's three seconds between requests are other tests' matter.
PROGRAM = """
import sys
from papers.sources.arxiv_oai import ArXivOAI
ArXivOAI.pace_seconds = 0
import manage
manage.main()
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """A database with its tables, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "db.sqlite3"
    program = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(program, cwd=PROJECT, env=environment(path), check=True)
    return path


def environment(database: Path, server: SourceServer | None = None) -> dict[str, str]:
    """server: whose site every source is; without one there is none."""
    site = server.url if server else "http://127.0.0.1:9"
    names = ("HUGGINGFACE", "ARXIV", "ARXIV_FEED", "ARXIV_OAI", "SEMANTIC_SCHOLAR")
    return os.environ | {
        "DATABASE_URL": f"sqlite:///{database}",
        "DATA_DIR": str(database.parent),
        **{f"{name}_URL": site for name in names},
    }


@pytest.fixture
def server():
    with SourceServer().running() as running:
        yield running


@pytest.fixture
def begin(empty, tmp_path, server):
    """Starts the command; whatever still runs in the end is ended."""
    database = tmp_path / "db.sqlite3"
    shutil.copy(empty, database)
    begun = []

    def begin(*arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "fetch_papers", *arguments],
            cwd=PROJECT,
            env=environment(database, server),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        begun.append(process)
        return process

    begin.rows = lambda query: sqlite3.connect(database).execute(query).fetchall()
    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(condition, *, what: str) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    said, _nothing = process.communicate(timeout=60)
    return process.returncode, said


def test_a_harvest_killed_in_mid_run_goes_on_where_it_was(begin, server):
    server.arxiv.page_size = 20
    at = datetime(2026, 11, 5, 12, tzinfo=UTC)
    server.arxiv.submit(*(Submission(number, submitted=at) for number in range(1, 301)))
    asked = ("--source", "arxiv", "--harvest", "--set", "cs", "--since", "2026-11-01",
             "--until", "2026-11-10", "--no-progress")  # fmt: skip

    first = begin(*asked)
    wait_for(lambda: len(server.requests) >= 6, what="six pages are asked for")
    os.kill(first.pid, signal.SIGKILL)
    assert finish(first)[0] == -signal.SIGKILL
    ((before,),) = begin.rows("SELECT count(*) FROM papers_paper")
    pages_before = len(server.requests)

    code, said = finish(begin(*asked))

    assert code == 0, said
    assert begin.rows("SELECT count(*) FROM papers_paper") == [(300,)]
    assert 80 <= before < 300
    assert pages_before + len(server.requests[pages_before:]) <= 15 + 1, "one page twice at most"
    assert all("resumptionToken" in each.query for each in server.requests[pages_before:])
    assert begin.rows("SELECT count(*) FROM papers_entry") == [(0,)]


def test_a_backfill_stopped_by_ctrl_c_is_finished_by_the_same_command(begin, server):
    days = [f"2025-03-{number:02}" for number in range(1, 29)]
    for number, day in enumerate(days, start=1):
        server.list_papers(day, [entry(number, day=day)])
    asked = ("--backfill", "--since", days[0], "--until", days[-1], "--no-progress")

    first = begin(*asked)
    wait_for(lambda: len(server.requests) >= 5, what="five days are asked for")
    first.send_signal(signal.SIGINT)
    code, said = finish(first)
    assert code == 130, said
    assert "The same command goes on from there." in said
    assert "Traceback" not in said
    ((read,),) = begin.rows("SELECT count(*) FROM papers_fetch WHERE status = 'ok'")
    server.requests.clear()

    code, said = finish(begin(*asked))

    assert code == 0, said
    assert f"{read} of 28 days were read before." in said
    assert server.days_asked() == days[read:]
    assert begin.rows("SELECT count(*) FROM papers_entry") == [(28,)]
    assert begin.rows("SELECT DISTINCT is_backfill, closed_at IS NULL FROM papers_edition") == [
        (1, 0)
    ]
