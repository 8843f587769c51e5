from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.core.cache import cache

from subscribers.models import Subscriber, address_hash


@pytest.fixture(autouse=True)
def forgotten_limits():
    """No test inherits the requests that another one made."""
    cache.clear()


@pytest.fixture
def pending(db, now: datetime) -> Subscriber:
    """Ben, who asked yesterday and has not confirmed."""
    return Subscriber.objects.create(
        email="ben@example.org",
        address_hash=address_hash("ben@example.org"),
        created_at=now - timedelta(days=1),
        confirmation_due_at=now - timedelta(minutes=1),
    )


@pytest.fixture
def ada(db, now: datetime) -> Subscriber:
    """Ada, who reads every weekday at seven in Berlin and had Friday's digest."""
    return Subscriber.objects.create(
        email="ada@example.org",
        address_hash=address_hash("ada@example.org"),
        state=Subscriber.State.ACTIVE,
        created_at=now - timedelta(days=30),
        confirmed_at=now - timedelta(days=30),
        time_zone="Europe/Berlin",
        hour=7,
        last_slot=(now - timedelta(days=3)).date(),
        next_due_at=now + timedelta(days=1),
        cursor=12,
    )
