from __future__ import annotations

import socket
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from time import monotonic
from uuid import uuid4

import pytest
import time_machine
from django.core.cache import cache
from django.db import DatabaseError
from django.urls import reverse

from digest import health
from digest.models import Digest, Heartbeat, Hold, Slot
from papers.models import Edition, Fetch, Source
from subscribers.models import Subscriber, TransportState
from tests.factories import DUE, make_edition, make_paper, make_reader

pytestmark = pytest.mark.django_db

NOW = DUE + timedelta(minutes=5)
QUEUES = ["default", "fetch", "send"]


@pytest.fixture(autouse=True)
def five_past_six():
    cache.clear()
    with time_machine.travel(NOW, tick=False):
        yield
    cache.clear()


@pytest.fixture
def well(db) -> None:
    """Everything at work: signs of life, a source just read, nobody waiting."""
    for name in ["beat", *QUEUES]:
        Heartbeat.note(name, NOW - timedelta(seconds=20))
    source = Source.objects.create(
        slug="huggingface", name="Hugging Face", next_fetch_at=NOW + timedelta(minutes=20)
    )
    for day in (NOW.date(), NOW.date() - timedelta(days=3)):
        Fetch.objects.create(
            source=source,
            day=day,
            status=Fetch.Status.OK,
            papers_seen=30,
            started_at=NOW - timedelta(minutes=10),
        )


def failing() -> list[str]:
    return [check.name for check in health.checks(NOW) if not check.is_ok]


def said(name: str) -> str:
    return next(check.said for check in health.checks(NOW) if check.name == name)


def make_digest(**fields) -> Digest:
    slot, _made = Slot.objects.get_or_create(date=DUE.date())
    number = Digest.objects.count()
    reader = make_reader(f"r{number}@example.org", next_due_at=DUE + timedelta(days=1))
    Slot.objects.filter(pk=slot.pk).update(due=number + 1)
    return Digest.objects.create(
        **{"subscriber": reader, "slot": slot, "due_at": DUE, "assembled_at": DUE} | fields
    )


def test_a_well_installation_is_ready(well, client):
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert "no-store" in response["Cache-Control"]
    lines = response.content.decode().splitlines()
    assert [line[:4] for line in lines] == ["ok  "] * len(lines)
    assert len(lines) == len(health.checks(NOW))


def test_one_that_was_just_started_is_not_ready_until_everything_gave_a_sign(well, client):
    Heartbeat.objects.all().delete()
    assert failing() == ["beat", "worker of default", "worker of fetch", "worker of send"]
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "FAIL beat: No sign of life yet." in response.content.decode()


@pytest.mark.parametrize(
    ("name", "check", "setting", "seconds"),
    [
        ("beat", "beat", "READY_BEAT_SECONDS", 180),
        ("send", "worker of send", "READY_WORKER_SECONDS", 300),
        ("fetch", "worker of fetch", "READY_WORKER_SECONDS", 300),
    ],
)
def test_a_part_that_fell_silent_is_named(well, settings, name, check, setting, seconds):
    setattr(settings, setting, seconds)
    Heartbeat.note(name, NOW - timedelta(seconds=seconds))
    assert failing() == []
    Heartbeat.note(name, NOW - timedelta(seconds=seconds + 1))
    assert failing() == [check]


def parts() -> list[str]:
    """Those whose signs of life are judged."""
    named = ("beat", "tick", "worker of")
    return [check.name for check in health.checks(NOW) if check.name.startswith(named)]


def test_a_tick_from_cron_does_for_beat_and_workers(well, client):
    Heartbeat.objects.all().delete()
    Heartbeat.note("tick", NOW - timedelta(seconds=40))
    assert failing() == []
    assert parts() == ["tick"]
    assert client.get("/readyz").status_code == 200
    assert said("tick") == (
        "Last sign of life 40 s ago. It does the rounds here, not beat and workers."
    )


def test_a_cron_that_stopped_is_named_and_not_the_processes_that_never_were(well, settings):
    Heartbeat.objects.all().delete()
    settings.READY_WORKER_SECONDS = 300
    Heartbeat.note("tick", NOW - timedelta(seconds=300))
    assert failing() == []
    Heartbeat.note("tick", NOW - timedelta(seconds=301))
    assert failing() == ["tick"]


def test_a_tick_by_hand_long_ago_hides_no_process_and_is_not_waited_for(well):
    Heartbeat.note("tick", NOW - timedelta(days=1))
    assert failing() == []
    Heartbeat.note("send", NOW - timedelta(hours=1))
    assert failing() == ["worker of send"]
    Heartbeat.objects.exclude(name="tick").update(at=NOW - timedelta(hours=2))
    assert failing() == ["beat", *(f"worker of {queue}" for queue in QUEUES)]


def test_where_all_processes_live_they_are_judged_and_no_tick_is_needed(well):
    Heartbeat.note("tick", NOW)
    assert parts() == ["beat", *(f"worker of {queue}" for queue in QUEUES)]


def test_a_tick_does_where_the_processes_were_given_up(well):
    Heartbeat.objects.update(at=NOW - timedelta(days=1))
    Heartbeat.note("tick", NOW)
    assert failing() == []
    Heartbeat.note("tick", NOW - timedelta(hours=1))
    assert failing() == ["tick"]


def test_signs_of_life_that_cannot_be_read_are_a_line_and_no_error(well, client, monkeypatch):
    def broken(now):
        raise ZeroDivisionError

    monkeypatch.setattr(health, "signs", broken)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "FAIL signs of life: It failed: ZeroDivisionError." in response.content.decode()


def test_a_reader_who_fell_due_long_ago_is_waited_for(well):
    reader = make_reader(next_due_at=NOW - timedelta(minutes=15))
    assert failing() == []
    reader.next_due_at = NOW - timedelta(minutes=16)
    reader.save()
    assert failing() == ["readers"]
    assert said("readers") == "The oldest has waited for 16 min."


def test_nobody_waits_for_a_reader_who_left(well):
    reader = make_reader(next_due_at=NOW - timedelta(hours=2))
    reader.state, reader.next_due_at = "unsubscribed", None
    reader.save()
    assert failing() == []


def test_a_digest_that_should_have_left_is_waited_for(well):
    make_digest(state="sent", sent_at=DUE, due_at=NOW - timedelta(hours=3))
    assert failing() == []
    make_digest(due_at=NOW - timedelta(minutes=16))
    assert failing() == ["digests"]


def test_a_digest_that_is_retried_waits_since_its_retry_and_not_since_it_was_due(well):
    digest = make_digest(
        state="retry", retry_at=NOW + timedelta(minutes=1), due_at=NOW - timedelta(hours=1)
    )
    assert failing() == []
    retry_at(digest, NOW)
    assert failing() == []
    assert said("digests") == "The oldest has waited for 0 s."
    retry_at(digest, NOW - timedelta(minutes=15))
    assert failing() == []
    retry_at(digest, NOW - timedelta(minutes=16))
    assert failing() == ["digests"]


def retry_at(digest: Digest, moment: datetime) -> None:
    Digest.objects.filter(pk=digest.pk).update(retry_at=moment)


@pytest.mark.parametrize("state", ["claimed", "sending"])
def test_a_digest_in_somebodys_hands_is_waited_for_once_its_lease_ran_out_long_ago(well, state):
    digest = make_digest(
        state=state,
        claim_token=uuid4(),
        lease_until=NOW + timedelta(minutes=4),
        due_at=NOW - timedelta(hours=1),
    )
    assert failing() == []
    assert said("digests") == "None waits."
    lease_until = NOW - timedelta(minutes=1)  # the next tick sweeps it
    Digest.objects.filter(pk=digest.pk).update(lease_until=lease_until)
    assert failing() == []
    Digest.objects.filter(pk=digest.pk).update(lease_until=NOW - timedelta(minutes=16))
    assert failing() == ["digests"]


def test_of_many_waiting_digests_the_oldest_is_told(well):
    make_digest(state="retry", retry_at=NOW - timedelta(minutes=3), due_at=NOW - timedelta(hours=3))
    make_digest(due_at=NOW - timedelta(minutes=7))
    make_digest(due_at=NOW - timedelta(minutes=5))
    assert said("digests") == "The oldest has waited for 7 min."


def test_a_digest_to_be_sent_again_keeps_no_reader_waiting_but_itself(well):
    """Under a hold it cannot leave, and the next one is not made before it has."""
    digest = make_digest(state="assembled", transport="smtp", due_at=NOW - timedelta(hours=2))
    digest.subscriber.next_due_at = NOW - timedelta(hours=1)
    digest.subscriber.save()
    hold = Hold.objects.create(began_at=NOW - timedelta(hours=3), began_by="ada")
    assert failing() == []
    assert said("readers") == "None waits."
    hold.delete()
    assert failing() == ["digests"]
    Digest.objects.update(transport="")  # never tried: the next one may be made instead
    assert failing() == ["readers", "digests"]


@pytest.mark.parametrize("field", ["confirmation_due_at", "link_due_at", "address_change_due_at"])
def test_a_service_mail_that_should_have_left_is_waited_for_even_under_a_hold(well, field):
    Hold.objects.create(began_at=NOW - timedelta(hours=3), began_by="ada")
    reader = make_reader(next_due_at=NOW + timedelta(days=1))

    def is_due(at: datetime | None) -> None:
        Subscriber.objects.filter(pk=reader.pk).update(**{field: at})

    is_due(NOW - timedelta(minutes=15))
    assert failing() == []
    is_due(NOW - timedelta(minutes=16))
    assert failing() == ["service mails"]
    assert said("service mails") == "The oldest has waited for 16 min."
    is_due(NOW + timedelta(minutes=5))  # in hand, or to be retried
    assert failing() == []
    assert said("service mails") == "None waits."
    is_due(None)
    assert failing() == []


def test_the_oldest_service_mail_of_any_kind_is_told_beside_one_that_is_retried(well):
    make_reader(
        next_due_at=NOW + timedelta(days=1),
        link_due_at=NOW - timedelta(minutes=3),
        address_change_due_at=NOW + timedelta(minutes=9),
    )
    make_reader(
        "ben@example.org",
        next_due_at=NOW + timedelta(days=1),
        confirmation_due_at=NOW - timedelta(minutes=5),
    )
    assert said("service mails") == "The oldest has waited for 5 min."


def test_an_edition_that_should_have_closed_is_named(well):
    yesterday = NOW.date() - timedelta(days=1)
    close_by = datetime.combine(NOW.date(), time(2), UTC)
    edition = Edition.objects.create(day=yesterday, opened_at=NOW - timedelta(days=1))
    Edition.objects.create(day=NOW.date(), opened_at=NOW)
    assert named_late(close_by + timedelta(minutes=15)) == []
    assert named_late(close_by + timedelta(minutes=16)) == ["editions"]
    assert said("editions") == f"These should have closed by now: {yesterday}."
    edition.closed_at, edition.closed_seq = NOW, 1
    edition.save()
    assert failing() == []


def named_late(moment: datetime) -> list[str]:
    checks = health.checks(moment)
    return [each.name for each in checks if each.name == "editions" and not each.is_ok]


def test_an_edition_of_a_day_long_past_may_be_read_in_before_it_closes(well):
    day = NOW.date() - timedelta(days=90)
    edition = Edition.objects.create(
        day=day, is_backfill=True, opened_at=NOW - timedelta(minutes=9)
    )
    assert failing() == []
    Edition.objects.filter(pk=edition.pk).update(opened_at=NOW - timedelta(minutes=16))
    assert failing() == ["editions"]


def test_a_hold_is_a_decision_and_no_failure_and_nobody_is_named(well):
    make_digest(due_at=NOW - timedelta(hours=2))
    Hold.objects.create(began_at=NOW - timedelta(hours=1), began_by="ada", note="ben’s bounces")
    assert failing() == []
    assert said("sending") == "Held for 1 h."
    assert said("digests") == "The oldest has waited for 2 h; sending is held."
    Hold.objects.update(released_at=NOW, released_by="ada")
    assert failing() == ["digests"]
    assert said("sending") == "Not held."


def test_a_transport_in_trouble_is_a_failure_once_there_is_no_other(well, settings, client):
    TransportState.objects.create(
        name="locmem", failures=3, open_until=NOW + timedelta(minutes=2), error="no ada@here"
    )
    assert failing() == ["transports"]
    told = "locmem: It rests until 23 November, 06:07 UTC: nothing got through the last 3 times."
    assert said("transports") == told
    assert "ada" not in client.get("/readyz").content.decode()

    settings.FALLBACK_EMAIL = {"EMAIL_BACKEND": "anymail.backends.test.EmailBackend"}
    assert failing() == []
    assert said("transports") == f"{told} test: Mail may leave by it."
    settings.FALLBACK_EMAIL = {}
    TransportState.objects.update(open_until=NOW)
    assert failing() == []


def test_a_day_s_limit_is_a_decision_and_no_failure(well, settings):
    settings.MAIL_PER_DAY = 5000
    TransportState.objects.create(name="locmem", day=NOW.date(), used=5000)
    assert failing() == []
    assert said("transports").startswith("locmem: Today’s 5,000 mails are used up")


def test_a_source_that_tells_nothing_new_is_named(well):
    Source.objects.update(next_fetch_at=NOW - timedelta(hours=9))
    last = NOW - timedelta(hours=10)
    Fetch.objects.filter(day=NOW.date()).update(day=last.date(), started_at=last)
    assert failing() == ["sources"]
    assert said("sources").startswith("huggingface: No success for 10")


@pytest.mark.parametrize("accept", ["text/plain", "application/json"])
def test_what_a_source_or_a_mirror_said_is_not_repeated_to_anybody(well, client, accept):
    last = NOW - timedelta(hours=8)
    Fetch.objects.filter(day=NOW.date()).update(
        day=last.date(),
        started_at=last,
        status=Fetch.Status.FAILED,
        error="https://ada:swordfish@mirror.example.org: <b>Moved to our new shop</b>",
    )
    response = client.get("/readyz", headers={"Accept": accept})
    assert response.status_code == 503
    said = response.content.decode()
    assert "huggingface: Never read" in said
    for word in ("swordfish", "ada", "mirror", "shop"):
        assert word not in said, word


def test_a_slot_that_does_not_add_up_is_named(well):
    make_digest(state="sent", sent_at=DUE)
    assert failing() == []
    cache.clear()
    Slot.objects.update(due=2)
    assert failing() == ["accounts"]
    assert said("accounts") == "Readers due and digests differ: 2026-11-23."


def test_a_slot_that_grows_while_it_is_read_is_not_taken_for_broken(well, monkeypatch):
    """Its `due` was read before a batch was written, its digests afterwards."""
    make_digest(state="sent", sent_at=DUE)
    torn = health.Account(DUE.date(), due=0, by_state={"sent": 1})
    monkeypatch.setattr(health.accounts, "recent", lambda number, now: [torn])
    assert not torn.is_conserved
    assert failing() == []


def test_counts_that_were_kept_wrongly_are_found(well):
    make_digest(state="sent", sent_at=DUE)
    Slot.objects.update(counts={"sent": 2})
    assert failing() == ["accounts"]


def test_a_check_that_breaks_is_a_line_and_no_error(well, client, monkeypatch):
    def broken(now):
        raise ZeroDivisionError

    monkeypatch.setattr(health.freshness, "all_sources", broken)
    response = client.get("/readyz")
    assert response.status_code == 503
    lines = response.content.decode().splitlines()
    assert [line for line in lines if line.startswith("FAIL")] == [
        "FAIL sources: It failed: ZeroDivisionError."
    ]


def test_a_database_that_is_away_is_asked_once(well, client, monkeypatch):
    tries = []

    class Away:
        vendor = "sqlite"

        @contextmanager
        def cursor(self):
            tries.append(1)
            raise DatabaseError("no route to host")
            yield

    monkeypatch.setattr(health, "connection", Away())
    response = client.get("/readyz", headers={"Accept": "application/json"})
    assert response.status_code == 503
    said = response.json()
    assert not said["ready"]
    ok = {check["name"] for check in said["checks"] if check["is_ok"]}
    assert ok == {"broker"}
    assert tries == [1]


def test_json_says_the_same_as_the_lines(well, client):
    Heartbeat.objects.filter(name="beat").delete()
    said = client.get("/readyz", headers={"Accept": "application/json"}).json()
    lines = client.get("/readyz").content.decode().splitlines()
    assert not said["ready"]
    assert lines == [
        f"{'ok  ' if check['is_ok'] else 'FAIL'} {check['name']}: {check['said']}"
        for check in said["checks"]
    ]


def test_no_reader_is_named_whatever_fails(client):
    make_reader(next_due_at=NOW - timedelta(hours=3))
    make_edition(DUE.date(), [make_paper()])
    assert "@" not in client.get("/readyz").content.decode()


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_readiness_is_only_read(well, client, method):
    assert getattr(client, method)(reverse("digest:readyz")).status_code == 405


def test_a_broker_that_refuses_is_a_failure(well, settings, monkeypatch):
    with _port() as port:
        _by_redis(settings, monkeypatch, f"redis://127.0.0.1:{port}/0")
    assert failing() == ["broker"]


def test_a_broker_that_says_nothing_is_not_waited_for(well, settings, monkeypatch):
    with _port() as port:
        _by_redis(settings, monkeypatch, f"redis://127.0.0.1:{port}/0")
        failing()  # what is loaded at the first connection takes its own time
        with time_machine.travel(NOW, tick=True):
            began = monotonic()
            assert failing() == ["broker"]
            assert monotonic() - began < 2 * health.BROKER_SECONDS


def test_a_broker_that_answers_is_well(well, settings, monkeypatch, redis_url):
    _by_redis(settings, monkeypatch, redis_url)
    assert failing() == []


@contextmanager
def _port():
    """Listens, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _by_redis(settings, monkeypatch, url: str) -> None:
    settings.CELERY_BROKER_URL = url
    app = health.current_app._get_current_object()
    connect = app.connection_for_write
    monkeypatch.setattr(app, "connection_for_write", lambda: connect(url=url))
