"""Hugging Face Daily Papers by its API: `GET /api/daily_papers`, and one paper by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from papers.records import Parsed, SavedDay, SourceFormatError
from papers.sources.huggingface_archive import read_file
from papers.sources.huggingface_entry import shown
from papers.sources.huggingface_list import read_entries, read_json
from papers.sources.protocol import View

MOST_ITEMS = 5_000  # one answer has 100; a mirror may forget its limit, garbage has no end


class HuggingFace:
    """Pages are asked for until one is short: the API tells no total. What trends has no end; its
    first page is enough.

    It refuses the 53rd week of a year. That one is read by its days: the fragment of the address,
    which is never sent, says so, and next_url leads on to the Sunday.
    """

    name: ClassVar[str] = "huggingface"
    settings: ClassVar[tuple[str, ...]] = ("HUGGINGFACE_URL",)
    views: ClassVar[frozenset[View]] = frozenset(View)
    pace_seconds: ClassVar[float] = 0.0
    accept: ClassVar[str] = "application/json"
    most_ids: ClassVar[int] = 1
    page_size = 100  # the most it gives; its own default of 50 cuts long days

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.base_url = config.get("HUGGINGFACE_URL", "")

    def url_for(self, day: date, view: View = View.DAY) -> str:
        iso = day.isocalendar()
        if view is View.WEEK and iso.week == 53:
            monday = date.fromisocalendar(iso.year, iso.week, 1)
            return f"{self._page(date=monday.isoformat())}#{iso.year}-W53"
        asked = {
            View.DAY: {"date": day.isoformat()},
            View.WEEK: {"week": f"{iso.year}-W{iso.week:02}"},
            View.MONTH: {"month": day.isoformat()[:7]},
            View.TRENDING: {"sort": "trending"},
        }
        return self._page(**asked[view])

    def parse(self, body: bytes, url: str) -> Parsed:
        """A JSON list of entries."""
        answer = read_json(body)
        if not isinstance(answer, list):
            raise SourceFormatError(f"a list was expected, there came {shown(answer)}")
        if len(answer) > MOST_ITEMS:
            raise SourceFormatError(f"a list of {len(answer)} items")
        parsed = read_entries(answer, _view(url))
        return replace(parsed, next_url=self._next_url(url, parsed.size))

    def url_for_papers(self, arxiv_ids: Sequence[str]) -> str:
        return f"{self.base_url}/api/papers/{quote(arxiv_ids[0])}"

    def parse_papers(self, body: bytes, url: str) -> Parsed:
        """An entry's inner object without the outer one; it does not say how many comments."""
        answer = read_json(body)
        parsed = read_entries([answer])
        if parsed.problems:
            raise SourceFormatError(f"no paper: {shown(answer)}")
        return replace(parsed, day=None)

    def parse_file(self, body: bytes) -> list[SavedDay]:
        return read_file(body)

    def _page(self, **query: str) -> str:
        asked = urlencode(query | {"limit": self.page_size, "p": 0})
        return f"{self.base_url}/api/daily_papers?{asked}"

    def _next_url(self, url: str, size: int) -> str:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        if size >= self.page_size and _view(url) is not View.TRENDING:
            query["p"] = str(int(query.get("p", 0)) + 1)
        elif parts.fragment and not _is_sunday(query["date"]):
            tomorrow = date.fromisoformat(query["date"]) + timedelta(days=1)
            query |= {"date": tomorrow.isoformat(), "p": "0"}
        else:
            return ""
        return parts._replace(query=urlencode(query)).geturl()


def _view(url: str) -> View:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.fragment or "week" in query:
        return View.WEEK
    if "month" in query:
        return View.MONTH
    return View.TRENDING if "sort" in query else View.DAY


def _is_sunday(day: str) -> bool:
    return date.fromisoformat(day).weekday() == 6
