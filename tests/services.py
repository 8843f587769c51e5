"""An installation as production runs it: processes of its own, a database of its own, a broker of
its own and a mail server. Many may stand side by side.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from random import SystemRandom
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import requests
from aiosmtpd.controller import Controller

PROJECT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# Every word of every SMTP talk, where a failure should show what the processes said.
logging.getLogger("mail.log").setLevel(logging.WARNING)

SAMPLE_DAY = "papers/data/sample_day.json"
NOBODY = "http://127.0.0.1:9"
# As docker-compose.yml starts them. Gossip between workers serves nobody here, and is what
# stumbles when the broker is lost.
WORKER = "celery -A config worker --without-gossip --without-mingle --concurrency 2"
COMMANDS = {
    "web": "gunicorn -c config/gunicorn.py config.wsgi:application",
    "worker": f"{WORKER} -n worker@%h -Q default,fetch",
    "sender": f"{WORKER} -n sender@%h -Q send",
    "beat": "celery -A config beat",
}


@dataclass
class Process:
    command: str
    environment: dict[str, str]
    log: Path

    def start(self) -> Process:
        program, *arguments = self.command.split()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / program, *arguments],
                cwd=PROJECT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def ended(self, *, within_seconds: float) -> int:
        try:
            return self._process.wait(timeout=within_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running: {self.command}\n{self.output}") from None

    def kill(self) -> None:
        if self.is_alive():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def kill_alone(self) -> None:
        """It, and none of its children: they go on without it."""
        self._process.kill()
        self._process.wait()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text()


@dataclass
class Site:
    url: str
    sink: Sink
    environment: dict[str, str]
    processes: dict[str, Process] = field(default_factory=dict)
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
        return "\n".join(f"== {each.command}\n{each.output}" for each in self.processes.values())

    def python(self, code: str) -> str:
        """What it prints, run inside the installation with Django set up."""
        return manage(self.environment, "shell", "--no-imports", "-c", code)

    def states(self) -> Counter[str]:
        """How many digests stand in each state."""
        with psycopg.connect(self.environment["DATABASE_URL"]) as database:
            rows = database.execute("SELECT state, count(*) FROM digest_digest GROUP BY state")
            return Counter(dict(rows.fetchall()))

    def heartbeats(self) -> dict[str, float]:
        """Name -> seconds since the epoch."""
        with psycopg.connect(self.environment["DATABASE_URL"]) as database:
            rows = database.execute("SELECT name, extract(epoch FROM at) FROM digest_heartbeat")
            return {name: float(at) for name, at in rows.fetchall()}

    def readers_fall_due(self, number: int) -> None:
        """So many active readers, all due now, and a tick."""
        self.python(
            "from django.utils import timezone\n"
            "from tests.factories import make_readers\n"
            f"make_readers({number}, next_due_at=timezone.now())\n"
        )
        self.wake()

    def wake(self) -> None:
        """A tick now; beat's own comes within the minute."""
        self.python("from subscribers import signup; signup.wake()")

    def assert_books_balance(self) -> None:
        self.python("from tests.digest.books import assert_books_balance as a; a()")


@contextmanager
def installation(
    folder: Path, *, database: str, broker: str, sink: Sink, **settings: str
) -> Iterator[Site]:
    """Migrated, with the sample day in it, and its processes running."""
    with ExitStack() as stack:
        mail = stack.enter_context(mail_server(sink))
        port = free_port()
        site = Site(f"http://127.0.0.1:{port}", sink, {})
        site.environment |= production(
            folder, DATABASE_URL=database, REDIS_URL=broker, SITE_URL=site.url,
            PORT=str(port), EMAIL_URL=mail, **settings,
        )  # fmt: skip
        for name, command in COMMANDS.items():
            process = Process(command, site.environment, folder / f"{name}.log")
            site.processes[name] = process.start()
            stack.callback(process.kill)
        manage(site.environment, "migrate")
        manage(site.environment, "fetch_papers", "--from-file", SAMPLE_DAY, "--current")
        wait_for(site.is_up, say=site.outputs)
        yield site


def production(folder: Path, **settings: str) -> dict[str, str]:
    own = {"DATA_DIR": str(folder / "data"), "HUGGINGFACE_URL": NOBODY, "ENV_FILE": os.devnull}
    return os.environ | own | settings


def manage(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def own_database(url: str) -> Iterator[str]:
    name = f"services_{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass
class Redis:
    """A server of the test's own, which it may kill. It keeps nothing."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, "redis-server must be in the PATH: this test kills a server of its own"
        self._process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
             "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(self._answers, say=lambda: "redis-server did not start")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False


@dataclass
class PostgreSQL:
    """A cluster of the test's own, which it may kill; it keeps what it has committed."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def create(self) -> None:
        self._data.mkdir(parents=True)
        for folder in [self.folder, *self.folder.parents]:
            if folder.stat().st_uid == os.getuid() and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        if _is_root():
            shutil.chown(self._data, "postgres")
        self._run(
            "initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--locale=C.UTF-8", "--no-sync",
        ).wait()  # fmt: skip

    def start(self) -> None:
        """Also after a kill: its children may still have to find out that it is gone."""
        wait_for(self._is_started, say=lambda: self.output, within_seconds=60)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _is_started(self) -> bool:
        if not self.is_alive():
            # Not flushed to the disk: what was written outlives the processes, if not the machine.
            self._process = self._run(
                "postgres", "-D", str(self._data), "-p", str(self.port), "-k", str(self._data),
                "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200",
            )  # fmt: skip
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [postgresql_program(program), *arguments],
                cwd=self._data,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # It refuses to run as root.
                user="postgres" if _is_root() else None,
                group="postgres" if _is_root() else None,
                extra_groups=[] if _is_root() else None,
            )

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def _data(self) -> Path:
        return self.folder / "postgresql"

    @property
    def _log(self) -> Path:
        return self.folder / "postgresql.log"


def postgresql_program(name: str) -> str:
    """Debian keeps the server's programs out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    program = str(found[-1]) if found else shutil.which(name)
    assert program, f"{name} is missing: install PostgreSQL's server"
    return program


def _is_root() -> bool:
    return os.getuid() == 0


@contextmanager
def own_postgresql(folder: Path) -> Iterator[PostgreSQL]:
    server = PostgreSQL(folder, free_port())
    server.create()
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def own_redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder, free_port())
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass
class Sink:
    """Takes every mail, each after a while; aiosmtpd calls it in the server's thread."""

    seconds_a_mail: float = 0
    mails: list[tuple[str, Any]] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        await asyncio.sleep(self.seconds_a_mail)
        message = message_from_bytes(envelope.content, policy=default)
        self.mails += [(recipient, message) for recipient in envelope.rcpt_tos]
        return "250 taken"

    def times_by_address(self) -> Counter[str]:
        return Counter(recipient for recipient, _mail in self.mails)


@contextmanager
def mail_server(sink: Sink) -> Iterator[str]:
    """Its address, as EMAIL_URL wants it."""
    server = _Server(sink, hostname="127.0.0.1", port=0)
    server.start()
    try:
        yield f"smtp://127.0.0.1:{server.port}"
    finally:
        server.stop()


class _Server(Controller):
    """On whichever port is free."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def free_port() -> int:
    """Below those that the system gives to connections: one of these could take it meanwhile."""
    while True:
        port = SystemRandom().randrange(15_000, 32_000)  # each worker's own, whatever the seed
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_for(
    condition: Callable[[], Any], *, say: Callable[[], str], within_seconds: float = 20
) -> None:
    """Asked seldom where it takes long: a question may cost a connection."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < within_seconds, say()
        time.sleep(min(max(0.05, waited / 20), 0.5))
