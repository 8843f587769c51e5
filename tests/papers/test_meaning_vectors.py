"""Dense vectors as they are stored, and the discriminant over them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers.vectors import Discriminant, packed, unit, unpacked

SEEDS = st.integers(0, 2**32 - 1)


def rows(seed: int, count: int, *, dimensions: int = 384) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(count, dimensions))
    return unit(made.astype(np.float32))


@given(SEEDS)
def test_a_packed_vector_keeps_its_direction_in_a_byte_a_dimension(seed):
    made = rows(seed, 3)
    codes = [packed(row) for row in made]
    assert {len(code) for code in codes} == {384}
    assert ((unpacked(codes) * made).sum(axis=1) > 0.9998).all()


@given(SEEDS, st.floats(1e-6, 1e6))
def test_its_length_is_not_kept(seed, factor):
    (row,) = rows(seed, 1, dimensions=16)
    assert packed(row * np.float32(factor))[:4] == packed(row)[:4] or np.allclose(
        unpacked([packed(row * np.float32(factor))]), unpacked([packed(row)]), atol=0.02
    )
    assert np.linalg.norm(unpacked([packed(row)])) == pytest.approx(1, abs=1e-5)


def test_packing_what_was_unpacked_changes_nothing():
    codes = [packed(row) for row in rows(1, 20)]
    assert [packed(row) for row in unpacked(codes)] == codes


@pytest.mark.parametrize("broken", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], []])
def test_a_vector_without_a_direction_is_refused(broken):
    with pytest.raises(ValueError, match="without a direction"):
        packed(np.array(broken, np.float32))


def test_vectors_of_two_lengths_are_two_models_and_refused():
    with pytest.raises(ValueError, match="different models"):
        unpacked([b"\x01\x02", b"\x01\x02\x03"])


def test_no_codes_are_no_rows():
    assert unpacked([]).shape == (0, 0)


def test_where_papers_differ_anyway_a_difference_says_little():
    """Papers spread along the first axis; a topic stands out by the second one."""
    spread = np.random.default_rng(3).normal(size=(500, 4)) * [3, 0.3, 0.3, 0.3]
    papers = unit(spread.astype(np.float32))
    topic = unit(np.array([[1.0, 1.0, 0, 0]], np.float32))
    found = Discriminant.of(papers, shrinkage=0.1)
    (direction,) = found.directions(topic)
    assert direction[1] > 3 * abs(direction[0])


def test_with_all_its_shrinkage_it_is_the_plain_product():
    papers, topics = rows(4, 300, dimensions=8), rows(5, 2, dimensions=8)
    found = Discriminant.of(papers, shrinkage=1e6)
    near = papers @ found.directions(topics).T
    plain = papers @ (topics[0] - found.middle)
    assert np.corrcoef(near[:, 0], plain)[0, 1] > 0.9999


def test_it_ranks_as_a_discriminant_trained_by_least_squares_does():
    """The same direction as ridge regression of "one of the topic" on the rows, up to length."""
    papers = rows(6, 400, dimensions=6)
    topic = papers[:5].mean(axis=0, keepdims=True)
    (direction,) = Discriminant.of(papers).directions(topic)
    centred = (papers - papers.mean(axis=0)).astype(float)
    covariance = centred.T @ centred / 400
    ridge = 3.0 * np.trace(covariance) / 6 * np.eye(6)
    label = (np.arange(400) < 5) - 5 / 400
    regression = np.linalg.solve(covariance + ridge, centred.T @ label / 5)
    assert direction == pytest.approx(regression, abs=1e-3)
