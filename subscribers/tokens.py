"""Signed links: one short HMAC per purpose, so that a key for one door opens no other.

A token is `subject-issued-mac`: what it is about, the day it was made, and 128 bits of
HMAC-SHA256 over both under the purpose's own salt, in URL-safe base64. Nothing is stored.
Keys rotate by SECRET_KEY_FALLBACKS, which every purpose honours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from django.conf import settings
from django.utils.crypto import constant_time_compare
from django.utils.encoding import force_bytes

EPOCH = date(2000, 1, 1)  # before any date that a link may bear, replayed days included


class Purpose(StrEnum):
    CONFIRM = "confirm"  # subject: Subscriber.uuid + hash of the address
    UNSUBSCRIBE = "unsubscribe"  # subject: Subscriber.uuid; never expires
    MANAGE = "manage"  # subject: Subscriber.uuid
    ADDRESS = "address"  # subject: Subscriber.uuid + hash of the new address
    MOVED_BACK = "moved_back"  # subject: Subscriber.uuid + hash of the old address
    RETURN = "return"  # subject: Subscriber.uuid; the way back after a goodbye
    READ = "read"  # subject: Digest.uuid; web view and feedback; never expires


class BadToken(Exception):
    """The link was never ours, was altered, or belongs to another purpose."""


class ExpiredToken(BadToken):
    """The link was ours and is too old."""


def make(purpose: Purpose, subject: str, *, today: date) -> str:
    """A token about `subject` (letters and digits only), made on the UTC date `today`."""
    issued = _issued(today)
    return f"{subject}-{issued}-{_mac(purpose, subject, issued, settings.SECRET_KEY)}"


def read(purpose: Purpose, token: str, *, today: date, max_age_days: int | None = None) -> str:
    """The subject of a token made for `purpose`. Raises BadToken or ExpiredToken."""
    try:
        subject, issued, mac = token.split("-", 2)
        age = today - EPOCH - timedelta(days=int(issued, 36))
    except (ValueError, OverflowError):
        raise BadToken("malformed") from None
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if not any(constant_time_compare(mac, _mac(purpose, subject, issued, key)) for key in keys):
        raise BadToken("bad signature")
    if max_age_days is not None and age > timedelta(days=max_age_days):
        raise ExpiredToken("expired")
    return subject


def utc_today() -> date:
    return datetime.now(UTC).date()


def _mac(purpose: Purpose, subject: str, issued: str, key: str) -> str:
    mac = hmac.digest(_derived(purpose, key), f"{subject}-{issued}".encode(), "sha256")
    return base64.urlsafe_b64encode(mac[:16])[:22].decode()  # without its padding


@lru_cache(maxsize=64)
def _derived(purpose: Purpose, key: str) -> bytes:
    """The key of a purpose, as `django.utils.crypto.salted_hmac` derives it."""
    return hashlib.sha256(f"paperround.{purpose}".encode() + force_bytes(key)).digest()


@lru_cache(maxsize=64)
def _issued(today: date) -> str:
    return _base36((today - EPOCH).days)


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    sign, number = ("-", -number) if number < 0 else ("", number)
    out = ""
    while True:
        number, rest = divmod(number, 36)
        out = digits[rest] + out
        if not number:
            return sign + out
