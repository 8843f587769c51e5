from __future__ import annotations

import zlib
from datetime import date, timedelta

import pytest
import time_machine
from bs4 import BeautifulSoup
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from papers import editions
from papers.freshness import freshness
from papers.models import (
    Answer,
    Edition,
    Entry,
    Fetch,
    Harvest,
    Pace,
    Paper,
    Revision,
    Source,
    TrendingFit,
    WantedCategory,
    WantedPaper,
)
from tests.factories import make_edition, make_paper
from tests.fakes.source_server import entry as listed
from tests.fakes.source_server import paper
from tests.papers.factories import record, utc

MONDAY = date(2026, 11, 23)
NOW = utc("2026-11-23T12:00")
NASTY = "<script>alert(1)</script> & bees"


@pytest.fixture(autouse=True)
def frozen():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def operator(client, django_user_model):
    ada = django_user_model.objects.create_superuser("ada", first_name="Ada", last_name="Example")
    client.force_login(ada)
    return client


@pytest.fixture
def source(db) -> Source:
    """Under the name that `make_edition` gives it."""
    return Source.objects.create(slug="huggingface", name="Hugging Face")


@pytest.fixture
def closed(source) -> Edition:
    """Yesterday's, of three papers."""
    return make_edition(
        MONDAY - timedelta(days=1), [make_paper(NASTY), make_paper("Glaciers"), make_paper("Chess")]
    )


@pytest.fixture
def open_edition(source) -> Edition:
    records = [record(90_000 + place, position=place) for place in (1, 2)]  # no make_paper's
    editions.record_day(MONDAY, records, source=source, now=NOW, read_at=NOW, backfill=False)
    return Edition.objects.get(day=MONDAY)


def staff_with(client, *codenames: str):
    clerk = User.objects.create_user("ben@example.org", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(clerk)
    return client


def desk(edition: Edition, query: str = "") -> str:
    return reverse("admin:papers_edition_change", args=[edition.pk]) + query


def soup(response) -> BeautifulSoup:
    assert response.status_code == 200
    return BeautifulSoup(response.content, "html.parser")


def rows(response) -> list[list[str]]:
    found = soup(response).select(".desk-table tbody tr")
    return [[cell.get_text(" ", strip=True) for cell in row(["td", "th"])] for row in found]


def act(client, model: str, action: str, objects, *, confirmed: bool = True, **extra):
    """Asks for the action, and says yes to what it asks."""
    objects = list(objects)
    data = {"action": action, "_selected_action": [each.pk for each in objects], **extra}
    if confirmed:
        data["confirmed"] = str(len(objects))
    return client.post(reverse(f"admin:papers_{model}_changelist"), data, follow=True)


def said(response) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def revised(stored: Paper, **fields) -> Revision:
    facts = {"field": "title", "source": "arxiv", "at": NOW, "before": "Old", "after": NASTY}
    return Revision.objects.create(paper=stored, **facts | fields)


def shown(response, field: str) -> str:
    """What a row's page says of a field."""
    found = soup(response).select_one(f".field-{field} .readonly, .field-{field} div.readonly")
    return " ".join(found.get_text(" ").split())


def history(edition: Edition) -> list[str]:
    log = LogEntry.objects.filter(object_id=edition.pk, content_type__model="edition")
    return [each.get_change_message() for each in log.order_by("id")]


# -- all of it -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        "source", "fetch", "paper", "signal", "edition", "entry", "vocabulary", "revision",
        "trendingfit", "wantedpaper", "wantedcategory", "harvest",
    ],
)  # fmt: skip
def test_every_model_has_its_list_search_and_page(operator, open_edition, source, model):
    Fetch.objects.create(source=source, day=MONDAY, status="failed", error="HTTP 503")
    revised(Paper.objects.first())
    TrendingFit.objects.create(encoder="words-1", papers=1, table=b"")
    WantedPaper.objects.create(arxiv_id="cs/9901001")
    WantedCategory.objects.create(name="math.CO")
    Harvest.objects.create(source=source, name="cs", since=MONDAY, until=MONDAY)
    assert operator.get(f"/admin/papers/{model}/?q=x").status_code == 200
    page = operator.get(f"/admin/papers/{model}/")
    assert page.status_code == 200
    for row in page.context["cl"].result_list:
        assert operator.get(f"/admin/papers/{model}/{row.pk}/change/").status_code == 200


def test_what_machines_wrote_is_shown_and_not_edited(operator, closed):
    stored = Paper.objects.get(title="Glaciers")

    page = operator.get(f"/admin/papers/paper/{stored.pk}/change/").content.decode()
    assert 'name="title"' not in page
    assert 'name="withdrawn_at_0"' in page
    for path in (desk(closed), f"/admin/papers/entry/{closed.entries.first().pk}/change/"):
        page = operator.get(path).content.decode()
        assert 'name="_save"' not in page
        assert "deletelink" not in page


@pytest.mark.parametrize("model", ["fetch", "paper", "signal", "entry", "revision", "wantedpaper"])
def test_lists_that_grow_never_count_a_whole_table(operator, open_edition, model):
    page = operator.get(f"/admin/papers/{model}/")

    changelist = page.context["cl"]
    assert changelist.paginator.__class__.__name__ == "CappedPaginator"
    assert changelist.date_hierarchy is None


# -- the desk ------------------------------------------------------------------------------


def test_the_desk_shows_each_paper_with_what_is_known_of_it(operator, closed):
    editions.pick(closed.entries.get(rank=3), by="Ben Sample", note="A <b>fine</b> game.")
    editions.drop(closed.entries.get(rank=2), NOW)
    editions.add(closed, make_paper("Tulips", organization="Garden Lab"), NOW)
    Paper.objects.filter(title=NASTY).update(withdrawn_at=NOW)

    response = operator.get(desk(closed))

    first, second, third, fourth = rows(response)
    ids = dict(Paper.objects.values_list("title", "arxiv_id"))
    assert first[:6] == ["1", f"{NASTY} {ids[NASTY]}", "10", "1.000", "", "huggingface"]
    assert [row[6] for row in (first, second, third, fourth)] == [
        "withdrawn",
        "dropped",
        "pick by Ben Sample",
        "",
    ]
    assert third[1] == f"Chess {ids['Chess']} A <b>fine</b> game."
    assert fourth[:6] == ["–", f"Tulips {ids['Tulips']} Garden Lab", "10", "–", "", "editor"]
    assert "<script>alert" not in response.content.decode()


def test_the_desk_offers_what_fits_each_paper(operator, closed):
    editions.drop(closed.entries.get(rank=2), NOW)
    editions.pick(closed.entries.get(rank=3), by="Ben Sample", note="A fine game.")
    Paper.objects.filter(title=NASTY).update(withdrawn_at=NOW)

    offered = [row[7] for row in rows(operator.get(desk(closed)))]

    assert [[word for word in text.split() if word.endswith("…")] for text in offered] == [
        ["Drop…"],
        ["back…"],
        ["Note…", "Unpick…", "Drop…"],
    ]


def test_the_desk_shows_some_of_the_papers_if_asked(operator, closed):
    editions.drop(closed.entries.get(rank=2), NOW)
    editions.pick(closed.entries.get(rank=3), by="Ben Sample", note="A fine game.")

    page = operator.get(desk(closed))
    assert [tab.get_text() for tab in soup(page).select("nav.desk-tabs a")] == [
        "All (3)",
        "Picks (1)",
        "Dropped (1)",
    ]
    (dropped,) = rows(operator.get(desk(closed, "?show=dropped")))
    assert dropped[1].startswith("Glaciers")
    assert len(rows(operator.get(desk(closed, "?show=nonsense&page=x")))) == 3


def test_a_thousand_papers_stay_readable_and_take_no_more_queries(
    operator, closed, django_assert_max_num_queries
):
    papers = Paper.objects.bulk_create(
        Paper(arxiv_id=f"2612.{number:05}", title=f"Paper {number}", published_at=NOW)
        for number in range(1, 1001)
    )
    Entry.objects.bulk_create(
        Entry(edition=closed, paper=paper, position=rank, rank=rank, score=0.5)
        for rank, paper in enumerate(papers, 4)
    )
    operator.get(desk(closed))

    with django_assert_max_num_queries(6):  # session, user, savepoint's two ends, and two
        first = operator.get(desk(closed))

    assert len(rows(first)) == 100
    assert len(rows(operator.get(desk(closed, "?page=11")))) == 3
    assert "1003" in soup(first).select_one("nav.desk-tabs a").get_text()


def test_the_facts_say_whether_it_is_open_and_until_when(operator, closed, open_edition):
    facts = soup(operator.get(desk(open_edition))).select_one(".field-state .readonly").get_text()
    assert facts == "open, until 24 November, 02:00 UTC at the latest"
    facts = soup(operator.get(desk(closed))).select_one(".field-state .readonly").get_text()
    assert facts.startswith("closed as number 1 on")


def test_who_may_only_look_is_offered_nothing(client, closed):
    page = staff_with(client, "view_edition").get(desk(closed))

    assert len(rows(page)) == 3
    assert "…" not in "".join(soup(page).select_one("#content").get_text().split("Drop"))
    assert not soup(page).select(".page-action, .decide")


# -- dropping and taking back --------------------------------------------------------------


def test_dropping_asks_first_and_comes_back_to_the_desk(operator, closed):
    entry = closed.entries.get(rank=2)
    page = act(operator, "entry", "drop", [entry], confirmed=False, back=desk(closed))
    assert "Glaciers" in page.content.decode()
    assert soup(page).select_one("a.closelink")["href"] == desk(closed)
    entry.refresh_from_db()
    assert entry.dropped_at is None

    answer = act(operator, "entry", "drop", [entry], back=desk(closed))

    entry.refresh_from_db()
    assert entry.dropped_at == NOW
    assert answer.redirect_chain == [(desk(closed), 302)]
    assert history(closed) == [f"Dropped: {entry.paper}"]


def test_many_are_dropped_and_taken_back_at_once(operator, closed):
    act(operator, "entry", "drop", closed.entries.all())
    assert not Entry.objects.standing().exists()

    act(operator, "entry", "restore", closed.entries.all())

    assert Entry.objects.standing().count() == 3
    assert len(history(closed)) == 6


def test_a_pick_is_taken_back(operator, closed):
    entry = closed.entries.get(rank=2)
    editions.pick(entry, by="Ben Sample", note="Cold.")

    act(operator, "entry", "unpick", [entry])

    assert not Entry.objects.filter(picked_by__gt="").exists()


# -- picking -------------------------------------------------------------------------------


def test_picking_needs_a_note_and_shows_the_editors_name(operator, closed):
    entry = closed.entries.get(rank=2)
    url = reverse("admin:papers_entry_pick", args=[entry.pk])
    assert "under the name Ada Example" in operator.get(url).content.decode()
    entry.refresh_from_db()
    assert not entry.is_pick
    assert soup(operator.post(url, {"note": " "})).select_one(".errorlist")
    assert soup(operator.post(url, {"note": "x" * 501})).select_one(".errorlist")

    answer = operator.post(url, {"note": "Cold and clear."}, follow=True)

    entry.refresh_from_db()
    assert (entry.picked_by, entry.editor_note) == ("Ada Example", "Cold and clear.")
    assert answer.redirect_chain[0][0] == f"{desk(closed)}#entry-{entry.pk}"
    assert history(closed) == [f"Picked: {entry.paper} (Cold and clear.)"]
    assert "Cold and clear." in operator.get(url).content.decode()


def test_a_fourth_pick_is_refused_in_words(operator, closed):
    editions.add(closed, make_paper("Tulips"), NOW)
    *picked, last = closed.entries.order_by("position")
    for entry in picked:
        editions.pick(entry, by="Ben", note="Good.")

    url = reverse("admin:papers_entry_pick", args=[last.pk])
    page = operator.post(url, {"note": "Good too."})

    assert "This edition has its 3 picks" in page.content.decode()
    assert history(closed) == []


def test_a_name_that_is_an_address_is_not_shown_to_readers(client, closed):
    editor = staff_with(client, "view_edition", "change_entry")
    entry = closed.entries.get(rank=2)

    editor.post(reverse("admin:papers_entry_pick", args=[entry.pk]), {"note": "Cold."})

    entry.refresh_from_db()
    assert entry.picked_by == "ben"


# -- adding --------------------------------------------------------------------------------


@pytest.fixture
def add(operator, closed, server):
    def add(paper, note=""):
        url = reverse("admin:papers_edition_add_paper", args=[closed.pk])
        return operator.post(url, {"paper": paper, "note": note}, follow=True)

    return add


def test_a_stored_paper_is_added_without_asking_the_source(add, closed, server):
    stored = make_paper("Tulips")

    answer = add(f"https://arxiv.org/abs/{stored.arxiv_id}v2")

    assert answer.redirect_chain
    assert closed.entries.get(paper=stored).rank is None
    assert server.requests == []
    assert history(closed) == [f"Added: {stored}"]


def test_an_unknown_paper_is_looked_up_added_and_picked_at_once(add, closed, server):
    server.answer_paper("2611.90007", paper(7, id="2611.90007"))

    add("arXiv:2611.90007", note="Worth it.")

    entry = closed.entries.get(paper__arxiv_id="2611.90007")
    assert (entry.picked_by, entry.editor_note) == ("Ada Example", "Worth it.")
    assert history(closed) == [f"Added: {entry.paper} (Worth it.)"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "This field is required."),
        ("bees", "“bees” is not an arXiv id or a link to one."),
        ("2611.99999", "The paper could not be looked up: the source knows no paper 2611.99999."),
    ],
)
def test_what_cannot_be_added_is_said_at_its_field(add, closed, typed, message):
    assert message in soup(add(typed)).select_one(".errorlist").get_text()
    assert (closed.entries.count(), Paper.objects.count()) == (3, 3)


def test_a_dead_source_is_an_error_at_the_field(operator, closed):
    url = reverse("admin:papers_edition_add_paper", args=[closed.pk])

    page = operator.post(url, {"paper": "2611.99999"})

    assert "cannot reach" in soup(page).select_one(".errorlist").get_text()


def test_a_paper_that_is_there_already_can_be_picked_instead(add, closed):
    entry = closed.entries.get(rank=2)

    page = add(entry.paper.arxiv_id, note="Cold.")

    assert "It is in this edition already." in page.content.decode()
    assert soup(page).select_one(".errornote a")["href"] == reverse(
        "admin:papers_entry_pick", args=[entry.pk]
    )
    assert closed.entries.count() == 3


def test_a_withdrawn_paper_is_refused(add, closed):
    withdrawn = make_paper(withdrawn_at=NOW)

    assert "withdrawn by its authors" in add(withdrawn.arxiv_id).content.decode()
    assert closed.entries.count() == 3


def test_a_paper_is_not_added_where_it_cannot_be_picked_as_wished(add, closed):
    for entry in closed.entries.all():
        editions.pick(entry, by="Ben", note="Good.")

    page = add(make_paper("Tulips").arxiv_id, note="Good too.")

    assert "has its 3 picks" in page.content.decode()
    assert closed.entries.count() == 3


# -- closing and fetching ------------------------------------------------------------------


def test_closing_asks_first_and_notes_the_name(operator, open_edition):
    page = act(operator, "edition", "close_edition", [open_edition], confirmed=False)
    assert "becomes news for every reader" in page.content.decode()
    assert Edition.objects.open().exists()

    act(operator, "edition", "close_edition", [open_edition], back=desk(open_edition))

    open_edition.refresh_from_db()
    assert (open_edition.closed_seq, open_edition.note) == (1, "")
    assert history(open_edition) == ["Close edition"]
    facts = soup(operator.get(desk(open_edition))).select_one(".field-state .readonly").get_text()
    assert (
        facts
        == "closed as number 1 on 23 November 2026, 12:00 UTC, before its time, by Ada Example"
    )


def test_only_an_open_edition_has_the_button(operator, closed, open_edition):
    def buttons(edition):
        return [
            each.get_text() for each in soup(operator.get(desk(edition))).select(".page-action")
        ]

    assert buttons(open_edition) == ["Close edition", "Fetch this day now"]
    assert buttons(closed) == ["Fetch this day now"]


def test_a_day_is_fetched_at_once_and_the_answer_is_told(operator, open_edition, server):
    server.list_papers("2026-11-23", [listed(90_001), listed(90_002), listed(90_003)])

    answer = act(operator, "edition", "fetch_day", [open_edition])

    assert "3 papers, 1 never seen before." in said(answer)
    assert open_edition.entries.count() == 3
    assert Fetch.objects.get().status == "ok"


def test_a_day_that_cannot_be_fetched_is_told_too(operator, open_edition):
    answer = act(operator, "edition", "fetch_day", [open_edition])

    assert "cannot reach" in said(answer)
    assert "was left as it is" in said(answer)


def test_a_source_that_is_down_is_asked_for_one_day_alone(operator, open_edition, closed):
    answer = act(operator, "edition", "fetch_day", [open_edition, closed])

    assert said(answer).count("cannot reach") == 1
    assert "2 were left as they are" in said(answer)
    assert Fetch.objects.count() == 1


def test_one_bad_day_does_not_keep_the_next_from_being_fetched(
    operator, open_edition, closed, server
):
    server.answer_once("2026-11-23", b"<html>")
    server.list_papers("2026-11-22", [listed(90_005, day="2026-11-22")])

    answer = act(operator, "edition", "fetch_day", [open_edition, closed])

    assert "1 paper, 1 never seen before." in said(answer)
    assert sorted(server.days_asked()) == ["2026-11-22", "2026-11-23"]


def test_more_than_five_days_are_not_fetched_at_once(operator, source, server):
    days = [make_edition(MONDAY - timedelta(days=age), []) for age in range(6)]

    assert "At most 5 at a time." in said(act(operator, "edition", "fetch_day", days))
    assert server.requests == []


def test_fetching_a_backfilled_day_makes_no_news(operator, source, server):
    old = make_edition(MONDAY - timedelta(days=90), [make_paper()], is_backfill=True)
    server.list_papers(f"{old.day}", [listed(90_005, day=f"{old.day}")])

    act(operator, "edition", "fetch_day", [old])

    assert not Edition.objects.exclude(pk=old.pk).exists()


def test_fetch_now_asks_first_then_makes_the_source_due(operator, source):
    Source.objects.update(next_fetch_at=NOW + timedelta(days=1))
    page = act(operator, "source", "fetch_now", [source], confirmed=False)
    assert "is read within a minute" in page.content.decode()
    assert Source.objects.due(NOW).count() == 0

    act(operator, "source", "fetch_now", [source])

    assert Source.objects.due(NOW).count() == 1


# -- who may -------------------------------------------------------------------------------


def test_each_act_needs_its_own_permission(client, open_edition, source):
    entry = open_edition.entries.first()
    viewer = staff_with(client, "view_edition", "view_entry", "view_source")

    assert viewer.get(reverse("admin:papers_entry_pick", args=[entry.pk])).status_code == 403
    add_url = reverse("admin:papers_edition_add_paper", args=[open_edition.pk])
    assert viewer.post(add_url, {"paper": entry.paper.arxiv_id}).status_code == 403
    Source.objects.update(next_fetch_at=NOW + timedelta(days=1))
    act(viewer, "entry", "drop", [entry])
    act(viewer, "edition", "close_edition", [open_edition])
    act(viewer, "edition", "fetch_day", [open_edition])
    act(viewer, "source", "fetch_now", [source])

    assert Entry.objects.standing().count() == 2
    assert Edition.objects.open().exists()
    assert not Fetch.objects.exists()
    assert not Source.objects.due(NOW).exists()
    assert not LogEntry.objects.exists()


def test_an_editor_may_decide_and_edits_no_field(client, open_edition):
    editor = staff_with(
        client, "view_edition", "view_entry", "view_source",
        "change_edition", "change_entry", "change_source",
    )  # fmt: skip
    entry = open_edition.entries.first()

    act(editor, "entry", "drop", [entry])
    act(editor, "edition", "close_edition", [open_edition])
    editor.post(f"/admin/papers/entry/{entry.pk}/change/", {"position": "99"})

    assert open_edition.entries.filter(dropped_at=NOW, position=99).count() == 0
    assert open_edition.entries.filter(dropped_at=NOW).count() == 1
    assert Edition.objects.closed().get().closed_by == "ben"


def test_strangers_are_sent_to_the_login(client, closed):
    for path in (
        desk(closed),
        reverse("admin:papers_edition_add_paper", args=[closed.pk]),
        reverse("admin:papers_entry_pick", args=[closed.entries.first().pk]),
    ):
        assert client.get(path).status_code == 302


# -- sources and fetches -------------------------------------------------------------------


def test_the_list_of_sources_says_how_each_does(operator, source):
    at = NOW - timedelta(hours=9)
    Fetch.objects.create(source=source, day=MONDAY, status="ok", papers_seen=31, started_at=at)
    for hours in (2, 1):
        Fetch.objects.create(
            source=source, day=MONDAY, status="failed", error="HTTP 503 <b>\nmore", http_status=503,
            started_at=NOW - timedelta(hours=hours),
        )  # fmt: skip

    row = soup(operator.get("/admin/papers/source/")).select_one("#result_list tbody tr")

    def cell(name):
        return row.select_one(f".field-{name}").get_text(strip=True)

    assert row.select_one(".health").get_text() == "failing"
    assert row.select_one(".health-said").get_text() == (
        "No success for 9\xa0hours: 2 attempts failed; the last one: HTTP 503."
    )
    assert row.select_one(".health-error").get_text() == "HTTP 503 <b>"
    assert cell("last_attempt") == "2026-11-23 11:00, failed"
    assert cell("last_success") == "2026-11-23 03:00"
    assert cell("last_papers") == "2026-11-23: 31 papers"
    assert cell("failures") == "2"
    assert cell("next_fetch") == "2026-11-23 12:00"
    page = soup(operator.get(f"/admin/papers/source/{source.pk}/change/"))
    assert page.select_one(".field-health .health.bad")
    assert [each.get_text() for each in page.select(".page-action")] == ["Fetch now"]


def test_the_slug_of_a_source_is_the_codes_own(operator, source):
    page = f"/admin/papers/source/{source.pk}/change/"
    at = {"next_fetch_at_0": "2026-11-23", "next_fetch_at_1": "12:00"}

    operator.post(page, {"name": "Daily papers", "slug": "../x", "is_enabled": "on", **at})

    source.refresh_from_db()
    assert (source.name, source.slug) == ("Daily papers", "huggingface")
    assert operator.get("/admin/papers/source/add/").status_code == 403


def test_a_source_that_is_switched_on_is_due_and_not_late(operator, source):
    Source.objects.update(is_enabled=False, next_fetch_at=NOW - timedelta(days=30))
    at = {"next_fetch_at_0": "2026-10-24", "next_fetch_at_1": "12:00:00"}

    operator.post(
        f"/admin/papers/source/{source.pk}/change/",
        {"name": source.name, "is_enabled": "on", **at},
    )

    source.refresh_from_db()
    assert source.is_enabled
    assert freshness(source, NOW).is_fresh
    assert Source.objects.due(NOW).filter(pk=source.pk).exists()


def test_a_source_is_switched_off_and_never_deleted(operator, source, answered):
    assert operator.get(f"/admin/papers/source/{source.pk}/delete/").status_code == 403
    page = operator.get("/admin/papers/source/").content.decode()
    assert "Delete selected" not in page


def test_of_an_attempt_without_papers_no_field_is_judged(operator, source):
    fetch = Fetch.objects.create(source=source, day=MONDAY, status="failed", started_at=NOW)

    page = operator.get(f"/admin/papers/fetch/{fetch.pk}/change/")

    assert shown(page, "fields_seen") == "No item to judge by."
    page = operator.get(f"/admin/papers/source/{source.pk}/change/")
    assert shown(page, "fields_seen") == "No item to judge by."


def test_a_state_that_is_none_leads_back_to_the_list_of_entries(operator, closed):
    response = operator.get("/admin/papers/entry/?show=nonsense")

    assert response["Location"] == "/admin/papers/entry/?e=1"


def test_a_fetchs_page_shows_its_whole_error_and_how_long_it_took(operator, source):
    fetch = Fetch.objects.create(
        source=source, day=MONDAY, status="failed",
        error="HTTP 503\nentry 2: <i>without</i> a title",
        started_at=NOW, finished_at=NOW + timedelta(seconds=2.5),
    )  # fmt: skip

    page = soup(operator.get(f"/admin/papers/fetch/{fetch.pk}/change/"))

    assert page.select_one(".field-whole_error pre").get_text().splitlines() == [
        "HTTP 503",
        "entry 2: <i>without</i> a title",
    ]
    assert page.select_one(".field-duration .readonly").get_text() == "2.5 s"


# -- answers -------------------------------------------------------------------------------


@pytest.fixture
def answered(source) -> Fetch:
    fetch = Fetch.objects.create(
        source=source, day=MONDAY, status="ok", reader="huggingface_page", pages=1, papers_seen=40,
        papers_updated=3, note="huggingface: HTTP 503 <b>", vanished_fields=["paper.upvotes"],
        unknown_fields={"paper.<i>mood</i>": 40},
    )  # fmt: skip
    Answer.objects.create(
        fetch=fetch, number=0, reader="huggingface_page", url="/papers?date=2026-11-23&<b>",
        received_at=NOW, size=2048, body=zlib.compress(NASTY.encode()),
    )  # fmt: skip
    return fetch


def test_an_attempt_says_who_was_believed_what_was_odd_and_what_is_kept(operator, answered):
    page = operator.get(f"/admin/papers/fetch/{answered.pk}/change/")

    assert shown(page, "believed") == "huggingface_page"
    assert shown(page, "whole_note") == "huggingface: HTTP 503 <b>"
    assert "no item: paper.upvotes." in shown(page, "fields_seen")
    assert "1 field that nobody reads yet paper.<i>mood</i> in 40 items" in shown(
        page, "fields_seen"
    )
    (row,) = soup(page).select(".answers tbody tr")
    assert row.get_text("|", strip=True) == (
        "0|2026-11-23 12:00:00|huggingface_page|2.0\xa0KB|/papers?date=2026-11-23&<b>"
    )
    assert row.a["href"] == f"/admin/papers/fetch/{answered.pk}/answers/0/"


def test_an_answer_is_a_file_to_save_and_never_a_page(operator, answered):
    response = operator.get(f"/admin/papers/fetch/{answered.pk}/answers/0/")

    assert response.content.decode() == NASTY
    assert response["Content-Type"] == "text/plain"
    assert response["Content-Disposition"] == f'attachment; filename="fetch-{answered.pk}-0.txt"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]
    assert operator.get(f"/admin/papers/fetch/{answered.pk}/answers/1/").status_code == 404


def test_answers_are_for_staff_who_may_see_them(client, answered):
    url = f"/admin/papers/fetch/{answered.pk}/answers/0/"
    assert client.get(url).status_code == 302  # to the login

    staff_with(client, "view_fetch")
    assert client.get(url).status_code == 403
    page = client.get(f"/admin/papers/fetch/{answered.pk}/change/")
    assert soup(page).select_one(".answers tbody td a") is None

    User.objects.get().user_permissions.add(Permission.objects.get(codename="view_answer"))
    assert client.get(url).status_code == 200


def test_a_long_list_of_attempts_reads_no_answer_and_takes_few_queries(
    operator, answered, django_assert_max_num_queries
):
    Fetch.objects.bulk_create(
        Fetch(source=answered.source, day=MONDAY, kind="look_up", note="note") for _ in range(150)
    )
    operator.get("/admin/papers/fetch/")
    with django_assert_max_num_queries(8) as seen:
        assert operator.get("/admin/papers/fetch/").status_code == 200
    assert not [each for each in seen.captured_queries if "papers_answer" in each["sql"]]


# -- the page of a source ------------------------------------------------------------------


def test_a_source_says_what_is_asked_of_which_host_and_who_rests(operator, settings):
    settings.ARXIV_CATEGORIES = ["cs.LG"]
    settings.ARXIV_URL = "https://export.arxiv.org"
    WantedCategory.objects.create(name="math.CO")
    arxiv = Source.objects.create(slug="arxiv", name="arXiv")
    for host in ("*.arxiv.org", "export.arxiv.org", "huggingface.co", "arxiv.org.example.org"):
        Pace.objects.create(host=host, next_at=NOW)
    Pace.objects.filter(host="export.arxiv.org").update(cool_until=NOW + timedelta(hours=2))
    Pace.objects.filter(host="*.arxiv.org").update(busy_until=NOW + timedelta(seconds=9))

    page = operator.get(f"/admin/papers/source/{arxiv.pk}/change/")

    assert shown(page, "categories") == "cs.LG, math.CO"
    assert shown(page, "pace") == (
        "*.arxiv.org : a request is under way "
        "export.arxiv.org : it asked for rest until 2026-11-23 14:00"
    )
    assert "It asked for rest until 23 November, 14:00 UTC." in shown(page, "health")
    links = [each["href"] for each in soup(page).select(".field-fetches a")]
    assert [operator.get(link).status_code for link in links] == [200, 200]


def test_a_source_that_changed_says_so(operator, answered):
    Source.objects.update(next_fetch_at=NOW + timedelta(minutes=5))

    page = operator.get(f"/admin/papers/source/{answered.source_id}/change/")

    assert soup(page).select_one(".health").get_text() == "changed"
    assert shown(page, "odd") == "huggingface: HTTP 503 <b>"
    assert "paper.upvotes" in shown(page, "fields_seen")
    assert soup(page).select_one(".field-categories") is None


# -- who said what -------------------------------------------------------------------------


def test_a_paper_tells_whose_word_each_field_is_and_what_was_said_before(operator, closed):
    stored = Paper.objects.get(title="Glaciers")
    stored.read_from = {"title": "arxiv", "abstract": "arxiv", "upvotes": "huggingface"}
    stored.version, stored.citations = 2, 14
    stored.categories = ["cs.LG", "stat.ML"]
    stored.save()
    revised(stored, before="x" * 5000)

    page = operator.get(f"/admin/papers/paper/{stored.pk}/change/")

    assert shown(page, "said_by") == "arxiv : abstract, title huggingface : upvotes"
    assert (shown(page, "version"), shown(page, "citations")) == ("2", "14")
    assert shown(page, "in_categories") == "cs.LG, stat.ML"
    (row,) = soup(page).select("#revisions-group tbody tr.has_original")
    cells = [cell.get_text(" ", strip=True) for cell in row.select("td")[2:6]]
    assert cells == ["title", "arxiv", f"{'x' * 159}…", NASTY]
    assert "<script>alert" not in page.content.decode()


# -- still to be read ----------------------------------------------------------------------


def test_a_wanted_paper_says_why_it_is_not_there(operator):
    wanted = WantedPaper.objects.create
    wanted(arxiv_id="2611.00001", not_before=NOW)
    wanted(arxiv_id="2611.00002", not_before=NOW + timedelta(hours=1), tries=1, error="unknown")
    wanted(arxiv_id="2611.00003", not_before=NOW + timedelta(days=7), tries=4, error="unknown")
    wanted(arxiv_id="2611.00004", not_before=NOW + timedelta(minutes=5), error="HTTP 429")

    found = soup(operator.get("/admin/papers/wantedpaper/")).select("#result_list tbody tr")

    said = {row.th.get_text(): row.select_one(".field-standing").get_text() for row in found}
    assert said == {
        "2611.00001": "looked up within minutes",
        "2611.00002": "asked 1 time, and unknown so far",
        "2611.00003": "given up: nobody knows it",
        "2611.00004": "waiting",
    }


def test_a_wanted_paper_is_looked_up_anew_by_the_worker_and_not_by_the_page(operator, server):
    given_up = WantedPaper.objects.create(
        arxiv_id="2611.00003", not_before=NOW + timedelta(days=7), tries=4, error="unknown"
    )

    act(operator, "wantedpaper", "look_up_now", [given_up])

    given_up.refresh_from_db()
    assert (given_up.not_before, given_up.tries, given_up.error) == (NOW, 0, "")
    assert not server.requests


def test_who_may_only_look_is_not_offered_a_look_up(client, db):
    row = WantedPaper.objects.create(arxiv_id="2611.00003", not_before=NOW, tries=4)
    staff_with(client, "view_wantedpaper")

    page = client.get(f"/admin/papers/wantedpaper/{row.pk}/change/")
    assert not soup(page).select(".page-action")
    act(client, "wantedpaper", "look_up_now", [row])
    assert WantedPaper.objects.get().tries == 4


def test_a_harvest_tells_how_far_it_has_come(operator, source):
    row = Harvest.objects.create(
        source=source, name="cs", since=MONDAY, until=MONDAY, papers=1500, papers_expected=2538
    )

    page = operator.get(f"/admin/papers/harvest/{row.pk}/change/")

    assert shown(page, "progress") == "1,500 papers of 2,538"
    assert soup(page).progress["value"] == "1500"
    Harvest.objects.update(papers_expected=None)
    page = operator.get(f"/admin/papers/harvest/{row.pk}/change/")
    assert shown(page, "progress") == "1,500 papers so far"
    Harvest.objects.update(finished_at=NOW)
    page = operator.get(f"/admin/papers/harvest/{row.pk}/change/")
    assert shown(page, "progress") == "finished, 1,500 papers"
