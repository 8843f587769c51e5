from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from digest import accounts, assembly, sending, tasks
from digest.models import Digest, Slot
from tests.digest.books import assert_books_balance
from tests.factories import DUE, make_reader

State = Digest.State
DAY = timedelta(days=1)
ENDED = [State.SENT, State.FAILED, State.SKIPPED, State.SUPPRESSED]

pytestmark = pytest.mark.django_db


def fall_due(day: date, number: int, **fields) -> list[Digest]:
    """As assembly writes them: counted and inserted in one transaction."""
    with transaction.atomic():
        slot = assembly._count_due(Counter({day: number}))[day]
        return [Digest.objects.create(slot=slot, due_at=DUE, **fields) for _ in range(number)]


def end(digests, state: str, **fields) -> None:
    needed = {
        State.SENT: {"sent_at": DUE + timedelta(minutes=2)},
        State.SKIPPED: {"skip_reason": "nothing"},
        State.RETRY: {"retry_at": DUE},
        State.CLAIMED: {"lease_until": DUE, "claim_token": "0" * 32},
    }
    ids = [digest.pk for digest in digests]
    Digest.objects.filter(pk__in=ids).update(state=state, **needed.get(state, {}) | fields)


def test_an_account_adds_up_what_fell_due_and_how_it_ended():
    digests = fall_due(DUE.date(), 8)
    for state, digest in zip([*ENDED, State.UNCERTAIN, State.CLAIMED, State.RETRY], digests):  # noqa: B905
        end([digest], state)
    account = accounts.account(Slot.objects.get())
    ended = (account.sent, account.failed, account.skipped, account.suppressed, account.uncertain)
    assert ended == (1, 1, 1, 1, 1)
    assert account.open == 3
    assert account.due == account.digests == 8
    assert account.is_conserved


@pytest.mark.parametrize(("due", "missing"), [(3, 1), (1, -1)])
def test_a_lost_digest_and_one_too_many_are_both_told(due, missing):
    fall_due(DUE.date(), 2)
    Slot.objects.update(due=due)
    account = accounts.account(Slot.objects.get())
    assert account.missing == missing
    assert not account.is_conserved
    assert not Slot.objects.get().is_conserved


def test_the_recent_slots_come_newest_first_and_none_from_a_day_to_come(now):
    for days in range(-4, 3):
        fall_due(now.date() + days * DAY, 1)
    recent = accounts.recent(3, now)
    assert [each.date for each in recent] == [now.date() - days * DAY for days in range(3)]
    assert all(each.is_conserved for each in recent)


def test_where_it_is_tomorrow_already_the_slot_counts_as_begun(now):
    fall_due(now.date() + DAY, 1)
    assert accounts.recent(1, now) == []
    assert accounts.recent(1, now.replace(hour=11))[0].date == now.date() + DAY


def test_any_number_of_slots_is_counted_by_one_query(now):
    for days in range(10):
        fall_due(now.date() - days * DAY, 1)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert len(accounts.recent(10, now)) == 10
    assert len(queries) == 2


def test_counts_are_kept_once_nothing_can_move(now):
    end(fall_due(now.date() - 3 * DAY, 2), State.SENT)
    assert accounts.keep_counts(now) == 1
    slot = Slot.objects.get()
    assert slot.counts == {"sent": 2}
    with CaptureQueriesContext(connection) as queries:
        assert slot.is_conserved
        assert accounts.accounts([slot])[slot.pk].sent == 2
    assert len(queries) == 0
    assert accounts.keep_counts(now) == 0


@pytest.mark.parametrize("state", [State.UNCERTAIN, State.CLAIMED, State.RETRY, State.ASSEMBLED])
def test_a_slot_with_a_digest_that_may_still_move_is_not_kept(now, state):
    first, *others = fall_due(now.date() - 9 * DAY, 3)
    end(others, State.SENT)
    end([first], state)
    accounts.keep_counts(now)
    assert Slot.objects.get().counts is None


def test_a_young_slot_is_not_kept(now):
    for days in (0, 1, 2):
        end(fall_due(now.date() - days * DAY, 1), State.SENT)
    assert accounts.keep_counts(now) == 0


def test_old_slots_are_kept_a_few_at_a_time_the_oldest_first(now):
    for days in range(3, 3 + accounts.KEPT_A_CALL + 1):
        end(fall_due(now.date() - days * DAY, 1), State.SENT)
    assert accounts.keep_counts(now) == accounts.KEPT_A_CALL
    assert Slot.objects.get(counts__isnull=True).date == now.date() - 3 * DAY
    assert accounts.keep_counts(now) == 1


def test_a_slot_that_grows_while_it_is_counted_is_not_kept(now, monkeypatch):
    end(fall_due(now.date() - 3 * DAY, 1), State.SENT)
    recount = Slot.recount

    def meanwhile(slot: Slot) -> dict[str, int]:
        found = recount(slot)
        fall_due(slot.date, 1, state=State.SKIPPED, skip_reason="late")
        return found

    monkeypatch.setattr(Slot, "recount", meanwhile)
    accounts.keep_counts(now)
    monkeypatch.undo()
    assert Slot.objects.get().counts is None
    assert_books_balance()


def test_readers_who_fall_due_long_after_open_the_account_again(now, edition):
    slot = Slot.objects.create(date=now.date() - 3 * DAY, due=0, counts={})
    make_reader(next_due_at=DUE - 3 * DAY)
    assembly.assemble_due(now)
    slot.refresh_from_db()
    assert slot.account() == {"skipped": 1}
    assert_books_balance()


def test_a_tick_keeps_the_counts(now):
    end(fall_due(now.date() - 3 * DAY, 1), State.SENT)
    assert tasks.prepare(now) == []
    assert Slot.objects.get().counts == {"sent": 1}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("due"), st.integers(0, 4), st.integers(1, 3)),
            st.tuples(st.just("keep"), st.integers(0, 8), st.just(0)),
            st.tuples(st.sampled_from(list(State)), st.integers(0, 9), st.just(0)),
            st.tuples(st.just("settle"), st.integers(0, 9), st.booleans()),
        ),
        max_size=25,
    )
)
def test_kept_counts_never_disagree_with_a_recount_whatever_happened(history):
    with transaction.atomic():
        for what, number, extra in history:
            if what == "due":
                fall_due(DUE.date() + number * DAY, extra)
            elif what == "keep":
                accounts.keep_counts(DUE + number * DAY)
            else:
                _move(what, number, extra)
            for slot in Slot.objects.all():
                assert slot.account() == slot.recount()
                assert slot.is_conserved
        transaction.set_rollback(True)


def _move(what: str, number: int, as_sent: bool) -> None:
    """One digest, by a way that the ledger knows: what has ended stays where it is."""
    movable = Digest.objects.filter(state__in=[*Digest.OPEN, State.UNCERTAIN]).order_by("pk")
    digest = movable[number : number + 1].first()
    if digest is None:
        return
    if what == "settle":
        act = sending.settle_as_sent if as_sent else sending.send_again
        act(digest, DUE + timedelta(minutes=1))
        return
    nothing = {"lease_until": None, "retry_at": None, "claim_token": None, "skip_reason": ""}
    Digest.objects.filter(pk=digest.pk).update(state=State.ASSEMBLED, **nothing)
    if what != State.SENDING:
        end([digest], what)


def test_the_delay_is_told_by_its_middle_and_its_ends():
    second = timedelta(seconds=1)
    delay = accounts.delay_of({second: 50, 2 * second: 45, 60 * second: 4, 3600 * second: 1})
    assert delay == accounts.Delay(100, second, second, 2 * second, 3600 * second)
    assert accounts.delay_of({}) is None


@given(st.lists(st.integers(-5, 1000), min_size=1, max_size=60))
def test_the_median_is_passed_by_at_most_half_and_a_twentieth_is_slower(seconds):
    delay = accounts.delay_of({timedelta(seconds=s): n for s, n in Counter(seconds).items()})
    slower = sum(timedelta(seconds=s) > delay.median for s in seconds)
    faster = sum(timedelta(seconds=s) < delay.median for s in seconds)
    assert slower <= len(seconds) / 2
    assert faster < len(seconds) / 2
    assert sum(timedelta(seconds=s) > delay.most_of_all for s in seconds) <= len(seconds) / 20
    assert delay.least <= delay.median <= delay.most_of_all <= delay.longest


def test_the_details_of_a_slot_name_skips_outcomes_and_delay():
    digests = fall_due(DUE.date(), 5)
    end(digests[:2], State.SENT, outcome="delivered")
    end(digests[2:3], State.SENT, sent_at=DUE + timedelta(hours=1))
    end(digests[3:], State.SKIPPED)
    details = accounts.details(Slot.objects.get())
    assert details.skip_reasons == {"nothing": 2}
    assert details.outcomes == {"delivered": 2, "": 1}
    assert details.delay.count == 3
    assert details.delay.median == timedelta(minutes=2)
    assert details.delay.longest == timedelta(hours=1)
