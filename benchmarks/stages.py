"""Where the processor time of a morning goes: timers around the product's own functions.

A stage's time is its own: what a stage within it takes is that one's. The functions are named
here, found when the timers are attached, and replaced wherever the product has imported them; a
name that is gone is an error, for a stage that is not measured would look free.
"""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

# Of each stage every name is a place; of the alternatives within one (by `|`) those that exist.
STAGES: dict[str, Sequence[str]] = {
    "assemble": ["digest.assembly:assemble_due"],
    "rank": ["digest.ranking:rank", "digest.compose:compose | digest.assembly:_choice"],
    "claim and mark": ["digest.sending:send_due"],
    "render": [
        "digest.rendering:contents",
        "digest.pieces:message | digest.pieces:messages | digest.rendering:message",
        "digest.pieces:fingerprint | digest.rendering:fingerprint",
        "subscribers.transports.window:composed",
    ],
    "send": ["subscribers.transports.smtp:SmtpTransport.send"],
    "record": ["digest.sending:_record"],
}
OURS = ("digest", "subscribers", "papers")


class NameGone(LookupError):
    """A stage's function is not where STAGES says: name its new place there."""


@dataclass(slots=True)
class Stages:
    """Seconds of this process's CPU per stage since the last `take`."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    _running: list[float] = field(default_factory=list)  # what stages within have taken

    def attach(self) -> None:
        for stage, places in STAGES.items():
            for place in places:
                self._attach(stage, place)

    def take(self) -> dict[str, float]:
        taken, self.seconds = self.seconds, dict.fromkeys(STAGES, 0.0)
        return taken

    def _attach(self, stage: str, place: str) -> None:
        for owner, name, function in functions_at(place, stage=stage):
            _replace(owner, name, function, self.timed(stage, function))

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        running = self._running

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            running.append(0.0)
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.process_time() - began
                self.seconds[stage] += took - running.pop()
                if running:
                    running[-1] += took

        return timed


def functions_at(place: str, *, stage: str) -> list[tuple[Any, str, Callable[..., Any]]]:
    """Of each alternative that exists: what has it, its name there, the function."""
    found = [known for name in place.split("|") if (known := _found(name.strip()))]
    if not found:
        raise NameGone(f"benchmarks/stages.py: {stage}: there is no {place} any more")
    return found


def _found(place: str) -> tuple[Any, str, Callable[..., Any]] | None:
    """The module or class that has it, its name there, and the function."""
    module, _, path = place.partition(":")
    try:
        owner: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each, None)
    function = getattr(owner, name, None)
    return None if function is None else (owner, name, function)


def _replace(owner: Any, name: str, function: Any, timed: Any) -> None:
    setattr(owner, name, timed)
    if isinstance(owner, ModuleType):
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").partition(".")[0] in OURS:
                for known, value in list(vars(module).items()):
                    if value is function:
                        setattr(module, known, timed)
