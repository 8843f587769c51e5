"""Rows -> pure core -> Digest rows, a batch of readers at a time.

Planning reads and ranks outside any transaction. Writing is one short transaction in which every
reader's `next_due_at` is advanced by compare-and-set and, where that succeeded, counted into its
slot and given exactly one Digest. Whoever loses the race writes nothing.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np
import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Exists, F, Max, OuterRef, Prefetch, Q
from django.db.models.functions import Greatest

from papers import encoding, trending, vectors
from papers.models import Edition, Entry, Paper
from subscribers import schedule
from subscribers.models import Interest, Subscriber, Suppression, Topic

from . import profile, ranking
from .compose import Item, compose
from .models import Digest, Feedback, Hold, Slot
from .rendering import frame_of

log = structlog.get_logger(__name__)

BATCH = 500
WINDOW_DAYS, WEEKLY_WINDOW_DAYS = 7, 8
REFERENCE_PAPERS = 500
_WAITING = (Digest.State.ASSEMBLED, Digest.State.CLAIMED, Digest.State.RETRY)


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom to choose, and among what.

    since: editions from this day on. cursor: only editions closed after it; without one, open
    ones too. newest_only: only the newest of those (a first digest). shown: ids of papers never
    to show again.
    """

    facts: profile.ReaderFacts
    places: int
    since: date
    cursor: int = -1
    newest_only: bool = False
    shown: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reader would get: items, out of how many candidates, of which editions."""

    items: tuple[Item, ...] = ()
    candidates: int = 0
    edition_day: date | None = None
    closed_seq: int = 0


def assemble_due(now: datetime) -> int:
    """Digests for every reader whose due moment has passed; how many clocks were advanced.

    Goes on until nobody is due, so that days of downtime leave one row for each missed slot. A
    reader whose clock would not move (another worker was faster, or what they told us cannot be
    read) is left for the next call and stops nobody.
    """
    count = 0
    left: set[int] = set()
    while batch := _due(now, left_out=left):
        advanced = _assemble(batch, now=now)
        left.update(subscriber.pk for subscriber in batch if subscriber.pk not in advanced)
        count += len(advanced)
    return count


def late_before(now: datetime) -> datetime:
    """Digests that fell due before this moment are late, for their slot or by a hold's word."""
    limit = now - timedelta(hours=settings.LATE_LIMIT_HOURS)
    held = Hold.objects.aggregate(newest=Max("late_before"))["newest"]
    return limit if held is None else max(limit, held)


def thin_old(now: datetime) -> int:
    """Old digests keep which papers they showed (none may come twice) and lose the rest.

    Their mails cannot be made again from then on.
    """
    old = list(Digest.objects.to_thin(now).order_by("assembled_at")[:BATCH])
    for digest in old:
        digest.items = [
            {"paper_id": item["paper_id"], "section": item["section"], "score": 0.0}
            for item in digest.items
        ]
        digest.thinned_at = now
    Digest.objects.bulk_update(old, ["items", "thinned_at"], batch_size=100)
    return len(old)


def choose(
    readers: Sequence[Reader], editions: Sequence[Edition], *, now: datetime
) -> list[Choice]:
    """One Choice per reader out of `editions`. Reads, ranks and writes nothing."""
    papers, edition_of = _candidates(editions, now=now)
    profiles = [profile.build(reader.facts, now=now) for reader in readers]
    corpus = ranking.Corpus(papers, _codes(profiles), _reference(), encoding.encoder())
    ranked = ranking.rank(profiles, corpus)
    return [
        _choice(reader, each, papers, edition_of)
        for reader, each in zip(readers, ranked, strict=True)
    ]


def facts_of(subscribers: Sequence[Subscriber]) -> dict[int, profile.ReaderFacts]:
    """What the readers told us, by subscriber id; four queries for any number of readers."""
    ids = [subscriber.pk for subscriber in subscribers]
    topics = Topic.objects.filter(subscriber_id__in=ids).prefetch_related(
        Prefetch("interests", queryset=Interest.objects.wanted())
    )
    topics_of: dict[int, list[profile.TopicFacts]] = defaultdict(list)
    for topic in topics:
        topics_of[topic.subscriber_id].append(_topic_facts(topic))
    muted_of: dict[int, list[profile.Rule]] = defaultdict(list)
    for interest in Interest.objects.muted().filter(subscriber_id__in=ids):
        muted_of[interest.subscriber_id].append(rule_of(interest.kind, interest.value))
    opinions_of: dict[int, list[profile.Opinion]] = defaultdict(list)
    for said in Feedback.objects.filter(subscriber_id__in=ids).order_by("at", "id"):
        opinion = profile.Opinion(said.paper_id, said.kind, said.at)
        opinions_of[said.subscriber_id].append(opinion)
    return {
        id: profile.ReaderFacts(tuple(topics_of[id]), tuple(muted_of[id]), tuple(opinions_of[id]))
        for id in ids
    }


def rule_of(kind: str, value: str) -> profile.Rule:
    """A muted description mutes its words as a phrase."""
    known = {rule.value for rule in profile.RuleKind}
    return profile.Rule(profile.RuleKind(kind if kind in known else "keyword"), value)


def upcoming(
    subscriber: Subscriber, *, now: datetime, also_muted: tuple[profile.Rule, ...] = ()
) -> Choice:
    """What the reader would get if their digest were made now. Writes nothing."""
    editions = _editions(now)
    slot = schedule.slot_date(now, subscriber.time_zone)
    facts = facts_of([subscriber])[subscriber.pk]
    facts = replace(facts, muted=facts.muted + also_muted)
    shown = _shown([subscriber.pk], editions)[subscriber.pk]
    reader = _reader(subscriber, slot, facts=facts, shown=shown)
    return choose([reader], editions, now=now)[0]


# -- planning ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    subscriber: Subscriber
    due_at: datetime
    slot: date
    next_due_at: datetime
    digest: Digest | None  # None where the slot has had its digest: only the clock moves


def _due(now: datetime, *, left_out: set[int]) -> list[Subscriber]:
    """Readers to assemble for. One whose digest is being sent this moment, or may have left and
    will be tried once more, is waited for: its papers cannot be taken back.
    """
    in_flight = Q(state=Digest.State.SENDING) | Q(state__in=_WAITING) & ~Q(transport="")
    awaited = Digest.objects.filter(in_flight, subscriber=OuterRef("pk"))
    due = Subscriber.objects.due(now).filter(~Exists(awaited)).exclude(pk__in=left_out)
    return list(due.order_by("next_due_at", "id")[:BATCH])


def _assemble(batch: Sequence[Subscriber], *, now: datetime) -> set[int]:
    """Ids of the readers whose clock moved. A batch that fails is halved until who is to blame
    stands alone.
    """
    try:
        plans = [_clockwork(subscriber) for subscriber in batch]
        _supersede(plans, now=now)
        _plan(plans, now=now)
        return _write(plans, now=now)
    except (OperationalError, InterfaceError):
        raise  # the database's trouble is everybody's
    except Exception:
        if len(batch) == 1:
            log.exception("reader stays due", reader=batch[0].uuid)
            return set()
    middle = len(batch) // 2
    return _assemble(batch[:middle], now=now) | _assemble(batch[middle:], now=now)


def _supersede(plans: Sequence[_Plan], *, now: datetime) -> None:
    """Takes back what has not left, before planning, so that its papers can be chosen again.

    Only from readers who are due still: what a faster worker has just made is not the older one.
    """
    ids = [plan.subscriber.pk for plan in plans if plan.digest is not None]
    readers = Subscriber.objects.due(now).filter(pk__in=ids)
    Digest.objects.filter(subscriber__in=readers, state__in=_WAITING, transport="").update(
        state=Digest.State.SKIPPED,
        skip_reason=Digest.SkipReason.SUPERSEDED,
        claim_token=None,
        lease_until=None,
        retry_at=None,
    )


def _plan(plans: Sequence[_Plan], *, now: datetime) -> None:
    """Decides what becomes of each digest, and fills those that are to be sent."""
    hashes = [plan.subscriber.address_hash for plan in plans]
    held = Suppression.objects.filter(address_hash__in=hashes)
    suppressed = set(held.values_list("address_hash", flat=True))
    limit = late_before(now)
    writers = []
    for plan in plans:
        if plan.digest is not None:
            _rule_out(plan.digest, plan, limit=limit, suppressed=suppressed)
            if plan.digest.state == Digest.State.ASSEMBLED:
                writers.append(plan)
    if writers:
        _fill(writers, now=now)


def _clockwork(subscriber: Subscriber) -> _Plan:
    """The slot that fell due and the moment after it."""
    due_at = subscriber.next_due_at
    assert due_at is not None, "a due reader has a due moment"
    slot = schedule.slot_date(due_at, subscriber.time_zone)
    repeated = subscriber.last_slot is not None and slot <= subscriber.last_slot
    last_slot = subscriber.last_slot if repeated else slot
    next_due_at = subscriber.due_after(due_at, last_slot=last_slot)
    made = Digest(subscriber=subscriber, due_at=due_at, is_weekly=subscriber.is_weekly)
    digest = None if repeated else made
    return _Plan(subscriber, due_at, slot, next_due_at, digest)


def _rule_out(digest: Digest, plan: _Plan, *, limit: datetime, suppressed: set[str]) -> None:
    if plan.subscriber.address_hash in suppressed:
        digest.state = Digest.State.SUPPRESSED
    elif plan.subscriber.is_paused(plan.slot):
        digest.state, digest.skip_reason = Digest.State.SKIPPED, Digest.SkipReason.PAUSED
    elif digest.due_at < limit:
        digest.state, digest.skip_reason = Digest.State.SKIPPED, Digest.SkipReason.LATE


def _fill(plans: Sequence[_Plan], *, now: datetime) -> None:
    editions = _editions(now)
    subscribers = [plan.subscriber for plan in plans]
    ids = [subscriber.pk for subscriber in subscribers]
    facts, shown, known = facts_of(subscribers), _shown(ids, editions), _has_history(ids)
    readers = [
        _reader(plan.subscriber, plan.slot, facts=facts[pk], shown=shown[pk])
        for pk, plan in zip(ids, plans, strict=True)
    ]
    choices = choose(readers, editions, now=now)
    for pk, plan, choice in zip(ids, plans, choices, strict=True):
        assert plan.digest is not None, "only plans with a digest are filled"
        _freeze(plan.digest, choice, is_first=pk not in known)
        if choice.items:
            frame = frame_of(plan.subscriber, next_due_at=plan.next_due_at)
            plan.digest.frame = frame.to_json()


def _freeze(digest: Digest, choice: Choice, *, is_first: bool) -> None:
    digest.is_first = is_first
    digest.items = [item.to_json() for item in choice.items]
    digest.candidates = choice.candidates
    digest.edition_day = choice.edition_day
    digest.closed_seq = choice.closed_seq
    if not choice.items:
        digest.state, digest.skip_reason = Digest.State.SKIPPED, Digest.SkipReason.NOTHING


def _reader(
    subscriber: Subscriber, slot: date, *, facts: profile.ReaderFacts, shown: set[int]
) -> Reader:
    # Nobody's cursor is 0 once a digest has dealt with an edition, be it by silence.
    is_new = subscriber.cursor == 0
    days = WEEKLY_WINDOW_DAYS if subscriber.is_weekly else WINDOW_DAYS
    return Reader(
        facts,
        places=subscriber.papers_per_digest,
        since=date.min if is_new else slot - timedelta(days=days),
        cursor=subscriber.cursor,
        newest_only=is_new,
        shown=frozenset(shown),
    )


def _editions(now: datetime) -> list[Edition]:
    """The closed news of the longest window, and the newest edition whatever its age."""
    news = Edition.objects.news().filled()
    since = now.date() - timedelta(days=WEEKLY_WINDOW_DAYS + 1)
    newest = news.order_by("-closed_seq").values("pk")[:1]
    return list(news.filter(Q(day__gte=since) | Q(pk__in=newest)).order_by("closed_seq"))


def _has_history(subscriber_ids: Sequence[int]) -> set[int]:
    """Readers who have been sent something (or may have been)."""
    left = [Digest.State.SENT, Digest.State.UNCERTAIN]
    had = Digest.objects.filter(subscriber_id__in=subscriber_ids, state__in=left)
    return set(had.order_by().values_list("subscriber_id", flat=True).distinct())


def _shown(subscriber_ids: Sequence[int], editions: Sequence[Edition]) -> dict[int, set[int]]:
    """Subscriber id -> candidates that were in one of their digests already.

    The cursor keeps editions from coming twice, so only a paper that was listed before (in
    another edition) can have been shown: for most mornings there is none and nothing is read.
    """
    listed_before = Entry.objects.filter(paper=OuterRef("paper")).exclude(pk=OuterRef("pk"))
    again = Entry.objects.filter(Exists(listed_before), edition__in=editions)
    papers = set(again.values_list("paper_id", flat=True))
    found: dict[int, set[int]] = defaultdict(set)
    if not papers:
        return found
    first_day = min(Entry.objects.filter(paper__in=papers).values_list("edition__day", flat=True))
    digests = Digest.objects.shown().filter(
        subscriber_id__in=subscriber_ids, slot__date__gte=first_day
    )
    for subscriber_id, items in digests.order_by().values_list("subscriber_id", "items"):
        found[subscriber_id].update(papers.intersection(item["paper_id"] for item in items))
    return found


def _topic_facts(topic: Topic) -> profile.TopicFacts:
    interests = list(topic.interests.all())
    rules = [i for i in interests if i.kind in {rule.value for rule in profile.RuleKind}]
    return profile.TopicFacts(
        topic.name,
        texts=tuple(i.value for i in interests if i.kind == Interest.Kind.TEXT),
        rules=tuple(profile.Rule(profile.RuleKind(i.kind), i.value) for i in rules),
        seeds=tuple(i.paper_id for i in interests if i.paper_id is not None),
    )


def _candidates(
    editions: Sequence[Edition], *, now: datetime
) -> tuple[list[ranking.PaperFacts], list[Edition]]:
    """The papers of the editions, each once, in its newest edition, and that edition beside it."""
    by_id = {edition.pk: edition for edition in editions}
    entries = (
        Entry.objects.standing()
        .filter(edition__in=editions)
        .select_related("paper")
        .order_by("-edition__day", F("rank").asc(nulls_last=True), "id")
    )
    encoder = encoding.encoder()
    facts: dict[int, ranking.PaperFacts] = {}
    edition_of = []
    for entry in entries:
        known = facts.get(entry.paper_id)
        if known is None:
            edition = by_id[entry.edition_id]
            facts[entry.paper_id] = _paper_facts(entry, edition, encoder=encoder, now=now)
            edition_of.append(edition)
        elif entry.is_pick and not known.picked_by:
            # Listed once more, it is an editor's pick still: who was shown it is asked elsewhere.
            facts[entry.paper_id] = replace(
                known, picked_by=entry.picked_by, editor_note=entry.editor_note
            )
    return list(facts.values()), edition_of


def _paper_facts(
    entry: Entry, edition: Edition, *, encoder: vectors.Encoder, now: datetime
) -> ranking.PaperFacts:
    paper = entry.paper
    return ranking.PaperFacts(
        paper_id=paper.pk,
        title=paper.title,
        abstract=paper.abstract,
        authors=tuple(paper.authors),
        organization=paper.organization,
        categories=tuple(paper.categories),
        keywords=tuple(paper.keywords),
        trending=_trending(entry, now=now),
        upvotes=paper.upvotes,
        age_days=max((now.date() - edition.day).days, 0),
        group=None if entry.group is None else (edition.pk, entry.group),
        code=_code(paper, encoder),
        stars=paper.stars,
        content_hash=paper.content_hash,
        picked_by=entry.picked_by,
        editor_note=entry.editor_note,
    )


def _trending(entry: Entry, *, now: datetime) -> float:
    """As ranked when the edition closed; of an open one, by the votes so far."""
    if entry.score is not None:
        return entry.score
    return trending.score(entry.paper.upvotes, (now - entry.added_at).total_seconds() / 3600)


def _codes(profiles: Sequence[profile.Profile]) -> dict[int, bytes]:
    encoder = encoding.encoder()
    wanted = [key for key in profile.keys(profiles) if isinstance(key, int)]
    papers = Paper.objects.filter(id__in=wanted)
    columns = papers.only("id", "title", "abstract", "encoder", "vector")
    return {paper.pk: _code(paper, encoder) for paper in columns}


def _code(paper: Paper, encoder: vectors.Encoder) -> bytes:
    """As stored, or made now where the paper changed since it was encoded."""
    return bytes(paper.vector) if paper.encoder == encoder.id else encoder.encode(paper.text)


def _reference() -> list[bytes]:
    recent = Paper.objects.filter(encoder=encoding.encoder().id).order_by("-first_seen_at", "-id")
    return [bytes(code) for code in recent.values_list("vector", flat=True)[:REFERENCE_PAPERS]]


def _choice(
    reader: Reader,
    ranked: ranking.Ranking,
    papers: Sequence[ranking.PaperFacts],
    edition_of: Sequence[Edition],
) -> Choice:
    new = {
        edition
        for edition in edition_of
        if (edition.closed_seq or 0) > reader.cursor and edition.day >= reader.since
    }
    if not new:
        return Choice(closed_seq=reader.cursor)
    newest = max(new, key=lambda edition: (edition.closed_seq or 0, edition.day))
    wanted = {newest} if reader.newest_only else new
    allowed = np.array(
        [
            edition in wanted and paper.paper_id not in reader.shown
            for paper, edition in zip(papers, edition_of, strict=True)
        ],
        np.bool_,
    )
    return Choice(
        tuple(compose(ranked, papers, allowed, places=reader.places)),
        candidates=int(allowed.sum()),
        edition_day=newest.day,
        closed_seq=newest.closed_seq or reader.cursor,
    )


# -- writing -------------------------------------------------------------------------------


@transaction.atomic
def _write(plans: Sequence[_Plan], *, now: datetime) -> set[int]:
    """Advances the clocks that are still as planned, and writes their digests; whose moved."""
    # In one order everywhere, so that two workers never wait for each other's rows.
    moved = [plan for plan in sorted(plans, key=lambda each: each.subscriber.pk) if _advance(plan)]
    digests = [plan.digest for plan in moved if plan.digest is not None]
    slots = _count_due(Counter(plan.slot for plan in moved if plan.digest is not None))
    for plan in moved:
        if plan.digest is not None:
            plan.digest.slot = slots[plan.slot]
            plan.digest.assembled_at = now
    Digest.objects.bulk_create(digests, batch_size=100)
    if digests:
        states = Counter(digest.skip_reason or digest.state for digest in digests)
        log.info("digests assembled", digests=len(digests), **dict(sorted(states.items())))
        if log.isEnabledFor(logging.DEBUG):
            for digest in digests:
                log.debug(f"digest {digest.state}", digest=digest.uuid, why=digest.skip_reason)
    return {plan.subscriber.pk for plan in moved}


def _advance(plan: _Plan) -> bool:
    """Compare-and-set: true for exactly one of any number of workers."""
    changes: dict[str, object] = {"next_due_at": plan.next_due_at}
    if plan.digest is not None:
        changes["last_slot"] = plan.slot
        if plan.digest.skip_reason == Digest.SkipReason.NOTHING:
            changes["cursor"] = Greatest(F("cursor"), plan.digest.closed_seq)
    seen = Subscriber.objects.active().filter(pk=plan.subscriber.pk, next_due_at=plan.due_at)
    if plan.digest is not None:
        seen = seen.filter(~Exists(Digest.objects.open().filter(subscriber=OuterRef("pk"))))
    return seen.update(**changes) == 1


def _count_due(due: Counter[date]) -> dict[date, Slot]:
    slots = {}
    for day, count in sorted(due.items()):
        slots[day], _ = Slot.objects.get_or_create(date=day)
        # What was counted for good is so no longer: new digests belong to it.
        Slot.objects.filter(date=day).update(due=F("due") + count, counts=None)
    return slots
