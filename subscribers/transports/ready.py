"""The mails that transports are given: one that arrives as it left, and one that is ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.policy import Compat32
from functools import cached_property
from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.core.mail.message import EmailAlternative, utf8_charset_qp


class Mail(EmailMultiAlternatives):
    """A mail that arrives as it left: nothing on its way has a reason to encode it anew, which
    would break its DKIM signature. Bodies are quoted-printable, so no server needs 8BITMIME
    (RFC 6152), and addresses in headers stand on the line of their name.
    """

    encoding = utf8_charset_qp

    def message(self, **kwargs: Any) -> Any:
        made: Any = super().message(**kwargs)
        made.policy = _AddressesUnfolded()
        return made


class ReadyMail(Mail):
    """A mail whose parts were encoded before it was put together.

    Complete for any mail backend; what moves bytes takes `wire()`, at a hundredth of the cost of
    `message()`.

    text, html: what the two parts say, in UTF-8. They are final: `wire()` does not know of a
    `body` that was changed afterwards, nor of headers, but of `subject` and `to` it does.
    headers: asked for where they are needed, which is not over SMTP.
    """

    def __init__(
        self,
        *,
        subject: str,
        text: bytes,
        html: bytes,
        from_email: str,
        to: str,
        message_id: str,
        headers: Callable[[], Mapping[str, str]],
        wire: Callable[[ReadyMail], bytes],
    ) -> None:
        super().__init__(subject, from_email=from_email, to=[to])
        self.text, self.html, self.message_id = text, html, message_id
        self._wire, self._headers = wire, headers
        # Made when a backend asks for them; over SMTP none does.
        del self.body, self.alternatives, self.extra_headers

    @cached_property
    def extra_headers(self) -> dict[str, str]:  # type: ignore[override]
        return {**self._headers(), "Message-ID": self.message_id}

    @cached_property
    def body(self) -> str:  # type: ignore[override]
        return self.text.decode()

    @cached_property
    def alternatives(self) -> list[EmailAlternative]:  # type: ignore[override]
        return [EmailAlternative(self.html.decode(), "text/html")]

    def wire(self) -> bytes:
        """The whole message as RFC 5322 has it: lines end in CRLF, and none begins with a dot.

        Dated at the call. Raises ValueError (BadHeaderError among them) where a header cannot be
        written, as `message()` does.
        """
        return self._wire(self)


class _AddressesUnfolded(Compat32):
    def fold_binary(self, name: str, value: Any) -> bytes:
        if name.startswith("List-") and str(value).isascii():
            return f"{name}: {value}{self.linesep}".encode()
        return super().fold_binary(name, value)
