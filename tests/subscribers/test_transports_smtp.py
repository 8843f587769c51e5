from __future__ import annotations

import os
import signal
import socket
import threading
import time

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives

from subscribers.transports import Receipt, Status, get_transport
from subscribers.transports.smtp_connection import kept
from tests.fakes.smtp_sink import Fault, SmtpSink

SENT, RETRY, FAILED, UNCERTAIN = Status.SENT, Status.RETRY, Status.FAILED, Status.UNCERTAIN
READERS = ["ada@example.org", "ben@example.org", "ada@example.net", "ben@example.net"]


class RealServer(Controller):
    """On whichever port is free."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture(autouse=True)
def smtp(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_TIMEOUT = 5
    yield
    kept.close()


@pytest.fixture(params=[(), ("PIPELINING", "SIZE 1000000")], ids=["one by one", "pipelined"])
def offers(request) -> tuple[str, ...]:
    """What the server's EHLO says. Nothing that happens to a mail may depend on it."""
    return request.param


def letter(to: str = "ada@example.org", **kwargs) -> EmailMultiAlternatives:
    message = EmailMultiAlternatives(
        subject=kwargs.get("subject", "Größe and papers"),
        body="First line\n.a line that starts with a dot\nlast line\n",
        from_email=kwargs.get("from_email", "Paperround <digest@paperround.test>"),
        to=[to],
        headers={"Message-ID": f"<{to.replace('@', '.')}@paperround.test>"},
    )
    message.attach_alternative("<p>First line</p>", "text/html")
    return message


def endless_letter() -> EmailMultiAlternatives:
    """More than all buffers on the way hold."""
    message = letter("ben@example.org")
    message.body = ("x" * 900 + "\n") * 7000
    return message


def window(size: int = 3) -> list[EmailMultiAlternatives]:
    return [letter(to) for to in READERS[:size]]


def send(settings, sink: SmtpSink, messages=None) -> list[Receipt]:
    settings.EMAIL_PORT = sink.port
    return get_transport().send(window() if messages is None else messages)


def outcome(
    settings, *faults: Fault, offers: tuple[str, ...] = (), size: int = 3
) -> tuple[list[Status], SmtpSink, list[Receipt]]:
    with SmtpSink(list(faults), offers) as sink:
        receipts = send(settings, sink, window(size))
    return [receipt.status for receipt in receipts], sink, receipts


def what_was_sent(receipts: list[Receipt], size: int = 3) -> list[str]:
    return [
        to for to, receipt in zip(READERS[:size], receipts, strict=True) if receipt.status == SENT
    ]


def test_a_window_goes_over_one_connection_of_a_real_server(settings):
    class Box:
        def __init__(self):
            self.taken, self.peers = [], set()

        async def handle_DATA(self, server, session, envelope):
            self.taken.append((envelope.rcpt_tos, envelope.content))
            self.peers.add(session.peer)
            return "250 OK"

    box = Box()
    controller = RealServer(box, hostname="127.0.0.1", port=0)
    controller.start()
    try:
        settings.EMAIL_PORT = controller.port
        receipts = get_transport().send(window())
    finally:
        controller.stop()
    assert [receipt.status for receipt in receipts] == [SENT] * 3
    assert receipts[1].message_id == "<ben.example.org@paperround.test>"
    assert [rcpt for rcpt, _ in box.taken] == [[to] for to in READERS[:3]]
    assert b"Message-ID: <ada.example.org@paperround.test>\r\n" in box.taken[0][1]
    assert b"\r\n.a line that starts with a dot\r\n" in box.taken[0][1]
    assert len(box.peers) == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_wrong_password_is_the_operators_fault_and_costs_nobody_their_mail(settings):
    controller = RealServer(
        object(), hostname="127.0.0.1", port=0, auth_required=True, auth_require_tls=False,
        authenticator=lambda *args: AuthResult(success=False, handled=False),
    )  # fmt: skip
    controller.start()
    try:
        settings.EMAIL_PORT = controller.port
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "paperround", "wrong"
        receipts = get_transport().send(window())
    finally:
        controller.stop()
    assert [receipt.status for receipt in receipts] == [RETRY] * 3
    assert all("EMAIL_URL" in receipt.error for receipt in receipts)
    assert "wrong" not in receipts[0].error


def test_a_login_that_was_forgotten_is_the_operators_fault(settings):
    statuses, sink, receipts = outcome(settings, Fault("mail", "530 5.7.0 authenticate first"))
    assert statuses == [RETRY] * 3
    assert "EMAIL_URL" in receipts[0].error
    assert sink.mails == 1


def test_a_server_without_tls_that_was_asked_for_takes_nothing(settings):
    settings.EMAIL_USE_TLS = True
    statuses, sink, receipts = outcome(settings)
    assert statuses == [RETRY] * 3
    assert "EMAIL_URL" in receipts[0].error
    assert sink.accepted == []


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "bad..label"])
def test_where_nobody_listens_everything_is_retried(settings, host):
    settings.EMAIL_HOST = host
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings.EMAIL_PORT = taken.getsockname()[1]
    receipts = get_transport().send(window())
    assert [receipt.status for receipt in receipts] == [RETRY] * 3
    assert "EMAIL_URL" in receipts[0].error


@pytest.mark.parametrize(
    "fault",
    [
        Fault("connect", "554 no service here"),
        Fault("connect", "421 too busy"),
        Fault("connect"),
        Fault("ehlo", "550 go away"),
        Fault("mail", "553 5.7.1 sender not owned"),
    ],
)
def test_trouble_with_the_whole_connection_is_everybodys_retry_after_one_try(
    settings, offers, fault
):
    statuses, sink, _receipts = outcome(settings, fault, offers=offers)
    assert statuses == [RETRY] * 3
    assert sink.connections == 1
    assert sink.mails <= 1
    assert sink.accepted == []


def test_a_refused_sender_names_the_setting(settings):
    _statuses, _sink, receipts = outcome(settings, Fault("mail", "553 5.7.1 sender not owned"))
    assert "MAIL_FROM" in receipts[0].error
    assert "553 5.7.1 sender not owned" in receipts[2].error


TROUBLES = {
    "closes": {},
    "hangs": {"hangs": True},
    "451": {"reply": "451 4.3.0 later"},
    "554": {"reply": "554 5.7.1 no"},
    "421": {"reply": "421 4.3.2 closing", "then_close": True},
}
# What becomes of three mails (Sent, Retry, Failed, Uncertain), where the trouble is with the first
# of a new connection, and where it is with the second of one that has worked so far.
OUTCOMES = """
    mail  1   RSS  RRR  RSS  RRR  RSS
    rcpt  1   RSS  RRR  RSS  FSS  RSS
    data  1   RSS  RRR  RSS  FSS  RSS
    body  1   USS  URR  RSS  FSS  RSS
    dot   1   USS  URR  RSS  FSS  RSS
    mail  2   SSS  SRR  SRS  SRR  SSS
    rcpt  2   SSS  SRR  SRS  SFS  SSS
    data  2   SSS  SRR  SRS  SFS  SSS
    body  2   SUS  SUR  SRS  SFS  SRS
    dot   2   SUS  SUR  SRS  SFS  SRS
"""
CASES = [
    (Fault(stage, nth=int(nth), **trouble), expected)
    for stage, nth, *row in map(str.split, OUTCOMES.strip().splitlines())
    for trouble, expected in zip(TROUBLES.values(), row, strict=True)
]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [pytest.param(*case, id=f"{case[0].stage}-{case[0].nth}-{case[1]}-{i}")
     for i, case in enumerate(CASES)],
)  # fmt: skip
def test_at_every_stage_every_trouble_means_what_it_means(settings, offers, fault, expected):
    settings.EMAIL_TIMEOUT = 0.15 if fault.hangs else 5
    statuses, sink, receipts = outcome(settings, fault, offers=offers)
    assert "".join(status[0].upper() for status in statuses) == expected
    assert sink.recipients() == what_was_sent(receipts)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("mail", "552 too large", nth=2), FAILED),
        (Fault("mail", "552-much\r\n552 too large", nth=2), FAILED),
        (Fault("rcpt", "251 will forward", nth=2, goes_on=True), SENT),
        (Fault("rcpt", "550 5.1.1 no such user", nth=2, then_close=True), FAILED),
        (Fault("data", "250 what?", nth=2), RETRY),
        (Fault("dot", "nonsense", nth=2), UNCERTAIN),
        (Fault("dot", "354 what?", nth=2), UNCERTAIN),
        (Fault("dot", "999 what?", nth=2), UNCERTAIN),
        (Fault("dot", "250" + "x" * 9000, nth=2, then_close=True), UNCERTAIN),
        (Fault("dot", "250", nth=2), SENT),
        (Fault("dot", "252 well, yes", nth=2), SENT),
        (Fault("dot", "250-well,\r\n250-let me\r\n250 think", nth=2), SENT),
    ],
)
def test_an_answer_to_one_message_is_about_that_message_only(settings, offers, fault, expected):
    if fault.stage == "data":  # the connection had been used, so the mail gets another chance
        expected = SENT
    statuses, sink, receipts = outcome(settings, fault, offers=offers)
    assert statuses == [SENT, expected, SENT]
    if expected != SENT:  # the sink keeps nothing of what it has a fault for
        assert sink.recipients() == what_was_sent(receipts)


def test_a_body_asked_for_in_vain_is_a_lone_dot_that_counts_for_nothing(settings):
    faults = [
        Fault("rcpt", "550 5.1.1 no such user", nth=2),
        Fault("data", "354 go on, all the same", nth=2, goes_on=True),
    ]
    statuses, sink, receipts = outcome(settings, *faults, offers=("PIPELINING",))
    assert statuses == [SENT, FAILED, SENT]
    assert receipts[1].error == "550 5.1.1 no such user"
    assert sink.connections == 1
    assert sink.recipients() == what_was_sent(receipts)


def test_a_silence_after_a_refusal_leaves_the_refusal_and_ends_the_window(settings):
    settings.EMAIL_TIMEOUT = 0.15
    faults = [Fault("rcpt", "550 no such user", nth=2), Fault("data", nth=2, hangs=True)]
    statuses, sink, _receipts = outcome(settings, *faults, offers=("PIPELINING",))
    assert statuses == [SENT, FAILED, RETRY]
    assert sink.connections == 1


@pytest.mark.parametrize(
    ("reply", "expected"), [("552 too large", FAILED), ("250 fine", UNCERTAIN), ("", UNCERTAIN)]
)
def test_a_server_that_answers_before_the_body_is_over_is_believed_a_refusal_only(
    settings, offers, reply, expected
):
    messages = [letter(), endless_letter(), letter("ada@example.net")]
    with SmtpSink([Fault("body", reply, nth=2, then_close=True)], offers) as sink:
        receipts = send(settings, sink, messages)
    assert [receipt.status for receipt in receipts] == [SENT, expected, SENT]
    assert sink.recipients() == what_was_sent(receipts)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
@pytest.mark.parametrize("reply", ["", "421 too many messages on this connection"])
def test_a_connection_lost_before_the_body_is_made_anew_once(settings, offers, stage, reply):
    fault = Fault(stage, reply, nth=2, then_close=True)
    statuses, sink, receipts = outcome(settings, fault, offers=offers)
    assert statuses == [SENT] * 3
    assert sink.connections == 2
    assert sink.recipients() == what_was_sent(receipts)


def test_a_server_that_takes_its_leave_is_not_waited_for(settings, offers):
    fault = Fault("mail", "421 4.3.2 closing, some time", nth=2, hangs=True)
    began = time.monotonic()
    statuses, sink, _receipts = outcome(settings, fault, offers=offers)
    assert statuses == [SENT] * 3
    assert sink.connections == 2
    assert time.monotonic() - began < settings.EMAIL_TIMEOUT


def test_a_server_that_closes_after_each_message_loses_and_repeats_nothing(settings, offers):
    statuses, sink, _receipts = outcome(settings, Fault("after"), offers=offers, size=4)
    assert statuses == [SENT] * 4
    assert sink.recipients() == READERS
    assert sink.connections == 4


@pytest.mark.parametrize(
    ("stage", "first"), [("rcpt", RETRY), ("data", RETRY), ("body", UNCERTAIN), ("dot", UNCERTAIN)]
)
def test_a_server_that_drops_everything_is_left_alone_after_three(settings, offers, stage, first):
    statuses, sink, receipts = outcome(settings, Fault(stage), offers=offers, size=4)
    assert statuses == [first] * 3 + [RETRY]
    assert receipts[3].error.startswith("not tried")
    assert sink.accepted == []


@pytest.mark.parametrize(
    ("stage", "first"),
    [("connect", RETRY), ("ehlo", RETRY), ("mail", RETRY), ("data", RETRY), ("dot", UNCERTAIN)],
)
def test_silence_costs_one_time_out_a_window(settings, offers, stage, first):
    settings.EMAIL_TIMEOUT = 0.1
    statuses, sink, _receipts = outcome(settings, Fault(stage, hangs=True), offers=offers)
    assert statuses == [first, RETRY, RETRY]
    assert sink.connections == 1


def test_a_message_that_cannot_be_put_together_harms_no_other(settings):
    messages = [letter(), letter("ben@example.org", subject="two\nlines"), letter("ada@")]
    messages.append(letter("ben@example.net"))
    with SmtpSink() as sink:
        receipts = send(settings, sink, messages)
    assert [receipt.status for receipt in receipts] == [SENT, FAILED, FAILED, SENT]
    assert sink.recipients() == ["ada@example.org", "ben@example.net"]
    assert "ada@" not in receipts[2].error


def test_a_sender_that_is_no_address_names_the_setting_and_connects_to_nobody(settings):
    with SmtpSink() as sink:
        receipts = send(settings, sink, [letter(from_email="Paperround <digest@>"), letter()])
    assert [receipt.status for receipt in receipts] == [RETRY, RETRY]
    assert "MAIL_FROM" in receipts[0].error
    assert sink.connections == 0


def test_the_recipients_address_stays_out_of_the_error(settings):
    reply = "550 5.1.1 <Ada@Example.org>: ada@example.org unknown"
    _statuses, _sink, receipts = outcome(settings, Fault("rcpt", reply), size=1)
    assert receipts[0].error == "550 5.1.1 <<recipient>>: <recipient> unknown"


def test_an_interrupted_body_is_never_ended_with_a_dot(settings, offers):
    def interrupt():
        sink.hangs.wait()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        sink.release.set()  # what is said now would be heard

    with SmtpSink([Fault("body", nth=1, hangs=True)], offers) as sink:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            send(settings, sink, [endless_letter(), *window(2)])
        assert [receipt.status for receipt in send(settings, sink)] == [SENT] * 3
    assert sink.connections == 2
    assert len(sink.accepted) == 3
    assert len(sink.unfinished) == 1
    assert "quit" not in sink.unfinished[0].lower()


def test_an_empty_window_connects_to_nobody(settings):
    with SmtpSink() as sink:
        assert send(settings, sink, []) == []
    assert sink.connections == 0


def test_both_kinds_of_tls_at_once_are_a_wrong_setting(settings):
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = True
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL"):
        get_transport()
