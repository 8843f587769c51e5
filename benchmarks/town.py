"""A town to deliver to: a day's papers, and readers whose digest is due.

Everything is made up, and the same for the same seed. The papers speak of the subjects below, and
for the rest in the words that papers use, as often as they do (the shipped document
frequencies): so vectors are as full, and matches as rare, as on a real morning. Readers name three
subjects each: known ones, described in the same words by many, and some in words of their own,
with keywords, people and categories, as the preferences page takes them.
"""

from __future__ import annotations

import gzip
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from importlib import resources
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from tqdm import tqdm

if TYPE_CHECKING:
    from django.db.models import Model

    from papers.records import PaperRecord

LOADED_TOGETHER = 5_000
TOPICS = 3
OLDER_PAPERS = 500  # what a paper is held against, to be called out of the ordinary
AS_THEY_ARE = {str, int, bool, type(None)}  # every database takes these from a row
KNOWN_SHARE = 0.65  # of topics: a subject as many describe it
# Zones of whole hours, so that one moment is everybody's chosen hour.
ZONES = (
    "UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/Los_Angeles",
    "Asia/Tokyo", "Asia/Shanghai", "America/Sao_Paulo", "Africa/Nairobi",
)  # fmt: skip
CADENCES: tuple[tuple[str, list[int]], ...] = (
    ("weekdays", []),
    ("daily", []),
    ("chosen", [0, 2, 4]),
    ("weekly", [1]),
)
CADENCE_WEIGHTS = (60, 25, 10, 5)

# Subject -> its arXiv category, and the words that belong to it.
SUBJECTS = {
    name: (category, words.split())
    for name, category, words in (
        line.split("\t")
        for line in Path(__file__).with_name("subjects.tsv").read_text().splitlines()
    )
}
TITLES = (
    "{A} and {b} for {subject}",
    "Towards {c} {subject} with {a} {b}",
    "{A}{B}: {subject} from {c} to {d}",
    "How much {a} does {subject} need?",
    "Learning {a} {b} without {c}",
    "A study of {a} in {subject}, from {b} to {c}",
)
SENTENCES = (
    "We look at {subject} where {a} and {b} are scarce, and ask what {x} {y} can still be learnt.",
    "Our method joins {a} with {c} and needs no {x} {y} beyond what {b} gives.",
    "It treats every {d} as a {x} {y}, which makes {a} as cheap as {b}.",
    "On {n} benchmarks it gains {n} points over the strongest {c} of the {x} {y} kind.",
    "An ablation shows that {d} matters most, and that {x} {y} {z} can be left out.",
    "We also report where it fails: with little {b}, under {x} {z}, and for rare {c}.",
    "Models, data and the {a} of all {n} runs are open to everybody.",
)
GIVEN = (
    "Ada",
    "Ben",
    "Chen",
    "Dana",
    "Emeka",
    "Fatima",
    "Goran",
    "Hana",
    "Ivan",
    "Kofi",
    "Lena",
    "Mei",
)
FAMILY = ("Abara", "Berg", "Costa", "Dube", "Fischer", "Gupta", "Haddad", "Ito", "Kim", "Moreau")
PLACES = ("", "", "University of Example", "Sample Institute", "Example Labs", "Northern Sample")


class Words:
    """The words that papers use, each as often as it is used."""

    def __init__(self, rng: random.Random) -> None:
        from papers.encoding import SHIPPED_TABLE

        packed = resources.files("papers").joinpath(SHIPPED_TABLE).read_bytes()
        lines = (line.split("\t") for line in gzip.decompress(packed).decode().splitlines()[1:])
        known = [(term, int(count)) for term, count in lines if term.isalpha() and len(term) > 3]
        self._rng = rng
        self._words = [term for term, _ in known]
        self._often = list(accumulate(count for _, count in known))

    def take(self, number: int) -> list[str]:
        return self._rng.choices(self._words, cum_weights=self._often, k=number)


def phrase(rng: random.Random, template: str, subject: str, words: Words) -> str:
    a, b, c, d = rng.sample(SUBJECTS[subject][1], 4)
    x, y, z = words.take(3)
    facts = {"a": a, "b": b, "c": c, "d": d, "A": a.title(), "B": b.title(), "x": x, "y": y, "z": z}
    return template.format(subject=subject, n=rng.randint(2, 40), **facts)


# -- papers --------------------------------------------------------------------------------


def publish(day: date, number: int, *, rng: random.Random, first_id: int) -> None:
    """A day's papers, read, recorded and closed as the product does it; news the night after."""
    from papers import editions, fetching
    from papers.models import Source

    fetching.ensure_sources()
    evening = datetime.combine(day, time(20), UTC)
    editions.record_day(
        day,
        list(records(day, number, rng=rng, first_id=first_id)),
        source=Source.objects.get(slug="huggingface"),
        now=evening,
        read_at=evening,
        backfill=False,
    )
    editions.close_due(evening + timedelta(hours=7))


def records(day: date, number: int, *, rng: random.Random, first_id: int) -> Iterator[PaperRecord]:
    from papers.records import PaperRecord

    words = Words(rng)
    for place in range(1, number + 1):
        subject = rng.choice(list(SUBJECTS))
        other = rng.choice(list(SUBJECTS))
        abstract = [phrase(rng, each, subject, words) for each in SENTENCES]
        abstract.insert(3, phrase(rng, SENTENCES[1], other, words))
        yield PaperRecord(
            arxiv_id=f"{day:%y%m}.{first_id + place:05}",
            title=phrase(rng, rng.choice(TITLES), subject, words).capitalize(),
            published_at=datetime.combine(day - timedelta(days=1), time(12), UTC),
            position=place,
            abstract=" ".join(abstract),
            authors=tuple(person(rng) for _ in range(rng.randint(2, 9))),
            organization=rng.choice(PLACES),
            categories=(SUBJECTS[subject][0], SUBJECTS[other][0]),
            keywords=tuple(rng.sample(SUBJECTS[subject][1], 3)),
            code_url=f"https://github.com/example/p{first_id + place}" if place % 3 == 0 else "",
            upvotes=int(rng.lognormvariate(2.3, 1)),
            stars=rng.randint(1, 4_000) if place % 3 == 0 else None,
        )


def person(rng: random.Random) -> str:
    return f"{rng.choice(GIVEN)} {rng.choice(FAMILY)}"


# -- readers -------------------------------------------------------------------------------


class Town:
    """Rows of readers, in the shape in which the database stores them.

    A row is made once by its model and its database's own rules; readers differ in some columns.
    """

    def __init__(self, *, due_at: datetime, seed: int, older_papers: Sequence[int]) -> None:
        self._rng = random.Random(seed)
        self._words = Words(self._rng)
        self._due_at = due_at
        self._older = older_papers
        self._zones = {zone: _local(due_at, zone) for zone in ZONES}
        self._ids = {"topic": 0, "interest": 0}
        self._examples = self._make_examples()

    def _make_examples(self) -> dict[str, Model]:
        from digest.models import Digest, Slot
        from subscribers.models import Interest, Subscriber, Topic

        then = self._due_at - timedelta(days=30)
        # Two days, for where it is still yesterday the day before is two days ago.
        before = self._due_at - timedelta(days=2)
        self.slot = Slot.objects.create(date=before.date())
        return {
            "reader": Subscriber(
                state=Subscriber.State.ACTIVE,
                created_at=then,
                confirmed_at=then,
                next_due_at=self._due_at,
                cursor=1,
            ),
            "topic": Topic(created_at=then),
            "interest": Interest(created_at=then),
            "digest": Digest(
                slot=self.slot,
                due_at=before,
                assembled_at=before,
                state=Digest.State.SENT,
                sent_at=before,
                attempts=1,
                transport="smtp",
                candidates=60,
                closed_seq=1,
            ),
        }

    def load(self, readers: int) -> None:
        """So many of them, each with topics and with a digest of an earlier morning."""
        from digest.models import Slot

        loader = Loader(self._examples)
        bar = tqdm(total=readers, desc="readers", unit="reader", file=sys.stderr, leave=False)
        with bar, loader.unchecked():
            for first in range(1, readers + 1, LOADED_TOGETHER):
                last = min(first + LOADED_TOGETHER, readers + 1)
                rows: dict[str, list[dict[str, Any]]] = {name: [] for name in self._examples}
                for pk in range(first, last):
                    self._reader(pk, rows)
                loader.load(rows)
                bar.update(last - first)
        Slot.objects.filter(pk=self.slot.pk).update(due=readers)
        loader.finish()

    def _reader(self, pk: int, rows: dict[str, list[dict[str, Any]]]) -> None:
        from subscribers.models import address_hash

        rng = self._rng
        zone = rng.choice(ZONES)
        cadence, days = rng.choices(CADENCES, CADENCE_WEIGHTS)[0]
        email = f"reader{pk}@example.org"
        hour, yesterday = self._zones[zone]
        rows["reader"].append({
            "id": pk, "uuid": UUID(int=rng.getrandbits(128), version=4), "email": email,
            "address_hash": address_hash(email), "cadence": cadence, "days": days, "hour": hour,
            "time_zone": zone, "last_slot": yesterday,
        })  # fmt: skip
        shown = rng.sample(self._older, 3)
        rows["digest"].append({
            "id": pk, "uuid": UUID(int=rng.getrandbits(128), version=4), "subscriber": pk,
            "items": [{"paper_id": id, "section": "full", "score": 0.0} for id in shown],
        })  # fmt: skip
        known = rng.sample(list(SUBJECTS), TOPICS)
        for number, subject in enumerate(known):
            is_known = rng.random() < KNOWN_SHARE
            own = self._words.take(rng.randint(2, 4))
            name = subject.capitalize() if is_known else f"{own[0]} {own[1]} {number}"
            self._topic(pk, name, wishes(rng, subject, [] if is_known else own), rows)
        if rng.random() < 0.15:
            self._interest(pk, None, ("keyword", self._words.take(1)[0]), rows)

    def _topic(
        self,
        reader: int,
        name: str,
        wishes: Iterable[tuple[str, str]],
        rows: dict[str, list[dict[str, Any]]],
    ) -> None:
        self._ids["topic"] += 1
        topic = self._ids["topic"]
        rows["topic"].append({"id": topic, "subscriber": reader, "name": name})
        for wish in dict.fromkeys(wishes):
            self._interest(reader, topic, wish, rows)

    def _interest(
        self,
        reader: int,
        topic: int | None,
        wish: tuple[str, str],
        rows: dict[str, list[dict[str, Any]]],
    ) -> None:
        self._ids["interest"] += 1
        kind, value = wish
        rows["interest"].append({
            "id": self._ids["interest"], "subscriber": reader, "topic": topic, "kind": kind,
            "value": value, "is_muted": topic is None,
        })  # fmt: skip


def wishes(rng: random.Random, subject: str, own: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What a topic is made of: a description for all, and what some add to it."""
    category, words = SUBJECTS[subject]
    yield "text", " ".join([subject, *own]) if own else f"{subject}: {' '.join(words)}"
    if own and rng.random() < 0.5:
        yield "keyword", own[-1]
    if rng.random() < 0.25:
        yield "keyword", rng.choice(words)
    if rng.random() < 0.1:
        yield "author", person(rng)
    if rng.random() < 0.1:
        yield "category", category


def _local(moment: datetime, zone: str) -> tuple[int, date]:
    """The hour there, and the date of the day before."""
    local = moment.astimezone(ZoneInfo(zone))
    return local.hour, local.date() - timedelta(days=1)


# -- loading -------------------------------------------------------------------------------


class Loader:
    """Writes rows by the database's fastest way. `examples` give every column its value."""

    def __init__(self, examples: dict[str, Model]) -> None:
        from django.db import connection

        self._connection = connection
        self._examples = examples
        self._fields = {
            name: [
                (field, example.serializable_value(field.attname)) for field in fields_of(example)
            ]
            for name, example in examples.items()
        }

    def load(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        from django.db import transaction

        with transaction.atomic():
            for name, some in rows.items():
                table = self._connection.ops.quote_name(self._examples[name]._meta.db_table)
                self._write(table, *self._as_stored(name, some))

    @contextmanager
    def unchecked(self) -> Iterator[None]:
        """Without asking for each row whether the reader it names is there."""
        with self._connection.cursor() as cursor:
            if self._connection.vendor == "postgresql":
                cursor.execute("SET session_replication_role = replica")
            else:
                self._connection.disable_constraint_checking()
            yield
            if self._connection.vendor == "postgresql":
                cursor.execute("SET session_replication_role = DEFAULT")
            else:
                self._connection.enable_constraint_checking()

    def finish(self) -> None:
        """New rows get new ids, and the planner knows what there is."""
        from django.core.management.color import no_style

        models = [type(example) for example in self._examples.values()]
        with self._connection.cursor() as cursor:
            for sql in self._connection.ops.sequence_reset_sql(no_style(), models):
                cursor.execute(sql)
            is_pg = self._connection.vendor == "postgresql"
            cursor.execute("VACUUM ANALYZE" if is_pg else "ANALYZE")

    def _as_stored(
        self, name: str, rows: Sequence[dict[str, Any]]
    ) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Columns, and rows of them: only what differs from reader to reader is converted anew."""
        fields = self._fields[name]
        columns = [field.column for field, _ in fields]
        constant = [field.get_db_prep_save(value, self._connection) for field, value in fields]
        varying = [
            (place, field.name, field)
            for place, (field, _) in enumerate(fields)
            if field.name in rows[0]
        ]

        def stored() -> Iterator[tuple[Any, ...]]:
            for row in rows:
                made = constant.copy()
                for place, known_as, field in varying:
                    value = row[known_as]
                    if type(value) not in AS_THEY_ARE:
                        value = field.get_db_prep_save(value, self._connection)
                    made[place] = value
                yield tuple(made)

        return columns, stored()

    def _write(self, table: str, columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
        names = ", ".join(map(self._connection.ops.quote_name, columns))
        with self._connection.cursor() as cursor:
            if self._connection.vendor == "postgresql":
                with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
            else:
                marks = ", ".join(["%s"] * len(columns))
                some = f"INSERT INTO {table} ({names}) VALUES ({marks})"
                cursor.executemany(some, list(rows))


def fields_of(example: Model) -> Sequence[Any]:
    return list(example._meta.concrete_fields)
