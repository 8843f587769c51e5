"""How often anybody may post, whichever process is asked, and while Redis is away."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache, caches
from django.test import Client
from redis import Redis

from subscribers import limits

pytestmark = pytest.mark.django_db
FAR = "203.0.113.5"
LOGIN = "/admin/login/"


@pytest.fixture
def cached_at(settings: Any) -> Any:
    prefix = uuid4().hex

    def use(url: str) -> None:
        backend = {"BACKEND": "config.cache.SharedCache", "LOCATION": url, "KEY_PREFIX": prefix}
        settings.CACHES = {"default": backend}

    return use


def post(address: str = FAR, *, path: str = "/subscribe/") -> int:
    data = {"email": "ada@example.org", "username": "ada", "password": "guessed"}
    return Client().post(path, data, REMOTE_ADDR=address).status_code


def test_the_limit_holds_for_all_processes_together(cached_at: Any, redis_url: str) -> None:
    cached_at(redis_url)
    answers = []
    for _process in range(3):
        cached_at(redis_url)  # anew, as another process has it: nothing is known but Redis
        caches["default"]._here.clear()
        answers += [post() for _ in range(8)]
    assert answers == [302] * 20 + [429] * 4


def test_a_count_whose_end_redis_lost_does_not_last(
    cached_at: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It expires between the look whether it is there and the increment that makes it anew."""
    cached_at(redis_url)
    exists = Redis.exists

    def expires_after_the_look(redis: Redis, key: str) -> Any:
        answer = exists(redis, key)
        redis.delete(key)
        return answer

    def may() -> bool:
        return limits.is_within("ada", limit=2, seconds=1)

    assert may()
    with monkeypatch.context() as race:
        race.setattr(Redis, "exists", expires_after_the_look)
        assert may()
    assert [may(), may()] == [True, False]
    time.sleep(1.1)
    assert may()


def test_without_redis_the_form_answers_at_once_and_still_counts(cached_at: Any) -> None:
    cached_at("redis://127.0.0.1:9/0")
    began = time.monotonic()
    assert [post() for _ in range(21)] == [302] * 20 + [429]
    assert time.monotonic() - began < 5


def test_a_password_is_not_guessed(caplog: pytest.LogCaptureFixture) -> None:
    User.objects.create_superuser("ada", password="right")
    assert [post(path=LOGIN) for _ in range(20)] == [200] * 20
    assert post(path=LOGIN) == 429
    assert "too many logins visitor=203.0.113.5/32" in caplog.text

    assert [post(path=LOGIN) for _ in range(5)] == [429] * 5
    assert caplog.text.count("too many logins") == 1, "whoever is refused does not fill the log"

    right = {"username": "ada", "password": "right"}
    assert Client().post(LOGIN, right, REMOTE_ADDR=FAR).status_code == 429
    assert Client().get(LOGIN, REMOTE_ADDR=FAR).status_code == 200
    assert Client().post(LOGIN, right, REMOTE_ADDR="203.0.113.6").status_code == 302
    assert post() == 302, "the other forms have a count of their own"


def test_of_many_that_are_refused_a_few_are_told_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subscribers.limits.LOGINS_IN_ALL", 0)
    assert {post(f"203.0.113.{last}", path=LOGIN) for last in range(50)} == {429}
    assert caplog.text.count("too many logins") == limits.REFUSALS_TOLD


def test_the_operator_can_end_what_strangers_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/operations.md has it."""
    monkeypatch.setattr("subscribers.limits.LOGINS_IN_ALL", 2)
    from_here = "127.0.0.1"
    assert [post(f"203.0.113.{last}", path=LOGIN) for last in range(3)] == [200, 200, 429]
    assert post(from_here, path=LOGIN) == 429
    cache.delete("subscribers.window:login:all")
    assert post(from_here, path=LOGIN) == 200
