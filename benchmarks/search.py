"""Measures the search over a hundred thousand papers, beside the bare question to the index.

    python -m benchmarks.search                       # SQLite, in a temporary folder
    python -m benchmarks.search --database postgresql --url postgres://postgres@127.0.0.1/postgres
    python -m benchmarks.search --seed-page ../shared/data

The papers are made up (benchmarks/town.py: subjects, and words as often as papers use them), each
with the title of one, the abstract of another and random words between. Every question is asked as
the page asks it (`papers.search.search`, a page of twenty with its rows), and then bare: the
index's own statement for the same words, 500 ids, nothing else. Both in turn, in one run; ms of
wall-clock time, median and 95th percentile over the questions of a kind, and `ratio`, the one
median over the other. With `--meanings` every paper has a random vector of 384 dimensions, and so
has every question.

`--seed-page FOLDER` mixes the 57 papers of `seed_daily_papers.jsonl`, a page that somebody found by
searching, into the archive of `recsys-hf-daily/papers.jsonl.gz` (those that are in it by title
count as themselves), asks a few questions that may have led there, and says how many of the 57
come among the first 57: by words alone, and with the model where settings name one.

Makes a database of its own, and drops it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tqdm import tqdm

from benchmarks import town
from benchmarks.admin import PROJECT
from benchmarks.delivery import machine
from benchmarks.ingest import installation

SEED = 20261122
BASES = 2000  # texts that the papers are put together from
BATCH = 2000
QUESTIONS = 40  # of each kind
DIMENSIONS = 384
SEED_QUERIES = (
    "generalist",
    "strategic generalization",
    "generalization",
    "strategic reasoning",
)


def main() -> None:
    arguments = parser().parse_args()
    if arguments.seed_page is not None and not arguments.seed_page.is_dir():
        sys.exit(f"--seed-page: there is no folder {arguments.seed_page}")
    with installation(arguments):
        found = seed_page(arguments.seed_page) if arguments.seed_page else measure(arguments)
    print(json.dumps(found, indent=1) if arguments.json else table(found))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--papers", type=int, default=100_000, metavar="N")
    found.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    found.add_argument(
        "--url",
        default=os.environ.get("TEST_POSTGRESQL_URL"),
        help="a PostgreSQL server to make a database on (default: TEST_POSTGRESQL_URL)",
    )
    found.add_argument("--meanings", action="store_true", help="random vectors beside the words")
    found.add_argument("--seed-page", type=Path, metavar="FOLDER", help=f"{PROJECT.parent}/…/data")
    found.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return found


# -- how fast ------------------------------------------------------------------------------


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    rng = random.Random(SEED)
    began = time.perf_counter()
    fill(arguments.papers, rng, meanings=arguments.meanings)
    filled = time.perf_counter() - began
    if arguments.meanings:
        pretend_a_model()
    kinds = {name: asked(arguments.papers, rng) for name, asked in KINDS.items()}
    return {
        "machine": machine(),
        "database": arguments.database,
        "papers": arguments.papers,
        "meanings": arguments.meanings,
        "filled_seconds": round(filled, 1),
        "ms": {name: timed(questions) for name, questions in kinds.items()},
        "other_ms": others(rng),
    }


def fill(number: int, rng: random.Random, *, meanings: bool) -> None:
    import numpy as np
    from django.db import connection

    from papers import encoding, fetching
    from papers.models import Paper

    fetching.ensure_sources()
    words, encoder = town.Words(rng), encoding.encoder()
    bases = list(town.records(date(2026, 1, 5), BASES, rng=rng, first_id=0))
    vectors = [encoder.encode(f"{base.title}\n{base.abstract}") for base in bases]
    noise = np.random.default_rng(SEED)
    bar = tqdm(total=number, desc="papers", unit="", file=sys.stderr, leave=False, disable=None)
    for start in range(0, number, BATCH):
        rows = []
        for at in range(start, min(start + BATCH, number)):
            title, text, people = (rng.randrange(BASES) for _ in range(3))
            month = at * 48 // number
            rows.append(
                Paper(
                    arxiv_id=f"{22 + month // 12}{month % 12 + 1:02}.{at % 100_000:05}",
                    title=f"{bases[title].title} {' '.join(words.take(2))}",
                    abstract=f"{bases[text].abstract} {' '.join(words.take(60))}",
                    authors=[
                        *bases[people].authors,
                        f"{words.take(1)[0].title()} Author{at % 977}",
                    ],
                    organization=bases[people].organization,
                    categories=list(bases[text].categories),
                    keywords=list(bases[text].keywords),
                    code_url=bases[text].code_url,
                    published_at=datetime(2022, 1, 1, tzinfo=UTC)
                    + timedelta(hours=at * 24 * 1700 // number),
                    content_hash=f"{at:032}",
                    encoder=encoder.id,
                    vector=vectors[text],
                    meaning_by="random-1" if meanings else "",
                    meaning=noise.integers(-127, 128, DIMENSIONS, np.int8).tobytes()
                    if meanings
                    else b"",
                )
            )
        Paper.objects.bulk_create(rows, batch_size=500)
        bar.update(len(rows))
    bar.close()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def pretend_a_model() -> None:
    """Of random vectors: what a question costs does not depend on what it means."""
    import numpy as np

    from papers import encoding

    class Random:
        id = "random-1"

    def meanings_of(texts: Sequence[str], **_options: object) -> dict[str, bytes]:
        return {
            text: np.random.default_rng(len(text))
            .integers(-127, 128, DIMENSIONS, np.int8)
            .tobytes()
            for text in texts
        }

    vars(encoding).update(meaning_model=Random, meanings_of=meanings_of)


Question = dict[str, Any]


def one_common_word(_papers: int, rng: random.Random) -> list[Question]:
    return [{"words": word} for word in ("benchmarks", "method", "points", "models") * 10]


def one_word(_papers: int, rng: random.Random) -> list[Question]:
    return [{"words": word} for word in town.Words(rng).take(QUESTIONS)]


def a_subject(_papers: int, rng: random.Random) -> list[Question]:
    return [{"words": rng.choice(list(town.SUBJECTS))} for _ in range(QUESTIONS)]


def three_words(_papers: int, rng: random.Random) -> list[Question]:
    """Of one subject and one that is anywhere: few papers have all."""
    words = town.Words(rng)
    named = [rng.sample(rng.choice(list(town.SUBJECTS.values()))[1], 2) for _ in range(QUESTIONS)]
    return [{"words": " ".join([*pair, *words.take(1)])} for pair in named]


def in_a_year(papers: int, rng: random.Random) -> list[Question]:
    return [
        {**each, "since": date(2024, 1, 1), "until": date(2024, 12, 31)}
        for each in a_subject(papers, rng)
    ]


def by_date(papers: int, rng: random.Random) -> list[Question]:
    from papers.search import Order

    return [{**each, "order": Order.DATE} for each in one_common_word(papers, rng)]


def in_a_category(papers: int, rng: random.Random) -> list[Question]:
    return [{**each, "category": "cs.CL", "has_code": True} for each in a_subject(papers, rng)]


def misspelt(_papers: int, rng: random.Random) -> list[Question]:
    long = [word for _, each in town.SUBJECTS.values() for word in each if len(word) > 7]
    typed = []
    for word in (rng.choice(long) for _ in range(QUESTIONS)):
        at = rng.randrange(2, len(word) - 1)
        typed.append({"words": word[:at] + rng.choice("aeiou") + word[at + 1 :]})
    return typed


KINDS: dict[str, Callable[[int, random.Random], list[Question]]] = {
    "one common word": one_common_word,
    "one word": one_word,
    "a subject": a_subject,
    "three words": three_words,
    "in a year": in_a_year,
    "in a category, with code": in_a_category,
    "a common word by date": by_date,
    "misspelt": misspelt,
}


def timed(questions: Sequence[Question]) -> dict[str, float]:
    from papers.search import Asked, search

    asked = [Asked(**question) for question in questions]
    for each in asked:  # what is looked up once in a while
        search(each, limit=20)
    ours, bare = [], []
    for each in asked:
        ours.append(ms(partial(search, each, limit=20)))
        bare.append(ms(partial(ask_the_index, each.words)))
    return {
        "p50": round(median(ours), 1),
        "p95": round(p95(ours), 1),
        "bare_p50": round(median(bare), 1),
        "bare_p95": round(p95(bare), 1),
        "ratio": round(median(ours) / median(bare), 2),
    }


def ask_the_index(text: str) -> None:
    from django.db import connection

    if connection.vendor == "postgresql":
        sql = (
            "SELECT paper_id FROM papers_words WHERE words @@ plainto_tsquery('english', %s)"
            " ORDER BY ts_rank(words, plainto_tsquery('english', %s)) DESC LIMIT 500"
        )
        params = [text, text]
    else:
        words = " ".join(f'"{word}"' for word in text.split())
        sql = "SELECT rowid FROM papers_words WHERE papers_words MATCH %s ORDER BY rank LIMIT 500"
        params = [words]
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        cursor.fetchall()


def others(rng: random.Random) -> dict[str, dict[str, float]]:
    """More like a paper, an author's papers, and 500 titles in one call."""
    from papers.models import Paper
    from papers.search import by_author, by_title, like

    keys = rng.sample(list(Paper.objects.values_list("pk", flat=True)), QUESTIONS)
    papers = list(Paper.objects.filter(pk__in=keys))
    titles = list(Paper.objects.order_by("?").values_list("title", flat=True)[:500])
    calls: dict[str, list[Callable[[], Any]]] = {
        "like": [partial(like, each, limit=5) for each in papers],
        "by_author": [partial(by_author, each.authors[-1], limit=50) for each in papers],
        "by_title of 500": [partial(by_title, titles)] * 3,
    }
    return {
        name: {"p50": round(median(taken), 1), "p95": round(p95(taken), 1)}
        for name, each in calls.items()
        if (taken := [ms(call) for call in each])
    }


def ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


# -- how well ------------------------------------------------------------------------------


def seed_page(folder: Path) -> dict[str, Any]:
    from papers import encoding
    from papers.models import Paper
    from papers.search import Asked, search

    papers, wanted = archive(folder)
    Paper.objects.bulk_create(papers, batch_size=500)
    encoding.encode_missing()
    model = encoding.meaning_model()
    asked = {}
    for query in SEED_QUERIES:
        found = search(Asked(query), limit=len(wanted))
        ids = [paper.arxiv_id for paper in found.papers]
        asked[query] = {
            "found": sum(each in wanted for each in ids),
            "answers": found.total,
            "with_all_words": found.with_all,
        }
    return {
        "papers": len(papers),
        "seeds": len(wanted),
        "model": model.id if model else "words alone",
        "among_the_first": asked,
    }


def archive(folder: Path) -> tuple[list[Any], set[str]]:
    """The archive with the page's papers mixed in, and the ids of the latter."""
    from papers.models import Paper
    from papers.query import words_of

    known: dict[str, str] = {}
    papers = []
    for row in lines(folder / "recsys-hf-daily" / "papers.jsonl.gz"):
        known[" ".join(words_of(row["title"]))] = row["id"]
        papers.append(made(row["id"], row, date.fromisoformat(row["day"])))
    wanted = set()
    for number, row in enumerate(lines(folder / "seed_daily_papers.jsonl"), 1):
        pk = known.get(" ".join(words_of(row["title"])))
        if pk is None:
            pk = f"2505.{90_000 + number}"
            papers.append(made(pk, row, date(2025, 5, 1)))
        wanted.add(pk)
    assert all(isinstance(paper, Paper) for paper in papers)
    return papers, wanted


def made(arxiv_id: str, row: dict[str, Any], day: date) -> Any:
    from papers.models import Paper

    return Paper(
        arxiv_id=arxiv_id,
        title=row["title"],
        abstract=row["abstract"] or "",
        published_at=datetime.combine(day, datetime.min.time(), UTC),
        content_hash=arxiv_id,
    )


def lines(path: Path) -> Iterator[dict[str, Any]]:
    body = path.read_bytes()
    text = gzip.decompress(body) if path.suffix == ".gz" else body
    yield from map(json.loads, text.splitlines())


def table(found: dict[str, Any]) -> str:
    if "among_the_first" in found:
        head = f"{found['papers']} papers, {found['seeds']} wanted, {found['model']}"
        rows = [
            f"{query:<28} {each['found']:>3} of {found['seeds']} ({each['answers']} answers)"
            for query, each in found["among_the_first"].items()
        ]
        return "\n".join([head, *rows])
    head = f"{found['papers']} papers, {found['database']}, filled in {found['filled_seconds']} s"
    rows = [
        f"{name:<26} p50 {each['p50']:>7.1f}  p95 {each['p95']:>7.1f}"
        + (f"  bare {each['bare_p50']:>7.1f}  ratio {each['ratio']:.2f}" if "ratio" in each else "")
        for name, each in (found["ms"] | found["other_ms"]).items()
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    main()
