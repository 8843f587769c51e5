from __future__ import annotations

import pytest

from papers import fetching
from papers.models import Source
from papers.sources.arxiv import ArXiv
from papers.sources.arxiv_oai import ArXivOAI
from papers.sources.arxiv_query import ArXivQuery
from tests.fakes.source_server import SourceServer


@pytest.fixture
def source(db) -> Source:
    fetching.ensure_sources()
    return Source.objects.get(slug="huggingface")


@pytest.fixture
def arxiv(db) -> Source:
    """Switched on."""
    fetching.ensure_sources()
    Source.objects.filter(slug="arxiv").update(is_enabled=True)
    return Source.objects.get(slug="arxiv")


@pytest.fixture
def server(settings, monkeypatch):
    """Every source, on loopback; arXiv's has no pace, unless a test is about that."""
    for reader in (ArXiv, ArXivQuery, ArXivOAI):
        monkeypatch.setattr(reader, "pace_seconds", 0)
    with SourceServer().running() as running:
        for site in ("HUGGINGFACE", "ARXIV", "ARXIV_FEED", "ARXIV_OAI", "SEMANTIC_SCHOLAR"):
            setattr(settings, f"{site}_URL", running.url)
        settings.FETCH_TIMEOUT_SECONDS = 5
        yield running
