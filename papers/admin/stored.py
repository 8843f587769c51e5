"""Papers and what belongs to them, as the sources told it, and who said what when."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.formats import date_format
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from ..listing import LongList
from ..models import Paper, Revision, Signal, Summary, TrendingFit, Vocabulary
from ..texts import cut, readable
from .reading import ReadOnly

SHOWN_CHARACTERS = 160  # of a text before and after


class _Told:
    """A field's change in few words, for a list; its own page has them all."""

    @admin.display(description=_("before"))
    def was(self, revision: Revision) -> str:
        return Truncator(revision.before).chars(SHOWN_CHARACTERS)

    @admin.display(description=_("after"))
    def became(self, revision: Revision) -> str:
        return Truncator(revision.after).chars(SHOWN_CHARACTERS)


class RevisionInline(_Told, ReadOnly, admin.TabularInline):
    model = Revision
    extra = 0
    can_delete = False
    fields = ("at", "field", "source", "was", "became")
    readonly_fields = ("was", "became")
    show_change_link = True


class SignalInline(ReadOnly, admin.TabularInline):
    model = Signal
    extra = 0
    can_delete = False


class SummaryInline(admin.StackedInline):
    """Deleted, it is made anew."""

    model = Summary
    extra = 0
    max_num = 0
    readonly_fields = ("text", "model", "made_at", "asked_at", "tries", "error")
    fields = readonly_fields

    def has_add_permission(self, request: HttpRequest, obj: Paper | None = None) -> bool:
        return False


@admin.register(Paper)
class PaperAdmin(LongList, admin.ModelAdmin):
    """Everything is the source's word but the withdrawal, which the operator may set first."""

    list_display = [
        "arxiv_id", "short_title", "organization", "upvotes", "stars", "citations", "version",
        "published_at", "first_seen_at", "withdrawn_at",
    ]  # fmt: skip
    list_filter = [("withdrawn_at", admin.EmptyFieldListFilter)]
    search_fields = ["arxiv_id", "title", "authors"]
    fieldsets = [
        (None, {"fields": ["arxiv_id", "version", "withdrawn_at"]}),
        (
            _("What it says"),
            {
                "fields": [
                    "title", "abstract", "tldr", "author_names", "organization", "in_categories",
                    "with_keywords", "published_at", "project_url", "code_url",
                ],
            },
        ),
        (
            _("What is thought of it"),
            {"fields": ["upvotes", "comments", "stars", "citations"]},
        ),
        (
            _("Who says so"),
            {"fields": ["said_by", "first_seen_at", "updated_at", "enriched_at"]},
        ),
        (_("For the ranking"), {"fields": ["encoder", "meaning_by", "content_hash"]}),
    ]  # fmt: skip
    inlines = [SummaryInline, RevisionInline, SignalInline]

    class Media:
        css = {"all": ["papers/editor.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Paper]:
        return super().get_queryset(request).defer("vector", "meaning")

    def get_readonly_fields(self, request: HttpRequest, obj: Paper | None = None) -> list[str]:
        editable = {"withdrawn_at", "vector", "meaning"}
        stored = [field.name for field in Paper._meta.fields if field.name not in editable]
        return [*stored, "author_names", "in_categories", "with_keywords", "said_by"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description=_("title"), ordering="title")
    def short_title(self, paper: Paper) -> str:
        return cut(readable(paper.title), 100)

    @admin.display(description=_("authors"))
    def author_names(self, paper: Paper) -> str:
        return ", ".join(paper.authors)

    @admin.display(description=_("categories"))
    def in_categories(self, paper: Paper) -> str:
        return ", ".join(paper.categories)

    @admin.display(description=_("keywords"))
    def with_keywords(self, paper: Paper) -> str:
        return ", ".join(paper.keywords)

    @admin.display(description=_("said by"))
    def said_by(self, paper: Paper) -> str:
        """Which source's word each field is, a line for each source."""
        fields: dict[str, list[str]] = {}
        for name, slug in sorted(paper.read_from.items()):
            fields.setdefault(slug, []).append(_name(name))
        rows = [(slug, ", ".join(names)) for slug, names in sorted(fields.items())]
        return render_to_string("admin/paper_said_by.html", {"rows": rows})


@admin.register(Revision)
class RevisionAdmin(_Told, ReadOnly, LongList, admin.ModelAdmin):
    list_display = ["minute", "arxiv_id", "field", "source", "was", "became"]
    list_select_related = ["paper"]
    ordering = ["-id"]
    search_fields = ["paper__arxiv_id__exact"]
    search_help_text = _("A whole arXiv id.")

    class Media:
        css = {"all": ["papers/editor.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Revision]:
        return (
            super()
            .get_queryset(request)
            .defer("paper__vector", "paper__meaning", "paper__abstract")
        )

    @admin.display(description=_("at"))
    def minute(self, revision: Revision) -> str:
        return date_format(revision.at, "Y-m-d H:i")

    @admin.display(description=_("paper"))
    def arxiv_id(self, revision: Revision) -> str:
        return revision.paper.arxiv_id

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Signal)
class SignalAdmin(ReadOnly, LongList, admin.ModelAdmin):
    list_display = ["read_at", "paper", "upvotes", "comments", "stars"]
    list_select_related = ["paper"]
    ordering = ["-id"]
    search_fields = ["paper__arxiv_id__exact"]
    search_help_text = _("A whole arXiv id.")


@admin.register(Vocabulary)
class VocabularyAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["encoder", "documents", "created_at"]
    list_filter = ["encoder"]
    date_hierarchy = "created_at"
    exclude = ["table"]


@admin.register(TrendingFit)
class TrendingFitAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["encoder", "papers", "created_at"]
    exclude = ["table"]


def _name(field: str) -> str:
    names = {known.name: str(known.verbose_name) for known in Paper._meta.fields}
    return names.get(field, field)
