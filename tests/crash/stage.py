"""An installation as production runs it, on a database of its own; every part may be killed."""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import psycopg
import requests

from tests.services import (
    COMMANDS,
    SAMPLE_DAY,
    PostgreSQL,
    Process,
    Redis,
    free_port,
    manage,
    own_postgresql,
    own_redis,
    production,
)

from .ledger import Away, Ledger, SinkLog

LEASE_SECONDS, EMAIL_TIMEOUT = 2, 1
CONNECTIONS = 2  # of each sender to the mail server
LIBFAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
# Set by Ctrl-C; whoever waits looks here, so that everything is ended in order.
stopping = threading.Event()


class Stopped(Exception):
    pass


def pause(seconds: float) -> None:
    if stopping.wait(seconds):
        raise Stopped


def wait_until(
    condition: Callable[[], object], *, within_seconds: float, every_seconds: float = 0.05
) -> bool:
    """False where it did not come true in time. A database that is away is asked again."""
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        with suppress(*Away):
            if condition():
                return True
        pause(every_seconds)
    return False


# -- databases -----------------------------------------------------------------------------


@dataclass
class Prepared:
    """A migrated database with readers in it, of which every round gets a copy."""

    url: str
    cluster: PostgreSQL | None = None

    @contextmanager
    def copy(self, folder: Path, name: str) -> Iterator[str]:
        """The copy's address."""
        if self.cluster is None:
            path = folder / "paperround.sqlite3"
            shutil.copy(urlsplit(self.url).path, path)
            yield f"sqlite:///{path}"
            return
        with psycopg.connect(self.cluster.url, autocommit=True) as connection:
            template = urlsplit(self.url).path[1:]
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield urlsplit(self.cluster.url)._replace(path=f"/{name}").geturl()
        finally:
            self.cluster.start()  # where the round has ended in the middle of a kill
            with psycopg.connect(self.cluster.url, autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def prepared(folder: Path, kind: str, *, digests: int) -> Iterator[Prepared]:
    """kind: "sqlite" or "postgresql", whose cluster is made for it."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        if kind == "sqlite":
            database = Prepared(f"sqlite:///{folder}/prepared.sqlite3")
        else:
            cluster = stack.enter_context(own_postgresql(folder))
            with psycopg.connect(cluster.url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE prepared")
            url = urlsplit(cluster.url)._replace(path="/prepared").geturl()
            database = Prepared(url, cluster)
        environment = production(folder, DATABASE_URL=database.url)
        manage(environment, "migrate")
        manage(environment, "fetch_papers", "--from-file", SAMPLE_DAY, "--current")
        code = f"from tests.crash.prepare import load; load({digests})"
        manage(environment, "shell", "--no-imports", "-c", code)
        yield database


# -- the installation ----------------------------------------------------------------------


@dataclass
class Stage:
    """kills: how many processes were killed. doubts: how many digests may end uncertain for it."""

    folder: Path
    environment: dict[str, str]
    ledger: Ledger
    broker: Redis
    cluster: PostgreSQL | None
    window: int
    random: Random
    say: Callable[[str], None]
    processes: dict[str, Process] = field(default_factory=dict)
    kills: int = 0
    doubts: int = 0
    gone: dict[str, float] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.environment["SITE_URL"]

    @property
    def mail_port(self) -> int:
        port = urlsplit(self.environment["EMAIL_URL"]).port
        assert port is not None
        return port

    @property
    def log(self) -> SinkLog:
        return self._log

    def __post_init__(self) -> None:
        self._log = SinkLog(self.folder / "sink.log")

    def start(self, name: str, command: str, **more: str) -> Process:
        process = Process(command, self.environment | more, self.folder / f"{name}.txt")
        self.processes[name] = process.start()
        return process

    def python(self, code: str) -> str:
        return manage(self.environment, "shell", "--no-imports", "-c", code)

    def is_ready(self) -> bool:
        """The pages answer, and a task has come through every queue."""
        try:
            is_up = requests.get(f"{self.url}/healthz", timeout=5).ok
        except requests.RequestException:
            return False
        return is_up and {"beat", "default", "fetch", "send"} <= self.ledger.heartbeats()

    def kill(self, pid: int) -> bool:
        """False where it has ended by itself."""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.kills += 1
        return True

    def revive(self) -> None:
        """Starts what has ended by itself, as docker's and systemd's restarting do: Celery's worker
        gives up where a child is killed while its pool is being started.
        """
        for name, process in self.processes.items():
            if not process.is_alive():
                process.start()
                self.say(f"{name} had ended, and was started again")

    def order(self, verb: str) -> None:
        """Tells the sink what to do with the mail that comes next."""
        with (
            suppress(OSError, smtplib.SMTPException),
            smtplib.SMTP("127.0.0.1", self.mail_port, timeout=2) as sink,
        ):
            sink.docmd(verb)

    def tell_time(self, offset: str) -> None:
        """To processes started under `jumping`: "+2h", "-2h", "+0"."""
        news = self.folder / "time.new"
        news.write_text(offset)
        news.rename(self.folder / "time")

    @property
    def jumping(self) -> dict[str, str]:
        """The environment of a process whose clock obeys `tell_time`."""
        return {
            "LD_PRELOAD": str(LIBFAKETIME[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "time"),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@contextmanager
def staged(
    database: Prepared,
    folder: Path,
    *,
    name: str,
    random: Random,
    say: Callable[[str], None],
    seconds_a_mail: float,
    window: int,
    greylists_one_in: int = 0,
    jumping: frozenset[str] = frozenset(),
    settings: dict[str, str] | None = None,
) -> Iterator[Stage]:
    """Everything running, nobody due. jumping: the processes whose clock can be told the time."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        stack.callback(end_all, folder)
        url = stack.enter_context(database.copy(folder, name))
        broker = stack.enter_context(own_redis(folder))
        port, mail_port = free_port(), free_port()
        environment = production(
            folder, DATABASE_URL=url, REDIS_URL=broker.url, PORT=str(port),
            SITE_URL=f"http://127.0.0.1:{port}", EMAIL_URL=f"smtp://127.0.0.1:{mail_port}",
            LEASE_SECONDS=str(LEASE_SECONDS), EMAIL_TIMEOUT=str(EMAIL_TIMEOUT),
            SMTP_CONNECTIONS=str(CONNECTIONS),
            SEND_WINDOW=str(window), **(settings or {}),
        )  # fmt: skip
        stage = Stage(
            folder, environment, Ledger(url), broker, database.cluster, window, random, say
        )
        stage.tell_time("+0")
        stage.start("sink", _sink_command(stage, seconds_a_mail, greylists_one_in))
        for each, command in COMMANDS.items():
            more = stage.jumping if each in jumping else {}
            if more or each == "beat":
                command = command.replace("-A config", "-A tests.crash.clock")
            stage.start(each, command, **more)
        try:
            is_ready = wait_until(stage.is_ready, within_seconds=90, every_seconds=0.2)
            assert is_ready, f"the installation did not start; see {folder}"
            yield stage
        finally:
            for process in stage.processes.values():
                process.kill()
            end_all(folder)


def _sink_command(stage: Stage, seconds_a_mail: float, greylists_one_in: int) -> str:
    return (
        f"python -m tests.crash.sink --port {stage.mail_port} --log {stage.log.path} "
        f"--seconds-a-mail {seconds_a_mail} --greylists-one-in {greylists_one_in}"
    )


def end_all(folder: Path) -> None:
    """Whatever still runs in this installation, orphans too: all bear its DATA_DIR."""
    for pid in bearing(f"DATA_DIR={folder / 'data'}"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def bearing(variable: str) -> list[int]:
    """Processes that were started with this variable in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parts[2]))
    return found


def children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
