"""What readers say in their own words, as texts for the ranker; made once for all who say it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from papers import vectors

from .nearness import Text
from .profile import Key, Title
from .recent import Recent

SAID_KEPT = 50_000  # each generation: about 50 MB

# Words -> what they mean, packed; those of which that is not known now are absent.
Meanings = Callable[[Iterable[str]], Mapping[str, bytes]]


class Phrasebook:
    """encoder, meanings: of one encoder and one model; with others it is another book."""

    def __init__(self, encoder: vectors.Encoder, meanings: Meanings) -> None:
        self._encoder, self._meanings = encoder, meanings
        self._known: Recent[Key, Text] = Recent(SAID_KEPT)

    def texts(self, keys: Iterable[Key]) -> dict[Key, Text]:
        """Of the keys that are words, lines and titles; without a meaning they are asked anew."""
        found: dict[Key, Text] = {}
        new: dict[Key, str] = {}
        for key in keys:
            if isinstance(key, int):
                continue
            if (known := self._known.get(key)) is not None:
                found[key] = known
            else:
                new[key] = key.title if isinstance(key, Title) else key
        meanings = self._meanings(set(new.values())) if new else {}
        for key, words in new.items():
            own = "" if isinstance(key, Title) else words
            text = Text(self._encoder.encode(words), meanings.get(words, b""), own)
            found[key] = text
            if text.meaning:
                self._known.put(key, text)
        return found
