"""One entry of Daily Papers -> a record, wherever it stood: in an answer, an archive, a page.

All but an id, a title and a date may be absent: its fields came and went twenty times in two years.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from papers.records import (
    MAX_NAMES,
    PaperRecord,
    arxiv_id,
    count,
    moment,
    one_line,
    paragraphs,
    web_url,
)

MAX_NAME_LENGTH = 200
MAX_POSITION = 32_767  # a small integer column


def read_entry(entry: Any, *, position: int) -> PaperRecord:
    """Raises ValueError where it is no paper: without an id, a title or any date."""
    outer = as_object(entry)
    paper = as_object(outer.get("paper"))
    if not one_line(paper.get("id")):
        raise ValueError(f"without an id: {shown(entry)}")
    paper_id = arxiv_id(one_line(paper["id"]))
    title = one_line(paper.get("title")) or one_line(outer.get("title"))
    # The outer publishedAt is New York clock time written with a Z: the last resort.
    listed_at, dated_at = moment(paper.get("submittedOnDailyAt")), moment(paper.get("publishedAt"))
    published_at = dated_at or listed_at or moment(outer.get("publishedAt"))
    if not title or published_at is None:
        raise ValueError(f"{paper_id} without a {'date' if title else 'title'}")
    return PaperRecord(
        arxiv_id=paper_id,
        title=title,
        abstract=paragraphs(paper.get("summary")) or paragraphs(outer.get("summary")),
        tldr=one_line(paper.get("ai_summary")),
        authors=author_names(paper.get("authors")),
        organization=_organization(paper) or _organization(outer),
        keywords=_words(paper.get("ai_keywords")),
        published_at=published_at,
        listed_at=listed_at,
        project_url=_address(paper.get("projectPage")),
        code_url=_address(paper.get("githubRepo")),
        upvotes=count(paper.get("upvotes")),
        comments=count(outer.get("numComments")),
        stars=count(paper.get("githubStars")),
        withdrawn=bool(paper.get("withdrawnAt")),
        position=min(position, MAX_POSITION),
        is_dated=dated_at is not None,
        submitter=_submitter(paper.get("submittedOnDailyBy"))
        or _submitter(outer.get("submittedBy")),
    )


def shown(value: Any) -> str:
    """The beginning of what came, for an error."""
    try:
        return one_line(json.dumps(value, ensure_ascii=False))[:120]
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


def author_names(authors: Any) -> tuple[str, ...]:
    """The authors in order. `hidden` ones too: they hide their profile, they wrote the paper."""
    found = (as_object(author).get("name") for author in _list(authors))
    names = (one_line(name)[:MAX_NAME_LENGTH] for name in found)
    return tuple(name for name in names if name)


def _organization(holder: Mapping[str, Any]) -> str:
    organization = as_object(holder.get("organization"))
    name = one_line(organization.get("fullname")) or one_line(organization.get("name"))
    return name[:MAX_NAME_LENGTH]


def _submitter(account: Any) -> str:
    """Of whoever put the paper on the list, a hash of the handle: enough to see what else they
    listed. The handle itself, names and pictures go no further. It is no secret, as handles are
    public: who knows one can make its hash.
    """
    said = as_object(account)
    handle = one_line(said.get("user")) or one_line(said.get("name"))
    return blake2b(handle.lower().encode(), digest_size=8).hexdigest() if handle else ""


def _address(value: Any) -> str:
    """Without line breaks and tabs, as a browser reads it (WHATWG URL Standard, section 4.4)."""
    return web_url(re.sub(r"[\t\r\n]", "", value)) if isinstance(value, str) else ""


def _words(values: Any) -> tuple[str, ...]:
    words = (one_line(value)[:MAX_NAME_LENGTH] for value in _list(values))
    return tuple(dict.fromkeys(word for word in words if word))


def as_object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value[:MAX_NAMES] if isinstance(value, list) else []
