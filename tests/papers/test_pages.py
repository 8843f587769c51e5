from __future__ import annotations

from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
import time_machine
from bs4 import BeautifulSoup

from papers import editions, encoding
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

    for path in ("/", "/papers/2611.00001/", "/papers/?q=script"):
        page = client.get(path).content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;think&gt;" in page
        assert "<a href='x'>" not in page


# -- search --------------------------------------------------------------------------------


def shown(response) -> list[str]:
    return [result.paper.title for result in response.context["shown"].results]


def test_search_finds_and_keeps_the_query(client, tell):
    tell(record(1, title="Grasping"), record(2, title="Walking"))

    response = client.get("/papers/", {"q": " walking  robots? "})

    assert response.context["query"] == "walking robots?"
    assert shown(response) == ["Walking"]
    assert 'value="walking robots?"' in response.content.decode()


def test_the_old_address_leads_to_the_new_one_with_its_question(client, tell):
    response = client.get("/search/?q=a%26b&page=2")

    assert (response.status_code, response["Location"]) == (301, "/papers/?q=a%26b&page=2")
    assert client.get("/search/")["Location"] == "/papers/"


def test_results_come_in_pages_that_keep_the_filters(client, tell):
    tell(*(record(number, title="Robots") for number in range(1, 46)))

    response = client.get("/papers/", {"q": "robots", "since": "2026-11-01", "page": "2"})

    page = response.content.decode()
    assert (len(shown(response)), "45 papers" in page, "Page 2 of 3" in page) == (20, True, True)
    assert "?q=robots&amp;since=2026-11-01&amp;page=3" in page
    assert len(shown(client.get("/papers/", {"q": "robots", "page": "3"}))) == 5
    assert client.get("/papers/", {"q": "robots", "page": "4"}).status_code == 404


def test_what_was_looked_for_is_marked_and_all_else_escaped(client, tell):
    tell(record(1, title="<b>Robots</b> & co", abstract="<i>robotic</i> </mark>arms"))

    page = client.get("/papers/", {"q": "robot"}).content.decode()

    assert "&lt;b&gt;<mark>Robots</mark>&lt;/b&gt; &amp; co" in page
    assert "&lt;i&gt;<mark>robotic</mark>&lt;/i&gt; &lt;/mark&gt;arms" in page


def test_a_mended_spelling_is_said_and_can_be_refused(client, tell):
    tell(record(1, title="Grasping"))

    page = client.get("/papers/", {"q": "graspnig"}).content.decode()

    assert 'Showing results for <strong dir="auto">grasping</strong>' in page
    assert "Search for “graspnig” instead" in page
    assert shown(client.get("/papers/", {"q": "graspnig", "spelling": "typed"})) == []


def test_those_with_some_of_the_words_stand_apart(client, tell):
    tell(record(1, title="Robots that cook"), record(2, title="Robots"), record(3, title="Cooks"))

    page = client.get("/papers/", {"q": "cooking robots"}).content.decode()

    assert page.index("that <mark>cook</mark>") < page.index("With some of the words")
    assert page.count("With some of the words") == 1
    assert "1 paper with all of the words, 2 with some" in page
    assert (
        "No paper has all of these words"
        in client.get("/papers/", {"q": "robots tulips"}).content.decode()
    )


@pytest.mark.parametrize("query", ["", "nothing like it", "\x00", "x" * 5000, "-", '"'])
def test_a_search_without_an_answer_is_a_page(client, tell, query):
    tell(record(1, title="Robots"))

    response = client.get("/papers/", {"q": query})

    assert (response.status_code, shown(response)) == (200, [])


@pytest.mark.parametrize(
    "wrong",
    [{"since": "yesterday"}, {"source": "x"}, {"order": "x"}, {"page": "0"}, {"page": "x"},
     {"since": "2026-11-23", "until": "2026-11-22"}, {"category": "x" * 41}],
)  # fmt: skip
def test_a_filter_that_cannot_be_is_named_and_nothing_looked_for(client, tell, wrong):
    tell(record(1, title="Robots"))

    response = client.get("/papers/", {"q": "robots", **wrong})

    assert (response.status_code, shown(response)) == (200, [])
    assert "is not right" in response.content.decode()


def test_answers_are_not_for_search_engines_the_empty_page_is(client, tell):
    assert "noindex" in client.get("/papers/", {"q": "robots"}).content.decode()
    assert "noindex" not in client.get("/papers/").content.decode()


def test_a_papers_page_names_near_ones_and_a_withdrawn_one_none(client, tell):
    tell(*(record(n, title=f"Dexterous grasping of eggs {n}") for n in (1, 2)), record(3))
    encoding.encode_missing()

    page = client.get("/papers/2611.00001/")
    assert links(page)["Dexterous grasping of eggs 2"] == "/papers/2611.00002/"
    assert "More like this" not in client.get("/papers/2611.00003/").content.decode()
    Paper.objects.update(withdrawn_at=NOW)
    assert "More like this" not in client.get("/papers/2611.00001/").content.decode()


# -- all of them ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/2026-11-23/", "/papers/2611.00001/", "/papers/?q=paper", "/feed.xml"]
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


# -- a thousand announcements a day --------------------------------------------------------


@pytest.fixture
def announce(arxiv):
    def announce(*numbers, day=MONDAY, **fields):
        usual = {"upvotes": None, "comments": None, "categories": ("cs.CL", "cs.LG")}
        records = [record(number, **usual | fields) for number in numbers]
        editions.record_day(day, records, source=arxiv, now=NOW, read_at=NOW, backfill=False)

    return announce


def links(response):
    soup = BeautifulSoup(response.content, "html.parser")
    return {" ".join(link.get_text().split()): link["href"] for link in soup.select("main a")}


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("path", ["/", "/2026-11-22/"])
def test_the_front_page_is_what_trends_and_leads_to_the_rest(
    client, tell, announce, path, is_closed
):
    announce(*range(10, 1030), day=SUNDAY)
    tell(record(1, upvotes=3), record(2, upvotes=30), day=SUNDAY)
    if is_closed:
        editions.close_due(NOW)

    response = client.get(path)

    assert titles(response) == ["Paper number 2", "Paper number 1"]
    assert links(response)["and 1,020 more from arXiv"] == "/2026-11-22/all/"
    assert "2 papers" in response.content.decode()


def test_a_day_that_trends_to_the_last_paper_leads_nowhere(client, tell):
    tell(record(1))

    assert not any("more" in name for name in links(client.get("/2026-11-23/")))


def test_no_front_page_is_longer_than_the_limit_and_a_pick_is_always_on_it(
    client, tell, announce, settings
):
    settings.PUBLIC_ENTRIES = 3
    tell(*[record(number, upvotes=90 - number) for number in range(1, 7)], day=SUNDAY)
    announce(9, day=SUNDAY)
    editions.close_due(NOW)
    edition = Edition.objects.get(day=SUNDAY)
    for rank in (5, 7):
        editions.pick(edition.entries.get(rank=rank), by="Ada Example", note=PICKED)

    response = client.get("/2026-11-22/")

    assert titles(response) == [f"Paper number {number}" for number in (1, 2, 3, 5, 9)]
    assert "7 papers" in response.content.decode()
    assert links(response)["and 2 more of this day"] == "/2026-11-22/all/"
    feed = ElementTree.fromstring(client.get("/feed.xml").content)
    assert [entry.findtext(f"{ATOM}title") for entry in feed.iter(f"{ATOM}entry")] == titles(
        response
    )


def test_home_shows_the_newest_day_in_which_something_trends(client, tell, announce):
    tell(record(1), day=SUNDAY)
    announce(2, 3)
    assert client.get("/").context["edition"].day == SUNDAY

    tell(record(2))
    assert client.get("/").context["edition"].day == MONDAY


def test_home_waits_a_week_for_votes_and_no_longer(client, tell, announce):
    """Their source may have been switched off."""
    tell(record(1), day=SUNDAY - timedelta(days=6))
    announce(2, day=SUNDAY)
    assert titles(client.get("/")) == ["Paper number 1"]

    Edition.objects.filter(day__lt=SUNDAY).update(day=SUNDAY - timedelta(days=7))
    assert titles(client.get("/")) == ["Paper number 2"]


def test_a_day_without_votes_floods_no_feed(client, tell, announce):
    tell(record(1), day=SUNDAY - timedelta(days=1))
    announce(*range(2, 90), day=SUNDAY)
    editions.close_due(NOW)

    feed = ElementTree.fromstring(client.get("/feed.xml").content)
    found = [entry.findtext(f"{ATOM}title") for entry in feed.iter(f"{ATOM}entry")]
    assert found == ["Paper number 1"]


def test_where_nothing_ever_trends_the_front_page_is_what_there_is(client, announce, settings):
    settings.PUBLIC_ENTRIES = 2
    announce(1, 2, 3, day=SUNDAY)
    editions.close_due(NOW)

    response = client.get("/")

    assert titles(response) == ["Paper number 1", "Paper number 2"]
    page = response.content.decode()
    assert "3 papers" in page
    assert "talked about" not in page
    edition = Edition.objects.get()
    editions.pick(edition.entries.get(rank=3), by="Ada Example", note=PICKED)
    assert titles(client.get("/")) == [f"Paper number {number}" for number in (1, 2, 3)]


def test_the_list_of_a_day_holds_everything_a_page_at_a_time(client, tell, announce):
    announce(*range(10, 130), day=SUNDAY)
    tell(record(1), day=SUNDAY)
    editions.close_due(NOW)

    pages = [client.get("/2026-11-22/all/", {"page": page}) for page in (1, 2, 3)]

    found = [entry.paper.title for page in pages for entry in page.context["page"]]
    assert found == [f"Paper number {number}" for number in (1, *range(10, 130))]
    assert links(pages[0])["Next"] == "?page=2"
    assert links(pages[1]).keys() >= {"Previous", "Next"}
    assert "Next" not in links(pages[2])


def test_the_list_can_be_narrowed_to_a_category_and_stays_so_from_page_to_page(client, announce):
    announce(*range(1, 60), categories=("cs.CL", "cs.LG"))
    announce(*range(60, 70), categories=("cs.LG",))

    response = client.get("/2026-11-23/all/", {"category": "cs.CL"})

    assert response.context["listing"].categories == [("cs.CL", 59), ("cs.LG", 69)]
    assert response.context["page"].paginator.count == 59
    assert links(response)["Next"] == "?category=cs.CL&page=2"
    other = client.get("/2026-11-23/all/", {"category": "<b>"})
    assert list(other.context["page"]) == []
    assert "&lt;b&gt;" in other.content.decode()


def test_a_category_without_papers_stays_chosen_and_leads_back_to_all(client, announce):
    announce(1)

    response = client.get("/2026-11-23/all/", {"category": "hep-th"})

    page = BeautifulSoup(response.content, "html.parser")
    (chosen,) = page.select("option[selected]")
    assert (chosen["value"], chosen.get_text()) == ("hep-th", "hep-th (0)")
    assert page.select_one(".empty a")["href"] == "/2026-11-23/all/"


def test_the_list_lacks_what_was_withdrawn_or_dropped(client, announce):
    announce(1, 2, 3)
    announce(2, withdrawn=True)
    editions.drop(Edition.objects.get().entries.get(paper__arxiv_id="2611.00003"), NOW)

    response = client.get("/2026-11-23/all/")

    assert [entry.paper.title for entry in response.context["page"]] == ["Paper number 1"]
    assert response.context["listing"].number == 1


@pytest.mark.parametrize(
    "path", ["/2026-11-20/all/", "/2026-11-23/all/?page=3", "/2026-11-23/all/?page=0",
             "/2026-11-23/all/?page=x"],
)  # fmt: skip
def test_a_list_or_a_page_that_there_is_not_is_not_found(client, announce, path):
    announce(1)

    assert client.get(path).status_code == 404


def test_the_list_is_cached_like_the_other_pages(client, announce):
    announce(1)

    response = client.get("/2026-11-23/all/?category=cs.CL")

    assert "public" in response["Cache-Control"]
    assert not response.cookies
    assert client.post("/2026-11-23/all/").status_code == 405


@pytest.mark.parametrize("path", ["/", "/2026-11-23/", "/2026-11-23/all/", "/feed.xml"])
def test_a_thousand_announcements_take_few_queries(
    client, tell, announce, django_assert_max_num_queries, path
):
    announce(*range(100, 400))
    tell(record(1))

    with django_assert_max_num_queries(8):
        client.get(path)


def test_a_papers_page_tells_version_categories_and_citations(client, announce, source):
    announce(1, version=3)
    editions.record_papers(
        [record(1, citations=1234, is_listed=False)], source=source, now=NOW, read_at=NOW
    )

    page = BeautifulSoup(client.get("/papers/2611.00001/").content, "html.parser")

    terms = [each.get_text() for each in page.select("dt")]
    told = dict(zip(terms, (each.get_text(strip=True) for each in page.select("dd")), strict=True))
    assert (told["Version"], told["Categories"], told["Citations"]) == (
        "3",
        "cs.CL, cs.LG",
        "1,234",
    )
    assert "Upvotes" in told  # of Hugging Face; arXiv alone has none to tell
    announce(2)
    assert ">Upvotes<" not in client.get("/papers/2611.00002/").content.decode()


def test_a_withdrawn_papers_page_says_so_and_since_when(client, announce):
    announce(1)
    announce(1, withdrawn=True)

    page = client.get("/papers/2611.00001/").content.decode()

    assert "This paper has been withdrawn." in page
    assert "as known since 23 November 2026" in page


@pytest.mark.parametrize("paper_id", ["cs/9901001", "cond-mat/0410271", "hep-th/9711200"])
def test_an_old_id_stands_in_every_address(client, announce, paper_id):
    announce(1, arxiv_id=paper_id)
    editions.close_now(Edition.objects.get(), NOW, by="Ada Example")

    address = f"/papers/{paper_id}/"
    assert links(client.get("/2026-11-23/all/"))["Paper number 1"] == address
    assert client.get(address).status_code == 200
    assert client.get(f"/papers/{paper_id}v2/")["Location"] == address
    assert f"http://paperround.test{address}" in client.get("/feed.xml").content.decode()
    assert links(client.get("/papers/", {"q": paper_id}))["Paper number 1"] == address


def test_an_installation_s_colours_come_with_every_page(client, settings, db):
    assert b"colors.css" not in client.get("/").content
    settings.BRAND_COLOR, settings.BRAND_COLOR_DARK = "#7a1f5c", "#f0a8d8"
    settings.HAS_OWN_COLORS, settings.LOGO_TEXT = True, "THE LAB"
    settings.FOOTER_TEXT = "Register <1>"
    page = client.get("/").content.decode()
    assert 'href="/colors.css"' in page
    assert "THE LAB" in page
    assert "Register &lt;1&gt;" in page
    answer = client.get("/colors.css")
    assert answer["Content-Type"].startswith("text/css")
    assert "--accent: #7a1f5c" in answer.content.decode()
