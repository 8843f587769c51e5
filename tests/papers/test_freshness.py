from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.utils import timezone

from papers import fetching, freshness
from papers.freshness import Health
from papers.models import Fetch, Pace, Source
from papers.sources.arxiv import ArXiv
from tests.fakes.arxiv import Submission
from tests.fakes.source_server import entry
from tests.papers.factories import utc

# A Wednesday.
NOON = utc("2026-11-25T12:00")
HOUR = timedelta(hours=1)


@pytest.fixture
def judged(source):
    """The judgement now, the next attempt planned half an hour after the last success."""

    def judged(now=NOON, *, next_fetch_at=NOON + HOUR / 2, slug="huggingface"):
        Source.objects.update(next_fetch_at=next_fetch_at)
        return freshness.freshness(Source.objects.get(slug=slug), now)

    return judged


@pytest.fixture
def attempt(source):
    def attempt(at, status="ok", *, day=None, papers=40, of=source, **fields):
        return Fetch.objects.create(
            source=of,
            day=day or at.date(),
            started_at=at,
            status=status,
            papers_seen=papers if status in ("ok", "unchanged") else 0,
            **fields,
        )

    return attempt


@pytest.fixture
def semantic_scholar(source):
    Source.objects.filter(slug="semantic_scholar").update(is_enabled=True)
    return Source.objects.get(slug="semantic_scholar")


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


# -- changed, by its fallback, at rest -----------------------------------------------------


def test_a_field_that_no_item_has_any_more_is_said_by_name_and_papers_still_come(judged, attempt):
    attempt(NOON - 3 * HOUR, vanished_fields=["paper.upvotes", "numComments"])
    attempt(NOON - HOUR, "unchanged")

    found = judged()

    assert (found.health, found.is_fresh, found.is_remarkable) == (Health.CHANGED, True, True)
    assert found.vanished == ("paper.upvotes", "numComments")
    assert found.said == (
        "Read 1\xa0hour ago. Expected, and in no item of its list: paper.upvotes, numComments."
    )


def test_a_list_that_has_the_field_again_is_ok(judged, attempt):
    attempt(NOON - 2 * HOUR, vanished_fields=["paper.upvotes"])
    attempt(NOON - HOUR)

    assert judged().health == Health.OK


def test_a_day_of_few_papers_yet_tells_nothing_of_its_fields(judged, attempt):
    attempt(NOON - 20 * HOUR, vanished_fields=["paper.upvotes"])
    attempt(NOON - HOUR, papers=2)

    assert judged().health == Health.CHANGED


def test_fields_nobody_reads_yet_are_counted_and_change_nothing(judged, attempt):
    attempt(NOON - HOUR, unknown_fields={"paper.<b>mood</b>": 40})

    found = judged()

    assert (found.health, found.unknown) == (Health.OK, {"paper.<b>mood</b>": 40})
    assert "mood" not in found.said


def test_a_source_read_by_its_fallback_says_since_when_and_the_staff_why(judged, attempt):
    attempt(NOON - 30 * HOUR, reader="huggingface")
    attempt(NOON - 26 * HOUR, reader="huggingface_page", note="HTTP 503")
    attempt(NOON - 3 * HOUR, reader="huggingface_page", note="no list: {'oops': 1}\nand more")

    found = judged()

    assert (found.health, found.is_fresh) == (Health.FALLBACK, True)
    assert found.fallback == "huggingface_page"
    assert found.said == (
        "Read 3\xa0hours ago. "
        "Read by its fallback huggingface_page since 24 November 2026, 10:00 UTC."
    )
    assert found.note == "no list: {'oops': 1}"


def test_a_fallback_that_lasts_for_months_is_said_without_reading_through_them(judged, attempt):
    attempt(NOON - timedelta(days=31), reader="huggingface")
    attempt(NOON - 3 * HOUR, reader="huggingface_page", note="HTTP 503")

    found = judged()

    assert (found.health, found.fallback) == (Health.FALLBACK, "huggingface_page")
    assert found.said.endswith("huggingface_page, for more than 30 days or from the start.")


def test_the_first_reader_back_again_ends_the_fallback(judged, attempt):
    attempt(NOON - 3 * HOUR, reader="huggingface_page", note="HTTP 503")
    attempt(NOON - HOUR, reader="huggingface")

    found = judged()

    assert (found.health, found.fallback, found.note) == (Health.OK, "", "")


def test_a_source_that_fails_altogether_is_read_by_nobody(judged, attempt):
    attempt(NOON - 3 * HOUR, reader="huggingface_page", note="HTTP 503")
    attempt(NOON - HOUR, "failed", http_status=503)

    found = judged()

    assert (found.health, found.fallback) == (Health.FAILING, "")
    assert found.said == ("No success for 3\xa0hours: 1 attempt failed; the last one: HTTP 503.")


def test_a_host_that_asked_for_rest_has_it_before_its_source_is_stale(judged, attempt, settings):
    settings.HUGGINGFACE_URL = "https://ada:secret@Mirror.example.org:8443"
    attempt(NOON - 10 * HOUR)
    attempt(NOON - 2 * HOUR, "failed", error="HTTP 429", http_status=429)
    Pace.objects.create(host="other.example.org", next_at=NOON, cool_until=NOON + 9 * HOUR)
    assert (judged().health, judged().is_fresh) == (Health.FAILING, False)

    Pace.objects.create(host="mirror.example.org:8443", next_at=NOON, cool_until=NOON + 2 * HOUR)

    found = judged()
    assert (found.health, found.is_fresh) == (Health.RESTING, True)
    assert found.resting_until == NOON + 2 * HOUR
    assert found.said == (
        "No success for 10\xa0hours: 1 attempt failed; the last one: HTTP 429. "
        "It asked for rest until 25 November, 14:00 UTC."
    )
    Pace.objects.update(cool_until=NOON + 9 * HOUR)
    assert judged(NOON + 3.5 * HOUR).is_fresh is False


@pytest.mark.parametrize("kind", ["week", "month", "trending", "look_up", "harvest", "enrichment"])
def test_other_attempts_are_none_at_the_days_list(judged, attempt, kind):
    attempt(NOON - 9 * HOUR)
    attempt(NOON - 2 * HOUR, "failed", error="HTTP 500")
    attempt(NOON - HOUR, kind=kind)

    found = judged()

    assert (found.health, found.is_fresh, found.failures) == (Health.FAILING, False, 1)
    assert found.last_success_at == NOON - 9 * HOUR


def test_unchanged_is_a_success_with_the_papers_of_the_answer_before(judged, attempt):
    attempt(NOON - 9 * HOUR, papers=31)
    attempt(NOON - HOUR, "unchanged", papers=31)

    found = judged()

    assert (found.health, found.last_success_at) == (Health.OK, NOON - HOUR)
    assert found.last_papers == 31


# -- arXiv ---------------------------------------------------------------------------------


def test_arxivs_feed_of_the_day_before_is_late_from_six_on(judged, attempt, arxiv):
    note = "its list is still of 2026-11-24"
    attempt(utc("2026-11-24T06:00"), of=arxiv)
    attempt(utc("2026-11-25T05:30"), "empty", of=arxiv, note=note)
    six = utc("2026-11-25T06:00")
    assert judged(six, next_fetch_at=six, slug="arxiv").health == Health.OK

    attempt(six, "empty", of=arxiv, note=note)

    found = judged(six + HOUR / 4, next_fetch_at=six + HOUR / 2, slug="arxiv")
    assert (found.health, found.is_fresh) == (Health.LATE, False)
    assert found.said == ("Today’s list was due at 06:00 UTC; what it shows is an older one still.")
    assert found.note == note


def test_arxivs_empty_feed_of_today_is_a_holiday_and_not_late(judged, attempt, arxiv):
    attempt(utc("2026-11-25T06:00"), of=arxiv)
    thanksgiving = utc("2026-11-26T07:00")
    attempt(thanksgiving, "empty", of=arxiv, reader="arxiv", note="2 papers are gone from it")

    found = judged(thanksgiving, next_fetch_at=utc("2026-11-27T00:00"), slug="arxiv")

    assert (found.health, found.is_fresh) == (Health.OK, True)


def test_nothing_is_announced_at_weekends(judged, attempt, arxiv):
    attempt(utc("2026-11-20T06:00"), of=arxiv)
    sunday = utc("2026-11-22T12:00")
    attempt(sunday, "empty", of=arxiv, note="its list is still of 2026-11-20")

    assert judged(sunday, next_fetch_at=sunday + HOUR, slug="arxiv").health == Health.OK


def test_two_holidays_of_arxiv_are_no_dryness_and_three_are(judged, attempt, arxiv):
    attempt(utc("2026-11-20T06:00"), of=arxiv)
    for day, health in (("25", Health.OK), ("26", Health.DRY)):
        noon = utc(f"2026-11-{day}T12:00")
        attempt(noon, "empty", of=arxiv)
        assert judged(noon, next_fetch_at=noon + HOUR, slug="arxiv").health == health


# -- Semantic Scholar ----------------------------------------------------------------------


def test_a_source_without_a_list_is_judged_by_its_own_attempts(judged, attempt, semantic_scholar):
    old = {"next_fetch_at": NOON - 90 * HOUR, "slug": "semantic_scholar"}
    assert (judged(**old).health, judged(**old).said) == (Health.OK, "Not read yet.")

    attempt(NOON - 30 * HOUR, of=semantic_scholar, kind="enrichment", papers=3)
    assert judged(**old).health == Health.OK

    attempt(NOON - 25 * HOUR, "failed", of=semantic_scholar, kind="enrichment", http_status=429)
    found = judged(NOON - 2 * HOUR, **old)
    assert (found.health, found.is_fresh) == (Health.FAILING, True)
    found = judged(**old)
    assert (found.health, found.is_fresh, found.failures) == (Health.FAILING, False, 1)


# -- in the log ----------------------------------------------------------------------------


def test_the_log_says_what_is_not_as_it_should_be(judged, attempt, source, caplog):
    caplog.set_level("INFO")
    attempt(NOON - HOUR)
    freshness.say(source, NOON)
    assert not caplog.records

    attempt(NOON - HOUR / 2, reader="huggingface_page", note="HTTP 503", vanished_fields=["title"])
    freshness.say(source, NOON)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "source changed" in caplog.text
    assert "no item of its list: title" in caplog.text
    assert "HTTP 503" in caplog.text


# -- as the sources really do it -----------------------------------------------------------


def test_arxivs_real_feed_is_late_until_it_is_of_today(judged, server, arxiv):
    seven = utc("2026-11-24T07:00")
    server.arxiv.announce("2026-11-23", [Submission(1)])
    Source.objects.exclude(slug="arxiv").update(is_enabled=False)
    for hour in (-24, 0):
        Source.objects.update(next_fetch_at=seven + hour * HOUR)
        fetching.fetch_due(seven + hour * HOUR)
    found = judged(seven, next_fetch_at=seven + HOUR / 2, slug="arxiv")
    assert (found.health, found.is_fresh) == (Health.LATE, False)
    assert "23 November 2026" in found.note

    server.arxiv.announce("2026-11-24", [Submission(number) for number in range(2, 9)])
    Source.objects.update(next_fetch_at=seven + HOUR)
    fetching.fetch_due(seven + HOUR)

    found = judged(seven + HOUR, next_fetch_at=seven + 2 * HOUR, slug="arxiv")
    assert (found.health, found.last_papers) == (Health.OK, 7)


def test_arxiv_that_really_said_429_rests(server, arxiv, monkeypatch):
    monkeypatch.setattr(ArXiv, "pace_seconds", 0.001)
    server.answer_always("/rss/", b"Rate exceeded.", status=429, headers={"Retry-After": "7200"})
    now = timezone.now()
    Source.objects.update(next_fetch_at=now)

    fetching.fetch_due(now, sleep=lambda seconds: None)

    found = freshness.freshness(arxiv, now)
    assert (found.health, found.is_fresh) == (Health.RESTING, True)
    assert timedelta(hours=1.9) < found.resting_until - now < timedelta(hours=2.1)
    assert "It asked for rest until" in found.said


def test_a_list_that_really_lost_a_field_is_changed(judged, server, source):
    entries = [entry(number, upvotes=None) for number in range(1, 9)]
    server.list_papers("2026-11-23", [each | {"mood": "fine"} for each in entries])
    noon = utc("2026-11-23T12:00")

    fetching.fetch_day(source, noon.date(), now=noon)

    found = judged(noon, next_fetch_at=noon + HOUR)
    assert (found.health, found.vanished) == (Health.CHANGED, ("paper.upvotes",))
    assert found.unknown == {"mood": 8}
