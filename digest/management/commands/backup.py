"""Everything that is stored, in one file."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from digest.management import archive, stores
from digest.management.archive import BackupError, Dump, Manifest

STAMPED = re.compile(r"paperround-\d{8}T\d{6}Z\.tar")


class Command(BaseCommand):
    help = (
        "Writes everything that is stored into one file, while the program goes on running. It "
        "holds readers' addresses, and is readable by its owner alone. SECRET_KEY and "
        "SUPPRESSION_KEY are not in it: keep them too, in another place, or a backup cannot be "
        "restored. PostgreSQL needs pg_dump, of the server's version or a newer one."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file",
            nargs="?",
            default=f"{settings.DATA_DIR / 'backups'}/",
            help=(
                "a file that does not exist yet, or a folder (it exists, or ends with /), in which "
                "one named after the moment is made; default: %(default)s"
            ),
        )
        parser.add_argument(
            "--keep",
            type=int,
            metavar="N",
            help="in a folder: afterwards delete all but the newest N that this command made",
        )
        parser.add_argument(
            "--with-keys",
            action="store_true",
            help="put the keys in as well; who has the file can then sign links as you do",
        )

    def handle(self, *, file: str, keep: int | None, with_keys: bool, **options: Any) -> None:
        now = timezone.now()
        is_folder = file.endswith("/") or Path(file).is_dir()
        if keep is not None and (keep < 1 or not is_folder):
            raise CommandError("--keep N needs a folder, and an N of at least 1.")
        path = Path(file).absolute()
        if is_folder:
            path /= f"paperround-{now:%Y%m%dT%H%M%SZ}.tar"
        with stores.tidy_on_sigterm():
            try:
                manifest = make(path, now, own_keys() if with_keys else {})
                deleted = delete_older(path.parent, keep) if keep else []
            except BackupError as error:
                raise CommandError(str(error)) from error
            except DatabaseError as error:
                raise CommandError(f"DATABASE_URL: the database cannot be read: {error}") from error
            except OSError as error:
                raise CommandError(f"{error.filename or path}: {error.strerror}") from error
        self._tell(path, manifest, with_keys=with_keys, deleted=deleted)

    def _tell(self, path: Path, manifest: Manifest, *, with_keys: bool, deleted: list[str]) -> None:
        self.stdout.write(f"{path}  {filesizeformat(path.stat().st_size)}")
        self.stdout.write(summary(manifest.rows))
        if deleted:
            self.stdout.write(f"deleted {', '.join(deleted)}")
        if with_keys:
            self.stdout.write("SECRET_KEY and SUPPRESSION_KEY are in it: keep it like them.")
        else:
            self.stdout.write(
                f"SECRET_KEY and SUPPRESSION_KEY are not in it. Keep them too ({where_keys_are()}):"
                " without SUPPRESSION_KEY it cannot be restored."
            )


def make(path: Path, now: datetime, keys: Mapping[str, str]) -> Manifest:
    """Under another name until it is whole; then under its own, or not at all."""
    if path.exists():
        raise BackupError(f"{path} exists already. Name another file, or a folder.")
    store = stores.store()
    with archive.workplace(path, now) as folder:
        dump = store.dump(folder)
        manifest = describe(dump, now, engine=store.engine, engine_version=store.engine_version)
        archive.write(folder / "whole.tar", manifest, dump.file, keys)
        archive.publish(path, folder / "whole.tar")
    return manifest


def describe(dump: Dump, now: datetime, *, engine: str, engine_version: int) -> Manifest:
    return Manifest(
        version=settings.VERSION,
        made_at=now.isoformat(timespec="seconds"),
        engine=engine,
        engine_version=engine_version,
        rows=dump.rows,
        migrations=dump.migrations,
        keys={name: archive.fingerprint(name, key) for name, key in own_keys().items()},
        sha256=archive.sha256(dump.file),
    )


def own_keys() -> dict[str, str]:
    return {name: getattr(settings, name) for name in archive.KEY_NAMES}


def where_keys_are() -> str:
    kept = [settings.DATA_DIR / name.lower() for name in archive.KEY_NAMES]
    return f"in {settings.DATA_DIR}" if all(map(Path.exists, kept)) else "your .env"


def delete_older(folder: Path, keep: int) -> list[str]:
    ours = sorted(file for file in folder.iterdir() if STAMPED.fullmatch(file.name))
    for file in ours[:-keep]:
        file.unlink()
    return [file.name for file in ours[:-keep]]


def summary(rows: Mapping[str, int]) -> str:
    """The tables that an operator knows by name."""
    tables = {
        "readers": "subscribers_subscriber",
        "suppressed addresses": "subscribers_suppression",
        "digests": "digest_digest",
        "editions": "papers_edition",
        "papers": "papers_paper",
    }
    return ", ".join(f"{rows.get(table, 0)} {name}" for name, table in tables.items())
