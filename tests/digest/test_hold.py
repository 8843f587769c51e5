"""The operator's hold: nothing leaves, everything else goes on, and nothing is lost by it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction

from digest import assembly, rendering, sending, tasks
from digest.models import Digest, Hold
from papers import editions
from papers.models import Entry, Paper
from subscribers import flow, signup
from subscribers.models import Subscriber
from subscribers.transports import Status
from tests.factories import DUE

pytestmark = pytest.mark.usefixtures("balanced_books")

State, Why = Digest.State, Digest.SkipReason
MINUTE = timedelta(minutes=1)


def states() -> Counter[str]:
    return Counter(Digest.objects.values_list("state", flat=True))


def hold(**kwargs) -> Hold:
    return sending.hold(**{"by": "ben", "note": "The titles are garbled", "now": DUE} | kwargs)


def release(*, skip_waiting: bool = False, **kwargs) -> bool:
    return sending.release(**{"by": "ada", "now": DUE, "skip_waiting": skip_waiting} | kwargs)


def test_under_a_hold_nothing_is_claimed_and_nothing_counts_as_due(digests, transport):
    hold()
    assert sending.send_due(DUE) == {}
    assert sending.batches_due(DUE) == 0
    assert transport.windows == []
    assert states() == {State.ASSEMBLED: 6}


def test_what_waits_for_another_try_waits_as_well(digest, transport):
    transport.answers = [Status.RETRY]
    sending.send_due(DUE)
    hold()
    assert sending.send_due(DUE + timedelta(hours=1)) == {}
    assert states() == {State.RETRY: 1}


def test_released_it_leaves(digests, transport):
    hold()
    assert release()
    assert sending.batches_due(DUE) == 1
    assert sending.send_due(DUE) == {State.SENT: 6}


def test_it_says_who_held_and_who_released(db):
    held = hold()
    assert (held.began_at, held.began_by, held.note) == (DUE, "ben", "The titles are garbled")
    assert sending.current_hold() == held
    release(now=DUE + MINUTE)
    held.refresh_from_db()
    assert (held.released_at, held.released_by) == (DUE + MINUTE, "ada")
    assert held.late_before is None
    assert sending.current_hold() is None


def test_holding_twice_keeps_the_first_hold(db):
    first = hold()
    assert hold(by="ada", note="Me too", now=DUE + MINUTE) == first
    assert Hold.objects.get().note == "The titles are garbled"


def test_releasing_without_a_hold_changes_nothing(db):
    assert not release(skip_waiting=True)
    hold()
    assert release()
    assert not release(skip_waiting=True)
    assert Hold.objects.get().late_before is None


def test_the_database_itself_allows_one_hold_in_force(db):
    hold()
    with pytest.raises(IntegrityError), transaction.atomic():
        Hold.objects.create(began_by="ada")


def test_a_hold_that_begins_between_windows_stops_at_once(digests, transport, settings):
    settings.SEND_WINDOW = 2
    transport.before = lambda messages: hold()
    assert sending.send_due(DUE) == {State.SENT: 2}
    assert len(transport.windows) == 1
    assert states() == {State.SENT: 2, State.ASSEMBLED: 4}


def test_a_hold_that_begins_a_moment_before_a_window_is_marked_stops_that_window(
    digests, transport, before_marking
):
    before_marking(hold)
    assert sending.send_due(DUE) == {}
    assert transport.windows == []
    assert states() == {State.ASSEMBLED: 6}
    assert set(Digest.objects.values_list("claim_token", "attempts")) == {(None, 0)}


def test_who_unsubscribes_in_that_very_window_is_still_told_apart(
    digests, transport, before_marking
):
    reader = digests[0].subscriber

    def both() -> None:
        hold()
        signup.unsubscribe(reader, now=DUE, via="page")

    before_marking(both)
    assert sending.send_due(DUE) == {State.SKIPPED: 1}
    assert states() == {State.SKIPPED: 1, State.ASSEMBLED: 5}


def test_skipping_what_waits_calls_it_late_and_its_papers_come_next_time(digest, transport):
    hold()
    release(skip_waiting=True, now=DUE + MINUTE)
    assert sending.send_due(DUE + MINUTE) == {}
    digest.refresh_from_db()
    assert digest.skip_reason == Why.LATE
    assert Subscriber.objects.get().cursor < digest.closed_seq

    next_day = DUE + timedelta(days=1)
    assembly.assemble_due(next_day)
    assert sending.send_due(next_day) == {State.SENT: 1}
    newest = Digest.objects.order_by("pk").last()
    assert set(digest.paper_ids) <= set(newest.paper_ids)


def test_what_fell_due_under_the_hold_and_is_assembled_after_it_is_late_too(reader, transport):
    hold(now=DUE - MINUTE)
    release(skip_waiting=True, now=DUE + MINUTE)
    assembly.assemble_due(DUE + MINUTE)
    assert [digest.skip_reason for digest in Digest.objects.all()] == [Why.LATE]


def test_a_doubt_from_before_a_skipping_release_is_not_sent_again(digest, transport):
    transport.answers = [Status.UNCERTAIN]
    sending.send_due(DUE)
    hold()
    release(skip_waiting=True, now=DUE + MINUTE)
    assert not sending.send_again(digest, DUE + MINUTE)
    assert states() == {State.UNCERTAIN: 1}


def test_a_hold_that_was_made_to_skip_keeps_its_moment_when_released(digest, transport):
    Hold.objects.create(began_at=DUE, began_by="restore", late_before=DUE + MINUTE)
    release(now=DUE + timedelta(hours=1))
    assert Hold.objects.get().late_before == DUE + MINUTE
    assert sending.send_due(DUE + timedelta(hours=1)) == {}
    assert states() == {State.SKIPPED: 1}


def test_under_a_hold_readers_fall_due_and_what_gets_too_late_is_skipped(
    reader, transport, settings
):
    hold(now=DUE - MINUTE)
    assembly.assemble_due(DUE)
    assert states() == {State.ASSEMBLED: 1}
    # By the tick alone: under a hold no worker is asked to send.
    assert tasks.prepare(DUE + timedelta(hours=settings.LATE_LIMIT_HOURS, seconds=1)) == []
    assert Digest.objects.get(slot__date=DUE.date()).skip_reason == Why.LATE


def test_a_paper_dropped_under_a_hold_is_in_no_mail_after_the_release(digest, transport):
    hold()
    editions.drop(Entry.objects.get(paper=digest.paper_ids[0]), DUE)
    release()
    assert sending.send_due(DUE) == {State.SENT: 1}
    gone = Paper.objects.get(pk=digest.paper_ids[0])
    assert gone.title not in transport.accepted[0].body


def test_under_a_hold_dead_workers_are_swept(digest, transport, expire_leases):
    sending._claim(DUE, way=flow.way_out(DUE))
    hold()
    expire_leases()
    assert sending.sweep(DUE) == 1
    assert states() == {State.ASSEMBLED: 1}


def test_a_confirmation_mail_is_not_held(db, mailoutbox, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    hold()
    signup.subscribe("ben@example.org", time_zone="UTC", language="en", now=DUE, via="page")
    assert tasks.prepare(DUE) == []
    assert [mail.to for mail in mailoutbox] == [["ben@example.org"]]


@pytest.mark.parametrize("command", [("tick", "--no-fetch"), ("send_digests",)])
def test_the_commands_say_that_sending_is_held_and_that_this_is_no_error(
    digest, transport, command, time_machine
):
    time_machine.move_to(DUE)
    hold()
    out = StringIO()
    call_command(*command, stdout=out)
    assert out.getvalue() == (
        "digests: none due\n"
        "sending is held by ben since 2026-11-23 06:00 UTC (The titles are garbled)\n"
    )


# -- what proves a mail's words ----------------------------------------------------------------


def test_the_row_keeps_the_fingerprint_of_the_very_mail_that_left(digests, transport):
    sending.send_due(DUE)
    by_uuid = {mail.metadata["digest"]: rendering.fingerprint(mail) for mail in transport.accepted}
    kept = {row.uuid.hex: row.mail_hash for row in Digest.objects.all()}
    assert kept == by_uuid
    assert len(set(kept.values())) == 6


@pytest.mark.parametrize("answer", [Status.UNCERTAIN, SystemExit])
def test_a_digest_in_doubt_has_its_fingerprint_too(digest, transport, answer, expire_leases):
    transport.answers = [answer]
    try:
        sending.send_due(DUE)
    except SystemExit:
        expire_leases()
        sending.sweep(DUE)
    digest.refresh_from_db()
    assert digest.state == State.UNCERTAIN
    assert len(digest.mail_hash) == 64


def test_what_did_not_leave_has_none(digests, transport, before_marking):
    before_marking(hold)
    sending.send_due(DUE)
    assert set(Digest.objects.values_list("mail_hash", flat=True)) == {""}


def test_what_is_sent_at_last_is_what_is_proved(digest, transport):
    """The first try said one title, the second another."""
    transport.answers = [Status.RETRY]
    sending.send_due(DUE)
    digest.refresh_from_db()
    first = digest.mail_hash
    for paper in Paper.objects.all():
        paper.title += ", corrected"
        paper.save()
    sending.send_due(DUE + timedelta(hours=1))
    digest.refresh_from_db()
    assert digest.mail_hash == rendering.fingerprint(transport.accepted[0])
    assert digest.mail_hash != first
