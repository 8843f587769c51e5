"""The preferences page and its small forms."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from bs4 import BeautifulSoup, Tag
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from digest import told
from papers.models import Paper
from subscribers import mail, signup, topics
from subscribers.models import ConsentEvent, Interest, Subscriber, Topic
from subscribers.topics import TOPICS_MAX, Wish

NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
KEYWORD = Interest.Kind.KEYWORD
CHOICES = {
    "cadence": "weekly",
    "days": ["5"],
    "hour": "9",
    "time_zone": "Asia/Tokyo",
    "papers_per_digest": "3",
}
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def frozen():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def client() -> Client:
    """A browser without any cookie, and a Django that asks for one."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def home(ada) -> str:
    return mail.preferences_url(ada, NOW).removeprefix("http://paperround.test")


def interests(reader: Subscriber) -> set[tuple[str, str, bool]]:
    return set(reader.interests.values_list("kind", "value", "is_muted"))


def test_the_page_shows_what_is_set(client, ada, home):
    topics.add_topic(ada, "sparse <i>attention</i>", [Wish(KEYWORD, "KV cache")], now=NOW)
    topics.set_muted(ada, [Wish(KEYWORD, "survey")], now=NOW)
    page = client.get(home).content.decode()
    for text in ("ada@example.org", "sparse &lt;i&gt;", "KV cache", "survey", "Europe/Berlin"):
        assert text in page
    assert "Next mail: Tuesday, 24 November, 07:30 (Europe/Berlin)" in page
    assert "Nothing is saved yet" not in page
    assert '<option value="7" selected>' in page


def test_saving_shows_a_word_and_sets_no_cookie(client, ada, home):
    response = client.post(home, CHOICES)
    assert response["Location"] == f"{home}?saved=preferences"
    response = client.get(response["Location"])
    assert "Saved." in response.content.decode()
    assert not response.cookies
    ada.refresh_from_db()
    assert (ada.cadence, ada.days, ada.hour, ada.time_zone) == ("weekly", [5], 9, "Asia/Tokyo")
    assert ada.papers_per_digest == 3
    assert ada.next_due_at == datetime(2026, 11, 28, 0, 0, tzinfo=UTC)


def test_what_is_popular_is_switched_off_and_on(client, ada, home):
    assert "checked" in str(switch(client.get(home)))
    client.post(home, CHOICES)
    assert told.facts_of([ada.pk])[ada.pk].likes_popular is False
    assert "checked" not in str(switch(client.get(home)))
    client.post(home, {**CHOICES, "likes_popular": "on"})
    assert told.facts_of([ada.pk])[ada.pk].likes_popular is True


def switch(response) -> Tag:
    return BeautifulSoup(response.content, "html.parser").select_one("input[name=likes_popular]")


def test_a_wrong_choice_is_named_and_nothing_is_saved(client, ada, home):
    response = client.post(home, {**CHOICES, "days": []})
    assert response.status_code == 200
    assert "Please choose the one day" in response.content.decode()
    assert "Nothing is saved yet" in response.content.decode()
    ada.refresh_from_db()
    assert ada.cadence == "weekdays"


def test_pausing_and_coming_back(client, ada, home):
    client.post(f"{home}pause/", {"until": "2026-12-24"})
    ada.refresh_from_db()
    assert ada.paused_until == date(2026, 12, 24)
    assert "No mail before" in client.get(home).content.decode()
    client.post(f"{home}resume/")
    ada.refresh_from_db()
    assert ada.paused_until is None


def test_a_pause_into_the_past_is_refused(client, ada, home):
    response = client.post(f"{home}pause/", {"until": "2026-11-23"})
    assert "That day has passed" in response.content.decode()


def test_another_address_is_asked_for_and_not_taken(client, ada, home):
    response = client.post(f"{home}address/", {"email": "ada@new.example"})
    assert response["Location"].endswith("?saved=address")
    ada.refresh_from_db()
    assert (ada.email, ada.new_email) == ("ada@example.org", "ada@new.example")
    assert ada.address_change_due_at == NOW


def test_one_address_is_asked_once_a_day_whoever_asks(client, ada, pending, home):
    signup.confirm(pending, now=NOW, via=ConsentEvent.Via.PAGE)
    other = mail.preferences_url(pending, NOW).removeprefix("http://paperround.test")
    first = client.post(f"{home}address/", {"email": "victim@example.org"})
    second = client.post(f"{other}address/", {"email": "Victim@example.org"})
    assert first["Location"].partition("?")[2] == second["Location"].partition("?")[2]
    asked = Subscriber.objects.filter(address_change_due_at__isnull=False)
    assert [reader.email for reader in asked] == [ada.email]


def test_muting_replaces_what_was_muted(client, ada, home):
    topics.set_muted(ada, [Wish(KEYWORD, "old"), Wish(KEYWORD, "survey")], now=NOW)
    kept = ada.interests.get(value="survey")
    client.post(f"{home}mute/", {"keywords": "survey\nbenchmark", "categories": "cs.cv"})
    assert interests(ada) == {
        ("keyword", "survey", True),
        ("keyword", "benchmark", True),
        ("category", "cs.CV", True),
    }
    assert ada.interests.get(value="survey") == kept


def test_a_reader_who_left_is_told_so(client, ada, home):
    signup.unsubscribe(ada, now=NOW, via=ConsentEvent.Via.PAGE)
    assert "You are not subscribed" in client.get(home).content.decode()
    client.post(home, CHOICES)
    ada.refresh_from_db()
    assert (ada.hour, ada.next_due_at) == (9, None)


def test_an_address_asked_for_too_early_may_be_asked_for_again(client, ada, home):
    client.post(f"{home}address/", {"email": "ada@nwe.example"})
    mail.send_due(NOW)
    client.post(f"{home}address/", {"email": "ada@new.example"})  # within the hour: not heard
    with time_machine.travel(NOW + timedelta(hours=1), tick=False):
        client.post(f"{home}address/", {"email": "ada@new.example"})
    ada.refresh_from_db()
    assert ada.new_email == "ada@new.example"


@pytest.mark.parametrize("door", ["pause", "resume", "address", "mute"])
def test_the_small_doors_only_take_posts(client, ada, home, door):
    before = Subscriber.objects.values().get(pk=ada.pk)
    assert client.get(f"{home}{door}/").headers["Location"] == home
    assert client.put(f"{home}{door}/").status_code == 405
    assert Subscriber.objects.values().get(pk=ada.pk) == before


# -- topics --------------------------------------------------------------------------------


def test_a_topic_is_made_of_what_was_typed(client, ada, home):
    paper = Paper.objects.create(
        arxiv_id="1706.03762", title="A known paper", published_at=NOW, content_hash="x"
    )
    assert client.get(f"{home}topics/add/").status_code == 200
    response = client.post(
        f"{home}topics/add/",
        {
            "name": "attention",
            "text": "Faster attention for long contexts.",
            "authors": "Ada Lovelace\nBen Bitdiddle",
            "papers": "https://arxiv.org/abs/1706.03762v7\n2512.08765",
        },
    )
    assert response["Location"] == f"{home}?saved=topic"
    assert {(i.kind, i.value, i.paper_id) for i in ada.topics.get().interests.all()} == {
        ("text", "Faster attention for long contexts.", None),
        ("author", "Ada Lovelace", None),
        ("author", "Ben Bitdiddle", None),
        ("paper", "1706.03762", paper.pk),
        ("paper", "2512.08765", None),
    }


def test_a_name_alone_is_what_to_look_for(client, ada, home):
    client.post(f"{home}topics/add/", {"name": "sparse attention"})
    assert interests(ada) == {("text", "sparse attention", False)}


def test_editing_keeps_what_stayed(client, ada, home):
    topic = topics.add_topic(ada, "old", [Wish(KEYWORD, "a"), Wish(KEYWORD, "b")], now=NOW)
    kept = topic.interests.get(value="b")
    path = f"{home}topics/{topic.pk}/"
    assert "a\nb</textarea>" in client.get(path).content.decode()
    client.post(path, {"name": "new", "keywords": "b\nc"})
    topic.refresh_from_db()
    assert topic.name == "new"
    assert interests(ada) == {("keyword", "b", False), ("keyword", "c", False)}
    assert topic.interests.get(value="b") == kept


def test_a_wrong_line_comes_back_with_its_reason(client, ada, home):
    response = client.post(f"{home}topics/add/", {"name": "x", "categories": "<b>learning</b>"})
    page = response.content.decode()
    assert escape("“<b>learning</b>” is not an arXiv category") in page
    assert "<b>learning" not in page
    assert not Topic.objects.exists()


def test_a_topic_of_that_name_exists_already(client, ada, home):
    topic = topics.add_topic(ada, "attention", [], now=NOW)
    other = topics.add_topic(ada, "other", [], now=NOW)
    page = client.post(f"{home}topics/add/", {"name": "Attention"}).content.decode()
    assert "a topic of that name already" in page
    page = client.post(f"{home}topics/{other.pk}/", {"name": "ATTENTION"}).content.decode()
    assert "another topic of that name" in page
    response = client.post(f"{home}topics/{topic.pk}/", {"name": "ATTENTION"})
    assert response.status_code == 302, "its own name it may have"


def test_twenty_topics_are_enough(client, ada, home):
    for number in range(TOPICS_MAX):
        topics.add_topic(ada, f"topic {number}", [], now=NOW)
    page = client.post(f"{home}topics/add/", {"name": "one more"}).content.decode()
    assert "20 topics, which is as many as there may be" in page
    assert ada.topics.count() == TOPICS_MAX


def test_deleting_takes_the_interests_along(client, ada, home):
    topic = topics.add_topic(ada, "attention", [Wish(KEYWORD, "KV cache")], now=NOW)
    for _again in range(2):
        response = client.post(f"{home}topics/{topic.pk}/delete/")
        assert response["Location"] == f"{home}?saved=deleted"
    assert not Interest.objects.exists()


def test_another_readers_topic_is_out_of_reach(client, ada, pending, home):
    topic = topics.add_topic(pending, "attention", [], now=NOW)
    assert client.get(f"{home}topics/{topic.pk}/").status_code == 404
    assert client.post(f"{home}topics/{topic.pk}/", {"name": "mine"}).status_code == 404
    client.post(f"{home}topics/{topic.pk}/delete/")
    assert Topic.objects.get().name == "attention"


def test_every_door_of_the_preferences_needs_the_key(client, ada):
    for name in ("preferences", "pause", "resume", "address", "mute", "add_topic"):
        path = reverse(f"subscribers:{name}", args=["nonsense"])
        assert client.post(path).status_code == 404
    for name in ("topic", "delete_topic"):
        assert client.post(reverse(f"subscribers:{name}", args=["nonsense", 1])).status_code == 404
