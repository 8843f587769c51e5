"""Seed papers that are not stored yet, and categories that are to be read: named, then left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.test import Client
from django.urls import reverse

from digest import profile, told
from papers import wanted
from papers.models import WantedCategory, WantedPaper
from papers.sources.arxiv_query import ArXivQuery
from subscribers import mail, tasks, topics
from subscribers.models import Interest, Subscriber
from subscribers.topics import Wish
from tests.factories import make_paper, make_reader
from tests.fakes.source_server import SourceServer, Submission

NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
PAPER, CATEGORY = Interest.Kind.PAPER, Interest.Kind.CATEGORY
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def frozen():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def home(ada) -> str:
    return mail.preferences_url(ada, NOW).removeprefix("http://paperround.test")


@pytest.fixture
def token(home) -> str:
    return home.strip("/").split("/")[-1]


def names_wanted() -> list[str]:
    return sorted(WantedPaper.objects.values_list("arxiv_id", flat=True))


def categories() -> list[str]:
    return sorted(WantedCategory.objects.values_list("name", flat=True))


# -- saving --------------------------------------------------------------------------------


def test_a_seed_that_is_not_stored_is_saved_at_once_and_wanted(ada):
    stored = make_paper()
    wishes = [Wish(PAPER, stored.arxiv_id), Wish(PAPER, "1706.03762"), Wish(PAPER, "cs/9901001")]

    topic = topics.add_topic(ada, "attention", wishes, now=NOW)

    assert names_wanted() == ["1706.03762", "cs/9901001"]
    linked = dict(topic.interests.values_list("value", "paper_id"))
    assert linked == {stored.arxiv_id: stored.pk, "1706.03762": None, "cs/9901001": None}


def test_a_revised_topic_wants_its_new_seeds(ada):
    topic = topics.add_topic(ada, "attention", [Wish(PAPER, "1706.03762")], now=NOW)

    wishes = [Wish(PAPER, "1706.03762"), Wish(PAPER, "2512.08765")]
    topics.revise_topic(topic, "attention", wishes, now=NOW)

    assert names_wanted() == ["1706.03762", "2512.08765"]


def test_a_followed_category_is_read_from_then_on(ada):
    topics.add_topic(ada, "language", [Wish(CATEGORY, "cs.CL"), Wish(CATEGORY, "hep-th")], now=NOW)

    assert categories() == ["cs.CL", "hep-th"]


def test_an_archive_stands_for_its_categories(ada):
    topics.add_topic(ada, "signals", [Wish(CATEGORY, "eess")], now=NOW)

    assert categories() == ["eess.AS", "eess.IV", "eess.SP", "eess.SY"]


def test_what_is_no_category_of_arxiv_is_never_asked_for(ada):
    """One unknown name in a feed's address spoils the feed for everybody."""
    topics.add_topic(ada, "odd", [Wish(CATEGORY, "cs.ZZ"), Wish(CATEGORY, "zz")], now=NOW)

    assert categories() == []


def test_what_is_muted_is_not_followed(ada):
    topics.set_muted(ada, [Wish(CATEGORY, "cs.CL")], now=NOW)

    assert categories() == []


def test_from_an_id_typed_to_a_seed_that_counts(ada, settings, monkeypatch):
    """The page, the look-up, the sweep, and what the ranker is told, one after the other."""
    monkeypatch.setattr(ArXivQuery, "pace_seconds", 0)
    topics.add_topic(ada, "attention", [Wish(PAPER, "1706.03762")], now=NOW)
    assert told.facts_of([ada.pk])[ada.pk].topics[0].seeds == ()

    with SourceServer().running() as server:
        settings.ARXIV_URL = server.url
        server.arxiv.submit(Submission(1, arxiv_id="1706.03762", title="Attention"))
        wanted.look_up_due(NOW)
    topics.link_seed_papers(NOW)

    (seed,) = told.facts_of([ada.pk])[ada.pk].topics[0].seeds
    assert ada.interests.get(paper=seed).paper.title == "Attention"


# -- the sweeps ----------------------------------------------------------------------------


def test_a_seed_gets_its_paper_once_that_is_stored(ada):
    topic = topics.add_topic(ada, "attention", [Wish(PAPER, "1706.03762")], now=NOW)
    ben = make_reader("ben@example.org")
    topics.add_topic(ben, "attention", [Wish(PAPER, "1706.03762")], now=NOW)
    assert topics.link_seed_papers(NOW) == 0

    paper = make_paper(arxiv_id="1706.03762")

    assert topics.link_seed_papers(NOW) == 2
    assert topic.interests.get().paper == paper
    assert topics.link_seed_papers(NOW) == 0


def test_a_seed_that_nobody_names_any_more_is_not_looked_up(ada):
    topic = topics.add_topic(ada, "attention", [Wish(PAPER, "1706.03762")], now=NOW)
    ben = make_reader("ben@example.org")
    topics.add_topic(ben, "both", [Wish(PAPER, "1706.03762"), Wish(PAPER, "2512.08765")], now=NOW)

    topics.revise_topic(topic, "attention", [Wish(PAPER, "2599.99999")], now=NOW)
    topics.revise_topic(topic, "attention", [Wish(PAPER, "2599.99998")], now=NOW)
    topics.link_seed_papers(NOW + timedelta(minutes=1))

    assert names_wanted() == ["1706.03762", "2512.08765", "2599.99998"]
    ben.delete()
    topics.link_seed_papers(NOW + timedelta(minutes=2))
    assert names_wanted() == ["2599.99998"]


def test_categories_that_nobody_follows_any_more_go(ada):
    topic = topics.add_topic(ada, "language", [Wish(CATEGORY, "cs.CL")], now=NOW)
    topics.add_topic(ada, "more", [Wish(CATEGORY, "cs.CL"), Wish(CATEGORY, "cs.IR")], now=NOW)
    later = NOW + timedelta(hours=1)
    topics.pass_on_wishes(later)
    assert categories() == ["cs.CL", "cs.IR"]

    ada.topics.exclude(pk=topic.pk).delete()
    topics.pass_on_wishes(later + timedelta(hours=1))

    assert categories() == ["cs.CL"]


def test_who_has_left_follows_nothing(ada):
    topics.add_topic(ada, "language", [Wish(CATEGORY, "cs.CL")], now=NOW)
    Subscriber.objects.filter(pk=ada.pk).update(
        state=Subscriber.State.UNSUBSCRIBED, next_due_at=None
    )

    topics.pass_on_wishes(NOW + timedelta(hours=1))

    assert categories() == []


def test_what_was_saved_without_a_word_is_passed_on_later(ada):
    """As by a version of the program that told nobody."""
    topics.add_topic(ada, "t", [Wish(CATEGORY, "cs.CL"), Wish(PAPER, "1706.03762")], now=NOW)
    WantedPaper.objects.all().delete()
    WantedCategory.objects.all().delete()

    tasks.pass_on_wishes()

    assert (names_wanted(), categories()) == (["1706.03762"], ["cs.CL"])


# -- what the reader sees ------------------------------------------------------------------


@pytest.fixture
def seeds(ada):
    """A topic with a stored seed, one that is looked up, and one that nobody knows."""
    stored = make_paper(title="Attention & bees", arxiv_id="2611.70000")
    wishes = [Wish(PAPER, each) for each in (stored.arxiv_id, "1706.03762", "2599.99999")]
    topic = topics.add_topic(ada, "bees", wishes, now=NOW)
    WantedPaper.objects.filter(arxiv_id="2599.99999").update(tries=1)
    return topic


def test_preferences_show_seeds_by_title_or_by_what_became_of_them(seeds, home):
    page = Client().get(home).content.decode()

    assert "Attention &amp; bees</bdi> (2611.70000)" in page
    assert "1706.03762 (being looked up)" in page
    assert "2599.99999 (arXiv knows no such paper)" in page


def test_the_topic_page_says_what_went_wrong_and_keeps_the_ids(seeds, token):
    page = Client().get(reverse("subscribers:topic", args=[token, seeds.pk])).content.decode()

    assert "arXiv knows no paper 2599.99999. Is there a typing error in it?" in page
    assert "Being looked up: 1706.03762." in page
    assert "2611.70000\n1706.03762\n2599.99999</textarea>" in page


def test_onboarding_takes_a_paper_by_its_link_and_says_that_it_is_looked_up(ada, token):
    url = reverse("digest:onboarding", args=[token])

    answer = Client().post(url, {"topics": "bees\nhttps://arxiv.org/abs/1706.03762v5"})

    assert answer.status_code == 302
    assert set(ada.interests.values_list("kind", "value")) == {
        ("text", "bees"),
        ("paper", "1706.03762"),
    }
    page = Client().get(url).content.decode()
    assert "Being looked up: 1706.03762." in page
    assert names_wanted() == ["1706.03762"]


def test_onboarding_takes_a_category_in_any_case_with_what_it_is_about(ada, token):
    url = reverse("digest:onboarding", args=[token])

    answer = Client().post(url, {"topics": "CS.cv\nhep-th\nmath"})

    assert answer.status_code == 302
    assert set(ada.interests.values_list("topic__name", "kind", "value")) == {
        ("cs.CV", "category", "cs.CV"),
        ("cs.CV", "text", "Computer Vision and Pattern Recognition"),
        ("hep-th", "category", "hep-th"),
        ("hep-th", "text", "High Energy Physics: Theory"),
        ("math", "text", "math"),
    }
    assert categories() == ["cs.CV", "hep-th"]


def test_a_name_alone_on_the_topic_page_is_taken_as_on_the_first_page(ada, token):
    url = reverse("subscribers:add_topic", args=[token])
    for name in ("cs.CV", "1706.03762"):
        assert Client().post(url, {"name": name}).status_code == 302

    assert set(ada.interests.values_list("kind", "value")) == {
        ("category", "cs.CV"),
        ("text", "Computer Vision and Pattern Recognition"),
        ("paper", "1706.03762"),
    }
    assert (categories(), names_wanted()) == (["cs.CV"], ["1706.03762"])


def test_a_paper_given_without_a_name_is_named_by_its_title_alone(ada):
    """Its id is neither a reason nor words to look for."""
    stored = make_paper()
    for name, wishes in map(topics.as_typed, (stored.arxiv_id, "1706.03762")):
        topics.add_topic(ada, name, wishes, now=NOW)
    topics.add_topic(ada, "attention", [Wish(PAPER, "1706.03762")], now=NOW)

    made = profile.build(told.facts_of([ada.pk])[ada.pk], now=NOW)

    assert [(each.name, each.wanted) for each in made.topics] == [
        ("", {stored.pk: 1.0}),
        ("attention", {"attention": 1.0}),
    ]


def test_an_id_that_is_longer_than_any_is_refused_in_words(ada, token):
    url = reverse("subscribers:add_topic", args=[token])

    answer = Client().post(url, {"name": "long", "papers": f"{'a' * 60}/9901001"})

    assert "is not an arXiv paper" in answer.content.decode()
    assert not ada.topics.exists()
