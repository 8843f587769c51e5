"""Whether a source still tells us what is new: judged, and said in words.

An empty list is no failure, since weekends are empty. So what is judged is, first, whether today's
list can be read at all, and second, how many weekdays in a row had no paper in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus

from django.conf import settings
from django.db.models import Count, F, Min, TextChoices
from django.db.models.functions import TruncDate
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .models import Fetch, Source, utc_day

GRACE = timedelta(hours=1)
MOST_PAUSE = timedelta(days=1)  # a planned next attempt further off than this is no plan
DRY_WEEKDAYS = 2  # 5 weekdays in 27 months had no paper


class Health(TextChoices):
    OK = "ok", _("ok")
    LATE = "late", _("late")
    FAILING = "failing", _("failing")
    DRY = "dry", _("dry")
    OFF = "off", _("off")


@dataclass(frozen=True, slots=True)
class Freshness:
    """The judgement on one source.

    said: what is so and what was expected, one sentence; it may be told to anybody, so of a failure
    it names the kind. last_error: what went wrong since the last success, in full; for staff alone.

    A source that is switched off is fresh: nothing is expected of it. One that fails is fresh
    until it has failed for too long.
    """

    source: Source
    health: Health
    is_fresh: bool
    said: str
    last_error: str
    last_success_at: datetime | None
    last_papers_day: date | None
    last_papers: int
    failures: int


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the fetches say. Attempts and failures are those at the list of their own day."""

    last_success_at: datetime | None
    first_day: date | None  # the first that was ever read
    last_papers_day: date | None
    last_papers: int
    failures: int
    failing_since: datetime | None
    last_failure: Fetch | None


def all_sources(now: datetime) -> list[Freshness]:
    return [freshness(source, now) for source in Source.objects.all()]


def freshness(source: Source, now: datetime) -> Freshness:
    facts = _facts(source, now)
    health, is_fresh, said = _judged(source, facts, now)
    return Freshness(
        source=source,
        health=health,
        is_fresh=is_fresh,
        said=said,
        last_error=_first_line(facts.last_failure),
        last_success_at=facts.last_success_at,
        last_papers_day=facts.last_papers_day,
        last_papers=facts.last_papers,
        failures=facts.failures,
    )


def _facts(source: Source, now: datetime) -> _Facts:
    live = source.fetches.filter(origin=Fetch.Origin.LIVE, day__lte=utc_day(now))
    todays = live.annotate(asked_on=TruncDate("started_at", tzinfo=UTC)).filter(day=F("asked_on"))
    # By day before time, as the index is: a history of years is not read through.
    success = todays.succeeded().order_by("-day", "-started_at").first()
    full = live.succeeded().filter(papers_seen__gt=0).order_by("-day", "-started_at").first()
    first = live.succeeded().order_by("day").first()
    failed = todays.filter(status=Fetch.Status.FAILED)
    if success is not None:
        failed = failed.filter(day__gte=success.day, started_at__gt=success.started_at)
    row = failed.order_by().aggregate(number=Count("id"), since=Min("started_at"))
    return _Facts(
        last_success_at=success.started_at if success else None,
        first_day=first.day if first else None,
        last_papers_day=full.day if full else None,
        last_papers=full.papers_seen if full else 0,
        failures=row["number"],
        failing_since=row["since"],
        last_failure=failed.order_by("-day", "-started_at").first(),
    )


def _first_line(fetch: Fetch | None) -> str:
    return fetch.error.partition("\n")[0] if fetch else ""


def _judged(source: Source, facts: _Facts, now: datetime) -> tuple[Health, bool, str]:
    if not source.is_enabled:
        return Health.OFF, True, gettext("Switched off: nothing is expected of it.")
    is_late = now > _expected_by(source.next_fetch_at, facts)
    if facts.failures:
        return Health.FAILING, not is_late, _failing(facts, now)
    if is_late:
        return Health.LATE, False, _late(source, facts, now)
    missing = _weekdays_without_papers(facts, utc_day(now))
    if missing >= DRY_WEEKDAYS:
        return Health.DRY, False, _dry(facts, missing)
    return Health.OK, True, _ok(facts, now)


def _expected_by(next_fetch_at: datetime, facts: _Facts) -> datetime:
    """Success was due at the attempt that failed, or at the next one planned; and not before the
    last one is SOURCE_STALE_HOURS old."""
    success, limit = facts.last_success_at, timedelta(hours=_stale_hours())
    if success is None:
        return (facts.failing_since or next_fetch_at) + GRACE
    due = facts.failing_since or min(next_fetch_at, success + MOST_PAUSE)
    return max(due + GRACE, success + limit)


def _weekdays_without_papers(facts: _Facts, today: date) -> int:
    """Whole weekdays, today not among them, since the last paper or since it is read at all."""
    if facts.last_papers_day is not None:
        day = facts.last_papers_day + timedelta(days=1)
    else:
        day = facts.first_day or today
    missing = 0
    while day < today and missing < 100:
        missing += day.weekday() < 5
        day += timedelta(days=1)
    return missing


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
    return text % {"missing": missing, "day": date_format(facts.last_papers_day, "l, j F Y")}


def _ago(then: datetime, now: datetime) -> str:
    return timesince(then, now, depth=1)


def _stale_hours() -> float:
    return float(getattr(settings, "SOURCE_STALE_HOURS", 6))
