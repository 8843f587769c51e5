"""What the rows and the sink's log say about a round: pure, so that it can be tested itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .ledger import OPEN, Accepted, Row

NEVER_ACCEPTED = ("skipped", "failed", "suppressed")
ROWS_NAMED = 5


@dataclass(frozen=True)
class Expected:
    """What the blows of a round may cost.

    doubts: digests that may end uncertain. skips: the reasons that may be given, besides
    "nothing". gone: address -> when its reader had left (seconds since the epoch), and was told
    so; the window that was under way then may still go, which takes `window_seconds`.
    """

    doubts: int
    skips: frozenset[str] = frozenset()
    gone: Mapping[str, float] | None = None
    window_seconds: float = 0


@dataclass(frozen=True)
class Counts:
    digests: int
    sent: int
    skipped: int
    uncertain: int
    windows_in_doubt: int
    lost: int
    duplicates: int


def counts(rows: Sequence[Row], accepted: Sequence[Accepted], forgotten: Sequence[int]) -> Counts:
    """lost: sent and never accepted, or due and without a digest. duplicates: mails too many."""
    state = Counter(row.state for row in rows)
    times = Counter(mail.digest for mail in accepted)
    in_doubt = {row.claim for row in rows if row.state == "uncertain"}
    return Counts(
        digests=len(rows),
        sent=state["sent"],
        skipped=state["skipped"] + state["suppressed"],
        uncertain=state["uncertain"],
        windows_in_doubt=len(in_doubt),
        lost=sum(row.state == "sent" and not times[row.digest] for row in rows) + len(forgotten),
        duplicates=sum(count - 1 for count in times.values()),
    )


def breaches(
    rows: Sequence[Row],
    accepted: Sequence[Accepted],
    *,
    forgotten: Sequence[int],
    unbalanced: Sequence[str],
    unfinished: Mapping[str, int],
    expected: Expected,
) -> list[str]:
    """Every promise that was broken, with the rows concerned; nothing where all were kept."""
    times = Counter(mail.digest for mail in accepted)
    known = {row.digest for row in rows}
    uncertain = [row.digest for row in rows if row.state == "uncertain"]
    wrong = {
        "accepted more than once": [key for key, count in times.items() if count > 1],
        "accepted, and no digest": [key for key in times if key not in known],
        "sent, and never accepted": _rows(
            rows, lambda row: row.state == "sent" and not times[row.digest]
        ),
        "accepted against the ledger": _rows(
            rows, lambda row: row.state in NEVER_ACCEPTED and times[row.digest] > 0
        ),
        "refused by nobody, and failed": _rows(rows, lambda row: row.state == "failed"),
        "skipped for no reason of the round's": _rows(
            rows, lambda row: row.skip_reason not in {"", "nothing", *expected.skips}
        ),
        "suppressed, and nobody left": _rows(
            rows, lambda row: row.state == "suppressed" and not expected.gone
        ),
        "still open": _rows(rows, lambda row: row.state in OPEN),
        f"uncertain beyond {expected.doubts}": uncertain[expected.doubts :],
        "readers without a digest": [str(pk) for pk in forgotten],
        "accepted for one who had left": _after_the_end(accepted, expected),
        "unbalanced slots": list(unbalanced),
        "unfinished": [f"{count} {what}" for what, count in unfinished.items()],
    }
    return [f"{what}: {len(found)} ({_named(found)})" for what, found in wrong.items() if found]


def _rows(rows, condition) -> list[str]:
    return [f"{row.digest} {row.state} {row.skip_reason}".strip() for row in rows if condition(row)]


def _after_the_end(accepted: Sequence[Accepted], expected: Expected) -> list[str]:
    gone = expected.gone or {}
    return [
        f"{mail.recipient} {mail.at - gone[mail.recipient]:.1f} s later"
        for mail in accepted
        if mail.recipient in gone and mail.at > gone[mail.recipient] + expected.window_seconds
    ]


def _named(found: Sequence[str]) -> str:
    more = ["…"] if len(found) > ROWS_NAMED else []
    return ", ".join([*found[:ROWS_NAMED], *more])
