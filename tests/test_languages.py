"""Which language whom is answered in; and that nothing is said in English alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from bs4 import BeautifulSoup
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.mail import EmailMultiAlternatives
from django.test import Client
from django.urls import reverse
from django.utils import translation

from digest import pieces, rendering
from digest.gallery import BREAKFAST, DAY, brief, full, pick
from digest.models import Digest
from digest.ranking import Reason
from papers import pseudo
from papers.models import Entry, Paper, Source
from subscribers import mail, seeds, tokens
from subscribers.forms import PreferencesForm
from subscribers.models import Subscriber
from subscribers.tokens import Purpose
from tests import sample
from tests.browser_form import filled_in
from tests.factories import make_edition, make_paper

pytestmark = [pytest.mark.django_db, pytest.mark.pure]

NOW = BREAKFAST
# In letters of their own, what papers and readers say is told from what we do.
TITLE, NAME, TOPIC = "Περί μελισσών", "Άδα Παράδειγμα", "μέλισσες"
LATIN = re.compile(r"[A-Za-z]{3,}")
# What is the same in every language: addresses, arXiv's own names, time zones, formats of files.
UNSAID = re.compile(
    r"https?://\S+|\S+@\S+|\barXiv\b|\bUTC\b|Europe/Berlin|\b\d{4}\.\d{5}\b|\bcs\.\w\w\b|\bTestville\b"
    r"|\.(?:bib|ris|csv|txt)\b"
)
# Ids, the ledger's own words (`2025-12-03 assembled`), parts that doctor and /readyz name so, a
# mail's source; and Django's search field, whose picture is called that in every language.
NAMED_BY_CODE = re.compile(
    r"^huggingface$|\d assembled\b|worker of default|^Search$|^(True|False)$"
    r"|^Subject: |^Εφημερίδα\n"
)
SAID_ATTRIBUTES = ("title", "alt", "aria-label", "placeholder", "data-said")


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture(autouse=True)
def pseudo_languages(settings) -> None:
    settings.LANGUAGES = [*settings.LANGUAGES, *pseudo.LANGUAGES]
    pseudo.install()  # after it: Django forgets what it knows when the setting changes
    settings.SITE_NAME = settings.LOGO_TEXT = "Εφημερίδα"
    settings.POSTAL_ADDRESS = "Οδός 1"


@pytest.fixture
def papers() -> list[Paper]:
    made = [
        make_paper(
            f"{TITLE} {number}",
            abstract=f"{TITLE}. " * 3,
            authors=[NAME] * 5,
            organization="Κυψέλη",
            categories=["cs.CL"],
            code_url="https://code.example/bees",
            stars=1204,
            upvotes=1204 + number,
            published_at=NOW - timedelta(days=1),
        )
        for number in range(10)
    ]
    make_edition(DAY, made)
    Source.objects.update(name="Κατάλογος")
    return made


@pytest.fixture
def ada(papers) -> Subscriber:
    return sample.ada(topics=[TOPIC], language="de")


@pytest.fixture
def digest(ada, papers) -> Digest:
    """A paper for each kind of reason."""
    names = {"topic": TOPIC, "terms": (TOPIC,), "name": NAME, "title": TITLE}
    kinds = ["topic", "keyword", "author", "organization", "category", "paper", "more", "popular"]
    reasons = [Reason(kind, **names, upvotes=3) for kind in kinds]
    items = [full(paper, reason) for paper, reason in zip(papers, reasons, strict=False)]
    said = pick(papers[8], name=NAME, note=TITLE)
    return sample.digest_of(ada, [*items, said, brief(papers[9])], is_first=True)


def asked_in(code: str) -> Client:
    return Client(headers={"accept-language": code})


def link(purpose: Purpose, subject: str) -> str:
    return tokens.make(purpose, subject, today=NOW.date())


def public_pages(papers: list[Paper]) -> list[str]:
    return [
        "/", f"/{DAY}/", f"/{DAY - timedelta(days=1)}/", f"/{DAY}/all/", f"/{DAY}/all/?category=x",
        f"/papers/{papers[0].arxiv_id}/", "/papers/", "/papers/?q=μέλισσες", "/papers/?since=x&q=x",
        "/papers/?q=ξξξ&category=cs.CL", "/nothing-here/", "/subscribe/", "/link/",
        "/subscribe/check-your-mail/", "/link/check-your-mail/", "/confirm/bad/", "/outbox/",
    ]  # fmt: skip


def readers_pages(reader: Subscriber, digest: Digest) -> list[str]:
    """Behind a signed link."""
    manage, read = link(Purpose.MANAGE, reader.uuid.hex), link(Purpose.READ, digest.uuid.hex)
    leave = link(Purpose.UNSUBSCRIBE, reader.uuid.hex)
    confirm = link(Purpose.CONFIRM, mail.bound_subject(reader, reader.email))
    topic, paper = reader.topics.get().pk, digest.paper_ids[0]
    return [
        f"/confirm/{confirm}/", f"/preferences/{manage}/", f"/preferences/{manage}/?saved=address",
        f"/preferences/{manage}/topics/add/", f"/preferences/{manage}/topics/{topic}/",
        f"/unsubscribe/{leave}/", f"/welcome/{manage}/", f"/read/{read}/",
        f"/read/{read}/more/{paper}/", f"/read/{read}/saved/{paper}/",
    ]  # fmt: skip


def said_by(html: str) -> Iterator[str]:
    """What a page shows or reads out, piece by piece, but the time zones' own names."""
    page = BeautifulSoup(html, "html.parser")
    for hidden in page(["script", "style", "datalist"]):
        hidden.decompose()
    for zones in page.select("select[name=time_zone]"):
        zones.decompose()
    # Each language is offered by its own name.
    for languages in page.select("select[name=language]"):
        languages.decompose()
    yield from page.stripped_strings
    for element in page.find_all(True):
        yield from (element[name] for name in SAID_ATTRIBUTES if element.get(name))
        if element.name == "meta" and element.get("name") == "description":
            yield element["content"]


def in_english(texts: Iterator[str]) -> list[str]:
    return [text for text in texts if LATIN.search(UNSAID.sub("", text))]


# -- nothing is said in English alone ------------------------------------------------------


def test_no_page_says_anything_that_is_not_marked(ada, digest, papers):
    Subscriber.objects.update(language="en-xa")
    client = asked_in("en-xa")
    for address in [*public_pages(papers), *readers_pages(ada, digest)]:
        response = client.get(address)
        assert response.status_code in (200, 404, 403), address
        assert in_english(said_by(response.content.decode())) == [], address


def test_no_form_answers_in_words_that_are_not_marked(ada, digest, papers):
    Subscriber.objects.update(language="en-xa")
    client, manage = asked_in("en-xa"), link(Purpose.MANAGE, ada.uuid.hex)
    leave, ticked = (
        link(Purpose.UNSUBSCRIBE, ada.uuid.hex),
        [seed.field for seed in seeds.of(papers)],
    )
    posts = [
        ("/subscribe/", {"email": "ξ"}), ("/link/", {"email": ""}),
        (f"/preferences/{manage}/", {"cadence": "weekly", "hour": "ξ", "time_zone": "ξ"}),
        (f"/preferences/{manage}/pause/", {"until": "2020-01-01"}),
        (f"/preferences/{manage}/pause/", {"until": "ξ"}),
        (f"/preferences/{manage}/address/", {"email": "ξ"}),
        (f"/preferences/{manage}/mute/", {"categories": "ξ", "keywords": "ξ" * 501}),
        (f"/preferences/{manage}/topics/add/", {"name": "", "papers": "ξ"}),
        (f"/preferences/{manage}/topics/add/", {"name": TOPIC}),
        (f"/unsubscribe/{leave}/", {}), (f"/unsubscribe/{leave}/undo/", {"link": "1"}),
        (f"/welcome/{manage}/", {"do": "import", "pasted": "ξ"}),
        (f"/welcome/{manage}/", {"do": "import", "pasted": "2511.99999"}),
        (f"/welcome/{manage}/", {"do": "person", "person": "0000-0002-1825-0098"}),
        (f"/welcome/{manage}/", {"do": "person", "person": "ξ"}),
        (f"/welcome/{manage}/", {"do": "search", "q": TOPIC}),
        (f"/welcome/{manage}/subjects/", {"do": "show", "topics": TOPIC, "papers": ticked}),
        (f"/welcome/{manage}/send/", {}),
    ]  # fmt: skip
    for address, data in posts:
        page = client.post(address, data)
        assert page.status_code == 200, address
        assert in_english(said_by(page.content.decode())) == [], address


def test_no_mail_says_anything_that_is_not_marked(ada, digest):
    ada.language = "en-xa"
    ada.save()
    for message in mails_of(ada, digest):
        html = str(message.alternatives[0][0])
        texts = [*said_by(html), str(message.subject), *str(message.body).splitlines()]
        assert in_english(iter(texts)) == [], message.subject


def test_the_admin_says_nothing_that_is_not_marked(ada, digest, papers):
    """Its lists and its pages of a row: what Django says, what we say, what models are called."""
    client = asked_in("en-xa")
    client.force_login(User.objects.create_superuser("άδα"))
    for address in desk():
        page = client.get(address)
        said = [text for text in said_by(page.content.decode()) if not NAMED_BY_CODE.search(text)]
        assert in_english(iter(said)) == [], address


def desk() -> Iterator[str]:
    """What the operator can open, but Django's own users and groups: permissions are in English."""
    yield reverse("admin:index")
    for model in (each for each in admin.site._registry if each._meta.app_label != "auth"):
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        if (row := model._default_manager.first()) is not None:
            yield reverse(f"{name}_change", args=[row.pk])
    yield reverse("admin:subscribers_suppression_add")


def test_the_admin_calls_models_by_their_plural_in_each_language(ada, admin_client):
    page = admin_client.get("/admin/", headers={"accept-language": "de"}).content.decode()
    for name in ("Ausgaben", "Versandwege", "Sperren", "Zustellmeldungen"):
        assert f">{name}</a>" in page


def mails_of(reader: Subscriber, digest: Digest) -> list[EmailMultiAlternatives]:
    reader.new_email = "ada@example.net"
    digest.subscriber = reader
    content = rendering.contents([digest], now=NOW)[digest.pk]
    return [
        rendering.message(digest, content),
        *(kind.compose(reader, NOW) for kind in mail.SERVICE_MAILS),
    ]


# -- from right to left --------------------------------------------------------------------


def test_pages_and_mails_say_which_way_they_run(ada, digest, papers):
    Subscriber.objects.update(language="ar-xb")
    ada.refresh_from_db()
    client = asked_in("ar-xb")
    htmls = [
        client.get(address).content.decode()
        for address in [*public_pages(papers), *readers_pages(ada, digest)]
    ]
    htmls += [str(message.alternatives[0][0]) for message in mails_of(ada, digest)]
    for html in htmls:
        assert re.search(r'<html lang="ar-xb" dir="rtl"', html), html[:300]


def test_both_ways_of_making_a_digest_agree_in_every_language(ada, digest):
    for code in ("en", "de", "en-xa", "ar-xb"):
        ada.language, digest.frame = code, None
        ada.save()
        content = rendering.contents([digest], now=NOW)[digest.pk]
        by_templates, by_pieces = (way.message(digest, content) for way in (rendering, pieces))
        assert by_pieces.subject == by_templates.subject
        assert by_pieces.body == by_templates.body
        assert by_pieces.alternatives[0][0] == by_templates.alternatives[0][0]


# -- who is answered in which --------------------------------------------------------------


def test_a_public_page_speaks_the_browsers_language_and_tells_caches_so(papers):
    for code, words in [("de-AT,de;q=0.9", "Dienstag, 2. Dezember"), ("fr", "Tuesday, 2 December")]:
        response = asked_in(code).get(f"/{DAY}/")
        assert words in response.content.decode()
        assert response["Content-Language"] == code[:2].replace("fr", "en")
        assert "public" in response["Cache-Control"]
        assert "Accept-Language" in response["Vary"]


def test_no_cookie_changes_what_a_cache_may_hand_to_everybody(papers):
    client = Client()
    client.cookies["django_language"] = "de"
    response = client.get("/")
    assert response["Content-Language"] == "en"
    assert "Cookie" not in response["Vary"]


def test_a_readers_pages_speak_the_readers_language_whatever_the_browser_wants(digest, papers, ada):
    client = asked_in("en")
    for address in readers_pages(ada, digest):
        response = client.get(address)
        assert response["Content-Language"] == "de", address
        assert '<html lang="de"' in response.content.decode(), address
    assert client.get("/")["Content-Language"] == "en"


def test_a_choice_of_language_shows_at_once_and_in_the_next_mail(ada, digest):
    address = f"/preferences/{link(Purpose.MANAGE, ada.uuid.hex)}/"
    client = asked_in("de")
    fields = filled_in(client.get(address), f"form[action='{address}']")
    assert fields["language"] == ["de"]
    page = client.post(address, {**fields, "language": "en"}, follow=True).content.decode()
    assert "Saved." in page
    ada.refresh_from_db()
    assert any("You get this single mail" in str(mail.body) for mail in mails_of(ada, digest))


def test_a_language_that_nobody_speaks_is_never_offered(settings):
    """Installed or not: no browser and no reader can have it chosen."""
    settings.LANGUAGES = [("en", "English")]
    pseudo.install()
    assert asked_in("en-xa").get("/")["Content-Language"] == "en"
    assert not pseudo.is_spoken("de")


def test_an_unknown_language_is_refused_and_none_leaves_it_as_it_is(ada):
    fields = PreferencesForm.initial_of(ada)
    assert [*PreferencesForm({**fields, "language": "xx"}).errors] == ["language"]
    address = f"/preferences/{link(Purpose.MANAGE, ada.uuid.hex)}/"
    saved = Client().post(address, {**fields, "language": ""})
    ada.refresh_from_db()
    assert saved.status_code == 302
    assert ada.language == "de"


def test_one_language_is_no_choice(ada, settings):
    settings.LANGUAGES = [("en", "English")]
    page = Client().get(f"/preferences/{link(Purpose.MANAGE, ada.uuid.hex)}/").content.decode()
    assert 'name="language"' not in page


def test_who_reads_a_language_that_is_no_longer_offered_is_answered_in_the_first(
    ada, digest, settings
):
    settings.LANGUAGES = [("en", "English")]
    page = asked_in("de").get(f"/preferences/{link(Purpose.MANAGE, ada.uuid.hex)}/")
    assert page["Content-Language"] == "en"
    bodies = [str(message.body) for message in mails_of(ada, digest)]
    assert "CHOSEN FOR YOU" in bodies[0]
    assert not any("Einstellungen" in body for body in bodies)


def test_the_language_of_a_signup_is_the_browsers(settings):
    asked_in("de-CH, en;q=0.5").post("/subscribe/", {"email": "ben@example.org"})
    ben = Subscriber.objects.get(email="ben@example.org")
    assert ben.language == "de"
    assert str(mail.SERVICE_MAILS[0].compose(ben, NOW).subject).startswith("Bestätige dein Abo")


def test_the_feed_speaks_the_installations_language(papers):
    Entry.objects.filter(paper=papers[0]).update(picked_by=NAME, editor_note=TITLE)
    response = asked_in("de").get("/feed.xml")
    assert response["Content-Language"] == "en"
    assert f"Editor’s pick ({NAME}):" in response.content.decode()


# -- dates and numbers ---------------------------------------------------------------------


def test_a_german_digest_tells_days_hours_and_numbers_as_germans_do(ada, digest):
    text = str(mails_of(ada, digest)[0].body)
    for words in (
        "Dienstag, 2. Dezember 2025",
        "am 3. November 2025 bestätigt",
        "Sie kommt montags bis freitags um 07:00 Uhr (Zeitzone Europe/Berlin)",
        "und 2 weitere",
        f"Weil du „{TOPIC}“ folgst",
    ):
        assert words in " ".join(text.split())


def test_numbers_are_grouped_as_the_language_does(papers):
    address = f"/papers/{papers[0].arxiv_id}/"
    for code, stars in [("en", "1,204 stars"), ("de", "1.204 Sterne")]:
        assert stars in asked_in(code).get(address).content.decode()


def test_a_web_view_tells_numbers_as_its_mail_does(ada, digest):
    digest.items[7]["reason"]["upvotes"] = 1204
    digest.save()
    message = mails_of(ada, digest)[0]
    address = f"/read/{link(Purpose.READ, digest.uuid.hex)}/"
    page = asked_in("de").get(address).content.decode()
    for said in (page, str(message.alternatives[0][0])):
        assert "1.205 Stimmen" in said
        assert "Bei allen beliebt: 1.204 Stimmen" in said
        assert "1204" not in said
    assert "Bei allen beliebt: 1.204 Stimmen" in " ".join(str(message.body).split())


def test_nothing_stands_between_names_and_the_dot_after_them(papers):
    page = asked_in("de").get(f"/{DAY}/").content.decode()
    assert "</bdi> und 2 weitere</span>" in page


def test_several_days_are_joined_by_a_word(ada):
    ada.cadence, ada.days = "chosen", [4, 0, 2]
    frame = rendering.frame_of(ada, next_due_at=None)
    for code, words in [
        ("en", "every Monday, Wednesday and Friday"),
        ("de", "jeden Montag, Mittwoch und"),
    ]:
        with translation.override(code):
            assert rendering.cadence_words(frame).startswith(words)
