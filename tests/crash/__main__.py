"""The crash matrix: `python -m tests.crash`. Kills every part in mid-send and checks the account.

Exit code 1 where a promise was broken; what the processes said is kept then.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import SystemRandom

import tests.environment  # noqa: F401  nothing of yours leaks into the installations

from .rounds import Outcome, Wanted, play
from .scenarios import SCENARIOS, Scenario
from .stage import prepared, stopping

KINDS = ("sqlite", "postgresql")
COLUMNS = (
    "database", "scenario", "kills", "digests", "sent", "skipped", "uncertain",
    "windows in doubt", "lost", "duplicates", "seconds",
)  # fmt: skip
LINE = "{:<10} {:<17} {:>5} {:>7} {:>7} {:>7} {:>9} {:>16} {:>5} {:>10} {:>7}"


def main() -> int:
    asked = _asked()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    wanted = Wanted(asked.digests, asked.seed, asked.milliseconds / 1000, asked.window, asked.kills)
    folder = Path(tempfile.mkdtemp(prefix="paperround-crash-"))
    folder.chmod(0o711)
    _say(f"seed {asked.seed}, {asked.digests} digests a round, in {folder}")
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(len(asked.database)) as pool:
        runs = [
            pool.submit(_matrix, kind, asked, wanted, folder, outcomes) for kind in asked.database
        ]
        errors = [error for run in runs if (error := run.exception())]
    return _report(outcomes, errors, asked=asked, folder=folder)


def _matrix(
    kind: str, asked: Namespace, wanted: Wanted, folder: Path, outcomes: list[Outcome]
) -> None:
    """One database after the other would leave the machine idle while leases run out."""
    with prepared(folder / kind, kind, digests=wanted.digests) as database:
        for scenario in _chosen(kind, asked):
            if not scenario.is_possible:
                _say(f"{kind} {scenario.name}: not played, libfaketime is not installed")
                continue
            outcome = play(
                scenario,
                database,
                folder / kind / scenario.slug,
                kind=kind,
                wanted=wanted,
                say=_telling(kind, scenario),
            )
            outcomes.append(outcome)
            _say(_line(outcome))
            for breach in outcome.breaches:
                _say(f"  BROKEN {breach}")


def _telling(kind: str, scenario: Scenario) -> Callable[[str], None]:
    began = time.monotonic()
    begins = f"{kind:<10} {scenario.name:<17}"
    return lambda text: _say(f"{begins} {time.monotonic() - began:5.1f} s  {text}")


def _chosen(kind: str, asked: Namespace) -> list[Scenario]:
    return [
        scenario
        for scenario in SCENARIOS
        if kind in scenario.databases and (not asked.scenario or scenario.name in asked.scenario)
    ]


def _report(
    outcomes: list[Outcome], errors: list[BaseException], *, asked: Namespace, folder: Path
) -> int:
    _say(LINE.format(*COLUMNS))
    for outcome in outcomes:
        _say(_line(outcome))
    broken = [outcome for outcome in outcomes if outcome.breaches]
    kills = sum(outcome.kills for outcome in outcomes)
    if asked.json:
        print(
            json.dumps(
                {
                    "seed": asked.seed,
                    "kills": kills,
                    "rounds": [each.to_json() for each in outcomes],
                }
            )
        )
    if stopping.is_set():
        shutil.rmtree(folder, ignore_errors=True)
        return 130
    for error in errors:
        _say(f"not finished: {error}")
    for outcome in broken:
        _say(f"BROKEN, seed {asked.seed}, {outcome.database}, {outcome.scenario}:")
        for breach in outcome.breaches:
            _say(f"  {breach}")
    _say(f"{kills} kills, {len(outcomes)} rounds, {len(broken)} broken")
    if broken or errors:
        _say(f"what the processes said: {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _line(outcome: Outcome) -> str:
    row = {column.replace(" ", "_"): "" for column in COLUMNS} | outcome.to_json()
    row["seconds"] = f"{outcome.seconds:.0f}"
    return LINE.format(*(row[column.replace(" ", "_")] for column in COLUMNS))


_printing = threading.Lock()


def _say(line: str) -> None:
    with _printing:
        print(line, file=sys.stderr, flush=True)


def _asked() -> Namespace:
    parser = ArgumentParser(prog="python -m tests.crash", description=__doc__)
    names = sorted({scenario.name for scenario in SCENARIOS})
    parser.add_argument("--database", action="append", choices=KINDS, help="default: both")
    parser.add_argument("--scenario", action="append", choices=names, help="default: all")
    parser.add_argument("--digests", type=int, default=10_000, help="of every round")
    parser.add_argument("--kills", type=int, help="at most so many in each round")
    parser.add_argument("--window", type=int, default=32, help="SEND_WINDOW")
    parser.add_argument("--milliseconds", type=float, default=2, help="a mail takes in the sink")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--json", action="store_true", help="the table on the standard output")
    asked = parser.parse_args()
    asked.database = asked.database or list(KINDS)
    return asked


if __name__ == "__main__":
    sys.exit(main())
