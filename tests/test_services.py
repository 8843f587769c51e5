"""Production as it runs: web, worker and beat apart, PostgreSQL, Redis, and a real mail server."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import redis
import requests
from aiosmtpd.controller import Controller

PROJECT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SAMPLE_DAY = "papers/data/sample_day.json"
NOBODY = "http://127.0.0.1:9"
TOPIC = "reinforcement learning"
WEB = "waitress-serve --threads=8 --no-clear-untrusted-proxy-headers"
WORKER = "celery -A config worker -Q default,fetch,send --concurrency 2"
BEAT = "celery -A config beat"


def test_two_readers_are_served_by_separate_processes_and_an_emptied_broker_loses_nothing(
    site: Site, redis_url: str
) -> None:
    first = first_digest_of("ada@example.org", site)

    assert first.get_content_type() == "multipart/alternative"
    text = first.get_body(("plain",)).get_content()
    assert f"Because you follow “{TOPIC}”" in squeezed(text)
    assert f"{site.url}/unsubscribe/" in first["List-Unsubscribe"]
    assert first["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert first["Auto-Submitted"] == "auto-generated"
    for name in ("List-Id", "Feedback-ID", "Message-ID", "Date", "Subject", "From", "To"):
        assert len(first.get_all(name, [])) == 1, name

    redis.Redis.from_url(redis_url).flushall()
    first_digest_of("ben@example.org", site)

    (way_out,) = re.findall("<(http[^>]+)>", first["List-Unsubscribe"])
    one_click = {"List-Unsubscribe": "One-Click"}
    assert requests.post(way_out, one_click, timeout=10, allow_redirects=False).status_code == 200
    assert [len(site.mails_to(f"{name}@example.org")) for name in ("ada", "ben")] == [2, 2]

    for process in site.processes:
        process.stop()
    for process in site.processes:
        assert process.ended(within_seconds=10) == 0, process.output
        assert "Traceback" not in process.output
        assert "@example.org" not in process.output


# -- what a reader does --------------------------------------------------------------------


def first_digest_of(address: str, site: Site) -> EmailMessage:
    """From the home page's form to the mail, through pages and mails alone."""
    visitor = requests.Session()
    assert 'action="/subscribe/"' in visitor.get(f"{site.url}/", timeout=10).text
    subscribed = visitor.post(f"{site.url}/subscribe/", {"email": address}, timeout=10)
    assert "/check-your-mail/" in subscribed.url

    question = site.next_mail_to(address)
    onboarding = visitor.post(link(question, "/confirm/"), timeout=10)
    assert "/welcome/" in onboarding.url
    preview = visitor.post(onboarding.url, {"topics": TOPIC}, timeout=10)
    assert f"Because you follow {TOPIC}" in squeezed(re.sub("<[^>]+>", "", preview.text))
    sent = visitor.post(f"{onboarding.url}send/", timeout=10)
    assert "on its way" in sent.text
    return site.next_mail_to(address)


def link(message: EmailMessage, part: str) -> str:
    text = message.get_body(("plain",)).get_content()
    return next(url for url in re.findall(r"https?://\S+", text) if part in url)


def squeezed(text: str) -> str:
    return " ".join(text.split())


# -- the installation ----------------------------------------------------------------------


@dataclass
class Process:
    command: str
    environment: dict[str, str]
    log: Path

    def start(self) -> Process:
        program, *arguments = self.command.split()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [BIN / program, *arguments],
                cwd=PROJECT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def stop(self) -> None:
        # As docker-compose.yml does: waitress leaves in order by SIGINT only.
        is_web = self.command.startswith("waitress")
        self._process.send_signal(signal.SIGINT if is_web else signal.SIGTERM)

    def ended(self, *, within_seconds: float) -> int:
        return self._process.wait(timeout=within_seconds)

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def output(self) -> str:
        return self.log.read_text()


@dataclass
class Site:
    url: str
    sink: Sink
    processes: list[Process] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)

    def mails_to(self, address: str) -> list[EmailMessage]:
        return [mail for recipient, mail in self.sink.mails if recipient == address]

    def next_mail_to(self, address: str) -> EmailMessage:
        number = self.read.get(address, 0)
        wait_for(lambda: len(self.mails_to(address)) > number, say=self.outputs)
        self.read[address] = number + 1
        return self.mails_to(address)[number]

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=10).ok
        except requests.ConnectionError:
            return False

    def outputs(self) -> str:
        return "\n".join(f"== {each.command}\n{each.output}" for each in self.processes)


@pytest.fixture
def site(redis_url: str, postgresql_url: str, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        database = stack.enter_context(own_database(postgresql_url))
        sink = Sink()
        server = Server(sink, hostname="127.0.0.1", port=0)
        server.start()
        stack.callback(server.stop)
        port = free_port()
        one = Site(f"http://127.0.0.1:{port}", sink)
        environment = production(
            tmp_path, DATABASE_URL=database, REDIS_URL=redis_url, SITE_URL=one.url,
            EMAIL_URL=f"smtp://127.0.0.1:{server.port}",
        )  # fmt: skip
        redis.Redis.from_url(redis_url).flushall()
        commands = {
            "worker": WORKER,
            "beat": f"{BEAT} --schedule {tmp_path / 'schedule'}",
            "web": f"{WEB} --listen=127.0.0.1:{port} config.wsgi:application",
        }
        for name, command in commands.items():
            process = Process(command, environment, tmp_path / f"{name}.log")
            one.processes.append(process.start())
            stack.callback(process.kill)
        manage(environment, "migrate")
        manage(environment, "fetch_papers", "--from-file", SAMPLE_DAY, "--current")
        wait_for(one.is_up, say=one.outputs)
        yield one


def production(folder: Path, **settings: str) -> dict[str, str]:
    own = {"DATA_DIR": str(folder / "data"), "HUGGINGFACE_URL": NOBODY, "ENV_FILE": os.devnull}
    return os.environ | own | settings


def manage(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


@contextmanager
def own_database(url: str) -> Iterator[str]:
    name = f"services_{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Sink:
    """Takes every mail; aiosmtpd calls it in the server's thread."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, Any]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content, policy=default)
        self.mails += [(recipient, message) for recipient in envelope.rcpt_tos]
        return "250 taken"


class Server(Controller):
    """On whichever port is free."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(
    condition: Callable[[], Any], *, say: Callable[[], str], within_seconds: float = 20
) -> None:
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, say()
        time.sleep(0.05)
