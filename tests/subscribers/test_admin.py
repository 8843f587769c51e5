"""The operator's pages about readers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from bs4 import BeautifulSoup
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from papers.models import Paper
from subscribers import signup, topics
from subscribers.models import (
    ConsentEvent,
    Interest,
    Subscriber,
    Suppression,
    Topic,
    address_hash,
)
from subscribers.topics import Wish
from tests.browser_form import filled_in
from tests.database import everything
from tests.factories import make_paper

NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
READERS = "/admin/subscribers/subscriber/"
SUPPRESSIONS = "/admin/subscribers/suppression/"
SUGGESTIONS = f"{READERS}suggestions/"
FORM = "#subscriber_form"
K = Interest.Kind
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def frozen():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("operator", "operator@example.org"))
    return client


@pytest.fixture
def viewer(client):
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


@pytest.fixture
def paper() -> Paper:
    return make_paper("Attention for bees", organization="Hive Lab")


@pytest.fixture
def attention(ada) -> Topic:
    wishes = [Wish(K.TEXT, "Cheaper attention"), Wish(K.KEYWORD, "KV cache")]
    return topics.add_topic(ada, "attention", wishes, now=NOW)


def page_of(reader: Subscriber) -> str:
    return f"{READERS}{reader.pk}/change/"


def save(client, reader: Subscriber, **changed):
    """The reader's page as it stands, with these fields changed, posted back."""
    data = filled_in(client.get(page_of(reader)), FORM)
    return client.post(
        page_of(reader), data | {k.replace("__", "-"): v for k, v in changed.items()}
    )


def add_topic(client, reader: Subscriber, at: int, **fields):
    prefix = f"topics-{at}-"
    typed = {prefix + name: value for name, value in fields.items()}
    data = filled_in(client.get(page_of(reader)), FORM)
    data |= {"topics-TOTAL_FORMS": str(at + 1), f"{prefix}subscriber": str(reader.pk), **typed}
    return client.post(page_of(reader), data)


def wishes(topic: Topic) -> set[tuple[str, str]]:
    return set(topic.interests.values_list("kind", "value"))


def errors(response) -> dict[str, str]:
    """Name of a field -> what is said at it, on a page that was refused."""
    assert response.status_code == 200
    found = {}
    for field in BeautifulSoup(response.content, "html.parser").select(f"{FORM} [name]"):
        box = field.find_parent(class_="fieldBox") or field.find_parent(class_="form-row")
        said = box and (
            box.find_previous_sibling(class_="errorlist") or box.select_one(".errorlist")
        )
        if said:
            found[field["name"]] = said.get_text()
    return found


def act(client, action: str, *rows, url: str = READERS, **typed):
    """Chooses the action in the list and answers what is asked."""
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    page = client.post(url, data)
    assert page.status_code == 200, "it did not ask"
    for row in rows:
        row.refresh_from_db()
    return client.post(url, filled_in(page, ".asking form") | typed, follow=True)


def said(page) -> list[str]:
    return [str(message) for message in page.context["messages"]]


def offered(client, reader: Subscriber) -> list[str]:
    page = BeautifulSoup(client.get(page_of(reader)).content, "html.parser")
    return [field["value"] for field in page.select(".page-actions [name=action]")]


@pytest.mark.parametrize("who", ["operator", "viewer"])
@pytest.mark.parametrize("name", ["subscriber", "suppression", "consentevent", "topic"])
def test_every_list_and_page_opens(request, ada, attention, name, who):
    client = request.getfixturevalue(who)
    topics.set_muted(ada, [Wish(K.KEYWORD, "survey")], now=NOW)
    ConsentEvent.objects.create(subscriber=ada, kind="confirmed", via="page")
    Suppression.objects.create(address_hash=address_hash("x@example.org"), reason="bounce")
    model = {m._meta.model_name: m for m in (Subscriber, Suppression, ConsentEvent, Topic)}[name]
    changelist = client.get(f"/admin/subscribers/{name}/")
    assert changelist.context["cl"].result_count == 1
    pk = model.objects.get().pk
    assert client.get(f"/admin/subscribers/{name}/{pk}/change/").status_code == 200
    assert client.get(f"/admin/subscribers/{name}/{pk}/history/").status_code == 200


# -- the list ------------------------------------------------------------------------------


def found(client, url: str = READERS, **query) -> set[str]:
    return {str(row) for row in client.get(url, query).context["cl"].result_list}


def test_a_reader_is_found_by_the_whole_address_in_any_spelling_or_by_its_beginning(
    operator, ada, pending
):
    assert found(operator, q="ADA@Example.ORG") == {"ada@example.org"}
    assert found(operator, q="Ben") == {"ben@example.org"}
    assert found(operator, q="ben@ex") == {"ben@example.org"}
    assert found(operator, q="example.org") == set()
    assert found(operator) == {"ada@example.org", "ben@example.org"}


def test_filters_find_who_they_say(operator, ada, attention, pending):
    gone = Subscriber.objects.create(
        email="c@example.org",
        address_hash=address_hash("c@example.org"),
        created_at=NOW - timedelta(days=6),
    )
    signup.suppress(gone.address_hash, now=NOW, via="admin")
    signup.pause(ada, date(2026, 12, 24), NOW)
    names = {"a": "ada@example.org", "b": "ben@example.org", "c": "c@example.org"}
    for query, expected in (
        ({"state__exact": "pending"}, "bc"),
        ({"paused": "yes"}, "a"),
        ({"paused": "no"}, "bc"),
        ({"suppressed": "yes"}, "c"),
        ({"suppressed": "no"}, "ab"),
        ({"topics": "yes"}, "a"),
        ({"topics": "no"}, "bc"),
        ({"since": "1"}, ""),
        ({"since": "7"}, "bc"),
        ({"since": "30"}, "bc"),
        ({"since": "nonsense"}, "abc"),
    ):
        assert found(operator, **query) == {names[each] for each in expected}, query


def test_the_list_says_in_short_when_and_whether_mail_goes_to_a_reader(operator, ada, attention):
    signup.pause(ada, date(2026, 12, 24), NOW)
    signup.suppress(ada.address_hash, now=NOW, via="admin")
    row = BeautifulSoup(operator.get(READERS).content, "html.parser").select_one("tbody tr")
    cells = {cell["class"][0]: cell.get_text() for cell in row.select("[class^=field-]")}
    assert cells == {
        "field-email": "ada@example.org",
        "field-state_in_words": "active, paused until 24 Dec 2026, suppressed: by the operator",
        "field-rhythm": "Mon–Fri 07:00 Europe/Berlin",
        "field-next_due": "24 Dec 07:00",
        "field-topic_count": "1",
        "field-created": "24 Oct 2026",
    }


def test_the_list_takes_as_many_queries_for_many_readers_as_for_one(operator, ada):
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            operator.get(READERS)
        return len(captured)

    one = queries()
    for number in range(20):
        email = f"r{number}@example.org"
        reader = Subscriber.objects.create(email=email, address_hash=address_hash(email))
        topics.add_topic(reader, "bees", [], now=NOW)
    assert queries() == one


@pytest.mark.parametrize("name", ["consentevent", "topic"])
def test_consent_and_topics_are_found_by_their_readers_address(operator, ada, attention, name):
    ConsentEvent.objects.create(subscriber=ada, kind="confirmed", via="page")
    url = f"/admin/subscribers/{name}/"
    assert len(found(operator, url, q="ADA@example.org")) == 1
    assert found(operator, url, q="ben@example.org") == set()


# -- adding --------------------------------------------------------------------------------


def test_an_address_typed_by_the_operator_is_asked_first(operator):
    response = operator.post(f"{READERS}add/", {"email": "Ada@example.org"}, follow=True)
    assert response.status_code == 200
    reader = Subscriber.objects.get()
    assert (reader.state, reader.confirmation_due_at) == ("pending", NOW)
    assert reader.consent_events.get().via == "admin"


def test_a_known_or_barred_address_is_refused(operator, ada):
    Suppression.objects.create(address_hash=address_hash("x@example.org"), reason="complaint")
    for email, word in [("ADA@example.org", "There is a reader"), ("x@example.org", "suppressed")]:
        assert word in operator.post(f"{READERS}add/", {"email": email}).content.decode()
    assert Subscriber.objects.count() == 1


# -- the page ------------------------------------------------------------------------------


def test_the_page_says_in_words_how_it_stands(operator, ada, pending):
    def head(reader: Subscriber) -> str:
        page = BeautifulSoup(operator.get(page_of(reader)).content, "html.parser")
        return " ".join(page.select_one(".reader-head").get_text().split())

    assert head(ada) == (
        "Active since 24 October 2026. Next digest Tue 24 Nov 07:30 Europe/Berlin. "
        "Mon–Fri 07:00 Europe/Berlin · up to 5 papers"
    )
    assert "A confirmation mail is on its way." in head(pending)
    signup.suppress(ada.address_hash, note="asked by phone", now=NOW, via="admin")
    assert "Suppressed since 23 November 2026 (by the operator)." in head(ada)
    assert "“asked by phone”" in head(ada)
    assert "Next digest" not in head(ada)
    signup.unsubscribe(ada, now=NOW, via="admin")
    assert "Unsubscribed on 23 November 2026" in head(ada)


def test_saving_the_page_as_it_is_changes_nothing(operator, ada, attention, paper):
    wished = [Wish(K.PAPER, paper.arxiv_id), Wish(K.PAPER, "1706.03762"), Wish(K.CATEGORY, "cs.CL")]
    topics.add_topic(ada, "papers", wished, now=NOW)
    topics.set_muted(ada, [Wish(K.ORGANIZATION, "Noise Inc"), Wish(K.KEYWORD, "survey")], now=NOW)
    before = everything()
    assert save(operator, ada).status_code == 302
    assert everything() == before
    assert LogEntry.objects.get().get_change_message() == "No fields changed."


def test_changing_preferences_resets_the_clock(operator, ada):
    response = save(
        operator, ada, cadence="chosen", days=["0", "3"], hour="20", time_zone="Asia/Tokyo",
        paused_until="2026-12-24",
    )  # fmt: skip
    assert response.status_code == 302
    ada.refresh_from_db()
    assert (ada.hour, ada.days, ada.time_zone) == (20, [0, 3], "Asia/Tokyo")
    assert (ada.email, ada.state) == ("ada@example.org", "active")
    assert ada.next_due_at == datetime(2026, 12, 24, 11, 0, tzinfo=UTC)
    assert save(operator, ada, paused_until="").status_code == 302
    ada.refresh_from_db()
    assert (ada.paused_until, ada.next_due_at) == (None, datetime(2026, 11, 23, 11, tzinfo=UTC))


def test_the_operator_switches_off_what_is_popular(operator, ada):
    assert save(operator, ada, likes_popular=[]).status_code == 302
    ada.refresh_from_db()
    assert ada.likes_popular is False


def test_a_pause_that_is_over_stays_and_hinders_no_other_change(operator, ada):
    Subscriber.objects.update(paused_until=date(2026, 11, 1))
    assert save(operator, ada, papers_per_digest="3").status_code == 302
    ada.refresh_from_db()
    assert (ada.papers_per_digest, ada.paused_until) == (3, date(2026, 11, 1))


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"cadence": "weekly", "days": []}, "days", "Please choose the one day"),
        ({"time_zone": "Berlin"}, "time_zone", "“Berlin” is none"),
        ({"paused_until": "2026-11-23"}, "paused_until", "That day has passed"),
        ({"paused_until": "2030-01-01"}, "paused_until", "a year at most"),
        ({"papers_per_digest": "11"}, "papers_per_digest", "less than or equal to 10"),
        ({"categories": ["nonsense!"]}, "categories", "not an arXiv category"),
        ({"topics__0__name": " "}, "topics-0-name", "required"),
        ({"topics__0__papers": "no id"}, "topics-0-papers", "not an arXiv paper"),
        ({"topics__0__categories": ["x1"]}, "topics-0-categories", "not an arXiv category"),
        ({"topics__0__keywords": "k" * 501}, "topics-0-keywords", "too long"),
    ],
)
def test_what_the_readers_own_page_refuses_is_refused_at_its_field_and_nothing_is_saved(
    operator, ada, attention, changed, field, said
):
    before = everything()
    response = save(operator, ada, **{"hour": "9", "topics__0__text": "new", **changed})
    assert said in errors(response)[field]
    assert everything() == before


def test_a_refused_page_shows_what_was_typed(operator, ada, attention):
    typed = {"topics__0__categories": ["cs.CL", "x1"], "topics__0__keywords": "one\ntwo"}
    response = save(operator, ada, time_zone="Berlin", **typed)
    data = filled_in(response, FORM)
    assert data["topics-0-categories"] == ["cs.CL", "x1"]
    assert data["topics-0-keywords"] == ["one\ntwo"]
    assert data["time_zone"] == ["Berlin"]
    assert "Active since" in response.content.decode()


def test_a_topic_is_edited_with_all_that_it_is_made_of(operator, ada, attention, paper):
    kept = attention.interests.get(kind=K.KEYWORD)
    response = save(
        operator, ada, topics__0__name="sparse attention", topics__0__text="",
        topics__0__keywords="KV cache\n  paged   memory ", topics__0__authors="Ada Example",
        topics__0__organizations=["Hive Lab"], topics__0__categories=["CS.cl"],
        topics__0__seeds=[str(paper.pk)], topics__0__papers="https://arxiv.org/abs/1706.03762v5",
    )  # fmt: skip
    assert response.status_code == 302
    topic = ada.topics.get()
    assert topic.name == "sparse attention"
    assert wishes(topic) == {
        ("keyword", "KV cache"),
        ("keyword", "paged memory"),
        ("author", "Ada Example"),
        ("organization", "Hive Lab"),
        ("category", "cs.CL"),
        ("paper", paper.arxiv_id),
        ("paper", "1706.03762"),
    }
    assert topic.interests.get(value=paper.arxiv_id).paper == paper
    assert topic.interests.get(value="KV cache").pk == kept.pk
    assert "for topic “sparse attention”" in LogEntry.objects.get().get_change_message()


def test_a_new_topic_and_a_deleted_one_and_what_is_muted_go_in_one_save(operator, ada, attention):
    response = add_topic(operator, ada, at=1, name="bees", keywords="honey\nnectar")
    assert response.status_code == 302
    assert wishes(ada.topics.get(name="bees")) == {("keyword", "honey"), ("keyword", "nectar")}
    response = save(operator, ada, topics__0__DELETE="on", keywords="survey", hour="9")
    assert response.status_code == 302
    assert [topic.name for topic in ada.topics.all()] == ["bees"]
    assert [str(interest) for interest in ada.interests.muted()] == ["not keyword: survey"]


def test_a_new_topic_by_its_name_alone_is_looked_for_by_its_name(operator, ada):
    assert add_topic(operator, ada, at=0, name="honey bees").status_code == 302
    assert wishes(ada.topics.get()) == {("text", "honey bees")}


@pytest.mark.parametrize("name", ["attention", "ATTENTION"])
def test_two_topics_of_one_name_are_refused_at_the_name(operator, ada, attention, name):
    response = add_topic(operator, ada, at=1, name=name)
    assert errors(response) == {"topics-1-name": "There is another topic of that name."}
    assert ada.topics.count() == 1


def test_two_new_topics_of_one_name_are_refused_at_both(operator, ada):
    response = add_topic(operator, ada, at=0, name="bees", papers="no id")
    second = {"topics-1-subscriber": str(ada.pk), "topics-1-name": "Bees"}
    data = filled_in(response, FORM) | {"topics-TOTAL_FORMS": "2", "topics-0-papers": "", **second}
    response = operator.post(page_of(ada), data)
    assert set(errors(response)) == {"topics-0-name", "topics-1-name"}
    assert not ada.topics.exists()


def test_the_name_of_a_topic_that_goes_can_be_taken_in_the_same_save(operator, ada, attention):
    other = topics.add_topic(ada, "bees", [], now=NOW)
    response = save(operator, ada, topics__1__DELETE="on", topics__0__name="bees")
    assert response.status_code == 302
    assert not Topic.objects.filter(pk=other.pk).exists()
    assert ada.topics.get().name == "bees"


def test_a_new_topic_takes_the_name_of_one_that_goes(operator, ada, attention):
    response = add_topic(operator, ada, at=1, name="attention", keywords="bees", DELETE="")
    assert errors(response)
    data = filled_in(response, FORM) | {"topics-0-DELETE": "on"}
    assert operator.post(page_of(ada), data).status_code == 302
    assert wishes(ada.topics.get()) == {("keyword", "bees")}


def test_two_topics_cannot_swap_their_names_in_one_save(operator, ada, attention):
    topics.add_topic(ada, "bees", [], now=NOW)
    response = save(operator, ada, topics__0__name="bees", topics__1__name="attention")
    assert set(errors(response)) == {"topics-0-name", "topics-1-name"}


def test_more_topics_than_the_readers_page_allows_are_refused(operator, ada):
    for number in range(topics.TOPICS_MAX):
        topics.add_topic(ada, f"topic {number}", [], now=NOW)
    response = add_topic(operator, ada, at=topics.TOPICS_MAX, name="one more")
    assert "at most" in response.content.decode()
    assert ada.topics.count() == topics.TOPICS_MAX


def test_more_wishes_than_the_readers_page_allows_are_refused_seed_papers_included(
    operator, ada, attention, paper
):
    lines = "\n".join(f"word {number}" for number in range(topics.INTERESTS_MAX))
    typed = {"topics__0__text": "", "topics__0__keywords": lines}
    assert save(operator, ada, **typed).status_code == 302
    response = save(operator, ada, topics__0__seeds=[str(paper.pk)])
    assert f"{topics.INTERESTS_MAX} lines in all" in response.content.decode()


def test_a_topic_the_reader_names_in_this_very_moment_makes_the_save_start_over(
    operator, ada, attention, monkeypatch
):
    revise = topics.revise_topic

    def late(*args, **kwargs):
        Topic.objects.create(subscriber=ada, name="bees")
        return revise(*args, **kwargs)

    monkeypatch.setattr(topics, "revise_topic", late)
    response = save(operator, ada, hour="9", topics__0__name="Bees")
    assert response["Location"] == page_of(ada)
    ada.refresh_from_db()
    assert (ada.hour, ada.topics.get().name) == (7, "attention")


def test_address_consent_and_clock_are_not_to_be_posted(operator, ada):
    before = Subscriber.objects.values().get()
    forged = {"email": "eve@example.org", "state": "unsubscribed", "cursor": "0",
              "next_due_at_0": "2026-01-01", "next_due_at_1": "00:00", "last_slot": ""}  # fmt: skip
    assert save(operator, ada, **forged).status_code == 302
    assert Subscriber.objects.values().get() == before


def test_consent_is_never_edited(operator, ada):
    event = ConsentEvent.objects.create(subscriber=ada, kind="confirmed", via="page")
    path = f"/admin/subscribers/consentevent/{event.pk}/"
    assert operator.post(f"{path}change/", {"kind": "requested"}).status_code == 403
    assert operator.post(f"{path}delete/", {"post": "yes"}).status_code == 403
    assert operator.get("/admin/subscribers/consentevent/add/").status_code == 403


def test_who_may_only_look_sees_the_wishes_and_changes_nothing(viewer, ada, attention, pending):
    topics.set_muted(ada, [Wish(K.KEYWORD, "survey")], now=NOW)
    page = viewer.get(page_of(ada))
    shown = BeautifulSoup(page.content, "html.parser")
    text = " ".join(shown.select_one("#content").get_text().split())
    for word in ("Mon–Fri 07:00", "attention", "Cheaper attention", "KV cache", "survey"):
        assert word in text
    assert not shown.select(f"{FORM} :is(input:not([type=hidden]), select, textarea)")
    assert not shown.select(".page-actions")
    before = everything()
    for url in (page_of(ada), f"{READERS}add/"):
        data = {"hour": "9", "email": "x@example.org", "topics-TOTAL_FORMS": "0"}
        assert viewer.post(url, data).status_code == 403
    for action in ("pause", "unsubscribe", "suppress", "change_hour", "mail_link", "ask_again"):
        data = {"action": action, "_selected_action": [ada.pk], "confirmed": "1", "hour": "9"}
        viewer.post(READERS, {**data, "until": "2026-12-24", "note": "x"})
    assert everything() == before
    assert viewer.get(SUGGESTIONS, {"field_name": "categories"}).status_code == 403


def test_a_reader_is_deleted_with_all_that_is_theirs(operator, ada, attention):
    ConsentEvent.objects.create(subscriber=ada, kind="confirmed", via="page")
    response = operator.post(f"{READERS}{ada.pk}/delete/", {"post": "yes"})
    assert response.status_code == 302
    assert not (Subscriber.objects.exists() or Interest.objects.exists())


# -- suggestions ---------------------------------------------------------------------------


def suggested(client, field: str, term: str) -> list[str]:
    response = client.get(SUGGESTIONS, {"field_name": field, "term": term})
    return [each["id"] for each in response.json()["results"]]


def test_organizations_of_stored_papers_are_suggested_the_most_frequent_first(operator):
    for name in ("Bee Lab", "Hive Lab", "Hive Lab", "Elsewhere", ""):
        make_paper(organization=name)
    assert suggested(operator, "organization", "lab") == ["Hive Lab", "Bee Lab"]
    assert suggested(operator, "organization", "") == ["Hive Lab", "Bee Lab", "Elsewhere"]


def test_categories_are_suggested_by_id_and_by_name(operator):
    assert suggested(operator, "categories", "cs.r") == ["cs.RO"]
    assert suggested(operator, "categories", "robotics") == ["cs.RO"]
    assert suggested(operator, "categories", "stat.")[0] == "stat.AP"
    assert operator.get(SUGGESTIONS, {"field_name": "arxiv_id"}).status_code == 404


def test_a_seed_paper_is_found_as_one_types(operator, paper):
    query = {"app_label": "subscribers", "model_name": "interest", "field_name": "paper"}
    response = operator.get("/admin/autocomplete/", {**query, "term": "bees"})
    assert [each["id"] for each in response.json()["results"]] == [str(paper.pk)]


# -- actions -------------------------------------------------------------------------------


def test_only_what_applies_to_the_reader_is_offered_on_their_page(operator, ada, pending):
    assert offered(operator, ada) == [
        "send_test", "mail_link", "pause", "change_hour", "unsubscribe", "suppress",
    ]  # fmt: skip
    assert offered(operator, pending) == ["send_test", "ask_again", "unsubscribe", "suppress"]
    signup.pause(ada, date(2026, 12, 24), NOW)
    assert "pause" not in offered(operator, ada)
    assert "resume" in offered(operator, ada)
    signup.suppress(ada.address_hash, now=NOW, via="admin")
    signup.unsubscribe(ada, now=NOW, via="admin")
    assert offered(operator, ada) == ["send_test", "resume", "allow_mail"]


def test_a_form_that_was_refused_changes_nothing_of_what_is_offered(operator, ada):
    page = save(operator, ada, paused_until="2020-01-01").content.decode()
    assert 'value="resume"' not in page


def test_a_confirmation_is_sent_again_once_a_day_to_who_is_pending(operator, ada, pending):
    Subscriber.objects.filter(pk=pending.pk).update(confirmation_due_at=None)
    page = act(operator, "ask_again", ada, pending)
    pending.refresh_from_db()
    assert pending.confirmation_due_at == NOW
    assert said(page)[0] == "Resend confirmation: 1 done."
    assert said(page)[1].startswith("1 was left as it is.")
    Subscriber.objects.filter(pk=pending.pk).update(
        confirmation_due_at=None, confirmation_sent_at=NOW
    )
    page = act(operator, "ask_again", pending)
    pending.refresh_from_db()
    assert pending.confirmation_due_at is None
    assert "once a day" in said(page)[0]


def test_the_link_is_mailed_once_an_hour_to_who_is_active(operator, ada, pending):
    assert said(act(operator, "mail_link", ada, pending))[0] == "Mail the link: 1 done."
    ada.refresh_from_db()
    assert ada.link_due_at == NOW
    assert said(act(operator, "mail_link", ada))[0].startswith("1 was left as it is.")


def test_a_pause_asks_until_when_and_is_checked_as_on_the_readers_page(operator, ada):
    page = act(operator, "pause", ada, until="2026-11-23")
    assert "That day has passed" in page.content.decode()
    act(operator, "pause", ada, until="2026-12-24")
    ada.refresh_from_db()
    assert ada.paused_until == date(2026, 12, 24)
    act(operator, "resume", ada)
    ada.refresh_from_db()
    assert ada.paused_until is None
    log = [entry.change_message for entry in LogEntry.objects.order_by("pk")]
    assert log == ["Pause (until: 2026-12-24)", "Resume"]


def test_a_day_that_has_come_where_the_reader_lives_is_no_pause(operator, ada):
    Subscriber.objects.update(time_zone="Pacific/Kiritimati")
    with time_machine.travel(NOW.replace(hour=12), tick=False):  # there, the 24th has begun
        page = act(operator, "pause", ada, until="2026-11-24")
    ada.refresh_from_db()
    assert ada.paused_until is None
    assert "until a day to come" in said(page)[0]


def test_the_hour_changes_and_the_zone_stays(operator, ada):
    act(operator, "change_hour", ada, hour="20")
    ada.refresh_from_db()
    assert (ada.hour, ada.time_zone) == (20, "Europe/Berlin")
    assert ada.next_due_at == datetime(2026, 11, 23, 19, 0, tzinfo=UTC)
    assert "their hour already" in said(act(operator, "change_hour", ada, hour="20"))[0]


def test_unsubscribing_is_recorded_as_the_operators_doing(operator, ada):
    act(operator, "unsubscribe", ada)
    ada.refresh_from_db()
    assert (ada.state, ada.next_due_at) == ("unsubscribed", None)
    assert (ada.consent_events.get().kind, ada.consent_events.get().via) == (
        "unsubscribed",
        "admin",
    )


def test_suppressing_asks_for_a_note_and_outweighs_a_goodbye(operator, ada):
    signup.unsubscribe(ada, now=NOW, via="page")
    assert "This field is required" in act(operator, "suppress", ada, note="").content.decode()
    act(operator, "suppress", ada, note="asked by phone")
    suppression = Suppression.objects.get()
    assert (suppression.reason, suppression.note) == ("operator", "asked by phone")
    assert ada.consent_events.last().kind == ConsentEvent.Kind.SUPPRESSED
    assert not signup.resubscribe(ada, now=NOW, via="page")
    page = operator.post(READERS, {"action": "suppress", "_selected_action": [ada.pk]}, follow=True)
    assert "suppressed already" in said(page)[0]


def test_a_bounce_stays_a_bounce_whoever_suppresses_after_it(operator, ada):
    Suppression.objects.create(address_hash=ada.address_hash, reason="bounce")
    assert not signup.suppress(ada.address_hash, note="too", now=NOW, via="admin")
    assert Suppression.objects.get().reason == "bounce"
    assert not ada.consent_events.exists()


def test_mail_is_allowed_again_for_a_reason_that_is_kept(operator, ada):
    signup.suppress(ada.address_hash, now=NOW, via="admin")
    page = act(operator, "allow_mail", ada, reason="")
    assert Suppression.objects.exists()
    assert "may bounce again" in page.content.decode()
    act(operator, "allow_mail", ada, reason="new mailbox")
    assert not Suppression.objects.exists()
    assert LogEntry.objects.get().change_message == "Allow mail again (reason: new mailbox)"
    assert Subscriber.objects.mailable(NOW.date()).get() == ada


# -- suppressions --------------------------------------------------------------------------


def test_a_suppression_is_kept_as_a_hash_and_found_by_the_address(operator, ada):
    data = {"address": "Ada@example.org", "reason": "operator", "note": "asked by phone"}
    assert operator.post(f"{SUPPRESSIONS}add/", data).status_code == 302
    suppression = Suppression.objects.get()
    assert suppression.address_hash == address_hash("ada@example.org")
    assert ada.consent_events.get().kind == ConsentEvent.Kind.SUPPRESSED
    short = suppression.address_hash[:10]
    for term in ("ada@example.org", short, f"{short}…"):
        assert short in operator.get(SUPPRESSIONS, {"q": term}).content.decode()
    assert found(operator, SUPPRESSIONS, q="ben@example.org") == set()
    assert "already" in operator.post(f"{SUPPRESSIONS}add/", data).content.decode()


def test_a_suppression_is_not_edited_into_another_nor_just_deleted(operator, ada):
    signup.suppress(ada.address_hash, now=NOW, via="admin")
    path = f"{SUPPRESSIONS}{Suppression.objects.get().pk}/"
    operator.post(f"{path}change/", {"reason": "unsubscribe", "note": "why"})
    suppression = Suppression.objects.get()
    assert (suppression.reason, suppression.note) == ("operator", "why")
    assert operator.post(f"{path}delete/", {"post": "yes"}).status_code == 403


def test_lifting_a_suppression_is_in_the_readers_history(operator, ada):
    signup.suppress(ada.address_hash, now=NOW, via="admin")
    act(operator, "allow_mail", Suppression.objects.get(), url=SUPPRESSIONS, reason="a mistake")
    assert not Suppression.objects.exists()
    history = operator.get(f"{READERS}{ada.pk}/history/").content.decode()
    assert "Mail allowed again (reason: a mistake)" in history
