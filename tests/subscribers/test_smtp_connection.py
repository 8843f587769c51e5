from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives

from subscribers.transports import Receipt, Status, get_transport, smtp_connection
from subscribers.transports.ready import ReadyMail
from subscribers.transports.smtp import SmtpTransport
from subscribers.transports.smtp_connection import Connection, Kept, Server, kept
from tests.fakes.smtp_sink import Certificate, Fault, SmtpSink

SENT, RETRY, FAILED = Status.SENT, Status.RETRY, Status.FAILED
UNCERTAIN = Status.UNCERTAIN
PROJECT = Path(__file__).resolve().parent.parent.parent
PIPELINED = ("PIPELINING",)

SEND_ONE = """
import django
django.setup()
from django.core.mail import EmailMultiAlternatives
from subscribers.transports import get_transport
letter = EmailMultiAlternatives("s", "b", to=["ada@example.org"], headers={"Message-ID": "<1@p>"})
print(get_transport().send([letter])[0].status)
"""


@pytest.fixture(autouse=True)
def smtp(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_TIMEOUT = 5
    yield
    kept.close()


@pytest.fixture(params=[(), PIPELINED], ids=["one by one", "pipelined"])
def offers(request) -> tuple[str, ...]:
    return request.param


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Certificate:
    return Certificate.made_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(certificate, monkeypatch) -> Certificate:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    return certificate


def letter(to: str = "ada@example.org", *, body: str = "Hello\n") -> EmailMultiAlternatives:
    return EmailMultiAlternatives(
        "Papers", body, "digest@paperround.test", [to], headers={"Message-ID": "<1@p.test>"}
    )


def letters(count: int) -> list[EmailMultiAlternatives]:
    return [letter(f"ada{number}@example.org") for number in range(count)]


def send(settings, sink: SmtpSink, messages) -> list[Receipt]:
    settings.EMAIL_PORT = sink.port
    return get_transport().send(messages)


def statuses(receipts: list[Receipt]) -> list[Status]:
    return [receipt.status for receipt in receipts]


def wait_until(condition, *, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


# -- round trips -------------------------------------------------------------------------------


def test_a_pipelining_server_is_waited_for_once_a_mail(settings):
    with SmtpSink(offers=PIPELINED) as sink:
        receipts = send(settings, sink, letters(10))
    assert statuses(receipts) == [SENT] * 10
    assert sink.round_trips == 3 + 10  # greeting, EHLO, the first envelope; then bodies
    assert sink.recipients() == [f"ada{number}@example.org" for number in range(10)]


def test_another_server_hears_one_command_at_a_time(settings):
    with SmtpSink() as sink:
        receipts = send(settings, sink, letters(10))
    assert statuses(receipts) == [SENT] * 10
    assert sink.round_trips == 2 + 4 * 10


def test_after_a_refusal_the_transaction_is_reset_also_windows_later(settings, offers):
    fault = Fault("rcpt", "550 no such user", nth=2)
    with SmtpSink([fault], offers) as sink:
        assert statuses(send(settings, sink, letters(2))) == [SENT, FAILED]
        assert statuses(send(settings, sink, letters(1))) == [SENT]
    after = sink.verbs()[-4:]
    assert after == ["RSET", "MAIL", "RCPT", "DATA"]
    assert sink.connections == 1


def test_nobody_is_asked_about_a_mail_that_cannot_be_put_together(settings):
    broken = letter("ben@example.org")
    broken.subject = "two\nlines"
    with SmtpSink(offers=PIPELINED) as sink:
        receipts = send(settings, sink, [letter(), broken, letter("ben@example.net")])
    assert statuses(receipts) == [SENT, FAILED, SENT]
    assert sink.mails == 2


def test_a_mail_that_is_ready_goes_as_it_is(settings, offers):
    wire = b"To: ada@example.org\r\n\r\n=2Enone\r\n"
    ready = ReadyMail(
        subject="Papers", text=b".none", html=b"", from_email="digest@paperround.test",
        to="ada@example.org", message_id="<1@p.test>", headers=dict, wire=lambda _mail: wire,
    )  # fmt: skip
    with SmtpSink(offers=offers) as sink:
        assert send(settings, sink, [ready, letter()])[0] == Receipt(SENT, "<1@p.test>")
    assert sink.accepted[0] == ("ada@example.org", wire.decode())


class PipeliningServer(Controller):
    """aiosmtpd reads command by command from a buffer, and so can do what it does not offer."""

    def __init__(self) -> None:
        self.taken: list[tuple[list[str], bytes]] = []
        self.peers: set[tuple[str, int]] = set()
        super().__init__(self, hostname="127.0.0.1", port=0)

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return [responses[0], "250-PIPELINING", *responses[1:]]

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.taken.append((envelope.rcpt_tos, envelope.content))
        self.peers.add(session.peer)
        return "250 OK"


def test_a_real_server_takes_windows_in_one_breath(settings):
    settings.SMTP_CONNECTIONS = 1
    messages = [letter(f"ada{n}@example.org", body=f"{n}\n.\n" + "x" * 40_000) for n in range(30)]
    messages[7].to = ["nobody@example.org"]
    server = PipeliningServer()
    server.start()
    try:
        settings.EMAIL_PORT = server.port
        received = [*get_transport().send(messages[:20]), *get_transport().send(messages[20:])]
    finally:
        server.stop()
    assert statuses(received) == [SENT] * 7 + [FAILED] + [SENT] * 22
    assert [to for [to], _content in server.taken] == [
        message.to[0] for message in messages if message is not messages[7]
    ]
    assert all(b"\r\n.\r\n" in content for _to, content in server.taken)
    assert len(server.peers) == 1


# -- kept connections --------------------------------------------------------------------------


def test_windows_share_a_connection(settings, offers):
    with SmtpSink(offers=offers) as sink:
        received = [send(settings, sink, letters(2)) for _ in range(3)]
    assert [statuses(receipts) for receipts in received] == [[SENT, SENT]] * 3
    assert sink.connections == 1
    assert sink.verbs().count("EHLO") == 1


def test_servers_that_differ_in_anything_share_none(settings):
    with SmtpSink(offers=PIPELINED, login="paperround secret") as sink:
        send(settings, sink, letters(1))
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "paperround", "secret"
        assert statuses(send(settings, sink, letters(1))) == [SENT]
    assert sink.connections == 2


def test_a_connection_that_went_with_a_refusal_is_not_kept(settings, offers):
    fault = Fault("rcpt", "550 no such user", nth=2, then_close=True)
    with SmtpSink([fault], offers) as sink:
        assert statuses(send(settings, sink, letters(2))) == [SENT, FAILED]
        assert statuses(send(settings, sink, letters(2))) == [SENT, SENT]
    assert sink.connections == 2
    assert sink.mails == 4


@pytest.mark.parametrize("farewell", ["", "421 4.4.2 idle for too long"])
def test_a_connection_closed_while_idle_costs_no_mail_anything(settings, offers, farewell):
    with SmtpSink(offers=offers) as sink:
        send(settings, sink, letters(2))
        if farewell:
            sink.say_to_all(farewell)
        sink.hang_up()
        receipts = send(settings, sink, letters(2))
    assert statuses(receipts) == [SENT, SENT]
    assert sink.connections == 2
    assert sink.mails == 4  # seen before anything was said


def test_a_word_nobody_asked_for_is_no_answer_to_the_next_mail(settings, offers):
    with SmtpSink(offers=offers) as sink:
        send(settings, sink, letters(1))
        for answer in ("250 ok", "250 ok", "354 go on"):
            sink.say_to_all(answer)
        send(settings, sink, letters(1))
    assert sink.connections == 2
    assert len(sink.accepted) == 2


def test_a_connection_that_closes_at_the_first_command_after_a_rest_is_replaced(settings, offers):
    """What it looked like before said nothing: the server had its finger on the button."""
    fault = Fault("mail", "421 4.4.2 idle for too long", nth=2, then_close=True)
    with SmtpSink([fault], offers) as sink:
        send(settings, sink, letters(1))
        assert statuses(send(settings, sink, letters(2))) == [SENT, SENT]
    assert sink.connections == 2


def test_a_full_connection_is_left_politely(settings, offers, monkeypatch):
    monkeypatch.setattr(smtp_connection, "MAILS_PER_CONNECTION", 2)
    with SmtpSink(offers=offers) as sink:
        assert statuses(send(settings, sink, letters(5))) == [SENT] * 5
        assert statuses(send(settings, sink, letters(1))) == [SENT]
        assert sink.connections == 3
        wait_until(lambda: sink.open_connections == 0)
        assert sink.verbs().count("QUIT") == 3


def test_two_threads_never_share_a_connection(settings, offers):
    with SmtpSink(offers=offers) as sink:
        settings.EMAIL_PORT = sink.port
        meet = threading.Barrier(2)
        received: list[Receipt] = []

        def work() -> None:
            transport = get_transport()
            for _window in range(5):
                meet.wait()
                received.extend(transport.send(letters(20)))

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert statuses(received) == [SENT] * 200
    assert len(sink.accepted) == 200
    assert sink.connections >= 2


def test_an_idle_connection_is_left_politely_and_one_in_use_is_not(settings):
    with SmtpSink() as sink:
        pool = Kept(idle_seconds=0.05)
        server = Server("127.0.0.1", sink.port, timeout_seconds=5)
        idle, used = Connection.open(server), Connection.open(server)
        pool.give(idle)
        pool.give(used)
        assert pool.take(server) is used
        wait_until(lambda: sink.open_connections == 1)
        assert sink.verbs().count("QUIT") == 1
        assert used.is_quiet()
        assert pool.take(server) is None
        pool.give(used)
        wait_until(lambda: sink.open_connections == 0)


def test_a_server_that_does_not_say_goodbye_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(smtp_connection, "QUIT_SECONDS", 0.1)
    with SmtpSink([Fault("quit", hangs=True)]) as sink:
        connection = Connection.open(Server("127.0.0.1", sink.port, timeout_seconds=30))
        began = time.monotonic()
        connection.quit()
    assert time.monotonic() - began < 5


def test_a_forked_child_talks_over_a_connection_of_its_own(settings, offers):
    with SmtpSink(offers=offers) as sink:
        send(settings, sink, letters(1))
        child = os.fork()
        if child == 0:  # no assertion may leave here: it would be a second test run
            good = statuses(get_transport().send(letters(2))) == [SENT, SENT]
            kept.close()
            os._exit(0 if good else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert sink.connections == 2
        wait_until(lambda: sink.open_connections == 1)
        assert statuses(send(settings, sink, letters(2))) == [SENT, SENT]
    assert sink.connections == 2
    assert len(sink.accepted) == 5


def test_a_process_that_ends_says_goodbye(tmp_path):
    with SmtpSink() as sink:
        environment = {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "EMAIL_URL": f"smtp://127.0.0.1:{sink.port}",
            "DATA_DIR": str(tmp_path),
        }
        said = subprocess.run(
            [sys.executable, "-c", SEND_ONE],
            cwd=PROJECT, env=os.environ | environment, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert said.strip() == SENT
        assert sink.verbs()[-1] == "QUIT"


# -- TLS and login -----------------------------------------------------------------------------


def test_starttls_is_used_where_it_is_asked_for(settings, offers, trusted):
    settings.EMAIL_USE_TLS = True
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "paperround", "secret"
    with SmtpSink(offers=offers, certificate=trusted, login="paperround secret") as sink:
        assert statuses(send(settings, sink, letters(3))) == [SENT] * 3
        assert statuses(send(settings, sink, letters(1))) == [SENT]
    assert sink.connections == 1
    assert sink.verbs()[:4] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]


def test_tls_from_the_first_byte_is_used_where_it_is_asked_for(settings, offers, trusted):
    settings.EMAIL_USE_SSL = True
    with SmtpSink(offers=offers, certificate=trusted, is_tls=True) as sink:
        assert statuses(send(settings, sink, letters(3))) == [SENT] * 3
        assert statuses(send(settings, sink, letters(1))) == [SENT]
    assert sink.connections == 1


def test_a_tls_connection_closed_while_idle_is_replaced(settings, trusted):
    settings.EMAIL_USE_TLS = True
    with SmtpSink(offers=PIPELINED, certificate=trusted) as sink:
        send(settings, sink, letters(1))
        sink.hang_up()
        assert statuses(send(settings, sink, letters(2))) == [SENT, SENT]
    assert sink.connections == 2


@pytest.mark.parametrize("is_tls", [True, False])
def test_a_certificate_that_nobody_vouches_for_gets_no_mail_and_no_password(
    settings, certificate, is_tls
):
    settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = not is_tls, is_tls
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "paperround", "secret"
    with SmtpSink(certificate=certificate, is_tls=is_tls, login="paperround secret") as sink:
        receipts = send(settings, sink, letters(2))
    assert statuses(receipts) == [RETRY, RETRY]
    assert receipts[0].error.startswith("EMAIL_URL: ")
    assert "certificate" in receipts[0].error
    assert receipts[0].is_services
    assert not {"AUTH", "MAIL"} & set(sink.verbs())


@pytest.mark.parametrize("refusal", ["454 4.7.0 not now", "501 no", ""])
def test_a_refused_starttls_never_becomes_a_mail_in_the_clear(settings, trusted, refusal):
    settings.EMAIL_USE_TLS = True
    fault = Fault("starttls", refusal)
    with SmtpSink([fault], PIPELINED, certificate=trusted) as sink:
        receipts = send(settings, sink, letters(2))
    assert statuses(receipts) == [RETRY, RETRY]
    assert "EMAIL_URL" in receipts[0].error
    assert sink.mails == 0


def test_an_offer_of_before_tls_counts_for_nothing_after_it(settings, trusted):
    """Else whoever sits on the line could have us pipeline to a server that does not."""
    settings.EMAIL_USE_TLS = True
    with SmtpSink(offers_in_clear=PIPELINED, certificate=trusted) as sink:
        assert statuses(send(settings, sink, letters(3))) == [SENT] * 3
    assert sink.round_trips == 4 + 4 * 3


@pytest.mark.parametrize("login", ["paperround other", ""])
def test_a_refused_login_is_everybodys_retry_and_keeps_the_password_secret(settings, login):
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "paperround", "hunter2"
    with SmtpSink(offers=PIPELINED, login=login) as sink:
        receipts = send(settings, sink, letters(2))
    assert statuses(receipts) == [RETRY, RETRY]
    assert receipts[0].error.startswith("EMAIL_URL: ")
    assert "hunter2" not in receipts[0].error
    assert not login or "535 5.7.8 wrong" in receipts[0].error
    assert sink.connections == 1
    assert sink.mails == 0


# -- what is said of a mail --------------------------------------------------------------------


def test_size_and_eight_bits_are_declared_where_they_may_be(settings):
    with SmtpSink(offers=("SIZE 1000", "8BITMIME")) as sink:
        send(settings, sink, [letter(), letter(body="Größe\n")])
    plain, eight_bits = (command for command in sink.commands if command.startswith("MAIL"))
    size = len(sink.accepted[0][1].encode())
    assert plain == f"MAIL FROM:<digest@paperround.test> SIZE={size}"
    assert eight_bits.endswith(" BODY=8BITMIME")


def test_an_address_outside_ascii_goes_out_as_it_is_where_the_server_can(settings):
    with SmtpSink(offers=(*PIPELINED, "SMTPUTF8")) as sink:
        receipts = send(settings, sink, [letter(), letter("bén@example.org")])
    assert statuses(receipts) == [SENT, SENT]
    assert sink.recipients() == ["ada@example.org", "bén@example.org"]
    assert ["SMTPUTF8" in line for line in sink.commands if line.startswith("MAIL")] == [
        False,
        True,
    ]


def test_an_address_outside_ascii_fails_alone_where_the_server_cannot(settings, offers):
    messages = [letter(), letter("bén@example.org"), letter("ben@example.net")]
    with SmtpSink(offers=offers) as sink:
        receipts = send(settings, sink, messages)
    assert statuses(receipts) == [SENT, FAILED, SENT]
    assert "SMTPUTF8" in receipts[1].error
    assert "bén" not in receipts[1].error
    assert sink.recipients() == ["ada@example.org", "ben@example.net"]


def test_a_host_outside_ascii_needs_no_such_server(settings):
    with SmtpSink() as sink:
        assert statuses(send(settings, sink, [letter("ada@bücher.example")])) == [SENT]
    assert sink.recipients() == ["ada@xn--bcher-kva.example"]


@pytest.mark.parametrize(
    "address",
    ["Ada <ada@example.org>", '"ada"@example.org', "ada@example.org", "a.d+a@x-1.example.org"],
)
def test_an_envelope_holds_the_bare_address(settings, address):
    with SmtpSink() as sink:
        assert statuses(send(settings, sink, [letter(address)])) == [SENT]
    assert sink.recipients()[0].replace('"', "") in ("ada@example.org", "a.d+a@x-1.example.org")


@pytest.mark.parametrize("address", ["ada@example.org\r\nRCPT TO:<ben@example.org>", "ada@"])
def test_what_is_no_address_says_nothing_to_the_server(settings, offers, address):
    with SmtpSink(offers=offers) as sink:
        assert statuses(send(settings, sink, [letter(address)])) == [FAILED]
    assert sink.commands == []


def test_lines_that_begin_with_a_dot_arrive_and_end_nothing(settings, offers):
    body = ".\n..\n.hidden\nvisible\n.\nMAIL FROM:<ben@example.org>\n."
    with SmtpSink(offers=offers) as sink:
        assert statuses(send(settings, sink, [letter(body=body), letter()])) == [SENT, SENT]
    on_the_wire = sink.accepted[0][1].partition("\r\n\r\n")[2]
    expected = "..\r\n...\r\n..hidden\r\nvisible\r\n..\r\nMAIL FROM:<ben@example.org>\r\n..\r\n"
    assert on_the_wire == expected
    assert sink.mails == 2


def test_line_ends_of_another_kind_end_no_body(settings, offers):
    body = "one\r.\rtwo\n.\nthree\r\n.\r\nfour"
    with SmtpSink(offers=offers) as sink:
        assert statuses(send(settings, sink, [letter(body=body), letter()])) == [SENT, SENT]
    text = sink.accepted[0][1].partition("\r\n\r\n")[2]
    assert text.replace("\r\n", "").isprintable()
    assert len(sink.accepted) == 2


def test_a_mail_to_two_is_nobodys(settings):
    two = letter()
    two.to.append("ben@example.org")
    with SmtpSink() as sink:
        assert statuses(send(settings, sink, [two])) == [FAILED]
    assert sink.connections == 0


# -- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"EMAIL_HOST": None},
        {"EMAIL_USE_TLS": True, "EMAIL_USE_SSL": True},
        {"EMAIL_PORT": "smtp"},
        {"EMAIL_PORT": 65536},
        {"EMAIL_TIMEOUT": 0},
    ],
)
def test_a_server_that_can_never_work_is_refused_by_its_setting(wrong):
    with pytest.raises(ImproperlyConfigured, match=r"^FALLBACK_EMAIL_URL: "):
        SmtpTransport.of({"EMAIL_HOST": "127.0.0.1", **wrong}, "smtp-fallback")


def test_a_second_server_has_its_own_name_settings_and_errors(settings):
    settings.EMAIL_HOST_USER = "the first one's"
    with SmtpSink() as sink:
        second = SmtpTransport.of(
            {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": sink.port, "EMAIL_HOST_USER": None}, "second"
        )
        assert second.name == "second"
        assert statuses(second.send(letters(2))) == [SENT, SENT]
    error = second.send(letters(1))[0].error
    assert error.startswith("FALLBACK_EMAIL_URL: ")


def test_a_server_shows_no_password():
    assert "hunter2" not in repr(Server.of({"EMAIL_HOST": "h", "EMAIL_HOST_PASSWORD": "hunter2"}))


def test_without_a_time_out_there_is_one_all_the_same():
    assert Server.of({"EMAIL_HOST": "h", "EMAIL_TIMEOUT": None}).timeout_seconds == 30


# -- several connections -----------------------------------------------------------------------


@pytest.fixture
def by_three(settings) -> None:
    settings.SMTP_CONNECTIONS = 3


def warm(settings, sink: SmtpSink, count: int = 1) -> None:
    """A server is known to be there once it has taken something."""
    assert statuses(send(settings, sink, letters(count))) == [SENT] * count
    sink.accepted.clear()


def test_a_large_window_goes_by_several_connections_at_a_time(settings, offers, by_three):
    with SmtpSink(offers=offers) as sink:
        warm(settings, sink)
        receipts = send(settings, sink, letters(14))
        assert sink.connections == 3
        assert statuses(send(settings, sink, letters(14))) == [SENT] * 14
    assert statuses(receipts) == [SENT] * 14
    assert sorted(sink.recipients()) == sorted([message.to[0] for message in letters(14)] * 2)
    assert sink.connections == 3


def test_the_first_letters_of_all_connections_are_asked_about_at_once(settings, by_three):
    with SmtpSink(offers=PIPELINED) as sink:
        warm(settings, sink, 12)
        warm(settings, sink, 12)
        trips = sink.round_trips
        warm(settings, sink, 12)
        assert sink.round_trips - trips == 3 + 12  # the first envelopes; then bodies
        assert sink.verbs().count("RSET") == 0


def test_a_small_window_needs_no_other_connection(settings, offers, by_three):
    with SmtpSink(offers=offers) as sink:
        warm(settings, sink)
        assert statuses(send(settings, sink, letters(7))) == [SENT] * 7
    assert sink.connections == 1


def test_while_one_connection_waits_the_others_go_on(settings, by_three):
    """Of twelve letters three are on their way when the answer to one of them does not come."""
    settings.EMAIL_TIMEOUT = 0.5
    fault = Fault("dot", hangs=True, nth=2)
    with SmtpSink([fault], PIPELINED) as sink:
        warm(settings, sink)
        began = time.monotonic()
        receipts = send(settings, sink, letters(12))
        took = time.monotonic() - began
    tried = [receipt.was_tried for receipt in receipts]
    begun = tried.count(True)
    under_way, rest = receipts[:begun], receipts[begun:]
    assert tried == [True] * begun + [False] * (12 - begun)
    assert 3 <= begun <= 5
    assert statuses(under_way).count(UNCERTAIN) == 1
    assert statuses(under_way).count(SENT) == len(under_way) - 1 == len(sink.accepted)
    assert set(statuses(rest)) == {RETRY}
    assert took < 3 * 0.5, "each connection's time runs from its own letter on"


def test_what_was_asked_ahead_on_another_connection_is_not_kept(settings, by_three, monkeypatch):
    """The window ends by one line; the two others have asked about letters that never came. That
    the answers to it are still on their way makes no difference.
    """
    monkeypatch.setattr(Connection, "is_quiet", lambda connection: True)
    fault = Fault("mail", "530 5.7.0 authenticate first", nth=5)
    with SmtpSink([fault], PIPELINED) as sink:
        warm(settings, sink)
        first = send(settings, sink, letters(12))
        again = send(settings, sink, letters(12))
    taken = [message.to[0] for message in letters(12)]
    said = [to for to, status in zip(taken, statuses(first), strict=True) if status == SENT]
    assert RETRY in statuses(first)
    assert UNCERTAIN not in statuses(first)
    assert statuses(again) == [SENT] * 12
    assert sorted(sink.recipients()) == sorted([*said, *taken])
    assert set(sink.unfinished) <= {""}, "no body of theirs was begun"


def test_a_server_that_takes_one_connection_gets_all_by_that_one(settings, offers, by_three):
    refusals = [Fault("connect", "421 too many connections", nth=n) for n in (2, 3, 4)]
    with SmtpSink(refusals, offers) as sink:
        warm(settings, sink)
        received = [send(settings, sink, letters(12)) for _ in range(3)]
    assert [statuses(receipts) for receipts in received] == [[SENT] * 12] * 3
    assert sink.connections == 2, "it is not asked again in a hurry"


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "body", "dot", "after"])
@pytest.mark.parametrize("how", [{}, {"reply": "421 closing", "then_close": True}], ids=str)
@pytest.mark.parametrize("nth", [3, 5])
def test_what_is_said_of_each_letter_is_true_on_whatever_line(
    settings, offers, by_three, stage, how, nth
):
    """What the server has is sent or in doubt, and what is sent the server has."""
    with SmtpSink([Fault(stage, nth=nth, **how)], offers) as sink:
        warm(settings, sink)
        found = dict(
            zip(
                [message.to[0] for message in letters(12)],
                statuses(send(settings, sink, letters(12))),
                strict=True,
            )
        )
        there = sink.recipients()
        assert len(set(there)) == len(there)
        assert {to for to, status in found.items() if status == SENT} <= set(there)
        assert set(there) <= {to for to, status in found.items() if status in (SENT, UNCERTAIN)}
        assert list(found.values()).count(UNCERTAIN) <= 1
        assert statuses(send(settings, sink, letters(12))) == [SENT] * 12
