"""The standard digests as pictures, beside those that were looked at and found right.

A picture is compared at an eighth of its size and in grey, so that a browser's or a font's small
differences do not count, and a heading out of place does. PAPERROUND_WRITE_GOLDEN=1 takes them
anew: look at them before they are committed.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from digest import gallery

PICTURES = Path(__file__).resolve().parent.parent / "golden" / "pictures"
NAMES = ("first", "ordinary", "weekly", "trending", "picked", "hostile")
LOOKS = {"phone-light": (390, "light"), "desktop-dark": (720, "dark")}
MOST_DIFFERENT = 5.0  # of 255, in the mean over all points
MOST_TALLER = 0.02  # of the height
FONTS = {"Helvetica": "Liberation Sans", "Times New Roman": "Liberation Serif"}
REDUCED = """
async (source) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(image.width / 8);
  canvas.height = Math.round(image.height / 8);
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.filter = 'grayscale(1)';
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL('image/png');
}
"""
DIFFERENCE = """
async (sources) => {
  const found = [];
  for (const source of sources) {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    found.push(context.getImageData(0, 0, image.width, image.height));
  }
  const [one, other] = found;
  const height = Math.min(one.height, other.height);
  let sum = 0;
  for (let at = 0; at < one.width * height * 4; at += 4)
    sum += Math.abs(one.data[at] - other.data[at]);
  return {
    points: sum / (one.width * height),
    taller: Math.abs(one.height - other.height) / other.height,
    wider: one.width - other.width,
  };
}
"""

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def browser(chromium) -> Iterator[Browser]:
    for asked, wanted in FONTS.items():
        if wanted not in _font(asked):
            missing = f"pictures need the font {wanted}: apt-get install fonts-liberation"
            if os.environ.get("PAPERROUND_CI_SERVICES") == "1":
                pytest.fail(missing)
            pytest.skip(missing)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def desk(browser) -> Page:
    """Where pictures are reduced and compared."""
    return browser.new_page()


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_digest_looks_as_it_was_found_right(browser, desk, tmp_path, name, look):
    html = next(each.html for each in gallery.exhibits() if each.name == name)
    made = desk.evaluate(REDUCED, picture(browser, html, look))
    kept = PICTURES / f"{name}-{look}.png"
    if os.environ.get("PAPERROUND_WRITE_GOLDEN") == "1":
        kept.write_bytes(base64.b64decode(made.partition(",")[2]))
    found = desk.evaluate(DIFFERENCE, [made, data_url(kept.read_bytes())])
    (tmp_path / kept.name).write_bytes(base64.b64decode(made.partition(",")[2]))
    said = f"{found}; the picture that was made: {tmp_path / kept.name}"
    assert found["points"] <= MOST_DIFFERENT, said
    assert found["taller"] <= MOST_TALLER, said
    assert found["wider"] == 0, said


def test_a_heading_out_of_place_would_be_seen(browser, desk):
    html = next(each.html for each in gallery.exhibits() if each.name == "ordinary")
    kept = data_url((PICTURES / "ordinary-phone-light.png").read_bytes())
    for other in (html.replace("Georgia", "monospace"), html.replace("<h2 ", "<h2 hidden ")):
        made = desk.evaluate(REDUCED, picture(browser, other, "phone-light"))
        found = desk.evaluate(DIFFERENCE, [made, kept])
        assert found["points"] > MOST_DIFFERENT or found["taller"] > MOST_TALLER


def test_there_is_a_picture_of_each_and_no_other():
    names = {f"{name}-{look}.png" for name in NAMES for look in LOOKS}
    assert {path.name for path in PICTURES.iterdir()} == names


def picture(browser: Browser, html: str, look: str) -> str:
    width, scheme = LOOKS[look]
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_content(html)
    taken = page.screenshot(full_page=True)
    page.close()
    return data_url(taken)


def data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _font(asked: str) -> str:
    program = shutil.which("fc-match")
    if program is None:
        return ""
    return subprocess.run([program, asked], capture_output=True, text=True, check=False).stdout
