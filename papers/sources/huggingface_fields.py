"""Which fields came with entries of Daily Papers that no reader knows, and which are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from papers.records import ENOUGH_TO_MISS, count, moment, one_line, paragraphs
from papers.sources.huggingface_entry import MAX_NAME_LENGTH, as_object, author_names

MAX_UNKNOWN = 50  # names of fields to report; garbage may have a million

# The objects that are read, by their place in an entry, with all the fields ever seen in them.
# Into the site's accounts (submittedBy, submittedOnDailyBy, authors.user) this does not look. Of
# whoever submitted a paper a hash of the handle is read (`huggingface_entry`), of authors nothing.
_KNOWN = {
    "": "paper publishedAt title summary thumbnail numComments submittedBy isAuthorParticipating "
    "organization submitterOrganization mediaUrl mediaUrls upvoted",
    "paper": "id authors publishedAt submittedOnDailyAt submittedOnDailyBy title summary upvotes "
    "withdrawnAt discussionId projectPage githubRepo githubRepoAddedBy githubStars ai_summary "
    "ai_keywords ai_summary_model organization mediaUrls comments submissionDeadline linkedModels "
    "linkedDatasets linkedSpaces numTotalModels numTotalDatasets numTotalSpaces",
    "paper.authors": "_id name hidden status statusLastChangedAt user",
    "paper.organization": "_id name fullname avatar",
    "organization": "_id name fullname avatar",
}
_KNOWN_FIELDS = {path: frozenset(names.split()) for path, names in _KNOWN.items()}

# Fields that came in all of the entries of 2025, with how they are read. Summaries by a model,
# organizations, repositories and pictures come and go by their nature.
_EXPECTED: dict[str, Callable[[Any], Any]] = {
    "paper.title": one_line,
    "paper.summary": paragraphs,
    "paper.authors": author_names,
    "paper.publishedAt": moment,
    "paper.submittedOnDailyAt": moment,
    "paper.upvotes": count,
    "numComments": count,
}


def unknown_fields(entry: Any) -> set[str]:
    return {
        one_line(f"{path}.{name}".lstrip("."))[:MAX_NAME_LENGTH]
        for path, known in _KNOWN_FIELDS.items()
        for found in _objects(entry, path)
        for name in found.keys() - known
    }


def _objects(value: Any, path: str) -> Iterator[Mapping[str, Any]]:
    """The objects at that place; a list on the way stands for all that is in it."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            if not path:
                yield each
            else:
                name, _dot, rest = path.partition(".")
                yield from _objects(each.get(name), rest)


def most_frequent(unknown: Counter[str]) -> dict[str, int]:
    ordered = sorted(unknown.items(), key=lambda field: (-field[1], field[0]))
    return dict(ordered[:MAX_UNKNOWN])


def vanished(entries: Sequence[Any]) -> tuple[str, ...]:
    if len(entries) < ENOUGH_TO_MISS:
        return ()
    return tuple(
        path
        for path, read in _EXPECTED.items()
        if all(read(_value(entry, path)) in (None, "", ()) for entry in entries)
    )


def _value(entry: Any, path: str) -> Any:
    for name in path.split("."):
        entry = as_object(entry).get(name)
    return entry
