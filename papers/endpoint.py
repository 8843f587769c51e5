"""A sentence model that runs elsewhere, behind an embeddings endpoint as OpenAI's.

`POST {base}/v1/embeddings` with `{"model": …, "input": [texts]}` answers
`{"data": [{"index": 0, "embedding": [numbers]}, …]}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .client import Client, FetchError
from .vectors import SENTENCE_REACH, ModelError

TEXTS_AT_ONCE = 64
MOST_CHARACTERS = 8_000  # of a text: about 2,000 tokens, which every such model reads
MOST_DIMENSIONS = 8_192
PROBE = "paper"


class EndpointModel:
    """base: the address without /v1. dimensions: as the endpoint was found to answer."""

    def __init__(self, base: str, name: str, *, key: str = "", dimensions: int) -> None:
        self._url, self._name, self._key = _address(base), name, key
        self.dimensions, self.reach = dimensions, SENTENCE_REACH
        self.id = f"{name[-48:]}-{dimensions}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, dimensions), unit rows. Raises ModelError for an answer that does not fit."""
        starts = range(0, len(texts), TEXTS_AT_ONCE)
        made = [self._ask(texts[start : start + TEXTS_AT_ONCE]) for start in starts]
        return np.concatenate(made) if made else np.zeros((0, self.dimensions), np.float32)

    def _ask(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = ask(self._url, self._name, texts, key=self._key)
        if rows.shape[1] != self.dimensions:
            raise ModelError(
                f"the embeddings endpoint answers with {rows.shape[1]} dimensions where it had "
                f"{self.dimensions}: SEMANTIC_MODEL_NAME is another model by now. If that is "
                "meant: manage.py encode_papers --all"
            )
        return rows


def found(base: str, name: str, *, key: str = "") -> EndpointModel:
    """The model, asked once for how long its vectors are. Raises ModelError."""
    rows = ask(_address(base), name, [PROBE], key=key)
    return EndpointModel(base, name, key=key, dimensions=rows.shape[1])


def ask(url: str, name: str, texts: Sequence[str], *, key: str) -> NDArray[np.float32]:
    """(texts, d): unit rows in the order of the texts. Raises ModelError.

    One try: whoever asks comes again in a minute, and must not hold up what waits behind it.
    """
    client = Client(patience_seconds=0, headers={"Authorization": f"Bearer {key}"} if key else {})
    wanted = [text[:MOST_CHARACTERS] for text in texts]
    try:
        answer = client.post(url, {"model": name, "input": wanted, "encoding_format": "float"})
    except FetchError as error:
        message = f"the embeddings endpoint: {error}{_mend(error.status)}"
        raise ModelError(message, retry_after=error.retry_after) from None
    return _rows(answer.body, len(texts))


def _address(base: str) -> str:
    base = base.rstrip("/")
    return f"{base}/embeddings" if base.endswith("/v1") else f"{base}/v1/embeddings"


def _mend(status: int | None) -> str:
    names = {
        401: "SEMANTIC_API_KEY", 403: "SEMANTIC_API_KEY",
        400: "SEMANTIC_MODEL_NAME", 404: "SEMANTIC_MODEL, SEMANTIC_MODEL_NAME",
    }  # fmt: skip
    return f" ({names[status]})" if status in names else ""


def _rows(body: bytes, count: int) -> NDArray[np.float32]:
    try:
        data = json.loads(body)["data"]
        ordered = sorted(data, key=lambda each: int(each["index"]))
        rows = [each["embedding"] for each in ordered]
        places = [int(each["index"]) for each in ordered]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ModelError("the embeddings endpoint answers with something else") from None
    if places != list(range(count)):
        raise ModelError(f"the embeddings endpoint gives {len(rows)} vectors for {count} texts")
    return _unit_rows(rows)


def _unit_rows(rows: Sequence[Any]) -> NDArray[np.float32]:
    try:
        made = np.array(rows, np.float64)
    except (ValueError, TypeError, OverflowError):
        made = np.zeros(0)
    if made.ndim != 2 or not 1 <= made.shape[1] <= MOST_DIMENSIONS:
        raise ModelError("the embeddings endpoint gives vectors of no or of different length")
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(made, axis=1)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise ModelError("the embeddings endpoint gives a vector without a direction")
    return (made / lengths[:, None]).astype(np.float32)
