"""One window of messages, one after the other: when to go on, and when the rest had better wait."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.message import sanitize_address

from . import Receipt, Status
from .ready import ReadyMail

# A server that drops every message must not turn a whole window into uncertain ones.
BROKEN_IN_A_ROW = 3
ERROR_CHARACTERS = 500
MESSAGE_ID_CHARACTERS = 255
# Headers with line breaks, addresses that are none, texts that no charset holds.
COMPOSING_ERRORS = (ValueError, TypeError, LookupError)
_HOST = r"[\w-]+(?:\.[\w-]+)*"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A receipt, and what it says about the messages after it."""

    receipt: Receipt
    is_broken: bool = False  # the connection or the service fell over; the next may be luckier
    ends_window: bool = False  # the trouble is everybody's, or costs a time-out each


@dataclass(slots=True)
class Course:
    """How a window goes. ended_by: what showed that there is no use in going on; None so far."""

    ended_by: Attempt | None = None
    _broken_in_a_row: int = 0

    @property
    def goes_on(self) -> bool:
        return self.ended_by is None

    def heard(self, tried: Attempt) -> Attempt:
        self._broken_in_a_row = self._broken_in_a_row + 1 if tried.is_broken else 0
        if self.goes_on and (tried.ends_window or self._broken_in_a_row == BROKEN_IN_A_ROW):
            self.ended_by = tried
        return tried


def deliver(
    messages: Sequence[EmailMessage], attempt: Callable[[EmailMessage], Attempt]
) -> list[Receipt]:
    """Attempts each message. Once there is no use in going on, the rest is RETRY, untried."""
    course = Course()
    attempts = [course.heard(attempt(message)) for message in messages if course.goes_on]
    return receipts(messages, attempts, course)


def receipts(
    messages: Sequence[EmailMessage], attempts: Sequence[Attempt], course: Course
) -> list[Receipt]:
    """One a message: of the first of them, which were attempted, and of the rest, which were not.

    Of messages that were under way when the course ended, attempts come after the one that did it.
    """
    found = [_for_the_ledger(*pair) for pair in zip(attempts, messages, strict=False)]
    if course.ended_by is None:
        return found
    last = found[attempts.index(course.ended_by)]
    return found + [_untried(last) for _message in messages[len(found) :]]


def composed(message: EmailMessage) -> tuple[bytes, str]:
    """The message as it goes over the wire, and its Message-ID. Raises COMPOSING_ERRORS."""
    if isinstance(message, ReadyMail):
        return message.wire(), own_message_id(message)
    mime: Any = message.message()
    return mime.as_bytes(linesep="\r\n"), str(mime["Message-ID"])


def own_message_id(message: EmailMessage) -> str:
    """The Message-ID the caller set; empty where it set none."""
    if isinstance(message, ReadyMail):
        return message.message_id
    if name := message.extra_headers.get("Message-ID"):
        return str(name)
    headers = {name.lower(): str(value) for name, value in message.extra_headers.items()}
    return headers.get("message-id", "")


def unsendable(message: EmailMessage, error: Exception) -> Attempt:
    """A message that cannot be put together: nobody's fault but its own."""
    text = f"the message cannot be put together: {error}"
    return Attempt(Receipt(Status.FAILED, own_message_id(message), text))


def _untried(last: Receipt) -> Receipt:
    return Receipt(
        Status.RETRY,
        error=f"not tried, since before it: {last.error}",
        retry_after_seconds=last.retry_after_seconds,
        was_tried=False,
        is_services=True,
    )


def _for_the_ledger(tried: Attempt, message: EmailMessage) -> Receipt:
    """What servers say is foreign text: it must fit the row, and tell nobody's address."""
    receipt = tried.receipt
    message_id = receipt.message_id
    is_storable = message_id.isprintable() and len(message_id) <= MESSAGE_ID_CHARACTERS
    if receipt.status == Status.SENT and is_storable and not receipt.error:
        return receipt
    return replace(
        receipt,
        error=_without_address(receipt.error, message) if receipt.error else "",
        message_id=_storable(receipt.message_id)[:MESSAGE_ID_CHARACTERS],
        is_services=tried.is_broken or tried.ends_window,
    )


def _storable(text: str) -> str:
    """Without what no database takes: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _without_address(error: str, message: EmailMessage) -> str:
    text = " ".join(_storable(error).split())
    for recipient in message.recipients():
        for spelling in _spellings(recipient):
            text = re.sub(spelling, "<recipient>", text, flags=re.IGNORECASE)
    return text[:ERROR_CHARACTERS]


def _spellings(recipient: str) -> list[str]:
    """Patterns. A host has several spellings (`bücher.example`, `xn--bcher-kva.example` by one
    standard or the other), so that whatever stands behind the name and its @ is taken for it.
    """
    envelope = _envelope_spelling(recipient)
    addresses = dict.fromkeys(filter(None, (envelope, parseaddr(recipient)[1])))
    names = [address.rpartition("@")[0] for address in addresses]
    anywhere = [rf"(?<![\w.+-]){re.escape(name)}@{_HOST}" for name in names if name]
    return [*map(re.escape, filter(None, (recipient, *addresses))), *anywhere]


def _envelope_spelling(recipient: str) -> str:
    try:
        return parseaddr(sanitize_address(recipient, settings.DEFAULT_CHARSET))[1]
    except ValueError:
        return ""
