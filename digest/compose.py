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

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from itertools import repeat
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .ranking import PaperFacts, Ranking, Reason, picked, popular

FLOOR = 1.0  # of relevance: deviations above an ordinary paper
POPULAR_FLOOR = 0.25  # of the trending score: below it "popular" would be a word too many
BRIEF_PLACES = 10
MOST_PICKS = 3
FULL, BRIEF, PICK = "full", "brief", "pick"
HASH_CHARACTERS = 12
SCORE_DECIMALS = 3


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
        """Without what says nothing: a million digests of fifteen items are kept for months."""
        stored: dict[str, Any] = {
            "paper_id": self.paper_id,
            "section": self.section,
            "score": self.score,
        }
        if self.is_popular:
            stored["is_popular"] = True
        if self.reason is not None:
            stored["reason"] = self.reason.to_json()
        if self.upvotes is not None:
            stored["upvotes"] = self.upvotes
        if self.stars is not None:
            stored["stars"] = self.stars
        if self.content_hash:
            stored["content_hash"] = self.content_hash
        return stored

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        reason = stored.get("reason")
        if reason is not None:
            reason = Reason(**{**reason, "terms": tuple(reason.get("terms", ()))})
        return cls(**{**stored, "reason": reason})


class HasItems:
    """What a digest's items, as they are stored, say of it."""

    __slots__ = ()
    items: list[dict[str, Any]]

    @property
    def paper_ids(self) -> list[int]:
        return [item["paper_id"] for item in self.items]

    @property
    def full_count(self) -> int:
        """How many papers it shows in full, editors' picks among them."""
        return sum(item["section"] in (FULL, PICK) for item in self.items)

    @property
    def sent_for(self) -> str:
        """The section that makes it worth a mail: the reader's own papers, else editors' picks."""
        sections = {item["section"] for item in self.items}
        return next((name for name in (FULL, PICK) if name in sections), "")


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the papers, as it was when they were chosen.

    next_on: the reader's local date. since: the oldest edition's day, where there are many.
    """

    cadence: str
    days: tuple[int, ...]
    hour: int
    time_zone: str
    language: str
    next_on: date | None = None
    consented_on: date | None = None
    since: date | None = None

    def to_json(self) -> dict[str, Any]:
        stored = {**asdict(self), "days": list(self.days)}
        for name in _FRAME_DATES:
            day = stored.pop(name)
            if day is not None:
                stored[name] = day.isoformat()
        return stored

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        said = {name: stored.get(name) for name in _FRAME_DATES}
        dates = {name: day and date.fromisoformat(day) for name, day in said.items()}
        return cls(**{**stored, "days": tuple(stored["days"]), **dates})


_FRAME_DATES = ("next_on", "consented_on", "since")


class Line(NamedTuple):
    """One paper of a digest, by its place among the candidates; else as Item."""

    place: int
    section: str
    score: float
    reason: Reason | None = None
    is_popular: bool = False


class Shelf:
    """The candidates as composing needs them: what does not depend on the reader, made once."""

    def __init__(self, papers: Sequence[PaperFacts]) -> None:
        self.papers = papers
        self._around: dict[int, tuple[str, str]] = {}
        self._popular: dict[int, Reason] = {}
        self._by_id = np.argsort(np.array([paper.paper_id for paper in papers], np.int64))
        self._grouped = np.array([paper.group is not None for paper in papers], np.bool_)
        self._has_groups = bool(self._grouped.any())
        self.trends = np.array([paper.trending > 0 for paper in papers], np.bool_)
        # The newest edition's first, then as they trend.
        self.picks = sorted(
            (place for place, paper in enumerate(papers) if paper.picked_by),
            key=lambda p: (papers[p].age_days, -papers[p].trending, papers[p].paper_id),
        )
        self.popular = sorted(
            (place for place, paper in enumerate(papers) if paper.trending >= POPULAR_FLOOR),
            key=lambda p: (-papers[p].trending, papers[p].paper_id),
        )

    def ordered(self, score: NDArray[np.float64], allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Places of the allowed papers by falling score, then by paper, only the best of each
        near-duplicate group.
        """
        places = self._by_id[allowed[self._by_id]]
        order: NDArray[np.int64] = places[np.argsort(-score[places], kind="stable")]
        return self.first_of_each_group(order)

    def first_of_each_group(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        if not self._has_groups:
            return places
        is_grouped = self._grouped[places]
        seen: set[tuple[int, int] | None] = set()
        kept = ~is_grouped
        for n in np.flatnonzero(is_grouped).tolist():
            group = self.papers[places[n]].group
            kept[n] = group not in seen
            seen.add(group)
        return places[kept]

    def is_among(self, place: int, ordered: NDArray[np.int64]) -> bool:
        """Of an allowed paper: in what is `ordered` lack only near-duplicates of better ones."""
        return not self._grouped[place] or place in ordered

    def why_popular(self, place: int) -> Reason:
        """The same for all who get it."""
        reason = self._popular.get(place)
        if reason is None:
            reason = self._popular[place] = popular(self.papers[place])
        return reason

    def items(self, lines: Iterable[Line]) -> list[Item]:
        return [self._item(line) for line in lines]

    def as_json(self, lines: Iterable[Line]) -> str:
        """The items as text, which is joined of what each paper and each reason says of itself."""
        return f"[{', '.join(map(self._text, lines))}]"

    def _item(self, line: Line) -> Item:
        facts = self.papers[line.place]
        return Item(
            facts.paper_id,
            line.section,
            line.score,
            is_popular=line.is_popular,
            reason=line.reason,
            upvotes=facts.upvotes,
            stars=facts.stars,
            content_hash=facts.content_hash[:HASH_CHARACTERS],
        )

    def _text(self, line: Line) -> str:
        place, section, score, reason, is_popular = line
        around = self._around.get(place)
        if around is None:
            around = self._around[place] = self._around_line(place)
        before, after = around
        popular = ', "is_popular": true' if is_popular else ""
        why = "" if reason is None else f', "reason": {reason.text}'
        return f'{before}, "section": "{section}", "score": {score!r}{popular}{why}{after}'

    def _around_line(self, place: int) -> tuple[str, str]:
        """What an item begins with, and what it ends with, whoever gets it."""
        stored = self._item(Line(place, BRIEF, 0.0)).to_json()
        del stored["section"], stored["score"]
        before = json.dumps({"paper_id": stored.pop("paper_id")})
        after = json.dumps(stored)
        return before[:-1], f", {after[1:]}" if stored else after[1:]


def compose(
    ranking: Ranking, shelf: Shelf, allowed: NDArray[np.bool_], *, places: int
) -> list[Line]:
    """The lines of one digest: picks, full ones, brief ones. Empty when nothing is worth a mail.

    allowed: (papers,), false for what this reader has been shown or is too old for them.
    """
    allowed = allowed & ~ranking.muted
    picks = _picks(shelf, allowed)
    rest = allowed & ~_taken_by(picks, shelf.papers) if picks else allowed
    choose = _own_papers if ranking.profile.names_topics else _front_page
    chosen = choose(ranking, shelf, rest, places=places)
    is_worth_a_mail = any(line.section == FULL for line in chosen) or any(
        _is_wanted(ranking, paper) for paper in picks
    )
    if not is_worth_a_mail:
        return []
    if not picks:
        return chosen
    reasons = [picked(shelf.papers[paper]) for paper in picks]
    return [*map(Line, picks, repeat(PICK), _scores(ranking, picks), reasons), *chosen]


def _own_papers(
    ranking: Ranking, shelf: Shelf, allowed: NDArray[np.bool_], *, places: int
) -> list[Line]:
    """What clears the floor, in full, and the best of the rest in brief."""
    open_to = shelf.ordered(ranking.score, allowed)
    clears = open_to[ranking.relevance[open_to] >= FLOOR]
    first_of_topic = _first_of_each(ranking.best[clears])
    worthy = clears[: first_of_topic[-1] + places + 1].tolist() if first_of_topic else []
    chosen = _chosen(worthy, first_of_topic, places=places)
    extra = None
    # The popular place is taken only beside the reader's own papers, and never from a topic.
    if worthy and len(first_of_topic) < places and not ranking.profile.minds_popular:
        left = (place for place in shelf.popular if allowed[place] and place not in chosen)
        extra = next((place for place in left if shelf.is_among(place, open_to)), None)
    if extra is not None:
        chosen = _chosen(worthy, first_of_topic, places=places - 1)
    reasons = [ranking.explain(paper) for paper in chosen]
    named = chosen
    if extra is not None:
        named = [*chosen, extra]
        reasons.append(shelf.why_popular(extra))
    lines = _lines(ranking, named, reasons, _best_but(named, open_to))
    if extra is not None:
        lines[len(chosen)] = lines[len(chosen)]._replace(is_popular=True)
    return lines


def _front_page(
    ranking: Ranking, shelf: Shelf, allowed: NDArray[np.bool_], *, places: int
) -> list[Line]:
    """What trends, for a reader without topics. Feedback counts by what exceeds the floor.

    What nobody votes on is there only by that: a day's announcements are no front page.
    """
    clear = ranking.relevance - np.clip(ranking.relevance, -FLOOR, FLOOR)
    bent = replace(ranking, score=ranking.score - ranking.relevance + clear)
    allowed = allowed & (shelf.trends | (ranking.relevance >= FLOOR))
    open_to = shelf.ordered(bent.score, allowed).tolist()
    first, rest = open_to[:places], open_to[places : places + BRIEF_PLACES]
    return _lines(bent, first, [_why(bent, shelf, paper) for paper in first], rest)


def _why(ranking: Ranking, shelf: Shelf, paper: int) -> Reason:
    if ranking.relevance[paper] >= FLOOR:
        return ranking.explain(paper)
    return shelf.why_popular(paper)


def _picks(shelf: Shelf, allowed: NDArray[np.bool_]) -> list[int]:
    """In the shelf's order; of near-duplicates one."""
    picks = [place for place in shelf.picks if allowed[place]]
    if len(picks) > 1:
        picks = shelf.first_of_each_group(np.array(picks)).tolist()
    return picks[:MOST_PICKS]


def _taken_by(picks: Sequence[int], papers: Sequence[PaperFacts]) -> NDArray[np.bool_]:
    """(papers,): true for the picks, and for what says nearly the same as one of them."""
    groups = {papers[paper].group for paper in picks} - {None}
    alike = [place in picks or paper.group in groups for place, paper in enumerate(papers)]
    return np.array(alike, np.bool_)


def _is_wanted(ranking: Ranking, pick: int) -> bool:
    return not ranking.profile.names_topics or bool(ranking.relevance[pick] >= FLOOR)


def _first_of_each(topics: NDArray[np.int64]) -> list[int]:
    """Where each topic comes first, ascending."""
    # From the last to the first: what is written last stays.
    found = dict(zip(topics[::-1].tolist(), range(len(topics) - 1, -1, -1), strict=True))
    return sorted(found.values())


def _chosen(worthy: Sequence[int], first_of_topic: Sequence[int], *, places: int) -> list[int]:
    """The best of each topic, then the best of all; `worthy` and the result are by score."""
    picked = set(first_of_topic[:places])
    for place in range(len(worthy)):
        if len(picked) >= places:
            break
        picked.add(place)
    return [worthy[place] for place in sorted(picked)]


def _best_but(named: Sequence[int], open_to: NDArray[np.int64]) -> list[int]:
    """What is shown in brief."""
    first = open_to[: len(named) + BRIEF_PLACES].tolist()
    return [paper for paper in first if paper not in named][:BRIEF_PLACES]


def _lines(
    ranking: Ranking, full: Sequence[int], reasons: Sequence[Reason], brief: Sequence[int]
) -> list[Line]:
    scores = _scores(ranking, [*full, *brief])
    return [
        *map(Line, full, repeat(FULL), scores, reasons),
        *map(Line, brief, repeat(BRIEF), scores[len(full) :]),
    ]


def _scores(ranking: Ranking, papers: list[int]) -> list[float]:
    scores: list[float] = ranking.score[papers].round(SCORE_DECIMALS).tolist()
    return scores
