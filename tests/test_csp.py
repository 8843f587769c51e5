"""What a browser is told to refuse, and that our own pages and the admin need none of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, expect, sync_playwright

from config.headers import PERMISSIONS
from digest import assembly
from digest.models import Digest
from subscribers import topics
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader

pytestmark = pytest.mark.pure  # a browser minds the policy, whatever the database

PASSWORD = "a-password-for-the-browser"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "frame-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("ada", password=PASSWORD))
    return client


def policy_of(response: Any) -> dict[str, str]:
    rules = response["Content-Security-Policy"].split(";")
    return {name: rest for name, _, rest in (rule.strip().partition(" ") for rule in rules)}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/", "/subscribe/", "/nowhere/", "/feed.xml", "/admin/", "/admin/login/", "/healthz"]
)
def test_every_answer_carries_the_one_policy(staff: Client, path: str) -> None:
    response = staff.get(path)
    assert policy_of(response) == POLICY
    assert response["Permissions-Policy"] == PERMISSIONS
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.django_db
def test_a_mail_in_a_frame_alone_may_have_styles_in_its_elements(staff: Client) -> None:
    make_edition(SUNDAY, [make_paper() for _ in range(3)])
    make_reader(next_due_at=DUE)
    assembly.assemble_due(DUE)
    page = f"/admin/digest/digest/{Digest.objects.get().pk}/mail/"
    assert policy_of(staff.get(page)) == POLICY
    frame = policy_of(staff.get(page, {"frame": ""}))
    assert (frame["default-src"], frame["style-src"]) == ("'none'", "'unsafe-inline'")
    assert "allow-scripts" not in frame["sandbox"]


@pytest.mark.django_db
def test_what_a_proxy_might_say_is_not_believed(client: Client, settings: Any) -> None:
    said = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    settings.SECURE_SSL_REDIRECT = True
    away = client.get("/", headers=said)
    assert (away.status_code, away["Location"]) == (301, "https://testserver/")
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # by TRUST_PROXY
    response = client.get("/subscribe/", headers=said)
    assert response.status_code == 200
    assert b"evil.example" not in response.content


# -- in a browser --------------------------------------------------------------------------


@pytest.fixture
def page(chromium: str, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """Logged in; a console that says anything at all about the policy fails the test."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    User.objects.create_superuser("ada", password=PASSWORD)
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(base_url=live_server.url)
        page.on("console", lambda said: complaints.append(f"{page.url}: {said.text}"))
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.goto("/admin/")
        page.get_by_label("Username").fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        yield page
        browser.close()
    assert complaints == []


@pytest.mark.django_db(transaction=True)
def test_the_admin_s_own_tools_run_under_the_policy(page: Page) -> None:
    page.goto(f"/admin/auth/user/{User.objects.get().pk}/change/")
    page.get_by_role("link", name="Choose a Date").first.click()
    calendar = page.locator(".calendarbox").first
    expect(calendar).to_be_visible()
    calendar.get_by_role("link", name="15", exact=True).click()
    expect(page.locator("#id_last_login_0")).to_have_value(re.compile(r"-15$"))
    page.locator("#id_user_permissions_from option").first.click()
    page.get_by_role("button", name="Choose selected user permissions").click()
    expect(page.locator("#id_user_permissions_to option")).to_have_count(1)

    theme = page.locator("html")
    before = theme.get_attribute("data-theme")
    page.locator("button.theme-toggle").first.click()
    assert theme.get_attribute("data-theme") != before


@pytest.mark.django_db(transaction=True)
def test_a_paper_is_looked_up_by_typing_under_the_policy(page: Page) -> None:
    make_paper("Attention is sparse")
    reader = make_reader()
    topics.add_topic(reader, "attention", [], now=DUE)
    page.goto(f"/admin/subscribers/subscriber/{reader.pk}/change/")
    page.get_by_text("description:").first.click()  # unfolds the topic
    page.locator(".field-seeds .select2-search__field:visible").first.click()
    page.keyboard.type("sparse")
    page.locator(".select2-results__option", has_text="Attention is sparse").click()
    expect(page.locator(".field-seeds .select2-selection__choice").first).to_contain_text(
        "Attention is sparse"
    )
