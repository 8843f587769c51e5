"""What authors write into arXiv's fields: names in TeX, lists of names, that it is withdrawn."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice

from papers.records import MAX_NAMES, one_line

MAX_NAME_LENGTH = 200
MAX_NESTING = 5

# TeX's accents as Unicode's combining ones, its letters as letters.
_ACCENTS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", "=": "\u0304", "u": "\u0306",
    ".": "\u0307", '"': "\u0308", "r": "\u030a", "H": "\u030b", "v": "\u030c", "d": "\u0323",
    "c": "\u0327", "k": "\u0328", "b": "\u0331",
}  # fmt: skip
_LETTERS = {
    "ss": "ß", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ",
    "aa": "å", "AA": "Å", "i": "ı", "j": "ȷ", "dh": "ð", "DH": "Ð", "dj": "đ", "DJ": "Đ",
    "th": "þ", "TH": "Þ", "ng": "ŋ", "NG": "Ŋ",
}  # fmt: skip

# \"u, \"{u}, \'{\i}, \v{s}, \c c; and \vs and \ru, which TeX would not take, but authors write.
_BASE = r"(?:\{\s*\\?([A-Za-z])\s*\}|\\([ij])|([A-Za-z]))"
_ACCENTED = re.compile(
    rf"""\\(?:([`'^~=."])\s*{_BASE}|([urHvdckb])(?:\s+|(?=[{{\\])){_BASE}|([vr])([A-Za-z]))"""
)
_LETTER = re.compile(
    rf"\\({'|'.join(sorted(_LETTERS, key=len, reverse=True))})(?![A-Za-z])(?:\{{\}}|\s)?"
)
_TEX = re.compile(r"[\\{~]")
_BRACED = re.compile(r"\{([^{}\\]*)\}")

_PARENTHESES = re.compile(r"\([^()]*\)")
_AND = re.compile(r"\s+(?:and|&)\s+")
_SUFFIX = re.compile(r"(?:jr|sr|[ivx]{2,4})\.?", re.IGNORECASE)
_GROUP = re.compile(r"\b(?:collaborations?|consortium|team|group|project|network)\b", re.IGNORECASE)

# "withdrawn from ICML" is another matter, and so is an earlier version "of this paper".
_GONE = r"(?:temporarily\s+|now\s+)?(?:withdrawn|retracted)\b(?!\s+from\s+(?!arxiv))"
_WITHDRAWN = re.compile(
    rf"""\A\W*{_GONE} | (?<!\bof\s)\b(?:this|the)\s+
    (?:paper|article|preprint|manuscript|submission|work|report|note|document|version|entry)\s+
    (?:has\s+been|have\s+been|had\s+been|is|is\s+being|was)\s+{_GONE}""",
    re.IGNORECASE | re.VERBOSE,
)


def is_withdrawn(*notes: str) -> bool:
    """Whether a comment or an abstract says that the paper is no longer to be read.

    arXiv has no field for it: a withdrawal is a new version with such a comment.
    """
    return any(_WITHDRAWN.search(one_line(note)) for note in notes)


def letters(text: str) -> str:
    r"""The text with TeX's accents as letters: `Jos\'{e}` is José. What is not plain stays."""
    if not _TEX.search(text):
        return one_line(text)
    text = _LETTER.sub(lambda found: _LETTERS[found[1]], _ACCENTED.sub(_accented, text))
    for _level in range(MAX_NESTING):
        text = _BRACED.sub(r"\1", text)
    return one_line(text if "\\" in text else text.replace("~", " "))


def _accented(found: re.Match[str]) -> str:
    accent, base = (group for group in found.groups() if group)
    letter = unicodedata.normalize("NFC", base + _ACCENTS[accent])
    return letter if len(letter) == 1 else found[0]


def names(found: Iterable[str]) -> tuple[str, ...]:
    """Cleaned names in their order, without what is only punctuation."""
    some = islice(found, MAX_NAMES)
    cleaned = (letters(name)[:MAX_NAME_LENGTH].strip(" ,;") for name in some)
    return tuple(name for name in cleaned if any(character.isalnum() for character in name))


def split_names(text: str) -> tuple[str, ...]:
    """The names of a list in one string: `A. Example (Oslo, Norway), B. Sample, Jr. and C. Third`.

    Affiliations in parentheses are left out; a suffix belongs to the name before it.
    """
    for _level in range(MAX_NESTING):
        text = _PARENTHESES.sub(" ", text)
    return names(_joined(re.split(r"[,;()]+", text)))


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    name = ""
    for piece in _parted(pieces):
        if 0 < len(name) < MAX_NAME_LENGTH and _SUFFIX.fullmatch(piece):
            name = f"{name} {piece}"
            continue
        if name:
            yield name
        name = piece
    if name:
        yield name


def _parted(pieces: Iterable[str]) -> Iterator[str]:
    for piece in pieces:
        named = re.sub(r"\A(?:and|&)\s+", "", one_line(piece))
        # "Institute of Physics and Astronomy Team" is one name.
        parts = [named] if _GROUP.search(named) else _AND.split(named)
        yield from (part.strip() for part in parts if part.strip())
