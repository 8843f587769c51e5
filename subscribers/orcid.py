"""A researcher's own list of works: ORCID's public API, which needs no key.

Asked only while somebody waits for the page, so once and for a few seconds.
"""

from __future__ import annotations

import re

from django.conf import settings

from papers.client import Client, FetchError

from .imports import Imported, ImportRefused, read_works

TIMEOUT_SECONDS = 6.0
_ID = re.compile(
    r"(?:https?://)?(?:www\.)?(?:orcid\.org/)?(\d{4}-?\d{4}-?\d{4}-?\d{3}[\dX])/?", re.I
)


class OrcidSilent(Exception):
    """No list of works came: the service is down, or knows nobody of that number."""

    def __init__(self, message: str, *, is_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_unknown = is_unknown


def looks_like_one(text: str) -> bool:
    return bool(_ID.fullmatch(text.strip()))


def orcid_id(text: str) -> str:
    """The iD in an iD or a link, as 0000-0002-1825-0097. Raises ValueError, also where its check
    character is wrong (ISO 7064, mod 11-2).

    https://support.orcid.org/hc/en-us/articles/360006897674
    """
    found = _ID.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"no ORCID iD: {text[:60]!r}")
    digits = found[1].replace("-", "").upper()
    if _check_character(digits[:15]) != digits[15]:
        raise ValueError(f"an ORCID iD with a typing error: {text[:60]!r}")
    return "-".join(digits[start : start + 4] for start in range(0, 16, 4))


def works(orcid: str) -> Imported:
    """The public works of a record. Raises OrcidSilent; a record without works has none."""
    client = Client(patience_seconds=0, timeout_seconds=TIMEOUT_SECONDS)
    try:
        return read_works(client.get(f"{settings.ORCID_URL}/v3.0/{orcid}/works").body)
    except FetchError as error:
        raise OrcidSilent(str(error), is_unknown=error.status == 404) from error
    except ImportRefused as error:
        raise OrcidSilent(str(error)) from error


def _check_character(digits: str) -> str:
    total = 0
    for digit in digits:
        total = (total + int(digit)) * 2
    rest = (12 - total % 11) % 11
    return "X" if rest == 10 else str(rest)
