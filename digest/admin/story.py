"""A digest's story in words: how it stands, and what happened to it, in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from anymail.signals import EventType, RejectReason
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..models import DeliveryEvent, Digest, Feedback

Text = str | Promise

STANDING: dict[str, Text] = {
    Digest.State.ASSEMBLED: _("It is made and waits to be sent."),
    Digest.State.CLAIMED: _("A worker has taken it; nothing has left yet."),
    Digest.State.SENDING: _("It is being handed over this moment."),
    Digest.State.RETRY: _("It could not be handed over, and is tried again."),
    Digest.State.SENT: _("It was handed over."),
    Digest.State.UNCERTAIN: _(
        "It is in doubt: it may have left, or not. Look for it at the provider; then settle it as "
        "sent, or send it again."
    ),
    Digest.State.FAILED: _("It could not be delivered, and is not tried again."),
    Digest.State.SKIPPED: _("No mail was sent."),
    Digest.State.SUPPRESSED: _("No mail was sent: none may go to this address."),
}

OPERATOR = Digest.SettledBy.OPERATOR
# How it stands once a doubt was settled as sent, by whose word that was.
SETTLED: dict[str, Text] = {
    Digest.SettledBy.WORKER: _("It was handed over: so said its worker, late."),
    Digest.SettledBy.PROVIDER: _("It was handed over: so said the provider."),
    OPERATOR: _("It was in doubt, and counts as sent: so said the operator."),
}
# What the admin's log calls the two ways in which the operator settles a doubt.
SETTLING: tuple[Text, ...] = (_("Settle as sent"), _("Send again"))

# In the order of their weight (digest.webhooks), the empty one for what nobody has reported.
OUTCOMES: dict[str, Text] = {
    "": _("nothing yet"),
    EventType.QUEUED: _("queued by the provider"),
    EventType.SENT: _("sent by the provider"),
    EventType.DEFERRED: _("deferred: the mailbox asks for patience"),
    EventType.DELIVERED: _("delivered to the mailbox"),
    EventType.REJECTED: _("rejected by the provider"),
    EventType.FAILED: _("failed at the provider"),
    EventType.BOUNCED: _("bounced"),
    EventType.COMPLAINED: _("reported as spam"),
}


REJECTED: dict[str, Text] = {
    RejectReason.INVALID: _("no such address"),
    RejectReason.BOUNCED: _("bounced before"),
    RejectReason.TIMED_OUT: _("the mailbox never answered"),
    RejectReason.BLOCKED: _("blocked by the mailbox"),
    RejectReason.SPAM: _("taken for spam"),
    RejectReason.UNSUBSCRIBED: _("unsubscribed at the provider"),
    RejectReason.OTHER: _("another reason"),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline. url: where more is to be seen; more: what that is called."""

    at: datetime
    said: str
    facts: str = ""
    url: str = ""
    more: str = ""


def standing(digest: Digest) -> Text:
    if digest.state == Digest.State.RETRY and _is_open(digest):
        return _("It may have left. It is sent again: the transport knows a repeated message.")
    if _was_settled_as(digest, Digest.State.SENT):
        return SETTLED.get(digest.settled_by, digest.settled_by)
    return STANDING.get(digest.state, digest.state)


def is_proved_to_have_left(digest: Digest) -> bool:
    """Whether somebody saw it handed over; the operator's word that it counts as sent is none."""
    is_word = _was_settled_as(digest, Digest.State.SENT) and digest.settled_by == OPERATOR
    return digest.sent_at is not None and not is_word


def outcome(value: str) -> Text:
    return OUTCOMES.get(value, value)


def reject_reason(value: str) -> Text:
    return REJECTED.get(value, value)


def timeline(
    digest: Digest,
    *,
    events: Iterable[DeliveryEvent] = (),
    entries: Iterable[LogEntry] = (),
    feedback: Iterable[Feedback] = (),
) -> list[Moment]:
    """All that is known to have happened to it, or to be about to, the earliest first.

    entries: of the admin's log, with their users loaded. feedback: with papers loaded.
    """
    events, entries = list(events), list(entries)
    logged = _log_of_settling(digest, entries)
    moments = [
        *_of_ledger(digest),
        *(_of_event(event) for event in events),
        *_of_settling(digest, logged, events),
        *(_of_entry(entry) for entry in entries if entry is not logged),
        *(_of_feedback(said) for said in feedback),
    ]
    return sorted(moments, key=lambda moment: moment.at)


def untold_error(digest: Digest, moments: Iterable[Moment]) -> str:
    """The row's error where no line has it, as of a mail that could not be rendered."""
    return "" if any(digest.error in moment.facts for moment in moments) else digest.error


def _of_ledger(digest: Digest) -> Iterable[Moment]:
    yield Moment(digest.due_at, gettext("Fell due"))
    yield Moment(digest.assembled_at, gettext("Assembled"), _assembled_facts(digest))
    yield from _of_last_attempt(digest)
    if digest.doubted_at is not None:
        said = gettext("In doubt: it may have left, or not")
        yield Moment(digest.doubted_at, said, _why_in_doubt(digest))
    if digest.lease_until is not None:
        yield Moment(digest.lease_until, gettext("The worker’s lease ends"))
    if digest.retry_at is not None:
        why = "" if _why_in_doubt(digest) else digest.error
        yield Moment(digest.retry_at, gettext("Is tried again"), why)
    if digest.thinned_at is not None:
        yield Moment(digest.thinned_at, gettext("Scores and reasons let go of"))


def _of_last_attempt(digest: Digest) -> Iterable[Moment]:
    """Its beginning where that is all that was seen of it, else its end. Earlier ones are only
    counted: the row keeps the last.
    """
    is_doubted = _is_of_last_attempt(digest.doubted_at, digest)
    if digest.attempted_at is not None and (digest.sent_at is None or is_doubted):
        said = gettext("A worker marked it, and began to hand it over")
        failed = digest.state == Digest.State.FAILED and not is_doubted
        facts = _joined(_number(digest), digest.transport, digest.error if failed else "")
        yield Moment(digest.attempted_at, said, facts)
    if digest.sent_at is not None and not is_doubted:
        said = gettext("Handed over by %(transport)s") % {"transport": digest.transport or "–"}
        yield Moment(digest.sent_at, said, _joined(_tries(digest), digest.message_id))


def _of_settling(
    digest: Digest, logged: LogEntry | None, events: Sequence[DeliveryEvent]
) -> Iterable[Moment]:
    """An event ends a doubt when it comes in, which may be later than what it tells of; one that
    came before there was a doubt, as soon as there is one.
    """
    if digest.settled_at is None:
        return
    by = str(digest.get_settled_by_display())
    at = max(digest.settled_at, digest.doubted_at or digest.settled_at)
    if logged is not None:
        by = _by(logged)
    if digest.settled_by == Digest.SettledBy.PROVIDER:
        words = [event for event in events if event.occurred_at == digest.settled_at]
        at = max([at, *(event.received_at for event in words[:1])])
    yield Moment(at, _settled_words(digest), _joined(by, _late_error(digest)))


def _settled_words(digest: Digest) -> str:
    if _was_settled_as(digest, Digest.State.SENT):
        return gettext("Settled as sent")
    if _was_settled_as(digest, Digest.State.FAILED):
        return gettext("Settled as failed")
    return gettext("Settled as not sent, to be sent again")


def _late_error(digest: Digest) -> str:
    """Why nothing came of it, where the worker said so after all."""
    is_late_word = digest.settled_by == Digest.SettledBy.WORKER and not _is_tried_since(digest)
    return digest.error if is_late_word and digest.retry_at is None else ""


def _why_in_doubt(digest: Digest) -> str:
    """The row's error, as long as it is that of the doubt: other words than the operator's, and
    a new attempt's end, replace it.
    """
    if digest.doubted_at is None:
        return ""
    is_replaced = digest.settled_by not in ("", OPERATOR) or _is_tried_since(digest)
    return "" if is_replaced else digest.error


def _log_of_settling(digest: Digest, entries: Iterable[LogEntry]) -> LogEntry | None:
    """The admin's own line about the operator's word: written right after the row."""
    if digest.settled_at is None or digest.settled_by != OPERATOR:
        return None
    titles = {str(title) for title in SETTLING}
    since = digest.settled_at
    later = (entry for entry in entries if entry.action_time >= since)
    told = (entry for entry in later if entry.get_change_message() in titles)
    return min(told, key=lambda entry: entry.action_time, default=None)


def _is_open(digest: Digest) -> bool:
    """It may have left by its last attempt, and nobody has said."""
    return _is_of_last_attempt(digest.doubted_at, digest) and digest.settled_at is None


def _is_tried_since(digest: Digest) -> bool:
    return digest.doubted_at is not None and not _is_of_last_attempt(digest.doubted_at, digest)


def _is_of_last_attempt(at: datetime | None, digest: Digest) -> bool:
    return at is not None and (digest.attempted_at is None or digest.attempted_at <= at)


def _was_settled_as(digest: Digest, state: str) -> bool:
    """What settled the doubt put it in this state; no later attempt did."""
    is_settled = digest.settled_at is not None and not _is_tried_since(digest)
    return is_settled and digest.state == state


def _assembled_facts(digest: Digest) -> str:
    if not digest.items:
        return str(digest.get_skip_reason_display()) if digest.skip_reason else ""
    said = ngettext(
        "%(papers)d paper of %(candidates)d new ones",
        "%(papers)d papers of %(candidates)d new ones",
        len(digest.items),
    )
    return said % {"papers": len(digest.items), "candidates": digest.candidates}


def _number(digest: Digest) -> str:
    """Of the last attempt; none where the trouble of another mail left it untried."""
    return gettext("attempt %(number)d") % {"number": digest.attempts} if digest.attempts else ""


def _tries(digest: Digest) -> str:
    said = ngettext("%(tries)d attempt", "%(tries)d attempts", digest.attempts)
    return said % {"tries": digest.attempts} if digest.attempts else ""


def _of_event(event: DeliveryEvent) -> Moment:
    said = gettext("%(provider)s says: %(outcome)s") % {
        "provider": event.provider,
        "outcome": outcome(event.event_type),
    }
    url = reverse("admin:digest_deliveryevent_change", args=[event.pk])
    why = str(reject_reason(event.reject_reason))
    return Moment(event.occurred_at, said, why, url, gettext("what it sent"))


def _of_entry(entry: LogEntry) -> Moment:
    return Moment(entry.action_time, entry.get_change_message(), _by(entry))


def _by(entry: LogEntry) -> str:
    return gettext("by %(staff)s") % {"staff": entry.user.get_username()}


def _of_feedback(said: Feedback) -> Moment:
    words = gettext("The reader says: %(word)s") % {"word": said.get_kind_display()}
    url = reverse("admin:papers_paper_change", args=[said.paper_id])
    return Moment(said.at, words, said.paper.title, url, said.paper.arxiv_id)


def _joined(*facts: str) -> str:
    return " · ".join(fact for fact in facts if fact)
