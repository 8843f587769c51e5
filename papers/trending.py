"""Votes over time -> a trending score from 0 to 1 and a rank.

The day's first votes are few and noisy, and a paper listed at midnight has had longer to collect
them than one listed at three in the afternoon. Both are judged as rates under doubt: votes come
as a Poisson process whose exposure saturates, `exposure(hours) = 1 - exp(-hours / 28)` (of the
votes a listing has after ten days, 40 to 55 % were there after 17 hours: measured on 2024-08-01),
and the rate has a Gamma prior of TYPICAL_VOTES with the weight of PRIOR_EXPOSURE. The posterior
(votes + TYPICAL_VOTES * PRIOR_EXPOSURE, exposure + PRIOR_EXPOSURE) is conjugate (Gelman et al.,
Bayesian Data Analysis, 3rd ed., section 2.6); its mean less one standard deviation is the
expected final votes that the evidence already carries, as Evan Miller's "How Not To Sort By
Average Rating" (2009) takes the lower bound of a proportion. It becomes a score by
`bound / (bound + TYPICAL_VOTES)`.

Comments are no evidence (80 % of listings have exactly the submitter's one); stars break ties.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

HOURS_SCALE = 28.0
TYPICAL_VOTES = 20.0  # what a median paper gathers in the end; scores 0.5 if it were certain
PRIOR_EXPOSURE = 0.1
DOUBT = 1.0  # standard deviations


@dataclass(frozen=True, slots=True)
class Reading:
    read_at: datetime
    upvotes: int
    comments: int = 0
    stars: int | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """A paper of an edition: listed at or after `listed_from`, at `position` of the source."""

    paper_id: int
    listed_from: datetime
    position: int
    readings: tuple[Reading, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """score: None where nobody has counted votes."""

    paper_id: int
    score: float | None
    rank: int


def score(votes: int, hours: float) -> float:
    """The trending score of a paper that has `votes` after `hours` on the list."""
    shape = votes + TYPICAL_VOTES * PRIOR_EXPOSURE
    rate = 1 - math.exp(-max(hours, 0.0) / HOURS_SCALE) + PRIOR_EXPOSURE
    bound = max(0.0, (shape - DOUBT * math.sqrt(shape)) / rate)
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


def _sort_key(contender: Contender) -> tuple[float, int, int]:
    latest = max(contender.readings, key=lambda reading: reading.read_at)
    hours = (latest.read_at - contender.listed_from).total_seconds() / 3600
    # Rounded, so that stars decide where the votes say the same.
    return -round(score(latest.upvotes, hours), 4), -(latest.stars or 0), contender.position
