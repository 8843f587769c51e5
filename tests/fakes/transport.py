"""A transport that answers as told, and remembers what it really accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from django.core.mail import EmailMessage

from subscribers.transports import Receipt, Status

Answer = Receipt | Status | type[BaseException]


class FakeTransport:
    """`answers` are given in order, then SENT. A class of exception is raised, and what came
    before it in the window was accepted all the same; so is what it calls uncertain, as happens
    when the server's last answer is lost. `before` is called with each window.
    """

    def __init__(self, *answers: Answer) -> None:
        self.name = "fake"
        self.repeats_safely = False
        self.window: int | None = None
        self.answers = list(answers)
        self.windows: list[list[str]] = []
        self.accepted: list[EmailMessage] = []
        self.before: Callable[[Sequence[EmailMessage]], None] = lambda messages: None

    def send(self, messages: Sequence[EmailMessage]) -> list[Receipt]:
        self.windows.append([message.to[0] for message in messages])
        self.before(messages)
        return [self._receipt(message) for message in messages]

    def recipients(self) -> list[str]:
        return [message.to[0] for message in self.accepted]

    def _receipt(self, message: EmailMessage) -> Receipt:
        answer = self.answers.pop(0) if self.answers else Status.SENT
        if isinstance(answer, type):
            raise answer
        receipt = answer if isinstance(answer, Receipt) else _ordinary(answer)
        if receipt.status in (Status.SENT, Status.UNCERTAIN):
            self.accepted.append(message)
        if receipt.status == Status.SENT and not receipt.message_id:
            return replace(receipt, message_id=_own_id(message))
        return receipt


def _ordinary(status: Status) -> Receipt:
    return Receipt(status, error="" if status == Status.SENT else f"told to say {status}")


def _own_id(message: EmailMessage) -> str:
    return str(message.extra_headers["Message-ID"])
