"""The catalogues: what the code and the templates say, as it is to be said in each language.

    python -m config.messages

brings config/locale/<language>/LC_MESSAGES/django.po up to date and writes django.mo from it. A
translator edits the .po and runs it again. Needs Babel (a development dependency), no gettext.

Only files of the project are read, in the order of their names, and neither line numbers nor
dates are written: a catalogue changes where a text did, and nowhere else.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from typing import Any

import django
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.apps import apps
from django.utils.translation.template import templatize

from papers import naming

BASE_DIR = Path(__file__).resolve().parent.parent
LOCALES = BASE_DIR / "config" / "locale"
APPS = ("digest", "papers", "subscribers")
FOLDERS = ("config", *APPS, "templates")
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
TRANSLATORS = ("Translators:",)
HEADER = "# Kept up to date by `make messages`; the translations are edited here, by hand."
_A_DAY = datetime(2026, 1, 1, tzinfo=UTC)  # what a .mo must name, and what nobody asks it
_KEPT_HEADERS = ("Language", "MIME-Version", "Content-Type", "Content-Transfer-Encoding")
_INDENTED = re.compile(r"^[ \t]+", re.MULTILINE)


def languages() -> list[str]:
    """Those that have a catalogue."""
    return sorted(path.parent.parent.name for path in LOCALES.glob("*/LC_MESSAGES/django.po"))


def template() -> Catalog:
    """Every marked text, and the names of models and fields (papers.naming), and where it stands.

    Needs Django set up. ValueError where one singular has two plurals: a catalogue holds one.
    """
    found = Catalog(charset="utf-8")
    for path in _files():
        place = [(str(path.relative_to(BASE_DIR)), 0)]
        for _line, message, comments, context in _marked(path):
            known = found.get(message[0], context) if isinstance(message, tuple) else None
            if known and isinstance(known.id, tuple) and known.id != message:
                raise ValueError(f"{path}: {message[0]!r} has another plural elsewhere")
            found.add(message, locations=place, auto_comments=comments, context=context)
    for app in map(apps.get_app_config, APPS):
        for model in app.get_models():
            for name in naming.names(model):
                found.add(name, locations=[(f"{app.name}/models.py", 0)])
    return found


def catalogue(language: str) -> Catalog:
    with _path(language, "po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def updated(language: str, texts: Catalog) -> Catalog:
    """Its catalogue with every text there is and no other. A changed text is a new one: a guess
    at what it may be now would be read by readers."""
    known = catalogue(language)
    known.update(texts, no_fuzzy_matching=True, update_header_comment=False)
    known.obsolete.clear()
    for message in filter(attrgetter("fuzzy"), known):
        message.flags.discard("fuzzy")
        message.string = ("",) * known.num_plurals if message.pluralizable else ""
    known.header_comment = HEADER
    return known


def as_po(known: Catalog) -> bytes:
    file = BytesIO()
    write_po(file, known, width=0, sort_by_file=True, include_lineno=False)
    head, rest = file.getvalue().decode().split("\n\n", 1)
    return f"{_plain(head)}\n\n{rest.rstrip()}\n".encode()


def as_mo(known: Catalog) -> bytes:
    known.creation_date = known.revision_date = _A_DAY
    file = BytesIO()
    write_mo(file, known)
    return file.getvalue()


def main() -> int:
    texts = template()
    for language in languages():
        known = updated(language, texts)
        _path(language, "po").write_bytes(as_po(known))
        known = catalogue(language)
        _path(language, "mo").write_bytes(as_mo(known))
        missing = sum(not is_translated(message) for message in known if message.id)
        sys.stdout.write(f"{language}: {len(known)} texts, {missing} without a translation\n")
    return 0


def is_translated(message: object) -> bool:
    """In every plural form."""
    said = getattr(message, "string", "")
    return all(said) if isinstance(said, tuple | list) else bool(said)


def _files() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((BASE_DIR / folder).rglob("*")):
            is_text = path.suffix in (".py", ".html", ".txt")
            if is_text and "migrations" not in path.parts and "locale" not in path.parts:
                yield path


def _marked(path: Path) -> Iterator[tuple[int, Any, list[str], str | None]]:
    source = path.read_text()
    if path.suffix != ".py":
        # What stands around the texts becomes a row of X; indented, that would be no Python.
        source = _INDENTED.sub("", templatize(source, origin=str(path)))
    file = BytesIO(source.encode())
    yield from extract("python", file, KEYWORDS, TRANSLATORS, {"encoding": "utf-8"})


def _plain(head: str) -> str:
    """The header without what changes by itself (dates) and what says nothing."""
    lines = head.split("\n")
    comments = [line for line in lines if line.startswith("#") and line.strip("# ")]
    kept = [
        line
        for line in lines
        if not line.startswith(("#", '"'))
        or line.startswith(tuple(f'"{name}:' for name in (*_KEPT_HEADERS, "Plural-Forms")))
    ]
    return "\n".join([*comments, *kept])


def _path(language: str, kind: str) -> Path:
    return LOCALES / language / "LC_MESSAGES" / f"django.{kind}"


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    sys.exit(main())
