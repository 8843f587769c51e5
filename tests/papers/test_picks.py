"""An editor's word: dropping, picking, adding, closing early."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection

from papers import editions, fetching
from papers.client import FetchError
from papers.editions import AlreadyThereError, EditorError
from papers.models import Edition, Entry, Fetch, Paper, Signal
from tests.factories import SUNDAY, make_edition, make_paper
from tests.fakes.source_server import paper
from tests.papers.factories import record, utc

NOON = utc("2026-11-23T12:00")


@pytest.fixture
def closed(db) -> Edition:
    return make_edition(SUNDAY, [make_paper(f"Paper {letter}") for letter in "abcde"])


@pytest.fixture
def open_edition(source) -> Edition:
    editions.record_day(
        NOON.date(), [record(1), record(2)], source=source, now=NOON, read_at=NOON, backfill=False
    )
    return Edition.objects.get(day=NOON.date())


def titles(edition: Edition) -> list[str]:
    return [entry.paper.title for entry in edition.entries.ranked().select_related("paper")]


def places(edition: Edition) -> list[tuple]:
    return list(edition.entries.order_by("id").values_list("paper", "position", "rank", "score"))


def pick(entry, note="Read the proof.", by="Ada Example"):
    editions.pick(entry, by=by, note=note)
    entry.refresh_from_db()
    return entry


# -- dropping ------------------------------------------------------------------------------


def test_a_dropped_paper_leaves_and_the_others_keep_their_places(closed):
    before = places(closed)

    assert editions.drop(closed.entries.get(rank=2), NOON) is True

    assert titles(closed) == ["Paper a", "Paper c", "Paper d", "Paper e"]
    assert places(closed) == before
    assert Edition.objects.get().closed_seq == closed.closed_seq


def test_restoring_undoes_it_and_each_works_once(closed):
    entry = closed.entries.get(rank=2)
    assert editions.restore(entry) is False
    editions.drop(entry, NOON)
    assert editions.drop(entry, NOON + timedelta(hours=1)) is False
    entry.refresh_from_db()
    assert entry.dropped_at == NOON

    assert editions.restore(entry) is True

    assert titles(closed)[1] == "Paper b"


def test_a_pick_that_is_dropped_is_a_pick_no_more(closed):
    entry = pick(closed.entries.get(rank=1))

    editions.drop(entry, NOON)
    editions.restore(entry)

    entry.refresh_from_db()
    assert (entry.picked_by, entry.editor_note) == ("", "")


def test_a_paper_dropped_while_the_day_is_open_stays_out_when_the_list_is_read_again(
    open_edition, source
):
    editions.drop(open_edition.entries.get(position=1), NOON)

    editions.record_day(
        NOON.date(), [record(1), record(2)], source=source, now=NOON, read_at=NOON, backfill=False
    )
    editions.close_due(NOON + timedelta(days=1))

    assert titles(open_edition) == ["Paper number 2"]


# -- picking -------------------------------------------------------------------------------


def test_a_pick_carries_a_note_and_a_name_and_both_can_change(closed):
    entry = pick(closed.entries.get(rank=3), note="  Read\n the   proof. ")
    assert (entry.is_pick, entry.editor_note) == (True, "Read the proof.")

    pick(entry, note="Skip the proof.", by="Ben Sample")

    assert (entry.picked_by, entry.editor_note) == ("Ben Sample", "Skip the proof.")
    assert titles(closed)[2] == "Paper c"


def test_taking_a_pick_back_takes_its_note_along(closed):
    entry = pick(closed.entries.get(rank=3))

    assert editions.unpick(entry) is True
    assert editions.unpick(entry) is False

    entry.refresh_from_db()
    assert (entry.is_pick, entry.editor_note) == (False, "")


@pytest.mark.parametrize("note", ["", " \n ", "x" * 501])
def test_a_pick_needs_a_note_of_up_to_500_characters(closed, note):
    with pytest.raises(EditorError, match="1 to 500"):
        pick(closed.entries.get(rank=1), note=note)

    assert not Entry.objects.filter(picked_by__gt="").exists()


def test_the_longest_note_is_kept_whole(closed):
    assert len(pick(closed.entries.get(rank=1), note="x" * 500).editor_note) == 500


def test_an_edition_has_three_picks_at_most(closed):
    first, *_rest = [pick(closed.entries.get(rank=rank)) for rank in (1, 2, 3)]
    fourth = closed.entries.get(rank=4)

    with pytest.raises(EditorError, match="has its 3 picks"):
        pick(fourth)

    pick(first, note="A new note.")
    editions.unpick(first)
    assert pick(fourth).is_pick


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one SQLite in memory has one writer")
def test_editors_who_pick_at_the_same_moment_share_the_three_places():
    edition = make_edition(SUNDAY, [make_paper() for _ in range(5)])

    def attempt(entry):
        try:
            editions.pick(entry, by="Ada", note="Good.")
        except EditorError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(5) as pool:
        picked = list(pool.map(attempt, edition.entries.all()))

    assert sum(picked) == 3
    assert edition.entries.filter(picked_by="Ada").count() == 3


def test_picks_of_another_edition_and_withdrawn_ones_do_not_count(closed):
    other = make_edition(SUNDAY - timedelta(days=1), [make_paper() for _ in range(3)])
    for entry in other.entries.all():
        pick(entry)
    for rank in (1, 2, 3):
        pick(closed.entries.get(rank=rank))
    Paper.objects.filter(title="Paper a").update(withdrawn_at=NOON)

    assert pick(closed.entries.get(rank=4)).is_pick


def test_neither_a_dropped_nor_a_withdrawn_paper_is_picked(closed):
    dropped, withdrawn = closed.entries.get(rank=1), closed.entries.get(rank=2)
    editions.drop(dropped, NOON)
    Paper.objects.filter(pk=withdrawn.paper_id).update(withdrawn_at=NOON)

    with pytest.raises(EditorError, match="is dropped"):
        pick(dropped)
    with pytest.raises(EditorError, match="withdrawn"):
        pick(withdrawn)


def test_the_database_refuses_a_pick_that_is_dropped(closed):
    with pytest.raises(DatabaseError):
        closed.entries.filter(rank=1).update(picked_by="Ada", dropped_at=NOON)


# -- adding --------------------------------------------------------------------------------


def test_a_paper_added_to_a_closed_edition_stands_last_without_a_rank(closed):
    before = places(closed)

    entry = editions.add(closed, make_paper("Added", upvotes=999), NOON)

    assert titles(closed)[-1] == "Added"
    assert (entry.rank, entry.score, entry.source, entry.position) == (None, None, None, 6)
    assert places(closed)[:-1] == before
    assert Paper.objects.get(title="Added").vector != b""


def test_a_paper_added_to_an_open_edition_is_ranked_with_it_and_does_not_keep_it_open(
    open_edition,
):
    grew_at = open_edition.grew_at
    editions.add(open_edition, make_paper("Added"), NOON + timedelta(hours=8))

    open_edition.refresh_from_db()
    assert open_edition.grew_at == grew_at
    assert len(editions.close_due(NOON + timedelta(hours=8, minutes=1))) == 1
    assert sorted(open_edition.entries.values_list("rank", flat=True)) == [1, 2, 3]


def test_a_paper_is_not_added_twice(closed):
    entry = closed.entries.get(rank=2)

    with pytest.raises(AlreadyThereError, match="already") as error:
        editions.add(closed, entry.paper, NOON)

    assert error.value.entry == entry
    assert closed.entries.count() == 5


def test_a_withdrawn_paper_is_not_added(closed):
    with pytest.raises(EditorError, match="withdrawn"):
        editions.add(closed, make_paper(withdrawn_at=NOON), NOON)

    assert closed.entries.count() == 5


def test_a_source_that_lists_an_added_paper_later_only_places_it(open_edition, source):
    entry = editions.add(open_edition, make_paper("Added", arxiv_id="2611.00009"), NOON)

    editions.record_day(
        NOON.date(), [record(9)], source=source, now=NOON, read_at=NOON, backfill=False
    )

    assert open_edition.entries.filter(paper=entry.paper).count() == 1


def test_a_place_beyond_what_the_column_holds_is_never_written(closed):
    closed.entries.filter(rank=5).update(position=32_767)

    assert editions.add(closed, make_paper(), NOON).position == 32_767


# -- closing early -------------------------------------------------------------------------


def test_an_edition_is_closed_early_under_a_name(open_edition):
    assert editions.close_now(open_edition, NOON, by="Ada Example") is True

    open_edition.refresh_from_db()
    assert (open_edition.closed_at, open_edition.closed_seq) == (NOON, 1)
    assert (open_edition.closed_by, open_edition.note) == ("Ada Example", "")
    assert sorted(open_edition.entries.values_list("rank", flat=True)) == [1, 2]


def test_a_closed_edition_is_not_closed_again(closed):
    assert editions.close_now(closed, NOON, by="Ada") is False
    assert Edition.objects.get().note == ""


def test_the_note_says_what_went_wrong_whoever_closed_it(open_edition, source):
    Fetch.objects.create(
        source=source, day=open_edition.day, started_at=NOON, status="failed", error="HTTP 503"
    )

    editions.close_now(open_edition, NOON, by="Ada\n" * 100)

    open_edition.refresh_from_db()
    assert open_edition.note == "The last reading of Hugging Face Daily Papers failed: HTTP 503"
    assert open_edition.closed_by == ("Ada " * 100)[:150]


def test_an_edition_that_the_clock_closes_has_no_closer(open_edition):
    editions.close_due(NOON + timedelta(days=2))

    assert Edition.objects.closed().values_list("closed_by", flat=True).get() == ""


def test_what_is_opened_again_forgets_who_closed_it(open_edition):
    editions.close_now(open_edition, NOON, by="Ada")
    Edition.objects.update(is_backfill=True, note="This day was not read again.")

    editions.make_news([open_edition.day])

    assert Edition.objects.values_list("closed_by", "note").get() == ("", "")


# -- looking up ----------------------------------------------------------------------------


def test_a_paper_is_looked_up_and_stored_with_its_votes(source, server):
    server.answer_paper("2611.00007", paper(7, organization={"fullname": "Example Lab"}))

    found = fetching.look_up("2611.00007", now=NOON)

    assert (found.title, found.organization) == ("Paper number 7", "Example Lab")
    assert list(Signal.objects.values_list("paper", "read_at", "upvotes")) == [(found.pk, NOON, 7)]
    assert not Entry.objects.exists()
    assert [request.path for request in server.requests] == ["/api/papers/2611.00007"]


def test_looking_up_again_merges_as_a_days_list_does(source, server):
    server.answer_paper("2611.00007", paper(7))
    first = fetching.look_up("2611.00007", now=NOON)
    server.answer_paper("2611.00007", paper(7, upvotes=70, summary=None))

    again = fetching.look_up("2611.00007", now=NOON + timedelta(hours=1))

    assert (again.pk, again.upvotes, again.abstract) == (first.pk, 70, first.abstract)
    assert Signal.objects.count() == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"body": b"<html>"}, "no JSON"),
        ({"body": []}, "no paper"),
        ({"body": {"id": "2611.00007"}}, "no paper"),
        ({"body": paper(8)}, "asked for 2611.00007, the source answered with 2611.00008"),
        ({"body": paper(7, withdrawnAt="2026-11-22T00:00:00.000Z")}, "withdrawn"),
        ({"body": b"", "status": 503}, "HTTP 503"),
        ({"body": b"", "status": 429, "headers": {"Retry-After": "600"}}, "HTTP 429"),
    ],
)
def test_an_answer_that_is_no_use_is_said_at_once_and_nothing_is_stored(
    source, server, answer, message
):
    server.answer_paper("2611.00007", **answer)

    with pytest.raises(FetchError, match=message):
        fetching.look_up("2611.00007", now=NOON)

    assert not Paper.objects.exists()
    assert server.paths_asked().count("/api/papers/2611.00007") == 1


def test_an_unknown_paper_is_named(source, server):
    with pytest.raises(FetchError, match=r"knows no paper 2611\.99999"):
        fetching.look_up("2611.99999", now=NOON)


def test_a_dead_source_is_named(source, settings):
    settings.ARXIV_URL = "http://127.0.0.1:9"
    with pytest.raises(FetchError, match="cannot reach"):
        fetching.look_up("2611.00007", now=NOON)

    assert not Paper.objects.exists()
