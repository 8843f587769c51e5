"""What is kept of the papers is seen to change when they do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from digest import assembly, candidates
from digest.models import Digest
from digest.recent import Recent
from papers import editions as papers_editions
from papers import encoding
from papers.models import Edition, Entry, Paper, Vocabulary
from papers.vectors import DocumentFrequencies, bag
from subscribers.models import Interest, Subscriber
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader
from tests.fakes.corpus import GRASP, LLM_PROOF, ORDINARY, SPEECH

DAY = timedelta(days=1)
TEXTS = (GRASP, SPEECH, LLM_PROOF)


@pytest.fixture
def edition(db) -> Edition:
    """Sunday's, with the papers that say what is ordinary stored beside it."""
    for text in ORDINARY[:20]:
        title, abstract = text.split("\n")
        make_paper(title, abstract=abstract, first_seen_at=DUE - 9 * DAY)
    papers = []
    for text in TEXTS:
        title, abstract = text.split("\n")
        papers.append(make_paper(title, abstract=abstract, authors=["Ada Example"]))
    encoding.encode_missing()
    return make_edition(SUNDAY, papers)


@pytest.fixture
def reader(edition) -> Subscriber:
    """She wants whatever robots do, and a person, a word, a field and a laboratory by name."""
    reader = make_reader(topics=["manipulation of robot data", "quiet rooms"])
    topic = reader.topics.create(name="by name")
    named = {
        "author": "Ben Sample", "keyword": "tulips", "category": "cs.RO", "organization": "Labs",
    }  # fmt: skip
    for kind, value in named.items():
        Interest.objects.create(subscriber=reader, topic=topic, kind=kind, value=value)
    return reader


def paper_of(text: str) -> Paper:
    return Paper.objects.get(title=text.split("\n")[0])


def entry_of(text: str) -> Entry:
    return Entry.objects.select_related("paper", "edition").get(paper=paper_of(text))


def change_paper(text: str, **fields) -> Callable[[], object]:
    return lambda: Paper.objects.filter(pk=paper_of(text).pk).update(**fields)


def correct_title() -> None:
    paper = paper_of(SPEECH)
    paper.title, paper.encoder, paper.content_hash = "Robot manipulation", "", "changed"
    paper.save()
    encoding.encode_missing()


def fit_anew() -> None:
    table = DocumentFrequencies.count([bag(text) for text in [*ORDINARY, *TEXTS]])
    Vocabulary.objects.create(
        encoder=encoding.encoder().id, documents=table.documents, table=table.to_bytes()
    )


def correct_an_ordinary_paper() -> None:
    paper = Paper.objects.order_by("first_seen_at").first()
    paper.title, paper.encoder, paper.content_hash = "Robot manipulation", "", "changed"
    paper.save()
    encoding.encode_missing()


def publish_more() -> None:
    make_edition(SUNDAY + DAY, [make_paper("Robot manipulation by day")])
    encoding.encode_missing()


CHANGES: dict[str, Callable[[], object]] = {
    "dropped": lambda: papers_editions.drop(entry_of(GRASP), DUE),
    "withdrawn": change_paper(GRASP, withdrawn_at=DUE),
    "picked": lambda: papers_editions.pick(entry_of(LLM_PROOF), by="Ben", note="Read this."),
    "note edited": lambda: papers_editions.pick(entry_of(SPEECH), by="Ben", note="Another."),
    "title corrected": correct_title,
    "title corrected, vector still the old one": change_paper(GRASP, title="Robot Manipulation"),
    "votes counted": change_paper(GRASP, upvotes=4711),
    "stars counted": change_paper(GRASP, stars=4711),
    "author added": change_paper(LLM_PROOF, authors=["Ben Sample"]),
    "keyword added": change_paper(LLM_PROOF, keywords=["tulips"]),
    "category added": change_paper(LLM_PROOF, categories=["cs.RO"]),
    "organization named": change_paper(LLM_PROOF, organization="Example Labs"),
    "near-duplicates found": lambda: Entry.objects.filter(
        paper__in=[paper_of(GRASP), paper_of(SPEECH)]
    ).update(group=1),
    "trending ranked anew": lambda: Entry.objects.update(score=0.9),
    "vocabulary fitted": fit_anew,
    "ordinary paper corrected": correct_an_ordinary_paper,
    "ordinary paper gone": lambda: Paper.objects.filter(entries=None).first().delete(),
    "edition published": publish_more,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_second_call_in_the_same_process_sees_what_changed(reader, change, monkeypatch):
    papers_editions.pick(entry_of(SPEECH), by="Ben", note="One.")
    before = assembly.upcoming(reader, now=DUE)
    assert assembly.upcoming(reader, now=DUE) == before
    change()
    after = assembly.upcoming(reader, now=DUE)
    assert after != before
    monkeypatch.setattr(candidates, "_readings", Recent(1))
    assert assembly.upcoming(reader, now=DUE) == after


def test_a_digest_assembled_after_a_drop_is_without_the_paper(reader):
    make_reader("ben@example.org", topics=["robot manipulation"], next_due_at=DUE + DAY)
    assembly.assemble_due(DUE)
    gone = paper_of(GRASP).pk
    papers_editions.drop(entry_of(GRASP), DUE)
    assembly.assemble_due(DUE + DAY)
    first, second = Digest.objects.filter(subscriber__in=Subscriber.objects.all()).order_by("pk")[
        :2
    ]
    assert gone in first.paper_ids
    assert gone not in second.paper_ids


def reading_of(editions: list[Edition]) -> object:
    return candidates.read(editions, now=DUE).corpus.space


def test_what_the_papers_say_is_kept_while_their_numbers_change(edition):
    kept = reading_of([edition])
    Paper.objects.update(upvotes=99)
    Entry.objects.update(score=0.1, picked_by="Ben")
    assert reading_of([edition]) is kept


def test_of_readings_the_latest_are_kept_and_no_more(edition):
    others = [make_edition(SUNDAY - n * DAY, [make_paper()]) for n in range(1, 6)]
    for each in (edition, *others):
        reading_of([each])
    assert len(candidates._readings) <= 2 * candidates.READINGS_KEPT


def test_the_papers_are_read_by_as_many_queries_for_any_number_of_readers(
    edition, django_assert_max_num_queries
):
    readers = [make_reader(f"reader{n}@example.org", topics=["robots"]) for n in range(12)]
    facts = assembly.facts_of(readers)
    everybody = [assembly.Reader(facts[each.pk], 5, SUNDAY) for each in readers]
    with django_assert_max_num_queries(8):
        assembly.choose(everybody, [edition], now=DUE)
