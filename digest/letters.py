"""Mails in place of a digest that would have been empty: the welcome, the note about silence.

Only the readers whose slot has just ended with nothing are looked at, in the transaction that says
so. The mails are no digests: `subscribers.mail` sends them, as it does those that somebody asked
for, and no slot counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet

from papers.models import Edition
from subscribers import mail
from subscribers.models import Subscriber

from .models import Digest, Hold

QUIET = timedelta(days=7)  # without any mail, before one says that there was none


def send_due(now: datetime) -> int:
    """All service mails; how many left. What nobody asked for waits while sending is held."""
    return mail.send_due(now, is_held=Hold.objects.in_force().exists)


def after_silence(readers: Mapping[int, bool], *, now: datetime) -> None:
    """Sets due what these readers are to be told. readers: id -> whether this was their first."""
    new = [pk for pk, is_first in readers.items() if is_first]
    if new:
        greeted = Subscriber.objects.filter(pk__in=new, welcome_sent_at=None)
        greeted.update(welcome_due_at=now)
    known = [pk for pk, is_first in readers.items() if not is_first]
    if known and settings.SILENCE_NOTE_SLOTS and _had_papers(now):
        _silent(known, now).update(silence_due_at=now)


def _had_papers(now: datetime) -> bool:
    """Whether there was a choice at all: where a source is dry, the note would blame the reader's
    subjects for it.
    """
    editions = Edition.objects.closed().filter(is_backfill=False)
    return editions.filter(closed_at__gt=now - QUIET).exists()


def _silent(ids: list[int], now: datetime) -> QuerySet[Subscriber]:
    """Those of them who have waited long enough, and were not told since they last had a digest."""
    sent = Digest.objects.filter(subscriber=OuterRef("pk"), sent_at__isnull=False)
    lately = now - QUIET
    return Subscriber.objects.filter(
        Q(welcome_sent_at=None) | Q(welcome_sent_at__lte=lately),
        Q(silence_sent_at=None) | Exists(sent.filter(sent_at__gt=OuterRef("silence_sent_at"))),
        ~Exists(sent.filter(sent_at__gt=lately)),
        pk__in=ids,
        silence_due_at=None,
        silent_slots__gte=settings.SILENCE_NOTE_SLOTS,
    )
