from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers import merging
from papers.models import Paper
from papers.records import PaperRecord
from tests.papers.factories import record, utc

NOON = utc("2026-11-23T12:00")
HUGGINGFACE, ARXIV, SEMANTIC_SCHOLAR = "huggingface", "arxiv", "semantic_scholar"
SOURCES = [HUGGINGFACE, ARXIV, SEMANTIC_SCHOLAR]


def said_by(source: str, **fields) -> PaperRecord:
    """What that source has to say, in words that tell whose they are."""
    own = {
        "title": f"Title by {source}",
        "abstract": f"Abstract by {source}",
        "authors": (f"Author by {source}",),
        "upvotes": 7 if source == HUGGINGFACE else None,
        "comments": 1 if source == HUGGINGFACE else None,
        "tldr": "" if source == ARXIV else f"Summary by {source}",
        "categories": ("cs.CL", "cs.LG") if source == ARXIV else (),
        "version": 1 if source == ARXIV else None,
        "citations": 3 if source == SEMANTIC_SCHOLAR else None,
    }
    return record(1, **own | fields)


def merged(*said: tuple[str, PaperRecord], paper: Paper | None = None) -> Paper:
    paper = paper or Paper(arxiv_id="2611.00001", first_seen_at=NOON)
    for source, each in said:
        merging.apply(each, paper, source=source, now=NOON, is_stale=False)
    return paper


def test_every_field_of_a_record_that_is_stored_has_its_order_of_sources():
    of_the_reading = {
        "arxiv_id", "position", "listed_at", "withdrawn", "is_listed", "is_dated", "submitter",
    }  # fmt: skip
    assert set(merging.WINS) == set(PaperRecord.__dataclass_fields__) - of_the_reading


@pytest.mark.parametrize("order", list(permutations(SOURCES)))
def test_whoever_comes_first_the_best_word_stands(order):
    paper = merged(*[(source, said_by(source)) for source in order])

    assert (paper.title, paper.abstract) == ("Title by arxiv", "Abstract by arxiv")
    assert paper.authors == ["Author by arxiv"]
    assert (paper.categories, paper.version) == (["cs.CL", "cs.LG"], 1)
    assert paper.tldr == "Summary by huggingface"
    assert (paper.upvotes, paper.citations) == (7, 3)
    assert {field: paper.read_from[field] for field in ("title", "tldr", "citations")} == {
        "title": ARXIV,
        "tldr": HUGGINGFACE,
        "citations": SEMANTIC_SCHOLAR,
    }


def test_a_source_may_correct_itself_but_nobody_better():
    paper = merged((HUGGINGFACE, said_by(HUGGINGFACE)), (ARXIV, said_by(ARXIV)))

    merged((HUGGINGFACE, said_by(HUGGINGFACE, title="x", tldr="Shorter")), paper=paper)
    assert (paper.title, paper.tldr) == ("Title by arxiv", "Shorter")
    merged((ARXIV, said_by(ARXIV, title="Title, corrected")), paper=paper)
    assert paper.title == "Title, corrected"


def test_a_source_without_a_place_in_the_table_only_fills_what_is_empty():
    paper = merged(("elsewhere", said_by("elsewhere")))
    assert paper.title == "Title by elsewhere"

    merged((SEMANTIC_SCHOLAR, said_by(SEMANTIC_SCHOLAR)), ("elsewhere", said_by("other")),
           paper=paper)  # fmt: skip
    assert paper.title == "Title by semantic_scholar"


def test_an_empty_word_erases_nothing_even_of_the_best_source():
    paper = merged((HUGGINGFACE, said_by(HUGGINGFACE, organization="Example Labs")))

    merged((ARXIV, said_by(ARXIV, abstract="", authors=(), title="")), paper=paper)

    assert paper.title == "Title by huggingface"
    assert paper.abstract == "Abstract by huggingface"
    assert paper.authors == ["Author by huggingface"]
    assert paper.organization == "Example Labs"


def test_no_votes_are_a_count_and_silence_is_none():
    paper = merged((HUGGINGFACE, said_by(HUGGINGFACE, upvotes=9)))

    merged((ARXIV, said_by(ARXIV)), paper=paper)
    assert paper.upvotes == 9
    merged((HUGGINGFACE, said_by(HUGGINGFACE, upvotes=0)), paper=paper)
    assert paper.upvotes == 0


def test_what_a_source_said_earlier_only_fills_what_is_empty():
    paper = merged((HUGGINGFACE, said_by(HUGGINGFACE)))
    older = said_by(HUGGINGFACE, title="Older", organization="Example Labs", upvotes=1)

    changes = merging.apply(older, paper, source=HUGGINGFACE, now=NOON, is_stale=True)

    assert [change.field for change in changes] == ["organization"]
    assert (paper.title, paper.upvotes) == ("Title by huggingface", 7)


# -- versions ------------------------------------------------------------------------------


def test_a_lower_version_changes_no_words_and_a_higher_one_does():
    paper = merged((ARXIV, said_by(ARXIV, version=2)))

    merged((ARXIV, said_by(ARXIV, version=1, title="Draft", abstract="Draft", categories=("q",))),
           paper=paper)  # fmt: skip
    assert (paper.title, paper.abstract, paper.version) == (
        "Title by arxiv",
        "Abstract by arxiv",
        2,
    )
    assert paper.categories == ["q"]
    merged((ARXIV, said_by(ARXIV, version=3, title="Final")), paper=paper)
    assert (paper.title, paper.version) == ("Final", 3)


def test_a_lower_version_still_fills_what_is_empty():
    paper = merged((ARXIV, said_by(ARXIV, version=2, abstract="")))

    merged((ARXIV, said_by(ARXIV, version=1)), paper=paper)

    assert paper.abstract == "Abstract by arxiv"


@given(st.permutations([1, 2, 3, 4]))
def test_in_whatever_order_versions_come_the_highest_speaks(versions):
    said = [(ARXIV, said_by(ARXIV, version=each, title=f"v{each}")) for each in versions]

    paper = merged(*said)

    assert (paper.version, paper.title) == (4, "v4")


# -- when it appeared ----------------------------------------------------------------------

EXACT = utc("2026-11-20T17:59:12")
BARE = utc("2026-11-20T00:00")
ANNOUNCED = utc("2026-11-23T05:00")  # midnight in New York


@pytest.mark.parametrize(
    ("first", "then", "stands"),
    [
        ((HUGGINGFACE, EXACT), (ARXIV, ANNOUNCED), EXACT),
        ((ARXIV, ANNOUNCED), (HUGGINGFACE, EXACT), EXACT),
        ((ARXIV, ANNOUNCED), (HUGGINGFACE, BARE), BARE),
        ((HUGGINGFACE, BARE), (ARXIV, ANNOUNCED), BARE),
        ((HUGGINGFACE, EXACT), (ARXIV, EXACT + timedelta(seconds=5)), EXACT + timedelta(seconds=5)),
        ((ARXIV, EXACT), (HUGGINGFACE, EXACT + timedelta(seconds=5)), EXACT),
        ((ARXIV, EXACT), (ARXIV, BARE), EXACT),
    ],
)
def test_an_announcement_does_not_make_a_paper_younger(first, then, stands):
    paper = merged(*[(source, said_by(source, published_at=at)) for source, at in (first, then)])

    assert paper.published_at == stands


@pytest.mark.parametrize("bound", [EXACT - timedelta(days=9), BARE, ANNOUNCED])
@pytest.mark.parametrize("said", [EXACT, BARE, ANNOUNCED])
def test_a_bound_fills_what_is_empty_and_gives_way_to_every_date(bound, said):
    undated = (ARXIV, said_by(ARXIV, published_at=bound, is_dated=False))
    dated = (HUGGINGFACE, said_by(HUGGINGFACE, published_at=said))

    assert merged(undated).published_at == bound
    assert merged(undated, dated).published_at == said
    assert merged(dated, undated).published_at == said
    assert merged(dated, undated).read_from["published_at"] == HUGGINGFACE


# -- withdrawals ---------------------------------------------------------------------------


def test_a_withdrawal_is_final_and_noticed_once():
    paper = merged((HUGGINGFACE, said_by(HUGGINGFACE)))
    gone = said_by(ARXIV, withdrawn=True, version=2)

    first = merging.apply(gone, paper, source=ARXIV, now=NOON, is_stale=False)
    again = merging.apply(gone, paper, source=ARXIV, now=NOON + timedelta(days=1), is_stale=False)
    merged((HUGGINGFACE, said_by(HUGGINGFACE)), paper=paper)

    assert merging.Change("withdrawn_at", None, NOON) in first
    assert again == []
    assert paper.withdrawn_at == NOON


# -- what follows --------------------------------------------------------------------------


def test_changes_are_told_with_what_was_before():
    paper = merged((HUGGINGFACE, said_by(HUGGINGFACE)))

    changes = merging.apply(
        said_by(ARXIV, authors=("Author by huggingface",)),
        paper,
        source=ARXIV,
        now=NOON,
        is_stale=False,
    )

    told = {change.field: (change.before, change.after) for change in changes}
    assert told == {
        "title": ("Title by huggingface", "Title by arxiv"),
        "abstract": ("Abstract by huggingface", "Abstract by arxiv"),
        "categories": ([], ["cs.CL", "cs.LG"]),
        "version": (None, 1),
    }
    assert paper.read_from["authors"] == ARXIV


def test_votes_and_citations_change_without_a_trace():
    paper = merged((HUGGINGFACE, said_by(HUGGINGFACE)))
    later = said_by(HUGGINGFACE, upvotes=90, comments=9, stars=9)

    changes = merging.apply(later, paper, source=HUGGINGFACE, now=NOON, is_stale=False)
    changes += merging.apply(
        said_by(SEMANTIC_SCHOLAR), paper, source=SEMANTIC_SCHOLAR, now=NOON, is_stale=False
    )

    assert {change.field for change in changes} == {"upvotes", "comments", "stars", "citations"}
    assert not any(change.is_traced for change in changes)


def test_a_text_that_changed_loses_its_vector_and_one_that_did_not_keeps_it():
    paper = merged((HUGGINGFACE, said_by(HUGGINGFACE)))
    paper.encoder, paper.vector = "words", b"vector"
    paper.meaning_by, paper.meaning = "model", b"meaning"

    merged((HUGGINGFACE, said_by(HUGGINGFACE, upvotes=90, tldr="Other")), paper=paper)
    assert (paper.encoder, paper.vector) == ("words", b"vector")
    assert (paper.meaning_by, paper.meaning) == ("model", b"meaning")
    merged((ARXIV, said_by(ARXIV)), paper=paper)
    assert (paper.encoder, paper.vector) == ("", b"")
    assert (paper.meaning_by, paper.meaning) == ("", b"")


RECORDS = st.builds(
    record,
    st.just(1),
    title=st.text(max_size=3),
    abstract=st.text(max_size=3),
    tldr=st.text(max_size=3),
    authors=st.lists(st.text(min_size=1, max_size=3), max_size=2).map(tuple),
    categories=st.lists(st.sampled_from(["cs.CL", "cs.LG"]), max_size=2).map(tuple),
    upvotes=st.none() | st.integers(0, 9),
    version=st.none() | st.integers(1, 3),
    citations=st.none() | st.integers(0, 9),
    published_at=st.sampled_from([EXACT, BARE, ANNOUNCED]),
    is_dated=st.booleans(),
    withdrawn=st.booleans(),
)
SAID = st.lists(st.tuples(st.sampled_from(SOURCES), RECORDS, st.booleans()), min_size=1, max_size=6)


@given(SAID)
def test_the_same_word_twice_changes_nothing(said):
    paper = Paper(arxiv_id="2611.00001")
    for source, each, is_stale in said:
        merging.apply(each, paper, source=source, now=NOON, is_stale=is_stale)
        read_from = dict(paper.read_from)
        again = merging.apply(each, paper, source=source, now=NOON, is_stale=is_stale)
        assert again == []
        assert paper.read_from == read_from


@given(SAID)
def test_a_row_is_its_changes_and_its_hash_says_what_a_mail_shows(said):
    paper = Paper(arxiv_id="2611.00001")
    followed = {field: getattr(paper, field) for field in merging.WINS}
    for source, each, is_stale in said:
        changes = merging.apply(each, paper, source=source, now=NOON, is_stale=is_stale)
        for change in changes:
            if change.field in followed:
                assert followed[change.field] == change.before != change.after
                followed[change.field] = change.after
    assert followed == {field: getattr(paper, field) for field in merging.WINS}
    assert paper.content_hash == merging.content_hash(paper)
    assert paper.version == max((e.version for _, e, _s in said if e.version), default=None)
