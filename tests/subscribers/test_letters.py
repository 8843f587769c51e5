"""Moved, goodbye, welcome, silence: who gets them, who does not, and the pages behind them."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import settings
from django.core import mail as locmem

from subscribers import mail, signup
from subscribers.models import ConsentEvent, Subscriber, Suppression, address_hash

GOLDEN = Path(__file__).resolve().parent / "golden"
PAGE = ConsentEvent.Via.PAGE
pytestmark = pytest.mark.django_db


@pytest.fixture
def moved(ada, now) -> Subscriber:
    """Ada, whose papers go to m…@new.example since a moment ago."""
    signup.request_address_change(ada, "mallory@new.example", now)
    assert signup.change_address(ada, "mallory@new.example", now)
    return ada


@pytest.fixture
def left(ada, now) -> Subscriber:
    signup.unsubscribe(ada, now=now, via=PAGE)
    return ada


@pytest.fixture
def clock(monkeypatch, now):
    monkeypatch.setattr("subscribers.views.timezone.now", lambda: now)
    return now


def path(url: str) -> str:
    return url.removeprefix(settings.SITE_URL)


def html_of(message) -> str:
    return message.alternatives[0].content


# -- what they say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["confirm", "link", "address", "moved", "goodbye", "welcome", "silence"]
)
def test_a_letter_is_what_its_golden_file_says(ada, now, kind):
    ada.uuid = UUID(int=7)
    ada.old_email, ada.new_email, ada.silent_slots = "ada@old.example", "ada@new.example", 5
    (letter,) = [each for each in mail.SERVICE_MAILS if each.kind == kind]
    message = letter.compose(ada, now)
    assert_golden(f"{kind}.txt", f"{message.subject}\n\n{message.body}")
    assert_golden(f"{kind}.html", html_of(message))


def assert_golden(name: str, made: str) -> None:
    """PAPERROUND_WRITE_GOLDEN=1 writes the files anew; their diff is then what has changed."""
    made = re.sub(r"-([0-9a-z]+)-[-\w]{22}/", r"-\1-KEY/", made)
    kept = GOLDEN / name
    if os.environ.get("PAPERROUND_WRITE_GOLDEN"):
        kept.write_text(made, encoding="utf-8")
    assert made == kept.read_text(encoding="utf-8")


def test_the_text_of_a_letter_is_narrow_and_has_its_links_on_lines_of_their_own(ada, now):
    ada.old_email, ada.new_email, ada.silent_slots = "ada@old.example", "ada@new.example", 5
    for letter in mail.SERVICE_MAILS:
        lines = letter.compose(ada, now).body.splitlines()
        assert all(len(line) <= 78 for line in lines if "http" not in line)
        keyed = [line for line in lines if re.search(r"/[-\w]{50,}/", line)]
        assert keyed
        assert all(line.startswith("http") for line in keyed)
        assert not re.search(r"&#|&amp;|\n\n\n\n", "\n".join(lines))


# -- moved ---------------------------------------------------------------------------------


def test_the_old_address_hears_of_a_move_and_not_where_to(moved, now):
    assert mail.send_due(now) == 1
    (message,) = locmem.outbox
    assert message.to == ["ada@example.org"]
    for part in (message.body, html_of(message)):
        assert "m…@new.example" in part
        assert "mallory" not in part


def test_a_move_is_taken_back_by_a_post_and_not_by_a_visit(moved, clock, client):
    door = path(mail.move_back_url(moved, clock))
    assert "mallory" not in client.get(door).content.decode()
    moved.refresh_from_db()
    assert moved.email == "mallory@new.example"
    for _twice in range(2):
        page = client.post(door).content.decode()
        assert "come here again" in page
    moved.refresh_from_db()
    assert (moved.email, moved.old_email, moved.moved_at) == ("ada@example.org", "", None)
    assert "<form" not in client.get(door).content.decode(), "there is nothing left to press"


def test_moving_on_does_not_shake_off_the_first_mailbox(moved, now):
    later = now + timedelta(hours=2)
    signup.request_address_change(moved, "eve@third.example", later)
    assert signup.change_address(moved, "eve@third.example", later)
    assert moved.old_email == "ada@example.org"
    assert signup.move_back(moved, "ada@example.org", later)


def test_a_move_stands_after_a_week_and_the_old_address_is_forgotten(moved, now):
    late = now + timedelta(days=7)
    assert not signup.move_back(moved, "ada@example.org", late)
    assert signup.forget_old_addresses(late - timedelta(seconds=1)) == []
    assert signup.forget_old_addresses(late) == ["ada@example.org"]
    moved.refresh_from_db()
    assert (moved.old_email, moved.moved_at) == ("", None)


@pytest.mark.parametrize("reason", ["bounce", "complaint", "operator"])
def test_an_old_address_that_is_barred_hears_nothing_and_takes_nothing_back(moved, now, reason):
    Suppression.objects.create(address_hash=address_hash("ada@example.org"), reason=reason)
    assert mail.send_due(now) == 0
    assert not signup.move_back(moved, "ada@example.org", now)


def test_an_old_address_that_signed_up_anew_is_another_readers(moved, now):
    Subscriber.objects.create(
        email="ada@example.org", address_hash=address_hash("ada@example.org"), confirmed_at=now
    )
    assert not signup.move_back(moved, "ada@example.org", now)


def test_moving_back_the_usual_way_tells_the_mailbox_in_between(moved, now):
    """Not the one that it goes to, which would be told that its papers have moved to itself."""
    later = now + timedelta(hours=2)
    signup.request_address_change(moved, "Ada@Example.org", later)
    assert signup.change_address(moved, "Ada@Example.org", later)
    mail.send_due(later)
    to = [message.to for message in locmem.outbox if "another address" in message.subject]
    assert to == [["mallory@new.example"]]


# -- goodbye -------------------------------------------------------------------------------


def test_leaving_alone_sends_nothing(left, now):
    assert mail.send_due(now + timedelta(days=1)) == 0


def test_a_goodbye_comes_once_and_on_a_wish(left, clock, client):
    door = path(mail.unsubscribe_url(left, clock))
    assert "Mail me a note" in client.post(door).content.decode()
    assert client.get(f"{door}note/").headers["Location"] == door
    assert mail.send_due(clock + timedelta(minutes=1)) == 0
    for _twice in range(2):
        assert client.post(f"{door}note/").status_code == 200
        mail.send_due(clock + timedelta(minutes=1))
    (message,) = locmem.outbox
    assert message.to == ["ada@example.org"]
    left.refresh_from_db()
    assert mail.return_url(left, clock) in message.body
    assert "Mail me a note" not in client.post(door).content.decode()


def test_a_late_goodbye_says_until_when_the_way_back_is_open(left, now, client, monkeypatch):
    """The time to return began when they left, and not when they asked for the note."""
    late, last = now + timedelta(days=29), now + timedelta(days=30)
    assert signup.request_goodbye(left, late)
    mail.send_due(late)
    (message,) = locmem.outbox
    assert "works until 23 December." in " ".join(message.body.split())
    for moment, is_back in ((last + timedelta(seconds=1), False), (last, True)):
        assert signup.resubscribe(left, now=moment, via=PAGE) is is_back


def test_the_way_back_is_a_post(left, clock, client):
    door = path(mail.return_url(left, clock))
    assert client.get(door).status_code == 200
    left.refresh_from_db()
    assert left.state == "unsubscribed"
    assert client.post(door).status_code == 200
    left.refresh_from_db()
    assert left.state == "active"


@pytest.mark.parametrize("reason", ["bounce", "complaint", "operator", "erasure"])
def test_no_goodbye_to_an_address_that_is_barred(left, now, reason):
    Suppression.objects.update(reason=reason)
    assert not signup.request_goodbye(left, now)


@pytest.mark.parametrize("end", ["late", "bounced", "back"])
def test_no_note_and_no_undoing_is_promised_that_cannot_be(left, clock, client, end):
    door = path(mail.unsubscribe_url(left, clock))
    if end == "late":
        Subscriber.objects.update(unsubscribed_at=clock - timedelta(days=31))
    elif end == "bounced":
        Suppression.objects.update(reason="bounce")
    else:
        assert signup.resubscribe(left, now=clock, via=PAGE)
    assert "on its way" not in client.post(f"{door}note/").content.decode()
    assert mail.send_due(clock) == 0
    if end != "back":
        assert "<form" not in client.post(door).content.decode()


def test_mornings_away_and_before_are_no_silence(left, now):
    Subscriber.objects.update(silent_slots=6)
    assert signup.resubscribe(left, now=now + timedelta(days=20), via=PAGE)
    assert left.silent_slots == 0


def test_who_came_back_meanwhile_gets_no_goodbye(left, now):
    assert signup.request_goodbye(left, now)
    assert signup.resubscribe(left, now=now, via=PAGE)
    assert mail.send_due(now) == 0


# -- welcome and silence -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["welcome", "silence"])
def test_what_nobody_asked_for_can_be_unsubscribed_from_with_one_click(ada, now, kind):
    Subscriber.objects.update(**{f"{kind}_due_at": now}, silent_slots=1)
    assert mail.send_due(now) == 1
    headers = locmem.outbox[0].message()
    for name in ("List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "Feedback-ID"):
        assert len(headers.get_all(name)) == 1
    assert mail.unsubscribe_url(ada, now) in headers["List-Unsubscribe"]
    assert headers["List-Id"] == f"Paperround <{settings.LIST_ID}>", "as on a digest"
    assert mail.unsubscribe_url(ada, now) in locmem.outbox[0].body


@pytest.mark.parametrize("kind", ["welcome", "silence"])
def test_a_pause_strikes_it_off(ada, now, kind):
    Subscriber.objects.update(
        **{f"{kind}_due_at": now, "paused_until": (now + timedelta(days=9)).date()},
        silent_slots=1,
    )
    assert mail.send_due(now) == 0
    ada.refresh_from_db()
    assert getattr(ada, f"{kind}_due_at") is None


def test_leaving_strikes_off_what_was_due(ada, now):
    Subscriber.objects.update(welcome_due_at=now, silence_due_at=now, silent_slots=1)
    signup.unsubscribe(ada, now=now, via=PAGE)
    assert mail.send_due(now) == 0


def test_widening_is_a_post_and_lets_in_what_is_popular(ada, clock, client):
    Subscriber.objects.update(likes_popular=False, silent_slots=6)
    door = path(mail.widen_url(ada, clock))
    assert "Show me what is popular" in client.get(door).content.decode()
    ada.refresh_from_db()
    assert not ada.likes_popular
    assert "has a place in your mails" in client.post(door).content.decode()
    ada.refresh_from_db()
    assert (ada.likes_popular, ada.silent_slots) == (True, 0)


def test_widening_is_offered_to_who_has_not_widened(ada, clock, client):
    """Who has what is popular already can do more by adding a topic, and comes to that page."""
    ada.silent_slots = 5
    for likes, door, says in (
        (False, mail.widen_url(ada, clock), "Widen what I get"),
        (True, mail.add_topic_url(ada, clock), "Add a topic"),
    ):
        ada.likes_popular = likes
        message = mail.silence(ada, clock)
        assert f"{says}:\n{door}\n" in message.body
        assert f'href="{door}"' in html_of(message)
        assert client.get(path(door)).status_code == 200


def test_widening_is_a_preference_and_needs_no_subscription(left, clock, client):
    Subscriber.objects.update(likes_popular=False)
    page = client.post(path(mail.widen_url(left, clock))).content.decode()
    assert "has a place in your mails" in page


# -- every link of every letter ------------------------------------------------------------

STATES = {
    "confirm": {"state": "pending", "confirmed_at": None, "next_due_at": None},
    "address": {"new_email": "ada@new.example"},
    "moved": {"old_email": "ada@old.example"},
    "goodbye": {"state": "unsubscribed", "next_due_at": None},
}
TABLES = [Subscriber, ConsentEvent, Suppression]
LETTERS = {letter.kind: letter for letter in mail.SERVICE_MAILS}


def rows() -> list[list[tuple]]:
    return [list(model.objects.order_by("pk").values_list()) for model in TABLES]


@pytest.fixture(params=LETTERS)
def doors(request, ada, clock) -> list[str]:
    """The links of a letter that open with a key."""
    moments = {"moved_at": clock, "unsubscribed_at": clock}
    Subscriber.objects.update(**moments | STATES.get(request.param, {}))
    ada.refresh_from_db()
    message = LETTERS[request.param].compose(ada, clock)
    found = re.findall(rf"{settings.SITE_URL}(/\S*/[-\w]{{50,}}/\S*?)[\"\s]", html_of(message))
    assert found
    return sorted(set(found))


def test_scanners_may_open_every_link_as_often_as_they_like(doors, client):
    before = rows()
    for door in doors * 10:
        assert client.get(door).status_code == 200
        assert client.head(door).status_code == 200
    assert rows() == before
    assert not locmem.outbox


def test_a_second_post_changes_nothing(doors, client):
    for door in doors:
        answers = []
        for _twice in range(2):
            answers.append((client.post(door).status_code, rows()))
        assert answers[0] == answers[1], door
