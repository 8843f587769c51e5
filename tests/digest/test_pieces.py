"""Both ways of making a mail say the same, byte for byte, whatever the texts hold."""

from __future__ import annotations

import email
import email.policy
import json
import quopri
import re
from base64 import b64decode
from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID, uuid4

import pytest
from django.core.mail.message import BadHeaderError
from django.db import transaction
from django.utils.html import escape
from django.utils.text import wrap
from django.utils.translation import trans_real
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from digest import gallery, pieces, rendering
from digest.compose import BRIEF, FULL, PICK, Item
from digest.gallery import BREAKFAST
from digest.models import Digest
from digest.ranking import Reason
from papers import texts
from papers.models import Paper
from subscribers import mail
from subscribers.models import Subscriber
from subscribers.transports.ready import ReadyMail
from tests import sample
from tests.factories import DUE, make_paper, make_reader

pytestmark = [pytest.mark.django_db, pytest.mark.pure]

HOSTILE = [
    "", " ", ".", "..", ".hidden\n.too", "word " * 30, "W" * 400,
    "\"quoted\" & 'single' <b>bold</b>", "</title><script>alert(1)</script>", "<!-- never ended",
    "{{ 7*7 }} {% debug %} %(site)s %s", "a title\r\nBcc: everybody@example.org", "lone \r return",
    "nul \0 escape \x1b bell \x07", "no\u00a0break \u2028 line \u2029 paragraph \x85 next",
    "&amp; &lt; &nbsp; &#0;", "=?utf-8?q?=3Cscript=3E?=", "=3D equals = =\r\n", "tab\there ",
    "From the start of a line", "--===============0==", "הכותרת \u202e right to left",
    "e\u0301 combining", "👩‍👩‍👧‍👦 🇺🇸", "﷽", "\ufeffzero\u200bwidth", "田中さんにあげて下さい",
    "0123456789abcdef" * 2 + "07", "half a pair: \ud800",
]  # fmt: skip
# No database holds half of a surrogate pair, but as an escape in JSON.
STORED = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=90)
LOOSE = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=90))
TEXTS = st.one_of(st.sampled_from(HOSTILE[:-1]).map(lambda text: text.replace("\0", "")), STORED)
KINDS = ["topic", "keyword", "author", "organization", "category", "paper", "more", "editor"]
REASONS = st.one_of(
    st.builds(
        Reason,
        st.sampled_from(KINDS),
        topic=LOOSE,
        terms=st.lists(LOOSE, max_size=3).map(tuple),
        name=LOOSE,
        title=LOOSE,
        note=LOOSE,
    ),
    st.builds(Reason, st.just("popular"), upvotes=st.integers(0, 3)),
)
ITEMS = st.tuples(st.sampled_from([FULL, FULL, PICK, BRIEF]), REASONS, TEXTS, st.booleans())
WISHES = st.fixed_dictionaries(
    {
        "hour": st.integers(0, 23),
        "time_zone": st.sampled_from(["UTC", "America/Argentina/Buenos_Aires"]),
        "cadence": st.sampled_from(Subscriber.Cadence.values),
        "days": st.lists(st.integers(0, 6), min_size=1, max_size=3, unique=True),
        "language": st.sampled_from(["en", "de", "ar"]),
    }
)
SITES = st.fixed_dictionaries(
    {
        "SITE_NAME": st.sampled_from(["Paperround", "R&D <daily> “papers”", "Ü", "a\r\nBcc: b@c"]),
        "POSTAL_ADDRESS": st.sampled_from(["", "1 Test Street", ".hidden & <b>\r\nsecond line"]),
        "UNSUBSCRIBE_MAILTO": st.sampled_from(["", "leave@example.org"]),
        "LOGO_TEXT": st.sampled_from(["Paperround", "THE <LAB> & “CO”"]),
        "FOOTER_TEXT": st.sampled_from(["", ".hidden & <b> of a very long line " * 4]),
    }
)


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    items=st.lists(ITEMS, max_size=10),
    wishes=WISHES,
    site=SITES,
    is_first=st.booleans(),
    is_weekly=st.booleans(),
    candidates=st.integers(0, 2),
)
def test_any_digest_is_the_same_mail_by_either_way(
    items, wishes, site, is_first, is_weekly, candidates, settings
):
    for name, value in site.items():
        setattr(settings, name, value)
    with transaction.atomic():
        fields = {"is_first": is_first, "is_weekly": is_weekly, "candidates": candidates}
        digest = digest_of(make_reader(**wishes), items, **fields)
        assert_same_mail(digest)
        transaction.set_rollback(True)


@pytest.mark.parametrize("case", gallery.STANDARDS)
def test_a_golden_mail_is_the_same_the_first_time_and_every_other(case):
    digest = sample.standard(case)
    for _ in range(3):
        assert_same_mail(digest)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_the_same_wherever_it_stands(text):
    reason = Reason("keyword", text, name=text)
    noted = Reason("editor", name=text, note=text)
    topic = Reason("topic", text, terms=(text, "&", text))
    held = text.encode(errors="ignore").decode().replace("\0", "")
    items = [(FULL, reason, held, True), (PICK, noted, held, True), (FULL, topic, held, False)]
    assert_same_mail(digest_of(make_reader(), [*items, (BRIEF, reason, held, True)]))


def test_what_many_mails_show_can_be_cast_at_once_and_is_the_same(monkeypatch):
    by_ada = Reason("author", name="Ada")
    digests = [
        digest_of(
            make_reader(f"reader{number}@example.org"),
            [
                (FULL, by_ada, f"{HOSTILE[number]} full", True),
                (PICK, Reason("editor", name="Ben", note="."), f"{number} <picked>", False),
                (BRIEF, by_ada, f"{number} & brief", True),
            ],
            uuid=UUID(int=number + 1),
        )
        for number in range(5)
    ]
    compose, rendered = rendering.composed, []
    monkeypatch.setattr(
        rendering, "composed", lambda *args, **facts: rendered.append(1) or compose(*args, **facts)
    )
    contents = rendering.contents(digests, now=BREAKFAST)
    pieces.prepare(contents.values())
    pieces.prepare(contents.values())
    assert len(rendered) == 1
    for digest in digests:
        assert_same_mail(digest)


@pytest.mark.parametrize("section", [FULL, PICK, BRIEF])
@pytest.mark.parametrize("count", [0, 1, 10])
@pytest.mark.parametrize("reason", [Reason("popular", upvotes=2), Reason("author", name="Ben")])
def test_a_mail_of_one_kind_of_paper_is_the_same(section, count, reason):
    items = [(section, reason, f"Paper {number}", True) for number in range(count)]
    assert_same_mail(digest_of(make_reader(), items))


def test_a_thinned_digest_is_the_same_without_its_reasons():
    digest = digest_of(make_reader(), [(FULL, Reason("author", name="Ben"), "A paper", True)])
    assert "By Ben" in assert_same_mail(digest).body
    digest.items = [{**item, "reason": None} for item in digest.items]
    assert "By Ben" not in assert_same_mail(digest).body
    digest.items = [{"paper_id": item["paper_id"], "section": FULL} for item in digest.items]
    assert "By Ben" not in assert_same_mail(digest).body


@pytest.mark.parametrize(
    "change",
    [
        {"is_first": True},
        {"is_weekly": True},
        {"edition_day": date(2025, 11, 28)},
        {"edition_day": None},
        {"candidates": 29},
        {"frame": {"language": "de"}},
        {"frame": {"hour": 23}},
        {"frame": {"next_on": "2026-01-01"}},
        {"frame": {"next_on": None}},
        {"frame": {"consented_on": "2020-02-29"}},
        {"frame": {"consented_on": None}},
        {"item": {"reason": Reason("popular", upvotes=3).to_json()}},
        {"item": {"section": PICK}},
        {"item": {"section": BRIEF}},
        {"item": {"upvotes": 0}},
    ],
    ids=str,
)
def test_what_is_kept_of_one_digest_is_not_said_by_another(change):
    digest = digest_of(make_reader(), [(FULL, Reason("author", name="Ben"), "A paper", True)])
    before = assert_same_mail(digest)
    digest.frame = {**digest.frame, **change.get("frame", {})}
    digest.items = [{**item, **change.get("item", {})} for item in digest.items]
    for name in change.keys() - {"frame", "item"}:
        setattr(digest, name, change[name])
    assert assert_same_mail(digest).body != before.body


def test_no_language_speaks_in_the_words_of_another(monkeypatch):
    german = trans_real.translation("de")._catalog._catalogs[0]
    monkeypatch.setitem(german, "PDF:", "Als PDF:")
    monkeypatch.setitem(german, ("%(names)s and %(more)d more", 1), "%(names)s und %(more)d mehr")
    paper = make_paper("A paper", authors=["A", "B", "C", "D", "E"])
    said = {}
    for language in ("en", "de", "en"):
        digest = sample.digest_of(
            make_reader(email=f"{language}{len(said)}@example.org", language=language),
            [gallery.full(paper, Reason("author", name="Ben"))],
            uuid=uuid4(),
        )
        said[language] = assert_same_mail(digest).body
    assert "C and 2 more" in said["en"]
    assert "\nPDF:" in said["en"]
    assert "C und 2 mehr" in said["de"]
    assert "Als PDF:" in said["de"]


@pytest.mark.parametrize(
    "change",
    [
        {"SITE_NAME": "Another"},
        {"SITE_URL": "http://another.test"},
        {"SITE_HOST": "another.test"},
        {"POSTAL_ADDRESS": "Moved"},
        {"MAIL_FROM": "Ü <u@example.org>"},
        {"LIST_ID": "another.list"},
        {"UNSUBSCRIBE_MAILTO": "leave@example.org"},
        {"SECRET_KEY": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_kept_of_one_site_is_not_said_by_another(change, settings):
    digest = digest_of(make_reader(), [(FULL, Reason("author", name="Ben"), "A paper", True)])
    before = assert_same_mail(digest)
    for name, value in change.items():
        setattr(settings, name, value)
    after = assert_same_mail(digest)
    assert shown_of(after.wire()) != shown_of(before.wire())


def test_a_paper_that_changed_is_shown_as_it_is_now():
    digest = digest_of(make_reader(), [(FULL, Reason("popular", upvotes=3), "Before", True)])
    assert "Before" in assert_same_mail(digest).body
    Paper.objects.update(title="After", content_hash="c" * 32)
    assert "After" in assert_same_mail(digest).body


def test_numbers_that_were_kept_stay_and_those_that_were_not_are_the_papers_own():
    digest = digest_of(make_reader(), [(FULL, Reason("author", name="Ben"), "A paper", True)])
    assert "7 upvotes" in assert_same_mail(digest).body
    Paper.objects.update(upvotes=8)
    assert "7 upvotes" in assert_same_mail(digest).body
    digest.items = [{**item, "upvotes": None} for item in digest.items]
    assert "8 upvotes" in assert_same_mail(digest).body


def test_no_word_and_no_key_of_one_reader_gets_into_anothers_mail():
    ada, ben = make_reader(email="ada@example.org"), make_reader(email="ben@example.org")
    papers = [make_paper(f"Paper {number}") for number in range(3)]
    digests = []
    for number, (reader, topic) in enumerate([(ada, "bees of ada"), (ben, "ants of ben")]):
        items = [gallery.full(paper, Reason("topic", topic, terms=("wings",))) for paper in papers]
        digests.append(sample.digest_of(reader, items, uuid=UUID(int=number)))
    mails = {digest.subscriber: assert_same_mail(digest) for digest in digests}
    for mine, other in ((ada, ben), (ben, ada)):
        mail = mails[mine]
        whole = f"{mail.subject} {mail.body} {mail.alternatives[0].content}"
        assert mine.uuid.hex in whole
        assert other.uuid.hex not in whole
        assert ("bees" in whole, "ants" in whole) == (mine is ada, mine is ben)


def test_a_mail_that_left_by_the_fast_way_is_proved_by_the_slow_one():
    digest = digest_of(make_reader(), [(FULL, Reason("author", name="Ben"), "A <paper>", True)])
    digest.mail_hash = rendering.fingerprint(pieces.message(digest, content_of(digest)))
    assert rendering.remade(digest, DUE + timedelta(days=900)).matches is True


def test_half_a_surrogate_pair_is_left_out_of_a_mail():
    reason = Reason("author", name="Ada\ud800 Example")
    digest = digest_of(make_reader(), [(FULL, reason, "A paper", True)])
    assert b"Ada Example" in pieces.message(digest, content_of(digest)).html


# -- headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.org", "o'brien+x@example.org", f"{'a' * 64}@{'b' * 60}.example",
        "ada@bücher.example", "åda@example.org", '"a b"@example.org', "Ada <ada@example.org>",
        "a..b@example.org", "ada@[127.0.0.1]", "nobody", "ada@example.org, ben@example.org",
        "ada@example.org\r\nBcc: ben@example.org", "ada@example.org\n", "åda\n@example.org",
    ],
)  # fmt: skip
def test_an_address_stands_as_django_writes_it_or_is_refused_as_django_refuses_it(address):
    digest = digest_of(make_reader(), [])
    digest.subscriber.email = address
    slow, fast = both_ways(digest)
    try:
        expected = slow.message()["To"]
    except ValueError as error:
        with pytest.raises(type(error)):
            fast.wire()
    else:
        assert str(parsed(fast.wire())["To"]) == str(parsed(as_bytes(slow))["To"])
        assert expected.encode() in fast.wire()


def test_a_line_break_in_a_subject_is_refused():
    fast = pieces.message(digest := digest_of(make_reader(), []), content_of(digest))
    fast.subject = "A title\r\nBcc: ben@example.org"
    with pytest.raises(BadHeaderError):
        fast.wire()


@hypothesis_settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=111))
@example("word " * 22)
@example("W" * 110)
@example("🤖" * 110)
@example("")
@example("é" + "x" * 60 + " 🤖 " * 9)
def test_any_subject_is_read_as_it_was_written(text):
    subject = texts.one_line(text).replace("=?", "= ?")
    header = b"Subject: " + pieces._subject_header(subject) + b"\r\n"
    # What no blank divides cannot be folded.
    longest = max(76, 10 + max(map(len, subject.split()), default=0))
    assert max(map(len, header.split(b"\r\n"))) <= longest
    assert str(parsed(header)["Subject"]) == subject
    for word in re.findall(rb"=\?utf-8\?b\?(.*?)\?=", header):
        b64decode(word).decode()  # each is whole characters (RFC 2047, 5)


@pytest.mark.parametrize("setting", ["MAIL_FROM", "LIST_ID"])
def test_a_wrong_setting_is_no_fault_of_the_mails_words(setting, settings):
    setattr(settings, setting, "nobody\r\nat all")
    slow, fast = both_ways(digest_of(make_reader(), []))
    with pytest.raises(ValueError) as expected:
        slow.message()
    with pytest.raises(type(expected.value)):
        fast.wire()


def test_it_is_dated_once_when_it_is_asked_for():
    fast = pieces.message(digest := digest_of(make_reader(), []), content_of(digest))
    dates = parsed(fast.wire()).get_all("Date")
    assert len(dates) == 1
    assert dates[0].datetime is not None


def test_a_backend_of_any_kind_finds_a_whole_mail():
    digest = digest_of(make_reader(), [(FULL, Reason("author", name="Ben"), "A paper", True)])
    slow, fast = both_ways(digest)
    assert isinstance(fast, ReadyMail)
    assert (fast.to, fast.from_email, fast.extra_headers) == (
        slow.to, slow.from_email, slow.extra_headers,
    )  # fmt: skip
    assert (fast.body, fast.alternatives) == (slow.body, slow.alternatives)
    assert fast.metadata == slow.metadata == {"digest": digest.uuid.hex}
    assert shown_of(as_bytes(fast)) == shown_of(as_bytes(slow))


@hypothesis_settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")))
@example("\u00a0 \ufeff & < > \" ' &amp; &nbsp;")
def test_words_are_escaped_as_the_inliner_escapes_them(text):
    page = mail.inline_css(f"<p>[{escape(text)}]</p>")
    assert page.partition("<p>[")[2].rpartition("]</p>")[0] == pieces._escaped(text)


# -- bytes -----------------------------------------------------------------------------------


@hypothesis_settings(max_examples=300)
@given(st.lists(LOOSE.map(lambda text: text.encode(errors="ignore").decode()), max_size=5))
@example(["." * 100, "x" * 74 + ".", "é" * 40, "." * 76])
@example(["x" * 75 + " ", "\n", " \t", "\n.", "\r", "\n"])
def test_encoded_pieces_join_anywhere(texts):
    for encode in (pieces.quoted, pieces.quoted_words):
        wire = b"".join(map(encode, texts))
        lines = wire.split(b"\r\n")
        assert max(map(len, lines)) <= 76
        assert not [line for line in lines if line.startswith(b".")]
        assert not [line for line in lines if line.endswith((b" ", b"\t"))]
        assert b"\n" not in wire.replace(b"\r\n", b"")
        assert b"\r" not in wire.replace(b"\r\n", b"")
        assert wire == b"" or wire.endswith(b"\r\n")
        said = quopri.decodestring(wire).replace(b"\r\n", b"\n").decode()
        whole = "".join(each.replace("\r\n", "\n").replace("\r", "\n") for each in texts)
        assert said == whole


@hypothesis_settings(max_examples=500)
@given(st.one_of(LOOSE, st.text("ab -é.", max_size=200), st.text("a ", min_size=60, max_size=300)))
@example("a" * 72 + " b")
@example("a" * 71 + " b " + "c" * 80 + " d")
@example("a" * 73)
def test_words_wrap_as_the_templates_wrap_them(text):
    assert pieces._wrapped(text) == wrap(text, 72)


# -- making ----------------------------------------------------------------------------------


def digest_of(reader: Subscriber, items, **fields) -> Digest:
    """items: section, reason, the text that its paper is made of, whether it has a summary."""
    made = []
    for number, (section, reason, text, is_whole) in enumerate(items):
        paper = make_paper(
            text,
            abstract=f"{text}. {text}" if is_whole else "",
            authors=[text, text] if number % 2 else [],
            organization=text[:200],
            code_url=f"https://example.org/?a=1&b={number}" if is_whole else "",
            upvotes=7,
        )
        item = Item(paper.pk, section, 1.0, upvotes=number + 7, content_hash=paper.content_hash)
        made.append(item if section == BRIEF else replace(item, reason=reason))
    frame = rendering.frame_of(reader, next_due_at=reader.next_due_at).to_json()
    digest = sample.digest_of(reader, [], **{"frame": frame, **fields})
    digest = Digest.objects.select_related("subscriber", "slot").get(pk=digest.pk)
    # As a database gives it back; not every one would hold what is tried here.
    digest.items = json.loads(json.dumps([item.to_json() for item in made]))
    return digest


def content_of(digest: Digest) -> rendering.Content:
    return rendering.contents([digest], now=BREAKFAST)[digest.pk]


def both_ways(digest: Digest):
    content = content_of(digest)
    return rendering.message(digest, content), pieces.message(digest, content)


def assert_same_mail(digest: Digest) -> ReadyMail | None:
    """The fast one, after it was held against the slow one; None where no mail can hold it."""
    content = content_of(digest)
    try:
        slow = rendering.message(digest, content)
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            pieces.message(digest, content)
        return None
    fast = pieces.message(digest, content)
    assert fast.subject == slow.subject
    assert fast.body == slow.body
    assert fast.alternatives[0].content == slow.alternatives[0].content
    assert rendering.fingerprint(fast) == rendering.fingerprint(slow)
    assert shown_of(fast.wire()) == shown_of(as_bytes(slow))
    assert_fit_for_the_wire(fast.wire())
    return fast


def assert_fit_for_the_wire(wire: bytes) -> None:
    assert pieces._SECRET.encode() not in wire
    rest = wire.replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest
    lines = wire.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not [line for line in lines if line.startswith(b".")]
    boundary = b"--" + parsed(wire).get_boundary().encode()
    _headers, *parts, end = wire.split(boundary)
    assert len(parts) == 2
    assert end == b"--\r\n"
    for part in parts:
        _names, _, body = part.partition(b"\r\n\r\n")
        assert max(map(len, body.split(b"\r\n"))) <= 76
        assert not re.search(rb"[ \t]\r\n", body)


def shown_of(wire: bytes) -> dict:
    """All that a mailbox provider reads of it, but for the date and the boundary."""
    whole = parsed(wire)
    headers = sorted(
        (name, str(value).strip())
        for name, value in whole.items()
        if name not in ("Date", "Content-Type")
    )
    parts = [(part.items(), part.get_content()) for part in whole.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in whole.walk()] == [
        "multipart/alternative", "text/plain", "text/html",
    ]  # fmt: skip
    return {"headers": headers, "parts": parts, "defects": whole.defects}


def as_bytes(message) -> bytes:
    return message.message().as_bytes(linesep="\r\n")


def parsed(wire: bytes):
    return email.message_from_bytes(wire, policy=email.policy.default)
