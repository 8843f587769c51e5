"""Many rows in one go are the rows that the models would have written."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from digest.models import Digest, Slot
from digest.rows import insert_rows, spelled
from tests.factories import DUE, SUNDAY, make_reader

NAMES = ("uuid", "slot", "subscriber", "due_at", "edition_day", "items", "frame", "assembled_at")
NASTY = 'a "quote", a \\ back\\nslash, a\ttab, a\nline, é, 🦓, \\N, %s'


def field(name: str):
    return Digest._meta.get_field(name)


def row_of(digest: Digest) -> list[object]:
    values = {name: getattr(digest, field(name).attname) for name in NAMES}
    for name in ("items", "frame"):
        values[name] = json.dumps(values[name])
    return [
        value if name in ("items", "frame") else spelled(field(name), value)
        for name, value in values.items()
    ]


@pytest.fixture
def digests(db) -> list[Digest]:
    slot = Slot.objects.create(date=DUE.date())
    return [
        Digest(
            uuid=uuid.UUID(int=n),
            slot=slot,
            subscriber=make_reader(f"reader{n}@example.org"),
            due_at=DUE + timedelta(microseconds=n),
            edition_day=SUNDAY if n else None,
            items=[{"paper_id": n, "note": NASTY}],
            frame={"language": NASTY},
            assembled_at=DUE,
        )
        for n in range(3)
    ]


def test_they_are_what_the_model_would_have_written(digests):
    insert_rows(Digest, NAMES, [row_of(each) for each in digests])
    for stored, wanted in zip(Digest.objects.order_by("uuid"), digests, strict=True):
        wanted.pk = stored.pk
        for each in Digest._meta.concrete_fields:
            assert getattr(stored, each.attname) == getattr(wanted, each.attname), each.name


def test_constraints_hold_as_ever_and_nothing_is_left_of_the_rest(digests):
    rows = [row_of(each) for each in digests]
    with pytest.raises(IntegrityError), transaction.atomic():
        insert_rows(Digest, NAMES, [*rows, rows[0]])
    assert not Digest.objects.exists()


def test_no_rows_are_none(db):
    insert_rows(Digest, NAMES, [])
    assert not Digest.objects.exists()
