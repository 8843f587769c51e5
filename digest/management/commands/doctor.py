"""What is configured, what is wrong, and which setting mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parseaddr
from enum import StrEnum
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from kombu.exceptions import OperationalError

from digest.models import Digest, Slot
from papers.models import Fetch, Source
from subscribers.models import Subscriber

SLOTS_LOOKED_AT = 14
STALE_AFTER = timedelta(hours=24)
BROKER_TIMEOUT_SECONDS = 3
KEY_LENGTH = 50
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Django's own backends that show or drop mail, and ours that keeps it here.
KEEPS_MAIL_HERE = ("outbox", "console", "locmem", "dummy", "filebased")


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer; `mend` names the setting or command, empty where all is well."""

    subject: str
    verdict: Verdict
    text: str
    mend: str = ""


class Command(BaseCommand):
    help = (
        "Prints what is configured and what is wrong, a line each: ok, warn or fail, with the "
        "setting or the command that mends it. Changes nothing and sends nothing. "
        "Exit code 1 if a line says fail."
    )
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        failed = False
        for finding in findings(timezone.now()):
            failed |= finding.verdict == Verdict.FAIL
            mend = f"  -> {finding.mend}" if finding.mend else ""
            self.stdout.write(
                f"{finding.verdict.value:<5} {finding.subject:<15} {finding.text}{mend}",
                self._style(finding.verdict),
            )
        if failed:
            raise SystemExit(1)

    def _style(self, verdict: Verdict) -> Callable[[str], str]:
        match verdict:
            case Verdict.OK:
                return str
            case Verdict.WARN:
                return self.style.WARNING
            case Verdict.FAIL:
                return self.style.ERROR


def findings(now: datetime) -> Iterator[Finding]:
    """Every finding; those that need the database only where it can be read."""
    for look in (_site_url, _transport, _mail_from, _postal_address, _keys, _broker):
        yield look()
    database = _database()
    yield database
    if database.verdict == Verdict.OK:
        yield from _sources(now)
        for look_now in (_due_readers, _slots, _uncertain):
            yield look_now(now)


def _site_url() -> Finding:
    subject, url = "SITE_URL", settings.SITE_URL
    if settings.IS_PUBLIC:
        return Finding(subject, Verdict.OK, url)
    if settings.SITE_HOST in LOOPBACK:
        text = f"{url}: links in mails work on this machine only"
        return Finding(subject, Verdict.WARN, text, "SITE_URL=https://… once readers are elsewhere")
    return Finding(
        subject, Verdict.FAIL, f"{url}: one-click unsubscribe needs https", "SITE_URL=https://…"
    )


def _transport() -> Finding:
    kind = settings.EMAIL_BACKEND.removesuffix(".EmailBackend").rpartition(".")[2]
    if kind in KEEPS_MAIL_HERE:
        text = f"{kind}: mails do not leave this machine"
        return Finding("transport", _grave_if_public(), text, "EMAIL_URL or EMAIL_BACKEND")
    where = f" by {settings.EMAIL_HOST}:{settings.EMAIL_PORT}" if kind == "smtp" else ""
    return Finding("transport", Verdict.OK, f"{kind}{where}")


def _mail_from() -> Finding:
    address = parseaddr(settings.MAIL_FROM)[1]
    domain = address.rpartition("@")[2]
    if not domain or "." not in domain or domain in LOOPBACK:
        text = f"{address or 'nothing'} is no sender that mailbox providers accept"
        return Finding("MAIL_FROM", _grave_if_public(), text, "MAIL_FROM=Name <digest@your.domain>")
    return Finding("MAIL_FROM", Verdict.OK, address)


def _postal_address() -> Finding:
    if not settings.POSTAL_ADDRESS.strip():
        text = "missing; the law of many countries wants one in every mail"
        return Finding("POSTAL_ADDRESS", _grave_if_public(), text, "POSTAL_ADDRESS")
    return Finding("POSTAL_ADDRESS", Verdict.OK, "set")


def _keys() -> Finding:
    keys = {"SECRET_KEY": settings.SECRET_KEY, "SUPPRESSION_KEY": settings.SUPPRESSION_KEY}
    for name, key in keys.items():
        if len(key) < KEY_LENGTH:
            return Finding("keys", Verdict.FAIL, f"{name} is short", f"{KEY_LENGTH} characters")
    if len(set(keys.values())) < len(keys):
        text = "SECRET_KEY and SUPPRESSION_KEY are the same, so neither can be changed alone"
        return Finding("keys", Verdict.FAIL, text, "two different keys")
    return Finding("keys", Verdict.OK, "SECRET_KEY and SUPPRESSION_KEY are set")


def _broker() -> Finding:
    if settings.CELERY_BROKER_URL == "memory://":
        return Finding("broker", _grave_if_public(), "in memory, inside `up` only", "REDIS_URL")
    try:
        with current_app.connection_for_write() as broker:
            broker.ensure_connection(
                max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT_SECONDS
            )
    except (OperationalError, OSError) as error:
        return Finding("broker", Verdict.FAIL, f"cannot be reached ({error})", "REDIS_URL")
    return Finding("broker", Verdict.OK, "reachable")


def _database() -> Finding:
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        text = f"cannot be used ({' '.join(str(error).split())})"
        return Finding("database", Verdict.FAIL, text, "DATABASE_URL")
    if missing:
        text = f"{connection.vendor}, {len(missing)} migrations are missing"
        return Finding("database", Verdict.FAIL, text, "./manage.py migrate")
    return Finding("database", Verdict.OK, f"{connection.vendor}, migrated")


def _sources(now: datetime) -> Iterator[Finding]:
    enabled = list(Source.objects.filter(is_enabled=True))
    if not enabled:
        yield Finding("sources", Verdict.WARN, "none is enabled", "the admin, or ./manage.py up")
    for source in enabled:
        yield _source(source, now)


def _source(source: Source, now: datetime) -> Finding:
    live = source.fetches.filter(origin=Fetch.Origin.LIVE)
    good = live.filter(status__in=[Fetch.Status.OK, Fetch.Status.EMPTY]).first()
    bad = live.filter(status=Fetch.Status.FAILED).first()
    why = f"; last error: {bad.error.splitlines()[0]}" if bad is not None and bad.error else ""
    if good is None:
        text = f"never read{why}"
        return Finding(source.slug, Verdict.WARN, text, "a running worker and beat, or the network")
    age = now - good.started_at
    if age > STALE_AFTER:
        text = f"last read {_hours(age)} ago{why}"
        return Finding(source.slug, Verdict.FAIL, text, "a running worker and beat, or the network")
    return Finding(source.slug, Verdict.OK, f"last read {_hours(age)} ago")


def _due_readers(now: datetime) -> Finding:
    readers = Subscriber.objects.active()
    limit = timedelta(hours=settings.LATE_LIMIT_HOURS)
    late = readers.due(now - limit).count()
    if late:
        text = f"{late} active readers fell due more than {_hours(limit)} ago"
        return Finding("due readers", Verdict.FAIL, text, "a running worker and beat")
    return Finding("due readers", Verdict.OK, f"{readers.count()} active, none forgotten")


def _slots(now: datetime) -> Finding:
    recent = Slot.objects.filter(date__lte=now.date() + timedelta(days=1))[:SLOTS_LOOKED_AT]
    broken = [slot for slot in recent if not slot.is_conserved]
    if broken:
        dates = ", ".join(str(slot) for slot in broken)
        text = f"the digests of {dates} do not add up to the readers who fell due"
        return Finding("slots", Verdict.FAIL, text, "the slot's digests in the admin")
    return Finding("slots", Verdict.OK, f"{len(recent)} recent ones add up")


def _uncertain(now: datetime) -> Finding:
    count = Digest.objects.filter(state=Digest.State.UNCERTAIN).count()
    if count:
        text = f"{count} digests that may or may not have left"
        return Finding("uncertain", Verdict.WARN, text, "settle them in the admin")
    return Finding("uncertain", Verdict.OK, "no digest is in doubt")


def _grave_if_public() -> Verdict:
    return Verdict.FAIL if settings.IS_PUBLIC else Verdict.WARN


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):.0f} h"
