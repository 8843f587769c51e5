"""The Big List of Naughty Strings in every field that somebody else fills: each is read as it
stands, and does nothing else.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from django.test import override_settings
from django.utils import translation

from digest import gallery, rendering
from digest.compose import Item
from digest.gallery import BREAKFAST, brief, full, pick
from digest.models import Digest, Slot
from digest.ranking import Reason
from papers.models import Paper
from subscribers import mail
from subscribers.models import Subscriber

LIST = Path(__file__).resolve().parent.parent / "vendor" / "blns.json"
STRINGS: list[str] = [text for text in json.loads(LIST.read_text()) if text.strip()]
PAPERS_A_MAIL = 10
LETTERS = mail.SERVICE_MAILS
NAMES_OF_TAGS = {"div", "h3", "a", "p", "span", "em"}
NAMES_OF_ATTRIBUTES = {"class", "style", "dir", "lang", "href"}
PLAIN = "A plain text."
HEADERS = [
    "MIME-Version", "Subject", "From", "To", "Message-ID", "Auto-Submitted",
    "X-Auto-Response-Suppress", "List-Id", "Feedback-ID", "List-Unsubscribe",
    "List-Unsubscribe-Post", "Date", "Content-Type",
]  # fmt: skip


def batches() -> Iterator[list[str]]:
    for start in range(0, len(STRINGS), PAPERS_A_MAIL):
        yield STRINGS[start : start + PAPERS_A_MAIL]


def mail_with(texts: list[str]):
    """A digest whose every paper, reason, note and topic holds one of the texts wherever it can."""
    papers = {
        number: Paper(
            pk=number, arxiv_id=f"2512.{number:05}", title=text, abstract=text,
            authors=[text, text], organization=text, code_url=text, published_at=BREAKFAST,
        )
        for number, text in enumerate(texts, start=1)
    }  # fmt: skip
    kinds = ("topic", "keyword", "author", "organization", "category", "paper", "more")
    items = [
        *(
            full(
                paper,
                Reason(
                    kinds[number % len(kinds)], paper.title, terms=(paper.title, "x"),
                    name=paper.title, paper_id=number,
                ),
            )
            for number, paper in papers.items()
        ),
        *(pick(paper, name=paper.title, note=paper.title) for paper in papers.values()),
        *map(brief, papers.values()),
    ]  # fmt: skip
    return _composed(items, papers)


def _composed(items: list[Item], papers: dict[int, Paper]):
    reader = Subscriber(**gallery.reader_fields())
    fields = gallery.digest_fields(gallery.Parts(items, digest={"is_weekly": True}), reader)
    digest = Digest(**fields, subscriber=reader, slot=Slot(date=date(2025, 12, 3)))
    (content,) = rendering.contents([digest], now=BREAKFAST, papers=papers).values()
    with translation.override("en"):
        return rendering.composed(content, to=reader.email, message_id=mail.message_id("0", "x"))


@pytest.mark.parametrize("texts", list(batches()), ids=lambda texts: repr(texts[0])[:40])
def test_it_is_inert_in_a_digest(texts):
    made = mail_with(texts)
    soup = soup_of(made)
    items = soup.find_all("div", class_="item")
    assert len(items) == 2 * len(texts)
    for item in items:
        assert {tag.name for tag in item.find_all(True)} <= NAMES_OF_TAGS
        for tag in [item, *item.find_all(True)]:
            assert tag.attrs.keys() <= NAMES_OF_ATTRIBUTES
    assert frame_of(soup) <= frame_of(benign(len(texts)))
    assert all(re.match("https?://", link["href"]) for link in soup.find_all("a"))
    said = {item.h3.get_text() for item in items}
    assert said == {rendering.shown_title(Paper(title=text)) for text in texts}
    for title in said:
        assert "".join(title.split()) in "".join(str(made.body).split())


@pytest.mark.parametrize("texts", list(batches()), ids=lambda texts: repr(texts[0])[:40])
def test_it_adds_no_header_and_is_read_in_the_subject_as_it_stands(texts):
    for text in texts:
        made = short_mail_with(text)
        read = email.message_from_bytes(
            made.message().as_bytes(linesep="\r\n"), policy=email.policy.default
        )
        assert sorted(read.keys()) == sorted(HEADERS)
        assert [part.get_content_type() for part in read.iter_parts()] == [
            "text/plain",
            "text/html",
        ]
        assert squeezed(read["Subject"]) == squeezed(made.subject)


def test_it_is_inert_as_the_name_of_a_site_and_in_its_last_lines():
    reader = Subscriber(**gallery.reader_fields())
    kinds = cycle((kind, frame_of(soup_of(kind.compose(reader, BREAKFAST)))) for kind in LETTERS)
    for text, (kind, frame) in zip(STRINGS, kinds, strict=False):
        own = dict.fromkeys(("SITE_NAME", "LOGO_TEXT", "FOOTER_TEXT", "POSTAL_ADDRESS"), text)
        with override_settings(**own):
            made = kind.compose(reader, BREAKFAST)
            names = made.message().keys()
        assert len(names) == len(set(names))
        assert frame_of(soup_of(made)) - frame == {("p", "class", "style"): 1}  # FOOTER_TEXT


def short_mail_with(text: str):
    paper = Paper(pk=1, arxiv_id="2512.00001", title=text, published_at=BREAKFAST)
    return _composed([full(paper, Reason("popular"))], {1: paper})


def frame_of(soup: BeautifulSoup) -> Counter[tuple[str, ...]]:
    """How often an element stands outside the items, with the names of its attributes. Topics
    that read the same are one heading, so there may be fewer.
    """
    return Counter(
        (tag.name, *sorted(tag.attrs.keys() - {"lang"}))
        for tag in soup.find_all(True)
        if not tag.find_parent("div", class_="item")
    )


@cache
def benign(number: int) -> BeautifulSoup:
    return soup_of(mail_with([f"{PLAIN} {each}" for each in range(number)]))


def soup_of(made) -> BeautifulSoup:
    html = next(str(body) for body, kind in made.alternatives if kind == "text/html")
    return BeautifulSoup(html, "html.parser")


def squeezed(text: str) -> str:
    return "".join(text.split())
