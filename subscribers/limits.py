"""How often: what anybody may post is counted, by where it comes from and in all.

The counts stand in the cache, which all processes share where there is Redis. They hold back
floods and guessing, and are no more exact than that needs.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import uuid4

import structlog
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

log = structlog.get_logger(__name__)

HOUR = 60 * 60
REQUESTS_PER_VISITOR = 20  # an hour
REQUESTS_IN_ALL = 1000  # an hour
LOGINS_PER_VISITOR = 20  # an hour
LOGINS_IN_ALL = 500  # an hour
IMPORTS_PER_READER = 30  # an hour
PREVIEWS_PER_READER = 600  # an hour: each is a ranking; a page asks at most twice a second
LOOK_UPS_PER_READER = 10  # an hour, of ORCID records
LOOK_UPS_IN_ALL = 300  # an hour
REFUSALS_TOLD = 20  # an hour: whoever is refused a login must not fill the log instead


def may_post(request: HttpRequest) -> bool:
    """Counts a post to one of the forms that are open to everybody."""
    return _is_within_limits(request, "", per_visitor=REQUESTS_PER_VISITOR, in_all=REQUESTS_IN_ALL)


def may_import(reader: str) -> bool:
    """Counts a file or a pasted text of this reader: reading one may take seconds."""
    return is_within(f"import:{reader}", limit=IMPORTS_PER_READER, seconds=HOUR)


def may_preview(reader: str) -> bool:
    """Counts a digest that is made for this reader to look at while a form is filled in."""
    return is_within(f"preview:{reader}", limit=PREVIEWS_PER_READER, seconds=HOUR)


def may_look_up(reader: str) -> bool:
    """Counts a question to ORCID that this reader causes."""
    return is_within(f"orcid:{reader}", limit=LOOK_UPS_PER_READER, seconds=HOUR) and is_within(
        "orcid:all", limit=LOOK_UPS_IN_ALL, seconds=HOUR
    )


class AdminLogins:
    """Middleware: so many tries to log in, good ones too; a password is not guessed in that."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        match = request.resolver_match
        is_login = request.method == "POST" and match and match.view_name == "admin:login"
        if not is_login or _may_log_in(request):
            return None
        _tell(_network(visitor(request)))
        return render(request, "subscribers/refused.html", {"is_login": True}, status=429)


def is_within(key: str, *, limit: int, seconds: int) -> bool:
    """Counts one more under `key`, from zero again `seconds` after the first.

    Each such window has a name of its own. Redis can lose a count's end when it expires in the
    middle of an increment; such a count then stays for ever, but under a name nobody asks for.
    """
    key = f"subscribers.window:{key}"
    counted = f"{key}:{cache.get_or_set(key, lambda: uuid4().hex, timeout=seconds)}"
    if cache.add(counted, 1, timeout=2 * seconds):
        return limit >= 1
    try:
        return bool(cache.incr(counted) <= limit)
    except ValueError:  # it was dropped between the two calls
        return True


def visitor(request: HttpRequest) -> Any:
    """The address it came from, as an ip_address."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.TRUST_PROXY:
        # The last entry is the one our own proxy wrote; those before it are hearsay.
        address = request.headers.get("X-Forwarded-For", address).rpartition(",")[2].strip()
    try:
        return ip_address(address)
    except ValueError:
        return ip_address("0.0.0.0")  # noqa: S104 - not bound to: visitors without an address


def _tell(network: Any) -> None:
    is_news = is_within(f"login:told:{network}", limit=1, seconds=HOUR)
    if is_news and is_within("login:told", limit=REFUSALS_TOLD, seconds=HOUR):
        log.warning("too many logins", visitor=network)


def _may_log_in(request: HttpRequest) -> bool:
    return _is_within_limits(
        request, "login:", per_visitor=LOGINS_PER_VISITOR, in_all=LOGINS_IN_ALL
    )


def _is_within_limits(request: HttpRequest, what: str, *, per_visitor: int, in_all: int) -> bool:
    address = visitor(request)
    # From loopback comes the operator; or a proxy in front of us, which is everybody.
    is_known = not address.is_loopback
    if is_known and not is_within(
        f"{what}from:{_network(address)}", limit=per_visitor, seconds=HOUR
    ):
        return False
    return is_within(f"{what}all", limit=in_all, seconds=HOUR)


def _network(address: Any) -> Any:
    """Whoever holds an IPv6 address holds the whole /64."""
    return ip_network((address, 32 if address.version == 4 else 64), strict=False)
