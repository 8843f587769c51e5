"""One attempt to read a source, by as many of its readers as it takes, and the row about it.

The first reader is asked. The next one is where that fails for good, or has the list of another
day than the past one that was asked for; never where the site wants rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from http import HTTPStatus
from itertools import groupby
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.utils.translation import gettext as _

from . import answers, asking, editions, sources
from .asking import Listing
from .client import Client, FetchError, Validators
from .models import Fetch, FetchQuerySet, Source, WantedCategory, utc_day
from .records import PaperRecord, Parsed, SourceFormatError
from .sources import View

log = structlog.get_logger(__name__)

SOURCES = {
    "huggingface": "Hugging Face Daily Papers",
    "arxiv": "arXiv",
    "semantic_scholar": "Semantic Scholar",
}
SEEN_WHOLE = timedelta(hours=6)  # within which a list may be said to be unchanged
WITHOUT_A_DAY = (Fetch.Kind.TRENDING, Fetch.Kind.LOOK_UP)


def config() -> dict[str, Any]:
    """What readers are made of: every setting whose name begins with that of a source.

    The categories that readers follow are among ARXIV_CATEGORIES.
    """
    values = {name: getattr(settings, name) for name in _setting_names()}
    followed = WantedCategory.objects.values_list("name", flat=True)
    return values | {"ARXIV_CATEGORIES": sorted({*settings.ARXIV_CATEGORIES, *followed})}


@cache
def _setting_names() -> tuple[str, ...]:
    prefixes = tuple(f"{slug.upper()}_" for slug in SOURCES)
    return tuple(name for name in dir(settings) if name.startswith(prefixes))


@dataclass(slots=True)
class Attempt:
    source: Source
    fetch: Fetch
    now: datetime
    began: float
    client: Client
    tried: list[Listing] = field(default_factory=list)
    kept: int = 0
    remark: str = ""
    not_stored: DatabaseError | None = None

    @classmethod
    def start(
        cls,
        source: Source,
        day: date,
        *,
        now: datetime,
        kind: str = Fetch.Kind.DAY,
        origin: str = Fetch.Origin.LIVE,
        client: Client | None = None,
    ) -> Attempt:
        fetch = Fetch.objects.create(
            source=source, kind=kind, day=day, origin=origin, started_at=now
        )
        return cls(source, fetch, now, time.monotonic(), client or Client())

    # -- what came of it -------------------------------------------------------------------

    @property
    def believed(self) -> Listing | None:
        """Whose word is taken: also that there is no list of that day, but not of another one."""
        last = self.tried[-1] if self.tried else None
        return last if last and not last.failure and last.of_day is None else None

    @property
    def records(self) -> dict[str, PaperRecord]:
        """Of whom is believed; else what somebody gave before it failed."""
        if self.believed is not None:
            return self.believed.records
        return next((each.records for each in self.tried if each.records), {})

    @property
    def unknown_ids(self) -> list[str]:
        return [arxiv_id for each in self.tried for arxiv_id in each.unknown_ids]

    @property
    def failure(self) -> FetchError | None:
        """Why it failed; None where it did not. Of several readers, the first has the word.

        Nobody is believed where the last reader has no list but that of another day: that is no
        failure, unless another one had given part of a list.
        """
        failed = self._failed
        is_given_up = self.believed is None and bool(self.records)
        if not failed or not (self.tried[-1].failure or is_given_up):
            return None
        return FetchError(
            failed[0].failure,
            status=failed[0].status,
            is_source_down=all(each.is_down for each in failed),
            retry_after=max(each.retry_after for each in failed),
        )

    @property
    def _failed(self) -> list[Listing]:
        return [each for each in self.tried if each.failure]

    # -- asking ----------------------------------------------------------------------------

    def read(self, view: View) -> Attempt:
        """Asks the readers in their order until one has the list, or the site wants rest."""
        is_past = self.fetch.day < utc_day(self.now)
        with self._interruptible():
            for reader in self._readers():
                if view in reader.views:
                    listing = self._read_list(reader, view, is_past=is_past)
                    is_behind = listing.of_day is not None and is_past
                    if listing.wants_rest or not (listing.failure or is_behind):
                        break
            if not self.tried:
                self._give_up(_("%(source)s has no list of that kind") % {"source": self.source})
        return self

    def look_up(self, arxiv_ids: Sequence[str]) -> Attempt:
        """Asks for these papers."""
        with self._interruptible():
            able = [each for each in self._readers() if hasattr(each, "url_for_papers")]
            if able:
                self.tried.append(
                    asking.look_up(able[0], arxiv_ids, client=self.client, keep=self._keep)
                )
            elif not self.tried:
                self._give_up(_("it cannot be asked for single papers"))
        if self.unknown_ids:
            self.remark = str(unknown(self.unknown_ids))
        return self

    def replay(self, kept: Iterable[answers.Kept]) -> datetime | None:
        """Has kept answers read anew, each by whose they are; returns when the last one came."""
        known: dict[str, Any] = {reader.name: reader for reader in self._readers()}
        times: list[datetime] = []
        for name, theirs in groupby(kept, key=lambda each: each.reader):
            if name not in known:
                self._give_up(_("nobody reads answers to %(reader)s any more") % {"reader": name})
            elif self.believed is None:
                self._read_again(known[name], theirs, times)
        if not self.tried:
            self._give_up(_("none of its answers is kept any more (ANSWER_RETENTION_DAYS)"))
        return max(times, default=None)

    def drop(self, why: str) -> Attempt:
        """Nothing of it is to be stored."""
        for listing in self.tried:
            listing.records.clear()
        self.remark = why
        return self

    def take(self, parsed: Parsed, reader: str) -> Attempt:
        """What was read elsewhere."""
        listing = Listing(reader)
        listing.take(parsed)
        self.tried.append(listing)
        return self

    def _readers(self) -> list[sources.Reader]:
        try:
            return sources.readers(self.source.slug, config())
        except sources.UnknownSourceError as error:
            self._give_up(str(error))
            return []

    def _give_up(self, why: str) -> None:
        self.tried.append(Listing("", error=SourceFormatError(why)))

    def _read_list(self, reader: sources.Reader, view: View, *, is_past: bool) -> Listing:
        listing = asking.read_list(
            reader,
            self.fetch.day,
            view,
            client=self.client,
            keep=self._keep,
            validators=self._validators(reader.name),
            is_past=is_past,
        )
        self.tried.append(listing)
        return listing

    def _read_again(self, reader: Any, kept: Iterable[answers.Kept], times: list[datetime]) -> None:
        def bodies() -> Iterator[tuple[str, bytes]]:
            for each in kept:
                times.append(each.received_at)
                yield each.url, each.body

        day = None if self.fetch.kind in WITHOUT_A_DAY else self.fetch.day
        is_look_up = self.fetch.kind == Fetch.Kind.LOOK_UP
        self.tried.append(asking.read_again(reader, bodies(), day=day, is_look_up=is_look_up))

    def _keep(self, reader: str, url: str, body: bytes) -> None:
        answers.keep(self.fetch, self.kept, reader, url, body, self.now)
        self.kept += 1

    def _known(self, reader: str) -> Fetch | None:
        """The last successful attempt at this list by this reader."""
        return self._readings(reader).first()

    def _readings(self, reader: str) -> FetchQuerySet:
        same = self.source.fetches.succeeded().filter(
            kind=self.fetch.kind, day=self.fetch.day, reader=reader, origin=Fetch.Origin.LIVE
        )
        return same.order_by("-started_at", "-id")

    def _validators(self, reader: str) -> Validators:
        """None where the list was not seen whole for long: a cache on the way may hide its growth
        by calling everything unchanged.
        """
        whole = self._readings(reader).exclude(status=Fetch.Status.UNCHANGED).first()
        if whole is None or self.now - whole.started_at > SEEN_WHOLE:
            return Validators()
        return Validators(whole.etag, whole.last_modified)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C leaves no row that runs for ever."""
        try:
            yield
        except KeyboardInterrupt:
            Fetch.objects.filter(pk=self.fetch.pk).update(
                status=Fetch.Status.FAILED, error=_("interrupted"), finished_at=self.now
            )
            raise

    # -- recording -------------------------------------------------------------------------

    def finish(self, *, read_at: datetime, backfill: bool = False) -> Fetch:
        """Stores what came, and ends the row."""
        fetch = self.fetch
        self._record(read_at=read_at, backfill=backfill)
        self._describe()
        fetch.status = self._status()
        fetch.finished_at = self.now + timedelta(seconds=time.monotonic() - self.began)
        fetch.save()
        self._log()
        return fetch

    def _record(self, *, read_at: datetime, backfill: bool) -> None:
        fetch, records = self.fetch, list(self.records.values())
        when: dict[str, Any] = {"source": self.source, "now": self.now, "read_at": read_at}
        try:
            if fetch.kind == Fetch.Kind.DAY:
                recorded = editions.record_day(fetch.day, records, backfill=backfill, **when)
            else:
                recorded = editions.record_papers(records, **when)
        except DatabaseError as error:
            log.exception("day not stored", source=self.source.slug, day=fetch.day)
            self.not_stored = error
        else:
            fetch.papers_seen, fetch.papers_new = recorded.seen, recorded.new
            fetch.papers_updated = recorded.updated

    def _describe(self) -> None:
        """Into the row: who was believed, what was odd, and what went wrong."""
        fetch, told = self.fetch, self._told
        if told is not None:
            fetch.http_status, fetch.pages = told.status, told.pages
            fetch.papers_skipped = len(told.problems)
            fetch.unknown_fields = dict(told.unknown)
            fetch.vanished_fields = sorted(told.vanished)
        if (believed := self.believed) is not None:
            known = self._known(believed.reader) if believed.is_unchanged else None
            fetch.reader = believed.reader
            fetch.etag = believed.validators.etag
            fetch.last_modified = believed.validators.last_modified
            _carry_over(known, fetch)
        fetch.error = "\n".join(self._errors())
        fetch.note = "\n".join(self._notes())

    @property
    def _told(self) -> Listing | None:
        """Whose counts stand in the row."""
        candidates = [self.believed, *(each for each in self.tried if each.records)]
        candidates += [*self._failed, *self.tried]
        return next((each for each in candidates if each is not None), None)

    def _errors(self) -> list[str]:
        said = [str(self.not_stored)] if self.not_stored else []
        if self.failure is not None:
            first, *others = self._failed
            said += [str(first.error)] if first.error else []
            differently = [each for each in others if each.failure != first.failure]
            said += [f"{each.reader}: {each.failure}" for each in differently]
        return [*said, *(self._told.problems if self._told else [])]

    def _notes(self) -> list[str]:
        said = [self.remark] if self.remark else []
        for each in self.tried:
            if each.absence:
                is_last = each is self.tried[-1]
                said.append(each.absence if is_last else f"{each.reader}: {each.absence}")
            elif each.failure and self.failure is None:
                said.append(f"{each.reader}: {each.failure}")
        if self.believed is not None:
            said += self.believed.oddities
            said += self._shrunk(self.believed)
        return said

    def _shrunk(self, believed: Listing) -> list[str]:
        """Papers that its list no longer has stay in the edition; those that came late stand in the
        next day's, so the number of the last reading is what tells.
        """
        fetch = self.fetch
        is_live = fetch.kind == Fetch.Kind.DAY and fetch.origin == Fetch.Origin.LIVE
        known = self._known(believed.reader) if is_live and not believed.is_unchanged else None
        fewer = known.papers_seen - fetch.papers_seen if known else 0
        text = _("%(fewer)d papers fewer than at the last reading; what is stored stays")
        return [text % {"fewer": fewer}] if fewer > 0 else []

    def _status(self) -> str:
        if self.not_stored is not None or self.failure is not None:
            return Fetch.Status.FAILED
        if self.believed is not None and self.believed.is_unchanged:
            return Fetch.Status.UNCHANGED
        is_filled = any(record.is_listed for record in self.records.values())
        return Fetch.Status.OK if is_filled else Fetch.Status.EMPTY

    def _log(self) -> None:
        fetch = self.fetch
        said = {
            "reader": fetch.reader if len(self.tried) > 1 else "",
            "error": fetch.error.partition("\n")[0],
            "note": fetch.note.partition("\n")[0],
            "vanished": ", ".join(fetch.vanished_fields),
        }
        log.log(
            logging.WARNING
            if said["error"] or said["vanished"] or said["reader"]
            else logging.INFO,
            "day read" if fetch.kind == Fetch.Kind.DAY else f"{fetch.kind} read",
            source=self.source.slug,
            day=fetch.day,
            status=fetch.status,
            pages=fetch.pages,
            papers=fetch.papers_seen,
            new=fetch.papers_new,
            skipped=fetch.papers_skipped,
            **{name: value for name, value in said.items() if value},
        )


def unknown(arxiv_ids: Sequence[str]) -> FetchError:
    if len(arxiv_ids) > 1:
        text = _("the source does not know %(number)d of the papers")
        return FetchError(text % {"number": len(arxiv_ids)}, status=HTTPStatus.NOT_FOUND)
    text = _("the source knows no paper %(arxiv_id)s") % {"arxiv_id": arxiv_ids[0]}
    return FetchError(text, status=HTTPStatus.NOT_FOUND)


def _carry_over(known: Fetch | None, fetch: Fetch) -> None:
    """What is unchanged is as it was said to be then."""
    if known is None:
        return
    fetch.pages, fetch.papers_seen = known.pages, known.papers_seen
    fetch.unknown_fields, fetch.vanished_fields = known.unknown_fields, known.vanished_fields
