"""XML from strangers: whatever comes, there are records or a named error."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, date, datetime
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from papers.records import PaperRecord, SourceFormatError
from papers.sources import arxiv_xml as xml
from papers.sources.arxiv import ArXiv
from papers.sources.arxiv_oai import ArXivOAI
from papers.sources.arxiv_query import ArXivQuery

DATA = Path(__file__).resolve().parent.parent / "data"
CONFIG = {"ARXIV_CATEGORIES": ["cs.AI", "cs.LG"]}
FEED, QUERY, OAI = ArXiv(CONFIG), ArXivQuery(CONFIG), ArXivOAI(CONFIG)
DAY = date(2026, 11, 23)
PARSERS = (
    (FEED.parse, FEED.url_for(DAY)),
    (QUERY.parse, QUERY.url_for(DAY)),
    (QUERY.parse_papers, ""),
    (OAI.parse, ""),
)
BODIES = {path.name: path.read_bytes() for path in sorted(DATA.glob("arxiv_*.xml"))}
BOMB = "".join(
    f'<!ENTITY a{number} "{f"&a{number - 1};" * 10}">' for number in range(1, 10)
).replace("&a0;", "ha")


def read(body):
    """What each parser makes of it; only a named error may be raised."""
    found = []
    for parse, url in PARSERS:
        try:
            found.append(parse(body, url))
        except SourceFormatError as error:
            assert str(error)
    return found


def assert_storable(record: PaperRecord):
    words = (record.title, record.abstract, *record.authors, *record.categories)
    assert all("\x00" not in word and word.encode() is not None for word in words)
    assert 0 < len(record.arxiv_id) <= 32
    assert record.title
    assert all(0 < len(name) <= 200 for name in record.authors)
    assert all(len(name) <= 40 for name in record.categories)
    assert record.version is None or 0 < record.version < 32_768
    assert 0 < record.position < 32_768
    for moment in (record.published_at, record.listed_at):
        assert moment is None or (moment.utcoffset() is not None and 1980 <= moment.year < 9999)


def assert_sound(answer):
    assert len(answer.records) + len(answer.problems) >= answer.size
    for record in answer.records:
        assert_storable(record)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
@example(b"")
@example(b"\xef\xbb\xbf<feed xmlns='http://www.w3.org/2005/Atom'/>")
@example(b"<rss><channel/></rss>")
@example(b"<OAI-PMH xmlns='http://www.openarchives.org/OAI/2.0/'/>")
def test_any_bytes_give_records_or_a_named_error(body):
    for answer in read(body):
        assert_sound(answer)


@settings(deadline=None)
@given(st.data())
def test_a_mutilated_answer_gives_records_or_a_named_error(data):
    body = BODIES[data.draw(st.sampled_from(sorted(BODIES)))]
    at = data.draw(st.integers(0, len(body)))
    length = data.draw(st.sampled_from([0, 1, 7, 60, 500, len(body)]))
    strange = [b"", b"\x00", b"<", b"&x;", b"]]>", b"</entry>", b"<item>", body[at : at + 300]]
    inserted = data.draw(st.sampled_from(strange) | st.binary(max_size=6))

    for answer in read(body[:at] + inserted + body[at + length :]):
        assert_sound(answer)


anything = st.text(st.characters(codec="utf-8"), max_size=30)
odd = anything | st.sampled_from(
    ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "Mon, 32 Nov 2026 25:00:00 -9999",
     "oai:arXiv.org:2611.00001v99999", "cs/0000000v0", "2611.10001", "{" * 30, r"\'{\v{\"u}}"]
)  # fmt: skip
FIELDS = ("title", "guid", "link", "description", "pubDate", "announce_type", "creator", "category",
          "id", "summary", "published", "author", "created", "authors", "abstract", "comments",
          "categories", "version")  # fmt: skip
ITEMS = {
    "feed": (
        FEED.parse,
        "<rss><channel><title>x</title>{}</channel></rss>",
        "<item>{}</item>",
        "<title>Good</title><guid>oai:arXiv.org:2611.10001v1</guid>",
    ),
    "query": (
        QUERY.parse_papers,
        "<feed xmlns='http://www.w3.org/2005/Atom'>{}</feed>",
        "<entry><id>x</id>{}</entry>",
        "<id>http://arxiv.org/abs/2611.10001v1</id><title>Good</title>"
        "<published>2026-11-20T10:00:00Z</published>",
    ),
    "oai": (
        OAI.parse,
        "<OAI-PMH xmlns='http://www.openarchives.org/OAI/2.0/'><ListRecords>{}</ListRecords>"
        "</OAI-PMH>",
        "<record><metadata><arXiv>{}</arXiv></metadata></record>",
        "<id>2611.10001</id><title>Good</title><created>2026-11-20</created>",
    ),
}


@pytest.mark.parametrize("kind", ITEMS)
@settings(deadline=None)
@given(fields=st.dictionaries(st.sampled_from(FIELDS), odd))
def test_no_item_however_odd_stops_its_list(kind, fields):
    parse, document, item, good = ITEMS[kind]
    printable = {name: "".join(filter(is_xml, text)) for name, text in fields.items()}
    strange = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in printable.items())
    good_item = f"<entry>{good}</entry>" if kind == "query" else item.format(good)

    answer = parse(document.format(item.format(strange) + good_item).encode(), "")

    assert answer.records[-1].title == "Good"
    assert len(answer.records) + len(answer.problems) == answer.size == 2
    assert_sound(answer)


def is_xml(character):
    """https://www.w3.org/TR/xml/#charsets"""
    return character in "\t\n\r" or (character >= " " and character not in "\ufffe\uffff")


@pytest.mark.parametrize(
    "head",
    [
        f'<!DOCTYPE rss [<!ENTITY a0 "ha">{BOMB}]>',
        '<!DOCTYPE rss [<!ENTITY a9 SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE rss [<!ENTITY a9 "harmless">]>',
        '<!DOCTYPE rss SYSTEM "http://127.0.0.1:9/x.dtd">',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1"])
def test_no_entity_and_no_dtd_is_looked_at(head, encoding):
    declared = f"<?xml version='1.0' encoding='{encoding}'?>"
    body = f"{declared}{head}<rss><channel><title>Zoë: &a9;</title></channel></rss>"

    with pytest.raises(SourceFormatError, match=r"no XML: .*(DTD|Entit)"):
        FEED.parse(body.encode(encoding), "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!doctype html><title>Just a moment</title>", "no XML: '<!doctype html>"),
        (b"<html><body>Rate exceeded.</body></html>", "no list of papers, but <html>"),
        (b"Rate exceeded.", "no XML: 'Rate exceeded.'"),
        (b"", "no XML"),
        (b"<?xml version='1.0' encoding='klingon'?><rss>\xff</rss>", "no XML"),
        (b"<?xml version='1.0' encoding='big5'?><rss>\xff</rss>", "no XML"),
        (b"<rss><channel>" + b"<a>" * 1_000, "elements without end"),
        (b"<rss><channel><item>" + b"<a/>" * 200_000, "elements without end"),
        (b"<rss><channel>" + b"<a/>" * 20_000, "more than 10000 items"),
        (BODIES["arxiv_feed.xml"][:-20], "no XML"),
    ],
)
def test_what_is_no_feed_says_what_came(body, said):
    with pytest.raises(SourceFormatError) as raised:
        FEED.parse(body, FEED.url_for(DAY))

    assert said in str(raised.value)


def titled(title, encoding, declared):
    head = f"<?xml version='1.0' encoding='{declared}'?>"
    item = f"<item><title>{title}</title><guid>oai:arXiv.org:2611.10001v1</guid></item>"
    text = f"{head}<rss><channel><title>x</title>{item}</channel></rss>"
    return FEED.parse(text.encode(encoding), "").records[0].title


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("utf-8", "iso-8859-1"), ("utf-8", "klingon"), ("utf-8-sig", "utf-8"), ("utf-8", "utf-16"),
     ("iso-8859-1", "iso-8859-1"), ("utf-16", "utf-16")],
)  # fmt: skip
def test_a_wrong_declaration_of_the_charset_is_not_believed(encoding, declared):
    assert titled("Zoë zählt Reiher", encoding, declared) == "Zoë zählt Reiher"


def test_characters_that_xml_forbids_cost_no_page():
    assert titled("Two\x0c herons\x00\x1b", "utf-8", "utf-8") == "Two herons"


def test_of_a_page_no_more_is_held_than_one_item():
    def peak(count):
        item = f"<item>{'<a/>' * 50}</item>"
        body = f"<rss><channel>{item * count}</channel></rss>".encode()
        tracemalloc.start()
        try:
            assert sum(1 for _ in xml.elements(body, [("rss", "channel")])) == count
            return tracemalloc.get_traced_memory()[1] - len(body)
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(1_000) < peak(100) + 500_000


@pytest.mark.parametrize(
    ("arxiv_id", "said", "first"),
    [
        ("2611.10001", "2026-11-20T10:00Z", "2026-11-20T10:00Z"),
        ("2611.10001", "2026-12-02T10:00Z", "2026-12-02T10:00Z"),  # submitted, then announced
        ("2205.06398", "2026-09-24T04:00Z", "2022-05-31T00:00Z"),
        ("0704.0001", None, "2007-04-30T00:00Z"),
        ("cs/9901001", "2016-03-01T00:00Z", "1999-01-31T00:00Z"),
        ("hep-th/9108001", "1991-08-14T00:00Z", "1991-08-14T00:00Z"),
        ("hep-th/9108001", None, "1991-08-31T00:00Z"),
        ("cs/9913001", "2016-03-01T00:00Z", "2016-03-01T00:00Z"),
    ],
)
def test_an_id_knows_the_month_by_which_its_paper_was_there(arxiv_id, said, first):
    at = xml.first_appeared(arxiv_id, datetime.fromisoformat(said) if said else None)

    assert at == datetime.fromisoformat(first)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("Mon, 23 Nov 2026 00:00:00 -0500", datetime(2026, 11, 23, 5, tzinfo=UTC)),
        ("Wed, 25 Jun 2008 15:29:38 GMT", datetime(2008, 6, 25, 15, 29, 38, tzinfo=UTC)),
        ("2026-11-23T00:00:00-05:00", datetime(2026, 11, 23, 5, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("soon", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("0500-01-01T00:00:00Z", None),
        ("Mon, 23 Nov 2026 00:00:00 +99999999999999", None),
        ("", None),
    ],
)
def test_moments_are_read_in_both_writings(text, at):
    assert xml.instant(text) == at


@pytest.mark.parametrize(
    ("identifier", "number"),
    [("http://arxiv.org/abs/2409.12034v2", 2), ("math/0611800v12", 12), ("2409.12034", None),
     ("2409.12034v0", None), ("2409.12034v99999", None), ("v2 of it", None)],
)  # fmt: skip
def test_a_version_is_read_from_the_end_of_an_id(identifier, number):
    assert xml.version(identifier) == number
