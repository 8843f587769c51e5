"""Numbers about stored papers, from Semantic Scholar: citations, a summary where none is better.

Off unless the source is enabled. It lists nothing, so it makes no paper and no news.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta

import structlog
from django.conf import settings
from django.db.models import F, Q, QuerySet

from . import answers, editions, fetching
from .client import Client, FetchError
from .models import Fetch, Paper, Source, utc_day
from .records import PaperRecord, SourceFormatError
from .sources.semantic_scholar import Answered, Known, SemanticScholar, is_none_known

log = structlog.get_logger(__name__)

BATCHES = 10  # a round
LEASE = timedelta(minutes=15)
EVERY = timedelta(hours=1)
MAX_BACK_OFF = timedelta(hours=6)
NEW = timedelta(days=30)  # since we saw it
OLDEST = timedelta(days=90)  # since it was published: what a backfill brings is left alone
# Age of a paper up to which -> how long a reading lasts. On its first day it is hardly known.
INTERVALS = (
    (timedelta(days=3), timedelta(days=1)),
    (timedelta(days=7), timedelta(days=2)),
    (timedelta(days=14), timedelta(days=3)),
    (NEW, timedelta(days=7)),
)
FIRST = timedelta(days=1)


def enrich_due(now: datetime, *, sleep: Callable[[float], None] = time.sleep) -> list[Fetch]:
    """Asks about the papers that are due, in batches, if the source is enabled and it is time.

    Due are papers of the last 30 days: a day after they were first seen, then after one, two,
    three and seven days as they grow older. Each batch is one Fetch. A failure ends the round, and
    the source is asked again after an hour or as long as it asked for.
    """
    source = _claim(now)
    if source is None:
        return []
    reader = _reader()
    client = Client(
        sleep=sleep, accept=reader.accept, pace=reader.pace_seconds, headers=reader.headers
    )
    fetches: list[Fetch] = []
    pause = EVERY
    for papers in _batches(now):
        fetch, error = _enrich(source, reader, papers, now=now, client=client)
        fetches.append(fetch)
        if error is not None:
            asked = timedelta(seconds=getattr(error, "retry_after", 0))
            pause = min(max(EVERY, asked), MAX_BACK_OFF)
            break
    Source.objects.filter(pk=source.pk, next_fetch_at=now + LEASE).update(next_fetch_at=now + pause)
    return fetches


def due(now: datetime) -> QuerySet[Paper]:
    """Papers about which something new may be known."""
    is_due = Q()
    younger = timedelta(0)
    for age, interval in INTERVALS:
        is_old_enough = Q(first_seen_at__gt=now - age, first_seen_at__lte=now - younger)
        is_due |= is_old_enough & Q(enriched_at__lte=now - interval)
        younger = age
    is_due |= Q(enriched_at__isnull=True)
    return Paper.objects.filter(
        is_due,
        first_seen_at__gt=now - NEW,
        first_seen_at__lte=now - FIRST,
        published_at__gt=now - OLDEST,
    )


def replay(fetch: Fetch, *, now: datetime) -> Fetch:
    """What was answered then, read anew; later counts stay. A new Fetch says how it went."""
    replayed = _begin(fetch.source, now, origin=Fetch.Origin.REPLAY, day=fetch.day)
    reader = _reader()
    try:
        for answer in answers.bodies(fetch):
            parsed = reader.parse(answer.body)
            papers = Paper.objects.filter(arxiv_id__in=[each.arxiv_id for each in parsed.known])
            _record(replayed, list(papers), parsed, now=now, read_at=answer.received_at)
    except SourceFormatError as error:
        return _end(replayed, error, now=now)
    return _end(replayed, None, now=now)


def _reader() -> SemanticScholar:
    return SemanticScholar({name: getattr(settings, name) for name in SemanticScholar.settings})


def _claim(now: datetime) -> Source | None:
    """The source, if it is time and no other worker was faster."""
    fetching.ensure_sources()
    source = Source.objects.due(now).filter(slug=SemanticScholar.name).first()
    if source is None:
        return None
    claimed = Source.objects.filter(pk=source.pk, next_fetch_at=source.next_fetch_at)
    return source if claimed.update(next_fetch_at=now + LEASE) else None


def _batches(now: datetime) -> Iterator[list[Paper]]:
    size = SemanticScholar.most_ids
    longest_ago = due(now).order_by(F("enriched_at").asc(nulls_first=True), "pk")
    ids = list(longest_ago.values_list("pk", flat=True)[: BATCHES * size])
    for start in range(0, len(ids), size):
        rows = Paper.objects.filter(pk__in=ids[start : start + size])
        yield list(rows.only("arxiv_id", "published_at").order_by("pk"))


def _enrich(
    source: Source,
    reader: SemanticScholar,
    papers: Sequence[Paper],
    *,
    now: datetime,
    client: Client,
) -> tuple[Fetch, Exception | None]:
    fetch = _begin(source, now, origin=Fetch.Origin.LIVE, day=utc_day(now))
    try:
        parsed = _ask(reader, [paper.arxiv_id for paper in papers], fetch, client)
    except (FetchError, SourceFormatError) as error:
        fetch.http_status = getattr(error, "status", fetch.http_status)
        return _end(fetch, error, now=now), error
    _record(fetch, papers, parsed, now=now, read_at=now)
    Paper.objects.filter(pk__in=[paper.pk for paper in papers]).update(enriched_at=now)
    return _end(fetch, None, now=now), None


def _ask(
    reader: SemanticScholar, arxiv_ids: Sequence[str], fetch: Fetch, client: Client
) -> Answered:
    try:
        answer = client.post(reader.url, reader.question(arxiv_ids))
    except FetchError as error:
        if is_none_known(error.body):
            return Answered(())
        raise
    fetch.http_status, fetch.pages = answer.status, 1
    answers.keep(fetch, 0, reader.name, reader.url, answer.body, fetch.started_at)
    return reader.parse(answer.body)


def _record(
    fetch: Fetch, papers: Sequence[Paper], parsed: Answered, *, now: datetime, read_at: datetime
) -> None:
    known = {each.arxiv_id: each for each in parsed.known}
    records = [
        _record_of(paper, known[paper.arxiv_id]) for paper in papers if paper.arxiv_id in known
    ]
    recorded = editions.record_papers(records, source=fetch.source, now=now, read_at=read_at)
    fetch.papers_seen += recorded.seen
    fetch.papers_updated += recorded.updated
    fetch.papers_skipped += len(parsed.problems)
    fetch.vanished_fields = sorted({*fetch.vanished_fields, *parsed.vanished})
    fetch.error = "\n".join([*fetch.error.splitlines(), *parsed.problems])


def _record_of(paper: Paper, known: Known) -> PaperRecord:
    """Only what is said; an empty title replaces none."""
    return PaperRecord(
        arxiv_id=paper.arxiv_id,
        title="",
        published_at=paper.published_at,
        is_dated=False,
        position=1,
        citations=known.citations,
        tldr=known.tldr,
        is_listed=False,
    )


def _begin(source: Source, now: datetime, *, origin: str, day: date) -> Fetch:
    return Fetch.objects.create(
        source=source,
        kind=Fetch.Kind.ENRICHMENT,
        day=day,
        origin=origin,
        reader=SemanticScholar.name,
        started_at=now,
    )


def _end(fetch: Fetch, error: Exception | None, *, now: datetime) -> Fetch:
    fetch.end(error, at=now)
    log.log(
        logging.WARNING if fetch.error else logging.INFO,
        "papers enriched",
        status=fetch.status,
        papers=fetch.papers_seen,
        updated=fetch.papers_updated,
        **({"error": fetch.error.splitlines()[0]} if fetch.error else {}),
    )
    return fetch
