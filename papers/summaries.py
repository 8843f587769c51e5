"""The sentences of an abstract that say what is new. Extractive, deterministic; adds no word.

A sentence counts by what it shares with the title, by phrases with which authors announce what
they did, by the name that the title gives to it, by its length, and less the later it stands. The
weights are those of a least-squares fit to ROUGE-1 against one-sentence summaries that others
wrote, rounded. `python -m benchmarks.summaries` measures it; docs/mail.md has the table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SUMMARY_SENTENCES = 3
ENOUGH_CHARACTERS = 250  # after which no further sentence is added
SUMMARY_CHARACTERS = 420
LONGEST_SENTENCE = 400  # counted no longer: a longer one says no more

_SHARE_OF_TITLE, _ANNOUNCES, _NAMES_IT, _LENGTH, _LATENESS = 0.20, 0.055, 0.03, 0.075, -0.03

# A sentence ends at . ! or ? before a capital, a digit or a bracket, but not in "et al. The",
# "e.g. A", "J. Doe".
_END = re.compile(
    r"(?:(?<=[.!?])|(?<=[.!?][\"”’')\]]))"
    r"(?<!\bal\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)(?<!\bcf\.)(?<!\bc\.f\.)(?<!\bFig\.)"
    r"(?<!\bFigs\.)(?<!\bEq\.)(?<!\bEqs\.)(?<!\bSec\.)(?<!\bNo\.)(?<!\bresp\.)(?<!\bapprox\.)"
    r"(?<!\betc\.)(?<!\bSt\.)(?<!\bDr\.)(?<!\b[A-Z]\.)\s+(?=[^\W_a-z]|[(\[“\"‘])"
)
_WORD = re.compile(r"[^\W_]+")
_COMMON = frozenset(
    _WORD.findall(
        "the a an of and or in on for to with by from is are be as at that this which we our it "
        "its their can has have how what via using based towards toward into more than not but "
        "over under between through new do does"
    )
)
_CUES = [
    (re.compile(pattern, re.IGNORECASE), weight)
    for pattern, weight in (
        (
            r"\b(?:we|this (?:paper|work|report|study|article)) (?:\w+ly )?(?:introduces?|"
            r"presents?|proposes?|develops?|developed|releases?|designs?|builds?|describes?|"
            r"constructs?|creates?|devises?|formulates?|unveils?|offers?|contributes?|curates?)\b",
            1.0,
        ),
        (r"\bin this (?:paper|work|study|report|survey)\b", 0.5),
        (
            r"\bwe (?:\w+ly )?(?:show|find|demonstrate|reveal|prove|discover|observe|study|"
            r"investigate|explore|examine|analy[sz]e|argue)\b",
            0.6,
        ),
        (r"\b(?:outperform\w*|state-of-the-art|surpass\w*|achiev\w+|improv\w+)\b", 0.2),
        (
            r"^(?:however|but|yet|despite|although|while|existing|current|previous|prior|recent|"
            r"recently)\b",
            -0.6,
        ),
        (
            r"\b(?:code|models?|data|datasets?|project page|weights|demo)\b.{0,80}\b(?:available|"
            r"released|open-sourced?|github)\b|https?://",
            -1.2,
        ),
    )
]
# What begins so leans on the sentence before, and cannot stand first.
_LEANS = re.compile(
    r"(?:however|but|yet|moreover|furthermore|additionally|in addition|also|besides|thus|"
    r"therefore|hence|consequently|accordingly|then|finally|second|secondly|third|thirdly|it|they|"
    r"these|those|its|their|such|as a result|for example|for instance|specifically|in particular|"
    r"instead|notably|"
    r"here|inspired by this|based on (?:this|these)|to (?:\w+ ){1,3}(?:this|these|that)|"
    r"this(?! (?:paper|work|report|study|article|survey)\b))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Sentence:
    place: int
    text: str
    score: float
    leans: bool


def sentences(text: str) -> list[str]:
    """The sentences of one line of text, as they stand; none of them empty."""
    return [sentence for sentence in _END.split(text.strip()) if sentence]


def gist(title: str, abstract: str) -> str:
    """Two or three sentences, in their order: about SUMMARY_CHARACTERS at most, or one that is
    longer. Empty for an empty abstract.
    """
    found = _scored(title, sentences(abstract))
    if not found:
        return ""
    by_score = sorted(found, key=lambda each: (-each.score, each.place))
    first = next((each for each in by_score if not each.leans), by_score[0])
    chosen = [first]
    for each in by_score:
        length = sum(len(one.text) + 1 for one in chosen)
        if len(chosen) == SUMMARY_SENTENCES or length > ENOUGH_CHARACTERS:
            break
        stands = each.place > min(one.place for one in chosen) or not each.leans
        if each not in chosen and stands and length + len(each.text) <= SUMMARY_CHARACTERS:
            chosen.append(each)
    return " ".join(each.text for each in sorted(chosen, key=lambda each: each.place))


def _scored(title: str, texts: Sequence[str]) -> list[_Sentence]:
    wanted = _words(title) - _COMMON
    name = _words(title.partition(":")[0]) if ":" in title else set()
    last = max(1, len(texts) - 1)
    return [
        _Sentence(
            place,
            text,
            score=_SHARE_OF_TITLE * len(wanted & (said := _words(text))) / max(1, len(wanted))
            + _ANNOUNCES * sum(weight for cue, weight in _CUES if cue.search(text))
            + _NAMES_IT * bool(name and name <= said)
            + _LENGTH * min(len(text), LONGEST_SENTENCE) / LONGEST_SENTENCE
            + _LATENESS * place / last,
            leans=_LEANS.match(text) is not None,
        )
        for place, text in enumerate(texts)
    ]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
