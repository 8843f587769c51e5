"""One window of messages, one after the other: when to go on, and when the rest had better wait."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
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


def deliver(
    messages: Sequence[EmailMessage], attempt: Callable[[EmailMessage], Attempt]
) -> list[Receipt]:
    """Attempts each message. Once there is no use in going on, the rest is RETRY, untried."""
    return collect(messages, map(attempt, messages))


def collect(messages: Sequence[EmailMessage], attempts: Iterable[Attempt]) -> list[Receipt]:
    """The same, for attempts that are made as they are asked for, one a message."""
    receipts: list[Receipt] = []
    broken_in_a_row = 0
    for message, tried in zip(messages, attempts, strict=False):
        receipts.append(_for_the_ledger(tried, message))
        broken_in_a_row = broken_in_a_row + 1 if tried.is_broken else 0
        if tried.ends_window or broken_in_a_row == BROKEN_IN_A_ROW:
            break
    return receipts + [_untried(receipts[-1]) for _message in messages[len(receipts) :]]


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
