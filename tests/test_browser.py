"""The site and its admin in a real browser: a reader's way, an operator's desk, at both widths.

Every page is held to three things: no error in the browser's console (a refused style or script
is one), nothing wider than the window, and a heading that says where one is.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

PROJECT = Path(__file__).resolve().parent.parent
PASSWORD = "a-password-for-the-browser"
NOBODY = "http://127.0.0.1:9"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}

pytestmark = pytest.mark.processes


def test_a_reader_subscribes_reads_judges_and_leaves(visit: Visit) -> None:
    page = visit.open("/")
    page.get_by_label("E-mail").first.fill(f"{visit.name}@example.org")
    visit.press("Subscribe")

    visit.open_mail("/confirm/")
    page.frame_locator("iframe").locator("a[href*='/confirm/']").first.click()
    page.wait_for_url("**/confirm/**")
    visit.press("Yes, send me papers")
    page.get_by_label("Your subjects").fill("reinforcement learning")
    page.get_by_role("checkbox").nth(2).check()
    expect(page.get_by_text("Because you follow").first).to_be_visible()
    expect(page.get_by_text("Close to").first).to_be_visible()
    page.get_by_label("Search for papers you know").fill("video")
    visit.press("Search")
    page.locator("#search").get_by_role("checkbox").first.check()
    visit.press("Next: your subjects")
    page.get_by_label("Name").first.fill("What I ticked")
    expect(page.locator("#digest-now").get_by_text("What I ticked").first).to_be_visible()
    visit.press("Keep these subjects")
    expect(page.locator("#digest-now").get_by_text("What I ticked").first).to_be_visible()
    page.get_by_label("More subjects").fill("video generation")
    visit.press("Send my first digest")
    visit.open(page.get_by_role("link", name="Choose the mornings").get_attribute("href") or "")
    expect(page.get_by_text("video generation")).to_be_visible()

    links = visit.open_mail("/read/")
    for part in ("/preferences/", "/more/", "/less/", "/saved/", "/unsubscribe/"):
        visit.open(first(links, part))
    visit.open(first(links, "/more/"))
    visit.press("Yes, more like this")
    expect(page.get_by_text("move up")).to_be_visible()
    visit.open(first(links, "/read/"))
    visit.open(first(links, "/preferences/"))
    page.get_by_label("Hour").select_option("6")
    page.locator("form:has([name=cadence]) button[type=submit]").click()
    visit.look("the saved preferences")
    visit.open(first(links, "/unsubscribe/"))
    visit.press("Unsubscribe")
    expect(page.get_by_role("heading", level=1)).to_contain_text("unsubscribed")

    assert visit.complaints == []


def test_every_public_page_stands_in_both_schemes(visit: Visit) -> None:
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        for path in ("/", "/subscribe/", "/papers/?q=learning", "/nowhere/"):
            visit.open(path)
        visit.open("/")
        visit.page.locator("main a[href^='/papers/'], main a[href^='/2']").first.click()
        visit.look("a paper or a day")
    assert visit.complaints == []


def test_an_operator_opens_every_desk(visit: Visit) -> None:
    page = visit.log_in()
    paths = page.eval_on_selector_all(
        "#content-main a, #nav-sidebar a", "links => links.map(link => link.pathname)"
    )
    lists = sorted({path for path in paths if re.fullmatch(r"/admin/\w+/\w+/", path)})
    assert len(lists) >= 12
    for path in lists:
        visit.open(path, is_wide=True)
        row = page.locator("#result_list tbody th a").first
        if row.count():
            row.click()
            visit.look(f"a row of {path}", is_wide=True)
    assert visit.complaints == []


def first(links: list[str], part: str) -> str:
    return next(link for link in links if part in link)


# -- a visit -------------------------------------------------------------------------------


@dataclass
class Visit:
    """One browser window, and what there is to complain about."""

    name: str
    url: str
    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))

    def open(self, path: str, *, is_wide: bool = False) -> Page:
        self.page.goto(path if path.startswith("http") else self.url + path)
        self.look(path, is_wide=is_wide)
        return self.page

    def look(self, where: str, *, is_wide: bool = False) -> None:
        """`is_wide`: its tables may scroll, as Django's admin lets them."""
        self.page.wait_for_load_state()
        if not self.page.locator("h1").count():
            self.complaints.append(f"{where}: no heading on {self.page.url}")
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        if not is_wide and (excess := self.page.evaluate(wider)) > 0:
            self.complaints.append(f"{where}: {excess} px too wide at {self.page.url}")

    def log_in(self) -> Page:
        page = self.page
        page.goto(f"{self.url}/admin/")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        self.look("the admin's home", is_wide=True)
        return page

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()
        self.look(f"after {name}")

    def open_mail(self, part: str) -> list[str]:
        """Shows this reader's newest mail that has such a link, once it has come; its links."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.page.goto(f"{self.url}/outbox/")
            rows = self.page.get_by_role("row").filter(has_text=f"{self.name}@")
            if rows.count():
                rows.first.get_by_role("link").click()
                self.look("a mail")
                frame = self.page.locator("iframe").get_attribute("src")
                html = self.page.request.get(f"{self.url}{frame}").text()
                links = [unescape(link) for link in re.findall(r'href="([^"]+)"', html)]
                if any(part in link for link in links):
                    return links
            time.sleep(0.2)
        pytest.fail(f"no mail with {part} came to {self.name}")

    def _hear(self, message: ConsoleMessage) -> None:
        is_expected = (
            ("404 (Not Found)" in message.text and "/nowhere/" in message.location["url"])
            # The tool's own script, which looks for a link in the mail's sandbox.
            or "Blocked script execution in" in message.text
        )
        if message.type in ("error", "warning") and not is_expected:
            self.complaints.append(f"console at {self.page.url}: {message.text}")


@pytest.fixture(params=SIZES)
def visit(request: pytest.FixtureRequest, site: str, browser: Browser) -> Iterator[Visit]:
    width, height = SIZES[request.param]
    name = f"{request.param}-{request.node.originalname.removeprefix('test_')}"[:40]
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        yield Visit(name, site, context.new_page())


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def site(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`manage.py up` as a newcomer starts it, with the sample day."""
    folder = tmp_path_factory.mktemp("browser")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    unset = ("DATABASE_URL", "SITE_URL", "SECRET_KEY", "SUPPRESSION_KEY")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {
        "DATA_DIR": str(folder / "data"), "PORT": str(port), "HUGGINGFACE_URL": NOBODY,
        "ADMIN_PASSWORD": PASSWORD,
    }  # fmt: skip
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=PROJECT, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_up(url, log)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=20) == 0, log.read_text()
        finally:
            process.kill()
    assert "Traceback" not in log.read_text()


def _wait_until_up(url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{url}/healthz", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    pytest.fail(f"the site did not come up:\n{log.read_text()}")
