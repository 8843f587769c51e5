"""How mail leaves. A transport hands over a window of messages and tells the truth about each.

Which one is in use follows from EMAIL_BACKEND (itself made of EMAIL_URL, see the settings).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.utils.module_loading import import_string

SMTP = "django.core.mail.backends.smtp.EmailBackend"


class Status(StrEnum):
    SENT = "sent"  # accepted by the server or the provider
    RETRY = "retry"  # nothing was delivered; a later attempt may succeed
    FAILED = "failed"  # refused for good, this message only
    UNCERTAIN = "uncertain"  # its body went out and no answer that counts came back


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one message. `error` names a setting where one can be the cause, and never
    holds the recipient's address: it is kept in the ledger, which outlives the reader.
    """

    status: Status
    message_id: str = ""  # the provider's, or else our own Message-ID
    error: str = ""
    retry_after_seconds: float | None = None
    was_tried: bool = True  # false where the trouble of an earlier message left it untried
    is_services: bool = False  # the trouble is the service's or the line's, not this message's


class Transport(Protocol):
    @property
    def name(self) -> str:
        """Short; stored on the ledger's row."""

    @property
    def repeats_safely(self) -> bool:
        """Sending the same Message-ID twice delivers it once."""

    @property
    def window(self) -> int | None:
        """The most messages one call takes; None for no limit."""

    def send(self, messages: Sequence[EmailMessage]) -> list[Receipt]:
        """One Receipt per message, in their order.

        Each message has one recipient and a Message-ID. Never raises for what a server or a
        network did; does not try again what it reports.
        """


def get_transport() -> Transport:
    """The transport that EMAIL_BACKEND asks for. Raises ImproperlyConfigured before any mail is
    touched, where a setting is missing or wrong.
    """
    backend = settings.EMAIL_BACKEND
    return cast(Transport, import_string(_transport_for(backend))(backend))


def get_transports() -> list[Transport]:
    """In the order in which they are tried: that one, and the one that FALLBACK_EMAIL_URL or
    FALLBACK_EMAIL_BACKEND asks for, under a name of its own. Raises ImproperlyConfigured likewise.
    """
    first, fallback = get_transport(), settings.FALLBACK_EMAIL
    return [first, _fallback(fallback, first)] if fallback else [first]


def _fallback(config: Mapping[str, Any], first: Transport) -> Transport:
    made: Any = import_string(_transport_for(config["EMAIL_BACKEND"]))
    if config["EMAIL_BACKEND"] == SMTP:
        return cast(Transport, made.of(config, "smtp-fallback"))
    transport = made(config["EMAIL_BACKEND"])
    if transport.name == first.name:
        transport.name = f"{transport.name[:31]}-fallback"
    return cast(Transport, transport)


def load_backend(path: str) -> type:
    """The class of a Django mail backend. Raises ImproperlyConfigured naming EMAIL_BACKEND."""
    try:
        return cast(type, import_string(path))
    except ImportError as error:
        raise ImproperlyConfigured(f"EMAIL_BACKEND: cannot use {path!r}: {error}") from error


def _transport_for(backend: str) -> str:
    if backend.startswith("anymail.backends."):
        return "subscribers.transports.provider.ProviderTransport"
    return {
        SMTP: "subscribers.transports.smtp.SmtpTransport",
        "subscribers.transports.outbox.EmailBackend": (
            "subscribers.transports.outbox.OutboxTransport"
        ),
    }.get(backend, "subscribers.transports.generic.GenericTransport")
