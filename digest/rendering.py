"""Digest -> html, text, headers. One place decides what a digest says: `Content`.

The mail, the web view, the preview and the admin all show the same Content; templates only lay
it out.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from email.utils import formataddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.urls import reverse
from django.utils import formats, translation
from django.utils.translation import gettext, ngettext

from papers.models import Paper, utc_day
from papers.records import web_url
from subscribers import mail, schedule, tokens
from subscribers.models import Subscriber

from . import compose
from .compose import Frame, Item
from .models import Digest
from .ranking import Reason

SUMMARY_SENTENCES = 3
SUMMARY_CHARACTERS = 420
SUBJECT_CHARACTERS = 110
PREHEADER_CHARACTERS = 140
TITLE_CHARACTERS = 300
NAME_CHARACTERS = 100
LINK_CHARACTERS = 200  # a longer one would cost every reader more than it gives
AUTHORS_SHOWN = 3
# A sentence ends at . ! or ? before a capital, but not in "et al. The" or "e.g. A" or "J. Doe".
_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!\bal\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)(?<!\bcf\.)(?<!\bFig\.)(?<!\bEq\.)"
    r"(?<!\bSec\.)(?<!\b[A-Z]\.)\s+(?=[^\W_a-z])"
)


@dataclass(frozen=True, slots=True)
class ContentItem:
    """One paper as it is shown. Addresses are absolute; an empty one is not offered."""

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
    is_popular: bool = False
    reason: Reason | None = None
    more_url: str = ""
    less_url: str = ""
    save_url: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What a digest says, whoever shows it."""

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
    web_url: str = ""
    preferences_url: str = ""
    pause_url: str = ""
    unsubscribe_url: str = ""
    consented_on: date | None = None
    cadence_words: str = ""
    next_on: date | None = None
    postal_address: str = ""

    @property
    def chosen_count(self) -> int:
        return len(self.full)

    @property
    def is_everybodys(self) -> bool:
        """Nothing in it was chosen for the reader, who has named nothing to go by."""
        reasons = [item.reason for item in self.full if item.reason is not None]
        return bool(reasons) and all(reason.kind == "popular" for reason in reasons)

    @property
    def subject(self) -> str:
        """The top paper, and the second where both fit: one line, no control characters."""
        said = _cut(" · ".join(self._headlines), SUBJECT_CHARACTERS) or self.site_name
        # What looks like an encoded word (RFC 2047) would be decoded by whoever shows the mail.
        return said.replace("=?", "= ?")

    @property
    def preheader(self) -> str:
        """What follows the subject: the next titles."""
        rest = [item.title for item in self._leading[len(self._headlines) :]]
        said = rest or [item.summary for item in self._leading[:1]]
        return _cut(" · ".join(said), PREHEADER_CHARACTERS)

    @property
    def _headlines(self) -> list[str]:
        titles = [item.title for item in self._leading[:2]]
        return titles if len(" · ".join(titles)) <= SUBJECT_CHARACTERS else titles[:1]

    @property
    def _leading(self) -> tuple[ContentItem, ...]:
        """The reader's own papers come first: what everybody gets does not make them open it."""
        return (*self.full, *self.picks)


@dataclass(frozen=True, slots=True)
class Remade:
    """A digest's mail made once more. Its links are the reader's own, and act for them.

    matches: whether it is to the letter what was handed over; None where no hash of that is kept.
    differences: why it is not, as far as can be known.
    """

    message: EmailMultiAlternatives
    matches: bool | None
    differences: tuple[str, ...] = ()


def contents(digests: Sequence[Digest], *, now: datetime) -> dict[int, Content]:
    """Digest id -> Content; one query for all papers. Digests need subscriber and slot loaded.

    now: the day of the links' keys, where the digest has no frame. A digest of an erased reader
    has no content.
    """
    papers = _papers(item for digest in digests for item in _items(digest))
    made = {}
    for digest in digests:
        if digest.subscriber is not None:
            frame = _frame(digest, digest.subscriber)
            with translation.override(frame.language):
                made[digest.pk] = _of_digest(digest, digest.subscriber, papers, frame, now=now)
    return made


def unaddressed(
    items: Iterable[Item],
    *,
    edition_day: date | None,
    candidates: int,
    slot: date,
    is_weekly: bool = False,
    is_first: bool = False,
) -> Content:
    """The same for nobody in particular (preview, onboarding): no link that acts for a reader."""
    chosen = list(items)
    sections = _sections(chosen, _papers(chosen))
    return Content(
        site_name=settings.SITE_NAME,
        edition_day=edition_day,
        slot_date=slot,
        is_first=is_first,
        is_weekly=is_weekly,
        candidates_count=candidates,
        full=sections[compose.FULL],
        brief=sections[compose.BRIEF],
        picks=sections[compose.PICK],
        language=translation.get_language() or settings.LANGUAGE_CODE,
        postal_address=settings.POSTAL_ADDRESS,
    )


def for_nobody(digest: Digest) -> Content:
    """What the digest says, with no link that acts for its reader."""
    return unaddressed(
        _items(digest),
        edition_day=digest.edition_day,
        candidates=digest.candidates,
        slot=digest.slot.date,
        is_weekly=digest.is_weekly and not digest.is_first,
        is_first=digest.is_first,
    )


def message(digest: Digest, content: Content) -> EmailMultiAlternatives:
    """The mail, ready to be handed over: both parts and every header of a bulk mail, once each."""
    assert digest.subscriber is not None, "a digest without a reader has no mail"
    with translation.override(content.language):
        made = mail.compose(
            "digest",
            {"content": content},
            to=digest.subscriber.email,
            message_id=mail.message_id(digest.uuid.hex, "digest"),
            headers=headers(content),
        )
    # Providers give it back with every event, which settles a digest in doubt.
    made.metadata = {"digest": digest.uuid.hex}  # type: ignore[attr-defined]
    return made


def preview(content: Content, *, to: str) -> EmailMultiAlternatives:
    """The mail as it would look, with no link that acts for a reader. Not to be sent."""
    return mail.compose(
        "digest",
        {"content": content},
        to=to,
        message_id=mail.message_id("preview", "digest"),
        headers=headers(content),
    )


def fingerprint(message: EmailMultiAlternatives) -> str:
    """SHA-256, in hex, of what the reader reads: subject, text part and HTML part.

    Nothing of it varies: neither the date nor the boundary between the parts is in it.
    """
    read = [str(message.subject), str(message.body), _html(message)]
    return hashlib.sha256("\0".join(read).encode()).hexdigest()


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
    """RFC 2369 and RFC 8058 (unsubscribing), RFC 2919 (list), Gmail's Feedback-ID."""
    kind = "first" if content.is_first else "weekly" if content.is_weekly else "daily"
    found = {
        "List-Id": formataddr((_ascii(settings.SITE_NAME), settings.LIST_ID)),
        "Feedback-ID": f"{content.slot_date:%Y%m%d}:{kind}:{content.language}:paperround",
    }
    ways = [f"<{content.unsubscribe_url}>"] if content.unsubscribe_url else []
    if ways and settings.UNSUBSCRIBE_MAILTO:
        ways.append(f"<mailto:{settings.UNSUBSCRIBE_MAILTO}?subject=unsubscribe>")
    if ways:
        found["List-Unsubscribe"] = ", ".join(ways)
        found["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return found


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
    cadence = Subscriber.Cadence(frame.cadence)
    words = str(cadence.label)
    if cadence in (Subscriber.Cadence.CHOSEN, Subscriber.Cadence.WEEKLY):
        monday = date(2024, 1, 1)
        mornings = [monday + timedelta(days=day) for day in sorted(frame.days)]
        names = [formats.date_format(morning, "l") for morning in mornings]
        words = gettext("on %(days)s") % {"days": ", ".join(names)}
    return gettext("%(days)s at %(hour)s, %(zone)s time") % {
        "days": words,
        "hour": f"{frame.hour:02}:00",
        "zone": frame.time_zone.replace("_", " "),
    }


def summary(paper: Paper) -> str:
    """Two or three sentences: the source's own short summary, else how the abstract begins."""
    if paper.tldr:
        return _cut(_one_line(paper.tldr), SUMMARY_CHARACTERS + 80)
    text = _one_line(paper.abstract)
    chosen = ""
    for sentence in _SENTENCE_END.split(text)[:SUMMARY_SENTENCES]:
        if chosen and len(chosen) + len(sentence) > SUMMARY_CHARACTERS:
            break
        chosen = f"{chosen} {sentence}".strip()
    return _cut(chosen, SUMMARY_CHARACTERS + 80)


def shown_title(paper: Paper) -> str:
    """On one line; the few that are as long as an abstract are cut."""
    return _cut(_one_line(paper.title), TITLE_CHARACTERS)


def authors_line(authors: Sequence[str]) -> str:
    """Up to three names, then how many more."""
    shown = ", ".join(_cut(_one_line(name), NAME_CHARACTERS) for name in authors[:AUTHORS_SHOWN])
    more = len(authors) - AUTHORS_SHOWN
    if more <= 0:
        return shown
    return ngettext("%(names)s and %(more)d more", "%(names)s and %(more)d more", more) % {
        "names": shown,
        "more": more,
    }


# -- making --------------------------------------------------------------------------------


def _of_digest(
    digest: Digest,
    subscriber: Subscriber,
    papers: Mapping[int, Paper],
    frame: Frame,
    *,
    now: datetime,
) -> Content:
    sections = _sections(_items(digest), papers)
    # The keys are of the day it was assembled, whenever it leaves: a second try after midnight
    # under the same idempotency key is the same mail, and so is one that is made years later.
    signed_at = digest.assembled_at if digest.frame else now
    key = tokens.make(tokens.Purpose.READ, digest.uuid.hex, today=utc_day(digest.assembled_at))
    preferences_url = mail.preferences_url(subscriber, signed_at)
    return Content(
        site_name=settings.SITE_NAME,
        edition_day=digest.edition_day,
        slot_date=digest.slot.date,
        is_first=digest.is_first,
        is_weekly=digest.is_weekly and not digest.is_first,
        candidates_count=digest.candidates,
        full=_with_feedback(sections[compose.FULL], key),
        brief=sections[compose.BRIEF],
        picks=_with_feedback(sections[compose.PICK], key),
        language=frame.language,
        web_url=_absolute("digest:read", key),
        preferences_url=preferences_url,
        pause_url=f"{preferences_url}#pause",
        unsubscribe_url=mail.unsubscribe_url(subscriber, signed_at),
        consented_on=frame.consented_on,
        cadence_words=cadence_words(frame),
        next_on=frame.next_on,
        postal_address=settings.POSTAL_ADDRESS,
    )


def _frame(digest: Digest, subscriber: Subscriber) -> Frame:
    """As frozen; of a digest older than that, the reader's wishes as they are."""
    if digest.frame:
        return Frame.from_json(digest.frame)
    return frame_of(subscriber, next_due_at=subscriber.next_due_at)


def _items(digest: Digest) -> list[Item]:
    return [Item.from_json(stored) for stored in digest.items]


def _papers(items: Iterable[Item]) -> dict[int, Paper]:
    """The papers shown, and those that reasons name."""
    wanted = set()
    for item in items:
        wanted.add(item.paper_id)
        if item.reason is not None and item.reason.paper_id is not None:
            wanted.add(item.reason.paper_id)
    return Paper.objects.defer("vector").in_bulk(wanted)


def _sections(
    items: Sequence[Item], papers: Mapping[int, Paper]
) -> dict[str, tuple[ContentItem, ...]]:
    """By section; a paper that was deleted since is left out."""
    shown = [
        (item.section, _content_item(item, papers)) for item in items if item.paper_id in papers
    ]
    return {
        section: tuple(made for its_section, made in shown if its_section == section)
        for section in (compose.FULL, compose.BRIEF, compose.PICK)
    }


def _content_item(item: Item, papers: Mapping[int, Paper]) -> ContentItem:
    paper = papers[item.paper_id]
    is_frozen = item.upvotes is not None
    return ContentItem(
        paper_id=paper.pk,
        arxiv_id=paper.arxiv_id,
        title=shown_title(paper),
        authors_line=authors_line(paper.authors),
        organization=_cut(_one_line(paper.organization), NAME_CHARACTERS),
        upvotes=paper.upvotes if item.upvotes is None else item.upvotes,
        stars=item.stars if is_frozen else paper.stars,
        summary=summary(paper),
        page_url=_absolute("papers:paper", paper.arxiv_id),
        abstract_url=paper.abstract_url,
        pdf_url=paper.pdf_url,
        code_url=_short_link(paper.code_url),
        is_popular=item.is_popular,
        reason=_shown_reason(item.reason, papers),
    )


def _shown_reason(reason: Reason | None, papers: Mapping[int, Paper]) -> Reason | None:
    """A reason names a paper by id; its title is looked up when it is shown."""
    if reason is None:
        return None
    named = None if reason.paper_id is None else papers.get(reason.paper_id)
    title = shown_title(named) if named else reason.title
    return replace(reason, title=title, note=_one_line(reason.note))


def _with_feedback(items: Iterable[ContentItem], key: str) -> tuple[ContentItem, ...]:
    return tuple(
        replace(
            item,
            more_url=_absolute("digest:feedback", key, "more", item.paper_id),
            less_url=_absolute("digest:feedback", key, "less", item.paper_id),
            save_url=_absolute("digest:feedback", key, "saved", item.paper_id),
        )
        for item in items
    )


# -- proving -------------------------------------------------------------------------------


def _differences(digest: Digest) -> list[str]:
    """What is known to have changed since; where nothing is, what else it can be."""
    known = []
    if digest.subscriber is None:
        known.append(gettext("The reader was erased, and the links went with them."))
    if digest.thinned_at is not None:
        day = formats.date_format(digest.thinned_at, "j F Y")
        known.append(gettext("Its reasons and numbers were let go of on %(day)s.") % {"day": day})
    return [*known, *_changed_papers(digest)] or [
        gettext(
            "No paper of it changed: so a paper that a reason names, the templates, the site’s "
            "settings or the signing key did."
        )
    ]


def _changed_papers(digest: Digest) -> list[str]:
    items = _items(digest)
    papers = _papers(items)
    said = []
    for item in items:
        paper = papers.get(item.paper_id)
        if paper is None:
            said.append(gettext("Paper %(id)d was deleted.") % {"id": item.paper_id})
        elif not paper.content_hash.startswith(item.content_hash):
            names = {"id": paper.arxiv_id, "title": shown_title(paper)}
            said.append(gettext("Paper %(id)s changed: “%(title)s”.") % names)
    return said


def _html(message: EmailMultiAlternatives) -> str:
    return next(str(body) for body, kind in message.alternatives if kind == "text/html")


def _absolute(view: str, *args: Any) -> str:
    return f"{settings.SITE_URL}{reverse(view, args=args)}"


def _short_link(url: str) -> str:
    return web_url(url) if len(url) <= LINK_CHARACTERS else ""


def _one_line(text: str) -> str:
    """White space and control characters folded into single blanks; fit for a header."""
    printable = "".join(
        " " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text
    )
    return " ".join(printable.split())


def _cut(text: str, most: int) -> str:
    """At most so many characters, cut between words."""
    if len(text) <= most:
        return text
    return text[: most - 1].rsplit(" ", 1)[0].rstrip(" ,;:·-") + "…"


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", _one_line(text)).encode("ascii", "ignore").decode()
    return " ".join(plain.split()) or "Paperround"
