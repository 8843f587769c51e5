"""The account of each date for the operator: what fell due must have ended somewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from .. import accounts
from ..models import Digest, Slot
from . import filters, story
from .ledger import ReadOnly

Text = str | Promise
State = Digest.State

ENDED = (State.SENT, State.FAILED, State.SKIPPED, State.SUPPRESSED, State.UNCERTAIN)
LATE_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Term:
    """One part of the equation. url: the digests that it counts; empty for who may not see them.

    start, share: where it stands in the bar, in percent of its length.
    """

    name: str
    words: Text
    count: int
    url: str = ""
    start: float = 0
    share: float = 0


class SlotList(ChangeList):
    """One page's slots with their accounts: one GROUP BY for those that are not kept yet."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        slots: list[Slot] = list(self.result_list)
        by_slot = accounts.accounts(slots)
        late = _late(slots, timezone.now())
        linked = request.user.has_perm("digest.view_digest")
        for slot in slots:
            slot.account_shown = _shown(by_slot[slot.pk], linked=linked)  # type: ignore[attr-defined]
            slot.late = late.get(slot.pk, 0)  # type: ignore[attr-defined]
        self.result_list = slots


@admin.register(Slot)
class SlotAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["date", "equation", "shares", "late"]
    ordering = ["-date"]
    list_per_page = 31
    sortable_by = ["date"]
    change_form_template = "admin/slot_page.html"
    fields = ["date", "due", "counts"]

    class Media:
        css = {"all": ["digest/ledger.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SlotList

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        slot = kwargs.get("obj")
        if slot is not None:
            linked = request.user.has_perm("digest.view_digest")
            details = accounts.details(slot)
            context |= _shown(accounts.account(slot), linked=linked)
            context |= {
                "delays": _delays(details.delay),
                "late": _late([slot], timezone.now()).get(slot.pk, 0),
                "skipped": _parts(slot, "skip_reason", details.skip_reasons, _skip_words, linked),
                "outcomes": _parts(slot, "outcome", details.outcomes, story.outcome, linked),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=_("account"))
    def equation(self, slot: Slot) -> str:
        return render_to_string("admin/slot_equation.html", getattr(slot, "account_shown", {}))

    @admin.display(description=_("shares"))
    def shares(self, slot: Slot) -> str:
        return render_to_string("admin/slot_bar.html", getattr(slot, "account_shown", {}))

    @admin.display(description=_("overdue"))
    def late(self, slot: Slot) -> int:
        return int(getattr(slot, "late", 0))


def terms(account: accounts.Account, *, linked: bool) -> list[Term]:
    """What `due` is the sum of, in the order in which it is written out."""
    open_states = ",".join(Digest.OPEN)
    parts: list[tuple[str, Text, int, str]] = [
        *(
            (state.value, state.label, account.count(state), f"state__exact={state.value}")
            for state in ENDED
        ),
        ("open", _("open"), account.open, f"state__in={open_states}"),
    ]
    found, start = [], 0.0
    for name, words, count, query in parts:
        share = 100 * count / max(account.digests, 1)
        url = _digests_url(f"slot={account.date}&{query}") if linked else ""
        found.append(Term(name, words, count, url, start, share))
        start += share
    return found


def _shown(account: accounts.Account, *, linked: bool) -> dict[str, Any]:
    return {"account": account, "terms": terms(account, linked=linked)}


def _late(slots: Sequence[Slot], now: datetime) -> dict[int, int]:
    """Slot id -> digests that are open though they fell due a while ago."""
    live = [slot.pk for slot in slots if slot.counts is None]
    late = Digest.objects.open().filter(slot__in=live, due_at__lt=now - LATE_AFTER)
    return dict(late.order_by().values_list("slot").annotate(number=Count("*")))


def _parts(
    slot: Slot,
    name: str,
    counts: Mapping[str, int],
    words: Callable[[str], Text],
    linked: bool,
) -> list[Term]:
    """Largest first."""
    found = []
    for value, count in sorted(counts.items(), key=lambda part: (-part[1], part[0])):
        url = _digests_url(f"slot={slot.date}&{name}={value or filters.NONE}")
        found.append(Term(value, words(value), count, url if linked else ""))
    return found


def _delays(delay: accounts.Delay | None) -> list[tuple[Text, timedelta]]:
    """In whole seconds."""
    if delay is None:
        return []
    named: list[tuple[Text, timedelta]] = [
        (_("the fastest"), delay.least),
        (_("half within"), delay.median),
        (_("95 % within"), delay.most_of_all),
        (_("the slowest"), delay.longest),
    ]
    return [(name, timedelta(seconds=round(each.total_seconds()))) for name, each in named]


def _skip_words(value: str) -> Text:
    return Digest.SkipReason(value).label


def _digests_url(query: str) -> str:
    return f"{reverse('admin:digest_digest_changelist')}?{query}"
