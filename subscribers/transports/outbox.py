"""The local outbox: every mail becomes a file that a page shows, and none leaves the machine."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage as ParsedMessage
from email.parser import BytesHeaderParser, BytesParser
from email.utils import parsedate_to_datetime
from io import BytesIO
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from . import Receipt, Status
from .window import COMPOSING_ERRORS, Attempt, composed, deliver, unsendable

OUTBOX_KEEP = 2000

_NAME = re.compile(r"(\d{8}T\d{12})Z-([0-9a-f]{32})\.eml", re.ASCII)
_AS_WRITTEN = policy.default.clone(refold_source="none")


class OutboxTransport:
    """The same Message-ID twice leaves one file, the first; sent means that it is there whole."""

    name = "outbox"
    repeats_safely = True
    window: int | None = None

    def __init__(self, backend: str) -> None:
        pass

    def send(self, messages: Sequence[EmailMessage]) -> list[Receipt]:
        receipts = deliver(messages, _Outbox(_folder()).attempt)
        _prune()
        return receipts


class EmailBackend(BaseEmailBackend):
    """Django's own mails go where ours go."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        receipts = OutboxTransport("").send(email_messages)
        failed = [receipt for receipt in receipts if receipt.status != Status.SENT]
        if failed and not self.fail_silently:
            raise OSError(failed[0].error)
        return len(receipts) - len(failed)


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    name: str
    at: datetime
    sender: str
    to: str
    subject: str


@dataclass(frozen=True, slots=True)
class OutboxMail:
    """One mail, taken apart for showing. `html` and `text` are empty where it has none."""

    subject: str
    sender: str
    to: str
    at: datetime | None
    headers: list[tuple[str, str]]
    html: str
    text: str
    source: str


def entries(limit: int = 200) -> list[OutboxEntry]:
    """The newest mails first. Reads their headers only."""
    return list(islice(_readable(_names()), limit))


def load(name: str) -> ParsedMessage:
    """The mail of an entry. FileNotFoundError for any name that is none of ours."""
    if not _NAME.fullmatch(name):
        raise FileNotFoundError(name)
    return parsed((_folder() / name).read_bytes())


def parsed(written: bytes) -> ParsedMessage:
    return BytesParser(policy=policy.default).parse(BytesIO(written))  # whatever its line ends


def parts(message: ParsedMessage) -> OutboxMail:
    return OutboxMail(
        subject=_header(message, "Subject"),
        sender=_header(message, "From"),
        to=_header(message, "To"),
        at=_date(message),
        headers=[(name, str(value)) for name, value in message.items()],
        html=_body(message, "html"),
        text=_body(message, "plain"),
        source=message.as_bytes(policy=_AS_WRITTEN).decode(errors="replace"),
    )


@dataclass(slots=True)
class _Outbox:
    folder: Path
    hashes: set[str] | None = None  # of the Message-IDs that are there; read with the first mail

    def attempt(self, message: EmailMessage) -> Attempt:
        try:
            content, message_id = composed(message)
        except COMPOSING_ERRORS as error:
            return unsendable(message, error)
        try:
            self._keep_once(message_id, content)
        except OSError as error:
            text = f"DATA_DIR: cannot write into {self.folder}: {error.strerror or error}"
            return Attempt(Receipt(Status.RETRY, message_id, text), ends_window=True)
        return Attempt(Receipt(Status.SENT, message_id))

    def _keep_once(self, message_id: str, content: bytes) -> None:
        if self.hashes is None:
            self.hashes = {name[-36:-4] for name in _names()}
        digest = hashlib.sha256(message_id.encode()).hexdigest()[:32]
        if digest in self.hashes:
            return
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z-{digest}.eml"
        _write_whole(self.folder / name, content)
        self.hashes.add(digest)


def _write_whole(path: Path, content: bytes) -> None:
    """A reader sees the whole file or none. Its mode is 0600: the links in it are keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _prune() -> None:
    # An outbox that cannot be tidied up is one all the same.
    with suppress(OSError):
        for name in _names()[OUTBOX_KEEP:]:
            (_folder() / name).unlink(missing_ok=True)


def _folder() -> Path:
    return Path(settings.OUTBOX_DIR)


def _names() -> list[str]:
    try:
        names = [path.name for path in _folder().iterdir() if _NAME.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    return sorted(names, reverse=True)


def _readable(names: list[str]) -> Iterator[OutboxEntry]:
    for name in names:
        try:
            yield _entry(name)
        except FileNotFoundError:
            continue  # pruned since the folder was listed


def _entry(name: str) -> OutboxEntry:
    with (_folder() / name).open("rb") as file:
        message = BytesHeaderParser(policy=policy.default).parse(file)
    return OutboxEntry(
        name=name,
        at=datetime.strptime(name[:21], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC),
        sender=_header(message, "From"),
        to=_header(message, "To"),
        subject=_header(message, "Subject"),
    )


def _header(message: ParsedMessage, name: str) -> str:
    return str(message.get(name, ""))


def _date(message: ParsedMessage) -> datetime | None:
    try:
        at = parsedate_to_datetime(_header(message, "Date"))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)  # -0000 is UTC (RFC 5322, 3.3)


def _body(message: ParsedMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return "" if part is None else part.get_content()
