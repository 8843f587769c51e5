"""When a reader's next mail is due: their cadence, days, hour and time zone, DST included.

Pure: `next_due` decides, the tick acts. Due moments are UTC; a slot is the reader's local date.
"""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo

_EVERY_DAY = frozenset(range(7))
_MONDAY_TO_FRIDAY = frozenset(range(5))
_ONE_DAY = timedelta(days=1)


class Cadence(StrEnum):
    DAILY = "daily"
    WEEKDAYS = "weekdays"
    CHOSEN = "chosen"
    WEEKLY = "weekly"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The mornings and the hour a reader chose. ValueError names the field to fix.

    `days` counts Monday=0 .. Sunday=6; CHOSEN reads one or more, WEEKLY exactly one, DAILY and
    WEEKDAYS none. `hour` is local, 0..23. `time_zone` is an IANA name.
    """

    cadence: Cadence
    days: frozenset[int]
    hour: int
    time_zone: str

    def __post_init__(self) -> None:
        if self.hour not in range(24):
            raise ValueError(f"hour must be a whole number from 0 to 23, not {self.hour!r}")
        if not self.weekdays():
            raise ValueError(f"days must name at least one weekday when cadence is {self.cadence}")
        if not self.weekdays() <= _EVERY_DAY:
            raise ValueError(f"days must be from 0 (Monday) to 6 (Sunday), not {set(self.days)}")
        if self.cadence == Cadence.WEEKLY and len(self.days) != 1:
            raise ValueError(f"days must name exactly one weekday when cadence is {self.cadence}")
        _zone(self.time_zone)

    def weekdays(self) -> frozenset[int]:
        """The weekdays that bring mail, Monday=0 .. Sunday=6."""
        match self.cadence:
            case Cadence.DAILY:
                return _EVERY_DAY
            case Cadence.WEEKDAYS:
                return _MONDAY_TO_FRIDAY
            case Cadence.CHOSEN | Cadence.WEEKLY:
                return self.days


def next_due(preferences: Preferences, *, after: datetime, last_slot: date | None) -> datetime:
    """The first chosen moment (UTC) strictly after `after` on a local date later than `last_slot`.

    Every chosen local date has one moment, on that date: an hour skipped by a clock change moves
    to the next valid instant (or an earlier one, if the date has none left), a repeated hour
    counts the first time. A date the zone left out (Apia, 2011-12-30) has none. ValueError if
    `after` is naive.
    """
    _require_aware(after, name="after")
    zone = _zone(preferences.time_zone)
    weekdays = preferences.weekdays()
    day = after.astimezone(zone).date()
    if last_slot is not None and last_slot >= day:
        day = last_slot + _ONE_DAY
    while True:  # at most 15 days: today's hour may be past, and next week's date left out
        if day.weekday() in weekdays:
            due = _moment_on(day, preferences.hour, zone)
            if due is not None and due > after:
                return due
        day += _ONE_DAY


def slot_date(due: datetime, time_zone: str) -> date:
    """The local date of a due moment. ValueError if `due` is naive or the zone unknown."""
    _require_aware(due, name="due")
    return due.astimezone(_zone(time_zone)).date()


def pause_end(until: date, time_zone: str) -> datetime:
    """The first instant (UTC) of the local date `until`, or of the next date if it has none.

    A mail may be due at this very instant (hour 0), which `next_due(after=...)` would pass over:
    give it a moment before.
    """
    return _first_instant(datetime.combine(until, time.min, _zone(time_zone)))


def _require_aware(moment: datetime, *, name: str) -> None:
    if moment.utcoffset() is None:
        raise ValueError(f"{name} must be an aware datetime, not the naive {moment.isoformat()}")


@cache  # ZoneInfo itself keeps only the eight zones used last; a batch of readers spans more
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:  # OSError: a folder such as "America"
        raise ValueError(
            f"time_zone must be an IANA name such as Europe/Berlin, not {name!r}"
        ) from error


def _moment_on(day: date, hour: int, zone: ZoneInfo) -> datetime | None:
    wall = datetime.combine(day, time(hour), zone)
    due = _first_instant(wall)
    if due.astimezone(zone).date() == day:
        return due
    # The gap reaches midnight (Nuuk, hour 23, each March): later would be another slot's date, so
    # the mail comes earlier, by the gap's length, which is what fold=1 means in a gap (PEP 495).
    due = wall.replace(fold=1).astimezone(UTC)
    return due if due.astimezone(zone).date() == day else None


def _first_instant(wall: datetime) -> datetime:
    """The first instant (UTC) at which the clocks of `wall`'s zone show `wall` or later."""
    instant = wall.astimezone(UTC)
    # Datetimes of one zone compare by what the clock shows; an hour in a gap comes back changed.
    if instant.astimezone(wall.tzinfo) == wall:
        return instant
    return _end_of_gap(wall)


def _end_of_gap(wall: datetime) -> datetime:
    # PEP 495: read in a gap, fold=1 is an instant before the clock change and fold=0 one after.
    before, beyond = wall.replace(fold=1).astimezone(UTC), wall.astimezone(UTC)
    gap_seconds = int((beyond - before).total_seconds())

    def shown(seconds: int) -> datetime:
        return (before + timedelta(seconds=seconds)).astimezone(wall.tzinfo)

    return before + timedelta(seconds=bisect_left(range(gap_seconds), wall, key=shown))
