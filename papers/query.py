"""What somebody typed into the search -> the words, phrases and exclusions it asks for. Pure.

Anything may be typed: there is no syntax error. Words are cut as the indexes cut texts (letters
and digits; a hyphen joins a phrase), without accents and case; stemming is the index's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import cached_property, lru_cache

from .vectors import STOP_WORDS, stem, unaccented

MAX_LENGTH = 200  # characters that are looked at
MAX_TERMS = 12
MAX_WORD_LENGTH = 64

_QUOTES = re.compile("[“”„«»″]")
_PART = re.compile(r'(-?)"([^"]*)"?|(\S+)')
_WORD = re.compile(r"[^\W_]+")


class Order(StrEnum):
    RELEVANCE = "relevance"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Asked:
    """One search. `since` and `until` are UTC days, both included; `source` is a slug.

    organization: words that its name holds, side by side. category: an arXiv category, whole.
    as_typed: no spelling is corrected.
    """

    words: str = ""
    since: date | None = None
    until: date | None = None
    source: str = ""
    organization: str = ""
    category: str = ""
    has_code: bool = False
    order: Order = Order.RELEVANCE
    as_typed: bool = False

    @property
    def is_filtered(self) -> bool:
        return bool(
            self.since
            or self.until
            or self.source
            or self.organization
            or self.category
            or self.has_code
        )


@dataclass(frozen=True)
class Query:
    """wanted, unwanted: phrases, each of one word or more, all in the index's spelling."""

    wanted: tuple[tuple[str, ...], ...] = ()
    unwanted: tuple[tuple[str, ...], ...] = ()
    text: str = field(default="", compare=False)

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(word for phrase in self.wanted for word in phrase)


def parse(text: str) -> Query:
    """Words, "a phrase", -word and -"a phrase". Function words count in phrases alone.

    What is beyond MAX_LENGTH characters or MAX_TERMS terms is not looked at.
    """
    text = _QUOTES.sub('"', text[:MAX_LENGTH].replace("\x00", " "))
    wanted: dict[tuple[str, ...], None] = {}
    unwanted: dict[tuple[str, ...], None] = {}
    for is_unwanted, phrase in list(_phrases(text))[:MAX_TERMS]:
        (unwanted if is_unwanted else wanted)[phrase] = None
    return Query(tuple(wanted), tuple(unwanted), text)


def words_of(text: str) -> list[str]:
    """In order, with repetitions, as the indexes cut and spell them before they stem."""
    return [word.lower()[:MAX_WORD_LENGTH] for word in _WORD.findall(unaccented(text))]


# What Snowball's English stemmer takes off; whether it does so of a word, it is asked.
_ENDINGS = (
    "", "s", "e", "es", "ed", "ing", "ings", "er", "ers", "est", "y", "ies", "ied", "ying", "ly",
    "ic", "ics", "ical", "ically", "al", "als", "ally", "alism", "alist", "ality", "ate", "ates",
    "ated", "ating", "ation", "ations", "ational", "ative", "ator", "ators", "ize", "izes", "ized",
    "izing", "izer", "izers", "ization", "izations", "izable", "izability", "ise", "ises", "ised",
    "ising", "isation", "isations", "isable", "alize", "alizes", "alized", "alizing", "alizer",
    "alization", "alizations", "alisation", "alizable", "alizability", "able", "ably", "ability",
    "ible", "ibility", "ive", "ives", "ively", "iveness", "ivity", "ion", "ions", "ional", "or",
    "ors", "ment", "ments", "ness", "ful", "fully", "fulness", "less", "ous", "ously", "ant",
    "ants", "ance", "ances", "ancy", "ent", "ents", "ence", "ences", "ency", "ity", "ities", "ist",
    "ists", "ism", "isms", "iti", "ogy", "ogies", "ical", "i",
)  # fmt: skip


@lru_cache(maxsize=10_000)
def forms(word: str) -> tuple[str, ...]:
    """The words that have this one's stem as far as English makes them, itself first.

    SQLite's own stemmer (Porter, 1980) takes generalization, generation and generic for one word;
    Snowball's, which PostgreSQL has too, does not.
    """
    root = stem(word)
    roots = {root, root + root[-1:], *({root[:-1] + "y", root[:-1]} if root.endswith("i") else ())}
    made = (each + ending for each in sorted(roots) for ending in _ENDINGS)
    return tuple(dict.fromkeys([word, *(form for form in made if form and stem(form) == root)]))


def _phrases(text: str) -> Iterator[tuple[bool, tuple[str, ...]]]:
    for part in _PART.finditer(text):
        minus, quoted, plain = part.groups()
        is_unwanted = bool(minus) if plain is None else plain.startswith("-")
        words = tuple(words_of(quoted if plain is None else plain))
        if words and not (len(words) == 1 and words[0] in STOP_WORDS):
            yield is_unwanted, words


# -- spelling ------------------------------------------------------------------------------

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def one_edit_away(word: str) -> set[str]:
    """With a letter left out, added, exchanged, or two neighbours swapped (Norvig, 2007)."""
    halves = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    found = {left + right[1:] for left, right in halves if right}
    found |= {left + right[1] + right[0] + right[2:] for left, right in halves if len(right) > 1}
    for letter in _LETTERS:
        found |= {left + letter + right for left, right in halves}
        found |= {left + letter + right[1:] for left, right in halves if right}
    return found - {word, ""}


def distance(one: str, other: str, *, most: int) -> int:
    """Edits between two words, neighbours swapped counting one (Damerau 1964, optimal string
    alignment); `most + 1` stands for all that is further.
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            edits = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                edits = min(edits, last[j - 2] + 1)
            row.append(edits)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)
