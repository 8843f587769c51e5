"""Two languages that nobody speaks, made from the English texts as they are asked for.

`en-xa` puts every marked text into brackets, with accents and 40 % longer, as German or Finnish
would be: what stands on a page without brackets was not marked, what overflows will overflow.
`ar-xb` writes every word from right to left, in a language that runs that way. For the people
who build this, and for tests; no installation offers either. (Unicode CLDR has both by these
names: https://cldr.unicode.org/translation/testing-translations, "pseudo-locales".)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from gettext import GNUTranslations

from django.utils.translation import trans_real

LANGUAGES = [("en-xa", "[Èñĝļîšĥ]"), ("ar-xb", "\u202ehsilgnE\u202c")]

_ACCENTED = str.maketrans(
    "abcdeghijklnoprstuvwyzABCDEGHIJKLNOPRSTUVWYZ", "åƀçđéĝĥîĵķļñöþŕšţûṽŵýžÅƁÇÐÉĜĤÎĴĶĻÑÖÞŔŠŢÛṼŴÝŽ"
)
# Not to be touched: placeholders of both kinds, tags, entities, addresses.
_KEPT = re.compile(
    r"(%\(\w+\)[sd]|%[sd%]|\{\w*\}|<[^>]*>|&#?\w+;|https?://\S+|\b[A-Z]+_[A-Z_]+\b)", re.ASCII
)
_WORD = re.compile(r"[^\W\d_]+")
_LONGER = 0.4
_FILLER = "öñé ţŵö ţĥŕéé ƒöûŕ ƒîṽé šîx "
_RIGHT_TO_LEFT, _END = "\u202e", "\u202c"


def bracketed(text: str) -> str:
    words = _apart(text, lambda part: part.translate(_ACCENTED))
    length = round(len(_KEPT.sub("", text).strip()) * _LONGER)
    filler = (_FILLER * (length // len(_FILLER) + 1))[:length].strip()
    return f"[{words} {filler}]" if filler else f"[{words}]"


def mirrored(text: str) -> str:
    """Each word is shown from its last letter to its first, and is the same to a search."""
    return _apart(text, lambda part: _WORD.sub(f"{_RIGHT_TO_LEFT}\\g<0>{_END}", part))


def install() -> None:
    """`translation.override("en-xa")` works from now on, in this process."""
    for (code, _name), spoken in zip(LANGUAGES, (bracketed, mirrored), strict=True):
        trans_real._translations[code] = _Pseudo(code, spoken)  # type: ignore[attr-defined]


def is_spoken(code: str) -> bool:
    """Whether it is one of these, and installed."""
    return isinstance(trans_real._translations.get(code), _Pseudo)  # type: ignore[attr-defined]


class _Pseudo(GNUTranslations):
    """In place of a catalogue, which would have to be made anew with every text."""

    def __init__(self, code: str, spoken: Callable[[str], str]) -> None:
        super().__init__()
        self._code, self._spoken = code, spoken

    def to_language(self) -> str:
        return self._code

    def gettext(self, message: str) -> str:
        text = message.rpartition(trans_real.CONTEXT_SEPARATOR)[2]
        return self._spoken(text) if text.strip() else text

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


def _apart(text: str, spoken: Callable[[str], str]) -> str:
    parts = _KEPT.split(text)
    parts[::2] = [spoken(part) for part in parts[::2]]
    return "".join(parts)
