"""Signs of life come from work that is done, and looking for them never stops the work."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from config.celery import app
from digest import beat, tasks
from digest.models import Heartbeat
from tests.factories import DUE

SECOND = timedelta(seconds=1)


def noted() -> dict[str, object]:
    return dict(Heartbeat.objects.values_list("name", "at"))


@pytest.fixture
def scheduler(time_machine) -> beat.Scheduler:
    """As `celery beat` makes it; its broker is in memory."""
    time_machine.move_to(DUE, tick=False)
    app.loader.import_default_modules()
    return beat.Scheduler(app)


def test_a_heartbeat_is_noted_at_most_every_quarter_of_a_minute(db):
    pulse = beat.Pulse("send")
    for seconds in (0, 5, 14):
        pulse.note(DUE + seconds * SECOND)
        assert noted() == {"send": DUE}
    pulse.note(DUE + 15 * SECOND)
    assert noted() == {"send": DUE + 15 * SECOND}


def test_a_database_that_is_away_costs_one_heartbeat_and_no_more(db, monkeypatch, caplog):
    def gone(name, now):
        raise OperationalError("the server closed the connection")

    pulse = beat.Pulse("send")
    closed = []
    with monkeypatch.context() as patch:
        patch.setattr(Heartbeat, "note", gone)
        patch.setattr(connection, "close", lambda: closed.append(True))
        pulse.note(DUE)
    assert closed == [True]
    assert "heartbeat not noted" in caplog.text
    pulse.note(DUE + 15 * SECOND)
    assert noted() == {"send": DUE + 15 * SECOND}


def test_every_turn_of_beat_is_a_sign_of_its_life(db, scheduler, time_machine):
    time_machine.move_to(DUE, tick=False)
    assert scheduler.tick() <= scheduler.max_interval
    assert noted() == {"beat": DUE}


def test_beat_goes_on_while_the_broker_is_away(db, scheduler, monkeypatch, time_machine, caplog):
    tried = []

    def refused(self, *args, **kwargs):
        tried.append(self.name)
        raise BrokerError("Connection refused")

    monkeypatch.setattr("celery.app.task.Task.apply_async", refused)
    time_machine.move_to(timezone.now() + timedelta(hours=2))
    while scheduler.tick() == 0:
        pass
    assert sorted(set(tried)) == [
        "digest.heartbeat", "digest.tick", "papers.encode", "papers.enrich", "papers.fetch_due",
        "papers.fit_trending",
        "papers.look_up_wanted", "papers.summarize",
        "subscribers.encode_topics", "subscribers.pass_on_wishes",
    ]  # fmt: skip
    assert caplog.text.count("task not handed out") == len(tried) == len(scheduler.schedule)
    assert "Connection refused" in caplog.text
    assert "Traceback" not in caplog.text
    assert list(noted()) == ["beat"]


def test_each_queue_is_asked_for_a_sign_of_life_by_a_task_that_goes_through_it():
    asked = {
        entry["options"]["queue"]: (entry["args"], entry["options"]["expires"])
        for entry in app.conf.beat_schedule.values()
        if entry["task"] == "digest.heartbeat"
    }
    assert asked == {queue: ([queue], 55) for queue in app.conf.task_queues}


def test_nothing_on_the_clock_outlives_the_next_of_its_kind(scheduler):
    """Nor is anything scheduled but plain intervals: no crontab, no local zone."""
    for entry in scheduler.schedule.values():
        assert entry.options["expires"] < entry.schedule.run_every.total_seconds() <= 3600


def test_the_task_notes_its_queue(db, time_machine):
    time_machine.move_to(DUE, tick=False)
    tasks.heartbeat("fetch")
    assert noted() == {"fetch": DUE}


def test_a_long_send_shows_between_windows_that_it_is_alive(
    digests, transport, settings, time_machine, monkeypatch
):
    monkeypatch.setattr(tasks, "_sends", beat.Pulse("send"))
    settings.SEND_WINDOW = 2
    time_machine.move_to(DUE, tick=False)
    seen = []

    def slow(messages):
        seen.append(noted()["send"])
        time_machine.shift(20)

    transport.before = slow
    tasks.send_due()
    assert seen == [DUE, DUE + 20 * SECOND, DUE + 40 * SECOND]


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_set_stops_no_round(db, scheduler, monkeypatch, time_machine, hours):
    handed_out = []
    monkeypatch.setattr(scheduler, "apply_entry", lambda entry, producer=None: handed_out.append(1))
    ahead = beat._ahead_seconds()

    def turns(seconds: int) -> int:
        handed_out.clear()
        for _ in range(seconds):
            scheduler.tick()
            time_machine.shift(1)
        return len(handed_out)

    time_machine.move_to(DUE, tick=False)
    monkeypatch.setattr(beat, "_ahead_seconds", lambda: ahead)
    before = turns(130)
    monkeypatch.setattr(beat, "_ahead_seconds", lambda: ahead + hours * 3600)
    time_machine.shift(hours * 3600)
    after = turns(130)
    # Set ahead, each task is due at once; put back, none is.
    at_once = len(scheduler.schedule) if hours > 0 else 0
    assert before >= 2
    assert abs(after - at_once - before) <= before / 2
