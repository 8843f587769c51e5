"""Numbers, days and lists as a person would write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from django.utils.formats import date_format, number_format
from django.utils.translation import gettext


def counted(count: int) -> str:
    return number_format(count, force_grouping=True)


def change(by: int) -> str:
    if not by:
        return gettext("as many as")
    text = gettext("%(n)s more than") if by > 0 else gettext("%(n)s fewer than")
    return text % {"n": counted(abs(by))}


def percent(share: float) -> str:
    return gettext("%(share)s %%") % {"share": f"{share * 100:.2g}"}


def day_name(day: date) -> str:
    return date_format(day, "DAY_FORMAT")


def day_short(day: date) -> str:
    return date_format(day, "BRIEF_FORMAT")


def day_brief(day: date) -> str:
    return date_format(day, "BRIEF_DAY_FORMAT")


def listed(parts: Sequence[str]) -> str:
    """a, b and c."""
    if len(parts) < 2:
        return "".join(parts)
    return gettext("%(first)s and %(last)s") % {"first": ", ".join(parts[:-1]), "last": parts[-1]}
