from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, connections

from papers import editions, encoding, fetching
from papers.models import Paper, Source, Vocabulary
from papers.vectors import DocumentFrequencies, WordEncoder, bag, term_id
from tests.papers.factories import record, utc

pytestmark = pytest.mark.django_db


def stored(number: int, title: str = "Robots grasp cups", **fields) -> Paper:
    defaults = {
        "arxiv_id": f"2611.{number:05}",
        "title": title,
        "published_at": utc("2026-11-22T10:00"),
    }
    return Paper.objects.create(**defaults | fields)


@pytest.fixture
def small_table(monkeypatch):
    """As if the shipped table had been counted over two papers."""
    table = DocumentFrequencies.count([bag("robots"), bag("cups")])
    monkeypatch.setattr(encoding, "shipped_frequencies", lambda: table)
    encoding._fitted.cache_clear()
    yield table
    encoding._fitted.cache_clear()


def test_the_shipped_table_knows_common_words_and_many_papers():
    table = encoding.shipped_frequencies()
    assert table.documents > 5000
    assert (table.terms[1:] > table.terms[:-1]).all()
    assert table.counts.min() >= 5
    assert term_id("languag model") in table.terms


def test_a_new_installation_uses_the_shipped_table():
    current = encoding.encoder()
    assert isinstance(current, WordEncoder)
    assert current.frequencies is encoding.shipped_frequencies()


def test_an_unknown_encoder_names_the_setting(settings):
    settings.ENCODER = "magic-9"
    with pytest.raises(ImproperlyConfigured, match="ENCODER"):
        encoding.encoder()


def test_papers_are_encoded_once():
    papers = [stored(1), stored(2, "", abstract="")]
    assert encoding.encode_missing() == 2
    assert encoding.encode_missing() == 0
    papers[0].refresh_from_db()
    assert papers[0].encoder == "words-1"
    assert bytes(papers[0].vector) == encoding.encoder().encode(papers[0].text)


def test_what_another_encoder_made_is_made_anew():
    paper = stored(1, encoder="words-0", vector=b"old")
    assert encoding.encode_missing([paper.pk]) == 1


def test_only_the_papers_asked_for_are_encoded():
    first, _second = stored(1), stored(2)
    assert encoding.encode_missing([first.pk]) == 1
    assert Paper.objects.without_vector("words-1").count() == 1


def test_a_paper_that_is_corrected_meanwhile_is_encoded_as_it_reads_then(monkeypatch):
    paper = stored(1)
    encode = WordEncoder.encode

    def beside_a_reading(self, text):
        Paper.objects.filter(title="Robots grasp cups").update(title="Speech", vector=b"")
        return encode(self, text)

    monkeypatch.setattr(WordEncoder, "encode", beside_a_reading)

    assert encoding.encode_missing() == 1
    paper.refresh_from_db()
    assert bytes(paper.vector) == encode(encoding.encoder(), paper.text)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_encoding_and_a_reading_of_the_same_papers_wait_for_each_other():
    fetching.ensure_sources()
    source = Source.objects.get(slug="arxiv")

    def told(version: int) -> int:
        papers = [
            record(number, title=f"Robots {version}", version=version, upvotes=None)
            for number in range(1, 301)
        ]
        at = utc("2026-11-22T10:00") + timedelta(minutes=version)
        return editions.record_papers(papers, source=source, now=at, read_at=at).updated

    def told_five_times() -> list[int]:
        try:
            return [told(version) for version in range(2, 7)]
        finally:
            connections.close_all()

    told(1)
    with ThreadPoolExecutor(1) as reading:
        changed = reading.submit(told_five_times)
        while not changed.done():
            encoding.encode_missing()

    assert changed.result() == [300] * 5


def test_papers_that_say_the_same_share_a_group():
    papers = [stored(1), stored(2, "Speech in quiet rooms"), stored(3), stored(4, "")]
    encoding.encode_missing()
    groups = encoding.duplicate_groups([paper.pk for paper in papers])
    assert groups == {papers[0].pk: 1, papers[2].pk: 1}
    assert encoding.duplicate_groups([]) == {}


def test_the_shipped_table_is_not_traded_for_fewer_papers():
    stored(1)
    encoding.encode_missing()
    with pytest.raises(ValueError, match="1 papers are stored"):
        encoding.fit()
    assert not Vocabulary.objects.exists()


def test_a_fitted_table_is_in_use_at_once(small_table):
    for number, title in enumerate(["Robots grasp", "Robots see", "Speech"]):
        stored(number, title)
    encoding.encode_missing()
    encoding.fit()
    current = encoding.encoder()
    assert isinstance(current, WordEncoder)
    assert current.frequencies.documents == 3
    assert current.frequencies.terms.tolist() == [term_id("robot")]


def test_the_command_encodes_counts_and_says_so(small_table, capsys):
    for number in range(3):
        stored(number)
    call_command("fit_vocabulary", no_progress=True)
    assert capsys.readouterr().out == (
        "Encoded 3 papers.\nCounted 3 papers; they are in use from now on.\n"
    )
    assert Vocabulary.objects.get().documents == 3


def test_the_command_explains_why_it_refuses():
    stored(1)
    with pytest.raises(CommandError, match="better one until there are more"):
        call_command("fit_vocabulary", no_progress=True)


def test_an_export_has_the_format_of_the_shipped_table(tmp_path, monkeypatch):
    for number in range(6):
        stored(number, f"Robots number{number}")
    file = tmp_path / "table.tsv.gz"
    call_command("fit_vocabulary", export=file, no_progress=True)
    assert gzip.decompress(file.read_bytes()).decode() == "documents\t6\nrobot\t6\n"
    assert not Vocabulary.objects.exists()


def test_an_export_says_what_it_lacks(tmp_path):
    with pytest.raises(CommandError, match="fetch_papers"):
        call_command("fit_vocabulary", export=tmp_path / "x", no_progress=True)
    stored(1)
    with pytest.raises(CommandError, match="--export: Is a directory"):
        call_command("fit_vocabulary", export=tmp_path, no_progress=True)
