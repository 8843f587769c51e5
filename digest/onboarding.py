"""The onboarding pages: papers to tick, to search, to bring along; then the subjects they make.

One form holds all that was said so far, and every button brings it back: nothing is saved before
the reader says so on the second page, and nothing is lost on the way. What comes back is checked
anew. Readers come by their signed link, operators through the admin (digest.admin.readers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_http_methods, require_POST

from papers import search as paper_search
from papers.models import Paper
from papers.query import MAX_LENGTH
from papers.records import one_line
from subscribers import limits, orcid, schedule, seeds, topics
from subscribers.imports import MOST_BYTES, Imported, ImportRefused, Refusal, read
from subscribers.models import Subscriber
from subscribers.seeds import Seed
from subscribers.tokens import Purpose
from subscribers.topics import INTERESTS_MAX
from subscribers.views import posted_from, reader_page

from . import assembly, rendering, welcome
from .welcome import NAME_LENGTH, Subject, Wanted

FOUND = 20  # papers of a search
BY_AUTHOR = 50
MOST_AUTHORS = 20
MOST_SUBJECTS = 10
MOST_PAGES = 20
TYPED_LENGTH = 4000

_safe_or_post = require_http_methods(["GET", "HEAD", "POST"])


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pages stand: a reader's link, or the admin."""

    start_url: str
    subjects_url: str
    preview_url: str
    done_url: str
    base: str = "base.html"
    extra: dict[str, Any] = field(default_factory=dict)


@_safe_or_post
@reader_page(Purpose.MANAGE)
def start(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    return start_page(request, subscriber, _place(subscriber, token))


@posted_from("digest:onboarding")
@reader_page(Purpose.MANAGE)
def subjects(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    return subjects_page(request, subscriber, _place(subscriber, token))


@require_POST
@reader_page(Purpose.MANAGE)
def preview(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    return preview_part(request, subscriber)


def unsaved(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse | None:
    """Saves what stands in the first page's form, papers as the subjects that its preview makes of
    them. The page once more where something of it cannot be saved, or came only now.
    """
    given = _taken_in(request, _Given.of(request), subscriber, wants_person=True)
    if not (given.errors or given.is_news or given.said):
        if not (refused := _refused(subscriber, given.wanted())):
            return None
        given.errors["topics"] = refused
    context = _start_context(subscriber, _place(subscriber, token), given)
    return render(request, "digest/onboarding.html", context)


# -- the pages -----------------------------------------------------------------------------


def start_page(request: HttpRequest, subscriber: Subscriber, place: Place) -> HttpResponse:
    """GET offers papers; POST takes in what was given and goes on, or saves what was only typed."""
    given = _Given.of(request)
    do = request.POST.get("do", "") if request.method == "POST" else "look"
    if request.method == "POST":
        given = _taken_in(request, given, subscriber, wants_person=do in ("", "person", "find"))
    if do == "" and not (given.errors or given.is_news):
        if given.seeds or given.authors:
            return _subjects(request, subscriber, place, given.wanted())
        if not (refused := _refused(subscriber, given.wanted())):
            return redirect(place.done_url)
        given.errors["topics"] = refused
    return render(request, "digest/onboarding.html", _start_context(subscriber, place, given))


def subjects_page(request: HttpRequest, subscriber: Subscriber, place: Place) -> HttpResponse:
    """What was given, as subjects to name or to drop; `keep` saves them."""
    wanted = _reviewed(request)
    do = request.POST.get("do", "")
    if do == "keep":
        if not (refused := _refused(subscriber, wanted)):
            return redirect(place.done_url)
        return _subjects(request, subscriber, place, wanted, refused=refused)
    if do == "back":
        every = [seed for each in wanted.subjects for seed in each.seeds]
        given = _Given(lines="\n".join(wanted.lines), seeds=every, authors=list(wanted.authors))
        return render(request, "digest/onboarding.html", _start_context(subscriber, place, given))
    return _subjects(request, subscriber, place, wanted)


def preview_part(request: HttpRequest, subscriber: Subscriber) -> HttpResponse:
    """The digest as it would be, for either page's script. Writes nothing.

    429 after too many: the script leaves standing what it shows.
    """
    if not limits.may_preview(str(subscriber.pk)):
        return HttpResponse(status=429)
    is_review = "subjects" in request.POST
    wanted = _reviewed(request) if is_review else _Given.of(request).wanted()
    return render(request, "digest/_preview.html", _preview(subscriber, wanted))


def _subjects(
    request: HttpRequest, subscriber: Subscriber, place: Place, wanted: Wanted, refused: str = ""
) -> HttpResponse:
    every = [seed.field for each in wanted.subjects for seed in each.seeds]
    context = {
        "place": place,
        "base": place.base,
        "subscriber": subscriber,
        "wanted": wanted,
        "lines": "\n".join(wanted.lines),
        "every": "\n".join(every),
        "most": INTERESTS_MAX,
        "refused": refused,
        **_preview(subscriber, wanted),
        **place.extra,
    }
    return render(request, "digest/subjects.html", context)


# -- what was said -------------------------------------------------------------------------


@dataclass(slots=True)
class _Given:
    """The first page's form, as far as it has come."""

    lines: str = ""
    seeds: list[Seed] = field(default_factory=list)
    authors: list[str] = field(default_factory=list)
    person: str = ""
    pasted: str = ""
    query: str = ""
    page: int = 0
    said: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    suggested_author: str = ""
    is_news: bool = False  # something came that the reader should see before going on

    @classmethod
    def of(cls, request: HttpRequest) -> _Given:
        sent = request.POST
        page = sent.get("page", "0")
        shown = int(page) if page.isascii() and page.isdecimal() and len(page) < 4 else 0
        if sent.get("do") == "others":
            shown += 1
        return cls(
            lines=sent.get("topics", "")[:TYPED_LENGTH],
            seeds=seeds.from_fields(sent.getlist("papers")),
            authors=_authors(sent.getlist("authors")),
            person=one_line(sent.get("person", ""))[:200],
            pasted=sent.get("pasted", ""),
            query=one_line(sent.get("q", ""))[:MAX_LENGTH],
            page=min(shown, MOST_PAGES),
        )

    def wanted(self) -> Wanted:
        return Wanted(
            tuple(_lines(self.lines)), tuple(self.authors), tuple(welcome.subjects(self.seeds))
        )


def _taken_in(
    request: HttpRequest, given: _Given, subscriber: Subscriber, *, wants_person: bool
) -> _Given:
    """With the papers of a file, of a pasted text, of a person. A file comes once, so whichever
    button was pressed.
    """
    if any(len(line) > NAME_LENGTH for line in _lines(given.lines)):
        given.errors["topics"] = gettext("Please keep each line to 80 characters.")
    file = request.FILES.get("file")
    if file is not None:
        body = file.read(MOST_BYTES + 1)
        _import(given, subscriber, "file", lambda: read(file.name or "", body))
    if given.pasted.strip() and _import(
        given, subscriber, "pasted", lambda: read("", given.pasted.encode(errors="replace"))
    ):
        given.pasted = ""
    if given.person and wants_person:
        _take_person(given, subscriber)
    return given


def _import(
    given: _Given, subscriber: Subscriber, name: str, parse: Callable[[], Imported]
) -> bool:
    """Whether it could be read."""
    if not limits.may_import(str(subscriber.pk)):
        given.errors[name] = gettext("That was a lot at once. Please try again in an hour.")
        return False
    try:
        found = parse()
    except ImportRefused as error:
        given.errors[name] = _why_refused(error.why)
        return False
    recognised = seeds.recognise(found.papers)
    given.said += _words_of(found, recognised)
    _add(given, recognised)
    return True


def _take_person(given: _Given, subscriber: Subscriber) -> None:
    if orcid.looks_like_one(given.person):
        _take_record(given, subscriber)
        return
    found = seeds.of(paper_search.by_author(given.person, limit=BY_AUTHOR))
    given.suggested_author = given.person
    if not found:
        given.is_news = True
        given.errors["person"] = gettext(
            "No stored paper is by “%(name)s”. Give the full name as papers have it, or an ORCID "
            "iD. You can follow the name all the same."
        ) % {"name": given.person}
        return
    said = ngettext(
        "%(count)s paper by %(name)s. Untick what is a namesake’s.",
        "%(count)s papers by %(name)s. Untick what is a namesake’s.",
        len(found),
    )
    given.said.append(said % {"count": len(found), "name": given.person})
    given.person = ""
    _add(given, found)


def _take_record(given: _Given, subscriber: Subscriber) -> None:
    try:
        id = orcid.orcid_id(given.person)
    except ValueError:
        given.errors["person"] = gettext(
            "That ORCID iD has a typing error: its last character does not fit the others."
        )
        return
    if not limits.may_look_up(str(subscriber.pk)):
        given.errors["person"] = gettext("That was a lot at once. Please try again in an hour.")
        return
    try:
        found = orcid.works(id)
    except orcid.OrcidSilent as error:
        given.errors["person"] = (
            gettext("ORCID knows nobody by that iD.")
            if error.is_unknown
            else gettext("ORCID does not answer at the moment. Nothing is lost: try again later.")
        )
        return
    if not found.papers:
        given.errors["person"] = gettext("That ORCID record shows no works to the public.")
        return
    recognised = seeds.recognise(found.papers)
    given.said += _words_of(found, recognised)
    given.person = ""
    _add(given, recognised)


def _add(given: _Given, found: Sequence[Seed]) -> None:
    given.is_news = True
    by_wish = {seed.wish: seed for seed in [*given.seeds, *found]}
    given.seeds = list(by_wish.values())[: seeds.MOST]


def _reviewed(request: HttpRequest) -> Wanted:
    """The second page's form. What was unticked belongs to the rest, where it can be had back."""
    sent = request.POST
    every = seeds.from_fields(sent.get("every", "").split("\n"))
    by_field = {seed.field: seed for seed in every}
    found: list[Subject] = []
    for number in range(MOST_SUBJECTS):
        ticked = [by_field.pop(each, None) for each in sent.getlist(f"papers-{number}")]
        found.append(
            Subject(
                one_line(sent.get(f"name-{number}", ""))[:NAME_LENGTH],
                tuple(seed for seed in ticked if seed),
                is_rest=f"rest-{number}" in sent,
                is_kept=f"keep-{number}" in sent,
            )
        )
    rest = next((each for each in found if each.is_rest), Subject("", is_rest=True, is_kept=False))
    rest = replace(rest, seeds=(*rest.seeds, *by_field.values()))
    kept = [each for each in found if each.seeds and not each.is_rest]
    return Wanted(
        tuple(_lines(sent.get("topics", "")[:TYPED_LENGTH])),
        tuple(_authors(sent.getlist("authors"))),
        (*kept, rest) if rest.seeds else tuple(kept),
    )


def _lines(text: str) -> Iterator[str]:
    lines = (one_line(line) for line in text.splitlines())
    return iter(dict.fromkeys(line for line in lines if line))


def _authors(names: Sequence[str]) -> list[str]:
    cleaned = (one_line(name)[:200] for name in names[:MOST_AUTHORS])
    return list(dict.fromkeys(name for name in cleaned if name))


def _refused(subscriber: Subscriber, wanted: Wanted) -> str:
    """Saves it; or, where there is no room, says so."""
    try:
        welcome.keep(subscriber, wanted, now=timezone.now())
    except topics.TopicRefused as error:
        refused = gettext("There is no room for “%(name)s”: you follow as many subjects as can be.")
        return refused % {"name": error}
    return ""


# -- what is shown -------------------------------------------------------------------------


def _start_context(subscriber: Subscriber, place: Place, given: _Given) -> dict[str, Any]:
    known = set(subscriber.interests.exclude(paper=None).values_list("paper_id", flat=True))
    known.update(seed.paper_id for seed in given.seeds if seed.paper_id)
    found = _found(given.query) if given.query else []
    found = [paper for paper in found if paper.pk not in known]
    offered = welcome.offered(given.page)
    if given.page and not offered:
        given.page, offered = 0, welcome.offered(0)
    return {
        "place": place,
        "base": place.base,
        "subscriber": subscriber,
        "given": given,
        "topics": [topic.name for topic in subscriber.topics.all()],
        "seeds": topics.missing_seeds(subscriber.interests.wanted()),
        "found": seeds.of(found),
        "suggestions": seeds.of(p for p in offered if p.pk not in known and p not in found),
        "has_had_one": subscriber.last_slot is not None,
        **_preview(subscriber, given.wanted()),
        **place.extra,
    }


def _found(query: str) -> list[Paper]:
    return paper_search.search(paper_search.Asked(query), limit=FOUND).papers


def _preview(subscriber: Subscriber, wanted: Wanted) -> dict[str, Any]:
    now: datetime = timezone.now()
    choice = assembly.upcoming(subscriber, now=now, also_topics=welcome.facts(wanted))
    slot = schedule.slot_date(now, subscriber.time_zone)
    content = rendering.unaddressed(
        choice.items,
        edition_day=choice.edition_day,
        since=choice.since,
        candidates=choice.candidates,
        slot=slot,
        is_weekly=subscriber.is_weekly,
    )
    return {
        "content": content if choice.items else None,
        "has_had_one": subscriber.last_slot is not None,
    }


def _place(subscriber: Subscriber, token: str) -> Place:
    start_url = reverse("digest:onboarding", args=[token])
    return Place(
        start_url=start_url,
        subjects_url=reverse("digest:subjects", args=[token]),
        preview_url=reverse("digest:preview", args=[token]),
        done_url=f"{start_url}#digest",
        extra={
            "send_url": reverse("digest:send_first", args=[token]),
            "preferences_url": reverse("subscribers:preferences", args=[token]),
        },
    )


def _why_refused(why: Refusal) -> str:
    if why == Refusal.TOO_LARGE:
        return gettext("That is too large. A file may have %(limit)s MB.") % {
            "limit": MOST_BYTES // 1024 // 1024
        }
    return gettext(
        "We found no papers in it. Give arXiv ids or links, or a BibTeX, RIS or CSV file."
    )


def _words_of(found: Imported, recognised: Sequence[Seed]) -> list[str]:
    """What was matched, a sentence each."""
    stored = sum(seed.paper_id is not None for seed in recognised)
    looked_up = sum(seed.is_looked_up for seed in recognised)
    by_title = len(recognised) - stored - looked_up
    left_out = found.left_out + len(found.papers) - len(recognised)
    said = [
        (
            stored,
            ngettext("%(count)s paper that we have.", "%(count)s papers that we have.", stored),
        ),
        (
            looked_up,
            ngettext(
                "%(count)s paper that we look up at arXiv.",
                "%(count)s papers that we look up at arXiv.",
                looked_up,
            ),
        ),
        (
            by_title,
            ngettext(
                "%(count)s other paper, known by its title.",
                "%(count)s other papers, known by their titles.",
                by_title,
            ),
        ),
        (
            found.skipped,
            ngettext(
                "%(count)s entry could not be read.",
                "%(count)s entries could not be read.",
                found.skipped,
            ),
        ),
        (
            left_out,
            ngettext(
                "%(count)s was left out: there twice, or beyond the newest %(most)s.",
                "%(count)s were left out: there twice, or beyond the newest %(most)s.",
                left_out,
            ),
        ),
    ]
    return [words % {"count": count, "most": seeds.MOST} for count, words in said if count]
