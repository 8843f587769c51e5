"""Measures a morning: from readers who are due to mails that a server has accepted.

    python -m benchmarks.delivery --readers 10000
    python -m benchmarks.delivery --readers 1000000 --database postgresql --processes 2
    python -m benchmarks.delivery --peers

Makes a database of its own (and drops it), a day's papers and readers with three topics each,
starts a mail server that counts (benchmarks/sink.py) and as many workers as asked for, and lets
them assemble and send until nobody is due. Everything is the product's own, ledger and all;
docs/delivery.md says what each figure means. It ends with 1 if a digest was lost or left twice, or
if the slots' accounts do not balance. `--peers` sends the same mails by other programs too, in
turns, and compares.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from tqdm import tqdm

from benchmarks import sink
from benchmarks.admin import PROJECT, own_database

LOOK_SECONDS = 0.5
TENTH = 0.1
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    arguments = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        found, said = measured(arguments)
    except KeyboardInterrupt:
        sys.exit("stopped")
    print(json.dumps(found, indent=1) if arguments.json else said)
    if found.get("breaches"):
        sys.exit(1)


def measured(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """What was found, and the same as a table."""
    if arguments.peers:
        from benchmarks.peers import rounds

        found = rounds.compare(arguments)
        return found, rounds.table(found)
    found = measure(arguments)
    return found, table(found)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--readers", type=int, default=10_000, metavar="N")
    found.add_argument("--papers", type=int, default=100, metavar="N", help="of the edition")
    found.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    found.add_argument(
        "--url",
        default=os.environ.get("TEST_POSTGRESQL_URL"),
        help="the PostgreSQL server to make a database on (default: TEST_POSTGRESQL_URL)",
    )
    found.add_argument("--processes", type=int, default=1, metavar="P")
    found.add_argument("--rtt-ms", type=float, default=0, metavar="MS", help="to the mail server")
    found.add_argument("--seed", type=int, default=1)
    found.add_argument("--json", action="store_true", help="print JSON instead of a table")
    found.add_argument("--profile", type=Path, metavar="FOLDER", help="keep a cProfile per worker")
    found.add_argument(
        "--visitor",
        action="store_true",
        help="somebody signs up all the while, in a worker's process: how long it takes",
    )
    peers = found.add_argument_group("beside other programs")
    peers.add_argument("--peers", action="store_true")
    peers.add_argument("--mails", type=int, default=2_000, metavar="N", help="a turn")
    peers.add_argument("--rounds", type=int, default=3, metavar="N")
    peers.add_argument("--only", nargs="+", metavar="NAME", help="these peers")
    peers.add_argument("--peers-python", metavar="PATH", help="one that has them installed")
    return found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="delivery-")))
        server = stack.enter_context(sink.running(rtt_ms=arguments.rtt_ms))
        url = stack.enter_context(own_database(server_of(arguments), str(folder)))
        configure(url, folder=folder, mail_port=server.port)
        began = time.monotonic()
        prepare(arguments)
        loading_seconds = time.monotonic() - began
        workers = stack.enter_context(
            started(
                arguments.processes,
                folder=folder,
                profiles=arguments.profile,
                with_visitor=arguments.visitor,
            )
        )
        morning = watch(workers, server, readers=arguments.readers)
        found = result(morning, arguments)
        close_database()
    return {
        "machine": machine(),
        **found,
        "loading_seconds": round(loading_seconds, 1),
    }


def server_of(arguments: argparse.Namespace) -> str | None:
    if arguments.database == "sqlite":
        return None
    if not arguments.url:
        sys.exit("--url: which PostgreSQL server? (or set TEST_POSTGRESQL_URL)")
    url: str = arguments.url
    return url


def configure(url: str, *, folder: Path, mail_port: int) -> None:
    """The environment of this installation, ours and the workers', and Django set up in it."""
    os.environ.update(
        DATABASE_URL=url, DATA_DIR=str(folder), ENV_FILE=os.devnull, LOG_LEVEL="INFO",
        SITE_URL="http://papers.example.org", DJANGO_SETTINGS_MODULE="config.settings",
        EMAIL_URL=f"smtp://127.0.0.1:{mail_port}", SECRET_KEY=uuid4().hex * 2,
        SUPPRESSION_KEY=uuid4().hex * 2, POSTAL_ADDRESS="1 Example Street, Example",
        OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", HUGGINGFACE_URL="http://127.0.0.1:9",
    )  # fmt: skip
    for name in list(os.environ):
        if name in ("EMAIL_BACKEND", "REDIS_URL") or name.startswith(("MAIL_", "FALLBACK_")):
            del os.environ[name]  # a limit on the mails a second would be what is measured
    import django

    django.setup()


def prepare(arguments: argparse.Namespace) -> None:
    """Papers of the day before, older ones, and readers who are due."""
    import logging

    from django.core.management import call_command
    from django.utils import timezone

    logging.disable(logging.INFO)
    call_command("migrate", verbosity=0)
    fill(
        arguments.readers,
        papers=arguments.papers,
        seed=arguments.seed,
        due_at=timezone.now().replace(minute=0, second=0, microsecond=0),
    )


def fill(readers: int, *, papers: int, seed: int, due_at: datetime) -> None:
    import random

    from benchmarks import town
    from papers.models import Paper

    yesterday = (due_at - timedelta(days=1)).date()
    rng = random.Random(seed)
    older = yesterday - timedelta(days=20)
    town.publish(older, town.OLDER_PAPERS, rng=rng, first_id=0)
    known = list(Paper.objects.order_by("pk").values_list("pk", flat=True))
    town.publish(yesterday, papers, rng=rng, first_id=town.OLDER_PAPERS)
    town.Town(due_at=due_at, seed=seed, older_papers=known).load(readers)


def close_database() -> None:
    from django.db import connection

    connection.close()


# -- workers -------------------------------------------------------------------------------


@dataclass
class Worker:
    process: subprocess.Popen[str]
    log: Path
    rss_mb: dict[str, float] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Its next line; if it has died instead, what it logged."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended:\n{self.log.read_text()[-4000:]}")
        return line.strip()

    def is_working(self) -> bool:
        return self.process.poll() is None

    def note_rss(self, mark: str) -> None:
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except OSError:
            return
        if pages:  # none is left of one that has ended
            self.rss_mb.setdefault(mark, pages * PAGE_BYTES / 2**20)


@contextmanager
def started(
    number: int, *, folder: Path, profiles: Path | None, with_visitor: bool = False
) -> Iterator[list[Worker]]:
    """Workers that are ready and wait for a word. They end with the block, or with us."""
    workers: list[Worker] = []
    try:
        for each in range(number):
            how = [] if profiles is None else [f"--profile={profiles / f'worker{each}.prof'}"]
            how += ["--visitor"] if with_visitor and each == 0 else []
            log = folder / f"worker{each}.log"
            workers.append(Worker(start("benchmarks.worker", how, log=log), log))
        for worker in workers:
            worker.hear()
        yield workers
    finally:
        for worker in workers:
            end(worker.process)


def start(
    module: str,
    arguments: Sequence[str],
    *,
    log: Path,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    with log.open("ab") as errors:
        return subprocess.Popen(
            [python, "-m", module, *arguments],
            cwd=PROJECT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # a Ctrl-C is ours to answer
        )


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
    process.wait(timeout=10)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


# -- the morning ---------------------------------------------------------------------------


@dataclass
class Morning:
    """What was seen of it. Seconds are of CPU, except the wall's."""

    wall_seconds: float
    workers: list[Worker]
    taken: dict[str, Any]  # by the sink
    sink_seconds: float
    database_seconds: float | None
    database_note: str = ""


def watch(workers: list[Worker], server: sink.Sink, *, readers: int) -> Morning:
    """Says go, and looks on until all have ended."""
    database = DatabaseServer.of_connection()
    due_before = due_so_far()
    before = server.count()
    database_before = database.cpu_seconds()
    began = time.monotonic()
    for worker in workers:
        worker.tell("go")
    with tqdm(total=2 * readers, unit="digest", file=sys.stderr, leave=False) as bar:
        while any(worker.is_working() for worker in workers):
            time.sleep(LOOK_SECONDS)
            done = {"assembled": due_so_far() - due_before, "sent": server.count()["messages"]}
            note_memory(workers, done, readers=readers)
            bar.set_postfix(done, refresh=False)
            bar.update(sum(done.values()) - bar.n)
    for worker in workers:
        worker.said = json.loads(worker.hear())
    # The last look may have been half a second late: the workers know when they were done.
    wall_seconds = max(worker.said["ended_at"] for worker in workers) - began
    taken = server.count()
    return Morning(
        wall_seconds,
        workers,
        taken,
        taken["cpu_seconds"] - before["cpu_seconds"],
        minus(database.cpu_seconds(), database_before),
        database.note(),
    )


def due_so_far() -> int:
    """Digests that were ever made: a sum over a handful of rows."""
    from django.db.models import Sum

    from digest.models import Slot

    return int(Slot.objects.aggregate(total=Sum("due"))["total"] or 0)


def note_memory(workers: Sequence[Worker], done: dict[str, int], *, readers: int) -> None:
    for stage, count in done.items():
        if count >= TENTH * readers:
            for worker in workers:
                worker.note_rss(f"a tenth {stage}")


def minus(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


class DatabaseServer:
    """The processor time of a PostgreSQL server on this machine, all its processes together."""

    def __init__(self, postmaster: int | None) -> None:
        self._postmaster = postmaster
        self._others = False

    @classmethod
    def of_connection(cls) -> DatabaseServer:
        from django.db import connection

        if connection.vendor != "postgresql":
            return cls(None)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        stat = process_stat(pid)
        return cls(stat.parent if stat and stat.name == "postgres" else None)

    def cpu_seconds(self) -> float | None:
        """None where there is no server, or it cannot be seen from here."""
        postmaster = None if self._postmaster is None else process_stat(self._postmaster)
        if postmaster is None:
            return None
        self._others = self._others or others_connected()
        stats = (process_stat(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
        children = sum(s.own_seconds for s in stats if s and s.parent == self._postmaster)
        return postmaster.own_seconds + postmaster.ended_childrens_seconds + children

    def note(self) -> str:
        if self._postmaster is None:
            return ""
        return "other databases of this server were in use too" if self._others else ""


@dataclass(frozen=True, slots=True)
class Stat:
    name: str
    parent: int
    own_seconds: float
    ended_childrens_seconds: float


def process_stat(pid: int) -> Stat | None:
    """/proc/PID/stat (proc(5)); None where there is none, or no more."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    name, rest = text[text.index("(") + 1 :].rsplit(")", 1)
    facts = rest.split()
    own, ended = (sum(map(int, facts[at : at + 2])) / TICKS_PER_SECOND for at in (11, 13))
    return Stat(name, int(facts[1]), own, ended)


def others_connected() -> bool:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND datname <> current_database()"
        )
        return bool(cursor.fetchone()[0])


# -- what came of it -----------------------------------------------------------------------


def result(morning: Morning, arguments: argparse.Namespace) -> dict[str, Any]:
    from django.db import connection

    states = digests_by_state(arguments.readers)
    sent = states.get("sent", 0)
    return {
        "readers": arguments.readers,
        "papers": arguments.papers,
        "database": connection.vendor,
        "processes": arguments.processes,
        "rtt_ms": arguments.rtt_ms,
        "seed": arguments.seed,
        "digests": states,
        "wall_seconds": round(morning.wall_seconds, 2),
        "digests_per_second": round(sent / morning.wall_seconds, 1),
        "cpu_us_per_digest": cpu_us(morning, max(sent, 1)),
        "database_note": morning.database_note,
        "rss_mb": rss(morning.workers),
        "bytes_per_mail": round(morning.taken["bytes"] / max(morning.taken["messages"], 1)),
        "visits": morning.workers[0].said.get("visits"),
        "breaches": breaches(morning, states, readers=arguments.readers),
    }


def digests_by_state(readers: int) -> dict[str, int]:
    """Of this morning: each reader came with one of another."""
    from django.db.models import Count

    from digest.models import Digest

    made = Digest.objects.filter(pk__gt=readers).order_by().values_list("state", "skip_reason")
    return {f"{state} {why}".strip(): count for state, why, count in made.annotate(n=Count("*"))}


def cpu_us(morning: Morning, sent: int) -> dict[str, float | None]:
    """Microseconds of CPU for each digest sent; `other` is what the workers did outside of stages,
    `all` is everything on this machine, the database's server and the mail server included.
    """
    seconds: dict[str, float | None] = {}
    for worker in morning.workers:
        for stage, took in worker.said["stages"].items():
            seconds[stage] = (seconds.get(stage) or 0.0) + took
    workers = sum(worker.said["cpu_seconds"] for worker in morning.workers)
    seconds["other"] = workers - sum(filter(None, seconds.values()))
    seconds["workers"] = workers
    seconds["database server"] = morning.database_seconds
    seconds["sink"] = morning.sink_seconds
    seconds["all"] = workers + morning.sink_seconds + (morning.database_seconds or 0.0)
    return {
        name: None if took is None else round(1e6 * took / sent, 1)
        for name, took in seconds.items()
    }


def rss(workers: Sequence[Worker]) -> dict[str, float]:
    """Of the largest process. growth: from a tenth of the mails to the end."""
    marks = {mark for worker in workers for mark in worker.rss_mb}
    early = {mark: max(worker.rss_mb.get(mark, 0.0) for worker in workers) for mark in marks}
    at_the_end = max(worker.said["rss_mb"] for worker in workers)
    most = {
        "peak": max(worker.said["peak_rss_mb"] for worker in workers),
        "growth": at_the_end - early.get("a tenth sent", at_the_end),
        **early,
        "at the end": at_the_end,
    }
    return {name: round(size, 1) for name, size in most.items()}


def breaches(morning: Morning, states: dict[str, int], *, readers: int) -> list[str]:
    """What must never be, and is."""
    from django.utils import timezone

    from digest.models import Digest, Slot
    from subscribers.models import Subscriber

    sent, taken = states.get("sent", 0), morning.taken
    found = [
        f"slot {slot}: due {slot.due}, accounted for {sum(slot.account().values())}"
        for slot in Slot.objects.all()
        if not slot.is_conserved
    ]
    facts = {
        f"{readers} readers were due, {sum(states.values())} digests were made": (
            readers == sum(states.values())
        ),
        f"{sent} digests are sent, {taken['messages']} mails arrived": sent == taken["messages"],
        f"{taken['messages']} mails for {taken['recipients']} readers": (
            taken["messages"] == taken["recipients"]
        ),
        "digests are open still": not Digest.objects.open().exists(),
        "readers are due still": not Subscriber.objects.due(timezone.now()).exists(),
        "some are neither sent nor skipped": all(s.startswith(("sent", "skipped")) for s in states),
    }
    return found + [said for said, is_so in facts.items() if not is_so]


def machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": names[0] if names else platform.processor(),
        "python": platform.python_version(),
    }


def table(found: dict[str, Any]) -> str:
    digests = ", ".join(f"{count} {state}" for state, count in sorted(found["digests"].items()))
    rows = [
        ("machine", "{cores} cores, {processor}, Python {python}".format(**found["machine"])),
        ("setting", "{readers} readers, {papers} papers, {database}, {processes} processes, "
         "{rtt_ms} ms to the mail server, seed {seed}".format(**found)),
        ("digests", digests),
        ("wall clock", f"{found['wall_seconds']} s, {found['digests_per_second']} digests/s"),
        ("a mail", f"{found['bytes_per_mail']} bytes"),
        *((f"CPU, {stage}", "-" if took is None else f"{took:8.1f} us a digest")
          for stage, took in found["cpu_us_per_digest"].items()),
        *((f"RSS, {mark}", f"{size:8.1f} MB") for mark, size in found["rss_mb"].items()),
        *((f"sign-ups, {name}", f"{said}") for name, said in (found["visits"] or {}).items()),
        ("loading", f"{found['loading_seconds']} s"),
        *(("note", note) for note in [found["database_note"]] if note),
        *(("BREACH", breach) for breach in found["breaches"]),
    ]  # fmt: skip
    return "\n".join(f"{name:20}  {said}" for name, said in rows)


if __name__ == "__main__":
    main()
