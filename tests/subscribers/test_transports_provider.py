from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest
from anymail.exceptions import AnymailAPIError, AnymailCancelSend
from anymail.signals import post_send, pre_send
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives

from subscribers.transports import Receipt, Status, get_transport
from subscribers.transports.provider import ProviderTransport
from tests.fakes.provider import Answer, FakeProvider, accepted, refused

SENT, RETRY, FAILED, UNCERTAIN = Status.SENT, Status.RETRY, Status.FAILED, Status.UNCERTAIN
RESEND = "anymail.backends.resend.EmailBackend"
POSTMARK = "anymail.backends.postmark.EmailBackend"
READERS = ["ada@example.org", "ben@example.org", "ada@example.net", "ben@example.net"]
OVERLOADED = refused(429, "rate_limit_exceeded", "Too many requests", Retry_After="1")


@pytest.fixture(autouse=True)
def resend(settings, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    settings.EMAIL_BACKEND = RESEND
    settings.ANYMAIL = {"RESEND_API_KEY": "re_key", "REQUESTS_TIMEOUT": 5}


def letter(to: str = "ada@example.org", **kwargs) -> EmailMultiAlternatives:
    message = EmailMultiAlternatives(
        subject="Two papers",
        body="First line\n",
        from_email=kwargs.get("from_email", "Paperround <digest@paperround.test>"),
        to=[to],
        headers={"Message-ID": f"<{to.replace('@', '.')}@paperround.test>"},
    )
    message.attach_alternative("<p>First line</p>", "text/html")
    return message


def outcome(settings, *answers: Answer, size: int = 3, **options):
    with FakeProvider(*answers) as provider:
        settings.ANYMAIL = settings.ANYMAIL | {"RESEND_API_URL": provider.url}
        transport = ProviderTransport(RESEND, **options)
        receipts = transport.send([letter(to) for to in READERS[:size]])
    return [receipt.status for receipt in receipts], provider, receipts


def taken_from(receipts: list[Receipt], size: int = 3) -> list[list[str]]:
    return [
        [to] for to, receipt in zip(READERS[:size], receipts, strict=True) if receipt.status == SENT
    ]


def test_accepted_mails_are_sent_under_the_providers_ids(settings):
    statuses, provider, receipts = outcome(settings)
    assert statuses == [SENT] * 3
    assert [receipt.message_id for receipt in receipts] == ["re_1", "re_2", "re_3"]
    assert provider.taken[0]["headers"]["Message-ID"] == "<ada.example.org@paperround.test>"
    assert get_transport().name == "resend"
    assert not get_transport().repeats_safely


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refused(422, "validation_error", "Invalid `to` field: ada@example.org"), FAILED),
        (refused(400, "validation_error", "no"), FAILED),
        (refused(500, "internal_server_error", "oh"), UNCERTAIN),
        (refused(502, "bad_gateway", "oh"), UNCERTAIN),
        (refused(504, "gateway_timeout", "oh"), UNCERTAIN),
        (Answer(200, b"<html>"), UNCERTAIN),
        (Answer(200, {"unexpected": True}), UNCERTAIN),
        (Answer(resets="before"), UNCERTAIN),
        (Answer(resets="middle", body=b'{"id": "re_9"}'), UNCERTAIN),
    ],
)
def test_an_answer_to_one_mail_is_about_that_mail_only(settings, answer, expected):
    statuses, provider, receipts = outcome(settings, accepted(), answer)
    assert statuses == [SENT, expected, SENT]
    assert [request["to"] for request in provider.taken] == taken_from(receipts)
    assert receipts[1].error
    assert receipts[1].message_id == "<ben.example.org@paperround.test>"


@pytest.mark.parametrize(
    ("answer", "after"),
    [
        (refused(429, "rate_limit_exceeded", "slow", Retry_After="120"), 120),
        (refused(429, "daily_quota_exceeded", "enough"), None),
        (refused(429, "rate_limit_exceeded", "slow", Retry_After="soon"), None),
        (refused(503, "unavailable", "later", Retry_After="600"), 600),
        (refused(408, "timeout", "late"), None),
        (refused(425, "too_early", "early"), None),
    ],
)
def test_a_provider_that_wants_time_is_given_it_by_the_whole_window(settings, answer, after):
    statuses, provider, receipts = outcome(settings, accepted(), answer)
    assert statuses == [SENT, RETRY, RETRY]
    assert [receipt.retry_after_seconds for receipt in receipts[1:]] == [after, after]
    assert len(provider.requests) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_sender_is_the_operators_fault_and_nobodys_loss(settings, status):
    answer = refused(status, "validation_error", "API key is invalid")
    statuses, provider, receipts = outcome(settings, answer)
    assert statuses == [RETRY] * 3
    assert "ANYMAIL_" in receipts[0].error
    assert "MAIL_FROM" in receipts[0].error
    assert len(provider.requests) == 1


def test_a_short_wait_is_waited_out_within_the_window(settings):
    waits: list[float] = []
    statuses, provider, _receipts = outcome(
        settings, accepted(), OVERLOADED, OVERLOADED, sleep=waits.append
    )
    assert statuses == [SENT] * 3
    assert waits == [1.0, 1.0]
    assert [request["to"][0] for request in provider.taken] == READERS[:3]


def test_patience_has_an_end(settings):
    waits: list[float] = []
    answers = [refused(429, "rate_limit_exceeded", "slow", Retry_After="0")] * 100
    statuses, _provider, _receipts = outcome(settings, *answers, sleep=waits.append)
    assert statuses == [RETRY] * 3
    assert sum(waits) == 30


def test_retry_after_may_be_a_date(settings, time_machine):
    time_machine.move_to(datetime(2026, 11, 23, 6, 30, tzinfo=UTC), tick=False)
    date = "Mon, 23 Nov 2026 06:40:00 GMT"
    answer = refused(429, "rate_limit_exceeded", "slow", Retry_After=date)
    _statuses, _provider, receipts = outcome(settings, answer)
    assert receipts[0].retry_after_seconds == 600


def test_a_time_out_leaves_one_mail_uncertain_and_the_rest_for_later(settings):
    settings.ANYMAIL = settings.ANYMAIL | {"REQUESTS_TIMEOUT": 0.2}
    statuses, provider, _receipts = outcome(settings, accepted(), Answer(hangs=True))
    assert statuses == [SENT, UNCERTAIN, RETRY]
    assert len(provider.requests) == 2


def test_a_provider_that_falls_over_each_time_is_left_alone_after_three(settings):
    answers = [refused(500, "internal_server_error", "oh")] * 4
    statuses, provider, _receipts = outcome(settings, *answers, size=4)
    assert statuses == [UNCERTAIN] * 3 + [RETRY]
    assert len(provider.requests) == 3


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{free}/", "http://no-such-host.invalid/", "ftp://127.0.0.1/"]
)
def test_where_no_request_can_go_out_everything_is_retried(settings, url):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    settings.ANYMAIL = settings.ANYMAIL | {"RESEND_API_URL": url.format(free=free)}
    receipts = get_transport().send([letter(), letter("ben@example.org")])
    assert [receipt.status for receipt in receipts] == [RETRY, RETRY]
    assert "ANYMAIL_" in receipts[0].error


def test_behind_a_proxy_that_is_down_everything_is_retried(settings, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{taken.getsockname()[1]}")
    receipts = get_transport().send([letter()])
    assert receipts[0].status == RETRY


def test_a_mail_without_a_usable_address_harms_no_other(settings):
    with FakeProvider() as provider:
        settings.ANYMAIL = settings.ANYMAIL | {"RESEND_API_URL": provider.url}
        receipts = get_transport().send([letter("ada@"), letter("ben@example.org")])
    assert [receipt.status for receipt in receipts] == [FAILED, SENT]


def test_a_sender_that_is_no_address_names_the_setting(settings):
    receipts = get_transport().send([letter(from_email="nobody"), letter()])
    assert [receipt.status for receipt in receipts] == [RETRY, RETRY]
    assert "MAIL_FROM" in receipts[1].error


def test_what_the_provider_cannot_do_names_the_setting(settings):
    message = letter()
    message.track_opens = True
    message.template_id = "welcome"
    receipts = get_transport().send([message])
    assert receipts[0].status == RETRY
    assert "ANYMAIL_IGNORE_UNSUPPORTED_FEATURES" in receipts[0].error


INACTIVE = (
    "You tried to send to a recipient that has been marked as inactive.\n"
    " Found inactive addresses: ada@example.org.\n"
    " Inactive recipients are ones that have generated a hard bounce or a spam complaint. "
)


@pytest.mark.parametrize("ignore_recipient_status", [True, False])
@pytest.mark.parametrize("words", [INACTIVE, "Other words for the same thing."])
def test_a_recipient_the_provider_rejects_is_a_failure(settings, ignore_recipient_status, words):
    settings.EMAIL_BACKEND = POSTMARK
    with FakeProvider(Answer(422, {"ErrorCode": 406, "Message": words})) as provider:
        settings.ANYMAIL = {
            "POSTMARK_SERVER_TOKEN": "token",
            "POSTMARK_API_URL": provider.url,
            "IGNORE_RECIPIENT_STATUS": ignore_recipient_status,
        }
        receipts = get_transport().send([letter()])
    assert receipts[0].status == FAILED
    assert "ada@example.org" not in receipts[0].error


def test_an_acceptance_that_names_nobody_is_uncertain(settings):
    body = {"ErrorCode": 0, "Message": "OK", "MessageID": "b7bc2f4a"}
    settings.EMAIL_BACKEND = POSTMARK
    with FakeProvider(Answer(200, body)) as provider:
        settings.ANYMAIL = {"POSTMARK_SERVER_TOKEN": "token", "POSTMARK_API_URL": provider.url}
        receipts = get_transport().send([letter()])
    assert receipts[0].status == UNCERTAIN


def test_an_accepted_mail_stays_sent_whatever_a_receiver_does(settings):
    def broken(**kwargs):
        raise RuntimeError("receiver")

    post_send.connect(broken)
    try:
        statuses, _provider, _receipts = outcome(settings, size=1)
    finally:
        post_send.disconnect(broken)
    assert statuses == [SENT]


def test_an_error_nobody_foresaw_is_uncertain(settings, monkeypatch):
    monkeypatch.setattr("requests.Response.json", lambda self: {}["missing"])
    statuses, _provider, _receipts = outcome(settings, size=2)
    assert statuses == [UNCERTAIN, UNCERTAIN]


def test_a_mail_cancelled_by_the_installations_own_code_is_not_sent(settings):
    def cancel(**kwargs):
        raise AnymailCancelSend

    pre_send.connect(cancel)
    try:
        statuses, provider, _receipts = outcome(settings, size=1)
    finally:
        pre_send.disconnect(cancel)
    assert statuses == [FAILED]
    assert provider.requests == []


@pytest.mark.parametrize(("code", "expected"), [(400, FAILED), (429, RETRY), (500, UNCERTAIN)])
def test_amazons_answers_by_boto_are_read_too(settings, monkeypatch, code, expected):
    def post(backend, payload, message):
        raise AnymailAPIError("boto", response={"ResponseMetadata": {"HTTPStatusCode": code}})

    monkeypatch.setattr("anymail.backends.resend.EmailBackend.post_to_esp", post)
    assert get_transport().send([letter()])[0].status == expected


def test_a_missing_key_is_said_before_any_mail_is_touched(settings):
    settings.ANYMAIL = {}
    with pytest.raises(ImproperlyConfigured, match="RESEND_API_KEY"):
        get_transport()


def test_a_provider_that_does_not_exist_names_the_setting(settings):
    settings.EMAIL_BACKEND = "anymail.backends.nobody.EmailBackend"
    with pytest.raises(ImproperlyConfigured, match="EMAIL_BACKEND"):
        get_transport()


def test_a_time_out_from_the_environment_is_a_number_or_a_wrong_setting(settings):
    settings.ANYMAIL = settings.ANYMAIL | {"REQUESTS_TIMEOUT": "5"}
    assert outcome(settings, size=1)[0] == [SENT]
    settings.ANYMAIL = settings.ANYMAIL | {"REQUESTS_TIMEOUT": "soon"}
    with pytest.raises(ImproperlyConfigured, match="ANYMAIL_REQUESTS_TIMEOUT"):
        get_transport()
