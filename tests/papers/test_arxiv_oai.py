from __future__ import annotations

import gzip
import tracemalloc
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from papers.records import SourceFormatError
from papers.sources.arxiv_oai import ArXivOAI, set_of

DATA = Path(__file__).resolve().parent.parent / "data"
READER = ArXivOAI({"ARXIV_OAI_URL": "https://oai.example.org"})


def parsed(name):
    return READER.parse((DATA / name).read_bytes(), "")


def recorded(shared_data, name):
    return gzip.decompress((shared_data / "arxiv" / "oai" / name).read_bytes())


def query(url):
    assert url.startswith("https://oai.example.org/oai?")
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_a_range_is_asked_for_by_its_set_and_both_its_days():
    url = READER.url_for_range("cs:cs:LG", date(2024, 11, 23), date(2026, 11, 22))

    assert query(url) == {
        "verb": "ListRecords", "metadataPrefix": "arXiv", "set": "cs:cs:LG",
        "from": "2024-11-23", "until": "2026-11-22",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("category", "name"),
    [
        ("cs.LG", "cs:cs:LG"), ("stat.ML", "stat:stat:ML"), ("math.CO", "math:math:CO"),
        ("astro-ph.CO", "physics:astro-ph:CO"), ("physics.optics", "physics:physics:optics"),
        ("hep-th", "physics:hep-th"), ("math-ph", "physics:math-ph"), ("cs", "cs"),
        ("physics", "physics"), ("q-bio.NC", "q-bio:q-bio:NC"),
    ],
)  # fmt: skip
def test_the_set_of_a_category_stands_in_its_group(category, name):
    assert set_of(category) == name


def test_it_has_no_list_of_a_day():
    with pytest.raises(ValueError, match="not announcements"):
        READER.url_for(date(2026, 11, 23))


def test_a_record_is_read_whole():
    heron = parsed("arxiv_oai.xml").records[0]

    assert heron.arxiv_id == "2611.10001"
    assert heron.title == "Counting Herons with $\\mu$-Cameras"
    assert heron.abstract == "We point cameras at a river and wait. Herons come."
    assert heron.authors == ("Ada Example", "Zoë Müller Jr", "Example Collaboration")
    assert heron.categories == ("cs.LG", "cs.CV")
    assert heron.published_at == datetime(2026, 11, 20, tzinfo=UTC)
    assert (heron.version, heron.withdrawn) == (None, False)


def test_a_date_that_cannot_be_the_first_versions_is_not_believed():
    old = parsed("arxiv_oai.xml").records[1]

    assert old.arxiv_id == "cs/9901001"
    assert old.published_at == datetime(1999, 1, 31, tzinfo=UTC)
    assert old.withdrawn


def test_the_raw_format_tells_versions_and_the_first_ones_moment():
    tides = parsed("arxiv_oai.xml").records[2]

    assert (tides.version, tides.authors) == (10, ("Ben Sample", "Cleo Third"))
    assert tides.published_at == datetime(2026, 9, 1, 17, 59, 58, tzinfo=UTC)


def test_a_deleted_record_is_named_and_stops_nothing():
    answer = parsed("arxiv_oai.xml")

    assert answer.problems == ("entry 3: oai:arXiv.org:2611.10009 is deleted",)
    assert (answer.size, answer.expected) == (4, 2004)
    assert [record.position for record in answer.records] == [1, 2, 4]


def test_the_token_is_handed_back_as_it_came():
    assert query(parsed("arxiv_oai.xml").next_url) == {
        "verb": "ListRecords",
        "resumptionToken": (
            "verb%3DListRecords%26metadataPrefix%3DarXiv%26from%3D2026-11-21"
            "%26until%3D2026-11-22%26set%3Dcs%253Acs%253ALG%26skip%3D4"
        ),
    }


def answer(inner):
    return f"<OAI-PMH xmlns='http://www.openarchives.org/OAI/2.0/'>{inner}</OAI-PMH>".encode()


def test_no_records_in_a_range_are_an_empty_page():
    none = READER.parse(answer("<error code='noRecordsMatch'>None.</error>"), "")

    assert (none.size, none.problems, none.next_url) == (0, (), "")


def test_errors_are_said_in_words():
    with pytest.raises(SourceFormatError, match="no longer good, begin the range again"):
        parsed("arxiv_oai_error.xml")
    with pytest.raises(SourceFormatError, match=r"No such set\. \(badArgument\)"):
        READER.parse(answer("<error code='badArgument'>No such set.</error>"), "")


def test_an_answer_without_records_or_error_is_none():
    with pytest.raises(SourceFormatError, match="neither"):
        READER.parse(answer("<responseDate>2026-11-23T06:30:00Z</responseDate>"), "")


def test_records_of_another_format_are_named():
    inner = "<ListRecords><record><metadata><dc><title>T</title></dc></metadata></record>"

    assert READER.parse(answer(f"{inner}</ListRecords>"), "").problems == (
        "entry 1: no arXiv record, but <dc>",
    )


# -- recorded pages ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "withdrawn", "token"),
    [
        ("listrecords_cs_2016_page20.xml.gz", 1000, 20, "1122234|20001"),
        ("listrecords_cs_2016_page95.xml.gz", 1000, 5, "1122234|95001"),
        ("listrecords_cs_2016_page103.xml.gz", 538, 2, None),
    ],
)
def test_recorded_pages_are_read_whole(shared_data, name, size, withdrawn, token):
    page = READER.parse(recorded(shared_data, name), "")

    assert (len(page.records), page.size, page.problems) == (size, size, ())
    assert (page.expected, page.unknown, page.vanished) == (102538, {}, ())
    assert sum(record.withdrawn for record in page.records) == withdrawn
    assert query(page.next_url).get("resumptionToken") == token if token else not page.next_url
    assert all(record.authors and record.categories for record in page.records)
    assert not [name for one in page.records for name in one.authors if set(name) & set("\\{}")]


def test_withdrawn_papers_and_old_ids_of_the_recorded_pages_are_found(shared_data):
    pages = [
        READER.parse(recorded(shared_data, f"listrecords_cs_2016_page{number}.xml.gz"), "")
        for number in (20, 95, 103)
    ]
    found = {record.arxiv_id: record for page in pages for record in page.records}

    assert all(found[f"1102.{number}"].withdrawn for number in (1122, 1123, 1124, 1408))
    assert all(found[f"cs/{number}"].withdrawn for number in ("0001013", "0003002", "0003063"))
    assert found["cond-mat/0410271"].withdrawn
    assert not found["quant-ph/9906103"].withdrawn  # "retractability" is no retraction
    archives = {name.partition("/")[0] for name in found if "/" in name}
    assert {"cs", "cond-mat", "quant-ph", "nlin", "cmp-lg"} <= archives


def test_awkward_recorded_authors_are_names(shared_data):
    body = (shared_data / "arxiv" / "oai" / "hepcrawl_sample_arxiv_record4.xml").read_bytes()

    authors = READER.parse(body, "").records[0].authors

    assert authors[:3] == ("Keck Array", "BICEP2 Collaborations", "P. Ade")
    assert ":" not in authors
    assert "R. W. IV" in authors


# -- memory --------------------------------------------------------------------------------------


def page(size):
    record = (DATA / "arxiv_oai.xml").read_text().split("<record>")[1].partition("</record>")[0]
    records = "".join(
        f"<record>{record.replace('2611.10001', f'2611.{number:05}')}</record>"
        for number in range(size)
    )
    return answer(f"<ListRecords>{records}</ListRecords>")


def peak_bytes(pages, size):
    tracemalloc.start()
    try:
        for _page in range(pages):
            body = page(size)
            assert len(READER.parse(body, "").records) == size
            del body
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_pages():
    peak_bytes(1, 100)

    assert peak_bytes(6, 100) < 1.5 * peak_bytes(2, 100)
