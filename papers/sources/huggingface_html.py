"""HTML from strangers, read within bounds of time and memory."""

from __future__ import annotations

from bs4 import BeautifulSoup, Tag
from bs4.exceptions import ParserRejectedMarkup

from papers.records import SourceFormatError, one_line

MOST_CHARACTERS = 4_000_000  # the longest page seen has 1.5 million
MOST_TAGS = 40_000  # a paper takes 90 to 180
MOST_LEVELS = 200  # no page seen has more than 30


def read_page(body: bytes) -> BeautifulSoup:
    """A page with links to papers. Raises SourceFormatError."""
    text = body.decode("utf-8", "replace")
    if len(text) > MOST_CHARACTERS or text.count("<") > MOST_TAGS:
        raise SourceFormatError(f"a page of {len(text)} characters, {text.count('<')} tags")
    if "<" not in text or "/papers" not in text:
        raise SourceFormatError(f"no page with papers: {one_line(text[:80])!r}")
    try:
        return _Soup(_closed(text), "html.parser")
    except (ParserRejectedMarkup, ValueError) as error:  # the latter: numbers without an end
        raise SourceFormatError(f"no HTML: {one_line(str(error))[:80]}") from None


class _Soup(BeautifulSoup):
    """Looking for something in a tag takes as long as the tag is deep."""

    def pushTag(self, tag: Tag) -> None:
        super().pushTag(tag)
        if len(self.tagStack) > MOST_LEVELS:
            raise ParserRejectedMarkup("tags within tags without end")


def _closed(text: str) -> str:
    """Without what nothing ends: its end is looked for through the whole page, each time anew."""
    text = text[: text.rfind(">") + 1]
    head, end, tail = text.rpartition("-->")
    return head + end + tail.replace("<!--", "")
