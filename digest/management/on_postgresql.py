"""Copying a PostgreSQL database with pg_dump, and putting a copy in its place with psql."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from tqdm import tqdm

from .archive import BackupError, Dump

BLOCK = 1 << 20

# Whatever another version of the program may have made goes too; what belongs to an extension
# stays. Sequences and indexes go with their tables, the functions of the index of words do not.
_EMPTY = r"""
SET LOCAL lock_timeout = '30s';
SET LOCAL client_min_messages = warning;
DO $$
DECLARE it record;
BEGIN
    FOR it IN
        SELECT c.oid::regclass AS name FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    LOOP
        EXECUTE format('DROP TABLE IF EXISTS %s CASCADE', it.name);
    END LOOP;
    FOR it IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'papers\_%'
    LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', it.name);
    END LOOP;
END $$;
"""


class Postgresql:
    engine = "postgresql"

    def __init__(self, connection: BaseDatabaseWrapper, tables: list[str]) -> None:
        self._connection: Any = connection
        self._tables = tables

    @property
    def engine_version(self) -> int:
        return int(self._connection.pg_version) // 10_000

    def dump(self, folder: Path) -> Dump:
        program = self._program("pg_dump")
        file = folder / "database.pgdump"
        with transaction.atomic(), self._connection.cursor() as cursor:
            # What is counted here and what pg_dump copies are one and the same state.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_export_snapshot(), current_schema()")
            snapshot, schema = cursor.fetchone()
            rows = {table: _count(cursor, table) for table in self._tables}
            cursor.execute("SELECT app || '.' || name FROM django_migrations ORDER BY 1")
            migrations = [name for (name,) in cursor.fetchall()]
            self._dump(program, file, f"--snapshot={snapshot}", f"--schema={schema}")
        return Dump(file, rows, migrations)

    def load(self, file: Path, *, rows: Mapping[str, int], then: Callable[[], list[str]]) -> None:
        """One script, in one transaction that its own last line commits: a psql that loses us in
        the middle, or any error, leaves what was there.
        """
        try:
            # Told now: the script locks the tables and drops them.
            self._run_script(file, _epilogue(rows, then()))
        except BackupError as error:
            raise BackupError(f"Nothing was restored: {error}") from error

    def _run_script(self, file: Path, epilogue: str) -> None:
        pg_restore, psql = self._program("pg_restore"), self._program("psql")
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT current_schema()")
            (schema,) = cursor.fetchone()
        self._connection.close()
        unpack = [
            *(pg_restore, "--file=-", f"--schema={schema}"),
            *("--no-owner", "--no-privileges", "--no-comments", str(file)),
        ]
        run = [psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
        with _running(run + self._where(), self._environment(), stdin=subprocess.PIPE) as script:
            try:
                _tell(script, f"BEGIN;{_EMPTY}")
                with _running(unpack, self._environment(), stdout=subprocess.PIPE) as source:
                    _pour(source, script)
                    _expect_success(source)
                _tell(script, epilogue)
                script.stdin.close()
            except BrokenPipeError:  # psql gave up, and says why
                pass
            _expect_success(script)

    def _dump(self, program: str, file: Path, *options: str) -> None:
        flags = ["--format=custom", "--no-owner", "--no-privileges", "--no-comments"]
        command = [program, *flags, *options, f"--file={file}", *self._where()]
        bar = tqdm(desc="Copying", unit="B", unit_scale=True, disable=None, leave=False)
        with bar, _running(command, self._environment()) as process:
            while process.poll() is None:
                bar.update((file.stat().st_size if file.exists() else 0) - bar.n)
                time.sleep(0.1)
            _expect_success(process)

    def _program(self, name: str) -> str:
        """Its path. Older than the server it would refuse, or lose what it does not know."""
        path = shutil.which(name)
        package = f"postgresql-client-{self.engine_version}"
        if path is None:
            raise BackupError(f"{name} is not installed: apt-get install {package}")
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        version = re.search(r"\b(\d+)(\.|devel|beta|rc|$|\s)", told.stdout)
        if version is None or int(version[1]) < self.engine_version:
            said = told.stdout.strip() or told.stderr.strip()
            raise BackupError(
                f"{path} ({said}) is older than the server, PostgreSQL {self.engine_version}: "
                f"apt-get install {package}"
            )
        return path

    def _where(self) -> list[str]:
        return list(self._client()[0][1:])

    def _environment(self) -> dict[str, str]:
        """With the password, which a command line would show to everybody on the machine, and with
        the options, which Django leaves out: a search_path says whose tables these are.
        """
        options = self._connection.settings_dict["OPTIONS"].get("options")
        ours = {"PGOPTIONS": str(options)} if options else {}
        return os.environ | ours | (self._client()[1] or {})

    def _client(self) -> Any:
        settings = self._connection.settings_dict
        return self._connection.client.settings_to_cmd_args_env(settings, ["--no-password"])


def _count(cursor: Any, table: str) -> int:
    cursor.execute(f"SELECT count(*) FROM {_name(table)}")  # noqa: S608
    return int(cursor.fetchone()[0])


def _name(table: str) -> str:
    return f'"{table}"'


def _epilogue(rows: Mapping[str, int], then: list[str]) -> str:
    """Back from pg_restore's empty search path; the proof; what is to be done; the end.

    ANALYZE, or the first morning would be planned as if the tables were empty.
    """
    proofs = "".join(
        f"IF (SELECT count(*) FROM {_name(table)}) <> {count} THEN "  # noqa: S608
        f"RAISE EXCEPTION '% has another number of rows than {count}', '{table}'; END IF;\n"
        for table, count in rows.items()
    )
    proof = f"DO $$ BEGIN\n{proofs}END $$" if proofs else "SELECT 1"
    return ";\n".join(["RESET search_path", proof, *then, "ANALYZE", "COMMIT", ""])


@contextmanager
def _running(command: list[str], env: dict[str, str], **pipes: Any) -> Iterator[Any]:
    """The process, ended with the block whatever happens. Its complaints are read at the end."""
    # Ctrl-C and SIGTERM wait until the process is in our hands, or it would be left behind.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        process = subprocess.Popen(  # noqa: S603
            command,
            env=env,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
            **pipes,
        )
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield process
        finally:
            _end(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: Any) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with suppress(BrokenPipeError):  # what it did not want to read any more
            if pipe is not None:
                pipe.close()


def _tell(script: Any, sql: str) -> None:
    script.stdin.write(sql.encode())
    script.stdin.flush()


def _pour(source: Any, script: Any) -> None:
    bar = tqdm(desc="Restoring", unit="B", unit_scale=True, disable=None, leave=False)
    with bar:
        while block := source.stdout.read1(BLOCK):
            script.stdin.write(block)
            bar.update(len(block))


def _expect_success(process: Any) -> None:
    complaint = process.stderr.read().decode(errors="replace").strip()
    if process.wait() != 0:
        name = Path(process.args[0]).name
        raise BackupError(f"{name} failed: {complaint or f'exit code {process.returncode}'}")
