"""Text -> vectors, behind one interface that search and ranking share.

An `Encoder` counts words, a `Model` knows what they mean. The encoder here is uncapped TF-IDF over
stemmed 1- and 2-grams with sublinear term frequency (1 + ln tf) and idf (ln((N + 1) / (df + 1/2)):
what is in every text weighs nothing), rows of unit length; the weighting of Salton & Buckley
(1988). A term is known by a 64-bit hash, so no vocabulary has to be shared to compare two texts and
none is ever "full": among ten million terms two collide with a chance of 3 in a million.

What is stored of a text is its counts (`Bag`), not its weights: a newer document-frequency table
changes every weight without touching a row.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Protocol, Self

import numpy as np
import Stemmer
from numpy.typing import NDArray
from scipy import sparse

WORD = re.compile(r"[^\W_]+(?:\+\+|#)?")
# Between the words of a pair: the end of a clause, or words of their own (learning for robots).
BREAK = re.compile(r"[.,:;!?()]|\s\w|\w\s")

COMPARED_AT_ONCE = 250
SENTENCE_REACH = 120.0  # of models that read whole sentences

# English function words. A longer list, or one of what every abstract says, cost accuracy.
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about an and are as at be been but by can for from has have how i if in into is it its
        no not of on or our such than that the their then there these they this those through to
        using via was we were what when which while who will with you""",
    )
)


class Encoder(Protocol):
    """Turns texts into codes that are stored, and codes into rows that can be compared."""

    @property
    def id(self) -> str:
        """Stored beside every code; codes of two encoders are never compared."""
        ...

    def encode(self, text: str) -> bytes: ...

    def rows(self, codes: Sequence[bytes]) -> Rows:
        """One unit-length row per code (all zero for an empty text), in the order given."""
        ...

    def tokens(self, codes: Sequence[bytes]) -> NDArray[np.float64]:
        """How long each text is: its words and pairs of words."""
        ...


class Model(Protocol):
    """Turns texts into dense vectors of what they mean, whatever words they choose."""

    @property
    def id(self) -> str:
        """At most 64 characters, stored beside every vector; two models' are never compared."""
        ...

    @property
    def dimensions(self) -> int: ...

    @property
    def reach(self) -> float:
        """In tokens (`Encoder.tokens`), the geometric mean of two texts: so long, their words and
        what they mean count alike; longer ones say more by their words.
        """
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, dimensions): rows of unit length, in the order given. Raises ModelError."""
        ...


class ModelError(Exception):
    """The model cannot be used, or not now; the message names what to mend.

    retry_after: seconds for which it asks to be left alone.
    """

    def __init__(self, message: str, *, retry_after: float = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Rows:
    """`matrix`: (texts, columns), rows of unit length. `terms`: the term of each column."""

    matrix: Any  # scipy.sparse.csr_array of float64; its stubs have no usable generic form
    terms: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Bag:
    """The terms of one text, ascending, and how often each occurs."""

    terms: NDArray[np.uint64]
    counts: NDArray[np.uint16]

    def to_bytes(self) -> bytes:
        terms, counts = self.terms.astype("<u8", copy=False), self.counts.astype("<u2", copy=False)
        return terms.tobytes() + counts.tobytes()

    @classmethod
    def from_bytes(cls, code: bytes) -> Self:
        """Raises ValueError where `code` is not a whole number of 10-byte terms."""
        bag, _ = cls.together([code])
        return bag

    @classmethod
    def together(cls, codes: Sequence[bytes]) -> tuple[Self, NDArray[np.int64]]:
        """The terms of many texts, one text's after the other's, and how many each has. Raises
        ValueError where a code is not a whole number of 10-byte terms.
        """
        if any(len(code) % 10 for code in codes):
            raise ValueError("not a stored bag of words")
        sizes = [len(code) // 10 for code in codes]
        both = list(zip(codes, sizes, strict=True))
        terms = np.frombuffer(b"".join(code[: 8 * size] for code, size in both), "<u8")
        counts = np.frombuffer(b"".join(code[8 * size :] for code, size in both), "<u2")
        all_terms, all_counts = (
            terms.astype(np.uint64, copy=False),
            counts.astype(np.uint16, copy=False),
        )
        return cls(all_terms, all_counts), np.array(sizes, np.int64)


@dataclass(frozen=True, slots=True)
class DocumentFrequencies:
    """In how many of `documents` texts each term occurs. Terms ascending; rare ones may be cut."""

    documents: int
    terms: NDArray[np.uint64]
    counts: NDArray[np.uint32]

    @classmethod
    def count(cls, bags: Iterable[Bag], *, at_least: int = 1) -> Self:
        """Counted over `bags`; terms in fewer than `at_least` of them are left out."""
        sets = [bag.terms for bag in bags]
        everything = np.concatenate(sets) if sets else np.empty(0, np.uint64)
        terms, counts = np.unique(everything, return_counts=True)
        kept = counts >= at_least
        return cls(len(sets), terms[kept], counts[kept].astype(np.uint32))

    def idf(self, terms: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Of each term; one that the table does not have counts as seen in a single text. Without
        any text counted, all weigh the same.
        """
        if not self.documents:
            return np.ones(len(terms))
        counts = np.ones(len(terms))
        if len(self.terms):
            places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
            known = self.terms[places] == terms
            counts[known] = self.counts[places[known]]
        idf: NDArray[np.float64] = np.log((self.documents + 1) / (counts + 0.5))
        return np.maximum(idf, 0.0)

    def to_bytes(self) -> bytes:
        return self.terms.astype("<u8").tobytes() + self.counts.astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, table: bytes, *, documents: int) -> Self:
        """Raises ValueError where `table` is not a whole number of 12-byte terms."""
        size, rest = divmod(len(table), 12)
        if rest:
            raise ValueError("not a stored document-frequency table")
        return cls(
            documents,
            np.frombuffer(table, "<u8", size).astype(np.uint64),
            np.frombuffer(table, "<u4", size, offset=8 * size).astype(np.uint32),
        )


@dataclass(frozen=True, slots=True)
class WordEncoder:
    """The default encoder: needs no model, only a document-frequency table."""

    frequencies: DocumentFrequencies
    id: str = "words-1"

    def encode(self, text: str) -> bytes:
        return bag(text).to_bytes()

    def tokens(self, codes: Sequence[bytes]) -> NDArray[np.float64]:
        together, sizes = Bag.together(codes)
        rows = np.repeat(np.arange(len(codes)), sizes)
        tokens: NDArray[np.float64] = np.bincount(rows, together.counts, len(codes)).astype(float)
        return tokens

    def rows(self, codes: Sequence[bytes]) -> Rows:
        together, sizes = Bag.together(codes)
        terms, columns = np.unique(together.terms, return_inverse=True)
        counts = np.maximum(together.counts, 1)
        weights = (1 + np.log(counts)) * self.frequencies.idf(terms)[columns]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        matrix = sparse.csr_array((weights, columns, indptr), shape=(len(codes), len(terms)))
        return Rows(unit_rows(matrix), terms)


def packed(vector: NDArray[np.float32]) -> bytes:
    """(d,) -> d bytes: each component as a whole number of 127ths of the largest one.

    Its direction is what is kept, to within a cosine of .9999 in 384 dimensions. Raises ValueError
    for a vector that has none: all zeros, or not finite.
    """
    largest = float(np.abs(vector).max(initial=0.0))
    if not 0 < largest < np.inf:
        raise ValueError("a vector without a direction")
    code: bytes = np.rint(vector * (127 / largest)).astype(np.int8).tobytes()
    return code


def unpacked(codes: Sequence[bytes]) -> NDArray[np.float32]:
    """(codes, d): rows of unit length. Raises ValueError where they are not of one length."""
    if len({len(code) for code in codes}) > 1:
        raise ValueError("vectors of different models")
    rows = np.frombuffer(b"".join(codes), np.int8).astype(np.float32)
    return unit(rows.reshape(len(codes), -1 if rows.size else 0))


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dense rows scaled to length one; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled


@dataclass(frozen=True, slots=True)
class Discriminant:
    """What tells a topic's papers from all others: directions weighed by how little papers differ
    along them anyway (Fisher's linear discriminant, 1936; the covariance shrunk towards a multiple
    of the identity, Ledoit & Wolf, 2004).

    It ranks as a logistic regression trained for each reader does, at the price of one product.
    middle: (d,) and matrix: (d, d), of the papers it was fitted on.
    """

    middle: NDArray[np.float32]
    matrix: NDArray[np.float32]

    @classmethod
    def of(cls, rows: NDArray[np.float32], *, shrinkage: float = 3.0) -> Self:
        """rows: (n, d) of unit length. shrinkage: of the mean variance, added to each."""
        middle = rows.mean(axis=0)
        centred = (rows - middle).astype(np.float64)
        covariance = centred.T @ centred / len(rows)
        least = shrinkage * max(float(np.trace(covariance)) / len(covariance), 1e-9)
        matrix = np.linalg.inv(covariance + least * np.eye(len(covariance)))
        return cls(middle, matrix.astype(np.float32))

    def directions(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        """(topics, d): what papers' rows are multiplied with. means: (topics, d), each the mean of
        the rows of a topic's papers; what is made of words lies elsewhere, and has no direction.
        """
        found: NDArray[np.float32] = ((means - self.middle) @ self.matrix).astype(np.float32)
        return found


@dataclass(frozen=True, slots=True)
class Sense:
    """What is to be known of a model's vectors before topics are held against them.

    dimensions, reach: as the model has them. discriminant: none while too few papers are stored.
    """

    dimensions: int
    reach: float
    discriminant: Discriminant | None = None


@lru_cache(maxsize=2_000)  # a text is counted for its words, and again for what it means
def bag(text: str) -> Bag:
    counted = Counter(map(term_id, terms(text)))
    ids = sorted(counted)
    counts = [min(counted[id], 65535) for id in ids]
    return Bag(np.array(ids, np.uint64), np.array(counts, np.uint16))


def terms(text: str) -> list[str]:
    """Its stemmed words and pairs of neighbouring words, in order, with repetitions."""
    stems = _stems(text)
    return [*stems, *[f"{a} {b}" for a, b in pairwise(stems)]]


def word_ids(text: str) -> list[int]:
    """The term ids of its single words."""
    return list(map(term_id, _stems(text)))


def surfaces(text: str) -> dict[int, str]:
    """From term id to how `text` itself spells the term: its first occurrence, lower case.

    Of a pair, with what joins its words (chain-of-thought); none where something parts them.
    """
    text = composed(text)
    return {term: spelling(text, *span) for term, span in spans(text).items()}


def spans(text: str) -> dict[int, tuple[int, int]]:
    """From term id to where the term is spelled first in a text that is `composed`."""
    words = [
        (stem, *where.span())
        for where in WORD.finditer(text)
        if (stem := _telling(where.group().lower())) is not None
    ]
    found: dict[int, tuple[int, int]] = {}
    for (first, start, stop), (second, begin, end) in pairwise(words):
        between = text[stop:begin]
        if between == " " or not BREAK.search(between):
            found.setdefault(term_id(f"{first} {second}"), (start, end))
    for stem, start, end in words:
        found.setdefault(term_id(stem), (start, end))
    return found


def spelling(text: str, start: int, end: int) -> str:
    return " ".join(text[start:end].lower().split())


@lru_cache(maxsize=2_000)  # a topic's words are counted, and looked at line by line
def _stems(text: str) -> tuple[str, ...]:
    """Of every word that is not a stop word, in order, with repetitions."""
    stems = [_telling(word.lower()) for word in WORD.findall(composed(text))]
    return tuple(stem for stem in stems if stem is not None)


@lru_cache(maxsize=200_000)
def _telling(word: str) -> str | None:
    """Its stem; none of a stop word, or of a single letter that is no word in its language."""
    if word in STOP_WORDS or (len(word) == 1 and word.isascii()):
        return None
    return stem(word)


def phrase(text: str) -> str:
    """All stems in order, stop words too, blank-separated and blank-framed.

    `phrase(keyword) in phrase(text)` is a match of whole words whatever their endings.
    """
    return f" {' '.join(stem(word.lower()) for word in WORD.findall(composed(text)))} "


def composed(text: str) -> str:
    """One spelling for what looks alike: ligatures, full width, accents written apart (NFKC)."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def unaccented(text: str) -> str:
    if text.isascii():
        return text
    letters = unicodedata.normalize("NFKD", text)
    return composed("".join(char for char in letters if not unicodedata.combining(char)))


@lru_cache(maxsize=200_000)
def term_id(term: str) -> int:
    return int.from_bytes(blake2b(term.encode(), digest_size=8).digest(), "little")


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """By Snowball's English stemmer (Porter, 2001), so that robot, robots and robotic meet.

    Without accents: Poincaré and Poincare meet too.
    """
    return str(_stemmer.stemWord(unaccented(word)))


_stemmer = Stemmer.Stemmer("english")


def unit_rows(matrix: Any) -> Any:
    """The sparse matrix with every row scaled to length one; empty rows stay empty."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return sparse.csr_array(sparse.diags_array(scale) @ matrix)


def near_duplicates(matrix: Any, *, at_least: float = 0.6) -> list[list[int]]:
    """Groups of rows linked by a cosine of `at_least`; only groups of two and more.

    Rows are compared some at a time: nearly every two texts share a word, and so the whole product
    of some thousand is large.
    """
    starts = range(0, matrix.shape[0], COMPARED_AT_ONCE)
    blocks = [
        _links(matrix[start : start + COMPARED_AT_ONCE], matrix, at_least) for start in starts
    ]
    if not blocks:
        return []
    count, labels = sparse.csgraph.connected_components(sparse.vstack(blocks), directed=False)
    groups = [np.flatnonzero(labels == label).tolist() for label in range(count)]
    return [group for group in groups if len(group) > 1]


def _links(rows: Any, matrix: Any, at_least: float) -> Any:
    similar = sparse.csr_array(rows @ matrix.T)
    similar.data[similar.data < at_least] = 0
    similar.eliminate_zeros()
    return similar
