from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from bs4 import BeautifulSoup
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from digest.compose import BRIEF, FULL, Item
from digest.models import DeliveryEvent, Digest, Feedback, Slot
from digest.ranking import Reason
from papers.models import Paper
from subscribers.models import Subscriber
from tests.database import everything
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader

pytestmark = pytest.mark.django_db

NASTY = "<script>alert(1)</script> bees"


@pytest.fixture(autouse=True)
def soon_after():
    with time_machine.travel(DUE + timedelta(hours=1), tick=False):
        yield


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("operator"))
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
        error="the worker was lost",
        items=[item.to_json() for item in items],
        edition_day=SUNDAY,
        candidates=2,
    )


def act(operator, action: str, digests, **extra):
    data = {"action": action, "_selected_action": [each.pk for each in digests], **extra}
    return operator.post(reverse("admin:digest_digest_changelist"), data, follow=True)


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


def test_a_digests_page_shows_its_items_with_score_and_reason(operator, digest):
    page = operator.get(reverse("admin:digest_digest_change", args=[digest.pk]))
    rows = [
        [cell.get_text() for cell in row.find_all("td")]
        for row in BeautifulSoup(page.content, "html.parser").select(".field-items_table tbody tr")
    ]
    first, second = rows
    assert first[0] == "full"
    assert NASTY in first[1]
    assert first[2:] == ["3.50", "topic: <b>bees</b>, honey (z 3.25)"]
    assert second[0] == "brief"


def test_a_digest_is_found_by_address_uuid_or_message_id(operator, digest):
    Digest.objects.update(provider_message_id="abc-123")
    other = make_reader("ben@example.org")
    assert other.pk
    url = reverse("admin:digest_digest_changelist")
    for term, found in (
        ("ADA@example.org", 1),
        ("ben@example.org", 0),
        ("example.org", 0),
        (str(digest.uuid), 1),
        (digest.uuid.hex, 1),
        ("abc-123", 1),
    ):
        response = operator.get(url, {"q": term})
        assert response.context["cl"].result_count == found, term


def test_the_mail_is_shown_in_a_sandbox_and_acts_for_nobody(operator, digest):
    before = everything()
    page = operator.get(reverse("admin:digest_digest_mail", args=[digest.pk])).content.decode()
    (frame,) = BeautifulSoup(page, "html.parser").find_all("iframe")
    assert frame.attrs["sandbox"] in ("", [])
    assert "&lt;script&gt;alert(1)&lt;/script&gt; bees" in frame["srcdoc"]
    assert "1 chosen for you from 2 new papers" in frame["srcdoc"]
    assert "<script>alert" not in page
    assert "/unsubscribe/" not in page
    assert "/preferences/" not in page
    assert everything() == before


def test_the_mail_of_an_erased_reader_can_be_looked_at_still(operator, digest, ada):
    ada.delete()
    assert operator.get(reverse("admin:digest_digest_mail", args=[digest.pk])).status_code == 200
    page = operator.get(reverse("admin:digest_digest_change", args=[digest.pk]))
    assert "erased" in page.content.decode()


@pytest.mark.parametrize("name", ["digest_digest_mail", "digest_upcoming"])
def test_mails_are_for_staff_with_the_permission_only(client, digest, ada, name):
    pk = digest.pk if name == "digest_digest_mail" else ada.pk
    url = reverse(f"admin:{name}", args=[pk])
    assert client.get(url).status_code == 302
    clerk = User.objects.create_user("clerk", is_staff=True)
    client.force_login(clerk)
    assert client.get(url).status_code == 403
    clerk.user_permissions.set(
        Permission.objects.filter(codename__in=["view_digest", "view_subscriber"])
    )
    assert client.get(url).status_code == 200


def test_settling_as_sent_asks_first(operator, digest):
    page = act(operator, "settle_as_sent", [digest])
    digest.refresh_from_db()
    assert digest.state == Digest.State.UNCERTAIN
    assert "the worker was lost" in page.content.decode()
    act(operator, "settle_as_sent", [digest], confirmed="yes")
    digest.refresh_from_db()
    assert digest.state == Digest.State.SENT
    assert digest.sent_at == DUE + timedelta(hours=1)


def test_sending_again_gives_it_back_to_the_senders(operator, digest):
    act(operator, "send_again", [digest])
    digest.refresh_from_db()
    assert digest.state == Digest.State.UNCERTAIN
    act(operator, "send_again", [digest], confirmed="yes")
    digest.refresh_from_db()
    assert digest.state == Digest.State.ASSEMBLED
    assert Slot.objects.get().is_conserved


def test_what_is_too_late_is_not_sent_again(operator, digest):
    Digest.objects.update(due_at=DUE - timedelta(days=1))
    page = act(operator, "send_again", [digest], confirmed="yes")
    digest.refresh_from_db()
    assert digest.state == Digest.State.UNCERTAIN
    assert "1 stays: not in doubt, too late" in page.content.decode()


def test_a_reader_with_a_newer_digest_open_does_not_get_the_old_one(operator, digest, ada):
    slot = Slot.objects.create(date=SUNDAY, due=1)
    Digest.objects.create(subscriber=ada, slot=slot, due_at=DUE)
    page = act(operator, "send_again", [digest], confirmed="yes")
    digest.refresh_from_db()
    assert digest.state == Digest.State.UNCERTAIN
    assert "a newer one is on its way" in page.content.decode()


def test_only_what_is_in_doubt_is_settled(operator, digest):
    Digest.objects.update(state=Digest.State.FAILED)
    act(operator, "settle_as_sent", [digest], confirmed="yes")
    digest.refresh_from_db()
    assert digest.state == Digest.State.FAILED


def test_who_may_only_look_cannot_settle(client, digest):
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_digest"))
    client.force_login(clerk)
    act(client, "settle_as_sent", [digest], confirmed="yes")
    digest.refresh_from_db()
    assert digest.state == Digest.State.UNCERTAIN


def test_a_slots_account_shows_each_state_and_whether_it_adds_up(operator, digest):
    page = operator.get(reverse("admin:digest_slot_changelist"))
    row = BeautifulSoup(page.content, "html.parser").select_one("#result_list tbody tr")
    assert row.select_one(".field-uncertain_count").get_text() == "1"
    assert row.select_one(".field-sent_count").get_text() == "–"
    assert row.select_one(".field-is_conserved img")["alt"] == "True"
    listed = operator.get(
        reverse("admin:digest_digest_changelist")
        + row.select_one(".field-uncertain_count a")["href"].partition("digest/digest/")[2]
    )
    assert listed.context["cl"].result_count == 1
    Slot.objects.update(due=2)
    page = operator.get(reverse("admin:digest_slot_changelist")).content.decode()
    assert 'alt="False"' in page


def test_a_readers_page_lists_their_digests_and_shows_what_they_would_get(operator, digest, ada):
    page = operator.get(reverse("admin:subscribers_subscriber_change", args=[ada.pk]))
    shown = page.content.decode()
    assert reverse("admin:digest_digest_change", args=[digest.pk]) in shown
    assert reverse("admin:digest_upcoming", args=[ada.pk]) in shown
    assert f"<td>{digest.full_count}</td>" in shown
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
