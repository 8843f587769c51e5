from __future__ import annotations

import difflib
import email
import email.policy
import os
import re
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from django.template.loader import render_to_string
from django.test import RequestFactory

from digest import gallery, pieces, rendering
from digest.compose import Item
from digest.gallery import BREAKFAST, brief, full, pick
from digest.models import Digest
from digest.ranking import Reason
from papers.models import Paper
from subscribers.models import Subscriber
from tests import sample

pytestmark = [pytest.mark.django_db, pytest.mark.pure]

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
KEYS = ["read", "manage", "unsubscribe"]
ONCE = [
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Id",
    "Feedback-ID",
    "Auto-Submitted",
    "Message-ID",
    "Subject",
    "From",
    "To",
    "Date",
    "MIME-Version",
    "Content-Type",
]
# In the spirit of the big list of naughty strings; all are titles that a source might send.
NASTY = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert&#40;1)</script>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<a href='javascript:alert(1)'>click</a>",
    "<body onload=alert(1)>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css';</style>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example>",
    "<form action=//evil.example><input name=q></form>",
    "<!-- a comment that never ends",
    "-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<!--[if mso]><script>alert(1)</script><![endif]-->",
    "<!doctype html>",
    "<plaintext>",
    "<textarea>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "\"><script>alert('quote')</script>",
    "' onmouseover='alert(1)",
    '" onfocus="alert(1)" autofocus="',
    "` onmouseover=alert(1)",
    "javascript:alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&amp;lt;b&amp;gt;",
    "&nbsp;&zwnj;&#0;",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "<think>Is this a title?</think> A title",
    "{{ 7*7 }}",
    "{{ content.unsubscribe_url }}",
    "{% load static %}{% debug %}",
    "${7*7} #{7*7} <%= 7*7 %>",
    "%(site)s %s %n %d",
    "{site} {0}",
    "$\\mathcal{O}(n^2)$ and \\(x_{i}\\) cost $100",
    "\\u003cscript\\u003e \\x3cscript\\x3e",
    "A title\r\nBcc: everybody@example.org",
    "A title\nX-Injected: yes",
    "A title\r\n\r\n<b>body</b>",
    "A title\u2028X-Injected: yes\u2029and more\x85still",
    "A title\x0bwith\x0cstrange\x1cblanks",
    "A title\x1b[31mwith escapes\x07",
    "=?utf-8?q?=3Cscript=3E?=",
    "--===============boundary==",
    ".",
    "..",
    "From the start of a line",
    "To: someone@example.org",
    "«Ünïcödé» – “quotes” … ×",
    "田中さんにあげて下さい",
    "הכותרת הזאת נכתבת מימין לשמאל",
    "مقال عن الذكاء الاصطناعي",
    "עברית and English (mixed) 123",
    "Ṱ̺̺̕o͞ ̷i̲̬͇̪͙n̝̗͕v̟̜̘̦͟o̶̙̰̠kè͚̮̺̪̹̱̤",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👾 🙇 💁",
    "🇺🇸🇷🇺🇸 🇦🇫🇦",
    "﷽ ﷽ ﷽",
    "zero\u200bwidth\u200djoin\ufeffers",
    "undefined",
    "null",
    "NaN",
    "-1/0",
    "' OR 1=1; DROP TABLE papers; --",
    "=1+1@evil.example",
    "W" * 2000,
    "word " * 600,
]


# -- golden mails --------------------------------------------------------------------------


CASES = list(gallery.STANDARDS)


@pytest.mark.parametrize("case", CASES)
def test_a_mail_is_what_its_golden_file_says(case):
    """PAPERROUND_WRITE_GOLDEN=1 writes the files anew; their diff is then what has changed."""
    message = message_of(case)
    html = next(str(body) for body, kind in message.alternatives if kind == "text/html")
    assert_golden(f"{case}.txt", str(message.body))
    assert_golden(f"{case}.html", html)
    assert_golden(f"{case}.headers", headers_of(message))


def test_there_is_no_golden_file_without_its_case():
    names = {path.stem for path in GOLDEN.iterdir() if path.is_file()}
    assert names == set(CASES)


def assert_golden(name: str, made: str) -> None:
    path = GOLDEN / name
    if os.environ.get("PAPERROUND_WRITE_GOLDEN") == "1":
        path.write_text(made, encoding="utf-8", newline="")
    with path.open(encoding="utf-8", newline="") as file:
        kept = file.read()
    diff = difflib.unified_diff(kept.splitlines(), made.splitlines(), f"golden/{name}", "made now")
    assert kept == made, "\n".join(diff)


def headers_of(message) -> str:
    """What is the same each time; the date and the boundary are not."""
    parsed = parse(message)
    lines = [
        f"{name}: {parsed[name].strip()}" for name in parsed if name not in ("Date", "Content-Type")
    ]
    return "\n".join([*lines, f"Content-Type: {parsed.get_content_type()}", ""])


# -- what holds for every mail -------------------------------------------------------------


@pytest.fixture(params=CASES)
def message(request):
    return message_of(request.param)


def test_every_header_of_a_bulk_mail_is_there_once(message):
    parsed = parse(message)
    assert {name: len(parsed.get_all(name, [])) for name in ONCE} == dict.fromkeys(ONCE, 1)
    assert parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    way_out = parsed["List-Unsubscribe"].strip()
    assert re.fullmatch(r"<http://paperround\.test/unsubscribe/[^>]+>", way_out)
    assert parsed["Message-ID"] == f"<{gallery.DIGEST_UUID.hex}.digest@paperround.test>"
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["To"] == "ada@example.org"
    assert "Bcc" not in parsed


def test_a_mailto_way_out_stands_beside_the_https_one_where_it_is_set_up(settings):
    settings.UNSUBSCRIBE_MAILTO = "leave@example.org"
    ways = parse(message_of("ordinary"))["List-Unsubscribe"].split()
    assert ways[0].startswith("<http")
    assert ways[0].endswith(",")
    assert ways[1] == "<mailto:leave@example.org?subject=unsubscribe>"


def test_it_is_two_alternatives_in_utf_8_with_no_line_too_long(message):
    raw = message.message().as_bytes(linesep="\r\n")
    parsed = parse(message)
    parts = [part for part in parsed.walk() if not part.is_multipart()]
    assert parsed.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    assert {part.get_content_charset() for part in parts} == {"utf-8"}
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998


def test_nothing_in_it_is_loaded_from_anywhere_or_runs(message):
    html, _text = bodies(message)
    soup = BeautifulSoup(html, "html.parser")
    loading = ["img", "link", "script", "iframe", "object", "embed", "video", "audio", "svg"]
    assert soup.find_all([*loading, "form", "base", "input"]) == []
    assert "@import" not in html
    assert "url(" not in "".join(tag.text for tag in soup.find_all("style"))
    for tag in soup.find_all(True):
        assert not {"src", "background", "srcset"} & tag.attrs.keys()
        assert "url(" not in str(tag.get("style", ""))
        assert not [name for name in tag.attrs if name.startswith("on")]


def test_only_http_and_mailto_links_leave(message):
    html, text = bodies(message)
    links = [tag["href"] for tag in BeautifulSoup(html, "html.parser").find_all(href=True)]
    assert links
    assert all(re.match(r"(https?://|mailto:)", link) for link in links)
    assert not re.search(r"^javascript:", text, re.MULTILINE)


def test_the_text_and_the_html_say_the_same(message):
    html, text = bodies(message)
    soup = BeautifulSoup(html, "html.parser")
    seen, read = squeezed(soup.get_text(" ")), squeezed(text)
    content = content_of(Digest.objects.get())
    for item in (*content.full, *content.picks):
        for fact in (item.title, item.authors_line, item.organization, item.summary):
            assert squeezed(fact) in seen
            assert squeezed(fact) in read
    for item in content.brief:
        assert squeezed(item.title) in seen
        assert squeezed(item.title) in read
    links = {tag["href"] for tag in soup.find_all("a")}
    assert links == set(re.findall(r"^https?://\S+$", text, re.MULTILINE))
    reasons = [squeezed(tag.get_text()) for tag in soup.find_all(class_="reason")]
    assert len(reasons) == len(content.full) + len(content.picks)
    for reason in reasons:
        assert unquoted(reason) in unquoted(read)


def test_every_link_of_the_text_part_has_its_name_on_the_line_before():
    _html, text = bodies(message_of("ordinary"))
    lines = text.partition("ALSO IN THIS EDITION")[0].splitlines()
    for before, line in pairwise(lines):
        if line.startswith("http"):
            assert before.endswith(":")


def test_the_lines_of_the_text_part_fit_a_terminal():
    _html, text = bodies(message_of("first"))
    assert max(len(line) for line in text.splitlines() if not line.startswith("http")) <= 72


def test_the_longest_digest_there_can_be_is_not_clipped():
    papers = [
        Paper(
            pk=number,
            arxiv_id=f"2512.{number:05}",
            title="Wörter & " * 500,
            tldr="Sätze & mehr. " * 500,
            authors=["N&" * 100] * 664,
            organization="Ö&" * 100,
            code_url="https://example.org/" + "&" * 180,
            upvotes=2_000_000,
            stars=2_000_000,
            published_at=BREAKFAST,
            content_hash="-",
        )
        for number in range(300, 323)
    ]
    Paper.objects.bulk_create(papers)
    near = Reason("paper", "T&" * 40, paper_id=319, terms=("ä&" * 20,) * 4)
    items = [
        *(pick(each, name="E&" * 50, note="“&” " * 125) for each in papers[10:13]),
        *(full(each, near) for each in papers[:10]),
        *map(brief, papers[13:]),
    ]
    message = sent(sample.ada(), items)
    html, _text = bodies(message)
    assert html.count("&amp;" * 180) == 13
    assert len(html.encode()) < 90_000


def test_what_does_not_fit_is_a_link_to_the_web(settings):
    """Ten papers in a script of three bytes a letter, each text as long as it may be."""
    title, names = "題" * 300, ["名" * 100] * 3
    papers = [
        Paper(
            pk=number, arxiv_id=f"2512.9{number:04}", title=f"{number}{title}", authors=names,
            organization="室" * 100, tldr="文" * 500, published_at=BREAKFAST, content_hash="-",
        )
        for number in range(300, 324)
    ]  # fmt: skip
    Paper.objects.bulk_create(papers)
    near = Reason("paper", "目" * 80, paper_id=323)
    items = [
        *(full(each, near) for each in papers[:10]),
        *map(brief, papers[10:20]),
        *(pick(each, note="選" * 500) for each in papers[20:23]),
    ]
    digest = sample.digest_of(sample.ada(), items)
    content = content_of(digest)
    html, text = bodies(rendering.message(digest, content))
    assert len(html.encode()) <= rendering.MOST_BYTES < len(html.encode()) + 2_000
    left = 23 - sum(f"{paper.pk}題" in text for paper in papers[:23])
    assert left > 0
    for said in (squeezed(BeautifulSoup(html, "html.parser").get_text(" ")), squeezed(text)):
        assert f"{left} more papers did not fit into this mail" in said
    assert pieces.message(digest, content).html == html.encode()
    assert content.left_out == 0


def test_a_link_as_long_as_a_page_is_not_offered():
    paper = sample.store_papers()["2512.00891"]
    Paper.objects.filter(pk=paper.pk).update(code_url="https://example.org/" + "x" * 181)
    digest = sample.digest_of(sample.ada(), [full(paper, Reason("popular"))])
    assert content_of(digest).full[0].code_url == ""


@pytest.mark.parametrize("title", NASTY, ids=range(len(NASTY)))
def test_a_nasty_title_is_only_text(title, client):
    paper = Paper.objects.create(
        arxiv_id="2512.90001",
        title=title,
        abstract=f"{title}. And so on.",
        authors=[title],
        organization=title[:200],
        published_at=BREAKFAST,
        content_hash="-",
    )
    reason = Reason("author", title[:80], name=title)
    noted = pick(paper, name=title[:100], note=title[:500])
    message = sent(sample.ada(), [full(paper, reason), noted, brief(paper)])
    parsed, shown = parse(message), squeezed(rendering.shown_title(paper))
    html, text = bodies(message)
    web = client.get(content_of(Digest.objects.get()).web_url).content.decode()
    names, mail_tags, page_tags = skeleton()

    assert parsed["Subject"].strip() == message.subject
    assert "\n" not in message.subject
    assert parsed.keys() == names
    assert shown in squeezed(text)
    for page, expected in ((html, mail_tags), (web, page_tags)):
        soup = BeautifulSoup(page, "html.parser")
        assert tags(soup) == expected
        assert shown in squeezed(soup.get_text(" "))


def test_a_nul_is_only_a_blank():
    # PostgreSQL stores none, SQLite does.
    paper = Paper(title="A title\0with NUL", abstract="Words\0too.", authors=["A\0B"])
    assert rendering.shown_title(paper) == "A title with NUL"
    assert rendering.summary(paper) == "Words too."
    assert rendering.authors_line(paper.authors) == "A B"


def test_a_site_name_cannot_add_a_header(settings):
    settings.SITE_NAME = "Papers,\r\nBcc: x@example.org <b>"
    parsed = parse(message_of("ordinary"))
    assert "Bcc" not in parsed
    assert parsed["List-Id"] == '"Papers, Bcc: x@example.org <b>" <digest.paperround.test>'


def test_a_digest_carries_its_uuid_for_the_providers_events():
    assert message_of("ordinary").metadata == {"digest": gallery.DIGEST_UUID.hex}


def test_a_reader_without_topics_is_not_told_that_it_was_chosen_for_them():
    for body in bodies(message_of("trending")):
        assert "The 5 most noticed of 28 new papers" in body
        assert "You have named no subject yet" in body
        assert "chosen for you from" not in body


def test_picks_are_shown_apart_and_not_counted_as_chosen():
    for body in bodies(message_of("picked")):
        assert "2 chosen for you from 28 new papers" in body
        own, _, rest = body.partition("Chosen for you" if "<h2" in body else "CHOSEN FOR YOU")
        assert own
        assert "Editor’s picks" in rest or "EDITOR’S PICKS" in rest


def test_a_mail_of_picks_alone_says_who_picked_them_and_nothing_of_what_was_chosen():
    paper = sample.store_papers()["2512.00891"]
    message = sent(sample.ada(topics=["bees"]), [pick(paper, note="Read this.")])
    for body in bodies(message):
        assert "Picked by an editor from 28 new papers" in body
        assert "Ben Sample" in body
        assert "hosen for you" not in body
        assert "CHOSEN" not in body
        assert re.search(r"Editor’s pick\b|EDITOR’S PICK\b", body)
    assert message.subject.startswith("Accelerating Streaming Video")


def test_a_note_without_its_own_stop_is_not_given_one_and_a_pick_without_a_note_names_its_editor():
    _html, text = bodies(message_of("picked"))
    assert "section first.”\n" in text
    assert "Picked by Ada Example.\n" in text


def test_the_web_view_shows_the_picks_and_lets_one_say_more_or_less(client):
    message_of("picked")
    content = content_of(Digest.objects.get())
    page = BeautifulSoup(client.get(content.web_url).content, "html.parser")
    assert page.find("h2", string="Editor’s picks")
    assert "It tells what did not work" in page.get_text()
    links = {tag["href"] for tag in page.find_all("a")}
    for item in content.picks:
        assert {item.more_url, item.less_url, item.save_url} <= links


def test_the_numbers_shown_are_those_of_the_morning():
    paper = sample.store_papers()["2512.00891"]
    frozen = {"upvotes": 7, "stars": 12}
    kept = replace(full(paper, Reason("popular")), **frozen)
    digest = sample.digest_of(sample.ada(), [kept])
    Paper.objects.update(upvotes=999, stars=999)
    (item,) = content_of(digest).full
    assert (item.upvotes, item.stars) == (7, 12)


def test_no_stars_in_the_morning_stay_none():
    paper = sample.store_papers()["2512.00891"]
    kept = replace(full(paper, Reason("popular")), upvotes=0, stars=None)
    digest = sample.digest_of(sample.ada(), [kept])
    Paper.objects.update(upvotes=999, stars=999)
    (item,) = content_of(digest).full
    assert (item.upvotes, item.stars) == (0, None)


def test_numbers_that_were_not_kept_are_the_papers_own():
    paper = sample.store_papers()["2512.00891"]
    digest = sample.digest_of(sample.ada(), [full(paper, Reason("popular"))])
    Paper.objects.update(upvotes=999, stars=998)
    (item,) = content_of(digest).full
    assert (item.upvotes, item.stars) == (999, 998)


def test_the_footer_speaks_of_the_wishes_of_the_morning():
    reader = sample.ada()
    frame = rendering.frame_of(reader, next_due_at=reader.next_due_at).to_json()
    paper = sample.store_papers()["2512.00891"]
    digest = sample.digest_of(reader, [full(paper, Reason("popular"))], frame=frame)
    before = content_of(digest)
    reader.cadence, reader.hour, reader.time_zone = "weekly", 20, "Asia/Tokyo"
    reader.days, reader.next_due_at, reader.language = [3], BREAKFAST + timedelta(days=9), "de"
    reader.confirmed_at = BREAKFAST
    assert content_of(digest) == before
    assert before.cadence_words == "Monday to Friday at 07:00, Europe/Berlin time"
    assert (before.next_on, before.consented_on) == (date(2025, 12, 4), date(2025, 11, 3))


def test_the_keys_are_of_the_day_it_was_assembled_whenever_it_leaves():
    reader = sample.ada()
    frame = rendering.frame_of(reader, next_due_at=reader.next_due_at).to_json()
    paper = sample.store_papers()["2512.00891"]
    digest = sample.digest_of(reader, [full(paper, Reason("popular"))], frame=frame)
    later = rendering.contents([digest], now=BREAKFAST + timedelta(days=1))[digest.pk]
    assert later == content_of(digest)


def test_the_same_digest_makes_the_same_mail_twice():
    message_of("ordinary")
    digest = Digest.objects.select_related("subscriber", "slot").get()
    twice = [rendering.message(digest, content_of(digest)) for _ in range(2)]
    assert bodies(twice[0]) == bodies(twice[1])
    assert headers_of(twice[0]) == headers_of(twice[1])


def test_an_erased_readers_digest_has_no_content():
    message_of("ordinary")
    Subscriber.objects.all().delete()
    digest = Digest.objects.select_related("subscriber", "slot").get()
    assert rendering.contents([digest], now=BREAKFAST) == {}


def test_a_paper_that_was_deleted_since_is_left_out():
    message_of("ordinary")
    Paper.objects.get(arxiv_id="2512.01801").delete()
    content = content_of(Digest.objects.select_related("subscriber", "slot").get())
    assert [item.arxiv_id for item in content.full] == [
        "2512.02008", "2511.20785", "2512.01925", "2512.01816",
    ]  # fmt: skip


def test_contents_asks_for_the_papers_of_all_digests_at_once(django_assert_num_queries):
    message_of("ordinary")
    digest = Digest.objects.select_related("subscriber", "slot").get()
    with django_assert_num_queries(1):
        rendering.contents([digest] * 20, now=BREAKFAST)


def test_nobodys_digest_has_no_link_that_acts():
    papers = list(sample.store_papers().values())
    content = rendering.unaddressed(
        [full(papers[0], Reason("popular", upvotes=3)), brief(papers[1])],
        edition_day=gallery.DAY,
        candidates=2,
        slot=date(2025, 12, 3),
    )
    message = rendering.preview(content, to="reader@example.org")
    html, text = bodies(message)
    assert not re.search(r"unsubscribe/|preferences/|read/|href=\"\"", html + text)
    assert "List-Unsubscribe" not in parse(message)


# -- the words -----------------------------------------------------------------------------


def test_a_summary_is_of_sentences_that_say_what_is_new_on_one_line():
    abstract = (
        "Bees are\nmany.\n\nWe propose a dance for $n^2$ bees. Code is at https://example.org."
    )
    made = rendering.summary(Paper(title="A dance for bees", abstract=abstract))
    assert made.startswith("Bees are many. We propose a dance for n² bees.")
    assert rendering.summary(Paper(abstract="")) == ""


def test_one_endless_sentence_is_cut_between_words():
    said = rendering.summary(Paper(abstract="word, " * 400))
    assert said.endswith("word…")
    assert len(said) <= 500


def test_the_sources_own_short_summary_comes_first():
    paper = Paper(abstract="Long. And longer.", tldr="Short\nindeed.")
    assert rendering.summary(paper) == "Short indeed."


@pytest.mark.parametrize(
    ("authors", "line"),
    [
        ([], ""),
        (["A"], "A"),
        (["A", "B", "C"], "A, B, C"),
        (["A", "B", "C", "D"], "A, B, C and 1 more"),
        (["A\nX"] * 664, "A X, A X, A X and 661 more"),
    ],
)
def test_three_authors_are_named_and_the_rest_counted(authors, line):
    assert rendering.authors_line(authors) == line


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Monday to Friday at 07:00, UTC time"),
        ({"cadence": "daily", "hour": 18}, "every day at 18:00, UTC time"),
        (
            {"cadence": "weekly", "days": [6], "time_zone": "America/New_York"},
            "every Sunday at 07:00, America/New York time",
        ),
        ({"cadence": "chosen", "days": [4, 0]}, "every Monday and Friday at 07:00, UTC time"),
    ],
)
def test_the_cadence_is_said_in_words(fields, words):
    assert (
        rendering.cadence_words(rendering.frame_of(Subscriber(**fields), next_due_at=None)) == words
    )


def test_the_subject_is_the_two_top_titles_where_both_fit():
    content = titled("First paper", "Second paper", "Third paper", "Fourth paper")
    assert content.subject == "First paper · Second paper"
    assert content.preheader == "Third paper · Fourth paper"


def test_the_readers_own_papers_come_before_the_picks_in_the_subject():
    own = titled("First paper", "Second paper")
    others = replace(own, picks=titled("A pick", "Another").full)
    assert others.subject == "First paper · Second paper"
    assert others.preheader == "A pick · Another"
    assert replace(others, full=()).subject == "A pick · Another"


def test_a_long_top_title_stands_alone_and_the_next_is_the_preheader():
    long = "A title of many words " * 4
    content = titled(long.strip(), "Second · with a dot of its own " * 2, "Third")
    assert content.subject == long.strip()
    assert content.preheader.startswith("Second · with a dot")


def test_a_subject_is_cut_between_words():
    content = titled("word " * 60)
    assert content.subject.endswith("word…")
    assert len(content.subject) <= 110


def test_a_single_papers_preheader_is_how_it_begins():
    assert titled("Only one").preheader == "A summary."


def test_a_digest_without_papers_is_called_by_the_sites_name():
    assert titled().subject == "Paperround"
    assert titled().preheader == ""


# -- making and reading mails --------------------------------------------------------------


def message_of(case: str):
    digest = sample.standard(case)
    return rendering.message(digest, content_of(digest))


def sent(reader: Subscriber, items: list[Item], **fields):
    digest = sample.digest_of(reader, items, **fields)
    return rendering.message(digest, content_of(digest))


def content_of(digest: Digest) -> rendering.Content:
    return rendering.contents([digest], now=BREAKFAST)[digest.pk]


def parse(message):
    """What a mailbox provider sees of the bytes that leave."""
    raw = message.message().as_bytes(linesep="\r\n")
    return email.message_from_bytes(raw, policy=email.policy.default)


def bodies(message) -> tuple[str, str]:
    """HTML and text, out of the bytes."""
    parts = [parse(message).get_body([kind]) for kind in ("html", "plain")]
    return tuple(part.get_content().replace("\r\n", "\n") for part in parts)


def titled(*titles: str) -> rendering.Content:
    shown = [replace(PLAIN, title=title.strip()) for title in titles]
    items = tuple(rendering.ContentItem(each, reason=WHY) for each in shown)
    return rendering.Content(
        site_name="Paperround",
        edition_day=gallery.DAY,
        slot_date=date(2025, 12, 3),
        is_first=False,
        is_weekly=False,
        candidates_count=9,
        full=items,
        brief=(),
    )


PLAIN = rendering.Shown(
    paper_id=1,
    arxiv_id="2512.00001",
    title="An ordinary title",
    authors_line="Ada Example",
    organization="An organization",
    upvotes=0,
    stars=None,
    summary="A summary.",
    page_url="http://paperround.test/papers/2512.00001/",
    abstract_url="https://arxiv.org/abs/2512.00001",
    pdf_url="https://arxiv.org/pdf/2512.00001",
    code_url="",
)
WHY = rendering.ShownReason("author", "a topic", name="Ada Example")


@cache
def skeleton() -> tuple[list[str], list[str], list[str]]:
    """Header names, the mail's tags and the web page's, where every word is an ordinary one."""
    item = rendering.ContentItem(PLAIN, reason=WHY, key="a-key")
    word = rendering.ShownReason("editor", name="Ben", note="Read this.")
    keys = {f"{name}_key": "a-key" for name in KEYS}
    said = {"consented_on": gallery.DAY, "next_on": gallery.DAY, "cadence_words": "every day"}
    content = replace(
        titled(),
        full=(item,),
        picks=(item._replace(reason=word),),
        brief=(item,),
        postal_address="1 Test Street",
        **keys,
        **said,
    )
    digest = Digest(uuid=gallery.DIGEST_UUID, subscriber=Subscriber(email="ada@example.org"))
    message = rendering.message(digest, content)
    context = {"content": content, "feedback": {}}
    page = render_to_string("digest/read.html", context, RequestFactory().get("/"))
    soups = [BeautifulSoup(each, "html.parser") for each in (bodies(message)[0], page)]
    return parse(message).keys(), *map(tags, soups)


def tags(soup: BeautifulSoup) -> list[str]:
    return [tag.name for tag in soup.find_all(True)]


def squeezed(text: str) -> str:
    return " ".join(text.split())


def unquoted(text: str) -> str:
    return re.sub("[“”]", "", text)


# -- the days it is about ------------------------------------------------------------------


def test_a_digest_of_many_days_goes_by_topic_and_begins_with_the_best():
    content = content_of(sample.standard("weekly"))
    assert [(group.topic, group.start, len(group.items)) for group in content.groups] == [
        ("languages", 1, 2),
        ("long videos", 3, 1),
        ("", 4, 2),
    ]
    assert content.groups[-1].items[-1].is_popular


def test_a_digest_of_one_day_keeps_its_order():
    content = content_of(sample.standard("ordinary"))
    (group,) = content.groups
    assert [item.paper_id for item in group.items] == [
        item["paper_id"] for item in Digest.objects.get().items if item["section"] == "full"
    ]


def test_after_a_pause_it_says_since_when():
    html, text = bodies(message_of("catch_up"))
    for said in (squeezed(BeautifulSoup(html, "html.parser").get_text(" ")), squeezed(text)):
        assert "26 November to 2 December 2025" in said


def test_less_often_is_offered_unless_it_comes_once_a_week():
    assert "Less often" in bodies(message_of("catch_up"))[0]
    Digest.objects.all().delete()
    Subscriber.objects.all().delete()
    Paper.objects.all().delete()
    assert "Less often" not in bodies(message_of("weekly"))[0]


# -- subjects ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "subject"),
    [
        ("ATTENTION IS ALL YOU NEED, AGAIN", "Attention is all you need, again"),
        ("RT-2, GPT-4 & LLMs", "RT-2, GPT-4 & LLMs"),
        ("BERT", "BERT"),
        ("It works!!! Really?!?", "It works! Really?"),
        (
            "注意力就是你所需要的一切而且还有更多更多的东西",
            "注意力就是你所需要的一切而且还有更多更多的东西",
        ),
        ("مقدمة: deep", "\u2068مقدمة: deep\u2069"),
    ],
)
def test_a_subject_is_calm_and_turns_nobody_else_round(title, subject):
    paper = Paper.objects.create(
        arxiv_id="2512.90001", title=title, published_at=BREAKFAST, content_hash="-"
    )
    digest = sample.digest_of(sample.ada(), [full(paper, Reason("popular"))])
    assert content_of(digest).subject == subject


# -- an installation's own -----------------------------------------------------------------


def test_an_installation_has_its_own_name_colour_and_last_line(settings):
    settings.LOGO_TEXT, settings.FOOTER_TEXT = "THE LAB & CO", "Amtsgericht <Example> HRB 1"
    settings.BRAND_COLOR, settings.BRAND_COLOR_DARK = "#7a1f5c", "#f0a8d8"
    html, text = bodies(message_of("ordinary"))
    assert "THE LAB &amp; CO" in html
    assert "THE LAB & CO" in text.splitlines()[0]
    assert "Amtsgericht &lt;Example&gt; HRB 1" in html
    assert "Amtsgericht <Example> HRB 1" in text
    assert "#7a1f5c" in html
    assert "#f0a8d8" in html
    assert "#1d5c43" not in html


def test_a_template_of_the_same_name_replaces_ours(settings, tmp_path):
    (tmp_path / "emails").mkdir()
    (tmp_path / "emails" / "_meta.html").write_text("by {{ item.authors_line }}")
    own = [tmp_path, *settings.TEMPLATES[0]["DIRS"]]
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": own}]
    html, _text = bodies(message_of("ordinary"))
    assert '<p class="meta"' in html
    assert ">by Aradhye Agarwal" in html
    assert "upvotes</span>" not in html
