"""Which way mail leaves, and how much of it: one process's view. See test_flow_processes.py."""

from __future__ import annotations

import random
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import DateTimeField, Value
from django.db.models.functions import Now
from hypothesis import given
from hypothesis import strategies as st

from subscribers import flow, mail
from subscribers.flow import WARM, Standing, Way, judged, ramp, rest_seconds, turn_of
from subscribers.models import Subscriber, TransportState
from subscribers.transports import Receipt, Status, get_transports
from tests.fakes.transport import FakeTransport

SENT, FAILED = Receipt(Status.SENT), Receipt(Status.FAILED, error="550 no such user")
GREYLISTED = Receipt(Status.RETRY, error="451 greylisted, come back later")
NO_LINE = Receipt(Status.RETRY, error="cannot connect", is_services=True)
UNTRIED = Receipt(Status.RETRY, error="not tried", is_services=True, was_tried=False)
CUT_OFF = Receipt(Status.UNCERTAIN, error="the line went away", is_services=True)
BUSY = Receipt(Status.RETRY, error="429", is_services=True, retry_after_seconds=600.0)
AT = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


class Middle(random.Random):
    """Throws no dice: the longest rest."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.fixture
def first() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def second() -> FakeTransport:
    transport = FakeTransport()
    transport.name = "second"
    return transport


@pytest.fixture(autouse=True)
def transports(monkeypatch, first, second) -> None:
    monkeypatch.setattr(flow, "get_transports", lambda: [first, second])


@pytest.fixture
def database_clock(monkeypatch) -> None:
    """It stands at AT."""
    monkeypatch.setattr(flow, "Now", lambda: Value(AT, DateTimeField()))


def way_at(now: datetime, *, for_service: bool = False) -> Way:
    way = flow.way_out(now, for_service=for_service)
    assert way is not None
    return way


def trouble(now: datetime, *receipts: Receipt) -> datetime:
    """The first transport meets it; until when it rests then."""
    way = way_at(now)
    if way.is_probe:
        assert flow.grant(way, 9, patience_seconds=0) == 1
    assert not flow.note(way, receipts or [NO_LINE, UNTRIED], now, Middle())
    until = TransportState.objects.get(name=way.name).open_until
    assert until is not None
    return until


def ask(way: Way, wanted: int, *, patience_seconds: float = 0) -> int:
    return flow.grant(way, wanted, patience_seconds=patience_seconds)


# -- the meter, by a clock that the test turns ---------------------------------------------


def turn(wanted: int, free_at: datetime | None, now: datetime, **changed: float) -> flow.Turn:
    facts = {"per_second": 100.0, "patience_seconds": 10.0} | changed
    return turn_of(wanted, free_at=free_at, now=now, **facts)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_each_mail_has_a_moment_and_none_leaves_before_its_own():
    first = turn(10, None, AT)
    assert (first.count, first.free_at) == (10, AT + seconds(0.1))
    assert first.wait_seconds == pytest.approx(0.09)
    second = turn(4, first.free_at, AT)
    assert (second.count, second.free_at) == (4, AT + seconds(0.14))
    assert second.wait_seconds == pytest.approx(0.13)


def test_one_mail_after_a_pause_leaves_at_once_and_the_next_when_it_is_due():
    first = turn(1, AT - seconds(50), AT, per_second=0.1)
    assert (first.count, first.wait_seconds, first.free_at) == (1, 0, AT + seconds(10))
    second = turn(1, first.free_at, AT + seconds(3), per_second=0.1)
    assert second.wait_seconds == pytest.approx(7)


def test_no_more_than_a_tenth_of_a_second_s_mails_leave_together():
    assert turn(500, None, AT, per_second=200).count == 20
    assert turn(500, None, AT, per_second=15).count == 1


def test_whoever_is_impatient_gets_what_fits_or_nothing():
    assert turn(10, AT + seconds(1), AT, patience_seconds=1.035).count == 4
    assert turn(10, AT + seconds(1), AT, patience_seconds=0.99).count == 0
    late = turn(10, AT + seconds(1), AT, patience_seconds=0.99)
    assert late.free_at == AT + seconds(1), "nothing is reserved"


def test_what_a_worker_s_own_work_cost_is_made_up_for_and_a_pause_is_not():
    assert turn(1, AT - seconds(0.2), AT).free_at == AT - seconds(0.19)
    assert turn(1, AT - seconds(0.3), AT).free_at == AT + seconds(0.01)


def test_a_clock_that_was_put_back_by_hours_holds_nothing_up():
    assert turn(1, AT + timedelta(hours=2), AT).wait_seconds == 0


@given(
    per_second=st.floats(0.5, 5000),
    steps=st.lists(st.tuples(st.integers(1, 60), st.floats(0, 3)), min_size=1, max_size=60),
)
def test_however_workers_ask_no_more_leave_than_the_rate_allows(per_second, steps):
    now, free_at, leaving = AT, None, []
    for wanted, pause in steps:
        taken = turn_of(wanted, free_at=free_at, now=now, per_second=per_second, patience_seconds=5)
        free_at = taken.free_at
        leaving += [now + seconds(taken.wait_seconds)] * taken.count
        now += seconds(pause)
    began = min(leaving)
    for number, moment in enumerate(sorted(leaving), 1):
        most = (moment - began).total_seconds() * per_second
        first = leaving.count(began)
        assert number - first <= most + 0.01 * number, "of those after the first ones"


def test_a_worker_that_is_busy_half_the_time_reaches_the_rate_to_the_mail():
    now, free_at, left = AT, None, 0
    while now < AT + seconds(60):
        taken = turn(32, free_at, now, per_second=200)
        free_at, left = taken.free_at, left + taken.count
        now += seconds(taken.wait_seconds + 0.05)  # handed over and written down
    assert left == pytest.approx(60 * 200, rel=0.002)


# -- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "mails"), [(-5, 200), (0, 200), (1, 300), (2, 450), (3, 675), (10, 11533), (40, WARM)]
)
def test_a_new_domain_s_days(days, mails):
    assert ramp(days, first_day=200, growth=1.5) == mails


def test_a_ramp_of_thousands_of_days_is_still_a_number():
    assert ramp(9999, first_day=1, growth=10) == WARM
    assert ramp(100, first_day=1, growth=1.01) == 3
    assert ramp(0, first_day=1_000_000, growth=1.01) == 1_000_000


def test_the_day_s_limit_grows_until_it_is_the_usual_one(settings):
    settings.MAIL_WARMUP_FROM = date(2026, 11, 23)
    assert flow.limit_of(date(2026, 11, 24)) == 300
    assert flow.limit_of(date(2027, 11, 24)) is None
    settings.MAIL_PER_DAY = 500
    days = [date(2026, 11, 21) + timedelta(days=number) for number in range(7)]
    assert [flow.limit_of(day) for day in days] == [200, 200, 200, 300, 450, 500, 500]


@pytest.mark.django_db
def test_without_a_limit_a_window_costs_no_query(django_assert_num_queries):
    way = way_at(AT)
    with django_assert_num_queries(0):
        assert ask(way, 32) == 32
        flow.give_back(way, 5)
        assert flow.note(way, [SENT, FAILED, GREYLISTED], AT)
    assert not TransportState.objects.exists()


@pytest.mark.usefixtures("database_clock")
@pytest.mark.django_db
def test_a_day_s_limit_is_used_up_and_never_passed(settings):
    settings.MAIL_PER_DAY = 50
    way = way_at(AT)
    assert [ask(way, 20) for _ in range(4)] == [20, 20, 8, 0]
    assert TransportState.objects.get().used == 48


@pytest.mark.usefixtures("database_clock")
@pytest.mark.django_db
def test_the_last_of_a_day_s_limit_is_for_mails_that_somebody_waits_for(settings, second):
    settings.MAIL_PER_DAY = 40
    assert ask(way_at(AT), 40) == 38
    assert way_at(AT).transport is second
    way = way_at(AT, for_service=True)
    assert way.transport is not second
    assert ask(way, 5) == 2


@pytest.mark.usefixtures("database_clock")
@pytest.mark.django_db
def test_what_was_not_handed_over_is_given_back_to_its_own_day(settings):
    settings.MAIL_PER_DAY = 19
    way = way_at(AT)
    assert ask(way, 19) == 19
    flow.give_back(way, 4)
    assert ask(way, 19) == 4
    TransportState.objects.update(day=AT.date() + timedelta(days=1), used=7)
    flow.give_back(way, 4)
    assert TransportState.objects.get().used == 7


@pytest.mark.usefixtures("database_clock")
@pytest.mark.django_db
def test_a_new_day_begins_at_nothing(settings):
    settings.MAIL_PER_DAY = 19
    yesterday = AT.date() - timedelta(days=1)
    TransportState.objects.create(name="fake", day=yesterday, used=19)
    way = way_at(AT)
    assert way.name == "fake"
    assert ask(way, 30) == 19


@pytest.mark.usefixtures("database_clock")
@pytest.mark.django_db
def test_the_meter_goes_forward_in_the_row_by_exactly_what_was_given(settings):
    settings.MAIL_PER_SECOND = 1000.0
    way = way_at(AT)
    assert ask(way, 7, patience_seconds=1) == 7
    before = TransportState.objects.get().free_at
    assert ask(way, 3, patience_seconds=1) == 3
    assert TransportState.objects.get().free_at - before == seconds(0.003)


@pytest.mark.django_db
def test_a_turn_is_waited_for(settings):
    settings.MAIL_PER_SECOND = 5.0
    way = way_at(AT)
    began = time.monotonic()
    assert [ask(way, 9, patience_seconds=1) for _ in range(3)] == [1, 1, 1]
    assert 0.39 <= time.monotonic() - began < 2
    assert ask(way, 1, patience_seconds=0.1) == 0


@pytest.mark.usefixtures("database_clock")
@pytest.mark.django_db
def test_whoever_is_told_to_stop_waits_no_longer_and_uses_nothing(settings):
    settings.MAIL_PER_SECOND, settings.MAIL_PER_DAY = 1.0, 100
    way = way_at(AT)
    assert ask(way, 1) == 1
    began = time.monotonic()
    assert flow.grant(way, 1, patience_seconds=60, should_stop=lambda: True) == 0
    assert time.monotonic() - began < 0.5
    assert TransportState.objects.get().used == 1


# -- the circuit breaker -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("receipts", "is_trouble"),
    [
        ([SENT, NO_LINE, UNTRIED], False),
        ([FAILED], False),
        ([FAILED, UNTRIED], False),
        ([GREYLISTED], False),
        ([GREYLISTED] * 32, False),
        ([GREYLISTED, SENT, GREYLISTED, GREYLISTED], False),
        ([NO_LINE], True),
        ([NO_LINE, UNTRIED, UNTRIED], True),
        ([CUT_OFF], True),
        ([BUSY], True),
        ([Receipt(Status.UNCERTAIN, error="it did not say")], False),
        ([], False),
    ],
)
def test_a_window_of_which_nothing_got_through_for_the_service_s_sake_is_trouble(
    receipts, is_trouble
):
    assert judged(receipts).is_trouble is is_trouble


def test_the_first_that_was_tried_says_why():
    assert judged([UNTRIED, GREYLISTED, NO_LINE]).error == "cannot connect"
    assert judged([SENT]).error == ""


def test_a_rest_doubles_up_to_half_an_hour_and_half_of_it_is_chance():
    longest = [rest_seconds(failures, Middle()) for failures in (1, 2, 3, 4, 7, 8, 30_000)]
    assert longest == [30, 60, 120, 240, 1800, 1800, 1800]
    dice = random.Random(1)
    thrown = [rest_seconds(3, dice) for _ in range(500)]
    assert 60 <= min(thrown) < 65
    assert 115 < max(thrown) <= 120


@pytest.mark.django_db
def test_trouble_opens_the_circuit_and_mail_leaves_by_the_second_transport(first, second):
    assert way_at(AT).transport is first
    assert [way.name for way in flow.ways_out(AT)] == ["fake", "second"]
    assert trouble(AT) == AT + seconds(30)
    assert [way.name for way in flow.ways_out(AT)] == ["second"]
    assert way_at(AT + seconds(29)).transport is second
    assert trouble(AT + seconds(10)) == AT + seconds(40)
    assert flow.way_out(AT + seconds(20)) is None
    assert flow.available_again(AT + seconds(20)) == AT + seconds(30)
    assert way_at(AT + seconds(30)).transport is first


@pytest.mark.django_db
def test_after_its_rest_one_worker_gives_it_one_mail_and_all_others_none():
    until = trouble(AT)
    ways = [way_at(until) for _ in range(3)]
    assert [ask(way, 32) for way in ways] == [1, 0, 0]
    assert ask(ways[0], 32) == 0, "before it is known what became of that one"
    assert way_at(until).name == "second"

    assert flow.note(ways[0], [SENT], until)
    way = way_at(until)
    assert (way.name, ask(way, 32)) == ("fake", 32)
    assert TransportState.objects.get().failures == 0


@pytest.mark.django_db
def test_a_probe_that_fails_makes_the_rest_longer():
    moment, rests = AT, []
    for _ in range(4):
        until = trouble(moment)
        rests.append((until - moment).total_seconds())
        moment = until
    assert rests == [30, 60, 120, 240]


@pytest.mark.django_db
def test_a_probe_whose_worker_dies_is_made_by_another(settings):
    until = trouble(AT)
    assert ask(way_at(until), 1) == 1
    lapsed = until + seconds(2 * settings.EMAIL_TIMEOUT)
    assert way_at(lapsed - seconds(1)).name == "second"
    way = way_at(lapsed)
    assert (way.name, ask(way, 8)) == ("fake", 1)


@pytest.mark.django_db
def test_a_probe_that_was_not_needed_is_given_back():
    until = trouble(AT)
    way = way_at(until)
    assert ask(way, 1) == 1
    flow.give_back(way, 1)
    assert [ask(way_at(until), 8), way_at(until).name] == [1, "second"]


@pytest.mark.django_db
def test_a_probe_that_is_put_off_alone_lets_mail_flow_and_forgets_nothing():
    until = trouble(AT)
    way = way_at(until)
    assert ask(way, 1) == 1
    assert flow.note(way, [GREYLISTED], until)
    way = way_at(until)
    assert ask(way, 32) == 32
    assert not flow.note(way, [NO_LINE], until, Middle())
    assert TransportState.objects.get().open_until == until + seconds(60)


@pytest.mark.django_db
def test_workers_who_meet_the_same_trouble_count_it_once():
    ways = [way_at(AT) for _ in range(4)]
    for later, way in enumerate(ways):
        assert not flow.note(way, [NO_LINE], AT + seconds(later), Middle())
    row = TransportState.objects.get()
    assert (row.failures, row.open_until) == (1, AT + seconds(30))


@pytest.mark.django_db
def test_trouble_that_is_noted_twice_is_counted_once(settings):
    """Whoever records it may have to try again, where the database went away in between."""
    settings.EMAIL_TIMEOUT = 20  # a probe's time is not by chance the rest that follows
    until = trouble(AT)
    way = way_at(until)
    assert ask(way, 1) == 1
    for _ in range(2):
        assert not flow.note(way, [NO_LINE], until, Middle())
    row = TransportState.objects.get()
    assert (row.failures, row.open_until) == (2, until + seconds(60))


@pytest.mark.django_db
def test_a_window_that_began_before_the_trouble_does_not_end_it():
    trouble(AT)
    until = trouble_seen = TransportState.objects.get().open_until
    way = way_at(until)
    ask(way, 1)
    flow.note(way, [GREYLISTED], until)
    slow = way_at(until)  # it knows of one failure
    assert not flow.note(way_at(until), [NO_LINE], until, Middle())
    assert flow.note(slow, [SENT], until)
    row = TransportState.objects.get()
    assert row.failures == 2
    assert row.open_until > trouble_seen


@pytest.mark.django_db
def test_a_service_is_left_alone_for_as_long_as_it_asks():
    assert trouble(AT, BUSY) == AT + seconds(600)
    flow.close_circuit("fake")
    assert not flow.note(way_at(AT), [SENT, SENT, BUSY], AT, Middle())
    row = TransportState.objects.get()
    assert (row.open_until, row.failures) == (AT + seconds(600), 0)
    assert flow.way_out(AT + seconds(599)).name == "second"


@pytest.mark.django_db
def test_asking_for_years_is_asking_for_a_day():
    years = Receipt(Status.RETRY, is_services=True, retry_after_seconds=1e9)
    assert trouble(AT, years) == AT + timedelta(days=1)


@pytest.mark.django_db
def test_a_database_that_is_away_costs_no_receipt_and_no_marked_mail(settings, caplog):
    settings.MAIL_PER_DAY = 100
    way = way_at(AT)

    def away(*args: Any) -> Any:
        raise OperationalError("server closed the connection")

    with connection.execute_wrapper(away):
        flow.give_back(way, 3)
        assert not flow.note(way, [NO_LINE], AT)
        with pytest.raises(OperationalError):
            ask(way, 1)
    assert "not given back" in caplog.text
    assert "not noted" in caplog.text


@pytest.mark.django_db
def test_an_operator_s_word_closes_the_circuit():
    until = trouble(AT)
    assert flow.close_circuit("fake")
    way = way_at(until - seconds(20))
    assert (way.name, way.is_probe, way.failures) == ("fake", False, 0)
    assert not flow.close_circuit("fake")
    assert not flow.close_circuit("nobody")


# -- how they stand ------------------------------------------------------------------------


@pytest.mark.django_db
def test_how_the_transports_stand_is_told_in_their_order(settings):
    settings.MAIL_PER_DAY = 1000
    trouble(AT)
    TransportState.objects.create(name="second", day=AT.date(), used=1000)
    TransportState.objects.create(name="of old", used=3)
    fake, second = flow.standings(AT)
    assert (fake.name, fake.is_open, fake.used, fake.error) == ("fake", True, 0, "cannot connect")
    assert fake.said == ("It rests until 23 November, 06:30 UTC: nothing got through last time.")
    assert (second.is_open, second.is_used_up, second.limit) == (False, True, 1000)
    assert second.said == "Today’s 1,000 mails are used up; it goes on at midnight UTC."
    assert flow.available_again(AT) == AT + seconds(30)
    (fake, _second) = flow.standings(AT + seconds(30))
    assert fake.said == "Its rest is over: one mail will try it."
    settings.MAIL_PER_DAY = 0
    assert flow.available_again(AT) == AT
    assert flow.standings(AT)[1].said == "Mail may leave by it."


def test_a_rest_says_why():
    asked = Standing("smtp", open_until=AT)
    assert asked.said.endswith("UTC: the service asked for it.")
    often = Standing("smtp", open_until=AT, failures=4)
    assert often.said.endswith("nothing got through the last 4 times.")


@pytest.mark.django_db
def test_when_every_day_is_used_up_midnight_is_awaited(settings):
    settings.MAIL_PER_DAY = 10
    for name in ("fake", "second"):
        TransportState.objects.create(name=name, day=AT.date(), used=10)
    assert flow.way_out(AT) is None
    assert flow.available_again(AT) == datetime(2026, 11, 24, tzinfo=UTC)


# -- the transports that settings name -----------------------------------------------------


def test_the_second_transport_has_a_name_of_its_own(settings):
    settings.EMAIL_BACKEND = "anymail.backends.test.EmailBackend"
    settings.FALLBACK_EMAIL = {}
    assert len(get_transports()) == 1
    settings.FALLBACK_EMAIL = {"EMAIL_BACKEND": "anymail.backends.test.EmailBackend"}
    one, other = (transport.name for transport in get_transports())
    assert one != other


def test_a_second_server_is_spoken_to_by_its_own_settings(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.FALLBACK_EMAIL = {
        "EMAIL_BACKEND": settings.EMAIL_BACKEND,
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": 9,
        "EMAIL_HOST_USER": "",
        "EMAIL_HOST_PASSWORD": "",
        "EMAIL_TIMEOUT": 2,
    }
    assert [transport.name for transport in get_transports()] == ["smtp", "smtp-fallback"]


# -- service mails -------------------------------------------------------------------------


@pytest.mark.django_db
def test_service_mails_take_the_second_way_out_while_the_first_rests(pending, now, first, second):
    trouble(now)
    assert mail.send_due(now) == 1
    assert (first.windows, second.recipients()) == ([], ["ben@example.org"])


@pytest.mark.django_db
def test_service_mails_that_meet_trouble_open_the_circuit_for_all(pending, now, first, second):
    first.answers = [NO_LINE]
    assert mail.send_due(now) == 0
    assert way_at(now).transport is second
    assert mail.send_due(now + timedelta(minutes=10)) == 1, "first rested; this was its probe"
    assert first.recipients() == ["ben@example.org"]
    assert not TransportState.objects.get().failures


@pytest.mark.django_db
def test_service_mails_wait_unclaimed_while_no_transport_may_take_them(pending, now, first, second):
    for transport in (first, second):
        row = TransportState(name=transport.name, open_until=now + seconds(60), failures=1)
        row.save()
    assert mail.send_due(now) == 0
    assert not first.windows + second.windows
    assert Subscriber.objects.get().confirmation_due_at == pending.confirmation_due_at


@pytest.mark.django_db
def test_service_mails_use_up_the_day_and_leave_the_rest_due(
    settings, monkeypatch, pending, ada, now, first
):
    settings.MAIL_PER_DAY = 1
    Subscriber.objects.filter(pk=ada.pk).update(link_due_at=now)
    monkeypatch.setattr(flow, "get_transports", lambda: [first])
    assert mail.send_due(now) == 1
    assert first.recipients() == ["ben@example.org"]
    assert Subscriber.objects.get(pk=ada.pk).link_due_at == now


@pytest.mark.django_db
def test_the_row_s_clock_is_the_database_s(settings):
    settings.MAIL_PER_SECOND = 1000.0
    ask(way_at(AT), 1, patience_seconds=1)
    (clock,) = TransportState.objects.values_list(Now(), flat=True)
    assert abs(TransportState.objects.get().free_at - clock) < seconds(5)
