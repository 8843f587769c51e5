"""The comparison: ours, a peer, ours, the next peer …, round after round, in one run.

So whatever slows the machine for a while slows both. Each program has its own process and its own
SQLite database, and hands its mails to the same sink.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from tqdm import tqdm

from benchmarks import delivery, sink
from benchmarks.admin import PROJECT, own_database, say

PEERS = (
    "django-post-office",
    "django-post-office, one template",
    "django-newsletter",
    "plain Django",
    "send_mass_mail",
)
OURS = "Paperround"
SETTINGS = ("mails", "rounds", "papers", "rtt_ms", "seed")
VENV = PROJECT / ".venv" / "peers"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


@dataclass
class Contender:
    name: str
    process: subprocess.Popen[str]
    log: Path
    mails: int = 0
    bytes: int = 0
    # A list for each: microseconds a mail, of every turn.
    sending: dict[str, list[float]] = field(default_factory=lambda: {"wall": [], "cpu": []})
    assembling: dict[str, list[float]] = field(default_factory=lambda: {"wall": [], "cpu": []})

    def hear(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended:\n{self.log.read_text()[-4000:]}")
        return line

    def take_turn(self, server: sink.Sink) -> None:
        """Refuses what did not arrive: a program that drops mails would be fast."""
        assert self.process.stdin is not None
        before = server.count()
        self.process.stdin.write("turn\n")
        self.process.stdin.flush()
        took = json.loads(self.hear())
        after = server.count()
        arrived = after["messages"] - before["messages"]
        if arrived != took["mails"]:
            raise SystemExit(f"{self.name}: {took['mails']} mails sent, {arrived} arrived")
        self.mails += arrived
        self.bytes += after["bytes"] - before["bytes"]
        for clock in ("wall", "cpu"):
            self.sending[clock].append(1e6 * took["sending"][clock] / arrived)
            if "assembling" in took:
                self.assembling[clock].append(1e6 * took["assembling"][clock] / arrived)


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    peers = [name for name in PEERS if name in (arguments.only or PEERS)]
    if not peers:
        sys.exit(f"--only: one or more of {', '.join(PEERS)}")
    python = arguments.peers_python or own_python()
    turns = arguments.rounds * len(peers) + 1  # one to warm up
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="delivery-")))
        server = stack.enter_context(sink.running(rtt_ms=arguments.rtt_ms))
        url = stack.enter_context(own_database(None, str(folder)))
        delivery.configure(url, folder=folder, mail_port=server.port)
        readers = turns * arguments.mails
        delivery.prepare(argparse.Namespace(**{**vars(arguments), "readers": readers}))
        nobody_is_due()
        picked = folder / "picks.jsonl"
        say("choosing what all of them send …")
        ours = stack.enter_context(
            contender(OURS, "benchmarks.peers.ours", [str(arguments.mails), str(picked)], folder)
        )
        others = []
        for name in peers:
            own = folder / name.replace(", ", "-").replace(" ", "-")
            own.mkdir()
            environment = {"PEER_FOLDER": str(own), "PEER_MAIL_PORT": str(server.port)}
            others.append(
                stack.enter_context(
                    contender(
                        name,
                        "benchmarks.peers.turns",
                        [name, str(picked)],
                        own,
                        python=python,
                        environment=environment,
                    )
                )
            )
        for other in tqdm(others * arguments.rounds, unit="turn", file=sys.stderr, leave=False):
            ours.take_turn(server)
            other.take_turn(server)
        found = [summary(each, ours) for each in (ours, *others)]
        shown = items_a_mail(picked)
        delivery.close_database()
    return {
        "machine": delivery.machine(),
        **{name: getattr(arguments, name) for name in SETTINGS},
        "items_a_mail": shown,
        "contenders": found,
    }


def items_a_mail(picked: Path) -> dict[str, float]:
    mails = [json.loads(line) for line in picked.read_text().splitlines()]
    return {part: round(mean(len(mail[part]) for mail in mails), 1) for part in ("full", "brief")}


def nobody_is_due() -> None:
    from datetime import timedelta

    from django.utils import timezone

    from subscribers.models import Subscriber

    Subscriber.objects.update(next_due_at=timezone.now() + timedelta(days=1))


@contextmanager
def contender(
    name: str, module: str, words: Sequence[str], folder: Path, **how: Any
) -> Iterator[Contender]:
    log = folder / "contender.log"
    process = delivery.start(module, words, log=log, **how)
    try:
        made = Contender(name, process, log)
        made.hear()
        yield made
    finally:
        delivery.end(process)


def own_python() -> str:
    """The peers' own environment, made on the first run; they are no dependencies of ours."""
    python = VENV / "bin" / "python"
    stamp = VENV / "installed.txt"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        say(f"installing the peers into {VENV.relative_to(PROJECT)} …")
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = f"{python} -m pip install -q --disable-pip-version-check --require-hashes -r".split()
        subprocess.run([*pip, str(REQUIREMENTS)], check=True)
        stamp.write_text(REQUIREMENTS.read_text())
    return str(python)


# -- what came of it -----------------------------------------------------------------------


def summary(each: Contender, ours: Contender) -> dict[str, Any]:
    """Microseconds a mail. times_ours: how much longer it takes than our sending (render, hand
    over, record); times_ours_all: than that with choosing the papers, which the others are given.
    """
    found: dict[str, Any] = {
        "name": each.name,
        "mails": each.mails,
        "bytes_per_mail": round(each.bytes / each.mails),
    }
    for clock in ("wall", "cpu"):
        own = each.sending[clock]
        found[f"{clock}_us"] = round(median(own), 1)
        found[f"{clock}_us_spread"] = [round(min(own), 1), round(max(own), 1)]
        if each is ours:
            found[f"assembling_{clock}_us"] = round(median(ours.assembling[clock]), 1)
        else:
            sending, assembling = median(ours.sending[clock]), median(ours.assembling[clock])
            found[f"{clock}_times_ours"] = round(median(own) / sending, 1)
            found[f"{clock}_times_ours_all"] = round(median(own) / (sending + assembling), 1)
    return found


def table(found: dict[str, Any]) -> str:
    machine = "{cores} cores, {processor}, Python {python}".format(**found["machine"])
    setting = (
        "{mails} mails a turn, {rounds} rounds, {items_a_mail[full]} papers in full and "
        "{items_a_mail[brief]} titles a mail, {rtt_ms} ms to the mail server, SQLite, seed {seed}"
    )
    columns = (
        "wall_us", "cpu_us", "wall_times_ours", "cpu_times_ours",
        "wall_times_ours_all", "cpu_times_ours_all", "bytes_per_mail",
    )  # fmt: skip
    lines = [machine, setting.format(**found), ""]
    lines.append("  ".join([f"{'':32}", *(f"{name:>19}" for name in columns)]))
    for each in found["contenders"]:
        cells = (f"{each.get(name, '-'):>19}" for name in columns)
        lines.append("  ".join([f"{each['name']:32}", *cells]))
    ours = found["contenders"][0]
    return "\n".join([
        *lines,
        "",
        "Choosing the papers took us {assembling_wall_us} us more by the clock, "
        "{assembling_cpu_us} of CPU.".format(**ours),
    ])  # fmt: skip
