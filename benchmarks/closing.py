"""Checks when a day's edition should close, on archived days of Hugging Face Daily Papers.

    python benchmarks/closing.py --data ../shared/data

A rule closes an edition at the first of (a) `quiet from` UTC or later, once nothing was added for
`quiet` hours, and (b) `close` o'clock of the next day. Every rule is tried on the same days: how
much of the day's list is in the edition by then, how many days are whole, what is left for the next
edition, and how long the edition waited after its last paper.

What is measured: the archive read each day once, at about 17:05 UTC until January 2025 and at about
07:45 afterwards; a newsletter took the same days' lists later, and what it has more is what those
readings did not see. Each entry tells when it was submitted (2024: the outer `publishedAt`;
from 2025-03-17: `submittedOnDailyAt`).

What is simulated: nobody read twice a day. A paper is taken to be visible LAG after it was
submitted, for on no day of either year did a reading show a younger one (the archive's own delay
may be the cause instead: --lag 0). Papers that a reading did not see have no time: those of 2025
are given one that papers of 2024 had after that hour, and those missed at 17:05 any moment until
midnight, which is the worst case (--tail decaying: most of them soon). Readings come
every half hour. Needs neither Django nor the network.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

SEED, DRAWS = 20261122, 20
LAG_HOURS = 1.5
FETCH_HOURS = 0.5
ARCHIVE = "daily_papers_2024-05-27_2025-12-18.jsonl.gz"
NEWSLETTER = "newsletter_items_2024-01_2025-12.jsonl.gz"
# 2024: the outer `publishedAt` is the clock of the submission until its meaning began to change.
ERAS = {"2024": ("2024-05-27", "2024-12-01"), "2025": ("2025-03-17", "2025-12-19")}
QUIET_FROM, QUIET, CLOSE = range(12, 23), range(1, 5), range(9)
ASIA = 21.0  # six in the morning in Tokyo

Hours = list[float]  # from the day's midnight UTC; more than 24 on the next day
Tail = Callable[[random.Random, float], float]


@dataclass(frozen=True, slots=True)
class Rule:
    """Hours UTC; `close` is one of the next day."""

    quiet_from: int
    quiet: int
    close: int


DEFAULT = Rule(18, 2, 2)


@dataclass(frozen=True, slots=True)
class Day:
    """known: when each paper that the reading saw was submitted. missed: how many it did not see.
    read: the clock of the reading, at which the archive stored it."""

    day: date
    read: float
    known: tuple[float, ...]
    missed: int

    @property
    def papers(self) -> int:
        return len(self.known) + self.missed


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one rule over all days and draws.

    share: of a day's papers, those in the edition when it closes, the mean over days. worst: the
    same, at the tenth percentile of days. whole: the share of days with all of theirs. left: papers
    a day that come with the next edition. wait: hours between the last paper of the edition and its
    closing. closes: the median hour. by_asia: the share of editions closed by 21:00 UTC.
    """

    rule: Rule
    share: float
    worst: float
    whole: float
    left: float
    wait: float
    closes: float
    by_asia: float


def main() -> None:
    arguments = _arguments()
    days = read_days(arguments.data / "hf_daily")
    tail = TAILS[arguments.tail]
    told: dict[str, Any] = {"measured": [measured(name, days[name]) for name in days]}
    for name in days:
        seen = simulated(days[name], days["2024"], lag=arguments.lag, tail=tail,
                         draws=arguments.draws)  # fmt: skip
        told[name] = {
            "simulated_share": _simulated_share(days[name]),
            "rules": [asdict(judged(rule, seen)) for rule in rules()],
            "outages": list(outages(seen)),
        }
    if arguments.json:
        json.dump(told, sys.stdout, indent=1)
        return
    print("\n".join(_told(told)))


# -- what is measured ----------------------------------------------------------------------


def read_days(folder: Path) -> dict[str, list[Day]]:
    """Of each era, the days whose fuller list is known as well."""
    later = _later_lists(folder / NEWSLETTER)
    days: dict[str, list[Day]] = {name: [] for name in ERAS}
    for text, rows in _archived(folder / ARCHIVE).items():
        ids = {row["entry"]["paper"]["id"] for row in rows}
        full = max(later, key=lambda ids_later: len(ids & ids_later))
        era = next((name for name, (since, until) in ERAS.items() if since <= text < until), None)
        read_at = datetime.fromisoformat(rows[0]["captured_at"])
        day = date.fromisoformat(text)
        if era is None or not ids & full or read_at.date() != day:
            continue  # stored late: it is not known when it was read
        known = sorted(_hours(_submitted(row["entry"]), day) for row in rows)
        days[era].append(Day(day, _hours(read_at, day), tuple(known), len(full - ids)))
    return days


def _archived(file: Path) -> dict[str, list[dict[str, Any]]]:
    days: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _rows(file):
        days[row["date"]].append(row)
    return days


def _later_lists(file: Path) -> list[set[str]]:
    issues: dict[int, set[str]] = defaultdict(set)
    for row in _rows(file):
        issues[row["issue"]].add(row["arxiv_id"])
    return list(issues.values())


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt") as lines:
        for line in lines:
            yield json.loads(line)


def _submitted(entry: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(entry["paper"].get("submittedOnDailyAt") or entry["publishedAt"])


def _hours(at: datetime, day: date) -> float:
    return (at - datetime.combine(day, time(), UTC)) / timedelta(hours=1)


def measured(name: str, days: Sequence[Day]) -> dict[str, Any]:
    """What one reading a day saw of the list that the newsletter took later."""
    shares = sorted(len(day.known) / day.papers for day in days)
    return {
        "era": name,
        "days": len(days),
        "read_at": _median([day.read for day in days]),
        "papers_a_day": fmean(day.papers for day in days),
        "share": fmean(shares),
        "worst": shares[len(shares) // 10],
        "whole": fmean(not day.missed for day in days),
        "youngest": min(day.read - max(day.known) for day in days),
    }


# -- what is simulated ---------------------------------------------------------------------


def _until_midnight(rng: random.Random, since: float) -> float:
    return rng.uniform(since, 24)


def _decaying(rng: random.Random, since: float) -> float:
    return min(since + rng.expovariate(1 / 2), 24)


TAILS: dict[str, Tail] = {"uniform": _until_midnight, "decaying": _decaying}


def simulated(
    days: Sequence[Day], pool: Sequence[Day], *, lag: float, tail: Tail, draws: int
) -> list[Hours]:
    """For each day and draw: the hours at which its papers are first read, in order.

    pool: days of 2024, whose readings at 17:05 tell when papers come after the morning.
    """
    rng = random.Random(SEED)
    submitted = sorted(hour for day in pool for hour in day.known)
    unseen = sum(day.missed for day in pool)
    last_seen = max(submitted)
    found = []
    for day in days:
        since = max(day.known) if day.read > 12 else day.read - LAG_HOURS
        later = submitted[bisect_right(submitted, since) :]
        chance = unseen / (unseen + len(later)) if day.read < 12 else 1.0
        for _draw in range(draws):
            missed = [
                tail(rng, max(since, last_seen if day.read < 12 else since))
                if rng.random() < chance
                else rng.choice(later)
                for _paper in range(day.missed)
            ]
            found.append(sorted(_first_read(hour + lag) for hour in [*day.known, *missed]))
    return found


def _first_read(visible: float) -> float:
    """At the next reading; the evening before belongs to the day's first one."""
    return max(-(-visible // FETCH_HOURS) * FETCH_HOURS, 0.0)


def _simulated_share(days: Sequence[Day]) -> float:
    return sum(day.missed for day in days) / sum(day.papers for day in days)


# -- judged --------------------------------------------------------------------------------


def rules() -> Iterator[Rule]:
    for quiet_from in QUIET_FROM:
        for quiet in QUIET:
            yield replace(DEFAULT, quiet_from=quiet_from, quiet=quiet)
    for close in CLOSE:
        yield replace(DEFAULT, close=close)


def closing(rule: Rule, seen: Hours) -> float:
    """The hour at which the rule closes a day whose papers come at these hours."""
    last = 24.0 + rule.close
    for hour, following in zip(seen, [*seen[1:], float("inf")], strict=True):
        if following == hour:
            continue
        at = max(float(rule.quiet_from), hour + rule.quiet)
        if at < following:  # a paper of that very moment is read before the edition closes
            return min(at, last)
    raise AssertionError("the last paper is followed by quiet")


def judged(rule: Rule, days: Sequence[Hours]) -> Outcome:
    return _outcome(rule, days, [closing(rule, seen) for seen in days])


def _outcome(rule: Rule, days: Sequence[Hours], closings: Sequence[float]) -> Outcome:
    counts = [bisect_right(seen, at) for seen, at in zip(days, closings, strict=True)]
    shares = [count / len(seen) for seen, count in zip(days, counts, strict=True)]
    waits = [
        at - seen[count - 1]
        for seen, at, count in zip(days, closings, counts, strict=True)
        if count
    ]
    return Outcome(
        rule=rule,
        share=fmean(shares),
        worst=sorted(shares)[len(shares) // 10],
        whole=fmean(share == 1 for share in shares),
        left=fmean(len(seen) - count for seen, count in zip(days, counts, strict=True)),
        wait=fmean(waits),
        closes=_median(closings),
        by_asia=fmean(at <= ASIA for at in closings),
    )


def outages(days: Sequence[Hours]) -> Iterator[dict[str, float]]:
    """What rule (b) is for: no reading succeeds from 14:00 on, for so many hours."""
    for length in (4, 8, 12, 16):
        for close in CLOSE:
            rule = replace(DEFAULT, close=close)
            late = [[_after_outage(hour, 14, 14 + length) for hour in seen] for seen in days]
            at = [_closing_in_outage(rule, seen, 14 + length) for seen in late]
            yield {"hours": length, "close": close, "share": _outcome(rule, late, at).share}


def _after_outage(hour: float, since: float, until: float) -> float:
    return max(hour, until) if hour >= since else hour


def _closing_in_outage(rule: Rule, seen: Hours, until: float) -> float:
    """A failed reading keeps the edition open until (b)."""
    return min(max(closing(replace(rule, close=24), seen), until), 24.0 + rule.close)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


# -- told ----------------------------------------------------------------------------------


def _told(told: dict[str, Any]) -> Iterator[str]:
    yield "measured: what one reading a day saw of the list as it was later"
    for row in told["measured"]:
        yield (
            f"  {row['era']}: {row['days']} days, read at {_clock(row['read_at'])}: "
            f"{row['share']:.1%} of {row['papers_a_day']:.1f} papers a day (worst tenth of the "
            f"days {row['worst']:.0%}), {row['whole']:.0%} of the days whole; the youngest paper "
            f"was {row['youngest'] * 60:.0f} minutes old"
        )
    for era in ERAS:
        found = told[era]
        yield ""
        yield f"{era}: simulated are the hours of {found['simulated_share']:.1%} of the papers"
        yield from _table(found["rules"])
        yield "  share in the edition when no reading succeeds from 14:00 on, for so many hours"
        yield from _outage_table(found["outages"])


def _table(outcomes: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "  from quiet close   share  worst  whole   left   wait closes by 21:00"
    shown = Counter[str]()
    for row in outcomes:
        rule = row["rule"]
        line = (
            f"  {rule['quiet_from']:>4} {rule['quiet']:>3} h {rule['close']:>5}"
            f"  {row['share']:6.1%} {row['worst']:6.0%} {row['whole']:6.0%} {row['left']:6.2f}"
            f" {row['wait']:4.1f} h  {_clock(row['closes'])} {row['by_asia']:8.0%}"
        )
        if not shown[line]:
            yield line
        shown[line] += 1


def _outage_table(rows: Sequence[dict[str, float]]) -> Iterator[str]:
    yield "  close " + " ".join(f"{close:>5}" for close in CLOSE)
    for length in dict.fromkeys(row["hours"] for row in rows):
        shares = [row["share"] for row in rows if row["hours"] == length]
        yield f"  {length:>3} h " + " ".join(f"{share:5.0%}" for share in shares)


def _clock(hour: float) -> str:
    return f"{int(hour % 24):02}:{round(hour % 1 * 60) % 60:02}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--lag", type=float, default=LAG_HOURS, help="hours")
    parser.add_argument("--tail", choices=TAILS, default="uniform")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
