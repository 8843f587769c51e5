"""The cache that all processes share, and what is left of it while Redis is away."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from config import cache as shared
from config.cache import ANSWER_SECONDS, SharedCache

PROJECT = Path(__file__).resolve().parent.parent.parent
NOBODY = "redis://127.0.0.1:9/0"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_absences", {})


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def cache_at(url: str) -> SharedCache:
    return SharedCache(url, {"KEY_PREFIX": uuid4().hex})


def count(cache: SharedCache) -> int:
    return 1 if cache.add("posts", 1, timeout=60) else int(cache.incr("posts"))


def test_redis_counts_for_all_processes_together(redis_url: str) -> None:
    mine = cache_at(redis_url)
    assert [count(mine), count(mine)] == [1, 2]
    code = (
        "from config.cache import SharedCache;"
        f"print(SharedCache({redis_url!r}, {{'KEY_PREFIX': {mine.key_prefix!r}}}).incr('posts'))"
    )
    environment = {
        "PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "config.settings",
        "ENV_FILE": os.devnull, "DATA_DIR": os.environ["DATA_DIR"],
    }  # fmt: skip
    other = [sys.executable, "-c", code]
    said = subprocess.check_output(other, cwd=PROJECT, env=environment, text=True, timeout=30)
    assert said == "3\n"
    assert count(mine) == 4
    assert mine._here.get("posts") is None


def test_every_verb_reaches_redis(redis_url: str) -> None:
    cache = cache_at(redis_url)
    cache.set("a", {"any": "value"}, timeout=60)
    cache.set_many({"b": 2, "c": 3})
    assert cache.get_many(["a", "b", "c"]) == {"a": {"any": "value"}, "b": 2, "c": 3}
    assert cache.has_key("b")
    assert "c" in cache
    assert cache.touch("b", 60)
    assert cache.decr("c") == 2
    assert cache.get_or_set("d", 4) == 4
    cache.delete("a")
    cache.delete_many(["b", "c"])
    assert [cache.get(name) for name in "abcd"] == [None, None, None, 4]
    with pytest.raises(ValueError, match="not found"):
        cache.incr("a")


def test_without_redis_each_process_counts_for_itself_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = cache_at(NOBODY)
    began = time.monotonic()
    assert [count(cache) for _ in range(50)] == list(range(1, 51))
    assert time.monotonic() - began < 2 * ANSWER_SECONDS
    assert caplog.text.count("redis away, this process counts for itself") == 1
    other_thread_s = SharedCache(NOBODY, {"KEY_PREFIX": cache.key_prefix})
    assert count(other_thread_s) == 51


def test_a_redis_that_never_answers_is_waited_for_once(silent_server: str) -> None:
    cache = cache_at(silent_server)
    began = time.monotonic()
    assert [count(cache) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert time.monotonic() - began < 3 * ANSWER_SECONDS


def test_a_redis_that_comes_back_is_asked_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cache = cache_at(redis_url)
    pools = cache._cache._pools
    monkeypatch.setattr(cache._cache, "_pools", {0: away_pool()})
    assert [count(cache), count(cache)] == [1, 2]
    monkeypatch.setattr(cache._cache, "_pools", pools)
    assert count(cache) == 3, "left alone for a while"
    monkeypatch.setattr(shared, "LEFT_ALONE_SECONDS", 0)
    cache._absence._until = 0.0
    assert count(cache) == 1
    assert "redis back" in caplog.text


def away_pool() -> object:
    return cache_at(NOBODY)._cache._get_connection_pool(write=True)
