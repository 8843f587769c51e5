"""What somebody named and nobody stored yet: papers to look up, categories to read.

Whoever names them leaves a row and goes on; nobody waits for a source. The rows are the queue.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta

import structlog
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext as _

from . import encoding, fetching
from .client import Client, FetchError
from .models import Paper, Source, WantedCategory, WantedPaper

log = structlog.get_logger(__name__)

BATCH = 100  # one request to arXiv
BATCHES = 5  # a round
ONE_BY_ONE = 10  # a round, while arXiv rests
LEASE = timedelta(minutes=15)
# After the first, second and third answer that there is no such paper: the newest ones are
# announced a day or a week after somebody heard of them.
AGAIN = (timedelta(hours=1), timedelta(days=1), timedelta(days=7))
BACK_OFF = timedelta(minutes=15)
MAX_BACK_OFF = timedelta(hours=6)

_CATEGORY = re.compile(r"[a-z]+(?:-[a-z]+)?(?:\.[A-Za-z]{2,}(?:-[A-Za-z]{2,})?)?", re.ASCII)
_NEW_ID = re.compile(r"\d{4}\.\d{4,5}", re.ASCII)


# -- papers --------------------------------------------------------------------------------


def want(arxiv_ids: Iterable[str], now: datetime) -> None:
    """Has these papers looked up, as far as they are not stored; by canonical ids, however often.

    An id that sources did not know is not asked for anew by that.
    """
    longest = WantedPaper._meta.get_field("arxiv_id").max_length or 0
    ids = {arxiv_id for arxiv_id in arxiv_ids if 0 < len(arxiv_id) <= longest}
    stored = Paper.objects.filter(arxiv_id__in=ids).values_list("arxiv_id", flat=True)
    # In one order for all, so that no two wait for each other.
    WantedPaper.objects.bulk_create(
        [
            WantedPaper(arxiv_id=arxiv_id, asked_at=now, not_before=now)
            for arxiv_id in sorted(ids.difference(stored))
        ],
        ignore_conflicts=True,
    )


def look_up_due(now: datetime, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Looks up the papers that are due, in batches; returns how many were found and stored.

    arXiv is asked, also while its source is disabled; while it rests or fails, Hugging Face is,
    for a few. A found paper's row goes. One that arXiv does not know is asked for again after an
    hour, a day and a week, then never: its row stays and says so. A failure counts for no paper.
    """
    fetching.ensure_sources()
    _stored().delete()
    arxiv = Source.objects.get(slug="arxiv")
    client = Client(sleep=sleep)
    found = 0
    for _round in range(BATCHES):
        rows = _claim(now)
        if not rows:
            break
        batch_found, error = _look_up(arxiv, rows, now=now, client=client)
        found += batch_found
        if error is not None:
            break
    return found


def is_given_up(row: WantedPaper) -> bool:
    return row.tries > len(AGAIN)


def _due(now: datetime) -> QuerySet[WantedPaper]:
    return WantedPaper.objects.filter(not_before__lte=now, tries__lte=len(AGAIN))


def _stored() -> QuerySet[WantedPaper]:
    """Those that came by another way, as a day's list."""
    return WantedPaper.objects.filter(Exists(Paper.objects.filter(arxiv_id=OuterRef("arxiv_id"))))


def _claim(now: datetime) -> list[WantedPaper]:
    """The next batch, moved out of sight of other workers for the length of a lease.

    What was never asked for comes first: however many ids are nonsense, they are so once each.
    """
    ids = list(_due(now).order_by("tries", "not_before", "pk").values_list("pk", flat=True)[:BATCH])
    lease = now + LEASE
    _due(now).filter(pk__in=ids).update(not_before=lease)
    return list(WantedPaper.objects.filter(pk__in=ids, not_before=lease))


def _look_up(
    arxiv: Source, rows: Sequence[WantedPaper], *, now: datetime, client: Client
) -> tuple[int, FetchError | None]:
    """How many were found; the error where arXiv did not answer."""
    asked = [row.arxiv_id for row in rows]
    error: FetchError | None = None
    unknown: list[str] = []
    try:
        papers, unknown = fetching.look_up_many(arxiv, asked, now=now, client=client)
        encoding.encode_missing([paper.pk for paper in papers], with_meaning=False)
        found = {paper.arxiv_id for paper in papers}
    except FetchError as failure:
        error, found = failure, _found_one_by_one(asked, now)
    left = set(asked) - found - set(unknown)
    WantedPaper.objects.filter(arxiv_id__in=found).delete()
    _note_unknown(unknown, now)
    _back_off(left, error, now)
    log.info(
        "papers looked up",
        asked=len(asked),
        found=len(found),
        unknown=len(unknown),
        failed=len(left),
        **({"error": str(error)} if error else {}),
    )
    return len(found), error


def _found_one_by_one(arxiv_ids: Sequence[str], now: datetime) -> set[str]:
    """Those that Hugging Face knows. It has no old ids, and that it knows none proves nothing."""
    found = set()
    # One for all of them: whoever gave it no answer is not asked again.
    client = Client(patience_seconds=0)
    for arxiv_id in [each for each in arxiv_ids if _NEW_ID.fullmatch(each)][:ONE_BY_ONE]:
        try:
            found.add(fetching.look_up(arxiv_id, now=now, client=client).arxiv_id)
        except FetchError as error:
            if error.is_source_down:
                break
    return found


def _note_unknown(arxiv_ids: Collection[str], now: datetime) -> None:
    rows = WantedPaper.objects.filter(arxiv_id__in=arxiv_ids)
    tries = dict(rows.values_list("pk", "tries"))
    for so_far in sorted(set(tries.values())):
        same = [pk for pk, number in tries.items() if number == so_far]
        pause = AGAIN[min(so_far, len(AGAIN) - 1)]
        WantedPaper.objects.filter(pk__in=same).update(
            tries=so_far + 1, not_before=now + pause, error=_("arXiv knows no such paper")
        )


def _back_off(arxiv_ids: Collection[str], error: FetchError | None, now: datetime) -> None:
    pause = BACK_OFF
    if error is not None:
        pause = min(max(pause, timedelta(seconds=error.retry_after)), MAX_BACK_OFF)
    WantedPaper.objects.filter(arxiv_id__in=arxiv_ids).update(
        not_before=now + pause, error=str(error) if error else _("no usable answer")
    )


# -- categories ----------------------------------------------------------------------------


def follow(names: Iterable[str], now: datetime) -> None:
    """Has these arXiv categories read beside ARXIV_CATEGORIES; what looks like none is left out."""
    longest = WantedCategory._meta.get_field("name").max_length or 0
    fit = {name for name in names if _CATEGORY.fullmatch(name) and len(name) <= longest}
    WantedCategory.objects.bulk_create(
        [WantedCategory(name=name, asked_at=now) for name in sorted(fit)],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["asked_at"],
    )


def unfollow(kept: Collection[str], *, before: datetime) -> int:
    """Drops the categories that are not kept and that nobody has followed anew since `before`."""
    old = WantedCategory.objects.filter(asked_at__lt=before)
    gone = set(old.values_list("name", flat=True)).difference(kept)
    # One at a time: a reader who saves a topic meanwhile holds rows of the same table.
    return sum(old.filter(name=name).delete()[0] for name in sorted(gone))


def categories() -> list[str]:
    """All that are read: the setting's, and those that readers follow."""
    return list(fetching.config()["ARXIV_CATEGORIES"])
