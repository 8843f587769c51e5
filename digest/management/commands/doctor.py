"""What is configured, what is wrong, and which setting mends it.

An environment that contradicts itself does not come so far: the settings refuse it, with a line
for each problem.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from enum import StrEnum
from pathlib import Path
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from kombu.exceptions import OperationalError

from digest import health
from digest.models import Digest, Hold, Slot
from papers import encoding, freshness
from papers.freshness import Freshness, Health
from papers.models import Paper
from papers.vectors import ModelError
from subscribers import categories, flow
from subscribers.models import Subscriber, address_hash
from subscribers.transports import get_transport, get_transports

SLOTS_LOOKED_AT = 14
BROKER_TIMEOUT_SECONDS = 3
UNREAD_PAPERS = 500  # more than a day brings
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
    for look in (_site_url, _transport, _fallback, _mail_from, _postal_address, _broker):
        yield look()
    yield _limits(now)
    database = _database()
    yield database
    if database.verdict == Verdict.OK:
        yield from _database_file()
        yield _suppression_key()
        yield from _sources(now)
        yield from _circuits(now)
        yield _meaning()
        for look_now in (_processes, _hold, _due_readers, _slots, _uncertain):
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
    try:
        get_transport()
    except ImproperlyConfigured as error:
        return Finding("transport", Verdict.FAIL, f"{kind} cannot be used", str(error))
    where = f" by {settings.EMAIL_HOST}:{settings.EMAIL_PORT}" if kind == "smtp" else ""
    return Finding("transport", Verdict.OK, f"{kind}{where}")


def _fallback() -> Finding:
    """Made here as it would be in an emergency, so that its faults show before one."""
    if not settings.FALLBACK_EMAIL:
        return Finding("fallback", Verdict.OK, "none; mail waits while the transport is in trouble")
    try:
        name = get_transports()[-1].name
    except ImproperlyConfigured as error:
        return Finding("fallback", Verdict.FAIL, "it cannot be used", str(error))
    host = settings.FALLBACK_EMAIL.get("EMAIL_HOST")
    where = f" by {host}:{settings.FALLBACK_EMAIL['EMAIL_PORT']}" if host else ""
    return Finding("fallback", Verdict.OK, f"{name}{where}")


def _limits(now: datetime) -> Finding:
    today = flow.limit_of(now.astimezone(UTC).date())
    limits = [f"{settings.MAIL_PER_SECOND:g} a second"] if settings.MAIL_PER_SECOND else []
    limits += [f"{today:,} today"] if today is not None else []
    if today is not None and settings.MAIL_WARMUP_FROM and today != settings.MAIL_PER_DAY:
        limits.append(f"warming up since {settings.MAIL_WARMUP_FROM}")
    return Finding("limits", Verdict.OK, ", ".join(limits) or "none")


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


def _database_file() -> Iterator[Finding]:
    """A file for all to read does no harm in a folder that lets nobody else in."""
    file = Path(str(connection.settings_dict["NAME"]))
    if connection.vendor != "sqlite" or not file.is_file():
        return
    if _mode(file) & 0o044 and _mode(file.parent) & 0o011:
        text = f"{file} can be read by others on this machine (mode {_mode(file):o})"
        yield Finding("database file", Verdict.WARN, text, f"chmod 700 {file.parent}")
    else:
        yield Finding("database file", Verdict.OK, "yours alone")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _suppression_key() -> Finding:
    """Whether the readers' hashes were made with it, as those of the suppressed addresses were."""
    reader = Subscriber.objects.order_by("-pk").first()
    if reader is not None and reader.address_hash != address_hash(reader.email):
        text = "another one than the readers were stored with: no suppressed address is recognised"
        mend = "the SUPPRESSION_KEY of that time, or ./manage.py restore --with-keys"
        return Finding("SUPPRESSION_KEY", Verdict.FAIL, text, mend)
    return Finding("SUPPRESSION_KEY", Verdict.OK, "set")


def _sources(now: datetime) -> Iterator[Finding]:
    expected = [each for each in freshness.all_sources(now) if each.health != Health.OFF]
    if not expected:
        yield Finding("sources", Verdict.WARN, "none is enabled", "the admin, or ./manage.py up")
    for judged in expected:
        yield _source(judged)
    if not settings.SEMANTIC_SCHOLAR_KEY and _is_on("semantic_scholar", expected):
        text = "is on without a key: its shared limit is often used up (429)"
        yield Finding("semantic_scholar", Verdict.WARN, text, "SEMANTIC_SCHOLAR_KEY")
    if wrong := _no_categories():
        verdict = Verdict.FAIL if _is_on("arxiv", expected) else Verdict.WARN
        text = f"no categories of arXiv: {', '.join(wrong)}"
        yield Finding("ARXIV_CATEGORIES", verdict, text, "https://arxiv.org/category_taxonomy")


def _source(judged: Freshness) -> Finding:
    if judged.health == Health.OK and judged.last_success_at is not None:
        return Finding(judged.source.slug, Verdict.OK, judged.said)
    # One that was never read may have been switched on a moment ago.
    verdict = Verdict.WARN if judged.is_fresh else Verdict.FAIL
    mend = _MENDS.get(judged.health, "a running worker and beat, or the network")
    text = " ".join(filter(None, (judged.said, judged.last_error or judged.note)))
    return Finding(judged.source.slug, verdict, text, mend)


_MENDS: Mapping[str, str] = {
    Health.CHANGED: "its latest attempts in the admin, or a newer version",
    Health.FALLBACK: "its latest attempts in the admin, or a newer version",
    Health.RESTING: "patience",
}


def _is_on(slug: str, expected: Sequence[Freshness]) -> bool:
    return any(each.source.slug == slug for each in expected)


def _no_categories() -> list[str]:
    """An archive as a whole, as `math`, is one as well."""
    known = {*categories.NAMES, *(name.partition(".")[0] for name in categories.NAMES)}
    return [name for name in settings.ARXIV_CATEGORIES if name not in known]


def _circuits(now: datetime) -> Iterator[Finding]:
    """A line for each transport that takes no mail, or one line."""
    try:
        stand = flow.standings(now)
    except ImproperlyConfigured:
        return  # told above
    halted = [each for each in stand if each.is_open or each.is_used_up]
    verdict = Verdict.FAIL if all(each.is_open for each in stand) else Verdict.WARN
    for each in halted:
        if each.is_open:
            text = f"{each.name}: {each.said} {each.error}".strip()
            yield Finding("circuit", verdict, text, "its cause; then, to wait no longer, the admin")
        else:
            text = f"{each.name}: {each.said}"
            yield Finding("day’s limit", Verdict.WARN, text, "MAIL_PER_DAY, or patience")
    if not halted:
        names = ", ".join(each.name for each in stand)
        yield Finding("circuit", Verdict.OK, f"mail may leave by {names}")


def _meaning() -> Finding:
    """The model, and how far it has come."""
    subject = "meaning"
    try:
        model = encoding.chosen_model()
    except ModelError as error:
        return Finding(subject, Verdict.FAIL, f"words alone decide: {error}", "SEMANTIC_MODEL")
    left, stored = encoding.missing_meanings().count(), Paper.objects.count()
    text = f"{model.id} has read {stored - left} of {stored} papers"
    if left > UNREAD_PAPERS:
        return Finding(subject, Verdict.WARN, text, "`manage.py encode_papers`, or patience")
    return Finding(subject, Verdict.OK, text)


def _processes(now: datetime) -> Finding:
    """By the signs of life in the database, of beat and each queue's workers or of cron's tick."""
    signs = health.signs(now)
    mend = "a running worker and beat, or `manage.py tick` every minute"
    silent = [
        f"{sign.part} ({_hours(now - sign.at)})"
        for sign in signs
        if sign.at is not None and not sign.is_fresh(now)
    ]
    missing = [sign.part for sign in signs if sign.at is None]
    if silent:
        return Finding("processes", Verdict.FAIL, f"silent: {', '.join(silent)}", mend)
    if missing:
        text = f"no sign of life yet: {', '.join(missing)}"
        return Finding("processes", Verdict.WARN, text, mend)
    return Finding("processes", Verdict.OK, f"alive: {', '.join(sign.part for sign in signs)}")


def _hold(now: datetime) -> Finding:
    hold = Hold.objects.in_force().first()
    if hold is None:
        return Finding("sending", Verdict.OK, "not held")
    text = f"held by {hold.began_by} for {_hours(now - hold.began_at)}"
    return Finding("sending", Verdict.WARN, text, "release it in the admin")


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
    if span < timedelta(hours=2):
        return f"{span / timedelta(minutes=1):.0f} min"
    return f"{span / timedelta(hours=1):.0f} h"
