"""The queue of SQLite's writers: in order, and never the reason that somebody waits forever."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction

from config.sqlite_queue.base import DatabaseWrapper, FairLock

ALIAS = "queued"
PATIENCE_SECONDS = 5


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """A database file of its own under the project's options; gives its alias."""
    ours = copy.deepcopy(connections.settings["default"])
    ours |= {
        "ENGINE": "config.sqlite_queue",
        "NAME": tmp_path / "queue.sqlite3",
        "CONN_HEALTH_CHECKS": False,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": PATIENCE_SECONDS,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
    connections.settings[ALIAS] = ours
    # pytest-django closes the door to every database; this one is nobody else's.
    connections[ALIAS].cursor().execute("CREATE TABLE note (writer TEXT, number INT)")
    yield ALIAS
    connections[ALIAS].close()
    del connections[ALIAS]
    del connections.settings[ALIAS]


@pytest.fixture(autouse=True)
def _any_database(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def test_the_lock_is_handed_over_in_the_order_of_asking() -> None:
    lock, order = FairLock(), []
    lock.acquire(timeout_seconds=PATIENCE_SECONDS)

    def ask(number: int) -> None:
        assert lock.acquire(timeout_seconds=PATIENCE_SECONDS)
        order.append(number)
        lock.release()

    threads = []
    for number in range(8):
        threads.append(_start(ask, number))
        _wait_for(lambda asked=number + 1: len(lock._waiting) == asked)
    lock.release()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert order == list(range(8))


def test_a_turn_that_does_not_come_in_time_is_given_up() -> None:
    lock = FairLock()
    lock.acquire(timeout_seconds=1)

    assert not lock.acquire(timeout_seconds=0.05)

    lock.release()
    assert lock.acquire(timeout_seconds=0)


def test_a_holder_whose_thread_ended_is_passed_over() -> None:
    lock = FairLock()
    _start(lock.acquire, timeout_seconds=1).join()

    assert lock.acquire(timeout_seconds=PATIENCE_SECONDS)


def test_somebody_who_is_interrupted_while_waiting_blocks_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = FairLock()
    lock.acquire(timeout_seconds=1)
    with monkeypatch.context() as patch:
        patch.setattr(lock, "_await", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            lock.acquire(timeout_seconds=1)
    assert not lock._waiting

    lock.release()
    with monkeypatch.context() as patch:  # interrupted with the turn already in hand
        patch.setattr(lock, "_await", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            lock.acquire(timeout_seconds=1)
    assert lock.acquire(timeout_seconds=0)


def test_a_nested_block_keeps_the_turn_of_the_outer_one(database: str) -> None:
    with transaction.atomic(database):
        _write(database, "ada", 1)
        with pytest.raises(ZeroDivisionError), transaction.atomic(database):
            _write(database, "ada", 2)
            _ = 1 / 0
        with transaction.atomic(database):
            _write(database, "ada", 3)
        assert _holds_turn(database)

    assert not _holds_turn(database)
    assert _rows(database) == [("ada", 1), ("ada", 3)]


def test_a_rollback_passes_the_turn(database: str) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(database):
        _write(database, "ada", 1)
        _ = 1 / 0

    assert not _holds_turn(database)
    assert _elsewhere(lambda: _write(database, "ben", 1))
    assert _rows(database) == [("ben", 1)]


def test_a_connection_closed_inside_a_block_passes_the_turn(database: str) -> None:
    with transaction.atomic(database):
        _write(database, "ada", 1)
        connections[database].close()
        assert not _holds_turn(database)

    assert _elsewhere(lambda: _write(database, "ben", 1))
    assert _rows(database) == [("ben", 1)]


def test_a_failed_begin_passes_the_turn(database: str) -> None:
    with pytest.raises(OperationalError):
        _elsewhere(lambda: _begin_beside_a_foreign_writer(database))

    assert _elsewhere(lambda: _write(database, "ben", 1))


def test_a_write_outside_transactions_takes_a_turn_and_passes_it(database: str) -> None:
    queue = connections[database]._queue()
    queue.acquire(timeout_seconds=1)
    late = _start(lambda: _elsewhere(lambda: _write(database, "ben", 1)))
    _wait_for(lambda: len(queue._waiting) == 1)
    assert _rows(database) == []

    queue.release()
    late.join(PATIENCE_SECONDS)

    assert _rows(database) == [("ben", 1)]


def test_reading_waits_for_nobody(database: str) -> None:
    with transaction.atomic(database):
        _write(database, "ada", 1)
        began = time.monotonic()
        assert _elsewhere(lambda: _rows(database)) == []
    assert time.monotonic() - began < 1


def test_a_thread_that_ends_without_a_commit_holds_nobody_up(database: str) -> None:
    def leave_the_door_open() -> None:
        connection = connections[database]
        connection.set_autocommit(False)
        _write(database, "ada", 1)
        assert connection._holds_turn
        connection.connection.close()  # what the garbage collector does, sooner or later

    _start(leave_the_door_open).join()

    assert _elsewhere(lambda: _write(database, "ben", 1))
    assert _rows(database) == [("ben", 1)]


def test_writers_beside_a_bulk_writer_lose_nothing_and_wait_in_order(database: str) -> None:
    stop_at = time.monotonic() + 1.5
    written: dict[str, int] = {}
    longest_seconds: dict[str, float] = {}

    def keep_writing(name: str, write: Callable[[str, int], None]) -> None:
        number = 0
        longest = 0.0
        while time.monotonic() < stop_at:
            began = time.monotonic()
            write(name, number)
            longest = max(longest, time.monotonic() - began)
            number += 1
        written[name], longest_seconds[name] = number, longest

    def alone(name: str, number: int) -> None:
        _write(database, name, number)

    def together(name: str, number: int) -> None:
        with transaction.atomic(database):
            _write(database, name, number)

    def bulk(name: str, number: int) -> None:
        rows = [(name, number)] * 500
        with transaction.atomic(database), connections[database].cursor() as cursor:
            cursor.executemany("INSERT INTO note VALUES (%s, %s)", rows)

    writers = [(f"w{n}", alone if n % 2 else together) for n in range(4)] + [("bulk", bulk)]
    with ThreadPoolExecutor(len(writers)) as pool:
        work = [pool.submit(_closing(keep_writing, database), *writer) for writer in writers]
    for job in work:
        job.result()  # raises "database is locked", were there any

    for name, count in written.items():
        each = 500 if name == "bulk" else 1
        assert _count(database, name) == count * each
        assert count > 3
    assert max(longest_seconds.values()) < 1


def _write(database: str, writer: str, number: int) -> bool:
    with connections[database].cursor() as cursor:
        cursor.execute("INSERT INTO note VALUES (%s, %s)", [writer, number])
    return True


def _rows(database: str) -> list[tuple[str, int]]:
    with connections[database].cursor() as cursor:
        return cursor.execute("SELECT writer, number FROM note ORDER BY rowid").fetchall()


def _count(database: str, writer: str) -> int:
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM note WHERE writer = %s", [writer])
        return cursor.fetchone()[0]


def _holds_turn(database: str) -> bool:
    connection = connections[database]
    assert isinstance(connection, DatabaseWrapper)
    return connection._holds_turn


def _begin_beside_a_foreign_writer(database: str) -> None:
    connection = connections[database]
    connection.settings_dict = {
        **connection.settings_dict,
        "OPTIONS": {**connection.settings_dict["OPTIONS"], "timeout": 0},
    }
    foreign = DatabaseWrapper.Database.connect(connection.settings_dict["NAME"])
    foreign.execute("BEGIN IMMEDIATE")
    try:
        with transaction.atomic(database):
            pytest.fail("two writers at once")
    finally:
        foreign.close()


def _elsewhere(work: Callable[[], Any]) -> Any:
    """The result of `work` on a thread, and so a connection, of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_closing(work, ALIAS)).result(timeout=3 * PATIENCE_SECONDS)


def _closing(work: Callable[..., Any], database: str) -> Callable[..., Any]:
    def closing(*args: Any) -> Any:
        try:
            return work(*args)
        finally:
            connections[database].close()

    return closing


def _start(work: Callable[..., Any], *args: Any, **kwargs: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, kwargs=kwargs)
    thread.start()
    return thread


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _interrupt(*args: Any) -> bool:
    raise KeyboardInterrupt
