"""Production as it runs: web, worker and beat apart, PostgreSQL, Redis, and a real mail server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
import redis
import requests

from tests.services import Redis, Sink, Site, installation, own_database, own_redis, wait_for

pytestmark = pytest.mark.processes

TOPIC = "reinforcement learning"


@pytest.fixture
def broker(redis_url: str, tmp_path: Path) -> Iterator[Redis]:
    with own_redis(tmp_path) as server:
        yield server


@pytest.fixture
def site(broker: Redis, postgresql_url: str, tmp_path: Path) -> Iterator[Site]:
    with (
        own_database(postgresql_url) as database,
        installation(tmp_path, database=database, broker=broker.url, sink=Sink()) as one,
    ):
        yield one


def test_two_readers_are_served_by_separate_processes_and_an_emptied_broker_loses_nothing(
    site: Site, broker: Redis
) -> None:
    first = first_digest_of("ada@example.org", site)

    assert first.get_content_type() == "multipart/alternative"
    text = first.get_body(("plain",)).get_content()
    assert f"Because you follow “{TOPIC}”" in squeezed(text)
    assert f"{site.url}/unsubscribe/" in first["List-Unsubscribe"]
    assert first["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert first["Auto-Submitted"] == "auto-generated"
    for name in ("List-Id", "Feedback-ID", "Message-ID", "Date", "Subject", "From", "To"):
        assert len(first.get_all(name, [])) == 1, name

    redis.Redis.from_url(broker.url).flushall()
    first_digest_of("ben@example.org", site)

    (way_out,) = re.findall("<(http[^>]+)>", first["List-Unsubscribe"])
    one_click = {"List-Unsubscribe": "One-Click"}
    assert requests.post(way_out, one_click, timeout=10, allow_redirects=False).status_code == 200
    assert [len(site.mails_to(f"{name}@example.org")) for name in ("ada", "ben")] == [2, 2]

    for process in site.processes.values():
        process.stop()
    for process in site.processes.values():
        assert process.ended(within_seconds=10) == 0, process.output
        assert "Traceback" not in process.output
        assert "@example.org" not in process.output


def test_a_worker_that_is_told_to_stop_ends_between_windows_and_the_rest_leaves_later(
    broker: Redis, postgresql_url: str, tmp_path: Path
) -> None:
    slow = Sink(seconds_a_mail=0.1)
    with (
        own_database(postgresql_url) as database,
        installation(
            tmp_path, database=database, broker=broker.url, sink=slow, SEND_WINDOW="8"
        ) as site,
    ):
        sender = site.processes["sender"]
        site.readers_fall_due(80)
        wait_for(lambda: len(slow.mails) >= 10, say=site.outputs, within_seconds=30)
        sender.stop()
        assert sender.ended(within_seconds=8) == 0, sender.output
        taken = len(slow.mails)
        assert taken < 50
        assert site.states() == {"sent": taken, "assembled": 80 - taken}

        sender.start()
        site.wake()
        wait_for(lambda: len(slow.mails) >= 80, say=site.outputs, within_seconds=90)
        wait_for(lambda: site.states() == {"sent": 80}, say=lambda: f"{site.states()}")
        assert set(slow.times_by_address().values()) == {1}
        site.assert_books_balance()
        assert "Traceback" not in sender.output


# -- what a reader does --------------------------------------------------------------------


def first_digest_of(address: str, site: Site) -> EmailMessage:
    """From the home page's form to the mail, through pages and mails alone."""
    visitor = requests.Session()
    assert 'action="/subscribe/"' in visitor.get(f"{site.url}/", timeout=10).text
    subscribed = visitor.post(f"{site.url}/subscribe/", {"email": address}, timeout=10)
    assert "/check-your-mail/" in subscribed.url

    question = site.next_mail_to(address)
    onboarding = visitor.post(link(question, "/confirm/"), timeout=10)
    assert "/welcome/" in onboarding.url
    preview = visitor.post(onboarding.url, {"topics": TOPIC}, timeout=10)
    assert f"Because you follow {TOPIC}" in squeezed(re.sub("<[^>]+>", "", preview.text))
    sent = visitor.post(f"{onboarding.url}send/", timeout=10)
    assert "on its way" in sent.text
    return site.next_mail_to(address)


def link(message: EmailMessage, part: str) -> str:
    text = message.get_body(("plain",)).get_content()
    return next(url for url in re.findall(r"https?://\S+", text) if part in url)


def squeezed(text: str) -> str:
    return " ".join(text.split())
