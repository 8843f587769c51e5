"""`manage.py fetch_papers`: a day, a range, a week; years to catch up on; kept answers anew."""

from __future__ import annotations

import gzip
import logging
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as datetime_time
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Exists, OuterRef
from django.utils import timezone
from tqdm import tqdm

from papers import editions, enriching, fetching, harvest, sources
from papers.client import Client
from papers.management import asked
from papers.management.base import ExplainedCommand, day
from papers.models import Answer, Fetch, Source, utc_day
from papers.records import SavedDay, SourceFormatError
from papers.sources import View
from papers.sources.arxiv_oai import set_of

PATIENCE_SECONDS = 600.0  # a long range may run into a rate limit's window, and waits for it
FAILURES_IN_A_ROW = 3
GZIP_MAGIC = b"\x1f\x8b"
EPILOG = """\
examples:
  manage.py fetch_papers                                        today, as listed so far
  manage.py fetch_papers --date 2025-12-18                      one day
  manage.py fetch_papers --since 2025-12-01 --until 2025-12-18  a range
  manage.py fetch_papers --week 2026-W53                        a week's list; also --month 2025-12
  manage.py fetch_papers --trending                             what trends now
  manage.py fetch_papers --source arxiv                         what arXiv announced today
  manage.py fetch_papers --backfill --since 2024-11-01          two years, with progress
  manage.py fetch_papers --source arxiv --harvest --set cs --since 2024-11-01
  manage.py fetch_papers --replay --since 2026-11-16            rows anew from kept answers
  manage.py fetch_papers --from-file daily_papers.jsonl.gz --since 2025-12-09 --current

Days are UTC days. A day whose edition would be closed by now is stored as backfill: it can be
read and searched, but is never news to a reader. --current makes it news all the same, to try
things out, also where it was backfill before. Reading a day again is harmless. What was read
before a failure is kept.

--backfill leaves out the days that were read after they had ended, and --harvest goes on where it
stopped: after Ctrl-C, or worse, give the same command again. A harvest reads all that arXiv says
was new or changed in the range; its papers can be searched and stand in no edition. --replay asks
no server: it reads the answers of the last ANSWER_RETENTION_DAYS anew, the oldest first, as of
when they came.

The exit code is 1 when anything failed, 130 after Ctrl-C, else 0.
"""


@dataclass(frozen=True, slots=True)
class _Step:
    """One attempt, and how it is called in what is printed."""

    label: str
    run: Callable[[], Fetch]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Steps in their order, and what is wrong before the first one.

    unit: what they are, in the plural. close_each: editions are closed after each step, not at the
    end. on_interrupt: what to do then.
    """

    steps: Sequence[_Step]
    unit: str = "days"
    failures: tuple[str, ...] = ()
    close_each: bool = False
    on_interrupt: str = ""


class Command(ExplainedCommand):
    help = "Reads papers from a source, from a file or from kept answers, into the database."
    epilog = EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--source", help="where papers are listed (default: huggingface)")
        parser.add_argument("--date", type=day, metavar="DAY", help="one day, as 2025-12-18")
        parser.add_argument("--since", type=day, metavar="DAY", help="the first day of a range")
        parser.add_argument(
            "--until", type=day, metavar="DAY", help="the last day of a range (default: today)"
        )
        parser.add_argument("--week", type=asked.week, help="a week's list, as 2026-W53")
        parser.add_argument("--month", type=asked.month, help="a month's list, as 2025-12")
        parser.add_argument("--trending", action="store_true", help="what trends now")
        parser.add_argument(
            "--backfill",
            action="store_true",
            help="catch up on days long past: leaves out those that were read after they ended",
        )
        parser.add_argument(
            "--harvest",
            action="store_true",
            help="all that was new or changed at arXiv in a long range (OAI-PMH)",
        )
        parser.add_argument(
            "--set",
            type=asked.part,
            help="what to harvest: an archive or a category, as cs or stat.ML",
        )
        parser.add_argument(
            "--replay", action="store_true", help="read kept answers anew; asks no server"
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
        asked.check(options)
        now = timezone.now()
        with _quiet_log():
            if options["harvest"]:
                failures = self._harvest(now, options)
            else:
                plan = self._plan(now, options)
                failures = [*plan.failures, *self._run(plan, now, options)]
                editions.close_due(now)
        if failures:
            raise CommandError("\n  ".join(["Not everything could be read:", *failures]))

    def _plan(self, now: datetime, options: dict[str, Any]) -> _Plan:
        if options["replay"]:
            return _replay(now, options)
        source = _source(options["source"] or "huggingface")
        if source.slug in fetching.WITHOUT_LISTS:
            raise CommandError(f"{source} lists nothing; it is asked about papers that are stored.")
        if options["from_file"]:
            return _from_file(source, now, options)
        if options["backfill"]:
            return self._backfill(source, now, options)
        if options["week"] or options["month"] or options["trending"]:
            return _view(source, now, options)
        return _live(source, now, options)

    def _run(self, plan: _Plan, now: datetime, options: dict[str, Any]) -> list[str]:
        """Takes the steps one by one; returns what failed."""
        failures: list[str] = []
        in_a_row = done = papers = 0
        hidden = None if not options["no_progress"] and len(plan.steps) > 1 else True
        bar = tqdm(plan.steps, unit=plan.unit[:-1], file=sys.stderr, disable=hidden, leave=False)
        try:
            for step in bar:
                fetch = step.run()
                if plan.close_each:
                    editions.close_due(now)
                done, papers = done + 1, papers + fetch.papers_seen
                bar.set_postfix(papers=papers, refresh=False)
                self._print(step.label, fetch)
                failures += [f"{step.label}: {line}" for line in fetch.error.splitlines()]
                in_a_row = in_a_row + 1 if fetch.status == Fetch.Status.FAILED else 0
                if in_a_row == FAILURES_IN_A_ROW and done < len(plan.steps):
                    return [*failures, f"stopped after {in_a_row} failures in a row"]
        except KeyboardInterrupt:
            bar.close()
            said = f"Stopped. {done} of {len(plan.steps)} {plan.unit} are done and kept."
            self.stderr.write(f"{said} {plan.on_interrupt}".rstrip())
            sys.exit(130)
        return failures

    def _print(self, label: str, fetch: Fetch) -> None:
        papers = "paper" if fetch.papers_seen == 1 else "papers"
        parts = [f"{fetch.papers_seen} {papers}, {fetch.papers_new} new"]
        if fetch.papers_skipped:
            parts.append(f"{fetch.papers_skipped} skipped")
        if fetch.status == Fetch.Status.FAILED:
            parts.append("failed")
        parts += [line for line in fetch.note.splitlines() if line != label]
        with tqdm.external_write_mode(file=sys.stdout):
            self.stdout.write(f"{label}  {', '.join(parts)}")

    # -- years at a time -------------------------------------------------------------------

    def _backfill(self, source: Source, now: datetime, options: dict[str, Any]) -> _Plan:
        """Never news: only days whose editions are past, and those always as backfill."""
        past = utc_day(now)
        while now < editions.closes_by(past):
            past -= timedelta(days=1)
        why = f"no day of the past yet; the last one is {past} (UTC)"
        days = asked.days(options["since"], options["until"] or past, latest=past, why=why)
        read = _read_when_ended(source, days)
        if read:
            self.stdout.write(f"{len(read)} of {len(days)} days were read before.")
        steps = _day_steps(source, [each for each in days if each not in read], now, backfill=True)
        return _Plan(steps, close_each=True, on_interrupt="The same command goes on from there.")

    def _harvest(self, now: datetime, options: dict[str, Any]) -> list[str]:
        if options["source"] != "arxiv":
            raise CommandError("--harvest needs --source arxiv.")
        yesterday = utc_day(now) - timedelta(days=1)
        since, until = options["since"], options["until"] or yesterday
        asked.days(since, until, latest=utc_day(now), why="in the future")
        name = options["set"] if ":" in options["set"] else set_of(options["set"])
        hidden = True if options["no_progress"] else None
        with tqdm(
            total=(until - since).days + 1, unit="day", file=sys.stderr, disable=hidden, leave=False
        ) as bar:

            def show(progress: harvest.Progress) -> None:
                bar.set_postfix(papers=progress.papers, refresh=False)
                bar.update((progress.reached - since).days - bar.n)

            try:
                fetch = harvest.run(_source("arxiv"), name, since, until, now=now, on_progress=show)
            except KeyboardInterrupt:
                bar.close()
                self.stderr.write(
                    "Stopped. What was read is kept. The same command goes on from there."
                )
                sys.exit(130)
        if fetch is None:
            self.stdout.write(f"{name} from {since} to {until} was harvested before.")
            return []
        label = fetch.note.splitlines()[0]
        self._print(label, fetch)
        return [f"{label}: {line}" for line in fetch.error.splitlines()]


def _source(slug: str) -> Source:
    fetching.ensure_sources()
    try:
        return Source.objects.get(slug=slug)
    except Source.DoesNotExist:
        known = ", ".join(Source.objects.order_by("slug").values_list("slug", flat=True))
        raise CommandError(f"There is no source {slug!r}; there is: {known}.") from None


# -- live ----------------------------------------------------------------------------------


def _live(source: Source, now: datetime, options: dict[str, Any]) -> _Plan:
    today = utc_day(now)
    first = options["since"] or options["date"] or today
    last = options["until"] or options["date"] or today
    why = f"in the future; today is {today} (UTC)"
    days = asked.days(first, last, latest=today, why=why)
    if options["current"]:
        editions.make_news(days)
    return _Plan(_day_steps(source, days, now, backfill=not options["current"]))


def _day_steps(
    source: Source, days: Sequence[date], now: datetime, *, backfill: bool
) -> list[_Step]:
    """backfill: whether days whose editions are past are."""
    client = Client(patience_seconds=PATIENCE_SECONDS)
    return [
        _Step(
            day.isoformat(),
            partial(
                fetching.fetch_day,
                source,
                day,
                now=now,
                backfill=backfill and now >= editions.closes_by(day),
                client=client,
            ),
        )
        for day in days
    ]


def _read_when_ended(source: Source, days: Sequence[date]) -> set[date]:
    """Those of which the whole list was read."""
    reads = source.fetches.succeeded().filter(
        kind=Fetch.Kind.DAY, origin=Fetch.Origin.LIVE, day__gte=days[0], day__lte=days[-1]
    )
    whole = reads.exclude(status=Fetch.Status.EMPTY, reader="")  # no reader had a list of that day
    return {
        day
        for day, at in whole.values_list("day", "started_at")
        if at >= datetime.combine(day + timedelta(days=1), datetime_time(), UTC)
    }


def _view(source: Source, now: datetime, options: dict[str, Any]) -> _Plan:
    today = utc_day(now)
    if first := options["week"]:
        view, label = View.WEEK, f"{first:%G-W%V}"
    elif first := options["month"]:
        view, label = View.MONTH, f"{first:%Y-%m}"
    else:
        view, label, first = View.TRENDING, "trending", today
    if first > today:
        raise CommandError(f"{label} is in the future; today is {today} (UTC).")
    client = Client(patience_seconds=PATIENCE_SECONDS)
    run = partial(fetching.fetch_view, source, view, first, now=now, client=client)
    return _Plan([_Step(label, run)])


# -- kept answers --------------------------------------------------------------------------


def _replay(now: datetime, options: dict[str, Any]) -> _Plan:
    fetches = Fetch.objects.filter(Exists(Answer.objects.filter(fetch=OuterRef("pk"))))
    if options["source"]:
        fetches = fetches.filter(source=_source(options["source"]))
    if first := options["since"] or options["date"]:
        fetches = fetches.filter(day__gte=first)
    if last := options["until"] or options["date"]:
        fetches = fetches.filter(day__lte=last)
    rows = fetches.order_by("started_at", "pk").values_list("pk", "kind", "day", "note")
    steps = [
        _Step(_label(kind, day, note), partial(_replayed, pk, now)) for pk, kind, day, note in rows
    ]
    if not steps:
        raise CommandError("No answer is kept of what was asked for (see ANSWER_RETENTION_DAYS).")
    return _Plan(steps, unit="answers")


def _replayed(pk: int, now: datetime) -> Fetch:
    fetch = Fetch.objects.select_related("source").get(pk=pk)
    if fetch.kind == Fetch.Kind.HARVEST:
        return harvest.replay(fetch, now=now)
    if fetch.kind == Fetch.Kind.ENRICHMENT:
        return enriching.replay(fetch, now=now)
    return fetching.replay(fetch, now=now)


def _label(kind: str, day: date, note: str) -> str:
    if kind == Fetch.Kind.HARVEST:
        return note.partition("\n")[0]
    return f"{day}" if kind == Fetch.Kind.DAY else f"{day} ({Fetch.Kind(kind).label})"


# -- from a file ---------------------------------------------------------------------------


def _from_file(source: Source, now: datetime, options: dict[str, Any]) -> _Plan:
    path = options["from_file"]
    saved = _saved_days(path, source, options["date"])
    failures = [line for each in saved if each.day is None for line in each.parsed.problems]
    modified_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    found = sorted(
        ((each.day, each) for each in saved if each.day and _is_wanted(each.day, options)),
        key=lambda found: found[0],
    )
    if not found:
        raise CommandError(f"{path} holds no day that was asked for.")
    if options["current"]:
        editions.make_news(day for day, _saved in found)
    steps = [
        _Step(
            day.isoformat(),
            partial(
                fetching.record_saved,
                source,
                replace(each, read_at=min(each.read_at or modified_at, now)),
                now=now,
                backfill=not options["current"] and now >= editions.closes_by(day),
            ),
        )
        for day, each in found
    ]
    return _Plan(steps, failures=tuple(failures))


def _saved_days(path: Path, source: Source, day: date | None) -> list[SavedDay]:
    reader: Any = sources.readers(source.slug, {})[0]
    if not hasattr(reader, "parse_file"):
        raise CommandError(f"--from-file and --source {source.slug} cannot go together.")
    try:
        saved = reader.parse_file(_bytes(path))
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
