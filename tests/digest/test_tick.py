"""One round: each step finds its own rows, and one that fails stops no other."""

from __future__ import annotations

import gc
import mmap
import os
import signal
import time
from collections import Counter
from datetime import date, timedelta
from io import StringIO

import pytest
from celery.signals import worker_shutting_down
from django.core.management import CommandError, call_command
from kombu.exceptions import OperationalError as BrokerError

from config import celery
from digest import assembly, letters, sending, shares, tasks
from digest.management.commands import tick as tick_command
from digest.models import Digest, Heartbeat
from papers import editions, fetching
from papers.models import Edition, Fetch
from subscribers import topics
from subscribers.models import Subscriber
from subscribers.transports import Receipt, Status
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader, make_readers

pytestmark = pytest.mark.usefixtures("balanced_books")

State = Digest.State


def run(command: str, *arguments: str) -> str:
    out = StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def open_edition(db) -> Edition:
    """Sunday's, as it stands before it is closed."""
    edition = make_edition(SUNDAY, [make_paper() for _ in range(3)])
    edition.entries.update(rank=None, score=None)
    edition.closed_at = edition.closed_seq = None
    edition.save()
    return edition


def test_a_round_closes_assembles_and_sends(open_edition, transport):
    make_reader()
    said = run("tick", "--now", DUE.isoformat(), "--no-fetch")
    assert said == "digests: sent 1\n"
    open_edition.refresh_from_db()
    assert open_edition.closed_seq == 1
    assert transport.recipients() == ["ada@example.org"]


def test_a_round_with_nothing_to_do_says_so(db, transport):
    assert run("tick", "--now", DUE.isoformat(), "--no-fetch") == "digests: none due\n"


def test_a_second_round_at_the_same_moment_sends_nothing_more(reader, transport):
    for _ in range(2):
        run("tick", "--now", DUE.isoformat(), "--no-fetch")
    assert len(transport.accepted) == 1


def test_the_moment_is_the_one_that_was_asked_for(reader, transport):
    early = (DUE - timedelta(minutes=1)).isoformat()
    assert run("tick", "--now", early, "--no-fetch") == "digests: none due\n"
    assert run("tick", "--now", "2026-11-23T07:00+01:00", "--no-fetch") == "digests: sent 1\n"


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00", ""])
def test_a_moment_that_is_none_is_refused_by_name(db, text):
    with pytest.raises(CommandError, match=f"--now: {text!r} is no moment such as"):
        run("tick", "--now", text)


def test_a_moment_without_an_offset_is_utc():
    assert tick_command.moment("2026-11-23T06:00") == DUE


def test_a_round_reads_the_sources_unless_told_not_to(db, monkeypatch, transport):
    asked = []

    def fetch_due(now):
        asked.append(now)
        return [Fetch(status=Fetch.Status.OK), Fetch(status=Fetch.Status.FAILED)]

    monkeypatch.setattr(fetching, "fetch_due", fetch_due)
    assert run("tick", "--now", DUE.isoformat()).endswith("fetched 1, failed 1\n")
    run("tick", "--now", DUE.isoformat(), "--no-fetch")
    assert asked == [DUE]


def test_mails_leave_before_a_source_is_asked(reader, transport, monkeypatch):
    left = []

    def fetch_due(now):
        left.append(len(transport.accepted))
        raise RuntimeError("never heard of such a source")

    monkeypatch.setattr(fetching, "fetch_due", fetch_due)
    with pytest.raises(RuntimeError):
        run("tick", "--now", DUE.isoformat())
    assert left == [1]


def test_what_goes_through_all_readers_is_done_once_an_hour(db, transport, monkeypatch):
    swept = []
    monkeypatch.setattr(topics, "pass_on_wishes", swept.append)
    monkeypatch.setattr(fetching, "fetch_due", lambda now: [])
    for minute in range(60):
        run("tick", "--now", (DUE + timedelta(minutes=minute)).isoformat())
    assert len(swept) == 1


def test_a_round_that_was_asked_to_stop_asks_no_source(reader, transport, monkeypatch):
    monkeypatch.setattr(fetching, "fetch_due", lambda now: pytest.fail("asked"))
    transport.before = lambda messages: signal.raise_signal(signal.SIGINT)
    run("tick", "--now", DUE.isoformat())
    assert len(transport.accepted) == 1


def test_a_step_that_fails_is_named_and_stops_no_other(reader, transport, monkeypatch, caplog):
    def broken(now):
        raise RuntimeError("no such day")

    broken.__module__, broken.__name__ = "papers.editions", "close_due"
    monkeypatch.setattr(editions, "close_due", broken)
    with pytest.raises(CommandError, match=r"unfinished: papers\.editions\.close_due"):
        run("tick", "--now", DUE.isoformat(), "--no-fetch")
    assert len(transport.accepted) == 1
    assert "no such day" in caplog.text


def test_the_steps_come_in_the_order_of_the_flow(db, monkeypatch):
    done = []
    steps = [
        (editions, "close_due"),
        (topics, "link_seed_papers"),
        (sending, "sweep"),
        (assembly, "assemble_due"),
        (letters, "send_due"),
        (assembly, "thin_old"),
    ]
    for module, name in steps:
        monkeypatch.setattr(module, name, lambda now, name=name: done.append(name))
    assert tasks.prepare(DUE) == []
    assert done == [name for _module, name in steps]


def test_sending_goes_on_until_nothing_is_due(digests, transport, settings):
    settings.CLAIM_LIMIT = 2
    assert tasks.send_all(DUE) == {State.SENT: 6}


def test_a_mail_to_be_tried_later_does_not_keep_the_round_going(digests, transport):
    transport.answers = [Status.RETRY] * 6
    assert tasks.send_all(DUE) == {State.RETRY: 6}
    assert len(transport.windows) == 1


def test_the_command_that_only_sends_assembles_nothing(reader, transport, time_machine):
    time_machine.move_to(DUE)
    assert run("send_digests") == "digests: none due\n"
    assembly.assemble_due(DUE)
    assert run("send_digests") == "digests: sent 1\n"


@pytest.mark.parametrize("command", [("tick", "--no-fetch"), ("send_digests",)])
def test_mail_that_no_server_takes_is_an_error_to_cron(
    digests, transport, settings, time_machine, command
):
    time_machine.move_to(DUE)
    settings.SEND_WINDOW = 2
    transport.answers = [Receipt(Status.RETRY, error="no server", is_services=True)] * 2
    with pytest.raises(CommandError, match="unfinished: digests are still waiting"):
        run(*command)
    assert Digest.objects.filter(state=State.ASSEMBLED).count() == 4


@pytest.mark.parametrize("command", [("tick", "--no-fetch"), ("send_digests",)])
def test_a_round_that_cron_began_shows_that_it_is_alive_as_long_as_it_sends(
    digests, transport, settings, time_machine, command
):
    settings.SEND_WINDOW = 2
    time_machine.move_to(DUE, tick=False)
    seen = []

    def before(messages):
        seen.append(Heartbeat.objects.get(name="tick").at)
        time_machine.shift(timedelta(minutes=1))

    transport.before = before
    run(*command)
    assert seen == [DUE, DUE + timedelta(minutes=1), DUE + timedelta(minutes=2)]


def test_a_round_at_another_moment_is_alive_now_and_while_it_fetches(
    db, transport, time_machine, monkeypatch
):
    time_machine.move_to(DUE, tick=False)
    seen = []

    def slow(now):
        seen.append(Heartbeat.objects.get(name="tick").at)
        time_machine.shift(timedelta(minutes=5))
        return []

    monkeypatch.setattr(fetching, "fetch_due", slow)
    run("tick", "--now", "2026-01-05T06:00")
    seen.append(Heartbeat.objects.get(name="tick").at)
    assert seen == [DUE, DUE + timedelta(minutes=5)]


# -- the tasks -------------------------------------------------------------------------------


@pytest.fixture
def handed_out(monkeypatch) -> list[dict]:
    """The sending tasks that a tick gives to the broker."""
    given: list[dict] = []
    monkeypatch.setattr(tasks.send_due, "apply_async", lambda **options: given.append(options))
    return given


def test_the_tick_hands_out_one_task_for_each_batch(
    edition, handed_out, transport, settings, time_machine
):
    settings.CLAIM_LIMIT = 2
    make_readers(5)
    time_machine.move_to(DUE)
    tasks.tick()
    assert len(handed_out) == 3
    assert {options["expires"] for options in handed_out} == {300}
    assert transport.accepted == []


def test_a_tick_never_floods_the_broker(digests, handed_out, settings, monkeypatch, time_machine):
    settings.CLAIM_LIMIT = 1
    monkeypatch.setattr(tasks, "MOST_TASKS_A_TICK", 4)
    time_machine.move_to(DUE)
    tasks.tick()
    assert len(handed_out) == 4


@pytest.fixture
def assemblers(monkeypatch) -> list[dict]:
    """The assembling tasks that a tick gives to the broker."""
    given: list[dict] = []
    monkeypatch.setattr(tasks.assemble_due, "apply_async", lambda **options: given.append(options))
    return given


def test_a_tick_assembles_for_a_few_readers_itself(edition, handed_out, assemblers, time_machine):
    make_readers(3)
    time_machine.move_to(DUE)
    tasks.tick()
    assert Digest.objects.count() == 3
    assert assemblers == []
    assert len(handed_out) == 1


@pytest.mark.parametrize(("readers", "tasks_given"), [(3, 0), (4, 4), (9, 5)])
def test_a_tick_hands_out_a_task_for_each_share_of_many_readers(
    edition, handed_out, assemblers, monkeypatch, time_machine, readers, tasks_given
):
    monkeypatch.setattr(tasks, "FEW_READERS", 3)
    monkeypatch.setattr(tasks, "MOST_ASSEMBLERS", 5)
    monkeypatch.setattr(shares, "IDS", 1)
    make_readers(readers)
    time_machine.move_to(DUE)
    tasks.tick()
    assert len(assemblers) == tasks_given
    assert {options["expires"] for options in assemblers} <= {45}
    assert Digest.objects.count() == (0 if tasks_given else readers)


def test_a_workers_child_looks_for_no_garbage_among_what_was_loaded_before_it_began():
    gc.unfreeze()
    usual = gc.get_threshold()
    try:
        celery.keep_what_stands()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] > usual[0], "and seldom among what came since"
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)


def test_losing_the_assembling_tasks_makes_nobody_wait_longer_than_a_tick(
    edition, handed_out, assemblers, monkeypatch, time_machine
):
    monkeypatch.setattr(tasks, "FEW_READERS", 3)
    make_readers(5)
    for minute in range(2):
        assemblers.clear()  # the broker is gone
        time_machine.move_to(DUE + timedelta(minutes=minute))
        tasks.tick()
        assert len(assemblers) == 1
    tasks.assemble_due()
    assert Digest.objects.count() == 5


def test_a_tick_that_cannot_hand_out_assembling_does_its_other_work(
    edition, handed_out, monkeypatch, time_machine, caplog
):
    def refused(**options):
        raise BrokerError("Connection refused")

    monkeypatch.setattr(tasks, "FEW_READERS", 3)
    monkeypatch.setattr(tasks.assemble_due, "apply_async", refused)
    make_readers(5)
    time_machine.move_to(DUE)
    tasks.tick()
    assert "assembling not handed out" in caplog.text
    assert not Digest.objects.exists()


def test_an_assembling_task_leaves_the_worker_to_the_next_tick(edition, monkeypatch, time_machine):
    assert timedelta(minutes=1) > tasks.ASSEMBLE_TIME
    assert tasks.ASSEMBLE_TIME.total_seconds() > tasks.ASSEMBLE_EXPIRES_SECONDS
    monkeypatch.setattr(assembly, "BATCH", 2)
    make_readers(6)
    write = assembly._write

    def slow(plans, *, now):
        time_machine.shift(tasks.ASSEMBLE_TIME * 0.6)
        return write(plans, now=now)

    monkeypatch.setattr(assembly, "_write", slow)
    time_machine.move_to(DUE, tick=False)
    tasks.assemble_due()
    assert Digest.objects.count() == 4


def test_losing_every_task_loses_no_mail(reader, handed_out, transport, time_machine):
    time_machine.move_to(DUE)
    tasks.tick()
    handed_out.clear()  # the broker is gone
    time_machine.move_to(DUE + timedelta(minutes=1))
    tasks.tick()
    assert len(handed_out) == 1
    tasks.send_due()
    assert len(transport.accepted) == 1


def test_a_task_delivered_twice_sends_once(digest, transport, time_machine):
    time_machine.move_to(DUE)
    tasks.send_due()
    tasks.send_due()
    assert len(transport.accepted) == 1


def test_a_tick_that_cannot_reach_the_broker_has_done_its_work_all_the_same(
    reader, monkeypatch, time_machine, caplog
):
    def refused(**options):
        raise BrokerError("Connection refused")

    monkeypatch.setattr(tasks.send_due, "apply_async", refused)
    time_machine.move_to(DUE)
    tasks.tick()
    assert Digest.objects.get().state == State.ASSEMBLED
    assert "sending not handed out" in caplog.text


# -- the soft stop -----------------------------------------------------------------------------


@pytest.fixture
def going_on(monkeypatch) -> None:
    """The flag of this process, put back as it was."""
    monkeypatch.setattr(tasks, "_stopping", bytearray(1))


@pytest.mark.usefixtures("going_on")
def test_a_worker_that_is_told_to_stop_ends_after_the_window_in_hand(
    digests, transport, settings, time_machine
):
    settings.SEND_WINDOW = 2
    time_machine.move_to(DUE)
    transport.before = lambda messages: worker_shutting_down.send(sender="worker", sig="SIGTERM")
    tasks.send_due()
    assert Counter(Digest.objects.values_list("state", flat=True)) == {"sent": 2, "assembled": 4}
    assert set(Digest.objects.values_list("claim_token", flat=True)) > {None}


@pytest.mark.usefixtures("going_on")
def test_a_worker_that_is_stopping_claims_nothing(digests, transport, time_machine):
    time_machine.move_to(DUE)
    tasks.stop_sending()
    tasks.send_due()
    assert transport.windows == []
    assert {digest.state for digest in Digest.objects.all()} == {State.ASSEMBLED}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers' processes are forked")
@pytest.mark.usefixtures("db")
def test_the_word_to_stop_reaches_processes_that_were_forked_before(monkeypatch):
    monkeypatch.setattr(tasks, "_stopping", mmap.mmap(-1, 1))
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        while not tasks.is_stopping():
            os.write(theirs, b".")
            time.sleep(0.01)
        os._exit(7)
    os.read(ours, 1)
    tasks.stop_sending()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.usefixtures("going_on")
def test_a_worker_that_is_stopping_assembles_no_further(edition, monkeypatch, time_machine):
    monkeypatch.setattr(assembly, "BATCH", 2)
    make_readers(6)
    write = assembly._write

    def told_to_stop(plans, *, now):
        worker_shutting_down.send(sender="worker", sig="SIGTERM")
        return write(plans, now=now)

    monkeypatch.setattr(assembly, "_write", told_to_stop)
    time_machine.move_to(DUE)
    tasks.assemble_due()
    assert Digest.objects.count() == 2


def test_ctrl_c_ends_a_round_after_the_readers_in_hand(
    edition, transport, monkeypatch, time_machine
):
    monkeypatch.setattr(assembly, "BATCH", 2)
    make_readers(6)
    write = assembly._write

    def interrupted(plans, *, now):
        signal.raise_signal(signal.SIGINT)
        return write(plans, now=now)

    monkeypatch.setattr(assembly, "_write", interrupted)
    time_machine.move_to(DUE)
    with pytest.raises(CommandError, match="unfinished"):
        run("tick", "--no-fetch")
    assert Digest.objects.count() == 2
    assert transport.accepted == []


def test_a_send_ends_before_its_lease_and_long_before_celery_would_kill_it(
    digests, transport, settings, time_machine
):
    assert timedelta(seconds=settings.LEASE_SECONDS) > tasks.SEND_TIME
    assert settings.LEASE_SECONDS < settings.CELERY_TASK_TIME_LIMIT
    settings.SEND_WINDOW = 2
    time_machine.move_to(DUE)
    transport.before = lambda messages: time_machine.shift(tasks.SEND_TIME * 0.6)
    tasks.send_due()
    assert len(transport.windows) == 2
    assert Counter(Digest.objects.values_list("state", flat=True)) == {"sent": 4, "assembled": 2}


@pytest.mark.parametrize("command", [("tick", "--no-fetch"), ("send_digests",)])
def test_ctrl_c_ends_a_command_after_the_mails_in_hand(
    digests, transport, settings, time_machine, command
):
    time_machine.move_to(DUE)
    settings.SEND_WINDOW = 2
    before = signal.getsignal(signal.SIGINT)
    transport.before = lambda messages: signal.raise_signal(signal.SIGINT)
    with pytest.raises(CommandError, match="unfinished"):
        run(*command)
    assert Counter(Digest.objects.values_list("state", flat=True)) == {"sent": 2, "assembled": 4}
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_ends_it_at_once(digests, transport, time_machine):
    time_machine.move_to(DUE)

    def twice(messages):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    transport.before = twice
    with pytest.raises(KeyboardInterrupt):
        run("send_digests")


def test_a_silent_week_ends_every_slot(db, transport):
    make_edition(SUNDAY, [make_paper()])
    reader = make_reader()
    for day in range(7):
        run("tick", "--now", (DUE + timedelta(days=day)).isoformat(), "--no-fetch")
    ended = [row.skip_reason or row.state for row in Digest.objects.order_by("slot__date")]
    assert ended == [State.SENT] + [Digest.SkipReason.NOTHING] * 6
    reader.refresh_from_db()
    assert reader.last_slot == date(2026, 11, 29)
    assert Subscriber.objects.get().next_due_at == DUE + timedelta(days=7)
