from __future__ import annotations

from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
import time_machine
from bs4 import BeautifulSoup

from papers import editions
from papers.models import Edition, Fetch, Paper
from tests.papers.factories import record, utc

MONDAY = date(2026, 11, 23)
NOW = utc("2026-11-23T12:00")
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture(autouse=True)
def frozen():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def tell(source):
    def tell(*records, day=MONDAY, backfill=False):
        editions.record_day(day, records, source=source, now=NOW, read_at=NOW, backfill=backfill)

    return tell


def titles(response):
    return [entry.paper.title for entry in response.context["entries"]]


# -- home ----------------------------------------------------------------------------------


def test_home_shows_today_so_far_by_votes(client, tell):
    tell(record(1, upvotes=3), record(2, upvotes=30))
    tell(record(3), day=MONDAY - timedelta(days=3))

    response = client.get("/")

    assert response.status_code == 200
    assert titles(response) == ["Paper number 2", "Paper number 1"]
    assert response.context["is_today_open"] is True
    assert response.context["previous"].day.day == 20
    assert response.context["next"] is None


def test_home_shows_the_newest_day_with_papers_while_today_has_none(client, tell):
    tell(record(1), day=MONDAY - timedelta(days=3))
    tell(record(2), day=MONDAY + timedelta(days=1))
    tell(record(3, withdrawn=True))
    editions.close_due(NOW)

    response = client.get("/")

    assert titles(response) == ["Paper number 1"]
    assert response.context["is_today_open"] is False


def test_home_of_an_empty_installation_is_a_page(client, db):
    response = client.get("/")

    assert response.status_code == 200
    assert response.context["edition"] is None


# -- a day ---------------------------------------------------------------------------------


def test_a_closed_day_is_shown_in_its_rank_with_its_neighbours(client, tell):
    tell(record(1, upvotes=3), record(2, upvotes=30), day=date(2026, 11, 20))
    tell(record(3), day=date(2026, 11, 18))
    tell(record(4))
    editions.close_due(NOW)

    response = client.get("/2026-11-20/")

    assert titles(response) == ["Paper number 2", "Paper number 1"]
    assert response.context["previous"].day.day == 18
    assert response.context["next"].day.day == 23


def test_a_weekend_within_range_is_an_empty_page_with_neighbours(client, tell):
    tell(record(1), day=date(2026, 11, 20))
    tell(record(2))

    response = client.get("/2026-11-21/")

    assert response.status_code == 200
    assert (response.context["edition"], list(response.context["entries"])) == (None, [])
    assert response.context["day"] == date(2026, 11, 21)
    assert response.context["previous"].day.day == 20
    assert response.context["next"].day.day == 23


@pytest.mark.parametrize(
    "path", ["/2026-11-19/", "/2026-11-24/", "/2026-02-30/", "/0000-00-00/", "/26-11-20/"]
)
def test_a_day_outside_what_is_known_or_no_day_is_not_found(client, tell, path):
    tell(record(1), day=date(2026, 11, 20))

    assert client.get(path).status_code == 404


# -- a paper -------------------------------------------------------------------------------


@pytest.mark.parametrize("paper_id", ["2611.00001", "math/0611800"])
def test_a_paper_has_a_page_under_its_id(client, tell, paper_id):
    tell(record(1, arxiv_id=paper_id))

    response = client.get(f"/papers/{paper_id}/")

    assert response.context["paper"].title == "Paper number 1"
    assert [entry.edition.day for entry in response.context["entries"]] == [MONDAY]
    assert Paper.objects.get().get_absolute_url() == f"/papers/{paper_id}/"


def test_a_version_leads_to_the_paper(client, tell):
    tell(record(1))

    response = client.get("/papers/2611.00001v3/")

    assert (response.status_code, response["Location"]) == (301, "/papers/2611.00001/")


@pytest.mark.parametrize("paper_id", ["2611.99999", "9999.99999", "x", "math/1", "2611.00001/x"])
def test_an_unknown_paper_is_not_found(client, tell, paper_id):
    tell(record(1))

    assert client.get(f"/papers/{paper_id}/").status_code == 404


def test_a_hostile_title_and_abstract_are_text(client, tell):
    tell(record(1, title="<script>alert(1)</script> & <think>", abstract="<a href='x'>y</a>"))

    for path in ("/", "/papers/2611.00001/", "/search/?q=script"):
        page = client.get(path).content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;think&gt;" in page
        assert "<a href='x'>" not in page


# -- search --------------------------------------------------------------------------------


def test_search_finds_and_keeps_the_query(client, tell):
    tell(record(1), record(2))

    response = client.get("/search/", {"q": " number 2 "})

    assert response.context["query"] == "number 2"
    assert [paper.title for paper in response.context["papers"]] == ["Paper number 2"]


@pytest.mark.parametrize("query", ["", "nothing like it", "\x00", "x" * 5000])
def test_a_search_without_an_answer_is_a_page(client, tell, query):
    tell(record(1))

    response = client.get("/search/", {"q": query})

    assert (response.status_code, response.context["papers"]) == (200, [])


# -- all of them ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/2026-11-23/", "/papers/2611.00001/", "/search/?q=paper", "/feed.xml"]
)
def test_public_pages_can_be_cached_and_answer_get_and_head_alone(client, tell, path):
    tell(record(1))

    response = client.get(path)

    assert response.status_code == 200
    assert "public" in response["Cache-Control"]
    assert not response.cookies
    assert "Cookie" not in response.get("Vary", "")
    assert client.head(path).status_code == 200
    assert client.post(path).status_code == 405


def test_a_page_of_many_papers_takes_few_queries(client, tell, django_assert_max_num_queries):
    tell(*[record(number) for number in range(1, 80)])

    with django_assert_max_num_queries(8):
        client.get("/")


# -- the feed ------------------------------------------------------------------------------


def test_the_feed_holds_the_last_three_closed_days_of_news(client, tell):
    for age in range(5):
        tell(record(age + 1), day=MONDAY - timedelta(days=age))
    tell(record(9), day=MONDAY - timedelta(days=30), backfill=True)
    editions.close_due(NOW)

    response = client.get("/feed.xml")
    feed = ElementTree.fromstring(response.content)

    assert response["Content-Type"] == "application/atom+xml; charset=utf-8"
    assert [entry.findtext(f"{ATOM}title") for entry in feed.iter(f"{ATOM}entry")] == [
        "Paper number 2",
        "Paper number 3",
        "Paper number 4",
    ]
    first = feed.find(f"{ATOM}entry")
    assert first.findtext(f"{ATOM}id") == "http://paperround.test/papers/2611.00002/"
    assert first.find(f"{ATOM}link").get("href") == "http://paperround.test/papers/2611.00002/"
    assert first.findtext(f"{ATOM}author/{ATOM}name") == "Ada Example, Ben Sample"


def test_a_hostile_abstract_stays_text_in_the_feed(client, tell):
    tell(record(1, title="<b>&", abstract="<img src=x>\n\nSecond"), day=MONDAY - timedelta(days=1))
    editions.close_due(NOW)

    entry = ElementTree.fromstring(client.get("/feed.xml").content).find(f"{ATOM}entry")

    assert entry.findtext(f"{ATOM}title") == "<b>&"
    assert entry.findtext(f"{ATOM}summary") == "<p>&lt;img src=x&gt;</p>\n\n<p>Second</p>"


def test_an_empty_feed_is_a_feed_and_an_unchanged_one_is_not_sent_again(client, db):
    response = client.get("/feed.xml")

    assert ElementTree.fromstring(response.content).tag == f"{ATOM}feed"
    again = client.get("/feed.xml", headers={"If-None-Match": response["ETag"]})
    assert again.status_code == 304


# -- an editor's word ----------------------------------------------------------------------

SUNDAY = MONDAY - timedelta(days=1)
PICKED = "Cold <b>and</b> clear & short."


@pytest.fixture
def edited(tell):
    """Yesterday's edition of four: the second picked, the third dropped, and one added late."""
    tell(*[record(number, upvotes=40 - number) for number in (1, 2, 3, 4)], day=SUNDAY)
    tell(record(9, upvotes=999), day=SUNDAY - timedelta(days=1))
    editions.close_due(NOW)
    edition = Edition.objects.get(day=SUNDAY)
    editions.pick(edition.entries.get(rank=2), by="Ada Example", note=PICKED)
    editions.drop(edition.entries.get(rank=3), NOW)
    editions.add(edition, Paper.objects.get(title="Paper number 9"), NOW)
    return edition


@pytest.mark.parametrize("path", ["/", "/2026-11-22/"])
def test_a_pick_stands_at_its_rank_with_note_and_name_and_a_dropped_paper_nowhere(
    client, edited, path
):
    response = client.get(path)

    assert titles(response) == [f"Paper number {number}" for number in (1, 2, 4, 9)]
    articles = BeautifulSoup(response.content, "html.parser").select("article.entry")
    assert [article.select_one(".pick") is not None for article in articles] == [
        False,
        True,
        False,
        False,
    ]
    pick = articles[1].select_one(".pick")
    assert pick.get_text("|", strip=True) == f"Editor’s pick|{PICKED}|Ada Example"
    assert "4 papers, the most talked about first" in response.content.decode()


def test_a_papers_page_tells_of_its_pick_and_leaves_out_what_dropped_it(client, edited):
    picked = client.get("/papers/2611.00002/")
    dropped = client.get("/papers/2611.00003/")

    assert "Ada Example" in BeautifulSoup(picked.content, "html.parser").select_one(".pick").text
    assert "/2026-11-22/" in picked.content.decode()
    assert dropped.status_code == 200
    assert "/2026-11-22/" not in dropped.content.decode()


def test_a_day_whose_papers_are_all_dropped_is_no_neighbour_and_not_home(client, edited):
    for entry in edited.entries.all():
        editions.drop(entry, NOW)

    assert client.get("/").context["edition"].day == SUNDAY - timedelta(days=1)
    assert client.get("/2026-11-21/").context["next"] is None
    assert titles(client.get("/2026-11-22/")) == []


def test_a_pick_of_a_withdrawn_paper_is_not_shown(client, edited):
    Paper.objects.filter(arxiv_id="2611.00002").update(withdrawn_at=NOW)

    assert PICKED.partition(" ")[0] not in client.get("/2026-11-22/").content.decode()


def test_the_feed_carries_the_note_and_lacks_what_was_dropped(client, edited):
    feed = ElementTree.fromstring(client.get("/feed.xml").content)

    found = {
        entry.findtext(f"{ATOM}title"): entry.findtext(f"{ATOM}summary")
        for entry in feed.iter(f"{ATOM}entry")
    }
    assert list(found)[:3] == [f"Paper number {number}" for number in (1, 2, 4)]
    assert found["Paper number 2"] == (
        "<p><strong>Editor’s pick (Ada Example):</strong> "
        "Cold &lt;b&gt;and&lt;/b&gt; clear &amp; short.</p>\n"
        "<p>What paper 2 is about.</p>"
    )
    assert found["Paper number 1"] == "<p>What paper 1 is about.</p>"


def test_only_a_source_that_failed_makes_a_day_look_incomplete(client, tell, source):
    tell(record(1))
    editions.close_now(Edition.objects.get(), NOW, by="Ada Example")
    assert "papers may be missing" not in client.get("/2026-11-23/").content.decode()

    tell(record(2), day=SUNDAY)
    Fetch.objects.create(source=source, day=SUNDAY, started_at=NOW, status="failed", error="503")
    editions.close_now(Edition.objects.get(day=SUNDAY), NOW, by="Ada Example")

    page = client.get("/2026-11-22/").content.decode()
    assert "papers may be missing" in page
    assert "Closed by" not in page
