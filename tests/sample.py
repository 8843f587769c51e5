"""The bundled sample day as rows, and Ada, who reads it. For tests that need real papers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from digest import gallery
from digest.compose import Item
from digest.models import Digest, Slot
from papers import editions, fetching
from papers.models import Edition, Paper, Source
from papers.records import PaperRecord
from subscribers.models import Subscriber
from tests.factories import make_reader


def records() -> list[PaperRecord]:
    return list(gallery.sample_records())


def publish(day: date, papers: Sequence[PaperRecord]) -> Edition:
    """The day's list as it stood in the evening, and its edition, closed in the night."""
    fetching.ensure_sources()
    evening = datetime.combine(day, time(20), UTC)
    editions.record_day(
        day,
        papers,
        source=Source.objects.get(slug="huggingface"),
        now=evening,
        read_at=evening,
        backfill=False,
    )
    (closed,) = editions.close_due(evening + timedelta(hours=7))
    return closed


def store_papers() -> dict[str, Paper]:
    """arXiv id -> row, under keys that are the same on every run."""
    return {paper.arxiv_id: paper for paper in Paper.objects.bulk_create(gallery.sample_papers())}


def ada(*, topics: Sequence[str] = (), **fields) -> Subscriber:
    return make_reader(topics=topics, **gallery.reader_fields(**fields))


def digest_of(reader: Subscriber, items: Sequence[Item], **fields) -> Digest:
    """A digest with these items, ready to be sent."""
    made = gallery.digest_fields(gallery.Parts(list(items)), reader)
    return _stored(reader, {**made, "frame": {}, **fields})


def standard(name: str) -> Digest:
    """One of the gallery's, stored."""
    papers = store_papers()
    awkward = Paper.objects.bulk_create(gallery.awkward_papers())
    parts = gallery.STANDARDS[name].parts(papers | {paper.arxiv_id: paper for paper in awkward})
    reader = ada(**parts.reader)
    return _stored(reader, gallery.digest_fields(parts, reader))


def _stored(reader: Subscriber, fields: dict[str, Any]) -> Digest:
    slot, _ = Slot.objects.get_or_create(date=date(2025, 12, 3), defaults={"due": 1})
    return Digest.objects.create(subscriber=reader, slot=slot, **fields)
