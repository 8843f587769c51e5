"""A digest is handed over at most once, whoever dies, and with consent at that very moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from django.core import mail
from django.db import OperationalError, connection
from django.utils import timezone

from digest import assembly, pieces, sending
from digest.models import Digest, Slot
from papers import editions
from papers.models import Entry, Paper
from subscribers import flow, signup
from subscribers.models import Subscriber, Suppression
from subscribers.transports import Receipt, Status, get_transport
from tests.digest.books import assert_books_balance
from tests.factories import DUE, SUNDAY, make_edition, make_readers
from tests.fakes.smtp_sink import Fault, SmtpSink
from tests.fakes.transport import FakeTransport

pytestmark = pytest.mark.usefixtures("balanced_books")

State, Why = Digest.State, Digest.SkipReason
NO_SERVER = Receipt(Status.RETRY, error="no server", is_services=True)
PROJECT = Path(__file__).resolve().parents[2]


def states() -> Counter[str]:
    return Counter(Digest.objects.values_list("state", flat=True))


def ending(digest: Digest) -> str:
    digest.refresh_from_db()
    return digest.skip_reason or digest.state


# -- what the transport says -----------------------------------------------------------------


def test_a_sent_digest_says_when_by_what_and_under_which_id(digest, transport):
    transport.answers = [Receipt(Status.SENT, "provider-17")]
    assert sending.send_due(DUE) == {State.SENT: 1}
    digest.refresh_from_db()
    assert (digest.state, digest.sent_at, digest.attempts) == (State.SENT, DUE, 1)
    assert (digest.transport, digest.provider_message_id) == ("fake", "provider-17")
    assert (digest.lease_until, digest.error) == (None, "")
    digest.subscriber.refresh_from_db()
    assert digest.subscriber.cursor == digest.closed_seq


def test_a_long_batch_says_of_each_mail_when_it_left(digests, transport, settings, monkeypatch):
    settings.SEND_WINDOW = 1
    passed = [0.0]  # seconds; each mail takes forty
    monkeypatch.setattr(sending.time, "monotonic", lambda: passed[0])
    transport.before = lambda messages: passed.__setitem__(0, passed[0] + 40)
    transport.answers = [Status.SENT] * 5 + [Receipt(Status.RETRY, retry_after_seconds=120)]
    sending.send_due(DUE)
    *sent, asked_to_wait = Digest.objects.order_by("pk")
    assert [(each.sent_at - DUE).seconds for each in sent] == [40, 80, 120, 160, 200]
    assert (asked_to_wait.retry_at - DUE).seconds == 240 + 120


def test_each_mail_of_a_window_keeps_its_own_receipt(digests, transport):
    transport.answers = [
        Receipt(Status.SENT, "one"),
        Status.RETRY,
        Receipt(Status.FAILED, error="550 no such mailbox"),
        Status.UNCERTAIN,
        Receipt(Status.SENT, "five"),
    ]
    ended = sending.send_due(DUE)
    assert ended == {State.SENT: 3, State.RETRY: 1, State.FAILED: 1, State.UNCERTAIN: 1}
    for digest in digests:
        digest.refresh_from_db()
    assert [digest.state for digest in digests] == [
        State.SENT, State.RETRY, State.FAILED, State.UNCERTAIN, State.SENT, State.SENT,
    ]  # fmt: skip
    assert [digest.provider_message_id for digest in digests[:5]] == ["one", "", "", "", "five"]
    assert digests[2].error == "550 no such mailbox"
    assert [digest.transport for digest in digests[1:4]] == ["", "fake", "fake"]


@pytest.mark.parametrize(
    ("status", "moves"),
    [
        (Status.SENT, True),
        (Status.UNCERTAIN, True),
        (Status.FAILED, False),
        (Status.RETRY, False),
    ],
)
def test_the_cursor_moves_with_what_left_or_may_have(digest, transport, status, moves):
    transport.answers = [status]
    sending.send_due(DUE)
    assert (Subscriber.objects.get().cursor == digest.closed_seq) is moves


def test_the_same_mail_is_made_at_every_attempt(digest, transport):
    seen = []
    transport.before = lambda messages: seen.extend(m.extra_headers["Message-ID"] for m in messages)
    transport.answers = [Status.RETRY]
    sending.send_due(DUE)
    sending.send_due(DUE + timedelta(hours=1))
    assert len(seen) == 2
    assert len(set(seen)) == 1
    assert digest.uuid.hex in seen[0]


def test_any_backend_of_django_will_do(digest, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert sending.send_due(DUE) == {State.SENT: 1}
    assert [message.to for message in mail.outbox] == [["ada@example.org"]]
    digest.refresh_from_db()
    assert digest.transport == get_transport().name


def test_nothing_due_is_nothing_claimed(db, transport):
    assert sending.send_due(DUE) == {}
    assert sending.batches_due(DUE) == 0


def test_sending_says_what_it_did_and_names_nobody(digests, transport, caplog):
    caplog.set_level("INFO", logger="digest.sending")
    sending.send_due(DUE)
    assert "batch sent claimed=6 sent=6" in caplog.text
    assert "example.org" not in caplog.text


# -- trying again ----------------------------------------------------------------------------


def test_pauses_between_tries_grow_to_an_hour(digest, transport, settings):
    settings.LATE_LIMIT_HOURS = 48
    transport.answers = [Status.RETRY] * 7
    now, pauses = DUE, []
    for _ in range(7):
        sending.send_due(now)
        digest.refresh_from_db()
        pauses.append((digest.retry_at - now).total_seconds())
        now = digest.retry_at
    doubled = [60, 120, 240, 480, 960, 1920, 3600]
    assert all(0.75 <= pause / each <= 1.25 for pause, each in zip(pauses, doubled, strict=True))
    assert digest.error == "told to say retry"


def test_what_failed_together_is_not_tried_together(digests, transport):
    transport.answers = [Status.RETRY] * 6
    sending.send_due(DUE)
    moments = sorted(Digest.objects.values_list("retry_at", flat=True))
    assert all(later - earlier > timedelta(seconds=1) for earlier, later in pairwise(moments))


def test_nothing_is_tried_before_its_time(digest, transport):
    transport.answers = [Status.RETRY]
    sending.send_due(DUE)
    digest.refresh_from_db()
    assert sending.send_due(digest.retry_at - timedelta(seconds=1)) == {}
    assert sending.send_due(digest.retry_at) == {State.SENT: 1}


def test_the_pause_that_a_server_asks_for_is_kept(digest, transport):
    transport.answers = [Receipt(Status.RETRY, retry_after_seconds=1234)]
    sending.send_due(DUE)
    digest.refresh_from_db()
    assert digest.retry_at == DUE + timedelta(seconds=1234)


def test_a_pause_beyond_all_reason_does_not_upset_the_window(digests, transport):
    transport.answers = [Receipt(Status.RETRY, retry_after_seconds=1e15)]
    assert sending.send_due(DUE) == {State.SENT: 5, State.RETRY: 1}


def test_after_the_last_try_it_has_failed(digest, transport, settings):
    settings.MAX_ATTEMPTS = 2
    transport.answers = [Status.RETRY] * 3
    sending.send_due(DUE)
    assert sending.send_due(DUE + timedelta(hours=1)) == {State.FAILED: 1}
    digest.refresh_from_db()
    assert (digest.attempts, digest.retry_at) == (2, None)
    assert sending.send_due(DUE + timedelta(hours=2)) == {}


def test_a_mail_that_was_not_tried_has_used_up_no_try(digest, transport, settings):
    settings.MAX_ATTEMPTS = 1
    transport.answers = [Receipt(Status.RETRY, was_tried=False)]
    assert sending.send_due(DUE) == {State.RETRY: 1}
    assert sending.send_due(DUE + timedelta(hours=1)) == {State.SENT: 1}


def test_when_nothing_of_a_window_gets_through_the_rest_waits(digests, transport, settings):
    settings.SEND_WINDOW = 2
    transport.answers = [NO_SERVER] * 2
    assert sending.send_due(DUE) == {State.RETRY: 2}
    assert len(transport.windows) == 1
    assert states() == {State.RETRY: 2, State.ASSEMBLED: 4}
    assert sending.send_due(DUE) == {}


def test_mails_that_are_each_asked_to_come_back_later_hold_nobody_up(digests, transport, settings):
    settings.SEND_WINDOW = 2
    transport.answers = [Receipt(Status.RETRY, error="451 greylisted")] * 4
    assert sending.send_due(DUE) == {State.RETRY: 4, State.SENT: 2}


def test_what_one_transport_cannot_take_leaves_at_once_by_the_other(
    digests, transport, monkeypatch, settings
):
    settings.SEND_WINDOW = 2
    second = FakeTransport()
    second.name = "second"
    for module in (flow, sending):
        monkeypatch.setattr(module, "get_transports", lambda: [transport, second])
    transport.answers = [NO_SERVER] * 2
    assert sending.send_due(DUE) == {State.RETRY: 2}
    assert sending.send_due(DUE) == {State.SENT: 6}
    assert len(second.accepted) == 6
    assert set(Digest.objects.values_list("transport", flat=True)) == {"second"}


def test_what_may_have_left_by_one_transport_is_never_given_to_the_other(
    digests, transport, monkeypatch, expire_leases
):
    second = FakeTransport()
    second.name = "second"
    for module in (flow, sending):
        monkeypatch.setattr(module, "get_transports", lambda: [transport, second])
    transport.answers = [Receipt(Status.UNCERTAIN, is_services=True)] * 6
    sending.send_due(DUE)
    assert sending.send_again(Digest.objects.first(), DUE)
    assert sending.send_due(DUE) == {}
    assert second.accepted == []
    assert states() == {State.UNCERTAIN: 5, State.ASSEMBLED: 1}


def test_what_is_too_late_for_its_slot_is_not_sent(digests, transport, settings):
    transport.answers = [Status.RETRY] * 6
    sending.send_due(DUE)
    too_late = DUE + timedelta(hours=settings.LATE_LIMIT_HOURS, seconds=1)
    assert sending.send_due(too_late) == {}
    assert {ending(digest) for digest in digests} == {Why.LATE}
    assert transport.accepted == []


def test_a_doubt_that_the_transport_can_bear_is_sent_again_after_a_pause(digest, transport):
    transport.repeats_safely = True
    transport.answers = [Status.UNCERTAIN]
    assert sending.send_due(DUE) == {State.RETRY: 1}
    assert sending.send_due(DUE) == {}
    assert sending.send_due(DUE + timedelta(minutes=2)) == {State.SENT: 1}


def test_a_doubt_is_not_sent_again_for_ever(digest, transport, settings):
    settings.MAX_ATTEMPTS = 2
    transport.repeats_safely = True
    transport.answers = [Status.UNCERTAIN] * 2
    sending.send_due(DUE)
    assert sending.send_due(DUE + timedelta(hours=1)) == {State.UNCERTAIN: 1}


def test_a_doubt_that_grows_too_old_to_be_sent_again_stays_a_doubt(digest, transport, settings):
    """Called late, its papers would come again to a reader who may have had them."""
    transport.repeats_safely = True
    transport.answers = [Status.UNCERTAIN]
    sending.send_due(DUE)
    sending.send_due(DUE + timedelta(hours=settings.LATE_LIMIT_HOURS, seconds=1))
    assert ending(digest) == State.UNCERTAIN
    assert Subscriber.objects.get().cursor == digest.closed_seq


# -- claims ----------------------------------------------------------------------------------


def test_two_claims_never_share_a_row(digests, transport, settings):
    settings.CLAIM_LIMIT = 4
    first, second, third = (sending._claim(DUE, way=flow.way_out(DUE)) for _ in range(3))
    assert [len(claim.digests) for claim in (first, second)] == [4, 2]
    assert not first.by_id.keys() & second.by_id.keys()
    assert third is None


def test_batches_are_counted_in_claims(digests, settings):
    settings.CLAIM_LIMIT = 4
    assert sending.batches_due(DUE) == 2


def test_the_oldest_due_is_claimed_first(digests, transport, settings):
    settings.CLAIM_LIMIT = 1
    Digest.objects.filter(pk=digests[3].pk).update(due_at=DUE - timedelta(minutes=1))
    claim = sending._claim(DUE, way=flow.way_out(DUE))
    assert list(claim.by_id) == [digests[3].pk]


def test_a_claim_holds_by_the_clock_of_the_database(digest, transport, settings):
    sending._claim(DUE, way=flow.way_out(DUE))
    digest.refresh_from_db()
    assert digest.state == State.CLAIMED
    left = digest.lease_until - timezone.now()
    assert abs(left.total_seconds() - settings.LEASE_SECONDS) < 60


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one SQLite in memory has one writer")
def test_claims_of_real_threads_never_share_a_row(edition, transport, settings):
    settings.CLAIM_LIMIT, settings.SEND_WINDOW = 5, 2
    make_readers(40)
    assembly.assemble_due(DUE)
    barrier = threading.Barrier(4)

    def work():
        try:
            barrier.wait()
            while sending.send_due(DUE):
                pass
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Counter(transport.recipients()).values()) == [1] * 40
    assert states() == {State.SENT: 40}


def test_windows_are_no_larger_than_the_setting_or_one_call_of_the_transport(
    digests, transport, settings
):
    settings.SEND_WINDOW = 4
    sending.send_due(DUE)
    assert [len(window) for window in transport.windows] == [4, 2]


def test_a_transport_that_takes_fewer_gets_fewer(digests, transport):
    transport.window = 2
    sending.send_due(DUE)
    assert [len(window) for window in transport.windows] == [2, 2, 2]


# -- the window is marked before it is sent --------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_window_is_marked_and_committed_before_the_transport_is_called(
    digests, transport, settings
):
    settings.SEND_WINDOW = 4
    seen = []

    def look(messages):
        seen.append((connection.in_atomic_block, states()))

    transport.before = look
    sending.send_due(DUE)
    assert seen == [
        (False, {State.SENDING: 4, State.CLAIMED: 2}),
        (False, {State.SENT: 4, State.SENDING: 2}),
    ]


def unsubscribed(reader):
    signup.unsubscribe(reader, now=DUE, via="page")


def paused(reader):
    signup.pause(reader, DUE.date() + timedelta(days=7), DUE)


def bounced(reader):
    Suppression.objects.create(address_hash=reader.address_hash, reason=Suppression.Reason.BOUNCE)


def erased(reader):
    Subscriber.objects.filter(pk=reader.pk).delete()


@pytest.mark.parametrize(
    ("happening", "expected"),
    [
        (unsubscribed, Why.CONSENT),
        (paused, Why.PAUSED),
        (bounced, State.SUPPRESSED),
        (erased, Why.CONSENT),
    ],
)
def test_what_a_reader_decides_a_moment_before_counts(
    digests, transport, before_marking, happening, expected
):
    digest = digests[2]
    before_marking(lambda: happening(digest.subscriber))
    ended = sending.send_due(DUE)
    assert ended[State.SENT] == 5
    assert sum(ended.values()) == 6
    assert digest.subscriber.email not in transport.recipients()
    assert ending(digest) == expected


@pytest.mark.parametrize("happening", [unsubscribed, paused, bounced, erased])
def test_what_a_reader_decides_before_the_claim_counts(digests, transport, happening):
    digest = digests[2]
    happening(digest.subscriber)
    assert sending.send_due(DUE)[State.SENT] == 5
    assert ending(digest) not in Digest.OPEN
    assert digest.subscriber_id is None or digest.items


def test_a_pause_that_ends_on_the_day_of_the_slot_holds_nothing_back(digest, transport):
    Subscriber.objects.update(paused_until=DUE.date())
    assert sending.send_due(DUE) == {State.SENT: 1}


def test_a_digest_superseded_after_the_claim_is_not_sent(digest, transport, before_marking):
    next_day = DUE + timedelta(days=1)
    before_marking(lambda: assembly.assemble_due(next_day))
    assert sending.send_due(DUE) == {}
    assert ending(digest) == Why.SUPERSEDED
    assert transport.windows == []


def test_a_superseded_digest_whose_papers_are_withdrawn_moves_no_cursor(
    digest, transport, monkeypatch
):
    """It was claimed and read when another worker took it back."""
    read = sending._without_gone

    def taken_back(digests, **kwargs):
        Paper.objects.update(withdrawn_at=DUE)
        assembly.assemble_due(DUE + timedelta(days=1))
        Subscriber.objects.update(cursor=0)
        return read(digests, **kwargs)

    monkeypatch.setattr(sending, "_without_gone", taken_back)
    sending.send_due(DUE)
    assert ending(digest) == Why.SUPERSEDED
    assert Subscriber.objects.get().cursor == 0


def test_a_reader_who_changes_address_gets_it_at_the_new_one_only(
    digest, transport, before_marking
):
    reader = digest.subscriber

    def move():
        reader.set_address("ada.new@example.org")
        reader.save()

    before_marking(move)
    assert sending.send_due(DUE) == {}
    assert transport.windows == []
    assert ending(digest) == State.ASSEMBLED
    assert sending.send_due(DUE) == {State.SENT: 1}
    assert transport.recipients() == ["ada.new@example.org"]


# -- papers withdrawn meanwhile --------------------------------------------------------------


def test_a_withdrawn_paper_is_left_out_and_the_rest_is_sent(digest, transport):
    gone = Paper.objects.get(pk=digest.paper_ids[0])
    Paper.objects.filter(pk=gone.pk).update(withdrawn_at=DUE)
    assert sending.send_due(DUE) == {State.SENT: 1}
    digest.refresh_from_db()
    assert len(digest.items) == 2
    assert gone.pk not in digest.paper_ids
    assert gone.title not in transport.accepted[0].body


def test_a_deleted_paper_is_left_out_as_well(digest, transport):
    Paper.objects.filter(pk=digest.paper_ids[0]).delete()
    assert sending.send_due(DUE) == {State.SENT: 1}


def test_a_digest_with_no_paper_left_is_nothing_worth_reading(digest, transport):
    Paper.objects.update(withdrawn_at=DUE)
    assert sending.send_due(DUE) == {State.SKIPPED: 1}
    assert ending(digest) == Why.NOTHING
    assert Subscriber.objects.get().cursor == digest.closed_seq
    assert transport.windows == []


def test_a_paper_dropped_from_one_edition_stays_where_another_lists_it(digest, transport):
    paper = Paper.objects.get(pk=digest.paper_ids[0])
    editions.drop(Entry.objects.get(paper=paper), DUE)
    make_edition(SUNDAY - timedelta(days=1), [paper])
    assert sending.send_due(DUE) == {State.SENT: 1}
    assert paper.title in transport.accepted[0].body


def test_an_editors_pick_that_is_left_alone_is_no_mail(reader, transport):
    picked, *own = Paper.objects.all()
    editions.pick(Entry.objects.get(paper=picked), by="Ben", note="Read it")
    assembly.assemble_due(DUE)
    Paper.objects.filter(pk__in=[paper.pk for paper in own]).update(withdrawn_at=DUE)
    assert sending.send_due(DUE) == {State.SKIPPED: 1}
    assert ending(Digest.objects.get()) == Why.NOTHING


def test_a_paper_withdrawn_at_the_last_moment_stops_its_window_until_it_is_out(
    digest, transport, before_marking
):
    gone = Paper.objects.filter(pk=digest.paper_ids[0])
    before_marking(lambda: gone.update(withdrawn_at=DUE))
    assert sending.send_due(DUE) == {}
    assert ending(digest) == State.ASSEMBLED
    assert sending.send_due(DUE) == {State.SENT: 1}
    digest.refresh_from_db()
    assert len(digest.items) == 2


# -- one bad item ----------------------------------------------------------------------------


def test_a_digest_that_cannot_be_rendered_fails_alone(digests, transport, monkeypatch):
    message = pieces.message

    def sometimes(digest, content):
        if digest.pk == digests[1].pk:
            raise ValueError("no such charset")
        return message(digest, content)

    monkeypatch.setattr(pieces, "message", sometimes)
    assert sending.send_due(DUE) == {State.SENT: 5, State.FAILED: 1}
    assert ending(digests[1]) == State.FAILED
    assert digests[1].error == "rendering: no such charset"


def test_a_digest_whose_items_cannot_be_read_fails_alone(digests, transport):
    Digest.objects.filter(pk=digests[1].pk).update(
        items=[{"paper_id": digests[1].paper_ids[0], "section": "full", "colour": "green"}]
    )
    assert sending.send_due(DUE) == {State.SENT: 5, State.FAILED: 1}
    assert ending(digests[1]) == State.FAILED


def test_a_database_that_goes_away_while_rendering_fails_nobody(digests, transport, monkeypatch):
    def gone(digest, content):
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(pieces, "message", gone)
    with pytest.raises(OperationalError):
        sending.send_due(DUE)
    assert states() == {State.ASSEMBLED: 6}


# -- death -----------------------------------------------------------------------------------


@pytest.mark.parametrize("death", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_a_worker_that_dies_in_a_window_gives_back_what_it_had_not_begun(
    digests, transport, settings, death
):
    settings.SEND_WINDOW = 2
    transport.answers = [Status.SENT, Status.SENT, Status.SENT, death]
    with pytest.raises(death):
        sending.send_due(DUE)
    assert states() == {State.SENT: 2, State.SENDING: 2, State.ASSEMBLED: 2}
    assert transport.accepted[2].to == [digests[2].subscriber.email]


def test_after_the_lease_what_was_being_sent_is_in_doubt_and_not_sent_again(
    digests, transport, settings, expire_leases
):
    settings.SEND_WINDOW = 2
    transport.answers = [Status.SENT, KeyboardInterrupt]
    with pytest.raises(KeyboardInterrupt):
        sending.send_due(DUE)
    assert sending.sweep(DUE) == 0
    expire_leases()
    assert sending.sweep(DUE) == 2
    assert sending.send_due(DUE) == {State.SENT: 4}
    assert states() == {State.SENT: 4, State.UNCERTAIN: 2}
    assert max(Counter(transport.recipients()).values()) == 1
    doubtful = Digest.objects.filter(state=State.UNCERTAIN)
    assert {row.error for row in doubtful} == {"the worker was lost"}
    assert {row.subscriber.cursor for row in doubtful} == {digests[0].closed_seq}


def test_after_the_lease_a_claim_goes_back(digests, transport, expire_leases):
    sending._claim(DUE, way=flow.way_out(DUE))
    expire_leases()
    assert sending.sweep(DUE) == 6
    assert states() == {State.ASSEMBLED: 6}
    assert set(Digest.objects.values_list("claim_token", flat=True)) == {None}


def test_a_lease_that_runs_is_left_alone(digests, transport):
    sending._claim(DUE, way=flow.way_out(DUE))
    assert sending.sweep(DUE) == 0
    assert states() == {State.CLAIMED: 6}


def test_where_repeating_is_safe_a_lost_window_is_sent_again(digest, transport, expire_leases):
    transport.repeats_safely = True
    transport.answers = [SystemExit]
    with pytest.raises(SystemExit):
        sending.send_due(DUE)
    expire_leases()
    sending.sweep(DUE)
    assert ending(digest) == State.RETRY
    assert sending.send_due(DUE + timedelta(minutes=2)) == {State.SENT: 1}


def test_a_worker_whose_claim_was_swept_sends_nothing_of_it(
    digests, transport, settings, expire_leases
):
    """It was only slow: its first window took longer than the lease."""
    settings.SEND_WINDOW = 2

    def slow(messages):
        transport.before = lambda messages: None
        Digest.objects.filter(state=State.CLAIMED).update(
            state=State.ASSEMBLED, claim_token=None, lease_until=None
        )
        assert sending.send_due(DUE) == {State.SENT: 4}

    transport.before = slow
    assert sending.send_due(DUE) == {State.SENT: 2}
    assert sorted(Counter(transport.recipients()).values()) == [1] * 6


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.SENT, State.SENT),
        (Status.FAILED, State.FAILED),
        (Status.UNCERTAIN, State.UNCERTAIN),
        (Status.RETRY, State.RETRY),
    ],
)
def test_a_result_that_comes_after_the_lease_still_settles_the_doubt(
    digest, transport, expire_leases, status, expected
):
    def outlive_the_lease(messages):
        expire_leases()
        sending.sweep(DUE)
        assert ending(digest) == State.UNCERTAIN

    transport.before = outlive_the_lease
    transport.answers = [status]
    sending.send_due(DUE)
    assert ending(digest) == expected


def test_a_late_word_to_try_again_gives_way_to_the_next_digest(digest, transport, expire_leases):
    def outlive_the_lease_and_the_day(messages):
        expire_leases()
        sending.sweep(DUE)
        from_next_day = Slot.objects.create(date=DUE.date() + timedelta(days=1), due=1)
        Digest.objects.create(subscriber=digest.subscriber, slot=from_next_day, due_at=DUE)

    transport.before = outlive_the_lease_and_the_day
    transport.answers = [Status.RETRY]
    assert sending.send_due(DUE) == {State.FAILED: 1}


def test_results_survive_a_database_that_is_lost_while_they_are_recorded(
    digests, transport, monkeypatch
):
    record, failures, pauses = sending._record, [3], []

    def unreliable(results, **kwargs):
        if failures[0]:
            failures[0] -= 1
            raise OperationalError("the server closed the connection")
        return record(results, **kwargs)

    monkeypatch.setattr(sending, "_record", unreliable)
    monkeypatch.setattr(sending.time, "sleep", pauses.append)
    monkeypatch.setattr(connection, "close", lambda: None)  # the test's own transaction
    assert sending.send_due(DUE) == {State.SENT: 6}
    assert pauses == [0.5, 1, 2]
    assert len(transport.windows) == 1


# -- kill -9 ---------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_after_kill_9_in_the_middle_of_a_window_nobody_gets_two(edition, tmp_path):
    make_readers(12, next_due_at=timezone.now() - timedelta(minutes=1))
    assembly.assemble_due(timezone.now())
    with SmtpSink([Fault("dot", nth=6, hangs=True)]) as sink:
        environment = {
            "DATABASE_URL": _reachable_database(tmp_path),
            "EMAIL_URL": f"smtp://127.0.0.1:{sink.port}",
            "SEND_WINDOW": "4",
            "EMAIL_TIMEOUT": "2",
            "LEASE_SECONDS": "4",
        }
        worker = _start("send_digests", environment)
        _wait_until(lambda: sink.mails == 6)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        taken_before = len(sink.accepted)
        time.sleep(4.1)  # the lease
        for round_ in [_start("tick", environment, "--no-fetch") for _ in range(2)]:
            round_.wait(timeout=20)
        _bring_back(environment["DATABASE_URL"])

    assert taken_before == 5
    assert max(Counter(sink.recipients()).values()) == 1
    assert states() == {State.SENT: 8, State.UNCERTAIN: 4}
    assert len(sink.accepted) == 9  # of the window in doubt, one had been taken
    assert_books_balance()


def _start(command: str, environment: dict[str, str], *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "manage.py", command, "--skip-checks", *arguments],
        cwd=PROJECT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_until(condition, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the worker did not come so far"
        time.sleep(0.02)
    time.sleep(0.2)


def _reachable_database(folder: Path) -> str:
    """Where another process finds the test's rows: SQLite's are in our memory."""
    if connection.vendor != "sqlite":
        database = connection.settings_dict
        host, port = database["HOST"] or "localhost", database["PORT"] or 5432
        login = f"{database['USER']}:{database['PASSWORD']}"
        return f"postgres://{login}@{host}:{port}/{database['NAME']}"
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(folder / "copy.sqlite3")])
    return f"sqlite:///{folder}/copy.sqlite3"


def _bring_back(url: str) -> None:
    """The other processes' rows, into SQLite's memory."""
    if connection.vendor != "sqlite":
        return
    columns = "state, skip_reason, claim_token, lease_until, sent_at"
    with connection.cursor() as cursor:
        cursor.execute("ATTACH DATABASE %s AS theirs", [url.removeprefix("sqlite:///")])
        cursor.execute(
            f"UPDATE digest_digest SET ({columns}) = "
            f"(SELECT {columns} FROM theirs.digest_digest t WHERE t.id = digest_digest.id)"
        )
        cursor.execute("DETACH DATABASE theirs")
