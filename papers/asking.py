"""What one reader of a source gave: the list of a day, or papers by their ids, page by page.

Nothing is decided here about whether it is believed, and nothing of it is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from . import sources
from .client import MAX_SAID, Answered, Client, FetchError, Validators
from .records import ENOUGH_TO_MISS, PaperRecord, Parsed, SourceFormatError, one_line
from .sources import View

log = structlog.get_logger(__name__)

MAX_PAGES = 50

Keep = Callable[[str, str, bytes], None]  # a reader's name, the address, the body


@dataclass(slots=True)
class Listing:
    """What one reader gave, gathered page by page.

    absence: why it has no list of that day, in words; of_day: then, of which day its list is.
    is_unchanged: it is as it was (304). unknown_ids: papers asked for that it does not know.
    """

    reader: str
    records: dict[str, PaperRecord] = field(default_factory=dict)
    unknown_ids: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    vanished: set[str] = field(default_factory=set)
    items: int = 0
    pages: int = 0
    expected: int | None = None
    is_cut: bool = False
    is_unchanged: bool = False
    validators: Validators = field(default_factory=Validators)
    status: int | None = None
    error: Exception | None = None
    absence: str = ""
    of_day: date | None = None

    def take(self, parsed: Parsed) -> None:
        for record in parsed.records:
            placed = replace(record, position=record.position + self.items)
            known = self.records.get(record.arxiv_id)
            if known is None or (record.is_listed and not known.is_listed):
                self.records[record.arxiv_id] = placed
        self.problems += parsed.problems
        self.unknown.update(parsed.unknown)
        if not self.pages:
            self.vanished = set(parsed.vanished)
        elif parsed.size >= ENOUGH_TO_MISS:  # gone is what no page has
            self.vanished &= set(parsed.vanished)
        self.expected = parsed.expected if self.expected is None else self.expected
        self.items += parsed.size
        self.pages += 1

    def is_of_another(self, day: date, *, asked: date) -> None:
        """Raises SourceFormatError where it was of the right day so far."""
        if self.pages:
            raise SourceFormatError(_("the list became that of another day while it was read"))
        self.of_day = day
        still, already = _("its list is still of %(day)s"), _("its list is already of %(day)s")
        text = still if day < asked else already
        self.absence = text % {"day": date_format(day, "PLAIN_DATE_FORMAT")}

    @property
    def failure(self) -> str:
        """Why it is not to be believed; empty where it is."""
        if self.error is not None:
            return str(self.error)
        if self.problems and not self.records:
            return self.problems[0]
        return ""

    @property
    def wants_rest(self) -> bool:
        return isinstance(self.error, FetchError) and self.error.wants_rest

    @property
    def is_down(self) -> bool:
        return isinstance(self.error, FetchError) and self.error.is_source_down

    @property
    def retry_after(self) -> float:
        return self.error.retry_after if isinstance(self.error, FetchError) else 0

    @property
    def oddities(self) -> list[str]:
        """What should be said of it, though it is believed."""
        said = []
        if self.expected is not None and self.items < self.expected:
            text = _("%(came)d of %(expected)d items came")
            said.append(text % {"came": self.items, "expected": self.expected})
        if self.is_cut:
            said.append(_("not read beyond page %(pages)d") % {"pages": self.pages})
        return said


def read_list(
    reader: sources.Reader,
    day: date,
    view: View,
    *,
    client: Client,
    keep: Keep,
    validators: Validators,
    is_past: bool,
) -> Listing:
    """All pages of it, as far as they came; never raises for what the source did.

    keep: is given every body as it came, before it is read. is_past: the day is over, so that an
    address which this client found to hold another day's list need not be asked again.
    """
    listing = Listing(reader.name)
    try:
        url = reader.url_for(day, view)
    except ValueError as error:
        listing.absence = str(error)
        return listing
    try:
        if is_past and client.days.get(url, day) != day:
            listing.is_of_another(client.days[url], asked=day)
            return listing
        ask = _Question(reader, reader.parse, client, keep, listing)
        for parsed in _pages(ask, url, validators):
            if parsed.day is not None and parsed.day != day:
                client.days[url] = parsed.day
                listing.is_of_another(parsed.day, asked=day)
                break
            listing.take(parsed)
    except (FetchError, SourceFormatError) as error:
        listing.error = error
    return listing


def look_up(reader: Any, arxiv_ids: Sequence[str], *, client: Client, keep: Keep) -> Listing:
    """These papers, in batches of `reader.most_ids`; never raises for what the source did.

    After a failure the ids that were not answered are neither in `records` nor `unknown_ids`.
    """
    listing = Listing(reader.name)
    ask = _Question(reader, reader.parse_papers, client, keep, listing)
    try:
        for start in range(0, len(arxiv_ids), reader.most_ids):
            _look_up_batch(ask, arxiv_ids[start : start + reader.most_ids])
    except (FetchError, SourceFormatError) as error:
        listing.error = error
    return listing


def read_again(
    reader: Any, kept: Iterable[tuple[str, bytes]], *, day: date | None, is_look_up: bool
) -> Listing:
    """Kept answers, addresses and bodies, read as when they came; day: whose list it should be."""
    listing = Listing(reader.name)
    parse = reader.parse_papers if is_look_up else reader.parse
    try:
        for url, body in kept:
            parsed = _parsed(parse, body, url, reader.name)
            if day is not None and parsed.day is not None and parsed.day != day:
                listing.is_of_another(parsed.day, asked=day)
                break
            listing.take(parsed)
    except SourceFormatError as error:
        listing.error = error
    return listing


# -- one question after the other ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Question:
    """How to ask: called with an address, it gives what the answer says; None where unchanged."""

    reader: sources.Reader
    parse: Callable[[bytes, str], Parsed]
    client: Client
    keep: Keep
    listing: Listing

    def __call__(self, url: str, validators: Validators | None = None) -> Parsed | None:
        answer = self._answer(url, validators)
        self.listing.status = answer.status
        if answer.status == HTTPStatus.NOT_MODIFIED:
            return None
        self.keep(self.reader.name, url, answer.body)
        self.listing.validators = Validators(answer.etag, answer.last_modified)
        return _parsed(self.parse, answer.body, url, self.reader.name)

    def _answer(self, url: str, validators: Validators | None) -> Answered:
        try:
            return self.client.get(url, validators=validators, reader=self.reader)
        except FetchError as error:
            self.listing.status = error.status
            if error.status != HTTPStatus.BAD_REQUEST or not error.body:
                raise
            try:
                _parsed(self.parse, error.body, url, self.reader.name)
            except SourceFormatError as said:
                raise SourceFormatError(f"{error}: {said}") from None
            raise


def _pages(ask: _Question, url: str, validators: Validators) -> Iterator[Parsed]:
    """Pages until one is the last, or the same as the one before: a server may ignore the page.

    Pages move while votes come in, so that one may well bring nothing new.
    """
    parsed = ask(url, validators)
    if parsed is None:
        ask.listing.is_unchanged = True
        ask.listing.validators = validators
        return
    asked, before = {url}, set[str]()
    while parsed is not None:
        yield parsed
        ids = {record.arxiv_id for record in parsed.records}
        is_paged = urlsplit(url).path == urlsplit(parsed.next_url).path
        url = parsed.next_url
        if not url or url in asked or (is_paged and ids and ids == before):
            break
        if len(asked) == MAX_PAGES:
            ask.listing.is_cut = True
            break
        asked.add(url)
        before = ids
        parsed = ask(url)
    if len(asked) > 1:
        ask.listing.validators = Validators()  # they vouch for one page alone


def _look_up_batch(ask: _Question, arxiv_ids: Sequence[str]) -> None:
    """One bad id may spoil the answer for all: it is taken out, and the others are asked again."""
    reader: Any = ask.reader
    listing, left = ask.listing, list(arxiv_ids)
    while left:
        try:
            url = reader.url_for_papers(left)
        except ValueError:  # there can be no such ids
            break
        try:
            parsed = ask(url)
        except FetchError as error:
            if error.status == HTTPStatus.NOT_FOUND and len(left) == 1:
                break
            raise
        except SourceFormatError as error:
            bad = _named_in(str(error), left)
            if bad is None or reader.most_ids == 1:
                raise
            left.remove(bad)
            listing.unknown_ids.append(bad)
            continue
        assert parsed is not None
        _take_asked(listing, parsed, left)
        return
    listing.unknown_ids += left


def _take_asked(listing: Listing, parsed: Parsed, arxiv_ids: Sequence[str]) -> None:
    """Of many, what was not asked for is let go; one asked for and another given is an error."""
    got = [record.arxiv_id for record in parsed.records]
    if len(arxiv_ids) == len(got) == 1 and got[0] != arxiv_ids[0]:
        text = _("asked for %(asked)s, the source answered with %(got)s")
        raise SourceFormatError(text % {"asked": arxiv_ids[0], "got": got[0]})
    asked = tuple(record for record in parsed.records if record.arxiv_id in arxiv_ids)
    listing.take(replace(parsed, records=asked, expected=None))
    listing.unknown_ids += [each for each in arxiv_ids if each not in got]


def _named_in(said: str, arxiv_ids: Iterable[str]) -> str | None:
    """The id that an error names; of 2512.0876 and 2512.08765 the longer."""
    return max((each for each in arxiv_ids if each in said), key=len, default=None)


def _parsed(parse: Callable[[bytes, str], Parsed], body: bytes, url: str, reader: str) -> Parsed:
    """Foreign bytes may find a mistake in a reader: it fails then, and nothing else does."""
    try:
        return parse(body, url)
    except SourceFormatError:
        raise
    except Exception as error:
        log.exception("reader stumbled", reader=reader)
        text = _("the reader stumbled: %(error)s") % {"error": f"{type(error).__name__}: {error}"}
        raise SourceFormatError(one_line(text)[:MAX_SAID]) from error
