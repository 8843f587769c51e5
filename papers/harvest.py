"""Long ranges of arXiv by OAI-PMH: read from end to end over many requests, stored as they come.

What is harvested can be searched, and be a reader's seed; it stands in no edition and is nobody's
news. The rows of Harvest know how far each range has come, so any run goes on where one ended.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from urllib.parse import urljoin, urlsplit, urlunsplit

import structlog
from django.db import DatabaseError
from django.utils.translation import gettext as _

from . import answers, editions, fetching
from .client import Client, FetchError
from .models import Fetch, Harvest, Source, utc_day
from .records import Parsed, SourceFormatError
from .sources.arxiv_oai import ArXivOAI

log = structlog.get_logger(__name__)

# A range is asked for in parts: a list that breaks off begins anew with its part. arXiv's lists are
# in the order of the records' dates today, and were in the order of their ids before: an order
# that nobody promises cannot tell how far one has come.
PART = timedelta(days=30)
BATCH = 500
MOST_PROBLEMS = 50  # named; all are counted
PATIENCE_SECONDS = 600.0
EARLIEST = date(2005, 9, 16)  # the first date of change that arXiv has
SETTLED = timedelta(days=1)  # a day's last changes appear at 22:30 Eastern


@dataclass(frozen=True, slots=True)
class Progress:
    """papers: read so far. reached: the first day of the part that is being read."""

    papers: int
    reached: date


def run(
    source: Source,
    name: str,
    since: date,
    until: date,
    *,
    now: datetime,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    client: Client | None = None,
) -> Fetch | None:
    """Reads what arXiv says was new or changed from `since` to `until`, both included.

    name: an OAI set, as `cs` or `cs:cs:LG`. Goes on where an earlier run of the same range was
    interrupted; None where that one came to its end. Papers are stored as pages come, the same
    ones twice without harm. Leaves one Fetch that says how it ended; never raises for what the
    source did.
    """
    harvest = _harvest(source, name, since, until, now)
    if harvest.finished_at is not None:
        return None
    note = _("set %(name)s, %(since)s to %(until)s")
    note %= {"name": name, "since": since, "until": until}
    killed = source.fetches.filter(
        kind=Fetch.Kind.HARVEST, status=Fetch.Status.RUNNING, note=note, started_at__lt=now
    )
    killed.update(status=Fetch.Status.FAILED, error=_("interrupted"), finished_at=now)
    fetch = Fetch.objects.create(
        source=source,
        kind=Fetch.Kind.HARVEST,
        day=since,
        reader=ArXivOAI.name,
        started_at=now,
        note=note,
    )
    reader = ArXivOAI(fetching.config())
    client = client or Client(
        accept=reader.accept, pace=reader.pace_seconds, patience_seconds=PATIENCE_SECONDS
    )
    return _Run(harvest, fetch, reader, client, now, on_progress).to_the_end()


def replay(fetch: Fetch, *, now: datetime) -> Fetch:
    """The kept pages of a harvest, read anew and stored as of when they came."""
    replayed = Fetch.objects.create(
        source=fetch.source,
        kind=Fetch.Kind.HARVEST,
        day=fetch.day,
        origin=Fetch.Origin.REPLAY,
        reader=ArXivOAI.name,
        started_at=now,
        note=fetch.note,
    )
    began = time.monotonic()
    reader, error = ArXivOAI(fetching.config()), None
    try:
        for answer in answers.bodies(fetch):
            parsed = reader.parse(answer.body, answer.url)
            _store(replayed, parsed, now=now, read_at=answer.received_at)
    except SourceFormatError as failure:
        error = failure
    return _end(replayed, error, at=now + timedelta(seconds=time.monotonic() - began))


@dataclass(slots=True)
class _Run:
    """One run over what is left of a range."""

    harvest: Harvest
    fetch: Fetch
    reader: ArXivOAI
    client: Client
    now: datetime
    on_progress: Callable[[Progress], None]
    began: float = field(default_factory=time.monotonic)
    restarted: date | None = None

    @property
    def moment(self) -> datetime:
        """`now`, as it has moved on since the run began."""
        return self.now + timedelta(seconds=time.monotonic() - self.began)

    def to_the_end(self) -> Fetch:
        error: Exception | None = None
        try:
            self._read()
        except (FetchError, SourceFormatError, DatabaseError) as failure:
            error = failure
        except KeyboardInterrupt:
            _end(self.fetch, InterruptedError(_("interrupted")), at=self.moment)
            raise
        return _end(self.fetch, error, at=self.moment)

    def _read(self) -> None:
        part, ask = _place(self.harvest)
        while part <= self.harvest.until:
            parsed, ask = self._page(part, ask)
            self.harvest.papers += len(parsed.records)
            _store(self.fetch, parsed, now=self.now, read_at=self.moment)
            if not ask:
                part += PART
            self._keep(part, ask, parsed.expected)
            self.on_progress(Progress(self.harvest.papers, min(part, self.harvest.until)))
        self.harvest.token, self.harvest.finished_at = "", self.moment
        self.harvest.save()

    def _page(self, part: date, ask: str) -> tuple[Parsed, str]:
        """The page, and how its list goes on.

        A part whose list cannot go on is begun anew, once: its token has expired (OAI-PMH 2.0,
        section 3.5), as after a night's sleep.
        """
        last = min(part + PART - timedelta(days=1), self.harvest.until)
        first = self.reader.url_for_range(self.harvest.name, part, last)
        try:
            return self._ask(urljoin(first, ask) if ask else first)
        except SourceFormatError as error:
            if not ask or self.restarted == part:
                raise
            self.restarted = part
            text = _("the list from %(day)s was begun anew: %(error)s")
            self.fetch.note += "\n" + text % {"day": part, "error": error}
            return self._ask(first)

    def _ask(self, url: str) -> tuple[Parsed, str]:
        answer = self.client.get(url)
        self.fetch.http_status = answer.status
        number, self.fetch.pages = self.fetch.pages, self.fetch.pages + 1
        answers.keep(self.fetch, number, self.reader.name, url, answer.body, self.moment)
        parsed = self.reader.parse(answer.body, url)
        if parsed.next_url == url:
            raise SourceFormatError(_("a page that goes on with itself"))
        return parsed, _without_site(parsed.next_url)

    def _keep(self, part: date, ask: str, expected: int | None) -> None:
        """From here the next run goes on, whatever ends this one."""
        is_one_part = self.harvest.since + PART > self.harvest.until
        if is_one_part and expected is not None:
            self.harvest.papers_expected = expected
        self.harvest.token = f"{part} {ask}"
        self.harvest.save()


def _harvest(source: Source, name: str, since: date, until: date, now: datetime) -> Harvest:
    """The range's row, emptied where it ended before its last day had settled."""
    harvest, _is_new = Harvest.objects.get_or_create(
        source=source, name=name, since=since, until=until, defaults={"began_at": now}
    )
    if harvest.finished_at is not None and utc_day(harvest.finished_at - SETTLED) <= until:
        harvest.token, harvest.papers, harvest.papers_expected = "", 0, None
        harvest.began_at, harvest.finished_at = now, None
        harvest.save()
    return harvest


def _place(harvest: Harvest) -> tuple[date, str]:
    """The first day of the part to be read, and how its list goes on; empty at its beginning."""
    day, _blank, ask = harvest.token.partition(" ")
    return (date.fromisoformat(day), ask) if day else (max(harvest.since, EARLIEST), "")


def _without_site(url: str) -> str:
    """Path and query: the site may move, and may have a password in its address."""
    return urlunsplit(("", "", *urlsplit(url)[2:])) if url else ""


def _store(fetch: Fetch, parsed: Parsed, *, now: datetime, read_at: datetime) -> None:
    for start in range(0, len(parsed.records), BATCH):
        recorded = editions.record_papers(
            parsed.records[start : start + BATCH], source=fetch.source, now=now, read_at=read_at
        )
        fetch.papers_seen += recorded.seen
        fetch.papers_new += recorded.new
        fetch.papers_updated += recorded.updated
    fetch.papers_skipped += len(parsed.problems)
    fetch.error = "\n".join([*fetch.error.splitlines(), *parsed.problems][:MOST_PROBLEMS])
    seen = Counter(fetch.unknown_fields) + Counter(parsed.unknown)
    fetch.unknown_fields = dict(seen)


def _end(fetch: Fetch, error: Exception | None, *, at: datetime) -> Fetch:
    fetch.http_status = getattr(error, "status", None) or fetch.http_status
    fetch.end(error, at=at)
    log.log(
        logging.WARNING if error else logging.INFO,
        "range harvested",
        range=fetch.note.splitlines()[0],
        status=fetch.status,
        pages=fetch.pages,
        papers=fetch.papers_seen,
        new=fetch.papers_new,
        updated=fetch.papers_updated,
        skipped=fetch.papers_skipped,
        **({"error": str(error)} if error else {}),
    )
    return fetch
