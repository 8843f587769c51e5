"""A morning in shares that any number of workers take on beside each other.

A share is a range of readers' ids, worked off under a lease. A lease keeps workers out of each
other's way and guards nothing: what is written is guarded by compare-and-set, so one that ran out
too soon, or was lost with its worker, costs time and no digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import BooleanField, Count, F, Func, Q
from django.db.models.functions import Now

from subscribers.models import Subscriber, SubscriberQuerySet

from .leases import FromNow
from .models import Lease

IDS = 5000
LEASE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Share:
    """The readers with ids from IDS · number on, IDS of them at most. due: how many are due."""

    number: int
    due: int

    @property
    def name(self) -> str:
        return f"assemble:{self.number}"

    def due_ids(self, now: datetime) -> list[int]:
        """Ascending."""
        first = self.number * IDS
        ours = due_readers(now).filter(pk__gte=first, pk__lt=first + IDS).order_by("pk")
        return list(ours.values_list("pk", flat=True))


def due(now: datetime) -> list[Share]:
    """Every share that has a reader who is due, in the order of their ids. It costs as much as
    readers are due, whatever the number of those who are not.
    """
    by_share = due_readers(now).order_by().values(number=F("pk") / IDS)
    rows = by_share.annotate(due=Count("pk")).order_by("number")
    return [Share(row["number"], row["due"]) for row in rows]


def due_readers(now: datetime) -> SubscriberQuerySet:
    """As `Subscriber.objects.due`, found by its index in every database."""
    return Subscriber.objects.filter(_IsActive(F("state")), next_due_at__lte=now)


@contextmanager
def held(share: Share, token: UUID) -> Iterator[bool]:
    """Whether it is ours for as long as we `renew` it: false where another worker has it."""
    is_ours = _take(share, token)
    try:
        yield is_ours
    finally:
        if is_ours:
            Lease.objects.filter(name=share.name, token=token).delete()


def renew(share: Share, token: UUID) -> bool:
    """False where it ran out and another worker took it over."""
    return (
        Lease.objects.filter(name=share.name, token=token).update(until=FromNow(LEASE_SECONDS)) == 1
    )


class _IsActive(Func):
    """In the words of the partial index `subscriber_due`: SQLite knows it by them alone. Told that
    most readers are active, it also prefers it to the index by state, which holds all of them.
    """

    template = "%(expressions)s = 'active'"
    output_field = BooleanField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = f"likelihood({self.template}, 0.99)"
        return self.as_sql(compiler, connection, template=template, **context)


def _take(share: Share, token: UUID) -> bool:
    lease = Lease.objects.filter(name=share.name)
    if lease.filter(Q(until__lt=Now())).update(token=token, until=FromNow(LEASE_SECONDS)):
        return True
    Lease.objects.bulk_create(
        [Lease(name=share.name, token=token, until=FromNow(LEASE_SECONDS))], ignore_conflicts=True
    )
    return lease.filter(token=token).exists()
