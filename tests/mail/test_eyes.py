"""Every mail in a real browser: axe-core, and the contrast of every word as it is painted, in our
colours by day and at night, and after a mail client has inverted them.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from config.environment import LEGIBLE, contrast
from digest import gallery

AXE = Path(__file__).resolve().parent.parent / "vendor" / "axe.min.js"
# Words on what they are painted on, each pair once; a mail's ground is its client's.
PAIRS = """
() => {
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const words = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!words || !element.checkVisibility()) continue;
    let ground = 'rgba(0, 0, 0, 0)';
    for (let at = element; at && ground === 'rgba(0, 0, 0, 0)'; at = at.parentElement)
      ground = getComputedStyle(at).backgroundColor;
    found.set(getComputedStyle(element).color + ' on ' + ground, words.slice(0, 60));
  }
  return Object.fromEntries(found);
}
"""
NONE = "rgba(0, 0, 0, 0)"

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def browser(chromium) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page(browser) -> Page:
    return browser.new_page(viewport={"width": 390, "height": 800})


def test_axe_finds_nothing_serious_in_any_mail(page):
    shown = [*gallery.exhibits(), *gallery.exhibits("ar-xb")[:1], *gallery.exhibits("de")[-2:]]
    found = [(exhibit.name, serious(page, exhibit.html)) for exhibit in shown]
    assert [(name, rules) for name, rules in found if rules] == []


def test_axe_would_find_something(page):
    bad = '<p style="color: #aaa">Pale</p><img src="data:,"><a href="#"></a>'
    assert {"color-contrast", "image-alt", "link-name", "html-has-lang"} <= set(serious(page, bad))


def test_every_word_is_legible_by_day_at_night_and_inverted(page):
    pale = {}
    for exhibit in gallery.exhibits():  # no language has colours of its own
        for scheme, ground in (("light", "#ffffff"), ("dark", "#121212")):
            page.emulate_media(color_scheme=scheme)
            page.set_content(exhibit.html)
            for pair, words in page.evaluate(PAIRS).items():
                color, on = pair.split(" on ")
                shown = hexadecimal(color), ground if on == NONE else hexadecimal(on)
                for name, seen in (*painted(*shown, scheme),):
                    if contrast(*seen) < LEGIBLE:
                        pale[exhibit.name, scheme, name, pair] = words
    assert pale == {}


def test_a_pale_word_would_be_seen(page):
    page.set_content('<p style="color: #999">Pale</p>')
    (pair,) = page.evaluate(PAIRS)
    assert contrast(hexadecimal(pair.split(" on ")[0]), "#ffffff") < LEGIBLE


def test_nothing_is_wider_than_a_phone_at_200_percent_or_without_styles(page):
    wide = []
    for exhibit in [each for code in ("en", "de", "ar-xb") for each in gallery.exhibits(code)]:
        for state in ("light", "unstyled", "zoomed"):  # colours move nothing
            page.set_content(gallery.in_state(exhibit.html, state))
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append((exhibit.name, state))
    assert wide == []


def serious(page: Page, html: str) -> list[str]:
    """Ids of the rules that are broken seriously or critically."""
    page.emulate_media(color_scheme="light")
    page.set_content(html)
    page.add_script_tag(path=AXE)
    found: dict[str, Any] = page.evaluate("() => axe.run(document)")
    return [rule["id"] for rule in found["violations"] if rule["impact"] in ("serious", "critical")]


def painted(color: str, ground: str, scheme: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """What clients make of it. Some invert a light mail whole (Outlook on Windows, Gmail on iOS),
    some turn only the lightness round (Gmail on Android, Outlook elsewhere), on near-black.
    """
    yield "as it is", (color, ground)
    if scheme == "light":
        yield "inverted", (inverted(color), inverted(ground))
        yield "turned round", (turned(color), "#1f1f1f")


def hexadecimal(color: str) -> str:
    parts = color[color.index("(") + 1 : -1].split(",")[:3]
    return "#" + "".join(f"{int(float(part)):02x}" for part in parts)


def inverted(color: str) -> str:
    return f"#{0xFFFFFF - int(color[1:], 16):06x}"


def turned(color: str) -> str:
    red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    back = colorsys.hls_to_rgb(hue, 1 - lightness, saturation)
    return "#" + "".join(f"{round(part * 255):02x}" for part in back)
