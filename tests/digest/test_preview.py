from __future__ import annotations

import email
import email.policy
import json
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.core import mail
from django.core.management import CommandError, call_command

from papers.models import Edition, Entry, Source
from tests.database import everything
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader

pytestmark = pytest.mark.django_db

OLD_DAY = SUNDAY - timedelta(days=1)


@pytest.fixture(autouse=True)
def at_breakfast():
    with time_machine.travel(DUE, tick=False):
        yield


@pytest.fixture(autouse=True)
def editions() -> list[Edition]:
    """Saturday's: ten papers without bees. Sunday's: one paper about bees, nine without."""
    subjects = [
        "compilers", "glaciers", "tax law", "violins", "concrete", "tulips", "routers", "chess",
        "harbours",
    ]  # fmt: skip

    def others(day: str) -> list:
        return [
            make_paper(f"{subject}, {day}", abstract=f"About {subject}.") for subject in subjects
        ]

    bees = make_paper("Honey bees", abstract="Honey bees dance. The dance shows nectar.")
    return [
        make_edition(OLD_DAY, [make_paper("Old violins"), *others("Saturday")]),
        make_edition(SUNDAY, [*others("Sunday"), bees]),
    ]


@pytest.fixture
def preview(capfdbinary):
    """What the command prints."""

    def run(*args: str) -> str:
        before = everything()
        call_command("preview_digest", *args, stderr=StringIO())
        assert everything() == before
        assert mail.outbox == []
        return capfdbinary.readouterr().out.decode()

    return run


def test_a_topic_given_by_hand_gets_its_paper_of_the_newest_edition(preview):
    text = preview("--topic", "honey bees")
    assert "1. Honey bees" in text
    assert "Because you follow “honey bees”" in text
    assert "Sunday, 22 November 2026" in text
    assert "/unsubscribe/" not in text


def test_without_a_topic_it_is_what_everybody_gets(preview):
    found = json.loads(preview("--format", "json", "--papers", "3"))
    full = [item for item in found["items"] if item["section"] == "full"]
    assert [item["reason"]["kind"] for item in full] == ["popular"] * 3
    assert found["edition"] == SUNDAY.isoformat()
    assert found["candidates"] == 10


def test_another_days_edition_can_be_asked_for(preview):
    assert "Old violins" in preview("--date", OLD_DAY.isoformat())


def test_todays_open_edition_can_be_looked_at_by_its_votes_so_far(preview):
    today = Edition.objects.create(day=DUE.date(), opened_at=DUE)
    for upvotes in (2, 40, 9):
        Entry.objects.create(
            edition=today,
            paper=make_paper(f"With {upvotes}", upvotes=upvotes),
            source=Source.objects.get(slug="huggingface"),
            position=1,
            added_at=DUE - timedelta(hours=2),
        )
    found = json.loads(preview("--date", DUE.date().isoformat(), "--format", "json"))
    assert [item["title"] for item in found["items"]] == ["With 40", "With 9", "With 2"]


def test_a_muted_word_is_not_in_it(preview):
    assert "compilers" in preview()
    assert "compilers" not in preview("--mute", "compilers")


def test_a_readers_own_digest_can_be_tried_with_one_more_muted_word(preview):
    make_reader(cursor=0, topics=["honey bees", "violins"], papers_per_digest=10)
    make_reader("ben@example.org", cursor=2)
    assert "violins" in preview("--subscriber", "ada@example.org")
    assert "violins, Sunday" not in preview("--subscriber", "ada@example.org", "--mute", "violins")
    assert preview("--subscriber", "ben@example.org", "--mute", "violins") == ""


def test_a_stored_reader_sees_what_is_new_to_them(preview):
    make_reader(topics=["honey bees"], cursor=1)
    text = preview("--subscriber", "Ada@Example.org")
    assert "1. Honey bees" in text
    assert "Saturday" not in text


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--subscriber", "ada@example.org"], "Nothing is new"),
        (["--topic", "submarines"], "Nothing in it clears the floor"),
    ],
)
def test_it_says_when_there_would_be_no_mail_and_shows_none(args, why, capfdbinary):
    make_reader(topics=["honey bees"], cursor=2)
    said = StringIO()
    call_command("preview_digest", *args, stderr=said)
    assert said.getvalue() == f"{why}: no mail would be sent.\n"
    assert capfdbinary.readouterr().out == b""


def test_html_and_the_whole_mail_can_be_had(preview):
    assert preview("--topic", "honey bees", "--format", "html").startswith("<!DOCTYPE html>")
    raw = preview("--topic", "honey bees", "--format", "eml").encode()
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["Subject"].startswith("Honey bees")
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "text/html",
    ]


def test_a_pick_of_the_editors_is_shown_and_comes_first_in_the_choice(preview):
    entry = Entry.objects.get(edition__day=SUNDAY, paper__title="violins, Sunday")
    Entry.objects.filter(pk=entry.pk).update(picked_by="Ben Sample", editor_note="Listen.")
    assert "Ben Sample: “Listen.”" in preview("--topic", "honey bees")
    found = json.loads(preview("--topic", "honey bees", "--format", "json"))
    assert [(item["section"], item["title"]) for item in found["items"][:2]] == [
        ("pick", "violins, Sunday"),
        ("full", "Honey bees"),
    ]
    assert {item["arxiv_id"] for item in found["items"] if item["section"] == "pick"} == {
        entry.paper.arxiv_id
    }


def test_a_day_of_which_nothing_is_left_is_not_the_newest(preview):
    Entry.objects.filter(edition__day=SUNDAY).update(dropped_at=DUE)
    assert f"{OLD_DAY:%-d} November 2026" in preview("--topic", "violins")


def test_it_can_be_written_to_a_file(preview, tmp_path):
    path = tmp_path / "digest.txt"
    assert preview("--topic", "honey bees", "--output", str(path)) == ""
    assert "1. Honey bees" in path.read_text()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--subscriber", "nobody@example.org"], "nobody is subscribed as nobody@example.org"),
        (["--date", "2026-01-01"], "no papers are stored for 2026-01-01"),
        (["--date", "yesterday"], "--date: 'yesterday' is no day such as 2025-12-18"),
        (["--papers", "11"], "--papers"),
        (["--subscriber", "a@example.org", "--topic", "x"], "not allowed with"),
        (["--output", "/nowhere/at/all"], "--output: No such file or directory"),
    ],
)
def test_a_mistake_is_named(args, said):
    with pytest.raises(CommandError, match=said):
        call_command("preview_digest", *args, stderr=StringIO())


def test_without_any_edition_it_says_what_to_do():
    Edition.objects.all().delete()
    with pytest.raises(CommandError, match="run fetch_papers first"):
        call_command("preview_digest", "--topic", "x")
