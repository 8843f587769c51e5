"""What is wrong is told once, and once more when it is over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail as locmem

from digest import alerts
from digest.health import Check
from digest.health import checks as health_checks
from digest.models import Alert, Digest, Slot
from subscribers import flow
from subscribers.models import Suppression, address_hash
from subscribers.transports import Receipt, Status
from tests.factories import DUE, make_reader

pytestmark = pytest.mark.django_db

DRY = Check("sources", False, "huggingface: nothing for 9 hours.")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def operators(settings):
    settings.ALERTS_TO = ["op@example.org", "night@example.org"]
    settings.ALERT_AFTER_MINUTES = 15


@pytest.fixture
def red(monkeypatch):
    """What the checks find, from now on."""

    def find(*checks: Check) -> None:
        monkeypatch.setattr(alerts.health, "checks", lambda now: list(checks))

    find()
    return find


def test_a_problem_is_told_after_a_while_and_once(red):
    red(DRY)
    for minute in range(40):
        alerts.watch(DUE + minute * MINUTE)
    (message,) = locmem.outbox
    assert message.to == ["op@example.org", "night@example.org"]
    assert message.subject == "Paperround needs you: sources"
    for part in (message.body, message.alternatives[0].content):
        assert DRY.said in part
        assert "06:00" in part or "6 a.m." in part
        assert "/admin/papers/source/" in part


def test_what_passes_quickly_is_told_to_nobody(red):
    red(DRY)
    alerts.watch(DUE)
    red()
    alerts.watch(DUE + 10 * MINUTE)
    red(DRY)
    alerts.watch(DUE + 20 * MINUTE)
    assert not locmem.outbox


def test_it_is_told_when_it_is_over_and_told_once(red):
    red(DRY)
    alerts.watch(DUE)
    alerts.watch(DUE + 15 * MINUTE)
    red()
    for minute in range(20, 140):
        alerts.watch(DUE + minute * MINUTE)
    assert [each.subject for each in locmem.outbox] == [
        "Paperround needs you: sources",
        "Paperround is well again: sources",
    ]


def test_a_problem_that_comes_and_goes_is_told_once_a_day(red):
    for hour in range(23):
        red(DRY)
        alerts.watch(DUE + hour * 60 * MINUTE)
        alerts.watch(DUE + (hour * 60 + 20) * MINUTE)
        red()
        alerts.watch(DUE + (hour * 60 + 40) * MINUTE)
    assert [each.subject for each in locmem.outbox] == ["Paperround needs you: sources"]
    red(DRY)
    alerts.watch(DUE + DAY + 20 * MINUTE)
    assert [each.subject for each in locmem.outbox] == ["Paperround needs you: sources"] * 2


def test_well_again_is_never_the_last_word_about_what_is_wrong(red):
    """Told, well for hours and told so, and back within the day."""
    for began in (0, 180):
        red(DRY)
        alerts.watch(DUE + began * MINUTE)
        alerts.watch(DUE + (began + 15) * MINUTE)
        red()
        alerts.watch(DUE + (began + 20) * MINUTE)
        alerts.watch(DUE + (began + 79) * MINUTE)
        assert "needs you" in locmem.outbox[-1].subject, "well for less than an hour"
        alerts.watch(DUE + (began + 80) * MINUTE)
        assert "well again" in locmem.outbox[-1].subject
    assert len(locmem.outbox) == 4
    assert len({each.extra_headers["Message-ID"] for each in locmem.outbox}) == 4


def test_what_is_well_for_a_moment_only_goes_on(red):
    """A transport in trouble is tried every half an hour, and is not at rest just then."""
    for minute in range(16):
        red() if minute in (7, 8) else red(DRY)
        alerts.watch(DUE + minute * MINUTE)
    assert len(locmem.outbox) == 1
    assert Alert.objects.get().began_at == DUE


def test_two_ticks_send_one_mail(red):
    red(DRY)
    alerts.watch(DUE)
    late = DUE + 15 * MINUTE
    due = Alert.objects.to_tell(late, after=15 * MINUTE, again_after=DAY)
    assert [len(alerts._claim(due, late)) for _ in range(2)] == [1, 0]
    assert alerts.watch(late) == 0


def test_a_mail_that_does_not_leave_is_tried_again_under_the_same_message_id(red, monkeypatch):
    class Busy:
        name, repeats_safely, window, sent = "busy", False, None, []

        def send(self, messages):
            self.sent += messages
            return [Receipt(Status.RETRY, error="421 busy") for _ in messages]

    monkeypatch.setattr(flow, "get_transports", lambda: [Busy()])
    red(DRY)
    for minute in (0, 15, 40):
        assert alerts.watch(DUE + minute * MINUTE) == 0
    first, second = (each.extra_headers["Message-ID"] for each in Busy.sent)
    assert first == second
    assert Alert.objects.get().told_at is None


def test_nobody_to_tell_means_nothing_is_looked_at(red, settings):
    settings.ALERTS_TO = []
    red(DRY)
    assert alerts.watch(DUE) == 0
    assert not Alert.objects.exists()


def test_an_operator_whose_mailbox_refused_us_is_left_out(red):
    Suppression.objects.create(address_hash=address_hash("op@example.org"), reason="bounce")
    red(DRY)
    alerts.watch(DUE)
    alerts.watch(DUE + 15 * MINUTE)
    assert locmem.outbox[0].to == ["night@example.org"]


def test_digests_in_doubt_and_complaints_are_problems(red):
    slot = Slot.objects.create(date=DUE.date(), due=300)
    assert alerts.problems(DUE) == []
    Digest.objects.create(
        subscriber=make_reader(), slot=slot, due_at=DUE, assembled_at=DUE,
        state=Digest.State.UNCERTAIN,
    )  # fmt: skip
    Suppression.objects.create(address_hash="a" * 64, reason="complaint", created_at=DUE)
    assert [each.name for each in alerts.problems(DUE)] == ["digests in doubt", "complaints"]
    Slot.objects.update(due=400)
    assert [each.name for each in alerts.problems(DUE)] == ["digests in doubt"]


def test_every_problem_comes_with_advice_and_a_page(red):
    names = [check.name for check in health_checks(DUE)] + ["digests in doubt", "complaints"]
    log_only = {name for name in names if "the log" in alerts._advice(name)[0]}
    assert log_only == {"beat", "sending"}, "a hold never fails; without beat nobody looks"
    assert all(alerts._advice(name)[1].startswith("http") for name in names)
