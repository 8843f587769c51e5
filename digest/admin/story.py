"""A digest's story in words: how it stands, and what happened to it, in order."""

from __future__ import annotations

from collections.abc import Iterable
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
    return STANDING.get(digest.state, digest.state)


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
    moments = [
        *_of_ledger(digest),
        *(_of_event(event) for event in events),
        *(_of_entry(entry) for entry in entries),
        *(_of_feedback(said) for said in feedback),
    ]
    return sorted(moments, key=lambda moment: moment.at)


def _of_ledger(digest: Digest) -> Iterable[Moment]:
    yield Moment(digest.due_at, gettext("Fell due"))
    yield Moment(digest.assembled_at, gettext("Assembled"), _assembled_facts(digest))
    if digest.lease_until is not None:
        said = gettext("The worker’s lease ends")
        yield Moment(digest.lease_until, said, _tries(digest))
    if digest.retry_at is not None:
        said = gettext("Is tried again")
        yield Moment(digest.retry_at, said, _joined(_tries(digest), digest.error))
    if digest.sent_at is not None:
        yield Moment(
            digest.sent_at, _sent_words(digest), _joined(_tries(digest), digest.provider_message_id)
        )
    if digest.thinned_at is not None:
        yield Moment(digest.thinned_at, gettext("Scores and reasons let go of"))


def _sent_words(digest: Digest) -> str:
    """A digest in doubt is settled by the operator, who leaves its error, or by an event."""
    if digest.error:
        return gettext("Settled as sent")
    if digest.sent_at == digest.outcome_at:
        return gettext("Taken as sent, on the provider’s word")
    return gettext("Handed over by %(transport)s") % {"transport": digest.transport or "–"}


def _assembled_facts(digest: Digest) -> str:
    if not digest.items:
        return str(digest.get_skip_reason_display()) if digest.skip_reason else ""
    said = ngettext(
        "%(papers)d paper of %(candidates)d new ones",
        "%(papers)d papers of %(candidates)d new ones",
        len(digest.items),
    )
    return said % {"papers": len(digest.items), "candidates": digest.candidates}


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
    by = gettext("by %(staff)s") % {"staff": entry.user.get_username()}
    return Moment(entry.action_time, entry.get_change_message(), by)


def _of_feedback(said: Feedback) -> Moment:
    words = gettext("The reader says: %(word)s") % {"word": said.get_kind_display()}
    url = reverse("admin:papers_paper_change", args=[said.paper_id])
    return Moment(said.at, words, said.paper.title, url, said.paper.arxiv_id)


def _joined(*facts: str) -> str:
    return " · ".join(fact for fact in facts if fact)
