"""Profiles x papers -> scores with structured reasons, whole batches of readers at once.

For every topic its cosine with every paper is standardised against a reference of recent papers:
`z = (cos - mean) / deviation`. A narrow topic and a broad one, three words and five papers, come
to one scale on which a fixed floor means "clearly closer than an ordinary paper". The score of a
paper for a reader is its best topic's `z`, plus fixed bonuses for exact matches, plus a small
prior for what the community trends. See docs/ranking.md for what was measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from papers import vectors

from .profile import Key, Profile, Rule, RuleKind, TopicProfile, keys

# On the scale of z. A named person or phrase passes the floor alone; a category does not.
BONUS = {
    RuleKind.AUTHOR: 4.0,
    RuleKind.KEYWORD: 3.0,
    RuleKind.ORGANIZATION: 2.5,
    RuleKind.CATEGORY: 0.5,
}
TRENDING_WEIGHT = 0.5
AGE_HALF_LIFE_DAYS = 3.0
DISLIKE_WEIGHT = 0.35
Z_CAP = 8.0  # approached, never reached: exact words must not outrun every match, nor tie
REFERENCE_PRIOR_DEVIATION = 0.01  # cosine; keeps z finite where a topic meets no reference paper
MAX_TERMS = 4

WORD = re.compile(r"[^\W_]+")
HYPHEN = re.compile(r"[-\u2010-\u2015]")  # Jean-Luc is one name, also where it is written Jeanluc
# Letters that Unicode does not take apart: Łukasz and Lukasz are one.
BARRED = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe"})


@dataclass(frozen=True, slots=True)
class PaperFacts:
    """A candidate as the ranker sees it. `trending` is 0 to 1, `age_days` since its edition.

    What stands below `code` ranks nothing: it is what a digest shows, and who picked the paper.
    """

    paper_id: int
    title: str
    abstract: str
    authors: tuple[str, ...]
    organization: str
    categories: tuple[str, ...]
    keywords: tuple[str, ...]
    trending: float
    upvotes: int
    age_days: float
    group: tuple[int, int] | None  # edition and number, shared by near-duplicates
    code: bytes  # the encoder's
    stars: int | None = None
    content_hash: str = ""
    picked_by: str = ""  # the editor's name; empty: chosen by score alone
    editor_note: str = ""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a batch is ranked against.

    papers: the candidates, n of them. codes: stored codes of the papers that profiles name.
    reference: codes of recent papers that say what is ordinary.
    """

    papers: Sequence[PaperFacts]
    codes: Mapping[int, bytes]
    reference: Sequence[bytes]
    encoder: vectors.Encoder


@dataclass(frozen=True, slots=True)
class Match:
    """An exact match: which rule, and the name as the paper spells it."""

    rule: Rule
    name: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """One reader's scores. Arrays are of length n, in the order of the corpus's papers.

    score: higher is better. relevance: the part that the floor is held against (no prior).
    best: index of the best topic in `profile.topics`, -1 without topics. muted: never show, for
    the reader muted it or named it as a seed, so that it is no news to them.
    """

    profile: Profile
    score: NDArray[np.float64]
    relevance: NDArray[np.float64]
    best: NDArray[np.int64]
    muted: NDArray[np.bool_]
    explain: Callable[[int], Reason]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a paper is there, taken from the parts that made its score.

    kind: topic (words in common: `terms`), keyword / author / organization / category (`name`),
    paper (close to the seed `title` of `topic`), more (close to `title`, which was liked),
    popular (`upvotes`), editor (picked by `name`, who says `note`).
    """

    kind: str
    topic: str = ""
    terms: tuple[str, ...] = ()
    name: str = ""
    title: str = ""
    paper_id: int | None = None
    upvotes: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    note: str = ""


def rank(profiles: Sequence[Profile], corpus: Corpus) -> list[Ranking]:
    """One Ranking per profile. Deterministic; nothing is drawn at random."""
    space = _Space.of(profiles, corpus)
    matcher = _Matcher(corpus.papers)
    prior = _prior(corpus.papers)
    rankings, start = [], 0
    for profile in profiles:
        rows = slice(start, start + len(profile.topics))
        start = rows.stop
        rankings.append(_rank_one(profile, rows, space=space, matcher=matcher, prior=prior))
    return rankings


def popular(paper: PaperFacts) -> Reason:
    return Reason("popular", upvotes=paper.upvotes, parts={"trending": round(paper.trending, 3)})


def picked(paper: PaperFacts) -> Reason:
    return Reason("editor", name=paper.picked_by, note=paper.editor_note)


def _rank_one(
    profile: Profile, rows: slice, *, space: _Space, matcher: _Matcher, prior: NDArray[np.float64]
) -> Ranking:
    size = len(prior)
    # What the reader named or judged is known to them, and closest to itself.
    known = set(profile.disliked).union(*(topic.seeds for topic in profile.topics))
    muted = np.array([facts.paper_id in known for facts in space.facts], np.bool_)
    for rule in profile.muted:
        muted |= matcher.mask(rule)
    if profile.is_empty:
        relevance, best = np.zeros(size), np.full(size, -1)
    else:
        bonus = np.stack([matcher.bonus(topic.rules) for topic in profile.topics])
        z = space.z[rows]
        # A named person is wanted whatever the paper is about: no far topic takes from the bonus.
        by_topic = np.where(bonus > 0, np.maximum(z, 0) + bonus, z)
        best = by_topic.argmax(axis=0)
        relevance = by_topic[best, np.arange(size)]

    def explain(paper: int) -> Reason:
        return _explain(profile, rows.start, int(best[paper]), paper, space=space, matcher=matcher)

    return Ranking(profile, relevance + prior, relevance, best, muted, explain)


def _prior(papers: Sequence[PaperFacts]) -> NDArray[np.float64]:
    trending = np.array([paper.trending for paper in papers], np.float64)
    age = np.array([paper.age_days for paper in papers], np.float64)
    return TRENDING_WEIGHT * trending * 0.5 ** (age / AGE_HALF_LIFE_DAYS)


# -- closeness -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Space:
    """All topics of a batch against all papers.

    z: (topics, papers). near: (texts, papers). topics, papers: unit rows over the columns `terms`.
    """

    z: NDArray[np.float64]
    near: NDArray[np.float64]
    topics: Any
    papers: Any
    terms: NDArray[np.uint64]
    row_of: Mapping[Key, int]
    facts: Sequence[PaperFacts]

    @classmethod
    def of(cls, profiles: Sequence[Profile], corpus: Corpus) -> _Space:
        named = _known_texts(profiles, corpus)
        codes = [paper.code for paper in corpus.papers]
        usual = corpus.reference or codes
        rows = corpus.encoder.rows([*codes, *usual, *named.values()])
        papers, reference = rows.matrix[: len(codes)], rows.matrix[len(codes) :][: len(usual)]
        texts = rows.matrix[len(codes) + len(usual) :]
        row_of = {key: row for row, key in enumerate(named)}
        lines = _Lines.of(named, texts, rows.terms)
        near, ordinary = _nearness(texts, papers, lines), _nearness(texts, reference, lines)

        wanted = _recipe([t.wanted for profile in profiles for t in profile.topics], row_of)
        disliked = _recipe([p.disliked for p in profiles for _ in p.topics], row_of)
        counts = ~_own(wanted, list(named.values()), usual)
        wanted, disliked = _scaled(wanted, texts), _scaled(disliked, texts)
        mixed = _scaled(wanted - DISLIKE_WEIGHT * disliked, texts)
        z = _standardised(mixed @ near, mixed @ ordinary, counts=counts)
        # Less of one thing is not more of another: dislikes only lower.
        some = np.flatnonzero(np.diff(disliked.indptr))
        plain = wanted[some]
        z[some] = np.minimum(
            z[some], _standardised(plain @ near, plain @ ordinary, counts=counts[some])
        )
        return cls(z, near, mixed @ texts, papers, rows.terms, row_of, corpus.papers)


def _known_texts(profiles: Sequence[Profile], corpus: Corpus) -> dict[Key, bytes]:
    """Key -> code of every text the profiles are made of; a paper without a code is left out."""
    known: dict[Key, bytes] = {}
    # In an order of their own, so that a reader's sums do not depend on who else is in the batch.
    for key in sorted(keys(profiles), key=lambda key: (isinstance(key, str), str(key))):
        if isinstance(key, str):
            known[key] = corpus.encoder.encode(key)
        elif key in corpus.codes:
            known[key] = corpus.codes[key]
    return known


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of the topics' texts. shares: (lines, columns), what part of its line each single
    word is. starts: the first line of each text; texts: its row. Of a stored paper not every word
    is meant, so papers have no lines.
    """

    shares: Any
    starts: list[int]
    texts: list[int]

    @classmethod
    def of(cls, named: Mapping[Key, bytes], weights: Any, terms: NDArray[np.uint64]) -> _Lines:
        weights.sort_indices()
        cells: list[tuple[int, int, float]] = []
        starts, texts, size = [], [], 0
        for row, key in enumerate(named):
            lines = _words_of_lines(key) if isinstance(key, str) else []
            if lines:
                starts.append(size)
                texts.append(row)
            own = slice(*weights.indptr[row : row + 2])
            for words in lines:
                columns = np.searchsorted(terms, words)
                parts = weights.data[own][np.searchsorted(weights.indices[own], columns)]
                cells += [(size, *cell) for cell in zip(columns, parts / parts.sum(), strict=True)]
                size += 1
        return cls(_sparse(cells, shape=(size, len(terms))), starts, texts)


def _words_of_lines(text: str) -> list[NDArray[np.uint64]]:
    ids = (np.array(vectors.word_ids(line), np.uint64) for line in text.splitlines())
    return [np.unique(each) for each in ids if len(each)]


def _nearness(texts: Any, papers: Any, lines: _Lines) -> NDArray[np.float64]:
    """(texts, papers): cosine; for a topic's text times the share of its best covered line.

    A line asks for all of its words; several lines are so many things that may be met.
    """
    near = _dense(texts @ papers.T)
    if lines.texts:
        covered = _dense(lines.shares @ (papers > 0).astype(float).T)
        near[lines.texts] *= np.maximum.reduceat(covered, lines.starts, axis=0)
    return near


def _recipe(weights: Sequence[Mapping[Key, float]], row_of: Mapping[Key, int]) -> Any:
    """(len(weights), texts): one sparse row of weights over the known texts."""
    cells = [
        (row, row_of[key], weight)
        for row, each in enumerate(weights)
        for key, weight in each.items()
        if key in row_of
    ]
    return _sparse(cells, shape=(len(weights), len(row_of)))


def _sparse(cells: Sequence[tuple[int, int, float]], *, shape: tuple[int, int]) -> Any:
    """From (row, column, value)."""
    rows, columns, values = zip(*cells, strict=True) if cells else ((), (), ())
    return sparse.csr_array((list(values), (list(rows), list(columns))), shape=shape, dtype=float)


def _scaled(recipe: Any, texts: Any) -> Any:
    """The recipe whose vectors, `recipe @ texts`, are of unit length (Rocchio's mean, as a ray)."""
    made = sparse.csr_array(recipe @ texts)
    # Sorted, so that a row adds up in one order whatever other rows there are.
    made.sort_indices()
    made.data **= 2
    lengths = np.sqrt(made @ np.ones(made.shape[1]))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 1e-9)
    data = recipe.data * np.repeat(scale, np.diff(recipe.indptr))
    return sparse.csr_array((data, recipe.indices, recipe.indptr), shape=recipe.shape)


def _own(wanted: Any, texts: Sequence[bytes], reference: Sequence[bytes]) -> NDArray[np.bool_]:
    """(topics, reference): where a reference paper is itself one that the topic is made of."""
    row_of = {code: row for row, code in enumerate(texts)}
    cells = [(row_of[code], column) for column, code in enumerate(reference) if code in row_of]
    rows, columns = zip(*cells, strict=True) if cells else ((), ())
    shape = (len(texts), len(reference))
    same = sparse.csr_array((np.ones(len(cells)), (list(rows), list(columns))), shape=shape)
    return _dense(wanted @ same) > 0


def _standardised(
    near: NDArray[np.float64], ordinary: NDArray[np.float64], *, counts: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(topics, papers): deviations above what is ordinary, bent smoothly towards Z_CAP.

    counts: (topics, reference), false for a topic's own seeds. As a part of what is ordinary they
    would make everything else look far.
    """
    if not near.size:
        return near
    counts = counts | ~counts.any(axis=1, keepdims=True)
    # Masked by a product: `where=` sums in blocks that depend on how many readers there are.
    size = counts.sum(axis=1, keepdims=True)
    mean = (ordinary * counts).sum(axis=1, keepdims=True) / size
    deviation = np.sqrt((((ordinary - mean) * counts) ** 2).sum(axis=1, keepdims=True) / size)
    z: NDArray[np.float64] = (near - mean) / np.maximum(deviation, REFERENCE_PRIOR_DEVIATION)
    return Z_CAP * np.tanh(z / Z_CAP)


def _dense(product: Any) -> NDArray[np.float64]:
    dense: NDArray[np.float64] = product.toarray()
    return dense


# -- exact matches -------------------------------------------------------------------------


class _Matcher:
    """Rules against papers; each rule of a batch is looked up once."""

    def __init__(self, papers: Sequence[PaperFacts]) -> None:
        self._papers = papers
        self._authors = [{_person(name) for name in paper.authors} for paper in papers]
        self._organizations = [f" {_plain(paper.organization)} " for paper in papers]
        self._masks: dict[Rule, NDArray[np.bool_]] = {}

    @cached_property
    def _phrases(self) -> list[str]:
        """A bar between title, abstract and keywords: no phrase reaches across."""
        texts = [(paper.title, paper.abstract, *paper.keywords) for paper in self._papers]
        return ["|".join(vectors.phrase(part) for part in parts) for parts in texts]

    def mask(self, rule: Rule) -> NDArray[np.bool_]:
        if rule not in self._masks:
            self._masks[rule] = np.array(self._matches(rule), np.bool_)
        return self._masks[rule]

    def bonus(self, rules: Sequence[Rule]) -> NDArray[np.float64]:
        """Per paper, the best single bonus: ten matching keywords are no tenfold reason."""
        best = np.zeros(len(self._papers))
        for rule in rules:
            np.maximum(best, BONUS[rule.kind] * self.mask(rule), out=best)
        return best

    def strongest(self, rules: Sequence[Rule], paper: int) -> Match | None:
        matching = [rule for rule in rules if self.mask(rule)[paper]]
        if not matching:
            return None
        rule = max(matching, key=lambda each: BONUS[each.kind])
        return Match(rule, self._spelling(rule, paper))

    def _matches(self, rule: Rule) -> list[bool]:
        if rule.kind == RuleKind.KEYWORD:
            wanted = vectors.phrase(rule.value)
            return [bool(wanted.strip()) and wanted in phrase for phrase in self._phrases]
        if rule.kind == RuleKind.AUTHOR:
            person = _person(rule.value)
            return [person is not None and person in authors for authors in self._authors]
        if rule.kind == RuleKind.ORGANIZATION:
            wanted = f" {_plain(rule.value)} "
            return [bool(wanted.strip()) and wanted in name for name in self._organizations]
        return [_in_category(rule.value, paper.categories) for paper in self._papers]

    def _spelling(self, rule: Rule, paper: int) -> str:
        facts = self._papers[paper]
        if rule.kind == RuleKind.AUTHOR:
            person = _person(rule.value)
            return next(name for name in facts.authors if _person(name) == person)
        if rule.kind == RuleKind.ORGANIZATION:
            return facts.organization
        return rule.value


def _person(name: str) -> tuple[str, str] | None:
    """First and last name, folded. A single word is nobody: surnames have too many owners."""
    words = _plain(HYPHEN.sub("", name)).split()
    if len(words) < 2 or len(words[0]) < 2:
        return None
    return words[0], words[-1]


def _plain(text: str) -> str:
    """Without case, accents and punctuation: Lecun and LeCun, Müller and Muller are one."""
    return " ".join(WORD.findall(vectors.unaccented(text).casefold().translate(BARRED)))


def _in_category(wanted: str, categories: Sequence[str]) -> bool:
    """cs.CL is in cs.CL and in cs."""
    wanted = wanted.casefold()
    return any(c.casefold() == wanted or c.casefold().startswith(f"{wanted}.") for c in categories)


# -- reasons -------------------------------------------------------------------------------


def _explain(
    profile: Profile, offset: int, best: int, paper: int, *, space: _Space, matcher: _Matcher
) -> Reason:
    facts = space.facts[paper]
    if best < 0:
        return popular(facts)
    topic = profile.topics[best]
    parts = {"z": round(float(space.z[offset + best, paper]), 3)}
    match = matcher.strongest(topic.rules, paper)
    if match is not None:
        parts["bonus"] = BONUS[match.rule.kind]
        if parts["bonus"] >= parts["z"]:
            return Reason(match.rule.kind.value, topic.name, name=match.name, parts=parts)
    row = space.topics[[offset + best]]
    seed = _closest_seed(topic, paper, space=space)
    if seed is not None:
        kind = "more" if topic.is_feedback else "paper"
        return Reason(kind, topic.name, paper_id=seed, parts=parts)
    terms = _shared_terms(row, paper, space=space)
    if not terms and match is not None:
        return Reason(match.rule.kind.value, topic.name, name=match.name, parts=parts)
    return Reason("topic", topic.name, terms=terms, parts=parts)


def _closest_seed(topic: TopicProfile, paper: int, *, space: _Space) -> int | None:
    """The seed that did more for the cosine than the topic's words did; none if they did more."""
    known = [key for key in topic.wanted if key in space.row_of]
    if not topic.seeds or not known:
        return None
    rows = [space.row_of[key] for key in known]
    share = space.near[rows, paper] * [topic.wanted[key] for key in known]
    strongest = known[int(share.argmax())]
    return strongest if isinstance(strongest, int) else None


def _shared_terms(topic: Any, paper: int, *, space: _Space) -> tuple[str, ...]:
    """Up to four terms that made the cosine, as the paper spells them, the weightiest first."""
    product = sparse.csr_array(topic.multiply(space.papers[[paper]]))
    product.sort_indices()
    order = np.argsort(-product.data, kind="stable")
    facts = space.facts[paper]
    spelled = vectors.surfaces(f"{facts.title}\n{facts.abstract}")
    terms: list[str] = []
    for column, weight in zip(product.indices[order], product.data[order], strict=True):
        term = spelled.get(int(space.terms[column]))
        if weight <= 0 or len(terms) == MAX_TERMS:
            break
        if term is not None and not any(_says_again(term, seen) for seen in terms):
            terms.append(term)
    return tuple(terms)


def _says_again(term: str, seen: str) -> bool:
    words, others = set(WORD.findall(term)), set(WORD.findall(seen))
    return words <= others or others <= words
