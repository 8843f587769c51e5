from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers.query import MAX_TERMS, distance, forms, one_edit_away, parse, words_of


@pytest.mark.parametrize(
    ("typed", "wanted", "unwanted"),
    [
        ("Sparse Attention", (("sparse",), ("attention",)), ()),
        ('"sparse attention" -"long context" -video', (("sparse", "attention"),),
         (("long", "context"), ("video",))),
        ('an "open quote', (("open", "quote"),), ()),
        ("state-of-the-art", (("state", "of", "the", "art"),), ()),
        ("the robots of the world", (("robots",), ("world",)), ()),
        ('"the who"', (("the", "who"),), ()),
        ("GPT-4", (("gpt", "4"),), ()),
        ("Poincaré ﬁtting", (("poincare",), ("fitting",)), ()),
        ("robots robots", (("robots",),), ()),
        ("- -- \"\" -\"\"", (), ()),
    ],
)  # fmt: skip
def test_words_phrases_and_exclusions_are_told_apart(typed, wanted, unwanted):
    query = parse(typed)

    assert (query.wanted, query.unwanted) == (wanted, unwanted)


@given(st.text(max_size=400))
def test_any_text_is_a_query_of_plain_words(text):
    query = parse(text)

    assert len(query.wanted) + len(query.unwanted) <= MAX_TERMS
    assert all(word and word.isalnum() for word in query.words)


@given(st.text("abc", min_size=1, max_size=6), st.text("abc", max_size=6))
def test_a_distance_is_the_same_both_ways_and_zero_for_the_same_alone(one, other):
    assert distance(one, other, most=9) == distance(other, one, most=9)
    assert (distance(one, other, most=9) == 0) == (one == other)


@given(st.text("abc", min_size=1, max_size=6))
def test_what_is_one_edit_away_is_at_distance_one(word):
    assert {distance(word, each, most=3) for each in one_edit_away(word)} == {1}


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [("grasp", "graps", 1), ("grasp", "gasp", 1), ("kitten", "sitting", 3), ("a", "abcdef", 3)],
)
def test_known_distances_stop_at_the_most(one, other, edits):
    assert distance(one, other, most=2) == edits


@pytest.mark.parametrize(
    ("word", "same", "other"),
    [
        ("generalization", {"generalize", "generalized", "generalizations"}, {"generation"}),
        ("robotics", {"robot", "robots", "robotic"}, {"robust"}),
        ("planning", {"plan", "planned", "plans"}, {"plane"}),
        ("study", {"studies", "studied", "studying"}, {"student"}),
        ("中文", {"中文"}, set()),
    ],
)
def test_the_forms_of_a_word_are_those_of_its_stem(word, same, other):
    assert forms(word)[0] == word
    assert same <= set(forms(word)) and not other & set(forms(word))


def test_words_are_cut_as_the_index_cuts_them():
    assert words_of("Müller’s vision–language C++ (2x)") == ["muller", "s", "vision", "language",
                                                            "c", "2x"]  # fmt: skip
