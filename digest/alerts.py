"""Tells the operators by mail what is wrong, and when it is well again.

A problem is a check of `health` that fails, or what only people can settle: digests in doubt,
complaints. Any number of ticks may look: a row a problem, claimed by compare-and-set, is the lock.
Where mail itself is what is broken the row stays due and the log says so; /readyz needs no mail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db.models import Q, QuerySet, Sum
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext, gettext_noop, ngettext

from subscribers import flow, mail
from subscribers.models import Suppression, address_hash
from subscribers.transports import Status

from . import health
from .health import Check
from .models import Alert, Digest, Slot

log = structlog.get_logger(__name__)

AGAIN_AFTER = timedelta(hours=24)
# What comes back sooner had never gone: one problem, told once, whose end waits for a true one.
WELL_AFTER = timedelta(hours=1)
# A circuit closes for its trial, and a tick may see it so.
BLINK = timedelta(minutes=5)
RETRY_AFTER = timedelta(minutes=10)
# Gmail: "keep spam rates below 0.10% and avoid ever reaching 0.30%".
MOST_COMPLAINTS = 0.003
COMPLAINT_DAYS = 7
PATIENCE_SECONDS = 10


def watch(now: datetime) -> int:
    """Looks, notes, and tells whom ALERTS_TO names; how many mails left."""
    if not settings.ALERTS_TO:
        return 0
    with translation.override(settings.LANGUAGE_CODE):
        note(problems(now), now)
        after = timedelta(minutes=settings.ALERT_AFTER_MINUTES)
        due = Alert.objects.to_tell(now, after=after, again_after=AGAIN_AFTER)
        over = Alert.objects.to_take_back(now, after=WELL_AFTER)
        return _tell("alert", due, now) + _tell("alert_over", over, now)


def problems(now: datetime) -> list[Check]:
    """All that fails, and what waits for a person's decision."""
    looked = [*health.checks(now), *(look(now) for look in (_in_doubt, _complaints))]
    return [check for check in looked if not check.is_ok]


def note(found: Sequence[Check], now: datetime) -> None:
    """Keeps since when each is so. What was wrong and is not found any more has ended; what is
    back before its end was told, or in the blink of an eye, goes on.
    """
    goes_on = Q(is_told=True) | Q(ended_at__gt=now - BLINK)
    for check in found:
        alert, _made = Alert.objects.get_or_create(
            name=check.name, defaults={"said": check.said, "began_at": now}
        )
        row = Alert.objects.filter(pk=alert.pk)
        row.filter(goes_on, ended_at__isnull=False).update(ended_at=None)
        row.filter(ended_at__isnull=False).update(began_at=now, ended_at=None)
        row.exclude(said=check.said).update(said=check.said)
    names = [check.name for check in found]
    Alert.objects.filter(ended_at=None).exclude(name__in=names).update(ended_at=now)


def _in_doubt(now: datetime) -> Check:
    count = Digest.objects.filter(state=Digest.State.UNCERTAIN).count()
    text = ngettext(
        "%(count)d digest may or may not have left.", "%(count)d digests may or may not have left.",
        count,
    )  # fmt: skip
    return Check("digests in doubt", count == 0, text % {"count": count})


def _complaints(now: datetime) -> Check:
    """Against the readers who were due: both are few rows to read, whatever the size."""
    since = now - timedelta(days=COMPLAINT_DAYS)
    bad = Suppression.objects.filter(created_at__gte=since, reason=Suppression.Reason.COMPLAINT)
    complaints = bad.count()
    due = Slot.objects.filter(date__gte=since.date()).aggregate(due=Sum("due"))["due"] or 0
    text = ngettext(
        "%(count)d complaint in %(days)d days, out of %(due)d mornings of readers.",
        "%(count)d complaints in %(days)d days, out of %(due)d mornings of readers.",
        complaints,
    )
    said = text % {"count": complaints, "days": COMPLAINT_DAYS, "due": due}
    return Check("complaints", complaints <= MOST_COMPLAINTS * due, said)


def _tell(template: str, due: QuerySet[Alert], now: datetime) -> int:
    if not due.exists():
        return 0
    to = _operators()
    way = flow.way_out(now, for_service=True) if to else None
    if way is None or not flow.grant(way, 1, patience_seconds=PATIENCE_SECONDS):
        log.error("alert waits", alerts=[alert.name for alert in due])
        return 0
    claimed = _claim(due, now)
    if not claimed:
        flow.give_back(way, 1)
        return 0
    (receipt,) = receipts = way.send([message(template, claimed, to)])
    flow.note(way, receipts, now)
    is_gone = receipt.status in (Status.SENT, Status.UNCERTAIN)
    _record(claimed, now, is_gone=is_gone, is_over=template == "alert_over")
    said = log.warning if is_gone else log.error
    said("alert mailed", mail=template, status=receipt.status, alerts=[a.name for a in claimed])
    return int(is_gone)


def _operators() -> list[str]:
    """Without those whose mailbox refused us: they would count against every reader's mail."""
    hashes = {address_hash(address): address for address in settings.ALERTS_TO}
    barred = Suppression.objects.total().filter(address_hash__in=hashes)
    gone = set(barred.values_list("address_hash", flat=True))
    return [address for hashed, address in hashes.items() if hashed not in gone]


def _claim(due: QuerySet[Alert], now: datetime) -> list[Alert]:
    lease_until = now + timedelta(seconds=settings.LEASE_SECONDS)
    claimed = []
    for alert in due.order_by("began_at", "pk"):
        if due.filter(pk=alert.pk).update(lease_until=lease_until):
            alert.lease_until = lease_until
            claimed.append(alert)
    return claimed


def _record(alerts: Sequence[Alert], now: datetime, *, is_gone: bool, is_over: bool) -> None:
    for alert in alerts:
        mine = Alert.objects.filter(pk=alert.pk, lease_until=alert.lease_until)
        if not is_gone:
            mine.update(lease_until=now + RETRY_AFTER)
        elif is_over:
            mine.update(lease_until=None, is_told=False)
        else:
            mine.update(lease_until=None, is_told=True, told_at=now)


def message(template: str, alerts: Sequence[Alert], to: list[str]) -> EmailMultiAlternatives:
    """`alert` or `alert_over`, about all of these."""
    told = [
        f"{a.pk}.{int(a.began_at.timestamp())}.{a.told_at and int(a.told_at.timestamp())}"
        for a in alerts
    ]
    number = hashlib.sha256(" ".join(told).encode()).hexdigest()[:32]
    lines = [(alert, *_advice(alert.name)) for alert in alerts]
    made = mail.compose(
        template,
        {
            "lines": lines,
            "count": len(lines),
            "first": alerts[0].name,
            "admin_url": settings.SITE_URL + reverse("admin:index"),
        },
        to=to[0],
        message_id=mail.message_id(template, number),
    )
    made.to = to
    return made


def _advice(name: str) -> tuple[str, str]:
    """What to do, and the page to do it on."""
    words, page = _ADVICE.get(
        name.partition(" of ")[0], (gettext("See what the log says."), "index")
    )
    return gettext(words), settings.SITE_URL + reverse(f"admin:{page}")


_ADVICE = {
    "database": (gettext_noop("See whether the database runs."), "index"),
    "broker": (
        gettext_noop("See whether Redis runs; nothing is lost meanwhile."),
        "digest_heartbeat_changelist",
    ),
    "readers": (gettext_noop("See whether the workers run."), "digest_heartbeat_changelist"),
    "worker": (gettext_noop("See whether the workers run."), "digest_heartbeat_changelist"),
    "digests": (
        gettext_noop("See whether the workers of the queue `send` run."),
        "digest_digest_changelist",
    ),
    "service mails": (
        gettext_noop("See whether mail leaves at all."),
        "subscribers_transportstate_changelist",
    ),
    "editions": (
        gettext_noop("Close them by hand, or see whether the tick runs."),
        "papers_edition_changelist",
    ),
    "sources": (
        gettext_noop("See what the source answers; papers are missing."),
        "papers_source_changelist",
    ),
    "transports": (
        gettext_noop("See what the mail server says; its circuit closes by itself."),
        "subscribers_transportstate_changelist",
    ),
    "accounts": (
        gettext_noop("Readers due and digests differ: look at the slot."),
        "digest_slot_changelist",
    ),
    "digests in doubt": (
        gettext_noop("Compare with your mail server’s log, and settle each with one click."),
        "digest_digest_changelist",
    ),
    "complaints": (
        gettext_noop(
            "Gmail and others refuse mail above 0.3 %. Look at who complains, and hold sending."
        ),
        "subscribers_suppression_changelist",
    ),
}
