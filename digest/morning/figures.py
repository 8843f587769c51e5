"""Three plots, each with its numbers as words and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext, ngettext

from .. import plots
from ..accounts import Account
from .facts import DAYS, Facts
from .words import change, counted, day_brief, day_name, day_short, listed

STACKED = ("sent", "skipped", "failed", "uncertain", "open")


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, what it shows in words, and the same numbers as a table."""

    name: str
    title: str
    said: str
    plot: plots.Plot
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    legend: Sequence[tuple[str, str]] = ()


def figures(facts: Facts) -> list[Figure]:
    return [_readers_figure(facts), _outcomes_figure(facts), _delays_figure(facts)]


def _readers_figure(facts: Facts) -> Figure:
    (_, then), (_, now) = facts.readers[0], facts.readers[-1]
    text = ngettext(
        "%(n)s active reader, which is %(change)s %(days)d days ago.",
        "%(n)s active readers, which is %(change)s %(days)d days ago.",
        now,
    )
    said = text % {"n": counted(now), "change": change(now - then), "days": DAYS}
    anybody = any(number for _, number in facts.readers)
    return Figure(
        "readers",
        gettext("Active readers"),
        said if anybody else gettext("None yet."),
        plots.trend([(day_short(day), number) for day, number in facts.readers]),
        (gettext("Day"), gettext("Readers")),
        [(day_brief(day), counted(number)) for day, number in facts.readers[::-1] if anybody],
    )


def _outcomes_figure(facts: Facts) -> Figure:
    labels = {
        "sent": gettext("sent"),
        "skipped": gettext("skipped"),
        "failed": gettext("failed or suppressed"),
        "uncertain": gettext("in doubt"),
        "open": gettext("open"),
    }
    slots = [(account.date, _parts(account)) for account in facts.recent]
    said = gettext("None yet.")
    if slots:
        day, newest = slots[0]
        told = [f"{counted(number)} {labels[kind]}" for kind, number in newest.items() if number]
        said = gettext("%(day)s: %(parts)s.") % {"day": day_name(day), "parts": listed(told)}
    return Figure(
        "outcomes",
        gettext("How digests ended, by slot"),
        said,
        plots.stacks([(day_short(day), parts) for day, parts in slots[::-1]], STACKED),
        (gettext("Slot"), *labels.values()),
        [(day_brief(day), *(counted(parts[kind]) for kind in STACKED)) for day, parts in slots],
        legend=list(labels.items()),
    )


def _parts(account: Account) -> dict[str, int]:
    return {
        "sent": account.sent,
        "skipped": account.skipped,
        "failed": account.failed + account.suppressed,
        "uncertain": account.uncertain,
        "open": account.open,
    }


def _delays_figure(facts: Facts) -> Figure:
    by_hour = {
        hour: (delay.median.total_seconds(), delay.most_of_all.total_seconds())
        for hour, delay in sorted(facts.delays.items())
    }
    said = gettext("Nothing was sent yet.")
    if facts.delays_of and by_hour:
        median, most = max(by_hour.values(), key=lambda both: both[1])
        text = gettext(
            "%(day)s: in the slowest hour half were sent within %(median)s of their due moment, "
            "95\u00a0%% within %(most)s."
        )
        said = text % {
            "day": day_name(facts.delays_of),
            "median": plots.duration(median),
            "most": plots.duration(most),
        }
    return Figure(
        "delays",
        gettext("From due to sent, by UTC hour"),
        said,
        plots.delays(by_hour),
        (gettext("Hour"), gettext("Sent"), gettext("Median"), gettext("95\u00a0%")),
        [
            (
                f"{hour:02}:00",
                counted(delay.count),
                plots.duration(by_hour[hour][0]),
                plots.duration(by_hour[hour][1]),
            )
            for hour, delay in sorted(facts.delays.items())
        ],
        legend=[("high", gettext("95\u00a0%")), ("low", gettext("median"))],
    )
