"""Every mail on one page: what it shows is what would be sent."""

from __future__ import annotations

from io import StringIO

import pytest
from bs4 import BeautifulSoup
from django.core.management import CommandError, call_command
from django.urls import reverse

from digest import gallery, rendering
from digest.gallery import BREAKFAST
from subscribers import mail
from tests import sample

NAMES = [*gallery.STANDARDS, *(each.kind for each in mail.SERVICE_MAILS), "alert", "alert_over"]


def test_it_shows_every_mail_and_reads_and_writes_no_row(django_assert_num_queries, db):
    with django_assert_num_queries(0):
        shown = gallery.exhibits()
    assert [exhibit.name for exhibit in shown] == NAMES
    for exhibit in shown:
        assert exhibit.heading
        assert exhibit.note
        assert exhibit.message.subject
        assert exhibit.html.startswith("<!DOCTYPE html>")


@pytest.mark.django_db
@pytest.mark.parametrize("name", gallery.STANDARDS)
def test_a_standard_digest_is_the_mail_that_the_ledger_s_row_makes(name):
    digest = sample.standard(name)
    (content,) = rendering.contents([digest], now=BREAKFAST).values()
    sent = rendering.message(digest, content)
    (shown,) = [each for each in gallery.exhibits() if each.name == name]
    assert rendering.fingerprint(shown.message) == rendering.fingerprint(sent)


def test_strangers_find_nothing_there(client, db):
    for address in addresses():
        assert client.get(address, REMOTE_ADDR="203.0.113.7").status_code == 404


@pytest.mark.pure  # no row is read
def test_whoever_sits_at_the_machine_sees_each_mail_in_each_state(client, db):
    index = client.get(reverse("digest:mail_gallery")).content.decode()
    for name in NAMES:
        assert f"/mail-gallery/{name}/" in index
        page = reverse("digest:mail_exhibit", args=[name])
        for query in ("", "?view=text", "?view=source"):
            assert client.get(page + query).status_code == 200
    for state in gallery.STATES:
        answer = client.get(reverse("digest:mail_exhibit_html", args=["hostile"]), {"state": state})
        assert "default-src 'none'" in answer["Content-Security-Policy"]
        assert BeautifulSoup(answer.content, "html.parser").find("script") is None
    assert client.get(reverse("digest:mail_exhibit", args=["nothing"])).status_code == 404


def test_staff_see_it_from_anywhere(admin_client):
    address = reverse("digest:mail_gallery")
    assert admin_client.get(address, REMOTE_ADDR="203.0.113.7").status_code == 200


def test_the_states_are_what_they_say():
    html = next(each.html for each in gallery.exhibits() if each.name == "ordinary")
    assert "prefers-color-scheme" not in gallery.in_state(html, "light")
    for name in ("light", "unstyled", "bare"):
        assert "light dark" not in gallery.in_state(html, name)
    assert "@media all" in gallery.in_state(html, "dark")
    assert "invert(1)" in gallery.in_state(html, "inverted")
    assert "<style" not in gallery.in_state(html, "unstyled")
    assert "style=" not in gallery.in_state(html, "bare")
    assert 'dir="ltr"' not in gallery.in_state(html, "mirrored")


def addresses() -> list[str]:
    views = ("digest:mail_exhibit", "digest:mail_exhibit_html")
    return [reverse("digest:mail_gallery"), *(reverse(view, args=["ordinary"]) for view in views)]


# -- the command ---------------------------------------------------------------------------


def test_the_command_writes_every_mail_as_files(tmp_path):
    said = StringIO()
    call_command("mail_gallery", html=tmp_path / "new" / "folder", stdout=said)
    written = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert written == {f"{name}.{kind}" for name in NAMES for kind in ("html", "txt", "eml")}
    assert f"{len(NAMES)} mails" in said.getvalue()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "--html DIR"),
        ({"html": "mails", "mail": ["nothing"]}, "No such mail: nothing. There are first,"),
        ({"pictures": "pictures", "chromium": "/nowhere/chromium"}, "No program '/nowhere"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match=said):
        call_command("mail_gallery", **options)


@pytest.mark.processes
def test_the_command_takes_pictures(tmp_path, chromium):
    call_command(
        "mail_gallery", pictures=tmp_path, mail=["confirm"], state=["dark"], width=["phone"],
        height=600, chromium=chromium, no_progress=True, stdout=StringIO(),
    )  # fmt: skip
    (picture,) = tmp_path.iterdir()
    assert picture.name == "confirm-dark-phone.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
