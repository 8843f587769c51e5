"""All stored meanings in this process's memory, as a search needs them: a byte a dimension."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .models import Paper

LOOK_SECONDS = 60
RENEW_SECONDS = 6 * 3600  # a paper whose text changed has another meaning
AT_ONCE = 8192  # rows that are compared at a time, as float32
BATCH = 2000
SELDOM = 0.001
SAMPLED, LEAST_SAMPLED = 500, 100  # papers


@dataclass(slots=True)
class Meanings:
    """Rows of one model. `ids`: of papers; `codes`: (papers, dimensions); `lengths`: of the codes.

    A hundred thousand papers of 384 dimensions are 39 MB, and one query against them some 30 ms.
    """

    ids: NDArray[np.int64]
    codes: NDArray[np.int8]
    lengths: NDArray[np.float32]

    def nearest(
        self, meaning: NDArray[np.float32], *, limit: int, among: Iterable[int] | None = None
    ) -> list[tuple[int, float]]:
        """(paper's id, cosine), the nearest first; of papers that are not stored any more too."""
        ids, codes, lengths = self.ids, self.codes, self.lengths
        if among is not None:
            kept = np.flatnonzero(np.isin(ids, np.fromiter(among, np.int64)))
            ids, codes, lengths = ids[kept], codes[kept], lengths[kept]
        if not len(ids):
            return []
        cosines = np.concatenate(
            [
                codes[start : start + AT_ONCE].astype(np.float32) @ meaning
                for start in range(0, len(ids), AT_ONCE)
            ]
        )
        cosines /= lengths
        limit = min(limit, len(ids))
        best = np.argpartition(-cosines, limit - 1)[:limit]
        best = best[np.lexsort((-ids[best], -cosines[best]))]
        return [(int(ids[at]), float(cosines[at])) for at in best]

    def seldom(self) -> float:
        """The cosine that one of a thousand pairs of papers reaches, whatever made the rows;
        infinite while there are too few to tell.
        """
        if len(self.ids) < LEAST_SAMPLED:
            return float("inf")
        some = np.linspace(0, len(self.ids) - 1, min(len(self.ids), SAMPLED)).astype(np.int64)
        rows = self.codes[some].astype(np.float32) / self.lengths[some, None]
        pairs = (rows @ rows.T)[np.triu_indices(len(some), 1)]
        return float(np.quantile(pairs, 1 - SELDOM))


def stored(model: str) -> Meanings:
    """Those that `model` made, at most LOOK_SECONDS old; loaded once a process."""
    with _kept.lock:
        now = time.monotonic()
        if _kept.model != model or now >= _kept.renew_at:
            _kept.begin(model, now)
        if now >= _kept.look_at:
            _kept.add_new()
            _kept.look_at = now + LOOK_SECONDS
        return _kept.meanings


def forget() -> None:
    """Everything is loaded anew when it is asked for next."""
    with _kept.lock:
        _kept.model = ""


def unit(code: bytes) -> NDArray[np.float32]:
    """What is stored of one meaning, as a row of length one."""
    row = np.frombuffer(code, np.int8).astype(np.float32)
    return np.asarray(row / max(float(np.linalg.norm(row)), 1e-6), np.float32)


def _none() -> Meanings:
    return Meanings(np.empty(0, np.int64), np.empty((0, 0), np.int8), np.empty(0, np.float32))


@dataclass(slots=True)
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    model: str = ""
    look_at: float = 0.0
    renew_at: float = 0.0
    meanings: Meanings = field(default_factory=_none)

    def begin(self, model: str, now: float) -> None:
        self.model, self.meanings = model, _none()
        self.look_at, self.renew_at = now, now + RENEW_SECONDS

    def add_new(self) -> None:
        rows = Paper.objects.filter(meaning_by=self.model).order_by("id")
        if rows.count() == len(self.meanings.ids):
            return
        known = set(self.meanings.ids.tolist())
        missing = [pk for pk in rows.values_list("id", flat=True) if pk not in known]
        ids: list[int] = []
        codes: list[NDArray[np.int8]] = []
        for start in range(0, len(missing), BATCH):
            batch = rows.filter(id__in=missing[start : start + BATCH])
            for pk, code in batch.values_list("id", "meaning"):
                ids.append(pk)
                codes.append(np.frombuffer(bytes(code), np.int8))
        if ids:
            self._append(np.array(ids, np.int64), np.stack(codes))

    def _append(self, ids: NDArray[np.int64], codes: NDArray[np.int8]) -> None:
        before = self.meanings
        lengths = np.maximum(np.linalg.norm(codes.astype(np.float32), axis=1), 1e-6)
        self.meanings = Meanings(
            np.concatenate([before.ids, ids]),
            np.concatenate([before.codes, codes]) if len(before.ids) else codes,
            np.concatenate([before.lengths, lengths.astype(np.float32)]),
        )


_kept = _Kept()
