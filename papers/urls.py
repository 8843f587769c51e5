"""Addresses of this package."""

from __future__ import annotations

from datetime import date

from django.urls import path, register_converter

from . import feeds, views
from .records import arxiv_id

app_name = "papers"


class DayConverter:
    regex = "[0-9]{4}-[0-9]{2}-[0-9]{2}"

    def to_python(self, value: str) -> date:
        return date.fromisoformat(value)  # its ValueError means: no such address

    def to_url(self, value: date | str) -> str:
        return str(value)


class PaperIdConverter:
    """A new id (2512.08765) or an old one (math/0611800), with or without its version."""

    regex = r"(?:[0-9]{4}\.[0-9]{4,5}|[a-z]+(?:-[a-z]+)?(?:\.[A-Z]{2})?/[0-9]{7})(?:v[0-9]{1,3})?"

    def to_python(self, value: str) -> str:
        arxiv_id(value)  # its ValueError means: no such address
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(DayConverter, "day")
register_converter(PaperIdConverter, "paper_id")

urlpatterns = [
    path("", views.home, name="home"),
    path("<day:day>/", views.day, name="day"),
    path("<day:day>/all/", views.day_list, name="day_list"),
    path("papers/<paper_id:paper_id>/", views.paper, name="paper"),
    path("papers/", views.search, name="search"),
    path("search/", views.old_search),
    path("colors.css", views.colors, name="colors"),
    path("feed.xml", feeds.feed, name="feed"),
]
