"""arXiv's clock: when it announces what came in, and whose day that is.

From Sunday to Thursday at 20:00 Eastern, which is 00:00 or 01:00 of the next day in UTC: of Monday
to Friday. Holidays are not known here; what they hold up is announced a day later
(https://info.arxiv.org/help/availability.html).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

EASTERN = ZoneInfo("America/New_York")
DEADLINE = time(14)  # Eastern: what comes later waits for the next announcement

# Weekday of the announcement, UTC -> how many days ago its two deadlines were.
_DEADLINES = {0: (4, 3), 1: (4, 1), 2: (2, 1), 3: (2, 1), 4: (2, 1)}


def announces_on(day: date) -> bool:
    """Whether that UTC day has a list, unless it is a holiday in New York."""
    return day.weekday() in _DEADLINES


def submitted_for(day: date) -> tuple[datetime, datetime]:
    """From when until before when (UTC) papers came in that are announced on that UTC day.

    Raises ValueError on a Saturday or Sunday.
    """
    if not announces_on(day):
        raise ValueError(f"arXiv announces nothing on a {day:%A} (UTC): {day} has no list")
    since, until = (
        datetime.combine(day - timedelta(days=days), DEADLINE, EASTERN).astimezone(UTC)
        for days in _DEADLINES[day.weekday()]
    )
    return since, until


def eastern_day(at: datetime | None) -> date | None:
    """The date on arXiv's clock. An announcement bears the next day's, which it is in UTC."""
    return at.astimezone(EASTERN).date() if at is not None else None
