"""One UPDATE, a value of its own for each row."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import DateTimeField

from digest.by_row import ByRow
from subscribers.models import Subscriber
from tests.factories import DUE, make_readers

pytestmark = pytest.mark.django_db

HOSTILE = ["", "plain", "'quoted\"", '{"1": 2}', "% %s %%", "ünï\u2028\U0001f41d", "\\", '$."x"']


def test_each_row_gets_its_own_text_whatever_is_in_it():
    wanted = {reader.pk: text for reader, text in zip(make_readers(8), HOSTILE, strict=True)}
    assert Subscriber.objects.filter(pk__in=wanted).update(new_email=ByRow(wanted)) == 8
    assert dict(Subscriber.objects.values_list("pk", "new_email")) == wanted


def test_moments_are_stored_as_the_database_writes_them():
    wanted = {
        reader.pk: DUE + timedelta(days=number, microseconds=number)
        for number, reader in enumerate(make_readers(3))
    }
    write = connection.ops.adapt_datetimefield_value
    texts = {pk: str(write(moment)) for pk, moment in wanted.items()}
    Subscriber.objects.update(next_due_at=ByRow(texts, DateTimeField()))
    assert dict(Subscriber.objects.values_list("pk", "next_due_at")) == wanted
    assert Subscriber.objects.filter(next_due_at__gt=DUE).count() == 2


def test_a_row_without_a_value_matches_nothing():
    ada, ben = make_readers(2)
    known = Subscriber.objects.filter(email=ByRow({ada.pk: ada.email, ben.pk: "another@x.org"}))
    assert list(known) == [ada]
    assert list(Subscriber.objects.filter(email=ByRow({ben.pk: ben.email}))) == [ben]
