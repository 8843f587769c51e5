from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers.records import MAX_COUNT, SourceFormatError
from papers.sources.semantic_scholar import Known, SemanticScholar


@pytest.fixture(scope="module")
def reader() -> SemanticScholar:
    return SemanticScholar({"SEMANTIC_SCHOLAR_URL": "https://s2.example"})


def item(arxiv_id: str = "2511.00001", **fields) -> dict:
    """An entry in the API's shape."""
    return {
        "paperId": "204e3073870fae3d05bcbc2f6a8e263d9b72e776",
        "externalIds": {"ArXiv": arxiv_id, "CorpusId": 13756489},
        "citationCount": 7,
        "tldr": {"model": "tldr@v2.0.0", "text": "It says\nso in one line."},
    } | fields


def parsed(reader: SemanticScholar, items):
    return reader.parse(json.dumps(items).encode())


def test_the_question_names_arxiv_ids_and_the_fields_that_are_read(reader):
    assert reader.url == (
        "https://s2.example/graph/v1/paper/batch?fields=externalIds,citationCount,tldr"
    )
    assert reader.question(["2511.00001", "cs/9901001"]) == {
        "ids": ["ARXIV:2511.00001", "ARXIV:cs/9901001"]
    }


def test_the_key_goes_along_where_there_is_one(reader):
    assert reader.headers == {}
    keyed = SemanticScholar(
        {"SEMANTIC_SCHOLAR_URL": "https://s2.example", "SEMANTIC_SCHOLAR_KEY": "k1"}
    )
    assert keyed.headers == {"x-api-key": "k1"}


def test_citations_and_summaries_are_read_by_the_id_that_is_named(reader):
    answer = parsed(reader, [item("2511.00002"), None, item("math.CA/0611800", tldr=None)])

    assert answer.known == (
        Known("2511.00002", 7, "It says so in one line."),
        Known("math/0611800", 7, ""),
    )
    assert answer.problems == ()


def test_no_count_is_not_a_count_of_zero(reader):
    answer = parsed(
        reader, [item(citationCount=None), item(citationCount=0), item(citationCount=10**20)]
    )

    assert [each.citations for each in answer.known] == [None, 0, MAX_COUNT]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("a word", "entry 1: no paper, but"),
        ({"externalIds": None}, "entry 1: without an arXiv id"),
        (item("no id"), "entry 1: not an arXiv id"),
    ],
)
def test_a_bad_item_is_a_problem_beside_the_others(reader, bad, said):
    answer = parsed(reader, [bad, item()])

    assert [each.arxiv_id for each in answer.known] == ["2511.00001"]
    assert answer.problems[0].startswith(said)


def test_a_batch_of_which_nothing_is_known_is_no_error(reader):
    assert parsed(reader, {"error": "No valid paper ids given"}).known == ()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"message": "Forbidden"}', "a list was expected.*Forbidden"),
        (b"<html>", "no JSON: '<html>'"),
        (b"", "no JSON"),
    ],
)
def test_an_answer_that_is_no_list_says_what_came(reader, body, said):
    with pytest.raises(SourceFormatError, match=said):
        reader.parse(body)


def test_counts_that_vanished_from_all_are_told(reader):
    without = [item(f"2511.{n:05}", citationCount=None) for n in range(1, 6)]

    assert parsed(reader, without).vanished == ("citationCount",)
    assert parsed(reader, [*without, item()]).vanished == ()
    assert parsed(reader, without[:4]).vanished == ()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["externalIds", "ArXiv", "citationCount", "tldr", "text", "error"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=200) | _json.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused_in_words(reader, body):
    try:
        answer = reader.parse(body)
    except SourceFormatError:
        return
    for each in answer.known:
        each.tldr.encode()
        assert "\x00" not in each.tldr
        assert each.citations is None or 0 <= each.citations <= MAX_COUNT
