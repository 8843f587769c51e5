"""The real process, started as a newcomer starts it, spoken to over HTTP, stopped by signals."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import requests
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError

from digest.management.commands import up as up_command
from tests.services import SAMPLE_DAY, Sink, free_port, mail_server, manage

PROJECT = Path(__file__).resolve().parent.parent
SET_BY_THE_SUITE = (
    "DATABASE_URL", "SITE_URL", "SECRET_KEY", "SUPPRESSION_KEY", "POSTAL_ADDRESS", "ADMIN_PASSWORD",
)  # fmt: skip


@dataclass
class Up:
    """`manage.py up` on a port and a folder of its own."""

    data_dir: Path
    port: int
    source_url: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k not in SET_BY_THE_SUITE}
        return inherited | {
            "DATA_DIR": str(self.data_dir),
            "PORT": str(self.port),
            "HUGGINGFACE_URL": self.source_url,
        }

    def start(self, *arguments: str, **environment: str) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", *arguments],
                cwd=PROJECT,
                env=self.environment | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.ended(within_seconds=15)

    def ended(self, *, within_seconds: float) -> int:
        assert self.process is not None
        return self.process.wait(timeout=within_seconds)

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output
        return "Ctrl-C stops it" in self.output

    def manage(self, *arguments: str) -> None:
        manage(self.environment, *arguments)

    def readers_fall_due(self, number: int) -> None:
        self.manage(
            "shell",
            "-c",
            "from django.utils import timezone\n"
            "from tests.factories import make_readers\n"
            f"make_readers({number}, next_due_at=timezone.now())\n",
        )

    def count(self, table: str, column: str) -> dict[str, int]:
        with closing(sqlite3.connect(self.data_dir / "paperround.sqlite3")) as database:
            return dict(database.execute(f"SELECT {column}, count(*) FROM {table} GROUP BY 1"))

    def mails(self) -> list[Path]:
        return sorted(self.data_dir.glob("outbox/*.eml"))

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def log(self) -> Path:
        return self.data_dir.parent / f"{self.data_dir.name}.log"


@pytest.fixture(scope="module")
def source_url() -> Iterator[str]:
    """A source that answers every question with an error, at once."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def up(tmp_path: Path, source_url: str) -> Iterator[Up]:
    one = Up(data_dir=tmp_path / "data", port=free_port(), source_url=source_url)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.wait()


@pytest.mark.processes
def test_a_first_start_a_confirmation_mail_and_a_second_start(up: Up) -> None:
    up.start()
    _wait_for(up.is_ready, within_seconds=60, say=lambda: up.output)
    assert "Admin account: admin, password" in up.output
    assert "bundled sample day" in up.output
    assert up.get("/").status_code == 200

    answer = requests.post(
        f"http://127.0.0.1:{up.port}/subscribe/", data={"email": "ada@example.org"}, timeout=10
    )
    assert answer.status_code == 200
    _wait_for(up.mails, within_seconds=20, say=lambda: up.output)
    assert b"ada@example.org" in up.mails()[0].read_bytes()

    assert up.stop(signal.SIGINT) == 0
    assert "Traceback" not in up.output

    up.start("--port", str(up.port), "--no-fetch", PORT="1")
    _wait_for(up.is_ready, within_seconds=30, say=lambda: up.output)
    assert f"http://127.0.0.1:{up.port}/outbox/" in up.output
    assert "Admin account" not in up.output
    assert "sample day" not in up.output
    assert up.get("/").status_code == 200
    assert len(up.mails()) == 1
    assert up.stop(signal.SIGTERM) == 0
    assert "Traceback" not in up.output


@pytest.mark.processes
def test_ctrl_c_while_mails_leave_ends_after_those_in_hand_and_the_rest_leaves_later(
    up: Up,
) -> None:
    up.manage("migrate")
    up.manage("fetch_papers", "--from-file", SAMPLE_DAY, "--current")
    up.readers_fall_due(60)
    sink = Sink(seconds_a_mail=0.1)
    with mail_server(sink) as address:
        mail = {"EMAIL_URL": address, "SEND_WINDOW": "8"}
        up.start("--no-fetch", **mail)
        _wait_for(lambda: len(sink.mails) >= 10, within_seconds=60, say=lambda: up.output)
        assert up.stop(signal.SIGINT) == 0
        assert "Traceback" not in up.output
        taken = len(sink.mails)
        assert taken < 50
        assert up.count("digest_digest", "state") == {"sent": taken, "assembled": 60 - taken}
        assert {"beat", "default"} <= set(up.count("digest_heartbeat", "name"))

        up.start("--no-fetch", **mail)
        _wait_for(lambda: len(sink.mails) >= 60, within_seconds=60, say=lambda: up.output)
        assert up.stop(signal.SIGTERM) == 0
    assert set(sink.times_by_address().values()) == {1}
    assert up.count("digest_digest", "state") == {"sent": 60}


@pytest.mark.processes
def test_a_taken_port_is_named_without_a_traceback(up: Up) -> None:
    with socket.create_server(("127.0.0.1", up.port)):
        up.start()
        assert up.ended(within_seconds=15) == 1

    assert f"Port {up.port} on 127.0.0.1 is taken" in up.output
    assert f"PORT={up.port + 1}" in up.output
    assert "Traceback" not in up.output


@pytest.mark.processes
def test_a_folder_that_cannot_be_written_is_named_without_a_traceback(
    up: Up, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    up.start(DATA_DIR=str(tmp_path / "file" / "below"))

    assert up.ended(within_seconds=15) == 1
    assert "DATA_DIR" in up.output
    assert "Traceback" not in up.output


@pytest.mark.usefixtures("own_signals")
def test_with_keys_of_its_own_a_folder_that_cannot_be_written_is_named_too(
    settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.DATA_DIR = tmp_path / "file" / "below"

    with pytest.raises(CommandError, match="DATA_DIR: cannot write to"):
        call_command("up")


@pytest.mark.usefixtures("own_signals")
def test_a_second_process_on_the_same_folder_is_refused(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    with (tmp_path / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with pytest.raises(CommandError, match="Another `up` is running"):
            call_command("up")


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("port", [0, 65536, -1])
def test_a_port_that_is_none_is_refused(settings: Any, tmp_path: Path, port: int) -> None:
    settings.DATA_DIR = tmp_path
    settings.PORT = port

    with pytest.raises(CommandError, match="PORT must be"):
        call_command("up", port=port)


@pytest.mark.usefixtures("own_signals")
def test_a_database_that_cannot_be_used_is_named(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any, **__: Any) -> None:
        raise DatabaseError("file is not a database")

    settings.DATA_DIR = tmp_path
    settings.PORT = free_port()
    monkeypatch.setattr(up_command, "call_command", damaged)

    with pytest.raises(CommandError, match=r"DATABASE_URL: .* file is not a database"):
        call_command("up", port=settings.PORT)


@pytest.mark.django_db
def test_a_chosen_admin_password_is_used_and_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_PASSWORD", "as chosen before")
    said = StringIO()
    up_command.Command(stdout=said)._ensure_admin()
    up_command.Command(stdout=said)._ensure_admin()

    assert get_user_model().objects.get().check_password("as chosen before")
    assert "as chosen before" not in said.getvalue()
    assert said.getvalue().count("Admin account") == 1


@pytest.fixture
def own_signals() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def _wait_for(condition: Callable[[], Any], *, within_seconds: float, say: Any) -> None:
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, say()
        time.sleep(0.05)
