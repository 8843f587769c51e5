"""Measures how fast recorded days become papers, editions and ranks, beside the bare rows.

    python -m benchmarks.ingest                      # SQLite, in a temporary folder
    python -m benchmarks.ingest --database postgresql --url postgres://postgres@127.0.0.1/postgres

The archive of 406 days and 6,015 listings is read as an operator would load it: parsed, merged,
written day by day, and every edition closed (encoded, grouped, ranked). Then the same once more,
which changes nothing. Beside it, in the same run and on the same database, the same rows of Paper,
Entry and Signal by bulk_create, without a thought: `ratio` is the one over the other. Memory is
that of a process of its own, which stores the recorded pages of arXiv's OAI-PMH over and over.

Makes a database of its own, and drops it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.admin import PROJECT, own_database
from benchmarks.delivery import configure, machine, server_of

ARCHIVE = "hf_daily/daily_papers_2024-05-27_2025-12-18.jsonl.gz"
OAI_PAGES = "arxiv/oai/listrecords_cs_2016_page*.xml.gz"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BATCH = 500


def main() -> None:
    arguments = parser().parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"--data: there is no folder {arguments.data}")
    found = measure_memory(arguments) if arguments.memory else measure(arguments)
    print(json.dumps(found, indent=1) if arguments.json or arguments.memory else table(found))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.ingest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = PROJECT.parent / "shared" / "data"
    found.add_argument("--data", type=Path, default=default, metavar="FOLDER", help="the archives")
    found.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    found.add_argument(
        "--url",
        default=os.environ.get("TEST_POSTGRESQL_URL"),
        help="a PostgreSQL server to make a database on (default: TEST_POSTGRESQL_URL)",
    )
    found.add_argument("--days", type=int, metavar="N", help="the first N days only")
    found.add_argument("--passes", type=int, default=4, help="over the OAI pages (default: 4)")
    found.add_argument("--memory", action="store_true", help="the OAI pages alone, as JSON")
    found.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return found


@contextmanager
def installation(arguments: argparse.Namespace) -> Iterator[None]:
    """A new database, migrated, with Django set up on it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        own_database(server_of(arguments), folder) as url,
    ):
        configure(url, folder=Path(folder), mail_port=9)
        import logging

        from django.core.management import call_command
        from django.db import connection

        logging.disable(logging.WARNING)
        call_command("migrate", verbosity=0)
        yield
        connection.close()


# -- time ----------------------------------------------------------------------------------


class Clock:
    """Wall-clock and this process's CPU seconds of named stages; what a database server of its own
    takes is in the first alone.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = {
            "wall": round(time.perf_counter() - wall, 3),
            "cpu": round(time.process_time() - cpu, 3),
        }

    def ratio(self, names: Sequence[str], *, over: str) -> dict[str, float]:
        return {
            kind: round(
                sum(self.seconds[name][kind] for name in names) / self.seconds[over][kind], 2
            )
            for kind in ("wall", "cpu")
        }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    memory = memory_of_a_process(arguments)
    with installation(arguments):
        clock = Clock()
        days = ingest(arguments, clock)
        counts = counted()
        with clock.stage("again: write"):
            new = store(days)
        with clock.stage("bare rows"):
            insert_bare_rows()
        written = ["parse", "write"]
        return {
            "machine": machine(),
            "database": arguments.database,
            **counts,
            "new_the_second_time": new,
            "seconds": clock.seconds,
            "ratio_to_bare_rows": {
                "parse and write": clock.ratio(written, over="bare rows"),
                "write": clock.ratio(["write"], over="bare rows"),
                "the same again": clock.ratio(["again: write"], over="bare rows"),
                "all, closed and ranked": clock.ratio([*written, "close"], over="bare rows"),
            },
            "memory": memory,
        }


def ingest(arguments: argparse.Namespace, clock: Clock) -> list[Any]:
    from papers import editions, encoding, fetching, sources

    fetching.ensure_sources()
    encoding.encoder()  # the table of words is read once in a process's life
    with clock.stage("parse"):
        archive = gzip.decompress((arguments.data / ARCHIVE).read_bytes())
        reader: Any = sources.readers("huggingface", {})[0]
        days: list[Any] = reader.parse_file(archive)[: arguments.days]
    with clock.stage("write"):
        store(days)
    with clock.stage("close"):
        editions.close_due(NOW)
    return days


def store(days: Sequence[Any]) -> int:
    """How many papers were new."""
    from papers import fetching
    from papers.models import Source

    source = Source.objects.get(slug="huggingface")
    bar = tqdm(days, desc="days", unit="day", file=sys.stderr, leave=False, disable=None)
    return sum(fetching.record_saved(source, day, now=NOW, backfill=True).papers_new for day in bar)


def counted() -> dict[str, int]:
    from papers.models import Edition, Entry, Paper, Signal

    tables: dict[str, Any] = {
        "papers": Paper,
        "entries": Entry,
        "signals": Signal,
        "editions": Edition,
    }
    return {name: table.objects.count() for name, table in tables.items()}


def insert_bare_rows() -> None:
    """The same rows into the same tables, emptied before; reading and emptying is not measured."""
    from django.db import transaction

    from papers.models import Entry, Paper, Signal

    tables: list[Any] = [Paper, Entry, Signal]
    rows = [(table, list(table.objects.order_by("pk"))) for table in tables]
    for table in reversed(tables):
        table.objects.all().delete()
    with transaction.atomic():
        for table, each in rows:
            table.objects.bulk_create(each, batch_size=BATCH)


# -- memory --------------------------------------------------------------------------------


def memory_of_a_process(arguments: argparse.Namespace) -> dict[str, Any]:
    words = ["--memory", "--data", str(arguments.data), "--passes", str(arguments.passes)]
    words += ["--database", arguments.database]
    words += ["--url", arguments.url] if arguments.url else []
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.ingest", *words],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        sys.exit(ran.stderr)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def measure_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Peaks in MB: before the first page, and after each pass over them."""
    with installation(arguments):
        from papers import editions, fetching
        from papers.models import Paper, Source
        from papers.sources.arxiv_oai import ArXivOAI

        fetching.ensure_sources()
        source, reader = Source.objects.get(slug="arxiv"), ArXivOAI({})
        pages = sorted(arguments.data.glob(OAI_PAGES))
        peaks = [peak_mb()]
        for _pass in range(arguments.passes):
            for page in pages:
                records = reader.parse(gzip.decompress(page.read_bytes()), "").records
                for start in range(0, len(records), BATCH):
                    editions.record_papers(
                        records[start : start + BATCH], source=source, now=NOW, read_at=NOW
                    )
            peaks.append(peak_mb())
        return {
            "oai_pages": len(pages) * arguments.passes,
            "oai_papers": Paper.objects.count(),
            "peak_mb_before": peaks[0],
            "peak_mb_after_each_pass": peaks[1:],
        }


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def table(found: dict[str, Any]) -> str:
    memory = found["memory"]
    passes = ", ".join(f"{peak:.0f}" for peak in memory["peak_mb_after_each_pass"])
    rows = [
        ("machine", "{cores} cores, {processor}, Python {python}".format(**found["machine"])),
        ("stored", "{papers} papers, {entries} entries, {signals} signals, {editions} editions; "
         "{database}".format(**found)),
        ("new, second time", found["new_the_second_time"]),
        *((name, f"{took['wall']:8.2f} s, of it CPU {took['cpu']:8.2f} s")
          for name, took in found["seconds"].items()),
        *((name, f"{times['wall']:8.2f} times the bare rows, CPU {times['cpu']:8.2f} times")
          for name, times in found["ratio_to_bare_rows"].items()),
        ("memory", f"{memory['peak_mb_before']:.0f} MB before, {passes} MB after each pass over "
         f"{memory['oai_papers']} papers of OAI-PMH"),
    ]  # fmt: skip
    return "\n".join(f"{name:22}  {said}" for name, said in rows)


if __name__ == "__main__":
    main()
