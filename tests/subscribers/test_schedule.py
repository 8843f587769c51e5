"""The oracle here knows no rule about clock changes: it reads a wall clock, step by step of UTC."""

import random
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from subscribers.schedule import Cadence, Preferences, next_due, pause_end, slot_date

ONE_DAY = timedelta(days=1)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ZONES = sorted(available_timezones())
NASTY_ZONES = {  # and an hour that a clock change touches there
    "Africa/Cairo": 0,
    "Africa/Casablanca": 2,
    "America/Havana": 0,
    "America/New_York": 2,
    "America/Nuuk": 23,
    "America/Santiago": 0,
    "Antarctica/Troll": 1,
    "Asia/Beirut": 0,
    "Asia/Gaza": 2,
    "Asia/Kathmandu": 7,  # no change at all, but three quarters of an hour
    "Australia/Lord_Howe": 2,
    "Europe/Berlin": 2,
    "Pacific/Chatham": 3,
}
Readings = list[tuple[datetime, datetime]]  # instants (UTC), and what the clock shows then
Slots = list[tuple[datetime, date]]  # due moments (UTC), and their slots
NO_DAYS: frozenset[int] = frozenset()
MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY = range(7)


def daily(hour: int, time_zone: str) -> Preferences:
    return Preferences(Cadence.DAILY, NO_DAYS, hour, time_zone)


def chosen(*days: int, hour: int = 7, time_zone: str = "Europe/Berlin") -> Preferences:
    return Preferences(Cadence.CHOSEN, frozenset(days), hour, time_zone)


def weekly(day: int, hour: int = 7, time_zone: str = "Europe/Berlin") -> Preferences:
    return Preferences(Cadence.WEEKLY, frozenset({day}), hour, time_zone)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def walk(preferences: Preferences, after: datetime) -> Iterator[tuple[datetime, date]]:
    """What the tick does for one reader, for ever: each due moment and its slot."""
    last_slot = None
    while True:
        after = next_due(preferences, after=after, last_slot=last_slot)
        last_slot = slot_date(after, preferences.time_zone)
        yield after, last_slot


def slots(preferences: Preferences, *, after: datetime, count: int) -> list[str]:
    """The next `count` moments, as the reader's clock shows them."""
    zone = ZoneInfo(preferences.time_zone)
    dues = islice(walk(preferences, after), count)
    return [due.astimezone(zone).strftime("%Y-%m-%d %H:%M") for due, _ in dues]


# Cadences


def test_daily_is_due_every_morning_at_the_local_hour() -> None:
    assert slots(daily(7, "Asia/Kathmandu"), after=utc("2026-11-20"), count=3) == [
        "2026-11-20 07:00",
        "2026-11-21 07:00",
        "2026-11-22 07:00",
    ]


def test_weekdays_leave_the_weekend_out() -> None:
    reader = Preferences(Cadence.WEEKDAYS, NO_DAYS, 7, "Europe/Berlin")
    assert slots(reader, after=utc("2026-11-19T12:00"), count=3) == [
        "2026-11-20 07:00",
        "2026-11-23 07:00",
        "2026-11-24 07:00",
    ]


def test_chosen_days_are_the_only_days() -> None:
    assert slots(chosen(TUESDAY, SATURDAY), after=utc("2026-11-22"), count=3) == [
        "2026-11-24 07:00",
        "2026-11-28 07:00",
        "2026-12-01 07:00",
    ]


def test_weekly_comes_every_seventh_day_at_the_same_local_hour_over_a_clock_change() -> None:
    assert slots(weekly(SUNDAY), after=utc("2026-10-18T05:00"), count=2) == [
        "2026-10-25 07:00",
        "2026-11-01 07:00",
    ]


def test_the_weekday_is_the_readers_and_not_that_of_utc() -> None:
    reader = weekly(MONDAY, hour=6, time_zone="Pacific/Auckland")
    due = next_due(reader, after=utc("2026-11-20"), last_slot=None)
    assert due == utc("2026-11-22T17:00")
    assert due.strftime("%A") == "Sunday"
    assert slot_date(due, "Pacific/Auckland") == date(2026, 11, 23)


def test_daily_and_weekdays_ignore_the_days_a_reader_once_chose() -> None:
    days = frozenset({SUNDAY})
    assert Preferences(Cadence.DAILY, days, 7, "UTC").weekdays() == set(range(7))
    assert Preferences(Cadence.WEEKDAYS, days, 7, "UTC").weekdays() == set(range(5))
    assert Preferences(Cadence.CHOSEN, days, 7, "UTC").weekdays() == days
    assert Preferences(Cadence.WEEKLY, days, 7, "UTC").weekdays() == days


# After, and the last slot


def test_the_due_moment_is_strictly_after() -> None:
    reader = daily(7, "UTC")
    seven = utc("2026-11-22T07:00")
    just_before = seven - timedelta(microseconds=1)
    assert next_due(reader, after=just_before, last_slot=None) == seven
    assert next_due(reader, after=seven, last_slot=None) == seven + ONE_DAY


def test_the_due_moment_is_utc_whatever_zone_after_is_in() -> None:
    after = datetime(2026, 11, 22, 12, tzinfo=ZoneInfo("Asia/Tokyo"))
    due = next_due(daily(7, "Europe/Berlin"), after=after, last_slot=None)
    assert due.tzinfo is UTC
    assert due == utc("2026-11-22T06:00")


def test_a_later_hour_on_the_same_date_does_not_bring_a_second_mail() -> None:
    due = next_due(daily(21, "UTC"), after=utc("2026-11-22T07:01"), last_slot=date(2026, 11, 22))
    assert due == utc("2026-11-23T21:00")


def test_moving_west_over_the_date_line_does_not_repeat_the_date() -> None:
    mailed = utc("2026-11-21T18:00")
    last_slot = slot_date(mailed, "Pacific/Auckland")
    assert last_slot == date(2026, 11, 22)
    due = next_due(daily(7, "Pacific/Honolulu"), after=mailed, last_slot=last_slot)
    assert slot_date(due, "Pacific/Honolulu") == date(2026, 11, 23)


def test_a_last_slot_far_ahead_is_respected() -> None:
    due = next_due(weekly(SUNDAY), after=utc("2026-11-22"), last_slot=date(2027, 3, 1))
    assert slot_date(due, "Europe/Berlin") == date(2027, 3, 7)


@pytest.mark.parametrize("seed", range(40))
def test_changing_hour_zone_and_days_never_repeats_a_slot(seed: int) -> None:
    rng = random.Random(seed)
    now, mailed = utc("2026-01-01"), [date(2025, 12, 31)]
    for _ in range(100):
        reader = random_preferences(rng)
        for _ in range(rng.randrange(3)):
            now = next_due(reader, after=now, last_slot=mailed[-1])
            mailed.append(slot_date(now, reader.time_zone))
            assert mailed[-1].weekday() in reader.weekdays(), reader
        now += timedelta(minutes=rng.randrange(3000))
    assert all(earlier < later for earlier, later in pairwise(mailed))


def random_preferences(rng: random.Random) -> Preferences:
    cadence = rng.choice(list(Cadence))
    days = rng.sample(range(7), k=1 if cadence == Cadence.WEEKLY else rng.randint(1, 7))
    return Preferences(cadence, frozenset(days), rng.randrange(24), rng.choice(ZONES))


# Clock changes, one by one


@pytest.mark.parametrize(
    ("zone", "hour", "day", "due"),
    [
        ("Europe/Berlin", 2, date(2026, 3, 29), "2026-03-29T01:00"),
        ("America/New_York", 2, date(2026, 3, 8), "2026-03-08T07:00"),
        ("Australia/Lord_Howe", 2, date(2026, 10, 4), "2026-10-03T15:30"),
        ("Antarctica/Troll", 1, date(2026, 3, 29), "2026-03-29T01:00"),
        ("Antarctica/Troll", 2, date(2026, 3, 29), "2026-03-29T01:00"),
        ("America/Santiago", 0, date(2026, 9, 6), "2026-09-06T04:00"),
        ("Africa/Cairo", 0, date(2026, 4, 24), "2026-04-23T22:00"),
        ("Asia/Beirut", 0, date(2026, 3, 29), "2026-03-28T22:00"),
        ("America/Havana", 0, date(2026, 3, 8), "2026-03-08T05:00"),
    ],
)
def test_a_skipped_hour_moves_to_the_end_of_the_gap(
    zone: str, hour: int, day: date, due: str
) -> None:
    found = next_due(daily(hour, zone), after=utc(due) - 3 * HOUR, last_slot=day - ONE_DAY)
    assert found == utc(due)
    assert slot_date(found, zone) == day


@pytest.mark.parametrize(
    ("zone", "hour", "day", "due"),
    [
        ("Europe/Berlin", 2, date(2026, 10, 25), "2026-10-25T00:00"),
        ("America/New_York", 1, date(2026, 11, 1), "2026-11-01T05:00"),
        ("America/Havana", 0, date(2026, 11, 1), "2026-11-01T04:00"),
        ("America/Santiago", 23, date(2026, 4, 4), "2026-04-05T02:00"),
        ("America/St_Johns", 0, date(2010, 11, 7), "2010-11-07T02:30"),  # back to the day before
    ],
)
def test_a_repeated_hour_counts_once_and_the_first_time(
    zone: str, hour: int, day: date, due: str
) -> None:
    assert next_due(daily(hour, zone), after=utc(due) - HOUR, last_slot=None) == utc(due)
    following = next_due(daily(hour, zone), after=utc(due), last_slot=None)
    assert slot_date(following, zone) == day + ONE_DAY


def test_a_skipped_hour_before_midnight_comes_earlier_to_keep_its_date() -> None:
    assert slots(daily(23, "America/Nuuk"), after=utc("2026-03-28"), count=4)[1:] == [
        "2026-03-28 22:00",
        "2026-03-29 23:00",
        "2026-03-30 23:00",
    ]
    saturday = weekly(SATURDAY, hour=23, time_zone="America/Nuuk")
    assert slots(saturday, after=utc("2026-03-28T12:00"), count=1) == ["2026-03-28 22:00"]


@pytest.mark.parametrize("hour", range(24))
@pytest.mark.parametrize(
    ("zone", "missing"),
    [("Pacific/Apia", date(2011, 12, 30)), ("Pacific/Kwajalein", date(1993, 8, 21))],
)
def test_a_date_the_zone_left_out_is_no_slot(zone: str, missing: date, hour: int) -> None:
    after = datetime.combine(missing - 2 * ONE_DAY, datetime.max.time(), ZoneInfo(zone))
    assert slots(daily(hour, zone), after=after, count=3) == [
        f"{missing + days * ONE_DAY} {hour:02}:00" for days in (-1, 1, 2)
    ]


def test_a_weekly_reader_whose_day_was_left_out_waits_for_the_next_week() -> None:
    reader = weekly(FRIDAY, time_zone="Pacific/Apia")
    after = datetime(2011, 12, 23, 7, tzinfo=ZoneInfo("Pacific/Apia"))
    assert slots(reader, after=after, count=1) == ["2012-01-06 07:00"]


# The end of a pause


@pytest.mark.parametrize(
    ("zone", "until", "resumes"),
    [
        ("Europe/Berlin", date(2026, 12, 1), "2026-11-30T23:00"),
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00"),  # 00:00 skipped
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00"),  # 00:00 comes twice
        ("Pacific/Apia", date(2011, 12, 30), "2011-12-30T10:00"),  # no such date: the 31st
        ("Pacific/Apia", date(2011, 12, 31), "2011-12-30T10:00"),
    ],
)
def test_a_pause_ends_with_the_first_instant_of_its_date(
    zone: str, until: date, resumes: str
) -> None:
    end = pause_end(until, zone)
    assert end == utc(resumes)
    assert end.tzinfo is UTC
    assert slot_date(end, zone) >= until > slot_date(end - timedelta(seconds=1), zone)


def test_mail_resumes_on_the_very_day_a_pause_ends() -> None:
    just_before = pause_end(date(2026, 12, 1), "Europe/Berlin") - timedelta(microseconds=1)
    for hour in range(24):
        due = next_due(daily(hour, "Europe/Berlin"), after=just_before, last_slot=None)
        assert slot_date(due, "Europe/Berlin") == date(2026, 12, 1)


# Errors


@pytest.mark.parametrize("hour", [-1, 24, 7.5])
def test_an_hour_out_of_range_is_refused(hour: int) -> None:
    with pytest.raises(ValueError, match=r"hour must be .* 0 to 23, not"):
        daily(hour, "UTC")


@pytest.mark.parametrize(
    "name", ["", "Mars/Phobos", "America", "../UTC", "/etc/passwd", "zone\0", "\ud800"]
)
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time_zone must be an IANA name"):
        daily(7, name)
    with pytest.raises(ValueError, match="time_zone must be an IANA name"):
        slot_date(utc("2026-11-22"), name)
    with pytest.raises(ValueError, match="time_zone must be an IANA name"):
        pause_end(date(2026, 11, 22), name)


def test_no_day_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="days must name at least one weekday"):
        chosen()
    with pytest.raises(ValueError, match="days must name at least one weekday"):
        Preferences(Cadence.WEEKLY, NO_DAYS, 7, "UTC")


def test_weekly_on_two_days_is_refused() -> None:
    with pytest.raises(ValueError, match="days must name exactly one weekday"):
        Preferences(Cadence.WEEKLY, frozenset({MONDAY, FRIDAY}), 7, "UTC")


def test_a_day_that_is_no_weekday_is_refused() -> None:
    with pytest.raises(ValueError, match=r"days must be from 0 \(Monday\) to 6 \(Sunday\)"):
        chosen(MONDAY, 7)


def test_naive_datetimes_are_refused() -> None:
    naive = datetime(2026, 11, 22)
    with pytest.raises(ValueError, match="after must be an aware datetime"):
        next_due(daily(7, "UTC"), after=naive, last_slot=None)
    with pytest.raises(ValueError, match="due must be an aware datetime"):
        slot_date(naive, "UTC")


# Every zone, and the nasty ones day by day, against the wall clock


def test_every_zone_fires_each_date_once_around_each_of_its_clock_changes() -> None:
    hours = (0, 1, 2, 3, 4, 5, 23)
    known: dict[tuple[object, ...], list[Slots]] = {}  # many zones share their changes
    changes = 0
    for name in ZONES:
        for change in clock_changes(ZoneInfo(name)):
            if change not in known:
                readings = read_three_days(name, change[0])
                known[change] = [slots_by_the_clock(readings, hour) for hour in hours]
            for hour, expected in zip(hours, known[change], strict=True):
                check_slots(daily(hour, name), expected)
            changes += 1
    assert changes > 3000


def test_every_zone_fires_each_date_once_on_any_day() -> None:
    rng = random.Random(7)
    for name in ZONES:
        noon = datetime(2020, 1, 1, 12, tzinfo=UTC) + rng.randrange(18 * 365) * ONE_DAY
        hour = rng.randrange(24)
        check_slots(daily(hour, name), slots_by_the_clock(read_three_days(name, noon), hour))


def test_nasty_zones_keep_a_weekly_slot_on_the_day_of_a_clock_change() -> None:
    for name in NASTY_ZONES:
        for change, _, _ in clock_changes(ZoneInfo(name)):
            for hour in (0, 2, 23):
                _, (due, day), _ = slots_by_the_clock(read_three_days(name, change), hour)
                reader = weekly(day.weekday(), hour, name)
                week_before = due - 7 * ONE_DAY + 3 * HOUR
                assert next_due(reader, after=week_before, last_slot=None) == due, reader


@pytest.mark.parametrize(("zone", "hour"), NASTY_ZONES.items())
def test_a_nasty_zone_fires_each_date_once_day_by_day(zone: str, hour: int) -> None:
    whole_hours = zone not in ("Australia/Lord_Howe", "Pacific/Chatham")
    step = HOUR if whole_hours else 15 * MINUTE
    readings = read_clock(zone, date(2020, 1, 1), date(2027, 12, 31), step=step)
    expected = slots_by_the_clock(readings, hour)
    assert len(expected) == 8 * 365 + 2
    check_slots(daily(hour, zone), expected)


@pytest.mark.parametrize("hour", [0, 7, 23])
def test_samoa_fires_each_date_of_2011_once_but_the_one_it_left_out(hour: int) -> None:
    readings = read_clock("Pacific/Apia", date(2011, 1, 1), date(2012, 1, 31), step=HOUR)
    expected = slots_by_the_clock(readings, hour)
    assert len(expected) == 365 - 1 + 31
    check_slots(daily(hour, "Pacific/Apia"), expected)


def check_slots(reader: Preferences, expected: Slots) -> None:
    first_due, _ = expected[0]
    found = list(islice(walk(reader, first_due - MINUTE), len(expected)))
    assert found == expected, reader


def slots_by_the_clock(readings: Readings, hour: int) -> Slots:
    """Each date's first reading of `hour` or later; where there is none, its last full hour."""
    dues: dict[date, datetime] = {}
    full_hours: dict[date, datetime] = {}
    for instant, wall in readings:
        if wall.hour >= hour:
            dues.setdefault(wall.date(), instant)
        elif wall.minute == 0:
            full_hours[wall.date()] = instant
    return [(due, day) for day, due in sorted((full_hours | dues).items())]


def read_three_days(name: str, moment: datetime) -> Readings:
    """The date before a moment's, its own and the next, each half-hour and at the moment itself."""
    wall = moment.astimezone(ZoneInfo(name))
    day = wall.date()
    half_hours = read_clock(name, day - ONE_DAY, day + ONE_DAY, step=30 * MINUTE)
    return sorted([*half_hours, (moment, wall)])


def read_clock(name: str, first: date, last: date, *, step: timedelta) -> Readings:
    """What the clock shows, step by step, while it shows these dates."""
    zone = ZoneInfo(name)
    start = datetime(first.year, first.month, first.day, tzinfo=UTC) - 14 * HOUR
    start -= offset(zone, start) % step  # so that the readings meet the full hours
    steps = (last - first + 2 * ONE_DAY + 2 * HOUR) // step
    instants = (start + step * number for number in range(steps))
    readings = ((instant, instant.astimezone(zone)) for instant in instants)
    return [(instant, wall) for instant, wall in readings if first <= wall.date() <= last]


def clock_changes(zone: ZoneInfo) -> Iterator[tuple[datetime, timedelta, timedelta]]:
    """The first minute (UTC) of each new offset, the old offset and the new one.

    Looks once a fortnight: the shortest time between two changes is four weeks (Fiji, Morocco).
    """
    first = datetime(2020, 1, 1, tzinfo=UTC)
    probes = (first + days * ONE_DAY for days in range(0, 18 * 366, 14))
    for (probe, old), (_, new) in pairwise((probe, offset(zone, probe)) for probe in probes):
        if old != new:
            yield probe + minutes_unchanged(zone, probe) * MINUTE, old, new


def minutes_unchanged(zone: ZoneInfo, probe: datetime) -> int:
    old = offset(zone, probe)
    return bisect_left(
        range(14 * 24 * 60), True, key=lambda minutes: offset(zone, probe + minutes * MINUTE) != old
    )


def offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    difference = instant.astimezone(zone).utcoffset()
    assert difference is not None
    return difference
