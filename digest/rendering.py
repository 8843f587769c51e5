"""Digest -> html, text, headers. One place decides what a digest says: `Content`.

The mail, the web view, the preview and the admin all show the same Content; templates only lay
it out.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.urls import reverse
from django.utils import formats, translation
from django.utils.text import get_text_list
from django.utils.translation import gettext, ngettext, pgettext

from papers.models import Paper, Summary, utc_day
from papers.records import web_url
from papers.summaries import gist
from papers.texts import cut, language_of, one_line, readable
from subscribers import languages, mail, schedule, tokens
from subscribers.models import Subscriber
from subscribers.transports.ready import ReadyMail

from . import compose
from .compose import Frame, Item
from .copies import Address, Copy
from .models import Digest
from .ranking import Reason
from .recent import Recent

LONGEST_SUMMARY = 500  # characters
SUBJECT_CHARACTERS = 110
PREHEADER_CHARACTERS = 140
TITLE_CHARACTERS = 300
NAME_CHARACTERS = 100
# Of a mail's HTML: Gmail hides what is beyond 102 kB, and with it the way to unsubscribe.
MOST_BYTES = 90_000
SHOUTED_LETTERS = 15  # fewer may be a name
LINK_CHARACTERS = 200  # a longer one would cost every reader more than it gives
AUTHORS_SHOWN = 3
REASONS_KEPT = 10_000
PAPERS_KEPT = 500  # of each generation: a morning shows the papers of a few days
# Of each generation: each with its numbers as they were, in each language; about 15 kB with pieces.
SHOWN_KEPT = 750
# Where the pieces of a mail can be cut apart, and that nothing is cut here (see digest.pieces).
CUTS = (
    "subject", "preheader", "count", "heading", "item", "reason", "consented", "cadence", "next"
)  # fmt: skip
UNCUT = dict.fromkeys(CUTS, "")


_REPEATED_MARKS = re.compile(r"([!?])[!?]+")


@dataclass(frozen=True, slots=True)
class Shown:
    """One paper as everybody sees it. Addresses are absolute; an empty one is not offered.

    summary_by: the model that wrote the summary; empty where people did.

    kept: what others have made of it, under keys of their own, for as long as it is at hand.
    """

    paper_id: int
    arxiv_id: str
    title: str
    authors_line: str
    organization: str
    upvotes: int
    stars: int | None
    summary: str
    page_url: str
    abstract_url: str
    pdf_url: str
    code_url: str
    lang: str = "en"
    summary_by: str = ""
    kept: dict[Hashable, Any] = field(default_factory=dict, init=False, compare=False, repr=False)


@dataclass(frozen=True)
class ShownReason(Reason):
    """A reason in words that fit on a line. kept: as of Shown."""

    kept: dict[Hashable, Any] = field(default_factory=dict, init=False, compare=False, repr=False)


class ContentItem(NamedTuple):
    """A paper, and what stands beside it for one reader. What the paper has, it has too.

    key: opens the reader's pages; without one nothing that acts is offered.
    """

    shown: Shown
    is_popular: bool = False
    reason: ShownReason | None = None
    key: str = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shown, name)

    @property
    def more_url(self) -> str:
        return self._feedback_url("more")

    @property
    def less_url(self) -> str:
        return self._feedback_url("less")

    @property
    def save_url(self) -> str:
        return self._feedback_url("saved")

    def _feedback_url(self, kind: str) -> str:
        return _absolute("digest:feedback", self.key, kind, self.paper_id) if self.key else ""


class Group(NamedTuple):
    """Papers of one of the reader's topics; of none, where `topic` is empty.

    start: the number of its first paper among all that are shown in full.
    """

    topic: str
    items: tuple[ContentItem, ...]
    start: int = 1

    @property
    def numbered(self) -> tuple[tuple[int, ContentItem], ...]:
        return tuple(enumerate(self.items, self.start))


@dataclass(frozen=True, slots=True)
class Content:
    """What a digest says, whoever shows it.

    The keys open the reader's pages; without one its pages are not offered. since: the first of
    the days it is about, where it is not weekly and they are many, as after a pause. left_out: how
    many papers only the web view has room for.
    """

    site_name: str
    edition_day: date | None
    slot_date: date
    is_first: bool
    is_weekly: bool
    candidates_count: int
    full: tuple[ContentItem, ...]
    brief: tuple[ContentItem, ...]
    picks: tuple[ContentItem, ...] = ()
    language: str = "en"
    read_key: str = ""
    manage_key: str = ""
    unsubscribe_key: str = ""
    consented_on: date | None = None
    cadence_words: str = ""
    next_on: date | None = None
    postal_address: str = ""
    since: date | None = None
    left_out: int = 0

    @property
    def web_url(self) -> str:
        return mail.keyed_url("digest:read", self.read_key) if self.read_key else ""

    @property
    def preferences_url(self) -> str:
        key = self.manage_key
        return mail.keyed_url("subscribers:preferences", key) if key else ""

    @property
    def pause_url(self) -> str:
        return f"{self.preferences_url}#pause" if self.manage_key else ""

    def shortened(self) -> Content:
        """With one paper less: of those by title the last, else of those in full, else of the
        picks. The first stays.
        """
        for name in ("brief", "full", "picks"):
            items = getattr(self, name)
            if len(items) > (name != "brief"):
                shorter: dict[str, Any] = {name: items[:-1]}
                return replace(self, left_out=self.left_out + 1, **shorter)
        return self

    @property
    def less_often_url(self) -> str:
        """Nothing where they come as rarely as can be."""
        return f"{self.preferences_url}#when" if self.manage_key and not self.is_weekly else ""

    @property
    def unsubscribe_url(self) -> str:
        key = self.unsubscribe_key
        return mail.keyed_url("subscribers:unsubscribe", key) if key else ""

    @property
    def chosen_count(self) -> int:
        return len(self.full)

    @property
    def is_of_many_days(self) -> bool:
        return self.is_weekly or self.since is not None

    @property
    def groups(self) -> tuple[Group, ...]:
        """The papers shown in full: of many days by topic, as they stand; else as one."""
        if not self.is_of_many_days:
            return (Group("", self.full),) if self.full else ()
        found: list[Group] = []
        start = 1
        for topic, items in groupby(self.full, key=_topic):
            found.append(Group(topic, tuple(items), start))
            start += len(found[-1].items)
        return tuple(found)

    @property
    def is_picks_alone(self) -> bool:
        return bool(self.picks) and not self.full

    @property
    def is_everybodys(self) -> bool:
        """Nothing in it was chosen for the reader, who has named nothing to go by."""
        reasons = [item.reason for item in self.full if item.reason is not None]
        return bool(reasons) and all(reason.kind == "popular" for reason in reasons)

    @property
    def subject(self) -> str:
        return self.headings[0]

    @property
    def preheader(self) -> str:
        return self.headings[1]

    @property
    def headings(self) -> tuple[str, str]:
        """The subject: the top paper, and the second where both fit; one line, no control
        characters. And the preheader, which follows it: the next titles. The reader's own papers
        come first: what everybody gets does not make them open it.
        """
        first = [item.shown for item in (*self.full, *self.picks)]
        titles = [_calm(shown.title) for shown in first if shown.title]
        taken = 2 if len(" · ".join(titles[:2])) <= SUBJECT_CHARACTERS else 1
        subject = cut(" · ".join(titles[:taken]), SUBJECT_CHARACTERS) or one_line(self.site_name)
        following = titles[taken:] or [shown.summary for shown in first[:1]]
        # What looks like an encoded word (RFC 2047) would be decoded by whoever shows the mail.
        return subject.replace("=?", "= ?"), cut(" · ".join(following), PREHEADER_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Remade:
    """A digest's mail made once more. Its links are the reader's own, and act for them.

    matches: whether it is to the letter what was handed over; None where no hash of that is kept.
    differences: why it is not, as far as can be known.
    """

    message: EmailMultiAlternatives
    matches: bool | None
    differences: tuple[str, ...] = ()


def contents(
    digests: Sequence[Digest | Copy], *, now: datetime, papers: Mapping[int, Paper] | None = None
) -> dict[int, Content]:
    """Digest id -> Content; one query for all papers, and a second for those not seen before;
    none where the papers are given. Digests need subscriber and slot loaded.

    now: the day of the links' keys, where the digest has no frame. A digest of an erased reader
    has no content.
    """
    if papers is None:
        papers = _papers(item for digest in digests for item in digest.items)
    shelf = _Shelf(papers)
    copies = [each if isinstance(each, Copy) else Copy.of(each) for each in digests]
    return {
        copy.pk: _of_copy(copy, copy.subscriber, shelf, now=now)
        for copy in copies
        if copy.subscriber is not None
    }


def unaddressed(
    items: Iterable[Item],
    *,
    edition_day: date | None,
    candidates: int,
    slot: date,
    is_weekly: bool = False,
    is_first: bool = False,
    since: date | None = None,
) -> Content:
    """The same for nobody in particular (preview, onboarding): no link that acts for a reader."""
    stored = [item.to_json() for item in items]
    language = translation.get_language() or settings.LANGUAGE_CODE
    sections = _sections(stored, _Shelf(_papers(stored)), language=language)
    return Content(
        site_name=settings.SITE_NAME,
        edition_day=edition_day,
        slot_date=slot,
        is_first=is_first,
        is_weekly=is_weekly,
        since=None if is_weekly else since,
        candidates_count=candidates,
        full=_in_order(sections[compose.FULL], is_by_topic=is_weekly or since is not None),
        brief=sections[compose.BRIEF],
        picks=sections[compose.PICK],
        language=language,
        postal_address=settings.POSTAL_ADDRESS,
    )


def for_nobody(digest: Digest) -> Content:
    """What the digest says, with no link that acts for its reader."""
    return unaddressed(
        [Item.from_json(stored) for stored in digest.items],
        edition_day=digest.edition_day,
        candidates=digest.candidates,
        slot=digest.slot.date,
        is_weekly=digest.is_weekly and not digest.is_first,
        is_first=digest.is_first,
        since=Frame.from_json(digest.frame).since if digest.frame else None,
    )


def message(digest: Digest | Copy, content: Content) -> EmailMultiAlternatives:
    """The mail, ready to be handed over: both parts and every header of a bulk mail, once each."""
    assert digest.subscriber is not None, "a digest without a reader has no mail"
    message_id = mail.message_id(digest.uuid.hex, "digest")
    with translation.override(content.language):
        made = _fitting(content, to=digest.subscriber.email, message_id=message_id)
    # Providers give it back with every event, which settles a digest in doubt.
    made.metadata = {"digest": digest.uuid.hex}  # type: ignore[attr-defined]
    return made


def preview(content: Content, *, to: str) -> EmailMultiAlternatives:
    """The mail as it would look, with no link that acts for a reader. Not to be sent."""
    return _fitting(content, to=to, message_id=mail.message_id("preview", "digest"))


def composed(
    content: Content, *, to: str, message_id: str, cut: Mapping[str, str] = UNCUT
) -> EmailMultiAlternatives:
    """The mail, by the templates, in the language that is active.

    cut: the marks that stand where its pieces can be cut apart; by default none.
    """
    return mail.compose(
        "digest",
        {"content": content, "cut": cut},
        to=to,
        message_id=message_id,
        headers=headers(content),
    )


def fingerprint(message: EmailMultiAlternatives) -> str:
    """SHA-256, in hex, of what the reader reads: subject, text part and HTML part.

    Nothing of it varies: neither the date nor the boundary between the parts is in it.
    """
    if isinstance(message, ReadyMail):
        parts = message.text, message.html
    else:
        parts = str(message.body).encode(), _html(message).encode()
    made = hashlib.sha256(str(message.subject).encode())
    for part in parts:
        made.update(b"\0")
        made.update(part)
    return made.hexdigest()


def remade(digest: Digest, now: datetime) -> Remade:
    """The mail as it was handed over, made again from what is frozen, and held against its hash.

    An erased reader's has no links, which went with the reader.
    """
    content = contents([digest], now=digest.sent_at or now).get(digest.pk)
    if content is None:
        again = preview(for_nobody(digest), to="reader@example.org")
    else:
        again = message(digest, content)
    if not digest.mail_hash:
        return Remade(again, None)
    if fingerprint(again) == digest.mail_hash:
        return Remade(again, True)
    return Remade(again, False, tuple(_differences(digest)))


def headers(content: Content) -> dict[str, str]:
    return mail.list_headers(
        unsubscribe_url=content.unsubscribe_url,
        kind="first" if content.is_first else "weekly" if content.is_weekly else "daily",
        day=content.slot_date,
        language=content.language,
    )


def frame_of(subscriber: Subscriber, *, next_due_at: datetime | None) -> Frame:
    """The reader's wishes as they are, for the digest before the one that is due then."""
    zone = subscriber.time_zone
    return Frame(
        cadence=subscriber.cadence,
        days=tuple(subscriber.days),
        hour=subscriber.hour,
        time_zone=zone,
        language=subscriber.language,
        next_on=schedule.slot_date(next_due_at, zone) if next_due_at else None,
        consented_on=subscriber.confirmed_at.date() if subscriber.confirmed_at else None,
    )


def cadence_words(frame: Frame) -> str:
    """`Monday to Friday at 07:00, Europe/Berlin time`, in the language that is active."""
    return _cadence_words(
        translation.get_language(), frame.cadence, frame.days, frame.hour, frame.time_zone
    )


class Written(NamedTuple):
    """A model's summary of a paper as it is now; without one, empty."""

    text: str = ""
    model: str = ""


NOT_WRITTEN = Written()


def summary(paper: Paper, written: Written = NOT_WRITTEN) -> str:
    """The source's own short summary, else a model's, else the two or three sentences of the
    abstract that say what is new.
    """
    own = readable(paper.tldr) or written.text
    return cut(own or gist(paper.title, readable(paper.abstract)), LONGEST_SUMMARY)


def shown_title(paper: Paper) -> str:
    """On one line; the few that are as long as an abstract are cut."""
    return cut(readable(paper.title), TITLE_CHARACTERS)


def authors_line(authors: Sequence[str]) -> str:
    """Up to three names, then how many more."""
    shown = ", ".join(cut(readable(name), NAME_CHARACTERS) for name in authors[:AUTHORS_SHOWN])
    more = len(authors) - AUTHORS_SHOWN
    if more <= 0:
        return shown
    return ngettext("%(names)s and %(more)d more", "%(names)s and %(more)d more", more) % {
        "names": shown,
        "more": more,
    }


# -- making --------------------------------------------------------------------------------


def _fitting(content: Content, *, to: str, message_id: str) -> EmailMultiAlternatives:
    made = composed(content, to=to, message_id=message_id)
    shorter = content.shortened()
    if len(_html(made).encode()) > MOST_BYTES and shorter is not content:
        return _fitting(shorter, to=to, message_id=message_id)
    return made


def _of_copy(copy: Copy, reader: Address | Subscriber, shelf: _Shelf, *, now: datetime) -> Content:
    frame = copy.frame or _frame_today(reader)
    language = languages.offered(frame.language)
    # The keys are of the day it was assembled, whenever it leaves: a second try after midnight
    # under the same idempotency key is the same mail, and so is one that is made years later.
    assembled_on = utc_day(copy.assembled_at)
    signed_on = assembled_on if copy.frame else utc_day(now)
    key = tokens.make(tokens.Purpose.READ, copy.uuid.hex, today=assembled_on)
    sections = _sections(copy.items, shelf, language=language, key=key)
    is_weekly = copy.is_weekly and not copy.is_first
    since = None if is_weekly else frame.since
    return Content(
        site_name=settings.SITE_NAME,
        edition_day=copy.edition_day,
        slot_date=copy.slot.date,
        is_first=copy.is_first,
        is_weekly=is_weekly,
        since=since,
        candidates_count=copy.candidates,
        full=_in_order(sections[compose.FULL], is_by_topic=is_weekly or since is not None),
        brief=sections[compose.BRIEF],
        picks=sections[compose.PICK],
        language=language,
        read_key=key,
        manage_key=tokens.make(tokens.Purpose.MANAGE, reader.uuid.hex, today=signed_on),
        unsubscribe_key=tokens.make(tokens.Purpose.UNSUBSCRIBE, reader.uuid.hex, today=signed_on),
        consented_on=frame.consented_on,
        cadence_words=_cadence_words(
            language, frame.cadence, frame.days, frame.hour, frame.time_zone
        ),
        next_on=frame.next_on,
        postal_address=settings.POSTAL_ADDRESS,
    )


def _frame_today(reader: Address | Subscriber) -> Frame:
    """Of a digest that keeps none, the reader's wishes as they are."""
    if not isinstance(reader, Subscriber):
        reader = Subscriber.objects.get(pk=reader.pk)
    return frame_of(reader, next_due_at=reader.next_due_at)


@lru_cache(maxsize=2000)
def _cadence_words(
    language: str | None, cadence: str, days: tuple[int, ...], hour: int, time_zone: str
) -> str:
    with translation.override(language):
        return _said_cadence(cadence, days, hour, time_zone)


def _said_cadence(cadence: str, days: tuple[int, ...], hour: int, time_zone: str) -> str:
    kind = Subscriber.Cadence(cadence)
    words = str(kind.label)
    if kind in (Subscriber.Cadence.CHOSEN, Subscriber.Cadence.WEEKLY):
        monday = date(2024, 1, 1)
        mornings = [monday + timedelta(days=day) for day in sorted(days)]
        names = [formats.date_format(morning, "l") for morning in mornings]
        listed = get_text_list(names, pgettext("before the last weekday of several", "and"))
        words = gettext("every %(days)s") % {"days": listed}
    return gettext("%(days)s at %(hour)s, %(zone)s time") % {
        "days": words,
        "hour": f"{hour:02}:00",
        "zone": time_zone.replace("_", " "),
    }


def _papers(items: Iterable[Mapping[str, Any]]) -> dict[int, Paper]:
    """The papers shown, and those that reasons name."""
    wanted = set()
    for item in items:
        wanted.add(item["paper_id"])
        reason = item.get("reason")
        if reason is not None and reason.get("paper_id") is not None:
            wanted.add(reason["paper_id"])
    return _as_they_are(wanted)


_kept_papers: Recent[tuple[Any, ...], Paper] = Recent(PAPERS_KEPT)
_kept_shown: Recent[tuple[Any, ...], Shown] = Recent(SHOWN_KEPT)


def _as_they_are(ids: Iterable[int]) -> dict[int, Paper]:
    """Only what tells that a row has changed is asked for of papers that are at hand."""
    versions = Paper.objects.order_by().filter(pk__in=ids).values_list(*_VERSION)
    found = {version[0]: (version, _kept_papers.get(version)) for version in versions}
    missing = [pk for pk, (_, paper) in found.items() if paper is None]
    fresh = Paper.objects.defer("vector", "meaning").in_bulk(missing) if missing else {}
    for paper in fresh.values():
        _kept_papers.put(_version(paper), paper)
    return {pk: paper or fresh[pk] for pk, (_, paper) in found.items() if paper or pk in fresh}


# The hash is of everything a mail shows; what it does not move with was edited by hand.
_VERSION = (
    "pk", "content_hash", "arxiv_id", "title", "organization", "code_url", "upvotes", "stars",
)  # fmt: skip
_version = attrgetter(*_VERSION)


_ITEM_FIELDS = frozenset(each.name for each in fields(Item))


_Known = dict[tuple[int, int | None, int | None], Shown]


class _Shelf:
    """The papers at hand, and what is shown of them, so that many digests look for it once."""

    def __init__(self, papers: Mapping[int, Paper]) -> None:
        self.papers = papers
        self._written = _written(papers)
        self._known: dict[str, _Known] = {}

    def known(self, language: str) -> _Known:
        """What was looked for in this language so far: by paper, upvotes and stars."""
        return self._known.setdefault(language, {})

    def shown(
        self, paper_id: int, upvotes: int | None, stars: int | None, language: str
    ) -> Shown | None:
        """As everybody sees it, with the numbers of the morning; None where it was deleted."""
        paper = self.papers.get(paper_id)
        if paper is None:
            return None
        written = self._written.get(paper_id, NOT_WRITTEN)
        shown = _shown(paper, written, upvotes, stars, language)
        self.known(language)[paper_id, upvotes, stars] = shown
        return shown


def _sections(
    items: Sequence[Mapping[str, Any]], shelf: _Shelf, *, language: str, key: str = ""
) -> dict[str, tuple[ContentItem, ...]]:
    """By section, out of compose.Item's JSON; a paper that was deleted since is left out."""
    sections: dict[str, list[ContentItem]] = {
        compose.FULL: [], compose.BRIEF: [], compose.PICK: []
    }  # fmt: skip
    known, is_known = shelf.known(language), _ITEM_FIELDS.issuperset
    for item in items:
        if not is_known(item):
            raise ValueError(f"no such item of a digest: {sorted(item)}")
        get = item.get
        wanted = item["paper_id"], get("upvotes"), get("stars")
        shown = known.get(wanted) or shelf.shown(*wanted, language)
        if shown is None:
            continue
        section = item["section"]
        if section == compose.BRIEF:
            made = shown.kept.get(_BRIEF) or shown.kept.setdefault(_BRIEF, ContentItem(shown))
        else:
            reason = _shown_reason(get("reason"), shelf.papers)
            made = ContentItem(shown, get("is_popular", False), reason, key)
        sections[section].append(made)
    return {section: tuple(made) for section, made in sections.items()}


_BRIEF = object()


def _in_order(items: tuple[ContentItem, ...], *, is_by_topic: bool) -> tuple[ContentItem, ...]:
    """As they were composed; or by topic, that of the best paper first, and none of them last."""
    if not is_by_topic:
        return items
    places = {topic: place for place, topic in reversed(list(enumerate(map(_topic, items))))}
    return tuple(sorted(items, key=lambda item: (not _topic(item), places[_topic(item)])))


def _topic(item: ContentItem) -> str:
    return item.reason.topic if item.reason is not None and not item.is_popular else ""


def _written(papers: Mapping[int, Paper]) -> dict[int, Written]:
    """By paper; of none while no endpoint is set."""
    if not settings.SUMMARY_URL:
        return {}
    rows = Summary.objects.filter(paper_id__in=papers).exclude(text="")
    return {
        pk: Written(text, model)
        for pk, content_hash, text, model in rows.values_list(
            "paper_id", "content_hash", "text", "model"
        )
        if papers[pk].content_hash == content_hash
    }


def _shown(
    paper: Paper, written: Written, upvotes: int | None, stars: int | None, language: str
) -> Shown:
    """upvotes: None where the numbers were not kept, and the paper's own are shown."""
    if upvotes is None:
        upvotes, stars = paper.upvotes, paper.stars
    version = (_version(paper), written, language, settings.SITE_URL, upvotes, stars)
    shown = _kept_shown.get(version)
    if shown is None:
        with translation.override(language):
            shown = _as_shown(paper, written, upvotes=upvotes, stars=stars)
        _kept_shown.put(version, shown)
    return shown


def _as_shown(paper: Paper, written: Written, *, upvotes: int, stars: int | None) -> Shown:
    return Shown(
        paper_id=paper.pk,
        arxiv_id=paper.arxiv_id,
        title=shown_title(paper),
        authors_line=authors_line(paper.authors),
        organization=cut(readable(paper.organization), NAME_CHARACTERS),
        upvotes=upvotes,
        stars=stars,
        summary=summary(paper, written),
        summary_by="" if paper.tldr else written.model,
        page_url=_absolute("papers:paper", paper.arxiv_id),
        abstract_url=paper.abstract_url,
        pdf_url=paper.pdf_url,
        code_url=_short_link(paper.code_url),
        lang=language_of(f"{paper.title}\n{paper.abstract}"),
    )


def _shown_reason(
    stored: Mapping[str, Any] | None, papers: Mapping[int, Paper]
) -> ShownReason | None:
    """Its words on one line each, without the numbers that no mail shows. It names a paper by id;
    the title is looked up when shown.
    """
    if stored is None:
        return None
    get = stored.get
    paper_id = get("paper_id")
    named = None if paper_id is None else papers.get(paper_id)
    title = get("title", "") if named is None else shown_title(named)
    return _reason(
        stored["kind"], get("topic", ""), tuple(get("terms", ())), get("name", ""), title,
        paper_id, get("upvotes", 0), get("note", ""),
    )  # fmt: skip


@lru_cache(maxsize=REASONS_KEPT)
def _reason(
    kind: str, topic: str, terms: tuple[str, ...], name: str, title: str,
    paper_id: int | None, upvotes: int, note: str,
) -> ShownReason:  # fmt: skip
    return ShownReason(
        kind,
        topic=one_line(topic),
        terms=tuple([one_line(term) for term in terms]),
        name=one_line(name),
        title=one_line(title),
        paper_id=paper_id,
        upvotes=upvotes,
        note=one_line(note),
    )


# -- proving -------------------------------------------------------------------------------


def _differences(digest: Digest) -> list[str]:
    """What is known to have changed since; where nothing is, what else it can be."""
    known = []
    if digest.subscriber is None:
        known.append(gettext("The reader was erased, and the links went with them."))
    if digest.thinned_at is not None:
        day = formats.date_format(digest.thinned_at, "PLAIN_DATE_FORMAT")
        known.append(gettext("Its reasons and numbers were let go of on %(day)s.") % {"day": day})
    return [*known, *_changed_papers(digest)] or [
        gettext(
            "No paper of it changed: so a paper that a reason names, the templates, the site’s "
            "settings or the signing key did."
        )
    ]


def _changed_papers(digest: Digest) -> list[str]:
    papers = _papers(digest.items)
    said = []
    for item in map(Item.from_json, digest.items):
        paper = papers.get(item.paper_id)
        if paper is None:
            said.append(gettext("Paper %(id)d was deleted.") % {"id": item.paper_id})
        elif not paper.content_hash.startswith(item.content_hash):
            names = {"id": paper.arxiv_id, "title": shown_title(paper)}
            said.append(gettext("Paper %(id)s changed: “%(title)s”.") % names)
    later = Summary.objects.filter(paper__in=papers, made_at__gt=digest.sent_at)
    for arxiv_id in later.values_list("paper__arxiv_id", flat=True).order_by("paper_id"):
        said.append(gettext("A model’s summary of paper %(id)s came later.") % {"id": arxiv_id})
    return said


def _html(message: EmailMultiAlternatives) -> str:
    return next(str(body) for body, kind in message.alternatives if kind == "text/html")


def _absolute(view: str, *args: Any) -> str:
    return f"{settings.SITE_URL}{reverse(view, args=args)}"


def _short_link(url: str) -> str:
    return web_url(url) if len(url) <= LINK_CHARACTERS else ""


@lru_cache(maxsize=5000)
def _calm(title: str) -> str:
    """As it can stand in a subject: not in capitals all through, with one mark at a time, and a
    title from right to left turns nothing but itself (Unicode UAX 9, isolates).
    """
    letters = [char for char in title if char.isalpha()]
    if len(letters) > SHOUTED_LETTERS and all(map(str.isupper, letters)):
        title = title.capitalize()
    title = _REPEATED_MARKS.sub(r"\1", title)
    if not title.isascii() and any(
        unicodedata.bidirectional(char) in ("R", "AL") for char in title
    ):
        return f"\u2068{title}\u2069"
    return title
