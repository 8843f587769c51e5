"""The cards of a Daily Papers page, as a visitor sees them -> records.

A card has a title, votes, comments where there are any, an organization or a few of the authors by
the names of their accounts, stars, and sometimes a date or a text that is now an abstract, now a
model's summary. What is not told apart with certainty is left out: authors and text.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

from bs4 import BeautifulSoup, Tag

from papers.records import (
    ENOUGH_TO_MISS,
    PaperRecord,
    Parsed,
    arxiv_id,
    count,
    one_line,
    web_url,
)
from papers.sources.huggingface_dates import published_at
from papers.sources.huggingface_entry import MAX_NAME_LENGTH, MAX_POSITION

MOST_HEADINGS = 500  # the longest pages seen have 210
MOST_BADGES = 20
_COUNT = re.compile(r"(\d{1,9}(?:,\d{3}){0,3}(?:\.\d{1,3})?)([km]?)", re.ASCII | re.IGNORECASE)
_ACCOUNT = re.compile(r"\A/[\w.-]+\Z", re.ASCII)
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


def read_cards(soup: BeautifulSoup, *, listed_by: date | None) -> Parsed:
    """Each paper once, in the order of the page: a card is drawn for wide and for narrow screens.

    listed_by: the first day of the page, where known.
    """
    records: dict[str, PaperRecord] = {}
    problems: list[str] = []
    for heading in soup.find_all("h3", limit=MOST_HEADINGS):
        link = heading.find("a", href=re.compile("^/papers/"))
        if not isinstance(link, Tag):
            continue
        try:
            record = _card(link, position=len(records) + 1, listed_by=listed_by)
        except ValueError as error:
            problems.append(f"card {len(records) + len(problems) + 1}: {error}")
        else:
            records.setdefault(record.arxiv_id, record)
    return Parsed(
        tuple(records.values()),
        tuple(problems),
        len(records) + len(problems),
        vanished=_vanished(list(records.values())),
    )


def _card(link: Tag, *, position: int, listed_by: date | None) -> PaperRecord:
    paper_id = arxiv_id(str(link["href"]).removeprefix("/papers/"))
    card = link.find_parent("article") or link
    if len(card.find_all("h3", limit=3)) > 2:
        raise ValueError(f"{paper_id} in one card with other papers")
    title = one_line(link.get_text(" "))
    if not title:
        raise ValueError(f"{paper_id} without a title")
    code = card.find("a", href=re.compile("^https://github.com/"))
    talk = card.find("a", href=re.compile("#community$"))
    return PaperRecord(
        arxiv_id=paper_id,
        title=title,
        published_at=published_at(paper_id, card, listed_by),
        is_dated=False,
        position=min(position, MAX_POSITION),
        organization=_organization(card),
        code_url=web_url(code["href"]) if isinstance(code, Tag) else "",
        upvotes=_upvotes(card),
        comments=_last_count(talk),
        stars=_last_count(code),
    )


def _upvotes(card: Tag) -> int | None:
    """The number beside the box that a reader with an account ticks; a dash is none at all."""
    box = card.find("input", type="checkbox")
    beside = box.parent if isinstance(box, Tag) else None
    return 0 if beside and one_line(beside.get_text(" ")).endswith("-") else _last_count(beside)


def _last_count(part: object) -> int | None:
    """ "94", "Upvote 566", "1,234" or "GitHub 5.24k", which is rounded as it is shown."""
    words = one_line(part.get_text(" ")).split() if isinstance(part, Tag) else []
    found = _COUNT.fullmatch(words[-1]) if words else None
    if found is None:
        return None
    return count(int(Decimal(found[1].replace(",", "")) * _UNITS[found[2].lower()]))


def _organization(card: Tag) -> str:
    """The text of the badge that leads to an account of the site."""
    for badge in card.find_all("a", href=_ACCOUNT, limit=MOST_BADGES):
        name = one_line(badge.get_text(" "))
        around = one_line(badge.parent.get_text(" ")) if badge.parent else ""
        if name and not around.startswith("Submitted by"):
            return name[:MAX_NAME_LENGTH]
    return ""


def _vanished(records: list[PaperRecord]) -> tuple[str, ...]:
    is_gone = len(records) >= ENOUGH_TO_MISS and all(each.upvotes is None for each in records)
    return ("paper.upvotes",) if is_gone else ()
