"""Rules against papers: exact words, people, organizations, arXiv categories."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from papers import vectors

from .profile import Rule, RuleKind
from .recent import Recent

# On the scale of z. A named person or phrase passes the floor alone; a category does not.
BONUS = {
    RuleKind.AUTHOR: 4.0,
    RuleKind.KEYWORD: 3.0,
    RuleKind.ORGANIZATION: 2.5,
    RuleKind.CATEGORY: 0.5,
}
RULES_KEPT = 20_000
PHRASES_KEPT = 5_000  # papers, each generation: 15 MB

WORD = re.compile(r"[^\W_]+")
HYPHEN = re.compile(r"[-\u2010-\u2015]")  # Jean-Luc is one name, also where it is written Jeanluc
# Letters that Unicode does not take apart: Łukasz and Lukasz are one.
BARRED = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe"})

Places = frozenset[int]
NOWHERE: Places = frozenset()
T = TypeVar("T")


class Paper(Protocol):
    """What a rule looks at."""

    @property
    def title(self) -> str: ...
    @property
    def abstract(self) -> str: ...
    @property
    def authors(self) -> tuple[str, ...]: ...
    @property
    def organization(self) -> str: ...
    @property
    def categories(self) -> tuple[str, ...]: ...
    @property
    def keywords(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Match:
    """An exact match: which rule, and the name as the paper spells it."""

    rule: Rule
    name: str


class Matcher:
    """Rules against `papers`, which are looked through once; each rule is looked up once."""

    def __init__(self, papers: Sequence[Paper]) -> None:
        self._papers = papers
        self._found: Recent[Rule, Places] = Recent(RULES_KEPT)

    def places(self, rule: Rule) -> Places:
        """Of the papers that it matches."""
        found = self._found.get(rule)
        if found is None:
            found = self._look_up(rule)
            self._found.put(rule, found)
        return found

    def bonus(self, rules: Sequence[Rule]) -> NDArray[np.float64] | None:
        """Per paper, the best single bonus: ten matching keywords are no tenfold reason. None
        where nothing matches.
        """
        best = None
        for rule in rules:
            if places := list(self.places(rule)):
                best = np.zeros(len(self._papers)) if best is None else best
                best[places] = np.maximum(best[places], BONUS[rule.kind])
        return best

    def strongest(self, rules: Sequence[Rule], paper: int) -> Match | None:
        matching = [rule for rule in rules if paper in self.places(rule)]
        if not matching:
            return None
        rule = max(matching, key=lambda each: BONUS[each.kind])
        return Match(rule, self._spelling(rule, paper))

    def _look_up(self, rule: Rule) -> Places:
        match rule.kind:
            case RuleKind.KEYWORD:
                return self._with_phrase(vectors.phrase(rule.value))
            case RuleKind.AUTHOR:
                person = _person(rule.value)
                return NOWHERE if person is None else self._authors.get(person, NOWHERE)
            case RuleKind.ORGANIZATION:
                return self._of_organization(f" {plain(rule.value)} ")
            case RuleKind.CATEGORY:
                return self._categories.get(rule.value.casefold(), NOWHERE)

    def _with_phrase(self, wanted: str) -> Places:
        having = [self._words.get(word, ()) for word in wanted.split()]
        rarest = min(having, key=len, default=())
        return frozenset(place for place in rarest if wanted in self._phrases[place])

    def _of_organization(self, wanted: str) -> Places:
        if not wanted.strip():
            return NOWHERE
        named = (places for name, places in self._organizations.items() if wanted in name)
        return NOWHERE.union(*named)

    @cached_property
    def _phrases(self) -> list[str]:
        """A bar between title, abstract and keywords: no phrase reaches across."""
        return [_phrases_of((each.title, each.abstract, *each.keywords)) for each in self._papers]

    @cached_property
    def _words(self) -> Mapping[str, Sequence[int]]:
        """Lists: sets of so many would take five times the memory."""
        found: dict[str, list[int]] = defaultdict(list)
        for place, phrases in enumerate(self._phrases):
            for word in set(phrases.split()):
                found[word].append(place)
        return found

    @cached_property
    def _authors(self) -> Mapping[tuple[str, str], Places]:
        people = ((_person(name) for name in paper.authors) for paper in self._papers)
        return _inverted((person for person in each if person is not None) for each in people)

    @cached_property
    def _organizations(self) -> Mapping[str, Places]:
        return _inverted([f" {plain(paper.organization)} "] for paper in self._papers)

    @cached_property
    def _categories(self) -> Mapping[str, Places]:
        """cs.CL is in cs.CL and in cs."""
        return _inverted(
            (name for category in paper.categories for name in _with_those_above(category))
            for paper in self._papers
        )

    def _spelling(self, rule: Rule, paper: int) -> str:
        facts = self._papers[paper]
        if rule.kind == RuleKind.AUTHOR:
            person = _person(rule.value)
            return next(name for name in facts.authors if _person(name) == person)
        if rule.kind == RuleKind.ORGANIZATION:
            return facts.organization
        return rule.value


_phrases: Recent[tuple[str, ...], str] = Recent(PHRASES_KEPT)


def _phrases_of(texts: tuple[str, ...]) -> str:
    """Made once, also for who meets the paper among others."""
    found = _phrases.get(texts)
    if found is None:
        found = "|".join(map(vectors.phrase, texts))
        _phrases.put(texts, found)
    return found


def _inverted(names: Iterable[Iterable[T]]) -> dict[T, Places]:
    """Name -> places of the papers that have it."""
    found: dict[T, set[int]] = defaultdict(set)
    for place, of_paper in enumerate(names):
        for name in of_paper:
            found[name].add(place)
    return {name: frozenset(places) for name, places in found.items()}


def _with_those_above(category: str) -> list[str]:
    parts = category.casefold().split(".")
    return [".".join(parts[:size]) for size in range(1, len(parts) + 1)]


def _person(name: str) -> tuple[str, str] | None:
    """First and last name, folded. A single word is nobody: surnames have too many owners."""
    words = plain(HYPHEN.sub("", name)).split()
    if len(words) < 2 or len(words[0]) < 2:
        return None
    return words[0], words[-1]


def plain(text: str) -> str:
    """Without case, accents and punctuation: Lecun and LeCun, Müller and Muller are one."""
    return " ".join(WORD.findall(vectors.unaccented(text).casefold().translate(BARRED)))
