"""What `check --deploy` says about mail: a public installation must be able to send it."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parseaddr
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured

from .transports import get_transports

LOCAL_BACKENDS = frozenset(
    {
        "subscribers.transports.outbox.EmailBackend",
        *(
            f"django.core.mail.backends.{name}.EmailBackend"
            for name in ("console", "dummy", "filebased", "locmem")
        ),
    }
)
LOCAL_DOMAINS = frozenset({"", "localhost", "127.0.0.1", "[127.0.0.1]", "::1", "[::1]"})


def mail_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Looks at the settings only; connects to nothing."""
    return [*_transport(), *_all_usable(), *_postal_address(), *_sender()]


def _transport() -> list[CheckMessage]:
    if settings.EMAIL_BACKEND not in LOCAL_BACKENDS:
        return []
    return [
        Error(
            f"No mail leaves this machine: the mail backend is {settings.EMAIL_BACKEND}.",
            hint="Set EMAIL_URL to an SMTP server, or EMAIL_BACKEND and ANYMAIL_* to a provider.",
            id="subscribers.E001",
        )
    ]


def _all_usable() -> list[CheckMessage]:
    """The second one too, which is not needed before the day of trouble."""
    try:
        get_transports()
    except ImproperlyConfigured as error:
        return [
            Error(
                f"Mail cannot leave: {error}.",
                hint="Set EMAIL_URL, EMAIL_BACKEND, FALLBACK_EMAIL_… and ANYMAIL_* to what exists.",
                id="subscribers.E002",
            )
        ]
    return []


def _postal_address() -> list[CheckMessage]:
    if settings.POSTAL_ADDRESS.strip():
        return []
    return [
        CheckWarning(
            "Mails carry no postal address, which bulk mail must (CAN-SPAM and similar laws).",
            hint="Set POSTAL_ADDRESS.",
            id="subscribers.W001",
        )
    ]


def _sender() -> list[CheckMessage]:
    domain = parseaddr(settings.MAIL_FROM)[1].partition("@")[2].lower()
    if domain not in LOCAL_DOMAINS:
        return []
    return [
        CheckWarning(
            f"Mails come from {settings.MAIL_FROM}, an address nobody can answer or verify.",
            hint="Set MAIL_FROM to an address of your domain, or SITE_URL to your public address.",
            id="subscribers.W002",
        )
    ]
