from __future__ import annotations

import smtplib

import pytest
from django.core import checks, mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage

from subscribers.checks import mail_settings
from subscribers.transports import Receipt, Status, get_transport
from subscribers.transports.window import Attempt, deliver

DUMMY = "django.core.mail.backends.dummy.EmailBackend"


def letter(to: str = "ada@example.org", subject: str = "Two papers") -> EmailMessage:
    headers = {"Message-ID": f"<{to.replace('@', '.')}@paperround.test>"}
    return EmailMessage(subject, "Hello", "digest@paperround.test", [to], headers=headers)


def as_the_subject_says(backend, messages):
    match messages[0].subject:
        case "disconnect":
            raise smtplib.SMTPServerDisconnected("gone")
        case "own error":
            raise RuntimeError("its own kind of error")
        case "quietly not":
            return 0
        case "says nothing":
            return None
    return 1


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("django.core.mail.backends.smtp.EmailBackend", "smtp"),
        ("subscribers.transports.outbox.EmailBackend", "outbox"),
        ("django.core.mail.backends.console.EmailBackend", "console"),
        ("django.core.mail.backends.locmem.EmailBackend", "locmem"),
    ],
)
def test_the_mail_backend_decides_how_mail_leaves(settings, backend, name):
    settings.EMAIL_BACKEND = backend
    transport = get_transport()
    assert transport.name == name
    assert transport.window is None


@pytest.mark.parametrize("backend", ["no.such.Backend", "nonsense", "django.core.mail.Nobody"])
def test_an_unknown_mail_backend_names_the_setting(settings, backend):
    settings.EMAIL_BACKEND = backend
    with pytest.raises(ImproperlyConfigured, match="EMAIL_BACKEND"):
        get_transport()


def test_django_s_test_outbox_is_served():
    receipts = get_transport().send([letter(), letter("ben@example.org")])
    assert receipts == [
        Receipt(Status.SENT, "<ada.example.org@paperround.test>"),
        Receipt(Status.SENT, "<ben.example.org@paperround.test>"),
    ]
    assert [message.to for message in mail.outbox] == [["ada@example.org"], ["ben@example.org"]]


def test_of_a_foreign_backend_only_its_word_is_believed(settings, monkeypatch):
    settings.EMAIL_BACKEND = DUMMY
    monkeypatch.setattr(f"{DUMMY}.send_messages", as_the_subject_says)
    subjects = ["", "disconnect", "", "own error", "quietly not", "says nothing", "two\nlines", ""]
    receipts = get_transport().send([letter(subject=subject) for subject in subjects])
    assert [receipt.status for receipt in receipts] == [
        Status.SENT, Status.UNCERTAIN, Status.SENT, Status.UNCERTAIN,
        Status.FAILED, Status.UNCERTAIN, Status.FAILED, Status.SENT,
    ]  # fmt: skip


def test_once_the_trouble_is_everybodys_the_rest_waits_untried():
    tried = []

    def attempt(message):
        tried.append(message)
        receipt = Receipt(Status.RETRY, "<1>", "closed", retry_after_seconds=60)
        return Attempt(receipt, ends_window=True)

    receipts = deliver([letter(), letter("ben@example.org"), letter()], attempt)
    assert len(tried) == 1
    error = "not tried, since before it: closed"
    untried = Receipt(
        Status.RETRY, error=error, retry_after_seconds=60, was_tried=False, is_services=True
    )
    assert receipts[1:] == [untried] * 2


def test_three_broken_in_a_row_end_a_window_but_not_three_with_one_that_went_well():
    def attempts(pattern):
        steps = iter(pattern)
        return lambda message: Attempt(Receipt(Status.UNCERTAIN), is_broken=next(steps) == "x")

    def tried(pattern):
        receipts = deliver([letter()] * len(pattern), attempts(pattern))
        return sum(receipt.status == Status.UNCERTAIN for receipt in receipts)

    assert tried("xx.xx.") == 6
    assert tried(".xxx..") == 4


def test_errors_are_short_one_line_and_hold_no_address():
    def attempt(message):
        return Attempt(Receipt(Status.FAILED, error="no\n ADA@example.org " + "x" * 5000))

    message = EmailMessage("Two papers", "Hello", to=["Ada <ada@example.org>"])
    [receipt] = deliver([message], attempt)
    assert receipt.error.startswith("no <recipient> xxx")
    assert len(receipt.error) == 500


@pytest.mark.parametrize(
    ("to", "spelling"),
    [
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@straße.example", "ADA@strasse.example"),
        ("ada@straße.example", "ada@xn--strae-oqa.example"),
        ("ada@xn--bcher-kva.example", "ada@bücher.example"),
        ("Ada <ada@bücher.example>", "ada@BÜCHER.example"),
        ("ädä@example.org", "=?utf-8?b?w6Rkw6Q=?=@example.org"),
        ('"ada b"@bücher.example', '"ada b"@xn--bcher-kva.example'),
    ],
)
def test_no_spelling_of_the_address_gets_into_the_ledger(to, spelling):
    text = f"550 5.1.1 <{spelling}>: not here, say digest@paperround.test"
    [kept] = deliver([letter(to)], lambda message: Attempt(Receipt(Status.FAILED, error=text)))
    assert kept.error == "550 5.1.1 <<recipient>>: not here, say digest@paperround.test"


def test_the_name_of_another_that_ends_alike_is_left_alone():
    text = "nada@paperround.test may not send"
    [kept] = deliver([letter()], lambda message: Attempt(Receipt(Status.RETRY, error=text)))
    assert kept.error == text


def test_what_a_server_says_always_fits_the_ledger():
    receipt = Receipt(Status.SENT, "\0id\ud800" + "9" * 300, "a\0b\udfff")
    [kept] = deliver([letter()], lambda message: Attempt(receipt))
    assert (kept.error, kept.message_id) == ("ab?", "id?" + "9" * 252)


@pytest.mark.parametrize(
    "backend",
    [
        "subscribers.transports.outbox.EmailBackend",
        "django.core.mail.backends.console.EmailBackend",
        "django.core.mail.backends.locmem.EmailBackend",
        "django.core.mail.backends.dummy.EmailBackend",
    ],
)
def test_a_deployment_whose_mail_goes_nowhere_fails_the_check(settings, backend):
    settings.EMAIL_BACKEND = backend
    errors = [message for message in mail_settings(None) if message.level >= checks.ERROR]
    assert [error.id for error in errors] == ["subscribers.E001"]
    assert "EMAIL_URL" in errors[0].hint


@pytest.mark.parametrize("sender", ["Paperround <digest@127.0.0.1>", "digest@localhost", "nobody"])
def test_a_sender_nobody_can_answer_and_no_postal_address_are_warned_of(settings, sender):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.MAIL_FROM, settings.POSTAL_ADDRESS = sender, " "
    messages = mail_settings(None)
    assert [message.id for message in messages] == ["subscribers.W001", "subscribers.W002"]
    assert all(message.level == checks.WARNING for message in messages)


def test_a_deployment_that_can_mail_passes_the_check(settings):
    settings.EMAIL_BACKEND = "anymail.backends.resend.EmailBackend"
    settings.ANYMAIL = {"RESEND_API_KEY": "key"}
    settings.MAIL_FROM = "Paperround <digest@paperround.test>"
    assert mail_settings(None) == []


def test_a_second_transport_that_lacks_its_key_fails_the_check_before_it_is_needed(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.MAIL_FROM = "Paperround <digest@paperround.test>"
    settings.FALLBACK_EMAIL = {"EMAIL_BACKEND": "anymail.backends.resend.EmailBackend"}
    (error,) = mail_settings(None)
    assert error.id == "subscribers.E002"
    assert "RESEND_API_KEY" in error.msg


def test_the_check_is_made_for_deployments_only():
    def ids(*, deploying: bool) -> set[str]:
        found = checks.run_checks(tags=[checks.Tags.security], include_deployment_checks=deploying)
        return {message.id for message in found}

    assert "subscribers.E001" in ids(deploying=True)
    assert "subscribers.E001" not in ids(deploying=False)
