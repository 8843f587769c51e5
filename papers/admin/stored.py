"""Papers and what belongs to them, as the sources told it."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..listing import LongList
from ..models import Paper, Signal, Vocabulary
from .reading import ReadOnly


class SignalInline(ReadOnly, admin.TabularInline):
    model = Signal
    extra = 0
    can_delete = False


@admin.register(Paper)
class PaperAdmin(LongList, admin.ModelAdmin):
    """Everything is the source's word but the withdrawal, which the operator may set first."""

    list_display = [
        "arxiv_id", "short_title", "organization", "upvotes", "stars", "published_at",
        "first_seen_at", "withdrawn_at",
    ]  # fmt: skip
    list_filter = [("withdrawn_at", admin.EmptyFieldListFilter)]
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
