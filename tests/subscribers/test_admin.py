"""The operator's pages about readers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import time_machine
from django.contrib.auth.models import User

from subscribers import topics
from subscribers.models import (
    ConsentEvent,
    Interest,
    Subscriber,
    Suppression,
    Topic,
    address_hash,
)

NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
READERS = "/admin/subscribers/subscriber/"
SUPPRESSIONS = "/admin/subscribers/suppression/"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def frozen():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("admin"))
    return client


def form_of(response) -> dict[str, object]:
    """What a browser would post back from a change page."""
    form = response.context["adminform"].form
    data = {name: form.initial.get(name) for name in form.fields}
    for formset in response.context["inline_admin_formsets"]:
        data |= {f"{formset.formset.prefix}-{k}": v
                 for k, v in formset.formset.management_form.initial.items()}  # fmt: skip
        for row in formset.formset.initial_forms:
            data |= {row.add_prefix(name): row[name].initial for name in row.fields}
    return {name: value for name, value in data.items() if value is not None}


@pytest.mark.parametrize("name", ["subscriber", "suppression", "consentevent", "topic"])
def test_every_list_and_page_opens(operator, ada, name):
    topics.add_topic(ada, "attention", [], now=NOW)
    topics.set_muted(ada, [topics.Wish(Interest.Kind.KEYWORD, "survey")], now=NOW)
    ConsentEvent.objects.create(subscriber=ada, kind="confirmed", via="page")
    Suppression.objects.create(address_hash=address_hash("x@example.org"), reason="bounce")
    model = {m._meta.model_name: m for m in (Subscriber, Suppression, ConsentEvent, Topic)}[name]
    assert operator.get(f"/admin/subscribers/{name}/").status_code == 200
    pk = model.objects.get().pk
    assert operator.get(f"/admin/subscribers/{name}/{pk}/change/").status_code == 200


def test_an_address_typed_by_the_operator_is_asked_first(operator):
    response = operator.post(f"{READERS}add/", {"email": "Ada@example.org"}, follow=True)
    assert response.status_code == 200
    reader = Subscriber.objects.get()
    assert (reader.state, reader.confirmation_due_at) == ("pending", NOW)
    assert reader.consent_events.get().via == "admin"


def test_a_known_or_barred_address_is_refused(operator, ada):
    Suppression.objects.create(address_hash=address_hash("x@example.org"), reason="complaint")
    for email, word in [("ADA@example.org", "There is a reader"), ("x@example.org", "suppressed")]:
        assert word in operator.post(f"{READERS}add/", {"email": email}).content.decode()
    assert Subscriber.objects.count() == 1


def test_a_reader_is_found_by_the_whole_address_in_any_spelling(operator, ada, pending):
    page = operator.get(READERS, {"q": "ADA@Example.ORG"}).content.decode()
    assert "ada@example.org" in page
    assert "ben@example.org" not in page
    assert "ben@example.org" in operator.get(READERS, {"q": "ben"}).content.decode()


def test_changing_preferences_resets_the_clock(operator, ada):
    path = f"{READERS}{ada.pk}/change/"
    data = form_of(operator.get(path))
    response = operator.post(path, {**data, "hour": "20", "paused_until": "2026-12-24"})
    assert response.status_code == 302, response.context["errors"]
    ada.refresh_from_db()
    assert (ada.hour, ada.email, ada.state) == (20, "ada@example.org", "active")
    assert ada.next_due_at == datetime(2026, 12, 24, 19, 0, tzinfo=UTC)


def test_impossible_preferences_are_refused(operator, ada):
    path = f"{READERS}{ada.pk}/change/"
    data = form_of(operator.get(path))
    response = operator.post(path, {**data, "cadence": "weekly", "days": []})
    assert "Please choose the one day" in response.content.decode()


def test_an_interest_is_added_to_a_topic_and_its_reader(operator, ada):
    topic = topics.add_topic(ada, "attention", [], now=NOW)
    path = f"/admin/subscribers/topic/{topic.pk}/change/"
    data = form_of(operator.get(path))
    data |= {
        "interests-TOTAL_FORMS": "2",
        "interests-1-kind": "keyword",
        "interests-1-value": "KV cache",
    }
    assert operator.post(path, data).status_code == 302
    assert ada.interests.get(kind="keyword").value == "KV cache"


def test_actions_take_the_readers_own_steps(operator, ada, pending):
    def act(action: str, reader: Subscriber) -> None:
        data = {"action": action, "_selected_action": [reader.pk]}
        assert list(operator.post(READERS, data, follow=True).context["messages"])
        reader.refresh_from_db()

    act("send_link", ada)
    assert ada.link_due_at == NOW
    act("unsubscribe", ada)
    assert (ada.state, ada.consent_events.last().via) == ("unsubscribed", "admin")
    Subscriber.objects.filter(pk=pending.pk).update(confirmation_due_at=None)
    act("ask_again", pending)
    assert pending.confirmation_due_at == NOW


def test_a_suppression_is_kept_as_a_hash_and_found_by_the_address(operator):
    data = {"address": "Ada@example.org", "reason": "operator", "note": "asked by phone"}
    assert operator.post(f"{SUPPRESSIONS}add/", data).status_code == 302
    suppression = Suppression.objects.get()
    assert suppression.address_hash == address_hash("ada@example.org")
    page = operator.get(SUPPRESSIONS, {"q": "ada@example.org"}).content.decode()
    assert suppression.address_hash[:10] in page
    assert "already" in operator.post(f"{SUPPRESSIONS}add/", data).content.decode()


def test_consent_is_never_edited(operator, ada):
    event = ConsentEvent.objects.create(subscriber=ada, kind="confirmed", via="page")
    path = f"/admin/subscribers/consentevent/{event.pk}/change/"
    assert operator.post(path, {"kind": "requested"}).status_code == 403
    assert operator.get("/admin/subscribers/consentevent/add/").status_code == 403
