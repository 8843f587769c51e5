"""What all processes count together: in Redis, or, while Redis is away, each process for itself.

A cache must never make a page fail or wait, so an answer is waited for half a second, and after
the first that fails to come Redis is left alone for a while.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 0.5
LEFT_ALONE_SECONDS = 10


class SharedCache(RedisCache):
    """Django's Redis cache with a per-process one beneath it."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        options = {
            "socket_connect_timeout": ANSWER_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            **params.get("OPTIONS", {}),
        }
        super().__init__(server, {**params, "OPTIONS": options})
        own = {key: value for key, value in params.items() if key != "OPTIONS"}
        self._here = LocMemCache(server, {**own, "OPTIONS": {"MAX_ENTRIES": 10_000}})
        self._absence = _absences.setdefault(server, _Absence())

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("add", *args, **kwargs)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("get", *args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("set", *args, **kwargs)

    def touch(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("touch", *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("delete", *args, **kwargs)

    def get_many(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("get_many", *args, **kwargs)

    def has_key(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("has_key", *args, **kwargs)

    def incr(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("incr", *args, **kwargs)

    def set_many(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("set_many", *args, **kwargs)

    def delete_many(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("delete_many", *args, **kwargs)

    def clear(self) -> Any:
        self._here.clear()
        return self._ask("clear")

    def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._absence.is_over():
            try:
                answer = getattr(super(), name)(*args, **kwargs)
            except (RedisError, OSError) as error:
                self._absence.begins(error)
            else:
                self._absence.ends()
                return answer
        return getattr(self._here, name)(*args, **kwargs)


class _Absence:
    """Of one server, as all threads of this process know it: each has a cache object of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_away = False
        self._until = 0.0

    def is_over(self) -> bool:
        return time.monotonic() >= self._until

    def begins(self, error: Exception) -> None:
        with self._lock:
            is_news, self._is_away = not self._is_away, True
            self._until = time.monotonic() + LEFT_ALONE_SECONDS
        if is_news:
            log.warning("redis away, this process counts for itself", error=error)

    def ends(self) -> None:
        if not self._is_away:
            return
        with self._lock:
            is_news, self._is_away = self._is_away, False
        if is_news:
            log.info("redis back, all processes count together")


_absences: dict[str, _Absence] = {}
