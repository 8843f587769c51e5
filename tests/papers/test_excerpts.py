from __future__ import annotations

from unicodedata import normalize

from hypothesis import given
from hypothesis import strategies as st

from papers.excerpts import EXCERPT_LENGTH, Part, excerpt, marked


def text_of(parts) -> str:
    return "".join(part.text for part in parts)


def matches(parts) -> list[str]:
    return [part.text for part in parts if part.is_match]


def test_every_form_of_a_word_is_marked_and_nothing_inside_another():
    parts = marked("Robots, robotic arms; a probot. Poincaré!", ["robot", "poincare"])

    assert matches(parts) == ["Robots", "robotic", "Poincaré"]
    assert parts[0] == Part("Robots", is_match=True)


@given(st.text(max_size=200), st.lists(st.text("abé", min_size=1), max_size=3))
def test_the_parts_are_the_text_again(text, words):
    assert text_of(marked(text, words)) == normalize("NFC", text)


def test_an_excerpt_shows_where_most_words_meet_and_is_cut_between_words():
    text = " ".join(["robot", *["filler"] * 100, "robot", "cooks", *["more"] * 100])

    parts = excerpt(text, ["robot", "cook"])

    assert matches(parts) == ["robot", "cooks"]
    assert text_of(parts).startswith("… filler ") and text_of(parts).endswith(" more …")
    assert set(text_of(parts).split()) == {"…", "filler", "robot", "cooks", "more"}


def test_without_a_match_it_is_the_beginning():
    assert text_of(excerpt("Short text.", ["robot"])) == "Short text."
    assert text_of(excerpt("word " * 200, [])).startswith("word word")


@given(st.text("ab cé", max_size=900), st.lists(st.text("abc", min_size=1), max_size=3))
def test_an_excerpt_is_never_longer_than_it_may_be(text, words):
    parts = excerpt(text, words)

    assert len(text_of(parts)) <= EXCERPT_LENGTH + len("…  …")
    assert text_of(parts).strip("… ") in " ".join(normalize("NFC", text).split())


def test_what_stands_high_or_low_stays_so_where_words_are_marked():
    parts = marked("O(n²) robots, xᵢ in ﬁelds", ["field", "robot"])

    assert text_of(parts) == "O(n²) robots, xᵢ in ﬁelds"
    assert matches(parts) == ["robots", "ﬁelds"]
