"""Where papers are listed: a source is the addresses of its pages and a parser of their bytes.

A source knows no network and no database; `papers.fetching` carries the bytes. A source may have
several readers: the first is asked, and the next where it gives no usable answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from papers.sources.arxiv import ArXiv
from papers.sources.arxiv_query import ArXivQuery
from papers.sources.huggingface import HuggingFace
from papers.sources.huggingface_page import HuggingFacePage
from papers.sources.protocol import LooksUp, Reader, ReadsFiles, View

__all__ = ["LooksUp", "Reader", "ReadsFiles", "UnknownSourceError", "View", "readers"]


class UnknownSourceError(LookupError):
    """No parser has this name."""


def readers(slug: str, config: Mapping[str, Any]) -> list[Reader]:
    """The readers of that source, the one to ask first before its fallbacks.

    config: every setting that they name. Raises UnknownSourceError.
    """
    if slug not in _READERS:
        raise UnknownSourceError(
            f"no source is called {slug!r}; there is: {', '.join(sorted(_READERS))}"
        )
    return [reader(config) for reader in _READERS[slug]]


_READERS: dict[str, tuple[type[Reader], ...]] = {
    "huggingface": (HuggingFace, HuggingFacePage),
    "arxiv": (ArXiv, ArXivQuery),
}
