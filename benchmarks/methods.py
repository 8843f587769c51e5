"""Ways of ranking a pool for a reader: those in use today, and ours as the product runs it.

Each method is prepared once for a set and then asked case by case; higher scores come first. The
others read words as scikit-learn cuts them, which is how they are used, and with what measured
best for them; ours reads what the product stores.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks import product
from benchmarks.libraries import Case, Collection, Floats, Papers

LESS_ORDINARY = 0.5  # of the mean of ordinary papers, in Rocchio's profile
SANITY_TERMS = 20_000
SANITY_WORD = r"(?u)\b[a-zA-Z_][a-zA-Z0-9_]+\b"

Method = Callable[[Case], Floats]


class Lab:
    """A set as the methods of others read it; each matrix is made when the first asks for it."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.papers = collection.papers

    @cached_property
    def tfidf(self) -> Words:
        """Single words and pairs, those of one paper alone left out, and no cap."""
        return Words.of(self.papers, min_df=2)

    @cached_property
    def sanity(self) -> Words:
        """As arxiv-sanity-lite reads: the 20,000 most frequent terms."""
        return Words.of(
            self.papers,
            min_df=min(5, max(1, len(self.papers.codes) // 200)),
            max_features=SANITY_TERMS,
            strip_accents="unicode",
            token_pattern=SANITY_WORD,
        )

    @cached_property
    def single(self) -> Words:
        """Single words, counted."""
        return Words.of(self.papers, is_weighed=False, ngram_range=(1, 1))


class Words:
    """rows: (papers, terms), sparse. Lines of text become rows of the same kind."""

    def __init__(self, rows: Any, vectorizer: Any) -> None:
        self.rows, self._vectorizer = rows, vectorizer

    @classmethod
    def of(
        cls, papers: Papers, *, is_weighed: bool = True, min_df: int = 1, **options: Any
    ) -> Words:
        """options: of scikit-learn's vectorizers. Of counted words only the weights are made."""
        from sklearn.feature_extraction import text as by

        if papers.counts is not None:
            counts = narrow(papers.counts)
            kept = np.bincount(counts.indices, minlength=counts.shape[1]) >= min_df
            weigh = by.TfidfTransformer(sublinear_tf=True)
            return cls(weigh.fit_transform(counts[:, kept]) if is_weighed else counts, None)
        said = {"ngram_range": (1, 2), "stop_words": "english", "min_df": min_df, **options}
        make = by.TfidfVectorizer(sublinear_tf=True, **said) if is_weighed else (
            by.CountVectorizer(**said)
        )  # fmt: skip
        return cls(narrow(make.fit_transform(papers.texts)), make)

    def asked(self, case: Case) -> Any:
        """The rows of what the reader is known by."""
        return self._vectorizer.transform([case.line]) if case.line else self.rows[case.known]


def by_chance(lab: Lab) -> Method:
    return lambda case: np.zeros(len(case.pool))


def by_popularity(lab: Lab) -> Method:
    """By votes; where these are libraries, without the reader's own."""
    votes = lab.collection.votes
    return lambda case: votes[case.pool] - case.own


def by_bm25(lab: Lab) -> Method:
    """Each kept paper is a query of its distinct words; their scores are added up."""
    weights = bm25_weights(lab.single.rows)

    def scores(case: Case) -> Floats:
        query = np.bincount(lab.single.asked(case).indices, minlength=weights.shape[1])
        found: Floats = weights[case.pool] @ query
        return found

    return scores


def by_rocchio(lab: Lab) -> Method:
    """The mean of the kept papers less half of the mean of ordinary ones (Rocchio, 1971)."""
    rows = lab.tfidf.rows

    def scores(case: Case) -> Floats:
        wanted, ordinary = mean(lab.tfidf.asked(case)), mean(rows[case.background])
        found: Floats = rows[case.pool] @ (wanted - LESS_ORDINARY * ordinary)
        return found

    return scores


def by_svm(lab: Lab) -> Method:
    """As arxiv-sanity-lite: one linear SVM a reader, every other paper a negative."""
    from sklearn.svm import LinearSVC

    rows = lab.sanity.rows

    def scores(case: Case) -> Floats:
        known = lab.sanity.asked(case)
        others = rows[np.concatenate([case.pool, case.background])]
        model = LinearSVC(class_weight="balanced", C=0.01, max_iter=10_000, tol=1e-6)
        labels = np.arange(known.shape[0] + others.shape[0]) < known.shape[0]
        model.fit(sparse.vstack([known, others], format="csr"), labels)
        found: Floats = model.decision_function(rows[case.pool])
        return found

    return scores


METHODS: dict[str, Callable[[Lab], Method]] = {
    "random": by_chance,
    "popularity": by_popularity,
    "bm25": by_bm25,
    "rocchio": by_rocchio,
    "svm": by_svm,
    "ours-words": lambda lab: product.Words(lab.collection),
    "ours": lambda lab: product.Ours(lab.collection),
    "ours-semantic": lambda lab: product.OursWithModel(lab.collection),
}
BY_LINE = frozenset({"random", "bm25", "rocchio", "ours-words", "ours"})
NEED_SKLEARN = frozenset({"bm25", "rocchio", "svm"})


def why_not(name: str, collection: Collection) -> str:
    """Why a set cannot be ranked by that method here; empty where it can."""
    if name in NEED_SKLEARN and importlib.util.find_spec("sklearn") is None:
        return "scikit-learn is not installed (make test installs it)"
    if name == "popularity" and not collection.votes.any():
        return "the set has no votes"
    if name == "ours-semantic":
        return product.why_without_model(collection)
    return ""


def bm25_weights(counts: Any, *, k1: float = 1.2, b: float = 0.75) -> Any:
    """Okapi BM25 (Robertson & Zaragoza, 2009): what each term of each text adds to a score."""
    texts = counts.shape[0]
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log(1 + (texts - frequency + 0.5) / (frequency + 0.5))
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    norm = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9))
    repeated = np.repeat(norm, np.diff(counts.indptr))
    data = idf[counts.indices] * counts.data * (k1 + 1) / (counts.data + repeated)
    return sparse.csr_array((data, counts.indices, counts.indptr), shape=counts.shape)


def mean(rows: Any) -> Floats:
    found: Floats = np.asarray(rows.mean(axis=0)).ravel() if rows.shape[0] else (
        np.zeros(rows.shape[1])
    )  # fmt: skip
    return found


def narrow(matrix: Any) -> Any:
    """With the 32-bit indices that scikit-learn insists on."""
    parts = (matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32))
    return sparse.csr_matrix(parts, shape=matrix.shape)
