"""Response headers that Django has no setting for."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

# Nothing here asks for a visitor's camera or place, and nothing that slips in may.
PERMISSIONS = ", ".join(
    f"{name}=()"
    for name in (
        "accelerometer", "autoplay", "camera", "display-capture", "fullscreen", "geolocation",
        "gyroscope", "magnetometer", "microphone", "midi", "payment", "usb",
        "publickey-credentials-get", "screen-wake-lock", "browsing-topics",
    )
)  # fmt: skip


def no_language_cookie(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: a page's language is what the browser asks for (Accept-Language, which `Vary`
    names), never what a cookie says: a shared cache would hand such a page to everybody."""

    def middleware(request: HttpRequest) -> HttpResponse:
        request.COOKIES.pop(settings.LANGUAGE_COOKIE_NAME, None)
        return get_response(request)

    return middleware


def own_headers(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.setdefault("Permissions-Policy", PERMISSIONS)
        # No page of another site may take ours, or our files, into its own process.
        response.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response

    return middleware
