"""Django's SQLite backend, with the writers of this process queueing in order.

SQLite lets one writer in at a time and makes the others poll; the poll is unfair, and a web
request behind a bulk writer was seen to starve for 16 seconds. Here whoever is about to write
first takes a turn in a first-come, first-served queue and keeps it until SQLite's own lock is
let go. The queue is a courtesy: it decides who asks next, SQLite's lock alone decides who
writes. So a turn that does not come within the connection's `timeout` is done without, and
writers of other processes, which stand in no queue of ours, meet SQLite's lock as ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from django.db.backends.sqlite3 import base

_LOOK_AGAIN_SECONDS = 1.0
_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class FairLock:
    """A mutex that is handed over in the order of asking.

    Not reentrant. Any thread may release it. A holder whose thread has ended without releasing
    is passed over.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._holder: threading.Thread | None = None
        self._waiting: deque[_Turn] = deque()

    def acquire(self, *, timeout_seconds: float) -> bool:
        """True once the lock is this thread's; False if it was not in time, which holds nothing."""
        turn = _Turn()
        with self._mutex:
            self._waiting.append(turn)
            self._hand_over()
        try:
            return self._await(turn, monotonic() + timeout_seconds)
        except BaseException:
            self._leave(turn)
            raise

    def release(self) -> None:
        with self._mutex:
            self._holder = None
            self._hand_over()

    def _await(self, turn: _Turn, deadline: float) -> bool:
        while not turn.came.wait(min(_LOOK_AGAIN_SECONDS, max(deadline - monotonic(), 0))):
            if monotonic() >= deadline:
                self._leave(turn)
                return False
            with self._mutex:
                self._hand_over()
        return True

    def _hand_over(self) -> None:
        if self._waiting and (self._holder is None or not self._holder.is_alive()):
            turn = self._waiting.popleft()
            self._holder = turn.thread
            turn.came.set()

    def _leave(self, turn: _Turn) -> None:
        """Gives the place up. A turn that came at the last moment goes to the next."""
        with self._mutex:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:
                self._holder = None
                self._hand_over()


class _Turn:
    __slots__ = ("came", "thread")

    def __init__(self) -> None:
        self.came = threading.Event()
        self.thread = threading.current_thread()


# One queue per database file.
_queues: dict[str, FairLock] = {}
_queues_guard = threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    # The methods overridden here are Django's own hooks for backends, which its stubs leave out.

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._holds_turn = False

    def in_turn(self, write: Callable[[], Any]) -> Any:
        """Calls `write` in this connection's turn, which ends unless a transaction goes on."""
        self._take_turn()
        try:
            return write()
        finally:
            self._pass_turn_if_done()

    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=lambda raw: _QueueingCursor(raw, self))

    def _start_transaction_under_autocommit(self) -> None:
        self.in_turn(super()._start_transaction_under_autocommit)  # type: ignore[misc]

    def _commit(self) -> None:
        try:
            super()._commit()  # type: ignore[misc]
        finally:
            self._pass_turn_if_done()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]
        finally:
            self._pass_turn_if_done()

    def _close(self) -> None:
        # Also in an atomic block, which then ends with neither commit nor rollback.
        try:
            super()._close()  # type: ignore[misc]
        finally:
            self._pass_turn()

    def _take_turn(self) -> None:
        if not self._holds_turn and not self.connection.in_transaction:
            timeout_seconds = self.settings_dict["OPTIONS"].get("timeout", 5.0)
            self._holds_turn = self._queue().acquire(timeout_seconds=timeout_seconds)

    def _pass_turn_if_done(self) -> None:
        if self.connection is None or not self.connection.in_transaction:
            self._pass_turn()

    def _pass_turn(self) -> None:
        if self._holds_turn:
            self._holds_turn = False
            self._queue().release()

    def _queue(self) -> FairLock:
        with _queues_guard:
            return _queues.setdefault(str(self.settings_dict["NAME"]), FairLock())


class _QueueingCursor(base.SQLiteCursorWrapper):
    """Lets single writes outside transactions queue as well."""

    def __init__(self, raw: Any, wrapper: DatabaseWrapper) -> None:
        super().__init__(raw)
        self._wrapper = wrapper

    def execute(self, query: Any, params: Any = None) -> Any:
        if not _is_write(query):
            return super().execute(query, params)
        return self._wrapper.in_turn(lambda: super(_QueueingCursor, self).execute(query, params))

    def executemany(self, query: Any, param_list: Any) -> Any:
        return self._wrapper.in_turn(
            lambda: super(_QueueingCursor, self).executemany(query, param_list)
        )


def _is_write(query: Any) -> bool:
    return str(query).lstrip()[:7].upper().startswith(_WRITES)
