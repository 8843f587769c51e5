"""A backup made while others write, a disaster, and the restored installation: nobody gets a mail
twice. On a database of each kind, with pg_dump and psql themselves.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import environ
import psycopg
import pytest
import time_machine
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.models.functions import Now
from django.db.utils import load_backend
from django.utils import timezone

from digest import assembly, sending, tasks
from digest.management import aftermath, archive, on_sqlite
from digest.management.commands import restore
from digest.models import Digest, Feedback, Heartbeat, Hold
from papers.models import Paper
from subscribers import flow, signup
from subscribers.models import Subscriber, Suppression, address_hash
from tests.database import everything
from tests.digest.books import assert_books_balance
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader, make_readers
from tests.fakes.transport import FakeTransport
from tests.services import PROJECT, own_database, wait_for

pytestmark = pytest.mark.processes

State = Digest.State
BACKED_UP = DUE + timedelta(minutes=5)
SENT = DUE + timedelta(minutes=10)
LATER_READERS = DUE + timedelta(minutes=30)
RESTORED = DUE + timedelta(hours=1)
MONDAY = SUNDAY + timedelta(days=1)
TUESDAY_MORNING = DUE + timedelta(days=1)


# -- databases of the tests' own -----------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> Iterator[Database]:
    """An empty database of each kind, migrated, behind Django's `connection`."""
    with ExitStack() as stack:
        yield stack.enter_context(opened(request.param, request, tmp_path))


@pytest.fixture
def sqlite_database(request, tmp_path) -> Iterator[Database]:
    with opened("sqlite", request, tmp_path) as one:
        yield one


@pytest.fixture
def postgresql_database(request, tmp_path) -> Iterator[Database]:
    with opened("postgresql", request, tmp_path) as one:
        yield one


class Database:
    """Where it is, and the two ways of treating it badly."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.kind = "sqlite" if url.startswith("sqlite") else "postgresql"

    @property
    def file(self) -> Path:
        return Path(self.url.removeprefix("sqlite:///"))

    def connect(self) -> Any:
        if self.kind == "sqlite":
            return closing(sqlite3.connect(self.file, timeout=20, isolation_level=None))
        return closing(psycopg.connect(self.url, autocommit=True))

    def wreck(self) -> None:
        """Half of it is gone, and something is there that no version of ours knows."""
        connection.close()
        with self.connect() as raw:
            for table in ("digest_deliveryevent", "digest_digest", "django_migrations"):
                raw.execute(f"DROP TABLE {table}")
            raw.execute("CREATE TABLE papers_fromthefuture (id INTEGER PRIMARY KEY)")
            raw.execute("UPDATE subscribers_subscriber SET email = 'nobody@example.org'")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory, django_db_blocker) -> Path:
    """Migrating takes seconds, copying what was migrated none."""
    file = tmp_path_factory.mktemp("migrated") / "paperround.sqlite3"
    with django_db_blocker.unblock(), behind_django(f"sqlite:///{file}"):
        call_command("migrate", verbosity=0)
    return file


@pytest.fixture(scope="session")
def migrated_url(postgresql_url, django_db_blocker) -> Iterator[str]:
    with own_database(postgresql_url) as url:
        with django_db_blocker.unblock(), behind_django(url):
            call_command("migrate", verbosity=0)
        yield url


@contextmanager
def opened(kind: str, request: Any, folder: Path) -> Iterator[Database]:
    with ExitStack() as stack:
        if kind == "sqlite":
            file = shutil.copy(request.getfixturevalue("migrated_file"), folder)
            one = Database(f"sqlite:///{file}")
        else:
            migrated = request.getfixturevalue("migrated_url")
            one = Database(stack.enter_context(copied_database(migrated)))
        stack.enter_context(request.getfixturevalue("django_db_blocker").unblock())
        stack.enter_context(behind_django(one.url))
        yield one


@contextmanager
def copied_database(url: str) -> Iterator[str]:
    name, model = f"backup_{uuid4().hex}", urlsplit(url).path.removeprefix("/")
    server = urlsplit(url)._replace(path="/postgres").geturl()
    with psycopg.connect(server, autocommit=True) as raw:
        raw.execute(f"CREATE DATABASE {name} TEMPLATE {model}")
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            raw.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def behind_django(url: str) -> Iterator[None]:
    named = {"OPTIONS": {}} | environ.Env.db_url_config(url)
    facts = connections.settings["default"] | named
    facts |= {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False}
    if facts["ENGINE"] == "django.db.backends.sqlite3":
        facts["ENGINE"] = "config.sqlite_queue"
        facts["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    before = connections["default"]
    ours = load_backend(facts["ENGINE"]).DatabaseWrapper(facts, "default")
    connections["default"] = ours
    try:
        yield
    finally:
        ours.close()
        connections["default"] = before


@pytest.fixture(autouse=True)
def transport(monkeypatch) -> FakeTransport:
    fake = FakeTransport()
    for module in (flow, sending):
        monkeypatch.setattr(module, "get_transports", lambda: [fake])
    return fake


@pytest.fixture
def outfile(tmp_path) -> Path:
    return tmp_path / "backups" / "one.tar"


# -- the rehearsal -------------------------------------------------------------------------


def test_a_restored_installation_has_what_was_stored_and_mails_nobody_twice(
    database, outfile, transport, clock, monkeypatch
) -> None:
    monkeypatch.setattr(on_sqlite, "PAGES_A_STEP", 1)  # the writer comes in between all of them
    fill()
    stored, counts = everything(), Counter(Digest.objects.values_list("state", flat=True))
    assert set(counts) == set(State)

    clock.move_to(BACKED_UP)
    with a_writer(database) as writer:
        wait_for(lambda: writer.rounds > 3, say=lambda: "the writer does not write")
        call_command("backup", str(outfile), stdout=io.StringIO())
        rounds = writer.rounds
        wait_for(lambda: writer.rounds > rounds, say=lambda: "the backup stopped the writer")

    # The morning goes on after the backup: everything is sent, and somebody leaves.
    clock.move_to(SENT)
    one_round()
    left = Counter(transport.recipients())
    assert len(left) == counts[State.ASSEMBLED] + counts[State.CLAIMED] + counts[State.RETRY] + 1
    gone = Subscriber.objects.get(email="reader1@example.org")
    Suppression.objects.create(address_hash=gone.address_hash, reason="unsubscribe")

    database.wreck()
    clock.move_to(RESTORED)
    call_command("restore", str(outfile), yes=True, stdout=io.StringIO())

    assert "papers_fromthefuture" not in connection.introspection.table_names()
    assert without_what_restoring_changes(everything()) == without_what_restoring_changes(stored)
    assert Suppression.objects.filter(note="written meanwhile").count() % 2 == 0
    hold = Hold.objects.in_force().get()
    assert hold.note == "Restored from the backup of 2026-11-23 06:05 UTC"
    assert hold.late_before == RESTORED

    transport.accepted.clear()
    one_round()
    assert transport.recipients() == []
    sending.release(by="ada", now=timezone.now(), skip_waiting=False)
    one_round()
    assert transport.recipients() == []
    assert not Digest.objects.open().exists()
    skipped = Digest.objects.filter(skip_reason=Digest.SkipReason.LATE)
    assert skipped.count() == counts[State.ASSEMBLED] + counts[State.CLAIMED] + 1 + 1
    assert Digest.objects.filter(state=State.UNCERTAIN).count() == counts[State.UNCERTAIN] + 1

    clock.move_to(TUESDAY_MORNING + timedelta(hours=1))
    make_edition(MONDAY, [make_paper() for _ in range(3)])
    one_round()
    one_round()
    mailed = Counter(transport.recipients())
    assert set(mailed.values()) == {1}
    assert len(mailed) == Subscriber.objects.active().count() - 1  # he who bounced
    assert "reader1@example.org" not in mailed
    assert_books_balance()


def fill() -> None:
    """Readers with a digest in every state, one who falls due later, one not yet confirmed."""
    make_edition(SUNDAY, [make_paper() for _ in range(3)])
    readers = make_readers(10)
    Feedback.give(subscriber=readers[0], paper=Paper.objects.first(), kind="saved", at=DUE)
    bounced = readers[9]
    assembly.assemble_due(DUE)
    make_reader("later@example.org", next_due_at=LATER_READERS)
    make_reader(
        "pending@example.org",
        state=Subscriber.State.PENDING,
        confirmed_at=None,
        next_due_at=None,
        confirmation_due_at=BACKED_UP,
    )
    Suppression.objects.create(address_hash=bounced.address_hash, reason="bounce")
    leased = {"claim_token": uuid4(), "lease_until": Now() - timedelta(minutes=1)}
    states: list[dict[str, Any]] = [
        {},
        {"state": State.CLAIMED, **leased},
        {"state": State.SENDING, **leased},
        {"state": State.RETRY, "retry_at": DUE + timedelta(minutes=6), "attempts": 1},
        {"state": State.SENT, "sent_at": DUE, "transport": "fake"},
        {"state": State.UNCERTAIN, "transport": "fake"},
        {"state": State.FAILED, "error": "550 no such user"},
        {"state": State.SKIPPED, "skip_reason": Digest.SkipReason.PAUSED},
        {"state": State.SUPPRESSED},
        {"state": State.SUPPRESSED},
    ]
    for digest, fields in zip(Digest.objects.order_by("pk"), states, strict=True):
        Digest.objects.filter(pk=digest.pk).update(**fields)


def one_round() -> None:
    """What beat would wake, all of it."""
    now = timezone.now()
    assert tasks.prepare(now) == []
    tasks.send_all(now)


def without_what_restoring_changes(stored: dict[str, list[tuple]]) -> dict[str, Any]:
    """The suppressions are carried over and written to meanwhile, and one reader has left; the
    rest must be as it was.
    """
    kept = dict(stored)
    for table in ("digest_hold", "digest_heartbeat", "subscribers_suppression"):
        kept.pop(table)
    readers = [
        [value for value in row if value != BACKED_UP]  # the confirmation that was due
        for row in kept.pop("subscribers_subscriber")
        if "reader1@example.org" not in row
    ]
    return kept | {"readers": [[value for value in row if value is not None] for row in readers]}


class Writer(threading.Thread):
    """Two rows a transaction, for a while: a copy with an odd number of them is of no one moment,
    and one that waits for an end of the writing comes when it is over.
    """

    ROUNDS_AT_MOST = 5000

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self.database = database
        self.rounds = 0
        self.over = threading.Event()

    def run(self) -> None:
        mark = "?" if self.database.kind == "sqlite" else "%s"
        insert = (
            "INSERT INTO subscribers_suppression (address_hash, reason, note, created_at) "
            f"VALUES ({mark}, 'operator', 'written meanwhile', '2026-11-23 06:05:00+00')"
        )
        with self.database.connect() as raw:
            while not self.over.wait(0.001) and self.rounds < self.ROUNDS_AT_MOST:
                raw.execute("BEGIN")
                raw.execute(insert, [uuid4().hex])
                raw.execute(insert, [uuid4().hex])
                raw.execute("COMMIT")
                self.rounds += 1


@contextmanager
def a_writer(database: Database) -> Iterator[Writer]:
    writer = Writer(database)
    writer.start()
    try:
        yield writer
    finally:
        writer.over.set()
        writer.join(timeout=10)


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(DUE, tick=False) as traveller:
        yield traveller


# -- making one ----------------------------------------------------------------------------


def test_a_backup_is_one_file_for_its_owner_that_holds_no_key(database, outfile) -> None:
    make_reader()
    said = told("backup", outfile)
    assert outfile.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in outfile.parent.iterdir()] == ["one.tar"]
    with tarfile.open(outfile) as tar:
        assert tar.getnames() == ["manifest.json", "database"]
        manifest = json.load(tar.extractfile("manifest.json"))
    assert manifest["engine"] == database.kind
    assert manifest["rows"]["subscribers_subscriber"] == 1
    assert manifest["version"] == settings.VERSION
    content = outfile.read_bytes()
    assert settings.SECRET_KEY.encode() not in content
    assert settings.SUPPRESSION_KEY.encode() not in content
    assert "1 readers" in said
    assert "SUPPRESSION_KEY are not in it" in said


def test_a_folder_gets_a_file_named_after_the_moment_and_keeps_the_newest(
    sqlite_database, tmp_path, clock
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "mine.tar").write_text("not made by the command")
    for minute in range(4):
        clock.move_to(DUE + timedelta(minutes=minute))
        call_command("backup", str(folder), keep=2, stdout=io.StringIO())
    assert sorted(file.name for file in folder.iterdir()) == [
        "mine.tar", "paperround-20261123T060200Z.tar", "paperround-20261123T060300Z.tar",
    ]  # fmt: skip


def test_a_file_that_exists_is_not_touched(sqlite_database, outfile) -> None:
    outfile.parent.mkdir()
    outfile.write_text("precious")
    with pytest.raises(CommandError, match="exists already"):
        call_command("backup", str(outfile))
    assert outfile.read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_named(sqlite_database, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=r"file.*: (Not a directory|File exists)"):
        call_command("backup", str(tmp_path / "file" / "one.tar"))


def test_a_missing_pg_dump_is_said_with_the_package_that_has_it(
    postgresql_database, outfile, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match=r"pg_dump is not installed: apt-get .*-client-\d+$"):
        call_command("backup", str(outfile))
    assert not outfile.parent.exists() or not any(outfile.parent.iterdir())


def test_a_pg_dump_older_than_the_server_is_refused(
    postgresql_database, outfile, tmp_path, monkeypatch
) -> None:
    program(tmp_path / "bin" / "pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.24'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(CommandError, match=r"9\.6\.24.* is older than the server"):
        call_command("backup", str(outfile))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupted_backup_leaves_no_file_and_no_process(
    postgresql_database, outfile, tmp_path, number, code
) -> None:
    pid_file = tmp_path / "pid"
    slow = f"[ $1 = --version ] && exec {shutil.which('pg_dump')} $1; echo $$ > {pid_file}; "
    program(tmp_path / "bin" / "pg_dump", slow + "exec sleep 60")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    process = manage_py("backup", outfile, DATABASE_URL=postgresql_database.url, PATH=path)
    wait_for(lambda: pid_file.exists() and pid_file.read_text(), say=lambda: "it never began")
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert list(outfile.parent.iterdir()) == []
    assert not Path(f"/proc/{pid_file.read_text().strip()}").exists()


def test_what_a_killed_backup_left_goes_with_a_later_one_in_that_folder(
    sqlite_database, tmp_path
) -> None:
    folder = tmp_path / "backups"
    left, fresh = folder / ".paperround-work-old", folder / ".paperround-work-new"
    mine, now = folder / ".mine", timezone.now().timestamp()
    for each in (left, fresh, mine):
        each.mkdir(parents=True)
        (each / "copy.sqlite3").touch()
    for each in (left, mine):
        for path in (each / "copy.sqlite3", each):
            os.utime(path, (now, now - 25 * 3600))
    told("backup", f"{folder}/")
    assert [each.exists() for each in (left, fresh, mine)] == [False, True, True]


def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(sqlite_database, outfile) -> None:
    connection.close()
    process = manage_py(
        "backup", outfile, DATABASE_URL=sqlite_database.url, file_size_limit=100_000
    )
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert len(output.splitlines()) == 1
    assert "CommandError: The database cannot be copied" in output
    assert list(outfile.parent.iterdir()) == []


def test_a_schema_that_the_url_names_is_the_only_one_copied_and_replaced(
    postgresql_database, outfile
) -> None:
    make_reader("public@example.org")
    with postgresql_database.connect() as raw:
        raw.execute("CREATE SCHEMA ours")
    url = f"{postgresql_database.url}?options=-c%20search_path%3Dours"
    with behind_django(url):
        call_command("migrate", verbosity=0)
        make_reader()
        told("backup", outfile)
        make_reader("ben@example.org")
        told("restore", outfile, "--yes")
        assert [reader.email for reader in Subscriber.objects.all()] == ["ada@example.org"]
    assert [reader.email for reader in Subscriber.objects.all()] == ["public@example.org"]
    assert not Hold.objects.exists()


# -- what is refused -----------------------------------------------------------------------


@pytest.fixture
def backup(sqlite_database, outfile) -> Path:
    """Of one reader; since then there are two."""
    make_reader()
    call_command("backup", str(outfile), stdout=io.StringIO())
    make_reader("ben@example.org")
    return outfile


def spoil_text(file: Path) -> None:
    file.write_text("Dear diary")


def spoil_end(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def spoil_database(file: Path) -> None:
    with tarfile.open(file) as tar:
        offset = tar.getmember("database").offset_data
    with file.open("r+b") as content:
        content.seek(offset + 2000)
        content.write(b"no" * 20)


def spoil_contents(file: Path) -> None:
    with tarfile.open(file, "w") as tar:
        tar.add(__file__, "something.py")


def spoil_format(file: Path) -> None:
    rewrite(file, format=99)


def spoil_names(file: Path) -> None:
    rewrite(file, rows={"x; DROP TABLE y": 1})


def spoil_counts(file: Path) -> None:
    rewrite(file, rows={"subscribers_subscriber": 7})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "There is no file"),
        (spoil_text, "is no backup of Paperround, or not whole"),
        (spoil_end, "is no backup of Paperround, or not whole"),
        (spoil_database, "is damaged"),
        (spoil_contents, "has no manifest.json"),
        (spoil_format, "newer version"),
        (spoil_names, "is no backup of Paperround"),
        (spoil_counts, "Nothing was restored: subscribers_subscriber has 1 rows, not 7"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_what_is_not_a_whole_backup_changes_nothing(backup, spoil, said) -> None:
    stored = everything()
    spoil(backup)
    with pytest.raises(CommandError, match=said):
        call_command("restore", str(backup), yes=True, stdout=io.StringIO())
    assert everything() == stored


def test_postgresql_too_takes_all_of_it_or_nothing(postgresql_database, outfile) -> None:
    make_reader()
    call_command("backup", str(outfile), stdout=io.StringIO())
    rewrite(outfile, rows={"subscribers_subscriber": 7})
    make_reader("ben@example.org")
    stored = everything()
    with pytest.raises(
        CommandError, match=r"Nothing was restored: .*another number of rows than 7"
    ):
        call_command("restore", str(outfile), yes=True, stdout=io.StringIO())
    assert everything() == stored


def test_a_restore_that_is_killed_half_way_leaves_what_was_there(
    postgresql_database, outfile, tmp_path
) -> None:
    make_reader()
    call_command("backup", str(outfile), stdout=io.StringIO())
    make_reader("ben@example.org")
    stored = everything()
    connection.close()
    real, half = shutil.which("pg_restore"), tmp_path / "half"
    program(
        tmp_path / "bin" / "pg_restore",
        f"[ $1 = --version ] && exec {real} $1; {real} $@ > {half}.sql; "
        f"head -n $(($(wc -l < {half}.sql) * 9 / 10)) {half}.sql; touch {half}; exec sleep 60",
    )
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    url = postgresql_database.url
    process = manage_py("restore", outfile, "--yes", DATABASE_URL=url, PATH=path)
    wait_for(half.exists, say=lambda: "it never began")
    time.sleep(0.5)  # psql has what came so far
    process.kill()
    process.communicate()
    wait_for(lambda: not sessions(url), say=lambda: "psql goes on")
    assert everything() == stored


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ({"engine": "postgresql"}, "backup of postgresql, and DATABASE_URL names sqlite"),
        ({"engine_version": 99}, "made by sqlite 99; this server is 3"),
        ({"migrations": ["digest.9999_later"]}, r"newer version .*digest\.9999_later"),
        ({"keys": {"SUPPRESSION_KEY": "0" * 32}}, "SUPPRESSION_KEY is another one"),
    ],
    ids=["engine", "server", "schema", "key"],
)
def test_a_backup_that_does_not_belong_here_is_refused(backup, fact, said) -> None:
    rewrite(backup, **fact)
    with pytest.raises(CommandError, match=said):
        call_command("restore", str(backup), yes=True, stdout=io.StringIO())
    assert Subscriber.objects.count() == 2


def test_readers_are_overwritten_only_by_who_says_so(backup, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(CommandError, match="Add --yes"):
        call_command("restore", str(backup), stdout=io.StringIO())
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    with pytest.raises(CommandError, match="Nothing was restored"):
        call_command("restore", str(backup), stdout=io.StringIO())
    assert Subscriber.objects.count() == 2
    monkeypatch.setattr(sys, "stdin", Terminal("overwrite\n"))
    assert "holds 2 readers" in told("restore", backup)
    assert Subscriber.objects.count() == 1


def test_an_installation_that_is_alive_is_not_restored_over(backup) -> None:
    Heartbeat.note("beat", timezone.now() - timedelta(minutes=3))
    Heartbeat.note("send", timezone.now() - timedelta(seconds=20))
    with pytest.raises(CommandError, match=r"is running on this database: send \(2\d s ago\)\."):
        call_command("restore", str(backup), yes=True, stdout=io.StringIO())
    assert Subscriber.objects.count() == 2
    call_command("restore", str(backup), yes=True, force=True, stdout=io.StringIO())
    assert Subscriber.objects.count() == 1
    assert not Heartbeat.objects.exists()


def test_a_check_changes_nothing(backup) -> None:
    stored = everything()
    assert "could be restored here" in told("restore", backup, "--check")
    assert everything() == stored


def test_a_damaged_database_file_is_named_with_all_that_belongs_to_it(
    backup, sqlite_database
) -> None:
    connection.close()
    file = sqlite_database.file
    for each in file.parent.glob(f"{file.name}-*"):
        each.unlink()
    file.write_bytes(b"garbage!" * 4096)
    with pytest.raises(CommandError) as refused:
        told("restore", backup, "--yes")
    assert f"Move {file}, {file}-wal and {file}-shm away" in str(refused.value)
    file.rename(f"{file}.damaged")
    connection.close()
    told("restore", backup, "--yes")
    assert Subscriber.objects.count() == 1


def test_a_round_of_cron_is_a_sign_of_life(backup) -> None:
    told("tick", "--no-fetch")
    with pytest.raises(CommandError, match=r"is running on this database: tick \("):
        told("restore", backup, "--yes")


def test_what_began_while_the_question_stood_is_seen(backup, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def readline(self, *args: Any) -> str:
            Heartbeat.note("send", timezone.now())
            return super().readline(*args)

    monkeypatch.setattr(sys, "stdin", Terminal("overwrite\n"))
    with pytest.raises(CommandError, match="is running on this database: send"):
        told("restore", backup)
    assert Subscriber.objects.count() == 2


def test_keys_of_other_names_are_refused_before_they_become_files(
    backup, settings, tmp_path
) -> None:
    settings.DATA_DIR = tmp_path / "data"
    rewrite(backup, with_keys={"SECRET_KEY": "n" * 50, "../EVIL": "e"})
    with pytest.raises(CommandError, match=r"keys\.json holds something else"):
        told("restore", backup, "--yes", "--with-keys")
    assert not (tmp_path / "evil").exists()
    assert Subscriber.objects.count() == 2


# -- afterwards ----------------------------------------------------------------------------


def test_a_backup_of_an_older_version_is_migrated(database, outfile) -> None:
    call_command("migrate", "sessions", "zero", verbosity=0)
    call_command("backup", str(outfile), stdout=io.StringIO())
    call_command("migrate", verbosity=0)
    call_command("restore", str(outfile), yes=True, stdout=io.StringIO())
    assert "django_session" in connection.introspection.table_names()
    assert Hold.objects.in_force().exists()


@pytest.mark.parametrize("fails", ["migrate", "kill"])
def test_who_was_suppressed_since_stays_so_whatever_fails_after_the_load(
    database, outfile, monkeypatch, fails
) -> None:
    left, complained = make_readers(2)
    told("backup", outfile)
    signup.unsubscribe(left, now=SENT, via="page")
    signup.suppress(
        complained.address_hash, reason="complaint", note="it's \\ :spam\n", now=SENT, via="admin"
    )

    def broken(*args: Any, **options: Any) -> None:
        if fails == "kill":
            raise SystemExit(137)
        raise CommandError("no space left.")

    with monkeypatch.context() as patched, pytest.raises((CommandError, SystemExit)) as ended:
        patched.setattr(restore, "call_command", broken)
        told("restore", outfile, "--yes")
    if fails == "migrate":
        assert "no space left. Run ./manage.py migrate" in str(ended.value)
    for _ in range(2):  # as it was left, and restored once more
        assert set(Suppression.objects.values_list("address_hash", "reason", "note")) == {
            (left.address_hash, "unsubscribe", ""),
            (complained.address_hash, "complaint", "it's \\ :spam\n"),
        }
        assert Hold.objects.in_force().exists()
        told("restore", outfile, "--yes")


@pytest.mark.parametrize(
    ("then", "since", "kept"),
    [
        (("unsubscribe", DUE), ("complaint", SENT), ("complaint", SENT)),
        (("unsubscribe", DUE), ("unsubscribe", SENT), ("unsubscribe", SENT)),
        (("unsubscribe", SENT), ("operator", DUE), ("operator", DUE)),
        (("bounce", DUE), ("complaint", SENT), ("complaint", SENT)),
        (("complaint", DUE), ("unsubscribe", SENT), ("complaint", DUE)),
        (("bounce", SENT), ("complaint", DUE), ("bounce", SENT)),
    ],
    ids=lambda case: f"{case[0]}@{case[1]:%M}",
)
def test_of_two_reasons_the_stronger_and_then_the_newer_is_kept(
    sqlite_database, outfile, then, since, kept
) -> None:
    assert restored_reason(outfile, then, since) == kept


def test_of_two_reasons_the_stronger_is_kept_on_postgresql(postgresql_database, outfile) -> None:
    then, since = ("unsubscribe", SENT), ("complaint", DUE)
    assert restored_reason(outfile, then, since) == since


def restored_reason(outfile: Path, then: tuple, since: tuple) -> tuple:
    row = Suppression.objects.create(address_hash="a" * 64, reason=then[0], created_at=then[1])
    told("backup", outfile)
    Suppression.objects.filter(pk=row.pk).update(reason=since[0], created_at=since[1])
    told("restore", outfile, "--yes")
    return Suppression.objects.values_list("reason", "created_at").get()


def test_more_suppressions_than_fit_a_statement_are_carried_over(database, outfile) -> None:
    told("backup", outfile)
    count = 2 * aftermath.ROWS_A_STATEMENT + 1
    Suppression.objects.bulk_create(
        Suppression(address_hash=f"{number:064}", reason="bounce") for number in range(count)
    )
    assert f"{count} addresses suppressed since then stay suppressed" in told(
        "restore", outfile, "--yes"
    )
    assert Suppression.objects.count() == count


def test_who_said_goodbye_since_is_unsubscribed_and_can_come_back(database, outfile, clock) -> None:
    ada, ben, eve, zoe = make_readers(4)
    told("backup", outfile)
    signup.unsubscribe(ada, now=SENT, via="page")
    Suppression.objects.create(address_hash=ben.address_hash, reason="erasure", created_at=SENT)
    ben.delete()
    signup.suppress(eve.address_hash, reason="complaint", now=SENT, via="provider")
    told("restore", outfile, "--yes")

    facts = Subscriber.objects.order_by("email").values_list(
        "state", "unsubscribed_at", "next_due_at"
    )
    assert list(facts) == [("unsubscribed", SENT, None)] * 2 + [("active", None, DUE)] * 2
    assert_books_balance()
    ada, ben, eve = Subscriber.objects.order_by("email")[:3]
    assert signup.resubscribe(ada, now=RESTORED, via="page")
    assert signup.confirm(ben, now=RESTORED, via="page")
    mailable = Subscriber.objects.mailable(MONDAY).order_by("email")
    assert list(mailable.values_list("email", flat=True)) == [ada.email, ben.email, zoe.email]


def test_what_falls_due_until_the_load_is_late(backup, clock, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def readline(self, *args: Any) -> str:
            clock.move_to(RESTORED)
            return super().readline(*args)

    monkeypatch.setattr(sys, "stdin", Terminal("overwrite\n"))
    told("restore", backup)
    assert Hold.objects.in_force().get().late_before == RESTORED


OLDER = {
    "digest": """
        ours = import_module("digest.migrations.0001_initial").Migration.operations
        then = [
            migrations.RemoveField("hold", "note"),
            migrations.AddField("hold", "weight", models.IntegerField(default=3)),
        ]
        now = [
            migrations.AddField("hold", "note", models.CharField(default="", max_length=200)),
            migrations.RemoveField("hold", "weight"),
        ]
    """,
    "subscribers": """
        ours = import_module("subscribers.migrations.0001_initial").Migration.operations
        then = [migrations.RemoveField("subscriber", "link_due_at")]
        asked = models.DateTimeField(null=True, db_index=True)
        now = [migrations.AddField("subscriber", "link_due_at", asked)]
    """,
}


@pytest.fixture
def older_version(database, tmp_path, settings, monkeypatch) -> None:
    """One whose holds had a weight and no note, and whose readers could not ask for a link; today
    it is at its second migration. After `database`: what others copy is of today's migrations.
    """
    imports = "from importlib import import_module\nfrom django.db import migrations, models\n"
    for app, facts in OLDER.items():
        folder = tmp_path / f"older_{app}"
        folder.mkdir()
        (folder / "__init__.py").write_text(imports + dedent(facts))
        first, second = (
            f"from importlib import import_module\nfrom . import ours, then, now\n{each}"
            for each in (
                f'class Migration(import_module("{app}.migrations.0001_initial").Migration):\n'
                "    operations = [*ours, *then]\n",
                "from django.db import migrations\n"
                "class Migration(migrations.Migration):\n"
                f'    dependencies = [("{app}", "0001_initial")]\n    operations = now\n',
            )
        )
        (folder / "0001_initial.py").write_text(first)
        (folder / "0002_today.py").write_text(second)
    monkeypatch.syspath_prepend(tmp_path)
    settings.MIGRATION_MODULES = {app: f"older_{app}" for app in OLDER}


@pytest.mark.usefixtures("older_version")
def test_tables_of_an_older_version_get_what_they_have_columns_for(database, outfile) -> None:
    call_command("migrate", fake=True, verbosity=0)
    ada = make_reader()
    for app in OLDER:
        call_command("migrate", app, "0001", verbosity=0)
    told("backup", outfile)
    call_command("migrate", verbosity=0)
    signup.unsubscribe(ada, now=SENT, via="page")
    told("restore", outfile, "--yes")
    assert Hold.objects.in_force().get().note == ""
    assert Subscriber.objects.get().unsubscribed_at == SENT
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations WHERE name = '0002_today'")
        assert cursor.fetchone() == (len(OLDER),)


def test_a_hold_that_was_in_force_then_gives_way_to_the_restore_s(database, outfile) -> None:
    sending.hold(by="ada", now=DUE, note="holidays")
    call_command("backup", str(outfile), stdout=io.StringIO())
    call_command("restore", str(outfile), yes=True, stdout=io.StringIO())
    assert Hold.objects.in_force().get().note.startswith("Restored from the backup of")
    assert Hold.objects.get(note="holidays").released_by == "manage.py restore"


def test_a_process_that_has_the_file_open_goes_on_with_what_was_restored(
    backup, sqlite_database
) -> None:
    with sqlite_database.connect() as other:
        count = "SELECT count(*) FROM subscribers_subscriber"
        assert other.execute(count).fetchone() == (2,)
        call_command("restore", str(backup), yes=True, stdout=io.StringIO())
        assert other.execute(count).fetchone() == (1,)
        other.execute("DELETE FROM subscribers_subscriber")
    assert Subscriber.objects.count() == 0


def test_keys_travel_only_where_wished(
    sqlite_database, outfile, settings, tmp_path, monkeypatch
) -> None:
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()
    old = {"SECRET_KEY": settings.SECRET_KEY, "SUPPRESSION_KEY": settings.SUPPRESSION_KEY}
    told("backup", outfile, "--with-keys")
    settings.SECRET_KEY, settings.SUPPRESSION_KEY = "n" * 50, "m" * 50

    with pytest.raises(CommandError, match="SUPPRESSION_KEY is set in the environment to another"):
        monkeypatch.setenv("SUPPRESSION_KEY", "m" * 50)
        told("restore", outfile, "--with-keys")
    for name in old:
        monkeypatch.delenv(name)
    with pytest.raises(CommandError, match="SUPPRESSION_KEY is another one"):
        told("restore", outfile)
    told("restore", outfile, "--with-keys")
    for name, key in old.items():
        kept = settings.DATA_DIR / name.lower()
        assert kept.read_text() == key
        assert kept.stat().st_mode & 0o777 == 0o600


def test_addresses_suppressed_under_another_key_are_known_by_their_readers_or_warned_of(
    database, outfile, settings, tmp_path, monkeypatch
) -> None:
    settings.DATA_DIR = tmp_path / "data"
    ada, _ = make_readers(2)
    told("backup", outfile, "--with-keys")
    theirs, settings.SUPPRESSION_KEY = settings.SUPPRESSION_KEY, "m" * 50
    settings.SECRET_KEY = "n" * 50
    for name in archive.KEY_NAMES:
        monkeypatch.delenv(name)
    Subscriber.objects.filter(pk=ada.pk).update(address_hash=address_hash(ada.email))
    complaint = {"reason": "complaint", "created_at": SENT}
    Suppression.objects.create(address_hash=address_hash(ada.email), **complaint)
    goodbye = {"reason": "unsubscribe", "created_at": DUE}
    Suppression.objects.create(address_hash=aftermath.hashed(ada.email, theirs), **goodbye)
    said = told("restore", outfile, "--with-keys", "--yes")

    assert (
        said.count("1 addresses that are suppressed in this database will not be recognised") == 2
    )
    assert "SECRET_KEY is another one" not in said
    settings.SUPPRESSION_KEY = theirs
    mailable = Subscriber.objects.mailable(MONDAY)
    assert [reader.email for reader in mailable] == ["reader2@example.org"]
    assert Suppression.objects.get().reason == "complaint"


def test_keys_are_kept_only_with_what_they_belong_to(
    sqlite_database, outfile, settings, tmp_path
) -> None:
    settings.DATA_DIR = tmp_path / "data"
    told("backup", outfile, "--with-keys")
    keys = archive.read_keys(outfile)
    rewrite(outfile, rows={"subscribers_subscriber": 7}, with_keys=keys)
    with pytest.raises(CommandError, match="Nothing was restored"):
        told("restore", outfile, "--with-keys", "--yes")
    assert list(settings.DATA_DIR.iterdir()) == []


def test_another_secret_key_is_warned_of_until_it_is_a_fallback(backup, settings) -> None:
    then, settings.SECRET_KEY = settings.SECRET_KEY, "n" * 50
    assert "add theirs to SECRET_KEY_FALLBACKS" in told("restore", backup, "--yes")
    settings.SECRET_KEY_FALLBACKS = [then]
    assert "SECRET_KEY" not in told("restore", backup, "--yes")


# -- tools ---------------------------------------------------------------------------------


def told(*command: Any) -> str:
    out = io.StringIO()
    call_command(*map(str, command), stdout=out)
    return out.getvalue()


def rewrite(file: Path, **facts: Any) -> None:
    """The same backup with another manifest."""
    manifest = archive.read_manifest(file)
    prints, keys = manifest.keys | facts.pop("keys", {}), facts.pop("with_keys", {})
    with archive.workplace(file, timezone.now()) as folder:
        archive.extract(file, manifest, folder / "database")
        other = replace(manifest, **{"keys": prints, **facts})
        archive.write(folder / "other.tar", other, folder / "database", keys)
        archive.publish(file, folder / "other.tar")


def program(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def manage_py(*command: Any, file_size_limit: int = 0, **environment: str) -> subprocess.Popen[str]:
    def limit() -> None:
        if file_size_limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))

    return subprocess.Popen(
        [sys.executable, "manage.py", *map(str, command)],
        cwd=PROJECT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        preexec_fn=limit,
        start_new_session=True,
    )


def sessions(url: str) -> int:
    """How many others are connected to that database."""
    others = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(url) as raw:
        return raw.execute(others).fetchone()[0]
