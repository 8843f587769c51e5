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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import structlog
from anymail.signals import EventType
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import Error as DatabaseError
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import (
    Case,
    DateField,
    DateTimeField,
    Exists,
    Expression,
    F,
    IntegerField,
    OuterRef,
    PositiveIntegerField,
    Q,
    Subquery,
    TextField,
    UUIDField,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Greatest, Now

from papers.models import Entry, Paper
from subscribers import flow, mail
from subscribers.models import Subscriber, SubscriberQuerySet, Suppression
from subscribers.transports import Receipt, Status, get_transports

from . import assembly, copies, pieces, rendering
from .by_row import ByRow, as_document
from .copies import Copy
from .leases import FromNow
from .models import Digest, DigestQuerySet, Hold, Slot
from .prepared import Among, Given, PreparedUpdate

log = structlog.get_logger(__name__)

FIRST_RETRY_SECONDS = 60
LONGEST_RETRY_SECONDS = 3600
LONGEST_ASKED_SECONDS = 86_400
GOLDEN_RATIO = 0.6180339887498949
LATE_BATCH = 500  # a hold that was released may leave a whole morning's
# Of its lease a claim uses this much, then it gives back what it has not reached.
LEASE_SHARE = 0.8
# How long a window waits for its turn, where a limit is set for each second.
PATIENCE_SECONDS = 10

State, SkipReason, SettledBy = Digest.State, Digest.SkipReason, Digest.SettledBy
Messages = dict[int, EmailMultiAlternatives]  # by the digest's id
Contents = dict[int, rendering.Content]
SETTLED = {"claim_token": None, "lease_until": None, "retry_at": None}
BACK = {**SETTLED, "state": State.ASSEMBLED}
IN_FLIGHT = (State.SENDING, State.UNCERTAIN)
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
    clock = Clock(now)
    claim = None if should_stop() else _first_claim(now)
    if claim is None:
        skip_late(now)
        return Counter()
    ended: Counter[str] = Counter()
    try:
        digests = _without_gone(claim.digests, claim=claim, ended=ended)
        contents = _contents(digests, now=now)
        for window in claim.windows(digests, should_stop):
            ended += _send_window(window, contents, claim=claim, clock=clock)
    finally:
        if sum(ended.values()) < len(claim.digests):
            _release(claim)
    log.info("batch sent", claimed=len(claim.digests), **dict(sorted(ended.items())))
    return ended


class Clock:
    """The time, told from the `now` that a caller gave: a batch may take minutes."""

    def __init__(self, now: datetime) -> None:
        self._began_at, self._began = now, time.monotonic()

    @property
    def now(self) -> datetime:
        """To the second."""
        return self._began_at + timedelta(seconds=int(time.monotonic() - self._began))


def sweep(now: datetime) -> int:
    """Settles what dead workers left: a claim goes back, a window being sent is in doubt.

    Where the transport recognises a repeated message the doubt is harmless, and it is retried.
    """
    expired = Digest.objects.filter(lease_until__lt=Now())
    back = expired.filter(state=State.CLAIMED).update(**BACK)
    lost = expired.filter(state=State.SENDING)
    in_doubt = list(lost.values_list("pk", "claim_token", "transport"))
    safe = {transport.name for transport in get_transports() if transport.repeats_safely}
    for pk, token, name in in_doubt:
        _doubt(pk, token=token, is_safe=name in safe, now=now, error="the worker was lost")
    if back or in_doubt:
        log.warning("leases ran out", claims_returned=back, in_doubt=len(in_doubt))
        _tell([pk for pk, *_ in in_doubt])
    return back + len(in_doubt)


def skip_late(now: datetime) -> None:
    """Gives up on digests that would arrive too late for their slot; their papers wait.

    One that may have left already, and was to be sent again, stays in doubt.
    """
    late = Digest.objects.waiting().filter(due_at__lt=assembly.late_before(now))
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
    open_ended = [State.UNCERTAIN, State.RETRY, State.ASSEMBLED, State.CLAIMED]
    rows = Digest.objects.filter(pk=digest_id, state__in=open_ended).exclude(transport="")
    # Events may tell of a time before the doubt, and come after it.
    at = Coalesce(Greatest(F("outcome_at"), F("doubted_at")), F("outcome_at"))
    settled = {**SETTLED, "settled_at": at, "settled_by": SettledBy.PROVIDER}
    left = rows.filter(outcome__in=LEFT).update(
        state=State.SENT, sent_at=_handed_over("outcome_at"), error="", **settled
    )
    refused = rows.filter(outcome__in=REFUSED).update(
        state=State.FAILED, error="the provider refused it", **settled
    )
    _move_cursors([digest_id])
    if left or refused:
        _tell([digest_id], by="provider")


def settle_as_sent(digest: Digest, now: datetime) -> bool:
    """The operator's word that a digest in doubt was delivered. False where there is no doubt."""
    doubt = Digest.objects.filter(pk=digest.pk, state=State.UNCERTAIN)
    settled: dict[str, Any] = {"settled_at": now, "settled_by": SettledBy.OPERATOR}
    is_settled = bool(doubt.update(state=State.SENT, sent_at=_handed_over(now), **settled))
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
            settled: dict[str, Any] = {"settled_at": now, "settled_by": SettledBy.OPERATOR}
            is_settled = bool(doubt.update(**BACK, **settled))
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


def batches_due(now: datetime, *, most: int = 50) -> int:
    """How many claims, up to `most`, it takes to send what is due; none while sending is held."""
    counted = _free(now)[: most * settings.CLAIM_LIMIT].count()
    return math.ceil(counted / settings.CLAIM_LIMIT)


# -- claiming ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Claim:
    """`digests`: slot by slot. `began`: by the monotonic clock. `is_over`: the transport has to
    rest.
    """

    token: uuid.UUID
    digests: list[Copy]
    transport: flow.Way
    began: float
    is_over: bool = False
    by_id: dict[int, Copy] = field(init=False)

    def __post_init__(self) -> None:
        self.by_id = {digest.pk: digest for digest in self.digests}

    def windows(
        self, digests: Sequence[Copy], should_stop: Callable[[], bool]
    ) -> Iterator[list[Copy]]:
        """Windows of one slot each, none larger than one call of the transport, or than what may
        leave at that moment.
        """
        most = min(settings.SEND_WINDOW, self.transport.window or settings.SEND_WINDOW)
        for _, group in groupby(digests, key=lambda digest: digest.slot.pk):
            rest = list(group)
            while rest:
                may = self._may_leave(min(most, len(rest)), should_stop)
                if not may:
                    return
                yield rest[:may]
                rest = rest[may:]

    def _may_leave(self, wanted: int, should_stop: Callable[[], bool]) -> int:
        is_old = time.monotonic() - self.began > settings.LEASE_SECONDS * LEASE_SHARE
        if self.is_over or is_old or should_stop():
            return 0
        return flow.grant(
            self.transport, wanted, patience_seconds=PATIENCE_SECONDS, should_stop=should_stop
        )


def _first_claim(now: datetime) -> _Claim | None:
    """Something to send by the first transport that may; else what only a later one may send."""
    claims = (_claim(now, way=way) for way in flow.ways_out(now))
    return next((claim for claim in claims if claim is not None), None)


def _claim(now: datetime, *, way: flow.Way) -> _Claim | None:
    token = uuid.uuid4()
    began = time.monotonic()
    # What may have left by one transport is tried again by that one alone.
    free = _free(now).filter(transport__in=["", way.name], due_at__gte=assembly.late_before(now))
    with transaction.atomic():
        # On PostgreSQL two workers step over each other's rows; SQLite ignores the lock, but
        # has one writer at a time, and the UPDATE repeats the condition.
        locked = free.select_for_update(skip_locked=True)
        first = locked.order_by("due_at", "pk").values_list("pk", flat=True)
        ids = list(first[: settings.CLAIM_LIMIT])
        _take(ids=ids, token=token, lease=settings.LEASE_SECONDS, now=now)
    ours = Digest.objects.filter(pk__in=ids, claim_token=token, state=State.CLAIMED)
    digests = copies.read(ours) if ids else []
    return _Claim(token, digests, way, began) if digests else None


@PreparedUpdate
def _take() -> tuple[DigestQuerySet, dict[str, Any]]:
    """Of rows that were free a moment ago, those that still are."""
    free = _free(Given("now", DateTimeField())).filter(Among("ids"))
    return free, {
        "state": State.CLAIMED,
        "claim_token": Given("token", UUIDField()),
        "lease_until": FromNow(Given("lease", IntegerField())),
        "retry_at": None,
    }


def _free(now: datetime | Expression) -> DigestQuerySet:
    """What may be claimed."""
    return Digest.objects.sendable(now).filter(~Exists(Hold.objects.in_force()))


def _release(claim: _Claim) -> None:
    """Gives back what was not reached; nothing of it has left."""
    _claimed(claim, list(claim.by_id)).update(**BACK)


# -- one window ----------------------------------------------------------------------------


def _send_window(
    window: Sequence[Copy], contents: Contents, *, claim: _Claim, clock: Clock
) -> Counter[str]:
    ids = [digest.pk for digest in window]
    ended: Counter[str] = Counter()
    messages = _render(window, contents, claim=claim, now=clock.now, ended=ended)
    ready = _marked(window, messages, claim=claim, now=clock.now)
    if ready:
        receipts = claim.transport.send([messages[pk] for pk in ready])
        results = dict(zip(ready, receipts, strict=True))
        answered_at = clock.now
        ended += _persistently(lambda: _settle(results, claim=claim, now=answered_at))
    # Not before: what is marked must leave, whatever becomes of the rest.
    if len(ready) < len(ids):
        ended += _settle_refused(ids, slot=window[0].slot, claim=claim)
        flow.give_back(claim.transport, len(ids) - len(ready))
    if set(ended) != {State.SENT} or log.isEnabledFor(logging.DEBUG):
        _tell(ids)
    return ended


def _claimed(claim: _Claim, ids: Sequence[int]) -> DigestQuerySet:
    return Digest.objects.filter(pk__in=ids, claim_token=claim.token, state=State.CLAIMED)


def _without_gone(digests: list[Copy], *, claim: _Claim, ended: Counter[str]) -> list[Copy]:
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
    if not empty:
        return digests
    nothing = {"state": State.SKIPPED, "skip_reason": SkipReason.NOTHING, **SETTLED}
    with transaction.atomic():
        ended[State.SKIPPED] += _claimed(claim, empty).update(**nothing)
        _move_cursors(empty)
    _tell(empty)
    return [digest for digest in digests if digest.pk not in set(empty)]


def _gone(paper_ids: set[int]) -> set[int]:
    """Those that no reader may see any more."""
    known = Paper.objects.filter(pk__in=paper_ids)
    return paper_ids.difference(known.exclude(_is_gone()).values_list("pk", flat=True))


def _is_gone() -> Q:
    """Of a paper: withdrawn by its authors, or dropped from every edition that lists it."""
    entries = Entry.objects.filter(paper=OuterRef("pk"))
    dropped = Exists(entries.filter(dropped_at__isnull=False))
    kept = Exists(entries.filter(dropped_at__isnull=True))
    return Q(withdrawn_at__isnull=False) | Q(dropped, ~kept)


def _render(
    digests: Sequence[Copy],
    contents: Contents,
    *,
    claim: _Claim,
    now: datetime,
    ended: Counter[str],
) -> Messages:
    """Digest id -> message, made before anything is marked. One that cannot be made fails alone."""
    messages: Messages = {}
    for digest in digests:
        if digest.subscriber is None:
            continue
        try:
            content = contents.get(digest.pk) or rendering.contents([digest], now=now)[digest.pk]
            messages[digest.pk] = pieces.message(digest, content)
        except DatabaseError:
            raise
        except Exception as error:  # whatever a text does to a template, the others go out
            log.exception("mail not rendered", digest=digest.uuid)
            why = f"rendering: {error}"
            failed = {"state": State.FAILED, "error": why, **SETTLED}
            ended[State.FAILED] += _claimed(claim, [digest.pk]).update(**failed)
    return messages


def _contents(digests: Sequence[Copy], *, now: datetime) -> Contents:
    """All at once; nothing where one of them cannot be read, so that each is made alone."""
    try:
        contents = rendering.contents(digests, now=now)
        pieces.prepare(contents.values())
    except DatabaseError:
        raise
    except Exception:
        log.exception("claim not rendered as a whole", digests=len(digests))
        return {}
    return contents


def _marked(
    window: Sequence[Copy], messages: Messages, *, claim: _Claim, now: datetime
) -> list[int]:
    """Marks what has a message, and says which of it may leave."""
    count = _mark(window, messages, claim=claim, now=now)
    if count == len(messages):
        return list(messages)
    left = Digest.objects.filter(claim_token=claim.token, state=State.SENDING, pk__in=messages)
    return list(left.order_by("pk").values_list("pk", flat=True)) if count else []


def _mark(window: Sequence[Copy], messages: Messages, *, claim: _Claim, now: datetime) -> int:
    """The point of no return: one UPDATE, committed before the transport is called."""
    digests = [digest for digest in window if digest.pk in messages]
    readers = [digest.subscriber for digest in digests if digest.subscriber is not None]
    proofs = {pk: rendering.fingerprint(message) for pk, message in messages.items()}
    return _mark_rows(
        ids=messages,
        token=claim.token,
        transport=claim.transport.name,
        papers={pk for digest in digests for pk in digest.paper_ids},
        slot_date=window[0].slot.date,
        addresses=as_document({reader.pk: reader.email for reader in readers}),
        proofs=as_document(proofs),
        lease=settings.LEASE_SECONDS,
        now=now,
    )


@PreparedUpdate
def _mark_rows() -> tuple[DigestQuerySet, dict[str, Any]]:
    """It carries the consent, the address, the pause, the suppression, the withdrawal of papers
    and the hold, so whoever unsubscribed a second ago gets nothing. And it keeps what proves the
    mail's words, and by which way they may have left.
    """
    mailable = Subscriber.objects.mailable(Given("slot_date", DateField()))
    unmoved = mailable.filter(
        pk=OuterRef("subscriber"), email=ByRow(Given("addresses", TextField()))
    )
    gone = Paper.objects.filter(_is_gone(), Among("papers"))
    claimed = Digest.objects.filter(
        Among("ids"), claim_token=Given("token", UUIDField()), state=State.CLAIMED
    )
    return claimed.filter(Exists(unmoved), ~Exists(gone), ~Exists(Hold.objects.in_force())), {
        "state": State.SENDING,
        "lease_until": FromNow(Given("lease", IntegerField())),
        "attempts": F("attempts") + 1,
        "attempted_at": Given("now", DateTimeField()),
        "transport": Given("transport", TextField()),
        "mail_hash": ByRow(Given("proofs", TextField())),
    }


def _settle_refused(ids: Sequence[int], *, slot: Slot, claim: _Claim) -> Counter[str]:
    """Names why the UPDATE left a digest out. A withdrawal and a new address leave it claimed: it
    goes back, and is made anew.
    """
    refused = _claimed(claim, ids)
    active = Subscriber.objects.active().filter(pk=OuterRef("subscriber"))
    held = Suppression.objects.filter(address_hash=OuterRef("subscriber__address_hash"))
    paused = active.filter(paused_until__gt=slot.date)
    skipped = {"state": State.SKIPPED, **SETTLED}
    consent = refused.filter(~Exists(active)).update(skip_reason=SkipReason.CONSENT, **skipped)
    suppressed = refused.filter(Exists(held)).update(state=State.SUPPRESSED, **SETTLED)
    paused_count = refused.filter(Exists(paused)).update(skip_reason=SkipReason.PAUSED, **skipped)
    return +Counter[str]({State.SKIPPED: consent + paused_count, State.SUPPRESSED: suppressed})


# -- recording -----------------------------------------------------------------------------


def _settle(results: dict[int, Receipt], *, claim: _Claim, now: datetime) -> Counter[str]:
    """The transport first: whether it is in trouble decides when its mails are tried again."""
    claim.is_over = not flow.note(claim.transport, list(results.values()), now)
    return _record(results, claim=claim, now=now)


@transaction.atomic
def _record(results: dict[int, Receipt], *, claim: _Claim, now: datetime) -> Counter[str]:
    """Writes what the transport said, one statement per kind of answer.

    A result that comes after the lease has run out still settles the doubt it left: the token is
    the same.
    """
    by_status: dict[Status, dict[int, Receipt]] = {status: {} for status in Status}
    for pk, receipt in results.items():
        by_status[receipt.status][pk] = receipt
    sent, failed = by_status[Status.SENT], by_status[Status.FAILED]
    renamed = {
        pk: receipt.message_id
        for pk, receipt in sent.items()
        if not _is_own(receipt, claim.by_id[pk])
    }
    errors = {pk: receipt.error for pk, receipt in failed.items()}
    ended: Counter[str] = Counter()
    if sent:
        ended[State.SENT] = _record_sent(
            ids=sent, token=claim.token, message_ids=as_document(renamed), now=now
        )
        _pass_editions(sent, claim=claim, are_all_ours=ended[State.SENT] == len(sent))
    if failed:
        ended[State.FAILED] = _ours(failed, claim.token).update(
            **_last_word(Value(now)), state=State.FAILED, error=ByRow(errors)
        )
    is_services = any(receipt.is_services for receipt in by_status[Status.RETRY].values())
    at_once = is_services and _is_other_way(claim, now)
    for pk, receipt in by_status[Status.RETRY].items():
        ended[_retry(pk, receipt, token=claim.token, now=now, at_once=at_once)] += 1
    is_safe = claim.transport.repeats_safely
    for pk, receipt in by_status[Status.UNCERTAIN].items():
        error = receipt.error
        ended[_doubt(pk, token=claim.token, is_safe=is_safe, now=now, error=error)] += 1
    return +ended


@PreparedUpdate
def _record_sent() -> tuple[DigestQuerySet, dict[str, Any]]:
    ours = Digest.objects.filter(
        Among("ids"), claim_token=Given("token", UUIDField()), state__in=IN_FLIGHT
    )
    now = Given("now", DateTimeField())
    return ours, {
        **_last_word(now),
        "state": State.SENT,
        "sent_at": now,
        "provider_message_id": Coalesce(ByRow(Given("message_ids", TextField())), Value("")),
        "error": "",
    }


def _is_own(receipt: Receipt, digest: Copy) -> bool:
    """It went under the Message-ID that follows from the digest's UUID, and is found by that."""
    return receipt.message_id == mail.message_id(digest.uuid.hex, "digest")


def _ours(ids: Iterable[int], token: uuid.UUID | None) -> DigestQuerySet:
    return Digest.objects.filter(pk__in=list(ids), claim_token=token, state__in=IN_FLIGHT)


def _last_word(now: Expression) -> dict[str, Any]:
    """Ends the lease; and where it had run out, the doubt that it left."""
    doubted = Q(state=State.UNCERTAIN)
    return {
        "lease_until": None,
        "settled_at": Case(When(doubted, then=now), default=F("settled_at")),
        "settled_by": Case(
            When(doubted, then=Value(SettledBy.WORKER.value)), default=F("settled_by")
        ),
    }


def _not_left() -> Case:
    """The transport that a row goes on naming once an attempt came to nothing: none, unless an
    earlier one may have left by it.
    """
    in_doubt = Q(doubted_at__isnull=False, settled_at__isnull=True)
    return Case(When(in_doubt, then=F("transport")), default=Value(""))


def _handed_over(otherwise: str | datetime) -> Coalesce:
    """When a digest left that was in doubt: as it was marked, for all that is known."""
    last = F(otherwise) if isinstance(otherwise, str) else Value(otherwise)
    return Coalesce(F("attempted_at"), last)


def _is_other_way(claim: _Claim, now: datetime) -> bool:
    """Another transport is there for what the service of this one could not take."""
    way = flow.way_out(now)
    return way is not None and way.name != claim.transport.name


def _retry(
    pk: int, receipt: Receipt, *, token: uuid.UUID, now: datetime, at_once: bool = False
) -> str:
    """Nothing was delivered: try again after the time asked for, or after a growing pause; at once
    where the trouble was this transport's and another one is there.

    Not where the tries are used up, nor where this word comes so late that the reader's next
    digest is on its way.
    """
    row = _ours([pk], token)
    # This word, late as it is, ends the doubt that the lease left.
    row.filter(state=State.UNCERTAIN).update(settled_at=now, settled_by=SettledBy.WORKER)
    attempts = row.values_list("attempts", flat=True).first() or 0
    newer = Digest.objects.open().filter(subscriber=OuterRef("subscriber")).exclude(pk=pk)
    is_last = receipt.was_tried and attempts >= settings.MAX_ATTEMPTS
    ended: dict[str, Any] = {"error": receipt.error, "transport": _not_left()}
    if is_last or row.filter(Exists(newer)).exists():
        row.update(**ended, state=State.FAILED, lease_until=None)
        return State.FAILED
    pause_seconds = 0.0
    if not (at_once and receipt.is_services):
        asked_seconds = min(receipt.retry_after_seconds or 0, LONGEST_ASKED_SECONDS)
        pause_seconds = asked_seconds or _pause_seconds(attempts, pk)
    ended |= {"state": State.RETRY, "retry_at": now + timedelta(seconds=pause_seconds)}
    untried = 0 if receipt.was_tried else 1
    try:
        with transaction.atomic():
            row.update(**{**SETTLED, **ended}, attempts=F("attempts") - untried)
    except IntegrityError:  # the next digest was made this moment; the other receipts stand
        row.update(error=receipt.error, transport=_not_left(), state=State.FAILED, lease_until=None)
        return State.FAILED
    return State.RETRY


def _doubt(pk: int, *, token: uuid.UUID | None, is_safe: bool, now: datetime, error: str) -> str:
    """It may have left, by the transport that the row names. Sent again only where that one knows
    a repeated message (`is_safe`), and the provider has not spoken yet.
    """
    row = _ours([pk], token)
    known: dict[str, Any] = {
        "error": error,
        "doubted_at": now,
        "settled_at": None,
        "settled_by": "",
    }
    again = row.filter(state=State.SENDING, attempts__lt=settings.MAX_ATTEMPTS, outcome="")
    if is_safe:
        attempts = row.values_list("attempts", flat=True).first() or 0
        retry_at = now + timedelta(seconds=_pause_seconds(attempts, pk))
        if again.update(**{**SETTLED, **known, "state": State.RETRY, "retry_at": retry_at}):
            return State.RETRY
    with transaction.atomic():
        # The token stays: a worker that was only slow may still come and say what happened.
        row.filter(state=State.SENDING).update(**known, state=State.UNCERTAIN, lease_until=None)
        row.update(error=error)
        believe(pk)
        _move_cursors([pk])
    return State.UNCERTAIN


def _pause_seconds(attempts: int, pk: int) -> float:
    """Doubled with every attempt, up to an hour, and spread over the quarters around that: what
    failed together is not tried together. The spread is the digest's own (multiples of the golden
    ratio lie evenly between whole numbers; Knuth, TAOCP 3, 6.4).
    """
    pause = min(FIRST_RETRY_SECONDS * 2 ** max(attempts - 1, 0), LONGEST_RETRY_SECONDS)
    return pause * (0.75 + 0.5 * (pk * GOLDEN_RATIO % 1))


def _pass_editions(ids: Iterable[int], *, claim: _Claim, are_all_ours: bool) -> None:
    """As `_move_cursors`, by what was read with the claim."""
    if not are_all_ours:
        _move_cursors(ids)
        return
    by_edition: dict[int, list[int]] = defaultdict(list)
    for pk in ids:
        digest = claim.by_id[pk]
        by_edition[digest.closed_seq].append(digest.subscriber.pk if digest.subscriber else 0)
    for seq, readers in sorted(by_edition.items()):
        _pass(readers=readers, seq=seq)


@PreparedUpdate
def _pass() -> tuple[SubscriberQuerySet, dict[str, Any]]:
    seq = Given("seq", PositiveIntegerField())
    return Subscriber.objects.filter(Among("readers"), cursor__lt=seq), {"cursor": seq}


def _move_cursors(ids: Iterable[int]) -> None:
    """Readers move past the editions that these digests have dealt with."""
    dealt_with = Q(state__in=[State.SENT, State.UNCERTAIN]) | Q(skip_reason=SkipReason.NOTHING)
    digests = Digest.objects.filter(dealt_with, pk__in=list(ids))
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
