"""What the mails use of HTML and CSS is known to the clients people read them in, or may be missing
there without harm, which is then said here.
"""

from __future__ import annotations

import pytest

from digest import gallery
from tests.mail import caniemail

# Feature -> what becomes of the mail where a client does not know it, or knows a part of it only.
MAY_BE_MISSING = {
    # Refinements, whose absence nobody notices.
    "css-at-media": "Two sizes on phones, and our own dark colours; without it the client's own.",
    "css-at-media-prefers-color-scheme": "The client darkens by itself: no ground can be spoilt.",
    "css-color-scheme": "The same.",
    "html-meta-color-scheme": "The same.",
    "css-important": "Stands in the dark scheme alone.",
    "html-style": "Holds these refinements alone: all else is inlined.",
    "css-selector-class": "Stands in <style> alone.",
    "css-selector-descendant": "Stands in <style> alone.",
    "css-selector-grouping": "Stands in <style> alone.",
    "css-selector-type": "Stands in <style> alone.",
    "css-white-space": "A number may part from its unit, a link may break.",
    "css-max-height": "Hides the preheader a third time, beside display and size.",
    "css-overflow": "The same; only overflow-block and -inline are missing in most.",
    "css-display-none": "The preheader is one pixel high as well.",
    "html-comments": "What Outlook on Windows reads of them, it knows.",
    "html-doctype": "The client puts its own document around the mail.",
    "html-body": "Becomes a <div>: no look hangs on it but a margin of 0.",
    "html-role": "Yahoo drops `article`; headings say the structure.",
    "html-lang": "Yahoo drops it on <html> and <body>; the column has it as well.",
    "html-dir": "The same of Gmail's mobile webmail; Outlook on Windows knows it on <table>.",
    "unknown: time": "What is inside is text.",
    "unknown: @datetime": "The same.",
    "css-word-break": "A word longer than a phone is wide sticks out.",
    # Known where it is used.
    "css-margin": "Negative margins are missing, and `auto` in Outlook: its own table centres.",
    "css-padding": "Outlook on Windows has it in cells alone: its own table has one.",
    "css-max-width": "Outlook on Windows has its own table; the others lack it on tables.",
    "css-border": "Outlook on Windows draws it on tables alone: the rules under headings go.",
    "css-line-height": "Outlook on Windows rounds it.",
    "css-font-size": "px are known everywhere; rem is not.",
    "css-font-weight": "`bold` is known everywhere; 600 is bold in Outlook.",
    "css-list-style": "`none` leaves a bullet where it is not known.",
    "html-lists": "The attributes `type` and `start` are missing, which are not used.",
    "css-text-decoration": "`none` on titles: they may be underlined, as links are.",
}


@pytest.fixture(scope="module")
def used() -> set[str]:
    found = (caniemail.features(exhibit.html) for exhibit in gallery.exhibits())
    return set().union(*found)


def test_every_feature_is_known_everywhere_or_may_be_missing(used):
    lacking = {
        slug: [client for client, letter in caniemail.support(slug).items() if letter != "y"]
        for slug in used
        if not slug.startswith("unknown")
    }
    said = {slug: clients for slug, clients in lacking.items() if clients}
    unknown = {slug for slug in used if slug.startswith("unknown")}
    assert {*said, *unknown} - MAY_BE_MISSING.keys() == set()


def test_nothing_is_excused_that_is_not_used(used):
    assert MAY_BE_MISSING.keys() - used == set()


@pytest.mark.parametrize(
    ("html", "feature"),
    [
        ('<p style="display: flex">', "css-display-flex"),
        ('<p style="position: absolute">', "css-position"),
        ('<p style="width: calc(1px + 1em)">', "css-unit-calc"),
        ('<p style="color: var(--ink)">', "css-variables"),
        ('<p style="font-size: 1rem">', "css-unit-rem"),
        ('<p style="font-family: system-ui">', "css-sytem-ui"),
        ('<p style="margin-block-start: 1px">', "unknown: margin-block-start"),
        ("<style>@font-face { src: x }</style>", "css-at-font-face"),
        ("<style>p > a { color: red }</style>", "unknown: >"),
        ("<style>p:hover { color: red }</style>", "unknown: p:hover"),
        ("<img src=x>", "html-img"),
        ("<details>", "unknown: details"),
        ('<a href="#top">', "html-anchor-links"),
    ],
)
def test_what_clients_lack_would_be_seen(html, feature):
    assert feature in caniemail.features(html)
    assert feature not in MAY_BE_MISSING
