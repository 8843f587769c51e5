"""Paperround in a process of its own, as one contender among the others: at each `turn` the next
readers fall due, are assembled for, and sent to. Before the first turn it keeps what it chose, for
the others to send.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any


def main() -> None:
    readers, picked = int(sys.argv[1]), Path(sys.argv[2])
    import django

    django.setup()
    from config.celery import keep_what_stands

    keep_picks(readers, picked)
    keep_what_stands()  # as every child of production's workers
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin, 1):
        print(json.dumps(turn(number, readers)), flush=True)


def turn(number: int, readers: int) -> dict[str, Any]:
    """What assembling and sending took, of readers number * readers + 1 and so on."""
    from django.utils import timezone

    from digest import assembly, tasks

    fall_due(number, readers)
    now = timezone.now()
    assembling, _ = clocked(lambda: assembly.assemble_due(now))
    sending, ended = clocked(lambda: tasks.send_all(now))
    return {"mails": ended["sent"], "assembling": assembling, "sending": sending}


def fall_due(number: int, readers: int) -> None:
    from django.utils import timezone

    from subscribers.models import Subscriber

    first = number * readers + 1
    theirs = Subscriber.objects.filter(pk__range=(first, first + readers - 1))
    theirs.update(next_due_at=timezone.now() - timedelta(minutes=1))


def clocked(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}, done


# -- what the others send ------------------------------------------------------------------


def keep_picks(readers: int, file: Path) -> None:
    """The first readers' digests, whose mails leave before any clock: a warm-up."""
    from django.utils import timezone

    from digest import assembly, tasks

    fall_due(0, readers)
    now = timezone.now()
    assembly.assemble_due(now)
    with file.open("w") as lines:
        lines.writelines(f"{json.dumps(mail)}\n" for mail in mails(now))
    tasks.send_all(now)


def mails(now: datetime) -> Iterator[dict[str, Any]]:
    """All that stands in each mail, in finished words."""
    from digest import rendering
    from digest.models import Digest

    waiting = Digest.objects.open().select_related("subscriber", "slot").order_by("pk")
    for digest in waiting.iterator(chunk_size=500):
        content = rendering.contents([digest], now=now)[digest.pk]
        yield {
            "email": digest.subscriber.email if digest.subscriber else "",
            "subject": content.subject,
            "preheader": content.preheader,
            "day": f"{content.edition_day or content.slot_date:%A, %d %B %Y}",
            "count": f"{content.chosen_count} chosen for you from {content.candidates_count}",
            "full": [item_of(item) for item in (*content.full, *content.picks)],
            "brief": [item_of(item) for item in content.brief],
            "why": f"You get this mail because you subscribed. It comes {content.cadence_words}.",
            **{
                name: getattr(content, name)
                for name in (
                    "web_url", "preferences_url", "pause_url", "unsubscribe_url", "postal_address"
                )
            },
        }  # fmt: skip


def item_of(item: Any) -> dict[str, Any]:
    from django.template.loader import render_to_string

    names = (
        "title", "authors_line", "organization", "upvotes", "summary",
        "abstract_url", "pdf_url", "code_url", "more_url", "less_url", "save_url",
    )  # fmt: skip
    reason = item.reason and render_to_string(
        "emails/_reason.txt", {"reason": item.reason and asdict(item.reason)}
    )
    return {**{name: getattr(item, name) for name in names}, "reason": reason or ""}


if __name__ == "__main__":
    main()
