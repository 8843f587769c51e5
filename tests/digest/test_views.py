from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine
from django.urls import reverse

from digest import assembly
from digest.compose import BRIEF, FULL, Item
from digest.models import Digest, Feedback, Slot
from digest.ranking import Reason
from papers import encoding
from papers.models import Paper
from subscribers import tokens
from subscribers.models import Subscriber
from subscribers.tokens import Purpose
from tests.database import everything
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader

pytestmark = pytest.mark.django_db

TOKEN = re.compile(r"[0-9a-f]{32,48}-[0-9a-z]+-[\w-]{22}")
NOW = DUE - timedelta(hours=1)


@pytest.fixture(autouse=True)
def at_five():
    """An hour before Ada's digest."""
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def papers() -> list[Paper]:
    """Sunday's edition: two papers about bees, and eight about other things."""
    bees = [
        make_paper(
            f"Honey bees and the dance language, part {part}",
            abstract="Honey bees tell each other by a waggle dance where the nectar is.",
        )
        for part in (1, 2)
    ]
    others = [
        make_paper(f"{subject} revisited", abstract=f"We look again at {subject}.")
        for subject in (
            "compilers", "glaciers", "tax law", "violins",
            "concrete", "tulips", "routers", "chess",
        )
    ]  # fmt: skip
    make_edition(SUNDAY, [*others, *bees])
    return [*bees, *others]


@pytest.fixture
def ada() -> Subscriber:
    return make_reader()


@pytest.fixture
def manage(ada) -> str:
    return tokens.make(Purpose.MANAGE, ada.uuid.hex, today=NOW.date())


@pytest.fixture
def digest(ada, papers) -> Digest:
    """One that Ada was sent: two papers in full, one by title."""
    reason = Reason("topic", "bees", terms=("honey",))
    items = [
        Item(papers[0].pk, FULL, 3.0, reason=reason),
        Item(papers[1].pk, FULL, 2.0, reason=reason),
        Item(papers[2].pk, BRIEF, 0.1),
    ]
    return Digest.objects.create(
        subscriber=ada,
        slot=Slot.objects.create(date=SUNDAY, due=1),
        due_at=DUE - timedelta(days=1),
        assembled_at=DUE - timedelta(days=1),
        state=Digest.State.SENT,
        sent_at=DUE - timedelta(days=1),
        items=[item.to_json() for item in items],
        edition_day=SUNDAY,
        candidates=10,
    )


@pytest.fixture
def key(digest) -> str:
    return tokens.make(Purpose.READ, digest.uuid.hex, today=digest.assembled_at.date())


def onboard(client, manage: str, **data):
    return client.post(reverse("digest:onboarding", args=[manage]), data)


# -- onboarding ----------------------------------------------------------------------------


def test_onboarding_offers_papers_and_shows_the_digest_as_it_would_be(client, manage, papers):
    encoding.encode_missing()
    before = everything()
    response = client.get(reverse("digest:onboarding", args=[manage]))
    assert response.status_code == 200
    offered = {seed.paper_id for seed in response.context["suggestions"]}
    assert offered < {paper.pk for paper in papers}
    assert len(offered & {papers[0].pk, papers[1].pk}) == 1, "two that say the same, once"
    assert offered >= {paper.pk for paper in papers[2:]}
    assert response.context["content"].chosen_count == 5
    assert "Popular with everybody: 10 upvotes" in response.content.decode()
    assert everything() == before


def test_a_named_topic_changes_the_preview_and_says_why(client, manage, ada, papers):
    response = onboard(client, manage, topics="honey bees\n\n  honey   bees \nchess")
    assert response.status_code == 302
    assert [topic.name for topic in ada.topics.all()] == ["honey bees", "chess"]
    page = client.get(response.url).content.decode()
    assert "Because you follow <em>honey bees</em>" in page


def test_a_like_given_elsewhere_is_not_lost_by_onboarding(client, manage, ada, papers):
    Feedback.give(subscriber=ada, paper=papers[0], kind="more", at=NOW)
    onboard(client, manage, topics="chess")
    assert ada.feedback.count() == 1


def test_a_topic_that_is_there_already_is_no_error(client, manage, ada, papers):
    onboard(client, manage, topics="Honey bees")
    response = onboard(client, manage, topics="honey BEES\ntulips")
    assert response.status_code == 302
    assert [topic.name for topic in ada.topics.all()] == ["Honey bees", "tulips"]


def test_the_twenty_first_topic_is_refused_by_name_and_none_of_them_is_saved(
    client, manage, ada, papers
):
    names = [f"subject {number}" for number in range(1, 22)]
    response = onboard(client, manage, topics="\n".join(names))
    assert response.status_code == 200
    assert not ada.topics.exists()
    assert response.content.decode().count("subject 7\n") == 1
    assert "There is no room for “subject 21”" in response.content.decode()


def test_a_line_that_is_too_long_is_refused_and_kept_for_mending(client, manage, ada, papers):
    response = onboard(client, manage, topics="b" * 81)
    page = response.content.decode()
    assert "80 characters" in page
    assert "b" * 81 in page
    assert not ada.topics.exists()


def test_onboarding_works_before_the_first_paper_is_fetched(client, manage):
    page = client.get(reverse("digest:onboarding", args=[manage])).content.decode()
    assert "Nothing would reach you yet" in page
    assert "Send my first digest" not in page


def test_a_paused_reader_is_told_when_the_next_can_come(client, manage, ada):
    back = NOW.date() + timedelta(days=7)
    Subscriber.objects.update(paused_until=back, next_due_at=DUE + timedelta(days=7))
    page = client.post(reverse("digest:send_first", args=[manage])).content.decode()
    assert "The next can come on Monday, 30 November" in page


def test_what_a_reader_types_is_escaped(client, manage, papers):
    response = onboard(client, manage, topics="<script>alert(1)</script> honey bees")
    page = client.get(response.url).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_pages_set_no_cookie_and_need_none(client, manage, key, papers):
    for name, token in (("onboarding", manage), ("read", key)):
        response = client.get(reverse(f"digest:{name}", args=[token]))
        assert not response.cookies
        assert response["Referrer-Policy"] == "no-referrer"
        assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("name", ["onboarding", "subjects", "preview", "send_first"])
def test_a_link_that_is_not_ours_opens_nothing(client, ada, key, name):
    for token in ("x", key, tokens.make(Purpose.MANAGE, "0" * 32, today=NOW.date())):
        assert client.post(reverse(f"digest:{name}", args=[token])).status_code == 404


def test_an_old_manage_link_offers_a_new_one(client, ada):
    old = tokens.make(Purpose.MANAGE, ada.uuid.hex, today=NOW.date() - timedelta(days=31))
    response = client.get(reverse("digest:onboarding", args=[old]))
    assert response.status_code == 410
    assert reverse("subscribers:request_link") in response.content.decode()


# -- the first digest ----------------------------------------------------------------------


def test_the_first_digest_is_made_due_now(client, manage, ada):
    response = client.post(reverse("digest:send_first", args=[manage]))
    ada.refresh_from_db()
    assert ada.next_due_at == NOW
    assert "on its way" in response.content.decode()


def test_it_is_not_made_due_by_looking(client, manage, ada):
    response = client.get(reverse("digest:send_first", args=[manage]))
    assert response.headers["Location"] == reverse("digest:onboarding", args=[manage])
    ada.refresh_from_db()
    assert ada.next_due_at == DUE


def test_a_day_that_has_had_its_digest_gets_no_second_one(client, manage, ada):
    tomorrow = DUE + timedelta(days=1)
    Subscriber.objects.update(last_slot=NOW.date(), next_due_at=tomorrow)
    response = client.post(reverse("digest:send_first", args=[manage]))
    ada.refresh_from_db()
    assert ada.next_due_at == tomorrow
    assert "The next can come on Tuesday, 24 November" in response.content.decode()


def test_whoever_left_is_told_so_and_gets_nothing(client, manage, ada):
    Subscriber.objects.update(state=Subscriber.State.UNSUBSCRIBED, next_due_at=None)
    response = client.post(reverse("digest:send_first", args=[manage]))
    ada.refresh_from_db()
    assert ada.next_due_at is None
    assert "not subscribed at the moment" in response.content.decode()


# -- the web view --------------------------------------------------------------------------


def test_the_web_view_shows_the_digest(client, key, papers):
    page = client.get(reverse("digest:read", args=[key])).content.decode()
    for paper in papers[:3]:
        assert paper.title in page
    assert papers[3].title not in page
    assert "Because you follow <em>bees</em>: honey" in page
    assert "2 chosen for you from 10 new papers" in page


def test_the_web_view_holds_no_key_but_its_own(client, key):
    page = client.get(reverse("digest:read", args=[key])).content.decode()
    assert set(TOKEN.findall(page)) == {key}
    assert "unsubscribe/" not in page
    assert "preferences/" not in page


def test_the_onboarding_and_feedback_pages_hold_no_key_but_their_own(client, manage, key, digest):
    feedback = reverse("digest:feedback", args=[key, "more", digest.paper_ids[0]])
    for url, own in ((reverse("digest:onboarding", args=[manage]), manage), (feedback, key)):
        assert set(TOKEN.findall(client.get(url).content.decode())) == {own}


def test_the_web_view_remembers_what_was_said(client, key, ada, papers):
    Feedback.give(subscriber=ada, paper=papers[0], kind="more", at=NOW)
    Feedback.give(subscriber=ada, paper=papers[1], kind="saved", at=NOW)
    page = client.get(reverse("digest:read", args=[key])).content.decode()
    assert page.count("You asked for more like this") == 1
    assert page.count('<span class="label">Saved</span>') == 1
    assert "You asked for less" not in page


def test_the_web_view_of_an_erased_reader_is_gone(client, key, ada):
    ada.delete()
    assert client.get(reverse("digest:read", args=[key])).status_code == 404


@pytest.mark.parametrize("purpose", [p for p in Purpose if p != Purpose.READ])
def test_a_key_for_another_door_does_not_open_the_web_view(client, digest, purpose):
    other = tokens.make(purpose, digest.uuid.hex, today=NOW.date())
    assert client.get(reverse("digest:read", args=[other])).status_code == 404


def test_the_web_view_never_expires(client, digest, papers):
    old = tokens.make(Purpose.READ, digest.uuid.hex, today=NOW.date() - timedelta(days=4000))
    assert client.get(reverse("digest:read", args=[old])).status_code == 200


def test_the_web_view_takes_no_post(client, key):
    assert client.post(reverse("digest:read", args=[key])).status_code == 405


# -- feedback ------------------------------------------------------------------------------


@pytest.fixture
def said(client, key, digest):
    def say(verb: str, paper_id: int | None = None, *, method: str = "post", key: str = key):
        paper_id = digest.paper_ids[0] if paper_id is None else paper_id
        return getattr(client, method)(f"/read/{key}/{verb}/{paper_id}/")

    return say


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("verb", ["more", "less", "saved"])
def test_looking_at_a_feedback_link_changes_nothing(said, verb, method):
    before = everything()
    assert said(verb, method=method).status_code == 200
    assert everything() == before


def test_the_button_records_the_word_once_however_often_it_is_pressed(said, ada, papers):
    answers = {said("more").content for _ in range(3)}
    assert len(answers) == 1
    assert list(ada.feedback.values_list("paper_id", "kind")) == [(papers[0].pk, "more")]


def test_more_and_less_replace_each_other_and_saved_stands_apart(said, ada):
    for verb, kinds in (
        ("more", {"more"}),
        ("saved", {"more", "saved"}),
        ("less", {"less", "saved"}),
        ("more", {"more", "saved"}),
    ):
        assert said(verb).status_code == 200
        assert set(ada.feedback.values_list("kind", flat=True)) == kinds


def test_a_paper_known_by_title_only_can_be_judged_too(said, digest):
    assert said("less", digest.paper_ids[2]).status_code == 200


def test_only_papers_of_the_digest_can_be_judged(said, papers):
    assert said("more", papers[5].pk).status_code == 404
    assert said("more", 999_999).status_code == 404
    assert not Feedback.objects.exists()


@pytest.mark.parametrize("verb", ["delete", "MORE", "more%0a"])
def test_a_verb_that_is_none_is_not_found(said, verb):
    assert said(verb).status_code == 404


def test_feedback_needs_the_digests_own_key(said, manage):
    assert said("more", key="x").status_code == 404
    assert said("more", key=manage).status_code == 404
    assert not Feedback.objects.exists()


def test_healthz_answers_while_the_database_does(client):
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.content == b"ok\n"


# -- the web view and time -----------------------------------------------------------------


def read_page(client, digest: Digest) -> str:
    token = tokens.make(Purpose.READ, digest.uuid.hex, today=NOW.date())
    answer = client.get(reverse("digest:read", args=[token]))
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize("days", [0, 89, 90])
def test_the_whole_digest_is_on_the_web_for_ninety_days(client, digest, days):
    later = digest.assembled_at + timedelta(days=days)
    with time_machine.travel(later, tick=False):
        assembly.thin_old(later)
        page = read_page(client, digest)
    assert "Because you follow" in page
    assert "an old one" not in page


def test_after_that_it_still_says_which_papers_it_had(client, digest, papers):
    later = digest.assembled_at + timedelta(days=91)
    with time_machine.travel(later, tick=False):
        assert assembly.thin_old(later) == 1
        digest.refresh_from_db()
        page = read_page(client, digest)
    assert papers[0].title in page
    assert papers[2].title in page
    assert "Because you follow" not in page
    assert "why they were chosen is not" in page


def test_a_digest_whose_papers_are_gone_says_so(client, digest):
    Paper.objects.all().delete()
    assert "no longer here" in read_page(client, digest)


def test_the_web_view_of_a_week_goes_by_topic_as_its_mail_does(client, digest):
    Digest.objects.update(is_weekly=True)
    page = read_page(client, digest)
    assert "Your week to" in page
    assert '<h2><span dir="auto">Bees</span></h2>' in page
    assert "Also this week" in page
