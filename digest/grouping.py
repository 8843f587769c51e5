"""Papers -> subjects: what somebody's library is about, for the reader to name or to drop.

Spectral clustering as Ng, Jordan and Weiss (2001) describe it: the papers' similarities as a
graph, its normalised Laplacian's leading eigenvectors as coordinates, and k-means among their
directions. Titles share so few words that most pairs have nothing in common; the graph joins what
is connected through others, which a mean of words does not. Deterministic: k-means begins at
the papers that lie farthest apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from papers import vectors

MOST_GROUPS = 6
LEAST_SHARE = 0.04  # of the papers; what is smaller is no subject
LEAST_PAPERS = 3
FEW = 6  # papers, up to which nothing is parted
NAME_TERMS = 3
NAME_LENGTH = 80
PAIR_WEIGHT = 3.0  # two words side by side name a subject better than either alone
MEANING_WEIGHT = 0.3  # measured: .3 to .7 part titles alike, more is worse for whole abstracts
SAME = 0.6  # cosine from which papers.vectors.near_duplicates too takes them for one
NEARLY = 0.97  # of the best parting: fewer groups that part nearly as well are the better ones
_ROUNDS = 50

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Group:
    """One subject. members: row numbers, the most central first. name: its telling terms. is_rest:
    what belongs to no subject."""

    name: str
    members: tuple[int, ...]
    is_rest: bool = False


def group(
    texts: Sequence[str], rows: vectors.Rows, meanings: NDArray[np.float32] | None = None
) -> list[Group]:
    """The subjects of n papers, the largest first and the rest, if any, last.

    rows: (n, terms) of `texts`, of unit length. meanings: (n, d) unit rows; all zero for a paper
    that has none.
    """
    if not texts:
        return []
    near = _similarity(rows.matrix, meanings)
    labels = _labels(near)
    found = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    found.sort(key=lambda members: (-len(members), int(members[0])))
    rest = np.flatnonzero(labels < 0)
    named = [Group(_name(texts, rows, each), _central(near, each)) for each in found]
    return [*named, Group("", _central(near, rest), is_rest=True)] if len(rest) else named


def farthest_first(near: Floats, liking: Floats, *, size: int) -> list[int]:
    """`size` of n papers that are unlike each other, the best liked first.

    near: (n, n) cosine. liking: (n,) 0 to 1. Greedy (Gonzalez, 1985): next is always the one of
    which the nearest so far is farthest, weighed by how it is liked; what says nearly the same as
    one that was taken is never taken.
    """
    left: NDArray[np.bool_] = np.ones(len(liking), np.bool_)
    nearest = np.zeros(len(liking))
    taken: list[int] = []
    while len(taken) < size and left.any():
        worth = np.where(left, (1 - nearest) * (0.25 + liking), -1.0)
        best = int(worth.argmax())
        taken.append(best)
        left[best] = False
        left[near[best] >= SAME] = False
        nearest = np.maximum(nearest, near[best])
    return taken


def _similarity(words: Any, meanings: NDArray[np.float32] | None) -> Floats:
    """(n, n), 0 to 1, each with itself 0: words in common and, where both papers have one, how much
    nearer than usual their meanings are.
    """
    near: Floats = np.asarray((words @ words.T).todense(), np.float64)
    np.fill_diagonal(near, 0)
    if meanings is None:
        return np.clip(near, 0, 1)
    has: NDArray[np.bool_] = np.any(meanings, axis=1)
    both = np.logical_and.outer(has, has)
    np.fill_diagonal(both, False)
    close = meanings.astype(np.float64) @ meanings.T
    usual = close[both].mean() if both.any() else 0.0
    nearer = np.where(both, np.clip(close - usual, 0, 1), 0.0)
    if not nearer.any():
        return np.clip(near, 0, 1)
    # On one scale: as many ties in all by meaning as by words.
    nearer *= (near[both].sum() or nearer.sum()) / nearer.sum()
    mixed = (1 - MEANING_WEIGHT) * near + MEANING_WEIGHT * nearer
    return np.clip(np.where(both, mixed, near), 0, 1)


def _labels(near: Floats) -> NDArray[np.int64]:
    """(n,) the number of each paper's group, -1 for the rest."""
    size = len(near)
    if size <= FEW or not near.any():
        return np.zeros(size, np.int64)
    places = _places(near)
    tried = [
        _k_means(places[:, -k:], k) for k in range(1, min(MOST_GROUPS, size // LEAST_PAPERS) + 1)
    ]
    worth = [_modularity(near, labels) for labels in tried]
    # One group is worth nothing, give or take what the computer rounds.
    least = max(0.0, NEARLY * max(worth)) - 1e-9
    enough = next(n for n, each in enumerate(worth) if each >= least)
    return _without_small(tried[enough])


def _places(near: Floats) -> Floats:
    """(n, n) eigenvectors, the leading ones last, of the regularised graph: a weak tie between all,
    so that a paper without any is no group by itself (Amini, Chen, Bickel and Levina, 2013)."""
    tied = near + near.sum() / len(near) ** 2
    scale = 1 / np.sqrt(tied.sum(axis=1))
    places: Floats = np.linalg.eigh(tied * scale[:, None] * scale[None, :])[1]
    return places


def _modularity(near: Floats, labels: NDArray[np.int64]) -> float:
    """What part of all ties is within the groups, beyond what chance would have there (Newman and
    Girvan, 2004)."""
    ties = near.sum(axis=1)
    total = ties.sum()
    groups = [labels == each for each in range(labels.max() + 1)]
    within = (near[np.ix_(each, each)].sum() / total for each in groups)
    chance = ((ties[each].sum() / total) ** 2 for each in groups)
    return float(sum(within) - sum(chance))


def _without_small(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """-1 in groups too small to be a subject; the others numbered from 0."""
    sizes = np.bincount(labels)
    least = max(LEAST_PAPERS, LEAST_SHARE * len(labels))
    kept = np.flatnonzero(sizes >= least)
    numbers = np.full(len(sizes), -1)
    numbers[kept] = np.arange(len(kept))
    return numbers[labels]


def _central(near: Floats, members: NDArray[np.int64]) -> tuple[int, ...]:
    """The members, those nearest to all others first."""
    inner = near[np.ix_(members, members)].sum(axis=1)
    return tuple(int(each) for each in members[np.argsort(-inner, kind="stable")])


def _k_means(places: Floats, k: int) -> NDArray[np.int64]:
    """Of the rows' directions, by cosine; begun at rows far apart."""
    places = places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-12)
    starts = [int((places @ places.mean(axis=0)).argmax())]
    while len(starts) < k:
        starts.append(int((places @ places[starts].T).max(axis=1).argmin()))
    centres = places[starts]
    labels = (places @ centres.T).argmax(axis=1)
    for _ in range(_ROUNDS):
        sums = np.array([places[labels == each].sum(axis=0) for each in range(k)])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 1e-12, sums / np.maximum(lengths, 1e-12), centres)
        moved = (places @ centres.T).argmax(axis=1)
        if (moved == labels).all():
            break
        labels = moved
    return np.unique(labels, return_inverse=True)[1]


# -- names ---------------------------------------------------------------------------------


def _name(texts: Sequence[str], rows: vectors.Rows, members: NDArray[np.int64]) -> str:
    """Its most telling terms, as its papers spell them: those whose mean weight within exceeds most
    the mean weight in all, the sooner the more papers have them, and pairs of words before single
    ones. What one of several papers alone says is no name for them, and what fewer than half say
    only where half agree on nothing."""
    inner = rows.matrix[members]
    having = np.asarray((inner > 0).sum(axis=0), np.float64).ravel()
    weights = (_mean(inner) - 0.5 * _mean(rows.matrix)) * having
    weights[having < min(2, len(members))] = 0
    if (weights[2 * having >= len(members)] > 0).any():
        weights[2 * having < len(members)] = 0
    spelled = _spellings(texts[each] for each in members)
    terms = [spelled.get(int(term), "") for term in rows.terms]
    weights *= [PAIR_WEIGHT if len(vectors.WORD.findall(each)) > 1 else 1.0 for each in terms]
    said: list[str] = []
    for column in np.argsort(-weights, kind="stable")[:200]:
        if weights[column] <= 0 or len(said) == NAME_TERMS:
            break
        if (term := terms[column]) and not any(_says_again(term, seen) for seen in said):
            said.append(term)
    return ", ".join(said)[:NAME_LENGTH]


def _mean(matrix: Any) -> Floats:
    return np.asarray(matrix.mean(axis=0), np.float64).ravel()


def _spellings(texts: Iterable[str]) -> dict[int, str]:
    """Of each term the spelling that most texts use."""
    counted: dict[int, Counter[str]] = {}
    for text in texts:
        for term, spelling in vectors.surfaces(text).items():
            counted.setdefault(term, Counter())[spelling] += 1
    return {term: min(seen, key=lambda each: (-seen[each], each)) for term, seen in counted.items()}


def _says_again(term: str, seen: str) -> bool:
    words, others = set(vectors.WORD.findall(term)), set(vectors.WORD.findall(seen))
    return words <= others or others <= words
