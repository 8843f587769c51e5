"""What sources said, byte for byte: kept for a while, so that rows can be rebuilt from it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db import DatabaseError, transaction

from .models import Answer, Fetch

log = structlog.get_logger(__name__)

MAX_URL_LENGTH = 2000
BATCH = 200
MOST_BATCHES = 20  # a round; what is left waits for the next
AT_ONCE = 4  # bodies may be large


@dataclass(frozen=True, slots=True)
class Kept:
    """url: path, query and fragment of what was asked."""

    number: int
    reader: str
    url: str
    received_at: datetime
    body: bytes


def keep(
    fetch: Fetch, number: int, reader: str, url: str, body: bytes, received_at: datetime
) -> None:
    """Stores the body in a short write of its own. That this fails is logged, and stops nothing."""
    if settings.ANSWER_RETENTION_DAYS <= 0:
        return
    packed = zlib.compress(body)
    try:
        with transaction.atomic():
            Answer.objects.create(
                fetch=fetch,
                number=number,
                reader=reader,
                url=_asked(url),
                received_at=received_at,
                size=len(body),
                body=packed,
            )
    except DatabaseError:
        log.exception("answer not kept", fetch=fetch.pk, number=number)


def bodies(fetch: Fetch) -> Iterator[Kept]:
    """In their order, a few at a time in memory."""
    rows = Answer.objects.filter(fetch=fetch).order_by("number")
    for row in rows.iterator(chunk_size=AT_ONCE):
        body = zlib.decompress(bytes(row.body))
        yield Kept(row.number, row.reader, row.url, row.received_at, body)


def prune(now: datetime) -> int:
    """Deletes what is older than ANSWER_RETENTION_DAYS, a bounded number; returns how many."""
    before = now - timedelta(days=max(settings.ANSWER_RETENTION_DAYS, 0))
    gone = 0
    for _batch in range(MOST_BATCHES):
        old = Answer.objects.filter(received_at__lt=before).order_by("received_at")
        ids = list(old.values_list("pk", flat=True)[:BATCH])
        if not ids:
            break
        Answer.objects.filter(pk__in=ids).delete()
        gone += len(ids)
    if gone:
        log.info("answers pruned", answers=gone)
    return gone


def _asked(url: str) -> str:
    """A mirror's host may carry a name and a password before it."""
    return urlsplit(url)._replace(scheme="", netloc="").geturl()[:MAX_URL_LENGTH]
