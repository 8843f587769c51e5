"""Every mail that is no digest: asking, telling, and the way back.

Each has a due moment and a sent moment on the reader's row. `send_due` claims a row by moving its
due moment to the end of a lease, in the UPDATE that also looks at consent and suppression once
more; a crash before the mail has left therefore costs a lease, never the mail. A crash between
sending and recording may send a service mail twice, under the same Message-ID.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from email.utils import formataddr
from functools import lru_cache
from typing import Any

import css_inline
import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.db.models import Exists, F
from django.template.loader import render_to_string
from django.urls import get_script_prefix, reverse
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from papers.brand import brand
from papers.models import utc_day
from papers.texts import one_line

from . import flow, languages, schedule, tokens
from .models import Subscriber, Suppression, address_hash
from .signup import MOVE_BACK_WITHIN, UNDO_WITHIN
from .tokens import Purpose
from .transports import Receipt, Status
from .transports.ready import Mail

log = structlog.get_logger(__name__)

CONFIRM_LINK_DAYS = 7
MOVED_LINK_DAYS = MOVE_BACK_WITHIN.days
RETURN_LINK_DAYS = UNDO_WITHIN.days
SEND_TOGETHER = 8
RETRY_AFTER = timedelta(minutes=10)
PATIENCE_SECONDS = 10

_inliner = css_inline.CSSInliner(
    keep_style_tags=False, keep_at_rules=True, load_remote_stylesheets=False
)


@dataclass(frozen=True, slots=True)
class ServiceMail:
    """One kind of mail: what it is, where its moments stand on the row, and who may have it.

    is_bulk: nobody asked for it, so a pause and every goodbye stop it as they stop a digest; so
    does a morning with papers, since both of these say that there were none.
    """

    kind: str
    heading: str | Promise
    note: str | Promise
    due_field: str
    sent_field: str
    states: tuple[Subscriber.State, ...]
    compose: Callable[[Subscriber, datetime], EmailMultiAlternatives]
    goes_to: str = "email"
    is_bulk: bool = False


def confirmation(subscriber: Subscriber, now: datetime) -> EmailMultiAlternatives:
    """Asks whether the reader wants the mails. Holds not one word that a visitor typed."""
    return _service_mail(
        "confirm",
        subscriber,
        to=subscriber.email,
        url=confirm_url(subscriber, now),
        previous=subscriber.confirmation_sent_at,
    )


def manage_link(subscriber: Subscriber, now: datetime) -> EmailMultiAlternatives:
    """The way to one's preferences, for who lost it or subscribed again."""
    return _service_mail(
        "link",
        subscriber,
        to=subscriber.email,
        url=preferences_url(subscriber, now),
        previous=subscriber.link_sent_at,
    )


def address_change(subscriber: Subscriber, now: datetime) -> EmailMultiAlternatives:
    """Asks at the new address whether mails should come there."""
    return _service_mail(
        "address",
        subscriber,
        to=subscriber.new_email,
        url=address_url(subscriber, now),
        previous=subscriber.address_change_sent_at,
    )


def moved(subscriber: Subscriber, now: datetime) -> EmailMultiAlternatives:
    """Tells the old address that mail goes elsewhere now, and how to take that back."""
    return _service_mail(
        "moved",
        subscriber,
        to=subscriber.old_email,
        url=move_back_url(subscriber, now),
        previous=subscriber.moved_sent_at,
        context={"hint": veiled(subscriber.email)},
    )


def goodbye(subscriber: Subscriber, now: datetime) -> EmailMultiAlternatives:
    """The way back, for a reader who left and asked for it. It ends with the time to return, which
    began when they left.
    """
    until = (subscriber.unsubscribed_at or now) + UNDO_WITHIN
    return _service_mail(
        "goodbye",
        subscriber,
        to=subscriber.email,
        url=return_url(subscriber, now),
        previous=subscriber.goodbye_sent_at,
        context={"until": schedule.slot_date(until, subscriber.time_zone)},
    )


def welcome(subscriber: Subscriber, now: datetime) -> EmailMultiAlternatives:
    """For a new reader whose first morning had nothing to send. Else the first digest welcomes."""
    return _service_mail(
        "welcome",
        subscriber,
        to=subscriber.email,
        url=onboarding_url(subscriber, now),
        previous=subscriber.welcome_sent_at,
        context=_subscribed_context(subscriber, now),
        headers=_headers(subscriber, now, kind="welcome"),
    )


def silence(subscriber: Subscriber, now: datetime) -> EmailMultiAlternatives:
    """Says that nothing was worth sending for a while, and offers to widen; to who has what is
    popular already, to add a topic.
    """
    is_wide = subscriber.likes_popular
    return _service_mail(
        "silence",
        subscriber,
        to=subscriber.email,
        url=add_topic_url(subscriber, now) if is_wide else widen_url(subscriber, now),
        previous=subscriber.silence_sent_at,
        context={
            **_subscribed_context(subscriber, now),
            "mornings": subscriber.silent_slots,
            "is_wide": is_wide,
        },
        headers=_headers(subscriber, now, kind="silence"),
    )


SERVICE_MAILS = (
    ServiceMail(
        kind="confirm",
        heading=_("Confirmation"),
        note=_("Asks whether the mails are wanted."),
        due_field="confirmation_due_at",
        sent_field="confirmation_sent_at",
        states=(Subscriber.State.PENDING, Subscriber.State.UNSUBSCRIBED),
        compose=confirmation,
    ),
    ServiceMail(
        kind="link",
        heading=_("A link to the settings"),
        note=_("For who lost theirs, or subscribed again."),
        due_field="link_due_at",
        sent_field="link_sent_at",
        states=(Subscriber.State.ACTIVE,),
        compose=manage_link,
    ),
    ServiceMail(
        kind="address",
        heading=_("Another address"),
        note=_("Asks at the new one."),
        due_field="address_change_due_at",
        sent_field="address_change_sent_at",
        states=(Subscriber.State.ACTIVE,),
        compose=address_change,
        goes_to="new_email",
    ),
    ServiceMail(
        kind="moved",
        heading=_("The papers have moved"),
        note=_("Tells the old address, and how to take it back."),
        due_field="moved_due_at",
        sent_field="moved_sent_at",
        states=(Subscriber.State.ACTIVE,),
        compose=moved,
        goes_to="old_email",
    ),
    ServiceMail(
        kind="goodbye",
        heading=_("The way back"),
        note=_("For who left and asked for it."),
        due_field="goodbye_due_at",
        sent_field="goodbye_sent_at",
        states=(Subscriber.State.UNSUBSCRIBED,),
        compose=goodbye,
    ),
    ServiceMail(
        kind="welcome",
        heading=_("Welcome"),
        note=_("Where the first morning had nothing to send."),
        due_field="welcome_due_at",
        sent_field="welcome_sent_at",
        states=(Subscriber.State.ACTIVE,),
        compose=welcome,
        is_bulk=True,
    ),
    ServiceMail(
        kind="silence",
        heading=_("It has been quiet"),
        note=_("After many mornings with nothing; offers to widen."),
        due_field="silence_due_at",
        sent_field="silence_sent_at",
        states=(Subscriber.State.ACTIVE,),
        compose=silence,
        is_bulk=True,
    ),
)


def send_due(
    now: datetime, *, limit: int = 200, is_held: Callable[[], bool] = lambda: False
) -> int:
    """Sends the service mails that are due, at most `limit` of each kind. Returns how many left.

    Stops early when half a lease has passed, so that no claim of its own expires meanwhile, or
    when no transport may take more; the rest is due as before.

    is_held: whether bulk mails wait; asked before each window.
    """
    stop_at = time.monotonic() + settings.LEASE_SECONDS / 2
    return sum(
        _send_kind(mail, now, limit=limit, stop_at=stop_at, is_held=is_held)
        for mail in SERVICE_MAILS
    )


def compose(
    template: str,
    context: Mapping[str, Any],
    *,
    to: str,
    message_id: str,
    headers: Mapping[str, str] | None = None,
) -> EmailMultiAlternatives:
    """A mail from emails/<template>.subject.txt, .txt and .html, its CSS inlined. Not sent.

    The subject is made one line, whatever the template says.
    """
    context = {**brand(), **context}
    message = Mail(
        subject=" ".join(render_to_string(f"emails/{template}.subject.txt", context).split()),
        body=render_to_string(f"emails/{template}.txt", context),
        from_email=settings.MAIL_FROM,
        to=[to],
        headers={**own_headers(message_id), **(headers or {})},
    )
    message.attach_alternative(
        inline_css(render_to_string(f"emails/{template}.html", context)), "text/html"
    )
    return message


def own_headers(message_id: str) -> dict[str, str]:
    """Of every mail: it was sent by a machine (RFC 3834), and wants no machine's answer."""
    return {
        "Message-ID": message_id,
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
    }


def inline_css(html: str) -> str:
    """CSS rules into style attributes; rules that cannot be (media queries) stay. No network."""
    return _inliner.inline(html)


def message_id(*parts: str) -> str:
    """The same parts give the same Message-ID, for ever."""
    return f"<{'.'.join(parts)}@{settings.SITE_HOST}>"


def first_part(message_id: str) -> str:
    """The first one of those that made it, of a Message-ID of ours; empty where it is none."""
    found = _OWN_MESSAGE_ID.fullmatch(message_id.strip())
    return found[1] if found else ""


_OWN_MESSAGE_ID = re.compile(r"<?([^<>.@\s]+)\.[^<>@\s]+@[^<>@\s]+>?")


def confirm_url(subscriber: Subscriber, now: datetime) -> str:
    subject = bound_subject(subscriber, subscriber.email)
    return _url("subscribers:confirm", Purpose.CONFIRM, subject, now=now)


def preferences_url(subscriber: Subscriber, now: datetime) -> str:
    return _url("subscribers:preferences", Purpose.MANAGE, subscriber.uuid.hex, now=now)


def unsubscribe_url(subscriber: Subscriber, now: datetime) -> str:
    return _url("subscribers:unsubscribe", Purpose.UNSUBSCRIBE, subscriber.uuid.hex, now=now)


def address_url(subscriber: Subscriber, now: datetime) -> str:
    subject = bound_subject(subscriber, subscriber.new_email)
    return _url("subscribers:change_address", Purpose.ADDRESS, subject, now=now)


def move_back_url(subscriber: Subscriber, now: datetime) -> str:
    subject = bound_subject(subscriber, subscriber.old_email)
    return _url("subscribers:move_back", Purpose.MOVED_BACK, subject, now=now)


def return_url(subscriber: Subscriber, now: datetime) -> str:
    return _url("subscribers:come_back", Purpose.RETURN, subscriber.uuid.hex, now=now)


def widen_url(subscriber: Subscriber, now: datetime) -> str:
    return _url("subscribers:widen", Purpose.MANAGE, subscriber.uuid.hex, now=now)


def add_topic_url(subscriber: Subscriber, now: datetime) -> str:
    return _url("subscribers:add_topic", Purpose.MANAGE, subscriber.uuid.hex, now=now)


def onboarding_url(subscriber: Subscriber, now: datetime) -> str:
    return _url("digest:onboarding", Purpose.MANAGE, subscriber.uuid.hex, now=now)


def list_headers(*, unsubscribe_url: str, kind: str, day: date, language: str) -> dict[str, str]:
    """Of every bulk mail: RFC 2369 and RFC 8058 (unsubscribing, but for a copy that belongs to
    nobody: its url is empty), RFC 2919 (list), Gmail's Feedback-ID.
    """
    found = {
        "List-Id": _list_id(settings.SITE_NAME, settings.LIST_ID),
        "Feedback-ID": _feedback_id(day, kind, language),
    }
    ways = [f"<{unsubscribe_url}>"] if unsubscribe_url else []
    if ways and settings.UNSUBSCRIBE_MAILTO:
        ways.append(f"<mailto:{settings.UNSUBSCRIBE_MAILTO}?subject=unsubscribe>")
    if ways:
        found["List-Unsubscribe"] = ", ".join(ways)
        found["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return found


@lru_cache(maxsize=10)
def _list_id(name: str, list_id: str) -> str:
    return formataddr((_ascii(name), list_id))


@lru_cache(maxsize=100)
def _feedback_id(day: date, kind: str, language: str) -> str:
    return f"{day:%Y%m%d}:{kind}:{language}:paperround"


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", one_line(text)).encode("ascii", "ignore").decode()
    return " ".join(plain.split()) or "Paperround"


def veiled(address: str) -> str:
    """`m…@example.org`: enough for its owner to know it by, and for nobody to write to."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…@{domain}"


def keyed_url(view: str, key: str) -> str:
    """The absolute address of the page that the key, and nothing else, opens."""
    before, after = _around_key(settings.SITE_URL, view, get_script_prefix())
    return f"{before}{key}{after}"


def bound_subject(subscriber: Subscriber, address: str) -> str:
    """A token's subject that is about this reader at this address, and at no other."""
    return subscriber.uuid.hex + address_hash(address)[:16]


def _url(view: str, purpose: Purpose, subject: str, *, now: datetime) -> str:
    token = tokens.make(purpose, subject, today=utc_day(now))
    return keyed_url(view, token)


@lru_cache(maxsize=64)
def _around_key(site_url: str, view: str, script_prefix: str) -> tuple[str, str]:
    """What stands before the key in such an address, and after it."""
    stand_in = "0" * 32
    before, _, after = reverse(view, args=[stand_in]).partition(stand_in)
    return f"{site_url}{before}", after


def _service_mail(
    kind: str,
    subscriber: Subscriber,
    *,
    to: str,
    url: str,
    previous: datetime | None,
    context: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> EmailMultiAlternatives:
    # The moment of the mail before tells this one from it, and stays while this one is retried.
    number = "0" if previous is None else str(int(previous.timestamp()))
    with translation.override(languages.offered(subscriber.language)):
        return compose(
            kind,
            {
                "url": url,
                "valid_days": _VALID_DAYS.get(kind, settings.MANAGE_LINK_DAYS),
                **(context or {}),
            },
            to=to,
            message_id=message_id(kind, subscriber.uuid.hex, number),
            headers=headers,
        )


_VALID_DAYS = {
    "confirm": CONFIRM_LINK_DAYS,
    "address": CONFIRM_LINK_DAYS,
    "moved": MOVED_LINK_DAYS,
}


def _subscribed_context(subscriber: Subscriber, now: datetime) -> dict[str, Any]:
    due = subscriber.next_due_at
    return {
        "preferences_url": preferences_url(subscriber, now),
        "unsubscribe_url": unsubscribe_url(subscriber, now),
        "next_on": due and schedule.slot_date(due, subscriber.time_zone),
    }


def _headers(subscriber: Subscriber, now: datetime, *, kind: str) -> dict[str, str]:
    return list_headers(
        unsubscribe_url=unsubscribe_url(subscriber, now),
        kind=kind,
        day=utc_day(now),
        language=subscriber.language,
    )


def _send_kind(
    mail: ServiceMail, now: datetime, *, limit: int, stop_at: float, is_held: Callable[[], bool]
) -> int:
    results: Counter[Status] = Counter()
    rows = _due(mail, now, limit)
    while rows and time.monotonic() <= stop_at and not (mail.is_bulk and is_held()):
        way = flow.way_out(now, for_service=True)
        granted = _granted(way, len(rows)) if way else 0
        if way is None or not granted:
            log.warning("mails wait", mail=mail.kind, until=flow.available_again(now))
            break
        results += _send_window(mail, way, rows[:granted], now)
        rows = rows[granted:]
    if results:
        log.info("mails sent", mail=mail.kind, **{status: results[status] for status in Status})
    return results[Status.SENT] + results[Status.UNCERTAIN]


def _granted(way: flow.Way, wanted: int) -> int:
    together = min(wanted, SEND_TOGETHER, way.window or SEND_TOGETHER)
    return flow.grant(way, together, patience_seconds=PATIENCE_SECONDS)


def _send_window(
    mail: ServiceMail, way: flow.Way, window: Sequence[tuple[int, datetime]], now: datetime
) -> Counter[Status]:
    claimed = [row for pk, due in window if (row := _claim(mail, pk, due, now))]
    flow.give_back(way, len(window) - len(claimed))
    if not claimed:
        return Counter()
    receipts = way.send([mail.compose(row, now) for row in claimed])
    for row, receipt in zip(claimed, receipts, strict=True):
        _record(mail, row, receipt, now)
    flow.note(way, receipts, now)
    return Counter(receipt.status for receipt in receipts)


def _due(mail: ServiceMail, now: datetime, limit: int) -> list[tuple[int, datetime]]:
    rows = Subscriber.objects.filter(**{f"{mail.due_field}__lte": now})
    return list(rows.order_by(mail.due_field).values_list("pk", mail.due_field)[:limit])


def _claim(mail: ServiceMail, pk: int, due: datetime, now: datetime) -> Subscriber | None:
    """The row, if this call is the one that may send it. A mail nobody may have is struck off."""
    seen = Subscriber.objects.filter(**{"pk": pk, mail.due_field: due})
    row = seen.first()
    if row is None:
        return None
    barred = Suppression.objects.total().filter(
        address_hash=address_hash(getattr(row, mail.goes_to))
    )
    lease_until = now + timedelta(seconds=settings.LEASE_SECONDS)
    allowed = seen.filter(~Exists(barred), state__in=mail.states)
    if mail.is_bulk:
        allowed = allowed.mailable(schedule.slot_date(now, row.time_zone))
        allowed = allowed.filter(silent_slots__gt=0)
    if allowed.update(**{mail.due_field: lease_until}):
        setattr(row, mail.due_field, lease_until)
        return row
    seen.update(**{mail.due_field: None})
    return None


def _record(mail: ServiceMail, row: Subscriber, receipt: Receipt, now: datetime) -> None:
    mine = Subscriber.objects.filter(**{"pk": row.pk, mail.due_field: getattr(row, mail.due_field)})
    if receipt.status == Status.RETRY:
        wait = max(
            RETRY_AFTER,
            timedelta(seconds=min(receipt.retry_after_seconds or 0, flow.LONGEST_ASKED_SECONDS)),
        )
        mine.update(**{mail.due_field: now + wait})
    else:
        with transaction.atomic():
            if receipt.status != Status.FAILED:
                _count(mail, row, now)
            mine.update(**{mail.due_field: None})
    if receipt.status != Status.SENT:
        log.warning(
            "mail not sent",
            mail=mail.kind,
            subscriber=row.pk,
            status=receipt.status,
            error=receipt.error,
        )


def _count(mail: ServiceMail, row: Subscriber, now: datetime) -> None:
    """What left has left, even if the reader unsubscribed or the lease ran out meanwhile."""
    values: dict[str, Any] = {mail.sent_field: now}
    if mail.kind == "confirm":
        values["confirmations_unanswered"] = F("confirmations_unanswered") + 1
    Subscriber.objects.filter(pk=row.pk).update(**values)
