from __future__ import annotations

from datetime import UTC, datetime

from papers.records import PaperRecord


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def record(number: int = 1, **fields) -> PaperRecord:
    defaults = {
        "arxiv_id": f"2611.{number:05}",
        "title": f"Paper number {number}",
        "abstract": f"What paper {number} is about.",
        "authors": ("Ada Example", "Ben Sample"),
        "published_at": utc("2026-11-22T10:00"),
        "position": number,
        "upvotes": 5,
        "comments": 1,
    }
    return PaperRecord(**defaults | fields)
