"""What texts mean, by a table of words: a model that asks for no download and no transformer.

A sentence model (all-MiniLM-L6-v2; Reimers & Gurevych, 2019; Apache-2.0) read every word of the
table alone, once; `benchmarks/static_meaning.py` made it and says how. A text is the mean of its
words' vectors, each as often as 1 + ln tf and as heavy as its idf, as a direction. Static vectors
of a sentence model keep most of what it knows of short texts (model2vec, Tulkens & van Dongen,
2024; weighting rare words up: Arora, Liang & Ma, 2017). Long texts say more by their words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .vectors import Bag, bag

SHIPPED_TABLE = "data/static_meaning.bin"
ID, DIMENSIONS = "static-1", 128
REACH = 20.0  # single words say less than a sentence: longer texts go by the words themselves

# Stands for no term, but for what a text means that has no known word: nothing in particular.
MIDDLE = 0


@dataclass(frozen=True, slots=True)
class StaticModel:
    """terms: ascending, MIDDLE first. weights: of each term, by which its row is multiplied.
    rows: (terms, dimensions) of int8.
    """

    terms: NDArray[np.uint64]
    weights: NDArray[np.float32]
    rows: NDArray[np.int8]
    id: str = ID
    reach: float = REACH

    @property
    def dimensions(self) -> int:
        return int(self.rows.shape[1])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, dimensions): rows of unit length, in the order given."""
        return self.of([bag(text) for text in texts])

    def of(self, bags: Iterable[Bag]) -> NDArray[np.float32]:
        """The same for texts whose words are counted already."""
        known = self._known(list(bags))
        used, columns = np.unique(known.places, return_inverse=True)
        # Only the rows in use, and in float64: what a text means does not depend on its neighbours.
        weights = known.often * self.weights[known.places]
        shape = (known.texts, len(used))
        said = sparse.csr_array((weights, (known.rows, columns)), shape=shape)
        sums = said @ self.rows[used].astype(np.float64)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (sums / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return unit

    def to_bytes(self) -> bytes:
        terms, weights = self.terms.astype("<u8"), self.weights.astype("<f4")
        return terms.tobytes() + weights.tobytes() + self.rows.tobytes()

    @classmethod
    def from_bytes(cls, table: bytes, *, dimensions: int = DIMENSIONS) -> Self:
        """Raises ValueError where `table` is not a whole number of rows, or lacks MIDDLE."""
        size, rest = divmod(len(table), 12 + dimensions)
        if rest or not size:
            raise ValueError("not a table of static vectors")
        terms = np.frombuffer(table, "<u8", size).astype(np.uint64)
        if terms[0] != MIDDLE:
            raise ValueError("a table of static vectors without a middle")
        return cls(
            terms,
            np.frombuffer(table, "<f4", size, offset=8 * size).astype(np.float32),
            np.frombuffer(table, np.int8, offset=12 * size).reshape(size, dimensions),
        )

    def _known(self, bags: Sequence[Bag]) -> _Known:
        """What the table has of the texts' terms; of a text of which it has none, the middle."""
        terms = np.concatenate([np.empty(0, np.uint64), *(each.terms for each in bags)])
        counts = np.concatenate([np.empty(0, np.uint16), *(each.counts for each in bags)])
        rows = np.repeat(np.arange(len(bags)), np.array([len(each.terms) for each in bags], int))
        places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        is_known = self.terms[places] == terms
        empty = np.flatnonzero(np.bincount(rows[is_known], minlength=len(bags)) == 0)
        return _Known(
            texts=len(bags),
            rows=np.concatenate([rows[is_known], empty]),
            places=np.concatenate([places[is_known], np.zeros(len(empty), np.int64)]),
            often=np.concatenate(
                [1 + np.log(counts[is_known].astype(np.float64)), np.ones(len(empty))]
            ),
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """Some texts' terms, each with its text's row, its place in the table, and what it counts."""

    texts: int
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    often: NDArray[np.float64]


@lru_cache(maxsize=1)
def shipped() -> StaticModel:
    """The table in the package."""
    return StaticModel.from_bytes(resources.files("papers").joinpath(SHIPPED_TABLE).read_bytes())
