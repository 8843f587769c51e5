from __future__ import annotations

import gzip
from datetime import date, timedelta

import pytest
from django.db import connection

from papers import editions, fetching, sources
from papers.models import Edition, Entry, Fetch, Paper, Signal
from tests.papers.factories import record, utc

MONDAY = date(2026, 11, 23)
MORNING = utc("2026-11-23T07:00")
AFTERNOON = utc("2026-11-23T15:00")
EVENING = utc("2026-11-23T20:30")
TUESDAY = utc("2026-11-24T09:00")


@pytest.fixture
def tell(source):
    """Records readings: `tell(records, now=…)`, for Monday unless said otherwise."""

    def tell(*records, now=MORNING, day=MONDAY, read_at=None, backfill=False):
        return editions.record_day(
            day, records, source=source, now=now, read_at=read_at or now, backfill=backfill
        )

    return tell


def fetched(source, *, at, status=Fetch.Status.OK, day=MONDAY, error=""):
    return Fetch.objects.create(
        source=source, day=day, status=status, started_at=at, finished_at=at, error=error
    )


def everything():
    tables = (Paper, Signal, Edition, Entry)
    return [list(table.objects.order_by("id").values()) for table in tables]


# -- papers --------------------------------------------------------------------------------


def test_a_reading_makes_papers_signals_an_edition_and_entries(tell):
    recorded = tell(record(1, stars=7), record(2))

    assert (recorded.seen, recorded.new, recorded.updated) == (2, 2, 0)
    paper = Paper.objects.get(arxiv_id="2611.00001")
    assert (paper.title, paper.authors) == ("Paper number 1", ["Ada Example", "Ben Sample"])
    assert (paper.upvotes, paper.comments, paper.stars, paper.first_seen_at) == (5, 1, 7, MORNING)
    assert list(paper.signals.values_list("read_at", "upvotes", "stars")) == [(MORNING, 5, 7)]
    edition = Edition.objects.get()
    assert (edition.day, edition.is_open, edition.is_backfill) == (MONDAY, True, False)
    assert list(edition.entries.values_list("paper__arxiv_id", "position")) == [
        ("2611.00001", 1),
        ("2611.00002", 2),
    ]


def test_the_same_reading_twice_leaves_identical_rows(tell):
    tell(record(1), record(2))
    before = everything()

    recorded = tell(record(1), record(2))

    assert (recorded.new, recorded.updated) == (0, 0)
    assert everything() == before


def test_an_empty_list_makes_no_edition(tell):
    assert tell().seen == 0
    assert not Edition.objects.exists()


def test_a_paper_listed_twice_in_one_answer_is_one_paper_at_its_first_place(tell):
    tell(record(1), record(2, arxiv_id="2611.00001", title="Again"))

    assert list(Entry.objects.values_list("paper__title", "position")) == [("Paper number 1", 1)]


def test_a_later_reading_improves_the_row_and_its_empty_fields_erase_nothing(tell):
    tell(record(1, organization="Example University", code_url="https://example.org/code"))

    recorded = tell(
        record(1, title="A better title", abstract="", authors=(), upvotes=9, tldr="In short."),
        now=AFTERNOON,
    )

    paper = Paper.objects.get()
    assert recorded.updated == 1
    assert (paper.title, paper.tldr, paper.upvotes) == ("A better title", "In short.", 9)
    assert paper.abstract == "What paper 1 is about."
    assert paper.authors == ["Ada Example", "Ben Sample"]
    assert paper.organization == "Example University"
    assert paper.code_url == "https://example.org/code"


def test_an_older_file_lowers_no_count_and_only_fills_what_is_empty(tell):
    tell(record(1, upvotes=40), now=AFTERNOON)

    tell(
        record(1, upvotes=3, title="Old title", organization="Example University", stars=2),
        now=EVENING,
        read_at=MORNING,
    )

    paper = Paper.objects.get()
    assert (paper.upvotes, paper.title) == (40, "Paper number 1")
    assert (paper.organization, paper.stars) == ("Example University", 2)
    assert list(paper.signals.values_list("read_at", "upvotes")) == [(MORNING, 3), (AFTERNOON, 40)]


def test_votes_taken_back_are_followed(tell):
    tell(record(1, upvotes=40))
    tell(record(1, upvotes=38), now=AFTERNOON)

    assert Paper.objects.get().upvotes == 38


def test_a_source_that_is_silent_about_votes_leaves_them(tell):
    tell(record(1, upvotes=40, comments=3))
    tell(record(1, upvotes=None, comments=None), now=AFTERNOON)

    assert Paper.objects.values_list("upvotes", "comments").get() == (40, 3)
    assert Signal.objects.count() == 1


def test_the_content_hash_follows_what_a_mail_shows_and_nothing_else(tell):
    def content_hash():
        return Paper.objects.values_list("content_hash", flat=True).get()

    tell(record(1))
    first = content_hash()
    tell(record(1, upvotes=99, comments=9, stars=3, keywords=("new",)), now=AFTERNOON)
    assert content_hash() == first
    for change in ({"tldr": "x"}, {"organization": "x"}, {"project_url": "https://example.org"}):
        before = content_hash()
        tell(record(1, **change), now=EVENING)
        assert content_hash() != before


def test_a_changed_text_asks_for_a_new_vector(tell):
    tell(record(1))
    Paper.objects.update(encoder="words", vector=b"vector")

    tell(record(1, upvotes=9), now=AFTERNOON)
    assert Paper.objects.values_list("encoder", "vector").get() == ("words", b"vector")
    tell(record(1, abstract="Other words."), now=EVENING)
    assert Paper.objects.values_list("encoder", "vector").get() == ("", b"")


def test_a_withdrawal_is_dated_when_we_learn_of_it_and_stays(tell):
    tell(record(1))
    tell(record(1, withdrawn=True), now=AFTERNOON)
    tell(record(1), now=EVENING)

    assert Paper.objects.get().withdrawn_at == AFTERNOON


def test_the_edition_grows_when_a_paper_is_added_and_only_then(tell):
    tell(record(1))
    tell(record(1, upvotes=50), now=AFTERNOON)
    assert Edition.objects.get().grew_at == MORNING

    tell(record(2, position=1), record(1, position=2), now=EVENING)
    assert Edition.objects.get().grew_at == EVENING
    assert dict(Entry.objects.values_list("paper__arxiv_id", "position")) == {
        "2611.00001": 2,
        "2611.00002": 1,
    }


def test_a_paper_listed_on_two_days_has_a_place_in_both(tell):
    tell(record(1))
    tell(record(1), now=TUESDAY, day=TUESDAY.date())

    assert Entry.objects.count() == 2
    assert Paper.objects.count() == 1


def test_whoever_submitted_it_first_is_kept_and_a_source_that_is_silent_takes_nothing(tell):
    tell(record(1), record(2, submitter="b" * 16))
    tell(record(1, submitter="a" * 16), record(2), now=AFTERNOON)
    tell(record(1, submitter="c" * 16), record(2, submitter="c" * 16), now=EVENING)

    assert list(Entry.objects.order_by("paper_id").values_list("submitter", flat=True)) == [
        "a" * 16,
        "b" * 16,
    ]


# -- late papers ---------------------------------------------------------------------------


def test_a_paper_that_comes_after_the_closing_is_news_in_the_next_edition(tell):
    tell(record(1))
    editions.close_due(TUESDAY)

    tell(record(1), record(2), now=TUESDAY)
    tell(record(1), record(2), now=TUESDAY + timedelta(hours=1))

    assert list(Entry.objects.values_list("edition__day", "paper__arxiv_id")) == [
        (date(2026, 11, 24), "2611.00002"),
        (MONDAY, "2611.00001"),
    ]


def test_what_comes_in_the_evening_after_an_early_closing_belongs_to_tomorrow(tell):
    tell(record(1))
    assert editions.close_due(EVENING)

    tell(record(1), record(2), now=EVENING + timedelta(hours=1))

    assert Edition.objects.get(day=date(2026, 11, 24)).entries.get().paper.title == "Paper number 2"
    assert editions.next_open_day(EVENING) == date(2026, 11, 24)
    assert editions.close_due(EVENING + timedelta(hours=3)) == []


def test_backfill_into_a_closed_edition_adds_no_news(tell):
    tell(record(1))
    editions.close_due(TUESDAY)

    tell(record(2), now=TUESDAY, backfill=True)

    assert Paper.objects.count() == 2
    assert Entry.objects.count() == 1


def test_a_later_reading_of_a_backfilled_day_makes_no_news_either(tell):
    tell(record(1), now=TUESDAY, backfill=True)
    editions.close_due(TUESDAY)

    tell(record(2), now=TUESDAY)

    assert not Edition.objects.filter(is_backfill=False).exists()


def test_a_closed_edition_never_changes(tell):
    tell(record(1, upvotes=2), record(2, upvotes=9))
    editions.close_due(TUESDAY)
    before = list(Entry.objects.order_by("id").values()), list(Edition.objects.values())

    tell(record(1, upvotes=500, position=2), record(2, position=1), now=TUESDAY)

    assert (list(Entry.objects.order_by("id").values()), list(Edition.objects.values())) == before
    assert Paper.objects.get(arxiv_id="2611.00001").upvotes == 500


# -- closing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grew", "now", "closes"),
    [
        ("07:00", "17:59", False),  # before the quiet hours
        ("07:00", "18:00", True),
        ("17:30", "18:30", False),  # grew an hour ago
        ("17:30", "19:30", True),
        ("23:00", "23:59", False),
    ],
)
def test_an_edition_closes_in_the_evening_once_it_was_quiet(tell, grew, now, closes):
    tell(record(1), now=utc(f"2026-11-23T{grew}"))

    assert bool(editions.close_due(utc(f"2026-11-23T{now}"))) is closes


def test_an_edition_closes_at_two_in_the_night_whatever_failed(tell, source):
    tell(record(1), now=utc("2026-11-23T23:59"))
    fetched(source, at=utc("2026-11-24T01:50"), status=Fetch.Status.FAILED, error="HTTP 503\nmore")

    assert editions.close_due(utc("2026-11-24T01:59")) == []
    (closed,) = editions.close_due(utc("2026-11-24T02:00"))
    assert closed.note == ("The last reading of Hugging Face Daily Papers failed: HTTP 503")


def test_a_failed_last_reading_is_not_taken_for_quiet(tell, source):
    tell(record(1))
    fetched(source, at=utc("2026-11-23T19:00"), status=Fetch.Status.FAILED)
    assert editions.close_due(EVENING) == []

    fetched(source, at=utc("2026-11-23T19:30"))
    (closed,) = editions.close_due(EVENING)
    assert closed.note == ""


def test_a_day_not_read_after_its_end_says_so_and_one_that_was_does_not(tell, source):
    tell(record(1))
    tell(record(2), day=MONDAY - timedelta(days=1))
    fetched(source, at=utc("2026-11-23T12:00"))
    fetched(source, at=utc("2026-11-23T12:00"), day=MONDAY - timedelta(days=1))

    sunday, monday = editions.close_due(TUESDAY)

    assert sunday.note == ""
    assert monday.note == "This day was not read again after it had ended."


def test_days_close_oldest_first_and_are_numbered_in_that_order(tell):
    for age in (0, 3, 1, 2):
        tell(record(age + 1), day=MONDAY - timedelta(days=age))

    closed = editions.close_due(TUESDAY)

    assert [edition.day.day for edition in closed] == [20, 21, 22, 23]
    assert [edition.closed_seq for edition in closed] == [1, 2, 3, 4]
    assert editions.close_due(TUESDAY) == []


def test_closing_ranks_scores_groups_and_encodes(tell):
    tell(record(1, upvotes=2), record(2, upvotes=60, title="Others", abstract="Quite other words"))
    tell(record(1, upvotes=3), record(2, upvotes=80, title="Others", abstract="Quite other words"),
         record(3, upvotes=30, title="Paper number 1", abstract="What paper 1 is about."),
         now=AFTERNOON)  # fmt: skip

    editions.close_due(EVENING)

    ranked = list(Entry.objects.ranked().select_related("paper"))
    assert [entry.paper.arxiv_id[-1] for entry in ranked] == ["2", "3", "1"]
    assert [entry.rank for entry in ranked] == [1, 2, 3]
    assert ranked[0].score > ranked[1].score > ranked[2].score > 0
    assert ranked[1].group == ranked[2].group is not None
    assert ranked[0].group is None
    assert all(entry.paper.vector for entry in ranked)


def test_what_was_read_of_one_paper_long_ago_is_no_reading_of_the_day_for_the_others(tell):
    tell(record(1), now=MORNING - timedelta(days=6), day=MONDAY - timedelta(days=6))
    tell(record(1), record(2, upvotes=20))
    tell(record(3, upvotes=20), day=MONDAY + timedelta(days=7), now=MORNING + timedelta(days=7))
    editions.close_due(MORNING + timedelta(days=9))

    scores = dict(Entry.objects.values_list("paper__title", "score"))
    assert scores["Paper number 2"] == scores["Paper number 3"]


def test_an_edition_that_grows_while_it_is_encoded_waits_for_the_next_round(tell, monkeypatch):
    tell(record(1))
    encode = editions.encoding.encode_missing

    def encode_slowly(paper_ids, **options):
        monkeypatch.setattr(editions.encoding, "encode_missing", encode)
        tell(record(2), now=TUESDAY)
        return encode(paper_ids, **options)

    monkeypatch.setattr(editions.encoding, "encode_missing", encode_slowly)

    assert editions.close_due(TUESDAY) == []
    (closed,) = editions.close_due(TUESDAY)
    assert closed.entries.filter(rank__isnull=False).count() == 2


def test_neighbours_are_the_nearest_days_with_papers(tell):
    for age in (0, 3, 5):
        tell(record(age + 1), day=MONDAY - timedelta(days=age))

    before, after = editions.neighbours(MONDAY - timedelta(days=3))

    assert (before.day.day, after.day.day) == (18, 23)
    assert editions.neighbours(MONDAY)[1] is None


# -- the recorded days ---------------------------------------------------------------------


def test_all_recorded_days_are_stored_whole_and_twice_the_same(shared_data, source):
    archive = shared_data / "hf_daily" / "daily_papers_2024-05-27_2025-12-18.jsonl.gz"
    days = sources.readers("huggingface", {})[0].parse_file(gzip.decompress(archive.read_bytes()))
    # The statements are the same; of what a server makes of them a fifth of the days tells as much.
    days = days if connection.vendor == "sqlite" else days[::5]
    papers = {record.arxiv_id for day in days for record in day.parsed.records}
    assert connection.vendor != "sqlite" or (len(days), len(papers)) == (406, 6015)

    def store(some):
        return sum(
            fetching.record_saved(source, day, now=MORNING, backfill=True).papers_new
            for day in some
        )

    def written():
        papers = Paper.objects.order_by("id").values_list("id", "updated_at", "content_hash")
        return (
            list(papers),
            list(Entry.objects.order_by("id").values_list()),
            list(Signal.objects.order_by("id").values_list("id", "paper", "read_at", "upvotes")),
        )

    assert store(days) == len(papers)
    assert (Edition.objects.count(), Entry.objects.count()) == (len(days), len(papers))
    before = written()
    assert store(days[::4]) == 0
    assert written() == before
