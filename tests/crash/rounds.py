"""One round: everybody falls due, things are killed, and then the account is drawn up."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from . import verdict
from .ledger import Observer
from .scenarios import Scenario
from .stage import Prepared, Stage, staged, wait_until

# Of all digests: before which there is nothing to interrupt, and after which too little is left.
FIRST_MOMENT, LAST_MOMENT = 0.03, 0.75
# A moment that does not come: nothing flows any more.
PATIENCE_SECONDS = 90


@dataclass(frozen=True)
class Wanted:
    """How every round is to be: the same seed chooses the same victims at the same moments."""

    digests: int
    seed: int
    seconds_a_mail: float
    window: int
    times: int | None = None


@dataclass(frozen=True)
class Outcome:
    database: str
    scenario: str
    kills: int
    counts: verdict.Counts
    looked: int
    seconds: float
    breaches: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return fields | fields.pop("counts")


def play(
    scenario: Scenario,
    database: Prepared,
    folder: Path,
    *,
    kind: str,
    wanted: Wanted,
    say: Callable[[str], None],
) -> Outcome:
    began = time.monotonic()
    random = Random(f"{wanted.seed}/{kind}/{scenario.name}")
    with staged(
        database,
        folder,
        name=scenario.slug,
        random=random,
        say=say,
        seconds_a_mail=wanted.seconds_a_mail,
        window=wanted.window,
        greylists_one_in=scenario.greylists_one_in,
        jumping=scenario.jumping,
        settings=scenario.settings,
    ) as stage:
        with Observer(stage.ledger) as observer:
            _run(scenario, stage, wanted)
            wait_until(lambda: _is_over(stage), within_seconds=PATIENCE_SECONDS, every_seconds=0.2)
        return _outcome(
            scenario, stage, observer, kind=kind, wanted=wanted, seconds=time.monotonic() - began
        )


def _is_over(stage: Stage) -> bool:
    stage.revive()
    return not stage.ledger.unfinished()


def _run(scenario: Scenario, stage: Stage, wanted: Wanted) -> None:
    times = scenario.times if wanted.times is None else min(wanted.times, scenario.times)
    moments = _moments(times, wanted.digests, stage.random)
    blows = [scenario.blows[each % len(scenario.blows)] for each in range(times)]
    if scenario.shuffled:
        stage.random.shuffle(blows)
    if scenario.first is not None:
        scenario.first(stage)
    with ExitStack() as stack:
        if scenario.readers is not None:
            seconds = wanted.digests * wanted.seconds_a_mail
            stack.enter_context(scenario.readers.acting(stage, seconds=seconds))
        stage.ledger.everybody_falls_due()
        for moment, blow in zip(moments, blows, strict=True):
            if not _comes(moment, scenario, stage):
                return
            blow(stage)


def _comes(moment: int, scenario: Scenario, stage: Stage) -> bool:
    return wait_until(
        lambda: _progress(scenario, stage) >= moment,
        within_seconds=PATIENCE_SECONDS,
        every_seconds=0.01,
    )


def _moments(times: int, digests: int, random: Random) -> list[int]:
    """After how many digests each blow comes."""
    return sorted(
        random.randint(int(FIRST_MOMENT * digests), int(LAST_MOMENT * digests))
        for _ in range(times)
    )


def _progress(scenario: Scenario, stage: Stage) -> int:
    if scenario.watches == "assembled":
        return sum(stage.ledger.states().values())
    return stage.log.count("accepted")


def _outcome(
    scenario: Scenario,
    stage: Stage,
    observer: Observer,
    *,
    kind: str,
    wanted: Wanted,
    seconds: float,
) -> Outcome:
    if stage.cluster is not None:
        assert stage.cluster.is_alive(), stage.cluster.output
    rows, accepted = stage.ledger.digests(), stage.log.accepted()
    forgotten = stage.ledger.forgotten()
    expected = verdict.Expected(
        doubts=stage.doubts,
        skips=scenario.skips,
        gone=stage.gone,
        window_seconds=2 * wanted.window * wanted.seconds_a_mail + 1,
    )
    breaches = verdict.breaches(
        rows,
        accepted,
        forgotten=forgotten,
        unbalanced=stage.ledger.unbalanced(),
        unfinished=stage.ledger.unfinished(),
        expected=expected,
    )
    counts = verdict.counts(rows, accepted, forgotten)
    breaches += observer.breaches + _books(stage)
    return Outcome(kind, scenario.name, stage.kills, counts, observer.looked, seconds, breaches)


def _books(stage: Stage) -> list[str]:
    """What the project itself says of its account."""
    try:
        stage.python("from tests.digest.books import assert_books_balance as a; a()")
    except AssertionError as error:
        return [f"the books: {str(error).strip().splitlines()[-1]}"]
    return []
