"""What a mail uses of HTML and CSS, and which mail clients know it (caniemail.com).

`caniemail.json` is a table made of that site's data as npm's `caniemail` carries it:

    python -m tests.mail.caniemail …/caniemail/data/caniemail.json
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Comment, Doctype, Tag

TABLE = Path(__file__).with_name("caniemail.json")
CLIENTS = (
    "gmail.desktop-webmail", "gmail.ios", "gmail.android", "gmail.mobile-webmail",
    "outlook.windows", "outlook.outlook-com", "outlook.macos", "outlook.ios", "outlook.android",
    "apple-mail.macos", "apple-mail.ios",
    "yahoo.desktop-webmail", "yahoo.ios", "yahoo.android",
    "protonmail.desktop-webmail", "protonmail.ios", "protonmail.android",
    "samsung-email.android", "thunderbird.macos", "fastmail.desktop-webmail",
)  # fmt: skip
ELEMENTS = {
    **{f"h{level}": "html-h1-h6" for level in range(1, 7)},
    **dict.fromkeys(("ul", "ol", "li"), "html-lists"),
    **dict.fromkeys(("table", "tr", "td", "tbody"), "html-table"),
    **dict.fromkeys(("article", "section", "header", "footer", "main", "nav"), "html-semantics"),
    **{name: f"html-{name}" for name in ("body", "div", "p", "span", "style", "strong", "bdi")},
    **{name: f"html-{name}" for name in ("img", "link", "form", "video", "audio", "svg", "base")},
    "b": "html-strong",
}
ATTRIBUTES = {
    **{name: f"html-{name}" for name in ("dir", "lang", "role", "align", "width", "height")},
    **{name: f"html-{name}" for name in ("aria-label", "aria-hidden", "cellpadding", "background")},
}
PROPERTIES = {
    **{f"margin-{side}": "css-margin" for side in ("top", "right", "bottom", "left")},
    **{f"padding-{side}": "css-padding" for side in ("top", "right", "bottom", "left")},
    **{f"border-{side}": "css-border" for side in ("top", "right", "bottom", "left", "color")},
    "font-family": "css-font",
}
# What every client shows, so that nobody has a page about it.
PLAIN = {
    "html", "head", "meta", "title", "a", "em", "i", "br",
    "@href", "@style", "@class", "@charset", "@name", "@content", "@aria-roledescription",
    "color", "font-style",
}  # fmt: skip
UNITS = re.compile(r"(?<![\w#])-?\d*\.?\d+(px|em|rem|%|pt|vh|vw|ch|ex|cm|mm|in|pc)(?!\w)")
_RULE = re.compile(r"(@[\w-]+[^{]*|[^{}@]+)\{((?:[^{}]|\{[^{}]*\})*)\}")


def features(html: str) -> set[str]:
    """caniemail's slugs of what the mail uses; `unknown: …` of what it has no page about."""
    return set(_features(BeautifulSoup(html, "html.parser")))


def support(slug: str) -> dict[str, str]:
    """Client -> y, a (partly), n or u (not tested)."""
    return dict(zip(CLIENTS, TABLE_OF[slug], strict=True))


def _features(soup: BeautifulSoup) -> Iterator[str]:
    for node in soup.descendants:
        if isinstance(node, Doctype):
            yield "html-doctype"
        elif isinstance(node, Comment):
            yield "html-comments"
        elif isinstance(node, Tag):
            yield from _of_tag(node)


def _of_tag(tag: Tag) -> Iterator[str]:
    yield from _named(tag.name, ELEMENTS.get(tag.name))
    for name, value in tag.attrs.items():
        yield from _named(f"@{name}", ATTRIBUTES.get(name))
        if name == "style":
            yield from _of_declarations(str(value))
        if name == "href" and str(value).startswith(("#", "mailto:")):
            yield "html-anchor-links" if str(value).startswith("#") else "html-mailto-links"
    if tag.name == "meta" and "color-scheme" in str(tag.get("name")):
        yield "html-meta-color-scheme"
    if tag.name == "style":
        yield from _of_sheet(tag.get_text())


def _of_sheet(css: str) -> Iterator[str]:
    if left := _RULE.sub("", css).strip():
        yield f"unknown: {left}"
    for prelude, body in _RULE.findall(css):
        if prelude.startswith("@"):
            name, _, condition = prelude[1:].strip().partition(" ")
            yield from _named(f"@{name}", f"css-at-{name}")
            for asked in re.findall(r"\((prefers-[\w-]+|orientation|hover)", condition):
                yield f"css-at-media-{asked}"
            yield from _of_sheet(body)
        else:
            yield from _of_selectors(prelude)
            yield from _of_declarations(body)


def _of_selectors(prelude: str) -> Iterator[str]:
    selectors = prelude.split(",")
    if len(selectors) > 1:
        yield "css-selector-grouping"
    for selector in selectors:
        parts = selector.split()
        if len(parts) > 1:
            yield "css-selector-descendant"
        for part in parts:
            if part == ":root":
                yield "unknown: :root"
            elif re.fullmatch(r"\.[\w-]+", part):
                yield "css-selector-class"
            elif re.fullmatch(r"[a-z][a-z0-9]*", part):
                yield "css-selector-type"
            else:
                yield f"unknown: {part}"


def _of_declarations(text: str) -> Iterator[str]:
    for declaration in filter(None, map(str.strip, text.split(";"))):
        name, _, value = declaration.partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "display":
            slug = f"css-display-{value.split()[0]}"
            yield slug if slug in TABLE_OF else "css-display"
        else:
            yield from _named(name, PROPERTIES.get(name, f"css-{name}"))
        if "!important" in value:
            yield "css-important"
        for unit in UNITS.findall(value):
            yield "css-unit-percent" if unit == "%" else f"css-unit-{unit}"
        for function in re.findall(r"\b(var|calc|clamp|min|max|light-dark|rgba?|url)\(", value):
            yield {"var": "css-variables", "calc": "css-unit-calc"}.get(
                function, f"css-function-{function}"
            )
        if "system-ui" in value:
            yield "css-sytem-ui"  # so spelled there


def _named(name: str, slug: str | None) -> Iterator[str]:
    if name in PLAIN:
        return
    yield slug if slug in TABLE_OF else f"unknown: {name}"


# -- the table -----------------------------------------------------------------------------


def reduced(data: dict[str, Any]) -> dict[str, Any]:
    """A letter for each client, in the order of CLIENTS, of the newest version that was tested;
    of Outlook on Windows, of which all are in use, the worst.
    """
    kept = [each for each in data["data"] if each["category"] in ("html", "css")]
    return {
        "source": "https://www.caniemail.com/ by Rémi Parmentier, MIT; npm caniemail 1.0.5",
        "updated": data["last_update_date"],
        "clients": CLIENTS,
        "support": {each["slug"]: "".join(_letters(each["stats"])) for each in kept},
    }


def _letters(stats: dict[str, Any]) -> Iterator[str]:
    for client in CLIENTS:
        family, platform = client.split(".")
        found = [word[0] for word in stats.get(family, {}).get(platform, {}).values()] or ["u"]
        yield min(found, key="nauy".index) if client == "outlook.windows" else found[-1]


def _read() -> dict[str, str]:
    stored = json.loads(TABLE.read_text())
    assert tuple(stored["clients"]) == CLIENTS, "make the table anew"
    return dict(stored["support"])


if __name__ == "__main__":
    made = reduced(json.loads(Path(sys.argv[1]).read_text()))
    TABLE.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
else:
    TABLE_OF = _read() if TABLE.exists() else {}
