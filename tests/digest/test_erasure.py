"""Whoever deletes a reader leaves no address behind."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User

from digest import assembly, erasure, sending
from digest.models import DeliveryEvent, Digest
from subscribers.models import Subscriber, Suppression
from tests.browser_form import filled_in
from tests.digest.books import assert_books_balance
from tests.factories import DUE, make_reader

pytestmark = pytest.mark.django_db

ADA = "ada@example.org"
LIST = "/admin/subscribers/subscriber/"


@pytest.fixture
def operator(client):
    with time_machine.travel(DUE + timedelta(hours=1), tick=False):
        client.force_login(User.objects.create_superuser("operator", "operator@example.org"))
        yield client


def event(address: str, **fields) -> DeliveryEvent:
    return DeliveryEvent.objects.create(
        provider="Postmark",
        event_id=f"{DeliveryEvent.objects.count()}",
        event_type="bounced",
        occurred_at=DUE,
        payload={"Email": address.title(), "Details": f"550 <{address}>"},
        **fields,
    )


@pytest.fixture
def readers(edition, transport, operator) -> list[Subscriber]:
    """Ada and Ben, each with a digest that left, reports of it, and a history with the staff."""
    readers = [make_reader(ADA), make_reader("ben@example.org")]
    assembly.assemble_due(DUE)
    sending.send_due(DUE + timedelta(minutes=1))
    for reader in readers:
        event(reader.email, digest=reader.digests.get())
        event(reader.email)
        act(operator, "unsubscribe", reader)
    act(operator, "suppress", readers[0], note="Wished it by mail.")
    return readers


def act(operator, action: str, reader: Subscriber, **typed):
    page = operator.post(LIST, {"action": action, "_selected_action": [reader.pk]})
    operator.post(LIST, filled_in(page, ".asking form") | typed)


def tables_with(text: str) -> set[str]:
    """Of all that there are, the staff's and the sessions' too."""
    return {
        model._meta.db_table
        for model in apps.get_models()
        if text in repr(list(model._default_manager.values_list())).lower()
    }


@pytest.mark.parametrize("way", ["page", "list"])
def test_a_deleted_readers_address_is_in_no_table(operator, readers, way):
    ada, ben = readers
    outliving = {"django_admin_log", "digest_deliveryevent", "subscribers_subscriber"}
    assert tables_with(ADA) == tables_with(ben.email) == outliving

    if way == "page":
        operator.post(f"{LIST}{ada.pk}/delete/", {"post": "yes"})
    else:
        data = {"action": "delete_selected", "_selected_action": [ada.pk], "post": "yes"}
        operator.post(LIST, data)

    assert list(Subscriber.objects.all()) == [ben]
    assert tables_with(ADA) == set()
    assert tables_with(ben.email) == outliving


def test_the_accounts_the_history_and_the_suppression_outlive_a_reader(operator, readers):
    before = LogEntry.objects.count(), DeliveryEvent.objects.count()

    erasure.erase(Subscriber.objects.filter(email=ADA))

    assert (LogEntry.objects.count(), DeliveryEvent.objects.count()) == before
    assert Digest.objects.filter(subscriber=None, state="sent").count() == 1
    assert Suppression.objects.total().count() == 1
    assert_books_balance()


def test_an_address_is_found_however_a_payload_spells_it(operator, edition):
    bjorn = make_reader("björn@example.org")
    event(bjorn.email)

    erasure.erase(Subscriber.objects.all())

    assert DeliveryEvent.objects.get().payload == {}


def test_former_and_asked_for_addresses_go_with_their_reader(operator, edition):
    addresses = {"email": ADA, "old_email": "ada@old.example", "new_email": "ada@new.example"}
    make_reader(**addresses, moved_at=DUE)
    for address in addresses.values():
        event(address)

    erasure.erase(Subscriber.objects.all())

    assert [tables_with(address) for address in addresses.values()] == [set()] * 3


def test_an_address_that_mail_left_a_week_ago_is_in_no_table(operator, edition):
    make_reader(ADA, old_email="ada@old.example", moved_at=DUE)
    event("ada@old.example")
    event(ADA)

    assert erasure.forget_old_addresses(DUE + timedelta(days=7)) == 1

    assert tables_with("ada@old.example") == set()
    assert tables_with(ADA) == {"digest_deliveryevent", "subscribers_subscriber"}
