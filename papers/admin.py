"""The operator's view of sources, days and papers. What machines write is read-only here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from .models import Edition, Entry, Fetch, Paper, Signal, Source, Vocabulary


class ReadOnly:
    """Rows that machines write: to be looked at, and deleted where that is harmless."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Source)
class SourceAdmin(admin.ModelAdmin):
    list_display = ["name", "slug", "is_enabled", "next_fetch_at", "last_fetch"]
    list_filter = ["is_enabled"]
    actions = ["fetch_now"]

    @admin.display(description=_("last attempt"))
    def last_fetch(self, source: Source) -> str:
        fetch = source.fetches.first()
        return f"{fetch.started_at:%Y-%m-%d %H:%M} {fetch.get_status_display()}" if fetch else "-"

    @admin.action(description=_("Fetch now"))
    def fetch_now(self, request: HttpRequest, queryset: QuerySet[Source]) -> None:
        count = queryset.update(next_fetch_at=timezone.now())
        text = ngettext(
            "%d source is read within a minute.", "%d sources are read within a minute.", count
        )
        self.message_user(request, text % count, messages.SUCCESS)


@admin.register(Fetch)
class FetchAdmin(ReadOnly, admin.ModelAdmin):
    list_display = [
        "started_at", "source", "day", "origin", "status", "http_status", "pages",
        "papers_seen", "papers_new", "papers_skipped", "first_error",
    ]  # fmt: skip
    list_filter = ["status", "origin", "source"]
    list_select_related = ["source"]
    date_hierarchy = "started_at"
    search_fields = ["error"]

    @admin.display(description=_("error"))
    def first_error(self, fetch: Fetch) -> str:
        return fetch.error.partition("\n")[0][:100]


class SignalInline(ReadOnly, admin.TabularInline):
    model = Signal
    extra = 0
    can_delete = False


@admin.register(Paper)
class PaperAdmin(admin.ModelAdmin):
    """Everything is the source's word but the withdrawal, which the operator may set first."""

    list_display = [
        "arxiv_id", "short_title", "organization", "upvotes", "stars", "published_at",
        "first_seen_at", "withdrawn_at",
    ]  # fmt: skip
    list_filter = [("withdrawn_at", admin.EmptyFieldListFilter), "encoder"]
    date_hierarchy = "first_seen_at"
    search_fields = ["arxiv_id", "title", "authors"]
    exclude = ["vector"]
    inlines = [SignalInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Paper]:
        return super().get_queryset(request).defer("vector")

    def get_readonly_fields(self, request: HttpRequest, obj: Paper | None = None) -> list[str]:
        editable = {"withdrawn_at", "vector"}
        return [field.name for field in Paper._meta.fields if field.name not in editable]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description=_("title"), ordering="title")
    def short_title(self, paper: Paper) -> str:
        return paper.title[:100]


@admin.register(Signal)
class SignalAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["read_at", "paper", "upvotes", "comments", "stars"]
    list_select_related = ["paper"]
    date_hierarchy = "read_at"
    search_fields = ["paper__arxiv_id", "paper__title"]


class EntryInline(ReadOnly, admin.TabularInline):
    model = Entry
    fields = ["rank", "paper", "score", "group", "position", "source", "added_at"]
    ordering = ["rank", "position"]
    extra = 0
    can_delete = False
    show_change_link = True


@admin.register(Edition)
class EditionAdmin(ReadOnly, admin.ModelAdmin):
    list_display = [
        "day", "papers", "is_backfill", "opened_at", "grew_at", "closed_at", "closed_seq", "note",
    ]  # fmt: skip
    list_filter = ["is_backfill", ("closed_at", admin.EmptyFieldListFilter)]
    date_hierarchy = "day"
    search_fields = ["note"]
    inlines = [EntryInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Edition]:
        editions: QuerySet[Edition] = super().get_queryset(request)
        return editions.annotate(paper_count=Count("entries"))

    @admin.display(description=_("papers"), ordering="paper_count")
    def papers(self, edition: Edition) -> int:
        return int(getattr(edition, "paper_count", 0))


@admin.register(Entry)
class EntryAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["edition", "rank", "paper", "score", "group", "position", "added_at"]
    list_filter = ["source"]
    list_select_related = ["edition", "paper"]
    date_hierarchy = "edition__day"
    search_fields = ["paper__arxiv_id", "paper__title"]


@admin.register(Vocabulary)
class VocabularyAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["encoder", "documents", "created_at"]
    list_filter = ["encoder"]
    date_hierarchy = "created_at"
    exclude = ["table"]
