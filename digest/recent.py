"""What was asked for lately, kept within bounds."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Two generations of at most `most` units each; what neither was asked for is let go of.

    What many ask for stays, however much passes by that only one asks for. No lock: threads that
    meet may make a value twice, and get the same one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._young: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                return None
            self.put(key, *found)
        return found[0]

    def put(self, key: K, value: V, size: int = 1) -> None:
        if self._size + size > self._most:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[key] = value, size
        self._size += size

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
