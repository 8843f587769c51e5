"""Hugging Face Daily Papers by its pages: for when the API fails or has changed its shape.

Read first is the data that a page carries for its own script, the API's entries under
`dailyPapers`; where that is gone, the cards that a visitor sees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, ClassVar

from bs4 import BeautifulSoup

from papers.records import Parsed, SourceFormatError, one_line
from papers.sources.huggingface_cards import read_cards
from papers.sources.huggingface_html import read_page
from papers.sources.huggingface_list import first_day, read_entries, read_json
from papers.sources.protocol import View

MOST_ITEMS = 1_000  # the longest lists seen have 105
_IN_PATH = re.compile(r"/papers(?:/(?:date|week|month)/|\?date=)([\w-]+)")
_PERIODS = {"day": View.DAY, "week": View.WEEK, "month": View.MONTH}


class HuggingFacePage:
    """Its lists are not paged: weeks and months are cut at about a hundred papers.

    A page that is of another kind of period than was asked for is refused. One of another day, to
    which the site leads where a day has no papers, says so in `day`.
    """

    name: ClassVar[str] = "huggingface_page"
    settings: ClassVar[tuple[str, ...]] = ("HUGGINGFACE_URL",)
    views: ClassVar[frozenset[View]] = frozenset(View)
    pace_seconds: ClassVar[float] = 0.0
    accept: ClassVar[str] = "text/html"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.base_url = config.get("HUGGINGFACE_URL", "")

    def url_for(self, day: date, view: View = View.DAY) -> str:
        iso = day.isocalendar()
        place = {
            View.DAY: f"date/{day.isoformat()}",
            View.WEEK: f"week/{iso.year}-W{iso.week:02}",
            View.MONTH: f"month/{day.isoformat()[:7]}",
            View.TRENDING: "trending",
        }
        return f"{self.base_url}/papers/{place[view]}"

    def parse(self, body: bytes, url: str) -> Parsed:
        """A whole page; a login form, a browser check or an error page is none."""
        asked, soup = _period_in(url)[0], read_page(body)
        view, day = _period(soup, props := _hydration(soup))
        if asked is not None and view not in (asked, None):
            raise SourceFormatError(f"the {asked} page was expected, there came the {view} page")
        parsed = _list(soup, props, view=view or asked or View.DAY, day=day)
        if asked is View.TRENDING:
            return replace(parsed, day=None)
        if day is None and parsed.day is None:
            raise SourceFormatError("a page that does not say of which day it is")
        return replace(parsed, day=day or parsed.day)


def _hydration(soup: BeautifulSoup) -> Mapping[str, Any]:
    """The data for the page's script, whatever the part of the page is called; {} where gone."""
    for each in soup.find_all(None, {"data-props": True}):
        try:
            props = read_json(str(each["data-props"]))
        except SourceFormatError:
            continue
        if isinstance(props, dict) and isinstance(props.get("dailyPapers"), list):
            return props
    return {}


def _list(soup: BeautifulSoup, props: Mapping[str, Any], *, view: View, day: date | None) -> Parsed:
    items = props.get("dailyPapers", [])
    if len(items) > MOST_ITEMS:
        raise SourceFormatError(f"a page of {len(items)} papers")
    parsed = read_entries(items, view)
    if parsed.records:
        return parsed
    drawn = read_cards(soup, listed_by=day)
    if drawn.records:
        return replace(drawn, vanished=("dailyPapers", *drawn.vanished))
    if props and not items:
        return parsed
    title = one_line(soup.title.get_text()) if soup.title else ""
    raise SourceFormatError(f"no list of papers, but a page called {title[:80]!r}")


# -- of which period it is -----------------------------------------------------------------


def _period(soup: BeautifulSoup, props: Mapping[str, Any]) -> tuple[View | None, date | None]:
    """What the page says: in its own address, to its script, then to its visitors."""
    address = soup.find("meta", attrs={"property": "og:url"})
    view, day = _period_in(str(address.get("content", "")) if address else "")
    if view is not None:
        return view, day
    for said in (props.get("dateString"), props.get("date"), *_visible_dates(soup)):
        view, day = _first_day(said)
        if view is not None and day is not None:
            view = _PERIODS.get(str(props.get("periodType")), view)
            return view, first_day(day, view)
    return _PERIODS.get(str(props.get("periodType"))), None


def _visible_dates(soup: BeautifulSoup) -> list[str]:
    times = soup.find_all("time", attrs={"datetime": True})
    return [str(each["datetime"]) for each in times if each.find_parent("article") is None]


def _period_in(url: str) -> tuple[View | None, date | None]:
    if "/papers/trending" in url:
        return View.TRENDING, None
    found = _IN_PATH.search(url)
    return _first_day(found[1]) if found else (None, None)


def _first_day(text: object) -> tuple[View | None, date | None]:
    """2026-10-02 with or without a time of day, 2026-W40 or 2026-10."""
    text = str(text)
    try:
        if re.fullmatch(r"\d{4}-W\d\d", text, re.ASCII):
            return View.WEEK, date.fromisoformat(f"{text}-1")
        if re.fullmatch(r"\d{4}-\d\d", text, re.ASCII):
            return View.MONTH, date.fromisoformat(f"{text}-01")
        if re.match(r"\d{4}-\d\d-\d\d(?!\d)", text, re.ASCII):
            return View.DAY, date.fromisoformat(text[:10])
    except ValueError:
        pass
    return None, None
