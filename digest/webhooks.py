"""anymail's tracking signal -> DeliveryEvent -> the digest's outcome, Suppression.

Providers repeat events and send them in any order, so an event is kept once by its id and the
outcome is the weightiest word, not the last one.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from typing import Any

import structlog
from anymail.signals import EventType, RejectReason
from django.db import transaction
from django.utils import timezone

from subscribers import mail
from subscribers.models import ConsentEvent, Subscriber, Suppression, address_hash

from . import sending
from .models import DeliveryEvent, Digest

log = structlog.get_logger(__name__)

# From least to most telling. Opens and clicks are not asked for and decide nothing.
WEIGHT = [
    EventType.QUEUED,
    EventType.SENT,
    EventType.DEFERRED,
    EventType.DELIVERED,
    EventType.REJECTED,
    EventType.FAILED,
    EventType.BOUNCED,
    EventType.COMPLAINED,
]
HARD = {RejectReason.BOUNCED, RejectReason.INVALID}


def receive(sender: Any, event: Any, esp_name: str, **kwargs: Any) -> None:
    """Receiver of anymail.signals.tracking. Keeps the event, then acts on it, once."""
    digest = _digest_of(event)
    with transaction.atomic():
        kept, is_new = DeliveryEvent.objects.get_or_create(
            provider=esp_name,
            event_id=_event_id(event),
            defaults={
                "digest": digest,
                "event_type": event.event_type or EventType.UNKNOWN,
                "reject_reason": event.reject_reason or "",
                "provider_message_id": (event.message_id or "")[:255],
                "occurred_at": event.timestamp or timezone.now(),
                "payload": _payload(event) if _is_of_a_reader(event, digest) else {},
            },
        )
        if is_new:
            _tell(kept)
            _note_outcome(kept)
            _suppress(kept, address=event.recipient or "")


def _is_of_a_reader(event: Any, digest: Digest | None) -> bool:
    """Else the payload names an address that is to be found nowhere, or nowhere any more."""
    if digest is not None:
        return digest.subscriber_id is not None
    return Subscriber.objects.with_address(event.recipient or "").exists()


def _payload(event: Any) -> dict[str, Any]:
    return event.esp_event if isinstance(event.esp_event, dict) else {}


def _event_id(event: Any) -> str:
    """The provider's id, or, from one that gives none, what makes the event itself."""
    if event.event_id:
        return str(event.event_id)[:255]
    parts = (event.event_type, event.message_id, event.recipient, event.timestamp)
    return uuid.uuid5(uuid.NAMESPACE_OID, "|".join(map(str, parts))).hex


def _digest_of(event: Any) -> Digest | None:
    """By our own UUID, which comes back as metadata or within our Message-ID; else by the id that
    the provider gave it.
    """
    message_id = str(event.message_id or "")
    for ours in (str((event.metadata or {}).get("digest", "")), mail.first_part(message_id)):
        with suppress(ValueError):
            if found := Digest.objects.filter(uuid=uuid.UUID(ours)).first():
                return found
    return Digest.objects.filter(provider_message_id=message_id).first() if message_id else None


def _tell(event: DeliveryEvent) -> None:
    is_ordinary = event.event_type in (EventType.QUEUED, EventType.SENT, EventType.DELIVERED)
    log.log(
        logging.DEBUG if is_ordinary else logging.INFO,
        "provider said",
        said=event.event_type,
        digest=event.digest.uuid if event.digest else None,
        reason=event.reject_reason,
        provider=event.provider,
    )


def _note_outcome(event: DeliveryEvent) -> None:
    if event.digest_id is None or event.event_type not in WEIGHT:
        return
    digest = Digest.objects.select_for_update().get(pk=event.digest_id)
    known = WEIGHT.index(digest.outcome) if digest.outcome in WEIGHT else -1
    if WEIGHT.index(event.event_type) > known:
        digest.outcome, digest.outcome_at = event.event_type, event.occurred_at
    if not (digest.provider_message_id or mail.first_part(event.provider_message_id)):
        digest.provider_message_id = event.provider_message_id
    digest.save(update_fields=["outcome", "outcome_at", "provider_message_id"])
    sending.believe(digest.pk)


def _suppress(event: DeliveryEvent, *, address: str) -> None:
    """A hard bounce or a complaint ends all mail to the address, at once and for good."""
    if event.event_type == EventType.COMPLAINED:
        reason = Suppression.Reason.COMPLAINT
    elif event.event_type == EventType.BOUNCED and event.reject_reason in HARD:
        reason = Suppression.Reason.BOUNCE
    else:
        return
    subscriber = event.digest.subscriber if event.digest else None
    # The address that the mail went to, which the reader may have left since.
    hashed = address_hash(address) if address else subscriber and subscriber.address_hash
    if not hashed:
        return
    Suppression.objects.update_or_create(address_hash=hashed, defaults={"reason": reason})
    # Of a digest or of any other mail.
    for reader in Subscriber.objects.filter(address_hash=hashed):
        ConsentEvent.objects.create(
            subscriber=reader, kind=ConsentEvent.Kind.SUPPRESSED, via=ConsentEvent.Via.PROVIDER
        )
    log.info(
        "address suppressed",
        reason=reason,
        provider=event.provider,
        **({"digest": event.digest.uuid} if event.digest else {}),
    )
