"""What is kept of the papers is seen to change when they do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

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
    """She wants three subjects, and a person, a word, a field and a laboratory by name."""
    reader = make_reader(
        topics=["manipulation of robot data", "whispered speech", "a language model of text data"]
    )
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


def news_of(*editions: Edition, cursor: int = 0, newest_only: bool = False) -> candidates.News:
    found = candidates.read(editions, now=DUE)
    news = found.news(cursor, date.min, newest_only=newest_only)
    assert news is not None
    return news


def listed_in(news: candidates.News) -> set[str]:
    return {paper.title for paper in news.corpus.papers}


def test_what_the_papers_say_is_kept_while_their_numbers_change(edition):
    kept = news_of(edition).corpus.space
    Paper.objects.update(upvotes=99)
    Entry.objects.update(score=0.1, picked_by="Ben")
    assert news_of(edition).corpus.space is kept


def test_of_readings_the_latest_are_kept_and_no_more(edition, monkeypatch):
    monkeypatch.setattr(candidates, "_readings", Recent(4))
    others = [make_edition(SUNDAY - n * DAY, [make_paper()]) for n in range(1, 12)]
    for each in (edition, *others):
        news_of(each)
    assert len(candidates._readings) <= 2 * 4


def test_those_who_have_the_same_editions_before_them_share_their_news(edition):
    older = [make_edition(SUNDAY - n * DAY, [make_paper(f"{n}")], closed_seq=n + 9) for n in (1, 2)]
    found = candidates.read([edition, *older], now=DUE)
    everything = found.news(0, date.min, newest_only=False)
    assert found.news(0, SUNDAY - 3 * DAY, newest_only=False) is everything
    latest = found.news(10, date.min, newest_only=False)
    assert latest is not everything
    assert found.news(0, date.min, newest_only=True) is latest
    assert listed_in(latest) == {"2"}
    assert found.news(11, date.min, newest_only=False) is None


def test_a_day_of_news_is_not_held_against_the_week(edition):
    """The same paper scores the same for who gets a day and for who gets more."""
    older = make_edition(SUNDAY - DAY, [make_paper(f"Robots at rest, part {n}") for n in range(9)])
    Edition.objects.filter(pk=edition.pk).update(closed_seq=99)
    edition.refresh_from_db()
    encoding.encode_missing()
    facts = assembly.facts_of([make_reader(topics=["manipulation of robot data"])])
    (facts,) = facts.values()

    def full(cursor: int) -> dict[int, float]:
        who = assembly.Reader(facts, 7, date.min, cursor=cursor)
        (choice,) = assembly.choose([who], [older, edition], now=DUE)
        return {item.paper_id: item.score for item in choice.items}

    of_the_day, of_the_week = full(older.closed_seq), full(0)
    assert of_the_day
    assert of_the_day.items() <= of_the_week.items()
    assert len(of_the_week) > len(of_the_day)


def test_readers_of_one_batch_get_each_their_own_editions(edition):
    older = make_edition(SUNDAY - DAY, [make_paper("Robot manipulation by night")])
    readers = [make_reader(f"reader{n}@example.org", topics=["robots"]) for n in range(4)]
    facts = assembly.facts_of(readers)
    cursors = [0, 1, 99, 0]
    asked = [
        assembly.Reader(facts[each.pk], 5, date.min, cursor=cursor)
        for each, cursor in zip(readers, cursors, strict=True)
    ]
    together = assembly.choose(asked, [edition, older], now=DUE)
    alone = [assembly.choose([each], [edition, older], now=DUE)[0] for each in asked]
    assert together == alone
    assert [choice.candidates for choice in together] == [4, 1, 0, 4]
    assert [choice.closed_seq for choice in together] == [2, 2, 99, 2]


def test_what_a_backfilled_edition_lists_was_shown_to_nobody_by_that(edition):
    paper = paper_of(GRASP)
    make_edition(SUNDAY - 300 * DAY, [paper], is_backfill=True)
    found = candidates.read([edition], now=DUE)
    assert (found.listed_before, found.first_listed) == (frozenset(), None)
    make_edition(SUNDAY - 30 * DAY, [paper])
    found = candidates.read([edition], now=DUE)
    assert (found.listed_before, found.first_listed) == ({paper.pk}, SUNDAY - 30 * DAY)


# -- a thousand announcements a day --------------------------------------------------------


@pytest.fixture
def crowd(db) -> Edition:
    """Sunday's: one paper that people vote on, and many that arXiv announced."""
    trending = make_paper("Robots that knit", upvotes=30)
    announced = [make_paper(f"Lemma {n} on tulips", upvotes=0) for n in range(150)]
    edition = make_edition(SUNDAY, [trending, *announced])
    edition.entries.exclude(paper=trending).update(is_trending=False, score=None)
    encoding.encode_missing()
    return edition


def test_what_nobody_votes_on_is_never_popular_and_no_front_page(crowd):
    (choice,) = assembly.choose([nobody_in_particular()], [crowd], now=DUE)
    assert [Paper.objects.get(pk=item.paper_id).title for item in choice.items] == [
        "Robots that knit"
    ]
    assert {paper.trending for paper in news_of(crowd).corpus.papers[1:]} == {0.0}


def test_a_day_of_announcements_alone_is_nothing_to_who_named_no_subject(crowd):
    papers_editions.drop(crowd.entries.get(is_trending=True), DUE)
    (choice,) = assembly.choose([nobody_in_particular()], [crowd], now=DUE)
    assert choice.items == ()


def test_an_announcement_that_meets_a_topic_is_in_the_digest(crowd):
    wanted = make_paper("Sourdough fermentation kinetics", upvotes=0)
    encoding.encode_missing()
    Entry.objects.create(edition=crowd, paper=wanted, position=800, rank=800, is_trending=False)
    reader = make_reader(topics=["sourdough"])
    facts = assembly.facts_of([reader])[reader.pk]
    (choice,) = assembly.choose([assembly.Reader(facts, 5, date.min)], [crowd], now=DUE)
    assert choice.items[0].paper_id == wanted.pk
    assert choice.items[0].reason.kind == "topic"


def test_what_is_ordinary_is_taken_from_everywhere_in_the_window(crowd, monkeypatch):
    monkeypatch.setattr(candidates, "REFERENCE_PAPERS", 100)
    Paper.objects.update(first_seen_at=DUE)
    ids = candidates._ordinary(encoding.encoder())
    every = sorted(Paper.objects.values_list("pk", flat=True))
    assert len(set(ids)) == 100
    in_the_older_half = sum(pk < every[len(every) // 2] for pk in ids)
    assert 45 <= in_the_older_half <= 55


def test_of_few_papers_a_day_the_newest_say_what_is_ordinary(crowd, monkeypatch):
    monkeypatch.setattr(candidates, "REFERENCE_PAPERS", 100)
    for age, pk in enumerate(Paper.objects.order_by("-pk").values_list("pk", flat=True)):
        Paper.objects.filter(pk=pk).update(first_seen_at=DUE - age * DAY)
    newest = list(Paper.objects.order_by("-pk").values_list("pk", flat=True)[:100])
    assert candidates._ordinary(encoding.encoder()) == newest


def nobody_in_particular() -> assembly.Reader:
    reader = make_reader("nobody@example.org")
    return assembly.Reader(assembly.facts_of([reader])[reader.pk], 5, date.min)


def test_the_papers_are_read_by_as_many_queries_for_any_number_of_readers(
    edition, django_assert_max_num_queries
):
    readers = [make_reader(f"reader{n}@example.org", topics=["robots"]) for n in range(12)]
    facts = assembly.facts_of(readers)
    everybody = [assembly.Reader(facts[each.pk], 5, SUNDAY) for each in readers]
    with django_assert_max_num_queries(10):
        assembly.choose(everybody, [edition], now=DUE)
