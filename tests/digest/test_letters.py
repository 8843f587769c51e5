"""When an empty morning is told to the reader."""

from __future__ import annotations

from datetime import timedelta

import pytest

from digest import assembly
from digest.models import Digest, Slot
from subscribers.models import Subscriber
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader

pytestmark = pytest.mark.django_db


@pytest.fixture
def silent_mornings():
    """Assembles for that many days, with no paper in sight."""

    def pass_by(reader: Subscriber, number: int) -> Subscriber:
        for _ in range(number):
            reader.refresh_from_db()
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
    make_edition(ada.next_due_at.date() - timedelta(days=1), [make_paper(), make_paper()])
    assert silent_mornings(ada, 1).silent_slots == 0


def test_a_pause_is_no_silence(silent_mornings):
    ada = make_reader(silent_slots=3, paused_until=DUE.date() + timedelta(days=1))
    had_a_digest(ada, DUE - timedelta(days=30))
    assert silent_mornings(ada, 1).silent_slots == 3
