"""Reads sources: lists of a day or of another period, papers by their ids; and decides when.

Every attempt, also one from a file or at answers that were kept, leaves one Fetch row that says
how it ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as datetime_time
from http import HTTPStatus

from django.conf import settings
from django.db.models import Max, Min, Q
from django.utils.translation import gettext as _

from . import answers, editions, freshness
from .attempt import SOURCES, Attempt, config, unknown
from .client import Client, FetchError
from .models import Edition, Fetch, FetchQuerySet, Paper, Source, utc_day
from .records import SavedDay
from .sources import View
from .sources.arxiv_schedule import EASTERN

__all__ = [
    "config", "ensure_sources", "fetch_day", "fetch_due", "fetch_view", "look_up", "look_up_many",
    "record_saved", "replay",
]  # fmt: skip

ENABLED = ("huggingface",)
ANNOUNCED = ("arxiv",)  # a day's list comes whole, once, and no votes grow
WITHOUT_LISTS = ("semantic_scholar",)
LOOKED_UP_AT = ("huggingface", "arxiv")

LEASE = timedelta(minutes=15)
NEW_DAYS = 7  # how far back a day never read is still news
GROWING_DAYS = 14  # how long votes grow
WEEKEND_PAUSE = timedelta(hours=2)
MAX_BACK_OFF = timedelta(minutes=30)
FIRST_BACK_OFF = timedelta(minutes=5)


def ensure_sources() -> None:
    """Makes the row of every built-in source that is not there yet."""
    known = set(Source.objects.filter(slug__in=SOURCES).values_list("slug", flat=True))
    for slug in SOURCES.keys() - known:
        Source.objects.get_or_create(
            slug=slug, defaults={"name": SOURCES[slug], "is_enabled": slug in ENABLED}
        )


def fetch_due(now: datetime, *, sleep: Callable[[float], None] = time.sleep) -> list[Fetch]:
    """Reads every due source for the days that need it; any number of workers may do so.

    A source is claimed by moving its `next_fetch_at`; whoever moves it reads. Read are: today;
    yesterday until its edition is closed; days of the last 7 never read after they ended, oldest
    first (they count as news: a new installation, or one that slept, has its week); and, for
    votes still growing, days of the last 14 when their last reading is older than 6 hours (one
    day old), 24 (up to three) or 72. Of a source that announces once a day: today until it is
    read, and days of the last 7 that were missed since it was first read. Where the source is
    down, the round ends.
    """
    ensure_sources()
    fetches: list[Fetch] = []
    listing = [each for each in Source.objects.due(now) if each.slug not in WITHOUT_LISTS]
    for source in sorted(listing, key=lambda each: each.next_fetch_at):
        lease = now + LEASE
        claimed = Source.objects.filter(pk=source.pk, next_fetch_at=source.next_fetch_at)
        if claimed.update(next_fetch_at=lease):
            fetches += _round(source, now, lease=lease, client=Client(sleep=sleep))
    answers.prune(now)
    return fetches


def fetch_day(
    source: Source,
    day: date,
    *,
    now: datetime,
    backfill: bool = False,
    client: Client | None = None,
) -> Fetch:
    """Reads one UTC day's list and records it; what came before a failure is kept.

    Never raises for what the source did: the Fetch row says it.
    """
    return _read_day(source, day, now=now, backfill=backfill, client=client or Client()).fetch


def fetch_view(
    source: Source, view: View, day: date, *, now: datetime, client: Client | None = None
) -> Fetch:
    """Reads a longer list: a week by its Monday, a month by its first day, or what trends.

    Its papers and their votes are stored; they are in no edition by that, since such a list does
    not say when they were news. Never raises for what the source did: the Fetch row says it.
    """
    attempt = Attempt.start(source, day, now=now, kind=Fetch.Kind(view), client=client)
    return attempt.read(view).finish(read_at=now)


def look_up(arxiv_id: str, *, now: datetime, client: Client | None = None) -> Paper:
    """The paper that Hugging Face or else arXiv knows under that id, stored as from a list.

    Asks each once, since somebody waits for the answer. Raises FetchError, and then stores nothing:
    where no source knows such a paper, one knows that it is withdrawn, or none gives a usable
    answer.
    """
    ensure_sources()
    client = client or Client(patience_seconds=0)
    errors: list[FetchError] = []
    for source in _in_order(LOOKED_UP_AT):
        attempt = _look_up(source, [arxiv_id], now=now, client=client)
        record = attempt.records.get(arxiv_id)
        if record is not None and record.withdrawn:
            why = _("it has been withdrawn by its authors")
            attempt.drop(why).finish(read_at=now)
            raise FetchError(why, status=HTTPStatus.OK)
        attempt.finish(read_at=now)
        if record is not None:
            return Paper.objects.get(arxiv_id=arxiv_id)
        errors.append(attempt.failure or unknown([arxiv_id]))
    raise _all_of(errors)


def look_up_many(
    source: Source, arxiv_ids: Sequence[str], *, now: datetime, client: Client | None = None
) -> tuple[list[Paper], list[str]]:
    """The papers that the source knows, stored as from a list, and the ids that it does not know.

    Ids in neither were not answered. Raises FetchError where not one was.
    """
    asked = list(dict.fromkeys(arxiv_ids))
    attempt = _look_up(source, asked, now=now, client=client or Client())
    attempt.finish(read_at=now)
    if attempt.failure is not None and not (attempt.records or attempt.unknown_ids):
        raise attempt.failure
    found = Paper.objects.filter(arxiv_id__in=list(attempt.records)).defer("vector", "meaning")
    return list(found.order_by("pk")), attempt.unknown_ids


def record_saved(source: Source, saved: SavedDay, *, now: datetime, backfill: bool) -> Fetch:
    """Records a day of a saved file, which must name its day and when it was read."""
    assert saved.day is not None and saved.read_at is not None
    attempt = Attempt.start(source, saved.day, now=now, origin=Fetch.Origin.FILE)
    attempt.take(saved.parsed, source.slug)
    return attempt.finish(read_at=saved.read_at, backfill=backfill)


def replay(fetch: Fetch, *, now: datetime) -> Fetch:
    """Reads the kept answers of an attempt anew, and records them as of when they were received.

    Any number of times; it makes no news of a day that has passed. The new Fetch says how it went.
    Not for harvests and enrichments, whose modules replay them.
    """
    attempt = Attempt.start(
        fetch.source, fetch.day, now=now, kind=fetch.kind, origin=Fetch.Origin.REPLAY
    )
    read_at = attempt.replay(answers.bodies(fetch)) or fetch.started_at
    return attempt.finish(read_at=read_at, backfill=now >= editions.closes_by(fetch.day))


def _look_up(source: Source, arxiv_ids: Sequence[str], *, now: datetime, client: Client) -> Attempt:
    kind = Fetch.Kind.LOOK_UP
    return Attempt.start(source, utc_day(now), now=now, kind=kind, client=client).look_up(arxiv_ids)


def _all_of(errors: Sequence[FetchError]) -> FetchError:
    """The first one, with what the others said beside it where that is something else."""
    first = errors[0]
    return FetchError(
        "; ".join(dict.fromkeys(map(str, errors))),
        status=first.status,
        is_source_down=first.is_source_down,
        retry_after=first.retry_after,
    )


def _in_order(slugs: Sequence[str]) -> list[Source]:
    known = {source.slug: source for source in Source.objects.filter(slug__in=slugs)}
    return [known[slug] for slug in slugs]


# -- when ----------------------------------------------------------------------------------


def _read_day(
    source: Source, day: date, *, now: datetime, backfill: bool, client: Client
) -> Attempt:
    attempt = Attempt.start(source, day, now=now, client=client)
    attempt.read(View.DAY).finish(read_at=now, backfill=backfill)
    return attempt


def _round(source: Source, now: datetime, *, lease: datetime, client: Client) -> list[Fetch]:
    _end_interrupted(now)
    fetches: list[Fetch] = []
    error: FetchError | None = None
    for day in _days_due(source, now):
        attempt = _read_day(source, day, now=now, backfill=False, client=client)
        fetches.append(attempt.fetch)
        if attempt.failure is not None and attempt.failure.is_source_down:
            error = attempt.failure
            break
    # Left alone where an operator's "fetch now" came meanwhile.
    Source.objects.filter(pk=source.pk, next_fetch_at=lease).update(
        next_fetch_at=_next_fetch_at(source, now, error)
    )
    freshness.say(source, now)
    return fetches


def _end_interrupted(now: datetime) -> None:
    """Of all sources, as one that is switched off is asked for papers too. A harvest alone may run
    longer than a lease."""
    running = Fetch.objects.filter(status=Fetch.Status.RUNNING, started_at__lt=now - LEASE)
    running.exclude(kind=Fetch.Kind.HARVEST).update(
        status=Fetch.Status.FAILED, error=_("interrupted"), finished_at=now
    )


def _readings(source: Source, now: datetime) -> FetchQuerySet:
    """Attempts that read the list of a day; not those that found it still of another day."""
    live = source.fetches.succeeded().filter(
        kind=Fetch.Kind.DAY, origin=Fetch.Origin.LIVE, started_at__lte=now
    )
    return live.exclude(status=Fetch.Status.EMPTY, reader="", note__gt="")


def _days_due(source: Source, now: datetime) -> list[date]:
    if source.slug in ANNOUNCED:
        return _days_missed(source, now)
    today = utc_day(now)
    read = _readings(source, now).filter(
        day__gte=today - timedelta(days=GROWING_DAYS), day__lt=today
    )
    last_read = dict(read.order_by().values_list("day").annotate(latest=Max("started_at")))
    past = [today - timedelta(days=age) for age in range(GROWING_DAYS, 0, -1)]
    return [today, *(day for day in past if _is_day_due(day, last_read.get(day), now))]


def _days_missed(source: Source, now: datetime) -> list[date]:
    """Today until it is read, and the days of the last 7 without a reading since the first one.

    Today it is read by the first reader, which is called as the source is, or nobody is asked as
    there can be no list: a fallback may lack what is announced at that very hour.
    """
    today = utc_day(now)
    readings = _readings(source, now)
    first = readings.aggregate(first=Min("day"))["first"] or today
    read = set(
        readings.filter(day__gte=today - timedelta(days=NEW_DAYS)).values_list("day", flat=True)
    )
    todays = readings.filter(Q(reader=source.slug) | Q(pages=0), day=today)
    past = [today - timedelta(days=age) for age in range(NEW_DAYS, 0, -1)]
    missed = [day for day in past if day > first and day not in read]
    return missed if todays.exists() else [today, *missed]


def _is_day_due(day: date, last_read: datetime | None, now: datetime) -> bool:
    age = (utc_day(now) - day).days
    if last_read is None:
        return age <= NEW_DAYS
    if age == 1 and now < editions.closes_by(day):
        return not Edition.objects.closed().filter(day=day).exists()
    hours = 6 if age == 1 else 24 if age <= 3 else 72
    return now - last_read >= timedelta(hours=hours)


def _next_fetch_at(source: Source, now: datetime, error: FetchError | None) -> datetime:
    """When the source is asked again.

    While today's list may grow: after FETCH_MINUTES. Once today's edition is closed: at the next
    midnight UTC. Once a list that is announced once is read: when the next one is made, at midnight
    Eastern. On an empty Saturday or Sunday: after two hours. Where the source was down: after 5,
    10, 20, then 30 minutes, or as long as it asked for, but never more than 30.
    """
    if error is not None:
        asked = timedelta(seconds=error.retry_after)
        return now + min(max(_back_off(source), asked), MAX_BACK_OFF)
    today = utc_day(now)
    midnight = datetime.combine(today + timedelta(days=1), datetime_time(), UTC)
    pause = timedelta(minutes=settings.FETCH_MINUTES)
    if source.slug in ANNOUNCED:
        made_at = datetime.combine(midnight, datetime_time(), EASTERN)
        return now + pause if _days_missed(source, now) else made_at
    edition = Edition.objects.filter(day=today).first()
    if edition is not None and not edition.is_open:
        return midnight
    if edition is None and today.weekday() >= 5:
        pause = max(pause, WEEKEND_PAUSE)
    return min(now + pause, midnight)


def _back_off(source: Source) -> timedelta:
    live = source.fetches.filter(kind=Fetch.Kind.DAY, origin=Fetch.Origin.LIVE)
    success = live.succeeded().order_by("-started_at").first()
    failed = live.filter(status=Fetch.Status.FAILED)
    if success is not None:
        failed = failed.filter(started_at__gte=success.started_at)
    doublings = min(max(failed.count() - 1, 0), 3)
    return FIRST_BACK_OFF * (1 << doublings)
