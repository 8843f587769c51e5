"""One paper and one edition, told by several sources."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from papers import editions, fetching
from papers.models import Edition, Entry, Fetch, Paper, Revision, Signal, Source
from tests.papers.factories import record, utc

MONDAY = date(2026, 11, 23)
TUESDAY = date(2026, 11, 24)
NIGHT = utc("2026-11-23T01:00")
MORNING = utc("2026-11-23T07:00")
AFTERNOON = utc("2026-11-23T15:00")
EVENING = utc("2026-11-23T20:30")
NEXT_MORNING = utc("2026-11-24T09:00")


@pytest.fixture
def votes(source, arxiv):
    """Records a reading of Hugging Face: for Monday unless said otherwise."""
    return _teller(source, upvotes=5, comments=1)


@pytest.fixture
def announce(source, arxiv):
    """The same of arXiv, which counts no votes and knows versions."""
    return _teller(arxiv, upvotes=None, comments=None, version=1, categories=("cs.CL",))


def _teller(source, **usual):
    def tell(*numbers, now=MORNING, day=MONDAY, read_at=None, backfill=False, **fields):
        records = [record(number, **usual | fields) for number in numbers]
        return editions.record_day(
            day, records, source=source, now=now, read_at=read_at or now, backfill=backfill
        )

    return tell


def fetched(source, *, at, status=Fetch.Status.OK, day=MONDAY, error="", **fields):
    return Fetch.objects.create(
        source=source, day=day, status=status, started_at=at, finished_at=at, error=error, **fields
    )


def entries(day=MONDAY):
    """Paper number -> (source, trending, position)."""
    found = Entry.objects.filter(edition__day=day).order_by("id")
    rows = found.values_list("paper__arxiv_id", "source__slug", "is_trending", "position")
    return {int(arxiv_id[-5:]): tuple(rest) for arxiv_id, *rest in rows}


# -- the paper -----------------------------------------------------------------------------


def test_a_better_source_improves_the_row_and_leaves_a_trace_of_each_field(votes, announce):
    votes(1, title="As typed")
    recorded = announce(1, now=AFTERNOON, title="As published", version=2)

    assert (recorded.new, recorded.updated) == (0, 1)
    paper = Paper.objects.get()
    assert (paper.title, paper.version, paper.categories) == ("As published", 2, ["cs.CL"])
    assert (paper.upvotes, paper.read_from["title"], paper.read_from["upvotes"]) == (
        5, "arxiv", "huggingface",
    )  # fmt: skip
    told = Revision.objects.order_by("field").values_list(
        "field", "source", "at", "before", "after"
    )
    assert list(told) == [
        ("categories", "arxiv", AFTERNOON, "", "cs.CL"),
        ("title", "arxiv", AFTERNOON, "As typed", "As published"),
        ("version", "arxiv", AFTERNOON, "", "2"),
    ]


def test_votes_and_a_first_reading_leave_no_trace(votes):
    votes(1)
    votes(1, now=AFTERNOON, upvotes=90, comments=7, stars=3)

    assert not Revision.objects.exists()
    assert Signal.objects.count() == 2


def test_a_trace_is_of_bounded_length(announce):
    announce(1, abstract="a" * 9_000)
    announce(1, abstract="b" * 9_000, version=2, now=AFTERNOON)

    revision = Revision.objects.get(field="abstract")
    assert (len(revision.before), len(revision.after)) == (4000, 4000)
    assert Paper.objects.get().abstract == "b" * 9_000


def test_the_same_readings_again_in_any_order_leave_identical_rows(votes, announce):
    def tell_all():
        votes(1, 2)
        announce(2, 3, now=AFTERNOON, title="As published", version=2)
        votes(1, 2, now=EVENING, upvotes=9, title="As typed later")

    def stored():
        tables = (Paper, Signal, Edition, Entry, Revision)
        return [list(table.objects.order_by("id").values()) for table in tables]

    tell_all()
    before = stored()
    tell_all()
    assert stored() == before
    announce(2, 3, now=EVENING, read_at=AFTERNOON, title="As published", version=2)
    votes(1, 2, now=EVENING, read_at=MORNING)
    assert stored() == before


def test_what_arxiv_said_before_its_correction_does_not_come_back(announce):
    announce(1, title="First", categories=("cs.CL",))
    announce(1, now=AFTERNOON, title="First", categories=("cs.CL", "cs.LG"))

    announce(1, now=EVENING, read_at=MORNING, title="First", categories=("cs.CL",))

    assert Paper.objects.get().categories == ["cs.CL", "cs.LG"]


def test_a_count_of_citations_is_not_undone_by_an_older_one(votes):
    votes(1)
    scholar = Source.objects.get(slug="semantic_scholar")

    def cited(number, *, read_at):
        said = record(1, title="", upvotes=None, citations=number, is_listed=False)
        editions.record_papers([said], source=scholar, now=read_at, read_at=read_at)
        Paper.objects.update(enriched_at=EVENING)

    cited(12, read_at=EVENING)
    cited(3, read_at=MORNING)
    assert Paper.objects.get().citations == 12
    cited(13, read_at=NEXT_MORNING)
    assert Paper.objects.get().citations == 13


def test_a_withdrawal_that_arxiv_announces_takes_the_paper_out_of_what_readers_see(votes, announce):
    votes(1, 2)
    announce(1, now=AFTERNOON, version=2, withdrawn=True, is_listed=False)

    assert Paper.objects.get(arxiv_id="2611.00001").withdrawn_at == AFTERNOON
    assert Entry.objects.standing().count() == 1
    assert Revision.objects.get(field="withdrawn_at").after == AFTERNOON.isoformat()


# -- papers without a day ------------------------------------------------------------------


def test_papers_that_are_only_mentioned_improve_what_is_stored_and_make_nothing(votes, announce):
    votes(1)

    recorded = announce(1, 2, now=AFTERNOON, version=2, title="Corrected", is_listed=False)

    assert (recorded.seen, recorded.new, recorded.updated) == (0, 0, 1)
    assert Paper.objects.get().title == "Corrected"
    assert entries() == {1: ("huggingface", True, 1)}


def test_a_list_of_mentions_alone_makes_no_edition(announce):
    announce(1, is_listed=False)

    assert not Edition.objects.exists()


def test_a_paper_that_is_both_mentioned_and_listed_is_listed(arxiv):
    said = [record(1, title="Mentioned", is_listed=False), record(1, title="Listed")]
    editions.record_day(MONDAY, said, source=arxiv, now=NIGHT, read_at=NIGHT, backfill=False)

    assert Entry.objects.get().paper.title == "Listed"


def test_papers_recorded_by_themselves_are_stored_with_votes_and_in_no_edition(source):
    records = [record(1), record(2)]
    recorded = editions.record_papers(records, source=source, now=MORNING, read_at=MORNING)

    assert (recorded.seen, recorded.new, recorded.updated) == (2, 2, 0)
    assert (Paper.objects.count(), Signal.objects.count(), Edition.objects.count()) == (2, 2, 0)
    again = editions.record_papers(records, source=source, now=MORNING, read_at=MORNING)
    assert (again.seen, again.new, again.updated) == (2, 0, 0)


# -- one edition ---------------------------------------------------------------------------


def test_what_arxiv_announces_stands_in_the_edition_but_does_not_trend(announce):
    announce(1, 2, now=NIGHT)

    assert entries() == {1: ("arxiv", False, 1), 2: ("arxiv", False, 2)}


def test_an_announced_paper_that_is_voted_on_the_same_day_trends_at_its_place_there(
    votes, announce
):
    announce(1, 2, 3, now=NIGHT)
    votes(3, position=1, now=MORNING)

    assert entries()[3] == ("huggingface", True, 1)
    announce(1, 2, 3, now=AFTERNOON)
    votes(3, position=2, now=AFTERNOON)
    assert entries() == {
        1: ("arxiv", False, 1),
        2: ("arxiv", False, 2),
        3: ("huggingface", True, 2),
    }


def test_an_editors_addition_stays_theirs_whoever_lists_it(votes, announce):
    votes(1)
    announce(2, now=NIGHT, day=MONDAY - timedelta(days=1))
    edition = Edition.objects.get(day=MONDAY)
    editions.add(edition, Paper.objects.get(arxiv_id="2611.00002"), MORNING)

    announce(2, now=AFTERNOON, position=40)
    assert entries()[2] == (None, True, 2)
    votes(2, now=AFTERNOON, position=7)
    assert entries()[2] == (None, True, 7)


def test_what_nobody_votes_on_ranks_after_all_others_and_has_no_score(votes, announce):
    announce(1, 2, 3, now=NIGHT)
    votes(4, position=9, upvotes=0, now=EVENING)
    votes(2, position=1, upvotes=3, now=EVENING)
    (edition,) = editions.close_due(NEXT_MORNING)

    ranked = edition.entries.order_by("rank").values_list("paper__title", "score")
    assert [title for title, _score in ranked] == [f"Paper number {n}" for n in (2, 4, 1, 3)]
    scores = [score for _title, score in ranked]
    assert scores[0] > scores[1] > 0
    assert scores[2:] == [None, None]


def test_votes_of_another_day_do_not_make_an_announcement_trend(votes, announce):
    """As a cross-list, that arXiv announces once more."""
    votes(1, upvotes=400, day=MONDAY - timedelta(days=3), now=MORNING - timedelta(days=3))
    votes(2, upvotes=1)
    announce(1)
    editions.close_due(NEXT_MORNING)

    entry = Entry.objects.get(edition__day=MONDAY, paper__arxiv_id="2611.00001")
    assert (entry.rank, entry.score) == (2, None)


def test_a_paper_announced_today_and_voted_on_tomorrow_has_a_place_in_both(votes, announce):
    announce(1, now=NIGHT)
    editions.close_due(NEXT_MORNING)
    votes(1, now=NEXT_MORNING, day=TUESDAY)

    assert entries(MONDAY) == {1: ("arxiv", False, 1)}
    assert entries(TUESDAY) == {1: ("huggingface", True, 1)}


def test_a_late_vote_on_a_closed_days_announcement_is_news_in_the_next_edition_once(
    votes, announce
):
    announce(1, 2, now=NIGHT)
    editions.close_due(NEXT_MORNING)

    for hours in range(3):
        votes(1, now=NEXT_MORNING + timedelta(hours=hours), day=MONDAY)
    editions.close_due(NEXT_MORNING + timedelta(days=1))
    votes(1, now=NEXT_MORNING + timedelta(days=1, hours=1), day=MONDAY)

    assert entries(MONDAY) == {1: ("arxiv", False, 1), 2: ("arxiv", False, 2)}
    assert entries(TUESDAY) == {1: ("huggingface", True, 1)}
    assert Edition.objects.count() == 2


def test_a_late_announcement_of_what_was_voted_on_is_no_news(votes, announce):
    votes(1)
    editions.close_due(NEXT_MORNING)

    announce(1, 2, now=NEXT_MORNING, day=MONDAY)

    assert entries(TUESDAY) == {2: ("arxiv", False, 2)}


# -- closing with several sources ----------------------------------------------------------

NOTE = "The last reading of %s failed: HTTP 503"


@pytest.mark.parametrize("who", ["huggingface", "arxiv"])
def test_a_failure_is_not_hidden_by_another_sources_success(votes, who):
    votes(1)
    failing = Source.objects.get(slug=who)
    for each in Source.objects.filter(is_enabled=True).exclude(pk=failing.pk):
        fetched(each, at=EVENING)
    fetched(failing, at=AFTERNOON, status=Fetch.Status.FAILED, error="HTTP 503\nmore")

    assert editions.close_due(EVENING) == []
    fetched(Source.objects.get(slug="huggingface"), at=utc("2026-11-24T01:30"),
            status="failed" if who == "huggingface" else "ok", error="HTTP 503")  # fmt: skip
    assert editions.close_due(utc("2026-11-24T01:59")) == []
    (closed,) = editions.close_due(utc("2026-11-24T02:00"))
    assert closed.note == NOTE % failing


def test_every_source_that_failed_is_named(votes):
    votes(1)
    for each in Source.objects.filter(is_enabled=True):
        fetched(each, at=EVENING, status=Fetch.Status.FAILED, error="HTTP 503")

    (closed,) = editions.close_due(NEXT_MORNING)

    assert closed.note.split("\n") == [NOTE % "arXiv", NOTE % "Hugging Face Daily Papers"]


def test_a_source_that_is_switched_off_keeps_no_edition_open(votes, arxiv):
    votes(1)
    fetched(arxiv, at=AFTERNOON, status=Fetch.Status.FAILED)
    Source.objects.filter(pk=arxiv.pk).update(is_enabled=False)

    assert len(editions.close_due(EVENING)) == 1


def test_an_announcement_that_was_read_once_is_whole_whatever_fails_later(votes, arxiv, source):
    votes(1)
    fetched(arxiv, at=NIGHT)
    fetched(arxiv, at=AFTERNOON, status=Fetch.Status.FAILED)
    assert len(editions.close_due(EVENING)) == 1

    votes(2, day=TUESDAY, now=NEXT_MORNING)
    fetched(source, at=NEXT_MORNING, day=TUESDAY)
    fetched(source, at=NEXT_MORNING + timedelta(hours=1), day=TUESDAY, status=Fetch.Status.FAILED)
    assert editions.close_due(EVENING + timedelta(days=1)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": Fetch.Kind.WEEK},
        {"kind": Fetch.Kind.LOOK_UP},
        {"origin": Fetch.Origin.REPLAY},
        {"status": Fetch.Status.RUNNING},
    ],
)
def test_only_readings_of_the_day_that_have_ended_count(votes, source, fields):
    votes(1)
    fetched(source, at=MORNING, status=Fetch.Status.FAILED, error="HTTP 503")
    fetched(source, at=AFTERNOON, **fields)

    assert editions.close_due(EVENING) == []


def test_a_day_that_only_arxiv_lists_need_not_be_read_again(announce, source):
    Source.objects.filter(pk=source.pk).update(is_enabled=False)
    announce(1, now=NIGHT)

    (closed,) = editions.close_due(NEXT_MORNING)

    assert closed.note == ""


def test_sources_are_known_by_the_slugs_that_say_whose_word_counts():
    assert {"huggingface", "arxiv", "semantic_scholar"} == set(fetching.SOURCES)
