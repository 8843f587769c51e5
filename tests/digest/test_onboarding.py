"""From papers to topics: ticked, searched, brought along, asked for at ORCID."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from digest import told, welcome
from papers import encoding
from papers.models import Paper, WantedPaper
from subscribers import limits, seeds, tokens
from subscribers.models import Interest, Subscriber, Topic
from subscribers.tokens import Purpose
from tests.browser_form import filled_in
from tests.database import everything
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader
from tests.fakes.source_server import SourceServer

pytestmark = pytest.mark.django_db

NOW = DUE - timedelta(hours=1)
ORCID = "0000-0002-1825-0097"


@pytest.fixture(autouse=True)
def at_five():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def ada() -> Subscriber:
    return make_reader()


@pytest.fixture
def token(ada) -> str:
    return tokens.make(Purpose.MANAGE, ada.uuid.hex, today=NOW.date())


BEES = ["waggle dance", "nectar", "swarm", "pollen", "hive", "queen"]
ICE = ["melting", "moraine", "crevasse", "firn", "sea level", "snow"]


@pytest.fixture
def papers() -> list[Paper]:
    """Six about bees and six about glaciers, which Ada has read, and Sunday's edition of others."""
    bees = [
        make_paper(f"Honey bees and the {word}", abstract=f"Honey bees, bees and {word}.")
        for word in BEES
    ]
    ice = [
        make_paper(f"Glaciers: {word}", abstract=f"Glaciers of the Arctic and {word}.")
        for word in ICE
    ]
    news = [
        make_paper(
            "How honey bees count", abstract="Honey bees count to four.", authors=["Eva Vogel"]
        ),
        make_paper("Glaciers of Mars", abstract="Glaciers are found on Mars, unlike the Arctic."),
        *(
            make_paper(f"{subject} revisited", abstract=f"We look again at {subject}.")
            for subject in ("compilers", "tax law", "violins", "concrete", "tulips", "chess")
        ),
    ]
    make_edition(SUNDAY, news)
    encoding.encode_missing()
    return [*bees, *ice, *news]


def ticks(papers) -> list[str]:
    return [f"paper:{paper.arxiv_id}" for paper in papers]


def post(client, token: str, name: str = "onboarding", **data):
    return client.post(reverse(f"digest:{name}", args=[token]), data)


def fields_of(response) -> dict[str, list[str]]:
    fields = filled_in(response, "form[data-preview]")
    fields.pop("file", None)
    return fields


# -- the way through -----------------------------------------------------------------------


def test_ticked_papers_become_subjects_which_are_saved_only_when_the_reader_says_so(
    client, token, ada, papers
):
    before = everything()
    review = post(client, token, papers=ticks(papers[:12]))
    subjects = review.context["wanted"].subjects
    assert [{seed.paper_id for seed in each.seeds} for each in subjects] == [
        {paper.pk for paper in papers[:6]},
        {paper.pk for paper in papers[6:12]},
    ]
    assert everything() == before

    sent = fields_of(review) | {"name-0": ["Bees"], "do": ["keep"]}
    response = post(client, token, "subjects", **sent)
    assert response.status_code == 302
    bees, ice = ada.topics.all()
    assert bees.name == "Bees"
    assert "glaciers" in ice.name
    assert set(bees.interests.values_list("kind", "paper_id")) == {
        ("paper", paper.pk) for paper in papers[:6]
    }
    assert "which you gave for <em>Bees</em>" in client.get(response.url).content.decode()


def test_a_new_reader_may_leave_everything_empty(client, token, ada, papers):
    before = everything()
    assert "leave it all empty" in client.get(
        reverse("digest:onboarding", args=[token])
    ).content.decode().replace("\n", " ")
    assert post(client, token).status_code == 302
    assert everything() == before


def test_sending_the_first_digest_saves_what_was_typed_and_ticked(client, token, ada, papers):
    """It stands below a preview that shows all of it."""
    page = client.get(reverse("digest:onboarding", args=[token]))
    form = filled_in(page, "#given-form") | {
        "topics": "sea level", "papers": ticks(papers[:6]), "do": "send",
    }  # fmt: skip
    shown = client.post(reverse("digest:preview", args=[token]), form).content.decode()
    assert "How honey bees count" in shown
    answer = client.post(reverse("digest:send_first", args=[token]), form)
    assert "on its way" in answer.content.decode()
    ada.refresh_from_db()
    assert ada.next_due_at == NOW
    assert "sea level" in set(ada.topics.values_list("name", flat=True))
    assert set(ada.interests.values_list("paper_id", flat=True)) >= {p.pk for p in papers[:6]}
    assert client.get(reverse("digest:onboarding", args=[token])).status_code == 200


def test_what_cannot_be_saved_is_said_before_anything_is_sent(client, token, ada, papers):
    long = {"topics": "x" * 81, "do": "send"}
    answer = client.post(reverse("digest:send_first", args=[token]), long).content.decode()
    assert "keep each line to 80 characters" in answer
    assert "Nothing is saved yet" in answer
    ada.refresh_from_db()
    assert ada.next_due_at == DUE
    assert not ada.topics.exists()


def test_papers_that_come_with_the_last_button_are_seen_before_anything_is_sent(
    client, token, ada, papers
):
    pasted = {"pasted": f"https://arxiv.org/abs/{papers[0].arxiv_id}", "do": "send"}
    answer = client.post(reverse("digest:send_first", args=[token]), pasted).content.decode()
    assert "Found and ticked below" in answer
    ada.refresh_from_db()
    assert ada.next_due_at == DUE


def test_a_subject_that_is_not_kept_and_a_paper_that_is_unticked_are_dropped(
    client, token, ada, papers
):
    sent = fields_of(post(client, token, papers=ticks(papers[:12])))
    sent["name-0"] = ["Bees"]
    sent["papers-0"].remove(f"paper:{papers[0].arxiv_id}")
    del sent["keep-1"]
    post(client, token, "subjects", **sent, do="keep")
    (bees,) = ada.topics.all()
    assert bees.interests.count() == 5
    assert not bees.interests.filter(paper=papers[0]).exists()


def test_what_was_unticked_can_be_had_back_from_the_rest(client, token, ada, papers):
    sent = fields_of(post(client, token, papers=ticks(papers[:12])))
    sent["papers-0"].remove(f"paper:{papers[0].arxiv_id}")
    rest = post(client, token, "subjects", **sent, do="show").context["wanted"].subjects[-1]
    assert rest.is_rest and not rest.is_kept
    assert [seed.paper_id for seed in rest.seeds] == [papers[0].pk]
    assert not ada.topics.exists()


def test_going_back_loses_nothing(client, token, ada, papers):
    review = post(
        client, token, papers=[*ticks(papers[:8]), "title:A book of 1843"], topics="chess\nviolins"
    )
    back = post(client, token, "subjects", **fields_of(review), do="back")
    sent = fields_of(back)
    assert sorted(sent["papers"]) == sorted([*ticks(papers[:8]), "title:A book of 1843"])
    assert sent["topics"] == ["chess\nviolins"]


def test_the_same_name_twice_is_one_topic_and_a_followed_one_gets_the_papers(
    client, token, ada, papers
):
    Topic.objects.create(subscriber=ada, name="Nature")
    sent = fields_of(post(client, token, papers=ticks(papers[:12])))
    sent |= {"name-0": ["nature"], "name-1": ["NATURE"]}
    post(client, token, "subjects", **sent, do="keep")
    (nature,) = ada.topics.all()
    assert nature.interests.count() == 12


def test_without_room_nothing_is_saved_and_nothing_is_lost(client, token, ada, papers):
    for number in range(19):
        Topic.objects.create(subscriber=ada, name=f"subject {number}")
    sent = fields_of(post(client, token, papers=ticks(papers[:12])))
    response = post(client, token, "subjects", **sent, do="keep")
    assert response.status_code == 200
    assert "There is no room for" in response.content.decode()
    assert ada.topics.count() == 19
    assert fields_of(response)["papers-0"] == sent["papers-0"]


def test_a_subject_keeps_as_many_papers_as_a_topic_may_hold_and_says_so(client, token, ada):
    titles = [f"title:Honey bees, part {number}" for number in range(230)]
    review = post(client, token, papers=titles)
    assert "A subject holds 200 papers" in review.content.decode()
    post(client, token, "subjects", **fields_of(review), do="keep")
    assert [each.interests.count() for each in ada.topics.all()] == [200]


@pytest.mark.parametrize(
    "papers", [["paper:nonsense"], ["999999"], ["title: "], ["paper:"], ["\x00:\ud800"[:2]]]
)
def test_a_field_that_is_no_paper_is_passed_over(client, token, ada, papers):
    before = everything()
    assert post(client, token, papers=papers).status_code == 302
    assert everything() == before


def test_a_title_is_escaped_wherever_it_is_shown(client, token):
    review = post(client, token, papers=["title:<script>alert(1)</script> & more"])
    page = review.content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page


# -- papers to tick ------------------------------------------------------------------------


def test_others_are_shown_and_the_ticks_stay(client, token):
    first = [make_paper(f"word{n} stands alone{n}", upvotes=100 - n) for n in range(45)]
    make_edition(SUNDAY, first)
    encoding.encode_missing()
    page = client.get(reverse("digest:onboarding", args=[token]))
    offered = [seed.paper_id for seed in page.context["suggestions"]]
    assert len(offered) == 20
    others = post(client, token, papers=ticks(first[:1]), page="0", do="others")
    assert not set(offered) & {seed.paper_id for seed in others.context["suggestions"]}
    assert [seed.paper_id for seed in others.context["given"].seeds] == [first[0].pk]


def test_what_is_followed_already_is_not_offered_again(client, token, ada, papers):
    topic = Topic.objects.create(subscriber=ada, name="Bees")
    news = papers[12]
    Interest.objects.create(
        subscriber=ada, topic=topic, kind="paper", value=news.arxiv_id, paper=news
    )
    page = client.get(reverse("digest:onboarding", args=[token]))
    assert news.pk not in {seed.paper_id for seed in page.context["suggestions"]}


def test_a_search_finds_papers_to_tick(client, token, papers):
    response = post(client, token, q="glaciers moraine", do="search")
    assert response.context["found"][0].paper_id == papers[7].pk
    assert f'value="paper:{papers[7].arxiv_id}"' in response.content.decode()


# -- bringing papers along -----------------------------------------------------------------

LIBRARY = """
@misc{a, title = {Whatever}, eprint = {%s}, archivePrefix = {arXiv}}
@article{b, title = {%s}, year = 2020}
@misc{c, title = {Not stored here}, url = {https://arxiv.org/abs/2401.00001}}
@book{d, title = {The Dancing Bees}, author = {von Frisch, Karl}, year = 1953}
@book{e, year = 1953}
"""


def test_a_file_is_matched_by_id_then_by_title_and_else_kept_as_it_is(client, token, ada, papers):
    text = LIBRARY % (papers[0].arxiv_id, papers[1].title)
    file = SimpleUploadedFile("library.bib", text.encode())
    response = post(client, token, file=file, do="import")
    given = response.context["given"]
    assert {seed.wish.kind: seed.paper_id for seed in given.seeds if not seed.paper_id} == {
        "paper": None,
        "title": None,
    }
    assert {seed.paper_id for seed in given.seeds if seed.paper_id} == {papers[0].pk, papers[1].pk}
    page = response.content.decode()
    for said in (
        "2 papers that we have.",
        "1 paper that we look up at arXiv.",
        "1 other paper, known by its title.",
        "1 entry could not be read.",
    ):
        assert said in page
    assert not ada.topics.exists()

    review = post(client, token, **fields_of(response))
    post(client, token, "subjects", **fields_of(review) | {"name-0": ["Bees"]}, do="keep")
    (topic,) = ada.topics.all()
    assert set(topic.interests.values_list("kind", "value")) == {
        ("paper", papers[0].arxiv_id),
        ("paper", papers[1].arxiv_id),
        ("paper", "2401.00001"),
        ("title", "The Dancing Bees"),
    }
    assert WantedPaper.objects.filter(arxiv_id="2401.00001").exists()


def test_pasted_links_are_read_whichever_button_was_pressed(client, token, papers):
    pasted = f"see arxiv.org/abs/{papers[0].arxiv_id} and arXiv:{papers[7].arxiv_id}v2"
    response = post(client, token, pasted=pasted, do="others")
    seeds_given = response.context["given"].seeds
    assert [seed.paper_id for seed in seeds_given] == [papers[0].pk, papers[7].pk]
    assert not fields_of(response)["pasted"][0]


def test_what_holds_no_papers_is_said_and_what_was_pasted_stays(client, token, papers):
    response = post(client, token, pasted="my favourite paper", papers=ticks(papers[:1]))
    page = response.content.decode()
    assert "We found no papers in it" in page
    assert "my favourite paper</textarea>" in page
    assert len(response.context["given"].seeds) == 1


def test_so_many_imports_an_hour(client, token, papers, monkeypatch):
    monkeypatch.setattr(limits, "IMPORTS_PER_READER", 2)
    answers = [
        post(client, token, pasted=papers[0].arxiv_id, do="import").content.decode()
        for _ in range(3)
    ]
    assert ["try again in an hour" in answer for answer in answers] == [False, False, True]


def test_a_library_of_a_thousand_comes_back_with_all_its_ticks(client, token, ada):
    rows = "\n".join(f"Paper {n} about word{n % 40} and word{n % 7},{n}" for n in range(1100))
    file = SimpleUploadedFile("library.csv", f"title,year\n{rows}".encode())
    first = post(client, token, file=file, do="import")
    assert len(fields_of(first)["papers"]) == seeds.MOST
    assert "100 were left out" in first.content.decode()
    review = post(client, token, **fields_of(first))
    assert review.status_code == 200
    kept = post(client, token, "subjects", **fields_of(review), do="keep")
    assert kept.status_code == 302
    assert 1 <= ada.topics.count() <= 6


# -- people --------------------------------------------------------------------------------


@pytest.fixture
def orcid_server(settings):
    with SourceServer().running() as running:
        settings.ORCID_URL = running.url
        yield running


def work(title: str, kind: str, value: str) -> dict:
    ids = {"external-id": [{"external-id-type": kind, "external-id-value": value}]}
    summary = {"title": {"title": {"value": title}}, "external-ids": ids, "publication-date": None}
    return {"external-ids": ids, "work-summary": [summary]}


def test_a_name_gives_papers_to_untick_and_a_person_to_follow(client, token, ada, papers):
    response = post(client, token, person="Eva Vogel", do="person")
    assert [seed.paper_id for seed in response.context["given"].seeds] == [papers[12].pk]
    page = response.content.decode()
    assert "1 paper by Eva Vogel" in page
    assert "Every new paper by Eva Vogel" in page

    review = post(client, token, **fields_of(response) | {"papers": [], "authors": ["Eva Vogel"]})
    post(client, token, "subjects", **fields_of(review), do="keep")
    (topic,) = ada.topics.all()
    assert list(topic.interests.values_list("kind", "value")) == [("author", "Eva Vogel")]


def test_a_name_that_nobody_has_is_said_and_can_be_followed_all_the_same(client, token, papers):
    page = post(client, token, person="Nemo Nobody", do="person").content.decode()
    assert "No stored paper is by “Nemo Nobody”" in page
    assert "Every new paper by Nemo Nobody" in page


def test_an_orcid_id_gives_its_works(client, token, papers, orcid_server):
    body = {"group": [work("Bees", "arxiv", papers[0].arxiv_id), work("Hives", "doi", "10.1/x")]}
    orcid_server.answer_always(f"/v3.0/{ORCID}/works", json.dumps(body).encode())
    response = post(client, token, person=f"https://orcid.org/{ORCID}", do="person")
    assert [seed.field for seed in response.context["given"].seeds] == [
        f"paper:{papers[0].arxiv_id}",
        "title:Hives",
    ]
    (request,) = orcid_server.requests
    assert request.headers["Accept"] == "application/json"
    assert request.headers["User-Agent"].startswith("Paperround/")


@pytest.mark.parametrize(
    ("typed", "answer", "said"),
    [
        ("0000-0002-1825-0098", None, "has a typing error"),
        (ORCID, {"body": b"{}", "status": 404}, "ORCID knows nobody by that iD"),
        (ORCID, {"body": b"oops", "status": 500}, "ORCID does not answer at the moment"),
        (ORCID, {"body": b"<html>"}, "ORCID does not answer at the moment"),
        (ORCID, {"body": b'{"group": []}'}, "shows no works to the public"),
    ],
)
def test_a_record_that_gives_nothing_is_said_and_nothing_is_lost(
    client, token, papers, orcid_server, typed, answer, said
):
    if answer:
        orcid_server.answer_always(f"/v3.0/{ORCID}/works", **answer)
    response = post(client, token, person=typed, papers=ticks(papers[:2]), topics="chess")
    page = response.content.decode()
    assert said in page
    assert f'value="{typed}"' in page
    sent = fields_of(response)
    assert (sent["papers"], sent["topics"]) == (ticks(papers[:2]), ["chess"])
    assert len(orcid_server.requests) == (1 if answer else 0)


def test_so_many_questions_to_orcid_an_hour(client, token, papers, orcid_server, monkeypatch):
    monkeypatch.setattr(limits, "LOOK_UPS_PER_READER", 1)
    orcid_server.answer_always(f"/v3.0/{ORCID}/works", b'{"group": []}')
    pages = [post(client, token, person=ORCID, do="person").content.decode() for _ in range(2)]
    assert "try again in an hour" in pages[1]
    assert len(orcid_server.requests) == 1


# -- the digest as it would be -------------------------------------------------------------


def test_the_preview_changes_with_the_ticks_and_saves_nothing(client, token, papers):
    before = everything()
    nothing = post(client, token, "preview").content.decode()
    assert "Close to" not in nothing
    some = post(client, token, "preview", papers=ticks(papers[:6])).content.decode()
    assert "How honey bees count" in some
    assert "Close to <em>Honey bees and the" in some
    assert "<html" not in some
    assert everything() == before


def test_so_many_previews_an_hour_and_the_pages_go_on(client, token, ada, papers, monkeypatch):
    monkeypatch.setattr(limits, "PREVIEWS_PER_READER", 2)
    answers = [post(client, token, "preview", topics="bees") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].content == b""
    other = make_reader(email="grace@example.org")
    theirs = tokens.make(Purpose.MANAGE, other.uuid.hex, today=NOW.date())
    assert post(client, theirs, "preview", topics="bees").status_code == 200
    assert post(client, token, do="", topics="bees").status_code == 302
    assert [topic.name for topic in ada.topics.all()] == ["bees"]


def test_the_preview_of_the_second_page_follows_its_names_and_drops(client, token, papers):
    sent = fields_of(post(client, token, papers=ticks(papers[:12])))
    named = post(client, token, "preview", **sent | {"name-0": ["My bees"]}).content.decode()
    assert "<em>My bees</em>" in named
    assert "Glaciers of Mars" in named
    del sent["keep-1"]
    assert "Close to <em>Glaciers" not in post(client, token, "preview", **sent).content.decode()


def test_what_the_preview_shows_is_what_comes_of_saving(client, token, ada, papers):
    sent = fields_of(post(client, token, papers=[*ticks(papers[:12]), "title:Bees in Tyrol"]))
    shown = post(client, token, "subjects", **sent, do="show").context["content"]
    response = post(client, token, "subjects", **sent, do="keep")
    saved = client.get(response.url).context["content"]
    assert [(item["title"], item["reason"]) for item in map(vars_of, saved.full)] == [
        (item["title"], item["reason"]) for item in map(vars_of, shown.full)
    ]


def vars_of(item) -> dict:
    return {"title": item.title, "reason": item.reason} if hasattr(item, "title") else dict(item)


def test_papers_that_are_not_stored_count_by_their_titles_in_the_preview():
    given = seeds.from_fields(["title:How bees dance", "paper:2401.00001 Bees that count"])
    (facts,) = welcome.facts(welcome.Wanted(subjects=(welcome.Subject("Bees", tuple(given)),)))
    assert (facts.name, facts.seeds) == ("Bees", ())
    assert facts.titles == ("How bees dance", "Bees that count")


def test_a_typed_id_is_previewed_as_its_paper_and_is_no_name(client, token, papers):
    page = post(client, token, "preview", topics=papers[0].arxiv_id).content.decode()
    assert f"Close to <em>{papers[0].title}</em>, which you gave</p>" in page


def test_a_title_counts_as_a_seed_paper_of_its_topic(ada):
    topic = Topic.objects.create(subscriber=ada, name="Bees")
    Interest.objects.create(subscriber=ada, topic=topic, kind="title", value="The Dancing Bees")
    (facts,) = told.facts_of([ada.pk])[ada.pk].topics
    assert (facts.name, facts.texts, facts.titles) == ("Bees", (), ("The Dancing Bees",))


def test_what_is_offered_is_the_same_for_everybody_and_at_any_time(papers):
    first = [paper.pk for paper in welcome.offered(0)]
    with time_machine.travel(datetime(2027, 1, 1, tzinfo=UTC), tick=False):
        assert [paper.pk for paper in welcome.offered(0)] == first
    assert len(first) == len(set(first)) == 8


# -- the same for an operator --------------------------------------------------------------


def admin_page(name: str, reader: Subscriber) -> str:
    return reverse(f"admin:digest_reader_{name}", args=[reader.pk])


def test_an_operator_makes_topics_of_a_readers_papers_and_it_is_logged(client, ada, papers):
    client.force_login(User.objects.create_superuser("operator"))
    first = client.get(admin_page("papers", ada))
    assert first.status_code == 200
    review = client.post(admin_page("papers", ada), {"papers": ticks(papers[:12])})
    sent = fields_of(review)
    assert "csrfmiddlewaretoken" in sent
    shown = client.post(admin_page("preview", ada), sent).content.decode()
    assert "How honey bees count" in shown
    assert not ada.topics.exists()
    saved = client.post(admin_page("subjects", ada), sent | {"do": "keep"})
    assert saved.url == reverse("admin:subscribers_subscriber_change", args=[ada.pk])
    assert ada.topics.count() == 2
    assert LogEntry.objects.get().get_change_message() == "Took topics from papers."


@pytest.mark.parametrize("name", ["papers", "subjects", "preview"])
def test_who_may_only_look_at_readers_makes_no_topics_for_them(client, ada, name):
    assert client.post(admin_page(name, ada)).status_code == 302, "to the login"
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_subscriber"))
    client.force_login(clerk)
    assert client.post(admin_page(name, ada)).status_code == 403


def test_a_post_in_the_admin_needs_its_own_token(ada):
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("operator"))
    assert client.post(admin_page("papers", ada), {"topics": "chess"}).status_code == 403
