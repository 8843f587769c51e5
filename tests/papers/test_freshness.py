from __future__ import annotations

from datetime import date, timedelta

import pytest

from papers import freshness
from papers.freshness import Health
from papers.models import Fetch, Source
from tests.papers.factories import utc

# A Wednesday.
NOON = utc("2026-11-25T12:00")
HOUR = timedelta(hours=1)


@pytest.fixture
def judged(source):
    """The judgement now, the next attempt planned half an hour after the last success."""

    def judged(now=NOON, *, next_fetch_at=NOON + HOUR / 2):
        Source.objects.update(next_fetch_at=next_fetch_at)
        (one,) = freshness.all_sources(now)
        return one

    return judged


@pytest.fixture
def attempt(source):
    def attempt(at, status="ok", *, day=None, papers=40, error="", origin="live", http_status=None):
        return Fetch.objects.create(
            source=source,
            day=day or at.date(),
            started_at=at,
            status=status,
            papers_seen=papers if status == "ok" else 0,
            error=error,
            origin=origin,
            http_status=http_status,
        )

    return attempt


def test_a_source_read_lately_is_ok(judged, attempt):
    attempt(NOON - HOUR / 2, papers=12)

    found = judged()

    assert (found.health, found.is_fresh, found.failures) == (Health.OK, True, 0)
    assert found.said == "Read 30\xa0minutes ago."
    assert found.last_success_at == NOON - HOUR / 2
    assert (found.last_papers_day, found.last_papers) == (date(2026, 11, 25), 12)


def test_one_failure_is_said_but_the_source_is_fresh_still(judged, attempt):
    attempt(NOON - HOUR)
    error = "HTTP 503 Service Unavailable\nmore"
    attempt(NOON - HOUR / 2, "failed", error=error, http_status=503)

    found = judged()

    assert (found.health, found.is_fresh, found.failures) == (Health.FAILING, True, 1)
    assert found.said == "No success for 1\xa0hour: 1 attempt failed; the last one: HTTP 503."
    assert found.last_error == "HTTP 503 Service Unavailable"


@pytest.mark.parametrize(
    ("http_status", "kind"),
    [(None, "no answer"), (200, "an answer that is of no use"), (429, "HTTP 429")],
)
def test_anybody_is_told_the_kind_of_a_failure_and_no_word_of_the_source(
    judged, attempt, http_status, kind
):
    attempt(NOON - HOUR, "failed", error="<b>Buy bees!</b>", http_status=http_status)

    found = judged()

    assert found.said == f"Never read: 1 attempt failed; the last one: {kind}."
    assert found.last_error == "<b>Buy bees!</b>"


@pytest.mark.parametrize(("hours", "is_fresh"), [(5.9, True), (6.1, False)])
def test_a_source_that_fails_for_hours_is_not_fresh(judged, attempt, hours, is_fresh):
    attempt(NOON - hours * HOUR)
    for age in (3, 2, 1):
        attempt(NOON - age * HOUR, "failed", error="HTTP 500")

    assert judged().is_fresh is is_fresh


def test_the_limit_is_a_setting(judged, attempt, settings):
    settings.SOURCE_STALE_HOURS = 2
    attempt(NOON - 2.5 * HOUR)
    attempt(NOON - 2 * HOUR, "failed", error="HTTP 500")

    assert judged().is_fresh is False


def test_a_success_ends_the_failures(judged, attempt):
    attempt(NOON - 9 * HOUR, "failed", error="HTTP 500")
    attempt(NOON - HOUR)

    found = judged()

    assert (found.health, found.failures, found.last_error) == (Health.OK, 0, "")


def test_a_round_that_reads_old_days_does_not_hide_that_todays_list_is_broken(judged, attempt):
    attempt(NOON - 9 * HOUR)
    attempt(NOON - 2 * HOUR, "failed", error="no JSON: '<html>'")
    attempt(NOON - 2 * HOUR, day=date(2026, 11, 20))

    found = judged()

    assert (found.health, found.is_fresh, found.failures) == (Health.FAILING, False, 1)


def test_nobody_reading_is_late_and_no_failure_of_the_source(judged, attempt):
    attempt(NOON - 9 * HOUR)

    found = judged(next_fetch_at=NOON - 8 * HOUR)

    assert (found.health, found.is_fresh) == (Health.LATE, False)
    assert found.said == "No success for 9\xa0hours, and no attempt; the limit is 6 hours."


def test_a_planned_pause_until_midnight_is_not_late(judged, attempt):
    attempt(utc("2026-11-24T17:00"))
    midnight = utc("2026-11-25T00:00")

    assert judged(midnight, next_fetch_at=midnight).health == Health.OK
    assert judged(midnight + 2 * HOUR, next_fetch_at=midnight).health == Health.LATE


def test_a_first_failure_after_the_pause_has_its_hour(judged, attempt):
    attempt(utc("2026-11-24T17:00"))
    midnight = utc("2026-11-25T00:00")
    attempt(midnight, "failed", error="HTTP 500")

    assert judged(midnight + HOUR / 2).is_fresh is True
    assert judged(midnight + 1.5 * HOUR).is_fresh is False


def test_an_attempt_put_off_for_weeks_is_late_after_a_day(judged, attempt):
    attempt(NOON - 26 * HOUR)

    assert judged(next_fetch_at=NOON + timedelta(days=30)).health == Health.LATE


def test_a_source_never_read_has_its_hour(judged):
    assert judged(next_fetch_at=NOON).said == "Not read yet."

    found = judged(NOON + 2 * HOUR, next_fetch_at=NOON)

    assert (found.health, found.said) == (Health.LATE, "Never read; due for 2\xa0hours.")
    assert (found.last_success_at, found.last_papers_day) == (None, None)


def test_a_source_that_never_answered_is_failing(judged, attempt):
    attempt(NOON - 2 * HOUR, "failed", error="cannot reach example.org (ConnectionError)")
    attempt(NOON - HOUR, "failed", error="cannot reach example.org (ConnectionError)")

    found = judged()

    assert (found.health, found.is_fresh, found.failures) == (Health.FAILING, False, 2)
    assert found.said == "Never read: 2 attempts failed; the last one: no answer."
    assert found.last_error == "cannot reach example.org (ConnectionError)"


def test_an_empty_weekend_is_ok(judged, attempt):
    attempt(utc("2026-11-20T20:00"), papers=31)
    sunday = utc("2026-11-22T12:00")
    attempt(sunday - HOUR, "empty")

    found = judged(sunday, next_fetch_at=sunday + HOUR)

    assert (found.health, found.is_fresh) == (Health.OK, True)
    assert (found.last_papers_day, found.last_papers) == (date(2026, 11, 20), 31)


def test_two_weekdays_without_a_paper_are_a_dry_source_though_it_answers(judged, attempt):
    attempt(utc("2026-11-20T20:00"), papers=31)
    attempt(NOON - HOUR / 2, "empty")

    found = judged()

    assert (found.health, found.is_fresh) == (Health.DRY, False)
    assert found.said == ("It answers, but 2 weekdays since Friday, 20 November 2026 had no paper.")


def test_a_week_read_for_the_first_time_without_a_paper_is_dry(judged, attempt):
    attempt(NOON - HOUR / 2, "empty")
    for age in range(1, 8):
        attempt(NOON - HOUR / 2, "empty", day=NOON.date() - timedelta(days=age))

    assert judged().said == "It answers, but 5 weekdays had no paper."


def test_papers_from_a_file_do_not_make_a_source_fresh(judged, attempt):
    attempt(NOON - 9 * HOUR)
    attempt(NOON - HOUR, origin="file")

    assert judged(next_fetch_at=NOON - 8 * HOUR).health == Health.LATE


def test_a_source_switched_off_is_off_and_nothing_is_expected(judged, attempt):
    attempt(NOON - 90 * HOUR)
    Source.objects.update(is_enabled=False)

    found = judged(next_fetch_at=NOON - 89 * HOUR)

    assert (found.health, found.is_fresh) == (Health.OFF, True)
