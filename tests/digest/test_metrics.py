from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.cache import cache
from prometheus_client.parser import text_string_to_metric_families

from digest import metrics
from digest.models import DeliveryEvent, Digest, Heartbeat, Hold, Slot
from papers.models import Edition, Fetch, Source
from subscribers.models import Subscriber, Suppression, TransportState
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader, make_readers

pytestmark = pytest.mark.django_db

NOW = DUE + timedelta(minutes=5)
STATES = ["sent"] * 3 + ["skipped", "uncertain"]


@pytest.fixture(autouse=True)
def five_past_six():
    cache.clear()
    with time_machine.travel(NOW, tick=False):
        yield
    cache.clear()


@pytest.fixture
def slots() -> list[Slot]:
    """Today's, in which one of six waits; yesterday's, which lacks a digest; and an older one."""
    readers = make_readers(6, next_due_at=DUE + timedelta(days=1))
    slots = [
        Slot.objects.create(date=DUE.date() - timedelta(days=back), due=6) for back in range(3)
    ]
    for slot in slots:
        states = [*STATES, "assembled"] if slot.date == DUE.date() else STATES
        for reader, state in zip(readers, states, strict=False):
            Digest.objects.create(
                subscriber=reader,
                slot=slot,
                due_at=DUE,
                assembled_at=DUE,
                state=state,
                skip_reason="nothing" if state == "skipped" else "",
                sent_at=DUE if state == "sent" else None,
            )
    return slots


def scrape(client, **extra) -> dict[tuple[str, ...], float]:
    """(name, label values...) -> number."""
    response = client.get("/metrics", **extra)
    assert response.status_code == 200, response.content
    text = response.content.decode()
    return {
        (sample.name.removeprefix("paperround_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_number_of_the_ledger_is_the_databases(client, slots):
    read = scrape(client)
    for label, slot in zip(("current", "previous"), slots, strict=False):
        for state in Digest.State:
            rows = Digest.objects.filter(slot=slot, state=state)
            assert read["slot_digests", label, state.value] == rows.count(), (label, state)
        assert read["slot_due_readers", label] == slot.due
    assert read["slot_conservation_gap", "current"] == 0
    assert read["slot_conservation_gap", "previous"] == 1
    assert read["slots_not_conserved",] == 2
    assert read["uncertain_digests",] == 3
    assert read["open_digests", "assembled"] == 1
    assert read["open_digests", "sending"] == 0
    assert read["oldest_due_age_seconds", "digest"] == 300
    assert read["oldest_due_age_seconds", "reader"] == 0


def test_the_number_of_series_does_not_grow_with_the_days(client, slots):
    before = {key[:2] for key in scrape(client)}
    for back in range(3, 30):
        Slot.objects.create(date=DUE.date() - timedelta(days=back))
    cache.clear()
    assert {key[:2] for key in scrape(client)} == before


def test_readers_are_counted_by_state_and_by_how_long_the_oldest_waits(client):
    make_readers(3)
    make_reader("gone@example.org", state="unsubscribed", next_due_at=None)
    read = scrape(client)
    assert {state: read["readers", state] for state in Subscriber.State.values} == {
        "pending": 0,
        "active": 3,
        "unsubscribed": 1,
    }
    assert read["oldest_due_age_seconds", "reader"] == 300


def test_signs_of_life_are_told_by_their_age(client):
    Heartbeat.note("beat", NOW - timedelta(seconds=12))
    Heartbeat.note("send", NOW - timedelta(seconds=400))
    read = scrape(client)
    assert read["heartbeat_age_seconds", "beat"] == 12
    assert read["heartbeat_age_seconds", "send"] == 400
    assert read["rounds_alive",] == 0


def test_whoever_does_the_rounds_gives_the_signs_of_life(client):
    Heartbeat.note("tick", NOW - timedelta(seconds=30))
    read = scrape(client)
    assert read["heartbeat_age_seconds", "tick"] == 30
    assert read["rounds_alive",] == 1
    cache.clear()
    for name in ("beat", "default", "fetch", "send"):
        Heartbeat.note(name, NOW)
    Heartbeat.note("tick", NOW - timedelta(days=30))
    read = scrape(client)
    assert ("heartbeat_age_seconds", "tick") not in read
    assert read["heartbeat_age_seconds", "send"] == 0
    assert read["rounds_alive",] == 1


def test_service_mails_and_editions_that_are_overdue_are_told(client):
    make_reader(next_due_at=DUE + timedelta(days=1), link_due_at=NOW - timedelta(minutes=2))
    Edition.objects.create(day=SUNDAY, opened_at=NOW - timedelta(days=1))
    read = scrape(client)
    assert read["oldest_due_age_seconds", "service_mail"] == 120
    assert read["editions_overdue",] == 1


def test_a_hold_is_told(client):
    assert scrape(client)["hold_in_force",] == 0
    Hold.objects.create(began_at=NOW, began_by="ada")
    cache.clear()
    assert scrape(client)["hold_in_force",] == 1


def test_what_a_transport_was_given_and_whether_it_rests_is_told(client, settings):
    read = scrape(client)
    assert read["transport_used_today", "locmem"] == read["transport_circuit_open", "locmem"] == 0
    assert ("transport_limit_today", "locmem") not in read
    cache.clear()
    settings.MAIL_PER_DAY = 5000
    rests_until = NOW + timedelta(minutes=1)
    TransportState.objects.create(
        name="locmem", day=NOW.date(), used=1234, open_until=rests_until, failures=1
    )
    TransportState.objects.create(name="of old", day=NOW.date(), used=9)
    read = scrape(client)
    assert read["transport_used_today", "locmem"] == 1234
    assert read["transport_limit_today", "locmem"] == 5000
    assert read["transport_circuit_open", "locmem"] == 1
    assert not [key for key in read if "of old" in key]


def test_wrong_mail_settings_cost_no_other_number(client, settings):
    settings.EMAIL_BACKEND = "no.such.Backend"
    read = scrape(client)
    assert read["readers", "active"] == 0
    assert not [key for key in read if key[0].startswith("transport_")]


def test_the_newest_edition_and_its_source_are_told(client):
    make_edition(SUNDAY - timedelta(days=1), [make_paper()])
    edition = make_edition(SUNDAY, [make_paper() for _ in range(4)])
    edition.entries.filter(position=1).update(dropped_at=NOW)
    source = Source.objects.get(slug="huggingface")
    at = NOW - timedelta(minutes=10)
    Fetch.objects.create(
        source=source, day=NOW.date(), status="ok", papers_seen=30, started_at=at, finished_at=at
    )
    read = scrape(client)
    assert read["edition_papers",] == 3
    assert read["edition_closed",] == 1
    assert read["edition_timestamp_seconds",] == 1795305600  # 2026-11-22
    assert read["source_success_age_seconds", "huggingface"] == 600
    assert read["source_fresh", "huggingface"] == 1


def test_what_providers_said_is_told_for_a_day(client):
    ages = [50, 30, 25, 23, 2, 1]
    for number, hours in enumerate(ages):
        DeliveryEvent.objects.create(
            provider="test",
            event_id=str(number),
            event_type="bounced" if number % 2 else "delivered",
            occurred_at=NOW,
            received_at=NOW - timedelta(hours=hours),
        )
    DeliveryEvent.objects.get(event_id="1").delete()
    read = scrape(client)
    assert read["delivery_events_last_day", "bounced"] == 2
    assert read["delivery_events_last_day", "delivered"] == 1


def test_no_event_of_the_last_day_is_no_event(client):
    at = NOW - timedelta(days=2)
    DeliveryEvent.objects.create(
        provider="test", event_id="1", event_type="sent", occurred_at=at, received_at=at
    )
    assert not [key for key in scrape(client) if key[0] == "delivery_events_last_day"]


def test_suppressions_are_told_by_reason(client):
    for number, reason in enumerate(["bounce", "bounce", "complaint"]):
        Suppression.objects.create(address_hash=f"{number:064}", reason=reason)
    read = scrape(client)
    assert read["suppressions", "bounce"] == 2
    assert read["suppressions", "complaint"] == 1
    assert read["suppressions", "erasure"] == 0


def test_an_empty_installation_answers_too(client, settings):
    read = scrape(client)
    assert read["readers", "active"] == 0
    assert read["build_info", settings.VERSION] == 1
    assert read["process_resident_memory_bytes",] > 0


def test_a_second_monitor_costs_no_query(client, slots, django_assert_num_queries):
    first = scrape(client)
    make_reader()
    with django_assert_num_queries(0):
        second = scrape(client)
    assert second["readers", "active"] == first["readers", "active"] == 6
    with time_machine.travel(NOW + timedelta(seconds=metrics.SCRAPE_SECONDS + 1), tick=False):
        assert scrape(client)["readers", "active"] == 7


def test_every_family_says_what_it_is(client, slots):
    text = client.get("/metrics").content.decode()
    ours = [each for each in text_string_to_metric_families(text) if "paperround" in each.name]
    assert len(ours) > 15
    assert all(family.documentation.endswith((".", "fault.")) for family in ours)


def test_no_reader_is_named(client, slots):
    assert "@" not in client.get("/metrics").content.decode()


def test_without_a_token_it_is_for_this_machine_and_for_staff(client):
    afar = {"REMOTE_ADDR": "203.0.113.9"}
    assert client.get("/metrics", **afar).status_code == 403
    assert client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 403
    client.force_login(User.objects.create_user("reader"))
    assert client.get("/metrics", **afar).status_code == 403
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert scrape(client, **afar)


def test_with_a_token_it_is_for_whoever_knows_it(client, settings):
    settings.METRICS_TOKEN = "open sesame"
    for given in ("", "Bearer", "Bearer wrong", "open sesame", "Bearer open sesame "):
        refused = client.get("/metrics", headers={"Authorization": given} if given else {})
        assert (refused.status_code, refused.content) == (401, b""), given
    afar = {"REMOTE_ADDR": "203.0.113.9"}
    assert scrape(client, headers={"Authorization": "Bearer open sesame"}, **afar)


def test_metrics_are_only_read(client):
    assert client.post("/metrics").status_code == 405
