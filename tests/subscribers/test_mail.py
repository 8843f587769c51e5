"""The service mails: what they say, who gets them, and what a crash costs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from email import message_from_bytes
from email.policy import default

import pytest
from django.conf import settings
from django.core import mail as locmem
from django.core.mail import EmailMessage

from subscribers import flow, mail, signup
from subscribers.models import ConsentEvent, Subscriber, Suppression, address_hash
from subscribers.transports import Receipt, Status

LEASE = timedelta(seconds=settings.LEASE_SECONDS)
pytestmark = pytest.mark.django_db


class FakeTransport:
    name = "fake"
    repeats_safely = False
    window = None

    def __init__(self, receipt: Receipt) -> None:
        self.receipt, self.sent = receipt, []

    def send(self, messages: Sequence[EmailMessage]) -> list[Receipt]:
        self.sent += messages
        return [self.receipt for _ in messages]


class Crash(BaseException):
    """kill -9, as far as a test can."""


@pytest.fixture
def answers(monkeypatch):
    def with_(status: Status, **more) -> FakeTransport:
        transport = FakeTransport(Receipt(status, **more))
        monkeypatch.setattr(flow, "get_transports", lambda: [transport])
        return transport

    return with_


@pytest.fixture
def moving(ada, now) -> Subscriber:
    signup.request_address_change(ada, "ada@new.example", now)
    return ada


def html_of(message) -> str:
    return message.alternatives[0].content


# -- what they say -------------------------------------------------------------------------


def test_the_confirmation_says_who_and_why_and_not_one_word_of_a_visitor(pending, now):
    mail.send_due(now)
    (message,) = locmem.outbox
    assert message.to == ["ben@example.org"]
    assert message.subject == "Confirm your subscription to Paperround"
    for part in (message.body, html_of(message)):
        assert mail.confirm_url(pending, now) in part
        assert "7 days" in part
        assert "do nothing" in part
        assert settings.SITE_URL in part
        assert settings.POSTAL_ADDRESS in part
        assert "ben" not in part.lower()


def test_every_mail_is_text_and_html_with_its_css_inlined(pending, moving, now):
    Subscriber.objects.filter(pk=moving.pk).update(link_due_at=now)
    assert mail.send_due(now) == 3
    for message in locmem.outbox:
        html = html_of(message)
        assert message.alternatives[0].mimetype == "text/html"
        assert 'style="' in html
        assert ".column p" not in html
        assert not re.search(r"(?:src|background)\s*=|@import|url\(", html), "nothing remote"
        urls = re.findall(r"http\S+/[-\w]{50,}/", message.body)
        assert len(urls) == 1
        assert f'href="{urls[0]}"' in html
        assert all(len(line) <= 78 for line in message.body.splitlines() if "http" not in line)
        assert "&#" not in message.body


def test_every_mail_says_that_a_machine_wrote_it(pending, now):
    mail.send_due(now)
    headers = locmem.outbox[0].message()
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["X-Auto-Response-Suppress"] == "All"
    assert headers.get_all("Message-ID") == [f"<confirm.{pending.uuid.hex}.0@paperround.test>"]


def test_a_subject_is_one_line_whatever_the_site_is_called(pending, now, settings):
    settings.SITE_NAME = "Paper\r\nBcc: eve@example.org"
    message = mail.confirmation(pending, now)
    assert message.subject.count("\n") == 0
    assert "Bcc" not in message.message()


def test_a_change_of_address_asks_at_the_new_one(moving, now):
    mail.send_due(now)
    (message,) = locmem.outbox
    assert message.to == ["ada@new.example"]
    assert mail.address_url(moving, now) in message.body
    assert "ada@" not in message.body


def test_the_link_says_how_long_it_works(ada, now):
    message = mail.manage_link(ada, now)
    assert mail.preferences_url(ada, now) in message.body
    assert f"{settings.MANAGE_LINK_DAYS} days" in message.body


# -- who gets them -------------------------------------------------------------------------


def test_sending_settles_the_row(pending, now):
    assert mail.send_due(now) == 1
    pending.refresh_from_db()
    assert (pending.confirmation_due_at, pending.confirmation_sent_at) == (None, now)
    assert pending.confirmations_unanswered == 1
    assert mail.send_due(now + timedelta(days=2)) == 0


def test_nothing_leaves_before_it_is_due(pending, now):
    assert mail.send_due(now - timedelta(hours=1)) == 0
    assert not locmem.outbox


@pytest.mark.parametrize("reason", ["bounce", "complaint", "operator"])
def test_a_bar_since_the_asking_stops_the_mail_for_good(pending, now, reason):
    Suppression.objects.create(address_hash=pending.address_hash, reason=reason)
    assert mail.send_due(now) == 0
    pending.refresh_from_db()
    assert (pending.confirmation_due_at, pending.confirmation_sent_at) == (None, None)
    assert not locmem.outbox


def test_a_goodbye_of_old_does_not_stop_a_confirmation(pending, now):
    Suppression.objects.create(address_hash=pending.address_hash, reason="erasure")
    assert mail.send_due(now) == 1


def test_a_bar_on_the_new_address_stops_the_mail_to_it(moving, now):
    Suppression.objects.create(address_hash=address_hash("ada@new.example"), reason="complaint")
    assert mail.send_due(now) == 0
    assert not locmem.outbox


def test_who_left_since_the_asking_gets_no_link(ada, now):
    Subscriber.objects.update(link_due_at=now)
    signup.unsubscribe(ada, now=now, via=ConsentEvent.Via.PAGE)
    Subscriber.objects.update(link_due_at=now)  # asked for in the same moment
    assert mail.send_due(now) == 0
    ada.refresh_from_db()
    assert ada.link_due_at is None


def test_consent_is_looked_at_in_the_update_that_claims(pending, now, monkeypatch):
    """A bar that comes between reading the row and claiming it."""
    read = mail.address_hash

    def barred_meanwhile(address: str) -> str:
        Suppression.objects.get_or_create(
            address_hash=pending.address_hash, defaults={"reason": "bounce"}
        )
        return read(address)

    monkeypatch.setattr(mail, "address_hash", barred_meanwhile)
    assert mail.send_due(now) == 0


# -- what may go wrong ---------------------------------------------------------------------


def test_a_crash_before_sending_costs_a_lease_and_not_the_mail(pending, now, monkeypatch):
    def crash() -> FakeTransport:
        transport = FakeTransport(Receipt(Status.SENT))
        transport.send = lambda messages: (_ for _ in ()).throw(Crash)
        return transport

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(flow, "get_transports", lambda: [crash()])
        mail.send_due(now)
    assert mail.send_due(now + LEASE - timedelta(seconds=1)) == 0
    assert mail.send_due(now + LEASE) == 1
    assert len(locmem.outbox) == 1


def test_a_mail_that_is_tried_again_keeps_its_message_id(pending, now, answers):
    transport = answers(Status.RETRY)
    mail.send_due(now)
    mail.send_due(now + timedelta(hours=1))
    first, second = (message.extra_headers["Message-ID"] for message in transport.sent)
    assert first == second


def test_the_next_mail_of_a_kind_has_another_message_id(ada, now, answers):
    transport = answers(Status.SENT)
    for moment in (now, now + timedelta(hours=2)):
        signup.request_link(ada.email, moment)
        mail.send_due(moment)
    first, second = (message.extra_headers["Message-ID"] for message in transport.sent)
    assert first != second


def test_two_workers_send_one_mail(pending, now, answers):
    transport = answers(Status.SENT)
    rows = mail._due(mail.SERVICE_MAILS[0], now, 10)
    claims = [mail._claim(mail.SERVICE_MAILS[0], *rows[0], now) for _ in range(2)]
    assert [claim is not None for claim in claims] == [True, False]
    assert mail.send_due(now) == 0
    assert not transport.sent


def test_retry_waits_as_long_as_it_was_asked_to(pending, now, answers):
    answers(Status.RETRY, error="421 busy", retry_after_seconds=3600.0)
    assert mail.send_due(now) == 0
    pending.refresh_from_db()
    assert pending.confirmation_due_at == now + timedelta(hours=1)
    assert (pending.confirmation_sent_at, pending.confirmations_unanswered) == (None, 0)


def test_uncertain_counts_as_sent(pending, now, answers):
    answers(Status.UNCERTAIN)
    mail.send_due(now)
    pending.refresh_from_db()
    assert (pending.confirmation_due_at, pending.confirmation_sent_at) == (None, now)


def test_a_refusal_is_final_and_logged_without_the_address(pending, now, answers, caplog):
    answers(Status.FAILED, error="550 no such user")
    with caplog.at_level("INFO"):
        mail.send_due(now)
    pending.refresh_from_db()
    assert (pending.confirmation_due_at, pending.confirmation_sent_at) == (None, None)
    assert "550 no such user" in caplog.text
    assert "example.org" not in caplog.text


def test_leaving_while_the_mail_is_under_way_is_not_undone(ada, now, answers):
    signup.request_link(ada.email, now)
    transport = answers(Status.SENT)
    send = transport.send

    def leaves_meanwhile(messages):
        signup.unsubscribe(ada, now=now, via=ConsentEvent.Via.PAGE)
        return send(messages)

    transport.send = leaves_meanwhile
    mail.send_due(now)
    ada.refresh_from_db()
    assert (ada.state, ada.link_due_at, ada.link_sent_at) == ("unsubscribed", None, now)


def test_a_round_ends_before_its_claims_do(pending, now, answers, monkeypatch):
    answers(Status.SENT)
    moments = iter([0.0, settings.LEASE_SECONDS * 1.0])
    monkeypatch.setattr(mail.time, "monotonic", lambda: next(moments))
    assert mail.send_due(now) == 0
    pending.refresh_from_db()
    assert pending.confirmation_due_at < now, "still due, and not claimed"


def test_a_mail_is_seven_bit_and_its_list_headers_are_not_folded():
    url = f"https://papers.example.org/unsubscribe/{'x' * 90}/"
    made = mail.compose(
        "link",
        {"url": url, "name": "Zoë", "valid_days": 30},
        to="ada@example.org",
        message_id="<1@papers.example.org>",
        headers={"List-Unsubscribe": f"<{url}>"},
    )
    raw = made.message().as_bytes(linesep="\r\n")
    assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in raw
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    parts = message_from_bytes(raw, policy=default)
    assert {part["Content-Transfer-Encoding"] for part in parts.iter_parts()} == {
        "quoted-printable"
    }
