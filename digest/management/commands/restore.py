"""A backup in place of everything that is stored, without a single mail sent twice."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from digest.management import archive, stores
from digest.management.aftermath import Suppressed, afterwards
from digest.management.archive import BackupError, Manifest, Store
from digest.models import Heartbeat
from subscribers.models import Subscriber, Suppression

from .backup import own_keys, summary

log = structlog.get_logger(__name__)

ALIVE = timedelta(minutes=2)


class Command(BaseCommand):
    help = (
        "Puts a backup in place of everything that is stored: wholly, or not at all. Stop web, "
        "workers, beat and cron's tick first. Afterwards no digest leaves until you release the "
        "hold in the admin, and none that fell due before now is sent at all, since it may have "
        "left after the backup was made; nor is any confirmation or other service mail of that "
        "time. Addresses suppressed since the backup stay suppressed, and readers who left stay "
        "unsubscribed. PostgreSQL needs psql and pg_restore, and uses the whole of its schema."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="what `manage.py backup` made")
        parser.add_argument("--yes", action="store_true", help="overwrite readers without asking")
        parser.add_argument(
            "--force", action="store_true", help="even where workers or beat seem to be alive"
        )
        parser.add_argument(
            "--with-keys",
            action="store_true",
            help="also put the keys that are in the file into DATA_DIR, in place of those there",
        )
        parser.add_argument(
            "--check", action="store_true", help="only say whether it could be restored here"
        )

    def handle(self, *, file: Path, check: bool, **options: Any) -> None:
        now = timezone.now()
        with stores.tidy_on_sigterm():
            try:
                self._restore(file.absolute(), now, check=check, options=options)
            except BackupError as error:
                raise CommandError(str(error)) from error
            except DatabaseError as error:
                said = f"DATABASE_URL: the database cannot be used: {error}."
                raise CommandError(said + stores.way_past_damage(error)) from error
            except OSError as error:
                raise CommandError(f"{error.filename or file}: {error.strerror}") from error

    def _restore(
        self, file: Path, now: datetime, *, check: bool, options: Mapping[str, Any]
    ) -> None:
        manifest = archive.read_manifest(file)
        keys = archive.read_keys(file) if options["with_keys"] else {}
        store = stores.store()
        self.stdout.write(f"{file}  {filesizeformat(file.stat().st_size)}")
        self.stdout.write(
            f"made {manifest.made_at} by {manifest.version}: {summary(manifest.rows)}"
        )
        refused = [*why_not(manifest, store, own_keys() | keys), *why_no_keys(keys, options)]
        if refused:
            raise BackupError("\n".join(refused))
        with archive.workplace(settings.DATA_DIR / "restore", now) as folder:
            archive.extract(file, manifest, folder / "database")
            if check:
                self.stdout.write("It is whole, and could be restored here.")
                return
            unknown = suppressed_under(keys).unknown
            self._warn_of_unknown(unknown)
            if not options["yes"]:
                self._confirm()
            if not options["force"]:
                refuse_while_alive(timezone.now())
            with staged(keys) as keep_keys:
                store.load(
                    folder / "database",
                    rows=manifest.rows,
                    then=lambda: afterwards(manifest, suppressed_under(keys), timezone.now()),
                )
                keep_keys()
        migrate()
        log.warning("restored", made_at=manifest.made_at, suppressions_unknown=unknown)
        self._tell(manifest, keys, unknown=unknown)

    def _confirm(self) -> None:
        readers = readers_stored()
        if not readers:
            return
        name = str(connection.settings_dict["NAME"])
        self.stdout.write(f"The database {name} holds {readers} readers. All of it will be lost.")
        if not sys.stdin.isatty():
            raise BackupError("Add --yes to overwrite it.")
        if input("Type overwrite to go on: ").strip() != "overwrite":
            raise BackupError("Nothing was restored.")

    def _warn_of_unknown(self, unknown: int) -> None:
        if unknown:
            self.stdout.write(
                self.style.ERROR(
                    f"SUPPRESSION_KEY is another one in the file: {unknown} addresses that are "
                    "suppressed in this database will not be recognised any more, and could be "
                    "MAILED AGAIN. Suppress them anew, from your provider's list, before you "
                    "release the hold."
                )
            )

    def _tell(self, manifest: Manifest, keys: Mapping[str, str], *, unknown: int) -> None:
        self.stdout.write(f"Restored, as of {manifest.made_at}.")
        carried = Suppression.objects.count() - manifest.rows.get(Suppression._meta.db_table, 0)
        if carried - unknown > 0:
            self.stdout.write(
                f"{carried - unknown} addresses suppressed since then stay suppressed."
            )
        self._warn_of_unknown(unknown)
        if keys:
            self.stdout.write(f"The keys are in {settings.DATA_DIR}.")
        if not knows_secret_key(manifest, keys):
            self.stdout.write(
                self.style.WARNING(
                    "SECRET_KEY is another one now: unsubscribe links in the mails of that time "
                    "are dead until you add theirs to SECRET_KEY_FALLBACKS."
                )
            )
        self.stdout.write(
            "Sending is held. Start web, workers and beat, look around in the admin, and release "
            "the hold there; whatever fell due before now is skipped, and its papers wait."
        )


def why_not(manifest: Manifest, store: Store, keys: Mapping[str, str]) -> list[str]:
    """Everything that stands against restoring this backup here."""
    if manifest.engine != store.engine:
        return [
            f"It is a backup of {manifest.engine}, and DATABASE_URL names {store.engine}. "
            "Restore it into a database of its own kind."
        ]
    refused = []
    if manifest.engine_version > store.engine_version:
        refused.append(
            f"It was made by {manifest.engine} {manifest.engine_version}; this server is "
            f"{store.engine_version}, and cannot read it."
        )
    name = "SUPPRESSION_KEY"
    if manifest.keys.get(name) != archive.fingerprint(name, keys[name]):
        refused.append(
            f"{name} is another one than at that time: no suppressed address would be recognised, "
            "and all could be mailed again. Set the one of that time."
        )
    if unknown := sorted(set(manifest.migrations) - known_migrations()):
        refused.append(
            f"It was made by a newer version ({manifest.version}), which changed the tables "
            f"({', '.join(unknown)}). Install that version first."
        )
    return refused


def why_no_keys(keys: Mapping[str, str], options: Mapping[str, Any]) -> list[str]:
    """Keys in the environment come before those in DATA_DIR."""
    if options["with_keys"] and not keys:
        return ["There are no keys in it; it was made without --with-keys."]
    return [
        f"{name} is set in the environment to another one than is in the file. Change it there."
        for name, key in keys.items()
        if os.environ.get(name) not in (None, "", key)
    ]


def known_migrations() -> set[str]:
    disk = MigrationLoader(None).disk_migrations or {}
    return {f"{app}.{name}" for app, name in disk}


def knows_secret_key(manifest: Manifest, kept: Mapping[str, str]) -> bool:
    """At the next start; what is kept now is no setting yet."""
    name = "SECRET_KEY"
    keys = [kept.get(name, settings.SECRET_KEY), *settings.SECRET_KEY_FALLBACKS]
    return manifest.keys.get(name) in [archive.fingerprint(name, key) for key in keys]


def refuse_while_alive(now: datetime) -> None:
    if not has_table(Heartbeat):
        return
    young = Heartbeat.objects.filter(at__gt=now - ALIVE).order_by("-at")
    if alive := [f"{beat.name} ({(now - beat.at).total_seconds():.0f} s ago)" for beat in young]:
        raise BackupError(
            f"Something is running on this database: {', '.join(alive)}. Stop web, workers, beat "
            f"and cron's tick, and wait {ALIVE.total_seconds():.0f} s; if they are stopped, add "
            "--force."
        )


def readers_stored() -> int:
    return Subscriber.objects.count() if has_table(Subscriber) else 0


def suppressed_under(keys: Mapping[str, str]) -> Suppressed:
    """Whoever left or bounced after the backup was made is not mailed again for it."""
    if not has_table(Suppression):
        return Suppressed([])
    suppressed = Suppressed(list(Suppression.objects.all()))
    key = keys.get("SUPPRESSION_KEY", settings.SUPPRESSION_KEY)
    if key == settings.SUPPRESSION_KEY:
        return suppressed
    return suppressed.under(key, addresses_suppressed())


def addresses_suppressed() -> dict[str, str]:
    """By their hashes, as far as a reader's row still tells them."""
    if not has_table(Subscriber):
        return {}
    hashes = Suppression.objects.values("address_hash")
    return dict(
        Subscriber.objects.filter(address_hash__in=hashes).values_list("address_hash", "email")
    )


def has_table(model: type[Any]) -> bool:
    return model._meta.db_table in connection.introspection.table_names()


@contextmanager
def staged(keys: Mapping[str, str]) -> Iterator[Callable[[], None]]:
    """The keys on the disk beside those there; what is yielded puts them in their place, which
    then takes no time and no room.
    """
    fresh = {name: settings.DATA_DIR / f"{name.lower()}.new" for name in keys}

    def keep() -> None:
        for path in fresh.values():
            archive.publish(path.with_suffix(""), path)

    try:
        for name, path in fresh.items():
            path.unlink(missing_ok=True)
            archive.write_secret(path, keys[name])
        yield keep
    finally:
        for path in fresh.values():
            path.unlink(missing_ok=True)


def migrate() -> None:
    """What must not be lost is stored by now."""
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except (DatabaseError, CommandError) as error:
        raise BackupError(
            "The backup is in place and sending is held, but its tables are not those of this "
            f"version yet: {error} Run ./manage.py migrate before you start anything."
        ) from error
