"""The admin's home: did today go out, what wants a decision, what comes next.

Numbers only: a page that every colleague opens first names no reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .decisions import Decision, May, decisions, hold_url
from .facts import facts_at, live
from .figures import Figure, figures
from .today import coming, today
from .words import counted


@dataclass(frozen=True, slots=True)
class Morning:
    as_of: datetime
    said: Sequence[str]
    decisions: Sequence[Decision]
    hold_url: str
    coming: Sequence[str]
    hours: Sequence[tuple[datetime, str]]
    figures: Sequence[Figure]


def page(now: datetime, may: May) -> Morning:
    """`may`: whether the user has a permission, by its full name."""
    facts, at_once = facts_at(now), live()
    return Morning(
        as_of=facts.as_of,
        said=today(facts, at_once),
        decisions=list(decisions(facts, at_once, may)),
        hold_url=hold_url(at_once, may),
        coming=list(coming(facts)),
        hours=[(hour, counted(number)) for hour, number in facts.due],
        figures=figures(facts),
    )
