from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from bs4 import BeautifulSoup
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from digest import assembly, sending
from digest.admin import filters, showing
from digest.compose import BRIEF, FULL, Item
from digest.models import DeliveryEvent, Digest, Feedback, Heartbeat, Hold, Slot
from digest.ranking import Reason
from papers.models import Paper
from subscribers.models import Subscriber
from subscribers.tokens import Purpose, make
from subscribers.transports import Status
from tests.database import everything
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader

pytestmark = pytest.mark.django_db

NASTY = "<script>alert(1)</script> bees"


@pytest.fixture(autouse=True)
def soon_after():
    with time_machine.travel(DUE + timedelta(hours=1), tick=False):
        yield


@pytest.fixture(autouse=True)
def nothing_remembered():
    cache.clear()


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("operator", "operator@example.org"))
    return client


def clerk(*permissions: str) -> Client:
    """Of the staff, and allowed just that."""
    user = User.objects.create_user("clerk", "clerk@example.org", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def paper() -> Paper:
    paper = make_paper(NASTY, abstract="Honey bees dance for nectar.")
    subjects = ["Violins", "Glaciers", "Tax law", "Compilers", "Tulips", "Concrete", "Chess"]
    make_edition(SUNDAY, [paper, *(make_paper(each, abstract=f"On {each}.") for each in subjects)])
    return paper


@pytest.fixture
def ada(paper) -> Subscriber:
    return make_reader(topics=["honey bees"])


@pytest.fixture
def digest(ada, paper) -> Digest:
    """Left in doubt when its worker was lost."""
    reason = Reason("topic", "<b>bees</b>", terms=("honey",), parts={"z": 3.25})
    items = [
        Item(paper.pk, FULL, 3.5, reason=reason),
        Item(paper.pk + 1, BRIEF, 0.2),
    ]
    return Digest.objects.create(
        subscriber=ada,
        slot=Slot.objects.create(date=DUE.date(), due=1),
        due_at=DUE,
        assembled_at=DUE,
        state=Digest.State.UNCERTAIN,
        attempted_at=DUE,
        doubted_at=DUE + timedelta(minutes=5),
        error="the worker was lost",
        items=[item.to_json() for item in items],
        edition_day=SUNDAY,
        candidates=2,
    )


@pytest.fixture
def sent(ada, transport) -> Digest:
    """Assembled, handed over and delivered, all by the real steps."""
    assembly.assemble_due(DUE)
    sending.send_due(DUE + timedelta(minutes=1))
    digest = Digest.objects.get()
    assert digest.state == Digest.State.SENT
    DeliveryEvent.objects.create(
        digest=digest, provider="Postmark", event_id="e-1", event_type="bounced",
        reject_reason="invalid", occurred_at=DUE + timedelta(minutes=5),
        payload={"Email": "ada@example.org", "Details": "<i>smtp; 550</i>"},
    )  # fmt: skip
    return digest


def act(operator, action: str, digests, **extra):
    data = {"action": action, "_selected_action": [each.pk for each in digests], **extra}
    return operator.post(reverse("admin:digest_digest_changelist"), data, follow=True)


def shown(client, name: str, *args) -> BeautifulSoup:
    response = client.get(reverse(f"admin:{name}", args=args))
    assert response.status_code == 200
    return BeautifulSoup(response.content, "html.parser")


def words(tag) -> str:
    return " ".join(tag.get_text(" ").split())


def listed(client, model: str, **query) -> list:
    response = client.get(reverse(f"admin:digest_{model}_changelist"), query)
    assert response.status_code == 200, response.url
    return list(response.context["cl"].result_list)


@pytest.mark.parametrize("model", ["digest", "slot", "deliveryevent", "feedback"])
def test_every_list_and_page_opens(operator, digest, ada, paper, model):
    DeliveryEvent.objects.create(
        digest=digest, provider="test", event_id="1", event_type="delivered", occurred_at=DUE
    )
    Feedback.give(subscriber=ada, paper=paper, kind="more", at=DUE)
    changelist = operator.get(reverse(f"admin:digest_{model}_changelist"))
    assert changelist.status_code == 200
    (row,) = changelist.context["cl"].result_list
    page = operator.get(reverse(f"admin:digest_{model}_change", args=[row.pk]))
    assert page.status_code == 200
    for response in (changelist, page):
        assert "<script>alert" not in response.content.decode()
        assert "<b>bees" not in response.content.decode()


@pytest.mark.parametrize("model", ["digest", "slot", "deliveryevent", "feedback"])
def test_nothing_of_the_ledger_is_added_edited_or_deleted_by_hand(operator, digest, model):
    assert operator.get(reverse(f"admin:digest_{model}_add")).status_code == 403
    page = operator.get(reverse("admin:digest_digest_change", args=[digest.pk]))
    assert 'name="_save"' not in page.content.decode()
    delete = operator.post(reverse("admin:digest_digest_delete", args=[digest.pk]), {"post": "yes"})
    assert delete.status_code == 403


# -- a digest's page -----------------------------------------------------------------------


def test_a_digests_page_shows_what_each_score_is_made_of(operator, digest):
    table = shown(operator, "digest_digest_change", digest.pk).select_one(".ledger-scores")
    heads = [words(cell) for cell in table.select("thead th")]
    first, second = ([words(cell) for cell in row.select("td")] for row in table.select("tbody tr"))
    assert dict(zip(heads, first, strict=True)) == {
        "paper and reason": f"{NASTY} Because you follow <b>bees</b> : honey",
        "section": "in full", "score": "3.50", "closeness": "3.25",
        "relevance (floor 1.0)": "3.25", "trend’s share": "0.25", "upvotes": "",
    }  # fmt: skip
    assert second[1:3] == ["title only", "0.20"]


def test_every_number_of_the_score_table_is_explained(operator, sent):
    page = shown(operator, "digest_digest_change", sent.pk)
    explained = {words(term) for term in page.select("#scores ~ details dt")}
    numbers = {words(head) for head in page.select(".ledger-scores th.number")}
    assert numbers <= explained
    assert "floor of 1.0" in words(page.select_one("#scores ~ details"))


def test_a_paper_that_was_deleted_since_is_named_by_its_number(operator, digest, paper):
    Paper.objects.filter(pk=paper.pk + 1).delete()
    page = shown(operator, "digest_digest_change", digest.pk)
    assert f"deleted (number {paper.pk + 1})" in words(page.select_one(".ledger-scores"))


def test_a_digests_page_tells_its_story_in_order(operator, sent, ada):
    paper = Paper.objects.get(pk=sent.paper_ids[0])
    with time_machine.travel(DUE + timedelta(hours=2), tick=False):
        Feedback.give(subscriber=ada, paper=paper, kind="more", at=DUE + timedelta(hours=2))
        page = shown(operator, "digest_digest_change", sent.pk)
    said = [words(line.find("span")) for line in page.select(".ledger-timeline li")]
    assert [line.partition(" (")[0] for line in said] == [
        "Fell due",
        f"Assembled {len(sent.items)} papers of {sent.candidates} new ones",
        f"Handed over by fake 1 attempt · {sent.message_id}",
        "Postmark says: bounced no such address",
        f"The reader says: more like this {paper.title}",
    ]


def test_who_settled_a_doubt_stands_in_its_story(operator, digest):
    act(operator, "settle_as_sent", [digest], confirmed="1")
    page = shown(operator, "digest_digest_change", digest.pk)
    said = [words(line.find("span")) for line in page.select(".ledger-timeline li")]
    assert said[-3:] == [
        "A worker marked it, and began to hand it over",
        "In doubt: it may have left, or not the worker was lost",
        "Settled as sent by operator",
    ]


def test_the_raw_report_of_a_provider_is_reached_from_the_story(operator, sent):
    page = shown(operator, "digest_digest_change", sent.pk)
    (link,) = page.select('.ledger-timeline a[href*="deliveryevent"]')
    raw = operator.get(link["href"]).content.decode()
    assert "&lt;i&gt;smtp; 550&lt;/i&gt;" in raw


def test_a_mail_that_can_be_made_again_to_the_letter_is_proved(operator, sent):
    Paper.objects.update(upvotes=999)
    Subscriber.objects.update(hour=22, time_zone="Asia/Tokyo")
    page = shown(operator, "digest_digest_change", sent.pk)
    proof = page.select_one(".ledger-proof.is-good")
    assert "to the letter what was handed over" in words(proof)
    assert sent.mail_hash in words(proof)


def test_a_mail_that_differs_says_why(operator, sent):
    Paper.objects.filter(pk=sent.paper_ids[0]).update(title="Another title", content_hash="c" * 32)
    page = shown(operator, "digest_digest_change", sent.pk)
    assert "Another title" in words(page.select_one(".ledger-proof.is-bad li"))
    assert page.select_one(".ledger-proof.is-good") is None


def test_a_digest_without_a_kept_hash_claims_no_proof(operator, sent):
    Digest.objects.update(mail_hash="")
    proof = shown(operator, "digest_digest_change", sent.pk).select_one(".ledger-proof")
    assert words(proof).startswith("– No proof kept")


def test_the_mail_is_shown_as_it_was_sent_with_links_that_open_nothing(operator, sent, transport):
    before = everything()
    (mail,) = transport.accepted
    url = reverse("admin:digest_digest_mail", args=[sent.pk])
    framed = operator.get(url, {"frame": ""})
    assert framed.headers["Content-Security-Policy"].endswith("sandbox")
    html = framed.content.decode()
    assert showing.KEY.sub("…", mail.alternatives[0][0]) == html
    assert html.count("/feedback/") == mail.alternatives[0][0].count("/feedback/")
    for text in (html, *(operator.get(page).content.decode() for page in pages_of(sent))):
        assert "/unsubscribe/…" in text or "/preferences/…" in text or text.startswith("<!")
        assert not showing.KEY.search(text)
        assert "<script>alert" not in text
    assert everything() == before


def pages_of(digest: Digest) -> list[str]:
    names = ["digest_digest_mail", "digest_digest_change"]
    return [reverse(f"admin:{name}", args=[digest.pk]) for name in names]


@pytest.mark.parametrize("purpose", list(Purpose))
def test_no_key_of_any_purpose_is_shown(purpose, ada):
    for subject in (ada.uuid.hex, f"{ada.uuid.hex}{'f' * 16}"):
        for day in (DUE.date(), datetime(2000, 1, 1, tzinfo=UTC).date()):
            key = make(purpose, subject, today=day)
            assert showing.without_keys(f'<a href="https://x.test/read/{key}/more/7/">') == (
                '<a href="https://x.test/read/…/more/7/">'
            )


def test_the_mail_stands_in_a_sandbox_of_its_own(operator, sent):
    for name in ("digest_digest_mail", "digest_digest_change"):
        (frame,) = shown(operator, name, sent.pk).find_all("iframe")
        assert frame.attrs["sandbox"] in ("", [])
        assert frame["src"].endswith("?frame")
        assert "srcdoc" not in frame.attrs


def test_the_headers_are_shown_without_what_each_copy_has_anew(operator, sent):
    raw = shown(operator, "digest_digest_change", sent.pk).select("pre.ledger-raw")[-1].get_text()
    assert f"Message-ID: {sent.message_id}" in raw
    assert re.search(r"List-Unsubscribe: <http\S+/unsubscribe/…/>", raw)
    assert "Date:" not in raw


def test_the_mail_of_an_erased_reader_can_be_looked_at_still(operator, digest, ada):
    ada.delete()
    assert operator.get(reverse("admin:digest_digest_mail", args=[digest.pk])).status_code == 200
    page = shown(operator, "digest_digest_change", digest.pk)
    assert "erased" in words(page.select_one(".ledger-facts"))


def test_a_digest_of_nothing_has_a_page_without_a_mail(operator, digest):
    Digest.objects.update(items=[], state="skipped", skip_reason="nothing")
    page = shown(operator, "digest_digest_change", digest.pk)
    assert "Reason: nothing worth reading" in words(page.select_one(".ledger-standing"))
    assert page.find("iframe") is None
    assert page.select("button.page-action") == []


@pytest.mark.parametrize("name", ["digest_digest_mail", "digest_upcoming"])
def test_mails_are_for_staff_with_the_permission_only(client, digest, ada, name):
    url = reverse(f"admin:{name}", args=[digest.pk if name == "digest_digest_mail" else ada.pk])
    assert client.get(url).status_code == 302
    assert clerk().get(url).status_code == 403
    User.objects.all().delete()
    assert clerk("view_digest", "view_subscriber").get(url).status_code == 200


def test_who_may_not_see_readers_finds_no_address_in_the_ledger(sent, ada):
    Feedback.give(subscriber=ada, paper=Paper.objects.first(), kind="more", at=DUE)
    client = clerk("view_digest", "view_deliveryevent", "view_feedback", "settle_digest")
    event, said = DeliveryEvent.objects.get(), Feedback.objects.get()
    for model, pk in (("digest", sent.pk), ("deliveryevent", event.pk), ("feedback", said.pk)):
        for page in (f"digest_{model}_changelist", f"digest_{model}_change"):
            args = [pk] if page.endswith("change") else []
            assert "ada@example" not in str(shown(client, page, *args))
    Digest.objects.update(state=Digest.State.UNCERTAIN)
    assert "ada@example" not in act(client, "settle_as_sent", [sent]).content.decode()
    assert listed(client, "digest", q="ada@example.org") == []
    assert listed(client, "feedback", q="ada@example.org") == []


# -- the lists -----------------------------------------------------------------------------


def test_a_digest_is_found_by_address_uuid_or_message_id(operator, digest):
    Digest.objects.update(provider_message_id="abc-123")
    make_reader("ben@example.org")
    for term, found in (
        ("ADA@example.org", [digest]),
        ("ben@example.org", []),
        ("@example.org", []),
        (str(digest.uuid), [digest]),
        (digest.uuid.hex, [digest]),
        (f"<{digest.uuid.hex}.digest@paperround.test>", [digest]),
        (f"{digest.uuid.hex}.digest@paperround.test", [digest]),
        ("abc-123", [digest]),
        ("abc", []),
    ):
        assert listed(operator, "digest", q=term) == found, term


def test_a_message_id_in_its_brackets_is_no_address(operator, digest):
    Digest.objects.update(provider_message_id="<abc@paperround.test>")
    assert listed(operator, "digest", q="<abc@paperround.test>") == [digest]


def test_a_delivery_event_is_found_by_the_providers_ids_and_the_digests(operator, sent):
    event = DeliveryEvent.objects.get()
    for term in ("e-1", sent.message_id, str(sent.uuid)):
        assert listed(operator, "deliveryevent", q=term) == [event], term
    assert listed(operator, "deliveryevent", q="e-2") == []


def test_digests_are_filtered_by_how_they_ended(operator, sent):
    Digest.objects.update(outcome="bounced")
    skipped = Digest.objects.create(
        subscriber=make_reader("ben@example.org"), slot=sent.slot, due_at=DUE, state="skipped",
        skip_reason="late",
    )  # fmt: skip
    for query, found in (
        ({"state__exact": "sent"}, [sent]),
        ({"skip_reason": "late"}, [skipped]),
        ({"skip_reason": "nothing"}, []),
        ({"outcome": "bounced"}, [sent]),
        ({"outcome": "none"}, [skipped]),
        ({"transport": "fake"}, [sent]),
        ({"is_first": "True"}, [sent]),
        ({"slot": str(DUE.date())}, [skipped, sent]),
        ({"slot": str(SUNDAY)}, []),
    ):
        assert listed(operator, "digest", **query) == found, query


@pytest.mark.parametrize(
    "query", ["is_first=abc", "slot=yesterday", "transport=%00", "outcome=%00", "slot=%00"]
)
def test_what_no_filter_understands_leads_back_to_the_list(operator, sent, query):
    response = operator.get(f"/admin/digest/digest/?{query}", follow=True)
    assert response.redirect_chain == [("/admin/digest/digest/?e=1", 302)]
    assert list(response.context["cl"].result_list) == [sent]


@pytest.mark.parametrize("app", ["digest", "subscribers", "papers", "auth"])
def test_an_apps_own_page_lists_its_tables_and_says_nothing_of_the_morning(operator, digest, app):
    page = BeautifulSoup(operator.get(f"/admin/{app}/").content, "html.parser")
    assert not page.select(".morning")
    assert "waits for you" not in words(page.select_one("#content"))
    assert page.select(f'#content a[href^="/admin/{app}/"]')


def test_a_column_without_an_index_is_searched_among_the_newest_or_in_a_slot(
    operator, sent, monkeypatch
):
    Digest.objects.update(outcome="bounced")
    monkeypatch.setattr(filters, "NEWEST_ROWS", 1)
    newer = Digest.objects.create(slot=sent.slot, due_at=DUE, state="failed")
    assert listed(operator, "digest", outcome="bounced") == []
    assert listed(operator, "digest", outcome="bounced", slot=str(sent.slot)) == [sent]
    assert listed(operator, "digest", outcome="none") == [newer]


def test_the_list_of_digests_takes_as_many_statements_for_many_as_for_one(operator, digest):
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            listed(operator, "digest")
        return len(queries)

    few = statements()
    for number in range(20):
        reader = make_reader(f"reader{number}@example.org")
        Digest.objects.create(subscriber=reader, slot=digest.slot, due_at=DUE)
    assert statements() == few


# -- settling ------------------------------------------------------------------------------


def test_settling_as_sent_asks_first_and_is_logged(operator, digest):
    page = act(operator, "settle_as_sent", [digest])
    digest.refresh_from_db()
    assert digest.state == Digest.State.UNCERTAIN
    assert "the worker was lost" in page.content.decode()
    act(operator, "settle_as_sent", [digest], confirmed="1")
    digest.refresh_from_db()
    assert digest.state == Digest.State.SENT
    assert digest.sent_at == digest.attempted_at == DUE
    assert (digest.settled_at, digest.settled_by) == (DUE + timedelta(hours=1), "operator")
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(digest.pk), "Settle as sent")
    assert "ada" not in entry.object_repr


def test_a_digests_own_page_offers_to_settle_a_doubt_and_nothing_else(operator, digest):
    def offered() -> list[str]:
        page = shown(operator, "digest_digest_change", digest.pk)
        return [field["value"] for field in page.select('.page-actions [name="action"]')]

    assert offered() == ["settle_as_sent", "send_again", "send_test"]
    Digest.objects.update(state=Digest.State.FAILED)
    assert offered() == ["send_test"]


def test_sending_again_gives_it_back_to_the_senders(operator, digest):
    act(operator, "send_again", [digest])
    digest.refresh_from_db()
    assert digest.state == Digest.State.UNCERTAIN
    act(operator, "send_again", [digest], confirmed="1")
    digest.refresh_from_db()
    assert digest.state == Digest.State.ASSEMBLED
    assert Slot.objects.get().is_conserved


def test_what_is_too_late_is_not_sent_again(operator, digest):
    Digest.objects.update(due_at=DUE - timedelta(days=1))
    page = act(operator, "send_again", [digest], confirmed="1")
    digest.refresh_from_db()
    assert digest.state == Digest.State.UNCERTAIN
    assert "1 was left as it is. Not in doubt, too late" in page.content.decode()
    assert not LogEntry.objects.exists()


def test_a_reader_with_a_newer_digest_open_does_not_get_the_old_one(operator, digest, ada):
    slot = Slot.objects.create(date=SUNDAY, due=1)
    Digest.objects.create(subscriber=ada, slot=slot, due_at=DUE)
    page = act(operator, "send_again", [digest], confirmed="1")
    digest.refresh_from_db()
    assert digest.state == Digest.State.UNCERTAIN
    assert "a newer one is on its way" in page.content.decode()


def test_only_what_is_in_doubt_is_settled(operator, digest):
    Digest.objects.update(state=Digest.State.FAILED)
    act(operator, "settle_as_sent", [digest], confirmed="1")
    digest.refresh_from_db()
    assert digest.state == Digest.State.FAILED


@pytest.mark.parametrize("permission", ["view_digest", "change_digest"])
def test_who_has_not_the_permission_to_settle_cannot(digest, permission):
    client = clerk(permission)
    for action in ("settle_as_sent", "send_again"):
        act(client, action, [digest], confirmed="1")
    digest.refresh_from_db()
    assert digest.state == Digest.State.UNCERTAIN


# -- a test mail ---------------------------------------------------------------------------


@pytest.fixture
def outbound(transport, monkeypatch):
    monkeypatch.setattr(showing, "get_transport", lambda: transport)
    return transport


def test_a_test_goes_to_who_asks_without_the_readers_links(operator, digest, outbound):
    before = everything()
    assert "operator@example.org" in act(operator, "send_test", [digest]).content.decode()
    assert outbound.accepted == []
    act(operator, "send_test", [digest], confirmed="1")
    (mail,) = outbound.accepted
    assert mail.to == ["operator@example.org"]
    assert mail.subject.startswith("[Test] ")
    whole = mail.message().as_string() + mail.body + str(mail.alternatives)
    assert not showing.KEY.search(whole)
    assert "List-Unsubscribe" not in whole
    assert "ada@example.org" not in whole
    assert LogEntry.objects.get().change_message == "Send a test to me"
    assert everything() == before


def test_two_tests_are_two_mails_to_a_mailbox(operator, digest, outbound):
    for _ in range(2):
        act(operator, "send_test", [digest], confirmed="1")
    first, second = (mail.extra_headers["Message-ID"] for mail in outbound.accepted)
    assert first != second


def test_without_an_address_of_ones_own_no_test_is_sent(operator, digest, outbound):
    User.objects.update(email="")
    page = act(operator, "send_test", [digest], confirmed="1").content.decode()
    assert "no e-mail address" in page
    assert outbound.accepted == []


def test_a_test_that_is_refused_says_what_the_transport_said(operator, digest, outbound):
    outbound.answers = [Status.FAILED]
    page = act(operator, "send_test", [digest], confirmed="1").content.decode()
    assert "Told to say failed" in page
    assert not LogEntry.objects.exists()


def test_a_transport_that_lacks_a_setting_is_named_and_breaks_nothing(
    operator, digest, monkeypatch
):
    def lacking():
        raise ImproperlyConfigured("EMAIL_BACKEND: cannot use it")

    monkeypatch.setattr(showing, "get_transport", lacking)
    page = act(operator, "send_test", [digest], confirmed="1").content.decode()
    assert "EMAIL_BACKEND: cannot use it" in page


def test_who_may_only_look_sends_no_test(digest, outbound):
    act(clerk("view_digest"), "send_test", [digest], confirmed="1")
    assert outbound.accepted == []


# -- slots ---------------------------------------------------------------------------------


def equation(client) -> str:
    return words(shown(client, "digest_slot_changelist").select_one(".slot-equation"))


def test_a_slots_account_is_written_out_and_adds_up(operator, digest):
    assert equation(operator) == (
        "1 due = 0 sent + 0 failed + 0 skipped + 0 suppressed + 1 uncertain + 0 open ✓ It adds up."
    )


@pytest.mark.parametrize(("due", "said"), [(3, "2 are missing"), (0, "1 too many")])
def test_a_slot_that_does_not_add_up_says_by_how_much(operator, digest, due, said):
    Slot.objects.update(due=due)
    assert equation(operator).endswith(f"✗ {said}")


@pytest.mark.parametrize("state", list(Digest.State))
def test_each_number_of_the_equation_leads_to_its_digests(operator, digest, state):
    needed = {
        "sent": {"sent_at": DUE}, "skipped": {"skip_reason": "late"}, "retry": {"retry_at": DUE},
        "claimed": {"claim_token": digest.uuid, "lease_until": DUE},
        "sending": {"claim_token": digest.uuid, "lease_until": DUE},
    }.get(state, {})  # fmt: skip
    Digest.objects.update(state=state, **needed)
    (link,) = shown(operator, "digest_slot_changelist").select(".slot-equation a")
    query = {name: value[0] for name, value in parse_qs(urlsplit(link["href"]).query).items()}
    assert listed(operator, "digest", **query) == [digest]
    other = Slot.objects.create(date=SUNDAY)
    Digest.objects.update(slot=other)
    assert listed(operator, "digest", **query) == []


def test_a_slots_page_counts_delays_outcomes_and_skips(operator, sent):
    Digest.objects.update(outcome="bounced")
    Digest.objects.create(slot=sent.slot, due_at=DUE, state="skipped", skip_reason="paused")
    Slot.objects.update(due=2)
    page = shown(operator, "digest_slot_change", sent.slot_id)
    said = words(page.select_one("#slot_form"))
    assert "2 due = 1 sent + 0 failed + 1 skipped" in said
    assert "half within 0:01:00" in said
    assert "bounced 1" in said
    assert "paused 1" in said
    for link in page.select(".ledger-facts a"):
        query = {name: value[0] for name, value in parse_qs(urlsplit(link["href"]).query).items()}
        assert len(listed(operator, "digest", **query)) == 1


def test_who_sees_no_digests_gets_the_numbers_and_no_links(sent):
    client = clerk("view_slot")
    for page in (
        shown(client, "digest_slot_changelist"),
        shown(client, "digest_slot_change", sent.slot_id),
    ):
        assert "1 due = 1 sent" in words(page)
        assert page.select('a[href*="/digest/digest/"]') == []


def test_an_open_digest_is_overdue_after_a_quarter_of_an_hour(operator, digest):
    Digest.objects.update(state=Digest.State.ASSEMBLED, due_at=DUE + timedelta(minutes=50))
    cell = "#result_list .field-late"
    assert words(shown(operator, "digest_slot_changelist").select_one(cell)) == "0"
    Digest.objects.update(due_at=DUE + timedelta(minutes=44))
    assert words(shown(operator, "digest_slot_changelist").select_one(cell)) == "1"
    page = shown(operator, "digest_slot_change", digest.slot_id)
    assert "1 fell due more than a quarter of an hour ago" in words(page)


def test_the_list_of_slots_takes_as_many_statements_for_many_as_for_one(operator, digest):
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            listed(operator, "slot")
        return len(queries)

    few = statements()
    for days in range(1, 20):
        Slot.objects.create(date=DUE.date() - timedelta(days=days), due=0)
    assert statements() == few


# -- holding -------------------------------------------------------------------------------

HOLD, RELEASE = "admin:digest_hold_sending", "admin:digest_release_sending"


@pytest.fixture
def waiting(digest) -> Digest:
    Digest.objects.update(state=Digest.State.ASSEMBLED)
    return digest


def test_holding_asks_first_and_says_what_waits(operator, waiting):
    page = words(shown(operator, "digest_hold_sending"))
    assert "1 digest waits now; it fell due on 23 Nov 2026, 06:00 UTC" in page
    assert not Hold.objects.exists()


def test_a_hold_stops_sending_and_is_logged(operator, waiting, transport):
    operator.post(reverse(HOLD), {"note": "the provider is slow"})
    held = Hold.objects.get()
    assert (held.began_by, held.note) == ("operator", "the provider is slow")
    assert not sending.send_due(DUE + timedelta(hours=1))
    assert transport.accepted == []
    assert LogEntry.objects.get().change_message == "Sending is held."


def test_what_is_held_is_not_held_twice(operator, db):
    operator.post(reverse(HOLD), {"note": "one"})
    with time_machine.travel(DUE + timedelta(hours=2), tick=False):
        page = operator.post(reverse(HOLD), {"note": "two"}, follow=True).content.decode()
    assert "Sending was held already." in page
    assert Hold.objects.get().note == "one"


def test_a_release_sends_what_waits(operator, waiting, transport):
    operator.post(reverse(HOLD))
    page = words(shown(operator, "digest_release_sending"))
    assert "Held by operator since 23 Nov 2026, 07:00 UTC" in page
    operator.post(reverse(RELEASE), {"waiting": "send"})
    assert sending.send_due(DUE + timedelta(hours=1)) == {"sent": 1}
    assert Hold.objects.get().released_by == "operator"
    assert LogEntry.objects.count() == 2


def test_a_release_may_skip_what_waits(operator, waiting, transport):
    operator.post(reverse(HOLD))
    operator.post(reverse(RELEASE), {"waiting": "skip"})
    sending.send_due(DUE + timedelta(hours=1))
    waiting.refresh_from_db()
    assert waiting.get_skip_reason_display() == "too late for its slot"
    assert transport.accepted == []


def test_a_release_needs_an_answer(operator, db):
    operator.post(reverse(HOLD))
    for answer in ({}, {"waiting": "perhaps"}):
        assert operator.post(reverse(RELEASE), answer).status_code == 200
    assert Hold.objects.in_force().exists()


def test_without_a_hold_there_is_nothing_to_release(operator, db):
    page = operator.post(reverse(RELEASE), {"waiting": "send"}, follow=True).content.decode()
    assert "Sending is not held." in page


@pytest.mark.parametrize("name", [HOLD, RELEASE])
def test_who_may_only_look_neither_holds_nor_releases(name, now, db):
    client = clerk("view_hold")
    sending.hold(by="operator", now=now)
    before = everything()
    assert client.get(reverse(name)).status_code == 403
    assert client.post(reverse(name), {"waiting": "send"}).status_code == 403
    assert everything() == before


def test_the_list_of_holds_offers_the_one_step_that_is_next(operator, now):
    def offered() -> list[str]:
        return [
            words(a) for a in shown(operator, "digest_hold_changelist").select("ul.object-tools a")
        ]

    assert offered() == ["Hold sending…"]
    sending.hold(by="operator", now=now)
    assert offered() == ["Release sending…"]


def test_heartbeats_say_how_long_ago(operator, db):
    Heartbeat.note("beat", DUE + timedelta(minutes=58))
    row = shown(operator, "digest_heartbeat_changelist").select_one("#result_list tbody tr")
    assert "2\xa0minutes" in row.get_text()


# -- a reader's page -----------------------------------------------------------------------


def test_a_readers_page_lists_their_digests_and_shows_what_they_would_get(operator, digest, ada):
    page = operator.get(reverse("admin:subscribers_subscriber_change", args=[ada.pk]))
    shown = page.content.decode()
    assert reverse("admin:digest_digest_change", args=[digest.pk]) in shown
    assert reverse("admin:digest_upcoming", args=[ada.pk]) in shown
    before = everything()
    Digest.objects.all().delete()
    before["digest_digest"] = []
    upcoming = operator.get(reverse("admin:digest_upcoming", args=[ada.pk])).content.decode()
    assert everything() == before
    assert "Because you follow" in upcoming
    assert "<script>alert" not in upcoming


def test_a_reader_to_whom_nothing_is_new_would_get_nothing(operator, ada):
    Subscriber.objects.update(cursor=1)
    upcoming = operator.get(reverse("admin:digest_upcoming", args=[ada.pk])).content.decode()
    assert "no mail would go out" in upcoming


def test_a_readers_settings_can_be_saved_with_the_digests_on_the_page(operator, ada):
    page = operator.get(reverse("admin:subscribers_subscriber_change", args=[ada.pk]))
    assert page.status_code == 200
    add = operator.get(reverse("admin:subscribers_subscriber_add"))
    assert add.status_code == 200
