"""Claim, consent check, hand to the transport, record.

docs/delivery.md draws the states. Three rules make it safe to kill anything at any moment:
a window is marked `sending`, and committed, before the transport is called; that one UPDATE
carries the consent; and every later step is a compare-and-set on the claim's token.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import TypeVar

import structlog
from anymail.signals import EventType
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import Error as DatabaseError
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import (
    Case,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    Subquery,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest, Now

from papers.models import Entry, Paper
from subscribers.models import Subscriber, Suppression
from subscribers.transports import Receipt, Status, Transport, get_transport

from . import assembly, rendering
from .models import Digest, DigestQuerySet, Hold

log = structlog.get_logger(__name__)

FIRST_RETRY_SECONDS = 60
LONGEST_RETRY_SECONDS = 3600
LONGEST_ASKED_SECONDS = 86_400
LATE_BATCH = 500  # a hold that was released may leave a whole morning's

State, SkipReason = Digest.State, Digest.SkipReason
T = TypeVar("T")
Messages = dict[int, EmailMultiAlternatives]  # by the digest's id
SETTLED = {"claim_token": None, "lease_until": None, "retry_at": None}
# What a provider's word says of our part: it had the mail (and may have met a wall), or would not.
LEFT = (
    EventType.QUEUED, EventType.SENT, EventType.DEFERRED,
    EventType.DELIVERED, EventType.BOUNCED, EventType.COMPLAINED,
)  # fmt: skip
REFUSED = (EventType.REJECTED, EventType.FAILED)
# How loud the log is about one digest; all else at INFO.
UNREMARKABLE = (State.SENT, State.ASSEMBLED, State.CLAIMED)
LOUDNESS = {State.UNCERTAIN: logging.WARNING, State.FAILED: logging.WARNING}


def send_due(now: datetime, *, should_stop: Callable[[], bool] = lambda: False) -> Counter[str]:
    """Claims one batch and sends it; how many digests ended in each state. Empty: nothing due.

    `should_stop` is asked between windows. What is claimed and does not leave, for that or because
    sending is held meanwhile, goes back at once.
    """
    skip_late(now)
    clock = Clock(now)
    claim = None if should_stop() else _claim(now)
    if claim is None:
        return Counter()
    ended: Counter[str] = Counter()
    try:
        for window in claim.windows():
            if should_stop():
                break
            outcome = _send_window(window, claim=claim, clock=clock)
            ended += outcome
            if is_refused(outcome):
                break
    finally:
        _release(claim)
    log.info("batch sent", claimed=claim.size, **dict(sorted(ended.items())))
    return ended


class Clock:
    """The time, told from the `now` that a caller gave: a batch may take minutes."""

    def __init__(self, now: datetime) -> None:
        self._began_at, self._began = now, time.monotonic()

    @property
    def now(self) -> datetime:
        """To the second."""
        return self._began_at + timedelta(seconds=int(time.monotonic() - self._began))


def is_refused(outcome: Counter[str]) -> bool:
    """Not one mail of it could be handed over: the rest had better wait for a later tick."""
    return set(outcome) == {State.RETRY}


def sweep(now: datetime) -> int:
    """Settles what dead workers left: a claim goes back, a window being sent is in doubt.

    Where the transport recognises a repeated message the doubt is harmless, and it is retried.
    """
    expired = Digest.objects.filter(lease_until__lt=Now())
    back = expired.filter(state=State.CLAIMED).update(state=State.ASSEMBLED, **SETTLED)
    in_doubt = list(expired.filter(state=State.SENDING).values_list("pk", "claim_token"))
    transport = get_transport()
    for pk, token in in_doubt:
        _doubt(pk, token=token, transport=transport, now=now, error="the worker was lost")
    if back or in_doubt:
        log.warning("leases ran out", claims_returned=back, in_doubt=len(in_doubt))
        _tell([pk for pk, _ in in_doubt])
    return back + len(in_doubt)


def skip_late(now: datetime) -> None:
    """Gives up on digests that would arrive too late for their slot; their papers wait.

    One that may have left already, and was to be sent again, stays in doubt.
    """
    waiting = Digest.objects.filter(state__in=[State.ASSEMBLED, State.RETRY])
    late = waiting.filter(due_at__lt=assembly.late_before(now))
    unsent = late.filter(transport="")
    while ids := list(unsent.values_list("pk", flat=True)[:LATE_BATCH]):
        unsent.filter(pk__in=ids).update(
            state=State.SKIPPED, skip_reason=SkipReason.LATE, **SETTLED
        )
        _tell(ids)
    in_doubt = late.exclude(transport="")
    while ids := list(in_doubt.values_list("pk", flat=True)[:LATE_BATCH]):
        with transaction.atomic():
            in_doubt.filter(pk__in=ids).update(state=State.UNCERTAIN, **SETTLED)
            _move_cursors(ids)
        _tell(ids)


def believe(digest_id: int) -> None:
    """Ends the doubt about a digest if its provider has said what it did with the mail.

    Only a row that names a transport may have left; one that ended is not touched.
    """
    open_ended = [State.UNCERTAIN, State.RETRY, State.ASSEMBLED]
    rows = Digest.objects.filter(pk=digest_id, state__in=open_ended).exclude(transport="")
    left = rows.filter(outcome__in=LEFT).update(
        state=State.SENT, sent_at=F("outcome_at"), error="", **SETTLED
    )
    refused = rows.filter(outcome__in=REFUSED).update(
        state=State.FAILED, error="the provider refused it", **SETTLED
    )
    _move_cursors([digest_id])
    if left or refused:
        _tell([digest_id], by="provider")


def settle_as_sent(digest: Digest, now: datetime) -> bool:
    """The operator's word that a digest in doubt was delivered. False where there is no doubt."""
    doubt = Digest.objects.filter(pk=digest.pk, state=State.UNCERTAIN)
    is_settled = bool(doubt.update(state=State.SENT, sent_at=now))
    if is_settled:
        _tell([digest.pk], by="operator")
    return is_settled


def send_again(digest: Digest, now: datetime) -> bool:
    """The operator's word that a digest in doubt was not delivered: it is sent once more.

    False, and nothing happens, where there is no doubt, the slot's time is past, or the reader
    has a newer open digest.
    """
    if digest.due_at < assembly.late_before(now):
        return False
    doubt = Digest.objects.filter(pk=digest.pk, state=State.UNCERTAIN)
    try:
        with transaction.atomic():
            is_settled = bool(doubt.update(state=State.ASSEMBLED, claim_token=None))
    except IntegrityError:  # one open digest a reader
        return False
    if is_settled:
        _tell([digest.pk], by="operator")
    return is_settled


def current_hold() -> Hold | None:
    return Hold.objects.in_force().first()


def hold(*, by: str, now: datetime, note: str = "") -> Hold:
    """No digest leaves from now on, but for the windows that transports have in hand.

    A hold that is in force already stays as it is, and is the one returned.
    """
    try:
        with transaction.atomic():
            held = Hold.objects.create(began_at=now, began_by=by, note=note)
    except IntegrityError:  # one in force
        return Hold.objects.in_force().get()
    log.warning("hold begins", by=by, note=note)
    return held


def release(*, by: str, now: datetime, skip_waiting: bool) -> bool:
    """Ends the hold; False where none was in force.

    skip_waiting: what fell due until now is skipped as late, and its papers come with the next
    digest. Otherwise it is sent, as far as it is not too late anyway.
    """
    ended: dict[str, object] = {"released_at": now, "released_by": by}
    if skip_waiting:
        ended["late_before"] = now
    is_released = bool(Hold.objects.in_force().update(**ended))
    if is_released:
        log.warning("hold released", by=by, skip_waiting=skip_waiting)
    return is_released


def batches_due(now: datetime) -> int:
    """How many claims it would take to send what is due; none while sending is held."""
    return math.ceil(_free(now).count() / settings.CLAIM_LIMIT)


# -- claiming ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Claim:
    """`rows`: (digest id, local date of its slot)."""

    token: uuid.UUID
    rows: Sequence[tuple[int, date]]
    transport: Transport

    @property
    def size(self) -> int:
        return len(self.rows)

    def windows(self) -> Iterator[tuple[date, list[int]]]:
        """Windows of one slot each, none larger than one call of the transport."""
        most = min(settings.SEND_WINDOW, self.transport.window or settings.SEND_WINDOW)
        for slot, rows in groupby(self.rows, key=lambda row: row[1]):
            ids = [pk for pk, _ in rows]
            for start in range(0, len(ids), most):
                yield slot, ids[start : start + most]


def _claim(now: datetime) -> _Claim | None:
    transport = get_transport()
    token = uuid.uuid4()
    with transaction.atomic():
        # On PostgreSQL two workers step over each other's rows; SQLite ignores the lock, but
        # has one writer at a time, and the UPDATE repeats the condition.
        free = _free(now).select_for_update(skip_locked=True)
        first = free.order_by("due_at", "pk").values_list("pk", flat=True)
        ids = list(first[: settings.CLAIM_LIMIT])
        _free(now).filter(pk__in=ids).update(
            state=State.CLAIMED, claim_token=token, lease_until=_lease(), retry_at=None
        )
    mine = Digest.objects.filter(claim_token=token, state=State.CLAIMED)
    rows = list(mine.order_by("slot__date", "due_at", "pk").values_list("pk", "slot__date"))
    return _Claim(token, rows, transport) if rows else None


def _free(now: datetime) -> DigestQuerySet:
    """What may be claimed."""
    return Digest.objects.sendable(now).filter(~Exists(Hold.objects.in_force()))


def _lease() -> Combinable:
    """By the database's clock, the only one that all workers share."""
    lease = timedelta(seconds=settings.LEASE_SECONDS)
    return ExpressionWrapper(Now() + lease, output_field=DateTimeField())


def _release(claim: _Claim) -> None:
    """Gives back what was not reached; nothing of it has left."""
    rest = Digest.objects.filter(claim_token=claim.token, state=State.CLAIMED)
    rest.update(state=State.ASSEMBLED, **SETTLED)


# -- one window ----------------------------------------------------------------------------


def _send_window(window: tuple[date, list[int]], *, claim: _Claim, clock: Clock) -> Counter[str]:
    slot, ids = window
    digests = list(_claimed(claim, ids).select_related("subscriber", "slot").order_by("pk"))
    ended: Counter[str] = Counter()
    digests = _without_gone(digests, claim=claim, ended=ended)
    messages = _render(digests, claim=claim, now=clock.now, ended=ended)
    _mark(digests, messages, slot=slot, claim=claim)
    ended += _settle_refused(ids, slot=slot, claim=claim)
    ready = _with_rendered_address(messages, claim=claim)
    if ready:
        receipts = claim.transport.send([messages[pk] for pk in ready])
        results = dict(zip(ready, receipts, strict=True))
        answered_at = clock.now
        ended += _persistently(lambda: _record(results, claim=claim, now=answered_at))
    _tell(ids)
    return ended


def _claimed(claim: _Claim, ids: Sequence[int]) -> DigestQuerySet:
    return Digest.objects.filter(pk__in=ids, claim_token=claim.token, state=State.CLAIMED)


def _without_gone(digests: list[Digest], *, claim: _Claim, ended: Counter[str]) -> list[Digest]:
    """Takes out papers that were withdrawn, dropped or deleted since. A digest that loses what it
    would have been sent for is skipped.
    """
    gone = _gone({pk for digest in digests for pk in digest.paper_ids})
    empty = []
    for digest in digests:
        if not gone.isdisjoint(digest.paper_ids):
            sent_for = digest.sent_for
            digest.items = [item for item in digest.items if item["paper_id"] not in gone]
            _claimed(claim, [digest.pk]).update(items=digest.items)
            empty += [digest.pk] if digest.sent_for != sent_for else []
    nothing = {"state": State.SKIPPED, "skip_reason": SkipReason.NOTHING, **SETTLED}
    with transaction.atomic():
        ended[State.SKIPPED] += _claimed(claim, empty).update(**nothing)
        _move_cursors(empty)
    return [digest for digest in digests if digest.pk not in set(empty)]


def _gone(paper_ids: set[int]) -> set[int]:
    """Those that no reader may see any more: dropped means in every edition that lists it."""
    entries = Entry.objects.filter(paper=OuterRef("pk"))
    dropped = Exists(entries.filter(dropped_at__isnull=False))
    kept = Exists(entries.filter(dropped_at__isnull=True))
    standing = Paper.objects.filter(pk__in=paper_ids, withdrawn_at__isnull=True)
    return paper_ids.difference(standing.exclude(dropped, ~kept).values_list("pk", flat=True))


def _render(
    digests: Sequence[Digest], *, claim: _Claim, now: datetime, ended: Counter[str]
) -> Messages:
    """Digest id -> message, made before anything is marked. One that cannot be made fails alone."""
    contents = _contents(digests, now=now)
    messages: Messages = {}
    for digest in digests:
        if digest.subscriber is None:
            continue
        try:
            content = contents.get(digest.pk) or rendering.contents([digest], now=now)[digest.pk]
            messages[digest.pk] = rendering.message(digest, content)
        except DatabaseError:
            raise
        except Exception as error:  # whatever a text does to a template, the others go out
            log.exception("mail not rendered", digest=digest.uuid)
            why = f"rendering: {error}"
            failed = {"state": State.FAILED, "error": why, **SETTLED}
            ended[State.FAILED] += _claimed(claim, [digest.pk]).update(**failed)
    return messages


def _contents(digests: Sequence[Digest], *, now: datetime) -> dict[int, rendering.Content]:
    """All at once; nothing where one of them cannot be read, so that each is made alone."""
    try:
        return rendering.contents(digests, now=now)
    except DatabaseError:
        raise
    except Exception:
        log.exception("window not rendered as a whole", digests=len(digests))
        return {}


def _mark(
    digests: Sequence[Digest],
    messages: Messages,
    *,
    slot: date,
    claim: _Claim,
) -> None:
    """The point of no return: one UPDATE, committed before the transport is called.

    It carries the consent, the pause, the suppression, the withdrawal of papers and the hold, so
    whoever unsubscribed a second ago gets nothing. And it keeps what proves the mail's words.
    """
    named = {pk for digest in digests for pk in digest.paper_ids}
    withdrawn = Paper.objects.withdrawn().filter(pk__in=named)
    mailable = Subscriber.objects.mailable(slot).filter(pk=OuterRef("subscriber"))
    held = Hold.objects.in_force()
    claimed = _claimed(claim, list(messages))
    claimed.filter(Exists(mailable), ~Exists(withdrawn), ~Exists(held)).update(
        state=State.SENDING,
        lease_until=_lease(),
        attempts=F("attempts") + 1,
        mail_hash=_each(messages, list(messages), rendering.fingerprint),
    )


def _settle_refused(ids: Sequence[int], *, slot: date, claim: _Claim) -> Counter[str]:
    """Names why the UPDATE left a digest out. A withdrawal leaves it claimed, to be tried again."""
    refused = _claimed(claim, ids)
    active = Subscriber.objects.active().filter(pk=OuterRef("subscriber"))
    held = Suppression.objects.filter(address_hash=OuterRef("subscriber__address_hash"))
    paused = active.filter(paused_until__gt=slot)
    skipped = {"state": State.SKIPPED, **SETTLED}
    consent = refused.filter(~Exists(active)).update(skip_reason=SkipReason.CONSENT, **skipped)
    suppressed = refused.filter(Exists(held)).update(state=State.SUPPRESSED, **SETTLED)
    paused_count = refused.filter(Exists(paused)).update(skip_reason=SkipReason.PAUSED, **skipped)
    return +Counter[str]({State.SKIPPED: consent + paused_count, State.SUPPRESSED: suppressed})


def _with_rendered_address(messages: Messages, *, claim: _Claim) -> list[int]:
    """The marked ones. A reader who changed address since rendering goes back: nothing has left."""
    marked = Digest.objects.filter(pk__in=messages, claim_token=claim.token, state=State.SENDING)
    addresses = dict(marked.order_by("pk").values_list("pk", "subscriber__email"))
    moved = [pk for pk, address in addresses.items() if messages[pk].to != [address]]
    marked.filter(pk__in=moved).update(state=State.ASSEMBLED, **SETTLED)
    return [pk for pk in addresses if pk not in moved]


# -- recording -----------------------------------------------------------------------------


@transaction.atomic
def _record(results: dict[int, Receipt], *, claim: _Claim, now: datetime) -> Counter[str]:
    """Writes what the transport said, one statement per kind of answer.

    A result that comes after the lease has run out still settles the doubt it left: the token is
    the same.
    """
    by_status: dict[Status, list[int]] = {status: [] for status in Status}
    for pk, receipt in results.items():
        by_status[receipt.status].append(pk)
    sent = _ours(by_status[Status.SENT], claim.token).update(
        state=State.SENT,
        sent_at=now,
        transport=claim.transport.name,
        provider_message_id=_each(results, by_status[Status.SENT], lambda r: r.message_id),
        error="",
        lease_until=None,
    )
    _move_cursors(by_status[Status.SENT])
    failed = _ours(by_status[Status.FAILED], claim.token).update(
        state=State.FAILED,
        transport=claim.transport.name,
        error=_each(results, by_status[Status.FAILED], lambda r: r.error),
        lease_until=None,
    )
    ended = Counter[str]({State.SENT: sent, State.FAILED: failed})
    for pk in by_status[Status.RETRY]:
        ended[_retry(pk, results[pk], token=claim.token, now=now)] += 1
    for pk in by_status[Status.UNCERTAIN]:
        error = results[pk].error
        ended[_doubt(pk, token=claim.token, transport=claim.transport, now=now, error=error)] += 1
    return +ended


def _ours(ids: Sequence[int], token: uuid.UUID | None) -> DigestQuerySet:
    in_flight = [State.SENDING, State.UNCERTAIN]
    return Digest.objects.filter(pk__in=ids, claim_token=token, state__in=in_flight)


def _each(by_id: dict[int, T], ids: Sequence[int], value: Callable[[T], str]) -> Case | Value:
    whens = [When(pk=pk, then=Value(value(by_id[pk]))) for pk in ids]
    return Case(*whens, default=Value("")) if whens else Value("")


def _retry(pk: int, receipt: Receipt, *, token: uuid.UUID, now: datetime) -> str:
    """Nothing was delivered: try again after the time asked for, or after a growing pause.

    Not where the tries are used up, nor where this word comes so late that the reader's next
    digest is on its way.
    """
    row = _ours([pk], token)
    row.filter(state=State.UNCERTAIN).update(transport="")  # this word, late as it is, ends it
    attempts = row.values_list("attempts", flat=True).first() or 0
    newer = Digest.objects.open().filter(subscriber=OuterRef("subscriber")).exclude(pk=pk)
    is_last = receipt.was_tried and attempts >= settings.MAX_ATTEMPTS
    if is_last or row.filter(Exists(newer)).exists():
        row.update(state=State.FAILED, error=receipt.error, lease_until=None)
        return State.FAILED
    asked_seconds = min(receipt.retry_after_seconds or 0, LONGEST_ASKED_SECONDS)
    pause_seconds = asked_seconds or _pause_seconds(attempts)
    retry_at = now + timedelta(seconds=pause_seconds)
    row.update(
        **{**SETTLED, "state": State.RETRY, "retry_at": retry_at, "error": receipt.error},
        attempts=F("attempts") - (0 if receipt.was_tried else 1),
    )
    return State.RETRY


def _doubt(
    pk: int, *, token: uuid.UUID | None, transport: Transport, now: datetime, error: str
) -> str:
    """It may have left, which the row shows by naming the transport. Sent again only where the
    transport knows a repeated message, and the provider has not spoken yet.
    """
    row = _ours([pk], token)
    known = {**SETTLED, "transport": transport.name, "error": error}
    again = row.filter(state=State.SENDING, attempts__lt=settings.MAX_ATTEMPTS, outcome="")
    if transport.repeats_safely:
        attempts = row.values_list("attempts", flat=True).first() or 0
        retry_at = now + timedelta(seconds=_pause_seconds(attempts))
        if again.update(**{**known, "state": State.RETRY, "retry_at": retry_at}):
            return State.RETRY
    with transaction.atomic():
        # The token stays: a worker that was only slow may still come and say what happened.
        row.update(**{**known, "state": State.UNCERTAIN, "claim_token": token})
        believe(pk)
        _move_cursors([pk])
    return State.UNCERTAIN


def _pause_seconds(attempts: int) -> float:
    return float(min(FIRST_RETRY_SECONDS * 2 ** max(attempts - 1, 0), LONGEST_RETRY_SECONDS))


def _move_cursors(ids: Sequence[int]) -> None:
    """Readers move past the editions that these digests have dealt with."""
    dealt_with = Q(state__in=[State.SENT, State.UNCERTAIN]) | Q(skip_reason=SkipReason.NOTHING)
    digests = Digest.objects.filter(dealt_with, pk__in=ids)
    theirs = digests.filter(subscriber=OuterRef("pk")).order_by("-closed_seq")
    readers = Subscriber.objects.filter(pk__in=digests.order_by().values("subscriber"))
    readers.update(cursor=Greatest(F("cursor"), Subquery(theirs.values("closed_seq")[:1])))


def _tell(ids: Sequence[int], **facts: str) -> None:
    """Where each stands, under the UUID that its Message-ID and the provider know it by."""
    told = Digest.objects.filter(pk__in=ids)
    if not facts and not log.isEnabledFor(logging.DEBUG):
        told = told.exclude(state__in=UNREMARKABLE)
    columns = ("uuid", "state", "skip_reason", "attempts", "retry_at", "error")
    for uid, state, *more in told.values_list(*columns) if ids else ():
        known = dict(zip(columns[2:], more, strict=True))
        is_ordinary = state in UNREMARKABLE and not facts
        level = logging.DEBUG if is_ordinary else LOUDNESS.get(state, logging.INFO)
        log.log(
            level, f"digest {state}", digest=uid, **facts,
            **{name: value for name, value in known.items() if value},
        )  # fmt: skip


def _persistently(record: Callable[[], Counter[str]]) -> Counter[str]:
    """Mail has left: a database that went away is waited for, not given up on."""
    pause_seconds = 0.5
    while True:
        try:
            return record()
        except (OperationalError, InterfaceError) as error:
            log.warning("results not recorded yet", again_in_seconds=pause_seconds, error=error)
            connection.close()
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, 30)
