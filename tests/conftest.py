from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from django.conf import settings
from django.core.cache import cache

from config import logs

PROJECT = Path(__file__).resolve().parent.parent

# Found when asked for, not collected anew by every test client.
settings.WHITENOISE_AUTOREFRESH = True
# A million rounds of the real one for each operator of a test would be a third of the suite.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def pytest_itemcollected(item: pytest.Item) -> None:
    """What asks for no database is `pure`: another one tells nothing new of it."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if not (item.get_closest_marker("django_db") or fixtures & {"db", "transactional_db"}):
        item.add_marker("pure")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for real processes begins first and on all workers, so that the others run
    meanwhile. pytest-xdist gives each worker a run of tests of its own, which it begins with.
    """
    waiting = [item for item in items if item.get_closest_marker("processes")]
    others = [item for item in items if not item.get_closest_marker("processes")]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = []
    for number, first in enumerate(_dealt(waiting, workers)):
        size = (len(waiting) + len(others) - len(items)) // (workers - number)
        kept = max(0, size - len(first))
        items += first + others[:kept]
        del others[:kept]
    items += others


def _dealt(waiting: list[pytest.Item], workers: int) -> list[list[pytest.Item]]:
    """A module stays together, for it may share a browser; the longest has a hand of its own."""
    modules: dict[str, list[pytest.Item]] = {}
    for item in waiting:
        modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    hands: list[list[pytest.Item]] = [[] for _ in range(workers)]
    weights = [0] * workers
    longest = "tests/test_outage.py"
    for name in sorted(modules, key=lambda name: (name != longest, -len(modules[name]), name)):
        lightest = weights.index(min(weights))
        hands[lightest] += modules[name]
        weights[lightest] += len(waiting) if name == longest else len(modules[name])
    return hands


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The recorded days and readers beside the project; no part of it."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recorded data beside the project (../shared/data) is absent")
    return folder


@pytest.fixture(autouse=True)
def lines_as_printed(caplog: pytest.LogCaptureFixture) -> None:
    """`caplog.text` is what a console would show, blanks included."""
    caplog.handler.setFormatter(logs.formatter("text"))
    structlog.contextvars.clear_contextvars()


@pytest.fixture(autouse=True)
def nothing_kept_from_another_test() -> None:
    """Databases of tests give their papers the same ids, so what a process keeps by them goes."""
    from papers import meanings  # needs Django's models, which conftest.py comes before

    cache.clear()
    meanings.forget()


@pytest.fixture
def now() -> datetime:
    """A Monday morning, 06:30 UTC."""
    return datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def redis_url() -> str:
    return _service("TEST_REDIS_URL", "Redis")


@pytest.fixture(scope="session")
def postgresql_url() -> str:
    """A database that exists; tests make their own ones beside it."""
    return _service("TEST_POSTGRESQL_URL", "PostgreSQL")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program."""
    return _service("TEST_CHROMIUM", "Chromium")


def _service(variable: str, name: str) -> str:
    if url := os.environ.get(variable):
        return url
    missing = f"needs {name}: set {variable}"
    if os.environ.get("PAPERROUND_CI_SERVICES") == "1":
        pytest.fail(missing)
    pytest.skip(missing)
