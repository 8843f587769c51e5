"""Which language something is said in: a reader's own, where the installation offers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.utils import translation

from papers import pseudo


def offered(code: str) -> str:
    """The language itself; where it is not, or no longer, offered, the installation's own."""
    if code in dict(settings.LANGUAGES) or pseudo.is_spoken(code):
        return code
    return str(settings.LANGUAGE_CODE)


def are_several() -> bool:
    """Whether there is anything to choose from."""
    return len(settings.LANGUAGES) > 1


def said_in(
    code: str, view: Callable[..., HttpResponse], *args: Any, **kwargs: Any
) -> HttpResponse:
    """What the view answers in that language, whatever the browser asked for."""
    with translation.override(offered(code)):
        response = view(*args, **kwargs)
        response["Content-Language"] = translation.get_language() or ""
    return response
