"""The account of a slot: whoever fell due must have ended somewhere.

Conservation, of every slot and at any moment: due = sent + failed + skipped + suppressed +
uncertain + open. The digests are counted; what can no longer move is counted once and kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog
from django.core.cache import cache
from django.db.models import Count

from .models import Digest, Slot

log = structlog.get_logger(__name__)

KEPT_A_CALL = 5
DETAILS_SECONDS, KEPT_DETAILS_SECONDS = 60, 86_400
# A slot is a local date: in the first zone to see it, it begins up to 14 hours before UTC's.
EARLIEST_ZONE = timedelta(hours=14)

State = Digest.State


@dataclass(frozen=True, slots=True)
class Account:
    """How the readers of one slot ended. by_state: every state that has digests -> how many."""

    date: date
    due: int
    by_state: Mapping[str, int]

    def count(self, state: str) -> int:
        return self.by_state.get(state, 0)

    @property
    def sent(self) -> int:
        return self.count(State.SENT)

    @property
    def failed(self) -> int:
        return self.count(State.FAILED)

    @property
    def skipped(self) -> int:
        return self.count(State.SKIPPED)

    @property
    def suppressed(self) -> int:
        return self.count(State.SUPPRESSED)

    @property
    def uncertain(self) -> int:
        return self.count(State.UNCERTAIN)

    @property
    def open(self) -> int:
        return sum(self.count(state) for state in Digest.OPEN)

    @property
    def digests(self) -> int:
        return sum(self.by_state.values())

    @property
    def missing(self) -> int:
        """Readers who fell due and have no digest; negative where there are digests too many."""
        return self.due - self.digests

    @property
    def surplus(self) -> int:
        return -self.missing

    @property
    def is_conserved(self) -> bool:
        return self.missing == 0


@dataclass(frozen=True, slots=True)
class Delay:
    """From the due moment to the hand-over, over the digests of a slot that were sent."""

    count: int
    least: timedelta
    median: timedelta
    most_of_all: timedelta  # 95 % were no slower
    longest: timedelta


@dataclass(frozen=True, slots=True)
class Details:
    """skip_reasons, outcomes: value -> digests; the outcome "" is a provider's silence."""

    skip_reasons: Mapping[str, int]
    outcomes: Mapping[str, int]
    delay: Delay | None


def account(slot: Slot) -> Account:
    return Account(slot.date, slot.due, slot.account())


def accounts(slots: Sequence[Slot]) -> dict[int, Account]:
    """Slot id -> account. One GROUP BY for all that are not kept yet."""
    counted: dict[int, dict[str, int]] = {slot.pk: slot.counts or {} for slot in slots}
    live = [slot.pk for slot in slots if slot.counts is None]
    if live:
        rows = Digest.objects.filter(slot__in=live).order_by().values_list("slot", "state")
        for slot_id, state, number in rows.annotate(number=Count("*")):
            counted[slot_id][state] = number
    return {slot.pk: Account(slot.date, slot.due, counted[slot.pk]) for slot in slots}


def recent(number: int, now: datetime) -> list[Account]:
    """The newest slots that have begun somewhere, newest first."""
    latest = (now + EARLIEST_ZONE).date()
    slots = list(Slot.objects.filter(date__lte=latest).order_by("-date")[:number])
    by_slot = accounts(slots)
    return [by_slot[slot.pk] for slot in slots]


def keep_counts(now: datetime) -> int:
    """Keeps the counts of slots of which nothing can move any more; of how many.

    Readers who fall due after all (an installation that was away for days) count into their old
    slot: assembly lets go of the counts then, and a slot that grew meanwhile is not kept.
    """
    kept = 0
    for slot in Slot.objects.settled(now)[:KEPT_A_CALL]:
        unchanged = Slot.objects.filter(pk=slot.pk, due=slot.due, counts__isnull=True)
        kept += unchanged.update(counts=slot.recount())
    if kept:
        log.info("accounts kept", slots=kept)
    return kept


def details(slot: Slot) -> Details:
    """What the slot's page shows beside its account; kept a while, for it reads every digest."""
    key = f"slot-details:{slot.pk}:{slot.due}:{slot.counts is not None}"
    found: Details | None = cache.get(key)
    if found is None:
        found = _read(slot)
        seconds = DETAILS_SECONDS if slot.counts is None else KEPT_DETAILS_SECONDS
        cache.set(key, found, seconds)
    return found


def _read(slot: Slot) -> Details:
    """In one pass. A batch shares its moments, so there are few groups however many digests."""
    what = ("state", "skip_reason", "outcome", "due_at", "sent_at")
    groups = slot.digests.order_by().values_list(*what).annotate(number=Count("*"))
    skip_reasons: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    delays: Counter[timedelta] = Counter()
    for state, skip_reason, outcome, due_at, sent_at, number in groups:
        if state == State.SKIPPED:
            skip_reasons[skip_reason] += number
        elif state == State.SENT:
            outcomes[outcome] += number
            delays[sent_at - due_at] += number
    return Details(skip_reasons, outcomes, delay_of(delays))


def delay_of(delays: Mapping[timedelta, int]) -> Delay | None:
    """From delay -> digests. A share's delay is the shortest that so many did not exceed."""
    ordered = sorted(delays.items())
    count = sum(delays.values())
    if not count:
        return None
    return Delay(
        count,
        least=ordered[0][0],
        median=_reached(ordered, count * 0.5),
        most_of_all=_reached(ordered, count * 0.95),
        longest=ordered[-1][0],
    )


def _reached(ordered: Iterable[tuple[timedelta, int]], wanted: float) -> timedelta:
    so_far = 0
    for delay, number in ordered:
        so_far += number
        if so_far >= wanted:
            return delay
    raise AssertionError("no share is more than the whole")
