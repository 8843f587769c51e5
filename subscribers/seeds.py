"""Papers that somebody gives: recognised among the stored ones, or kept by id or by title.

A page carries them as text fields, so what comes back is as foreign as any upload.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from papers import search
from papers.models import Paper
from papers.records import one_line

from .imports import ImportedPaper
from .models import Interest
from .topics import Wish, seed_id

MOST = 1000  # at a time: more than anybody's topics may hold is of no use
TITLE_LENGTH = 500
BATCH = 500


@dataclass(frozen=True, slots=True)
class Seed:
    """A paper that a reader gives. `value`: its arXiv id, or its title where that is all there is.
    paper_id: of the stored paper, which is the same one.
    """

    kind: Interest.Kind
    value: str
    title: str = ""
    authors: tuple[str, ...] = ()
    year: int | None = None
    paper_id: int | None = None

    @property
    def wish(self) -> Wish:
        return Wish(self.kind, self.value)

    @property
    def field(self) -> str:
        """As a form carries it. Of a stored paper the id is enough."""
        if self.kind == Interest.Kind.TITLE:
            return f"title:{self.value}"
        return f"paper:{self.value} {'' if self.paper_id else self.title}".rstrip()

    @property
    def shown(self) -> str:
        return self.title or f"arXiv:{self.value}"

    @property
    def is_looked_up(self) -> bool:
        return self.kind == Interest.Kind.PAPER and self.paper_id is None


def of(papers: Iterable[Paper]) -> list[Seed]:
    return [
        Seed(
            Interest.Kind.PAPER,
            paper.arxiv_id,
            paper.title,
            tuple(paper.authors),
            paper.published_at.year,
            paper.pk,
        )
        for paper in papers
    ]


def recognise(imported: Sequence[ImportedPaper]) -> list[Seed]:
    """The newest MOST of them: by arXiv id, else by title, else as what they are."""
    newest = sorted(imported, key=lambda each: -(each.year or 0))[:MOST]
    by_title = search.by_title([each.title for each in newest if each.title and not each.arxiv_id])
    stored = _stored({each.arxiv_id for each in newest if each.arxiv_id}, set(by_title.values()))
    by_id = {seed.paper_id: seed for seed in stored.values()}
    return _once(
        stored.get(each.arxiv_id) or by_id.get(by_title.get(each.title)) or _unknown(each)
        for each in newest
    )


def from_fields(fields: Iterable[str]) -> list[Seed]:
    """What a form brought back, each once. What is none of it, or too much, is passed over."""
    given = [each for field in fields if (each := _given(field)) is not None][:MOST]
    stored = _stored({each.value for each in given if each.kind == Interest.Kind.PAPER}, set())
    return _once(
        stored.get(each.value, each) if each.kind == Interest.Kind.PAPER else each for each in given
    )


def _unknown(paper: ImportedPaper) -> Seed:
    kind = Interest.Kind.PAPER if paper.arxiv_id else Interest.Kind.TITLE
    title = paper.title[:TITLE_LENGTH]
    return Seed(kind, paper.arxiv_id or title, title, paper.authors, paper.year)


def _given(field: str) -> Seed | None:
    kind, _colon, rest = field.partition(":")
    rest = one_line(rest)
    if kind == "title" and rest:
        title = rest[:TITLE_LENGTH]
        return Seed(Interest.Kind.TITLE, title, title)
    id, _blank, title = rest.partition(" ")
    try:
        return Seed(Interest.Kind.PAPER, seed_id(id), title[:TITLE_LENGTH])
    except ValueError:
        return None


def _stored(arxiv_ids: set[str], ids: set[int]) -> dict[str, Seed]:
    """By arXiv id."""
    light = Paper.objects.only("pk", "arxiv_id", "title", "authors", "published_at")
    wanted: list[Paper] = []
    for name, values in (("arxiv_id", sorted(arxiv_ids)), ("pk", sorted(ids))):
        for start in range(0, len(values), BATCH):
            wanted += light.filter(**{f"{name}__in": values[start : start + BATCH]})
    return {seed.value: seed for seed in of(wanted)}


def _once(seeds: Iterable[Seed]) -> list[Seed]:
    return list({(seed.kind, seed.value.casefold()): seed for seed in seeds}.values())
