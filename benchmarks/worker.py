"""One process of the delivery benchmark: it does what production's workers do, until it is done.

Started by benchmarks/delivery.py, which speaks to it: `ready` is said when everything is imported,
then it waits for a line, works, and says what it took as JSON. It ends when its stdin is closed.
"""

from __future__ import annotations

import argparse
import cProfile
import inspect
import json
import os
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

IDLE_SECONDS = 0.2
GIVE_UP_SECONDS = 60.0  # without anything to do, while something is still open
MEMORY = {"peak_rss_mb": "VmHWM", "rss_mb": "VmRSS"}
VISIT_SECONDS = 0.05
ASSEMBLE_SECONDS = 50.0  # at a time, as the tasks of a tick


def main() -> None:
    arguments = parser().parse_args()
    import django

    django.setup()
    from benchmarks.stages import Stages
    from config.celery import keep_what_stands

    stages = Stages()
    stages.attach()
    keep_what_stands()  # as every child of production's workers
    print("ready", flush=True)
    sys.stdin.readline()
    threading.Thread(target=end_with_stdin, daemon=True).start()
    profile = cProfile.Profile() if arguments.profile else None
    visitor = Visitor() if arguments.visitor else None
    began = time.process_time()
    with profile if profile is not None else nothing():
        done = work()
    took, ended_at = time.process_time() - began, time.monotonic()
    if profile is not None:
        profile.dump_stats(arguments.profile)
    said = {"ended_at": ended_at, "cpu_seconds": took, "stages": stages.take(), **memory(), **done}
    if visitor is not None:
        said["visits"] = visitor.left()
    print(json.dumps(said), flush=True)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("--profile", type=Path, metavar="FILE")
    found.add_argument("--visitor", action="store_true", help="somebody signs up all the while")
    return found


class Visitor:
    """Signs up as the form does, twenty times a second, in a thread of the process that sends: so
    `manage.py up` serves its pages.
    """

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self.errors: list[str] = []
        self._is_gone = threading.Event()
        self._thread = threading.Thread(target=self._visit, daemon=True)
        self._thread.start()

    def left(self) -> dict[str, Any]:
        """How many writes there were, and how long the middle one, 99 % and the longest took."""
        self._is_gone.set()
        self._thread.join()
        took = sorted(self.milliseconds) or [0.0]
        return {
            "writes": len(self.milliseconds),
            "median_ms": round(took[len(took) // 2], 1),
            "p99_ms": round(took[min(len(took) * 99 // 100, len(took) - 1)], 1),
            "longest_ms": round(took[-1], 1),
            "errors": self.errors,
        }

    def _visit(self) -> None:
        from django.db import DatabaseError
        from django.utils import timezone

        from subscribers import signup

        while not self._is_gone.wait(VISIT_SECONDS):
            address = f"visitor{len(self.milliseconds)}@example.org"
            began = time.monotonic()
            try:
                signup.subscribe(
                    address, time_zone="UTC", language="en", now=timezone.now(), via="page"
                )
            except DatabaseError as error:
                self.errors.append(str(error))
            self.milliseconds.append(1000 * (time.monotonic() - began))


def nothing() -> AbstractContextManager[None]:
    return nullcontext()


def end_with_stdin() -> None:
    """Whoever started us is gone, or wants us gone."""
    sys.stdin.read()
    os._exit(1)


def work() -> dict[str, Any]:
    """Assembles and sends by turns until no reader is due and no digest open."""
    from django.utils import timezone

    from digest import tasks

    assembled, idle_since = 0, None
    sent: dict[str, int] = {}
    while True:
        moved = assemble(timezone.now())
        ended = tasks.send_all(timezone.now())
        assembled += moved
        for state, count in ended.items():
            sent[state] = sent.get(state, 0) + count
        if moved or ended:
            idle_since = None
            continue
        idle_since = idle_since or time.monotonic()
        if is_over(timezone.now()) or time.monotonic() - idle_since > GIVE_UP_SECONDS:
            return {"assembled": assembled, "ended": sent}
        time.sleep(IDLE_SECONDS)  # another process has the rest in hand


def assemble(now: Any) -> int:
    from digest import assembly

    began = time.monotonic()

    def should_stop() -> bool:
        return time.monotonic() - began > ASSEMBLE_SECONDS

    how: dict[str, Any] = {"should_stop": should_stop}
    if "should_stop" not in inspect.signature(assembly.assemble_due).parameters:
        how = {}
    return assembly.assemble_due(now, **how)


def is_over(now: Any) -> bool:
    from digest.models import Digest
    from subscribers.models import Subscriber

    return not (Digest.objects.open().exists() or Subscriber.objects.due(now).exists())


def memory() -> dict[str, float]:
    """MB, as proc(5) has them in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return {name: int(sizes[known_as]) / 1024 for name, known_as in MEMORY.items()}


if __name__ == "__main__":
    main()
