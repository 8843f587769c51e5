"""The finished mails, by address: what our own program chose, to be sent by the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django import template

register = template.Library()
_mails: dict[str, dict[str, Any]] = {}


def load(file: Path) -> dict[str, dict[str, Any]]:
    """Address -> subject, day, full and brief items with their reasons and links, footer."""
    with file.open() as lines:
        _mails.update((mail["email"], mail) for mail in map(json.loads, lines))
    return _mails


@register.simple_tag
def mail_of(subscription: Any) -> dict[str, Any]:
    """All that django-newsletter tells a template of a reader is their subscription."""
    return _mails[subscription.email]
