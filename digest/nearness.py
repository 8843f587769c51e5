"""Topics against papers: how near each is to each, on one scale.

For every topic its cosine with every paper is standardised against a reference of recent papers:
`z = (cos - mean) / deviation`. A narrow topic and a broad one, three words and five papers, come
to one scale on which a fixed floor means "clearly closer than an ordinary paper".

What depends on the papers alone is made once, and a topic that many readers share is measured
once. Nobody's numbers depend on who else asked, or when: every sum is taken over one topic's own
terms, in one order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from papers import vectors

from .recent import Recent

DISLIKE_WEIGHT = 0.35
Z_CAP = 8.0  # approached, never reached: exact words must not outrun every match, nor tie
REFERENCE_PRIOR_DEVIATION = 0.01  # cosine; keeps z finite where a topic meets no reference paper
MAX_TERMS = 4

MEASURED_AT_ONCE = 256
CELLS_AT_ONCE = 400_000  # topics times papers: 3 MB an array, and a dozen of these
NUMBERS_KEPT = 1_000_000  # of topics measured, each generation: 8 MB
SPELLINGS_KEPT = 200  # papers, each generation: about 12 MB
SAID_KEPT = 20_000  # reasons, each generation: about 15 MB

WORD = re.compile(r"[^\W_]+")

# What a topic is made of: its own words, or a stored paper's code.
Ingredient = str | bytes
Part = tuple[tuple[Ingredient, float], ...]


class Recipe(NamedTuple):
    """A topic as weights over texts, less a part of what its reader disliked."""

    wanted: Part = ()
    disliked: Part = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """One topic against n papers.

    z: (n,) deviations above what is ordinary. shares: (texts of `wanted`, n), what each did for
    the nearness; none where it is made of words alone. columns, weights: the topic's own terms,
    ascending, of those that the space has. key: tells it from every other, for
    what is kept beside it.
    """

    z: NDArray[np.float64]
    shares: NDArray[np.float64] | None
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]
    key: object = field(default_factory=object, compare=False)

    @property
    def size(self) -> int:
        return (
            len(self.z) + 2 * len(self.columns) + (0 if self.shares is None else self.shares.size)
        )


class Space:
    """Papers and what is ordinary, as rows over all their terms.

    texts, codes: of n papers. reference: codes of recent papers that say what is ordinary; without
    any it is the papers themselves.
    """

    def __init__(
        self,
        texts: Sequence[str],
        codes: Sequence[bytes],
        *,
        reference: Sequence[bytes],
        encoder: vectors.Encoder,
    ) -> None:
        usual = reference or codes
        rows = encoder.rows([*codes, *usual])
        self._encoder, self._terms, self._texts = encoder, rows.terms, texts
        self._papers = _narrow(rows.matrix[: len(codes)])
        self._papers.sort_indices()
        self._against = _narrow(sparse.csr_array(rows.matrix.T))
        self._having = _ones_at(self._against)
        self._usual = usual
        self._kept: Recent[Recipe, Standing] = Recent(NUMBERS_KEPT)
        self._spellings: Recent[int, dict[int, tuple[str, float]]] = Recent(SPELLINGS_KEPT)
        self.said: Recent[Any, Any] = Recent(SAID_KEPT)  # what others say of the standings

    def standings(self, recipes: Sequence[Recipe]) -> list[Standing]:
        """One for each recipe, in the order given."""
        found = {recipe: self._kept.get(recipe) for recipe in recipes}
        new = [recipe for recipe, standing in found.items() if standing is None]
        at_once = min(MEASURED_AT_ONCE, CELLS_AT_ONCE // (self._against.shape[1] + 1) + 1)
        for start in range(0, len(new), at_once):
            some = new[start : start + at_once]
            for recipe, standing in zip(some, self._measured(some), strict=True):
                found[recipe] = standing
                self._kept.put(recipe, standing, standing.size)
        return [found[recipe] for recipe in recipes]  # type: ignore[misc]  # all are found by now

    def shared_terms(self, standing: Standing, paper: int) -> tuple[str, ...]:
        """Up to four terms that made the cosine, as the paper spells them, the weightiest first."""
        spelled = self._spelled(paper)
        products = [
            (weight * spelled[column][1], spelled[column][0])
            for column, weight in zip(
                standing.columns.tolist(), standing.weights.tolist(), strict=True
            )
            if column in spelled
        ]
        terms: list[str] = []
        for product, term in sorted(products, key=itemgetter(0), reverse=True):
            if product <= 0 or len(terms) == MAX_TERMS:
                break
            if not any(_says_again(term, seen) for seen in terms):
                terms.append(term)
        return tuple(terms)

    def _measured(self, recipes: Sequence[Recipe]) -> list[Standing]:
        named = _ingredients(recipes)
        codes = [self._encoder.encode(each) if isinstance(each, str) else each for each in named]
        rows = self._encoder.rows(codes)
        rows.matrix.sort_indices()
        near = self._nearness(named, rows)
        row_of = {each: row for row, each in enumerate(named)}
        wanted = _recipe([recipe.wanted for recipe in recipes], row_of)
        disliked = _recipe([recipe.disliked for recipe in recipes], row_of)
        counts = ~self._own(wanted, codes)
        wanted, disliked = _scaled(wanted, rows.matrix), _scaled(disliked, rows.matrix)
        mixed = _scaled(wanted - DISLIKE_WEIGHT * disliked, rows.matrix)
        z = self._standardised(mixed @ near, counts)
        # Less of one thing is not more of another: dislikes only lower.
        some = np.flatnonzero(np.diff(disliked.indptr))
        z[some] = np.minimum(z[some], self._standardised(wanted[some] @ near, counts[some]))
        topics = self._within(mixed @ rows.matrix, rows.terms)
        return [
            Standing(
                z[row].copy(),
                _shares(recipe, near[:, : z.shape[1]], row_of),
                *_row(topics, row),
            )
            for row, recipe in enumerate(recipes)
        ]

    def _nearness(self, named: Sequence[Ingredient], rows: vectors.Rows) -> NDArray[np.float64]:
        """(texts, papers and reference): cosine; for a topic's own text times the share of its
        best covered line.

        A line asks for all of its words; several lines are so many things that may be met. Of a
        stored paper not every word is meant, so papers have no lines.
        """
        near = _dense(self._within(rows.matrix, rows.terms) @ self._against)
        lines = _Lines.of(named, rows)
        if lines.texts:
            covered = _dense(self._within(lines.shares, rows.terms) @ self._having)
            near[lines.texts] *= np.maximum.reduceat(covered, lines.starts, axis=0)
        return near

    def _within(self, matrix: Any, terms: NDArray[np.uint64]) -> Any:
        """The matrix over `terms` as one over the space's columns; other terms meet nothing."""
        matrix = sparse.csr_array(matrix)
        matrix.sort_indices()
        shape = (matrix.shape[0], len(self._terms))
        if not len(self._terms):
            return sparse.csr_array(shape)
        places = np.minimum(np.searchsorted(self._terms, terms), len(self._terms) - 1)
        kept = (self._terms[places] == terms)[matrix.indices]
        starts = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
        columns = places[matrix.indices[kept]]
        return sparse.csr_array((matrix.data[kept], columns, starts), shape=shape)

    def _own(self, wanted: Any, codes: Sequence[bytes]) -> NDArray[np.bool_]:
        """(topics, reference): where a reference paper is itself one that the topic is made of."""
        rows_of: dict[bytes, list[int]] = {}
        for row, code in enumerate(codes):  # a text may count the same words as a paper
            rows_of.setdefault(code, []).append(row)
        cells = [(r, n, 1.0) for n, code in enumerate(self._usual) for r in rows_of.get(code, ())]
        same = _sparse(cells, shape=(len(codes), len(self._usual)))
        return _dense(wanted @ same) > 0

    def _standardised(
        self, near: NDArray[np.float64], counts: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """(topics, papers): deviations above what is ordinary, bent smoothly towards Z_CAP.

        near: (topics, papers and reference). counts: (topics, reference), false for a topic's own
        seeds. As a part of what is ordinary they would make everything else look far.
        """
        near, ordinary = near[:, : len(self._texts)], near[:, len(self._texts) :]
        if not near.size:
            return near
        counts = counts | ~counts.any(axis=1, keepdims=True)
        # Masked by a product: `where=` sums in blocks that depend on how many topics there are.
        size = counts.sum(axis=1, keepdims=True)
        mean = (ordinary * counts).sum(axis=1, keepdims=True) / size
        deviation = np.sqrt((((ordinary - mean) * counts) ** 2).sum(axis=1, keepdims=True) / size)
        z: NDArray[np.float64] = (near - mean) / np.maximum(deviation, REFERENCE_PRIOR_DEVIATION)
        return Z_CAP * np.tanh(z / Z_CAP)

    def _spelled(self, paper: int) -> dict[int, tuple[str, float]]:
        """Column -> how the paper spells its term, and what it weighs there."""
        found = self._spellings.get(paper)
        if found is None:
            surfaces = vectors.surfaces(self._texts[paper])
            cells = zip(*(each.tolist() for each in _row(self._papers, paper)), strict=True)
            found = {
                column: (surfaces[term], weight)
                for column, weight in cells
                if (term := int(self._terms[column])) in surfaces
            }
            self._spellings.put(paper, found)
        return found


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of the topics' own texts. shares: (lines, columns), what part of its line each
    single word is. starts: the first line of each text; texts: its row.
    """

    shares: Any
    starts: list[int]
    texts: list[int]

    @classmethod
    def of(cls, named: Sequence[Ingredient], rows: vectors.Rows) -> _Lines:
        starts, texts = [], []
        words: list[int] = []
        row_of_word: list[int] = []
        sizes: list[int] = []
        for row, text in enumerate(named):
            lines = _words_of_lines(text) if isinstance(text, str) else []
            if lines:
                starts.append(len(sizes))
                texts.append(row)
            for line in lines:
                words += line
                row_of_word += [row] * len(line)
                sizes.append(len(line))
        line_of_word = np.repeat(np.arange(len(sizes)), sizes)
        columns = np.searchsorted(rows.terms, np.array(words, np.uint64))
        weights = _cells(rows.matrix, np.array(row_of_word, np.int64), columns)
        share = weights / np.bincount(line_of_word, weights)[line_of_word]
        shape = (len(sizes), len(rows.terms))
        return cls(sparse.csr_array((share, (line_of_word, columns)), shape=shape), starts, texts)


def _words_of_lines(text: str) -> list[list[int]]:
    ids = (sorted(set(vectors.word_ids(line))) for line in text.splitlines())
    return [each for each in ids if each]


def _cells(matrix: Any, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values of a matrix with sorted rows, at cells that it has."""
    height, width = matrix.shape
    filled = np.repeat(np.arange(height), np.diff(matrix.indptr)) * width + matrix.indices
    values: NDArray[np.float64] = matrix.data[np.searchsorted(filled, rows * width + columns)]
    return values


def _ingredients(recipes: Sequence[Recipe]) -> list[Ingredient]:
    """Each once, in an order of their own, so that a topic's sums do not depend on any other."""
    named = {each for recipe in recipes for part in recipe for each, _ in part}
    codes = sorted(each for each in named if isinstance(each, bytes))
    return [*codes, *sorted(each for each in named if isinstance(each, str))]


def _recipe(parts: Sequence[Part], row_of: Mapping[Ingredient, int]) -> Any:
    """(len(parts), texts): one sparse row of weights over the known texts."""
    cells = [(row, row_of[each], w) for row, part in enumerate(parts) for each, w in part]
    return _sparse(cells, shape=(len(parts), len(row_of)))


def _sparse(cells: Sequence[tuple[int, int, float]], *, shape: tuple[int, int]) -> Any:
    """From (row, column, value)."""
    rows, columns, values = zip(*cells, strict=True) if cells else ((), (), ())
    return sparse.csr_array((list(values), (list(rows), list(columns))), shape=shape, dtype=float)


def _scaled(recipe: Any, texts: Any) -> Any:
    """The recipe whose vectors, `recipe @ texts`, are of unit length (Rocchio's mean, as a ray)."""
    made = sparse.csr_array(recipe @ texts)
    # Sorted, so that a row adds up in one order whatever other rows there are.
    made.sort_indices()
    made.data **= 2
    lengths = np.sqrt(made @ np.ones(made.shape[1]))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 1e-9)
    data = recipe.data * np.repeat(scale, np.diff(recipe.indptr))
    return sparse.csr_array((data, recipe.indices, recipe.indptr), shape=recipe.shape)


def _shares(
    recipe: Recipe, near: NDArray[np.float64], row_of: Mapping[Ingredient, int]
) -> NDArray[np.float64] | None:
    if not any(isinstance(each, bytes) for each, _ in recipe.wanted):
        return None
    weights = np.array([[weight] for _, weight in recipe.wanted])
    shares: NDArray[np.float64] = near[[row_of[each] for each, _ in recipe.wanted]] * weights
    return shares


def _row(matrix: Any, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Its columns and its values."""
    own = slice(*matrix.indptr[row : row + 2])
    return matrix.indices[own].copy(), matrix.data[own].copy()


def _narrow(matrix: Any) -> Any:
    """The same with indices of 4 bytes: a week of a thousand papers a day is held in memory."""
    indices, starts = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return sparse.csr_array((matrix.data, indices, starts), shape=matrix.shape)


def _ones_at(matrix: Any) -> Any:
    """One wherever the matrix has a value, over the same indices."""
    ones = np.ones(len(matrix.data))
    return sparse.csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)


def _dense(product: Any) -> NDArray[np.float64]:
    dense: NDArray[np.float64] = product.toarray()
    return dense


def _says_again(term: str, seen: str) -> bool:
    words, others = _words(term), _words(seen)
    return words <= others or others <= words


@lru_cache(maxsize=20_000)
def _words(term: str) -> frozenset[str]:
    return frozenset(WORD.findall(term))
