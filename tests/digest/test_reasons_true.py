"""Reasons and the numbers behind them, computed once more: text by text, from the formulas of
docs/ranking.md alone.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings

from digest import ranking
from digest.matching import BONUS
from digest.nearness import Text
from digest.profile import Profile, RuleKind, TopicProfile
from digest.ranking import Corpus, Reading
from papers import static_meaning
from papers.vectors import Discriminant, Sense, packed, stem, terms, unpacked, word_ids
from tests.digest.test_ranking import DAY, LIBRARY, READERS
from tests.fakes.corpus import ENCODER, ORDINARY

MODEL = static_meaning.shipped()


def text_of(words: str, *, is_said: bool = False) -> Text:
    (row,) = MODEL.encode([words])
    return Text(ENCODER.encode(words), packed(row), words if is_said else "")


def says(facts: ranking.PaperFacts) -> str:
    return f"{facts.title}\n{facts.abstract}"


PAPERS = [
    replace(each, meaning=text_of(says(each)).meaning, trending=0.3 * place, upvotes=7 * place)
    for place, each in enumerate(DAY)
]
STORED = {each.paper_id: text_of(says(each)) for each in [*DAY, *LIBRARY]}
REFERENCE = [text_of(text) for text in ORDINARY]
SENSE = Sense(
    MODEL.dimensions, MODEL.reach, Discriminant.of(unpacked([each.meaning for each in REFERENCE]))
)


def named(who: Profile) -> dict:
    keys = {key for topic in who.topics for key in topic.wanted} | set(who.disliked)
    said = {key: text_of(key, is_said=True) for key in keys if isinstance(key, str)}
    return said | {key: STORED[key] for key in keys if key in STORED}


def ranked(who: Profile, *, sense: Sense | None) -> ranking.Ranking:
    reading = Reading.of(PAPERS, reference=REFERENCE, encoder=ENCODER, sense=sense)
    return ranking.rank([who], Corpus(PAPERS, reading), texts=named(who))[0]


# -- the formulas once more ----------------------------------------------------------------


class Again:
    """One topic against the papers and then the reference, in dense arrays."""

    def __init__(self, topic: TopicProfile, disliked: dict, texts: dict, sense: Sense | None):
        self.keys = [key for key in topic.wanted if key in texts]
        others = [key for key in disliked if key in texts]
        candidates = [Text(each.code, each.meaning) for each in PAPERS]
        self.everything = [*candidates, *REFERENCE]
        mine = [texts[key] for key in [*self.keys, *others]]
        self.codes = [each.words for each in mine]
        rows = ENCODER.rows([each.words for each in [*mine, *self.everything]])
        dense = rows.matrix.toarray()
        self.of_texts, self.of_papers = dense[: len(mine)], dense[len(mine) :]
        self.columns = {int(term): place for place, term in enumerate(rows.terms)}
        self.near = np.array([self.nearness(n, text) for n, text in enumerate(mine)])
        self.weights = np.array([topic.wanted[key] for key in self.keys])
        self.avoided = np.array([disliked[key] for key in others])
        self.meant = unpacked([each.meaning for each in mine]).astype(float)
        self.is_paper = np.array([not each.said for each in mine])
        self.sense = sense
        self.counts = np.array(
            [each.words not in self.codes[: len(self.keys)] for each in REFERENCE]
        )
        if not self.counts.any():
            self.counts[:] = True

    def nearness(self, number: int, text: Text) -> np.ndarray:
        cosine = self.of_papers @ self.of_texts[number]
        lines = [sorted(set(word_ids(line))) for line in text.said.splitlines()]
        if not any(lines):
            return cosine
        of = self.of_texts[number]

        def weight(line, paper=None):
            columns = [self.columns[word] for word in line]
            has = 1 if paper is None else self.of_papers[paper][columns] > 0
            return (of[columns] * has).sum()

        covered = [
            max(weight(line, paper) / weight(line) for line in lines if line)
            for paper in range(len(self.of_papers))
        ]
        return cosine * np.array(covered)

    def standard(self, near: np.ndarray, least: float = 0.01) -> tuple[np.ndarray, float]:
        usual = near[len(PAPERS) :][self.counts]
        deviation = max(usual.std(), least)
        return (near - usual.mean()) / deviation, deviation

    def z(self, dislike: float) -> np.ndarray:
        size, wanted = len(self.keys), self.weights
        like = unit(wanted @ self.of_texts[:size])
        hate = unit(self.avoided @ self.of_texts[size:]) if len(self.avoided) else 0 * like
        length = np.linalg.norm(wanted @ self.of_texts[:size]) or np.inf
        near = (wanted / length) @ self.near[:size]
        if len(self.avoided):
            near = (
                near
                - dislike
                * (self.avoided / (np.linalg.norm(self.avoided @ self.of_texts[size:]) or np.inf))
                @ self.near[size:]
            )
        near = near / (np.linalg.norm(like - dislike * hate) or np.inf)
        common, spread = self.commonness()
        level = near[len(PAPERS) :][self.counts].mean() / common[len(PAPERS) :].mean()
        scale = 1 / np.sqrt(spread)
        least = 0.01 * scale[len(PAPERS) :].mean()
        words, self.deviation = self.standard((near - level * common) * scale, least)
        if self.sense is None or not self.keys:
            return words
        return self.share() * words + (1 - self.share()) * self.meaning(dislike)

    def commonness(self) -> tuple[np.ndarray, np.ndarray]:
        reference = self.of_papers[len(PAPERS) :]
        mean, spread = [], []
        for row, text in zip(self.of_papers, self.everything, strict=True):
            others = [
                r for r, each in zip(reference, REFERENCE, strict=True) if each.words != text.words
            ]
            cosines = np.array(others) @ row
            mean.append(max(cosines.mean(), 0.001))
            spread.append(cosines.std())
        least = max(np.percentile(spread[len(PAPERS) :], 5), 0.001)
        return np.array(mean), np.maximum(spread, least)

    def share(self) -> np.ndarray:
        size = len(self.keys)
        own = (self.weights @ ENCODER.tokens(self.codes[:size])) / self.weights.sum()
        both = np.sqrt(own * ENCODER.tokens([each.words for each in self.everything]))
        return both / (both + self.sense.reach)

    def meaning(self, dislike: float) -> np.ndarray:
        papers = unpacked([each.meaning for each in self.everything]).astype(float)
        size, found = len(self.keys), self.sense.discriminant

        def mean(rows):
            return self.weights @ rows[:size] / self.weights.sum()

        def gone(rows):
            return self.avoided @ rows[size:] / self.avoided.sum() if len(self.avoided) else 0

        is_of_words = not self.is_paper[:size].any()
        cosines = papers @ (mean(self.meant) - dislike * gone(self.meant))
        cosine, self.spread = self.standard(cosines, 0.15 if is_of_words else 0.01)
        if is_of_words:
            return cosine
        centred = (self.meant - found.middle) * self.is_paper[:, None]
        telling, _ = self.standard(
            papers @ ((mean(centred) - dislike * gone(centred)) @ found.matrix)
        )
        return self.standard(cosine + telling)[0]

    def closest(self, paper: int) -> object:
        """The text that did most for it."""
        size = len(self.keys)
        did = self.weights * self.near[:size, paper] / self.deviation
        if self.sense is not None:
            own = unpacked([self.everything[paper].meaning])[0].astype(float)
            meant = self.weights * (self.meant[:size] @ own) / self.spread
            share = self.share()[paper]
            did = share * did + (1 - share) * meant
        return self.keys[int(did.argmax())], np.sort(did)[::-1]


def unit(row: np.ndarray) -> np.ndarray:
    return row / (np.linalg.norm(row) or np.inf)


def again(who: Profile, sense: Sense | None) -> list[tuple[np.ndarray, Again]]:
    texts, found = named(who), []
    for topic in who.topics:
        one = Again(topic, who.disliked, texts, sense)
        if not one.codes:
            found.append((np.zeros(len(PAPERS)), one))
            continue
        z = one.z(0.35)
        if len(one.avoided):
            z = np.minimum(bent(z), bent(Again(topic, who.disliked, texts, sense).z(0.0)))
        else:
            z = bent(z)
        found.append((z[: len(PAPERS)], one))
    return found


def bent(z: np.ndarray) -> np.ndarray:
    return 8 * np.tanh(z / 8)


def holds(keyword: str, facts: ranking.PaperFacts) -> bool:
    """Whole words side by side, whatever their endings, in one of the texts."""
    wanted = stems(keyword)
    texts = map(stems, (facts.title, facts.abstract, *facts.keywords))
    return any(
        text[start : start + len(wanted)] == wanted
        for text in texts
        for start in range(len(text) - len(wanted) + 1)
    )


def stems(text: str) -> list[str]:
    return [stem(word.lower()) for word in re.findall(r"[^\W_]+", text)]


# -- what is held against them -------------------------------------------------------------


@pytest.mark.parametrize("sense", [None, SENSE], ids=["words", "words and meaning"])
@settings(max_examples=30, deadline=None, phases=[Phase.generate])
@given(who=READERS)
def test_every_reason_and_its_numbers_come_out_the_same_once_more(sense, who):
    found = ranked(who, sense=sense)
    topics = again(who, sense)
    for place, facts in enumerate(PAPERS):
        reason = found.explain(place)
        if not who.topics:
            assert (reason.kind, reason.upvotes) == ("popular", facts.upvotes)
            continue
        best = int(found.best[place])
        topic, (z, one) = who.topics[best], topics[best]
        assert reason.topic == topic.name
        matching = [rule for rule in topic.rules if holds(rule.value, facts)]
        bonus = max((BONUS[rule.kind] for rule in matching), default=0.0)
        counted = max(z[place], 0) if bonus else z[place]
        assert reason.parts["z"] == pytest.approx(counted, abs=0.0015)
        assert reason.parts.get("bonus", 0.0) == bonus
        assert found.relevance[place] == pytest.approx(counted + bonus, abs=0.002)
        assert all(found.relevance[place] >= other[place] - 0.002 for other, _ in topics), (
            "another topic is nearer"
        )
        check_kind(reason, topic, one, place, facts, matching)


def check_kind(reason, topic, one, place, facts, matching) -> None:
    if reason.kind == RuleKind.KEYWORD:
        assert reason.name in [rule.value for rule in matching]
        return
    key, did = one.closest(place) if one.keys else ("", [0.0])
    is_close_call = len(did) > 1 and did[0] - did[1] < 1e-6
    if reason.kind in ("paper", "more"):
        assert reason.paper_id == key or is_close_call
        assert reason.paper_id in topic.seeds
        assert (reason.kind == "more") == topic.is_feedback
        return
    assert reason.kind == "topic"
    assert isinstance(key, str) or is_close_call
    in_paper = set(terms(says(facts)))
    in_topic = {term for each in one.keys for term in terms(said(each))}
    for term in reason.terms:
        assert set(terms(term)) <= in_paper
        assert set(terms(term)) & in_topic
        assert re.search(re.escape(term.split()[0]), says(facts), re.IGNORECASE)


def said(key: object) -> str:
    return key if isinstance(key, str) else next(
        says(each) for each in [*DAY, *LIBRARY] if each.paper_id == key
    )  # fmt: skip
