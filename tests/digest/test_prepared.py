"""A statement is put together once, and its values are the caller's every time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import DateTimeField, TextField
from django.test.utils import CaptureQueriesContext

from digest.prepared import Among, Given, PreparedUpdate
from subscribers.models import Subscriber
from tests.factories import DUE, make_readers

pytestmark = pytest.mark.django_db


@PreparedUpdate
def move():
    """One that tests run again and again."""
    due = Subscriber.objects.filter(Among("ids"), next_due_at=Given("seen", DateTimeField()))
    return due, {
        "next_due_at": Given("then", DateTimeField()),
        "time_zone": Given("zone", TextField()),
    }


def test_it_changes_what_it_is_given_and_says_how_many():
    ada, ben, cy = make_readers(3)
    later = DUE + timedelta(days=1)
    assert move(ids=[ada.pk, ben.pk], seen=DUE, then=later, zone="Europe/Berlin") == 2
    assert move(ids=[ada.pk, cy.pk], seen=DUE, then=later, zone="it's 100 %s") == 1
    moved = dict(Subscriber.objects.filter(next_due_at=later).values_list("pk", "time_zone"))
    assert moved == {ada.pk: "Europe/Berlin", ben.pk: "Europe/Berlin", cy.pk: "it's 100 %s"}


def test_nobody_is_changed_by_no_ids_and_many_fit_one_value():
    readers = make_readers(1200)
    facts = {"seen": DUE, "then": DUE, "zone": "UTC"}
    assert move(ids=[], **facts) == 0
    assert move(ids=[reader.pk for reader in readers], **facts) == 1200


def test_it_is_one_statement_of_one_spelling():
    ada, ben = make_readers(2)
    move(ids=[], seen=DUE, then=DUE, zone="UTC")
    before = dict(move._compiled)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        move(ids=[ada.pk, ben.pk], seen=DUE, then=DUE, zone="UTC")
    assert len(captured) == 1
    assert dict(move._compiled) == before


def test_a_value_that_is_missing_is_named():
    with pytest.raises(KeyError, match="zone"):
        move(ids=[1], seen=DUE, then=DUE)
