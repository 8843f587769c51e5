"""A reader's page in the admin: what they got, and what they would get now."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
import time_machine
from bs4 import BeautifulSoup
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse

from digest.admin import showing
from digest.models import Digest, Feedback, Slot
from papers.models import Paper
from subscribers import signup
from subscribers.models import Subscriber
from subscribers.transports import Receipt, Status
from tests.browser_form import filled_in
from tests.database import everything
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader, make_readers
from tests.fakes.transport import FakeTransport

pytestmark = pytest.mark.django_db

NOW = DUE + timedelta(hours=1)
LIST = "/admin/subscribers/subscriber/"
NASTY = "<script>alert(1)</script> bees"


@pytest.fixture(autouse=True)
def soon_after():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("operator", "operator@example.org"))
    return client


@pytest.fixture
def outgoing(monkeypatch) -> FakeTransport:
    fake = FakeTransport()
    monkeypatch.setattr(showing, "get_transport", lambda: fake)
    return fake


@pytest.fixture
def paper() -> Paper:
    paper = make_paper(NASTY, abstract="Honey bees dance for nectar.")
    subjects = ["Violins", "Glaciers", "Tax law", "Compilers", "Tulips", "Concrete", "Chess"]
    make_edition(SUNDAY, [paper, *(make_paper(each, abstract=f"On {each}.") for each in subjects)])
    return paper


@pytest.fixture
def ada(paper) -> Subscriber:
    return make_reader(topics=["honey bees"])


def page_of(reader: Subscriber) -> str:
    return reverse("admin:subscribers_subscriber_change", args=[reader.pk])


def beside(client, reader: Subscriber) -> BeautifulSoup:
    page = client.get(page_of(reader))
    assert "<script>alert" not in page.content.decode()
    return BeautifulSoup(page.content, "html.parser").select_one(".reader-beside")


def words(part: BeautifulSoup) -> str:
    return " ".join(part.get_text().split())


def choose(client, action: str, readers: list[Subscriber], **extra):
    pks = [reader.pk for reader in readers]
    return client.post(LIST, {"action": action, "_selected_action": pks, **extra})


def send_test(client, *readers: Subscriber):
    page = choose(client, "send_test", list(readers))
    return client.post(LIST, filled_in(page, ".asking form"), follow=True)


def said(page) -> list[str]:
    return [str(message) for message in page.context["messages"]]


def test_the_page_shows_beside_the_form_what_would_come_now(operator, ada):
    before = everything()
    shown = beside(operator, ada)
    assert "2 in full out of 8 new papers." in words(shown)
    (frame,) = shown.select("iframe")
    assert frame["sandbox"] in ("", [])
    mail = operator.get(frame["src"])
    assert "sandbox" in mail["Content-Security-Policy"]
    assert "Because you follow" in mail.content.decode()
    assert "/unsubscribe/" not in mail.content.decode()
    assert everything() == before


def test_a_changed_topic_is_seen_at_once_in_what_would_come(operator, ada):
    data = filled_in(operator.get(page_of(ada)), "#subscriber_form")
    data |= {"topics-0-name": "glaciers", "topics-0-text": "glaciers", "_continue": "1"}
    page = operator.post(page_of(ada), data, follow=True)
    assert page.redirect_chain[-1][0] == page_of(ada)
    assert "Glaciers" in words(beside(operator, ada).select_one("#upcoming"))


def test_where_nothing_would_come_the_page_says_why(operator, ada):
    Subscriber.objects.update(cursor=1)
    shown = beside(operator, ada)
    assert "no edition has closed since their last digest" in words(shown)
    assert not shown.select("iframe")
    Subscriber.objects.update(cursor=0)
    Paper.objects.update(withdrawn_at=NOW)
    assert "no mail would go out" in words(beside(operator, ada))


def test_what_holds_the_mail_back_is_said_with_what_it_would_be(operator, ada):
    for hold, why in (
        (lambda: signup.pause(ada, date(2026, 12, 24), NOW), "while they pause"),
        (lambda: signup.suppress(ada.address_hash, now=NOW, via="admin"), "is suppressed"),
        (lambda: signup.unsubscribe(ada, now=NOW, via="admin"), "they unsubscribed"),
    ):
        hold()
        shown = beside(operator, ada)
        assert why in words(shown.select_one(".notice"))
        assert shown.select("iframe")
    ben = make_reader("ben@example.org", state="pending", confirmed_at=None, next_due_at=None)
    assert "before they confirm" in words(beside(operator, ben).select_one(".notice"))


def test_recent_digests_and_feedback_stand_on_the_page_the_newest_first(operator, ada, paper):
    digests = []
    for number in range(12):
        due = DUE - timedelta(days=number + 1)
        slot = Slot.objects.create(date=due.date(), due=1)
        digests.append(Digest.objects.create(
            subscriber=ada, slot=slot, due_at=due, state="skipped", skip_reason="late",
            outcome="bounced",
        ))  # fmt: skip
        Feedback.give(subscriber=ada, paper=make_paper(f"P{number}"), kind="more", at=due)
    shown = beside(operator, ada)
    rows = shown.select("tbody tr")
    links = [row.a["href"] for row in rows]
    assert links == [reverse("admin:digest_digest_change", args=[each.pk]) for each in digests[:10]]
    assert "skipped: too late for its slot bounced 0" in words(rows[0])
    said = shown.select("li")
    assert len(said) == 10
    assert "more like this: P0" in words(said[0])


def test_who_may_not_see_digests_sees_none_on_a_readers_page(client, ada, paper):
    slot = Slot.objects.create(date=DUE.date(), due=1)
    Digest.objects.create(subscriber=ada, slot=slot, due_at=DUE)
    Feedback.give(subscriber=ada, paper=paper, kind="more", at=DUE)
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_subscriber"))
    client.force_login(clerk)
    shown = words(beside(client, ada))
    assert "What they would get now" in shown
    assert "Recent digests" not in shown
    assert "Feedback" not in shown


def test_a_readers_page_takes_as_many_queries_for_many_topics_and_digests(
    operator, ada, django_assert_max_num_queries
):
    with django_assert_max_num_queries(200) as few:
        operator.get(page_of(ada))
    for number in range(10):
        due = DUE - timedelta(days=number + 1)
        slot = Slot.objects.create(date=due.date(), due=1)
        Digest.objects.create(subscriber=ada, slot=slot, due_at=due, state="sent", sent_at=due)
        topic = ada.topics.create(name=f"topic {number}")
        topic.interests.create(
            subscriber=ada, kind="paper", value=f"1706.{number:05}", paper=make_paper()
        )
    with django_assert_max_num_queries(200) as many:
        operator.get(page_of(ada))
    # The widget of a topic's seed papers looks its own up.
    assert len(many) <= len(few) + 10 + 2


# -- preview -------------------------------------------------------------------------------


def test_the_preview_of_one_reader_is_their_page(operator, ada):
    response = choose(operator, "preview", [ada])
    assert response["Location"] == f"{page_of(ada)}#upcoming"


def test_the_preview_of_several_shows_a_frame_for_each(operator, paper):
    readers = make_readers(3)
    page = BeautifulSoup(choose(operator, "preview", readers).content, "html.parser")
    sources = [frame["src"] for frame in page.select("iframe")]
    frames = [f"{reverse('admin:digest_upcoming', args=[r.pk])}?frame" for r in readers]
    assert sorted(sources) == sorted(frames)


def test_more_previews_than_fit_on_a_page_are_refused(operator, paper):
    response = operator.get(choose(operator, "preview", make_readers(11))["Location"])
    assert said(response) == ["At most 10 at a time. Select fewer."]


# -- send test to me -----------------------------------------------------------------------


def test_a_test_mail_goes_to_the_operator_alone_and_acts_for_nobody(operator, ada, outgoing):
    before = everything()
    page = send_test(operator, ada)
    assert said(page) == ["Send test to me: 1 done."]
    (mail,) = outgoing.accepted
    assert mail.to == ["operator@example.org"]
    assert mail.subject.startswith("[Test] ")
    whole = mail.message().as_string() + str(mail.alternatives) + mail.body
    assert "Because you follow" in whole
    for word in ("/unsubscribe/", "/preferences/", "/feedback/", "List-Unsubscribe", ada.email):
        assert word not in whole
    assert everything() == before
    assert LogEntry.objects.get().object_id == str(ada.pk)


def test_two_tests_are_two_mails(operator, ada, outgoing):
    send_test(operator, ada)
    send_test(operator, ada)
    ids = {mail.extra_headers["Message-ID"] for mail in outgoing.accepted}
    assert len(ids) == 2


def test_an_operator_without_an_address_is_told_so(operator, ada, outgoing):
    User.objects.update(email="")
    page = choose(operator, "send_test", [ada], back=page_of(ada))
    assert page["Location"] == page_of(ada)
    assert "no e-mail address" in said(operator.get(page["Location"]))[0]
    assert outgoing.windows == []
    away = choose(operator, "send_test", [ada], back="https://evil.example/")
    assert away["Location"] == LIST


def test_what_the_transport_refuses_is_said(operator, ada, outgoing):
    outgoing.answers = [Receipt(Status.FAILED, error="550 no such sender; see MAIL_FROM")]
    page = send_test(operator, ada)
    assert said(page) == [
        "The mail server did not take it (failed): 550 no such sender; see MAIL_FROM",
        "1 was left as it is. No test mail was sent for them.",
    ]
    assert not LogEntry.objects.exists()


def test_a_setting_that_the_transport_lacks_is_named(operator, ada, monkeypatch):
    def refuse():
        raise ImproperlyConfigured("EMAIL_BACKEND: cannot use 'nonsense'")

    monkeypatch.setattr(showing, "get_transport", refuse)
    assert "EMAIL_BACKEND: cannot use 'nonsense'" in said(send_test(operator, ada))


def test_where_nothing_would_come_no_test_is_sent(operator, ada, outgoing):
    Subscriber.objects.update(cursor=1)
    assert "no mail would go out" in said(send_test(operator, ada))[0]
    assert outgoing.windows == []


def test_tests_for_more_readers_than_a_handful_are_refused(operator, paper, outgoing):
    response = operator.get(choose(operator, "send_test", make_readers(11))["Location"])
    assert said(response) == ["At most 10 at a time. Select fewer."]
    assert outgoing.windows == []


def test_who_may_only_look_previews_and_sends_nothing(client, ada, outgoing):
    viewer = User.objects.create_user("viewer", "viewer@example.org", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_subscriber"))
    client.force_login(viewer)
    assert choose(client, "preview", [ada])["Location"] == f"{page_of(ada)}#upcoming"
    choose(client, "send_test", [ada], confirmed="1")
    assert outgoing.windows == []
