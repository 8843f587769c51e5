"""Every passed due moment leaves exactly one digest, and its papers are new to the reader."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from digest import assembly, rendering, sending
from digest.compose import FULL, PICK, Item
from digest.models import Digest, Hold, Lease, Slot
from digest.ranking import Reason
from papers.models import Edition, Entry, Paper
from subscribers import signup
from subscribers.models import Interest, Subscriber, Suppression
from tests.digest.books import assert_books_balance
from tests.factories import (
    DUE,
    SUNDAY,
    make_edition,
    make_paper,
    make_reader,
    make_readers,
)

pytestmark = pytest.mark.usefixtures("balanced_books")

DAY = timedelta(days=1)
State, Why = Digest.State, Digest.SkipReason


def endings(reader: Subscriber) -> list[tuple[date, str]]:
    """What became of each slot, oldest first."""
    rows = Digest.objects.filter(subscriber=reader).order_by("slot__date")
    return [(row.slot.date, row.skip_reason or row.state) for row in rows.select_related("slot")]


def titles(digest: Digest) -> list[str]:
    papers = Paper.objects.in_bulk(digest.paper_ids)
    return [papers[pk].title for pk in digest.paper_ids]


def newest(reader: Subscriber) -> Digest:
    return Digest.objects.filter(subscriber=reader).latest("slot__date")


def end(digest: Digest, state: str, **fields) -> None:
    """As the sending would."""
    if state == State.SENT:
        fields["sent_at"] = digest.due_at
    Digest.objects.filter(pk=digest.pk).update(state=state, **fields)
    sending._move_cursors([digest.pk])


# -- one digest for each due moment ----------------------------------------------------------


def test_a_due_reader_gets_one_digest_and_the_next_due_moment(reader):
    assert assembly.assemble_due(DUE) == 1
    digest = Digest.objects.get()
    reader.refresh_from_db()
    assert (digest.state, digest.slot.date, digest.slot.due) == (State.ASSEMBLED, DUE.date(), 1)
    assert (reader.last_slot, reader.next_due_at) == (DUE.date(), DUE + DAY)
    assert digest.candidates == 3
    assert digest.edition_day == SUNDAY


def test_a_second_round_at_the_same_moment_finds_nobody(reader):
    assembly.assemble_due(DUE)
    assert assembly.assemble_due(DUE) == 0
    assert Slot.objects.get().due == Digest.objects.count() == 1


def test_nobody_is_assembled_before_their_moment(reader):
    assert assembly.assemble_due(DUE - timedelta(seconds=1)) == 0


@pytest.mark.parametrize("state", [Subscriber.State.PENDING, Subscriber.State.UNSUBSCRIBED])
def test_only_active_readers_fall_due(edition, state):
    make_reader(state=state, next_due_at=None)
    assert assembly.assemble_due(DUE) == 0


def test_three_days_of_downtime_leave_a_row_for_each_slot_and_only_the_last_is_made(reader):
    now = DUE + 3 * DAY + timedelta(hours=1)
    assembly.assemble_due(now)
    days = [DUE.date() + n * DAY for n in range(4)]
    assert endings(reader) == list(zip(days, [Why.LATE] * 3 + [State.ASSEMBLED], strict=True))
    reader.refresh_from_db()
    assert reader.next_due_at == DUE + 4 * DAY
    assert [slot.due for slot in Slot.objects.all()] == [1, 1, 1, 1]


def test_after_downtime_the_papers_of_all_missed_mornings_are_candidates(reader):
    end_first = assembly.assemble_due(DUE)
    assert end_first == 1
    end(Digest.objects.get(), State.SENT)
    for n in (0, 1, 2):
        make_edition(DUE.date() + n * DAY, [make_paper(f"Of day {n}")])
    assembly.assemble_due(DUE + 3 * DAY)
    assert sorted(titles(newest(reader))) == ["Of day 0", "Of day 1", "Of day 2"]


def test_the_limit_of_lateness_itself_is_still_in_time(reader, settings):
    assembly.assemble_due(DUE + timedelta(hours=settings.LATE_LIMIT_HOURS))
    assert Digest.objects.get().state == State.ASSEMBLED


def test_lateness_is_judged_by_the_slot_and_not_by_the_age_of_the_edition(db):
    make_edition(SUNDAY - 5 * DAY, [make_paper()])
    reader = make_reader()
    assembly.assemble_due(DUE)
    assert endings(reader) == [(DUE.date(), State.ASSEMBLED)]


@pytest.mark.parametrize(
    ("hour", "time_zone"),
    [(7, "UTC"), (23, "UTC"), (5, "UTC"), (6, "Pacific/Kiritimati"), (6, "Pacific/Pago_Pago")],
)
def test_changing_hour_or_zone_never_repeats_a_slot(reader, hour, time_zone):
    assembly.assemble_due(DUE)
    reader.refresh_from_db()
    wanted = reader.preferences
    signup.set_preferences(
        reader,
        type(wanted)(cadence=wanted.cadence, days=wanted.days, hour=hour, time_zone=time_zone),
        papers_per_digest=5,
        now=DUE + timedelta(minutes=5),
    )
    for hours in range(0, 49, 3):
        assembly.assemble_due(DUE + timedelta(hours=hours))
    slots = [day for day, _ending in endings(reader)]
    assert len(slots) == len(set(slots))
    reader.refresh_from_db()
    assert reader.last_slot == max(slots)


def test_a_due_moment_in_a_slot_that_had_its_digest_moves_only_the_clock(digest, reader):
    """However it came about: the operator may have set the moment by hand."""
    Subscriber.objects.update(next_due_at=DUE + timedelta(hours=2))
    assert assembly.assemble_due(DUE + timedelta(hours=2)) == 1
    reader.refresh_from_db()
    digest.refresh_from_db()
    assert reader.next_due_at == DUE + DAY
    assert digest.state == State.ASSEMBLED
    assert Digest.objects.count() == Slot.objects.get().due == 1


# -- several workers -------------------------------------------------------------------------


def while_planning(monkeypatch, action) -> None:
    """Lets another worker come between our planning and our writing."""
    write = assembly._write

    def interrupted(plans, *, now):
        monkeypatch.setattr(assembly, "_write", write)
        action()
        return write(plans, now=now)

    monkeypatch.setattr(assembly, "_write", interrupted)


def before_superseding(monkeypatch, action) -> None:
    supersede = assembly._supersede

    def interrupted(plans, *, now):
        monkeypatch.setattr(assembly, "_supersede", supersede)
        action()
        supersede(plans, now=now)

    monkeypatch.setattr(assembly, "_supersede", interrupted)


def another_assembler() -> None:
    """One that does not know that these readers are in hand: our lease ran out."""
    Lease.objects.update(until=Now() - timedelta(seconds=1))
    assert assembly.assemble_due(DUE) == 3


@pytest.mark.parametrize("arrange", [while_planning, before_superseding])
def test_of_two_assemblers_at_once_one_writes_and_the_other_changes_nothing(
    edition, monkeypatch, arrange
):
    make_readers(3)
    arrange(monkeypatch, another_assembler)
    assert assembly.assemble_due(DUE) == 0
    assert set(Digest.objects.values_list("state", flat=True)) == {State.ASSEMBLED}
    assert Slot.objects.get().due == Digest.objects.count() == 3


def test_a_reader_who_moves_their_hour_meanwhile_keeps_it(reader, monkeypatch):
    later = DUE + timedelta(hours=3)
    while_planning(monkeypatch, lambda: Subscriber.objects.update(next_due_at=later))
    assert assembly.assemble_due(DUE) == 0
    reader.refresh_from_db()
    assert (reader.next_due_at, reader.last_slot, reader.cursor) == (later, None, 0)
    assert not Digest.objects.exists()
    assert not Slot.objects.exists()


def test_a_reader_who_leaves_meanwhile_gets_no_digest(reader, monkeypatch):
    while_planning(monkeypatch, lambda: signup.unsubscribe(reader, now=DUE, via="page"))
    assert assembly.assemble_due(DUE) == 0
    assert not Digest.objects.exists()


def test_one_reader_who_cannot_be_read_stops_nobody_and_stays_due(edition, caplog):
    make_readers(5)
    broken = make_reader("ben@example.org", next_due_at=DUE - timedelta(minutes=1))
    Subscriber.objects.filter(pk=broken.pk).update(time_zone="Mars/Olympus_Mons")
    assert assembly.assemble_due(DUE) == 5
    broken.refresh_from_db()
    assert broken.next_due_at == DUE - timedelta(minutes=1)
    assert f"reader={broken.uuid}" in caplog.text
    assert "example.org" not in caplog.text


def test_batches_follow_each_other_until_nobody_is_due(edition, monkeypatch):
    monkeypatch.setattr(assembly, "BATCH", 2)
    make_readers(5)
    assert assembly.assemble_due(DUE) == 5


# -- one open digest a reader ----------------------------------------------------------------


@pytest.mark.parametrize("state", [State.ASSEMBLED, State.CLAIMED, State.RETRY])
def test_an_unsent_digest_is_superseded_and_its_papers_come_again(digest, reader, state):
    fields = {
        State.CLAIMED: {"claim_token": digest.uuid, "lease_until": DUE},
        State.RETRY: {"retry_at": DUE},
    }
    Digest.objects.filter(pk=digest.pk).update(state=state, **fields.get(state, {}))
    assembly.assemble_due(DUE + DAY)
    assert [ending for _day, ending in endings(reader)] == [Why.SUPERSEDED, State.ASSEMBLED]
    assert newest(reader).paper_ids == digest.paper_ids


@pytest.mark.parametrize(
    "fields",
    [
        {"state": State.SENDING, "claim_token": "0" * 32, "lease_until": DUE},
        {"state": State.RETRY, "retry_at": DUE, "transport": "fake"},
    ],
    ids=["sending", "may have left, to be sent again"],
)
def test_a_reader_whose_digest_may_have_left_is_waited_for(digest, reader, fields):
    Digest.objects.filter(pk=digest.pk).update(**fields)
    assert assembly.assemble_due(DUE + DAY) == 0
    reader.refresh_from_db()
    assert reader.next_due_at == DUE + DAY
    end(digest, State.SENT, claim_token=None, lease_until=None, retry_at=None)
    assert assembly.assemble_due(DUE + DAY) == 1


def test_a_digest_that_starts_to_be_sent_while_we_plan_is_waited_for_too(
    digest, reader, monkeypatch, caplog
):
    def start_sending():
        # The other worker claimed it before we looked, so our superseding missed it.
        Digest.objects.filter(pk=digest.pk).update(
            state=State.SENDING, skip_reason="", claim_token=digest.uuid, lease_until=DUE
        )

    while_planning(monkeypatch, start_sending)
    assert assembly.assemble_due(DUE + DAY) == 0
    reader.refresh_from_db()
    assert reader.next_due_at == DUE + DAY
    assert "stays due" not in caplog.text


def test_a_digest_that_falls_into_doubt_while_we_look_is_not_taken_back(
    digest, reader, monkeypatch
):
    def fall_into_doubt():
        Digest.objects.filter(pk=digest.pk).update(
            state=State.RETRY, retry_at=DUE, transport="fake"
        )

    before_superseding(monkeypatch, fall_into_doubt)
    assert assembly.assemble_due(DUE + DAY) == 0
    digest.refresh_from_db()
    assert digest.state == State.RETRY


# -- lateness and holds ----------------------------------------------------------------------


def hold(late_before, **fields) -> Hold:
    ended = {"released_at": DUE, "released_by": "ben"}
    return Hold.objects.create(began_by="ada", late_before=late_before, **ended | fields)


def test_what_fell_due_before_a_holds_word_is_late(edition):
    early = make_reader(next_due_at=DUE)
    later = make_reader("ben@example.org", next_due_at=DUE + timedelta(minutes=30), hour=7)
    hold(DUE + timedelta(minutes=30))
    assembly.assemble_due(DUE + timedelta(hours=1))
    assert endings(early) == [(DUE.date(), Why.LATE)]
    assert endings(later) == [(DUE.date(), State.ASSEMBLED)]


def test_the_later_of_the_limit_and_all_holds_words_counts(db, settings, django_assert_num_queries):
    usual = DUE - timedelta(hours=settings.LATE_LIMIT_HOURS)
    assert assembly.late_before(DUE) == usual
    hold(usual - DAY)
    hold(None)
    assert assembly.late_before(DUE) == usual
    hold(DUE - timedelta(minutes=5))
    hold(DUE - timedelta(minutes=10))
    with django_assert_num_queries(1):
        assert assembly.late_before(DUE) == DUE - timedelta(minutes=5)


# -- who gets none ---------------------------------------------------------------------------


def test_a_paused_slot_is_accounted_for_as_paused(edition):
    reader = make_reader(paused_until=DUE.date() + DAY)
    assembly.assemble_due(DUE)
    assert endings(reader) == [(DUE.date(), Why.PAUSED)]


def test_the_day_on_which_a_pause_ends_has_mail_again(edition):
    reader = make_reader(paused_until=DUE.date())
    assembly.assemble_due(DUE)
    assert endings(reader) == [(DUE.date(), State.ASSEMBLED)]


@pytest.mark.parametrize("reason", Suppression.Reason)
def test_a_suppressed_address_is_accounted_for_and_not_written_to(reader, reason):
    Suppression.objects.create(address_hash=reader.address_hash, reason=reason)
    assembly.assemble_due(DUE)
    assert endings(reader) == [(DUE.date(), State.SUPPRESSED)]
    assert Digest.objects.get().items == []


def test_a_day_without_papers_is_a_silent_one(digest, reader):
    end(digest, State.SENT)
    assembly.assemble_due(DUE + DAY)
    assert endings(reader)[-1] == (DUE.date() + DAY, Why.NOTHING)


# -- candidates ------------------------------------------------------------------------------


def test_the_first_digest_takes_the_newest_edition_whatever_its_age(db):
    make_edition(SUNDAY - 40 * DAY, [make_paper("Older")])
    make_edition(SUNDAY - 30 * DAY, [make_paper("Newest")])
    reader = make_reader()
    assembly.assemble_due(DUE)
    assert newest(reader).is_first
    assert titles(newest(reader)) == ["Newest"]


def test_the_first_digest_takes_one_edition_only(db):
    make_edition(SUNDAY - DAY, [make_paper("Saturday's")])
    make_edition(SUNDAY, [make_paper("Sunday's")])
    reader = make_reader()
    assembly.assemble_due(DUE)
    assert titles(newest(reader)) == ["Sunday's"]


def test_an_edition_with_only_withdrawn_papers_is_an_empty_one(db):
    make_edition(SUNDAY - 30 * DAY, [make_paper("Stands")])
    make_edition(SUNDAY, [make_paper(withdrawn_at=DUE)])
    reader = make_reader()
    assembly.assemble_due(DUE)
    assert titles(newest(reader)) == ["Stands"]


def test_a_reader_whose_first_slot_was_silent_gets_all_editions_since(db):
    make_edition(SUNDAY, [make_paper("Sunday's")])
    reader = make_reader()
    assembly.assemble_due(DUE)
    end(newest(reader), State.SKIPPED, skip_reason=Why.NOTHING)
    make_edition(DUE.date(), [make_paper("Monday's")])
    make_edition(DUE.date() + DAY, [make_paper("Tuesday's")])
    Subscriber.objects.update(next_due_at=DUE + 2 * DAY)
    assembly.assemble_due(DUE + 2 * DAY)
    assert sorted(titles(newest(reader))) == ["Monday's", "Tuesday's"]
    assert newest(reader).is_first


@pytest.mark.parametrize(
    ("fields", "oldest_days"),
    [({}, 7), ({"cadence": Subscriber.Cadence.WEEKLY, "days": [DUE.weekday()]}, 8)],
    ids=["daily", "weekly"],
)
def test_the_window_reaches_so_many_days_back_and_no_further(db, fields, oldest_days):
    slot = DUE.date()
    make_edition(slot - (oldest_days + 1) * DAY, [make_paper("Too old")], closed_seq=5)
    make_edition(slot - oldest_days * DAY, [make_paper("Just in")], closed_seq=6)
    reader = make_reader(cursor=4, **fields)
    assembly.assemble_due(DUE)
    assert titles(newest(reader)) == ["Just in"]


def test_the_window_counts_from_the_local_date_of_the_slot(db):
    """07:00 in Kiritimati on the 24th is 17:00 UTC on the 23rd."""
    make_edition(date(2026, 11, 16), [make_paper("Eight days old there")], closed_seq=5)
    reader = make_reader(
        cursor=4, time_zone="Pacific/Kiritimati", hour=7, next_due_at=DUE + timedelta(hours=11)
    )
    assembly.assemble_due(DUE + timedelta(hours=11))
    assert endings(reader) == [(date(2026, 11, 24), Why.NOTHING)]


def test_only_editions_closed_after_the_cursor_count(db):
    make_edition(SUNDAY - DAY, [make_paper("Dealt with")], closed_seq=4)
    make_edition(SUNDAY, [make_paper("New")], closed_seq=5)
    reader = make_reader(cursor=4)
    assembly.assemble_due(DUE)
    assert titles(newest(reader)) == ["New"]


def test_an_open_edition_is_no_candidate(edition, reader):
    end_of = make_edition(DUE.date(), [make_paper("So far")])
    type(end_of).objects.filter(pk=end_of.pk).update(closed_at=None, closed_seq=None)
    assembly.assemble_due(DUE)
    assert "So far" not in titles(newest(reader))


def test_backfilled_editions_are_never_candidates(db):
    make_edition(SUNDAY - DAY, [make_paper("News")], closed_seq=1)
    make_edition(SUNDAY, [make_paper("Backfilled")], closed_seq=2, is_backfill=True)
    first, later = make_reader(), make_reader("ben@example.org", cursor=1)
    assembly.assemble_due(DUE)
    assert titles(newest(first)) == ["News"]
    assert endings(later) == [(DUE.date(), Why.NOTHING)]


@pytest.mark.parametrize("state", [State.SENT, State.UNCERTAIN])
def test_a_paper_listed_again_in_a_later_edition_is_not_shown_again(digest, reader, state):
    end(digest, state)
    again = Paper.objects.get(pk=digest.paper_ids[-1])
    make_edition(DUE.date(), [again, make_paper("New")])
    assembly.assemble_due(DUE + DAY)
    assert titles(newest(reader)) == ["New"]


def test_a_paper_shown_by_its_title_only_counts_as_shown(db):
    listed = [make_paper() for _ in range(4)]
    make_edition(SUNDAY, listed)
    reader = make_reader(papers_per_digest=1)
    assembly.assemble_due(DUE)
    end(newest(reader), State.SENT)
    make_edition(DUE.date(), [listed[3]])
    assembly.assemble_due(DUE + DAY)
    assert endings(reader)[-1][1] == Why.NOTHING


@pytest.mark.parametrize(
    ("state", "fields"),
    [(State.FAILED, {}), (State.SKIPPED, {"skip_reason": Why.LATE})],
    ids=["failed", "late"],
)
def test_papers_that_never_reached_the_reader_wait_for_the_next(digest, reader, state, fields):
    end(digest, state, **fields)
    reader.refresh_from_db()
    assert reader.cursor == 0
    assembly.assemble_due(DUE + DAY)
    assert newest(reader).paper_ids == digest.paper_ids


def test_what_the_reader_would_get_now_leaves_out_what_they_had(digest, reader):
    end(digest, State.SENT)
    reader.refresh_from_db()
    make_edition(DUE.date(), [Paper.objects.get(pk=digest.paper_ids[0]), make_paper("New")])
    choice = assembly.upcoming(reader, now=DUE + timedelta(hours=15))
    new = Paper.objects.get(title="New")
    assert [item.paper_id for item in choice.items] == [new.pk]
    assert Digest.objects.count() == 1


# -- the cursor ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "fields", "moves"),
    [
        (State.SENT, {}, True),
        (State.UNCERTAIN, {}, True),
        (State.SKIPPED, {"skip_reason": Why.NOTHING}, True),
        (State.SKIPPED, {"skip_reason": Why.SUPERSEDED}, False),
        (State.SKIPPED, {"skip_reason": Why.LATE}, False),
        (State.SKIPPED, {"skip_reason": Why.CONSENT}, False),
        (State.SKIPPED, {"skip_reason": Why.PAUSED}, False),
        (State.FAILED, {}, False),
        (State.SUPPRESSED, {}, False),
        (State.RETRY, {"retry_at": DUE}, False),
    ],
)
def test_the_cursor_moves_only_with_what_dealt_with_its_editions(
    digest, reader, state, fields, moves
):
    end(digest, state, **fields)
    reader.refresh_from_db()
    assert reader.cursor == (digest.closed_seq if moves else 0)


def test_the_cursor_never_moves_back(digest, reader):
    Subscriber.objects.update(cursor=99)
    end(digest, State.SENT)
    reader.refresh_from_db()
    assert reader.cursor == 99


def test_silence_moves_the_cursor_in_the_same_transaction(edition):
    reader = make_reader(topics=["zebrafish genomics"])
    assembly.assemble_due(DUE)
    reader.refresh_from_db()
    assert endings(reader) == [(DUE.date(), Why.NOTHING)]
    assert reader.cursor == edition.closed_seq


def test_silence_without_any_edition_leaves_the_reader_a_first_digest(db):
    reader = make_reader()
    assembly.assemble_due(DUE)
    make_edition(DUE.date() - 20 * DAY, [make_paper("Old, but the newest")])
    assembly.assemble_due(DUE + DAY)
    assert titles(newest(reader)) == ["Old, but the newest"]


# -- the database refuses nonsense -----------------------------------------------------------


def nonsense() -> list[tuple[str, dict]]:
    held = {"claim_token": "0" * 32, "lease_until": DUE}
    return [
        ("skipped without a reason", {"state": State.SKIPPED}),
        ("a reason without being skipped", {"skip_reason": Why.LATE}),
        ("claimed by nobody", {"state": State.CLAIMED, "lease_until": DUE}),
        ("sending for ever", {"state": State.SENDING, "claim_token": "0" * 32}),
        ("a lease on what waits", {"lease_until": DUE}),
        ("a lease on what is sent", {"state": State.SENT, "sent_at": DUE, **held}),
        ("to be retried at no time", {"state": State.RETRY}),
        ("a retry time on what is claimed", {"state": State.CLAIMED, "retry_at": DUE, **held}),
        ("sent at no time", {"state": State.SENT}),
    ]


@pytest.mark.parametrize(
    "fields", [fields for _name, fields in nonsense()], ids=[name for name, _fields in nonsense()]
)
def test_the_database_refuses(digest, fields):
    with pytest.raises(IntegrityError), transaction.atomic():
        Digest.objects.filter(pk=digest.pk).update(**fields)


def test_the_database_refuses_a_second_digest_for_a_slot(digest):
    end(digest, State.SENT)
    with pytest.raises(IntegrityError), transaction.atomic():
        Digest.objects.create(subscriber=digest.subscriber, slot=digest.slot, due_at=DUE)


def test_the_database_refuses_a_second_open_digest_for_a_reader(digest):
    tomorrow = Slot.objects.create(date=DUE.date() + DAY)
    with pytest.raises(IntegrityError), transaction.atomic():
        Digest.objects.create(subscriber=digest.subscriber, slot=tomorrow, due_at=DUE + DAY)


def test_the_account_of_a_slot_outlives_an_erased_reader(digest, reader):
    reader.delete()
    assert_books_balance()
    assert Slot.objects.get().account() == {State.ASSEMBLED: 1}


def test_accounts_are_kept_by_the_local_date(edition):
    make_reader(time_zone="Pacific/Pago_Pago", hour=19)  # still Sunday there
    make_reader("ben@example.org")
    assembly.assemble_due(DUE)
    counted = {slot.date: slot.account() for slot in Slot.objects.all()}
    assert counted == {SUNDAY: {State.ASSEMBLED: 1}, DUE.date(): {State.ASSEMBLED: 1}}


def test_a_slot_that_gets_new_digests_is_counted_afresh(edition):
    Slot.objects.create(date=DUE.date(), due=2, counts={"sent": 2})
    Slot.objects.create(date=DUE.date() - DAY, due=2, counts={"sent": 2})
    make_reader()
    Digest.objects.bulk_create(
        Digest(slot=slot, due_at=DUE, state=State.SENT, sent_at=DUE)
        for slot in [*Slot.objects.all()] * 2
    )
    assembly.assemble_due(DUE)
    counted = {slot.date: (slot.due, slot.counts) for slot in Slot.objects.all()}
    assert counted == {DUE.date(): (3, None), DUE.date() - DAY: (2, {"sent": 2})}


def test_nothing_is_written_when_the_transaction_fails(reader, monkeypatch):
    def refuse(due):
        raise RuntimeError("the machine stops here")

    monkeypatch.setattr(assembly, "_count_due", refuse)
    assert assembly.assemble_due(DUE) == 0
    reader.refresh_from_db()
    assert (reader.next_due_at, reader.last_slot) == (DUE, None)
    assert not Digest.objects.exists()


def test_assembling_says_what_it_did_and_names_nobody(reader, caplog):
    caplog.set_level("INFO", logger="digest.assembly")
    assembly.assemble_due(DUE)
    assert "digests assembled digests=1 assembled=1" in caplog.text
    assert "@" not in caplog.text


# -- editors' picks --------------------------------------------------------------------------

BEES = "Honey bees dance for nectar"


def pick(edition: Edition, paper: Paper, *, name: str = "Ben", note: str = "") -> None:
    entries = Entry.objects.filter(edition=edition, paper=paper)
    assert entries.update(picked_by=name, editor_note=note) == 1


def items(digest: Digest, section: str) -> list[Item]:
    found = [Item.from_json(item) for item in digest.items]
    return [item for item in found if item.section == section]


def test_a_pick_is_frozen_with_the_editors_name_and_words(db):
    papers = [make_paper() for _ in range(3)]
    pick(make_edition(SUNDAY, papers), papers[2], name="Ben Sample", note="Read this.")
    reader = make_reader()
    assembly.assemble_due(DUE)
    digest = newest(reader)
    (picked,) = items(digest, PICK)
    assert picked.paper_id == papers[2].pk
    assert picked.reason == Reason("editor", name="Ben Sample", note="Read this.")
    assert sorted(digest.paper_ids) == [paper.pk for paper in papers]
    assert digest.full_count == 3
    assert digest.candidates == 3


def test_a_pick_that_interests_the_reader_makes_a_mail_and_another_does_not(db):
    bees = make_paper(BEES, abstract="Honey bees.")
    others = [make_paper(f"Concrete {n}", abstract="Concrete and cement.") for n in range(6)]
    edition = make_edition(SUNDAY, [bees, *others])
    pick(edition, bees)
    wants = make_reader(topics=["honey bees"])
    elsewhere = make_reader("ben@example.org", topics=["submarines"])
    assembly.assemble_due(DUE)
    assert [item.paper_id for item in items(newest(wants), PICK)] == [bees.pk]
    assert (newest(wants).full_count, items(newest(wants), FULL)) == (1, [])
    assert endings(elsewhere) == [(DUE.date(), Why.NOTHING)]


def test_a_digest_of_nothing_but_a_pick_leaves(db, transport):
    bees = make_paper(BEES)
    pick(make_edition(SUNDAY, [bees]), bees)
    make_reader()
    assembly.assemble_due(DUE)
    sending.send_due(DUE)
    (message,) = transport.accepted
    assert message.subject == BEES
    assert Digest.objects.get().state == State.SENT


def test_a_picked_paper_comes_once_even_where_it_is_listed_and_picked_again(db):
    bees = make_paper(BEES)
    pick(make_edition(SUNDAY - DAY, [bees]), bees)
    reader = make_reader()
    assembly.assemble_due(DUE)
    end(newest(reader), State.SENT)
    pick(make_edition(SUNDAY, [bees, make_paper()]), bees)
    assembly.assemble_due(DUE + DAY)
    assert bees.pk not in newest(reader).paper_ids
    assert newest(reader).full_count == 1


def test_a_paper_listed_again_keeps_the_pick_of_the_day_before(db):
    bees = make_paper(BEES)
    pick(make_edition(SUNDAY - DAY, [bees]), bees, name="Ada")
    make_edition(SUNDAY, [make_paper(), bees])
    reader = make_reader(cursor=0, last_slot=SUNDAY - 3 * DAY)
    assembly.assemble_due(DUE)
    assert [item.reason.name for item in items(newest(reader), PICK)] == ["Ada"]


def test_picks_of_editions_that_are_not_new_to_the_reader_do_not_come(db):
    old = make_paper()
    pick(make_edition(SUNDAY - DAY, [old]), old)
    make_edition(SUNDAY, [make_paper()])
    reader = make_reader(cursor=1)
    assembly.assemble_due(DUE)
    assert items(newest(reader), PICK) == []
    assert old.pk not in newest(reader).paper_ids


@pytest.mark.parametrize(
    "change", [{"withdrawn_at": DUE}, {"abstract": "About fretwork."}], ids=["withdrawn", "muted"]
)
def test_a_withdrawn_or_muted_pick_is_not_shown(db, change):
    bees, other = make_paper(BEES, **change), make_paper()
    pick(make_edition(SUNDAY, [bees, other]), bees)
    reader = make_reader()
    Interest.objects.create(subscriber=reader, kind="keyword", value="fretwork", is_muted=True)
    assembly.assemble_due(DUE)
    assert newest(reader).paper_ids == [other.pk]


# -- what is frozen --------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_morning(db):
    paper = make_paper(upvotes=7, stars=3, content_hash="0123456789abcdef" * 2)
    make_edition(SUNDAY, [paper])
    reader = make_reader()
    assembly.assemble_due(DUE)
    (item,) = items(newest(reader), FULL)
    assert (item.upvotes, item.stars, item.content_hash) == (7, 3, "0123456789ab")


def test_the_frame_is_the_readers_wishes_of_the_morning(edition):
    reader = make_reader(
        cadence="weekly", days=[0], hour=20, time_zone="Pacific/Kiritimati",
        next_due_at=DUE, confirmed_at=DUE - 40 * DAY,
    )  # fmt: skip
    assembly.assemble_due(DUE)
    assert newest(reader).frame == {
        "cadence": "weekly",
        "days": [0],
        "hour": 20,
        "time_zone": "Pacific/Kiritimati",
        "language": "en",
        "next_on": "2026-11-30",
        "consented_on": "2026-10-14",
    }


def test_after_many_mornings_without_mail_it_reads_as_of_the_days_since(edition):
    reader = make_reader(cursor=edition.closed_seq)
    for n in (0, 1):
        make_edition(DUE.date() + n * DAY, [make_paper(f"Of day {n}")])
    assembly.assemble_due(DUE + 2 * DAY)
    assert "since" not in newest(reader).frame
    make_edition(DUE.date() + 2 * DAY, [make_paper("Of day 2")])
    assembly.assemble_due(DUE + 3 * DAY)
    digest = newest(reader)
    assert digest.frame["since"] == DUE.date().isoformat()
    (content,) = rendering.contents([digest], now=DUE + 3 * DAY).values()
    assert content.since == DUE.date()
    assert content.edition_day == (DUE + 2 * DAY).date()


def test_a_first_digest_is_of_one_edition_however_many_there_are(edition):
    for n in range(4):
        make_edition(DUE.date() + n * DAY, [make_paper(f"Of day {n}")])
    reader = make_reader(next_due_at=DUE + 4 * DAY)
    assembly.assemble_due(DUE + 4 * DAY)
    assert "since" not in newest(reader).frame


def test_a_digest_that_says_nothing_has_no_frame(edition):
    reader = make_reader(paused_until=DUE.date() + DAY)
    assembly.assemble_due(DUE)
    assert newest(reader).frame == {}


# -- retention -------------------------------------------------------------------------------


def test_an_old_digest_keeps_which_papers_it_showed_and_nothing_more(digest, settings):
    papers = digest.paper_ids
    end(digest, State.SENT)
    old = DUE + timedelta(days=settings.DIGEST_RETENTION_DAYS)
    assert assembly.thin_old(old) == 0
    assert assembly.thin_old(old + DAY) == 1
    assert assembly.thin_old(old + DAY) == 0
    digest.refresh_from_db()
    assert digest.paper_ids == papers
    assert {frozenset(item) for item in digest.items} == {
        frozenset({"paper_id", "section", "score"})
    }
    assert {item["score"] for item in digest.items} == {0.0}


def test_an_open_digest_is_never_thinned(digest, settings):
    assert assembly.thin_old(DUE + timedelta(days=settings.DIGEST_RETENTION_DAYS + 1)) == 0
