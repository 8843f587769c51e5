"""`manage.py fetch_papers`: read one day, a range of days, or a saved answer."""

from __future__ import annotations

import gzip
import logging
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from papers import editions, fetching, sources
from papers.management.base import ExplainedCommand, day
from papers.models import Fetch, Source, utc_day
from papers.records import SavedDay, SourceFormatError

PATIENCE_SECONDS = 600.0  # a long range may run into a rate limit's window, and waits for it
FAILURES_IN_A_ROW = 3
GZIP_MAGIC = b"\x1f\x8b"
EPILOG = """\
examples:
  manage.py fetch_papers                                        today, as listed so far
  manage.py fetch_papers --date 2025-12-18                      one day
  manage.py fetch_papers --since 2025-12-01 --until 2025-12-18  a range
  manage.py fetch_papers --from-file daily_papers.jsonl.gz --since 2025-12-09 --current

Days are UTC days. A day whose edition would be closed by now is stored as backfill: it can be
read and searched, but is never news to a reader. --current makes it news all the same, to try
things out, also where it was backfill before. Reading a day again is harmless. What was read
before a failure is kept. The exit code is 1 when anything failed, else 0.
"""


@dataclass(frozen=True, slots=True)
class _Step:
    day: date
    run: Callable[[], Fetch]


class Command(ExplainedCommand):
    help = "Reads the daily papers from a source, or from a file, into the database."
    epilog = EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--source", default="huggingface", help="where papers are listed (default: %(default)s)"
        )
        parser.add_argument("--date", type=day, metavar="DAY", help="one day, as 2025-12-18")
        parser.add_argument("--since", type=day, metavar="DAY", help="the first day of a range")
        parser.add_argument(
            "--until", type=day, metavar="DAY", help="the last day of a range (default: today)"
        )
        parser.add_argument(
            "--from-file",
            type=Path,
            metavar="FILE",
            help="ask no server: a saved answer of the API (a JSON array; --date where it does not "
            "name its day), or an archive (JSON lines with a date each), plain or .gz",
        )
        parser.add_argument(
            "--current", action="store_true", help="treat past days as news, not as backfill"
        )
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["date"] and (options["since"] or options["until"]):
            raise CommandError("Give either --date, or --since and --until.")
        now = timezone.now()
        source = _source(options["source"])
        if options["from_file"]:
            steps, failures = _steps_of_file(source, now, options)
        else:
            steps, failures = _live_steps(source, now, options), []
        if options["current"]:
            editions.make_news(step.day for step in steps)
        with _quiet_log():
            failures += self._run(steps, show_progress=not options["no_progress"])
            editions.close_due(now)
        if failures:
            raise CommandError("\n  ".join(["Not everything could be read:", *failures]))

    def _run(self, steps: Sequence[_Step], *, show_progress: bool) -> list[str]:
        """Takes the steps one by one; returns what failed."""
        failures: list[str] = []
        in_a_row = done = 0
        hidden = None if show_progress and len(steps) > 1 else True
        try:
            for step in tqdm(steps, unit="day", file=sys.stderr, disable=hidden, leave=False):
                fetch = step.run()
                done += 1
                self._print(fetch)
                failures += [f"{fetch.day}: {line}" for line in fetch.error.splitlines()]
                in_a_row = in_a_row + 1 if fetch.status == Fetch.Status.FAILED else 0
                if in_a_row == FAILURES_IN_A_ROW and done < len(steps):
                    return [*failures, f"stopped after {in_a_row} failures in a row"]
        except KeyboardInterrupt:
            self.stderr.write(f"Stopped. {done} of {len(steps)} days are done and kept.")
            sys.exit(130)
        return failures

    def _print(self, fetch: Fetch) -> None:
        papers = "paper" if fetch.papers_seen == 1 else "papers"
        parts = [f"{fetch.papers_seen} {papers}, {fetch.papers_new} new"]
        if fetch.papers_skipped:
            parts.append(f"{fetch.papers_skipped} skipped")
        if fetch.status == Fetch.Status.FAILED:
            parts.append("failed")
        with tqdm.external_write_mode(file=sys.stdout):
            self.stdout.write(f"{fetch.day}  {', '.join(parts)}")


def _source(slug: str) -> Source:
    fetching.ensure_sources()
    try:
        return Source.objects.get(slug=slug)
    except Source.DoesNotExist:
        known = ", ".join(Source.objects.values_list("slug", flat=True))
        raise CommandError(f"There is no source {slug!r}; there is: {known}.") from None


def _is_backfill(day: date, now: datetime, options: dict[str, Any]) -> bool:
    return not options["current"] and now >= editions.closes_by(day)


# -- live ----------------------------------------------------------------------------------


def _live_steps(source: Source, now: datetime, options: dict[str, Any]) -> list[_Step]:
    client = fetching.Client(patience_seconds=PATIENCE_SECONDS)
    return [
        _Step(
            day,
            partial(
                fetching.fetch_day,
                source,
                day,
                now=now,
                backfill=_is_backfill(day, now, options),
                client=client,
            ),
        )
        for day in _live_days(utc_day(now), options)
    ]


def _live_days(today: date, options: dict[str, Any]) -> list[date]:
    if options["until"] and not options["since"]:
        raise CommandError("--until needs --since.")
    first = options["since"] or options["date"] or today
    last = options["until"] or options["date"] or today
    if last < first:
        raise CommandError(f"The range ends before it begins: {first} to {last}.")
    if last > today:
        raise CommandError(f"{last} is in the future; today is {today} (UTC).")
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


# -- from a file ---------------------------------------------------------------------------


def _steps_of_file(
    source: Source, now: datetime, options: dict[str, Any]
) -> tuple[list[_Step], list[str]]:
    path = options["from_file"]
    saved = _saved_days(path, source, options["date"])
    failures = [line for each in saved if each.day is None for line in each.parsed.problems]
    modified_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    steps = [
        _Step(
            each.day,
            partial(
                fetching.record_saved,
                source,
                replace(each, read_at=min(each.read_at or modified_at, now)),
                now=now,
                backfill=_is_backfill(each.day, now, options),
            ),
        )
        for each in sorted(saved, key=lambda each: each.day or date.min)
        if each.day is not None and _is_wanted(each.day, options)
    ]
    if not steps:
        raise CommandError(f"{path} holds no day that was asked for.")
    return steps, failures


def _saved_days(path: Path, source: Source, day: date | None) -> list[SavedDay]:
    try:
        saved = sources.get(source.slug, "").parse_file(_bytes(path))
    except SourceFormatError as error:
        raise CommandError(f"{path} cannot be read: {error}") from None
    if len(saved) > 1 or saved[0].day is not None:
        return saved
    if day is None:
        raise CommandError(f"{path} does not say which day it is of; add --date.")
    return [replace(saved[0], day=day)]


def _bytes(path: Path) -> bytes:
    try:
        body = path.read_bytes()
        return gzip.decompress(body) if body.startswith(GZIP_MAGIC) else body
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}") from None
    except (EOFError, zlib.error):
        raise CommandError(f"{path} cannot be read: the compressed file is damaged") from None


def _is_wanted(day: date, options: dict[str, Any]) -> bool:
    first = options["since"] or options["date"] or date.min
    last = options["until"] or options["date"] or date.max
    return first <= day <= last


@contextmanager
def _quiet_log() -> Iterator[None]:
    """What the log would say is printed here."""
    log = logging.getLogger("papers")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
