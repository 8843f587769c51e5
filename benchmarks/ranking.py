"""Measures the ranking against the methods in use today, on what real readers kept.

    python -m benchmarks.ranking --data ../shared/data --set all
    python -m benchmarks.ranking --set hf-authors --methods rocchio svm ours --json
    python -m benchmarks.ranking --throughput

A reader is known by k papers they kept; a pool of 1,000 papers they had not seen holds 3 to 10
that they kept too. Every method ranks the same pools in one run, ours through the product's own
code. With --line the reader is also known by one line, the title of one kept paper, as a topic
that somebody typed. `reviewer-gold` are researchers' own grades (a loss: lower is better), and
`trending` is what will be popular. --throughput tells how many readers a second the product ranks.
docs/ranking.md explains the protocol and shows a run. Needs no network.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import process_time
from typing import Any

from tqdm import tqdm

from benchmarks import expertise, libraries
from benchmarks.libraries import Case, Collection, case_of
from benchmarks.measures import Tally, judged, summary
from benchmarks.methods import BY_LINE, METHODS, Lab, Method, why_not

SEED = 20261122
READERS = 1000
TRENDING = "trending"
SETS = (*libraries.SETS, expertise.NAME, TRENDING)
FOLDERS = {
    "hf-authors": "recsys-hf-daily",
    "hf-submitters": "recsys-hf-daily",
    TRENDING: "hf_daily",
}
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def main() -> None:
    arguments = parser().parse_args()
    try:
        found = readers_a_second(arguments) if arguments.throughput else measured(arguments)
    except KeyboardInterrupt:
        sys.exit("stopped")
    print(json.dumps(found, indent=1) if arguments.json else table(found))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help="the data sets")
    found.add_argument("--set", choices=[*SETS, "all"], default="all")
    found.add_argument("--users", type=Path, metavar="FILE", help="other readers of the set")
    found.add_argument(
        "--readers",
        type=positive,
        metavar="N",
        help=f"the first N (default: {READERS}); with --throughput so many (10,000 and 100,000)",
    )
    found.add_argument(
        "--k", type=positive, nargs="+", default=[5, 10], help="papers a reader is known by"
    )
    found.add_argument("--line", action="store_true", help="known by one line, too")
    found.add_argument("--methods", choices=list(METHODS), nargs="+", default=list(METHODS))
    found.add_argument("--seed", type=int, default=SEED)
    found.add_argument("--json", action="store_true")
    found.add_argument("--throughput", action="store_true", help="readers a second, and no set")
    found.add_argument(
        "--papers", type=positive, nargs="+", metavar="N", help="of the day, with --throughput"
    )
    return found


def positive(said: str) -> int:
    if (number := int(said)) < 1:
        raise argparse.ArgumentTypeError(f"{said} is not 1 or more")
    return number


def readers_a_second(arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks import throughput

    papers = arguments.papers or throughput.PAPERS
    readers = [arguments.readers] if arguments.readers else throughput.READERS
    rows = throughput.measure(seed=arguments.seed, papers=papers, readers=readers)
    return {"seed": arguments.seed, "throughput": rows}


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    names = SETS if arguments.set == "all" else (arguments.set,)
    if arguments.users and (arguments.set == "all" or arguments.set == TRENDING):
        sys.exit("--users: say of which --set they are the readers")
    if not arguments.data.is_dir():
        sys.exit(f"--data: there is no folder {arguments.data}")
    for folder in sorted({FOLDERS.get(name, name) for name in names}):
        if not (arguments.data / folder).is_dir():
            sys.exit(f"--data: {arguments.data} has no folder {folder}")
    return {"seed": arguments.seed, "sets": {name: measure(name, arguments) for name in names}}


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    if name == TRENDING:
        from benchmarks import trending

        found: dict[str, Any] = trending.measure(arguments.data)
        return found
    if name == expertise.NAME:
        return measure_grades(arguments)
    return measure_libraries(name, arguments)


def measure_libraries(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    collection = libraries.load(name, arguments.data, users=arguments.users, seed=arguments.seed)
    readers = collection.libraries[: arguments.readers or READERS]
    if not readers:
        sys.exit(f"{name}: no reader has {libraries.MIN_LIBRARY[name]} papers")
    methods, left_out = prepared(arguments.methods, collection)
    found: dict[str, Any] = {"readers": len(readers), "left out": left_out}
    for k in arguments.k:
        cases = (case_of(collection, each, k=k) for each in readers)
        found[f"k={k}"] = run(cases, methods, len(readers), label=f"{name} k={k}")
    if arguments.line and collection.papers.titles:
        by_line = {name: method for name, method in methods.items() if name in BY_LINE}
        cases = (case_of(collection, each, k=1, is_line=True) for each in readers)
        found["line"] = run(cases, by_line, len(readers), label=f"{name} one line")
    return found


def measure_grades(arguments: argparse.Namespace) -> dict[str, Any]:
    collection, everyone = expertise.load(
        arguments.data, users=arguments.users, seed=arguments.seed
    )
    researchers = everyone[: arguments.readers or READERS]
    methods, left_out = prepared(arguments.methods, collection)
    found = expertise.measure(collection, researchers, methods)
    return {"readers": len(researchers), "left out": left_out, "20 papers": found}


def prepared(
    names: Iterable[str], collection: Collection
) -> tuple[dict[str, Method], dict[str, str]]:
    """The methods, ready to be asked, and why some are not among them."""
    reasons = {name: why_not(name, collection) for name in names}
    lab = Lab(collection)
    methods = {name: METHODS[name](lab) for name, reason in reasons.items() if not reason}
    return methods, {name: reason for name, reason in reasons.items() if reason}


def run(
    cases: Iterable[Case], methods: Mapping[str, Method], total: int, *, label: str
) -> dict[str, Any]:
    """Every method ranks the pool of every case."""
    tallies = {name: Tally() for name in methods}
    for case in tqdm(cases, desc=label, total=total, unit="reader", file=sys.stderr, leave=False):
        for name, method in methods.items():
            shared = getattr(method, "shared_seconds", 0.0)
            started = process_time()
            scores = method(case)
            tallies[name].seconds += process_time() - started
            tallies[name].shared_seconds += getattr(method, "shared_seconds", 0.0) - shared
            tallies[name].rows.append(judged(scores, case.is_kept, case.ties))
    return summary(tallies)


# -- for people ----------------------------------------------------------------------------


def table(found: Mapping[str, Any]) -> str:
    """Sets, then tasks, then a line for each method; what is no table is said as JSON."""
    if "throughput" in found:
        return "\n".join(of_crowd(row) for row in found["throughput"])
    return "\n".join(line for name, one in found["sets"].items() for line in of_set(name, one))


def of_set(name: str, found: Mapping[str, Any]) -> list[str]:
    if "readers" not in found:
        return [name, json.dumps(found, indent=1)]
    said = [f"{name}, {found['readers']} readers"]
    said += [f"  without {method}: {why}" for method, why in found["left out"].items()]
    for task, methods in found.items():
        if isinstance(methods, dict) and task != "left out":
            said += [f"  {task}", *(of_method(each, row) for each, row in methods.items())]
    return said


def of_crowd(row: Mapping[str, Any]) -> str:
    steps = ", ".join(f"{step} {took}" for step, took in row["us_per_reader"].items())
    return (
        f"{row['papers']:6} papers, {row['readers']:7} readers ({row['crowd']}): "
        f"{row['readers_per_second']} a second; µs: {steps}; {row['rss_mb']} MB"
    )


def of_method(name: str, row: Mapping[str, Any]) -> str:
    cells = [
        f"{figure} {value['mean']:.4f} ±{value['se']:.4f}"
        if isinstance(value, dict)
        else f"{figure} {value:.2f}"
        for figure, value in row.items()
    ]
    return f"    {name:14}{'  '.join(cells)}"


if __name__ == "__main__":
    main()
