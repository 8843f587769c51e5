"""The operator's page about the transports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from bs4 import BeautifulSoup
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User

from subscribers.models import TransportState
from tests.browser_form import filled_in

NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
LIST = "/admin/subscribers/transportstate/"
CLOSE = "Close the circuit now"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def frozen():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def resting() -> TransportState:
    return TransportState.objects.create(
        name="smtp",
        day=NOW.date(),
        used=1234,
        failures=3,
        open_until=NOW + timedelta(minutes=2),
        error="535 wrong password",
        error_at=NOW,
    )


def column(page, name: str) -> list[str]:
    found = BeautifulSoup(page.content, "html.parser").select(f".field-{name}")
    return [each.get_text() for each in found]


def test_the_list_says_how_each_stands_and_what_it_had(operator, resting, settings):
    TransportState.objects.create(name="smtp-fallback", error="x" * 200)
    page = operator.get(LIST)
    assert column(page, "circuit") == [
        "It rests until 23 November, 06:32 UTC: nothing got through the last 3 times.",
        "Mail may leave by it.",
    ]
    assert column(page, "used_today") == ["1,234", "not counted, without a limit"]
    assert column(page, "limit_today") == ["none", "none"]
    assert column(page, "said_last") == ["535 wrong password", "x" * 79 + "…"]
    settings.MAIL_PER_DAY = 20_000
    assert column(operator.get(LIST), "limit_today") == ["20,000", "20,000"]


def test_its_page_shows_all_and_lets_nothing_be_typed(operator, resting):
    page = operator.get(f"{LIST}{resting.pk}/change/")
    html = BeautifulSoup(page.content, "html.parser")
    assert "535 wrong password" in html.get_text()
    assert not html.select("#transportstate_form input[name]:not([type=hidden])")
    assert operator.get(f"{LIST}add/").status_code == 403
    assert operator.post(f"{LIST}{resting.pk}/delete/", {"post": "yes"}).status_code == 403


def close(client, row: TransportState):
    data = {"action": "close_circuit", "_selected_action": [row.pk]}
    asked = client.post(LIST, data)
    row.refresh_from_db()
    assert row.open_until is not None, "asking does nothing yet"
    return client.post(LIST, filled_in(asked, ".asking form"), follow=True)


def test_an_operator_closes_a_circuit_once_asked_and_it_is_kept_who_did(operator, resting):
    page = close(operator, resting)
    resting.refresh_from_db()
    assert (resting.open_until, resting.failures) == (None, 0)
    assert "Close the circuit now: 1 done." in [str(each) for each in page.context["messages"]]
    assert LogEntry.objects.get().change_message == CLOSE
    assert resting.used == 1234


def test_only_a_circuit_in_trouble_can_be_closed(operator, resting):
    address = f"{LIST}{resting.pk}/change/"
    assert CLOSE in operator.get(address).content.decode()
    TransportState.objects.update(open_until=None, failures=0)
    assert CLOSE not in operator.get(address).content.decode()
    data = {"action": "close_circuit", "_selected_action": [resting.pk]}
    page = operator.post(LIST, data, follow=True)
    assert "They were not in trouble." in " ".join(map(str, page.context["messages"]))


def test_who_may_only_look_closes_nothing(client, resting):
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_transportstate"))
    client.force_login(user)
    assert CLOSE not in client.get(f"{LIST}{resting.pk}/change/").content.decode()
    client.post(
        LIST, {"action": "close_circuit", "_selected_action": [resting.pk], "confirmed": "1"}
    )
    resting.refresh_from_db()
    assert resting.failures == 3
