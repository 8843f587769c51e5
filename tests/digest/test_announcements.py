"""From arXiv's announcement to the mail, by way of everything that lies between."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest

from digest import assembly, sending
from digest.models import Digest, Feedback
from papers import editions, fetching
from papers.models import Edition, Paper, Source
from papers.sources.arxiv import ArXiv
from papers.sources.arxiv_query import ArXivQuery
from tests.factories import make_reader
from tests.fakes.arxiv import Submission
from tests.fakes.source_server import SourceServer, entry
from tests.papers.factories import utc

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)
TUESDAY_MORNING, WEDNESDAY_MORNING = utc("2026-11-24T06:00"), utc("2026-11-25T06:00")
MINUTE = timedelta(minutes=1)

SOURDOUGH = Submission(1, title="Sourdough fermentation kinetics", abstract="Of sourdough.")
BREAD = Submission(2, title="Bread ovens", abstract="Of sourdough, baked.")
PIECES = ("kings", "queens", "rooks", "bishops", "knights", "pawns")
CHESS = [Submission(n, title=f"Chess endings with {each}") for n, each in enumerate(PIECES, 3)]


@pytest.fixture
def server(settings, monkeypatch):
    for reader in (ArXiv, ArXivQuery):
        monkeypatch.setattr(reader, "pace_seconds", 0)
    with SourceServer().running() as running:
        settings.HUGGINGFACE_URL = settings.ARXIV_URL = settings.ARXIV_FEED_URL = running.url
        yield running


@pytest.fixture
def read(db, server):
    """Reads a day of both sources: `read("2026-11-23", at=…)`."""
    fetching.ensure_sources()
    Source.objects.filter(slug="arxiv").update(is_enabled=True)

    def read(day, *, at):
        return [
            fetching.fetch_day(source, day, now=at).status
            for source in Source.objects.filter(slug__in=["arxiv", "huggingface"])
        ]

    return read


@pytest.fixture
def announced(server, read):
    """Monday's announcements, read and closed; a reader of sourdough is due on Tuesday."""
    server.arxiv.announce("2026-11-23", [SOURDOUGH, BREAD, *CHESS])
    assert read(MONDAY, at=utc("2026-11-23T01:30")) == ["ok", "empty"]
    assert read(MONDAY, at=utc("2026-11-24T01:00")) == ["ok", "empty"]
    (edition,) = editions.close_due(utc("2026-11-24T02:00"))
    make_reader(topics=["sourdough"], next_due_at=TUESDAY_MORNING, time_zone="UTC")
    return edition


def shown(number: int) -> set[str]:
    """Titles that the reader's digest of that number (from 0) holds in full."""
    digest = Digest.objects.order_by("pk")[number]
    full = [item["paper_id"] for item in digest.items if item["section"] == "full"]
    return set(Paper.objects.filter(pk__in=full).values_list("title", flat=True))


def test_a_withdrawal_that_the_feed_tells_of_takes_the_paper_out_of_a_waiting_digest(
    announced, server, read, transport
):
    assembly.assemble_due(TUESDAY_MORNING)
    assert shown(0) == {SOURDOUGH.title, BREAD.title}

    server.arxiv.announce("2026-11-24", [server.arxiv.withdraw(SOURDOUGH.id)])
    read(TUESDAY, at=TUESDAY_MORNING + MINUTE)
    sending.send_due(TUESDAY_MORNING + 2 * MINUTE)

    (mail,) = transport.accepted
    assert BREAD.title in mail.body
    assert SOURDOUGH.title not in mail.body
    assert not Edition.objects.filter(day=TUESDAY).exists()


def test_a_withdrawn_paper_is_in_no_digest_that_is_made_from_then_on(announced, server, read):
    server.arxiv.announce("2026-11-24", [server.arxiv.withdraw(SOURDOUGH.id)])
    read(TUESDAY, at=TUESDAY_MORNING)
    assembly.assemble_due(TUESDAY_MORNING)

    assert shown(0) == {BREAD.title}


def test_a_paper_announced_on_one_day_and_voted_on_the_next_is_shown_once(
    announced, server, read, transport
):
    assembly.assemble_due(TUESDAY_MORNING)
    sending.send_due(TUESDAY_MORNING)
    assert shown(0) == {SOURDOUGH.title, BREAD.title}

    fresh = Submission(20, title="Sourdough starters at altitude", abstract="Of sourdough.")
    server.arxiv.announce("2026-11-24", [fresh])
    server.list_papers(
        "2026-11-24",
        [entry(1, day="2026-11-24", title=SOURDOUGH.title, summary="Of sourdough.", upvotes=90)],
    )
    assert read(TUESDAY, at=utc("2026-11-25T01:00")) == ["ok", "ok"]
    editions.close_due(utc("2026-11-25T02:00"))
    make_reader("ben@example.org", ["sourdough"], next_due_at=WEDNESDAY_MORNING, time_zone="UTC")
    assembly.assemble_due(WEDNESDAY_MORNING)

    assert shown(1) == {fresh.title}
    assert shown(2) == {fresh.title, SOURDOUGH.title}


def test_who_was_not_shown_an_announcement_meets_it_when_it_is_voted_on(
    announced, server, read, transport
):
    chess = make_reader("ben@example.org", next_due_at=TUESDAY_MORNING, time_zone="UTC")
    assembly.assemble_due(TUESDAY_MORNING)
    assert Digest.objects.get(subscriber=chess).skip_reason == Digest.SkipReason.NOTHING

    title = CHESS[0].title
    voted = entry(CHESS[0].number, day="2026-11-24", title=title, upvotes=90)
    server.list_papers("2026-11-24", [voted])
    read(TUESDAY, at=utc("2026-11-25T01:00"))
    editions.close_due(utc("2026-11-25T02:00"))
    assembly.assemble_due(WEDNESDAY_MORNING)

    digest = Digest.objects.filter(subscriber=chess).latest("pk")
    (item,) = digest.items
    assert (item["reason"]["kind"], item["reason"]["upvotes"]) == ("popular", 90)


def test_an_old_id_is_in_no_ones_way_from_the_feed_to_the_feedback(client, server, read, transport):
    old = Submission(0, arxiv_id="cs/9901001", title="Sourdough, once more", categories=("cs.LG",))
    server.arxiv.announce("2026-11-23", [old, *CHESS])
    read(MONDAY, at=utc("2026-11-24T01:00"))
    editions.close_due(utc("2026-11-24T02:00"))
    make_reader(topics=["sourdough"], next_due_at=TUESDAY_MORNING, time_zone="UTC")
    assembly.assemble_due(TUESDAY_MORNING)
    sending.send_due(TUESDAY_MORNING)

    (mail,) = transport.accepted
    assert "arxiv.org/abs/cs/9901001" in mail.body
    more = re.search(r"http://paperround\.test(/read/\S+/more/\d+/)", mail.body)
    assert client.post(more[1]).status_code == 200
    assert Feedback.objects.get().paper.arxiv_id == "cs/9901001"
