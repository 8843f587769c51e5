"""A reader's copy of the morning's paper: what its mail needs of the ledger's row and of the
reader, read by the hundred. Making models of these rows took as long as writing their mails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import TextField
from django.db.models.functions import Cast

from subscribers.models import Subscriber

from .compose import Frame, HasItems
from .models import Digest, DigestQuerySet, Slot

FRAMES_KEPT = 5000


class Address(NamedTuple):
    """Of a reader, all that a mail shows."""

    pk: int
    uuid: UUID
    email: str


@dataclass(slots=True)
class Copy(HasItems):
    """In the words of Digest. frame: None where it keeps none. subscriber: None once erased."""

    pk: int
    uuid: UUID
    is_first: bool
    is_weekly: bool
    candidates: int
    edition_day: date | None
    closed_seq: int
    assembled_at: datetime
    slot: Slot
    items: list[dict[str, Any]]
    frame: Frame | None
    subscriber: Address | Subscriber | None

    @classmethod
    def of(cls, digest: Digest) -> Copy:
        """Of one that was read as a model, with its subscriber and slot."""
        facts: list[Any] = [getattr(digest, name) for name in _AS_THEY_ARE]
        frame = Frame.from_json(digest.frame) if digest.frame else None
        return cls(*facts, *[digest.slot, digest.items, frame, digest.subscriber])


_AS_THEY_ARE = (
    "pk", "uuid", "is_first", "is_weekly", "candidates", "edition_day", "closed_seq", "assembled_at"
)  # fmt: skip


def read(rows: DigestQuerySet) -> list[Copy]:
    """Slot by slot, the oldest due first. Few slots, many rows: each slot is read once."""
    found = list(
        rows.order_by("slot__date", "due_at", "pk").values_list(
            *_AS_THEY_ARE,
            "slot_id",
            Cast("items", TextField()),
            Cast("frame", TextField()),
            "subscriber_id",
            "subscriber__uuid",
            "subscriber__email",
        )
    )
    slots = Slot.objects.in_bulk({row[-6] for row in found})
    return [_copy(*row, slots=slots) for row in found]


def _copy(*row: Any, slots: Mapping[int, Slot]) -> Copy:
    *facts, slot, items, frame, pk, uuid, email = row
    reader = None if email is None else Address(pk, uuid, email)
    return Copy(*facts, *[slots[slot], json.loads(items), _frame(frame), reader])


@lru_cache(maxsize=FRAMES_KEPT)
def _frame(stored: str) -> Frame | None:
    """Readers of one rhythm have the same."""
    said = json.loads(stored)
    return Frame.from_json(said) if said else None
