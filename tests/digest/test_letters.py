"""When an empty morning is told to the reader."""

from __future__ import annotations

from datetime import timedelta

import pytest

from digest import assembly, health, letters, sending
from digest.models import Digest, Slot
from subscribers import mail
from subscribers.models import Subscriber
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader, make_readers

SEEN_ALL = 999
pytestmark = pytest.mark.django_db


@pytest.fixture
def silent_mornings():
    """Assembles for that many days, each with papers for others, but none for the reader."""

    def pass_by(reader: Subscriber, number: int) -> Subscriber:
        for _ in range(number):
            reader.refresh_from_db()
            Subscriber.objects.update(cursor=SEEN_ALL)
            make_edition(reader.next_due_at.date() - timedelta(days=1), [make_paper()])
            assembly.assemble_due(reader.next_due_at)
        reader.refresh_from_db()
        return reader

    return pass_by


def had_a_digest(reader: Subscriber, sent_at) -> None:
    slot, _made = Slot.objects.get_or_create(date=sent_at.date())
    Digest.objects.create(
        subscriber=reader, slot=slot, due_at=sent_at, state=Digest.State.SENT, sent_at=sent_at,
        assembled_at=sent_at,
    )  # fmt: skip
    Slot.objects.update(due=1)


def test_a_first_morning_with_nothing_is_a_welcome(silent_mornings):
    ada = silent_mornings(make_reader(), 1)
    assert (ada.welcome_due_at, ada.silence_due_at) == (DUE, None)
    assert Digest.objects.get().state == Digest.State.SKIPPED


def test_who_gets_a_first_digest_is_not_welcomed_twice():
    make_edition(SUNDAY, [make_paper(), make_paper()])
    ada = make_reader()
    assembly.assemble_due(DUE)
    ada.refresh_from_db()
    assert Digest.objects.get().state == Digest.State.ASSEMBLED
    assert (ada.welcome_due_at, ada.silent_slots) == (None, 0)


def test_silence_is_told_after_so_many_mornings_and_a_week_without_mail(silent_mornings, settings):
    settings.SILENCE_NOTE_SLOTS = 5
    ada = make_reader()
    had_a_digest(ada, DUE - timedelta(days=1))
    assert silent_mornings(ada, 5).silence_due_at is None, "only six days without mail"
    assert silent_mornings(ada, 2).silent_slots == 7
    assert ada.silence_due_at is not None


def test_it_takes_the_mornings_too(silent_mornings, settings):
    settings.SILENCE_NOTE_SLOTS = 5
    ada = make_reader()
    had_a_digest(ada, DUE - timedelta(days=30))
    assert silent_mornings(ada, 4).silence_due_at is None
    assert silent_mornings(ada, 1).silence_due_at is not None


def test_silence_is_told_once(silent_mornings, settings):
    settings.SILENCE_NOTE_SLOTS = 2
    ada = make_reader()
    had_a_digest(ada, DUE - timedelta(days=30))
    assert silent_mornings(ada, 2).silence_due_at
    Subscriber.objects.update(silence_due_at=None, silence_sent_at=ada.silence_due_at)
    assert silent_mornings(ada, 9).silence_due_at is None


def test_nought_switches_it_off(silent_mornings, settings):
    settings.SILENCE_NOTE_SLOTS = 0
    ada = make_reader()
    had_a_digest(ada, DUE - timedelta(days=30))
    assert silent_mornings(ada, 8).silence_due_at is None


def test_a_digest_ends_the_silence(silent_mornings):
    ada = make_reader()
    had_a_digest(ada, DUE - timedelta(days=30))
    assert silent_mornings(ada, 3).silent_slots == 3
    day = ada.next_due_at.date() - timedelta(days=1)
    make_edition(day, [make_paper(), make_paper()], closed_seq=SEEN_ALL + 1)
    assembly.assemble_due(ada.next_due_at)
    ada.refresh_from_db()
    assert ada.silent_slots == 0


def test_a_pause_is_no_silence(silent_mornings):
    ada = make_reader(silent_slots=3, paused_until=DUE.date() + timedelta(days=1))
    had_a_digest(ada, DUE - timedelta(days=30))
    assert silent_mornings(ada, 1).silent_slots == 3


def test_a_dry_source_is_no_silence_of_the_readers_making(settings):
    settings.SILENCE_NOTE_SLOTS = 2
    ada = make_reader(silent_slots=9)
    had_a_digest(ada, DUE - timedelta(days=30))
    make_edition(SUNDAY - timedelta(days=8), [make_paper()])
    Subscriber.objects.update(cursor=SEEN_ALL)
    assembly.assemble_due(DUE)
    ada.refresh_from_db()
    assert (ada.silent_slots, ada.silence_due_at) == (10, None)


# -- while sending is held -----------------------------------------------------------------


@pytest.fixture
def held(transport):
    """A welcome, a note and a link are due, and sending is held."""
    make_reader("ada@example.org", silent_slots=1, welcome_due_at=DUE)
    make_reader("ben@example.org", silent_slots=6, silence_due_at=DUE)
    make_reader("cleo@example.org", link_due_at=DUE)
    sending.hold(by="op", now=DUE)
    return transport


def test_what_nobody_asked_for_waits_while_sending_is_held(held):
    assert letters.send_due(DUE) == 1
    assert [message.to for message in held.accepted] == [["cleo@example.org"]]
    sending.release(by="op", now=DUE, skip_waiting=False)
    assert letters.send_due(DUE) == 2


def test_a_hold_in_the_middle_of_a_round_lets_the_window_in_hand_go_out(held, settings):
    sending.release(by="op", now=DUE, skip_waiting=False)
    make_readers(mail.SEND_TOGETHER, silent_slots=6, silence_due_at=DUE)
    held.before = lambda messages: sending.hold(by="op", now=DUE)
    Subscriber.objects.update(link_due_at=None, welcome_due_at=None)
    assert letters.send_due(DUE) == mail.SEND_TOGETHER
    assert Subscriber.objects.filter(silence_due_at=DUE).count() == 1


def test_what_a_hold_keeps_back_is_no_overdue_mail(held):
    late = DUE + timedelta(days=1)
    letters.send_due(DUE)
    assert health.oldest_due_service_mail(late) is None
    sending.release(by="op", now=late, skip_waiting=False)
    assert health.oldest_due_service_mail(late) == DUE


@pytest.mark.parametrize("kind", ["welcome", "silence"])
def test_papers_that_come_meanwhile_take_it_back(transport, kind):
    """Held for days, it would say that there was nothing, after a morning with papers."""
    ada = make_reader(silent_slots=6, **{f"{kind}_due_at": DUE})
    make_edition(SUNDAY, [make_paper(), make_paper()])
    assembly.assemble_due(DUE)
    assert letters.send_due(DUE) == 0
    ada.refresh_from_db()
    assert (getattr(ada, f"{kind}_due_at"), ada.silent_slots) == (None, 0)
