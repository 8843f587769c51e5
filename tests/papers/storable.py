"""What a record must be so that its row can be written, and odd JSON to try it with."""

from __future__ import annotations

from hypothesis import strategies as st

from papers.models import Paper
from papers.records import MAX_COUNT, PaperRecord

_COUNTS = ("upvotes", "comments", "stars", "citations")
_NAMES = ("authors", "categories", "keywords")
_TEXTS = ("arxiv_id", "title", "abstract", "tldr", "organization", "project_url", "code_url")

some_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["2512.10001", "2025-12-18T02:00:00Z", "0001-01-01T00:00:00+14:00", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


def is_storable(record: PaperRecord) -> bool:
    """No character that a database refuses, nothing longer or larger than its column."""
    texts = [(name, getattr(record, name)) for name in _TEXTS]
    words = [word for name in _NAMES for word in getattr(record, name)]
    counts = [getattr(record, name) for name in _COUNTS]
    return (
        all(map(_is_clean, [*(text for _name, text in texts), *words]))
        and all(_fits(name, text) for name, text in texts)
        and all(len(word) <= 200 for word in words)
        and all(count is None or 0 <= count <= MAX_COUNT for count in counts)
        and 1 <= record.position <= 32_767
        and bool(record.arxiv_id and record.title)
        and record.published_at.tzinfo is not None
    )


def _fits(name: str, text: str) -> bool:
    longest = getattr(Paper._meta.get_field(name), "max_length", None)
    return longest is None or len(text) <= longest


def _is_clean(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= each <= "\udfff" for each in text)
