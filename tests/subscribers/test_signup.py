"""The steps of a reader's life, without pages and mails."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection
from kombu.exceptions import OperationalError

from subscribers import schedule, signup
from subscribers.models import ConsentEvent, Subscriber, Suppression, address_hash

VIA = ConsentEvent.Via.PAGE
HOUR = timedelta(hours=1)
pytestmark = pytest.mark.django_db


def subscribe(email: str, now: datetime) -> None:
    signup.subscribe(email, time_zone="Europe/Berlin", language="en", now=now, via=VIA)


def suppress(email: str, reason: str) -> None:
    Suppression.objects.create(address_hash=address_hash(email), reason=reason)


def kinds(subscriber: Subscriber) -> list[str]:
    return list(subscriber.consent_events.values_list("kind", flat=True))


# -- asking --------------------------------------------------------------------------------


def test_a_new_address_becomes_pending_with_a_confirmation_due(now):
    subscribe(" Ada@Example.org ", now)
    reader = Subscriber.objects.get()
    assert (reader.email, reader.state, reader.time_zone) == (
        "Ada@Example.org", "pending", "Europe/Berlin",
    )  # fmt: skip
    assert reader.confirmation_due_at == reader.created_at == now
    assert kinds(reader) == ["requested"]
    assert reader.consent_events.get().text_version == signup.CONSENT_VERSION


def test_a_capital_letter_makes_no_second_reader(now):
    subscribe("ada@example.org", now)
    subscribe("ADA@example.org", now)
    assert Subscriber.objects.count() == 1
    assert ConsentEvent.objects.count() == 1


def test_one_confirmation_an_address_in_24_hours(pending, now):
    Subscriber.objects.update(confirmation_due_at=None, confirmation_sent_at=now - 24 * HOUR)
    subscribe(pending.email, now - timedelta(seconds=1))
    pending.refresh_from_db()
    assert pending.confirmation_due_at is None
    subscribe(pending.email, now)
    pending.refresh_from_db()
    assert pending.confirmation_due_at == now


def test_three_confirmations_unanswered_are_enough(pending, now):
    Subscriber.objects.update(confirmation_due_at=None, confirmations_unanswered=3)
    subscribe(pending.email, now)
    pending.refresh_from_db()
    assert pending.confirmation_due_at is None


def test_who_subscribes_again_while_reading_gets_their_link_once_a_day(ada, now):
    subscribe(ada.email, now)
    ada.refresh_from_db()
    assert (ada.link_due_at, ada.confirmation_due_at, ada.state) == (now, None, "active")
    Subscriber.objects.update(link_due_at=None, link_sent_at=now)
    subscribe(ada.email, now + 23 * HOUR)
    ada.refresh_from_db()
    assert ada.link_due_at is None


@pytest.mark.parametrize("reason", ["bounce", "complaint", "operator"])
def test_a_barred_address_leaves_no_trace(now, reason):
    suppress("ada@example.org", reason)
    subscribe("ada@example.org", now)
    assert not Subscriber.objects.exists()


@pytest.mark.parametrize("reason", ["unsubscribe", "erasure"])
def test_who_left_may_ask_again(now, reason):
    suppress("ada@example.org", reason)
    subscribe("ada@example.org", now)
    assert Subscriber.objects.get().confirmation_due_at == now
    assert Suppression.objects.exists(), "asking alone lifts nothing"


@pytest.mark.django_db(transaction=True)
def test_many_requests_at_once_make_one_reader(now):
    def ask() -> None:
        try:
            subscribe("ada@example.org", now)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Subscriber.objects.count() == ConsentEvent.objects.count() == 1


# -- confirming ----------------------------------------------------------------------------


def test_confirming_makes_active_with_a_first_digest_in_ten_minutes(pending, now):
    assert signup.confirm(pending, now=now, via=VIA)
    pending.refresh_from_db()
    assert (pending.state, pending.confirmed_at) == ("active", now)
    assert pending.next_due_at == now + timedelta(minutes=10)
    assert pending.confirmation_due_at is None
    assert kinds(pending) == ["confirmed"]


def test_confirming_twice_is_confirming_once(pending, now):
    signup.confirm(pending, now=now, via=VIA)
    assert signup.confirm(pending, now=now + HOUR, via=VIA)
    pending.refresh_from_db()
    assert pending.confirmed_at == now
    assert kinds(pending) == ["confirmed"]


@pytest.mark.parametrize("reason", ["unsubscribe", "erasure"])
def test_confirming_lifts_ones_own_goodbye(pending, now, reason):
    suppress(pending.email, reason)
    assert signup.confirm(pending, now=now, via=VIA)
    assert not Suppression.objects.exists()


def test_confirming_lifts_no_bar(pending, now):
    suppress(pending.email, "complaint")
    assert not signup.confirm(pending, now=now, via=VIA)
    pending.refresh_from_db()
    assert pending.state == "pending"
    assert Suppression.objects.exists()


def test_who_comes_back_keeps_cursor_and_never_repeats_a_slot(ada, now):
    today = schedule.slot_date(now, ada.time_zone)
    Subscriber.objects.update(last_slot=today, paused_until=today)
    signup.unsubscribe(ada, now=now, via=VIA)
    signup.confirm(ada, now=now, via=VIA)
    assert (ada.cursor, ada.last_slot, ada.paused_until) == (12, today, None)
    assert schedule.slot_date(ada.next_due_at, ada.time_zone) > today


# -- leaving -------------------------------------------------------------------------------


def test_unsubscribing_ends_everything_that_was_due(ada, now):
    Subscriber.objects.update(link_due_at=now, address_change_due_at=now, new_email="x@example.org")
    signup.unsubscribe(ada, now=now, via=ConsentEvent.Via.ONE_CLICK)
    ada.refresh_from_db()
    assert (ada.state, ada.unsubscribed_at, ada.next_due_at) == ("unsubscribed", now, None)
    assert (ada.link_due_at, ada.address_change_due_at, ada.new_email) == (None, None, "")
    assert Suppression.objects.get().reason == "unsubscribe"
    assert ada.consent_events.get().via == "one_click"


def test_unsubscribing_twice_is_unsubscribing_once(ada, now):
    signup.unsubscribe(ada, now=now, via=VIA)
    signup.unsubscribe(ada, now=now + HOUR, via=VIA)
    ada.refresh_from_db()
    assert ada.unsubscribed_at == now
    assert kinds(ada) == ["unsubscribed"]
    assert Suppression.objects.count() == 1


def test_unsubscribing_keeps_an_older_bar(ada, now):
    suppress(ada.email, "complaint")
    signup.unsubscribe(ada, now=now, via=VIA)
    assert Suppression.objects.get().reason == "complaint"


def test_an_undo_brings_the_next_usual_mail(ada, now):
    signup.unsubscribe(ada, now=now, via=VIA)
    assert signup.resubscribe(ada, now=now, via=VIA)
    ada.refresh_from_db()
    assert (ada.state, ada.unsubscribed_at) == ("active", None)
    assert ada.next_due_at == ada.due_after(now)
    assert not Suppression.objects.exists()
    assert kinds(ada) == ["unsubscribed", "resubscribed"]


def test_no_undo_of_a_bar(ada, now):
    suppress(ada.email, "bounce")
    signup.unsubscribe(ada, now=now, via=VIA)
    assert not signup.resubscribe(ada, now=now, via=VIA)
    assert Suppression.objects.get().reason == "bounce"


def test_no_undo_after_thirty_days(ada, now):
    signup.unsubscribe(ada, now=now, via=VIA)
    assert not signup.resubscribe(ada, now=now + timedelta(days=31), via=VIA)


def test_no_undo_into_what_was_never_confirmed(pending, now):
    signup.unsubscribe(pending, now=now, via=VIA)
    assert not signup.resubscribe(pending, now=now, via=VIA)
    pending.refresh_from_db()
    assert pending.state == "unsubscribed"


# -- links and addresses -------------------------------------------------------------------


def test_a_link_an_hour(ada, now):
    signup.request_link("ADA@example.org", now)
    ada.refresh_from_db()
    assert ada.link_due_at == now
    Subscriber.objects.update(link_due_at=None, link_sent_at=now)
    signup.request_link(ada.email, now + timedelta(minutes=59))
    ada.refresh_from_db()
    assert ada.link_due_at is None


def test_no_link_for_who_is_no_reader(pending, now):
    signup.request_link(pending.email, now)
    signup.request_link("nobody@example.org", now)
    pending.refresh_from_db()
    assert pending.link_due_at is None


def test_a_changed_address_keeps_the_reader(ada, now):
    signup.request_address_change(ada, "Ada@new.example", now)
    assert (ada.new_email, ada.address_change_due_at) == ("Ada@new.example", now)
    assert signup.change_address(ada, "Ada@new.example", now)
    ada.refresh_from_db()
    assert (ada.email, ada.new_email, ada.cursor) == ("Ada@new.example", "", 12)
    assert Subscriber.objects.with_address("ada@new.example").get() == ada
    assert kinds(ada) == ["address_requested", "address_changed"]
    assert signup.change_address(ada, "Ada@new.example", now), "the button pressed again"
    assert kinds(ada) == ["address_requested", "address_changed"]


def test_an_address_that_was_not_asked_for_is_not_taken(ada, now):
    signup.request_address_change(ada, "ada@new.example", now)
    assert not signup.change_address(ada, "eve@example.org", now)
    ada.refresh_from_db()
    assert ada.email == "ada@example.org"


def test_another_readers_address_is_not_taken(ada, pending, now):
    signup.confirm(pending, now=now, via=VIA)
    signup.request_address_change(ada, pending.email, now)
    assert not signup.change_address(ada, pending.email, now)


def test_a_sign_up_that_was_never_confirmed_gives_way(ada, pending, now):
    signup.request_address_change(ada, pending.email, now)
    assert signup.change_address(ada, pending.email, now)
    assert Subscriber.objects.get().email == "ben@example.org"


def test_an_address_signed_up_in_the_same_moment_is_not_taken(ada, now, monkeypatch):
    signup.request_address_change(ada, "ada@new.example", now)

    def another_takes_it(hashed: str) -> None:
        Subscriber.objects.create(email="ada@new.example", address_hash=hashed)

    monkeypatch.setattr(signup, "_lift", another_takes_it)
    assert not signup.change_address(ada, "ada@new.example", now)
    ada.refresh_from_db()
    assert ada.email == "ada@example.org"


def test_a_barred_address_is_not_taken(ada, now):
    suppress("ada@new.example", "bounce")
    signup.request_address_change(ada, "ada@new.example", now)
    assert not signup.change_address(ada, "ada@new.example", now)


def test_an_address_change_an_hour(ada, now):
    Subscriber.objects.update(address_change_sent_at=now)
    signup.request_address_change(ada, "ada@new.example", now + timedelta(minutes=59))
    assert ada.address_change_due_at is None


# -- when ----------------------------------------------------------------------------------


def test_a_pause_moves_the_next_mail_behind_it(ada, now):
    signup.pause(ada, date(2026, 12, 24), now)
    ada.refresh_from_db()
    assert ada.next_due_at == datetime(2026, 12, 24, 6, 0, tzinfo=UTC)
    signup.resume(ada, now)
    ada.refresh_from_db()
    assert ada.paused_until is None
    assert ada.next_due_at == datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


def preferences(**changes) -> schedule.Preferences:
    values = {"cadence": schedule.Cadence.DAILY, "days": frozenset(), "hour": 7}
    return schedule.Preferences(**{**values, "time_zone": "Europe/Berlin", **changes})


def test_new_preferences_set_the_clock(ada, now):
    signup.set_preferences(
        ada,
        preferences(cadence=schedule.Cadence.CHOSEN, days=frozenset({5, 2}), hour=20),
        papers_per_digest=3,
        now=now,
    )
    ada.refresh_from_db()
    assert (ada.cadence, ada.days, ada.hour, ada.papers_per_digest) == ("chosen", [2, 5], 20, 3)
    assert ada.next_due_at == datetime(2026, 11, 25, 19, 0, tzinfo=UTC)


def test_a_later_hour_brings_no_second_mail_on_the_same_day(ada, now):
    Subscriber.objects.update(last_slot=date(2026, 11, 23))
    signup.set_preferences(ada, preferences(hour=20), papers_per_digest=5, now=now)
    assert ada.next_due_at == datetime(2026, 11, 24, 19, 0, tzinfo=UTC)


def test_changing_ones_mind_loses_no_mail_that_is_as_good_as_on_its_way(ada, now):
    passed = now - timedelta(seconds=30)
    Subscriber.objects.update(next_due_at=passed)
    signup.set_preferences(ada, preferences(hour=6), papers_per_digest=5, now=now)
    assert ada.next_due_at == passed


def test_another_hour_says_nothing_of_what_is_popular(ada, now):
    signup.set_preferences(ada, preferences(), papers_per_digest=5, likes_popular=False, now=now)
    signup.set_preferences(ada, preferences(hour=6), papers_per_digest=5, now=now)
    ada.refresh_from_db()
    assert ada.likes_popular is False


def test_choosing_the_hour_while_onboarding_keeps_the_first_digest(pending, now):
    signup.confirm(pending, now=now, via=VIA)
    signup.set_preferences(pending, preferences(hour=20), papers_per_digest=5, now=now)
    assert pending.next_due_at == now + timedelta(minutes=10)


def test_flying_west_never_repeats_a_slot(ada, now):
    # Tuesday's moment in Kiritimati has passed, but in Los Angeles it is Monday, which had its own.
    passed = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)
    Subscriber.objects.update(last_slot=date(2026, 11, 23), next_due_at=passed)
    signup.set_preferences(
        ada,
        preferences(time_zone="America/Los_Angeles"),
        papers_per_digest=5,
        now=passed + timedelta(seconds=20),
    )
    assert ada.next_due_at == datetime(2026, 11, 24, 15, 0, tzinfo=UTC)


def test_a_reader_who_left_has_no_clock(ada, now):
    signup.unsubscribe(ada, now=now, via=VIA)
    signup.set_preferences(ada, preferences(hour=9), papers_per_digest=5, now=now)
    signup.pause(ada, date(2026, 12, 24), now)
    signup.resume(ada, now)
    ada.refresh_from_db()
    assert (ada.hour, ada.next_due_at) == (9, None)


def test_a_step_does_not_overwrite_what_a_tick_has_moved(ada, now):
    stale = Subscriber.objects.get()
    moved = now + timedelta(days=2)
    Subscriber.objects.update(next_due_at=moved, last_slot=date(2026, 11, 24), cursor=40)
    signup.request_address_change(stale, "ada@new.example", now)
    ada.refresh_from_db()
    assert (ada.next_due_at, ada.last_slot, ada.cursor) == (moved, date(2026, 11, 24), 40)


# -- waking --------------------------------------------------------------------------------


class Broker:
    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.sent = error, []

    def send_task(self, name: str, **options: object) -> None:
        if self.error:
            raise self.error
        self.sent.append(name)

    def connection_for_write(self, **options: object) -> Broker:
        return self

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *args: object) -> None:
        pass


def test_asking_wakes_the_tick_once_it_is_committed(
    monkeypatch, now, django_capture_on_commit_callbacks
):
    broker = Broker()
    monkeypatch.setattr(signup, "current_app", broker)
    with django_capture_on_commit_callbacks(execute=True):
        subscribe("ada@example.org", now)
        assert broker.sent == []
    assert broker.sent == [settings.WAKE_TASK]


@pytest.mark.parametrize("error", [OperationalError("refused"), ConnectionResetError()])
def test_a_broker_that_is_down_breaks_no_page(monkeypatch, error):
    monkeypatch.setattr(signup, "current_app", Broker(error))
    signup.wake()
