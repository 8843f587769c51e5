"""Any number of workers share a morning, each its own part, and none is lost with one of them."""

from __future__ import annotations

import threading
import uuid
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from digest import assembly, shares
from digest.models import Digest, IsOpen, Lease, Slot
from subscribers.models import Subscriber
from tests.digest.books import assert_books_balance
from tests.factories import DUE, make_reader, make_readers

OURS, THEIRS = uuid.UUID(int=1), uuid.UUID(int=2)
SECOND = timedelta(seconds=1)


def lease(number: int, *, of: uuid.UUID = THEIRS, left: timedelta) -> None:
    Lease.objects.create(name=f"assemble:{number}", token=of, until=Now() + left)


def numbers(readers: list[Subscriber]) -> list[int]:
    """Of their shares."""
    return sorted({reader.pk // shares.IDS for reader in readers})


@pytest.fixture
def small(monkeypatch) -> None:
    """Two ids a share, one reader a batch."""
    monkeypatch.setattr(shares, "IDS", 2)
    monkeypatch.setattr(assembly, "BATCH", 1)


# -- who is due ------------------------------------------------------------------------------


def test_shares_are_ranges_of_ids_and_only_those_with_a_reader_who_is_due(db, small):
    readers = make_readers(7)
    early, late = readers[:4], readers[4:]
    Subscriber.objects.filter(pk__in=[each.pk for each in late]).update(next_due_at=DUE + SECOND)
    found = shares.due(DUE)
    assert [share.number for share in found] == numbers(early)
    assert sum(share.due for share in found) == 4
    assert [pk for share in found for pk in share.due_ids(DUE)] == [each.pk for each in early]


def test_readers_who_left_are_in_no_share(db):
    make_reader(state=Subscriber.State.UNSUBSCRIBED, next_due_at=None)
    assert shares.due(DUE) == []


@pytest.mark.skipif(connection.vendor != "sqlite", reason="plans of small tables mean nothing")
def test_what_is_asked_every_minute_goes_by_an_index_and_not_through_all_readers(
    db, django_assert_num_queries
):
    with django_assert_num_queries(2) as asked:
        shares.due(DUE)
        shares.Share(0, 1).due_ids(DUE)
    with connection.cursor() as cursor:
        plans = []
        for query in asked.captured_queries:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plans.append(" ".join(row[-1] for row in cursor.fetchall()))
    assert "USING INDEX subscriber_due" in plans[0]
    assert "USING INTEGER PRIMARY KEY" in plans[1]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="plans of small tables mean nothing")
def test_open_digests_are_found_without_reading_a_readers_history(db):
    plan = Digest.objects.filter(subscriber__in=[1, 2])
    plan = plan.filter(IsOpen(F("state"))).order_by().values_list("pk").explain()
    assert "USING INDEX digest_one_open_a_reader" in plan


# -- leases ----------------------------------------------------------------------------------


def test_a_share_that_another_worker_has_in_hand_is_left_to_it(reader):
    (number,) = numbers([reader])
    lease(number, left=SECOND * 30)
    assert assembly.assemble_due(DUE) == 0
    assert Lease.objects.get().token == THEIRS


def test_the_share_of_a_worker_that_was_lost_is_taken_over(reader):
    (number,) = numbers([reader])
    lease(number, left=-SECOND)
    assert assembly.assemble_due(DUE) == 1
    assert not Lease.objects.exists()


def test_leases_run_by_the_databases_clock_whatever_moment_is_asked_for(reader, time_machine):
    (number,) = numbers([reader])
    lease(number, left=SECOND * 30)
    time_machine.move_to(DUE + timedelta(days=400))
    assert assembly.assemble_due(DUE) == 0


def test_of_two_who_want_a_share_one_has_it_until_it_gives_it_back(db):
    share = shares.Share(3, 1)
    with shares.held(share, OURS) as is_ours:
        with shares.held(share, THEIRS) as is_theirs:
            assert (is_ours, is_theirs) == (True, False)
        assert shares.renew(share, OURS)
        assert not shares.renew(share, THEIRS)
    with shares.held(share, THEIRS) as is_theirs:
        assert is_theirs


def test_a_lease_is_given_back_when_something_goes_wrong(db):
    with pytest.raises(RuntimeError), shares.held(shares.Share(3, 1), OURS):
        raise RuntimeError
    assert not Lease.objects.exists()


def test_who_was_too_slow_leaves_the_share_to_whoever_took_it_over(edition, small, monkeypatch):
    monkeypatch.setattr(shares, "IDS", 10**9)
    make_readers(3)
    write = assembly._write

    def slow(plans, *, now):
        Lease.objects.update(token=THEIRS)
        return write(plans, now=now)

    monkeypatch.setattr(assembly, "_write", slow)
    assert assembly.assemble_due(DUE, token=OURS) == 1
    assert Lease.objects.get().token == THEIRS


def test_a_long_share_is_renewed_between_its_batches(edition, small, monkeypatch):
    monkeypatch.setattr(shares, "IDS", 10**9)
    make_readers(3)
    write = assembly._write

    def slow(plans, *, now):
        Lease.objects.update(until=Now() + SECOND)
        return write(plans, now=now)

    left = []

    def renew(share, token):
        is_ours = whole_renew(share, token)
        left.append(Lease.objects.filter(until__gt=Now() + SECOND * 30).exists())
        return is_ours

    whole_renew = shares.renew
    monkeypatch.setattr(assembly, "_write", slow)
    monkeypatch.setattr(shares, "renew", renew)
    assert assembly.assemble_due(DUE) == 3
    assert left == [True] * 3


# -- one worker ------------------------------------------------------------------------------


def test_a_worker_that_is_told_to_stop_ends_after_the_batch_in_hand(edition, small):
    make_readers(6)
    asked = []

    def should_stop() -> bool:
        asked.append(True)
        return Digest.objects.count() == 4

    assert assembly.assemble_due(DUE, should_stop=should_stop) == 4
    assert Digest.objects.count() == 4
    assert not Lease.objects.exists()


def test_a_worker_that_is_stopping_begins_nothing(reader):
    assert assembly.assemble_due(DUE, should_stop=lambda: True) == 0


def test_workers_begin_at_different_shares(edition, small, monkeypatch):
    make_readers(40)
    first = set()
    held = shares.held

    def note(share, token):
        order.append(share.number)
        return held(share, token)

    monkeypatch.setattr(shares, "held", note)
    for worker in range(6):
        order: list[int] = []
        assembly.assemble_due(
            DUE, token=uuid.UUID(int=worker), should_stop=lambda order=order: bool(order)
        )
        first.add(order[0])
    assert len(first) > 2


def test_a_reader_who_cannot_be_read_is_tried_once_in_a_call(edition, small, caplog):
    make_readers(3)
    broken = make_reader("ben@example.org")
    Subscriber.objects.filter(pk=broken.pk).update(time_zone="Mars/Olympus_Mons")
    days_later = DUE + timedelta(days=3)
    assert assembly.assemble_due(days_later) == 12
    assert caplog.text.count("reader stays due") == 1


# -- several workers -------------------------------------------------------------------------


@contextmanager
def not_shared(share, token):
    """As if every lease had run out too soon."""
    yield True


def make_many(number: int) -> None:
    one = make_reader("reader0@example.org")
    fields = {
        field.attname: getattr(one, field.attname)
        for field in Subscriber._meta.concrete_fields
        if field.attname not in ("id", "uuid", "email", "address_hash")
    }
    Subscriber.objects.bulk_create(
        Subscriber(email=f"reader{n}@example.org", address_hash=f"{n}", **fields)
        for n in range(1, number)
    )


def at_once(workers: int, now: datetime) -> list[int]:
    """How many readers each of them assembled for."""
    barrier = threading.Barrier(workers)
    counts: list[int] = []

    def work() -> None:
        try:
            barrier.wait()
            counts.append(assembly.assemble_due(now))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one SQLite in memory has one writer")
@pytest.mark.parametrize("leases", [True, False], ids=["by leases", "without"])
def test_workers_at_once_make_one_digest_each_for_two_thousand(edition, monkeypatch, leases):
    monkeypatch.setattr(shares, "IDS", 250)
    if not leases:
        monkeypatch.setattr(shares, "held", not_shared)
        monkeypatch.setattr(shares, "renew", lambda share, token: True)
    make_many(2000)
    counts = at_once(2, DUE)
    assert sum(counts) == Digest.objects.count() == Slot.objects.get().due == 2000
    assert min(counts) > 0
    assert set(Digest.objects.values_list("state", flat=True)) == {"assembled"}
    assert not Subscriber.objects.due(DUE).exists()
    assert not Lease.objects.exists()
    assert_books_balance()
