"""The transports: what each was given today, and whether it rests. Read-only, but for one word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from papers.confirming import ActionsOnPage, Question, ask

from .. import flow
from ..models import TransportState
from .records import ReadOnly


@admin.register(TransportState)
class TransportStateAdmin(ReadOnly, ActionsOnPage, admin.ModelAdmin):
    """A row for each that was ever limited or in trouble, whether the settings still name it or
    not.
    """

    list_display = ["name", "circuit", "used_today", "limit_today", "said_last", "error_at"]
    ordering = ["name"]
    sortable_by = []
    fields = [
        "name", "circuit", "used_today", "limit_today", "free_at", "failures", "open_until",
        "error", "error_at",
    ]  # fmt: skip
    readonly_fields = ["circuit", "used_today", "limit_today"]
    actions = ["close_circuit"]

    @admin.display(description=_("circuit"))
    def circuit(self, row: TransportState) -> str:
        return _standing(row).said

    @admin.display(description=_("given today"))
    def used_today(self, row: TransportState) -> str:
        standing = _standing(row)
        if standing.limit is None and not standing.used:
            return gettext("not counted, without a limit")
        return number_format(standing.used, force_grouping=True)

    @admin.display(description=_("today’s limit"))
    def limit_today(self, row: TransportState) -> str:
        limit = _standing(row).limit
        return gettext("none") if limit is None else number_format(limit, force_grouping=True)

    @admin.display(description=_("said last, in trouble"))
    def said_last(self, row: TransportState) -> str:
        return row.error if len(row.error) <= 80 else f"{row.error[:79]}…"

    def has_close_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("subscribers.change_transportstate")

    def page_actions(self, request: HttpRequest, obj: TransportState) -> Sequence[str]:
        return ["close_circuit"] if obj.open_until or obj.failures else []

    @admin.action(description=_("Close the circuit now"), permissions=["close"])
    def close_circuit(self, request: HttpRequest, queryset: QuerySet[TransportState]) -> Any:
        def act(row: TransportState, answers: dict[str, Any]) -> bool:
            return flow.close_circuit(row.name)

        question = Question(
            action="close_circuit",
            title=_("Close the circuit now"),
            said=_(
                "Mail leaves by it from the next minute on. Where the trouble is not over, it "
                "rests again after one window of mails."
            ),
            left=_("They were not in trouble."),
            act=act,
            applies=lambda rows: rows.filter(Q(open_until__isnull=False) | Q(failures__gt=0)),
            describe=lambda row: f"{row.name}: {_standing(row).said}",
        )
        return ask(self, request, queryset, question)


def _standing(row: TransportState) -> flow.Standing:
    return flow.standing(row, timezone.now())
