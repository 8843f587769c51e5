"""How many readers a second the product ranks for, on one core, reasons and all.

The path is the one a morning takes between reading rows and writing rows: what a reader told us
becomes a profile, a batch of them is ranked against the day's papers, digests are composed and
written as the text that is stored. Papers and readers are those of the delivery's benchmark
(benchmarks/town.py), three topics each; making them is not counted. Readers are made batch by
batch, so memory is that of the product.

`town`: two topics of three are known ones, described in the same words by many. `strangers`: nobody
shares a topic with anybody, and half of the topics have three seed papers each.
"""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from time import process_time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from tqdm import tqdm

from benchmarks import town
from benchmarks.product import coded
from digest import profile, ranking
from digest.compose import Shelf, compose
from digest.nearness import Text
from digest.phrasebook import Phrasebook
from papers import static_meaning, vectors
from papers.vectors import Discriminant, Sense, unpacked

if TYPE_CHECKING:
    from papers.records import PaperRecord

PAPERS = (100, 1_000, 10_000)
READERS = (10_000, 100_000)
CROWDS = ("town", "strangers")
BATCH = 500
ARCHIVE = 1_500  # older papers: what is ordinary, and what readers name as seeds
SEEDS_A_TOPIC, SEED_SHARE, MUTED_SHARE = 3, 0.5, 0.15
PLACES = 5
DAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 21, 7, tzinfo=UTC)
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Clock:
    """CPU seconds of each step, and of what is made once for all readers."""

    once: float = 0.0
    steps: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("profile", "rank", "compose", "write"), 0.0)
    )


@dataclass(frozen=True, slots=True)
class Morning:
    """A day's papers as the product holds them, and what the older ones say by their id."""

    corpus: ranking.Corpus
    shelf: Shelf
    texts: dict[profile.Key, Text]
    phrasebook: Phrasebook


def measure(
    *,
    seed: int,
    papers: Sequence[int] = PAPERS,
    readers: Sequence[int] = READERS,
    crowds: Sequence[str] = CROWDS,
) -> list[dict[str, Any]]:
    """One row for each number of papers, of readers, and each crowd."""
    set_up()
    return measured_rows(seed=seed, papers=papers, readers=readers, crowds=crowds)


def measured_rows(
    *, seed: int, papers: Sequence[int], readers: Sequence[int], crowds: Sequence[str]
) -> list[dict[str, Any]]:
    return [
        measure_one(crowd, number, many, seed=seed)
        for crowd in crowds
        for number in papers
        for many in readers
    ]


def set_up() -> None:
    """Django's settings, for the table of words that the program ships; no database is opened."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="config.settings", ENV_FILE=os.devnull,
        DATABASE_URL="sqlite://:memory:", EMAIL_URL="smtp://127.0.0.1:9",
        SECRET_KEY=uuid4().hex * 2, SUPPRESSION_KEY=uuid4().hex * 2,
    )  # fmt: skip
    import django

    django.setup()


def measure_one(crowd: str, papers: int, readers: int, *, seed: int) -> dict[str, Any]:
    clock = Clock()
    morning = morning_of(papers, seed=seed, clock=clock)
    gc.freeze()  # as the workers do (config/celery.py)
    rng = random.Random(f"{seed}:{crowd}")
    words = town.Words(rng)
    label = f"{papers} papers, {crowd}"
    items = mails = 0
    rss = 0.0
    with tqdm(
        desc=label, total=readers, unit="reader", unit_scale=True, file=sys.stderr, leave=False
    ) as bar:
        for start in range(0, readers, BATCH):
            size = min(BATCH, readers - start)
            batch = [reader_of(crowd, rng, words, morning) for _ in range(size)]
            written = [said for said in digests(batch, morning, clock) if said != "[]"]
            mails += len(written)
            items += sum(said.count('"section": ') for said in written)
            rss = max(rss, rss_mb())
            bar.update(size)
    spent = sum(clock.steps.values())
    return {
        "crowd": crowd,
        "papers": papers,
        "readers": readers,
        "readers_per_second": round(readers / (spent + clock.once)),
        "once_seconds": round(clock.once, 2),
        "us_per_reader": {step: round(1e6 * took / readers) for step, took in clock.steps.items()},
        "digests": mails,
        "papers_per_digest": round(items / max(mails, 1), 1),
        "rss_mb": round(rss),
    }


def digests(batch: Sequence[profile.ReaderFacts], morning: Morning, clock: Clock) -> list[str]:
    """Each reader's digest as it is stored, by the pure part of `digest.assembly`."""
    nothing_shown = np.ones(len(morning.corpus.papers), np.bool_)
    times = [process_time()]
    profiles = [profile.build(facts, now=NOW) for facts in batch]
    times.append(process_time())
    ranked = ranking.rank(profiles, morning.corpus, texts=texts_of(profiles, morning))
    times.append(process_time())
    composed = [compose(each, morning.shelf, nothing_shown, places=PLACES) for each in ranked]
    times.append(process_time())
    written = [morning.shelf.as_json(lines) for lines in composed]
    times.append(process_time())
    for step, took in zip(clock.steps, np.diff(times).tolist(), strict=True):
        clock.steps[step] += took
    return written


def texts_of(profiles: Sequence[profile.Profile], morning: Morning) -> dict[profile.Key, Text]:
    """As `digest.candidates` has them."""
    keys = profile.keys(profiles)
    stored: dict[profile.Key, Text] = {
        key: morning.texts[key] for key in keys if isinstance(key, int)
    }
    return stored | morning.phrasebook.texts(keys)


def meanings_of(texts: Iterable[str]) -> dict[str, bytes]:
    wanted = list(texts)
    rows = static_meaning.shipped().encode(wanted)
    return {text: coded(row) for text, row in zip(wanted, rows, strict=True)}


# -- what there is to rank -----------------------------------------------------------------


def morning_of(papers: int, *, seed: int, clock: Clock) -> Morning:
    """The papers' reading is counted, as all that a morning does once."""
    from papers import encoding

    encoder = vectors.WordEncoder(encoding.shipped_frequencies())
    rng = random.Random(seed)
    made = list(town.records(DAY, papers + ARCHIVE, rng=rng, first_id=0))
    codes = [encoder.encode(f"{each.title}\n{each.abstract}") for each in made]
    model = static_meaning.shipped()
    meanings = [
        coded(row) for row in model.encode([f"{each.title}\n{each.abstract}" for each in made])
    ]
    groups = groups_of(encoder.rows(codes[:papers]).matrix)
    facts = [
        facts_of(place, record, codes[place], meanings[place], groups.get(place))
        for place, record in enumerate(made[:papers])
    ]
    older = [
        Text(code, meaning) for code, meaning in zip(codes[papers:], meanings[papers:], strict=True)
    ]
    sense = Sense(model.dimensions, model.reach, Discriminant.of(unpacked(meanings)))
    started = process_time()
    reading = ranking.Reading.of(facts, reference=older[:500], encoder=encoder, sense=sense)
    corpus, shelf = ranking.Corpus(facts, reading), Shelf(facts)
    clock.once += process_time() - started
    texts: dict[profile.Key, Text] = dict(enumerate(older, papers))
    return Morning(corpus, shelf, texts, Phrasebook(encoder, meanings_of))


def groups_of(matrix: Any) -> dict[int, int]:
    groups = vectors.near_duplicates(matrix)
    return {row: number for number, group in enumerate(groups, 1) for row in group}


def facts_of(
    place: int, record: PaperRecord, code: bytes, meaning: bytes, group: int | None
) -> ranking.PaperFacts:
    votes = record.upvotes or 0
    return ranking.PaperFacts(
        paper_id=place,
        title=record.title,
        abstract=record.abstract,
        authors=record.authors,
        organization=record.organization,
        categories=record.categories,
        keywords=record.keywords,
        trending=votes / (votes + 20),
        upvotes=votes,
        age_days=0.0,
        group=None if group is None else (1, group),
        code=code,
        meaning=meaning,
        stars=record.stars,
        content_hash=f"{place:012x}",
    )


def reader_of(
    crowd: str, rng: random.Random, words: town.Words, morning: Morning
) -> profile.ReaderFacts:
    subjects = rng.sample(list(town.SUBJECTS), town.TOPICS)
    topics = tuple(topic_of(crowd, subject, rng, words, morning) for subject in subjects)
    is_muting = rng.random() < MUTED_SHARE
    muted = (profile.Rule(profile.RuleKind.KEYWORD, words.take(1)[0]),) if is_muting else ()
    return profile.ReaderFacts(topics, muted)


def topic_of(
    crowd: str, subject: str, rng: random.Random, words: town.Words, morning: Morning
) -> profile.TopicFacts:
    is_known = crowd == "town" and rng.random() < town.KNOWN_SHARE
    own = [] if is_known else words.take(rng.randint(2, 4))
    wishes = list(dict.fromkeys(town.wishes(rng, subject, own)))
    seeds: tuple[int, ...] = ()
    if crowd == "strangers" and rng.random() < SEED_SHARE:
        first = len(morning.corpus.papers)
        seeds = tuple(rng.sample(range(first, first + ARCHIVE), SEEDS_A_TOPIC))
    return profile.TopicFacts(
        name=" ".join(own) or subject.capitalize(),
        texts=tuple(value for kind, value in wishes if kind == "text"),
        rules=tuple(
            profile.Rule(profile.RuleKind(kind), value) for kind, value in wishes if kind != "text"
        ),
        seeds=seeds,
    )


def rss_mb() -> float:
    with open("/proc/self/statm") as said:  # noqa: PTH123  read for every batch
        return int(said.read().split()[1]) * PAGE_BYTES / 2**20
