"""A mail made again from its row is the mail that was sent, or it is said why it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from digest import assembly, gallery, rendering, sending
from digest.compose import BRIEF, FULL, PICK, Item
from digest.gallery import BREAKFAST
from digest.models import Digest
from digest.ranking import Reason
from papers.models import Entry, Paper
from subscribers.models import Subscriber
from tests import sample
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader

pytestmark = pytest.mark.django_db

YEARS_LATER = DUE + timedelta(days=1000)
LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=120)
HOSTILE = st.sampled_from(
    [
        "</title><script>alert(1)</script>",
        "{{ content.unsubscribe_url }} {% debug %}",
        "A title\r\nBcc: everybody@example.org",
        "=?utf-8?q?=3Cscript=3E?=",
        "&lt;b&gt; &amp;amp; “quoted” הכותרת",
        "word " * 200,
    ]
)
TITLES = st.one_of(HOSTILE, LINES)
PREFERENCES = st.fixed_dictionaries(
    {
        "hour": st.integers(0, 23),
        "time_zone": st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York", "Africa/Cairo"]),
        "cadence": st.sampled_from(Subscriber.Cadence.values),
        "days": st.lists(st.integers(0, 6), min_size=1, max_size=3, unique=True),
        "language": st.sampled_from(["en", "de", "ar"]),
        "next_due_at": st.datetimes(DUE.replace(tzinfo=None), YEARS_LATER.replace(tzinfo=None)).map(
            lambda moment: moment.replace(tzinfo=DUE.tzinfo)
        ),
    }
)
NUMBERS = st.integers(0, 10**6)


# -- any digest at all -----------------------------------------------------------------------


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    titles=st.lists(TITLES, min_size=1, max_size=4),
    note=TITLES,
    wishes=PREFERENCES,
    later=PREFERENCES,
    votes=NUMBERS,
    days=st.integers(0, 1000),
)
def test_what_changes_by_itself_changes_no_mail_and_a_title_does(
    titles, note, wishes, later, votes, days
):
    with transaction.atomic():
        digest = handed_over(any_digest(titles, note=note, wishes=wishes))
        Paper.objects.update(upvotes=votes, stars=votes)
        Subscriber.objects.update(**later)
        digest = stored(digest)
        again = rendering.remade(digest, DUE + timedelta(days=days))
        assert rendering.fingerprint(again.message) == digest.mail_hash
        assert (again.matches, again.differences) == (True, ())

        paper = Paper.objects.earliest("pk")
        change(paper, title=f"Z{paper.title}")
        assert rendering.remade(digest, DUE).matches is False
        transaction.set_rollback(True)


def any_digest(titles, *, note, wishes) -> Digest:
    papers = [make_paper(title, abstract=title, authors=[title]) for title in titles]
    reader = make_reader(**wishes)
    sections = [FULL, PICK, BRIEF, FULL]
    reasons = [
        Reason("author", note[:80], name=note),
        Reason("editor", name=note[:100], note=note[:500]),
        None,
        Reason("paper", note[:80], paper_id=papers[0].pk),
    ]
    items = [
        frozen(Item(paper.pk, section, 1.0, reason=reason), paper)
        for paper, section, reason in zip(papers, sections, reasons, strict=False)
    ]
    frame = rendering.frame_of(reader, next_due_at=reader.next_due_at)
    return sample.digest_of(reader, items, frame=frame.to_json())


def frozen(item: Item, paper: Paper) -> Item:
    return replace(
        item, upvotes=paper.upvotes, stars=paper.stars, content_hash=paper.content_hash[:12]
    )


# -- why it differs --------------------------------------------------------------------------


@pytest.fixture
def papers(db) -> list[Paper]:
    return [make_paper(f"Paper {n}") for n in range(3)]


@pytest.fixture
def digest(papers) -> Digest:
    """Handed over: the second paper is there because of a fourth."""
    reader = make_reader()
    seed = make_paper("A seed")
    items = [
        frozen(gallery.full(papers[0], Reason("popular", upvotes=3)), papers[0]),
        frozen(gallery.full(papers[1], Reason("paper", "bees", paper_id=seed.pk)), papers[1]),
        frozen(gallery.brief(papers[2]), papers[2]),
    ]
    frame = rendering.frame_of(reader, next_due_at=reader.next_due_at).to_json()
    return handed_over(sample.digest_of(reader, items, frame=frame))


def test_papers_that_changed_are_named(digest, papers):
    change(papers[0], title="Paper 0, revised")
    change(papers[2], title="Paper 2, revised")
    again = rendering.remade(digest, DUE)
    assert again.matches is False
    assert again.differences == (
        f"Paper {papers[0].arxiv_id} changed: “Paper 0, revised”.",
        f"Paper {papers[2].arxiv_id} changed: “Paper 2, revised”.",
    )
    assert "Paper 0, revised" in again.message.body


def test_a_change_that_the_mail_does_not_show_is_no_difference(digest, papers):
    change(papers[2], abstract="Another abstract, of which a brief item shows nothing.")
    again = rendering.remade(digest, DUE)
    assert (again.matches, again.differences) == (True, ())


def test_a_paper_that_was_deleted_is_named_by_its_number(digest, papers):
    gone = papers[1].pk
    papers[1].delete()
    assert rendering.remade(digest, DUE).differences == (f"Paper {gone} was deleted.",)


def test_a_thinned_digest_says_so(digest, settings):
    old = digest.assembled_at + timedelta(days=settings.DIGEST_RETENTION_DAYS + 1)
    assert assembly.thin_old(old) == 1
    again = rendering.remade(stored(digest), old)
    assert again.matches is False
    day = f"{old:%-d %B %Y}"
    assert again.differences == (f"Its reasons and numbers were let go of on {day}.",)


def test_an_erased_readers_mail_is_made_without_links(digest):
    Subscriber.objects.all().delete()
    again = rendering.remade(stored(digest), DUE)
    assert again.matches is False
    assert again.differences == ("The reader was erased, and the links went with them.",)
    assert "Paper 0" in again.message.body
    assert "unsubscribe/" not in again.message.body


@pytest.mark.parametrize(
    "setting", [{"SITE_NAME": "Another"}, {"SECRET_KEY": "another"}, {"POSTAL_ADDRESS": "Moved"}]
)
def test_where_no_paper_changed_the_site_did(digest, settings, setting):
    for name, value in setting.items():
        setattr(settings, name, value)
    again = rendering.remade(digest, DUE)
    assert again.matches is False
    (why,) = again.differences
    assert "settings or the signing key" in why


def test_a_digest_whose_hash_is_not_kept_proves_nothing(digest):
    Digest.objects.update(mail_hash="")
    again = rendering.remade(stored(digest), DUE)
    assert (again.matches, again.differences) == (None, ())
    assert again.message.subject == "Paper 0 · Paper 1"


def test_without_a_frame_the_keys_are_of_the_day_it_was_sent(papers):
    reason = Reason("popular", upvotes=3)
    digest = handed_over(sample.digest_of(make_reader(), [gallery.full(papers[0], reason)]))
    assert digest.frame == {}
    assert rendering.remade(digest, YEARS_LATER).matches is True


# -- the fingerprint -------------------------------------------------------------------------


def letter(subject="S", body="B", html="<p>H</p>", **fields) -> EmailMultiAlternatives:
    made = EmailMultiAlternatives(subject, body, to=["ada@example.org"], **fields)
    made.attach_alternative(html, "text/html")
    return made


def test_a_fingerprint_is_of_what_is_read_and_of_nothing_else():
    mine = rendering.fingerprint(letter())
    assert rendering.fingerprint(letter(headers={"Date": "yesterday"})) == mine
    assert len(mine) == 64
    others = [letter("T"), letter(body="C"), letter(html="<p>I</p>"), letter("SB", "")]
    assert len({mine, *map(rendering.fingerprint, others)}) == 5


# -- the whole way ---------------------------------------------------------------------------


def test_a_sent_mail_can_be_proved_years_later(transport):
    papers = [make_paper(f"Paper <{n}>", stars=n) for n in range(4)]
    edition = make_edition(SUNDAY, papers)
    Entry.objects.filter(edition=edition, paper=papers[3]).update(picked_by="Ben", editor_note="So")
    make_reader(topics=[], time_zone="Asia/Tokyo")
    assembly.assemble_due(DUE)
    sending.send_due(DUE + timedelta(hours=2))
    digest = stored(Digest.objects.get())
    (accepted,) = transport.accepted
    assert digest.mail_hash == rendering.fingerprint(accepted)

    Paper.objects.update(upvotes=10_000, stars=10_000)
    Subscriber.objects.update(hour=22, time_zone="UTC", cadence="weekdays", next_due_at=YEARS_LATER)
    Entry.objects.update(picked_by="", editor_note="")
    again = rendering.remade(stored(digest), YEARS_LATER)
    assert again.matches is True
    assert (again.message.subject, again.message.body) == (accepted.subject, accepted.body)
    assert again.message.alternatives == accepted.alternatives


def test_a_mail_in_doubt_can_be_proved_though_nobody_knows_when_it_left(transport):
    transport.answers = [sending.Status.UNCERTAIN]
    make_edition(SUNDAY, [make_paper()])
    make_reader()
    assembly.assemble_due(DUE)
    sending.send_due(DUE + timedelta(hours=2))
    digest = stored(Digest.objects.get())
    assert (digest.state, digest.sent_at) == (Digest.State.UNCERTAIN, None)
    assert rendering.remade(digest, YEARS_LATER).matches is True


def test_a_mail_tried_again_after_midnight_is_the_same_mail(transport, settings):
    settings.LATE_LIMIT_HOURS = 48
    transport.answers = [sending.Status.RETRY]
    make_edition(SUNDAY, [make_paper()])
    make_reader()
    made = []
    transport.before = made.extend
    assembly.assemble_due(DUE)
    for hours in (0, 24):
        sending.send_due(DUE + timedelta(hours=hours))
    assert len(made) == 2
    assert rendering.fingerprint(made[0]) == rendering.fingerprint(made[1])


# -- making ----------------------------------------------------------------------------------


def handed_over(digest: Digest) -> Digest:
    """As sending leaves it."""
    digest = stored(digest)
    message = rendering.message(digest, rendering.contents([digest], now=BREAKFAST)[digest.pk])
    digest.mail_hash = rendering.fingerprint(message)
    digest.state, digest.sent_at = Digest.State.SENT, BREAKFAST
    digest.save()
    return stored(digest)


def stored(digest: Digest) -> Digest:
    return Digest.objects.select_related("subscriber", "slot").get(pk=digest.pk)


def change(paper: Paper, **fields) -> None:
    """As a later reading of the source would."""
    Paper.objects.filter(pk=paper.pk).update(content_hash="c" * 32, **fields)
