"""How every mail is built, in every language: for screen readers, for clients, for plain text."""

from __future__ import annotations

import email
import email.policy
import re
from itertools import pairwise

import pytest
from bs4 import BeautifulSoup
from django.conf import settings
from django.urls import resolve

from digest import gallery, rendering
from digest.gallery import Exhibit
from papers import pseudo
from subscribers import mail

LANGUAGES = [code for code, _name in (*settings.LANGUAGES, *pseudo.LANGUAGES)]
NAMES = [*gallery.STANDARDS, *(each.kind for each in mail.SERVICE_MAILS), "alert", "alert_over"]
OTHER_SITES = ("https://arxiv.org/", "https://github.com/", "https://example.org/")
ENTITY = re.compile(r"&(?:[a-z]{2,8}|#\d+);")
AWKWARD = "hostile"  # its texts hold markup, entities and long words on purpose


@pytest.fixture(scope="module", params=LANGUAGES)
def exhibits(request) -> dict[str, Exhibit]:
    return {exhibit.name: exhibit for exhibit in gallery.exhibits(request.param)}


@pytest.fixture(params=NAMES)
def exhibit(request, exhibits) -> Exhibit:
    return exhibits[request.param]


@pytest.fixture
def soup(exhibit) -> BeautifulSoup:
    return BeautifulSoup(exhibit.html, "html.parser")


def test_the_document_says_what_it_is(exhibit, soup):
    column = soup.find(role="article")
    for element in (soup.html, column):
        assert element["lang"] in LANGUAGES
        assert element["dir"] in ("ltr", "rtl")
    assert column["aria-roledescription"] == "email"
    assert soup.title.get_text(strip=True) == exhibit.message.subject
    assert soup.meta["charset"] == "utf-8"


def test_headings_begin_with_one_and_skip_no_level(soup):
    levels = [int(tag.name[1]) for tag in soup.find_all(re.compile(r"^h[1-6]$"))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert all(tag.get_text(strip=True) for tag in soup.find_all(re.compile(r"^h[1-6]$")))


def test_a_table_is_there_for_the_layout_alone(exhibit, soup):
    assert soup.find("table") is None
    for table in re.findall(r"<table[^>]*>", exhibit.html):  # in Outlook's comments
        assert 'role="presentation"' in table


def test_every_link_has_words_and_leads_somewhere(soup):
    links = soup.find_all("a")
    assert links
    for link in links:
        assert len(link.get_text(strip=True)) > 1
        href = link["href"].partition("#")[0]
        if href.startswith(f"{settings.SITE_URL}/"):
            assert resolve(href.removeprefix(settings.SITE_URL))
        else:
            assert href.startswith(OTHER_SITES)


def test_the_html_is_small_enough_for_gmail_and_its_lines_for_smtp(exhibit):
    written = exhibit.message.message().as_bytes(linesep="\r\n")
    assert len(exhibit.html.encode()) <= rendering.MOST_BYTES
    assert max(map(len, written.split(b"\r\n"))) <= 998


def test_no_header_is_there_twice(exhibit):
    read = email.message_from_bytes(
        exhibit.message.message().as_bytes(), policy=email.policy.default
    )
    names = [name.lower() for name in read.keys()]  # noqa: SIM118  a message has more than one
    assert len(names) == len(set(names))
    assert {"subject", "from", "to", "date", "message-id", "auto-submitted"} <= set(names)
    assert read["Subject"].strip() == exhibit.message.subject
    assert not read.defects


# -- the text part -------------------------------------------------------------------------


def test_the_text_is_wrapped_and_its_links_stand_alone(exhibit):
    for line in str(exhibit.message.body).split("\n"):
        if re.search(r"https?://", line):
            assert " " not in line or exhibit.name == AWKWARD, line
        else:
            longest = max(map(len, line.split()), default=0)
            assert len(line) <= 78 or (exhibit.name == AWKWARD and longest > 60), line


def test_the_text_has_no_junk(exhibit):
    text = str(exhibit.message.body)
    assert [line for line in text.split("\n") if line != line.rstrip() and line != "-- "] == []
    assert "\n\n\n\n" not in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert not text.startswith("\n")
    assert "\t" not in text
    assert exhibit.name == AWKWARD or not ENTITY.search(text)


def test_the_text_leads_wherever_the_html_leads(exhibit, soup):
    text = set(str(exhibit.message.body).split())
    for link in soup.find_all("a", href=True):
        assert {link["href"], link["href"].rstrip("/")} & text, link["href"]
