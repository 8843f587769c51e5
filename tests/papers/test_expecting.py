from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import time_machine
from django.core.management import CommandError, call_command

from papers import editions, encoding, expecting, forecast
from papers.forecast import Group
from papers.models import Edition, Entry, Signal, TrendingFit
from tests.factories import make_edition, make_paper
from tests.papers.factories import record, utc

pytestmark = pytest.mark.django_db

MONDAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
GOOD, BAD = "a" * 16, "b" * 16
NOTHING_SHIPPED = expecting.Shipped(date.min, forecast.NO_HISTORY, forecast.NO_TEXT)


@pytest.fixture(autouse=True)
def frozen():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def unshipped(monkeypatch):
    """As if the package knew of nobody."""
    monkeypatch.setattr(expecting, "shipped_table", lambda: NOTHING_SHIPPED)


def past_day(
    days_ago: int, *, votes=(90, 9, 9, 9, 1), submitters=(GOOD, "", "", "", BAD), **first
) -> Edition:
    papers = [
        make_paper(
            **{"upvotes": each, "authors": [f"Somebody Else{place}"]} | (first if not place else {})
        )
        for place, each in enumerate(votes)
    ]
    edition = make_edition(MONDAY - timedelta(days=days_ago), papers)
    for entry, submitter in zip(edition.entries.order_by("position"), submitters, strict=True):
        Entry.objects.filter(pk=entry.pk).update(submitter=submitter)
    return edition


def tell(source, *records, day=MONDAY, at="2026-11-23T17:00"):
    now = utc(at)
    editions.record_day(day, records, source=source, now=now, read_at=now, backfill=False)


def ranked(edition: Edition) -> list[str]:
    entries = edition.entries.order_by("rank")
    return list(entries.values_list("paper__title", flat=True))


# -- history -------------------------------------------------------------------------------


@pytest.mark.usefixtures("unshipped")
@pytest.mark.parametrize(
    ("known", "bears"),
    [
        ({}, {"submitter": GOOD}),
        ({"organization": "Example Lab"}, {"organization": "Example Lab"}),
        ({"authors": ["Ada Example"]}, {"authors": ("Ada Example",)}),
    ],
    ids=["submitter", "organization", "author"],
)
def test_of_papers_with_as_many_votes_one_by_whom_readers_liked_before_leads(source, known, bears):
    for days_ago in range(1, 4):
        past_day(days_ago, **known)
    unknown = {"authors": ("Some Stranger",), "submitter": "c" * 16}
    tell(source, record(1, **unknown), record(2, **unknown | bears), record(3, **unknown))

    (edition,) = editions.close_due(NOW)

    assert ranked(edition)[0] == "Paper number 2"
    first, second = edition.entries.order_by("rank")[:2]
    assert first.score > second.score


@pytest.mark.usefixtures("unshipped")
def test_who_was_never_liked_comes_after_the_unknown_but_not_after_fewer_votes(source):
    for days_ago in range(1, 9):
        past_day(days_ago)
    tell(
        source,
        record(1, submitter=BAD, upvotes=9), record(2, upvotes=9), record(3, upvotes=1),
    )  # fmt: skip

    assert ranked(editions.close_due(NOW)[0]) == [f"Paper number {n}" for n in (2, 1, 3)]


@pytest.mark.usefixtures("unshipped")
def test_history_is_what_was_known_before_that_day_of_what_trended():
    for days_ago in (-1, 0, 1, 2):
        past_day(days_ago)
    Entry.objects.filter(edition__day=MONDAY - timedelta(days=2)).update(is_trending=False)
    past_day(400)
    open_one = past_day(3)
    Edition.objects.filter(pk=open_one.pk).update(closed_at=None, closed_seq=None)

    seen = expecting.history(MONDAY).effects[Group.SUBMITTER].seen
    assert {name: count for name, (count, _total) in seen.items()} == {GOOD: 1, BAD: 1}


def test_what_the_shipped_table_counted_is_not_counted_again(monkeypatch):
    for days_ago in (1, 5):
        past_day(days_ago)
    shipped = replace(NOTHING_SHIPPED, until=MONDAY - timedelta(days=5))
    monkeypatch.setattr(expecting, "shipped_table", lambda: shipped)

    assert expecting.history(MONDAY).effects[Group.SUBMITTER].seen[GOOD][0] == 1


@pytest.mark.usefixtures("unshipped")
def test_looking_back_takes_as_many_queries_for_a_year_as_for_a_day(
    django_assert_max_num_queries, monkeypatch
):
    edition = past_day(0)
    for days_ago in range(1, 12):
        past_day(days_ago)
    with django_assert_max_num_queries(4):
        assert len(expecting.lifts(edition)) == 5
    monkeypatch.setattr(expecting, "HISTORY_ENTRIES", 10)
    seen = expecting.history(MONDAY).effects[Group.SUBMITTER].seen
    assert seen[GOOD][0] == 2


@pytest.mark.usefixtures("unshipped")
def test_an_edition_of_announcements_alone_expects_nothing_and_closes():
    edition = past_day(0)
    Entry.objects.update(is_trending=False)
    Edition.objects.update(closed_at=None, closed_seq=None)
    Signal.objects.all().delete()

    assert expecting.lifts(edition) == {}
    assert len(editions.close_due(NOW)) == 1


# -- words ---------------------------------------------------------------------------------


def liked_robots(days: int = 12) -> None:
    for days_ago in range(20, 20 + days):
        papers = [make_paper("Robots grasp cups", upvotes=90)]
        papers += [make_paper("Tulips from the air", upvotes=1 + n) for n in range(4)]
        make_edition(MONDAY - timedelta(days=days_ago), papers)
    encoding.encode_missing()


@pytest.mark.usefixtures("unshipped")
def test_words_are_weighed_on_settled_papers_and_used_when_the_next_edition_closes(source):
    liked_robots()
    past_day(3)  # whose votes still grow
    encoding.encode_missing()
    fitted = expecting.fit_due(NOW)

    assert fitted.papers == 60
    tell(source, record(1, title="Tulips"), record(2, title="Robots"), record(3, title="Violins"))
    assert ranked(editions.close_due(NOW)[0]) == ["Robots", "Violins", "Tulips"]


@pytest.mark.usefixtures("unshipped")
def test_words_are_weighed_anew_after_a_week_and_the_old_weights_go():
    liked_robots()
    first = expecting.fit_due(NOW)

    assert expecting.fit_due(NOW + timedelta(days=6)) is None
    second = expecting.fit_due(NOW + timedelta(days=8))
    assert list(TrendingFit.objects.all()) == [second]
    assert second.pk != first.pk


def test_the_shipped_weights_are_not_traded_for_some_fitted_on_fewer_papers():
    liked_robots()

    assert expecting.fit_due(NOW) is None
    with pytest.raises(CommandError, match=r"60 settled papers .* fitted on 5959"):
        call_command("fit_trending")
    assert not TrendingFit.objects.exists()
    assert expecting.text_prior() is expecting.shipped_table().text


def test_weights_of_another_encoder_are_not_used(settings):
    TrendingFit.objects.create(encoder="words-0", papers=9, table=b"")
    assert expecting.text_prior() is expecting.shipped_table().text
    settings.ENCODER = "words-9"
    assert expecting.text_prior() is forecast.NO_TEXT


@pytest.mark.usefixtures("unshipped")
def test_the_command_fits_now(capsys):
    liked_robots()
    call_command("fit_trending")

    assert capsys.readouterr().out == "Fitted on 60 papers; it is in use from now on.\n"
    assert TrendingFit.objects.get().papers == 60


# -- the shipped table ---------------------------------------------------------------------


def test_the_shipped_table_knows_words_authors_and_organizations_and_no_submitter():
    shipped = expecting.shipped_table()

    assert shipped.until == date(2025, 12, 18)
    assert shipped.text.papers > 5000
    assert (shipped.text.terms[1:] > shipped.text.terms[:-1]).all()
    assert np.isfinite(shipped.text.weights).all()
    numbers = {group: len(effects.seen) for group, effects in shipped.history.effects.items()}
    assert numbers[Group.AUTHOR] > 5000 and numbers[Group.ORGANIZATION] > 50
    assert numbers[Group.SUBMITTER] == 0


def test_what_is_exported_reads_back_without_submitters(tmp_path):
    liked_robots()
    for days_ago in (40, 41, 42):
        past_day(days_ago, organization="Example Lab", authors=["Zoë Example"])
    path = tmp_path / "trending.tsv.gz"
    call_command("fit_trending", export=path)
    body = gzip.decompress(path.read_bytes()).decode()
    read = expecting.read_table(path.read_bytes())

    assert GOOD not in body and BAD not in body
    assert read.until == MONDAY - timedelta(days=20)
    assert read.history.effects[Group.ORGANIZATION].seen["example lab"][0] == 3
    assert read.history.effects[Group.AUTHOR].seen["zoe example"][0] == 3
    robots, tulips = read.text.expected([encoding.encoder().encode(t) for t in ("cups", "tulips")])
    assert robots > 0 > tulips


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"--export: .*nowhere"):
        call_command("fit_trending", export=tmp_path / "nowhere" / "x.gz")
