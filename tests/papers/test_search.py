from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from papers import editions, encoding, meanings, words
from papers import search as search_module
from papers.models import Paper, Phrase, Source
from papers.search import Asked, Order, by_author, by_title, like, search
from tests.factories import make_edition, make_paper
from tests.papers.factories import record, utc

NOW = utc("2026-11-23T07:00")


@pytest.fixture
def titles(source):
    """Stores papers and returns the titles that a query finds."""
    editions.record_day(
        NOW.date(),
        [
            record(1, title="Robots that fold laundry", published_at=utc("2026-11-20T00:00")),
            record(2, title="Laundry", abstract="A robots' survey.", authors=("Zoë Müller",)),
            record(3, title="100% sure", abstract="Nothing else.", arxiv_id="math/0611800"),
            record(4, title="Withdrawn robots and laundry", withdrawn=True),
            record(5, title="Laundry robots, newer", published_at=utc("2026-11-22T00:00")),
        ],
        source=source,
        now=NOW,
        read_at=NOW,
        backfill=False,
    )
    return lambda query, limit=10: [
        paper.title for paper in search(Asked(query), limit=limit).papers
    ]


def test_papers_with_all_words_come_first_and_among_them_those_with_both_in_the_title(titles):
    both = titles("robots LAUNDRY")
    assert set(both[:2]) == {"Laundry robots, newer", "Robots that fold laundry"}
    assert both[2:] == ["Laundry"]
    assert titles("cooking") == []


@pytest.mark.parametrize("name", ["ada", "Example Ada", "Müller", "Zoë"])
def test_authors_are_found_with_their_accents(titles, name):
    assert titles(name)


@pytest.mark.parametrize(
    "query", ["math/0611800", "arXiv:math.CA/0611800v2", "https://arxiv.org/abs/math/0611800"]
)
def test_an_id_or_a_link_finds_its_paper(titles, query):
    assert titles(query) == ["100% sure"]


def test_a_withdrawn_paper_is_found_by_its_id_alone(titles):
    assert titles("withdrawn") == []
    assert titles("2611.00004") == ["Withdrawn robots and laundry"]
    assert titles("2611.99999") == []


@pytest.mark.parametrize("query", ["", "   ", "\x00", "% _ '", '"; --', "\\", "-", '""', "of the"])
def test_signs_and_function_words_alone_find_nothing(titles, query):
    assert titles(query) == []


def test_length_words_and_answers_are_bounded(titles):
    with CaptureQueriesContext(connection) as captured:
        titles("laundry " * 10_000)
    assert questions(captured) <= 8
    assert len(titles("laundry", limit=1)) == 1


def questions(captured: CaptureQueriesContext) -> int:
    """Without what surrounds them on PostgreSQL."""
    return sum(" FROM " in each["sql"] for each in captured.captured_queries)


def test_vectors_are_not_loaded_to_list_papers(titles):
    titles("laundry")

    (paper,) = search(Asked("laundry"), limit=1).papers
    assert paper.get_deferred_fields() >= {"vector", "meaning"}


@pytest.mark.django_db
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=60) | st.text("\"-*():^~&|!<>{}[]+:ANDORNTnear ab'\\é中", max_size=40))
def test_whatever_is_typed_is_an_answer_and_no_error(stored, text):
    asked = Asked(text, organization=text[:20], category=text[:10])
    for order in Order:
        found = search(replace(asked, order=order), limit=5)
        assert len(found.papers) <= found.total
    search(Asked(text), limit=5)
    by_author(text, limit=5)
    assert by_title([text]).keys() <= {text}


@pytest.fixture
def stored(db):
    """Papers that differ in what a search tells apart."""
    return {
        paper.title: paper
        for paper in (
            make_paper(
                "Robotics at home",
                abstract="Vision-language models fold laundry.",
                authors=["Zoë Müller-Lüdenscheidt", "Ada Example"],
                organization="Example Research",
                categories=["cs.RO", "cs.CL"],
                code_url="https://example.org/code",
                published_at=utc("2026-11-01"),
            ),
            make_paper(
                "Attention is all you need to fold",
                abstract="A language that has a vision of its own. Reinforcement learning helps.",
                authors=["Ada B. Example"],
                organization="Sample Labs",
                categories=["cs.CL"],
                published_at=utc("2026-11-10"),
            ),
            make_paper(
                "Cooking with robots",
                abstract="Nothing is folded: generalization to new kitchens with reinforcement.",
                authors=["Alan Example", "Ben Sample"],
                categories=["cs.AI", "stat.ML"],
                published_at=utc("2026-11-20"),
            ),
        )
    }


def found(query: str = "", **filters) -> list[str]:
    return [paper.title for paper in search(Asked(query, **filters), limit=10).papers]


@pytest.mark.parametrize("form", ["robot", "Robots", "ROBOTICS", "robotic"])
def test_all_forms_of_a_word_meet(stored, form):
    assert set(found(form)) == {"Robotics at home", "Cooking with robots"}


def test_a_title_weighs_more_than_an_abstract(stored):
    make_paper("Laundry", abstract="")
    make_paper("Of other things", abstract="Laundry.")

    assert found("laundry")[0] == "Laundry"


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ('"vision language"', ["Robotics at home"]),
        ("vision-language", ["Robotics at home"]),
        ("“vision language”", ["Robotics at home"]),
        ('"is all you need"', ["Attention is all you need to fold"]),
        ("fold -laundry -kitchens", ["Attention is all you need to fold"]),
        ('robots -"new kitchens"', ["Robotics at home"]),
        ("muller-ludenscheidt", ["Robotics at home"]),
    ],
)
def test_phrases_exclusions_and_accents(stored, query, titles):
    assert found(query) == titles


@pytest.mark.parametrize(
    ("filters", "titles"),
    [
        (
            {"since": date(2026, 11, 10)},
            {"Attention is all you need to fold", "Cooking with robots"},
        ),
        ({"until": date(2026, 11, 10)}, {"Attention is all you need to fold", "Robotics at home"}),
        ({"category": "cs.cl"}, {"Attention is all you need to fold", "Robotics at home"}),
        ({"category": "cs"}, set()),
        ({"organization": "example research"}, {"Robotics at home"}),
        ({"organization": "ada"}, set()),
        ({"has_code": True}, {"Robotics at home"}),
        ({"source": "arxiv"}, {"Cooking with robots"}),
    ],
)
@pytest.mark.parametrize("query", ["", "fold"])
def test_filters_narrow_with_words_and_without(stored, query, filters, titles):
    source = Source.objects.create(slug="arxiv", name="arXiv")
    edition = make_edition(date(2026, 11, 20), [stored["Cooking with robots"]])
    edition.entries.update(source=source)

    assert set(found(query, **filters)) == titles


def test_by_date_the_newest_comes_first_and_pages_follow_each_other(stored):
    asked = Asked("robots", order=Order.DATE)

    assert [paper.title for paper in search(asked, limit=1).papers] == ["Cooking with robots"]
    assert [paper.title for paper in search(asked, limit=1, offset=1).papers] == [
        "Robotics at home"
    ]
    assert search(asked, limit=1, offset=2).papers == []
    assert search(asked, limit=1, offset=10**9).papers == []


def test_where_few_have_all_words_those_with_some_follow_apart(stored):
    answer = search(Asked("folding kitchens"), limit=10)

    assert (answer.with_all, answer.is_parted) == (1, True)
    assert answer.papers[0].title == "Cooking with robots"
    assert {paper.title for paper in answer.papers[1:]} == {
        "Attention is all you need to fold",
        "Robotics at home",
    }


# -- spelling ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lanudry", "laundry"),
        ("generalizatoin", "generalization"),
        ("vsion -tulips", "vision -tulips"),
        ("kitchesn reinforcement", "kitchens reinforcement"),
        ("Ludenscheid", "ludenscheidt"),
        ("renforcment", "reinforcement"),
    ],
)
def test_a_word_that_no_paper_has_is_mended(stored, typed, meant):
    answer = search(Asked(typed), limit=10)

    assert answer.corrected == meant
    assert answer.papers == search(Asked(meant), limit=10).papers != []


@pytest.mark.parametrize(
    "query", ["zzzzzzzzz", "lau", "1234567", "folding", "themselves", "own kitchens"]
)
def test_what_is_near_to_nothing_or_known_stays_as_it_is(stored, query):
    assert search(Asked(query), limit=10).corrected == ""


def test_the_more_frequent_of_two_near_words_wins(db):
    for title in ("Models", "More models", "Modes"):
        make_paper(title, abstract="")

    assert search(Asked("modles"), limit=10).corrected == "models"


def test_a_dozen_words_that_no_paper_has_cost_little(stored):
    for text in (" ".join(f"zq{letter}vxkjwpt" for letter in "abcdefghijkl"), "zq" * 200):
        with CaptureQueriesContext(connection) as captured:
            assert search(Asked(text), limit=10).papers == []
        assert questions(captured) <= 70


def test_what_takes_too_long_is_said_and_is_no_error(stored, client, monkeypatch):
    def give_up(*_args, **_options):
        raise words.TooCostly

    monkeypatch.setattr(words, "by_relevance", give_up)

    assert search(Asked("robots"), limit=10).is_too_costly
    page = client.get("/papers/", {"q": "robots"}).content.decode()
    assert "takes too long to answer" in page
    assert "Nothing found" not in page


@pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL alone")
def test_postgresql_gives_up_and_is_as_it_was(db, monkeypatch):
    monkeypatch.setattr(words, "PATIENCE_SECONDS", 0.05)
    before = settings_of_postgresql()

    with pytest.raises(words.TooCostly):
        words._Postgresql()._rows("SELECT pg_sleep(5)", [])
    assert words._Postgresql()._rows("SELECT current_setting('enable_seqscan')", []) == [("off",)]
    assert settings_of_postgresql() == before


def settings_of_postgresql() -> object:
    with connection.cursor() as cursor:
        cursor.execute("SHOW enable_seqscan")
        scans = cursor.fetchone()
        cursor.execute("SHOW statement_timeout")
        return scans, cursor.fetchone()


def test_as_typed_mends_nothing(stored):
    answer = search(Asked("lanudry", as_typed=True), limit=10)

    assert (answer.papers, answer.corrected) == ([], "")


# -- the index follows the papers ----------------------------------------------------------


def test_the_index_follows_every_way_of_writing(stored):
    paper = stored["Robotics at home"]
    Paper.objects.filter(pk=paper.pk).update(title="Gardening", upvotes=99)
    assert found("gardening") == ["Gardening"]
    assert "Gardening" in found("laundry")

    Paper.objects.bulk_update([Paper(pk=paper.pk, abstract="Of tulips.")], ["abstract"])
    assert (found("tulips"), found("laundry")) == (["Gardening"], [])

    Paper.objects.filter(pk=paper.pk).update(withdrawn_at=utc("2026-11-21"))
    assert found("tulips") == []
    Paper.objects.filter(pk=paper.pk).update(withdrawn_at=None)
    assert found("tulips") == ["Gardening"]

    paper.delete()
    assert found("tulips") == []


def test_votes_do_not_touch_the_index(stored):
    before = written()
    Paper.objects.update(upvotes=1000, comments=3, stars=5, citations=7)
    Paper.objects.update(title=F("title"))
    assert written() == before

    Paper.objects.update(title="Another")
    assert written() != before


def written() -> object:
    """Changes with whatever is written into the index."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT paper_id, xmin::text, ctid::text FROM papers_words ORDER BY 1")
        else:
            cursor.execute("SELECT id, block FROM papers_words_data ORDER BY id")
        return cursor.fetchall()


def test_the_migration_can_be_taken_back_and_fills_the_index_anew(stored):
    words.drop(connection)
    Paper.objects.update(abstract="Written while there was no index.")
    words.create(connection)

    assert len(found("written index")) == 3


# -- other ways to a paper -----------------------------------------------------------------


def test_an_author_is_found_by_first_and_last_name(stored):
    names = {"Ada Example": 2, "ADA EXÀMPLE": 2, "Ada C. Example": 1, "A. Example": 0, "Example": 0}

    assert {name: len(by_author(name, limit=10)) for name in names} == names
    assert by_author("Ada Example", limit=1)[0].title == "Attention is all you need to fold"
    assert by_author("Zoe Muller Ludenscheidt", limit=10) == []
    assert len(by_author("Zoe Müller-Ludenscheidt", limit=10)) == 1


def test_titles_are_found_but_for_case_accents_and_signs(stored):
    make_paper("The same")
    make_paper("the same!")
    asked = ["ROBOTICS at home.", "Robotics", "Attention is all you need to fold", "The same", ""]

    assert by_title(asked) == {
        "ROBOTICS at home.": stored["Robotics at home"].pk,
        "Attention is all you need to fold": stored["Attention is all you need to fold"].pk,
    }


@pytest.mark.parametrize(
    ("title", "typed"),
    [
        ("Schrödinger's cat, revisited", "SCHRODINGER S CAT: REVISITED"),
        ("Scho\u0308ne Gr\u00fc\u00dfe", "schöne grüße"),
        ("$k$-means_{fast}; a [short] survey", "k means fast a short survey"),
        ("ﬁne-tuning 𝒌 ½", "fine tuning k 1 2"),
        ("量子 computing", "量子 Computing"),
        ("Long " * 900, "long " * 900),
    ],
)
def test_a_title_is_found_however_it_was_typed(db, title, typed):
    paper = make_paper(title)
    make_paper("Long " * 901)
    make_paper("Another one")

    assert by_title([typed, "another"]) == {typed: paper.pk}

    Paper.objects.filter(pk=paper.pk).update(title="Renamed")
    assert by_title([typed, "renamed"]) == {"renamed": paper.pk}
    Paper.objects.filter(pk=paper.pk).update(withdrawn_at=utc("2026-11-21"))
    assert by_title(["renamed"]) == {}


def test_five_hundred_titles_are_a_few_questions(db, django_assert_max_num_queries):
    papers = [make_paper(f"Number {number} of many") for number in range(30)]
    asked = [f"number {number}, of many" for number in range(600)]

    with django_assert_max_num_queries(8):
        assert sorted(by_title(asked).values()) == sorted(paper.pk for paper in papers)


def test_more_like_this_is_near_and_never_itself(db):
    near = "Reinforcement learning of dexterous grasping for robot hands"
    papers = [make_paper(near, abstract=f"Dexterous grasping, {n} times.") for n in "ABCDEFGH"]
    stranger = make_paper("Zebrafish genomics", abstract="Of fish and their genomes.")
    encoding.encode_missing()

    found = like(Paper.objects.get(pk=papers[0].pk), limit=5)

    assert len(found) == 5
    assert {paper.pk for paper in found} <= {paper.pk for paper in papers[1:]}
    assert like(stranger, limit=5) == []


# -- meaning -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    id: str = "three-1"


@pytest.fixture
def meaning(stored, monkeypatch):
    """A model of three dimensions: the kitchen, the house, and everything else."""
    kitchen, house, rest = ((127, 0, 0), (30, 120, 0), (0, 0, 127))
    of = dict(zip(stored.values(), (house, rest, kitchen), strict=True))
    for paper, code in of.items():
        Paper.objects.filter(pk=paper.pk).update(
            meaning_by="three-1", meaning=np.array(code, np.int8).tobytes()
        )
    said = {"cuisine": np.array(kitchen, np.int8).tobytes()}
    monkeypatch.setattr(encoding, "meaning_model", Model, raising=False)
    monkeypatch.setattr(
        encoding,
        "meanings_of",
        lambda texts, **_: {t: said[t] for t in texts if t in said},
        raising=False,
    )
    meanings.forget()
    yield
    meanings.forget()


def test_with_a_model_what_means_the_same_is_found_without_the_word(meaning):
    answer = search(Asked("cuisine"), limit=2)

    assert [paper.title for paper in answer.papers] == ["Cooking with robots", "Robotics at home"]
    assert answer.with_all == 0


def test_a_table_of_words_orders_what_has_the_words_and_adds_nothing(meaning, monkeypatch):
    make_paper("Robots abroad", abstract="Robots, and robots.")
    by_words = found("robots")
    monkeypatch.setattr(search_module, "ORDER_ALONE", {"three-1"})
    kitchen = np.array((127, 0, 0), np.int8).tobytes()
    monkeypatch.setattr(encoding, "meanings_of", lambda texts, **_: dict.fromkeys(texts, kitchen))

    assert found("cuisine") == []
    answer = found("robots")
    assert sorted(answer) == sorted(by_words)
    assert answer.index("Cooking with robots") < by_words.index("Cooking with robots")


def test_what_was_looked_for_is_not_stored(stored, monkeypatch):
    class Sentences:
        id, dimensions, reach = "sentences-1", 3, 1.0

        def encode(self, texts):
            return np.tile(np.array([[1, 0, 0]], np.float32), (len(texts), 1))

    monkeypatch.setattr(encoding, "meaning_model", Sentences)
    search(Asked("a visitor's words"), limit=10)

    assert not Phrase.objects.exists()
    encoding.meanings_of(["a reader's topic"])
    assert Phrase.objects.count() == 1


def test_filters_hold_for_meaning_too(meaning):
    assert found("cuisine", has_code=True) == ["Robotics at home"]
    assert found("cuisine -robots") == []


def test_without_the_models_answer_words_are_all(meaning):
    assert found("laundry") == ["Robotics at home"]


def test_a_new_paper_is_met_by_meaning_within_a_minute(meaning, monkeypatch):
    search(Asked("cuisine"), limit=9)
    new = make_paper("Soup", meaning_by="three-1", meaning=bytes([127, 0, 0]))
    assert new not in search(Asked("cuisine"), limit=9).papers

    monkeypatch.setattr(meanings, "LOOK_SECONDS", 0)
    meanings.forget()
    assert new in search(Asked("cuisine"), limit=9).papers
