from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from bs4 import BeautifulSoup
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.urls import reverse

from digest.models import Digest, Heartbeat, Hold, Slot
from digest.morning import facts
from papers.models import Edition, Entry, Fetch, Source
from subscribers.models import ConsentEvent, Subscriber, Suppression, TransportState
from tests.database import everything
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader, make_readers

pytestmark = pytest.mark.django_db

NOW = DUE + timedelta(minutes=30)
MONDAY = DUE.date()
FRIDAY = SUNDAY - timedelta(days=2)


@pytest.fixture(autouse=True)
def half_past_six():
    cache.clear()
    with time_machine.travel(NOW, tick=False):
        yield
    cache.clear()


@pytest.fixture
def well(db) -> None:
    """Signs of life from everything, and a source just read."""
    for name in ("beat", "default", "fetch", "send"):
        Heartbeat.note(name, NOW)
    source, _made = Source.objects.get_or_create(slug="huggingface", name="Hugging Face")
    source.next_fetch_at = NOW + timedelta(minutes=20)
    source.save()
    Fetch.objects.create(source=source, day=MONDAY, status="ok", papers_seen=9, started_at=NOW)


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("operator"))
    return client


def login(client, *codenames: str):
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(clerk)
    return client


def home(client) -> BeautifulSoup:
    response = client.get(reverse("admin:index"))
    assert response.status_code == 200
    return BeautifulSoup(response.content, "html.parser")


def told(page: BeautifulSoup) -> list[str]:
    section = page.find(id="morning-today").parent
    return [each.get_text() for each in section.find_all("p", class_=None)]


def wanted(page: BeautifulSoup) -> list[tuple[str, str]]:
    """(what is said, where its link leads)."""
    rows = page.select(".decisions li")
    return [(row.span.get_text(), row.a["href"]) for row in rows]


def make_slot(day: date, *, skip_reason: str = "nothing", due: int = 0, **states: int) -> Slot:
    """Digests in these states, by readers of their own, each of them due at six."""
    slot = Slot.objects.create(date=day, due=due or sum(states.values()))
    at = datetime(day.year, day.month, day.day, 6, tzinfo=UTC)
    for state, number in states.items():
        for _ in range(number):
            make_digest(slot, at, state, skip_reason=skip_reason)
    return slot


def make_digest(slot: Slot, at: datetime, state: str, *, skip_reason: str = "nothing") -> Digest:
    number = Subscriber.objects.count()
    reader = make_reader(f"reader{number}@example.org", next_due_at=DUE + timedelta(days=1))
    return Digest.objects.create(
        subscriber=reader,
        slot=slot,
        due_at=at,
        assembled_at=at,
        state=state,
        skip_reason=skip_reason if state == "skipped" else "",
        sent_at=at + timedelta(seconds=20) if state == "sent" else None,
        retry_at=at + timedelta(hours=1) if state == "retry" else None,
    )


# -- did today go out? ---------------------------------------------------------------------


def test_an_empty_installation_says_so_and_draws_nothing(operator):
    page = home(operator)
    assert told(page) == ["No edition has closed yet.", "There are no readers yet."]
    assert page.select("svg.plot") == []
    assert [each.get_text() for each in page.select("figcaption")] == [
        "Active readersNone yet.",
        "How digests ended, by slotNone yet.",
        "From due to sent, by UTC hourNothing was sent yet.",
    ]
    assert "Nobody falls due in the next 24 hours." in page.get_text()


def test_a_morning_on_which_all_went_well_is_told_in_two_sentences(operator, well):
    make_edition(SUNDAY, [make_paper() for _ in range(48)])
    slot = make_slot(MONDAY, sent=3, skipped=2, due=6)
    make_digest(slot, NOW, "assembled")
    page = home(operator)
    assert told(page) == [
        "Yesterday’s edition closed at 20:00 UTC with 48 papers.",
        "Of 6 readers due today 3 have theirs, 2 had nothing worth a mail and 1 waits.",
    ]
    assert "Nothing waits for you." in page.get_text()
    assert "As of 06:30 UTC." in page.get_text()


def test_every_ending_is_told_and_none_twice(operator, well):
    slot = make_slot(MONDAY, sent=1, skipped=1, failed=1, uncertain=1, suppressed=1, retry=1)
    make_digest(slot, DUE, "skipped", skip_reason="late")
    make_digest(slot, DUE, "skipped", skip_reason="paused")
    Slot.objects.update(due=8)
    assert told(home(operator))[-1] == (
        "Of 8 readers due today 1 has theirs, 1 had nothing worth a mail, 1 was too late, "
        "1 was skipped, 1 may not be mailed, 1 failed, 1 is in doubt and 1 waits."
    )


def test_a_weekend_without_papers_is_called_usual(operator, well):
    make_edition(FRIDAY, [make_paper()])
    assert told(home(operator))[:2] == [
        "The edition of Friday, 20 November closed at 20:00 UTC with 1 paper.",
        "No papers were listed on Saturday, 21 November and Sunday, 22 November, "
        "as on most weekends.",
    ]


def test_an_old_edition_that_closed_lately_is_told_with_its_year_and_the_day_of_closing(
    operator, well
):
    edition = make_edition(date(2025, 12, 2), [make_paper()])
    edition.closed_at = NOW - timedelta(hours=16)
    edition.save()
    assert told(home(operator))[0] == (
        "The edition of Tuesday, 2 December 2025 closed on 22 Nov at 14:30 UTC with 1 paper."
    )


def test_a_weekday_without_papers_is_not_called_usual(operator, well):
    make_edition(FRIDAY - timedelta(days=1), [make_paper()])
    text = told(home(operator))[1]
    assert text.startswith("No papers were listed on Friday, 20 November, Saturday")
    assert text.endswith("Sunday, 22 November.")


def test_a_long_silence_is_counted(operator, well):
    make_edition(SUNDAY - timedelta(days=10), [make_paper()])
    assert told(home(operator))[1] == "No papers were listed on 10 days since."


def test_the_open_edition_is_told_so_far(operator, well):
    make_edition(SUNDAY, [make_paper()])
    edition = Edition.objects.create(day=MONDAY, opened_at=NOW)
    papers = [make_paper() for _ in range(3)]
    Entry.objects.bulk_create(
        Entry(edition=edition, paper=paper, position=place) for place, paper in enumerate(papers, 1)
    )
    edition.entries.filter(position=2).update(dropped_at=NOW)
    assert "Today’s edition is open, with 2 papers so far." in told(home(operator))


def test_before_anybody_falls_due_the_day_before_is_told(operator, well):
    make_slot(SUNDAY, sent=2)
    assert told(home(operator))[-2:] == [
        "Nobody has fallen due yet today.",
        "Of 2 readers due on Sunday, 22 November 2 have theirs.",
    ]


def test_readers_further_east_may_have_tomorrows(operator, well):
    make_slot(MONDAY, sent=1)
    make_slot(MONDAY + timedelta(days=1), sent=2)
    with time_machine.travel(DUE + timedelta(hours=14), tick=False):
        operator.force_login(User.objects.get())
        sentences = told(home(operator))
    assert sentences[-2:] == [
        "Of 1 reader due today 1 has theirs.",
        "Where Tuesday, 24 November has begun, of 2 readers due 2 have theirs.",
    ]


def test_readers_who_never_fell_due_are_told(operator, well):
    make_readers(2, next_due_at=DUE + timedelta(hours=3))
    assert told(home(operator))[-1] == "2 readers are active, and none has fallen due yet."


# -- what wants a decision -----------------------------------------------------------------


def test_a_hold_is_told_and_can_be_released(operator, well):
    Hold.objects.create(began_at=NOW - timedelta(hours=1), began_by="ben", note="Odd bounces.")
    page = home(operator)
    assert "Sending is held, so no digest leaves." in told(page)
    assert wanted(page) == [
        (
            "ben has held sending since 23 November, 05:30 UTC. Odd bounces.",
            reverse("admin:digest_release_sending"),
        )
    ]
    assert "Hold sending…" not in page.get_text()


def test_a_calm_morning_offers_a_hold_in_a_corner(operator, well):
    page = home(operator)
    assert page.select_one(".calm a")["href"] == reverse("admin:digest_hold_sending")
    assert wanted(page) == []


def test_holds_and_doubts_are_told_at_once_though_counts_are_a_minute_old(operator, well):
    slot = make_slot(MONDAY, sent=1)
    assert wanted(home(operator)) == []
    make_digest(slot, DUE, "uncertain")
    Hold.objects.create(began_at=NOW, began_by="ada")
    page = home(operator)
    assert [said for said, _ in wanted(page)] == [
        "ada has held sending since 23 November, 06:30 UTC.",
        "1 digest may or may not have left.",
    ]
    assert "Of 1 reader due today 1 has theirs." in told(page)


def test_digests_in_doubt_lead_to_their_list(operator, well):
    make_slot(MONDAY, sent=1, uncertain=2)
    ((said, url),) = wanted(home(operator))
    assert said == "2 digests may or may not have left."
    listed = operator.get(url).context["cl"].queryset
    assert {digest.state for digest in listed} == {"uncertain"}
    assert listed.count() == 2


def test_a_source_that_fails_leads_to_its_page(operator, well):
    source = Source.objects.get(slug="huggingface")
    source.fetches.update(status="failed", error="503", started_at=NOW - timedelta(hours=6))
    ((said, url),) = wanted(home(operator))
    assert said.startswith("Hugging Face: Never read")
    assert url == reverse("admin:papers_source_change", args=[source.pk])


def test_an_edition_that_should_have_closed_leads_to_its_page(operator, well):
    edition = Edition.objects.create(day=SUNDAY, opened_at=NOW - timedelta(days=1))
    with time_machine.travel(datetime(2026, 11, 23, 2, 10, tzinfo=UTC), tick=False):
        assert wanted(home(operator)) == []
    cache.clear()
    assert wanted(home(operator)) == [
        (
            "The edition of Sunday, 22 November should have closed by now.",
            reverse("admin:papers_edition_change", args=[edition.pk]),
        )
    ]


def test_a_slot_that_does_not_add_up_is_called_a_fault(operator, well):
    make_slot(MONDAY, sent=2, due=3)
    ((said, url),) = wanted(home(operator))
    assert said.startswith("Readers due and digests differ on Monday, 23 November")
    assert url == reverse("admin:digest_slot_changelist")


def test_parts_that_fell_silent_and_readers_who_wait_are_told(operator, well):
    Heartbeat.objects.filter(name="send").update(at=NOW - timedelta(minutes=6))
    make_reader(next_due_at=NOW - timedelta(hours=1))
    assert [said for said, _ in wanted(home(operator))] == [
        "No sign of life from these: worker of send. Their work stands still.",
        "Readers wait for their digests to be made. The oldest has waited for 1 h.",
    ]


def test_service_mails_that_wait_are_told(operator, well):
    make_reader(next_due_at=DUE + timedelta(days=1), link_due_at=NOW - timedelta(minutes=20))
    ((said, url),) = wanted(home(operator))
    assert said == (
        "Confirmations or other service mails wait to be sent. The oldest has waited for 20 min."
    )
    assert url == reverse("digest:readyz")


def test_rounds_done_by_cron_want_no_processes(operator, well):
    Heartbeat.objects.all().delete()
    Heartbeat.note("tick", NOW)
    assert wanted(home(operator)) == []
    cache.clear()
    Heartbeat.note("tick", NOW - timedelta(hours=1))
    assert [said for said, _ in wanted(home(operator))] == [
        "No sign of life from these: tick. Their work stands still."
    ]


def test_a_mail_server_that_refuses_is_told(operator, well):
    make_slot(SUNDAY, sent=49, failed=1)
    assert wanted(home(operator)) == []
    cache.clear()
    make_slot(MONDAY, sent=0, retry=1)
    ((said, url),) = wanted(home(operator))
    assert said.startswith("Mail is failing: of 51 digests of the last two slots 1 failed, 1 ")
    assert operator.get(url).context["cl"].queryset.get().state == "failed"


def test_a_transport_that_rests_is_told_with_what_it_said_and_gravely_if_there_is_no_other(
    operator, well, settings
):
    TransportState.objects.create(
        name="locmem",
        failures=1,
        open_until=NOW + timedelta(minutes=4),
        error="535 wrong password",
        error_at=NOW,
    )
    page = home(operator)
    ((said, url),) = wanted(page)
    assert said == (
        "locmem: It rests until 23 November, 06:34 UTC: nothing got through last time. "
        "535 wrong password"
    )
    assert "535 wrong password" in operator.get(url).content.decode()
    assert page.select(".decisions .grave")
    cache.clear()
    settings.FALLBACK_EMAIL = {"EMAIL_BACKEND": "anymail.backends.test.EmailBackend"}
    page = home(operator)
    assert [each for each, _ in wanted(page)] == [said]
    assert not page.select(".decisions .grave")


def test_a_day_that_is_used_up_is_told(operator, well, settings):
    settings.MAIL_PER_DAY = 300
    TransportState.objects.create(name="locmem", day=MONDAY, used=299)
    assert wanted(home(operator)) == []
    TransportState.objects.update(used=300)
    ((said, _url),) = wanted(home(operator))
    assert said.startswith("locmem: Today’s 300 mails are used up")


def test_mail_settings_that_cannot_work_are_told_and_break_no_page(operator, well, settings):
    settings.EMAIL_BACKEND = "no.such.Backend"
    assert any("EMAIL_BACKEND: cannot use" in said for said, _ in wanted(home(operator)))


@pytest.mark.parametrize(
    ("reason", "number", "is_told"),
    [("bounce", 1, False), ("bounce", 2, True), ("complaint", 1, True), ("operator", 9, False)],
)
def test_too_many_bounces_and_complaints_of_the_week_are_told(
    operator, well, reason, number, is_told
):
    make_slot(MONDAY, sent=30)
    make_slot(SUNDAY, sent=30)
    for each in range(number):
        at = NOW - timedelta(days=6)
        Suppression.objects.create(address_hash=f"{each:064}", reason=reason, created_at=at)
    for each in range(30):
        at = NOW - timedelta(days=8)
        Suppression.objects.create(address_hash=f"{each:063}x", reason=reason, created_at=at)
    found = wanted(home(operator))
    assert len(found) == is_told
    if is_told:
        ((said, url),) = found
        assert said.startswith(f"{number} ")
        assert operator.get(url).status_code == 200


def test_a_public_site_that_keeps_its_mails_is_told(operator, well, settings):
    settings.EMAIL_BACKEND = "subscribers.transports.outbox.EmailBackend"
    assert wanted(home(operator)) == []
    settings.IS_PUBLIC = True
    ((said, url),) = wanted(home(operator))
    assert "set EMAIL_URL" in said
    assert operator.get(url).status_code == 200


def test_everybody_is_asked_only_what_they_may_do(client):
    make_slot(MONDAY, sent=1, uncertain=1, due=3)
    Hold.objects.create(began_at=NOW, began_by="ada")
    Source.objects.create(slug="arxiv", name="arXiv", next_fetch_at=NOW - timedelta(days=2))
    assert wanted(home(login(client))) == []
    clerk = User.objects.get(username="clerk")
    for codename, words in (
        ("settle_digest", "may or may not have left"),
        ("change_hold", "has held sending"),
        ("change_source", "arXiv: Never read"),
        ("view_slot", "digests differ"),
    ):
        clerk.user_permissions.set([Permission.objects.get(codename=codename)])
        found = [said for said, _ in wanted(home(client))]
        assert any(words in said for said in found), codename
        if codename != "change_hold":
            assert len(found) == 1, codename


def test_only_who_may_hold_sending_is_offered_it(client, well):
    assert home(login(client, "view_hold", "change_hold")).select(".calm") == []
    clerk = User.objects.get(username="clerk")
    clerk.user_permissions.set([Permission.objects.get(codename="add_hold")])
    assert home(client).select(".calm")


def test_no_address_is_on_the_page_and_ones_own_actions_are_for_who_may_see_readers(client, well):
    make_slot(MONDAY, sent=1, failed=1, uncertain=1, due=4)
    reader = make_reader(next_due_at=NOW - timedelta(hours=1))
    login(client, "change_source", "view_edition", "view_slot")
    clerk = User.objects.get(username="clerk")
    LogEntry.objects.log_actions(clerk.pk, [reader], CHANGE, change_message="paused")
    assert "example.org" not in str(home(client))
    clerk.user_permissions.add(Permission.objects.get(codename="view_subscriber"))
    assert "ada@example.org" in str(home(client))


def test_the_page_is_for_staff(client):
    assert client.get(reverse("admin:index")).status_code == 302
    client.force_login(User.objects.create_user("reader"))
    assert client.get(reverse("admin:index")).status_code == 302


def test_looking_changes_nothing(operator, well):
    make_slot(MONDAY, sent=1, uncertain=1)
    home(operator)
    before = everything()
    cache.clear()
    home(operator)
    assert everything() == before


# -- next and the figures ------------------------------------------------------------------


def test_what_comes_is_told_by_the_hour(operator, well):
    make_reader("a@example.org", next_due_at=NOW)
    for minutes in (30, 45, 60 * 23, 60 * 24 + 1):
        make_reader(f"m{minutes}@example.org", next_due_at=NOW + timedelta(minutes=minutes))
    page = home(operator)
    section = page.find(id="morning-next").parent
    assert [each.get_text() for each in section.find_all("p")] == [
        "1 reader is due now.",
        "The next 2 readers fall due from 07:00 UTC; 3 in the next 24 hours.",
    ]
    assert [each.get_text() for each in section.find_all("li")] == ["07:00 2", "05:00 1"]


def test_readers_of_a_month_are_walked_back_from_the_present():
    days = facts.walked_back(10, MONDAY, changes={MONDAY: 3, SUNDAY: -2})
    assert len(days) == facts.DAYS + 1
    assert days[-3:] == [(SUNDAY - timedelta(days=1), 9), (SUNDAY, 7), (MONDAY, 10)]
    assert days[0] == (MONDAY - timedelta(days=facts.DAYS), 9)


def test_who_confirmed_came_and_who_left_went_and_who_never_confirmed_did_neither(operator, well):
    reader, other, pending = make_readers(3)
    Subscriber.objects.filter(pk=pending.pk).update(
        state="unsubscribed", next_due_at=None, confirmed_at=None
    )
    Subscriber.objects.filter(pk=other.pk).update(state="unsubscribed", next_due_at=None)
    for who, kind, days in (
        (reader, "requested", 2),
        (reader, "confirmed", 1),
        (other, "confirmed", 40),
        (other, "unsubscribed", 1),
        (other, "resubscribed", 1),
        (other, "unsubscribed", 0),
        (pending, "unsubscribed", 0),
    ):
        ConsentEvent.objects.create(
            subscriber=who, kind=kind, via="page", at=NOW - timedelta(days=days)
        )
    days = facts.facts_at(NOW).readers
    assert [number for _, number in days[-4:]] == [1, 1, 2, 1]


def test_a_digest_is_as_late_as_its_slot_says_and_the_slowest_hour_is_told(operator, well):
    slot = make_slot(MONDAY, sent=19)
    slow = make_digest(slot, DUE, "sent")
    Digest.objects.filter(pk=slow.pk).update(sent_at=DUE + timedelta(minutes=4))
    quick = make_digest(slot, DUE - timedelta(hours=3), "sent")
    Digest.objects.filter(pk=quick.pk).update(sent_at=quick.due_at + timedelta(seconds=5))
    delays = facts.facts_at(NOW).delays
    assert sorted(delays) == [3, 6]
    assert delays[6].median == delays[6].most_of_all == timedelta(seconds=20)
    assert "in the slowest hour half were sent within 20 s" in home(operator).get_text()


def test_each_figure_says_in_words_and_as_a_table_what_it_draws(operator, well):
    make_slot(MONDAY, sent=4, skipped=1, failed=1, uncertain=1, assembled=1)
    make_slot(SUNDAY, sent=3, skipped=2)
    page = home(operator)
    figures = page.select(".figures figure")
    assert len(figures) == 3
    for figure in figures:
        svg = figure.select_one("svg.plot")
        assert svg["role"] == "img"
        named = [page.find(id=each).get_text() for each in svg["aria-labelledby"].split()]
        assert all(named)
        assert figure.select("details table tbody tr")
    outcomes = figures[1]
    rows = [
        [cell.get_text() for cell in row.find_all(["th", "td"])]
        for row in outcomes.select("tbody tr")
    ]
    assert rows == [
        ["Mon 23 Nov", "4", "1", "1", "1", "1"],
        ["Sun 22 Nov", "3", "2", "0", "0", "0"],
    ]
    assert len(outcomes.select("svg.plot rect.bar")) == 7
    assert "Monday, 23 November: 4 sent, 1 skipped" in outcomes.get_text()


def test_nothing_on_the_page_breaks_a_strict_policy(operator, well):
    make_slot(MONDAY, sent=4, failed=1)
    page = home(operator)
    content = page.find(id="content-main")
    assert content.select("[style], style, script, [onclick]") == []
    assert len({each["id"] for each in page.select("[id]")}) == len(page.select("[id]"))


def test_the_page_asks_the_same_number_of_questions_however_many_readers_there_are(
    operator, well, django_assert_max_num_queries
):
    make_slot(MONDAY, sent=30, skipped=10)
    make_slot(SUNDAY, sent=30, failed=3)
    with django_assert_max_num_queries(52):
        home(operator)
    with django_assert_max_num_queries(8):
        home(operator)
