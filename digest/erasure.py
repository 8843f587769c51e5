"""The end of a reader: they go, and their address from everything that outlives them."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime

import structlog
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from subscribers import signup
from subscribers.models import Subscriber

from .models import DeliveryEvent

log = structlog.get_logger(__name__)


def erase(readers: QuerySet[Subscriber]) -> None:
    """Deletes them with all that is theirs.

    What stays holds no address: their digests, since the slots' accounts are made of them; the
    history of what staff did, which says when and by whom; providers' events without their payload;
    and a suppression, which is a hash. It makes no suppression.
    """
    found = readers.order_by().values_list("pk", "email", "old_email", "new_email")
    addresses = {pk: set(filter(None, theirs)) for pk, *theirs in found}
    with transaction.atomic():
        DeliveryEvent.objects.filter(digest__subscriber__in=addresses).update(payload={})
        Subscriber.objects.filter(pk__in=addresses).delete()
        _blank_history(addresses)
        for address in set().union(*addresses.values()):
            _blank_other_events(address)
    log.info("readers erased", readers=len(addresses))


def forget_old_addresses(now: datetime) -> int:
    """Those that mail can no longer go back to, in what providers said of them too; how many."""
    with transaction.atomic():
        forgotten = signup.forget_old_addresses(now)
        for address in forgotten:
            _blank_other_events(address)
    return len(forgotten)


def _blank_history(readers: Collection[int]) -> None:
    """The row of the deletion as well, which the admin writes first."""
    kind = ContentType.objects.get_for_model(Subscriber)
    entries = LogEntry.objects.filter(content_type=kind, object_id__in=map(str, readers))
    entries.update(object_repr="", change_message="")


def _blank_other_events(address: str) -> None:
    """Events of confirmations and other service mails, which belong to no digest."""
    spellings = Q(said__icontains=address) | Q(said__icontains=json.dumps(address)[1:-1])
    others = DeliveryEvent.objects.filter(digest=None)
    others.annotate(said=Cast("payload", TextField())).filter(spellings).update(payload={})
