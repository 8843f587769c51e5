"""Small made-up papers for the ranker, and a corpus of ordinary ones to hold them against."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from digest import profile, ranking
from digest.nearness import Text
from digest.profile import Opinion, Profile, ReaderFacts, Rule, RuleKind, TopicFacts
from digest.ranking import Corpus, PaperFacts, Reading
from papers.vectors import DocumentFrequencies, WordEncoder, bag

NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)

# Sixty papers about nothing in particular: what is ordinary.
SUBJECTS = ("image", "text", "video", "graph", "code", "audio")
VERBS = ("restoring", "ranking", "summarising", "compressing", "labelling")
ORDINARY = [
    f"{verb} {subject} data with a {size} network\nWe train a {size} model of {subject} data."
    for verb in VERBS
    for subject in SUBJECTS
    for size in ("small", "large")
]

GRASP = "Robots learn to grasp cups\nA robot arm with tactile fingers learns manipulation."
LLM_PROOF = "Proving theorems with language models\nA language model writes formal proofs."
SPEECH = "Speech recognition for quiet rooms\nAn acoustic model hears whispered speech."
GARDEN = "Counting tulips from the air\nA drone counts flowers in a garden."

ENCODER = WordEncoder(
    DocumentFrequencies.count(bag(text) for text in [*ORDINARY, GRASP, LLM_PROOF, SPEECH, GARDEN])
)


def paper(paper_id: int, text: str = GARDEN, **fields) -> PaperFacts:
    """`text`: a title, and an abstract on the lines after it."""
    title, _, abstract = text.partition("\n")
    defaults = {
        "authors": ("Ada Example",),
        "organization": "",
        "categories": (),
        "keywords": (),
        "trending": 0.0,
        "upvotes": 0,
        "age_days": 0.0,
        "group": None,
    }
    return PaperFacts(
        paper_id=paper_id,
        title=title,
        abstract=abstract,
        code=ENCODER.encode(text),
        **defaults | fields,
    )


def rank(
    readers: Sequence[Profile],
    papers: Sequence[PaperFacts],
    *,
    stored: Sequence[PaperFacts] = (),
    reference: Sequence[str] = ORDINARY,
) -> list[ranking.Ranking]:
    """Against a corpus that nobody asked before. `stored`: papers that profiles name besides."""
    everything = corpus(papers, reference=reference)
    return ranking.rank(readers, everything, texts=texts(readers, papers, stored))


def corpus(papers: Sequence[PaperFacts], *, reference: Sequence[str] = ORDINARY) -> Corpus:
    usual = [Text(ENCODER.encode(text)) for text in reference]
    return Corpus(papers, Reading.of(papers, reference=usual, encoder=ENCODER))


def texts(readers: Sequence[Profile], *papers: Sequence[PaperFacts]) -> dict[profile.Key, Text]:
    """All that the readers name, as far as it is among these papers."""
    stored = {each.paper_id: Text(each.code, each.meaning) for some in papers for each in some}
    return {
        key: said(key) if isinstance(key, str) else stored[key]
        for key in profile.keys(readers)
        if isinstance(key, str) or key in stored
    }


def said(words: str) -> Text:
    return Text(ENCODER.encode(words), said=words)


def reader(
    *topics: str | TopicFacts, mute: Sequence[Rule] = (), opinions: Sequence[Opinion] = ()
) -> Profile:
    named = tuple(TopicFacts(each) if isinstance(each, str) else each for each in topics)
    return profile.build(ReaderFacts(named, tuple(mute), tuple(opinions)), now=NOW)


def rank_one(
    who: Profile, papers: Sequence[PaperFacts], *, stored: Sequence[PaperFacts] = ()
) -> ranking.Ranking:
    return rank([who], papers, stored=stored)[0]


def keyword(value: str) -> Rule:
    return Rule(RuleKind.KEYWORD, value)


def author(value: str) -> Rule:
    return Rule(RuleKind.AUTHOR, value)
