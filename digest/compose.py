"""Scores -> sections: which few papers, in which order, and when there is nothing to say.

The floor decides first: what does not clear it is never a full item, so a digest may hold fewer
papers than asked for, or none. Of near-duplicates the best one stands for its group. Every topic
has a place if its best paper clears the floor; the rest follow by score. One place is kept for
what is popular with everybody, labelled so: a guard against
a narrowing view that costs less than random exploration.

What an editor picked stands apart and takes no place. It comes with the reader's own papers, and
alone only to a reader whom it interests, or who has named nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .ranking import PaperFacts, Ranking, Reason, picked, popular

FLOOR = 1.0  # of relevance: deviations above an ordinary paper
POPULAR_FLOOR = 0.25  # of the trending score: below it "popular" would be a word too many
BRIEF_PLACES = 10
MOST_PICKS = 3
FULL, BRIEF, PICK = "full", "brief", "pick"
HASH_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Item:
    """One paper of a digest. section: full, brief or pick. reason: None for a brief one.

    upvotes, stars, content_hash: the paper's as they were, so that what is shown once is shown
    the same for ever. upvotes: None where they were not kept, and the paper's own are shown.
    """

    paper_id: int
    section: str
    score: float
    is_popular: bool = False
    reason: Reason | None = None
    upvotes: int | None = None
    stars: int | None = None
    content_hash: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        reason = stored.get("reason")
        if reason is not None:
            reason = Reason(**{**reason, "terms": tuple(reason.get("terms", ()))})
        return cls(**{**stored, "reason": reason})


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the papers, as it was when they were chosen.

    next_on: the reader's local date.
    """

    cadence: str
    days: tuple[int, ...]
    hour: int
    time_zone: str
    language: str
    next_on: date | None = None
    consented_on: date | None = None

    def to_json(self) -> dict[str, Any]:
        dates = {name: getattr(self, name) for name in _FRAME_DATES}
        said = {name: day and day.isoformat() for name, day in dates.items()}
        return {**asdict(self), "days": list(self.days), **said}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        said = {name: stored.get(name) for name in _FRAME_DATES}
        dates = {name: day and date.fromisoformat(day) for name, day in said.items()}
        return cls(**{**stored, "days": tuple(stored["days"]), **dates})


_FRAME_DATES = ("next_on", "consented_on")


def compose(
    ranking: Ranking, papers: Sequence[PaperFacts], allowed: NDArray[np.bool_], *, places: int
) -> list[Item]:
    """The items of one digest: picks, full ones, brief ones. Empty when nothing is worth a mail.

    allowed: (papers,), false for what this reader has been shown or is too old for them.
    """
    allowed = allowed & ~ranking.muted
    picks = _picks(papers, allowed)
    rest = allowed & ~_taken_by(picks, papers)
    choose = _own_papers if ranking.profile.names_topics else _front_page
    chosen = choose(ranking, papers, rest, places=places)
    is_worth_a_mail = any(item.section == FULL for item in chosen) or any(
        _is_wanted(ranking, paper) for paper in picks
    )
    return [_pick(ranking, papers, paper) for paper in picks] + chosen if is_worth_a_mail else []


def _own_papers(
    ranking: Ranking, papers: Sequence[PaperFacts], allowed: NDArray[np.bool_], *, places: int
) -> list[Item]:
    """What clears the floor, in full, and the best of the rest in brief."""
    open_to = _one_of_each_group(ranking, papers, allowed)
    worthy = [paper for paper in open_to if ranking.relevance[paper] >= FLOOR]
    chosen = _chosen(ranking, worthy, places=places)
    extra = None
    # The popular place is taken only beside the reader's own papers, and never from a topic.
    if worthy and len({int(ranking.best[paper]) for paper in worthy}) < places:
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


def _picks(papers: Sequence[PaperFacts], allowed: NDArray[np.bool_]) -> list[int]:
    """The newest edition's first, then as they trend; of near-duplicates one."""
    picks = [p for p in np.flatnonzero(allowed).tolist() if papers[p].picked_by]
    picks.sort(key=lambda p: (papers[p].age_days, -papers[p].trending, papers[p].paper_id))
    return _first_of_each_group(papers, picks)[:MOST_PICKS]


def _taken_by(picks: Sequence[int], papers: Sequence[PaperFacts]) -> NDArray[np.bool_]:
    """(papers,): true for the picks, and for what says nearly the same as one of them."""
    if not picks:
        return np.zeros(len(papers), np.bool_)
    groups = {papers[paper].group for paper in picks} - {None}
    alike = [place in picks or paper.group in groups for place, paper in enumerate(papers)]
    return np.array(alike, np.bool_)


def _is_wanted(ranking: Ranking, pick: int) -> bool:
    return not ranking.profile.names_topics or bool(ranking.relevance[pick] >= FLOOR)


def _one_of_each_group(
    ranking: Ranking, papers: Sequence[PaperFacts], allowed: NDArray[np.bool_]
) -> list[int]:
    """Allowed papers by falling score, only the best of each near-duplicate group."""
    ids = np.array([paper.paper_id for paper in papers])
    order = np.lexsort((ids, -ranking.score)) if len(papers) else ids.astype(int)
    return _first_of_each_group(papers, order[allowed[order]].tolist())


def _first_of_each_group(papers: Sequence[PaperFacts], places: Iterable[int]) -> list[int]:
    seen: set[tuple[int, int]] = set()
    kept = []
    for place in places:
        group = papers[place].group
        if group not in seen:
            kept.append(place)
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


def _pick(ranking: Ranking, papers: Sequence[PaperFacts], paper: int) -> Item:
    return _item(ranking, papers[paper], paper, PICK, picked(papers[paper]))


def _full(ranking: Ranking, papers: Sequence[PaperFacts], paper: int, reason: Reason) -> Item:
    return _item(ranking, papers[paper], paper, FULL, reason)


def _brief(ranking: Ranking, papers: Sequence[PaperFacts], rest: list[int]) -> list[Item]:
    return [_item(ranking, papers[p], p, BRIEF, None) for p in rest[:BRIEF_PLACES]]


def _item(
    ranking: Ranking, facts: PaperFacts, place: int, section: str, reason: Reason | None
) -> Item:
    return Item(
        facts.paper_id,
        section,
        round(float(ranking.score[place]), 3),
        reason=reason,
        upvotes=facts.upvotes,
        stars=facts.stars,
        content_hash=facts.content_hash[:HASH_CHARACTERS],
    )
