from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings

PROJECT = Path(__file__).resolve().parent.parent

# Found when asked for, not collected anew by every test client.
settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The recorded days and readers beside the project; no part of it."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recorded data beside the project (../shared/data) is absent")
    return folder


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


def _service(variable: str, name: str) -> str:
    if url := os.environ.get(variable):
        return url
    missing = f"needs {name}: set {variable}"
    if os.environ.get("PAPERROUND_CI_SERVICES") == "1":
        pytest.fail(missing)
    pytest.skip(missing)
