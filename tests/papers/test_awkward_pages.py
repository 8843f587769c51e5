"""Every page that shows papers, with papers that are hard to set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import pytest
import time_machine
from bs4 import BeautifulSoup
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, sync_playwright

from digest.compose import BRIEF, FULL, Item
from digest.models import Digest, Slot
from digest.ranking import Reason
from papers import editions
from papers.models import Paper, Source
from subscribers import tokens
from subscribers.models import Interest, Subscriber
from tests.factories import make_reader
from tests.papers.awkward import AWKWARD, HEBREW, LONG, awkward_records
from tests.papers.factories import utc

NOW = utc("2026-11-23T12:00")
SUNDAY = date(2026, 11, 22)
PHONE = {"width": 390, "height": 844}

# What a page looks like is the same on any database.
pytestmark = [pytest.mark.django_db, pytest.mark.pure]


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def papers(source: Source) -> dict[str, Paper]:
    """Name -> row, in an edition that closed."""
    editions.record_day(
        SUNDAY, awkward_records(), source=source, now=NOW, read_at=NOW, backfill=False
    )
    editions.close_due(NOW)
    return dict(zip(AWKWARD, Paper.objects.order_by("arxiv_id"), strict=True))


def soup_of(client: Client, address: str) -> BeautifulSoup:
    response = client.get(address)
    assert response.status_code == 200, address
    return BeautifulSoup(response.content, "html.parser")


def test_a_papers_page_reads_well_in_title_names_and_paragraphs(client, papers):
    page = soup_of(client, papers["latex"].get_absolute_url())

    title = "Sorting in O(n²): Naïve 2× at 50% of ℓ_∞"
    assert page.h1.get_text() == title
    assert page.title.get_text().startswith(f"{title} · ")
    assert "Paul Erdős, Alfréd Rényi" in page.get_text()
    first, second = (each.get_text() for each in page.select(".abstract p"))
    assert first == (
        "We prove (a+b)/c ≤ √n for “small” xᵢ (k-NN), costs $5, see https://example.org/a_b and "
        r"$\unknown{x}$. \method is 3× faster at 360°."
    )
    assert second == "Second paragraph."


def test_a_title_says_its_language_where_it_is_known(client, papers):
    home = soup_of(client, "/")
    languages = {each.get_text(): each["lang"] for each in home.select("h2[lang]")}

    assert languages["A paper by very many"] == "en"
    assert languages[HEBREW] == ""


def test_results_are_readable_and_marked(client, papers):
    page = soup_of(client, "/papers/?q=naive+sorting")

    title = page.select_one(".entry h2")
    assert title.get_text() == "Sorting in O(n²): Naïve 2× at 50% of ℓ_∞"
    assert [each.get_text() for each in title.select("mark")] == ["Sorting", "Naïve"]


def test_the_feed_is_readable_and_turns_nothing(client, papers):
    feed = ElementTree.fromstring(client.get("/feed.xml").content)
    titles = [each.text for each in feed.iter("{http://www.w3.org/2005/Atom}title")]

    assert "Sorting in O(n²): Naïve 2× at 50% of ℓ_∞" in titles
    assert "Turned yb dedneppa round" in titles
    assert papers["think"].title in titles


def test_nothing_is_wider_than_a_phone_and_nothing_runs(client, papers, chromium):
    addresses = _addresses(_reader(papers), papers)
    pages = {address: client.get(address).content.decode() for address in addresses}
    styles = Path(str(finders.find("papers/site.css"))).read_text()
    with _phone(chromium) as (phone, said):
        wide = {}
        for address, html in pages.items():
            phone.set_content(html, wait_until="commit")
            phone.add_style_tag(content=styles)
            excess = phone.evaluate("document.documentElement.scrollWidth") - PHONE["width"]
            if excess > 0:
                wide[address] = excess
    assert wide == {}
    assert said == []


@contextmanager
def _phone(chromium: str) -> Iterator[tuple[Page, list[str]]]:
    """A page, and whatever was executed on it. While it is open, the database is not."""
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport=PHONE)
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        yield page, said
        browser.close()


def _reader(papers: dict[str, Paper]) -> Subscriber:
    reader = make_reader(topics=[LONG[:80], HEBREW, r"$\mathcal{O}(n^2)$ & <b>"])
    for paper in papers.values():
        Interest.objects.create(
            subscriber=reader, topic=reader.topics.first(), kind=Interest.Kind.PAPER,
            value=paper.arxiv_id, paper=paper,
        )  # fmt: skip
    return reader


def _addresses(reader: Subscriber, papers: dict[str, Paper]) -> list[str]:
    reasons = [
        Reason("topic", topic=LONG[:100], terms=(LONG[:60], HEBREW)),
        Reason("more", paper_id=papers["long_word"].pk),
        Reason("author", name=LONG[:200]),
    ]
    items = [
        Item(paper.pk, FULL, 1.0, reason=reasons[place % 3])
        for place, paper in enumerate(papers.values())
    ]
    items += [Item(paper.pk, BRIEF, 0.5) for paper in papers.values()]
    digest = Digest.objects.create(
        subscriber=reader, slot=Slot.objects.create(date=NOW.date(), due=1), due_at=NOW,
        assembled_at=NOW, items=[item.to_json() for item in items], candidates=30,
        edition_day=SUNDAY, closed_seq=1,
    )  # fmt: skip
    manage = tokens.make(tokens.Purpose.MANAGE, reader.uuid.hex, today=NOW.date())
    read = tokens.make(tokens.Purpose.READ, digest.uuid.hex, today=NOW.date())
    return [
        "/",
        f"/{SUNDAY}/",
        "/papers/?q=method+GATTACA",
        f"/papers/?q={HEBREW}",
        *(paper.get_absolute_url() for paper in papers.values()),
        reverse("subscribers:preferences", args=[manage]),
        reverse("subscribers:topic", args=[manage, reader.topics.first().pk]),
        reverse("digest:onboarding", args=[manage]),
        reverse("digest:read", args=[read]),
        *(
            reverse("digest:feedback", args=[read, "more", paper.pk])
            for paper in (papers["long_word"], papers["dna"])
        ),
    ]
