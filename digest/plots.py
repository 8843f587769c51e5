"""Numbers -> the geometry of three small plots, in the units of an SVG's viewBox. No drawing here.

The viewBox is as wide as a telephone, so that its letters keep their size there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 22, 12, 26
BASE = HEIGHT - BOTTOM
MINUTE, HOUR, DAY = 60, 3600, 86_400
# Steps that a person would choose between the lines of a scale of seconds.
SECOND_STEPS = (
    1, 2, 5, 10, 20, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 30 * MINUTE,
    HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY,
)  # fmt: skip
MOST_LINES = 4


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis (its x, or its y) and what stands there."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle. kind: what it counts, by which it is coloured and patterned."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Span:
    """A column from `low` to `high`, both marked."""

    x: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Plot:
    """What a template draws: scales, and whichever of line, bars and spans there are.

    line: the points of a polyline, "x,y x,y"; area: the same, closed along the base.
    """

    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    line: str = ""
    area: str = ""
    end: tuple[float, float] = (0, 0)
    bars: tuple[Bar, ...] = ()
    spans: tuple[Span, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    base: int = BASE


def trend(days: Sequence[tuple[str, int]]) -> Plot:
    """A line over days, each with its label, oldest first.

    Its scale begins at nothing: no change looks bigger than it is.
    """
    lines, top = _lines([number for _, number in days])
    step = (WIDTH - LEFT - RIGHT) / max(len(days) - 1, 1)
    points = [
        (round(LEFT + place * step, 1), _y(number, top)) for place, (_, number) in enumerate(days)
    ]
    line = _points(points)
    closed = [(points[0][0], float(BASE)), *points, (points[-1][0], float(BASE))] if points else []
    return Plot(
        across=tuple(
            Tick(x, label)
            for place, ((label, _), (x, _height)) in enumerate(zip(days, points, strict=True))
            if _is_told(place, len(days), every=7)
        ),
        up=lines,
        line=line,
        area=_points(closed),
        end=points[-1] if points else (LEFT, BASE),
    )


def stacks(slots: Sequence[tuple[str, Mapping[str, int]]], kinds: Sequence[str]) -> Plot:
    """A bar a slot, each with its label, oldest first; its parts stand in the order of `kinds`."""
    lines, top = _lines([sum(parts.values()) for _, parts in slots])
    room = (WIDTH - LEFT - RIGHT) / max(len(slots), 1)
    width = round(min(room * 0.72, 40), 1)
    bars, ticks = [], []
    for place, (label, parts) in enumerate(slots):
        middle = LEFT + (place + 0.5) * room
        below = 0
        for kind in kinds:
            if number := parts.get(kind, 0):
                foot, head = _y(below, top), _y(below + number, top)
                bars.append(
                    Bar(round(middle - width / 2, 1), head, width, round(foot - head, 1), kind)
                )
                below += number
        if _is_told(place, len(slots), every=4):
            ticks.append(Tick(round(middle, 1), label))
    return Plot(across=tuple(ticks), up=lines, bars=tuple(bars))


def delays(hours: Mapping[int, tuple[float, float]]) -> Plot:
    """Hour of the day -> (median, 95 %) in seconds: a column from one to the other."""
    most = max((high for _, high in hours.values()), default=0.0)
    lines, top = _scale(most, _step(most, SECOND_STEPS))
    room = (WIDTH - LEFT - RIGHT) / 24
    return Plot(
        across=tuple(
            Tick(round(LEFT + (hour + 0.5) * room, 1), f"{hour:02}") for hour in range(0, 24, 3)
        ),
        up=tuple(Tick(_y(line, top), duration(line)) for line in lines),
        spans=tuple(
            Span(round(LEFT + (hour + 0.5) * room, 1), _y(median, top), _y(high, top))
            for hour, (median, high) in sorted(hours.items())
        ),
    )


def duration(seconds: float) -> str:
    """In the largest unit of which there is one, by the symbols that every language shares."""
    for unit, symbol in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{_short(seconds / unit)} {symbol}"
    return f"{_short(seconds)} s"


def _short(number: float) -> str:
    """One decimal, and only where it says something."""
    return f"{number:.1f}".removesuffix(".0") if number < 10 else f"{number:.0f}"


def _lines(numbers: Sequence[int]) -> tuple[tuple[Tick, ...], float]:
    """The lines of a scale of whole numbers, and where it ends."""
    most = max(numbers, default=0)
    powers = [10**power for power in range(len(str(most)) + 1)]
    steps = [times * power for power in powers for times in (1, 2, 5)]
    lines, top = _scale(most, _step(most, steps))
    return tuple(Tick(_y(line, top), f"{line:,.0f}") for line in lines), top


def _step(most: float, steps: Sequence[float]) -> float:
    return next((step for step in steps if most / step <= MOST_LINES), steps[-1])


def _scale(most: float, step: float) -> tuple[list[float], float]:
    count = max(math.ceil(most / step), 1)
    return [line * step for line in range(count + 1)], count * step


def _y(number: float, top: float) -> float:
    return round(BASE - number / top * (BASE - TOP), 1)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _is_told(place: int, number: int, *, every: int) -> bool:
    """Counted back from the newest, which is always told."""
    return (number - 1 - place) % every == 0
