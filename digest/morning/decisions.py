"""What wants a decision, by somebody who may take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.translation import gettext, gettext_lazy, ngettext

from subscribers import flow
from subscribers.models import Suppression
from subscribers.transports import outbox

from ..models import Digest, Hold
from .facts import RATED_DAYS, Facts, Live
from .words import counted, day_name, listed, percent

RATED_SLOTS = 7
# What mailbox providers put up with; docs/operations.md says whose rule it is.
MOST_BOUNCES, MOST_COMPLAINTS = 0.02, 0.001
MOST_FAILING = 0.02
RUNS_IT = "digest.change_hold"  # who may hold sending, runs the installation

State = Digest.State
May = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Decision:
    """Something for the user to decide. label: what its link is called."""

    said: str
    label: str
    url: str
    is_grave: bool = False


def decisions(facts: Facts, live: Live, may: May) -> Iterator[Decision]:
    """Only what this user may do something about."""
    if may("digest.change_hold") and live.hold is not None:
        yield _held(live.hold)
    if may("digest.settle_digest") and live.uncertain:
        yield _in_doubt(live.uncertain)
    if may("papers.change_source"):
        yield from _stale(facts)
    if may("papers.change_edition"):
        yield from _overdue(facts)
    if may("digest.view_slot"):
        yield from _unbalanced(facts)
    if may(RUNS_IT):
        yield from _ill(facts)
        yield from _failing(facts)
        yield from _unwelcome(facts)
        yield from _kept_here()
    if may("subscribers.change_transportstate"):
        yield from _resting(facts)


def _held(hold: Hold) -> Decision:
    said = gettext("%(by)s has held sending since %(since)s UTC.") % {
        "by": hold.began_by,
        "since": date_format(hold.began_at, "MONTH_DAY_TIME_FORMAT"),
    }
    return Decision(
        f"{said} {hold.note}".strip(),
        gettext("Release…"),
        reverse("admin:digest_release_sending"),
        is_grave=True,
    )


def _in_doubt(count: int) -> Decision:
    text = ngettext(
        "%(n)s digest may or may not have left.", "%(n)s digests may or may not have left.", count
    )
    url = _rows("digest_digest", state__exact=State.UNCERTAIN)
    return Decision(text % {"n": counted(count)}, gettext("Settle…"), url)


def _stale(facts: Facts) -> Iterator[Decision]:
    for pk, name, said in facts.stale:
        url = reverse("admin:papers_source_change", args=[pk])
        yield Decision(f"{name}: {said}", gettext("Look at the source"), url, is_grave=True)


def _overdue(facts: Facts) -> Iterator[Decision]:
    for edition in facts.overdue:
        text = gettext("The edition of %(day)s should have closed by now.")
        url = reverse("admin:papers_edition_change", args=[edition.pk])
        said = text % {"day": day_name(edition.day)}
        yield Decision(said, gettext("Look at the edition"), url, is_grave=True)


def _unbalanced(facts: Facts) -> Iterator[Decision]:
    if facts.broken:
        text = gettext("Readers due and digests differ on %(days)s: that is a fault of ours.")
        said = text % {"days": listed([day_name(account.date) for account in facts.broken])}
        yield Decision(said, gettext("Look at the slots"), _rows("digest_slot"), is_grave=True)


_ILLS = {
    "broker": gettext_lazy("The broker does not answer."),
    "readers": gettext_lazy("Readers wait for their digests to be made."),
    "digests": gettext_lazy("Digests wait to be sent."),
    "service mails": gettext_lazy("Confirmations or other service mails wait to be sent."),
}


_TRANSPORTS = "transports"  # told one by one


def _ill(facts: Facts) -> Iterator[Decision]:
    label, url = gettext("Look at all checks"), reverse("digest:readyz")
    known = (*_ILLS, _TRANSPORTS)
    silent = [check.name for check in facts.ill if check.name not in known]
    if silent:
        text = gettext("No sign of life from these: %(parts)s. Their work stands still.")
        yield Decision(text % {"parts": listed(silent)}, label, url, is_grave=True)
    for check in facts.ill:
        if check.name in _ILLS:
            yield Decision(f"{_ILLS[check.name]} {check.said}", label, url, is_grave=True)


def _failing(facts: Facts) -> Iterator[Decision]:
    """Of the two newest slots: today's has just begun somewhere, most of the time."""
    newest = facts.recent[:2]
    due = sum(account.due for account in newest)
    failed = sum(account.failed for account in newest)
    retried = sum(account.count(State.RETRY) for account in newest)
    if failed + retried > due * MOST_FAILING:
        text = gettext(
            "Mail is failing: of %(due)s digests of the last two slots %(failed)s failed, "
            "%(retried)s are to be tried again."
        )
        said = text % {"due": counted(due), "failed": counted(failed), "retried": counted(retried)}
        state = State.FAILED if failed else State.RETRY
        url = _rows("digest_digest", state__exact=state)
        yield Decision(said, gettext("Look at them"), url, is_grave=True)


def _unwelcome(facts: Facts) -> Iterator[Decision]:
    """Hard bounces and complaints end in suppressions, each address once."""
    sent = sum(account.sent for account in facts.recent[:RATED_SLOTS])
    rated = [
        (
            facts.bounces, MOST_BOUNCES, Suppression.Reason.BOUNCE,
            ngettext(
                "%(n)s address bounced for good in the last %(days)d days: %(share)s of the "
                "mails sent, where %(most)s is too much.",
                "%(n)s addresses bounced for good in the last %(days)d days: %(share)s of the "
                "mails sent, where %(most)s is too much.",
                facts.bounces,
            ),
        ),
        (
            facts.complaints, MOST_COMPLAINTS, Suppression.Reason.COMPLAINT,
            ngettext(
                "%(n)s reader called a mail spam in the last %(days)d days: %(share)s of the "
                "mails sent, where %(most)s is too much.",
                "%(n)s readers called a mail spam in the last %(days)d days: %(share)s of the "
                "mails sent, where %(most)s is too much.",
                facts.complaints,
            ),
        ),
    ]  # fmt: skip
    for count, most, reason, text in rated:
        if sent and count > sent * most:
            said = text % {
                "n": counted(count),
                "days": RATED_DAYS,
                "share": percent(count / sent),
                "most": percent(most),
            }
            url = _rows("subscribers_suppression", reason__exact=reason)
            yield Decision(said, gettext("Look at them"), url, is_grave=True)


def _kept_here() -> Iterator[Decision]:
    if settings.IS_PUBLIC and settings.EMAIL_BACKEND.startswith(outbox.__name__):
        said = gettext("This site is public, and keeps its mails on this machine: set EMAIL_URL.")
        url = reverse("subscribers:outbox")
        yield Decision(said, gettext("Look at the mails"), url, is_grave=True)


def _resting(facts: Facts) -> Iterator[Decision]:
    """Grave where no mail leaves by any other. What the server said is for who may mend it."""
    try:
        stand = flow.standings(facts.as_of)
    except ImproperlyConfigured as error:
        url = reverse("digest:readyz")
        yield Decision(str(error), gettext("Look at all checks"), url, is_grave=True)
        return
    is_grave = all(each.is_open or each.is_used_up for each in stand)
    for each in stand:
        if each.is_open or each.is_used_up:
            heard = f" {each.error}" if each.is_open else ""
            said = f"{each.name}: {each.said}{heard}"
            url = _rows("subscribers_transportstate")
            yield Decision(said, gettext("Look at the transports"), url, is_grave=is_grave)


def hold_url(live: Live, may: May) -> str:
    may_hold = live.hold is None and may("digest.add_hold")
    return reverse("admin:digest_hold_sending") if may_hold else ""


def _rows(name: str, **lookups: str) -> str:
    return reverse(f"admin:{name}_changelist", query=lookups or None)
