from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers import vectors
from papers.vectors import (
    Bag,
    DocumentFrequencies,
    WordEncoder,
    bag,
    near_duplicates,
    phrase,
    stem,
    surfaces,
    term_id,
    terms,
    word_ids,
)

TEXTS = [
    "Robots learn to grasp cups from video",
    "A robot that grasps by watching videos",
    "Sparse attention for long documents",
    "",
]
HOSTILE = [
    "",
    " \n\t",
    "\x00\x00",
    "<script>alert('x')</script>",
    "$\\mathcal{O}(n^2)$ for all $n \\geq 2$",
    "日本語の論文 🦓",
    "é" * 5000,
    "'; DROP TABLE papers; --",
    "a" * 100_000,
    "\ud800 lone surrogate",
]


# What a stored vector is made of: to change it is to make a new encoder id.
GOLDEN = {
    "robot": 4805032405161792678,
    "vision languag": 7458601622056918221,
    "c++": 12317813419875155929,
    "code": "eb7770dd0bb4a408a6d4e8ab83e7ae422539db30b5504a48847ea18a46f3b0c70100020001000100",
}


@pytest.fixture
def encoder() -> WordEncoder:
    return WordEncoder(DocumentFrequencies.count(bag(text) for text in TEXTS))


def test_term_ids_never_change_since_they_are_stored():
    assert term_id("robot") == GOLDEN["robot"]
    assert term_id("vision languag") == GOLDEN["vision languag"]
    assert term_id("c++") == GOLDEN["c++"]


def test_a_stored_code_never_changes():
    assert bag("Robots see robots").to_bytes().hex() == GOLDEN["code"]


def test_codes_do_not_depend_on_the_hash_seed():
    program = (
        "from papers.vectors import bag, surfaces;"
        "t = 'Vision-language models for robots, and robots for models';"
        "print(bag(t).to_bytes().hex(), surfaces(t))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(printed) == 1


@given(st.text(max_size=300))
def test_a_bag_survives_being_stored(text):
    made = bag(text)
    read = Bag.from_bytes(made.to_bytes())
    assert np.array_equal(read.terms, made.terms)
    assert np.array_equal(read.counts, made.counts)


@given(st.text(max_size=200))
def test_a_text_reads_the_same_however_its_accents_are_composed(text):
    composed = unicodedata.normalize("NFC", text)
    assert bag(unicodedata.normalize("NFD", composed)).to_bytes() == bag(composed).to_bytes()


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_too_odd_to_be_encoded(encoder, text):
    text = text.encode("utf-8", "replace").decode()
    rows = encoder.rows([encoder.encode(text)])
    assert np.isfinite(rows.matrix.data).all()


@pytest.mark.parametrize("code", [b"x", b"123456789", b"12345678901"])
def test_a_damaged_code_is_refused(code):
    with pytest.raises(ValueError, match="bag of words"):
        Bag.from_bytes(code)


def test_a_damaged_table_is_refused():
    with pytest.raises(ValueError, match="document-frequency table"):
        DocumentFrequencies.from_bytes(b"1234567890123", documents=1)


def test_counts_stop_at_what_two_bytes_hold():
    assert bag("robot " * 70_000).counts.max() == 65535


def test_rows_are_of_unit_length_and_an_empty_text_is_all_zero(encoder):
    matrix = encoder.rows([encoder.encode(text) for text in TEXTS]).matrix
    lengths = np.sqrt(matrix.multiply(matrix).sum(axis=1))
    assert lengths == pytest.approx([1, 1, 1, 0])


def test_no_texts_make_no_rows(encoder):
    assert encoder.rows([]).matrix.shape == (0, 0)


def test_a_row_does_not_depend_on_its_company(encoder):
    codes = [encoder.encode(text) for text in TEXTS]
    alone, together = encoder.rows(codes[:1]), encoder.rows(codes)
    columns = np.searchsorted(together.terms, alone.terms)
    assert np.array_equal(together.matrix.toarray()[0, columns], alone.matrix.toarray()[0])


def test_a_text_is_as_long_as_its_words_and_pairs_whoever_is_read_beside_it(encoder):
    codes = [encoder.encode(text) for text in ("robots see robots", "", "robots")]
    assert encoder.tokens(codes).tolist() == [5, 0, 1]
    assert encoder.tokens([]).tolist() == []


def test_one_broken_code_among_others_is_an_error(encoder):
    codes = [encoder.encode("robots"), b"x" * 11]
    with pytest.raises(ValueError, match="bag of words"):
        encoder.rows(codes)


def test_texts_about_the_same_are_nearer_than_others(encoder):
    matrix = encoder.rows([encoder.encode(text) for text in TEXTS]).matrix
    cosine = (matrix @ matrix.T).toarray()
    assert cosine[0, 1] > cosine[0, 2]


def test_idf_is_smoothed_and_a_term_the_table_lacks_counts_as_seen_once():
    table = DocumentFrequencies.count([bag("robot arm"), bag("robot leg"), bag("robot")])
    ids = np.array([term_id(term) for term in ("robot", "arm", "wing")], np.uint64)
    assert table.idf(ids) == pytest.approx(np.log([4 / 3.5, 4 / 1.5, 4 / 1.5]))


def test_what_stands_in_every_text_weighs_hardly_anything_and_never_less_than_nothing():
    texts = [bag(f"robot {n * 'arm '}") for n in range(1, 40)]
    (weight,) = DocumentFrequencies.count(texts).idf(np.array([term_id("robot")], np.uint64))
    assert 0 <= weight < 0.02
    larger = DocumentFrequencies(
        3, np.array([term_id("robot")], np.uint64), np.array([9], np.uint32)
    )
    assert larger.idf(np.array([term_id("robot")], np.uint64)) == [0.0]


def test_without_a_table_every_term_weighs_the_same():
    table = DocumentFrequencies.count([])
    assert table.documents == 0
    assert table.idf(np.array([1, 2], np.uint64)) == pytest.approx([1, 1])


def test_rare_terms_can_be_left_out_of_a_table():
    table = DocumentFrequencies.count([bag("robot arm"), bag("robot leg")], at_least=2)
    assert table.terms.tolist() == [term_id("robot")]


def test_a_table_survives_being_stored():
    table = DocumentFrequencies.count(bag(text) for text in TEXTS)
    read = DocumentFrequencies.from_bytes(table.to_bytes(), documents=table.documents)
    assert np.array_equal(read.terms, table.terms)
    assert np.array_equal(read.counts, table.counts)


def test_words_meet_across_endings_case_and_accents():
    assert stem("robots") == stem("robot") == stem("robotic")
    assert stem("poincaré") == stem("poincare")
    assert terms("ﬁne-tuning") == terms("FINE tuning")


def test_neighbours_make_pairs_across_stop_words_and_hyphens():
    assert terms("vision-language") == terms("vision and language")
    assert "vision languag" in terms("Vision-Language")


def test_single_ascii_letters_are_dropped_but_languages_keep_their_marks():
    assert terms("x y") == []
    assert terms("C++ and C#") == ["c++", "c#", "c++ c#"]
    assert terms("π") == ["π"]


def test_surfaces_spell_a_term_as_the_text_does_first():
    spelled = surfaces("Robotics needs robots")
    assert spelled[term_id("robot")] == "robotics"
    assert spelled[term_id("robot need")] == "robotics needs"


def test_word_ids_leave_out_pairs():
    assert word_ids("robots see") == [term_id("robot"), term_id("see")]


def test_a_phrase_matches_whole_words_whatever_their_endings():
    text = phrase("Surveying diffusion models of the world")
    assert phrase("survey") in text
    assert phrase("diffusion model") in text
    assert phrase("models of") in text
    assert phrase("fusion") not in text
    assert phrase("world models") not in text


def test_near_duplicates_are_grouped_and_the_rest_left_alone(encoder):
    same = "Sparse attention for very long documents"
    matrix = encoder.rows([encoder.encode(text) for text in [*TEXTS, same]]).matrix
    assert near_duplicates(matrix) == [[2, 4]]


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_duplicates_are_found_whichever_rows_are_compared_together(encoder, monkeypatch, at_once):
    monkeypatch.setattr(vectors, "COMPARED_AT_ONCE", at_once)
    texts = [*TEXTS, TEXTS[0], TEXTS[1], TEXTS[0]]
    first, second = ([row for row, text in enumerate(texts) if text == TEXTS[n]] for n in (0, 1))
    matrix = encoder.rows([encoder.encode(text) for text in texts]).matrix

    assert near_duplicates(matrix, at_least=0.99) == [first, second]


def test_empty_texts_are_no_duplicates_of_each_other(encoder):
    matrix = encoder.rows([encoder.encode(""), encoder.encode("")]).matrix
    assert near_duplicates(matrix) == []


def test_a_pair_is_spelled_with_what_stands_between_its_words():
    spelled = surfaces("Chain-of-Thought, learning for\nlanguage\n  models. Robots")
    assert spelled[term_id("chain thought")] == "chain-of-thought"
    assert spelled[term_id("languag model")] == "language models"
    assert term_id("thought learn") not in spelled
    assert term_id("learn languag") not in spelled
    assert term_id("model robot") not in spelled
