"""Any other Django mail backend (console, files, memory): one send per message, and caution."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from django.core.mail import EmailMessage, get_connection

from . import Receipt, Status, load_backend
from .window import COMPOSING_ERRORS, Attempt, composed, deliver, own_message_id, unsendable

log = structlog.get_logger(__name__)


class GenericTransport:
    """Knows nothing of the backend but Django's contract, so every error leaves it uncertain."""

    repeats_safely = False
    window: int | None = None

    def __init__(self, backend: str) -> None:
        load_backend(backend)
        self.name = _short_name(backend)
        self._connection = get_connection(backend)

    def send(self, messages: Sequence[EmailMessage]) -> list[Receipt]:
        return deliver(messages, self._attempt)

    def _attempt(self, message: EmailMessage) -> Attempt:
        try:
            composed(message)
        except COMPOSING_ERRORS as error:
            return unsendable(message, error)
        try:
            sent = self._connection.send_messages([message])
        except Exception as error:  # a foreign backend raises what it likes, wherever it stood
            log.exception("transport fell over", transport=self.name)
            return Attempt(_receipt(message, Status.UNCERTAIN, str(error)), is_broken=True)
        return Attempt(_counted(message, sent))


def _counted(message: EmailMessage, sent: int | None) -> Receipt:
    if sent == 1:
        return _receipt(message, Status.SENT)
    if sent == 0:
        return _receipt(message, Status.FAILED, "the mail backend did not send it")
    return _receipt(message, Status.UNCERTAIN, "the mail backend did not say whether it sent it")


def _receipt(message: EmailMessage, status: Status, error: str = "") -> Receipt:
    return Receipt(status, own_message_id(message), error)


def _short_name(backend: str) -> str:
    module = backend.split(".")[-2] if "." in backend else backend
    return module[:40]
