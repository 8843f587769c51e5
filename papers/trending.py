"""Votes over time and what was to be expected -> settled votes, a score from 0 to 1 and a rank.

The day's first votes are few and noisy, and a paper listed at midnight has had longer to collect
them than one listed at three in the afternoon. Both are judged as rates under doubt: votes come
as a Poisson process whose exposure saturates, `exposure(hours) = 1 - exp(-hours / 28)` (of the
votes a listing has after ten days, 40 to 55 % were there after 17 hours: measured on 2024-08-01;
in a list's first eight hours votes grow as hours^0.93: measured on 2025). The settled number has
a Gamma prior whose mean is `TYPICAL_VOTES * exp(lift)`, the lift being what organization, authors,
submitter and words make one expect (`forecast`; 0 where nothing is known), and whose shape is
PRIOR_SHAPE. The posterior is conjugate (Gelman et al., Bayesian Data Analysis, 3rd ed., 2.6):

    shape = votes + PRIOR_SHAPE      rate = exposure + PRIOR_SHAPE / prior mean

with mean `shape / rate`, the expected settled votes, and deviation `sqrt(shape) / rate`, their
doubt. The mean less one deviation is what the evidence already carries, as Evan Miller's "How Not
To Sort By Average Rating" (2009) takes the lower bound of a proportion. It becomes a score by
`bound / (bound + TYPICAL_VOTES)`. The shape (first votes of 2025 say 1.6, by maximum likelihood)
and the most that a lift may do are held so low that a paper without a vote stays below 0.23,
whoever wrote it and however new it is: nobody is popular on reputation alone.

Comments are no evidence (80 % of listings have exactly the submitter's one); stars break ties.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

HOURS_SCALE = 28.0
TYPICAL_VOTES = 20.0  # what a median paper gathers in the end; scores 0.5 if it were certain
PRIOR_SHAPE = 1.2
MOST_LIFT = 1.2  # either way: what was known before makes nobody more than 3.3 times as good
DOUBT = 1.0  # standard deviations


@dataclass(frozen=True, slots=True)
class Reading:
    read_at: datetime
    upvotes: int
    comments: int = 0
    stars: int | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """A paper of an edition: listed at or after `listed_from`, at `position` of the source.

    lift: what was expected of it before any vote, as `forecast.expected_lifts` has it.
    """

    paper_id: int
    listed_from: datetime
    position: int
    readings: tuple[Reading, ...] = ()
    lift: float = 0.0


@dataclass(frozen=True, slots=True)
class Placed:
    """score: None where nobody has counted votes."""

    paper_id: int
    score: float | None
    rank: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """Settled votes: expected, and one standard deviation of doubt."""

    votes: float
    doubt: float


def exposure(hours: float) -> float:
    """The share of its settled votes that a paper has after `hours` on the list."""
    return 1 - math.exp(-max(hours, 0.0) / HOURS_SCALE)


def outlook(votes: int, hours: float, *, lift: float = 0.0) -> Outlook:
    """For a paper that has `votes` after `hours` on the list, of which `lift` was expected."""
    prior_mean = TYPICAL_VOTES * math.exp(min(max(lift, -MOST_LIFT), MOST_LIFT))
    shape = votes + PRIOR_SHAPE
    rate = exposure(hours) + PRIOR_SHAPE / prior_mean
    return Outlook(shape / rate, math.sqrt(shape) / rate)


def score(votes: int, hours: float, *, lift: float = 0.0) -> float:
    """The trending score of that paper."""
    expected = outlook(votes, hours, lift=lift)
    bound = max(0.0, expected.votes - DOUBT * expected.doubt)
    return bound / (bound + TYPICAL_VOTES)


def rank(contenders: Sequence[Contender]) -> list[Placed]:
    """All of them, best first, ranked from 1. The order they are given in does not matter.

    Those without a reading come after all the others, as the source has them.
    """
    counted = [contender for contender in contenders if contender.readings]
    silent = [contender for contender in contenders if not contender.readings]
    scored = sorted((_sort_key(each), each.paper_id) for each in counted)
    order = [(paper_id, -key[0]) for key, paper_id in scored]
    rest = sorted((each.position, each.paper_id) for each in silent)
    return [
        Placed(paper_id, score, rank)
        for rank, (paper_id, score) in enumerate(
            [*order, *((paper_id, None) for _position, paper_id in rest)], start=1
        )
    ]


def _sort_key(contender: Contender) -> tuple[float, int, float, int]:
    latest = max(contender.readings, key=lambda reading: reading.read_at)
    hours = (latest.read_at - contender.listed_from).total_seconds() / 3600
    # Rounded, so that stars decide where the votes say the same; then, without a vote, the hopes.
    said = round(score(latest.upvotes, hours, lift=contender.lift), 4)
    return -said, -(latest.stars or 0), -contender.lift, contender.position
