"""The script that makes the table of static word vectors, on papers and a model made up here."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from papers import vectors
from papers.static_meaning import MIDDLE

pytest.importorskip("papers.onnx_model")
from benchmarks import static_meaning as making

TEXTS = [
    "Robots grasp cups",
    "A robot grasps a mug, and robots learn",
    "Zebrafish genes",
    "Genes of zebrafish and zebrafish larvae",
    "Robot arms",
]


def words() -> making.Words:
    return making.Words.of(TEXTS, ["gene", "mug", "the", "quasar"])


def test_a_word_is_kept_that_three_papers_use_or_the_model_has_itself() -> None:
    found = words()
    assert found.stems == sorted(["robot", "gene", "mug", "quasar"])
    assert dict(zip(found.stems, found.frequencies, strict=True)) == {
        "gene": 2, "mug": 1, "quasar": 0, "robot": 3,
    }  # fmt: skip


def test_the_commonest_spellings_stand_for_a_stem() -> None:
    found = words()
    assert found.spellings[found.stems.index("robot")] == ["robots", "robot"]
    assert found.spellings[found.stems.index("gene")] == ["genes", "gene"]


def test_company_is_what_the_papers_with_a_word_share_beyond_all_others() -> None:
    meanings = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1], [1, 0]])
    found = dict(zip(words().stems, making.company(words(), TEXTS, meanings), strict=True))
    middle = np.array([0.6, 0.4])
    assert found["robot"] == pytest.approx(3 * ([1, 0] - middle) / (3 + making.COMPANY_PRIOR))
    assert found["gene"] == pytest.approx(2 * ([0, 1] - middle) / (2 + making.COMPANY_PRIOR))
    assert not found["quasar"].any()


def test_a_table_is_in_order_and_rare_words_weigh_more() -> None:
    alone = np.random.default_rng(1).normal(size=(4, 6))
    made = making.table(words(), alone, np.zeros((4, 6)), documents=len(TEXTS))
    assert made.terms.tolist() == sorted(vectors.term_id(stem) for stem in words().stems)
    lengths = dict(
        zip(made.terms.tolist(), made.weights * np.abs(made.rows).max(axis=1), strict=True)
    )
    idf = {stem: np.log(6 / (count + 0.5)) for stem, count in [("robot", 3), ("quasar", 0)]}
    kept = making.without_common(alone / np.linalg.norm(alone, axis=1, keepdims=True))
    turned = kept @ making.strongest(kept)
    for stem, weight in idf.items():
        largest = np.abs(turned[words().stems.index(stem)]).max()
        assert lengths[vectors.term_id(stem)] == pytest.approx(weight * largest, rel=1e-6)


def test_what_all_words_have_in_common_is_taken_off() -> None:
    rows = np.random.default_rng(2).normal(size=(50, 5)) + np.array([9, 0, 0, 0, 0])
    left = making.without_common(rows)
    assert left.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-12)
    assert np.linalg.matrix_rank(left) == 4


def test_the_middle_is_what_the_papers_mean_on_average() -> None:
    alone = np.random.default_rng(3).normal(size=(4, 6))
    made = making.table(words(), alone, np.zeros((4, 6)), documents=len(TEXTS))
    whole = making.with_middle(made, TEXTS)
    assert whole.terms[0] == MIDDLE
    average = made.encode(TEXTS).mean(axis=0)
    (nothing,) = whole.encode(["qwrtzp"])
    assert nothing @ (average / np.linalg.norm(average)) > 0.999


def test_ready_vectors_must_be_one_for_each_paper(tmp_path: Path) -> None:
    file = tmp_path / "vectors.npy"
    np.save(file, np.full((3, 4), 2, np.int8))
    assert making.ready(file, ["a", "b", "c"]).tolist() == [[0.5] * 4] * 3
    for texts in (["a"], ["a"] * 4):
        with pytest.raises(SystemExit, match="--meanings"):
            making.ready(file, texts)
    with pytest.raises(SystemExit, match="cannot read"):
        making.ready(tmp_path / "absent.npy", ["a"])


def test_papers_are_read_as_title_and_abstract(tmp_path: Path) -> None:
    file = tmp_path / "papers.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps({"title": "T", "abstract": "A"}).encode()))
    assert making.read(file) == ["T\nA"]
    with pytest.raises(SystemExit, match="--papers"):
        making.read(tmp_path / "absent")
