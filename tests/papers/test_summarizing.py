"""Summaries that a model elsewhere writes: believed with care, and never waited for."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from digest import rendering
from digest.compose import FULL, Item
from digest.models import Digest, Slot
from digest.ranking import Reason
from papers import summarizing
from papers.models import Paper, Summary
from papers.summarizing import Unusable, accepted
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader
from tests.fakes.chat import PATH, ChatServer, answer

pytestmark = pytest.mark.django_db


@pytest.fixture
def server(settings):
    with ChatServer().running() as running:
        settings.SUMMARY_URL = running.url
        settings.SUMMARY_MODEL, settings.SUMMARY_API_KEY = "small-writer", "s3cret"
        settings.FETCH_TIMEOUT_SECONDS = 0.5
        yield running


@pytest.fixture
def paper() -> Paper:
    made = make_paper("On bees", abstract="Bees dance. We show $n^2$ how.")
    make_edition(SUNDAY, [made])
    return made


def test_without_an_endpoint_nothing_is_asked_and_no_row_is_made(paper, settings):
    assert settings.SUMMARY_URL == ""
    assert summarizing.summarize_due(DUE) == 0
    assert not Summary.objects.exists()


def test_a_paper_without_a_summary_gets_one(server, paper):
    assert summarizing.summarize_due(DUE) == 1
    row = Summary.objects.get()
    assert (row.paper, row.text) == (paper, "A model wrote this of On bees. It is short.")
    assert (row.model, row.made_at, row.content_hash) == ("small-writer", DUE, paper.content_hash)
    (request,) = server.requests
    assert request.headers["Authorization"] == "Bearer s3cret"
    (asked,) = server.asked
    assert asked["model"] == "small-writer"
    assert asked["messages"][-1]["content"] == "On bees\n\nBees dance. We show n² how."
    assert summarizing.summarize_due(DUE + timedelta(minutes=1)) == 0
    assert len(server.requests) == 1


def test_what_has_a_summary_is_old_or_is_withdrawn_is_not_asked_about(server):
    told = make_paper("Told", tldr="By its source.")
    gone = make_paper("Gone", withdrawn_at=DUE)
    empty = make_paper("Empty", abstract="")
    make_edition(SUNDAY, [told, gone, empty])
    make_edition(SUNDAY - timedelta(days=20), [make_paper("Old")])
    make_paper("Of no edition")
    assert summarizing.summarize_due(DUE) == 0
    assert server.requests == []


def test_no_more_are_asked_than_a_minute_and_a_day_allow(server, settings):
    settings.SUMMARY_PER_MINUTE, settings.SUMMARY_PER_DAY = 2, 3
    make_edition(SUNDAY, [make_paper(f"Paper {number}") for number in range(5)])
    counts = [summarizing.summarize_due(DUE + timedelta(minutes=n)) for n in range(4)]
    assert counts == [2, 1, 0, 0]
    assert summarizing.summarize_due(DUE + timedelta(days=1)) == 2


def test_two_at_once_ask_about_a_paper_once(server, paper):
    summarizing._note_wanted(DUE)
    first, second = Summary.objects.get(), Summary.objects.get()
    assert summarizing._claim(first, DUE)
    assert not summarizing._claim(second, DUE)


@pytest.mark.parametrize("status", [429, 500, 503, 401])
def test_an_outage_blames_no_paper_and_is_waited_for(server, settings, status):
    make_edition(SUNDAY, [make_paper(f"Paper {number}") for number in range(3)])
    server.answer_next(PATH, "no", status=status, headers={"Retry-After": "1800"})
    assert summarizing.summarize_due(DUE) == 0
    assert len(server.requests) == 1
    assert set(Summary.objects.values_list("tries", flat=True)) == {0}
    assert summarizing.summarize_due(DUE + timedelta(minutes=5)) == 0
    assert len(server.requests) == 1
    assert summarizing.summarize_due(DUE + timedelta(minutes=31)) == 3


@pytest.mark.parametrize(
    "content",
    ["", "See https://evil.example for more of it.", None, 7, "<b>Bold words are here</b>"],
)
def test_what_is_no_summary_is_tried_three_times_and_never_shown(server, paper, content):
    server.answer_always(PATH, answer(content))
    now = DUE
    for _ in range(5):
        assert summarizing.summarize_due(now) == 0
        now += timedelta(hours=1)
    row = Summary.objects.get()
    assert (row.tries, row.text) == (3, "")
    assert row.error
    assert len(server.requests) == 3


def test_an_answer_of_another_shape_is_no_summary(server, paper):
    server.answer_next(PATH, json.dumps({"error": "no"}))
    assert summarizing.summarize_due(DUE) == 0
    assert "something else" in Summary.objects.get().error


def test_another_text_is_another_summary(server, paper):
    summarizing.summarize_due(DUE)
    Paper.objects.update(title="On wasps", content_hash="another")
    assert summarizing.summarize_due(DUE + timedelta(minutes=1)) == 1
    row = Summary.objects.get()
    assert (row.text, row.content_hash) == (
        "A model wrote this of On wasps. It is short.",
        "another",
    )


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('"Bees dance, and wasps do not."', "Bees dance, and wasps do not."),
        ("Bees dance\nat $O(n^2)$ a day.", "Bees dance at O(n²) a day."),
        (f"Bees dance, and wasps do not. {'More ' * 100}.", "Bees dance, and wasps do not."),
    ],
)
def test_a_summary_is_one_line_of_whole_sentences(said, kept):
    assert accepted(said) == kept


@pytest.mark.parametrize(
    "said",
    [
        "",
        " ",
        "Too short.",
        "x" * 500,
        "Visit www.example.org for all of it.",
        "**Bold** is what it is today.",
        "- A list of what is new here",
        "| a | table | is | no | text |",
        "`code` is not what we asked for",
    ],
)
def test_what_is_refused(said):
    with pytest.raises(Unusable):
        accepted(said)


# -- where it is shown ---------------------------------------------------------------------


def mail_of(paper: Paper):
    digest = Digest.objects.filter(subscriber__email="ada@example.org").first()
    if digest is None:
        digest = Digest.objects.create(
            subscriber=make_reader(),
            slot=Slot.objects.create(date=SUNDAY, due=1),
            due_at=DUE,
            assembled_at=DUE,
            items=[Item(paper.pk, FULL, 2.0, reason=Reason("popular")).to_json()],
            edition_day=SUNDAY,
        )
    (content,) = rendering.contents([digest], now=DUE).values()
    return rendering.message(digest, content)


def test_a_mail_shows_it_with_its_label_and_waits_for_none(server, paper):
    before = str(mail_of(paper).body)
    assert "Bees dance." in before
    assert "written by a model" not in before
    summarizing.summarize_due(DUE)
    made = mail_of(paper)
    for said in (str(made.body), made.alternatives[0][0]):
        assert "A model wrote this of On bees." in said
        assert "Summary written by a model (small-writer)." in " ".join(said.split())


def test_the_source_s_own_words_and_a_changed_text_hide_it(server, paper, settings):
    summarizing.summarize_due(DUE)
    Paper.objects.update(tldr="The source says so.")
    assert "written by a model" not in str(mail_of(Paper.objects.get()).body)
    Paper.objects.update(tldr="", content_hash="another")
    assert "written by a model" not in str(mail_of(Paper.objects.get()).body)


def test_switched_off_it_is_not_shown(server, paper, settings):
    summarizing.summarize_due(DUE)
    settings.SUMMARY_URL = ""
    assert "written by a model" not in str(mail_of(paper).body)


def test_a_summary_that_came_after_the_mail_is_named_as_what_differs(server, paper):
    made = mail_of(paper)
    Digest.objects.update(
        state=Digest.State.SENT, sent_at=DUE, mail_hash=rendering.fingerprint(made)
    )
    digest = Digest.objects.select_related("subscriber", "slot").get()
    assert rendering.remade(digest, DUE).matches is True
    summarizing.summarize_due(DUE + timedelta(hours=1))
    again = rendering.remade(digest, DUE + timedelta(hours=2))
    assert again.matches is False
    assert again.differences == (f"A model’s summary of paper {paper.arxiv_id} came later.",)


def test_an_operator_sees_it_on_the_paper_s_page_and_has_it_made_anew(server, paper, admin_client):
    summarizing.summarize_due(DUE)
    address = f"/admin/papers/paper/{paper.pk}/change/"
    assert "A model wrote this of On bees." in admin_client.get(address).content.decode()
    Summary.objects.all().delete()
    assert summarizing.summarize_due(DUE + timedelta(minutes=2)) == 1
