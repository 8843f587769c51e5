from __future__ import annotations

import pytest

from papers import fetching
from papers.models import Source
from tests.fakes.source_server import SourceServer


@pytest.fixture
def source(db) -> Source:
    fetching.ensure_sources()
    return Source.objects.get()


@pytest.fixture
def server(settings):
    with SourceServer().running() as running:
        settings.HUGGINGFACE_URL = running.url
        settings.FETCH_TIMEOUT_SECONDS = 5
        yield running
