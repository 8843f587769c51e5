"""What must be true of the ledger at any moment, after anything at all."""

from __future__ import annotations

from collections import Counter

from digest.models import Digest, Slot


def assert_books_balance() -> None:
    """Conservation, and no paper shown twice to one reader."""
    for slot in Slot.objects.all():
        assert slot.is_conserved, f"{slot}: due {slot.due}, but {slot.account()}"
    shown = Counter(
        (digest.subscriber_id, paper_id)
        for digest in Digest.objects.shown().filter(subscriber__isnull=False)
        for paper_id in digest.paper_ids
    )
    assert [pair for pair, times in shown.items() if times > 1] == []
