"""A text and the words that were looked for -> parts of it, marked or not. Pure; makes no HTML."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .vectors import stem

EXCERPT_LENGTH = 320  # characters, about four lines
LEAD = 60  # shown before the first match
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a text. `is_match`: it is a word that was looked for, or another form of it."""

    text: str
    is_match: bool = False


def marked(text: str, words: Collection[str]) -> list[Part]:
    """The whole text in parts; side by side they are the text again, accents composed."""
    text = _composed(text)
    stems = stems_of(words)
    parts: list[Part] = []
    end = 0
    for start, stop in _matches(text, stems):
        if start > end:
            parts.append(Part(text[end:start]))
        parts.append(Part(text[start:stop], is_match=True))
        end = stop
    if end < len(text):
        parts.append(Part(text[end:]))
    return parts


def excerpt(text: str, words: Collection[str], *, length: int = EXCERPT_LENGTH) -> list[Part]:
    """The stretch where the most different words stand, cut between words, `…` where it is cut.

    Without a match: the text's beginning.
    """
    text = " ".join(_composed(text).split())
    start, stop = _window(text, stems_of(words), length)
    cut = text[start:stop].strip()
    return [
        *([Part("… ")] if start else []),
        *marked(cut, words),
        *([Part(" …")] if stop < len(text) else []),
    ]


def stems_of(words: Iterable[str]) -> frozenset[str]:
    return frozenset(map(stem, words))


def _composed(text: str) -> str:
    """NFC, not the NFKC that words are counted in, which would make n2 of n²."""
    return unicodedata.normalize("NFC", text)


def _matches(text: str, stems: frozenset[str]) -> list[tuple[int, int]]:
    if not stems:
        return []
    found = (word for word in _WORD.finditer(text) if stem(word.group().lower()) in stems)
    return [word.span() for word in found]


def _window(text: str, stems: frozenset[str], length: int) -> tuple[int, int]:
    """Between words; where two stretches are as good, the earlier."""
    if len(text) <= length:
        return 0, len(text)
    best, start = 0, 0
    matches = [(at, stem(text[at:end].lower())) for at, end in _matches(text, stems)]
    for at, _word in matches:
        begin = max(at - LEAD, 0)
        met = len({word for place, word in matches if begin <= place < begin + length - LEAD})
        if met > best:
            best, start = met, begin
    start = _word_begins(text, start) if start else 0
    stop = text.rfind(" ", start, start + length + 1)
    if start + length >= len(text):
        return start, len(text)
    return start, stop if stop > start else start + length


def _word_begins(text: str, at: int) -> int:
    if text[at - 1] == " ":
        return at
    gap = text.find(" ", at, at + LEAD)
    return gap + 1 if gap >= 0 else at
