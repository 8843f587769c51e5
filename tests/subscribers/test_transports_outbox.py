from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from subscribers.transports import Status, get_transport, outbox

BREAKFAST = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.EMAIL_BACKEND = "subscribers.transports.outbox.EmailBackend"
    settings.OUTBOX_DIR = tmp_path / "data" / "outbox"
    return settings.OUTBOX_DIR


def letter(number: int = 1, **kwargs) -> EmailMultiAlternatives:
    message = EmailMultiAlternatives(
        subject=kwargs.get("subject", f"Paper {number}: größer"),
        body="Grüße,\n.a dot and a very long line " + "x" * 1200 + "\n",
        from_email="Paperround <digest@paperround.test>",
        to=[kwargs.get("to", "ada@example.org")],
        headers={
            "Message-ID": f"<{number}@paperround.test>",
            "List-Id": "<digest.paperround.test>",
        },
    )
    message.attach_alternative("<p>Grüße</p>\n", "text/html")
    return message


def test_each_mail_becomes_a_private_file_named_by_its_moment(folder, time_machine):
    time_machine.move_to(BREAKFAST, tick=False)
    receipts = get_transport().send([letter(1), letter(2)])
    assert [receipt.status for receipt in receipts] == [Status.SENT, Status.SENT]
    assert receipts[0].message_id == "<1@paperround.test>"
    files = sorted(folder.iterdir())
    assert len(files) == 2
    assert all(file.name.startswith("20261123T063000000000Z-") for file in files)
    assert all(file.name.endswith(".eml") for file in files)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_the_same_message_id_twice_leaves_the_first(time_machine):
    transport = get_transport()
    assert transport.repeats_safely
    transport.send([letter(subject="first"), letter(subject="again")])
    receipts = get_transport().send([letter(subject="and again")])
    assert receipts[0].status == Status.SENT
    assert [entry.subject for entry in outbox.entries()] == ["first"]


def test_entries_are_listed_newest_first_and_no_more_than_asked_for(time_machine):
    for minute in range(4):
        time_machine.move_to(BREAKFAST.replace(minute=minute), tick=False)
        get_transport().send([letter(minute)])
    found = outbox.entries(limit=3)
    assert [entry.subject for entry in found] == [f"Paper {number}: größer" for number in (3, 2, 1)]
    assert found[0].at == BREAKFAST.replace(minute=3)
    assert found[0].to == "ada@example.org"
    assert found[0].sender == "Paperround <digest@paperround.test>"


def test_an_outbox_that_does_not_exist_yet_is_empty():
    assert outbox.entries() == []


def test_a_mail_reads_as_html_text_and_source():
    get_transport().send([letter()])
    shown = outbox.parts(outbox.load(outbox.entries()[0].name))
    assert shown.subject == "Paper 1: größer"
    assert shown.to == "ada@example.org"
    assert shown.html.strip() == "<p>Grüße</p>"
    assert shown.text.startswith("Grüße,\n.a dot")
    assert ("List-Id", "<digest.paperround.test>") in shown.headers
    assert "Subject: =?utf-8?" in shown.source
    assert "Content-Type: multipart/alternative" in shown.source
    assert "\r" not in shown.source
    assert shown.at is not None
    assert shown.at.tzinfo is not None


def test_a_mail_of_text_alone_has_no_html():
    mail.send_mail("Password reset", "a link", None, ["ada@example.org"])
    shown = outbox.parts(outbox.load(outbox.entries()[0].name))
    assert (shown.html, shown.text.strip()) == ("", "a link")


def test_django_s_own_mails_go_there_too():
    with mail.get_connection("subscribers.transports.outbox.EmailBackend") as connection:
        assert connection.send_messages([letter(1), letter(2)]) == 2
    assert len(outbox.entries()) == 2


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "../outbox",
        "../../etc/passwd",
        "/etc/passwd",
        "20261123T063000000000Z-" + "0" * 32 + ".eml",
        "20261123T063000000000Z-" + "0" * 32 + ".eml\n",
        "20261123T063000000000Z-../" + "0" * 29 + ".eml",
        "nul\0.eml",
    ],
)
def test_a_name_that_is_none_of_ours_finds_nothing(name):
    with pytest.raises(FileNotFoundError):
        outbox.load(name)


def test_only_the_newest_files_are_kept(monkeypatch, time_machine):
    monkeypatch.setattr(outbox, "OUTBOX_KEEP", 3)
    for minute in range(5):
        time_machine.move_to(BREAKFAST.replace(minute=minute), tick=False)
        get_transport().send([letter(minute)])
    assert [entry.at.minute for entry in outbox.entries()] == [4, 3, 2]


def test_a_folder_that_cannot_be_written_names_the_setting_and_loses_nothing(folder):
    folder.parent.write_text("a file where a folder should be")
    receipts = get_transport().send([letter(1), letter(2)])
    assert [receipt.status for receipt in receipts] == [Status.RETRY, Status.RETRY]
    assert "DATA_DIR" in receipts[0].error


def test_django_s_own_mails_say_when_they_cannot_be_kept(folder):
    folder.parent.write_text("a file where a folder should be")
    with pytest.raises(OSError, match="DATA_DIR"):
        mail.get_connection("subscribers.transports.outbox.EmailBackend").send_messages([letter()])
    quiet = mail.get_connection("subscribers.transports.outbox.EmailBackend", fail_silently=True)
    assert quiet.send_messages([letter()]) == 0


def test_an_interrupted_write_leaves_no_mail_and_no_rubbish(folder, monkeypatch):
    monkeypatch.setattr("pathlib.Path.replace", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        get_transport().send([letter()])
    assert list(folder.iterdir()) == []


def test_a_mail_that_cannot_be_put_together_harms_no_other():
    receipts = get_transport().send([letter(1, subject="two\nlines"), letter(2)])
    assert [receipt.status for receipt in receipts] == [Status.FAILED, Status.SENT]


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(subject=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=120))
def test_any_title_can_be_kept_and_read_again(folder, subject):
    message = letter(subject=subject)
    message.extra_headers["Message-ID"] = f"<{hash(subject)}@paperround.test>"
    assert get_transport().send([message])[0].status == Status.SENT
    for entry in outbox.entries():
        outbox.parts(outbox.load(entry.name))
    for file in folder.iterdir():
        file.unlink()


def _interrupt(*args):
    raise KeyboardInterrupt
