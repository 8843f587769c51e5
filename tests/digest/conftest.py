from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from digest import assembly, sending
from digest.models import Digest
from papers.models import Edition
from subscribers import flow
from subscribers.models import Subscriber
from tests.digest.books import assert_books_balance
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader, make_readers
from tests.fakes.transport import FakeTransport


@pytest.fixture
def balanced_books(db):
    """Whatever the test does, the account adds up afterwards."""
    yield
    assert_books_balance()


@pytest.fixture
def transport(monkeypatch) -> FakeTransport:
    fake = FakeTransport()
    for module in (flow, sending):
        monkeypatch.setattr(module, "get_transports", lambda: [fake])
    return fake


@pytest.fixture
def edition(db) -> Edition:
    """Sunday's: three papers."""
    return make_edition(SUNDAY, [make_paper() for _ in range(3)])


@pytest.fixture
def reader(edition) -> Subscriber:
    """Ada, due for her first digest."""
    return make_reader()


@pytest.fixture
def digest(reader) -> Digest:
    """Ada's, assembled and waiting."""
    assembly.assemble_due(DUE)
    return Digest.objects.get()


@pytest.fixture
def digests(edition) -> list[Digest]:
    """Six readers', assembled and waiting."""
    make_readers(6)
    assembly.assemble_due(DUE)
    return list(Digest.objects.order_by("pk"))


@pytest.fixture
def before_marking(monkeypatch) -> Callable[[Callable[[], object]], None]:
    """Lets something happen between the claim and the UPDATE that carries the consent."""
    mark = sending._mark

    def arrange(action: Callable[[], object]) -> None:
        def interrupted(*args, **kwargs):
            monkeypatch.setattr(sending, "_mark", mark)
            action()
            return mark(*args, **kwargs)

        monkeypatch.setattr(sending, "_mark", interrupted)

    return arrange


@pytest.fixture
def expire_leases() -> Callable[[], None]:
    """Leases run by the database's clock, which no test can turn."""

    def expire() -> None:
        held = Digest.objects.filter(lease_until__isnull=False)
        held.update(lease_until=Now() - timedelta(seconds=1))

    return expire
