"""Scores -> sections: which few papers, in which order, and when there is nothing to say.

The floor decides first: what does not clear it is never a full item, so a digest may hold fewer
papers than asked for, or none. Of near-duplicates the best one stands for its group. Every topic
has a place if its best paper clears the floor; the rest follow by score. One place is kept for
what is popular with everybody, labelled so: a guard against
a narrowing view that costs less than random exploration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .ranking import PaperFacts, Ranking, Reason, popular

FLOOR = 1.0  # of relevance: deviations above an ordinary paper
POPULAR_FLOOR = 0.25  # of the trending score: below it "popular" would be a word too many
BRIEF_PLACES = 10
FULL, BRIEF = "full", "brief"


@dataclass(frozen=True, slots=True)
class Item:
    """One paper of a digest. section: full or brief. reason: None for a brief one."""

    paper_id: int
    section: str
    score: float
    is_popular: bool = False
    reason: Reason | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        reason = stored.get("reason")
        if reason is not None:
            reason = Reason(**{**reason, "terms": tuple(reason.get("terms", ()))})
        return cls(**{**stored, "reason": reason})


def compose(
    ranking: Ranking, papers: Sequence[PaperFacts], allowed: NDArray[np.bool_], *, places: int
) -> list[Item]:
    """The items of one digest, full ones first; empty when nothing is worth a mail.

    allowed: (papers,), false for what this reader has been shown or is too old for them.
    """
    allowed = allowed & ~ranking.muted
    if not ranking.profile.names_topics:
        return _front_page(ranking, papers, allowed, places=places)
    open_to = _one_of_each_group(ranking, papers, allowed)
    worthy = [paper for paper in open_to if ranking.relevance[paper] >= FLOOR]
    if not worthy:
        return []
    chosen = _chosen(ranking, worthy, places=places)
    extra = None
    # The popular place is taken only beside the reader's own papers, and never from a topic.
    if len({int(ranking.best[paper]) for paper in worthy}) < places:
        extra = _most_popular(papers, [paper for paper in open_to if paper not in chosen])
    if extra is not None:
        chosen = _chosen(ranking, worthy, places=places - 1)
    full = [_full(ranking, papers, paper, ranking.explain(paper)) for paper in chosen]
    if extra is not None:
        full.append(replace(_full(ranking, papers, extra, popular(papers[extra])), is_popular=True))
    rest = [p for p in open_to if p not in {*chosen, extra}]
    return full + _brief(ranking, papers, rest)


def _front_page(
    ranking: Ranking, papers: Sequence[PaperFacts], allowed: NDArray[np.bool_], *, places: int
) -> list[Item]:
    """What trends, for a reader without topics. Feedback counts by what exceeds the floor."""
    clear = ranking.relevance - np.clip(ranking.relevance, -FLOOR, FLOOR)
    bent = replace(ranking, score=ranking.score - ranking.relevance + clear)
    open_to = _one_of_each_group(bent, papers, allowed)
    full = [_full(bent, papers, paper, _why(bent, papers, paper)) for paper in open_to[:places]]
    return full + _brief(bent, papers, open_to[places:])


def _why(ranking: Ranking, papers: Sequence[PaperFacts], paper: int) -> Reason:
    if ranking.relevance[paper] >= FLOOR:
        return ranking.explain(paper)
    return popular(papers[paper])


def _one_of_each_group(
    ranking: Ranking, papers: Sequence[PaperFacts], allowed: NDArray[np.bool_]
) -> list[int]:
    """Allowed papers by falling score, only the best of each near-duplicate group."""
    ids = np.array([paper.paper_id for paper in papers])
    order = np.lexsort((ids, -ranking.score)) if len(papers) else ids.astype(int)
    seen: set[tuple[int, int]] = set()
    kept = []
    for paper in order.tolist():
        group = papers[paper].group
        if allowed[paper] and group not in seen:
            kept.append(paper)
            if group is not None:
                seen.add(group)
    return kept


def _chosen(ranking: Ranking, worthy: list[int], *, places: int) -> list[int]:
    """The best of each topic, then the best of all; `worthy` and the result are by score."""
    first_of_topic: dict[int, int] = {}
    for paper in worthy:
        first_of_topic.setdefault(int(ranking.best[paper]), paper)
    picked = set(list(first_of_topic.values())[:places])
    for paper in worthy:
        if len(picked) >= places:
            break
        picked.add(paper)
    return [paper for paper in worthy if paper in picked]


def _most_popular(papers: Sequence[PaperFacts], left: Iterable[int]) -> int | None:
    best = max(left, key=lambda p: (papers[p].trending, -papers[p].paper_id), default=None)
    return best if best is not None and papers[best].trending >= POPULAR_FLOOR else None


def _full(ranking: Ranking, papers: Sequence[PaperFacts], paper: int, reason: Reason) -> Item:
    return Item(papers[paper].paper_id, FULL, _score(ranking, paper), reason=reason)


def _brief(ranking: Ranking, papers: Sequence[PaperFacts], rest: list[int]) -> list[Item]:
    return [Item(papers[p].paper_id, BRIEF, _score(ranking, p)) for p in rest[:BRIEF_PLACES]]


def _score(ranking: Ranking, paper: int) -> float:
    return round(float(ranking.score[paper]), 3)
