"""What topics and papers mean: a model's vectors, as one more measure beside their words.

Against papers a topic is the mean of what its texts mean, twice: as it is (the cosine), and through
Fisher's linear discriminant, which asks what tells its papers from papers at large. Both are
linear, so a topic is one direction however many papers it is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from papers import vectors

DECIMALS = 9  # of products that the machine adds up in whatever order suits it

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class HasMeaning(Protocol):
    """A text. meaning: `vectors.packed`, empty where there is none; said: a topic's own words."""

    @property
    def meaning(self) -> bytes: ...
    @property
    def said(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Meant:
    """rows: (papers, d) of unit length, zero where `has` is false."""

    rows: Floats
    has: Bools
    sense: vectors.Sense

    @classmethod
    def of(cls, texts: Sequence[HasMeaning], sense: vectors.Sense) -> Meant:
        has, rows = _rows(texts, sense.dimensions)
        return cls(rows, has, sense)


@dataclass(frozen=True, slots=True)
class Aims:
    """Topics as directions. cosine, telling: (topics, d). has: (topics,), whether there is one.
    of_words: (topics,), made of no paper.
    """

    cosine: Floats
    telling: Floats
    has: Bools
    of_words: Bools

    @classmethod
    def of(
        cls,
        texts: Sequence[HasMeaning],
        *,
        wanted: Any,
        disliked: Any,
        dislike_weight: float,
        sense: vectors.Sense,
    ) -> Aims:
        """wanted, disliked: (topics, texts), sparse weights."""
        known, rows = _rows(texts, sense.dimensions)
        mixed = _mean(wanted, rows, known) - dislike_weight * _mean(disliked, rows, known)
        telling = np.zeros_like(mixed)
        is_paper = np.array([not each.said for each in texts], np.bool_)
        if sense.discriminant is not None:
            # Papers lie around what papers mean on the whole; a reader's own words do not.
            middle, matrix = sense.discriminant.middle, sense.discriminant.matrix
            centred = (rows - middle) * (known & is_paper)[:, None]
            likes, avoids = _mean(wanted, centred, known), _mean(disliked, centred, known)
            telling = (likes - dislike_weight * avoids) @ matrix
        has = (wanted @ known.astype(float)) > 0
        return cls(mixed, telling, has, (wanted @ is_paper.astype(float)) == 0)

    def by_cosine(self, meant: Meant) -> Floats:
        """(topics, papers)."""
        near: Floats = np.round(self.cosine @ meant.rows.T, DECIMALS)
        return near

    def by_telling(self, meant: Meant, topics: NDArray[np.int64]) -> Floats:
        """(len(topics), papers): what the discriminant says."""
        near: Floats = np.round(self.telling[topics] @ meant.rows.T, DECIMALS)
        return near


def near_in_meaning(texts: Sequence[HasMeaning], meant: Meant, papers: slice) -> Floats:
    """(texts, papers): cosines."""
    _, rows = _rows(texts, meant.sense.dimensions)
    near: Floats = np.round(rows @ meant.rows[papers].T, DECIMALS)
    return near


def _rows(texts: Sequence[HasMeaning], dimensions: int) -> tuple[Bools, Floats]:
    """A meaning of another size is another model's: it counts as none."""
    has = np.array([len(each.meaning) == dimensions for each in texts], np.bool_)
    rows = np.zeros((len(texts), dimensions))
    if has.any():
        known = [each.meaning for each in texts if len(each.meaning) == dimensions]
        rows[has] = vectors.unpacked(known)
    return has, rows


def _mean(weights: Any, rows: Floats, known: Bools) -> Floats:
    """(topics, d): of what its texts mean, as far as that is known."""
    total = weights @ known.astype(float)
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    mean: Floats = (weights @ rows) * scale[:, None]
    return mean
