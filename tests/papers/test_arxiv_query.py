from __future__ import annotations

import re
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from papers.records import SourceFormatError
from papers.sources.arxiv_query import ArXivQuery
from papers.sources.arxiv_schedule import announces_on, submitted_for
from papers.sources.protocol import View

DATA = Path(__file__).resolve().parent.parent / "data"
READER = ArXivQuery(
    {"ARXIV_URL": "https://export.example.org", "ARXIV_CATEGORIES": ["cs.LG", "cs.AI"]}
)
MONDAY = date(2026, 11, 23)


def looked_up(name):
    return READER.parse_papers((DATA / name).read_bytes(), "")


def query(url):
    assert url.startswith("https://export.example.org/api/query?")
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


# -- a missed day ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "since", "until"),
    [
        # Thursday 14:00 to Friday 14:00 in New York is announced on Sunday evening: Monday, UTC.
        ("2026-11-23", "2026-11-19T19:00Z", "2026-11-20T19:00Z"),
        ("2026-11-24", "2026-11-20T19:00Z", "2026-11-23T19:00Z"),
        ("2026-11-25", "2026-11-23T19:00Z", "2026-11-24T19:00Z"),
        ("2026-11-27", "2026-11-25T19:00Z", "2026-11-26T19:00Z"),
        # Clocks in New York go back on the first of November and forward on the eighth of March.
        ("2026-11-03", "2026-10-30T18:00Z", "2026-11-02T19:00Z"),
        ("2026-03-10", "2026-03-06T19:00Z", "2026-03-09T18:00Z"),
        ("2026-07-01", "2026-06-29T18:00Z", "2026-06-30T18:00Z"),
    ],
)
def test_a_day_is_made_of_what_came_in_between_two_deadlines(day, since, until):
    window = submitted_for(date.fromisoformat(day))

    assert window == (datetime.fromisoformat(since), datetime.fromisoformat(until))


def test_the_windows_of_a_year_follow_each_other_without_gap_or_overlap():
    days = [date.fromordinal(date(2026, 1, 1).toordinal() + number) for number in range(365)]
    windows = [submitted_for(day) for day in days if announces_on(day)]

    assert len(windows) == 261
    assert all(before[1] == after[0] for before, after in pairwise(windows))


@pytest.mark.parametrize("day", [date(2026, 11, 21), date(2026, 11, 22)])
def test_a_day_without_announcement_has_no_list(day):
    with pytest.raises(ValueError, match=f"announces nothing on a {day:%A}.*{day}"):
        READER.url_for(day)


def test_the_address_of_a_day_asks_for_its_window_in_all_categories():
    assert query(READER.url_for(MONDAY)) == {
        "search_query": (
            "(cat:cs.AI OR cat:cs.LG) AND submittedDate:[202611191900 TO 202611201859]"
        ),
        "sortBy": "submittedDate",
        "sortOrder": "ascending",
        "start": "0",
        "max_results": "500",
    }


def test_without_a_category_or_with_another_view_there_is_no_address():
    with pytest.raises(ValueError, match="ARXIV_CATEGORIES"):
        ArXivQuery({"ARXIV_CATEGORIES": []}).url_for(MONDAY)
    with pytest.raises(ValueError, match="trending"):
        READER.url_for(MONDAY, View.TRENDING)


def test_a_whole_archive_is_asked_for_by_a_wildcard():
    source = ArXivQuery({"ARXIV_CATEGORIES": ["cs", "hep-th", "math.CO"]})

    url = parse_qs(urlsplit(source.url_for(MONDAY)).query)
    assert url["search_query"][0].startswith("(cat:cs.* OR cat:hep-th OR cat:math.CO) AND")


def feed(ids, total=""):
    entries = "".join(
        f"<entry><id>http://arxiv.org/abs/{name}</id><title>Paper {name}</title>"
        "<published>2026-11-20T10:00:00Z</published></entry>"
        for name in ids
    )
    counted = f"<totalResults xmlns='http://a9.com/-/spec/opensearch/1.1/'>{total}</totalResults>"
    title = "<title>arXiv Query:</title>"
    return f"<feed xmlns='http://www.w3.org/2005/Atom'>{title}{counted}{entries}</feed>".encode()


def test_slices_follow_each_other_by_what_came_not_by_what_was_asked():
    url = READER.url_for(MONDAY)

    first = READER.parse(feed(["2611.00001v1", "2611.00002v1"], total=3), url)
    last = READER.parse(feed(["2611.00003v1"], total=3), first.next_url)

    assert query(first.next_url) == query(url) | {"start": "2"}
    assert (first.expected, last.expected) == (3, 3)
    assert last.next_url == ""


def test_many_categories_are_asked_for_one_part_after_another():
    names = [f"cs.{chr(65 + number // 26)}{chr(65 + number % 26)}" for number in range(155)]
    source = ArXivQuery({"ARXIV_URL": "https://export.example.org", "ARXIV_CATEGORIES": names})
    url, asked = source.url_for(MONDAY), []
    window = query(url)["search_query"].rpartition(" AND ")[2]

    while url:
        assert len(url) < 1_500
        assert query(url)["search_query"].endswith(window)
        asked += re.findall(r"cat:([\w.]+)", query(url)["search_query"])
        more = query(url)["start"] == "0"
        url = source.parse(feed(["2611.00001v1"], total=2 if more else 1), url).next_url

    assert asked == [name for part in (names[:60], names[60:120], names[120:]) for name in part * 2]


def test_a_hundred_old_ids_fit_an_address():
    old = [f"cond-mat/0410{number:03}" for number in range(100)]

    assert len(READER.url_for_papers(old)) < 2_000


def test_an_empty_window_is_an_empty_list():
    answer = READER.parse(feed([], total=0), READER.url_for(MONDAY))

    assert (answer.size, answer.expected, answer.next_url) == (0, 0, "")


def test_no_entries_though_there_are_results_is_worth_another_try():
    with pytest.raises(SourceFormatError, match="though there are 412 results"):
        READER.parse(feed([], total=412), READER.url_for(MONDAY))


# -- papers by their ids ---------------------------------------------------------------------


def test_ids_are_asked_for_in_their_canonical_form_and_all_at_once():
    url = READER.url_for_papers(["2009.00001v2", "math.CA/0611800", "arXiv:2611.10001"])

    assert query(url) == {
        "id_list": "2009.00001,math/0611800,2611.10001", "start": "0", "max_results": "3",
    }  # fmt: skip


def test_ids_that_cannot_be_do_not_spoil_the_others():
    bad = ["not an id", "foo/9901001", "cs/9913001", "2613.00001"]

    assert query(READER.url_for_papers([*bad, "2009.00001"]))["id_list"] == "2009.00001"
    with pytest.raises(ValueError, match="foo/9901001"):
        READER.url_for_papers(bad)


def test_the_shapes_before_and_after_november_2025_give_the_same_records():
    assert looked_up("arxiv_query_2020.xml") == looked_up("arxiv_query_2026.xml")


def test_a_paper_is_read_whole():
    heron = looked_up("arxiv_query_2020.xml").records[0]

    assert heron.title == "Counting Herons with Patient Cameras: A Study of Rivers in the Morning"
    assert heron.abstract == (
        "We point cameras at a river and wait. Herons come.\n\nIn the second part we count them."
    )
    assert heron.authors == ("Zoë Müller", "Jiří Example")
    assert heron.published_at == datetime(2020, 9, 1, 17, 59, 58, tzinfo=UTC)
    assert (heron.version, heron.withdrawn) == (2, False)


def test_the_primary_category_comes_first_and_subject_classes_of_others_are_left_out():
    assert looked_up("arxiv_query_2020.xml").records[0].categories == ("cs.CV", "cs.LG")


def test_a_withdrawn_paper_with_an_old_id_is_seen():
    withdrawn = looked_up("arxiv_query_2026.xml").records[1]

    assert (withdrawn.arxiv_id, withdrawn.version) == ("math/0611800", 3)
    assert withdrawn.withdrawn


def test_an_error_comes_as_an_entry_and_names_the_bad_id():
    with pytest.raises(SourceFormatError, match="incorrect id format for cs/990100"):
        looked_up("arxiv_query_error.xml")


def test_unknown_ids_are_missing_in_the_answer_however_arxiv_says_so():
    known = feed(["2009.00001v1"], total=2)
    with_stand_in = known.replace(b"</feed>", b"<entry><title/></entry></feed>")

    for body in (known, with_stand_in):
        answer = READER.parse_papers(body, "")
        assert [record.arxiv_id for record in answer.records] == ["2009.00001"]
        assert answer.problems == ()
    assert READER.parse_papers(feed([], total=1), "").records == ()


def test_no_papers_at_all_for_many_ids_is_worth_another_try():
    with pytest.raises(SourceFormatError, match="though there are 100 results"):
        READER.parse_papers(feed([], total=100), "")


def test_an_entry_without_a_date_is_named():
    body = feed(["2009.00001v1", "2009.00002v1"]).replace(b"2026-11-20T10:00:00Z", b"soon", 1)

    answer = READER.parse_papers(body, "")

    assert answer.problems == ("entry 1: 2009.00001 without a date",)
    assert [record.arxiv_id for record in answer.records] == ["2009.00002"]


# -- recorded answers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("query_all-glacier_2026-08-07.xml", [("1107.0825", 1), ("2409.12034", 2)]),
        ("id_list_1601.00001_2020-09-04.xml", [("1601.00001", 1)]),
        ("query_all-electron_docs-2007.xml", [("hep-ex/0307015", None)]),
    ],
)
def test_recorded_answers_are_read_whole(shared_data, name, found):
    answer = READER.parse((shared_data / "arxiv" / "atom" / name).read_bytes(), "")

    assert [(record.arxiv_id, record.version) for record in answer.records] == found
    assert all(record.title and record.abstract and record.authors for record in answer.records)
    assert not any("\n" in record.title for record in answer.records)
    assert (answer.problems, answer.unknown, answer.vanished) == ((), {}, ())


def test_the_recorded_glaciers_keep_their_letters_and_paragraphs(shared_data):
    name = "query_all-glacier_2026-08-07.xml"
    answer = READER.parse((shared_data / "arxiv" / "atom" / name).read_bytes(), "")

    mapping = answer.records[1]
    assert mapping.authors[0] == "Codruţ-Andrei Diaconu"
    assert mapping.abstract.count("\n\n") == 2
    assert answer.expected == 230


def test_the_recorded_error_is_said(shared_data):
    name = "error_incorrect_id_format_docs-2007.xml"
    body = (shared_data / "arxiv" / "atom" / name).read_bytes()

    with pytest.raises(SourceFormatError, match=r"incorrect id format for 1234\.12345"):
        READER.parse_papers(body, "")
