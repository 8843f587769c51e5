"""Measures the admin's changelists over a million readers.

    python benchmarks/admin.py --database postgres://postgres@127.0.0.1:5432/postgres
    python benchmarks/admin.py --readers 100000         # SQLite, in a temporary file

Makes a database of its own (and drops it), fills it with readers who each had a digest, opens
every list and the usual filters and searches on it as the operator would, and prints JSON: the
time that the database took for the page, beside a bare SELECT of the same hundred rows, measured in
turn within one run; and the slowest statement. `ratio` is the one over the other.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

ROUNDS = 7
PAGE = 100


@dataclass(frozen=True, slots=True)
class List:
    """A page of a list: the address's query, and the rows that it shows."""

    model: str
    query: str = ""
    rows: Callable[[Any], Any] = lambda rows: rows


@dataclass(slots=True)
class Timing:
    statements: list[tuple[float, str]] = field(default_factory=list)

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.statements.append((time.perf_counter() - began, sql))

    @property
    def ms(self) -> float:
        return 1000 * sum(seconds for seconds, _ in self.statements)


def main() -> None:
    arguments = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder, own_database(arguments.database, folder) as url:
        os.environ.update(
            DATABASE_URL=url, DATA_DIR=folder, ENV_FILE=os.devnull, LOG_LEVEL="ERROR",
            SITE_URL="http://127.0.0.1:8000", DJANGO_SETTINGS_MODULE="config.settings",
            SECRET_KEY=uuid4().hex * 2, SUPPRESSION_KEY=uuid4().hex * 2,
        )  # fmt: skip
        import django

        django.setup()
        say("migrating …")
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        fill(arguments.readers)
        print(json.dumps(measure(arguments.readers), indent=1))
        from django.db import connection

        connection.close()


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument(
        "--database", metavar="URL", help="a PostgreSQL server to make a database on; else SQLite"
    )
    found.add_argument("--readers", type=int, default=1_000_000, metavar="N")
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def own_database(server: str | None, folder: str) -> Iterator[str]:
    if server is None:
        yield f"sqlite:///{folder}/admin.sqlite3"
        return
    import psycopg

    name = f"bench_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


# -- what is measured ----------------------------------------------------------------------


def lists(readers: int) -> dict[str, List]:
    """The lists that grow with the readers, as an operator opens, filters and searches them."""
    from digest.models import Slot
    from subscribers.models import address_hash

    slots = Slot.objects.order_by("date")
    found = f"reader{readers // 2}@example.org"
    return {
        "readers": List("subscribers.Subscriber"),
        "readers, page 50": List("subscribers.Subscriber", "p=50", lambda rows: rows[49 * PAGE :]),
        "readers, unsubscribed": List(
            "subscribers.Subscriber",
            "state__exact=unsubscribed",
            lambda rows: rows.filter(state="unsubscribed"),
        ),
        "readers, by address": List(
            "subscribers.Subscriber",
            f"q={found}",
            lambda rows: rows.filter(address_hash=address_hash(found)),
        ),
        "readers, address begins": List(
            "subscribers.Subscriber",
            "q=reader1234",
            lambda rows: rows.filter(email__startswith="reader1234"),
        ),
        "digests": List("digest.Digest"),
        "digests, in doubt": List(
            "digest.Digest", "state__exact=uncertain", lambda rows: rows.filter(state="uncertain")
        ),
        "digests, sent": List(
            "digest.Digest", "state__exact=sent", lambda rows: rows.filter(state="sent")
        ),
        "digests, of a slot": List(
            "digest.Digest",
            f"slot={slots[0].date}",
            lambda rows: rows.filter(slot=slots[0].pk),
        ),
        "digests, by address": List(
            "digest.Digest",
            f"q={found}",
            lambda rows: rows.filter(subscriber__address_hash=address_hash(found)),
        ),
        "slots": List("digest.Slot"),
        "delivery events": List("digest.DeliveryEvent"),
        "consent events": List("subscribers.ConsentEvent"),
        "topics": List("subscribers.Topic"),
        "suppressions": List("subscribers.Suppression"),
    }


def measure(readers: int) -> dict[str, Any]:
    from django.contrib.auth import get_user_model
    from django.db import connection
    from django.test import Client

    operator = get_user_model()._default_manager.create_superuser("operator")
    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(operator)
    found = {}
    for name, each in lists(readers).items():
        found[name] = compare(client, each)
        say(f"{name}: {found[name]}")
    return {"engine": connection.vendor, "readers": readers, "lists": found}


def compare(client: Any, each: List) -> dict[str, Any]:
    from django.apps import apps
    from django.urls import reverse

    model = apps.get_model(each.model)
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    url = f"{reverse(name)}?{each.query}"
    rows = each.rows(model._default_manager.order_by(*ordering(model)))[:PAGE]
    pages, bares, whole = [], [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        pages.append(timed(lambda: opened(client, url)))
        whole.append(1000 * (time.perf_counter() - began))
        bares.append(timed(lambda: list(rows.all())))
    page, bare = median(t.ms for t in pages), median(t.ms for t in bares)
    slowest = max(pages[-1].statements)
    return {
        "page_ms": round(median(whole), 1),
        "database_ms": round(page, 2),
        "bare_select_ms": round(bare, 2),
        "ratio": round(page / bare, 1),
        "statements": len(pages[-1].statements),
        "slowest_ms": round(1000 * slowest[0], 2),
        "slowest": slowest[1][:300] if slowest[0] > 0.05 else "",
    }


def ordering(model: Any) -> list[str]:
    from django.contrib import admin

    return list(admin.site._registry[model].ordering or model._meta.ordering)


def opened(client: Any, url: str) -> None:
    response = client.get(url)
    assert response.status_code in (200, 302), (url, response.status_code)
    response.content  # noqa: B018 - rendered


def timed(work: Callable[[], object]) -> Timing:
    from django.db import connection

    timing = Timing()
    with connection.execute_wrapper(timing):
        work()
    return timing


# -- filling -------------------------------------------------------------------------------


def fill(readers: int) -> None:
    """Readers, each with a topic, a confirmation, a digest of two slots, and its delivery."""
    from django.db import connection
    from django.utils import timezone

    from digest import accounts
    from digest.models import DeliveryEvent, Digest, Slot
    from subscribers.models import ConsentEvent, Subscriber, Suppression, Topic

    now = timezone.now()
    is_pg = connection.vendor == "postgresql"
    uuid = "gen_random_uuid()" if is_pg else "lower(hex(randomblob(16)))"
    hashed = "md5(random()::text) || md5(i::text)" if is_pg else "lower(hex(randomblob(32)))"
    ago = "now() - i * interval '1 second'" if is_pg else "datetime('now', '-' || i || ' seconds')"
    # The first of each is made by the model, and known by its address; the others follow it.
    first = Subscriber(
        state="active", confirmed_at=now, next_due_at=now, last_slot=now.date(), created_at=now
    )
    first.set_address("reader0@example.org")
    first.save()
    say(f"{readers} readers …")
    multiply(first, readers, {
        "uuid": uuid,
        "email": "'reader' || i || '@example.org'",
        "address_hash": hashed,
        "created_at": ago,
        "state": "CASE WHEN i % 10 = 0 THEN 'unsubscribed' ELSE 'active' END",
        "next_due_at": "CASE WHEN i % 10 = 0 THEN NULL ELSE t.next_due_at END",
    })  # fmt: skip
    middle = Subscriber.objects.get(email=f"reader{readers // 2}@example.org")
    middle.set_address(middle.email)
    middle.save()
    multiply(Topic.objects.create(subscriber=first, name="agents"), readers, reader_of(first))
    multiply(ConsentEvent.objects.create(subscriber=first, kind="confirmed", via="page"),
             readers, {**reader_of(first), "at": ago})  # fmt: skip
    suppression = Suppression.objects.create(address_hash="0" * 64, reason="bounce")
    multiply(suppression, readers // 10, {"address_hash": hashed, "created_at": ago})
    items = [{"paper_id": n, "section": "full", "score": 1.5, "reason": None} for n in range(5)]
    for day in range(1, 3):
        say(f"{readers} digests …")
        slot = Slot.objects.create(date=now.date().replace(day=day), due=readers)
        digest = Digest.objects.create(
            subscriber=first, slot=slot, due_at=now, state="sent", sent_at=now, items=items
        )
        doubt = "i % 5000 = 1" if day == 2 else "1 = 0"
        state = f"CASE WHEN {doubt} THEN 'uncertain' WHEN i % 10 = 0 THEN 'skipped' ELSE 'sent' END"
        reason = "CASE WHEN i % 10 = 0 THEN 'nothing' ELSE '' END"
        changes = {"uuid": uuid, "state": state, "skip_reason": reason}
        multiply(digest, readers, {**reader_of(first), **changes})
    event = DeliveryEvent.objects.create(
        digest=digest, provider="bench", event_id="0", event_type="delivered", occurred_at=now
    )
    multiply(event, readers, {"event_id": "'e' || i", "digest_id": f"{digest.pk} + i"})
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if is_pg else "ANALYZE")
    accounts.keep_counts(now)  # as every tick does; the slot with doubts is counted anew


def reader_of(first: Any) -> dict[str, str]:
    return {"subscriber_id": f"{first.pk} + i"}


def multiply(row: Any, count: int, changes: dict[str, str]) -> None:
    """`count - 1` more rows like `row`, t, in one statement; `changes` are SQL of i = 1, 2, …"""
    from django.db import connection

    quote = connection.ops.quote_name
    columns = [f.column for f in row._meta.concrete_fields if not f.primary_key]
    values = [changes.get(column, f"t.{quote(column)}") for column in columns]
    names = ", ".join(map(quote, columns))
    table, key = quote(row._meta.db_table), quote(row._meta.pk.column)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
            f"{count - 1}) INSERT INTO {table} ({names}) SELECT {', '.join(values)} "
            f"FROM {table} t, n WHERE t.{key} = {row.pk}"
        )


if __name__ == "__main__":
    main()
