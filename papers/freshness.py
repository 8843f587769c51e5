"""Whether a source still tells us what is new: judged, and said in words.

An empty list is no failure, since weekends are empty. So what is judged is, first, whether today's
list can be read at all, second, how many weekdays in a row had no paper in it, and third, whether
what came is what was expected: every field, from the reader that is asked first, of today.

A source that only tells numbers about stored papers has no list; it is judged by those attempts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db.models import Count, F, Min, TextChoices
from django.db.models.functions import TruncDate
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from . import sources
from .models import Fetch, FetchQuerySet, Pace, Source, utc_day
from .records import ENOUGH_TO_MISS

log = structlog.get_logger(__name__)

GRACE = timedelta(hours=1)
REST = timedelta(hours=5)  # for as long a host was seen to ask for rest
MOST_PAUSE = timedelta(days=1)  # a planned next attempt further off than this is no plan
DRY_WEEKDAYS = 2  # 5 weekdays in 27 months had no paper
# arXiv defers mailings, two in a row around Christmas, and publishes no rule for it
# (https://info.arxiv.org/help/availability.html).
DRY_WEEKDAYS_OF = {"arxiv": 3}
# Announced at 20:00 Eastern, Sunday to Thursday; the feed is made at midnight there, 04:00 or
# 05:00 UTC.
LISTS_BY = {"arxiv": time(6, tzinfo=UTC)}
FALLBACK_DAYS = 30  # it is looked for when a fallback began
ENRICHING = frozenset({"semantic_scholar"})
ENRICHES_WITHIN = timedelta(days=1)


class Health(TextChoices):
    OK = "ok", _("ok")
    CHANGED = "changed", _("changed")
    FALLBACK = "fallback", _("by its fallback")
    RESTING = "resting", _("resting")
    LATE = "late", _("late")
    FAILING = "failing", _("failing")
    DRY = "dry", _("dry")
    OFF = "off", _("off")


@dataclass(frozen=True, slots=True)
class Freshness:
    """The judgement on one source.

    said: what is so and what was expected, in sentences; they may be told to anybody, so of a
    failure they name the kind. last_error: what went wrong since the last success, and note: what
    was odd about that one; in full, for staff alone. vanished, unknown: fields of the last day's
    list that were expected and did not come, or came and are read by nobody (-> in how many
    items). fallback: who is read instead of the source's first reader. resting_until: the source
    asked not to be asked before.

    A source that is switched off is fresh: nothing is expected of it. One that fails is fresh
    until it has failed for too long; one that gives papers still is fresh though it changed.
    """

    source: Source
    health: Health
    is_fresh: bool
    said: str
    last_error: str
    note: str
    last_success_at: datetime | None
    last_papers_day: date | None
    last_papers: int
    failures: int
    vanished: tuple[str, ...]
    unknown: Mapping[str, int]
    fallback: str
    resting_until: datetime | None

    @property
    def is_remarkable(self) -> bool:
        return self.health not in (Health.OK, Health.OFF)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the fetches say. Attempts and failures are those at the list of their own day."""

    success: Fetch | None
    first_day: date | None  # the first that was ever read
    full: Fetch | None  # the last one with papers
    told: Fetch | None  # the last one whose fields can be judged
    fallback: str
    fallback_since: datetime | None  # None: longer ago than is looked
    failures: int
    failing_since: datetime | None
    last_failure: Fetch | None
    resting_until: datetime | None

    @property
    def last_success_at(self) -> datetime | None:
        return self.success.started_at if self.success else None

    @property
    def last_papers_day(self) -> date | None:
        return self.full.day if self.full else None


def all_sources(now: datetime) -> list[Freshness]:
    return [freshness(source, now) for source in Source.objects.all()]


def freshness(source: Source, now: datetime) -> Freshness:
    facts = _facts(source, now)
    health, is_fresh, said = _judged(source, facts, now)
    if health != Health.OFF:
        said = " ".join([said, *_remarks(facts)])
    return Freshness(
        source=source,
        health=health,
        is_fresh=is_fresh,
        said=said,
        last_error=_first_line(facts.last_failure.error if facts.last_failure else ""),
        note=_first_line(facts.success.note if facts.success else ""),
        last_success_at=facts.last_success_at,
        last_papers_day=facts.last_papers_day,
        last_papers=facts.full.papers_seen if facts.full else 0,
        failures=facts.failures,
        vanished=_vanished(facts),
        unknown=dict(facts.told.unknown_fields) if facts.told else {},
        fallback="" if health == Health.OFF else facts.fallback,
        resting_until=facts.resting_until,
    )


def say(source: Source, now: datetime) -> None:
    """Into the log, once a round: what goes on too long, a dry list, and what is odd though
    papers come. Each failure has its own line."""
    found = freshness(source, now)
    if not found.is_fresh:
        log.warning(
            "source not fresh", source=source.slug, health=found.health.value, said=found.said
        )
    elif found.health in (Health.CHANGED, Health.FALLBACK):
        log.warning("source changed", source=source.slug, health=found.health.value,
                    said=found.said, note=found.note)  # fmt: skip
    elif found.unknown:
        log.info("fields nobody reads", source=source.slug, fields=", ".join(found.unknown)[:300])


def hosts(source: Source) -> set[str]:
    """Where it is asked, as `Pace` names them: of all settings that are called like it."""
    urls = [value for name, value in _own_settings(source.slug).items() if name.endswith("_URL")]
    return {urlsplit(url).netloc.rpartition("@")[2].lower() for url in urls}


def _facts(source: Source, now: datetime) -> _Facts:
    own, todays = _attempts(source, now)
    # By day before time, as the index is: a history of years is not read through.
    succeeded = todays.succeeded().order_by("-day", "-started_at")
    success = succeeded.first()
    full = own.succeeded().filter(papers_seen__gt=0).order_by("-day", "-started_at")
    read = full.filter(status=Fetch.Status.OK)  # whoever answers "unchanged" shows no fields
    first = own.succeeded().order_by("day").first()
    failed = todays.filter(status=Fetch.Status.FAILED)
    if success is not None:
        failed = failed.filter(day__gte=success.day, started_at__gt=success.started_at)
    row = failed.order_by().aggregate(number=Count("id"), since=Min("started_at"))
    # While it fails, neither is believed.
    fallback, fallback_since = (
        ("", None) if row["number"] else _fallback(source, success, succeeded)
    )
    return _Facts(
        success=success,
        first_day=first.day if first else None,
        full=full.first(),
        told=read.filter(papers_seen__gte=ENOUGH_TO_MISS).first(),
        fallback=fallback,
        fallback_since=fallback_since,
        failures=row["number"],
        failing_since=row["since"],
        last_failure=failed.order_by("-day", "-started_at").first(),
        resting_until=_resting_until(source, now),
    )


def _attempts(source: Source, now: datetime) -> tuple[FetchQuerySet, FetchQuerySet]:
    """Those at a day's list, and among them those at the list of their own day."""
    live: FetchQuerySet = source.fetches.filter(origin=Fetch.Origin.LIVE, day__lte=utc_day(now))
    if source.slug in ENRICHING:
        own = live.filter(kind=Fetch.Kind.ENRICHMENT)
        return own, own
    own = live.filter(kind=Fetch.Kind.DAY)
    asked_on = TruncDate("started_at", tzinfo=UTC)
    return own, own.annotate(asked_on=asked_on).filter(day=F("asked_on"))


def _fallback(
    source: Source, success: Fetch | None, succeeded: FetchQuerySet
) -> tuple[str, datetime | None]:
    """Who was believed instead of the first reader, and since when; None: for FALLBACK_DAYS.

    Of a row that names nobody it is not known.
    """
    first = _first_reader(source.slug)
    if success is None or not first or success.reader in ("", first):
        return "", None
    lately = succeeded.filter(day__gte=success.day - timedelta(days=FALLBACK_DAYS))
    by_first = lately.filter(reader=first).first()
    if by_first is None:
        return success.reader, None
    since = lately.filter(started_at__gt=by_first.started_at).exclude(reader="")
    return success.reader, since.order_by().aggregate(at=Min("started_at"))["at"]


def _first_reader(slug: str) -> str:
    try:
        return sources.readers(slug, _own_settings(slug))[0].name
    except sources.UnknownSourceError:
        return ""


def _own_settings(slug: str) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in _own_names(slug)}


@cache
def _own_names(slug: str) -> list[str]:
    return [name for name in dir(settings) if name.startswith(f"{slug.upper()}_")]


def _resting_until(source: Source, now: datetime) -> datetime | None:
    resting = Pace.objects.filter(host__in=hosts(source), cool_until__gt=now)
    return resting.order_by("-cool_until").values_list("cool_until", flat=True).first()


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _vanished(facts: _Facts) -> tuple[str, ...]:
    return tuple(facts.told.vanished_fields) if facts.told else ()


# -- judged --------------------------------------------------------------------------------


def _judged(source: Source, facts: _Facts, now: datetime) -> tuple[Health, bool, str]:
    if not source.is_enabled:
        return Health.OFF, True, gettext("Switched off: nothing is expected of it.")
    is_late = _is_late(source, facts, now)
    if facts.failures:
        health = Health.RESTING if facts.resting_until and not is_late else Health.FAILING
        return health, not is_late, _failing(facts, now)
    if is_late:
        return Health.LATE, False, _late(source, facts, now)
    if _is_of_before(source, facts, now):
        return Health.LATE, False, _of_before(source)
    missing = _weekdays_without_papers(source, facts, utc_day(now))
    if missing >= DRY_WEEKDAYS_OF.get(source.slug, DRY_WEEKDAYS):
        return Health.DRY, False, _dry(facts, missing)
    return _oddity(facts), True, _ok(facts, now)


def _oddity(facts: _Facts) -> Health:
    if _vanished(facts):
        return Health.CHANGED
    if facts.fallback:
        return Health.FALLBACK
    return Health.RESTING if facts.resting_until else Health.OK


def _is_late(source: Source, facts: _Facts, now: datetime) -> bool:
    if source.slug in ENRICHING:
        return facts.failing_since is not None and now > facts.failing_since + ENRICHES_WITHIN
    return now > _expected_by(source.next_fetch_at, facts)


def _expected_by(next_fetch_at: datetime, facts: _Facts) -> datetime:
    """Success was due at the attempt that failed, or at the next one planned; and not before the
    last one is SOURCE_STALE_HOURS old. A source that asked for rest has as long as that may last.
    """
    success, limit = facts.last_success_at, timedelta(hours=_stale_hours())
    grace = REST if facts.resting_until else GRACE
    if success is None:
        return (facts.failing_since or next_fetch_at) + grace
    due = facts.failing_since or min(next_fetch_at, success + MOST_PAUSE)
    return max(due + grace, success + limit)


def _is_of_before(source: Source, facts: _Facts, now: datetime) -> bool:
    """Whether a weekday's list is an older one still, asked for after the hour when it is due."""
    hour, last = LISTS_BY.get(source.slug), facts.success
    if hour is None or last is None or utc_day(now).weekday() >= 5:
        return False
    # Nobody is believed where no reader had a list of that very day.
    is_other = last.status == Fetch.Status.EMPTY and not last.reader and bool(last.note)
    return is_other and last.started_at >= datetime.combine(utc_day(now), hour)


def _weekdays_without_papers(source: Source, facts: _Facts, today: date) -> int:
    """Whole weekdays, today not among them, since the last paper or since it is read at all."""
    if source.slug in ENRICHING:
        return 0
    if facts.last_papers_day is not None:
        day = facts.last_papers_day + timedelta(days=1)
    else:
        day = facts.first_day or today
    missing = 0
    while day < today and missing < 100:
        missing += day.weekday() < 5
        day += timedelta(days=1)
    return missing


def _remarks(facts: _Facts) -> list[str]:
    """What is told beside the judgement. Names of fields are our own, never the answer's."""
    said = []
    if vanished := _vanished(facts):
        text = gettext("Expected, and in no item of its list: %(fields)s.")
        said.append(text % {"fields": ", ".join(vanished)})
    if facts.fallback and facts.fallback_since:
        text = gettext("Read by its fallback %(reader)s since %(since)s UTC.")
        since = date_format(facts.fallback_since, "PLAIN_DATETIME_FORMAT")
        said.append(text % {"reader": facts.fallback, "since": since})
    elif facts.fallback:
        text = gettext(
            "Read by its fallback %(reader)s, for more than %(days)d days or from the start."
        )
        said.append(text % {"reader": facts.fallback, "days": FALLBACK_DAYS})
    if facts.resting_until:
        text = gettext("It asked for rest until %(until)s UTC.")
        said.append(text % {"until": date_format(facts.resting_until, "MONTH_DAY_TIME_FORMAT")})
    return said


def _ok(facts: _Facts, now: datetime) -> str:
    if facts.last_success_at is None:
        return gettext("Not read yet.")
    return gettext("Read %(ago)s ago.") % {"ago": _ago(facts.last_success_at, now)}


def _late(source: Source, facts: _Facts, now: datetime) -> str:
    overdue = _ago(source.next_fetch_at, now)
    if facts.last_success_at is None:
        return gettext("Never read; due for %(overdue)s.") % {"overdue": overdue}
    text = gettext("No success for %(ago)s, and no attempt; the limit is %(hours)g hours.")
    return text % {"ago": _ago(facts.last_success_at, now), "hours": _stale_hours()}


def _of_before(source: Source) -> str:
    text = gettext("Today’s list was due at %(hour)s UTC; what it shows is an older one still.")
    return text % {"hour": f"{LISTS_BY[source.slug]:%H:%M}"}


def _failing(facts: _Facts, now: datetime) -> str:
    said = {"kind": _kind(facts.last_failure), "failures": facts.failures}
    if facts.last_success_at is None:
        text = ngettext(
            "Never read: %(failures)d attempt failed; the last one: %(kind)s.",
            "Never read: %(failures)d attempts failed; the last one: %(kind)s.",
            facts.failures,
        )
        return text % said
    text = ngettext(
        "No success for %(ago)s: %(failures)d attempt failed; the last one: %(kind)s.",
        "No success for %(ago)s: %(failures)d attempts failed; the last one: %(kind)s.",
        facts.failures,
    )
    return text % {**said, "ago": _ago(facts.last_success_at, now)}


def _kind(failure: Fetch | None) -> str:
    if failure is None or failure.http_status is None:
        return gettext("no answer")
    if failure.http_status == HTTPStatus.OK:
        return gettext("an answer that is of no use")
    return gettext("HTTP %(status)d") % {"status": failure.http_status}


def _dry(facts: _Facts, missing: int) -> str:
    if facts.last_papers_day is None:
        text = ngettext(
            "It answers, but %(missing)d weekday had no paper.",
            "It answers, but %(missing)d weekdays had no paper.",
            missing,
        )
        return text % {"missing": missing}
    text = ngettext(
        "It answers, but %(missing)d weekday since %(day)s had no paper.",
        "It answers, but %(missing)d weekdays since %(day)s had no paper.",
        missing,
    )
    return text % {
        "missing": missing,
        "day": date_format(facts.last_papers_day, "LONG_DATE_FORMAT"),
    }


def _ago(then: datetime, now: datetime) -> str:
    return timesince(then, now, depth=1)


def _stale_hours() -> float:
    return float(getattr(settings, "SOURCE_STALE_HOURS", 6))
