"""What readers' topics mean is known before their morning."""

from __future__ import annotations

from datetime import timedelta

import pytest

from papers import encoding, endpoint
from papers.models import Phrase
from subscribers import topics
from subscribers.models import Interest, Topic
from tests.factories import DUE, make_reader
from tests.fakes.embeddings import EmbeddingServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def server(settings):
    with EmbeddingServer().running() as running:
        settings.SEMANTIC_MODEL, settings.SEMANTIC_MODEL_NAME = running.url, "small"
        yield running
    encoding._phrases.clear()
    encoding._endpoint.cache_clear()


def add(topic: Topic, kind: Interest.Kind, value: str, **fields) -> None:
    Interest.objects.create(
        subscriber=topic.subscriber, topic=topic, kind=kind, value=value, **fields
    )


def asked(server: EmbeddingServer) -> set[str]:
    return {text for texts in server.asked for text in texts} - {endpoint.PROBE}


def test_a_topic_is_its_lines_as_one_text_and_papers_known_by_title():
    topic = make_reader(topics=["Robots"]).topics.get()
    add(topic, Interest.Kind.TEXT, "that grasp cups")
    add(topic, Interest.Kind.TITLE, "Learning dexterous grasping")
    add(topic, Interest.Kind.KEYWORD, "cups")
    assert list(Topic.objects.descriptions()) == [
        "Robots\nthat grasp cups",
        "Learning dexterous grasping",
    ]


def test_a_topic_without_lines_is_its_name():
    topic = Topic.objects.create(subscriber=make_reader(), name="cs.RO")
    add(topic, Interest.Kind.CATEGORY, "cs.RO")
    assert list(Topic.objects.descriptions()) == ["cs.RO"]


def test_what_is_needed_next_is_asked_for_beforehand_and_once(server):
    make_reader("ada@example.org", ["robots", "speech"], next_due_at=DUE + timedelta(hours=2))
    make_reader("ben@example.org", ["robots"], next_due_at=DUE + timedelta(hours=1))
    make_reader("cy@example.org", ["cups"], next_due_at=DUE + timedelta(hours=20))
    make_reader("di@example.org", ["tables"], state="unsubscribed", next_due_at=None)

    assert topics.encode_due(DUE) == 2
    assert asked(server) == {"robots", "speech"}
    requests = len(server.requests)
    topics.encode_due(DUE + timedelta(minutes=10))
    assert len(server.requests) == requests
    assert Phrase.objects.filter(model="small-16").count() == 3  # and the probe


def test_a_portion_ends_with_its_time(server, monkeypatch):
    monkeypatch.setattr(encoding, "PHRASES_AT_ONCE", 1)
    make_reader(topics=["robots", "speech", "cups"])
    clock = iter([0.0, 1.0, 2.0, 3.0])
    assert topics.encode_due(DUE, seconds=2.5, clock=lambda: next(clock)) == 2


def test_for_the_table_that_ships_nobody_is_looked_at(settings, django_assert_num_queries):
    settings.SEMANTIC_MODEL = ""
    make_reader(topics=["robots"])
    with django_assert_num_queries(0):
        assert topics.encode_due(DUE) == 0
