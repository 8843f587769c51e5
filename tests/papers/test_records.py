from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers.records import arxiv_id, count, moment, one_line, paragraphs, web_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2512.08765", "2512.08765"),
        ("  2512.08765v12 ", "2512.08765"),
        ("0704.0001", "0704.0001"),
        ("arXiv:2512.08765v2", "2512.08765"),
        ("ARXIV: 2512.08765", "2512.08765"),
        ("https://arxiv.org/abs/2512.08765v1", "2512.08765"),
        ("http://www.arxiv.org/pdf/2512.08765v3.pdf", "2512.08765"),
        ("arxiv.org/pdf/2512.08765", "2512.08765"),
        ("https://export.arxiv.org/abs/cs/9901001", "cs/9901001"),
        ("https://huggingface.co/papers/2512.08765#community", "2512.08765"),
        ("huggingface.co/papers/2512.08765?from=mail", "2512.08765"),
        ("https://doi.org/10.48550/arXiv.2512.08765", "2512.08765"),
        ("cs/9901001", "cs/9901001"),
        ("math.CA/0611800v2", "math/0611800"),
        ("hep-th/9901001", "hep-th/9901001"),
    ],
)
def test_every_spelling_of_an_arxiv_id_becomes_one(text, expected):
    assert arxiv_id(text) == expected
    assert arxiv_id(arxiv_id(text)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "2512", "2513.08765", "2512.087651", "cs/99010", "https://example.org/abs/2512.08765",
     "2512.08765; drop", "٢٥١٢.٠٨٧٦٥", "two words", "x" * 1000],
)  # fmt: skip
def test_what_is_no_arxiv_id_is_refused(text):
    with pytest.raises(ValueError, match="not an arXiv id"):
        arxiv_id(text)


def test_wrapping_is_undone_and_paragraphs_stay():
    wrapped = "One line\nand its rest.\n  A second\r\nparagraph.\n\nA third.\n"

    assert paragraphs(wrapped) == "One line and its rest.\n\nA second paragraph.\n\nA third."


def test_a_title_loses_its_line_breaks_and_nothing_else():
    assert one_line("<think> in\n  a title & \\$1 μ") == "<think> in a title & \\$1 μ"


@given(st.text() | st.none() | st.integers() | st.lists(st.text()))
def test_cleaned_text_can_go_into_any_database_page_or_mail(value):
    for text in (one_line(value), paragraphs(value)):
        text.encode()
        assert not set(text) & set("\x00\x08\x1b\x7f\x85\u202e\u2066")
    assert "\n" not in one_line(value)


def test_a_text_without_end_is_cut():
    assert len(one_line("x " * 1_000_000)) < 20_001
    assert len(paragraphs("x\n\n" * 1_000_000)) < 20_001


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" https://example.org/x ", "https://example.org/x"),
        ("http://example.org", "http://example.org"),
        ("javascript:alert(1)", ""),
        ("ftp://example.org", ""),
        ("//example.org", ""),
        ("https://", ""),
        ("https://[bad", ""),
        ("https://example.org/a b", ""),
        ("https://example.org/a\nb", ""),
        ("https://example.org/" + "x" * 500, ""),
        (None, ""),
        (7, ""),
    ],
)
def test_only_web_addresses_that_can_be_stored_are_kept(value, expected):
    assert web_url(value) == expected


def test_times_become_utc_and_nonsense_none():
    assert moment("2025-12-18T02:08:22.352Z") == datetime(2025, 12, 18, 2, 8, 22, 352000, UTC)
    assert moment("2025-12-18T02:00:00+02:00") == datetime(2025, 12, 18, tzinfo=UTC)
    assert moment("2025-12-18") == datetime(2025, 12, 18, tzinfo=UTC)
    assert moment("0001-01-01T00:00:00+14:00") is None
    assert moment("yesterday") is None
    assert moment(None) is None


def test_counts_fit_the_database_and_absence_is_not_zero():
    assert [count(value) for value in (0, 7, "1,234", -3, 10**20)] == [0, 7, 1234, 0, 2_147_483_647]
    assert [count(value) for value in (None, True, "many", 1.5, [])] == [None] * 5
