"""The editor's desk: an edition with its entries, and what may be done to them each morning.

An edition's own history tells all that was done to it, in the words of `_note`; the confirmed
actions stand in the history of each entry as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import AbstractBaseUser, AbstractUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db import transaction
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.text import Truncator
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import editions, fetching
from ..client import Client, FetchError
from ..confirming import ActionsOnPage, Question, ask
from ..forms import AddPaperForm, PickForm
from ..listing import LongList
from ..models import Edition, Entry, Fetch, Paper, Source
from .reading import ReadOnly

ROWS = 100  # of an edition's entries, a page
MOST_FETCHES = 5  # in one go

# As readers see them; `EntryQuerySet.ranked` is the same without what they do not see.
_BY_RANK = (
    F("rank").asc(nulls_last=True), "-is_trending", "-paper__upvotes", "position", "id",
)  # fmt: skip
_DROPPED = Q(dropped_at__isnull=False)
_WITHDRAWN = Q(paper__withdrawn_at__isnull=False)
_PICKED = Q(picked_by__gt="")
_ADDED = Q(source__isnull=True)


@dataclass(frozen=True, slots=True)
class Tab:
    """Some of an edition's entries: `?show=<name>`."""

    name: str
    label: str | Promise
    rows: Q


TABS = (
    Tab("", _("All"), Q()),
    Tab("picks", _("Picks"), _PICKED & ~_WITHDRAWN),
    Tab("dropped", _("Dropped"), _DROPPED),
    Tab("added", _("Added by an editor"), _ADDED),
    Tab("withdrawn", _("Withdrawn"), _WITHDRAWN),
)


@admin.register(Edition)
class EditionAdmin(ReadOnly, ActionsOnPage, admin.ModelAdmin):
    list_display = [
        "day", "condition", "papers", "picks", "dropped", "closed", "short_note",
    ]  # fmt: skip
    list_filter = ["is_backfill", ("closed_at", admin.EmptyFieldListFilter)]
    list_per_page = 50
    date_hierarchy = "day"
    search_fields = ["note"]
    actions = ["close_edition", "fetch_day"]
    change_form_template = "admin/edition_desk.html"
    readonly_fields = ["state"]

    class Media:
        css = {"all": ["papers/editor.css"]}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        add = self.admin_site.admin_view(self.add_paper_view)
        own = path("<int:pk>/add-paper/", add, name="papers_edition_add_paper")
        return [own, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Edition]:
        rows: QuerySet[Edition] = super().get_queryset(request)
        return rows.annotate(
            paper_count=_counted(~_DROPPED & ~_WITHDRAWN),
            pick_count=_counted(_PICKED),
            dropped_count=_counted(_DROPPED),
        )

    def get_fields(self, request: HttpRequest, obj: Edition | None = None) -> list[Any]:
        """Few, so that the papers come soon."""
        fields: list[Any] = ["state", ("opened_at", "grew_at")]
        if obj is not None and obj.is_backfill:
            fields.append("is_backfill")
        if obj is not None and obj.note:
            fields.append("note")
        return fields

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        edition = kwargs.get("obj")
        if edition is not None:
            context |= _desk(request, edition)
            context["subtitle"] = None
            context["title"] = gettext("Edition of %(day)s") % {
                "day": date_format(edition.day, "LONG_DATE_FORMAT")
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def page_actions(self, request: HttpRequest, obj: Edition) -> list[str]:
        return ["close_edition", "fetch_day"] if obj.is_open else ["fetch_day"]

    def add_paper_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A paper by its arXiv id; one that is not stored yet is asked for at the source."""
        edition = get_object_or_404(Edition, pk=pk)
        _may_edit_or_deny(request)
        form = AddPaperForm(request.POST or None)
        there = None
        if request.method == "POST" and form.is_valid():
            try:
                entry = _add(edition, form, by=_name(request))
            except editions.AlreadyThereError as error:
                there = error.entry
                form.add_error("paper", str(error))
            except editions.EditorError as error:
                form.add_error(None, str(error))
            except FetchError as error:
                text = gettext("The paper could not be looked up: %(error)s.")
                form.add_error("paper", text % {"error": error})
            else:
                _note(self, request, entry, gettext("Added"), entry.editor_note)
                return _back_to(request, entry, gettext("%(paper)s is in the edition now."))
        said = _("It stands after all the others, and readers see it from now on.")
        if not edition.is_open:
            said = _(
                "This edition is closed: the paper gets no rank and stands last. Digests that are "
                "assembled from now on may carry it; who had this edition already does not get it."
            )
        return _form_page(
            self, request, form, title=_("Add a paper"), button=_("Add it"), said=said,
            edition=edition, there=there,
        )  # fmt: skip

    @admin.display(description=_("state"), ordering="closed_at")
    def state(self, edition: Edition) -> str:
        if edition.closed_at is None:
            by = date_format(editions.closes_by(edition.day), "MONTH_DAY_TIME_FORMAT")
            return gettext("open, until %(by)s UTC at the latest") % {"by": by}
        facts = {
            "number": edition.closed_seq,
            "at": date_format(edition.closed_at, "PLAIN_DATETIME_FORMAT"),
            "name": edition.closed_by,
        }
        if edition.closed_by:
            text = gettext(
                "closed as number %(number)s on %(at)s UTC, before its time, by %(name)s"
            )
            return text % facts
        return gettext("closed as number %(number)s on %(at)s UTC") % facts

    @admin.display(description=_("state"), ordering="closed_at")
    def condition(self, edition: Edition) -> str:
        word = gettext("open") if edition.is_open else gettext("closed")
        return gettext("%(word)s, backfill") % {"word": word} if edition.is_backfill else word

    @admin.display(description=_("closed at"), ordering="closed_at")
    def closed(self, edition: Edition) -> str:
        return date_format(edition.closed_at, "Y-m-d H:i") if edition.closed_at else ""

    @admin.display(description=_("note"))
    def short_note(self, edition: Edition) -> str:
        return Truncator(edition.note.replace("\n", " ")).chars(80)

    @admin.display(description=_("papers"), ordering="paper_count")
    def papers(self, edition: Edition) -> int:
        return getattr(edition, "paper_count", None) or 0

    @admin.display(description=_("picks"), ordering="pick_count")
    def picks(self, edition: Edition) -> int:
        return getattr(edition, "pick_count", None) or 0

    @admin.display(description=_("dropped"), ordering="dropped_count")
    def dropped(self, edition: Edition) -> int:
        return getattr(edition, "dropped_count", None) or 0

    @admin.action(description=_("Close edition"), permissions=["close"])
    def close_edition(
        self, request: HttpRequest, queryset: QuerySet[Edition]
    ) -> HttpResponse | None:
        def close(edition: Edition, answers: dict[str, Any]) -> bool:
            return editions.close_now(edition, timezone.now(), by=_name(request))

        return ask(
            self,
            request,
            queryset,
            Question(
                action="close_edition",
                title=_("Close edition"),
                said=_(
                    "It is ranked as it stands and becomes news for every reader. Nothing opens "
                    "it again; what its source lists later comes in the next edition."
                ),
                left=_("It is closed already, or a paper came in this moment: try again."),
                act=close,
                applies=lambda rows: rows.filter(closed_at__isnull=True),
                is_dangerous=True,
            ),
        )

    @admin.action(description=_("Fetch this day now"), permissions=["fetch"])
    def fetch_day(self, request: HttpRequest, queryset: QuerySet[Edition]) -> HttpResponse | None:
        lists = Source.objects.filter(is_enabled=True).exclude(slug__in=fetching.WITHOUT_LISTS)
        clients = {source: Client(patience_seconds=0) for source in lists}
        return ask(
            self,
            request,
            queryset,
            Question(
                action="fetch_day",
                title=_("Fetch this day now"),
                said=_(
                    "Every source that is switched on is read at once. What a closed edition "
                    "lacks goes to the next one that is open."
                ),
                left=_(
                    "The messages and the list of fetches say what came. A source that is down is "
                    "asked once."
                ),
                act=lambda edition, answers: _fetch(self, request, edition, clients),
                most=MOST_FETCHES,
            ),
        )

    def has_close_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("papers.change_edition")

    def has_fetch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("papers.change_source")


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "show"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, Any]]:
        return [(tab.name, tab.label) for tab in TABS if tab.name]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Entry]) -> QuerySet[Entry]:
        if self.value() not in (None, *(tab.name for tab in TABS)):
            raise IncorrectLookupParameters
        return queryset.filter(_tab(self.value()).rows)


@admin.register(Entry)
class EntryAdmin(ReadOnly, ActionsOnPage, LongList, admin.ModelAdmin):
    list_display = [
        "edition", "rank", "title", "trending", "state", "origin",
    ]  # fmt: skip
    list_filter = [StateFilter, "source"]
    list_select_related = ["edition", "paper", "source"]
    ordering = ["-id"]
    search_fields = ["paper__arxiv_id", "paper__title"]
    actions = ["drop", "restore", "unpick"]
    fieldsets = [
        (None, {"fields": ["edition", "paper", "state", "editor_note"]}),
        (_("Its place"), {"fields": ["rank", "score", "group", "position", "origin", "added_at"]}),
    ]
    readonly_fields = ["state", "origin"]

    class Media:
        css = {"all": ["papers/editor.css"]}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        pick = self.admin_site.admin_view(self.pick_view)
        return [path("<int:pk>/pick/", pick, name="papers_entry_pick"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        rows: QuerySet[Entry] = super().get_queryset(request)
        return rows.defer("paper__vector", "paper__meaning", "paper__abstract")

    def page_actions(self, request: HttpRequest, obj: Entry) -> list[str]:
        if obj.dropped_at is not None:
            return ["restore"]
        return ["drop", "unpick"] if obj.is_pick else ["drop"]

    def pick_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The note of a pick; a POST with one makes it a pick, or changes its note."""
        entry = get_object_or_404(Entry.objects.select_related("edition", "paper"), pk=pk)
        _may_edit_or_deny(request)
        form = PickForm(request.POST or None, initial={"note": entry.editor_note})
        if request.method == "POST" and form.is_valid():
            try:
                editions.pick(entry, by=_name(request), note=form.cleaned_data["note"])
            except editions.EditorError as error:
                form.add_error(None, str(error))
            else:
                _note(self, request, entry, gettext("Picked"), form.cleaned_data["note"])
                return _back_to(request, entry, gettext("%(paper)s is an editor’s pick now."))
        said = gettext(
            "“%(paper)s” comes to every reader of this edition, under the name %(name)s. Digests "
            "that are assembled already stay as they are."
        )
        said %= {"paper": entry.paper.title, "name": _name(request)}
        return _form_page(
            self, request, form, title=_("Editor’s pick"), button=_("Pick it"), said=said,
            edition=entry.edition,
        )  # fmt: skip

    @admin.display(description=_("paper"))
    def title(self, entry: Entry) -> str:
        return str(entry.paper)

    @admin.display(description=_("score"), ordering="score")
    def trending(self, entry: Entry) -> str:
        return "" if entry.score is None else f"{entry.score:.3f}"

    @admin.display(description=_("state"))
    def state(self, entry: Entry) -> str:
        return _state(entry)

    @admin.display(description=_("source"), ordering="source")
    def origin(self, entry: Entry) -> str:
        return entry.source.slug if entry.source else gettext("editor")

    @admin.action(description=_("Drop"), permissions=["edit"])
    def drop(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        return self._asked(
            request,
            queryset,
            "drop",
            title=_("Drop"),
            said=_(
                "Readers no longer see it in this edition, and no digest brings it from now on, "
                "those that wait to leave included; those that left keep it. A pick ends with it. "
                "The scores and ranks of the others do not change."
            ),
            left=_("It is dropped already."),
            applies=Q(dropped_at__isnull=True),
            act=lambda entry: editions.drop(entry, timezone.now()),
            done=gettext("Dropped"),
        )

    @admin.action(description=_("Take back into the edition"), permissions=["edit"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        return self._asked(
            request,
            queryset,
            "restore",
            title=_("Take back into the edition"),
            said=_("It stands at its old rank again, for readers and for the digests to come."),
            left=_("It is not dropped."),
            applies=_DROPPED,
            act=editions.restore,
            done=gettext("Taken back"),
        )

    @admin.action(description=_("Take the pick back"), permissions=["edit"])
    def unpick(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        return self._asked(
            request,
            queryset,
            "unpick",
            title=_("Take the pick back"),
            said=_("It is a paper like the others again. Its note is gone."),
            left=_("It is no pick."),
            applies=_PICKED,
            act=editions.unpick,
            done=gettext("Pick taken back"),
        )

    def has_edit_permission(self, request: HttpRequest) -> bool:
        """Nobody may edit an entry's fields; who may in principle, decides on it."""
        return request.user.has_perm("papers.change_entry")

    def _asked(
        self,
        request: HttpRequest,
        queryset: QuerySet[Entry],
        action: str,
        *,
        title: str | Promise,
        said: str | Promise,
        left: str | Promise,
        applies: Q,
        act: Callable[[Entry], bool],
        done: str,
    ) -> HttpResponse | None:
        def acted(entry: Entry, answers: dict[str, Any]) -> bool:
            is_done = act(entry)
            if is_done:
                _note(self, request, entry, done)
            return is_done

        question = Question(
            action=action,
            title=title,
            said=said,
            left=left,
            act=acted,
            applies=lambda rows: rows.filter(applies),
            describe=lambda entry: f"{entry.edition.day}: {entry.paper}",
        )
        return ask(self, request, queryset.select_related("edition", "paper"), question)


# -- the desk ------------------------------------------------------------------------------


def _desk(request: HttpRequest, edition: Edition) -> dict[str, Any]:
    """A page of the edition's entries and how many of each kind: two queries."""
    counts = edition.entries.aggregate(
        **{_count_name(tab): Count("id", filter=tab.rows) for tab in TABS}
    )
    tab = _tab(request.GET.get("show"))
    total = counts[_count_name(tab)]
    shown = edition.entries.filter(tab.rows).select_related("paper", "source").order_by(*_BY_RANK)
    shown = shown.defer(
        "paper__vector", "paper__meaning", "paper__abstract", "paper__authors", "paper__keywords"
    )
    page = _page(shown, total, request.GET.get("page"))
    return {
        "tabs": [(each, counts[_count_name(each)]) for each in TABS if counts[_count_name(each)]],
        "tab": tab,
        "rows": [(entry, _state(entry)) for entry in page],
        "page": page,
        "most_picks": editions.MOST_PICKS,
        "may_edit": request.user.has_perm("papers.change_entry"),
        "here": request.get_full_path(),
    }


def _page(rows: QuerySet[Entry], total: int, wanted: str | None) -> Page[Entry]:
    paginator = Paginator(rows, ROWS)
    paginator.count = total  # counted already, with the others
    return paginator.get_page(wanted)


def _tab(name: str | None) -> Tab:
    return next((tab for tab in TABS if tab.name == name), TABS[0])


def _count_name(tab: Tab) -> str:
    return f"{tab.name or 'all'}_count"


def _counted(rows: Q) -> Subquery:
    """Per edition, by its own index, and so for the shown page of editions only."""
    counted = Entry.objects.filter(rows, edition=OuterRef("pk")).order_by().values("edition")
    return Subquery(counted.annotate(number=Count("pk")).values("number"))


def _state(entry: Entry) -> str:
    if entry.paper.withdrawn_at is not None:
        return gettext("withdrawn")
    if entry.dropped_at is not None:
        return gettext("dropped")
    return gettext("pick by %(name)s") % {"name": entry.picked_by} if entry.is_pick else ""


# -- what an editor does -------------------------------------------------------------------


def _add(edition: Edition, form: AddPaperForm, *, by: str) -> Entry:
    """Raises EditorError and FetchError."""
    now = timezone.now()
    arxiv_id, note = form.cleaned_data["paper"], form.cleaned_data["note"]
    known = Paper.objects.defer("vector", "meaning").filter(arxiv_id=arxiv_id).first()
    paper = known or fetching.look_up(arxiv_id, now=now)
    with transaction.atomic():
        entry = editions.add(edition, paper, now)
        if note:
            editions.pick(entry, by=by, note=note)
            entry.refresh_from_db()
    return entry


def _fetch(
    model_admin: EditionAdmin,
    request: HttpRequest,
    edition: Edition,
    clients: Mapping[Source, Client],
) -> bool:
    """Asks every source once, since somebody waits; a message says what each answered.

    One that was found to be down is not asked for the other days.
    """
    fetches = [
        fetching.fetch_day(
            source,
            edition.day,
            now=timezone.now(),
            backfill=edition.is_backfill,
            client=client,
        )
        for source, client in clients.items()
        if not client.found_down
    ]
    for fetch in fetches:
        level = messages.ERROR if fetch.status == Fetch.Status.FAILED else messages.INFO
        model_admin.message_user(request, _told(fetch), level)
    return any(fetch.status != Fetch.Status.FAILED for fetch in fetches)


def _told(fetch: Fetch) -> str:
    if fetch.status == Fetch.Status.FAILED:
        text = gettext("%(source)s, %(day)s: %(error)s")
        return text % {
            "source": fetch.source,
            "day": fetch.day,
            "error": fetch.error.partition("\n")[0],
        }
    text = ngettext(
        "%(source)s, %(day)s: %(seen)d paper, %(new)d never seen before.",
        "%(source)s, %(day)s: %(seen)d papers, %(new)d never seen before.",
        fetch.papers_seen,
    )
    return text % {
        "source": fetch.source,
        "day": fetch.day,
        "seen": fetch.papers_seen,
        "new": fetch.papers_new,
    }


def _note(
    model_admin: admin.ModelAdmin[Any],
    request: HttpRequest,
    entry: Entry,
    done: str,
    words: str = "",
) -> None:
    """Into the history of the edition, where the whole morning can be read."""
    said = f"{done}: {entry.paper}" + (f" ({words})" if words else "")
    model_admin.log_change(request, entry.edition, said)


def _name(request: HttpRequest) -> str:
    return _public_name(request.user)


def _public_name(user: AbstractBaseUser | AnonymousUser) -> str:
    """Readers see it, so of a name that is an address only what stands before the @."""
    full = user.get_full_name() if isinstance(user, AbstractUser) else ""
    return (full or user.get_username()).partition("@")[0]


def _may_edit_or_deny(request: HttpRequest) -> None:
    needed: Iterable[str] = ["papers.view_edition", "papers.change_entry"]
    if not request.user.has_perms(needed):
        raise PermissionDenied


def _desk_url(edition_id: int) -> str:
    return reverse("admin:papers_edition_change", args=[edition_id])


def _back_to(request: HttpRequest, entry: Entry, text: str) -> HttpResponse:
    messages.success(request, text % {"paper": entry.paper.title})
    return redirect(f"{_desk_url(entry.edition_id)}#entry-{entry.pk}")


def _form_page(
    model_admin: admin.ModelAdmin[Any],
    request: HttpRequest,
    form: Form,
    *,
    title: str | Promise,
    button: str | Promise,
    said: str | Promise,
    edition: Edition,
    there: Entry | None = None,
) -> HttpResponse:
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "button": button,
        "said": said,
        "form": form,
        "edition": edition,
        "there": there,
        "opts": Edition._meta,
        "media": model_admin.media + form.media,
    }
    return TemplateResponse(request, "admin/edition_form.html", context)
