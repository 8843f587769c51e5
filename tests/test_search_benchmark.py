"""What measures the search: it asks as the page asks, of papers that answer, and counts rightly."""

from __future__ import annotations

import gzip
import json
import random
from datetime import date

import pytest

from benchmarks import search as benchmark
from papers import encoding, meanings
from papers.models import Paper
from papers.search import Asked, search

pytestmark = pytest.mark.django_db


@pytest.fixture
def filled(monkeypatch):
    monkeypatch.setattr(benchmark, "BASES", 60)
    monkeypatch.setattr(benchmark, "QUESTIONS", 3)
    benchmark.fill(120, random.Random(1), meanings=True)
    meanings.forget()
    yield
    meanings.forget()


def test_every_kind_of_question_is_answered_and_timed_beside_the_bare_one(filled):
    for name, kind in benchmark.KINDS.items():
        asked = kind(120, random.Random(2))[:3]
        taken = benchmark.timed(asked)
        assert 0 < taken["p50"] <= taken["p95"], name
        assert taken["ratio"] > 0, name

    subjects = benchmark.a_subject(120, random.Random(2))
    assert all(search(Asked(**each), limit=20).papers for each in subjects)
    typed = benchmark.misspelt(120, random.Random(2))
    assert any(search(Asked(**each), limit=20).corrected for each in typed)
    assert benchmark.others(random.Random(3)).keys() == {"like", "by_author", "by_title of 500"}


def test_papers_are_spread_over_the_years_with_a_vector_each(filled):
    papers = Paper.objects.all()

    assert {paper.published_at.year for paper in papers} >= {2022, 2023, 2024, 2025}
    assert len({paper.arxiv_id for paper in papers}) == 120
    assert {len(paper.meaning) for paper in papers} == {benchmark.DIMENSIONS}
    assert {paper.encoder for paper in papers} == {encoding.encoder().id}


def test_the_seed_page_counts_its_own_papers_once_also_those_in_the_archive(tmp_path):
    folder = tmp_path / "recsys-hf-daily"
    folder.mkdir()
    known = [
        {
            "id": f"2401.0000{n}",
            "day": str(date(2024, 1, n)),
            "title": title,
            "abstract": "Of fish.",
        }
        for n, title in enumerate(["A generalist robot", "Herons", "Strategic reasoning"], 1)
    ]
    with gzip.open(folder / "papers.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(each) + "\n" for each in known)
    page = [
        {"title": "A Generalist Robot!", "abstract": "As it was."},
        {"title": "Another generalist", "abstract": "New."},
    ]
    (tmp_path / "seed_daily_papers.jsonl").write_text("\n".join(map(json.dumps, page)))

    found = benchmark.seed_page(tmp_path)

    assert (found["papers"], found["seeds"]) == (4, 2)
    asked = found["among_the_first"]
    assert asked["generalist"] == {"found": 2, "answers": 2, "with_all_words": 2}
    assert asked["strategic reasoning"]["found"] == 0
    assert "generalist" in benchmark.table(found)
