from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subscribers import orcid
from subscribers.imports import (
    MOST_BYTES,
    MOST_PAPERS,
    ImportedPaper,
    ImportRefused,
    Refusal,
    read,
    read_works,
)

ZOTERO_BIBTEX = r"""
@misc{vaswani_attention_2017,
	title = {Attention {Is} {All} {You} {Need}},
	url = {http://arxiv.org/abs/1706.03762},
	doi = {10.48550/arXiv.1706.03762},
	abstract = {We propose a network of {attention} alone.},
	number = {{arXiv}:1706.03762},
	publisher = {{arXiv}},
	author = {Vaswani, Ashish and Shazeer, Noam},
	date = {2017-06-12},
	eprinttype = {arxiv},
	eprint = {1706.03762 [cs]},
}

@article{poincare,
	title = {Sur le probl{\`e}me des trois corps, and {$O(n^2)$} of it},
	author = {Poincar{\'e}, Henri and Mittag-Leffler, G{\"o}sta},
	year = 1890
}
"""

ZOTERO_RIS = """\
TY  - PREP
TI  - Language Models are Few-Shot Learners
AU  - Brown, Tom B.
AU  - Mann, Benjamin
AB  - Scaling up helps.
DA  - 2020/07/22/
PY  - 2020
DO  - 10.48550/arXiv.2005.14165
UR  - http://arxiv.org/abs/2005.14165
ER  -

TY  - JOUR
T1  - A paper of a journal
A1  - Lovelace, Ada
PY  - 1843
ER  -
"""

ZOTERO_CSV = (
    '"Key","Item Type","Publication Year","Author","Title","DOI","Url","Abstract Note","Extra"\r\n'
    '"AB12","preprint","2021","Hu, Edward J.; Shen, Yelong","LoRA: Low-Rank ""Adaptation""","",'
    '"http://arxiv.org/abs/2106.09685","Two lines\r\nof abstract","arXiv:2106.09685 [cs]"\r\n'
    '"CD34","book","1999","Knuth, Donald","The <i>Art</i> of it","10.1000/xyz123","","",""\r\n'
)


def only(name: str, text: str | bytes) -> ImportedPaper:
    found = read(name, text.encode() if isinstance(text, str) else text)
    assert len(found.papers) == 1
    return found.papers[0]


def test_a_bibtex_file_of_zotero_is_read_with_its_latex_and_its_arxiv_ids():
    arxiv, other = read("library.bib", ZOTERO_BIBTEX.encode()).papers
    assert arxiv == ImportedPaper(
        title="Attention Is All You Need",
        abstract="We propose a network of attention alone.",
        authors=("Ashish Vaswani", "Noam Shazeer"),
        arxiv_id="1706.03762",
        doi="10.48550/arXiv.1706.03762",
        year=2017,
    )
    assert other.title == "Sur le problème des trois corps, and O(n^2) of it"
    assert other.authors == ("Henri Poincaré", "Gösta Mittag-Leffler")
    assert (other.arxiv_id, other.year) == ("", 1890)


def test_a_ris_file_is_read_with_both_ways_of_naming_a_title():
    arxiv, journal = read("library.ris", ZOTERO_RIS.encode()).papers
    assert (arxiv.arxiv_id, arxiv.year) == ("2005.14165", 2020)
    assert arxiv.authors == ("Tom B. Brown", "Benjamin Mann")
    assert (journal.title, journal.authors) == ("A paper of a journal", ("Ada Lovelace",))


def test_a_csv_file_of_zotero_is_read_with_line_breaks_and_quotes_in_its_cells():
    arxiv, book = read("library.csv", ZOTERO_CSV.encode()).papers
    assert (arxiv.title, arxiv.arxiv_id) == ('LoRA: Low-Rank "Adaptation"', "2106.09685")
    assert arxiv.abstract == "Two lines of abstract"
    assert arxiv.authors == ("Edward J. Hu", "Yelong Shen")
    assert (book.title, book.doi, book.year) == ("The Art of it", "10.1000/xyz123", 1999)


@pytest.mark.parametrize(
    "text",
    [
        "title;url\nGlaciers;https://arxiv.org/pdf/2601.00001v2.pdf",
        "title\turl\nGlaciers\thttps://arxiv.org/pdf/2601.00001v2.pdf",
        "TITLE,URL\nGlaciers,https://arxiv.org/pdf/2601.00001v2.pdf",
    ],
)
def test_a_table_may_be_parted_by_any_of_three_signs(text):
    assert only("", text) == ImportedPaper(title="Glaciers", arxiv_id="2601.00001")


@pytest.mark.parametrize(
    "field",
    [
        "eprint = {2601.00001v3}, archivePrefix = {arXiv}",
        "eprint = {2601.00001}",
        "url = {https://arxiv.org/abs/2601.00001}",
        "doi = {https://doi.org/10.48550/arXiv.2601.00001}",
        "note = {arXiv:2601.00001 [cs.CL]}",
        "journal = {arXiv preprint arXiv:2601.00001}",
        "howpublished = {\\url{https://arxiv.org/pdf/2601.00001}}",
    ],
)
def test_an_arxiv_id_is_found_wherever_bibtex_has_it(field):
    assert only("", f"@article{{a, title = {{Bees}}, {field}}}").arxiv_id == "2601.00001"


def test_the_number_of_another_archive_is_no_arxiv_id():
    entry = "@article{a, title={Bees}, eprint={2601.00001}, eprinttype={hal}, pages={2602.00001}}"
    assert only("", entry).arxiv_id == ""


def test_ids_and_links_are_found_in_any_prose():
    text = (
        "Look at https://arxiv.org/abs/2601.00001v2, arXiv:2601.00002; (hep-th/9901001) and\n"
        "huggingface.co/papers/2601.00003. Not at 2613.00001, 12345.67890 or 3.14159."
    )
    found = read("", text.encode())
    ids = [paper.arxiv_id for paper in found.papers]
    assert ids == ["2601.00001", "2601.00002", "hep-th/9901001", "2601.00003"]
    assert found.skipped == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_a_file_may_be_in_any_encoding_that_people_send(encoding):
    entry = "@article{a, title = {Über Bienen}, author = {Müller, Zoë}}"
    assert only("", entry.encode(encoding)).title == "Über Bienen"


def test_a_broken_entry_is_counted_and_stops_no_other():
    text = (
        "@string{bees = {Apis}}\n@comment{about bees}\n"
        "@article{a, title = {One}}\n"
        "@article{b, title = {never closed, year = 2001\n"
        "@article{c, year = 2001}\n"
        "@article{a, title = {The same key}}\n"
        "@article{d, title = {Twice}, year = 2001, year = 2002}\n"
    )
    found = read("", text.encode())
    assert [paper.title for paper in found.papers] == ["One", "The same key", "Twice"]
    assert found.skipped == 2


def test_a_paper_that_stands_twice_is_one():
    text = "2601.00001 and https://arxiv.org/abs/2601.00001v4"
    assert len(read("", text.encode()).papers) == 1


def test_what_is_beyond_the_limit_is_left_out_and_counted():
    entries = "".join(f"@misc{{k{n}, title = {{Paper {n}}}}}\n" for n in range(MOST_PAPERS + 3))
    found = read("", entries.encode())
    assert (len(found.papers), found.left_out) == (MOST_PAPERS, 3)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", Refusal.NO_PAPERS),
        (b"nothing of the kind", Refusal.NO_PAPERS),
        (b"%PDF-1.7\n\x00\xff", Refusal.NO_PAPERS),
        (b"a" * (MOST_BYTES + 1), Refusal.TOO_LARGE),
    ],
)
def test_what_holds_no_papers_is_refused(body, why):
    with pytest.raises(ImportRefused) as refused:
        read("library.csv", body)
    assert refused.value.why == why


@given(
    st.sampled_from(
        ["", "@article{a, title={", "TY  - JOUR\nTI  - ", "title,url,doi\n", '{"group": [']
    ),
    st.binary(max_size=400) | st.text('@{}\\"$%,=;\n\t TYERA-:1260.arxiv/', max_size=400),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_papers_or_are_refused(start, rest):
    body = start.encode() + (rest if isinstance(rest, bytes) else rest.encode())
    for parse in (lambda: read("any.csv", body), lambda: read_works(body)):
        try:
            papers = parse().papers
        except ImportRefused:
            continue
        assert all(paper.title or paper.arxiv_id for paper in papers)
        assert all("\x00" not in paper.title + paper.abstract for paper in papers)


@pytest.mark.parametrize(
    "body",
    [
        b"@a{" * 1_000_000,
        b"@a{k,\n" * 500_000,
        b"TY  - JOUR\nTI  - " + b"a\n" * 1_000_000,
        b"\n" * 4_000_000,
        b"@article{a, title={" + b"{" * 2_000_000,
        b"title,url\n" + b"<i " * 1_000_000,
    ],
    ids=["blocks", "entries", "continued", "lines", "braces", "tags"],
)
def test_a_file_that_means_ill_takes_no_longer_than_a_good_one(body):
    before = time.process_time()
    with pytest.raises(ImportRefused):
        read("", body)
    assert time.process_time() - before < 3


# -- ORCID ---------------------------------------------------------------------------------


def summary(title: str | None, *ids: tuple[str, str], year: str | None = "2024") -> dict:
    """In the shape that the API documents, nulls included."""
    return {
        "put-code": 1,
        "title": title and {"title": {"value": title}, "subtitle": None, "translated-title": None},
        "external-ids": {
            "external-id": [
                {
                    "external-id-type": kind,
                    "external-id-value": value,
                    "external-id-relationship": "self",
                }
                for kind, value in ids
            ]
        },
        "url": None,
        "type": "preprint",
        "publication-date": year and {"year": {"value": year}, "month": None, "day": None},
        "journal-title": None,
    }


def works(*summaries: dict) -> bytes:
    groups = [
        {"last-modified-date": {"value": 1}, "external-ids": {"external-id": []},
         "work-summary": [each]}
        for each in summaries
    ]  # fmt: skip
    path = "/0000-0002-1825-0097/works"
    return json.dumps({"last-modified-date": None, "group": groups, "path": path}).encode()


def test_the_works_of_an_orcid_record_are_read_with_their_ids():
    found = read_works(
        works(
            summary("Bees", ("doi", "10.48550/arXiv.2601.00001")),
            summary("Chess", ("arxiv", "2601.00002"), ("doi", "10.1000/chess"), year=None),
            summary("Violins", ("isbn", "123")),
            summary(None),
        )
    )
    assert found.papers == (
        ImportedPaper("Bees", arxiv_id="2601.00001", doi="10.48550/arXiv.2601.00001", year=2024),
        ImportedPaper("Chess", arxiv_id="2601.00002", doi="10.1000/chess"),
        ImportedPaper("Violins", year=2024),
    )
    assert found.skipped == 1


def test_a_record_without_works_has_none_and_an_error_page_is_refused():
    assert read_works(works()).papers == ()
    for body in (b"<html>", b"[]", b'{"group": 3}', b"null"):
        with pytest.raises(ImportRefused):
            read_works(body)


@pytest.mark.parametrize(
    "typed",
    [
        "0000-0002-1825-0097",
        "https://orcid.org/0000-0002-1825-0097",
        " 0000000218250097 ",
    ],
)
def test_an_orcid_id_may_be_typed_in_three_ways(typed):
    assert orcid.orcid_id(typed) == "0000-0002-1825-0097"


def test_an_orcid_id_may_end_in_x():
    assert orcid.orcid_id("0000-0002-1694-233x") == "0000-0002-1694-233X"


@given(st.integers(0, 15), st.integers(1, 9))
def test_a_typing_error_in_one_digit_is_seen(place, off):
    digits = "0000000218250097"
    wrong = digits[:place] + str((int(digits[place]) + off) % 10) + digits[place + 1 :]
    with pytest.raises(ValueError, match="typing error"):
        orcid.orcid_id(wrong)
