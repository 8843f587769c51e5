"""Text -> vectors, behind one interface that search and ranking share.

The encoder here counts words: uncapped TF-IDF over stemmed 1- and 2-grams with sublinear term
frequency (1 + ln tf) and smoothed idf (ln((1 + N) / (1 + df)) + 1), rows of unit length; the
weighting of Salton & Buckley (1988) as scikit-learn computes it. A term is known by a 64-bit
hash, so no vocabulary has to be shared to compare two texts and none is ever "full": among ten
million terms two collide with a chance of 3 in a million.

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
import snowballstemmer
from numpy.typing import NDArray
from scipy import sparse

WORD = re.compile(r"[^\W_]+(?:\+\+|#)?")
# Between the words of a pair: the end of a clause, or words of their own (learning for robots).
BREAK = re.compile(r"[.,:;!?()]|\s\w|\w\s")

COMPARED_AT_ONCE = 250

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
        size, rest = divmod(len(code), 10)
        if rest:
            raise ValueError("not a stored bag of words")
        terms, counts = (
            np.frombuffer(code, "<u8", size), np.frombuffer(code, "<u2", size, offset=8 * size)
        )  # fmt: skip
        return cls(terms.astype(np.uint64, copy=False), counts.astype(np.uint16, copy=False))


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
        """Of each term; one that the table does not have counts as seen in a single text."""
        counts = np.ones(len(terms))
        if len(self.terms):
            places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
            known = self.terms[places] == terms
            counts[known] = self.counts[places[known]]
        idf: NDArray[np.float64] = np.log((1 + self.documents) / (1 + counts)) + 1
        return np.maximum(idf, 1.0)

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

    def rows(self, codes: Sequence[bytes]) -> Rows:
        bags = [Bag.from_bytes(code) for code in codes]
        lengths = [len(each.terms) for each in bags]
        flat = np.concatenate([each.terms for each in bags]) if bags else np.empty(0, np.uint64)
        terms, columns = np.unique(flat, return_inverse=True)
        counts = np.concatenate([each.counts for each in bags]) if bags else np.empty(0)
        weights = (1 + np.log(np.maximum(counts, 1))) * self.frequencies.idf(terms)[columns]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        matrix = sparse.csr_array((weights, columns, indptr), shape=(len(bags), len(terms)))
        return Rows(unit_rows(matrix), terms)


def bag(text: str) -> Bag:
    counted = Counter(map(term_id, terms(text)))
    ids = sorted(counted)
    counts = [min(counted[id], 65535) for id in ids]
    return Bag(np.array(ids, np.uint64), np.array(counts, np.uint16))


def terms(text: str) -> list[str]:
    """Its stemmed words and pairs of neighbouring words, in order, with repetitions."""
    stems = [stem for stem, _ in _stemmed(composed(text))]
    return stems + [f"{a} {b}" for a, b in pairwise(stems)]


def word_ids(text: str) -> list[int]:
    """The term ids of its single words."""
    return [term_id(stem) for stem, _ in _stemmed(composed(text))]


def surfaces(text: str) -> dict[int, str]:
    """From term id to how `text` itself spells the term: its first occurrence, lower case.

    Of a pair, with what joins its words (chain-of-thought); none where something parts them.
    """
    text = composed(text)
    words = _stemmed(text)
    found: dict[int, str] = {}
    for (first, start), (second, end) in pairwise(words):
        if not BREAK.search(text, start.end(), end.start()):
            span = " ".join(text[start.start() : end.end()].lower().split())
            found.setdefault(term_id(f"{first} {second}"), span)
    for stem, word in words:
        found.setdefault(term_id(stem), word.group().lower())
    return found


def _stemmed(text: str) -> list[tuple[str, re.Match[str]]]:
    """(stem, where it stands) of every word that is not a stop word."""
    words = ((word.group().lower(), word) for word in WORD.finditer(text))
    return [
        (stem(word), where)
        for word, where in words
        if word not in STOP_WORDS and (len(word) > 1 or not word.isascii())
    ]


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


_stemmer = snowballstemmer.stemmer("english")


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
