"""A stand-in for an embeddings endpoint: a real HTTP server on loopback.

Texts that share words get vectors that are near.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tests.fakes.source_server import Answer, Request, SourceServer

PATH = "/v1/embeddings"


class EmbeddingServer(SourceServer):
    def __init__(self, *, dimensions: int = 16) -> None:
        super().__init__()
        self.dimensions = dimensions

    @property
    def asked(self) -> list[list[str]]:
        """The texts of each request."""
        return [json.loads(request.body)["input"] for request in self.requests]

    def _next(self, request: Request) -> Answer:
        if request.path != PATH or self._next_for[PATH] or PATH in self._always:
            return super()._next(request)
        texts = json.loads(request.body)["input"]
        data = [
            {"object": "embedding", "index": place, "embedding": self.vector(text).tolist()}
            for place, text in enumerate(texts)
        ]
        # In an order of their own: the index says which is whose.
        return Answer(json.dumps({"object": "list", "data": data[::-1]}).encode())

    def vector(self, text: str) -> NDArray[np.float64]:
        words = re.findall(r"\w+", text.lower())
        return np.sum([_direction(word, self.dimensions) for word in words], axis=0)


def _direction(word: str, dimensions: int) -> NDArray[np.float64]:
    seed = int.from_bytes(blake2b(word.encode(), digest_size=4).digest())
    return np.random.default_rng(seed).normal(size=dimensions)
