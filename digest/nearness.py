"""Topics against papers: how near each is to each, on one scale.

For every topic its nearness to every paper is standardised against a reference of recent papers:
`z = (near - mean) / deviation`. A narrow topic and a broad one, three words and five papers, come
to one scale on which a fixed floor means "clearly closer than an ordinary paper".

Near are words, by their cosine, and, where a model is at hand, what they mean (`meant`). The more
text both sides have, the more their words count: two titles of a subject may share none. Measured
in docs/ranking.md.

What depends on the papers alone is made once, and a topic that many readers share is measured
once. Nobody's numbers depend on who else asked, or when: every sum is taken over one topic's own
terms, in one order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from papers import vectors

from .meant import Aims, Meant, near_in_meaning
from .recent import Recent

DISLIKE_WEIGHT = 0.35
LEAST_SPREAD = 0.001  # cosine
LEAST_SPREAD_PERCENTILE = 5  # of the reference's: no paper is so odd that everything is far from it
LEAST_REFERENCE = 20  # papers with a meaning: fewer do not say what is ordinary
Z_CAP = 8.0  # approached, never reached: exact words must not outrun every match, nor tie
LEAST_DEVIATION = 0.01  # cosine; keeps z finite where a topic meets no reference paper
LEAST_DEVIATION_OF_LINES = 0.15  # of what a few words mean, to every paper nearly the same
MAX_TERMS = 4

MEASURED_AT_ONCE = 256
CELLS_AT_ONCE = 400_000  # topics times papers: 3 MB an array, and a dozen of these
NUMBERS_KEPT = 1_000_000  # of topics measured, each generation: 8 MB
SPELLINGS_KEPT = 1_000_000  # terms of papers, some 300 each, a generation: 8 MB
SAID_KEPT = 20_000  # reasons, each generation: about 15 MB

WORD = re.compile(r"[^\W_]+")


class Text(NamedTuple):
    """A paper, or a part of a topic.

    words: the encoder's code. meaning: a model's (vectors.packed), empty where there is none.
    said: what it says, where that is looked at: of a candidate for reasons, of a topic's own lines
    for what they ask for. A topic's papers have none.
    """

    words: bytes
    meaning: bytes = b""
    said: str = ""


Part = tuple[tuple[Text, float], ...]


class Recipe(NamedTuple):
    """A topic as weights over texts, less a part of what its reader disliked."""

    wanted: Part = ()
    disliked: Part = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """One topic against n papers.

    z: (n,) deviations above what is ordinary. closest: (n,) which text of `wanted` did most for
    it; none where it is made of its reader's words alone. columns, weights: the topic's own terms,
    ascending, of those that the space has. key: tells it from every other, for
    what is kept beside it.
    """

    z: NDArray[np.float64]
    closest: NDArray[np.int64] | None
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]
    key: object = field(default_factory=object, compare=False)

    @property
    def size(self) -> int:
        return len(self.z) * (1 if self.closest is None else 2) + 2 * len(self.columns)


class Space:
    """Papers and what is ordinary, as rows over all their terms.

    papers: n of them. reference: recent papers that say what is ordinary; without any it is the
    papers themselves. sense: of the model that made the texts' meanings; none: words alone.
    """

    def __init__(
        self,
        papers: Sequence[Text],
        *,
        reference: Sequence[Text],
        encoder: vectors.Encoder,
        sense: vectors.Sense | None = None,
    ) -> None:
        usual = reference or papers
        both = [*papers, *usual]
        rows = encoder.rows([each.words for each in both])
        self._encoder, self._terms = encoder, rows.terms
        self._said = [each.said for each in papers]
        self._papers = _narrow(rows.matrix[: len(papers)])
        self._papers.sort_indices()
        self._against = _narrow(sparse.csr_array(rows.matrix.T))
        self._having = _ones_at(self._against)
        self._usual = usual
        self._size = len(papers)
        self._common, self._spread = _commonness(rows.matrix, both, self._size)
        self._tokens = encoder.tokens([each.words for each in both])
        self._meant = None if sense is None else self._meaning(both, sense)
        self._kept: Recent[Recipe, Standing] = Recent(NUMBERS_KEPT)
        self._spellings: Recent[int, tuple[NDArray[np.int32], NDArray[np.int32]]]
        self._spellings = Recent(SPELLINGS_KEPT)
        self.said: Recent[Any, Any] = Recent(SAID_KEPT)  # what others say of the standings

    def standings(self, recipes: Sequence[Recipe]) -> list[Standing]:
        """One for each recipe, in the order given."""
        found = {recipe: self._kept.get(recipe) for recipe in recipes}
        new = [recipe for recipe, standing in found.items() if standing is None]
        at_once = min(MEASURED_AT_ONCE, CELLS_AT_ONCE // (self._against.shape[1] + 1) + 1)
        for some in _batches(new, at_once):
            for recipe, standing in zip(some, self._measured(some), strict=True):
                found[recipe] = standing
                self._kept.put(recipe, standing, standing.size)
        return [found[recipe] for recipe in recipes]  # type: ignore[misc]  # all are found by now

    def shared_terms(self, standing: Standing, paper: int) -> tuple[str, ...]:
        """Up to four terms that made the cosine, as the paper spells them, the weightiest first."""
        columns, weights = _row(self._papers, paper)
        if not len(columns):
            return ()
        starts, ends = self._spelled(paper)
        of_paper = columns.searchsorted(standing.columns)
        of_topic = np.flatnonzero(columns.take(of_paper, mode="clip") == standing.columns)
        of_paper = of_paper[of_topic]
        products = standing.weights[of_topic] * weights[of_paper]
        text = vectors.composed(self._said[paper])
        terms: list[str] = []
        for place in np.argsort(-products, kind="stable").tolist():
            if products[place] <= 0 or len(terms) == MAX_TERMS:
                break
            start = starts[of_paper[place]]
            if start < 0:
                continue
            term = vectors.spelling(text, start, ends[of_paper[place]])
            if not any(_says_again(term, seen) for seen in terms):
                terms.append(term)
        return tuple(terms)

    def _meaning(self, both: Sequence[Text], sense: vectors.Sense) -> Meant | None:
        meant = Meant.of(both, sense)
        return meant if meant.has[self._size :].sum() >= LEAST_REFERENCE else None

    def _measured(self, recipes: Sequence[Recipe]) -> list[Standing]:
        named = _ingredients(recipes)
        rows = self._encoder.rows([each.words for each in named])
        rows.matrix.sort_indices()
        row_of = {each: row for row, each in enumerate(named)}
        wanted = _recipe([recipe.wanted for recipe in recipes], row_of)
        mean = _over(wanted, np.asarray(wanted.sum(axis=1)).ravel())
        asked = _Asked(
            named=named,
            rows=rows.matrix,
            near=self._nearness(named, rows),
            wanted=wanted,
            disliked=_recipe([recipe.disliked for recipe in recipes], row_of),
            counts=~self._own(wanted, named),
            tokens=mean @ self._encoder.tokens([each.words for each in named]),
        )
        mixed = asked.mixed(DISLIKE_WEIGHT)
        sides = self._sides(asked, mixed, DISLIKE_WEIGHT)
        z = self._joined(asked, sides)
        # Less of one thing is not more of another: dislikes only lower.
        some = np.flatnonzero(np.diff(asked.disliked.indptr))
        if len(some):
            others = asked.only(some)
            liking = self._sides(others, others.mixed(0.0), 0.0)
            z[some] = np.minimum(z[some], self._joined(others, liking))
        topics = self._within(mixed @ rows.matrix, rows.terms)
        closest = self._closest(asked, sides, recipes, row_of)
        return [
            Standing(z[topic].copy(), closest[topic], *_row(topics, topic))
            for topic in range(len(recipes))
        ]

    def _sides(self, asked: _Asked, mixed: Any, dislike_weight: float) -> _Sides:
        """mixed: `asked.mixed` with that weight."""
        words, deviation = self._by_words(asked, mixed)
        if self._meant is None:
            return _Sides(words, deviation)
        aims = Aims.of(
            asked.named,
            wanted=asked.wanted,
            disliked=asked.disliked,
            dislike_weight=dislike_weight,
            sense=self._meant.sense,
        )
        counts = asked.counts & self._meant.has[self._size :]
        of_words = aims.of_words[:, None]
        least = np.where(of_words, LEAST_DEVIATION_OF_LINES, LEAST_DEVIATION)
        cosine = aims.by_cosine(self._meant)
        mean, spread = self._usually(cosine, counts, least)
        meaning = (cosine[:, : self._size] - mean) / spread
        papers = np.flatnonzero(~aims.of_words)
        if len(papers):
            telling = aims.by_telling(self._meant, papers)
            both = self._standardised(cosine[papers], counts[papers], least[papers])
            both += self._standardised(telling, counts[papers])
            meaning[papers] = self._standardised(both, counts[papers])[:, : self._size]
        known = aims.has[:, None] & self._meant.has[: self._size]
        share = _share_of_words(asked.tokens, self._tokens[: self._size], self._meant.sense.reach)
        return _Sides(words, deviation, meaning, spread, np.where(known, share, 1.0))

    def _by_words(
        self, asked: _Asked, mixed: Any
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(topics, papers), and how far nearness spreads: (topics, 1).

        Rocchio's mean of the texts, less what would be near anyway: a paper that shares words with
        every other shares them with this topic too (as a chi-square table expects, from its row
        and its column), and its numbers spread the wider.
        """
        near = mixed @ asked.near
        if not near.size:
            return near[:, : self._size], np.ones((len(near), 1))
        level = self._ordinarily(near, asked.counts) / self._common[self._size :].mean()
        scale = 1 / np.sqrt(self._spread)
        least = LEAST_DEVIATION * scale[self._size :].mean()
        beyond = (near - level * self._common) * scale
        mean, deviation = self._usually(beyond, asked.counts, least)
        return (beyond[:, : self._size] - mean) / deviation, deviation

    def _ordinarily(
        self, near: NDArray[np.float64], counts: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """(topics, 1): the mean over what counts of the reference."""
        counts = counts | ~counts.any(axis=1, keepdims=True)
        return _mean(near[:, self._size :], counts)

    def _joined(self, asked: _Asked, sides: _Sides) -> NDArray[np.float64]:
        """(topics, papers): bent smoothly towards Z_CAP."""
        z = sides.words
        if sides.meaning is not None:
            share = sides.share_of_words
            # Where the two disagree their sum is no large number, and is to stay none.
            z = share * z + (1 - share) * sides.meaning
        bent: NDArray[np.float64] = Z_CAP * np.tanh(z / Z_CAP)
        return bent

    def _closest(
        self,
        asked: _Asked,
        sides: _Sides,
        recipes: Sequence[Recipe],
        row_of: Mapping[Text, int],
    ) -> list[NDArray[np.int64] | None]:
        """Per topic (papers,): which of its texts did most for it, by words and by meaning; none
        where it is made of its reader's words alone.
        """
        found: list[NDArray[np.int64] | None] = [None] * len(recipes)
        of_papers = [
            topic
            for topic, recipe in enumerate(recipes)
            if not all(text.said for text, _ in recipe.wanted)
        ]
        if not of_papers:
            return found
        papers = slice(self._size)
        alike = None if self._meant is None else near_in_meaning(asked.named, self._meant, papers)
        for topic in of_papers:
            wanted = recipes[topic].wanted
            texts = [row_of[text] for text, _ in wanted]
            weights = np.array([[weight] for _, weight in wanted])
            did = asked.near[texts, papers] * weights / sides.deviation[topic]
            if alike is not None and sides.spread is not None:
                share = np.asarray(sides.share_of_words)[topic]
                did = share * did + (1 - share) * alike[texts] * weights / sides.spread[topic]
            found[topic] = did.argmax(axis=0)
        return found

    def _nearness(self, named: Sequence[Text], rows: vectors.Rows) -> NDArray[np.float64]:
        """(texts, papers and reference): cosine; for a topic's own text times the share of its
        best covered line.

        A line asks for all of its words; several lines are so many things that may be met. Of a
        stored paper not every word is meant, so papers have no lines.
        """
        near = _dense(self._within(rows.matrix, rows.terms) @ self._against)
        lines = _Lines.of(named, rows)
        if lines.texts:
            covered = _dense(self._within(lines.shares, rows.terms) @ self._having)
            best = covered[lines.firsts]
            for line, text in lines.others:  # few: numpy's reduceat takes ten times as long
                np.maximum(best[text], covered[line], out=best[text])
            near[lines.texts] *= best
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

    def _own(self, wanted: Any, named: Sequence[Text]) -> NDArray[np.bool_]:
        """(topics, reference): where a reference paper is itself one that the topic is made of."""
        rows_of: dict[bytes, list[int]] = {}
        for row, text in enumerate(named):  # a text may count the same words as a paper
            rows_of.setdefault(text.words, []).append(row)
        cells = [
            (row, n, 1.0)
            for n, paper in enumerate(self._usual)
            for row in rows_of.get(paper.words, ())
        ]
        same = _sparse(cells, shape=(len(named), len(self._usual)))
        return _dense(wanted @ same) > 0

    def _standardised(
        self,
        near: NDArray[np.float64],
        counts: NDArray[np.bool_],
        least: NDArray[np.float64] | float = LEAST_DEVIATION,
    ) -> NDArray[np.float64]:
        """(topics, papers and reference): deviations above what is ordinary."""
        mean, deviation = self._usually(near, counts, least)
        return (near - mean) / deviation

    def _usually(
        self,
        near: NDArray[np.float64],
        counts: NDArray[np.bool_],
        least: NDArray[np.float64] | float,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(topics, 1) each: what is ordinary, and what a deviation is.

        counts: (topics, reference), false for a topic's own seeds. As a part of what is ordinary
        they would make everything else look far. least: the smallest deviation that is believed.
        """
        if not near.size:
            return np.zeros((len(near), 1)), np.ones((len(near), 1))
        ordinary = near[:, self._size :]
        counts = counts | ~counts.any(axis=1, keepdims=True)
        mean = _mean(ordinary, counts)
        deviation = np.sqrt(_mean((ordinary - mean) ** 2, counts))
        return mean, np.maximum(deviation, least)

    def _spelled(self, paper: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Of each of the paper's columns: where its text spells the term, or -1."""
        found = self._spellings.get(paper)
        if found is None:
            spans = vectors.spans(vectors.composed(self._said[paper]))
            columns, _ = _row(self._papers, paper)
            ids = self._terms[columns].tolist()
            places = np.array([spans.get(term, (-1, -1)) for term in ids], np.int32).reshape(-1, 2)
            found = places[:, 0].copy(), places[:, 1].copy()
            self._spellings.put(paper, found, len(ids))
        return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """Some topics over the texts that they are made of.

    rows: of the texts. near: (texts, papers and reference), by their words. wanted, disliked:
    (topics, texts), sparse. counts: (topics, reference), see Space._standardised. tokens:
    (topics,), how long a text of the topic is in the mean.
    """

    named: Sequence[Text]
    rows: Any
    near: NDArray[np.float64]
    wanted: Any
    disliked: Any
    counts: NDArray[np.bool_]
    tokens: NDArray[np.float64]

    def only(self, topics: NDArray[np.int64]) -> _Asked:
        return replace(
            self,
            wanted=self.wanted[topics],
            disliked=self.disliked[topics],
            counts=self.counts[topics],
            tokens=self.tokens[topics],
        )

    def mixed(self, dislike_weight: float) -> Any:
        """(topics, texts): weights of the topic as one direction, of unit length."""
        wanted, disliked = _scaled(self.wanted, self.rows), _scaled(self.disliked, self.rows)
        return _scaled(wanted - dislike_weight * disliked, self.rows)


class _Sides(NamedTuple):
    """What words say and what meaning says, (topics, papers) each, standardised.

    deviation, spread: (topics, 1), what a deviation of each is. share_of_words: 0 to 1; all where
    a meaning is not known.
    """

    words: NDArray[np.float64]
    deviation: NDArray[np.float64]
    meaning: NDArray[np.float64] | None = None
    spread: NDArray[np.float64] | None = None
    share_of_words: NDArray[np.float64] | float = 1.0


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of the topics' own texts. shares: (lines, columns), what part of its line each
    single word is. texts: the row of each text; firsts: its first line. others: further lines, each
    with its text's place among `texts`.
    """

    shares: Any
    texts: list[int]
    firsts: list[int]
    others: list[tuple[int, int]]

    @classmethod
    def of(cls, named: Sequence[Text], rows: vectors.Rows) -> _Lines:
        texts: list[int] = []
        firsts: list[int] = []
        others: list[tuple[int, int]] = []
        words: list[int] = []
        row_of_word: list[int] = []
        sizes: list[int] = []
        for row, text in enumerate(named):
            lines = _words_of_lines(text.said)
            first = len(sizes)
            if lines:
                firsts.append(first)
                texts.append(row)
            others += [(first + n, len(texts) - 1) for n in range(1, len(lines))]
            for line in lines:
                words += line
                row_of_word += [row] * len(line)
                sizes.append(len(line))
        line_of_word = np.repeat(np.arange(len(sizes)), sizes)
        columns = np.searchsorted(rows.terms, np.array(words, np.uint64))
        weights = _cells(rows.matrix, np.array(row_of_word, np.int64), columns)
        share = weights / np.bincount(line_of_word, weights)[line_of_word]
        shape = (len(sizes), len(rows.terms))
        shares = sparse.csr_array((share, (line_of_word, columns)), shape=shape)
        return cls(shares, texts, firsts, others)


def _mean(values: NDArray[np.float64], counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(rows, 1): over what counts."""
    if not counts.all():
        # Masked by a product: `where=` sums in blocks that depend on how many rows there are.
        values = values * counts
    mean: NDArray[np.float64] = values.sum(axis=1, keepdims=True)
    mean /= counts.sum(axis=1, keepdims=True)
    return mean


def _words_of_lines(text: str) -> list[list[int]]:
    ids = (sorted(set(vectors.word_ids(line))) for line in text.splitlines())
    return [each for each in ids if each]


def _cells(matrix: Any, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values of a matrix with sorted rows, at cells that it has."""
    height, width = matrix.shape
    filled = np.repeat(np.arange(height), np.diff(matrix.indptr)) * width + matrix.indices
    values: NDArray[np.float64] = matrix.data[np.searchsorted(filled, rows * width + columns)]
    return values


def _share_of_words(
    topics: NDArray[np.float64], papers: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """(topics, papers), 0 to 1. Given are tokens: the more text both have, the more words count."""
    both = np.sqrt(np.outer(topics, papers))
    share: NDArray[np.float64] = both / (both + reach)
    return share


def _batches(recipes: Sequence[Recipe], at_once: int) -> Iterator[list[Recipe]]:
    """So many topics at most, and twice as many texts, unless one alone has more."""
    some: list[Recipe] = []
    texts = 0
    for recipe in recipes:
        size = len(recipe.wanted) + len(recipe.disliked)
        if some and (len(some) == at_once or texts + size > 2 * at_once):
            yield some
            some, texts = [], 0
        some.append(recipe)
        texts += size
    if some:
        yield some


def _ingredients(recipes: Sequence[Recipe]) -> list[Text]:
    """Each once, in an order of their own, so that a topic's sums do not depend on any other."""
    return sorted({each for recipe in recipes for part in recipe for each, _ in part})


def _recipe(parts: Sequence[Part], row_of: Mapping[Text, int]) -> Any:
    """(len(parts), texts): one sparse row of weights over the known texts."""
    cells = [(row, row_of[each], w) for row, part in enumerate(parts) for each, w in part]
    return _sparse(cells, shape=(len(parts), len(row_of)))


def _sparse(cells: Sequence[tuple[int, int, float]], *, shape: tuple[int, int]) -> Any:
    """From (row, column, value)."""
    rows, columns, values = zip(*cells, strict=True) if cells else ((), (), ())
    return sparse.csr_array((list(values), (list(rows), list(columns))), shape=shape, dtype=float)


def _scaled(recipe: Any, texts: Any) -> Any:
    """The recipe whose vectors, `recipe @ texts`, are of unit length (Rocchio's mean, as a ray)."""
    return _over(recipe, _lengths(recipe, texts))


def _lengths(recipe: Any, texts: Any) -> NDArray[np.float64]:
    """Of its vectors, `recipe @ texts`."""
    made = sparse.csr_array(recipe @ texts)
    # Sorted, so that a row adds up in one order whatever other rows there are.
    made.sort_indices()
    made.data **= 2
    lengths: NDArray[np.float64] = np.sqrt(made @ np.ones(made.shape[1]))
    return lengths


def _over(recipe: Any, sizes: NDArray[np.float64]) -> Any:
    """The recipe with each row divided by its size; what has none is nothing."""
    recipe = sparse.csr_array(recipe)
    scale = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > 1e-9)
    data = recipe.data * np.repeat(scale, np.diff(recipe.indptr))
    return sparse.csr_array((data, recipe.indices, recipe.indptr), shape=recipe.shape)


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


def _commonness(
    rows: Any, texts: Sequence[Text], papers: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(papers and reference,) each: mean and deviation of a paper's nearness to the reference, the
    paper itself left out.
    """
    reference = texts[papers:]
    if not reference:
        return np.ones(len(texts)), np.ones(len(texts))
    near = _dense(rows @ sparse.csr_array(rows[papers:].T))
    places: dict[bytes, list[int]] = {}
    for place, text in enumerate(reference):
        places.setdefault(text.words, []).append(place)
    others = np.ones(near.shape)
    for row, text in enumerate(texts):
        others[row, places.get(text.words, [])] = 0
    size = np.maximum(others.sum(axis=1), 1)
    mean = (near * others).sum(axis=1) / size
    spread = np.sqrt(np.maximum((near * near * others).sum(axis=1) / size - mean * mean, 0))
    least = max(np.percentile(spread[papers:], LEAST_SPREAD_PERCENTILE), LEAST_SPREAD)
    return np.maximum(mean, LEAST_SPREAD), np.maximum(spread, least)


def _dense(product: Any) -> NDArray[np.float64]:
    dense: NDArray[np.float64] = product.toarray()
    return dense


def _says_again(term: str, seen: str) -> bool:
    words, others = _words(term), _words(seen)
    return words <= others or others <= words


@lru_cache(maxsize=20_000)
def _words(term: str) -> frozenset[str]:
    return frozenset(WORD.findall(term))
