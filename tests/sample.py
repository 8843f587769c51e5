"""The bundled sample day as rows, and Ada, who reads it. For tests that need real papers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from uuid import UUID

from digest.compose import BRIEF, FULL, PICK, Item
from digest.models import Digest, Slot
from digest.ranking import Reason
from papers import editions, fetching
from papers.models import Edition, Paper, Source
from papers.records import PaperRecord
from papers.sources.huggingface import HuggingFace
from subscribers.models import Subscriber
from tests.factories import make_reader

FILE = Path(__file__).resolve().parent.parent / "papers" / "data" / "sample_day.json"
DAY = date(2025, 12, 2)
BREAKFAST = datetime(2025, 12, 3, 6, 0, tzinfo=UTC)  # seven in Berlin
READER_UUID = UUID("0a0a0a0a-0000-4000-8000-000000000001")
DIGEST_UUID = UUID("0d0d0d0d-0000-4000-8000-000000000001")


def records() -> list[PaperRecord]:
    return list(HuggingFace({}).parse(FILE.read_bytes(), "").records)


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
    papers = [_row(number, record) for number, record in enumerate(records(), start=101)]
    return {paper.arxiv_id: paper for paper in Paper.objects.bulk_create(papers)}


def ada(*, topics: Sequence[str] = (), **fields) -> Subscriber:
    """Confirmed in November; reads at seven in Berlin, from Monday to Friday."""
    return make_reader(
        topics=topics,
        **{
            "uuid": READER_UUID,
            "cadence": "weekdays",
            "hour": 7,
            "time_zone": "Europe/Berlin",
            "confirmed_at": datetime(2025, 11, 3, 9, tzinfo=UTC),
            "created_at": datetime(2025, 11, 3, 9, tzinfo=UTC),
            "next_due_at": BREAKFAST + timedelta(days=1),
            **fields,
        },
    )


def digest_of(reader: Subscriber, items: Sequence[Item], **fields) -> Digest:
    """A digest with these items, ready to be sent."""
    slot, _ = Slot.objects.get_or_create(date=date(2025, 12, 3), defaults={"due": 1})
    return Digest.objects.create(
        **{
            "uuid": DIGEST_UUID,
            "subscriber": reader,
            "slot": slot,
            "due_at": BREAKFAST,
            "assembled_at": BREAKFAST,
            "items": [item.to_json() for item in items],
            "candidates": 28,
            "edition_day": DAY,
            "closed_seq": 1,
            **fields,
        }
    )


def full(paper: Paper, reason: Reason, *, score: float = 2.0) -> Item:
    return Item(paper.pk, FULL, score, is_popular=reason.kind == "popular", reason=reason)


def pick(paper: Paper, *, name: str = "Ben Sample", note: str = "") -> Item:
    return Item(paper.pk, PICK, 0.5, reason=Reason("editor", name=name, note=note))


def brief(paper: Paper) -> Item:
    return Item(paper.pk, BRIEF, 0.5)


def _row(number: int, record: PaperRecord) -> Paper:
    return Paper(
        pk=number,
        arxiv_id=record.arxiv_id,
        title=record.title,
        abstract=record.abstract,
        authors=list(record.authors),
        organization=record.organization,
        published_at=record.published_at,
        code_url=record.code_url,
        project_url=record.project_url,
        upvotes=record.upvotes or 0,
        stars=record.stars,
        content_hash=f"{number}",
    )
