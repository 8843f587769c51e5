"""Every mail that the service can send, made by the code that makes them, of papers and readers
that exist in memory alone. For whoever works on how they look, and for the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from django.core.mail import EmailMultiAlternatives
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from papers import pseudo
from papers.models import Paper
from papers.records import PaperRecord
from papers.sources.huggingface import HuggingFace
from subscribers import mail
from subscribers.models import Subscriber

from . import alerts, rendering
from .compose import BRIEF, FULL, PICK, Item
from .models import Alert, Digest, Slot
from .ranking import Reason

SAMPLE_DAY = Path(__file__).resolve().parent.parent / "papers" / "data" / "sample_day.json"
DAY = date(2025, 12, 2)
BREAKFAST = datetime(2025, 12, 3, 6, 0, tzinfo=UTC)  # seven in Berlin
READER_UUID = UUID("0a0a0a0a-0000-4000-8000-000000000001")
DIGEST_UUID = UUID("0d0d0d0d-0000-4000-8000-000000000001")

Papers = Mapping[str, Paper]  # by arXiv id


@dataclass(frozen=True)
class Exhibit:
    """A mail, which is made when it is looked at, and what it is. name: for addresses and files."""

    name: str
    heading: str | Promise
    note: str | Promise
    make: Callable[[], EmailMultiAlternatives]

    @cached_property
    def message(self) -> EmailMultiAlternatives:
        return self.make()

    @property
    def html(self) -> str:
        return next(str(body) for body, kind in self.message.alternatives if kind == "text/html")

    @property
    def kilobytes(self) -> float:
        """Of the HTML part."""
        return len(self.html.encode()) / 1000


@dataclass(frozen=True, slots=True)
class Parts:
    """What a standard digest is made of. reader, digest: fields of the models' rows."""

    items: list[Item]
    reader: dict[str, Any] = field(default_factory=dict)
    digest: dict[str, Any] = field(default_factory=dict)
    since: date | None = None


class Standard(NamedTuple):
    """A digest of some kind."""

    heading: str | Promise
    note: str | Promise
    parts: Callable[[Papers], Parts]


def exhibits(language: str = "en") -> list[Exhibit]:
    """All mails in a language: the standard digests, then what else a reader may get, then what
    operators may get. The languages that nobody speaks (papers.pseudo) are spoken here.
    """
    if language in dict(pseudo.LANGUAGES):
        pseudo.install()
    papers = {paper.arxiv_id: paper for paper in (*sample_papers(), *awkward_papers())}
    others = {"new_email": "ada@example.com", "old_email": "ada@example.net", "silent_slots": 5}
    reader = Subscriber(**reader_fields(language=language, **others))
    return [
        *(
            Exhibit(name, each.heading, each.note, partial(_message, each, papers, language))
            for name, each in STANDARDS.items()
        ),
        *(
            Exhibit(each.kind, each.heading, each.note, partial(each.compose, reader, BREAKFAST))
            for each in mail.SERVICE_MAILS
        ),
        *_alerts(language),
    ]


def reader_fields(**fields: Any) -> dict[str, Any]:
    """Ada's: confirmed in November; reads at seven in Berlin, from Monday to Friday."""
    confirmed_at = datetime(2025, 11, 3, 9, tzinfo=UTC)
    return {
        "uuid": READER_UUID,
        "email": "ada@example.org",
        "state": Subscriber.State.ACTIVE,
        "cadence": Subscriber.Cadence.WEEKDAYS,
        "hour": 7,
        "time_zone": "Europe/Berlin",
        "confirmed_at": confirmed_at,
        "created_at": confirmed_at,
        "next_due_at": BREAKFAST + timedelta(days=1),
        **fields,
    }


def digest_fields(parts: Parts, reader: Subscriber) -> dict[str, Any]:
    """Of the row, but for its reader and its slot."""
    frame = rendering.frame_of(reader, next_due_at=reader.next_due_at)
    return {
        "uuid": DIGEST_UUID,
        "due_at": BREAKFAST,
        "assembled_at": BREAKFAST,
        "items": [item.to_json() for item in parts.items],
        "candidates": 28,
        "edition_day": DAY,
        "closed_seq": 1,
        "frame": replace(frame, since=parts.since).to_json(),
        **parts.digest,
    }


@cache
def sample_records() -> tuple[PaperRecord, ...]:
    """The bundled day's."""
    return HuggingFace({}).parse(SAMPLE_DAY.read_bytes(), "").records


def sample_papers() -> list[Paper]:
    """The bundled day as rows, under keys that are the same on every run."""
    return [_row(number, record) for number, record in enumerate(sample_records(), start=101)]


def awkward_papers() -> list[Paper]:
    """What a source may send, and no mail may break at."""
    common = {"published_at": BREAKFAST, "content_hash": "-"}
    return [
        Paper(
            pk=201,
            arxiv_id="2512.90001",
            title="<script>alert(1)</script> & <think>hm</think>\r\nBcc: x@example.org 🤖 הכותרת",
            abstract="We pay $5 for \\(x^2\\) & <b>more</b>. מימין לשמאל. {{ 7*7 }} stays.",
            authors=[f"Author <{number}>" for number in range(1, 665)],
            organization="R&D <lab>",
            code_url="javascript:alert(1)",
            **common,
        ),
        Paper(
            pk=202,
            arxiv_id="2512.90002",
            title=("A Title of One Hundred and Seventy-Five Characters " * 4)[:175].strip(),
            abstract="",
            authors=["هدى"],
            code_url="https://example.org/a?b=1&c=<d>",
            stars=1234,
            upvotes=1,
            **common,
        ),
        Paper(pk=203, arxiv_id="2512.90003", title="ذكاء اصطناعي: مقدمة", authors=[], **common),
        Paper(
            pk=204,
            arxiv_id="2512.90004",
            title="GATTACA" * 30,
            abstract=f"One word: {'x' * 200}. Then $E = mc^2$ for $5 and $1.",
            authors=["Ω" * 60],
            **common,
        ),
    ]


# -- the kinds of digests ------------------------------------------------------------------


def _first(papers: Papers) -> Parts:
    topic = Reason("topic", "long videos", terms=("long videos", "segment", "frames"))
    items = [
        full(papers["2511.20785"], topic),
        full(papers["2512.00891"], replace(topic, terms=("streaming video", "tokens"))),
        full(papers["2512.01420"], Reason("topic", "prompt engineering", terms=("prompts",))),
        full(papers["2511.18538"], Reason("popular", upvotes=119)),
        *map(brief, list(papers.values())[3:13]),
    ]
    return Parts(items, digest={"is_first": True})


def _ordinary(papers: Papers) -> Parts:
    seed = papers["2512.01374"].pk
    return Parts(
        [
            full(papers["2512.01801"], Reason("keyword", "dexterous robots", name="manipulation")),
            full(papers["2512.02008"], Reason("author", "test time", name="Ayan Sengupta")),
            full(papers["2511.20785"], Reason("organization", "video", name="LMMs-Lab")),
            full(papers["2512.01925"], Reason("paper", "reasoning", paper_id=seed)),
            full(papers["2512.01816"], Reason("popular", upvotes=58)),
            *map(brief, list(papers.values())[14:20]),
        ]
    )


def _trending(papers: Papers) -> Parts:
    first = list(papers.values())[:15]
    items = [full(each, Reason("popular", upvotes=each.upvotes)) for each in first[:5]]
    return Parts([*items, *map(brief, first[5:])])


def _weekly(papers: Papers) -> Parts:
    liked = papers["2511.20614"].pk
    items = [
        full(papers["2512.00387"], Reason("more", paper_id=liked)),
        full(papers["2512.00333"], Reason("category", "languages", name="cs.CL")),
        full(papers["2511.20785"], Reason("topic", "long videos", terms=("segment", "frames"))),
        full(papers["2512.00722"], Reason("keyword", "languages", name="speculative")),
        full(papers["2511.18538"], Reason("popular", upvotes=119)),
        *map(brief, list(papers.values())[14:20]),
    ]
    wishes = {"cadence": "weekly", "days": [2], "hour": 18, "time_zone": "America/New_York"}
    next_week = BREAKFAST + timedelta(days=7)
    return Parts(items, {**wishes, "next_due_at": next_week}, {"is_weekly": True})


def _catch_up(papers: Papers) -> Parts:
    items = [
        full(papers["2512.01801"], Reason("keyword", "dexterous robots", name="manipulation")),
        full(papers["2511.20785"], Reason("topic", "long videos", terms=("segment", "frames"))),
        full(papers["2512.00891"], Reason("topic", "long videos", terms=("streaming video",))),
        *map(brief, list(papers.values())[14:20]),
    ]
    return Parts(items, digest={"candidates": 143}, since=DAY - timedelta(days=6))


def _picked(papers: Papers) -> Parts:
    note = "It tells what did not work, and by how much. Read its last section first."
    return Parts(
        [
            pick(papers["2512.00891"], name="Ben Sample", note=note),
            pick(papers["2511.18538"], name="Ada Example"),
            full(papers["2512.01801"], Reason("keyword", "dexterous robots", name="manipulation")),
            full(papers["2512.02008"], Reason("author", "test time", name="Ayan Sengupta")),
            *map(brief, list(papers.values())[14:20]),
        ]
    )


def _largest(papers: Papers) -> Parts:
    found = list(papers.values())
    seed = papers["2511.18538"].pk
    near = Reason("paper", "a subject that its reader has named at some length", paper_id=seed)
    noted = [pick(each, note="A word on what is new in it. " * 6) for each in found[1:4]]
    return Parts(
        [*(full(each, near) for each in found[4:14]), *noted, *map(brief, found[14:24])],
        {"papers_per_digest": 10},
    )


def _hostile(papers: Papers) -> Parts:
    code, long, arabic, word = (papers[f"2512.9000{number}"] for number in (1, 2, 3, 4))
    note = "הערה\r\nBcc: x & <script>alert(1)</script> {{ 7*7 }}"
    items = [
        full(code, Reason("topic", "<b>bold</b> wishes", terms=("<i>", "&amp;"))),
        full(long, Reason("paper", "x", paper_id=code.pk)),
        full(arabic, Reason("author", "x", name='"><script>alert(1)</script>')),
        full(word, Reason("topic", "y" * 80, terms=("z" * 60,))),
        pick(long, name="<i>ed</i>", note=note),
        brief(code),
        brief(word),
    ]
    return Parts(items, {"time_zone": "America/Argentina/Buenos_Aires", "hour": 3})


STANDARDS = {
    "first": Standard(_("The first one"), _("It welcomes, and says what it is."), _first),
    "ordinary": Standard(_("An ordinary morning"), _("Five papers, five reasons."), _ordinary),
    "weekly": Standard(_("A week"), _("The best of it, by topic."), _weekly),
    "catch_up": Standard(_("After a pause"), _("The days since, by topic."), _catch_up),
    "trending": Standard(_("Nothing named"), _("What everybody reads."), _trending),
    "picked": Standard(_("With editor’s picks"), _("They stand apart."), _picked),
    "largest": Standard(_("The largest"), _("Ten in full, three picks, ten titles."), _largest),
    "hostile": Standard(
        _("Awkward texts"), _("Markup, 664 authors, Arabic, no abstract."), _hostile
    ),
}


def full(paper: Paper, reason: Reason, *, score: float = 2.0) -> Item:
    return Item(paper.pk, FULL, score, is_popular=reason.kind == "popular", reason=reason)


def pick(paper: Paper, *, name: str = "Ben Sample", note: str = "") -> Item:
    return Item(paper.pk, PICK, 0.5, reason=Reason("editor", name=name, note=note))


def brief(paper: Paper) -> Item:
    return Item(paper.pk, BRIEF, 0.5)


def _message(standard: Standard, papers: Papers, language: str) -> EmailMultiAlternatives:
    parts = standard.parts(papers)
    reader = Subscriber(**reader_fields(**{**parts.reader, "language": language}))
    slot = Slot(date=BREAKFAST.date())
    digest = Digest(**digest_fields(parts, reader), subscriber=reader, slot=slot)
    stored = {paper.pk: paper for paper in papers.values()}
    (content,) = rendering.contents([digest], now=BREAKFAST, papers=stored).values()
    return rendering.message(digest, content)


def _alerts(language: str) -> list[Exhibit]:
    """Two things wrong, and one of them over."""
    since = BREAKFAST - timedelta(hours=1)
    sources = Alert(pk=1, name="sources", said="huggingface: dry for 31 hours", began_at=since)
    doubt = Alert(
        pk=2, name="digests in doubt", said="3 digests may or may not have left.", began_at=since
    )
    over = Alert(pk=1, name="sources", began_at=since, ended_at=BREAKFAST)
    told = partial(_told, language)
    return [
        Exhibit(
            "alert", _("Something is wrong"), _("To the operators, once a day at most."),
            partial(told, "alert", [sources, doubt]),
        ),
        Exhibit(
            "alert_over", _("It is well again"), _("To the operators, when it is over."),
            partial(told, "alert_over", [over]),
        ),
    ]  # fmt: skip


def _told(language: str, template: str, found: list[Alert]) -> EmailMultiAlternatives:
    with translation.override(language):
        return alerts.message(template, found, ["operator@example.org"])


def _row(number: int, record: PaperRecord) -> Paper:
    return Paper(
        pk=number,
        arxiv_id=record.arxiv_id,
        title=record.title,
        abstract=record.abstract,
        authors=list(record.authors),
        organization=record.organization,
        published_at=record.published_at,
        code_url=record.code_url,
        project_url=record.project_url,
        upvotes=record.upvotes or 0,
        stars=record.stars,
        content_hash=f"{number}",
    )


# -- what becomes of a mail on its way -----------------------------------------------------

_STYLE = re.compile(r"<style\b.*?</style>", re.DOTALL)
_INLINE = re.compile(r' style="[^"]*"')
_DARK = "(prefers-color-scheme: dark)"


def _light(html: str) -> str:
    """Also to a browser that is set to dark, which would paint the ground behind it black."""
    return html.replace(_DARK, "not all").replace("light dark", "only light")


def _with(html: str, css: str) -> str:
    return _light(html).replace("</head>", f"<style>{css}</style></head>", 1)


def _dark(html: str) -> str:
    return _with(html.replace(_DARK, "all"), "html { background: #121212; }")


def _inverted(html: str) -> str:
    return _with(html, "html { background: #fff; filter: invert(1); }")


def _unstyled(html: str) -> str:
    return _STYLE.sub("", _light(html))


STATES: dict[str, tuple[str | Promise, Callable[[str], str]]] = {
    "light": (_("Light"), _light),
    "dark": (_("Dark"), _dark),
    "inverted": (_("Inverted by force"), _inverted),
    "unstyled": (_("<style> removed"), _unstyled),
    "bare": (_("All styles removed"), lambda html: _INLINE.sub("", _unstyled(html))),
    "zoomed": (_("At 200 %"), lambda html: _with(html, "html { zoom: 2; }")),
    "mirrored": (
        _("From right to left"),
        lambda html: _light(html).replace('dir="ltr"', 'dir="rtl"'),
    ),
}


def in_state(html: str, state: str) -> str:
    """The mail as a client may show it."""
    return STATES[state][1](html)
