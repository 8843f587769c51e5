from __future__ import annotations

import csv
import gzip
import json
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers import sources
from papers.records import SourceFormatError
from papers.sources import View
from papers.sources.huggingface import HuggingFace
from papers.sources.huggingface_page import HuggingFacePage
from tests.papers.storable import is_storable, some_json

DATA = Path(__file__).resolve().parent.parent / "data"
SOURCE = HuggingFace({"HUGGINGFACE_URL": "https://example.org"})
ANY_DAY = SOURCE.url_for(date(2025, 12, 18))


def parsed(name):
    return SOURCE.parse((DATA / name).read_bytes(), ANY_DAY)


def entry(number=1, *, listed_at="2025-12-18T02:00:00.000Z", **fields):
    paper = {
        "id": f"2512.{number:05}",
        "title": f"Paper {number}",
        "summary": "What it is about.",
        "authors": [{"name": "Ada Example"}],
        "publishedAt": "2025-12-17T00:00:00.000Z",
        "submittedOnDailyAt": listed_at,
        "upvotes": 3,
    }
    return {"paper": paper | fields, "numComments": 1}


def answer(*entries, url=ANY_DAY):
    return SOURCE.parse(json.dumps(entries).encode(), url)


def test_the_api_is_asked_before_the_page():
    first, second = sources.readers("huggingface", {"HUGGINGFACE_URL": "https://example.org"})

    assert (type(first), type(second)) == (HuggingFace, HuggingFacePage)


def test_an_unknown_source_is_named_with_those_that_are_known():
    with pytest.raises(sources.UnknownSourceError, match=r"'nature'; there is: .*huggingface"):
        sources.readers("nature", {})


def test_a_paper_with_names_and_words_without_end_is_no_row_without_end():
    names, words = [{"name": f"A {n}"} for n in range(20_000)], [f"w{n}" for n in range(20_000)]

    (record,) = answer(entry(title="x" * 50_000, authors=names, ai_keywords=words)).records

    assert len(record.title) <= 20_000
    assert len(record.authors) <= 10_000 >= len(record.keywords)
    assert record.authors[:2] == ("A 0", "A 1")


# -- what is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "asked"),
    [
        (View.DAY, "date=2025-12-15"),
        (View.WEEK, "week=2025-W51"),
        (View.MONTH, "month=2025-12"),
        (View.TRENDING, "sort=trending"),
    ],
)
def test_every_view_is_asked_for_in_whole_pages(view, asked):
    url = SOURCE.url_for(date(2025, 12, 15), view)

    assert url == f"https://example.org/api/daily_papers?{asked}&limit=100&p=0"


@pytest.mark.parametrize("view", [View.DAY, View.WEEK, View.MONTH])
def test_a_full_page_leads_to_the_next_and_a_short_one_ends_the_list(view):
    url = SOURCE.url_for(date(2025, 12, 15), view)

    full = answer(*map(entry, range(100)), url=url)
    short = answer(*map(entry, range(99)), url=full.next_url)

    assert full.next_url == url.replace("p=0", "p=1")
    assert short.next_url == ""


def test_of_what_trends_the_first_page_is_enough():
    url = SOURCE.url_for(date(2025, 12, 15), View.TRENDING)

    assert answer(*map(entry, range(100)), url=url).next_url == ""


def followed(url, *, pages_of=lambda day: 0):
    """The addresses from the first to the last, where a day has so many full pages."""
    urls = []
    while url:
        urls.append(url)
        full = int(url.partition("p=")[2].partition("#")[0]) < pages_of(url)
        url = answer(*map(entry, range(100 if full else 0)), url=url).next_url
    return urls


def test_week_53_which_the_api_refuses_is_read_by_its_days_even_empty_ones():
    urls = followed(SOURCE.url_for(date(2026, 12, 28), View.WEEK))

    monday = date(2026, 12, 28)
    assert [url.partition("#")[0] for url in urls] == [
        SOURCE.url_for(monday + timedelta(days=days)) for days in range(7)
    ]
    assert all(url.endswith("#2026-W53") for url in urls)


def test_a_long_day_of_week_53_is_read_to_its_end_before_the_next():
    urls = followed(
        SOURCE.url_for(date(2026, 12, 28), View.WEEK), pages_of=lambda url: "12-30" in url
    )

    assert ["2026-12-30" in url for url in urls].count(True) == 2
    assert "date=2027-01-03" in urls[-1]
    assert len(urls) == 8


@given(st.dates(date(2024, 1, 1), date(2035, 12, 31)))
def test_no_week_that_is_asked_for_is_one_that_the_api_refuses(day):
    assert "-W53&" not in SOURCE.url_for(day, View.WEEK)


def test_one_paper_is_asked_for_by_its_id():
    url = SOURCE.url_for_papers(["2512.10001"])
    paper = entry(10001, submissionDeadline="2026-01-01", comments=[])["paper"]

    found = SOURCE.parse_papers(json.dumps(paper).encode(), url)

    assert url == "https://example.org/api/papers/2512.10001"
    assert [(each.title, each.upvotes, each.comments) for each in found.records] == [
        ("Paper 10001", 3, None)
    ]
    assert (found.unknown, found.vanished, found.day) == ({}, (), None)


@pytest.mark.parametrize("body", [b'{"error":"Paper not found"}', b"[]", b"null", b"<html>"])
def test_an_answer_without_the_paper_that_was_asked_for_says_what_came(body):
    with pytest.raises(SourceFormatError, match=r"no paper|no JSON"):
        SOURCE.parse_papers(body, SOURCE.url_for_papers(["2512.10001"]))


# -- entries ------------------------------------------------------------------------------------


def test_an_entry_of_2024_is_read_with_its_wrapped_title_and_few_fields():
    heron, tides = parsed("hf_2024-05-27.json").records

    assert heron.arxiv_id == "2405.16001"
    assert heron.title == "Counting Herons with Patient Cameras"
    assert heron.abstract == (
        "We point cameras at a river and wait. Herons come.\n\nIn the second part we count them."
    )
    assert heron.authors == ("Ada Example", "Ben Sample")
    assert heron.published_at == datetime(2024, 5, 25, 17, 12, 2, tzinfo=UTC)
    assert (heron.listed_at, heron.stars, heron.organization) == (None, None, "")
    assert (heron.upvotes, heron.comments, heron.position) == (32, 2, 1)
    assert (tides.upvotes, tides.comments, tides.position) == (0, 0, 2)


def test_an_entry_of_2025_is_read_whole():
    oven = parsed("hf_2025-12-18.json").records[0]

    assert oven.title == "<think> Before You Bake & Save \\$1 Million: μ-Ovens"
    assert oven.tldr == "Insulated ovens lose less heat."
    assert oven.keywords == ("ovens", "insulation")
    assert oven.organization == "Example University"
    assert oven.project_url == "https://example.org/ovens"
    assert oven.code_url == "https://github.com/example/ovens"
    assert oven.stars == 0
    assert oven.listed_at == datetime(2025, 12, 18, 2, 8, 22, 352000, UTC)


def test_the_outer_published_at_is_not_believed():
    oven = parsed("hf_2025-12-18.json").records[0]

    assert oven.published_at == datetime(2025, 12, 16, 18, 59, 58, tzinfo=UTC)


def test_the_day_of_its_listing_stands_in_for_a_date_that_is_gone_and_corrects_none():
    (undated,) = answer(entry(1, publishedAt=None)).records

    assert undated.published_at == datetime(2025, 12, 18, 2, tzinfo=UTC)
    assert (undated.is_dated, answer(entry(1)).records[0].is_dated) == (False, True)


def test_an_author_who_hides_their_profile_is_still_an_author():
    oven = parsed("hf_2025-12-18.json").records[0]

    assert oven.authors == ("Ada Example", "Zoë Müller", "Ben Sample")


def test_whoever_submitted_it_is_known_by_a_hash_of_their_handle_alone():
    before, now = answer(
        entry(1, submittedOnDailyBy=None) | {"submittedBy": {"name": "Somebody", "fullname": "S."}},
        entry(2, submittedOnDailyBy={"user": "somebody", "_id": "f00", "fullname": "S. B."}),
    ).records

    assert before.submitter == now.submitter == "af739a05da40427f"
    assert answer(entry(3)).records[0].submitter != now.submitter


@pytest.mark.parametrize("account", [None, "somebody", {}, {"user": ["x"]}, {"user": " "}, [1]])
def test_who_names_nobody_was_submitted_by_nobody(account):
    assert answer(entry(1, submittedOnDailyBy=account)).records[0].submitter == ""


def test_an_entry_with_next_to_nothing_is_a_record():
    bare = parsed("hf_2025-12-18.json").records[1]

    assert (bare.abstract, bare.authors, bare.tldr, bare.keywords) == ("", (), "", ())
    assert bare.organization == "only-a-handle"
    assert (bare.code_url, bare.project_url) == ("", "")
    assert (bare.comments, bare.stars) == (None, None)


def test_a_line_break_in_an_address_is_no_part_of_it():
    broken = entry(1, githubRepo="https://github.com/example\n/kites", projectPage="a\nb")

    found = answer(broken).records[0]

    assert (found.code_url, found.project_url) == ("https://github.com/example/kites", "")


def test_a_withdrawal_is_seen():
    assert [record.withdrawn for record in parsed("hf_2025-12-18.json").records] == [
        False, False, True,
    ]  # fmt: skip


def test_bad_entries_are_named_and_the_good_one_is_kept():
    answer = parsed("hf_bad_entries.json")

    assert [record.arxiv_id for record in answer.records] == ["2512.10002"]
    assert answer.size == 6
    assert [problem.partition(":")[0] for problem in answer.problems] == [
        "entry 2", "entry 3", "entry 4", "entry 5", "entry 6",
    ]  # fmt: skip
    assert answer.problems[2] == "entry 4: 2512.10009 without a title"
    assert "not-an-id" in answer.problems[3]
    assert answer.problems[4] == "entry 6: 2512.10008 without a date"


# -- the answer as a whole ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":"Sorry, no such page."}', "Sorry, no such page"),
        (b"null", "null"),
        (b"<!doctype html><title>Just a moment", "no JSON: '<!doctype html>"),
        (b"", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[" + b"9" * 5_000 + b"]", "no JSON"),
        (b"[" + b"0," * 6_000 + b"0]", "a list of 6001 items"),
    ],
)
def test_an_answer_that_is_no_list_says_what_came(body, said):
    with pytest.raises(SourceFormatError, match=said):
        SOURCE.parse(body, ANY_DAY)


def test_an_empty_list_is_an_answer_that_says_nothing_of_its_day():
    weekend = answer()

    assert (weekend.records, weekend.size, weekend.day) == ((), 0, None)
    assert (weekend.unknown, weekend.vanished, weekend.next_url) == ({}, (), "")


def test_an_entry_without_its_envelope_is_read():
    flat = {"id": "2512.10001", "title": "Flat", "publishedAt": "2025-12-17T00:00:00Z"}

    assert answer(flat).records[0].title == "Flat"


@pytest.mark.parametrize(
    ("view", "day"),
    [
        (View.DAY, date(2025, 12, 18)),
        (View.WEEK, date(2025, 12, 15)),
        (View.MONTH, date(2025, 12, 1)),
        (View.TRENDING, None),
    ],
)
def test_the_entries_tell_the_day_or_the_period_where_they_agree(view, day):
    url = SOURCE.url_for(date(2025, 12, 18), view)

    assert answer(entry(1), entry(2), url=url).day == day


def test_entries_that_contradict_each_other_tell_no_day():
    assert answer(entry(1), entry(2, listed_at="2025-12-17T23:59:59Z")).day is None
    assert answer(entry(1, listed_at="soon")).day is None


def test_a_field_that_is_new_is_counted_once_an_entry_by_its_place():
    novel = entry(1, mood="hopeful", authors=[{"name": "A", "orcid": "1"}, {"orcid": "2"}])
    novel["license"] = novel["paper"]["organization"] = {"name": "lab", "country": "XX"}
    mood = entry(2, mood="wistful")

    found = answer(novel, mood, entry(3))

    assert found.unknown == {
        "paper.mood": 2,
        "license": 1,
        "paper.authors.orcid": 1,
        "paper.organization.country": 1,
    }
    assert len(found.records) == 3


def test_names_of_new_fields_can_be_stored_and_are_not_without_end():
    odd = entry(1, **{f"field\x00 {number} " + "x" * 500: 1 for number in range(1_000)})

    unknown = answer(odd).unknown

    assert len(unknown) == 50
    assert all(len(name) <= 200 and "\x00" not in name for name in unknown)


def without(field):
    lacking = [entry(number) for number in range(5)]
    for each in lacking:
        holder = each["paper"] if field.startswith("paper.") else each
        del holder[field.removeprefix("paper.")]
    return lacking


@pytest.mark.parametrize(
    "field",
    ["paper.summary", "paper.authors", "paper.submittedOnDailyAt", "paper.upvotes", "numComments"],
)
def test_a_field_that_no_entry_has_any_more_has_vanished(field):
    assert answer(*without(field)).vanished == (field,)
    assert answer(*without(field), entry(6)).vanished == ()


def test_a_field_whose_values_cannot_be_read_has_vanished_too():
    votes = [entry(number, upvotes={"total": 7}) for number in range(5)]

    assert answer(*votes).vanished == ("paper.upvotes",)


def test_of_a_few_entries_nothing_is_said_to_have_vanished():
    assert answer(*without("numComments")[:4]).vanished == ()


def test_what_is_nested_deeply_is_named_or_refused():
    said = set()
    for depth in range(700, 1_000):  # somewhere in it reading still works, and writing no more
        nested = b"[" * depth + b"]" * depth
        try:
            said |= set(SOURCE.parse(b'[{"paper":' + nested + b"}]", ANY_DAY).problems)
        except SourceFormatError as error:
            said.add(str(error)[:7])

    assert {words.partition(":")[0] for words in said} == {"entry 1", "no JSON"}


# -- anything at all ----------------------------------------------------------------------------

FIELDS = ("id", "title", "summary", "authors", "publishedAt", "upvotes", "organization",
          "ai_keywords", "githubRepo", "projectPage", "githubStars", "withdrawnAt")  # fmt: skip
RECORDED = [*json.loads((DATA / "hf_2025-12-18.json").read_text()), *map(entry, range(3))]


@given(
    st.fixed_dictionaries(
        {"paper": st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, some_json))},
        optional={"title": some_json, "numComments": some_json},
    )
    | some_json
)
def test_no_entry_however_odd_stops_its_list(odd):
    found = answer(odd, entry(10001))

    assert found.records[-1].arxiv_id == "2512.10001"
    assert len(found.records) + len(found.problems) == 2


@given(
    st.binary()
    | st.text().map(str.encode)
    | some_json.map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_give_records_or_a_named_error(body):
    for read in (
        lambda: [SOURCE.parse(body, ANY_DAY)],
        lambda: [SOURCE.parse_papers(body, "")],
        lambda: [each.parsed for each in SOURCE.parse_file(body)],
    ):
        try:
            answers = read()
        except SourceFormatError:
            continue
        assert all(is_storable(record) for found in answers for record in found.records)


@given(st.data())
def test_a_real_answer_with_anything_changed_in_it_is_read_or_refused(data):
    changed = deepcopy(RECORDED)
    for _change in range(data.draw(st.integers(1, 4))):
        change_something(changed, data)
    body = json.dumps(changed).encode()
    body = body[: data.draw(st.sampled_from([len(body), len(body) // 2, len(body) - 1]))]

    try:
        found = SOURCE.parse(body, ANY_DAY)
    except SourceFormatError:
        return
    assert len(found.records) + len(found.problems) == found.size
    assert all(map(is_storable, found.records))
    assert "\\u0000" not in json.dumps(dict(found.unknown))


def change_something(node, data):
    """One value somewhere in it is replaced, taken out, or wrapped in a list."""
    while True:
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or data.draw(st.booleans()):
            break
        node = node[key]
    match data.draw(st.sampled_from(["replace", "remove", "wrap", "rename"])):
        case "replace":
            node[key] = data.draw(some_json)
        case "remove":
            del node[key]
        case "wrap":
            node[key] = [node[key]]
        case "rename" if isinstance(node, dict):
            node[data.draw(st.text(max_size=5))] = node.pop(key)


# -- files --------------------------------------------------------------------------------------


def test_a_saved_answer_tells_its_day_where_all_entries_agree():
    saved = SOURCE.parse_file((DATA / "hf_2025-12-18.json").read_bytes())
    silent = SOURCE.parse_file((DATA / "hf_2024-05-27.json").read_bytes())

    assert [(each.day, len(each.parsed.records)) for each in saved] == [(date(2025, 12, 18), 3)]
    assert [(each.day, len(each.parsed.records)) for each in silent] == [(None, 2)]


def archive_line(day, rank, number, captured_at="07:50:25"):
    paper = {"id": f"2512.1000{number}", "title": "T", "publishedAt": "2025-12-01T00:00:00Z"}
    line = {
        "date": day,
        "captured_at": f"{day}T{captured_at}Z",
        "rank": rank,
        "entry": {"paper": paper},
    }
    return json.dumps(line)


def test_an_archive_is_read_by_days_with_its_ranks_and_capture_times():
    lines = [archive_line("2025-12-02", 2, 1), "", archive_line("2025-12-01", 1, 2)]
    lines += [archive_line("2025-12-02", 1, 3), "{broken", '{"date": "someday"}', "[1]"]

    second, first, unplaced = SOURCE.parse_file("\n".join(lines).encode())

    assert (first.day, second.day) == (date(2025, 12, 1), date(2025, 12, 2))
    assert second.read_at == datetime(2025, 12, 2, 7, 50, 25, tzinfo=UTC)
    assert [(r.arxiv_id, r.position) for r in second.parsed.records] == [
        ("2512.10001", 2), ("2512.10003", 1),
    ]  # fmt: skip
    assert unplaced.day is None
    assert [problem[:6] for problem in unplaced.parsed.problems] == ["line 5", "line 6", "line 7"]


def test_a_day_of_an_archive_is_as_old_as_its_latest_line_and_its_places_fit_their_column():
    lines = [
        archive_line("2025-12-02", 70_000, 1),
        archive_line("2025-12-02", 2, 2, captured_at="17:05:00"),
        archive_line("2025-12-02", 3, 3),
    ]

    (day,) = SOURCE.parse_file("\n".join(lines).encode())

    assert day.read_at == datetime(2025, 12, 2, 17, 5, tzinfo=UTC)
    assert [record.position for record in day.parsed.records] == [32_767, 2, 3]


@pytest.mark.parametrize("body", [b"", b"\n\n", b'{"error":"no such page"}', b"not json"])
def test_a_file_that_is_neither_answer_nor_archive_is_refused(body):
    with pytest.raises(SourceFormatError):
        SOURCE.parse_file(body)


def test_in_a_saved_answer_of_the_past_nothing_has_vanished():
    (day,) = SOURCE.parse_file(json.dumps(without("paper.submittedOnDailyAt")).encode())

    assert day.parsed.vanished == ()


# -- two years as they were recorded ------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded_days(shared_data):
    archive = shared_data / "hf_daily" / "daily_papers_2024-05-27_2025-12-18.jsonl.gz"
    return SOURCE.parse_file(gzip.decompress(archive.read_bytes()))


def test_every_recorded_day_is_read_as_its_table_says(shared_data, recorded_days):
    with (shared_data / "hf_daily" / "days.csv").open(newline="") as file:
        table = {row["date"]: row for row in csv.DictReader(file)}

    read = {day.day.isoformat(): facts(day) for day in recorded_days}

    assert len(read) == 406
    assert read == {day: {name: table[day][name] for name in read[day]} for day in table}


def facts(day):
    records = day.parsed.records
    votes = [record.upvotes for record in records]
    return {
        "papers": str(len(records)),
        "captured_at_utc": day.read_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "max_upvotes": str(max(votes)),
        "total_upvotes": str(sum(votes)),
        "with_github": str(sum(bool(record.code_url) for record in records)),
        "with_ai_summary": str(sum(bool(record.tldr) for record in records)),
        "with_organization": str(sum(bool(record.organization) for record in records)),
    }


def test_nothing_in_two_years_is_unread_unknown_or_unstorable(recorded_days):
    records = [record for day in recorded_days for record in day.parsed.records]

    assert len(records) == 6015
    assert [problem for day in recorded_days for problem in day.parsed.problems] == []
    assert [day.parsed.unknown for day in recorded_days if day.parsed.unknown] == []
    assert all(map(is_storable, records))
    assert not any("\n" in record.title or "\n " in record.abstract for record in records)
    assert {len(record.authors) for record in records} >= {1, 664}


def test_the_listing_day_of_an_entry_is_the_day_that_was_asked_for(recorded_days):
    told = {day.day: day.parsed.day for day in recorded_days}

    assert all(told[day] == day for day in told if day >= date(2025, 3, 17))
    assert all(told[day] is None for day in told if day < date(2025, 3, 17))


@pytest.mark.parametrize(
    ("arxiv_id", "field", "words"),
    [
        ("2504.07128", "title", "<think>"),
        ("2505.13103", "title", "Bugs for 1$"),
        ("2502.12115", "title", "$1 Million"),
        ("2503.09642", "title", "$200k"),
        ("2508.15881", "title", "\\& "),
        ("2407.05530", "title", "This&That"),
        ("2406.00153", "title", "μLO"),
        ("2411.07641", "title", "Top-nσ"),
        ("2507.03745", "abstract", "<a href"),
        ("2505.13379", "abstract", "<short>"),
    ],
)
def test_odd_strings_come_through_as_they_are(recorded_days, arxiv_id, field, words):
    found = [
        each for day in recorded_days for each in day.parsed.records if each.arxiv_id == arxiv_id
    ]

    assert found
    assert all(words in getattr(record, field) for record in found)


def test_every_raw_answer_is_read_and_since_march_2025_nothing_is_missing_in_it(shared_data):
    paths = sorted((shared_data / "hf_daily" / "raw_api").glob("daily_papers_*.json"))
    answers = {path.stem[-10:]: SOURCE.parse(path.read_bytes(), ANY_DAY) for path in paths}

    assert len(answers) == 26
    assert all(not each.problems and not each.unknown for each in answers.values())
    assert {each.next_url for each in answers.values()} == {""}
    for day, each in answers.items():
        is_told = day >= "2025-03-17"
        assert each.day == (date.fromisoformat(day) if is_told else None)
        assert is_told or each.size < 5 or each.vanished == ("paper.submittedOnDailyAt",)
        assert not is_told or each.vanished == ()


def test_the_recorded_error_says_what_came(shared_data):
    body = (shared_data / "hf_daily" / "raw_api" / "error_404_body.json").read_bytes()

    with pytest.raises(SourceFormatError, match="Sorry, we can't find the page"):
        SOURCE.parse(body, ANY_DAY)
