from __future__ import annotations

import html
import json
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers.records import SourceFormatError
from papers.sources import View
from papers.sources.huggingface_page import HuggingFacePage
from tests.papers.storable import is_storable, some_json

DATA = Path(__file__).resolve().parent.parent / "data"
SOURCE = HuggingFacePage({"HUGGINGFACE_URL": "https://example.org"})
OLD, NEW, TRENDING = "hf_page_2024-08-01.html", "hf_page_2026-10-02.html", "hf_page_trending.html"
AUGUST_1, OCTOBER_2 = date(2024, 8, 1), date(2026, 10, 2)


def page(name):
    return (DATA / name).read_bytes()


def drawn(name):
    """The page without the data for its script: only the cards are left."""
    return page(name).replace(b"dailyPapers", b"renamed")


def read(body, day=OCTOBER_2, view=View.DAY):
    return SOURCE.parse(body, SOURCE.url_for(day, view))


def page_of(*entries, **props):
    said = html.escape(json.dumps({"dailyPapers": entries} | props))
    return f'<a href="/papers">P</a><div data-target="DailyPapers" data-props="{said}">'.encode()


def entry(number=1, listed_at="2026-10-02T00:00:00.000Z"):
    paper = {"id": f"2610.{number:05}", "title": "T", "publishedAt": "2026-10-01T00:00:00.000Z"}
    return {"paper": paper | {"submittedOnDailyAt": listed_at}}


def card(inside="", *, paper_id="2610.00001", title="Kites"):
    link = f'<h3><a href="/papers/{paper_id}">{title}</a></h3>'
    shown = '<time datetime="2026-10-02T00:00:00.000Z"></time>'
    return f"{shown}<article>{link}{inside}</article>".encode()


@pytest.mark.parametrize(
    ("view", "path"),
    [
        (View.DAY, "date/2026-12-28"),
        (View.WEEK, "week/2026-W53"),
        (View.MONTH, "month/2026-12"),
        (View.TRENDING, "trending"),
    ],
)
def test_every_view_has_its_page(view, path):
    assert SOURCE.url_for(date(2026, 12, 28), view) == f"https://example.org/papers/{path}"


# -- the data for the page's script -------------------------------------------------------------


def test_a_page_of_2024_is_read_whole():
    found = read(page(OLD), AUGUST_1)
    herons, ovens, tides = found.records

    assert (found.day, found.problems, found.unknown, found.vanished) == (AUGUST_1, (), {}, ())
    assert (herons.title, herons.upvotes) == ("Counting Herons with Patient Cameras", 94)
    assert herons.abstract.startswith("We look at it patiently")
    assert ovens.title == "<think> Before You Bake & Save $1 Million: μ-Ovens"
    assert ovens.authors == ("Zoë Müller", "Ben Sample")
    assert tides.published_at == datetime(2024, 4, 1, 17, 59, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "view", "day"),
    [(NEW, View.DAY, OCTOBER_2), (TRENDING, View.TRENDING, None)],
)
def test_a_page_of_2026_is_read_whole(name, view, day):
    found = read(page(name), OCTOBER_2, view)
    kites = found.records[0]

    assert (found.day, found.problems, found.unknown, found.vanished) == (day, (), {}, ())
    assert [each.arxiv_id for each in found.records] == ["2609.11001", "2610.11002", "2006.11003"]
    assert (kites.organization, kites.stars, kites.comments) == ("Kite Laboratory", 5243, 4)
    assert (kites.tldr, kites.keywords) == ("Kites can hold still.", ("kites", "wind"))


def test_a_mirrors_counts_with_commas_are_counts():
    popular = entry()
    popular["paper"]["upvotes"] = "1,234"

    assert read(page_of(popular, dateString="2026-10-02")).records[0].upvotes == 1234


def test_a_page_without_papers_is_an_empty_list():
    found = read(page_of(dateString="2026-10-02", periodType="day"))

    assert (found.records, found.size, found.day) == ((), 0, OCTOBER_2)


def test_a_list_for_the_script_that_is_empty_is_not_believed_where_there_are_cards():
    found = read(page_of(dateString="2026-10-02") + card())

    assert [each.title for each in found.records] == ["Kites"]
    assert found.vanished == ("dailyPapers",)


def test_the_data_is_found_under_another_name_of_its_part():
    renamed = page(NEW).replace(b'data-target="DailyPapers"', b'data-target="PaperList"')

    assert read(renamed) == read(page(NEW))


# -- the cards ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "view"), [(OLD, View.DAY), (NEW, View.DAY), (TRENDING, View.TRENDING)]
)
def test_the_cards_show_what_the_data_says(name, view):
    day = AUGUST_1 if name == OLD else OCTOBER_2
    told, shown = read(page(name), day, view), read(drawn(name), day, view)

    assert [facts(each) for each in shown.records] == [facts(each) for each in told.records]
    assert (shown.day, shown.size, shown.problems) == (told.day, 3, ())
    assert shown.vanished == ("dailyPapers",)


def facts(record):
    return (record.position, record.arxiv_id, record.title, record.upvotes, record.code_url,
            record.organization)  # fmt: skip


@pytest.mark.parametrize("name", [OLD, NEW])
def test_what_a_card_does_not_say_for_certain_is_left_out(name):
    records = read(drawn(name), AUGUST_1 if name == OLD else OCTOBER_2).records

    assert {(each.authors, each.abstract, each.tldr) for each in records} == {((), "", "")}
    assert [each.comments for each in records][-1] is None


@pytest.mark.parametrize(
    ("shown", "votes"),
    [("94", 94), ("1,234", 1234), ("5.24k", 5240), ("18.1K", 18100), ("1.2M", 1_200_000),
     ("-", 0), ("", None), ("many", None), ("9,99", None), ("9" * 40, None)],
)  # fmt: skip
def test_votes_are_read_as_they_are_shown(shown, votes):
    box = f'<a href="/login?next=%2Fpapers"><input type="checkbox"> Upvote <b>{shown}</b></a>'

    assert read(card(box)).records[0].upvotes == votes


def test_a_card_without_its_box_has_no_votes_rather_than_none():
    assert read(card("<b>12</b>")).records[0].upvotes is None


def test_stars_are_read_from_the_button_to_the_code():
    record = read(card('<a href="https://github.com/a/b"><span>GitHub</span> <b>5.24k</b></a>'))

    assert record.records[0].stars == 5240
    assert record.records[0].code_url == "https://github.com/a/b"


def test_who_submitted_a_paper_is_not_its_organization():
    both = '<div>Submitted by <a href="/somebody">somebody</a></div><p><a href="/lab">Lab</a></p>'

    assert read(card(both)).records[0].organization == "Lab"


@pytest.mark.parametrize(
    ("paper_id", "shown", "published"),
    [
        ("2609.00001", "Published on Sep 27, 2026", "2026-09-28"),
        ("2609.00001", "Sep 27", "2026-09-28"),
        ("2601.00001", "Dec 31", "2026-01-01"),
        ("2006.00001", "Jun 28, 2020", "2020-06-29"),
        ("2610.00001", "no date", "2026-10-01"),
        ("2609.00001", "no date", "2026-09-30"),
        ("2404.00001", "Feb 30", "2024-04-30"),
        ("2609.00001", "Dec 31, 9999", "2026-09-30"),
        ("9912.00001", "no date", "2026-10-02"),
    ],
)
def test_a_paper_is_dated_by_its_card_or_between_its_id_and_the_page(paper_id, shown, published):
    found = read(card(f"<span>{shown}</span>", paper_id=paper_id))

    assert found.records[0].published_at.isoformat() == f"{published}T00:00:00+00:00"
    assert not found.records[0].is_dated


def test_what_trends_without_a_date_is_dated_by_its_id_alone():
    body = card(paper_id="2404.00001").replace(b"<time", b"<i")

    assert read(body, view=View.TRENDING).records[0].published_at.date() == date(2024, 4, 1)


def test_a_card_that_is_no_paper_is_a_problem_and_the_others_are_kept():
    body = card() + card(paper_id="not-an-id") + card(title=" ", paper_id="2610.00002")

    found = read(body)

    assert [each.arxiv_id for each in found.records] == ["2610.00001"]
    assert [problem.partition(":")[0] for problem in found.problems] == ["card 2", "card 3"]


def test_many_cards_without_votes_are_noticed():
    body = b"".join(card(paper_id=f"2610.{number:05}") for number in range(5))

    assert read(body).vanished == ("dailyPapers", "paper.upvotes")


def test_data_of_another_shape_leaves_the_cards():
    broken = page(NEW).replace(b"&quot;paper&quot;", b"&quot;work&quot;")

    assert [each.upvotes for each in read(broken).records] == [566, 43, 0]


# -- of which period ----------------------------------------------------------------------------


def test_the_page_is_believed_before_its_entries_and_not_what_stands_on_a_card():
    relisted = page_of(entry(listed_at="2026-10-01T00:00:00.000Z"), dateString="2026-10-02")
    dated = b"<article><time datetime='2020-01-01'></time></article>" + card()

    assert read(relisted).day == OCTOBER_2
    assert read(dated).day == OCTOBER_2


@pytest.mark.parametrize("body", [page(NEW), drawn(NEW)])
def test_a_page_of_another_day_than_was_asked_for_says_which(body):
    assert read(body, date(2026, 10, 3)).day == OCTOBER_2


@pytest.mark.parametrize(
    ("view", "props", "day"),
    [
        (View.WEEK, {"periodType": "week", "dateString": "2026-W40"}, date(2026, 9, 28)),
        (View.WEEK, {"periodType": "week", "dateString": "2026-10-02"}, date(2026, 9, 28)),
        (View.MONTH, {"periodType": "month", "dateString": "2026-10"}, date(2026, 10, 1)),
        (View.DAY, {"date": "2026-10-02T00:00:00.000Z"}, OCTOBER_2),
        (View.DAY, {"periodType": "day"}, OCTOBER_2),
        (View.WEEK, {"periodType": "week", "dateString": "2026-W99"}, date(2026, 9, 28)),
    ],
)
def test_a_page_tells_its_period_to_its_script_or_by_its_entries(view, props, day):
    assert read(page_of(entry(), **props), view=view).day == day


@pytest.mark.parametrize(
    ("view", "came", "props"),
    [
        (View.DAY, "week", {"periodType": "week", "dateString": "2026-W40"}),
        (View.DAY, "month", {"periodType": "month", "dateString": "2026-10"}),
        (View.WEEK, "day", {"periodType": "day", "dateString": "2026-09-28"}),
        (View.TRENDING, "day", {"date": "2026-10-02T00:00:00.000Z"}),
    ],
)
def test_another_kind_of_page_than_was_asked_for_is_refused(view, came, props):
    with pytest.raises(SourceFormatError, match=f"the {view} page was expected.* the {came} page"):
        read(page_of(entry(), **props), view=view)


def test_what_trends_is_no_days_list():
    with pytest.raises(SourceFormatError, match=r"the day page was expected.* the trending page"):
        read(page(TRENDING))


def test_a_page_of_the_first_of_all_days_is_read_too():
    found = read(page_of(None, dateString="0001-01-01") + card(), date(1, 1, 1))

    assert found.day == date(1, 1, 1)


def test_a_page_that_does_not_say_its_day_is_refused():
    with pytest.raises(SourceFormatError, match="does not say of which day"):
        read(page_of(entry(listed_at="")))


# -- what is no such page -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no page with papers: ''"),
        (b'{"error":"Sorry"}', 'no page with papers: \'{"error"'),
        (
            b"<title>Just a moment...</title><script src='/challenge.js'></script>",
            "no page with papers: .<title>Just a moment",
        ),
        (
            b"<title>Log in</title><a href='/papers'>Papers</a>"
            b"<a href='/login?next=%2Fpapers%2F2610.00001'>Log in</a>",
            "a page called 'Log in'",
        ),
        (b"\xff\xfe" + b"\x00" * 1_000, "no page with papers"),
        (b"<a href='/papers/'>" + b"&#" + b"9" * 5_000 + b";</a>", "no HTML"),
        (b"<a href='/papers/'>" * 500_000, "a page of 9500000 characters, 500000 tags"),
        (page_of(*[0] * 1_001), "a page of 1001 papers"),
    ],
)
def test_a_page_that_is_no_list_of_papers_says_what_came(body, said):
    with pytest.raises(SourceFormatError, match=said):
        read(body)


HEADING = b'<h3><a href="/papers/2610.00001">T</a></h3>'


@pytest.mark.parametrize(
    "body",
    [
        b"<!--" * 20_000 + b"x" * 1_000_000,
        b"</" * 20_000 + b"x" * 1_000_000,
        b"<?" * 20_000 + b"x" * 1_000_000,
        b"<article>" + HEADING * 400 + b"<i>x</i>" * 15_000,
        (b"<article>" + HEADING) * 400 + b"<i>x</i>" * 15_000,
        b'<time datetime="x">' * 30_000,
        b"<article>" + HEADING + b"<p>Submitted by " + b'<a href="/a">x</a>' * 15_000,
    ],
)
def test_a_page_that_is_made_to_take_long_does_not(body):
    began = time.process_time()

    records_or_named_error(b"/papers" + body)

    assert time.process_time() - began < 4  # unbounded, each takes half a minute and more


PAGES = [page(OLD), page(NEW), drawn(OLD), page(TRENDING)]


@given(st.binary() | st.binary().map(lambda odd: b"<a href='/papers/'>" + odd))
def test_any_bytes_give_records_or_a_named_error(body):
    records_or_named_error(body)


@given(st.sampled_from(PAGES), st.data())
def test_a_page_with_anything_cut_from_it_or_put_into_it_is_read_or_refused(body, data):
    for _change in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(body)))
        gone = data.draw(st.sampled_from([0, 1, 40, 2_000]))
        odd = data.draw(st.sampled_from([b"", b'"', b"<", b"&#0;", b"\x00", b"</div>", b"<!["]))
        body = body[:start] + odd + body[start + gone :]

    records_or_named_error(body)


@given(
    st.lists(some_json | st.builds(lambda odd: {"paper": odd}, some_json), max_size=4), some_json
)
def test_any_data_for_the_script_is_read_or_refused(items, said):
    records_or_named_error(page_of(*items, dateString=said) + card())


def records_or_named_error(body):
    for view in (View.DAY, View.TRENDING):
        try:
            found = read(body, AUGUST_1, view)
        except SourceFormatError:
            continue
        assert all(map(is_storable, found.records))
        assert len(found.records) + len(found.problems) == found.size


# -- as they were recorded ----------------------------------------------------------------------


def test_the_recorded_page_has_its_papers_in_its_data_and_on_its_cards(shared_data):
    body = (shared_data / "hf_daily" / "html" / "papers_2024-08-01.html").read_bytes()

    told = read(body, AUGUST_1)
    shown = read(body.replace(b"data-props", b"data-gone"), AUGUST_1)

    assert (told.day, len(told.records), told.problems) == (AUGUST_1, 13, ())
    assert [each.upvotes for each in told.records] == [94, 24, 19, 16, 11, 8, 8, 8, 7, 7, 7, 5, 3]
    assert [facts(each) for each in shown.records] == [facts(each) for each in told.records]
    assert [each.comments for each in shown.records] == [each.comments for each in told.records]
    assert len(told.records[0].authors) == 533
    dated = zip(told.records, shown.records, strict=True)
    assert sum(abs((a.published_at - b.published_at).days) <= 3 for a, b in dated) == 12


def test_the_recorded_trending_card_is_read_once(shared_data):
    path = shared_data / "hf_daily" / "html" / "trending_card_2026-10.fragment.html"

    (raven,) = read(path.read_bytes(), view=View.TRENDING).records

    assert raven.arxiv_id == "2609.33439"
    assert raven.title == "Raven: The Harness of Harnesses for Composable Agentic Intelligence"
    assert (raven.upvotes, raven.stars, raven.organization) == (566, 5240, "EverMind")
    assert raven.published_at == datetime(2026, 9, 28, tzinfo=UTC)
