from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path

import pytest

from papers import sources
from papers.records import SourceFormatError
from papers.sources.arxiv import ArXiv
from papers.sources.protocol import View

DATA = Path(__file__).resolve().parent.parent / "data"
URL = "https://rss.example.org/rss/cs.AI+cs.LG"
MONDAY = date(2026, 11, 23)


def reader(*categories):
    return ArXiv({"ARXIV_FEED_URL": "https://rss.example.org", "ARXIV_CATEGORIES": categories})


def parsed(name, url=URL):
    return reader("cs.AI", "cs.LG").parse((DATA / name).read_bytes(), url)


def by_id(answer):
    return {record.arxiv_id: record for record in answer.records}


def test_arxiv_is_asked_for_its_feed_and_then_for_a_query():
    config = {"ARXIV_CATEGORIES": ["cs.AI"]}

    assert [one.name for one in sources.readers("arxiv", config)] == ["arxiv", "arxiv_query"]


def test_the_address_joins_the_categories_in_one_order():
    url = reader("stat.ML", "cs.LG", "cs.AI", "cs.LG").url_for(MONDAY)

    assert url == "https://rss.example.org/rss/cs.AI+cs.LG+stat.ML"


@pytest.mark.parametrize("categories", [(), ("no category",), ("../../etc",)])
def test_without_a_category_the_setting_is_named(categories):
    with pytest.raises(ValueError, match="ARXIV_CATEGORIES"):
        reader(*categories).url_for(MONDAY)


def test_a_week_is_no_list_of_arxiv():
    with pytest.raises(ValueError, match="week"):
        reader("cs.AI").url_for(MONDAY, View.WEEK)


def test_a_new_paper_is_read_whole():
    heron = by_id(parsed("arxiv_feed.xml"))["2611.10001"]

    assert heron.title == "Counting Herons & Egrets with $\\mu$-Cameras"
    assert heron.abstract == "We point cameras at a river and wait. If $a < b$, herons come."
    assert heron.authors == ("Ada Example", "Zoë Müller Jr", "Ben Sample")
    assert heron.categories == ("cs.LG", "cs.CV")
    assert (heron.version, heron.position, heron.upvotes) == (1, 1, None)
    assert heron.published_at == heron.listed_at == datetime(2026, 11, 23, 5, tzinfo=UTC)


def test_new_papers_and_cross_lists_are_news_and_replacements_are_not():
    assert {key: record.is_listed for key, record in by_id(parsed("arxiv_feed.xml")).items()} == {
        "2611.10001": True, "2605.20002": True, "2609.00003": False, "math/0611800": False,
    }  # fmt: skip


def test_a_replacement_tells_its_version_and_a_withdrawal():
    papers = by_id(parsed("arxiv_feed.xml"))

    assert (papers["2609.00003"].version, papers["2609.00003"].withdrawn) == (3, False)
    assert (papers["math/0611800"].version, papers["math/0611800"].withdrawn) == (4, True)


def test_an_old_paper_announced_again_is_not_as_young_as_its_announcement():
    cross = by_id(parsed("arxiv_feed.xml"))["2605.20002"]

    assert cross.published_at == datetime(2026, 5, 31, tzinfo=UTC)
    assert cross.listed_at == datetime(2026, 11, 23, 5, tzinfo=UTC)


def test_an_item_that_is_no_paper_is_named_and_stops_nothing():
    answer = parsed("arxiv_feed.xml")

    assert (len(answer.records), answer.size) == (4, 5)
    assert answer.problems == (
        "entry 5: not an arXiv id or a link to one: 'https://arxiv.org/help/news'",
    )


def test_an_empty_weekend_feed_is_valid_and_says_its_day():
    answer = parsed("arxiv_feed_empty.xml")

    assert (answer.size, answer.records, answer.problems) == (0, (), ())
    assert answer.day == date(2026, 11, 22)


def test_the_feed_is_of_its_own_day_also_while_utc_is_a_day_ahead():
    body = (DATA / "arxiv_feed.xml").read_bytes()

    assert reader("cs.AI").parse(body, URL).day == MONDAY
    in_utc = body.replace(b"Mon, 23 Nov 2026 00:00:00 -0500", b"Mon, 23 Nov 2026 05:00:00 GMT")
    assert reader("cs.AI").parse(in_utc, URL).day == MONDAY
    undated = body.replace(b"pubDate", b"when").replace(b"lastBuildDate", b"when")
    assert reader("cs.AI").parse(undated, URL).day is None


def test_a_feed_that_is_an_error_repeats_what_arxiv_says():
    with pytest.raises(SourceFormatError, match="Bad subject class 'XX'"):
        parsed("arxiv_feed_error.xml")


def test_the_feed_as_atom_reads_the_same():
    rss, atom = by_id(parsed("arxiv_feed.xml")), parsed("arxiv_feed_atom.xml")

    assert by_id(atom)["2611.10001"] == rss["2611.10001"]
    assert by_id(atom)["2609.00003"].is_listed is False
    assert (atom.day, atom.unknown, atom.vanished) == (MONDAY, {}, ())


def feed(count, **fields):
    defaults = {"announce_type": "new", "category": "cs.LG", "creator": "Ada Example"}
    inner = "".join(
        f"<{name}>{value}</{name}>" for name, value in (defaults | fields).items() if value
    )
    items = "".join(
        f"<item><title>Paper {number}</title><guid>oai:arXiv.org:2611.{number:05}v1</guid>"
        f"{inner}</item>"
        for number in range(1, count + 1)
    )
    made = "<pubDate>Mon, 23 Nov 2026 00:00:00 -0500</pubDate>"
    head = f"<title>cs.AI updates on arXiv.org</title>{made}"
    return f"<rss version='2.0'><channel>{head}{items}</channel></rss>".encode()


def test_fields_that_came_or_went_are_counted_and_harm_nothing():
    answer = reader("cs.AI").parse(feed(5, citations="7", creator=""), URL)

    assert len(answer.records) == 5
    assert answer.unknown == {"citations": 5}
    assert answer.vanished == ("creator",)
    assert reader("cs.AI").parse(feed(4, creator=""), URL).vanished == ()


def test_without_an_announce_type_a_first_version_is_news():
    answer = reader("cs.AI").parse(feed(5, announce_type=""), URL)

    assert all(record.is_listed for record in answer.records)
    assert answer.vanished == ("announce_type",)
    later = feed(1, announce_type="").replace(b"v1", b"v2")
    assert [record.is_listed for record in reader("cs.AI").parse(later, URL).records] == [False]
    unheard = reader("cs.AI").parse(feed(1, announce_type="absonly"), URL)
    assert [record.is_listed for record in unheard.records] == [False]


def pages(source, sizes):
    """The categories of each page asked for, until the list is read; `sizes` by their number."""
    url, asked = source.url_for(MONDAY), []
    while url:
        names = url.rpartition("/")[2].split("+")
        asked.append(names)
        answer = source.parse(feed(min(2_000, sum(sizes[name] for name in names))), url)
        url = answer.next_url
    return asked, answer


def test_more_categories_than_fit_an_address_are_several_pages():
    names = [f"cs.A{chr(65 + number // 26)}{chr(65 + number % 26)}" for number in range(60)]

    asked, _last = pages(reader(*names), dict.fromkeys(names, 1))

    assert [len(page) for page in asked] == [25, 25, 10]
    assert list(chain(*asked)) == names


def test_a_feed_that_arxiv_cuts_is_read_in_parts_that_it_does_not_cut():
    sizes = {"cs.AI": 1_200, "cs.CL": 1_300, "stat.ML": 300}

    asked, last = pages(reader(*sizes), sizes)

    whole = [page for page in asked if sum(sizes[name] for name in page) < 2_000]
    assert sorted(chain(*whole)) == sorted(sizes)
    assert last.problems == ()


def test_a_single_category_that_is_cut_is_said_aloud():
    answer = reader("cs.LG").parse(feed(2_000), "https://rss.example.org/rss/cs.LG")

    assert answer.problems == ("cs.LG: the feed is cut at 2000 items",)
    assert answer.next_url == ""


def test_the_recorded_feed_has_its_four_announcements(shared_data):
    name = "cs.LG+cs.AI+cs.CL+stat.ML_2026-09-24_excerpt.xml"
    body = (shared_data / "arxiv" / "rss" / name).read_bytes()

    answer = reader("cs.LG", "cs.AI", "cs.CL", "stat.ML").parse(body, URL)

    assert [(one.arxiv_id, one.version, one.is_listed) for one in answer.records] == [
        ("2609.26811", 1, True), ("2609.26820", 1, True),
        ("2205.06398", 2, True), ("2009.13987", 3, False),
    ]  # fmt: skip
    assert answer.records[1].authors == (
        "Naser Mansour", "Sidahmed Benabderrahmane", "Ameer Rahwan",
    )  # fmt: skip
    assert answer.day == date(2026, 9, 24)
    assert (answer.problems, answer.unknown, answer.vanished) == ((), {}, ())


def test_the_recorded_sunday_is_empty(shared_data):
    body = (shared_data / "arxiv" / "rss" / "cs_weekend_empty_2026-03-29.xml").read_bytes()

    answer = reader("cs").parse(body, "https://rss.example.org/rss/cs")

    assert (answer.size, answer.day, answer.next_url) == (0, date(2026, 3, 29), "")
