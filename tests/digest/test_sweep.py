"""Any order of events at all: the account adds up, nobody gets two, nobody reads a paper twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models.functions import Now
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from digest import assembly, sending, webhooks
from digest.models import DeliveryEvent, Digest
from papers.models import Edition
from subscribers import flow, signup
from subscribers.models import Subscriber
from subscribers.transports import Status
from tests.digest.books import assert_books_balance
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_readers
from tests.fakes.transport import FakeTransport

READERS = st.integers(0, 2)
ANSWERS = st.lists(
    st.sampled_from([*Status, KeyboardInterrupt]), min_size=0, max_size=3, unique=False
)


class Ledger(RuleBasedStateMachine):
    """Three readers and a transport with bad days, over a week or so."""

    @initialize()
    def start(self) -> None:
        self.transaction = transaction.atomic()
        self.transaction.__enter__()
        self.patch = pytest.MonkeyPatch()
        self.transport = FakeTransport()
        for module in (flow, sending):
            self.patch.setattr(module, "get_transports", lambda: [self.transport])
        self.now = DUE
        self.papers = [make_paper() for _ in range(3)]
        make_edition(SUNDAY, self.papers)
        self.readers = make_readers(3)

    def teardown(self) -> None:
        if hasattr(self, "transaction"):
            self.patch.undo()
            transaction.set_rollback(True)
            self.transaction.__exit__(None, None, None)

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        """Each day's edition lists two new papers and one of the days before."""
        self.now += timedelta(hours=hours)
        day = Edition.objects.latest("day").day + timedelta(days=1)
        while day < self.now.date():
            again = self.papers[day.toordinal() % len(self.papers)]
            new = [make_paper(), make_paper()]
            make_edition(day, [*new, again])
            self.papers += new
            day += timedelta(days=1)

    @rule()
    def assemble(self) -> None:
        assembly.assemble_due(self.now)

    @rule(answers=ANSWERS)
    def send(self, answers) -> None:
        self.transport.answers = list(answers)
        with suppress(KeyboardInterrupt):
            sending.send_due(self.now)

    @rule()
    def claim_and_vanish(self) -> None:
        sending._claim(self.now, way=flow.way_out(self.now))

    @rule()
    def leases_run_out(self) -> None:
        held = Digest.objects.filter(lease_until__isnull=False)
        held.update(lease_until=Now() - timedelta(seconds=1))
        sending.sweep(self.now)

    @rule(number=READERS, said=st.sampled_from(["delivered", "deferred", "bounced", "rejected"]))
    def the_provider_speaks(self, number: int, said: str) -> None:
        """Of the reader's newest digest that it has taken."""
        sent = [message.metadata["digest"] for message in self.transport.accepted]
        taken = Digest.objects.filter(subscriber=self.readers[number], uuid__in=sent)
        if digest := taken.order_by("pk").last():
            word(digest, said)

    @rule(which=st.integers(0, 20))
    def a_paper_is_withdrawn(self, which: int) -> None:
        paper = self.papers[which % len(self.papers)]
        type(paper).objects.filter(pk=paper.pk).update(withdrawn_at=self.now)

    @rule(number=READERS)
    def unsubscribe(self, number: int) -> None:
        signup.unsubscribe(self.readers[number], now=self.now, via="page")

    @rule(number=READERS)
    def resubscribe(self, number: int) -> None:
        signup.resubscribe(self.readers[number], now=self.now, via="page")

    @rule(number=READERS, days=st.integers(0, 3))
    def pause(self, number: int, days: int) -> None:
        until = self.now.date() + timedelta(days=days)
        signup.pause(self.readers[number], until, self.now)

    @rule(number=READERS, hour=st.integers(0, 23))
    def change_hour(self, number: int, hour: int) -> None:
        reader = self.readers[number]
        reader.refresh_from_db()
        wanted = reader.preferences
        signup.set_preferences(
            reader,
            type(wanted)(wanted.cadence, wanted.days, hour, wanted.time_zone),
            papers_per_digest=1 + hour % 5,
            now=self.now,
        )

    @invariant()
    def books_balance(self) -> None:
        if hasattr(self, "transaction"):
            assert_books_balance()

    @invariant()
    def nobody_got_two(self) -> None:
        if hasattr(self, "transaction"):
            sent = Counter(message.metadata["digest"] for message in self.transport.accepted)
            assert not sent or max(sent.values()) == 1

    @invariant()
    def nobody_read_a_paper_twice(self) -> None:
        if not hasattr(self, "transaction"):
            return
        sent = [message.metadata["digest"] for message in self.transport.accepted]
        read: dict[int, list[int]] = defaultdict(list)
        for digest in Digest.objects.filter(uuid__in=sent):
            read[digest.subscriber_id] += digest.paper_ids
        assert all(len(ids) == len(set(ids)) for ids in read.values())

    @invariant()
    def only_active_readers_have_a_moment(self) -> None:
        if hasattr(self, "transaction"):
            inactive = Subscriber.objects.exclude(state=Subscriber.State.ACTIVE)
            assert not inactive.filter(next_due_at__isnull=False).exists()


def test_the_ledger_holds_in_any_order_of_events(db):
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=10,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# -- while an answer is still on its way ------------------------------------------------------


def word(digest: Digest, event_type: str) -> None:
    """As webhooks.receive leaves it, for a digest whose provider spoke before we recorded."""
    event, is_new = DeliveryEvent.objects.get_or_create(
        provider="Fake",
        event_id=f"{event_type} {digest.pk}",
        defaults={"digest": digest, "event_type": event_type, "occurred_at": DUE},
    )
    if is_new:
        webhooks._note_outcome(event)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("queued", Digest.State.SENT),
        ("delivered", Digest.State.SENT),
        ("bounced", Digest.State.SENT),
        ("complained", Digest.State.SENT),
        ("rejected", Digest.State.FAILED),
        ("failed", Digest.State.FAILED),
    ],
)
@pytest.mark.parametrize("repeats_safely", [False, True])
def test_what_the_provider_said_before_the_lease_ran_out_leaves_no_doubt(
    balanced_books, digest, transport, expire_leases, said, expected, repeats_safely
):
    transport.repeats_safely = repeats_safely
    transport.answers = [SystemExit]
    with pytest.raises(SystemExit):
        sending.send_due(DUE)
    word(digest, said)
    digest.refresh_from_db()
    assert digest.state == Digest.State.SENDING
    expire_leases()
    sending.sweep(DUE)
    digest.refresh_from_db()
    assert digest.state == expected
    assert sending.send_due(DUE + timedelta(hours=1)) == {}


def test_sweeping_twice_changes_nothing_more(balanced_books, digests, transport, expire_leases):
    transport.answers = [SystemExit]
    with pytest.raises(SystemExit):
        sending.send_due(DUE)
    expire_leases()
    assert sending.sweep(DUE) == 6
    assert sending.sweep(DUE) == 0


def test_sweeping_says_what_it_found_only_if_it_found_something(
    balanced_books, digest, transport, expire_leases, caplog
):
    sending.sweep(DUE)
    assert caplog.text == ""
    sending._claim(DUE, way=flow.way_out(DUE))
    expire_leases()
    sending.sweep(DUE)
    assert "leases ran out claims_returned=1 in_doubt=0" in caplog.text
