"""`manage.py mail_gallery`: every mail as files, and as pictures of how clients may show it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from digest import gallery
from digest.gallery import Exhibit
from papers.management.base import ExplainedCommand

WIDTHS = {"phone": 390, "desktop": 720}
HEIGHT = 1100
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_SECONDS = 60
EPILOG = """\
examples:
  manage.py mail_gallery --html mails                      every mail: .html, .txt, .eml
  manage.py mail_gallery --pictures pictures --mail ordinary --mail weekly --state dark
  manage.py mail_gallery --pictures pictures --language de

Nothing is sent and nothing is read from the database. A running installation shows the same at
/mail-gallery/, to whoever sits at the machine and to staff.
"""


class Command(ExplainedCommand):
    help = (
        "Writes every mail that the service can send, made of sample papers, as files or as "
        "pictures taken by a headless Chromium."
    )
    epilog = EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--html", type=Path, metavar="DIR", help="write .html, .txt and .eml")
        parser.add_argument("--pictures", type=Path, metavar="DIR", help="write .png")
        parser.add_argument(
            "--language", choices=dict(settings.LANGUAGES), default=settings.LANGUAGE_CODE
        )
        parser.add_argument(
            "--mail", action="append", default=[], metavar="NAME", help="this one; may be repeated"
        )
        parser.add_argument(
            "--state",
            action="append",
            default=[],
            choices=gallery.STATES,
            help="of the pictures; may be repeated (default: light)",
        )
        parser.add_argument(
            "--width", action="append", default=[], choices=WIDTHS, help="default: both"
        )
        parser.add_argument(
            "--height", type=int, default=HEIGHT, metavar="PX", help="default: 1100"
        )
        parser.add_argument("--chromium", metavar="PROGRAM", help="default: what is installed")
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["html"] and not options["pictures"]:
            raise CommandError("Say what to write, and where: --html DIR, --pictures DIR or both.")
        exhibits = _wanted(gallery.exhibits(options["language"]), options["mail"])
        if options["html"]:
            for exhibit in exhibits:
                _write_files(exhibit, _folder(options["html"]))
            self.stdout.write(f"{len(exhibits)} mails in {options['html']}")
        if options["pictures"]:
            self._take_pictures(exhibits, **options)

    def _take_pictures(self, exhibits: list[Exhibit], **options: Any) -> None:
        browser = _browser(options["chromium"])
        folder = _folder(options["pictures"])
        wanted = [
            (exhibit, state, width)
            for exhibit in exhibits
            for state in options["state"] or ["light"]
            for width in options["width"] or WIDTHS
        ]
        bar = tqdm(wanted, unit="picture", disable=options["no_progress"] or None)
        for exhibit, state, width in bar:
            picture = folder / f"{exhibit.name}-{state}-{width}.png"
            size = WIDTHS[width], options["height"]
            _take(browser, gallery.in_state(exhibit.html, state), picture, size=size)
        self.stdout.write(f"{len(wanted)} pictures in {options['pictures']}")


def _wanted(exhibits: list[Exhibit], names: list[str]) -> list[Exhibit]:
    known = [exhibit.name for exhibit in exhibits]
    if unknown := sorted(set(names) - set(known)):
        raise CommandError(f"No such mail: {', '.join(unknown)}. There are {', '.join(known)}.")
    return [exhibit for exhibit in exhibits if not names or exhibit.name in names]


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be written to: {error.strerror}.") from None
    return path


def _write_files(exhibit: Exhibit, folder: Path) -> None:
    (folder / f"{exhibit.name}.html").write_text(exhibit.html, encoding="utf-8")
    (folder / f"{exhibit.name}.txt").write_text(str(exhibit.message.body), encoding="utf-8")
    (folder / f"{exhibit.name}.eml").write_bytes(exhibit.message.message().as_bytes())


def _browser(asked: str | None) -> str:
    found = next(filter(None, map(shutil.which, [asked] if asked else BROWSERS)), None)
    if found is None:
        raise CommandError(
            f"No program {asked!r}." if asked else
            "Pictures need Chromium: apt-get install chromium, or name one by --chromium."
        )  # fmt: skip
    return found


def _take(browser: str, html: str, picture: Path, *, size: tuple[int, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "mail.html"
        page.write_text(html, encoding="utf-8")
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--disable-background-networking", f"--user-data-dir={folder}/profile",
            f"--window-size={size[0]},{size[1]}", f"--screenshot={picture.absolute()}",
            page.as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise CommandError(f"{browser} took no picture in {PATIENCE_SECONDS} s.") from None
        if done.returncode or not picture.exists():
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise CommandError(f"{browser} took no picture: {' '.join(said)}")
