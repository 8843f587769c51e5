from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers import static_meaning, vectors
from papers.static_meaning import MIDDLE, StaticModel


def model_of(rows: dict[str, tuple[list[int], float]]) -> StaticModel:
    """From word -> (its vector, its weight); the middle points where no word does."""
    middle = ([0] * (len(next(iter(rows.values()))[0]) - 1) + [1], 1.0)
    known = {vectors.term_id(vectors.stem(word)): each for word, each in rows.items()}
    terms = sorted({MIDDLE: middle, **known}.items())
    return StaticModel(
        np.array([term for term, _ in terms], np.uint64),
        np.array([weight for _, (_, weight) in terms], np.float32),
        np.array([row for _, (row, _) in terms], np.int8),
    )


@pytest.fixture
def small() -> StaticModel:
    return model_of(
        {"robots": ([3, 4, 0], 1.0), "zebrafish": ([0, 100, 0], 0.5), "the": ([100, 0, 0], 9)}
    )


def test_a_text_is_the_weighted_mean_of_its_words_as_a_direction(small: StaticModel) -> None:
    (row,) = small.encode(["A robot and its zebrafish"])
    assert row == pytest.approx(np.array([3, 4 + 50, 0]) / np.hypot(3, 54))


def test_a_word_said_again_counts_by_its_logarithm(small: StaticModel) -> None:
    (row,) = small.encode(["robots, robots, robotic robots; one zebrafish"])
    often = 1 + np.log(4)
    assert row == pytest.approx(
        np.array([3 * often, 4 * often + 50, 0]) / np.hypot(3 * often, 4 * often + 50)
    )


def test_words_without_a_row_and_stop_words_change_nothing(small: StaticModel) -> None:
    plain, with_others = small.encode(["zebrafish", "the zebrafish of Xyzzy 12"])
    assert (plain == with_others).all()


@pytest.mark.parametrize("text", ["", " \n", "the of", "qwrtzp", "日本語", "\x00", "$x^2$"])
def test_a_text_without_a_known_word_means_nothing_in_particular(
    small: StaticModel, text: str
) -> None:
    assert small.encode([text]).tolist() == [[0.0, 0.0, 1.0]]


def test_no_texts_make_no_rows(small: StaticModel) -> None:
    assert small.encode([]).shape == (0, 3)


def test_counted_words_mean_what_their_text_does() -> None:
    model, text = static_meaning.shipped(), "Sparse attention for long documents"
    stored = vectors.Bag.from_bytes(vectors.bag(text).to_bytes())
    assert (model.of([stored]) == model.encode([text])).all()


def test_a_stored_table_comes_back_as_it_was(small: StaticModel) -> None:
    again = StaticModel.from_bytes(small.to_bytes(), dimensions=3)
    assert (again.terms == small.terms).all()
    assert (again.weights == small.weights).all()
    assert (again.rows == small.rows).all()


def test_what_is_no_table_is_refused(small: StaticModel) -> None:
    table = small.to_bytes()
    for broken in (b"", table[:-1], table + b"x"):
        with pytest.raises(ValueError, match="not a table"):
            StaticModel.from_bytes(broken, dimensions=3)
    without = StaticModel(small.terms[1:], small.weights[1:], small.rows[1:])
    with pytest.raises(ValueError, match="without a middle"):
        StaticModel.from_bytes(without.to_bytes(), dimensions=3)


# -- the table that ships ------------------------------------------------------------------


def test_the_shipped_table_is_small_and_in_order() -> None:
    model = static_meaning.shipped()
    assert len(model.to_bytes()) < 3_000_000
    assert (np.diff(model.terms.astype(object)) > 0).all()
    assert model.dimensions == static_meaning.DIMENSIONS
    assert model.rows.any(axis=1).all()
    assert np.isfinite(model.weights).all()
    assert (model.weights >= 0).all()
    assert 0 < len(model.id) <= 64


@pytest.mark.parametrize(
    ("asked", "near", "far"),
    [
        ("cars that drive themselves", "Autonomous vehicles", "Protein folding"),
        ("speech recognition", "Understanding voices in audio", "Protein folding"),
        ("cancer", "Tumour growth in mice", "Database transactions"),
        ("quick answers from small models", "Fast inference", "Volcanic eruptions"),
        ("teaching pupils", "Education in classrooms", "Sorting networks in hardware"),
        ("stock prices", "Financial market forecasting", "Brain imaging"),
    ],
)
def test_it_knows_what_is_meant_where_no_word_is_shared(asked: str, near: str, far: str) -> None:
    words = [set(vectors.word_ids(text)) for text in (asked, near, far)]
    assert not words[0] & (words[1] | words[2])
    topic, close, distant = static_meaning.shipped().encode([asked, near, far])
    assert topic @ close > topic @ distant + 0.1


def test_what_says_nothing_is_equally_far_from_everything() -> None:
    model = static_meaning.shipped()
    nothing, *topics = model.encode(
        ["", "protein folding", "reinforcement learning", "medieval history", "galaxies"]
    )
    assert max(abs(nothing @ topic) for topic in topics) < 0.5


@given(st.lists(st.text(max_size=60), max_size=6))
def test_every_row_has_length_one_whatever_the_text(texts: list[str]) -> None:
    rows = static_meaning.shipped().encode(texts)
    assert rows.dtype == np.float32
    assert rows.shape == (len(texts), static_meaning.DIMENSIONS)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)


@given(st.permutations(["Sparse attention", "robots learn to grasp", "", "graph neural networks"]))
def test_what_a_text_means_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    model = static_meaning.shipped()
    together = model.encode(texts)
    alone = np.concatenate([model.encode([text]) for text in texts])
    assert (together == alone).all()
