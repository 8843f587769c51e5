"""The steps of a reader's life: asking, confirming, leaving, moving, pausing, choosing.

Nothing is sent here. A step sets a due moment on the reader's row and `mail.send_due` finds it.
Every step locks the row and reads it anew, and writes only the columns that are its business, so
that a tick which advances `next_due_at` meanwhile is never overwritten. Every step may be
repeated: the second time changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

import structlog
from celery import current_app
from django.conf import settings
from django.db import IntegrityError, transaction
from kombu.exceptions import OperationalError

from . import schedule
from .models import ConsentEvent, Subscriber, Suppression, address_hash
from .topics import FirstTopic, keep_first

log = structlog.get_logger(__name__)

# Which wording of the consent the pages show; change it with the words.
CONSENT_VERSION = "2026-11"

CONFIRMATION_EVERY = timedelta(hours=24)
CONFIRMATIONS_UNANSWERED = 3
LINK_EVERY = timedelta(hours=1)
FIRST_DIGEST_AFTER = timedelta(minutes=10)
UNDO_WITHIN = timedelta(days=30)
MOVE_BACK_WITHIN = timedelta(days=7)


def subscribe(
    email: str,
    *,
    time_zone: str,
    language: str,
    now: datetime,
    via: str,
    first_topic: FirstTopic | None = None,
) -> None:
    """Asks for what fits the address: a confirmation, a manage link, or nothing.

    Whether the address is new, known, unsubscribed or suppressed stays unknown to the caller.
    A known reader's preferences and topics are not touched.
    """
    hashed = address_hash(email)
    with transaction.atomic():
        if not _is_barred(hashed):
            subscriber, _created = Subscriber.objects.get_or_create(
                address_hash=hashed,
                defaults={
                    "email": email.strip(),
                    "time_zone": time_zone,
                    "language": language,
                    "created_at": now,
                },
            )
            with _locked(subscriber):
                if subscriber.state == Subscriber.State.ACTIVE:
                    _ask_for_link(subscriber, now, every=CONFIRMATION_EVERY)
                else:
                    _ask_for_confirmation(subscriber, now, via)
                if first_topic is not None:
                    keep_first(subscriber, first_topic, now=now)
    transaction.on_commit(wake)


def confirm(subscriber: Subscriber, *, now: datetime, via: str) -> bool:
    """Makes the reader active, with a first digest in ten minutes. Lifts their own goodbye.

    False, and nothing happens, for an address that bounced, complained or was barred.
    """
    with _locked(subscriber):
        if subscriber.state == Subscriber.State.ACTIVE:
            return True
        if _is_barred(subscriber.address_hash):
            return False
        _lift(subscriber.address_hash)
        subscriber.paused_until = None
        _write(
            subscriber,
            state=Subscriber.State.ACTIVE,
            confirmed_at=now,
            unsubscribed_at=None,
            paused_until=None,
            confirmation_due_at=None,
            confirmations_unanswered=0,
            goodbye_due_at=None,
            silent_slots=0,
            next_due_at=_first_due(subscriber, now),
        )
        _note(subscriber, ConsentEvent.Kind.CONFIRMED, now, via=via)
    return True


def unsubscribe(subscriber: Subscriber, *, now: datetime, via: str) -> bool:
    """No mail from now on, in one transaction. Preferences stay, for an undo.

    False for a reader who was unsubscribed already.
    """
    with _locked(subscriber):
        Suppression.objects.get_or_create(
            address_hash=subscriber.address_hash,
            defaults={"reason": Suppression.Reason.UNSUBSCRIBE, "created_at": now},
        )
        if subscriber.state == Subscriber.State.UNSUBSCRIBED:
            return False
        _write(
            subscriber,
            state=Subscriber.State.UNSUBSCRIBED,
            unsubscribed_at=now,
            next_due_at=None,
            confirmation_due_at=None,
            link_due_at=None,
            address_change_due_at=None,
            new_email="",
            moved_due_at=None,
            welcome_due_at=None,
            silence_due_at=None,
        )
        _note(subscriber, ConsentEvent.Kind.UNSUBSCRIBED, now, via=via)
    return True


def resubscribe(subscriber: Subscriber, *, now: datetime, via: str) -> bool:
    """Takes an unsubscribing of the last 30 days back. True if the reader is active now.

    False for a reader who never confirmed, or whose address is suppressed for another reason:
    the unsubscribe link never expires and must not become a way back in for ever.
    """
    with _locked(subscriber):
        if subscriber.state == Subscriber.State.ACTIVE:
            return True
        if not may_come_back(subscriber, now):
            return False
        _lift(subscriber.address_hash)
        _write(
            subscriber,
            state=Subscriber.State.ACTIVE,
            unsubscribed_at=None,
            goodbye_due_at=None,
            silent_slots=0,
            next_due_at=subscriber.due_after(now),
        )
        _note(subscriber, ConsentEvent.Kind.RESUBSCRIBED, now, via=via)
    return True


def may_come_back(subscriber: Subscriber, now: datetime) -> bool:
    """Whether who left may return without confirming anew."""
    others = Suppression.objects.filter(address_hash=subscriber.address_hash).exclude(
        reason=Suppression.Reason.UNSUBSCRIBE
    )
    return (
        subscriber.confirmed_at is not None
        and subscriber.unsubscribed_at is not None
        and now - subscriber.unsubscribed_at <= UNDO_WITHIN
        and not others.exists()
    )


def request_goodbye(subscriber: Subscriber, now: datetime) -> bool:
    """Asks for one mail with the way back, on the wish of a reader who has just left.

    Once for each leaving, and only while there is a way back: never after a bounce or a complaint.
    True if it was or is to be sent.
    """
    with _locked(subscriber):
        if may_ask_for_goodbye(subscriber, now):
            _write(subscriber, goodbye_due_at=now)
        is_known = subscriber.goodbye_due_at is not None or _has_goodbye(subscriber)
    transaction.on_commit(wake)
    return subscriber.state == Subscriber.State.UNSUBSCRIBED and is_known


def may_ask_for_goodbye(subscriber: Subscriber, now: datetime) -> bool:
    return (
        subscriber.state == Subscriber.State.UNSUBSCRIBED
        and may_come_back(subscriber, now)
        and subscriber.goodbye_due_at is None
        and not _has_goodbye(subscriber)
    )


def suppress(
    hashed: str,
    *,
    reason: str = Suppression.Reason.OPERATOR,
    note: str = "",
    now: datetime,
    via: str,
) -> bool:
    """No mail to the address of this hash, whether or not a reader has it.

    Takes the place of a reader's own goodbye. False where no mail may go there already.
    """
    with transaction.atomic():
        if _is_barred(hashed):
            return False
        said = {"reason": reason, "note": note, "created_at": now}
        Suppression.objects.update_or_create(address_hash=hashed, defaults=said)
        for reader in Subscriber.objects.select_for_update().filter(address_hash=hashed):
            _note(reader, ConsentEvent.Kind.SUPPRESSED, now, via=via)
    return True


def allow_again(suppression: Suppression) -> bool:
    """Lifts a suppression. Consent is not touched: who is active gets their next digest, anybody
    else has to ask and confirm. False where it was lifted meanwhile.
    """
    lifted, _rows = Suppression.objects.filter(pk=suppression.pk).delete()
    return lifted == 1


def bring_forward(subscriber: Subscriber, now: datetime) -> None:
    """Makes an active reader's next digest due now, unless today has had one."""
    with _locked(subscriber):
        is_later = subscriber.next_due_at is not None and subscriber.next_due_at > now
        if (
            is_later
            and _is_new_slot(subscriber, now)
            and not subscriber.is_paused(schedule.slot_date(now, subscriber.time_zone))
        ):
            _write(subscriber, next_due_at=now)
    transaction.on_commit(wake)


def ask_again(subscriber: Subscriber, *, now: datetime, via: str) -> bool:
    """Asks a pending reader once more, within the limits of every confirmation.

    False where none is to be sent, or one is on its way already.
    """
    with _locked(subscriber):
        is_asked = (
            subscriber.state == Subscriber.State.PENDING
            and not _is_barred(subscriber.address_hash)
            and _ask_for_confirmation(subscriber, now, via)
        )
    transaction.on_commit(wake)
    return is_asked


def request_link(email: str, now: datetime) -> bool:
    """Asks for a manage link, at most one an hour; for readers who are active, nobody else.

    True if a mail is to be sent that was not before. Not to be told to visitors.
    """
    is_asked = False
    with transaction.atomic():
        subscriber = Subscriber.objects.active().with_address(email).first()
        if subscriber is not None:
            with _locked(subscriber):
                is_asked = _ask_for_link(subscriber, now, every=LINK_EVERY)
    transaction.on_commit(wake)
    return is_asked


def may_ask_for_address(subscriber: Subscriber, new_email: str, now: datetime) -> bool:
    """Whether a request would be heard, as far as the reader's own row tells."""
    return (
        subscriber.state == Subscriber.State.ACTIVE
        and address_hash(new_email) != subscriber.address_hash
        and subscriber.address_change_due_at is None
        and _has_passed(LINK_EVERY, since=subscriber.address_change_sent_at, now=now)
    )


def request_address_change(subscriber: Subscriber, new_email: str, now: datetime) -> None:
    """Asks for a mail to the new address, at most one an hour; the old one stays in use.

    Whether the new address is known, or suppressed, stays unknown to the caller.
    """
    with _locked(subscriber):
        if may_ask_for_address(subscriber, new_email, now):
            _write(subscriber, new_email=new_email.strip(), address_change_due_at=now)
            _note(subscriber, ConsentEvent.Kind.ADDRESS_REQUESTED, now, via=ConsentEvent.Via.PAGE)
    transaction.on_commit(wake)


def change_address(subscriber: Subscriber, new_email: str, now: datetime) -> bool:
    """Moves the reader to the address they asked for, and keeps everything else.

    False, and nothing happens, if they asked for another address since, are not active, or the
    new address is barred or another reader's. A sign-up of that address which was never confirmed
    gives way: whoever reads the new mailbox has just said what they want.
    """
    hashed = address_hash(new_email)
    try:
        with _locked(subscriber):
            if subscriber.address_hash == hashed:
                return True
            if not _may_move(subscriber, hashed):
                return False
            _move(subscriber, new_email, now)
    except IntegrityError:  # somebody signed that address up in this very moment
        return False
    return True


def move_back(subscriber: Subscriber, old_email: str, now: datetime) -> bool:
    """Takes a change of address back, on the word of the mailbox that it was changed from.

    False, and nothing happens, once the time is over, where the reader has left, or where the old
    address is barred or has become another reader's. The newer address is forgotten.
    """
    hashed = address_hash(old_email)
    try:
        with _locked(subscriber):
            if subscriber.address_hash == hashed:
                return True
            if not _may_move_back(subscriber, hashed, now):
                return False
            _take_address(subscriber, old_email)
            _write(subscriber, old_email="", moved_at=None, moved_due_at=None)
            _note(subscriber, ConsentEvent.Kind.ADDRESS_CHANGED, now, via=ConsentEvent.Via.PAGE)
    except IntegrityError:  # somebody signed that address up in this very moment
        return False
    return True


def forget_old_addresses(now: datetime) -> list[str]:
    """Those that mail can no longer go back to; which they were."""
    old = Subscriber.objects.filter(moved_at__lte=now - MOVE_BACK_WITHIN).exclude(old_email="")
    found = dict(old.values_list("pk", "old_email"))
    old.filter(pk__in=found).update(old_email="", moved_at=None, moved_due_at=None)
    return list(found.values())


def widen(subscriber: Subscriber) -> bool:
    """Lets what is popular with everybody into the digest. False where it was in it already."""
    with _locked(subscriber):
        if subscriber.likes_popular:
            return False
        _write(subscriber, likes_popular=True, silent_slots=0)
    return True


def pause(subscriber: Subscriber, until: date, now: datetime) -> None:
    """No digest before the local date `until`."""
    with _locked(subscriber):
        subscriber.paused_until = until
        _write(subscriber, paused_until=until, next_due_at=_next_due(subscriber, now))


def resume(subscriber: Subscriber, now: datetime) -> bool:
    """Ends a pause now; without one, nothing happens, and this is False."""
    with _locked(subscriber):
        if subscriber.paused_until is None:
            return False
        subscriber.paused_until = None
        _write(subscriber, paused_until=None, next_due_at=_next_due(subscriber, now))
    return True


def set_preferences(
    subscriber: Subscriber,
    preferences: schedule.Preferences,
    *,
    papers_per_digest: int,
    now: datetime,
    likes_popular: bool | None = None,
    language: str | None = None,
) -> None:
    """When, how much, in which language. A slot that had its digest never gets another.

    likes_popular, language: None leaves it as it is.
    """
    with _locked(subscriber):
        if language is not None:
            _write(subscriber, language=language)
        if likes_popular is not None:
            _write(subscriber, likes_popular=likes_popular)
        _write(
            subscriber,
            cadence=Subscriber.Cadence(preferences.cadence),
            days=sorted(preferences.days),
            hour=preferences.hour,
            time_zone=preferences.time_zone,
            papers_per_digest=papers_per_digest,
        )
        if not _is_imminent(subscriber, now):
            _write(subscriber, next_due_at=_next_due(subscriber, now))


def wake() -> None:
    """Tells the broker that there is work now rather than at the next minute.

    Only a hint: with the broker down nothing is lost, and the page must not wait for it.
    """
    options = {"max_retries": 0, "socket_connect_timeout": 1, "socket_timeout": 1}
    try:
        with current_app.connection_for_write(
            transport_options={**settings.CELERY_BROKER_TRANSPORT_OPTIONS, **options}
        ) as connection:
            current_app.send_task(
                settings.WAKE_TASK,
                ignore_result=True,
                retry=False,
                expires=60,
                connection=connection,
            )
    except (OperationalError, OSError) as error:
        log.debug("broker not reached", error=error)


@contextmanager
def _locked(subscriber: Subscriber) -> Iterator[None]:
    # SQLite ignores the lock; there a transaction is IMMEDIATE, so writers queue as a whole.
    with transaction.atomic():
        subscriber.refresh_from_db(from_queryset=Subscriber.objects.select_for_update())
        yield


def _is_barred(hashed: str) -> bool:
    return Suppression.objects.total().filter(address_hash=hashed).exists()


def _lift(hashed: str) -> None:
    Suppression.objects.filter(
        address_hash=hashed, reason__in=Suppression.LIFTED_BY_CONSENT
    ).delete()


def _ask_for_confirmation(subscriber: Subscriber, now: datetime, via: str) -> bool:
    if (
        subscriber.confirmation_due_at is not None
        or subscriber.confirmations_unanswered >= CONFIRMATIONS_UNANSWERED
        or not _has_passed(CONFIRMATION_EVERY, since=subscriber.confirmation_sent_at, now=now)
    ):
        return False
    _write(subscriber, confirmation_due_at=now)
    _note(subscriber, ConsentEvent.Kind.REQUESTED, now, via=via)
    return True


def _ask_for_link(subscriber: Subscriber, now: datetime, *, every: timedelta) -> bool:
    if subscriber.link_due_at is not None or not _has_passed(
        every, since=subscriber.link_sent_at, now=now
    ):
        return False
    _write(subscriber, link_due_at=now)
    return True


def _has_passed(span: timedelta, *, since: datetime | None, now: datetime) -> bool:
    return since is None or now - since >= span


def _first_due(subscriber: Subscriber, now: datetime) -> datetime:
    soon = now + FIRST_DIGEST_AFTER
    return soon if _is_new_slot(subscriber, soon) else subscriber.due_after(now)


def _is_new_slot(subscriber: Subscriber, due: datetime) -> bool:
    slot = schedule.slot_date(due, subscriber.time_zone)
    return subscriber.last_slot is None or slot > subscriber.last_slot


def _has_goodbye(subscriber: Subscriber) -> bool:
    """Since they left, which they may do more than once."""
    left_at, told_at = subscriber.unsubscribed_at, subscriber.goodbye_sent_at
    return told_at is not None and left_at is not None and told_at >= left_at


def _may_move(subscriber: Subscriber, hashed: str) -> bool:
    holders = Subscriber.objects.filter(address_hash=hashed, confirmed_at__isnull=False)
    return (
        subscriber.state == Subscriber.State.ACTIVE
        and address_hash(subscriber.new_email) == hashed
        and not _is_barred(hashed)
        and not holders.exists()
    )


def _may_move_back(subscriber: Subscriber, hashed: str, now: datetime) -> bool:
    holders = Subscriber.objects.filter(address_hash=hashed, confirmed_at__isnull=False)
    return (
        subscriber.state == Subscriber.State.ACTIVE
        and address_hash(subscriber.old_email) == hashed
        and not _has_passed(MOVE_BACK_WITHIN, since=subscriber.moved_at, now=now)
        and not _is_barred(hashed)
        and not holders.exists()
    )


def _move(subscriber: Subscriber, new_email: str, now: datetime) -> None:
    # Who moves it twice in a week must not shake off the mailbox that it was taken from. Where it
    # goes back to that one, the one in between is told.
    if (
        not subscriber.old_email
        or address_hash(subscriber.old_email) == address_hash(new_email)
        or _has_passed(MOVE_BACK_WITHIN, since=subscriber.moved_at, now=now)
    ):
        _write(subscriber, old_email=subscriber.email)
    _write(subscriber, moved_at=now, moved_due_at=now)
    _take_address(subscriber, new_email)
    _note(subscriber, ConsentEvent.Kind.ADDRESS_CHANGED, now, via=ConsentEvent.Via.PAGE)


def _take_address(subscriber: Subscriber, address: str) -> None:
    Subscriber.objects.with_address(address).delete()
    _lift(address_hash(address))
    subscriber.set_address(address)
    _write(
        subscriber,
        email=subscriber.email,
        address_hash=subscriber.address_hash,
        new_email="",
        address_change_due_at=None,
    )


def _is_imminent(subscriber: Subscriber, now: datetime) -> bool:
    """Whether a mail is as good as on its way, which a change of mind about the hour must not lose.

    That is one whose moment has passed before a tick came by, or the first one after confirming.
    """
    due = subscriber.next_due_at
    if due is None or not _is_new_slot(subscriber, due):
        return False
    return due <= now or (subscriber.last_slot is None and due <= now + FIRST_DIGEST_AFTER)


def _next_due(subscriber: Subscriber, now: datetime) -> datetime | None:
    is_active = subscriber.state == Subscriber.State.ACTIVE
    return subscriber.due_after(now) if is_active else None


def _write(subscriber: Subscriber, **values: Any) -> None:
    for name, value in values.items():
        setattr(subscriber, name, value)
    subscriber.save(update_fields=list(values))


def _note(subscriber: Subscriber, kind: str, now: datetime, *, via: str) -> None:
    ConsentEvent.objects.create(
        subscriber=subscriber, kind=kind, via=via, at=now, text_version=CONSENT_VERSION
    )
