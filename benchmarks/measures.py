"""How good an order is, and how sure one may be of it.

Figures are means over readers with standard errors; of two methods the difference is taken reader
by reader, which is far surer than the difference of two means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

CUT = 10
FIGURES = ("ndcg@10", "recall@10", "mrr")
HELD_AGAINST = ("svm", "rocchio")

Floats = NDArray[np.float64]
Found = dict[str, float | dict[str, float]]


@dataclass(slots=True)
class Tally:
    """Of one method. rows: for each reader the three figures. seconds: of CPU time, asked one by
    one; shared_seconds: the part of it that readers of the same papers share.
    """

    rows: list[tuple[float, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    shared_seconds: float = 0.0


def judged(scores: Floats, is_kept: NDArray[np.bool_], ties: Floats) -> tuple[float, float, float]:
    """nDCG@10 (binary; ideal: all that were kept come first), recall@10, and 1 / the first hit.

    ties: the order among equal scores, so that the order of the pool cannot help.
    """
    hits = is_kept[np.lexsort((ties, -scores))]
    discounts = 1 / np.log2(np.arange(2, CUT + 2))[: len(hits)]
    kept = int(hits.sum())
    gained, ideal = (hits[:CUT] * discounts).sum(), discounts[:kept].sum()
    return float(gained / ideal), float(hits[:CUT].sum() / kept), float(1 / (1 + hits.argmax()))


def summary(tallies: Mapping[str, Tally]) -> dict[str, Found]:
    """Each method's figures, and how far it is above those it is held against."""
    found = {name: {**figures(tally), **cost(tally)} for name, tally in tallies.items()}
    for name, tally in tallies.items():
        for other in HELD_AGAINST:
            if other in tallies and other != name:
                apart = ndcgs(tally) - ndcgs(tallies[other])
                found[name][f"above {other}"] = with_error(apart)
    return found


def figures(tally: Tally) -> Found:
    columns = zip(FIGURES, np.array(tally.rows).T, strict=True)
    return {name: with_error(column) for name, column in columns}


def cost(tally: Tally) -> Found:
    """CPU per reader; where readers share something, also of one who is asked for alone."""
    readers = len(tally.rows)
    found: Found = {"cpu_ms": milliseconds(tally.seconds - tally.shared_seconds, readers)}
    if tally.shared_seconds:
        found["cpu_ms_alone"] = milliseconds(tally.seconds, readers)
    return found


def ndcgs(tally: Tally) -> Floats:
    return np.array(tally.rows)[:, 0]


def with_error(values: Floats) -> dict[str, float]:
    """Mean and standard error; no error for fewer than two."""
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
    return {"mean": round(float(np.mean(values)), 4), "se": round(error, 4)}


def milliseconds(seconds: float, readers: int) -> float:
    return round(seconds / readers * 1000, 2)


# -- graded papers -------------------------------------------------------------------------


def wrong_pairs(scores: Sequence[float], grades: Sequence[float]) -> tuple[float, float]:
    """(loss, the largest it can be) of one reader: every pair of papers counts by how far its
    grades are apart, in whole where the scores order it the other way and half where they tie
    (Stelmakh et al., A Gold Standard Dataset for the Reviewer Assignment Problem, arXiv
    2303.16750, section 5).
    """
    loss = largest = 0.0
    for (score, grade), (other_score, other_grade) in combinations(
        zip(scores, grades, strict=True), 2
    ):
        apart = grade - other_grade
        agreement = np.sign(score - other_score) * np.sign(apart)
        largest += abs(apart)
        loss += abs(apart) * (0.5 if agreement == 0 else float(agreement < 0))
    return loss, largest


def losses(by_method: Mapping[str, Floats]) -> dict[str, Found]:
    """by_method: (readers, draws, 2), loss and the largest of it. Lower is better.

    All pairs of all readers are one sum, as in the paper, so the error is a jackknife over readers.
    """
    found: dict[str, Found] = {
        name: {"loss": jackknife(pairs)} for name, pairs in by_method.items()
    }
    for name, pairs in by_method.items():
        for other in HELD_AGAINST:
            if other in by_method and other != name:
                found[name][f"above {other}"] = jackknife(pairs, by_method[other])
    return found


def jackknife(pairs: Floats, less: Floats | None = None) -> dict[str, float]:
    """Mean over draws and its standard error (Efron & Tibshirani, 1993, chapter 11)."""
    readers = len(pairs)
    without = np.array([
        share(np.delete(pairs, reader, axis=0))
        - (share(np.delete(less, reader, axis=0)) if less is not None else 0.0)
        for reader in range(readers)
    ]) if readers > 1 else np.zeros(1)  # fmt: skip
    error = float(np.sqrt((readers - 1) / readers * ((without - without.mean()) ** 2).sum()))
    mean = share(pairs) - (share(less) if less is not None else 0.0)
    return {"mean": round(mean, 4), "se": round(error, 4)}


def share(pairs: Floats) -> float:
    loss, largest = pairs.sum(axis=0).T
    return float(np.mean(loss / np.maximum(largest, 1e-9)))
