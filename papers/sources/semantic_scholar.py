"""Semantic Scholar: how often stored papers are cited, and a summary where there is none.

Enrichment only: it lists no day, and is asked about papers that are stored, up to 500 at once, by
`POST /graph/v1/paper/batch`. Chosen before OpenAlex because it takes arXiv ids as they are and 500
of them in one request, works without a key (a shared pool; a free key gives one request a second of
one's own), and has summaries of computer science papers. OpenAlex needs a key and accounts by the
call, is asked by DOI, which a fresh arXiv paper has in arXiv's own registration alone, and has no
summaries; its topics and institutions would be its advantage, were there a use for them.

https://api.semanticscholar.org/api-docs/graph#tag/Paper-Data/operation/post_graph_get_papers
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from papers.records import ENOUGH_TO_MISS, SourceFormatError, arxiv_id, count, one_line

MAX_TLDR_LENGTH = 2_000
NONE_KNOWN = "No valid paper ids given"  # with HTTP 400, in place of a list of nulls


@dataclass(frozen=True, slots=True)
class Known:
    """What it knows of one paper. citations: None where it does not say; tldr: may be empty."""

    arxiv_id: str
    citations: int | None
    tldr: str


@dataclass(frozen=True, slots=True)
class Answered:
    """known: of the papers asked about, in any order; those that it does not know are missing.

    problems: items that could not be read. vanished: as `Parsed.vanished`.
    """

    known: tuple[Known, ...]
    problems: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()


class SemanticScholar:
    name = "semantic_scholar"
    settings = ("SEMANTIC_SCHOLAR_URL", "SEMANTIC_SCHOLAR_KEY")
    pace_seconds = 1.0  # what a key allows; without one the pool is shared by all the world
    accept = "application/json"
    most_ids = 500
    fields = ("externalIds", "citationCount", "tldr")

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.url = f"{config['SEMANTIC_SCHOLAR_URL']}/graph/v1/paper/batch?fields=" + ",".join(
            self.fields
        )
        key = config.get("SEMANTIC_SCHOLAR_KEY", "")
        self.headers = {"x-api-key": key} if key else {}

    def question(self, arxiv_ids: Sequence[str]) -> dict[str, list[str]]:
        """What is posted to `url` as JSON."""
        return {"ids": [f"ARXIV:{arxiv_id}" for arxiv_id in arxiv_ids]}

    def parse(self, body: bytes) -> Answered:
        """Raises SourceFormatError where it is no list; a bad item is a problem."""
        items = _json(body)
        if is_none_known(body):
            return Answered(())
        if not isinstance(items, list):
            raise SourceFormatError(f"a list was expected, there came {_shown(items)}")
        known, problems = [], []
        for number, item in enumerate(items, start=1):
            if item is None:
                continue
            try:
                known.append(_known(item))
            except ValueError as error:
                problems.append(f"entry {number}: {error}")
        return Answered(tuple(known), tuple(problems), _vanished(items))


def is_none_known(body: bytes) -> bool:
    """Whether it is the answer to a batch of which not one paper is known."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and answer.get("error") == NONE_KNOWN


def _known(item: Any) -> Known:
    """Raises ValueError. By the id that it names: its place in the list has been wrong before."""
    if not isinstance(item, dict):
        raise ValueError(f"no paper, but {_shown(item)}")  # noqa: TRY004 - one bad item of a list
    ids = item.get("externalIds")
    named = one_line(ids.get("ArXiv")) if isinstance(ids, dict) else ""
    if not named:
        raise ValueError(f"without an arXiv id: {_shown(item)}")
    tldr = item.get("tldr")
    summary = one_line(tldr.get("text")) if isinstance(tldr, dict) else ""
    return Known(arxiv_id(named), count(item.get("citationCount")), summary[:MAX_TLDR_LENGTH])


def _vanished(items: Sequence[Any]) -> tuple[str, ...]:
    """`tldr` is null for many papers; `citationCount` is null for none."""
    found = [item for item in items if isinstance(item, dict)]
    counted = any(item.get("citationCount") is not None for item in found)
    return () if counted or len(found) < ENOUGH_TO_MISS else ("citationCount",)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        start = body[:80].decode("utf-8", "replace")
        raise SourceFormatError(f"no JSON: {one_line(start)!r}") from None


def _shown(value: Any) -> str:
    return one_line(json.dumps(value, ensure_ascii=False))[:120]
