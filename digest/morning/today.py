"""Did today go out, and what comes next: facts in, sentences out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta

from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext

from ..accounts import Account
from ..models import Digest
from .facts import Day, Facts, Live
from .words import counted, day_name, day_short, listed


def today(facts: Facts, live: Live) -> list[str]:
    return [*_of_the_edition(facts), *_of_the_readers(facts), *_of_the_hold(live)]


def coming(facts: Facts) -> Iterator[str]:
    if facts.due_now:
        text = ngettext("%(n)s reader is due now.", "%(n)s readers are due now.", facts.due_now)
        yield text % {"n": counted(facts.due_now)}
    if not facts.due:
        yield gettext("Nobody falls due in the next 24 hours.")
        return
    first, number = facts.due[0]
    text = ngettext(
        "The next %(n)s reader falls due from %(time)s UTC; %(all)s in the next 24 hours.",
        "The next %(n)s readers fall due from %(time)s UTC; %(all)s in the next 24 hours.",
        number,
    )
    total = sum(number for _, number in facts.due)
    yield text % {"n": counted(number), "time": f"{first:%H:%M}", "all": counted(total)}


def _of_the_edition(facts: Facts) -> Iterator[str]:
    if facts.closed is None:
        yield gettext("No edition has closed yet.")
    else:
        yield _closed(facts.closed, facts.today)
        yield from _without_papers(facts)
    for each in facts.open:
        text = ngettext(
            "%(edition)s is open, with %(count)s paper so far.",
            "%(edition)s is open, with %(count)s papers so far.",
            each.papers,
        )
        yield text % {"edition": _edition(each.day, facts.today), "count": counted(each.papers)}


def _closed(edition: Day, today: date) -> str:
    text = ngettext(
        "%(edition)s closed %(moment)s with %(count)s paper.",
        "%(edition)s closed %(moment)s with %(count)s papers.",
        edition.papers,
    )
    return text % {
        "edition": _edition(edition.day, today),
        "moment": _closing(edition),
        "count": counted(edition.papers),
    }


def _closing(edition: Day) -> str:
    """The hour alone where the day goes without saying: its evening, or the night after."""
    assert edition.closed_at is not None, "it is closed"
    said = {"day": day_short(edition.closed_at.date()), "time": f"{edition.closed_at:%H:%M}"}
    if (edition.closed_at.date() - edition.day).days in (0, 1):
        return gettext("at %(time)s UTC") % said
    return gettext("on %(day)s at %(time)s UTC") % said


def _edition(day: date, today: date) -> str:
    if day == today:
        return gettext("Today’s edition")
    if day == today - timedelta(days=1):
        return gettext("Yesterday’s edition")
    is_past = day.year != today.year
    name = date_format(day, "LONG_DATE_FORMAT") if is_past else day_name(day)
    return gettext("The edition of %(day)s") % {"day": name}


def _without_papers(facts: Facts) -> Iterator[str]:
    """Says of the days since the newest edition that they are empty, not forgotten."""
    assert facts.closed is not None
    opened = {each.day for each in facts.open}
    between = (facts.today - facts.closed.day).days - 1
    days = [facts.closed.day + timedelta(days=each + 1) for each in range(between)]
    empty = [day for day in days if day not in opened]
    if not empty:
        return
    if len(empty) > 3:
        text = ngettext(
            "No papers were listed on %(count)d day since.",
            "No papers were listed on %(count)d days since.",
            len(empty),
        )
        yield text % {"count": len(empty)}
        return
    if all(day.weekday() > 4 for day in empty):
        text = gettext("No papers were listed on %(days)s, as on most weekends.")
    else:
        text = gettext("No papers were listed on %(days)s.")
    yield text % {"days": listed([day_name(day) for day in empty])}


def _of_the_readers(facts: Facts) -> Iterator[str]:
    """Of today's slot; before it begins, of the newest one; and of tomorrow's, further east."""
    if not facts.recent:
        yield _of_nobody(facts)
        return
    tomorrow = facts.account(facts.today + timedelta(days=1))
    account = facts.account(facts.today)
    if account is None:
        yield gettext("Nobody has fallen due yet today.")
        account = next((each for each in facts.recent if each.date < facts.today), None)
    if account is not None:
        yield _of_the_slot(account, facts)
    if tomorrow is not None:
        yield _of_the_slot(tomorrow, facts)


def _of_nobody(facts: Facts) -> str:
    count = facts.readers[-1][1]
    if not count:
        return gettext("There are no readers yet.")
    text = ngettext(
        "%(count)s reader is active, and has not fallen due yet.",
        "%(count)s readers are active, and none has fallen due yet.",
        count,
    )
    return text % {"count": counted(count)}


def _of_the_slot(account: Account, facts: Facts) -> str:
    said = {"due": counted(account.due), "day": day_name(account.date)}
    if account.date > facts.today:
        opening = ngettext(
            "Where %(day)s has begun, of %(due)s reader due",
            "Where %(day)s has begun, of %(due)s readers due",
            account.due,
        )
    elif account.date == facts.today:
        opening = ngettext(
            "Of %(due)s reader due today", "Of %(due)s readers due today", account.due
        )
    else:
        opening = ngettext(
            "Of %(due)s reader due on %(day)s", "Of %(due)s readers due on %(day)s", account.due
        )
    parts = _endings(account, facts.skipped if account.date == facts.today else {})
    return f"{opening % said} {listed(parts)}."


def _endings(account: Account, skipped: Mapping[str, int]) -> list[str]:
    """How many ended how, the usual first; of those skipped apart, where it is known why."""
    nothing = skipped.get(Digest.SkipReason.NOTHING, 0)
    late = skipped.get(Digest.SkipReason.LATE, 0)
    other = account.skipped - nothing - late
    endings = [
        (account.sent, ngettext("%(n)s has theirs", "%(n)s have theirs", account.sent)),
        (nothing, gettext("%(n)s had nothing worth a mail")),
        (late, ngettext("%(n)s was too late", "%(n)s were too late", late)),
        (other, ngettext("%(n)s was skipped", "%(n)s were skipped", other)),
        (account.suppressed, gettext("%(n)s may not be mailed")),
        (account.failed, gettext("%(n)s failed")),
        (account.uncertain, ngettext("%(n)s is in doubt", "%(n)s are in doubt", account.uncertain)),
        (account.open, ngettext("%(n)s waits", "%(n)s wait", account.open)),
    ]
    told = [text % {"n": counted(number)} for number, text in endings if number > 0]
    return told or [gettext("none has a digest")]


def _of_the_hold(live: Live) -> Iterator[str]:
    if live.hold is not None:
        yield gettext("Sending is held, so no digest leaves.")
