"""Which sentences of an abstract say what is new."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers import summaries
from papers.summaries import SUMMARY_CHARACTERS, gist, sentences

TITLE = "Gated Bees: Waggle Dances for Sparse Attention"
BACKGROUND = "Attention costs much in long contexts, and many have tried to make it cheaper."
PROBLEM = "However, existing methods lose what matters."
NEW = "We propose Gated Bees, a waggle dance that tells sparse attention where to look."
RESULT = "Gated Bees outperforms four baselines on three tasks by 12.5 points."
LEANING = "This makes Gated Bees with waggle dances and sparse attention cheap."
CODE = "Code is available at https://example.org/bees."


def test_what_is_new_is_chosen_and_stands_in_its_order():
    abstract = " ".join([BACKGROUND, PROBLEM, NEW, RESULT, CODE])
    assert gist(TITLE, abstract) == f"{BACKGROUND} {NEW} {RESULT}"


def test_what_leans_on_the_sentence_before_never_stands_first():
    assert gist(TITLE, f"{BACKGROUND} {LEANING}").startswith(BACKGROUND)
    assert gist(TITLE, f"{NEW} {LEANING}") == f"{NEW} {LEANING}"
    assert gist(TITLE, LEANING) == LEANING


@pytest.mark.parametrize(
    "opening", ["However, ", "It ", "To address this issue, ", "These ", "This "]
)
def test_openings_that_lean(opening):
    assert summaries._LEANS.match(f"{opening}bees dance.")


@pytest.mark.parametrize("opening", ["This paper ", "In this work, ", "Items ", "Theory ", "We "])
def test_openings_that_stand(opening):
    assert not summaries._LEANS.match(f"{opening}bees dance.")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("  ", []),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("By Li et al. The end.", ["By Li et al. The end."]),
        ("See e.g. Bees. See Fig. 2. So.", ["See e.g. Bees.", "See Fig. 2.", "So."]),
        (
            "It is 3.5 points better. GPT-4.1 is worse.",
            ["It is 3.5 points better.", "GPT-4.1 is worse."],
        ),
        ("By J. Doe and A. B. Roe. Next.", ["By J. Doe and A. B. Roe.", "Next."]),
        ('He said "stop." Then (it did.) Then.', ['He said "stop."', "Then (it did.)", "Then."]),
        ("It ends here. 80% of it.", ["It ends here.", "80% of it."]),
        ("version 2. is lower case", ["version 2. is lower case"]),
    ],
)
def test_sentences(text, found):
    assert sentences(text) == found


def test_nothing_is_made_of_nothing():
    assert gist(TITLE, "") == gist("", "") == ""


@given(st.text(max_size=80), st.lists(st.text(max_size=300), max_size=12))
def test_a_summary_is_whole_sentences_in_their_order(title, parts):
    abstract = ". ".join(parts)
    made = gist(title, abstract)
    found = sentences(abstract)
    subsets = {" ".join(some) for n in (0, 1, 2, 3) for some in combinations(found, n)}
    assert made in subsets
    assert bool(made) == bool(found)
    assert len(made) <= max(SUMMARY_CHARACTERS, *map(len, found), 0)


def test_a_long_text_of_one_sentence_is_kept_whole():
    assert gist("A", "x" * 20_000) == "x" * 20_000
