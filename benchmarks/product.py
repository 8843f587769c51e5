"""Our ranking exactly as the product runs it: from what a reader says to scores.

The one place that knows how the product is asked; what is prepared once stands for what is stored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import process_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.libraries import Case, Collection, Floats, Ints
from digest import profile, ranking
from digest.nearness import Text
from papers import static_meaning
from papers.vectors import (
    SENTENCE_REACH,
    Bag,
    Discriminant,
    DocumentFrequencies,
    Sense,
    WordEncoder,
    packed,
    unpacked,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
REFERENCE = 500
FITTED_ON, LEAST_FITTED_ON = 3_000, 1_000  # papers, as papers.encoding has them


class Words:
    """By words alone; a batch of one.

    shared_seconds: of CPU time, spent on what all readers of the same papers share.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection, self.codes = collection, collection.papers.codes
        bags = [Bag.from_bytes(code) for code in self.codes]
        # As papers.encoding.fit counts an installation's own table.
        self.encoder = WordEncoder(DocumentFrequencies.count(bags, at_least=2))
        self.meanings, self.sense = self.known_meanings(bags)
        self.facts = [self.facts_of(row) for row in range(len(self.codes))]
        self.shared_seconds = 0.0

    def __call__(self, case: Case) -> Floats:
        seeds = tuple(int(row) for row in case.known)
        topic = profile.TopicFacts(case.line) if case.line else profile.TopicFacts("", seeds=seeds)
        return self.scores((topic,), case.pool, case.background)

    def scores(
        self, topics: tuple[profile.TopicFacts, ...], pool: Ints, background: Ints
    ) -> Floats:
        """Of the pool, for a reader of these topics."""
        started = process_time()
        corpus = self.corpus(pool, background)
        self.shared_seconds += process_time() - started
        reader = profile.build(profile.ReaderFacts(topics), now=NOW)
        texts = {key: self.text(key) for key in profile.keys([reader])}
        return ranking.rank([reader], corpus, texts=texts)[0].score

    def corpus(self, pool: Ints, background: Ints) -> ranking.Corpus:
        papers = [self.facts[row] for row in pool]
        reading = ranking.Reading.of(
            papers,
            reference=[self.text(int(row)) for row in background[:REFERENCE]],
            encoder=self.encoder,
            sense=self.sense,
        )
        return ranking.Corpus(papers, reading)

    def known_meanings(self, bags: list[Bag]) -> tuple[list[bytes], Sense | None]:
        return [b""] * len(bags), None

    def said(self, line: str) -> bytes:
        """What a reader's own words mean."""
        return b""

    def text(self, key: profile.Key) -> Text:
        if isinstance(key, int):
            return Text(self.codes[key], self.meanings[key])
        assert isinstance(key, str), "no set has papers that are titles alone"
        return Text(self.encoder.encode(key), self.said(key), key)

    def facts_of(self, row: int) -> ranking.PaperFacts:
        titles = self.collection.papers.titles
        return ranking.PaperFacts(
            paper_id=row,
            title=titles[row] if titles else "",
            abstract="",
            authors=(),
            organization="",
            categories=(),
            keywords=(),
            trending=0.0,
            upvotes=0,
            age_days=0.0,
            group=None,
            code=self.codes[row],
            meaning=self.meanings[row],
        )

    def sense_of(self, codes: list[bytes], reach: float) -> Sense:
        """As papers.encoding makes it of the stored papers; which of these, is drawn."""
        known = [code for code in codes if code]
        rng = np.random.default_rng(self.collection.seed)
        drawn = rng.permutation(len(known))[:FITTED_ON].tolist()
        rows = unpacked([known[row] for row in sorted(drawn)])
        fitted = Discriminant.of(rows) if len(rows) >= LEAST_FITTED_ON else None
        return Sense(rows.shape[1], reach, fitted)


class Ours(Words):
    """As it comes, with the table of meanings that the program ships."""

    def known_meanings(self, bags: list[Bag]) -> tuple[list[bytes], Sense | None]:
        model = static_meaning.shipped()
        codes = [coded(row) for start in range(0, len(bags), REFERENCE)
                 for row in model.of(bags[start : start + REFERENCE])]  # fmt: skip
        return codes, self.sense_of(codes, model.reach)

    def said(self, line: str) -> bytes:
        return coded(static_meaning.shipped().encode([line])[0])


class OursWithModel(Words):
    """With a sentence model's vectors, as the semantic extra makes them. Of a reader's own line
    there is none here: a set has vectors of its papers only.
    """

    def known_meanings(self, bags: list[Bag]) -> tuple[list[bytes], Sense | None]:
        assert self.collection.papers.meanings is not None
        codes = [coded(row) for row in self.collection.papers.meanings.astype(np.float32)]
        return codes, self.sense_of(codes, SENTENCE_REACH)


def coded(row: NDArray[np.float32]) -> bytes:
    return packed(row) if row.any() else b""


def why_without_model(collection: Collection) -> str:
    """Empty where a set can be ranked by a sentence model's vectors."""
    has = collection.papers.meanings is not None
    return "" if has else "the set has no vectors of a sentence model"
