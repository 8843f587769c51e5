"""Limits, circuits and the second transport, as digests meet them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import DateTimeField, Value

from digest import sending
from digest.models import Digest
from subscribers import flow
from subscribers.models import TransportState
from subscribers.transports import Receipt, Status
from tests.factories import DUE
from tests.fakes.transport import FakeTransport

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("balanced_books")]

State = Digest.State
NO_LINE = Receipt(Status.RETRY, error="cannot connect", is_services=True)
UNTRIED = Receipt(Status.RETRY, error="not tried", is_services=True, was_tried=False)
CUT_OFF = Receipt(Status.UNCERTAIN, error="the line went away", is_services=True)


@pytest.fixture
def second(monkeypatch, transport) -> FakeTransport:
    other = FakeTransport()
    other.name = "second"
    for module in (flow, sending):
        monkeypatch.setattr(module, "get_transports", lambda: [transport, other])
    return other


@pytest.fixture(autouse=True)
def database_clock(monkeypatch) -> None:
    """Half past six there too."""
    at = Value(DUE + timedelta(minutes=30), DateTimeField())
    monkeypatch.setattr(flow, "Now", lambda: at)


def send_all(now: datetime) -> None:
    while sending.send_due(now):
        pass


def transports() -> list[str]:
    return sorted(Digest.objects.filter(state=State.SENT).values_list("transport", flat=True))


def test_what_the_first_could_not_take_leaves_by_the_second(digests, transport, second):
    transport.answers = [NO_LINE, *[UNTRIED] * 5]
    send_all(DUE)
    assert transports() == ["second"] * 6
    assert len(second.recipients()) == len(set(second.recipients())) == 6
    assert len(transport.windows) == 1


def test_what_may_have_left_by_the_first_is_never_given_to_the_second(digests, transport, second):
    transport.answers = [CUT_OFF, CUT_OFF, CUT_OFF, *[UNTRIED] * 3]
    send_all(DUE)
    send_all(DUE + timedelta(hours=1))
    assert Digest.objects.filter(state=State.UNCERTAIN, transport="fake").count() == 3
    assert not set(second.recipients()) & set(transport.recipients()[:3])
    everybody = transport.recipients() + second.recipients()
    assert len(everybody) == len(set(everybody)) == 6


def test_without_a_second_the_rest_waits_and_one_mail_goes_ahead(digests, transport):
    transport.answers = [NO_LINE, *[UNTRIED] * 5]
    send_all(DUE)
    send_all(DUE + timedelta(seconds=10))
    assert len(transport.windows) == 1
    send_all(DUE + timedelta(minutes=5))
    assert [len(window) for window in transport.windows] == [6, 1, 5]
    assert transports() == ["fake"] * 6


def test_a_day_s_limit_leaves_the_rest_as_it_was(digests, transport, settings: Any):
    settings.MAIL_PER_DAY = 4
    send_all(DUE)
    assert transports() == ["fake"] * 4
    rest = Digest.objects.exclude(state=State.SENT)
    assert {(each.state, each.attempts) for each in rest} == {(State.ASSEMBLED, 0)}
    assert TransportState.objects.get().day == DUE.date()


def test_once_the_day_is_used_up_the_second_goes_on(digests, transport, second, settings: Any):
    settings.MAIL_PER_DAY = 4
    send_all(DUE)
    assert transports() == ["fake"] * 4 + ["second"] * 2


def test_mails_that_did_not_leave_have_used_up_nothing(digests, transport, settings: Any):
    settings.MAIL_PER_DAY = 10
    digests[0].subscriber.paused_until = DUE.date() + timedelta(days=3)
    digests[0].subscriber.save()
    sending.send_due(DUE)
    assert TransportState.objects.get().used == 5


def test_a_rate_is_kept_window_by_window(digests, transport, settings: Any):
    settings.MAIL_PER_SECOND = 40.0
    send_all(DUE)
    assert [len(window) for window in transport.windows] == [4, 2]
    assert transports() == ["fake"] * 6
