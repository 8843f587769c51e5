"""Measures how well mixed libraries are parted into subjects, and what that is worth in a digest.

    python benchmarks/grouping.py --data ../shared/data

The libraries of several readers are thrown together, as if one person had imported all of them.
purity: papers in a group whose most frequent reader is theirs. nmi: normalised mutual information
of groups and readers (by their mean). ndcg: a pool of 1,000 papers holds ten more of each reader;
it is ranked by one topic of all papers (blur), by the groups as topics, and by a topic for each
reader, which nobody knows. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.libraries import Collection, Ints, load
from benchmarks.product import Ours
from benchmarks.ranking import SEED
from digest import profile
from digest.grouping import group
from papers.vectors import unit

SETS = ("citeulike-a", "hf-authors")
HELD_OUT, CUT = 10, 10
POOL = 1000


def main() -> None:
    found = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    found.add_argument("--data", type=Path, default=default, metavar="FOLDER")
    found.add_argument("--set", choices=SETS, default="citeulike-a")
    found.add_argument("--readers", type=int, default=5, help="whose libraries are mixed")
    found.add_argument("--papers", type=int, default=100, help="of each")
    found.add_argument("--mixes", type=int, default=20)
    found.add_argument("--seed", type=int, default=SEED)
    arguments = found.parse_args()
    print(json.dumps(measure(arguments), indent=1))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    collection = load(arguments.set, arguments.data, users=None, seed=arguments.seed)
    assert collection.papers.meanings is not None
    meanings = unit(collection.papers.meanings.astype(np.float32))
    ours = Ours(collection)
    rows = [
        _measured(ours, meanings, readers, held, np.random.default_rng(number))
        for number, (readers, held) in enumerate(_mixes(collection, arguments))
    ]
    return {
        name: {
            "mean": round(float(np.mean([row[name] for row in rows])), 3),
            "error": round(float(np.std([row[name] for row in rows]) / len(rows) ** 0.5), 3),
        }
        for name in rows[0]
    }


def _mixes(
    collection: Collection, arguments: argparse.Namespace
) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
    """The readers' known papers, and those held out."""
    rng = np.random.default_rng(arguments.seed)
    size = arguments.papers + HELD_OUT
    large = [each.items for each in collection.libraries if len(each.items) >= size]
    for _ in range(arguments.mixes):
        drawn = rng.choice(len(large), arguments.readers, replace=False)
        kept = [rng.permutation(large[each])[:size].tolist() for each in drawn]
        yield [each[HELD_OUT:] for each in kept], [each[:HELD_OUT] for each in kept]


def _measured(
    ours: Ours,
    meanings: Any,
    readers: list[list[int]],
    held: list[list[int]],
    rng: np.random.Generator,
) -> dict[str, float]:
    owner = {row: number for number, rows in enumerate(readers) for row in rows}
    known = list(owner)
    titles = ours.collection.papers.titles
    texts = [titles[row] for row in known]
    rows = ours.encoder.rows([ours.codes[row] for row in known])
    truth = np.array([owner[row] for row in known])
    wanted = np.array(sorted({row for each in held for row in each}.difference(known)))
    others = np.setdiff1d(np.arange(len(ours.codes)), np.union1d(known, wanted))
    pool = np.concatenate([wanted, rng.choice(others, POOL - len(wanted), replace=False)])
    background = rng.choice(np.setdiff1d(others, pool), 500, replace=False)

    def ndcg(topics: list[list[int]]) -> float:
        facts = [
            profile.TopicFacts(f"topic {number}", seeds=tuple(rows))
            for number, rows in enumerate(topics)
        ]
        scores = ours.scores(tuple(facts), pool, background)
        order = np.lexsort((rng.random(len(pool)), -scores))[:CUT]
        discounts = 1 / np.log2(np.arange(2, CUT + 2))
        return float(((order < len(wanted)) * discounts).sum() / discounts.sum())

    said: dict[str, float] = {"ndcg of one blur": ndcg([known])}
    for name, dense in (("words", None), ("words and meanings", meanings[known])):
        groups = group(texts, rows, dense)
        labels = np.zeros(len(known), np.int64)
        for number, each in enumerate(groups):
            labels[list(each.members)] = number
        kept = [[known[row] for row in each.members] for each in groups if not each.is_rest]
        said |= {
            f"groups by {name}": len(kept),
            f"purity by {name}": _purity(labels, truth),
            f"nmi by {name}": _nmi(labels, truth),
            f"ndcg of groups by {name}": ndcg(kept),
        }
    return said | {"ndcg of a topic for each reader": ndcg(readers)}


def _purity(labels: Ints, truth: Ints) -> float:
    most = sum(int(np.bincount(truth[labels == each]).max()) for each in np.unique(labels))
    return most / len(labels)


def _nmi(labels: Ints, truth: Ints) -> float:
    table = np.zeros((labels.max() + 1, truth.max() + 1))
    np.add.at(table, (labels, truth), 1)
    joint = table / table.sum()
    across, down = joint.sum(axis=1), joint.sum(axis=0)
    filled = joint > 0
    shared = (joint[filled] * np.log(joint[filled] / np.outer(across, down)[filled])).sum()
    entropies = [-(each[each > 0] * np.log(each[each > 0])).sum() for each in (across, down)]
    return float(2 * shared / max(sum(entropies), 1e-12))


if __name__ == "__main__":
    main()
