"""What may be asked of `fetch_papers` at once, and how weeks, months and ranges are written."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from itertools import combinations
from typing import Any

from django.core.management.base import CommandError

_TOGETHER = {
    "date": ("from_file", "current", "replay"),
    "since": ("until", "from_file", "current", "backfill", "harvest", "set", "replay"),
    "until": ("since", "from_file", "current", "backfill", "harvest", "set", "replay"),
    "week": (),
    "month": (),
    "trending": (),
    "from_file": ("date", "since", "until", "current"),
    "current": ("date", "since", "until", "from_file"),
    "backfill": ("since", "until"),
    "harvest": ("since", "until", "set"),
    "set": ("since", "until", "harvest"),
    "replay": ("date", "since", "until"),
}
_NEEDS = {
    "until": ("since", "from_file", "replay"),
    "backfill": ("since",),
    "harvest": ("set", "since"),
    "set": ("harvest",),
}
_ALL = ("harvest",)  # needs all of these, the others one of theirs


def check(options: Mapping[str, Any]) -> None:
    """Raises CommandError for options that contradict each other, or lack another one."""
    given = [name for name in _TOGETHER if options[name]]
    for one, other in combinations(given, 2):
        if other not in _TOGETHER[one]:
            raise CommandError(f"{_flag(one)} and {_flag(other)} cannot go together.")
    for name in given:
        missing = [each for each in _NEEDS.get(name, ()) if each not in given]
        if missing and (name in _ALL or len(missing) == len(_NEEDS[name])):
            raise CommandError(f"{_flag(name)} needs {_flags(missing, name)}.")


def week(text: str) -> date:
    """The type of an argument that is a week: its Monday (ISO 8601)."""
    try:
        year, number = re.fullmatch(r"(\d{4})-W(\d\d)", text.upper()).groups()  # type: ignore[union-attr]
        return date.fromisocalendar(int(year), int(number), 1)
    except (AttributeError, ValueError):
        raise ArgumentTypeError(f"{text!r} is no week such as 2026-W53") from None


def month(text: str) -> date:
    """The type of an argument that is a month: its first day."""
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no month such as 2025-12") from None


def part(text: str) -> str:
    """The type of an argument that is an archive, a category or an OAI set."""
    if len(text) > 40 or not re.fullmatch(r"[a-z-]+(?:\.[A-Za-z-]+|(?::[A-Za-z-]+){0,2})", text):
        raise ArgumentTypeError(f"{text!r} is no archive, category or set such as cs or stat.ML")
    return text


def days(first: date, last: date, *, latest: date, why: str) -> list[date]:
    """Every day of a range. Raises CommandError for one that is upside down or beyond `latest`."""
    if last < first:
        raise CommandError(f"The range ends before it begins: {first} to {last}.")
    if last > latest:
        raise CommandError(f"{last} is {why}.")
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def _flags(names: Iterable[str], of: str) -> str:
    return (" and " if of in _ALL else " or ").join(map(_flag, names))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
