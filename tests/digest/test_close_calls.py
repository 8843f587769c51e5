"""Interleavings that are rare, and must cost nobody a mail or give anybody two."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from anymail.signals import EventType
from django.db import OperationalError, connection, transaction
from django.db.models import DateTimeField, Value
from django.utils import timezone

from digest import assembly, sending, tasks
from digest.models import Digest, Slot
from subscribers import flow, mail
from subscribers.models import Subscriber, Suppression, TransportState
from subscribers.transports import Receipt, Status
from tests.factories import DUE, make_reader, make_readers

State = Digest.State
NO_LINE = Receipt(Status.RETRY, error="cannot connect", is_services=True)


def test_a_word_that_comes_while_it_is_claimed_again_spares_the_reader_the_second(
    balanced_books, digest, transport, before_marking
):
    transport.answers = [Status.UNCERTAIN]
    sending.send_due(DUE)
    digest.refresh_from_db()
    assert sending.send_again(digest, DUE)

    def word() -> None:
        Digest.objects.filter(pk=digest.pk).update(outcome=EventType.DELIVERED, outcome_at=DUE)
        sending.believe(digest.pk)

    before_marking(word)
    sending.send_due(DUE)
    assert len(transport.accepted) == 1
    digest.refresh_from_db()
    assert digest.state == State.SENT


def test_an_older_digest_that_leaves_while_the_next_is_planned_is_not_repeated(
    balanced_books, edition, transport, monkeypatch
):
    just_before_midnight = DUE.replace(hour=23, minute=55)
    reader = make_reader(hour=0, next_due_at=just_before_midnight)
    assembly.assemble_due(just_before_midnight)
    midnight = just_before_midnight + timedelta(minutes=5)
    supersede = assembly._supersede

    def another_worker_is_faster(plans, **facts):
        monkeypatch.setattr(assembly, "_supersede", supersede)
        sending.send_due(midnight)
        return supersede(plans, **facts)

    monkeypatch.setattr(assembly, "_supersede", another_worker_is_faster)
    assembly.assemble_due(midnight)
    assembly.assemble_due(midnight + timedelta(minutes=1))
    sending.send_due(midnight + timedelta(minutes=1))
    assert len(transport.accepted) == 1
    assert [each.is_first for each in reader.digests.filter(state=State.SENT)] == [True]


def test_trouble_with_those_left_out_keeps_nobody_who_is_marked_from_their_mail(
    digests, transport, before_marking, monkeypatch
):
    def locked(*args, **facts):
        raise OperationalError("database is locked")

    before_marking(lambda: Subscriber.objects.filter(pk=digests[2].subscriber_id).delete())
    monkeypatch.setattr(sending, "_settle_refused", locked)
    with pytest.raises(OperationalError):
        sending.send_due(DUE)
    assert len(transport.accepted) == 5
    assert Digest.objects.filter(state=State.SENT).count() == 5


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one SQLite in memory has one writer")
@pytest.mark.django_db(transaction=True)
def test_one_late_word_that_meets_the_next_digest_costs_the_others_no_receipt(
    edition, transport, expire_leases
):
    make_readers(6)
    assembly.assemble_due(DUE)
    first = Digest.objects.order_by("pk").first()
    tomorrow = DUE + timedelta(days=1)
    is_made = threading.Event()

    def next_digest() -> None:
        try:
            with transaction.atomic():
                slot = Slot.objects.create(date=tomorrow.date(), due=1)
                Digest.objects.create(subscriber=first.subscriber, slot=slot, due_at=tomorrow)
                is_made.set()
                time.sleep(1)
        finally:
            connection.close()

    other = threading.Thread(target=next_digest)

    def slow(messages) -> None:
        expire_leases()
        sending.sweep(DUE)
        other.start()
        is_made.wait()

    transport.before = slow
    transport.answers = [Receipt(Status.RETRY, error="451 later")]
    assert sending.send_due(DUE) == {State.SENT: 5, State.FAILED: 1}
    other.join()


def test_a_service_mail_that_nobody_may_have_proves_nothing_of_the_transport(db, transport):
    TransportState.objects.create(name="fake", failures=5, open_until=DUE - timedelta(seconds=1))
    reader = make_reader(link_due_at=DUE)
    Suppression.objects.create(address_hash=reader.address_hash, reason=Suppression.Reason.OPERATOR)
    mail.send_due(DUE)
    assert transport.accepted == []
    assert TransportState.objects.get().open_until is not None


def test_a_pause_beyond_all_reason_leaves_the_other_service_mails_recorded(db, transport):
    asked = Receipt(Status.RETRY, error="429", retry_after_seconds=1e12, is_services=True)
    make_reader(link_due_at=DUE)
    make_reader("ben@example.org", link_due_at=DUE)
    transport.answers = [asked, Status.SENT]
    mail.send_due(DUE)
    assert Subscriber.objects.filter(link_due_at__isnull=True).count() == 1
    assert Subscriber.objects.filter(link_due_at__lte=DUE + timedelta(days=1)).count() == 1


def test_a_turn_that_is_far_off_is_not_waited_for(db, transport, settings, monkeypatch):
    settings.MAIL_PER_SECOND = 10.0
    waits: list[float] = []
    monkeypatch.setattr(flow, "_wait", lambda seconds, should_stop: waits.append(seconds) or True)
    monkeypatch.setattr(flow, "Now", lambda: Value(DUE, DateTimeField()))
    TransportState.objects.create(name="fake", free_at=DUE + timedelta(minutes=50))
    assert flow.grant(flow.way_out(DUE), 5, patience_seconds=10) == 0
    assert waits == []


def test_a_worker_whose_clock_is_days_ahead_stops_nobody_else(db, transport):
    ahead = DUE + timedelta(days=3)
    flow.note(flow.way_out(ahead), [NO_LINE], ahead)
    assert flow.way_out(DUE) is not None


@pytest.mark.parametrize("task", [tasks.send_due, tasks.assemble_due])
def test_a_task_ends_before_its_limit_also_when_the_clock_is_put_back(task, monkeypatch):
    asked = []

    def work(began_at, *, should_stop) -> None:
        monkeypatch.setattr(timezone, "now", lambda: began_at - timedelta(hours=2))
        asked.append(should_stop())

    monkeypatch.setattr(tasks, "send_all", work)
    monkeypatch.setattr(assembly, "assemble_due", work)
    monkeypatch.setattr(tasks._sends, "note", lambda now: None)
    task()
    assert asked == [True]
