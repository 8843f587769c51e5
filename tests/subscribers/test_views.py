"""The pages of anybody and the doors behind links; preferences have their own file."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.apps import apps
from django.contrib.auth.models import User
from django.core import mail as locmem
from django.core import serializers
from django.core.mail import EmailMultiAlternatives
from django.test import Client
from django.urls import reverse

from papers.models import WantedCategory
from subscribers import mail, signup, tokens, topics
from subscribers.models import ConsentEvent, Subscriber, Suppression, address_hash
from subscribers.tokens import Purpose
from subscribers.transports.outbox import EmailBackend
from tests.factories import make_reader

NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
FAR = "203.0.113.5"
SUBSCRIBE = "/subscribe/"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def frozen():
    with time_machine.travel(NOW, tick=False):
        yield


def path_of(url: str) -> str:
    return url.removeprefix("http://paperround.test")


def token_of(reader: Subscriber, purpose: Purpose, days_ago: int = 0) -> str:
    made = (NOW - timedelta(days=days_ago)).date()
    return tokens.make(purpose, reader.uuid.hex, today=made)


def unsubscribe_path(reader: Subscriber, days_ago: int = 0) -> str:
    token = token_of(reader, Purpose.UNSUBSCRIBE, days_ago)
    return reverse("subscribers:unsubscribe", args=[token])


def rows() -> str:
    """Every row of ours, as text."""
    models = [m for label in ("papers", "subscribers", "digest")
              for m in apps.get_app_config(label).get_models()]  # fmt: skip
    return "\n".join(serializers.serialize("json", m.objects.order_by("pk")) for m in models)


# -- subscribing ---------------------------------------------------------------------------


def test_subscribing_leads_to_check_your_mail_and_a_confirmation(client):
    response = client.post(SUBSCRIBE, {"email": "ada@example.org", "time_zone": "Asia/Tokyo"})
    assert (response.status_code, response["Location"]) == (302, "/subscribe/check-your-mail/")
    assert client.get(response["Location"]).status_code == 200
    reader = Subscriber.objects.get()
    assert (reader.state, reader.time_zone, reader.confirmation_due_at) == (
        "pending", "Asia/Tokyo", NOW,
    )  # fmt: skip


# -- subscribing to a search ---------------------------------------------------------------

SEARCH = {"topic": "sparse  attention", "organization": "Example Labs", "category": "CS.cl"}
FOLLOWED = {
    ("text", "sparse attention"), ("organization", "Example Labs"), ("category", "cs.CL"),
}  # fmt: skip


def followed(reader: Subscriber) -> set[tuple[str, str]]:
    return set(reader.interests.values_list("kind", "value"))


def test_a_search_is_the_first_topic_once_it_is_confirmed(client):
    client.post(SUBSCRIBE, {"email": "ada@example.org", **SEARCH})
    reader = Subscriber.objects.get()
    assert [topic.name for topic in reader.topics.all()] == ["sparse attention"]
    assert followed(reader) == FOLLOWED
    topics.pass_on_wishes(NOW)
    assert not WantedCategory.objects.exists()

    page = client.post(path_of(mail.confirm_url(reader, NOW)), follow=True)
    assert "sparse attention" in page.content.decode()
    topics.pass_on_wishes(NOW)
    assert [each.name for each in WantedCategory.objects.all()] == ["cs.CL"]


def test_nobody_adds_a_topic_to_a_known_reader_by_typing_their_address(client):
    reader = make_reader("ada@example.org", topics=["robots"])

    answer = client.post(SUBSCRIBE, {"email": "ada@example.org", **SEARCH})

    assert answer["Location"] == "/subscribe/check-your-mail/"
    assert followed(reader) == {("text", "robots")}


def test_a_confirmation_has_no_word_of_the_search(client, mailoutbox):
    client.post(SUBSCRIBE, {"email": "ada@example.org", **SEARCH})
    mail.send_due(NOW)

    (confirmation,) = mailoutbox
    assert "attention" not in confirmation.message().as_string()


def test_the_last_of_two_searches_counts(client):
    for words in ("robots", "sparse attention"):
        client.post(SUBSCRIBE, {"email": "ada@example.org", "topic": words})

    assert followed(Subscriber.objects.get()) == {("text", "sparse attention")}


@pytest.mark.parametrize(
    ("search", "kept"),
    [
        ({"category": "cs.CL"}, {("text", "Computation and Language"), ("category", "cs.CL")}),
        ({"organization": "Example Labs"}, {("organization", "Example Labs")}),
        ({"topic": "robots", "category": "no.such"}, {("text", "robots")}),
        ({"topic": "x" * 501}, set()),
        ({"topic": " "}, set()),
    ],
)
def test_only_what_can_be_a_topic_becomes_one(client, search, kept):
    client.post(SUBSCRIBE, {"email": "ada@example.org", **search})

    assert followed(Subscriber.objects.get()) == kept


def test_the_search_stays_while_an_address_is_mended(client):
    page = client.post(SUBSCRIBE, {"email": "ada@example", **SEARCH}).content.decode()

    assert "Your first topic will be" in page
    assert 'name="category" value="CS.cl"' in page


def test_a_typing_error_is_named_on_the_form(client):
    response = client.post(SUBSCRIBE, {"email": "ada@example"})
    assert response.status_code == 200
    assert "“ada@example” is not an e-mail address" in response.content.decode()
    assert not Subscriber.objects.exists()


def test_what_a_visitor_typed_is_shown_escaped(client):
    page = client.post(SUBSCRIBE, {"email": "<script>alert(1)</script>"}).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_subscribe_pages_set_no_cookie(client):
    for path in (SUBSCRIBE, "/subscribe/check-your-mail/", "/link/", "/link/check-your-mail/"):
        assert not client.get(path).cookies
    assert not client.post(SUBSCRIBE, {"email": "ada@example.org"}).cookies


def test_the_honeypot_answers_as_always_and_does_nothing(client):
    response = client.post(SUBSCRIBE, {"email": "ada@example.org", "website": "http://spam"})
    assert response["Location"] == "/subscribe/check-your-mail/"
    assert not Subscriber.objects.exists()


def everybody(ada: Subscriber, pending: Subscriber) -> list[str]:
    """One address of each standing that an address can have."""
    gone = Subscriber.objects.create(
        email="gone@example.org", address_hash=address_hash("gone@example.org"),
        confirmed_at=NOW, state="active", next_due_at=NOW,
    )  # fmt: skip
    signup.unsubscribe(gone, now=NOW, via=ConsentEvent.Via.PAGE)
    for reason in Suppression.Reason:
        Suppression.objects.create(
            address_hash=address_hash(f"{reason}@example.org"), reason=reason
        )
    suppressed = [f"{reason}@example.org" for reason in Suppression.Reason]
    return ["new@example.org", ada.email, pending.email, gone.email, *suppressed]


@pytest.mark.parametrize("path", [SUBSCRIBE, "/link/"])
def test_no_answer_tells_whether_an_address_is_known(ada, pending, path):
    answers = set()
    for email in everybody(ada, pending):
        for _again in range(2):
            response = Client().post(path, {"email": email})
            del response["X-Request-ID"]  # each has its own
            answers.add((response.status_code, response.content, str(response.items())))
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 302),
        ({"Origin": "http://paperround.test"}, 302),
        ({"Origin": "http://testserver"}, 302),
        ({"Origin": "null"}, 302),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 302),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Referer": "https://evil.example/page"}, 403),
        ({"Referer": "http://paperround.test/"}, 302),
        ({"Origin": "http://paperround.test.evil.example"}, 403),
    ],
)
@pytest.mark.parametrize("path", [SUBSCRIBE, "/link/"])
def test_only_our_own_pages_may_post(path, headers, status):
    client = Client(enforce_csrf_checks=True)
    response = client.post(path, {"email": "ada@example.org"}, headers=headers)
    assert response.status_code == status
    assert Subscriber.objects.exists() == (status == 302 and path == SUBSCRIBE)


def test_one_visitor_gets_twenty_answers_an_hour(client, monkeypatch):
    def post(address: str) -> int:
        data = {"email": "ada@example.org"}
        return client.post(SUBSCRIBE, data, REMOTE_ADDR=address).status_code

    assert [post(FAR) for _ in range(21)] == [302] * 20 + [429]
    assert post("203.0.113.6") == 302
    assert {post(f"2001:db8::{number:x}") for number in range(20)} == {302}
    assert post("2001:db8::ffff:1") == 429, "one /64 is one visitor"
    assert client.post("/link/", {"email": "x"}, REMOTE_ADDR=FAR).status_code == 429


def test_behind_a_proxy_the_visitor_is_the_proxys_word(client, settings):
    settings.TRUST_PROXY = True
    for number in range(21):
        headers = {"X-Forwarded-For": f"198.51.100.{number}, {FAR}"}
        response = client.post(SUBSCRIBE, {"email": "ada@example.org"}, headers=headers)
    assert response.status_code == 429


def test_there_is_a_limit_for_all_together(client, monkeypatch):
    monkeypatch.setattr("subscribers.limits.REQUESTS_IN_ALL", 2)
    codes = [
        client.post(SUBSCRIBE, {"email": "a@example.org"}, REMOTE_ADDR=f"203.0.113.{n}").status_code
        for n in range(3)
    ]
    assert codes == [302, 302, 429]


# -- links in mails ------------------------------------------------------------------------


def test_get_and_head_of_every_link_in_every_mail_change_nothing(client, ada, pending):
    signup.request_link(ada.email, NOW)
    signup.request_address_change(ada, "ada@new.example", NOW)
    mail.send_due(NOW)
    urls = {
        url.rstrip("/") + "/"
        for message in locmem.outbox
        for text in (message.body, message.alternatives[0].content)
        for url in re.findall(r"http://paperround\.test[^\s\"<]*", text)
    }
    urls |= {mail.unsubscribe_url(ada, NOW), mail.preferences_url(ada, NOW)}
    assert len(urls) == 5  # three mails' links, the site, and how to leave
    before = rows()
    for _ in range(3):
        for url in urls:
            assert client.get(path_of(url)).status_code == 200
            assert client.head(path_of(url)).status_code == 200
    assert rows() == before


def test_confirming_needs_the_button_and_leads_on_to_the_topics(client, pending):
    path = path_of(mail.confirm_url(pending, NOW))
    assert b"<form" in client.get(path).content
    response = client.post(path)
    token = token_of(pending, Purpose.MANAGE)
    assert response["Location"] == reverse("digest:onboarding", args=[token])
    assert Subscriber.objects.get().state == "active"
    assert client.post(path)["Location"] == response["Location"], "the button pressed twice"
    assert ConsentEvent.objects.filter(kind="confirmed").count() == 1


def test_confirming_works_for_seven_days(client, pending):
    path = path_of(mail.confirm_url(pending, NOW - timedelta(days=8)))
    assert client.post(path).status_code == 410
    assert (
        client.get(path_of(mail.confirm_url(pending, NOW - timedelta(days=7)))).status_code == 200
    )


def test_a_confirmation_is_about_one_address(client, pending):
    path = path_of(mail.confirm_url(pending, NOW))
    pending.set_address("eve@example.org")
    pending.save()
    assert client.post(path).status_code == 404
    assert Subscriber.objects.get().state == "pending"


def test_a_confirmation_lifts_no_bar(client, pending):
    Suppression.objects.create(address_hash=pending.address_hash, reason="complaint")
    assert client.post(path_of(mail.confirm_url(pending, NOW))).status_code == 404
    assert Subscriber.objects.get().state == "pending"


@pytest.mark.parametrize("door", ["confirm", "preferences", "unsubscribe", "change_address"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_link_of_another_door_or_nobodys_shows_a_way_out(client, ada, door, method):
    for token in ("nonsense", token_of(ada, Purpose.READ), "x" * 300, "a-b-c"):
        response = getattr(client, method)(reverse(f"subscribers:{door}", args=[token]))
        assert response.status_code == 404
        assert b"Send me my link" in response.content


def test_every_door_refuses_the_keys_of_the_others(client, ada):
    doors = {
        "confirm": Purpose.CONFIRM,
        "preferences": Purpose.MANAGE,
        "unsubscribe": Purpose.UNSUBSCRIBE,
        "change_address": Purpose.ADDRESS,
    }
    for door, own in doors.items():
        for purpose in set(Purpose) - {own}:
            path = reverse(f"subscribers:{door}", args=[token_of(ada, purpose)])
            assert client.post(path).status_code == 404
    assert Subscriber.objects.get().state == "active"


def test_an_expired_manage_link_offers_a_new_one(client, ada):
    token = token_of(ada, Purpose.MANAGE, days_ago=31)
    response = client.get(reverse("subscribers:preferences", args=[token]))
    assert response.status_code == 410
    page = response.content.decode()
    assert 'action="/link/"' in page
    assert "ada@" not in page


def test_readers_pages_are_kept_by_nobody(client, ada, pending):
    paths = [
        path_of(mail.confirm_url(pending, NOW)),
        path_of(mail.preferences_url(ada, NOW)),
        path_of(mail.unsubscribe_url(ada, NOW)),
        reverse("subscribers:preferences", args=["nonsense"]),
    ]
    for path in paths:
        response = client.get(path)
        assert "no-store" in response["Cache-Control"]
        assert response["Referrer-Policy"] == "no-referrer"
        assert "noindex" in response["X-Robots-Tag"]
        assert not response.cookies


# -- leaving -------------------------------------------------------------------------------


def test_the_unsubscribe_link_is_inert_on_get(client, ada):
    assert b"<form" in client.get(unsubscribe_path(ada)).content
    assert Subscriber.objects.get().state == "active"


ONE_CLICK = "List-Unsubscribe=One-Click"
BOUNDARY = "frontier"
MULTIPART = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
    f"One-Click\r\n--{BOUNDARY}--\r\n"
)


@pytest.mark.parametrize(
    ("body", "content_type", "via"),
    [
        (ONE_CLICK, "application/x-www-form-urlencoded", "one_click"),
        (MULTIPART, f"multipart/form-data; boundary={BOUNDARY}", "one_click"),
        ("", "application/x-www-form-urlencoded", "page"),
        ("", "text/plain", "page"),
        ("broken", "multipart/form-data", "page"),
        ("a=1&" * 2000, "application/x-www-form-urlencoded", "page"),
    ],
)
def test_one_click_needs_no_cookie_and_is_not_redirected(ada, body, content_type, via):
    for _again in range(2):
        client = Client(enforce_csrf_checks=True)
        response = client.post(unsubscribe_path(ada), body, content_type=content_type)
        assert response.status_code == 200
        assert not response.cookies
    ada.refresh_from_db()
    assert (ada.state, ada.next_due_at) == ("unsubscribed", None)
    assert [event.via for event in ada.consent_events.all()] == [via]


def test_the_link_beats_the_session(ada, pending):
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("admin", pending.email))
    client.post(unsubscribe_path(ada), {"List-Unsubscribe": "One-Click"})
    assert dict(Subscriber.objects.values_list("email", "state")) == {
        ada.email: "unsubscribed",
        pending.email: "pending",
    }


def test_an_unsubscribe_link_works_for_ever(client, ada):
    assert client.post(unsubscribe_path(ada, days_ago=4000)).status_code == 200
    assert Subscriber.objects.get().state == "unsubscribed"


def test_the_link_of_an_erased_reader_still_answers(client, ada):
    path = unsubscribe_path(ada)
    ada.delete()
    assert client.post(path).status_code == 200


def test_leaving_can_be_undone(client, ada):
    page = client.post(unsubscribe_path(ada)).content.decode()
    undo = unsubscribe_path(ada) + "undo/"
    assert f'action="{undo}"' in page
    assert client.get(undo).headers["Location"] == unsubscribe_path(ada)
    assert Subscriber.objects.get(pk=ada.pk).state == Subscriber.State.UNSUBSCRIBED
    assert b"subscribed again" in client.post(undo).content
    ada.refresh_from_db()
    assert (ada.state, ada.link_due_at) == ("active", None)


def test_an_undo_may_ask_for_the_link_to_less_mail(client, ada):
    client.post(unsubscribe_path(ada))
    client.post(unsubscribe_path(ada) + "undo/", {"link": "1"})
    assert Subscriber.objects.get().link_due_at == NOW


def test_an_undo_that_comes_too_late_leads_to_subscribing(client, ada):
    signup.unsubscribe(ada, now=NOW - timedelta(days=40), via=ConsentEvent.Via.PAGE)
    assert b"Please subscribe again" in client.post(unsubscribe_path(ada) + "undo/").content
    assert Subscriber.objects.get().state == "unsubscribed"


# -- moving --------------------------------------------------------------------------------


def test_a_new_address_is_taken_by_its_button(client, ada):
    signup.request_address_change(ada, "ada@new.example", NOW)
    path = path_of(mail.address_url(ada, NOW))
    assert b"ada@new.example" in client.get(path).content
    assert Subscriber.objects.get().email == "ada@example.org"
    for _pressed_twice in range(2):
        assert b"Your address is changed" in client.post(path).content
    assert Subscriber.objects.get().email == "ada@new.example"


def test_the_link_to_an_older_wish_takes_no_newer_address(client, ada):
    signup.request_address_change(ada, "first@new.example", NOW)
    first = path_of(mail.address_url(ada, NOW))
    client.post(first)
    ada.refresh_from_db()
    signup.request_address_change(ada, "second@new.example", NOW)
    client.post(first)
    assert Subscriber.objects.get().email == "first@new.example"


def test_a_taken_address_is_refused_kindly(client, ada, pending):
    signup.confirm(pending, now=NOW, via=ConsentEvent.Via.PAGE)
    signup.request_address_change(ada, pending.email, NOW)
    response = client.post(path_of(mail.address_url(ada, NOW)))
    assert b"The address was not changed" in response.content


# -- the outbox ----------------------------------------------------------------------------


@pytest.fixture
def outbox(settings, tmp_path: Path) -> str:
    """One mail in a local outbox; its name."""
    settings.EMAIL_BACKEND = "subscribers.transports.outbox.EmailBackend"
    settings.OUTBOX_DIR = tmp_path / "outbox"
    message = EmailMultiAlternatives("Hello <b>Ada</b>", "plain words", to=["ada@example.org"])
    html = '<html><head lang="en"><title>x</title></head><body><a href="/x">HTML words</a></body>'
    message.attach_alternative(html, "text/html")
    EmailBackend().send_messages([message])
    (file,) = settings.OUTBOX_DIR.glob("*.eml")
    return file.name


def test_the_outbox_shows_a_mail_as_html_text_and_source(client, outbox):
    page = client.get("/outbox/").content.decode()
    assert f"/outbox/{outbox}/" in page
    assert "Hello &lt;b&gt;Ada" in page
    path = f"/outbox/{outbox}/"
    assert f'src="{path}html/"' in client.get(path).content.decode()
    assert "plain words" in client.get(path, {"view": "text"}).content.decode()
    assert "Content-Type: multipart" in client.get(path, {"view": "source"}).content.decode()


@pytest.mark.parametrize("path", ["/subscribe/check-your-mail/", "/link/check-your-mail/"])
def test_where_no_mail_leaves_the_pages_say_where_it_is(client, outbox, settings, path):
    assert 'href="/outbox/"' in client.get(path).content.decode()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    assert "outbox" not in client.get(path).content.decode()


def test_a_mail_is_framed_so_that_nothing_in_it_runs(client, outbox):
    response = client.get(f"/outbox/{outbox}/html/")
    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert '<head lang="en"><base target="_top">' in response.content.decode()


def test_no_such_mail(client, outbox):
    for name in ("nothing", "20260101T000000000000Z-" + "0" * 32 + ".eml", ".."):
        assert client.get(f"/outbox/{name}/").status_code == 404


def test_the_outbox_is_for_this_machine_and_staff(client, outbox, settings):
    paths = ["/outbox/", f"/outbox/{outbox}/", f"/outbox/{outbox}/html/"]
    for path in paths:
        assert client.get(path).status_code == 200
        assert client.get(path, REMOTE_ADDR="::1").status_code == 200
        assert client.get(path, REMOTE_ADDR=FAR).status_code == 403
        assert client.get(path, headers={"X-Forwarded-For": FAR}).status_code == 403
    settings.TRUST_PROXY = True
    assert client.get("/outbox/", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403
    client.force_login(User.objects.create_user("reader"))
    assert client.get("/outbox/", REMOTE_ADDR=FAR).status_code == 403
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get("/outbox/", REMOTE_ADDR=FAR).status_code == 200


def test_without_the_outbox_there_is_no_such_page(client):
    assert client.get("/outbox/").status_code == 404
