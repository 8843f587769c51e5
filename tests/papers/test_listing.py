from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import OuterRef, Subquery
from django.test.utils import CaptureQueriesContext

from papers import listing
from papers.listing import CappedPaginator
from papers.models import Paper
from tests.factories import make_paper

pytestmark = pytest.mark.django_db


@pytest.fixture
def papers() -> list[Paper]:
    return [make_paper(f"Paper {number}") for number in range(12)]


def test_a_page_holds_the_rows_that_a_slice_would(papers):
    rows = Paper.objects.order_by("-upvotes", "-id")
    pages = CappedPaginator(rows, 5)
    assert pages.count == 12
    assert [list(pages.page(n).object_list) for n in (1, 2, 3)] == [
        list(rows[:5]), list(rows[5:10]), list(rows[10:]),
    ]  # fmt: skip


def test_the_count_ends_at_the_cap_and_says_so(papers, monkeypatch):
    monkeypatch.setattr(listing, "MOST_COUNTED", 10)
    pages = CappedPaginator(Paper.objects.order_by("id"), 4)
    assert (pages.count, pages.num_pages, pages.is_capped) == (10, 3, True)
    assert list(pages.page(3).object_list) == papers[8:10]


def test_just_at_the_cap_nothing_is_more(papers, monkeypatch):
    monkeypatch.setattr(listing, "MOST_COUNTED", 12)
    pages = CappedPaginator(Paper.objects.order_by("id"), 4)
    assert (pages.count, pages.is_capped) == (12, False)


def test_rows_before_the_page_are_passed_by_their_keys(papers):
    same = Paper.objects.filter(pk=OuterRef("pk"))
    rows = Paper.objects.annotate(again=Subquery(same.values("title")[:1])).order_by("id")
    with CaptureQueriesContext(connection) as queries:
        shown = [paper.again for paper in CappedPaginator(rows, 4).page(2).object_list]
    assert shown == [paper.title for paper in papers[4:8]]
    (passing,) = [each["sql"] for each in queries if "OFFSET" in each["sql"]]
    assert "title" not in passing


def test_no_statement_counts_more_than_the_cap(papers):
    with CaptureQueriesContext(connection) as queries:
        assert CappedPaginator(Paper.objects.order_by("id"), 4).count == 12
    (counting,) = [each["sql"] for each in queries]
    assert f"LIMIT {listing.MOST_COUNTED + 1}" in counting
