"""Records -> papers: what a reading says is merged into the rows, traced, and its votes kept.

By set-based statements, inside the caller's transaction and lock (`editions`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from . import merging
from .models import Paper, Revision, Signal
from .records import PaperRecord

BATCH = 500
MAX_TRACED = 4000  # characters of a value, before and after; an abstract has at most 1,920
_WRITTEN = (
    *merging.MERGED, "content_hash", "encoder", "vector", "meaning_by", "meaning", "updated_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """A record and its paper. is_stale: the source has said something later of it already."""

    record: PaperRecord
    paper: Paper
    is_new: bool
    is_stale: bool
    is_changed: bool


def store(
    records: Iterable[PaperRecord], *, source: str, now: datetime, read_at: datetime
) -> list[Stored]:
    """One for each listed paper, in their order, and for each stored one that is mentioned.

    source: slug. The same reading twice changes nothing.
    """
    found = _unique(records)
    known = _known([record.arxiv_id for record in found])
    stale = _stale(known.values(), source, read_at)
    stored, changed, revisions = [], [], []
    for record in found:
        paper = known.get(record.arxiv_id)
        is_new = paper is None
        if paper is None:
            if not record.is_listed:
                continue
            paper = Paper(arxiv_id=record.arxiv_id, first_seen_at=now)
        is_stale, read_from = paper.pk in stale, dict(paper.read_from)
        changes = merging.apply(record, paper, source=source, now=now, is_stale=is_stale)
        if changes or paper.read_from != read_from:
            changed.append(paper)
        if not is_new:
            revisions += [_revision(paper, each, source, read_at) for each in changes]
        stored.append(Stored(record, paper, is_new, is_stale, bool(changes) and not is_new))
    _save(changed)
    Revision.objects.bulk_create([each for each in revisions if each], batch_size=BATCH)
    _keep_signals(stored, read_at=read_at)
    return stored


def _unique(records: Iterable[PaperRecord]) -> list[PaperRecord]:
    """Each paper once: where it is listed, else where it is mentioned; the first of these."""
    found: dict[str, PaperRecord] = {}
    for record in records:
        known = found.setdefault(record.arxiv_id, record)
        if record.is_listed and not known.is_listed:
            found[record.arxiv_id] = record
    return list(found.values())


def _known(arxiv_ids: Collection[str]) -> dict[str, Paper]:
    rows = Paper.objects.filter(arxiv_id__in=arxiv_ids).order_by("id").select_for_update()
    return {paper.arxiv_id: paper for paper in rows}


def _stale(papers: Iterable[Paper], source: str, read_at: datetime) -> set[int]:
    """Papers of which the source has said something later: it counted, or it changed a field.

    What it said without changing anything is what is stored, so saying it again does no harm.
    """
    papers = list(papers)
    ids = [paper.pk for paper in papers]
    later = Revision.objects.filter(paper__in=ids, source=source, at__gt=read_at)
    stale = set(later.order_by().values_list("paper_id", flat=True))
    if merging.has_votes(source):
        counted = Signal.objects.filter(paper__in=ids, read_at__gt=read_at)
        stale.update(counted.order_by().values_list("paper_id", flat=True))
    if source in merging.WINS["citations"]:
        stale.update(each.pk for each in papers if (each.enriched_at or read_at) > read_at)
    return stale


def _save(papers: Sequence[Paper]) -> None:
    for paper in papers:
        paper.pk = None  # the row is found by its arXiv id, and its key comes back
    Paper.objects.bulk_create(
        papers,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["arxiv_id"],
        update_fields=_WRITTEN,
    )


def _revision(
    paper: Paper, change: merging.Change, source: str, read_at: datetime
) -> Revision | None:
    if not change.is_traced:
        return None
    before, after = _text(change.before), _text(change.after)
    return Revision(
        paper=paper, field=change.field, source=source, at=read_at, before=before, after=after
    )


def _text(value: Any) -> str:
    match value:
        case None:
            text = ""
        case list():
            text = "; ".join(map(str, value))
        case date():
            text = value.isoformat()
        case _:
            text = str(value)
    return text[:MAX_TRACED]


def _keep_signals(stored: Iterable[Stored], *, read_at: datetime) -> None:
    readings = [
        Signal(
            paper=each.paper,
            read_at=read_at,
            upvotes=each.record.upvotes,
            comments=each.record.comments or 0,
            stars=each.record.stars,
        )
        for each in stored
        if each.record.upvotes is not None
    ]
    Signal.objects.bulk_create(readings, batch_size=BATCH, ignore_conflicts=True)
