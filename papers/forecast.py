"""What is known of a paper before anybody votes -> how far above its day's ordinary it may end.

Votes are compared within a day: a paper's *lift* is `ln(1 + votes)` less the mean of that over its
edition, so that days read early and late, and a growing audience, can be pooled. A new paper's
lift is expected from what its organization, its authors and its submitter had before, from its
words, and from two plain facts; `trending` then weighs that against the votes.

**Shrinkage** (empirical Bayes: Efron & Morris, JASA 70, 1975). A name with n past papers whose
lifts sum to s is expected to have

    s / (n + within / between)

where within and between are the variances of lifts inside a name and among names, estimated from
the history itself by the analysis of variance of unbalanced one-way random effects (Searle,
Casella & McCulloch, Variance Components, 1992, section 3.6). A name never seen has 0, the ordinary.
Of many authors the three with the largest expectations, of either sign, are added: co-authors
share papers, and a mean over eight hundred names says nothing.

**Words**: a ridge regression of lifts on the stored bags of words (Hoerl & Kennard, 1970), rows of
`1 + ln count` of unit length, solved by LSMR (Fong & Saunders, 2011).

The parts are summed with fixed weights, by least squares on out-of-sample parts (stacked
regression: Breiman, 1996). benchmarks/trending.py measures what each of them adds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .vectors import Bag, unaccented, unit_rows

STRONGEST_AUTHORS = 3
FEWEST_A_DAY = 5  # papers, below which their mean says little about the day
FEWEST_SEEN = 500  # papers, below which variances are not estimated but taken as measured
RIDGE = 10.0
RARE = 10  # papers: a term in fewer of them has no weight

# Of each part's expectation, and in lift for a fact; fitted on 2025-03-17..2025-06-30.
TEXT_WEIGHT = 0.8
CODE_LIFT, PROJECT_LIFT = 0.1, 0.2
TEAM_LIFT = 0.15  # for each e-fold of the number of authors


class Group(StrEnum):
    ORGANIZATION = "organization"
    AUTHOR = "author"
    SUBMITTER = "submitter"


# Organizations are named since October 2025 only: theirs is the authors', not fitted.
GROUP_WEIGHT = {Group.ORGANIZATION: 0.3, Group.AUTHOR: 0.3, Group.SUBMITTER: 0.4}

# within / between on 6,015 papers of 2024-05-27..2025-12-18, for who has no history to estimate it.
USUAL_RATIO = {Group.ORGANIZATION: 4.0, Group.AUTHOR: 3.2, Group.SUBMITTER: 2.1}


@dataclass(frozen=True, slots=True)
class Listing:
    """A paper on the list of an edition, as far as it is known before the votes.

    votes: so far, of one in the past. code: its bag of words as stored; empty where there is none.
    """

    edition: Hashable
    authors: tuple[str, ...] = ()
    organization: str = ""
    submitter: str = ""
    has_code: bool = False
    has_project: bool = False
    code: bytes = b""
    votes: int = 0

    def names(self, group: Group) -> tuple[str, ...]:
        """Those of that group, each once, spelled one way."""
        match group:
            case Group.AUTHOR:
                return tuple(dict.fromkeys(map(_plain, self.authors)))
            case Group.ORGANIZATION:
                return (_plain(self.organization),) if self.organization else ()
            case Group.SUBMITTER:
                return (self.submitter,) if self.submitter else ()


def lifts(listings: Sequence[Listing]) -> NDArray[np.float64]:
    """(listings,): ln(1 + votes) less its mean over the edition; NaN in one of few papers."""
    votes = np.log1p(np.array([each.votes for each in listings], np.float64))
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, each in enumerate(listings):
        places[each.edition].append(place)
    for those in places.values():
        votes[those] -= votes[those].mean() if len(those) >= FEWEST_A_DAY else np.nan
    return votes


@dataclass(frozen=True, slots=True)
class Effects:
    """Of the names in one group: how many papers each had, and the sum of their lifts."""

    ratio: float  # within / between; infinite where names make no difference
    seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def expected(self, name: str) -> float:
        count, total = self.seen.get(name, (0, 0.0))
        return total / (count + self.ratio)


@dataclass(frozen=True, slots=True)
class History:
    """What became of past listings, by the names that they bore."""

    effects: dict[Group, Effects]

    @classmethod
    def of(cls, listings: Sequence[Listing], *, earlier: History | None = None) -> Self:
        """earlier: of other listings, which are counted in; the newer ones estimate variances."""
        found = lifts(listings)
        known = [
            (each, float(lift))
            for each, lift in zip(listings, found, strict=True)
            if not math.isnan(lift)
        ]
        before = earlier.effects if earlier is not None else {}
        return cls({group: _effects(group, known, before.get(group)) for group in Group})

    def expected(self, listing: Listing, group: Group) -> float:
        """The lift that names of this group make one expect; 0 for the ordinary and the unknown."""
        effects = self.effects.get(group)
        if effects is None:
            return 0.0
        each = sorted(map(effects.expected, listing.names(group)), key=lambda lift: -abs(lift))
        return sum(each[:STRONGEST_AUTHORS])


NO_HISTORY = History({})


@dataclass(frozen=True, slots=True)
class TextPrior:
    """How much each term adds to a lift. Terms ascending; weights of the same length."""

    papers: int  # that it was fitted on
    terms: NDArray[np.uint64]
    weights: NDArray[np.float32]

    @classmethod
    def fit(cls, codes: Sequence[bytes], lifts: NDArray[np.float64]) -> Self:
        """codes, lifts: of settled papers, in one order."""
        # A tenth of what starting takes, and needed once a day.
        from scipy.sparse.linalg import lsmr

        rows, terms = _rows(codes)
        counts = np.bincount(rows.indices, minlength=len(terms))
        kept = np.flatnonzero(counts >= RARE)
        weights = np.zeros(len(kept))
        if len(kept):
            matrix = sparse.csr_array(rows[:, kept])
            weights = lsmr(matrix, lifts, damp=math.sqrt(RIDGE), atol=1e-4, btol=1e-4)[0]
        return cls(len(codes), terms[kept], weights.astype(np.float32))

    def expected(self, codes: Sequence[bytes]) -> NDArray[np.float64]:
        """(codes,): the lift that the words make one expect. Unknown terms add nothing."""
        rows, terms = _rows(codes)
        if not len(self.terms) or not len(terms):
            return np.zeros(len(codes))
        places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        weights = np.where(self.terms[places] == terms, self.weights[places], 0.0)
        expected: NDArray[np.float64] = rows @ weights
        return expected

    def to_bytes(self) -> bytes:
        """Ten bytes a term: weights need no more than half precision."""
        return self.terms.astype("<u8").tobytes() + self.weights.astype("<f2").tobytes()

    @classmethod
    def from_bytes(cls, table: bytes, *, papers: int) -> Self:
        """Raises ValueError where `table` is not a whole number of 10-byte terms."""
        size, rest = divmod(len(table), 10)
        if rest:
            raise ValueError("not a stored table of words' weights")
        return cls(
            papers,
            np.frombuffer(table, "<u8", size).astype(np.uint64),
            np.frombuffer(table, "<f2", size, offset=8 * size).astype(np.float32),
        )


NO_TEXT = TextPrior(0, np.empty(0, np.uint64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class Parts:
    """What each ingredient makes one expect of some listings, as weighed; arrays (listings,)."""

    text: NDArray[np.float64]
    names: dict[Group, NDArray[np.float64]]
    facts: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        total: NDArray[np.float64] = self.text + self.facts + sum(self.names.values())
        return total


def expected_lifts(
    listings: Sequence[Listing], history: History, text: TextPrior
) -> NDArray[np.float64]:
    """(listings,): of the papers of one edition, against each other: they sum to 0."""
    total = parts(listings, history, text).total
    return total - total.mean() if len(total) else total


def parts(listings: Sequence[Listing], history: History, text: TextPrior) -> Parts:
    names = {
        group: np.array([weight * history.expected(each, group) for each in listings])
        for group, weight in GROUP_WEIGHT.items()
    }
    words = TEXT_WEIGHT * text.expected([each.code for each in listings])
    return Parts(words, names, np.array([_of_facts(each) for each in listings]))


def _of_facts(listing: Listing) -> float:
    return (
        CODE_LIFT * listing.has_code
        + PROJECT_LIFT * listing.has_project
        + TEAM_LIFT * math.log(max(len(listing.authors), 1))
    )


def _effects(
    group: Group, known: Iterable[tuple[Listing, float]], earlier: Effects | None
) -> Effects:
    seen: dict[str, tuple[int, float]] = {}
    squares, papers = 0.0, 0
    for listing, lift in known:
        papers += 1
        for name in listing.names(group):
            count, total = seen.get(name, (0, 0.0))
            seen[name] = count + 1, total + lift
            squares += lift * lift
    ratio = variance_ratio(seen.values(), squares) if papers >= FEWEST_SEEN else None
    for name, (count, total) in earlier.seen.items() if earlier is not None else ():
        newer_count, newer_total = seen.get(name, (0, 0.0))
        seen[name] = count + newer_count, total + newer_total
    return Effects(USUAL_RATIO[group] if ratio is None else ratio, seen)


def variance_ratio(seen: Iterable[tuple[int, float]], squares: float) -> float | None:
    """within / between of one-way random effects, by the analysis of variance.

    seen: (number, sum) of each name. squares: sum of all squares. None where nothing can be said:
    fewer than two names, or none with two papers. Infinite where names do not differ.
    """
    pairs = np.array(list(seen), np.float64).reshape(-1, 2)
    count, total = pairs[:, 0], pairs[:, 1]
    papers, names = count.sum(), len(pairs)
    if names < 2 or papers == names:
        return None
    between_squares = (total**2 / count).sum() - total.sum() ** 2 / papers
    within = (squares - (total**2 / count).sum()) / (papers - names)
    typical = (papers - (count**2).sum() / papers) / (names - 1)
    between = (between_squares / (names - 1) - within) / typical
    return float(within / between) if between > 0 else math.inf


def _rows(codes: Sequence[bytes]) -> tuple[Any, NDArray[np.uint64]]:
    """(texts, terms), rows of unit length, and the term of each column. Without document
    frequencies: a table counted anew would turn the weights into those of other words.
    """
    bags = [Bag.from_bytes(code) for code in codes]
    flat = np.concatenate([each.terms for each in bags]) if bags else np.empty(0, np.uint64)
    counts = np.concatenate([each.counts for each in bags]) if bags else np.empty(0)
    terms, columns = np.unique(flat, return_inverse=True)
    ends = np.concatenate([[0], np.cumsum([len(each.terms) for each in bags])]).astype(np.int64)
    shape = (len(bags), len(terms))
    weights = 1 + np.log(np.maximum(counts, 1))
    return unit_rows(sparse.csr_array((weights, columns, ends), shape=shape)), terms


@lru_cache(maxsize=100_000)
def _plain(name: str) -> str:
    return " ".join(unaccented(name).lower().split())
