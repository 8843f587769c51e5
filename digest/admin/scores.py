"""The numbers behind a digest's papers, as a table for those who ask why a paper is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from papers.models import Paper

from ..compose import BRIEF, FLOOR, FULL, PICK, Item
from ..ranking import AGE_HALF_LIFE_DAYS, BONUS, TRENDING_WEIGHT, Z_CAP, Reason

Text = str | Promise

SECTIONS: dict[str, Text] = {
    FULL: _("in full"),
    BRIEF: _("title only"),
    PICK: _("editor’s pick"),
}
RELEVANCE, PRIOR = "relevance", "prior"


@dataclass(frozen=True, slots=True)
class Column:
    heading: Text
    said: Text


@dataclass(frozen=True, slots=True)
class Row:
    """One paper. paper: None where it was deleted since. numbers: one per column, "" for none."""

    section: Text
    paper_id: int
    paper: Paper | None
    score: str
    numbers: tuple[str, ...]
    clears_floor: bool | None
    upvotes: int | None
    stars: int | None
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    floor: float = FLOOR


_bonuses = ", ".join(f"{kind.value} {bonus:g}" for kind, bonus in BONUS.items())
PARTS: dict[str, Column] = {
    "cosine": Column(_("cosine"), _("How far the paper’s words are the topic’s own, 0 to 1.")),
    "z": Column(
        _("closeness"),
        format_lazy(
            _(
                "How much nearer it is to its best topic than an ordinary paper, in standard "
                "deviations (z); never above {cap:g}."
            ),
            cap=Z_CAP,
        ),
    ),
    "bonus": Column(
        _("exact match"),
        format_lazy(_("Added for what the reader named: {bonuses}."), bonuses=_bonuses),
    ),
    RELEVANCE: Column(
        format_lazy(_("relevance (floor {floor:.1f})"), floor=FLOOR),
        format_lazy(
            _(
                "Closeness, never less than 0 beside an exact match, plus the exact match. Only a "
                "paper that reaches the floor of {floor:.1f} is shown in full."
            ),
            floor=FLOOR,
        ),
    ),
    PRIOR: Column(
        _("trend’s share"),
        format_lazy(
            _(
                "What the score holds beside relevance: at most {weight:g}, halved every {days:g} "
                "days."
            ),
            weight=TRENDING_WEIGHT,
            days=AGE_HALF_LIFE_DAYS,
        ),
    ),
    "trending": Column(
        _("trending"), _("How the paper trended with everybody when its edition closed, 0 to 1.")
    ),
}


def table(items: Sequence[Item], papers: Mapping[int, Paper]) -> Table:
    """papers: those that items and reasons name, by id."""
    parts = [_parts(item) for item in items]
    named = {name for each in parts for name in each}
    known = [name for name in PARTS if name in named]
    names = [*known, *sorted(named.difference(known))]
    columns = tuple(PARTS.get(name, Column(name, "")) for name in names)
    rows = tuple(_row(*each, names, papers) for each in zip(items, parts, strict=True))
    return Table(columns, rows)


def _row(
    item: Item, parts: Mapping[str, float], names: Sequence[str], papers: Mapping[int, Paper]
) -> Row:
    relevance = parts.get(RELEVANCE)
    return Row(
        section=SECTIONS.get(item.section, item.section),
        paper_id=item.paper_id,
        paper=papers.get(item.paper_id),
        score=_written(item.score),
        numbers=tuple(_written(parts[name]) if name in parts else "" for name in names),
        clears_floor=None if relevance is None else relevance >= FLOOR,
        upvotes=item.upvotes,
        stars=item.stars,
        reason=_titled(item.reason, papers),
    )


def _written(number: float) -> str:
    return f"{number:.2f}".replace("-", "−")


def _parts(item: Item) -> dict[str, float]:
    """The stored parts, and the two that follow from them (digest.ranking adds them up)."""
    parts = dict(item.reason.parts) if item.reason else {}
    if "z" in parts:
        bonus = parts.get("bonus", 0.0)
        parts[RELEVANCE] = max(parts["z"], 0.0) + bonus if bonus else parts["z"]
        # On the front page of a reader without topics relevance counts by what exceeds the floor.
        if (prior := item.score - parts[RELEVANCE]) > -0.005:
            parts[PRIOR] = max(prior, 0.0)
    return parts


def _titled(reason: Reason | None, papers: Mapping[int, Paper]) -> Reason | None:
    if reason is None or reason.paper_id is None or reason.paper_id not in papers:
        return reason
    return replace(reason, title=papers[reason.paper_id].title)
