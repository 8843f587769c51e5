from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers import sources
from papers.records import SourceFormatError

DATA = Path(__file__).resolve().parent.parent / "data"
SOURCE = sources.get("huggingface", "https://example.org")


def parsed(name):
    return SOURCE.parse((DATA / name).read_bytes())


def test_the_address_asks_for_whole_pages_of_a_day():
    url = SOURCE.url_for(date(2025, 12, 18), 2)

    assert url == "https://example.org/api/daily_papers?date=2025-12-18&limit=100&p=2"


def test_an_unknown_source_is_named_with_those_that_are_known():
    with pytest.raises(sources.UnknownSourceError, match="'nature'; there is: huggingface"):
        sources.get("nature", "")


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


def test_an_author_who_hides_their_profile_is_still_an_author():
    oven = parsed("hf_2025-12-18.json").records[0]

    assert oven.authors == ("Ada Example", "Zoë Müller", "Ben Sample")


def test_an_entry_with_next_to_nothing_is_a_record():
    bare = parsed("hf_2025-12-18.json").records[1]

    assert (bare.abstract, bare.authors, bare.tldr, bare.keywords) == ("", (), "", ())
    assert bare.organization == "only-a-handle"
    assert (bare.code_url, bare.project_url) == ("", "")
    assert (bare.comments, bare.stars) == (None, None)


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


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":"Sorry, no such page."}', "Sorry, no such page"),
        (b"null", "null"),
        (b"<!doctype html><title>Just a moment", "no JSON: '<!doctype html>"),
        (b"", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_an_answer_that_is_no_list_says_what_came(body, said):
    with pytest.raises(SourceFormatError, match=said):
        SOURCE.parse(body)


def test_an_entry_without_its_envelope_is_read():
    body = json.dumps(
        [{"id": "2512.10001", "title": "Flat", "publishedAt": "2025-12-17T00:00:00Z"}]
    ).encode()

    assert SOURCE.parse(body).records[0].title == "Flat"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
FIELDS = ("id", "title", "summary", "authors", "publishedAt", "upvotes", "organization",
          "ai_keywords", "githubRepo", "projectPage", "githubStars", "withdrawnAt")  # fmt: skip


@given(
    st.fixed_dictionaries(
        {"paper": st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values))},
        optional={"title": json_values, "numComments": json_values},
    )
    | json_values
)
def test_no_entry_however_odd_stops_its_list(odd):
    good = {"paper": {"id": "2512.10001", "title": "Good", "publishedAt": "2025-12-17T00:00:00Z"}}

    answer = SOURCE.parse(json.dumps([odd, good]).encode())

    assert answer.records[-1].arxiv_id == "2512.10001"
    assert len(answer.records) + len(answer.problems) == 2


def test_a_saved_answer_tells_its_day_where_all_entries_agree():
    saved = SOURCE.parse_file((DATA / "hf_2025-12-18.json").read_bytes())
    silent = SOURCE.parse_file((DATA / "hf_2024-05-27.json").read_bytes())

    assert [(each.day, len(each.parsed.records)) for each in saved] == [(date(2025, 12, 18), 3)]
    assert [(each.day, len(each.parsed.records)) for each in silent] == [(None, 2)]


def archive_line(day, rank, number):
    paper = {"id": f"2512.1000{number}", "title": "T", "publishedAt": "2025-12-01T00:00:00Z"}
    captured_at = f"{day}T07:50:25Z"
    line = {"date": day, "captured_at": captured_at, "rank": rank, "entry": {"paper": paper}}
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


@pytest.mark.parametrize("body", [b"", b"\n\n", b'{"error":"no such page"}', b"not json"])
def test_a_file_that_is_neither_answer_nor_archive_is_refused(body):
    with pytest.raises(SourceFormatError):
        SOURCE.parse_file(body)


def test_every_recorded_day_is_read_without_a_problem(shared_data):
    archive = shared_data / "hf_daily" / "daily_papers_2024-05-27_2025-12-18.jsonl.gz"

    days = SOURCE.parse_file(gzip.decompress(archive.read_bytes()))

    assert len(days) == 406
    assert sum(len(day.parsed.records) for day in days) == 6015
    assert [problem for day in days for problem in day.parsed.problems] == []
    assert max(len(r.authors) for day in days for r in day.parsed.records) == 664
    assert not any("\n" in r.title or "\n " in r.abstract for d in days for r in d.parsed.records)


def test_every_raw_answer_is_read_without_a_problem(shared_data):
    answers = sorted((shared_data / "hf_daily" / "raw_api").glob("daily_papers_*.json"))

    problems = [problem for path in answers for problem in SOURCE.parse(path.read_bytes()).problems]

    assert (len(answers), problems) == (26, [])
