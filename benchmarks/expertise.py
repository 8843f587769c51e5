"""Researchers' own grades: who knows twenty of a reader's papers, does their order agree?

The papers that 58 researchers graded from 1 to 5 by how well they could review them
(Stelmakh et al., arXiv 2303.16750), and for each of them ten draws of twenty papers they wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.libraries import Case, Collection, Ints, described, in_no_order, json_lines
from benchmarks.measures import Found, losses, wrong_pairs
from benchmarks.methods import Method

NAME = "reviewer-gold"


@dataclass(frozen=True, slots=True, eq=False)
class Researcher:
    """graded, profiles: rows of papers."""

    name: str
    graded: Ints
    grades: list[float]
    profiles: list[Ints]


def load(folder: Path, *, users: Path | None, seed: int) -> tuple[Collection, list[Researcher]]:
    """The papers, and who graded them, in an order nobody picked."""
    folder = folder / NAME
    rows = list(json_lines(folder / "papers.jsonl.gz"))
    row_of = {row["id"]: number for number, row in enumerate(rows)}
    path = users or folder / "users_dev.jsonl.gz"
    found = []
    for user in json_lines(path):
        try:
            graded = np.array([row_of[paper] for paper in user["ratings"]], np.int64)
            profiles = [
                np.array([row_of[paper] for paper in drawn], np.int64) for drawn in user["profiles"]
            ]
        except (KeyError, TypeError) as error:
            sys.exit(f"{path}: reader {user.get('u')!r}: the set has no {error}")
        grades = list(map(float, user["ratings"].values()))
        found.append(Researcher(str(user["u"]), graded, grades, profiles))
    papers = described(rows, folder, label=NAME)
    collection = Collection(NAME, seed, papers, (), np.zeros(len(rows)))
    return collection, sorted(found, key=lambda each: in_no_order(each.name, seed))


def measure(
    collection: Collection, researchers: list[Researcher], methods: Mapping[str, Method]
) -> dict[str, Found]:
    draws = min(len(each.profiles) for each in researchers)
    found = {name: np.zeros((len(researchers), draws, 2)) for name in methods}
    bar = tqdm(researchers, desc=NAME, unit="reader", file=sys.stderr, leave=False)
    for place, researcher in enumerate(bar):
        for draw, profile in enumerate(researcher.profiles[:draws]):
            case = case_of(collection, researcher, profile)
            for name, method in methods.items():
                scores = method(case).tolist()
                found[name][place, draw] = wrong_pairs(scores, researcher.grades)
    return losses(found)


def case_of(collection: Collection, researcher: Researcher, profile: Ints) -> Case:
    """What is neither graded nor known stands for ordinary papers."""
    pool = researcher.graded
    others = np.setdiff1d(np.arange(len(collection.papers.codes)), np.union1d(pool, profile))
    nothing = np.zeros(len(pool))
    return Case(profile, pool, others, nothing.astype(bool), nothing, nothing)
