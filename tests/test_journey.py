"""One reader's story, through pages and mails alone, as she and her mailbox provider see it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from urllib.parse import urlsplit

import pytest
import time_machine
from bs4 import BeautifulSoup
from django.core import mail
from django.test import Client
from django.utils import timezone

from digest import tasks
from digest.models import Digest
from papers import editions, fetching
from papers.models import Paper, Source
from papers.records import PaperRecord
from subscribers.models import Subscriber
from tests.database import everything
from tests.digest.books import assert_books_balance

BEES = [
    (
        "Honey bees read the waggle dance by touch",
        "In the dark hive honey bees follow the dancer's body with their antennae.",
    ),
    (
        "How honey bees cool a hive in summer",
        "Honey bees fan their wings and carry water, which keeps the brood at one temperature.",
    ),
    (
        "Queen rearing among honey bees",
        "A colony of honey bees raises a new queen on royal jelly when the old one ages.",
    ),
    (
        "Pollen choice of honey bees near wheat",
        "Foraging honey bees bring home little pollen where wheat is all that grows.",
    ),
    (
        "Winter clusters of honey bees",
        "Honey bees shiver in a cluster through the cold and eat their stored honey.",
    ),
    (
        "Honey bees and the smell of alarm",
        "Guarding honey bees release a scent that calls their nestmates to sting.",
    ),
]
VIOLINS = [
    (
        "Varnish and the tone of old violins",
        "We compare violins from Cremona with and without their varnish.",
    ),
    (
        "Bow pressure in violin playing",
        "A violin string sounds or squeaks as the bow presses, and we map where.",
    ),
    ("Wood for violin tops", "Spruce of slow growth makes a violin top light and stiff."),
    (
        "Listeners cannot tell old violins from new",
        "In a dark hall, soloists and listeners preferred new violins.",
    ),
    (
        "The wolf note of violins",
        "A violin body and its string exchange energy, and the note howls.",
    ),
    ("Vibrato on the violin measured", "A violin player's finger rolls six times a second."),
]
GLACIERS = [
    (
        "Glaciers sliding on wet beds",
        "Meltwater under a glacier lifts the ice, and the glacier slides.",
    ),
    (
        "Counting crevasses of alpine glaciers",
        "From the air each glacier shows its crevasses, which we count.",
    ),
    (
        "Dust darkens glaciers in spring",
        "Dust from deserts falls on the glacier snow and the ice melts sooner.",
    ),
    (
        "Glacier lakes that burst",
        "A lake behind glacier ice empties in a day and floods the valley.",
    ),
    (
        "The sound of calving glaciers",
        "Microphones in the fjord hear how a glacier breaks into the sea.",
    ),
    ("How old is glacier ice?", "Bubbles in the ice of a glacier hold air that we date."),
]
OTHERS = [
    "tax law", "compilers", "tulip breeding", "harbour cranes", "chess endgames", "timetables",
    "bread crusts", "sonnet rhymes", "soap bubbles", "bicycle frames", "roof tiles", "clocks",
]  # fmt: skip

_numbers = count(1)


@pytest.mark.django_db
def test_from_an_address_to_silence_and_back():
    with time_machine.travel(utc("2026-11-20T20:00"), tick=False) as clock:
        papers_come_out(0)
        browser = Client(enforce_csrf_checks=True)

        # Monday afternoon. Ada leaves her address on the home page.
        clock.move_to(utc("2026-11-23T15:00"))
        submit(browser, browser.get("/"), email="Ada@example.org", time_zone="Europe/Berlin")
        assert Subscriber.objects.get().state == "pending"

        # The mail that asks whether it was her. Looking at its link is not an answer.
        (question,) = mails_at(clock, "2026-11-23T15:01")
        assert question.to == ["Ada@example.org"]
        page = browser.get(link(question, "/confirm/"))
        assert Subscriber.objects.get().state == "pending"
        welcome = submit(browser, page)
        assert Subscriber.objects.get().state == "active"

        # She names a subject, ticks a paper, and sees what that would bring.
        violin = Paper.objects.get(title=VIOLINS[0][0])
        tick = f"paper:{violin.arxiv_id}"
        subjects = submit(browser, welcome, topics="honey bees", papers=[tick])
        assert not Subscriber.objects.get().topics.exists()
        preview = submit(browser, subjects, **{"name-0": "old violins", "do": "keep"})
        said = text_of(preview)
        assert "You follow: honey bees old violins" in said
        assert f"{BEES[0][0]}" in said
        assert "Because you follow honey bees" in said

        # "Send my first digest": it is there with the next tick, and its reasons are true.
        done = submit(browser, preview, button="Send my first digest")
        assert "on its way" in text_of(done)
        (first,) = mails_at(clock, "2026-11-23T15:06")
        assert BEES[0][0] in first.subject
        assert "Welcome. This is your first Paperround" in first.body
        assert true_reasons(first) == {"honey bees"}
        assert VIOLINS[0][0] not in squeezed(first.body)  # she knows that one

        # Next morning's edition is printed in the night; her mail comes at seven, not before.
        clock.move_to(utc("2026-11-23T20:00"))
        papers_come_out(1)
        assert mails_at(clock, "2026-11-24T03:00") == []
        assert mails_at(clock, "2026-11-24T05:59") == []
        (tuesday,) = mails_at(clock, "2026-11-24T06:00")
        assert "Monday, 23 November 2026" in tuesday.body
        assert BEES[1][0] in tuesday.body
        assert BEES[0][0] not in tuesday.body
        given = f"Close to “{VIOLINS[0][0]}”, which you gave for “old violins”"
        assert given in squeezed(tuesday.body)
        assert mails_at(clock, "2026-11-24T06:01") == []

        # On Wednesday, before breakfast, she asks for more glaciers and fewer bees.
        clock.move_to(utc("2026-11-24T20:00"))
        papers_come_out(2)
        assert mails_at(clock, "2026-11-25T05:00") == []
        settings_page = link(tuesday, "/preferences/")
        onboarding = settings_page.replace("/preferences/", "/welcome/")
        assert "Close to Glaciers" not in text_of(browser.get(onboarding))
        glacier = link_under(tuesday, GLACIERS[1][0], "More like this:")
        answer = submit(browser, browser.get(glacier))
        assert "move up" in text_of(answer)
        submit(browser, browser.get(link_under(tuesday, BEES[1][0], "Less like this:")))
        (wednesday,) = mails_at(clock, "2026-11-25T06:00")
        assert GLACIERS[2][0] in before_briefs(wednesday)
        assert f"Close to “{GLACIERS[1][0]}”, which you liked" in squeezed(wednesday.body)

        # From now on weekly, on Friday at six in the evening, and never a violin.
        page = browser.get(settings_page)
        submit(browser, page, action="/preferences/", cadence="weekly", days=[4], hour=18)
        submit(browser, browser.get(settings_page), action="/mute/", keywords="violin")
        clock.move_to(utc("2026-11-25T20:00"))
        papers_come_out(3)
        clock.move_to(utc("2026-11-26T20:00"))
        papers_come_out(4)
        assert mails_at(clock, "2026-11-26T06:00") == []
        assert mails_at(clock, "2026-11-27T06:00") == []
        assert mails_at(clock, "2026-11-27T16:59") == []
        (friday,) = mails_at(clock, "2026-11-27T17:00")
        assert "Your week to 26 November 2026" in friday.body
        assert "violin" not in friday.body.replace(VIOLINS[0][0], "").lower()
        assert "every Friday at 18:00, Europe/Berlin time" in squeezed(friday.body)

        # Her mailbox provider's button: a POST without cookie, in either encoding.
        provider = Client(enforce_csrf_checks=True)
        way_out = path_of(friday.extra_headers["List-Unsubscribe"].strip("<>"))
        assert friday.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        form = "List-Unsubscribe=One-Click"
        urlencoded = provider.post(way_out, form, "application/x-www-form-urlencoded")
        assert Subscriber.objects.get().state == "unsubscribed"
        multipart = provider.post(way_out, {"List-Unsubscribe": "One-Click"})
        assert (urlencoded.status_code, multipart.status_code) == (200, 200)

        # Silence, though papers come.
        clock.move_to(utc("2026-11-30T20:00"))
        papers_come_out(5)
        for days in range(10):
            day = date(2026, 12, 1) + timedelta(days=days)
            assert mails_at(clock, f"{day}T06:00") == []
            assert mails_at(clock, f"{day}T17:00") == []

        # It was a mistake: the page behind the mail's link takes it back, and Friday is Friday.
        left = submit(browser, browser.get(link(friday, "/unsubscribe/")))
        assert "You are subscribed again" in text_of(submit(browser, left))
        clock.move_to(utc("2026-12-10T20:00"))
        papers_come_out(6)
        (back,) = mails_at(clock, "2026-12-11T17:00")
        assert "Your week to 10 December 2026" in back.body

        # She leaves for good, changes her mind in the new year, and confirms once more.
        submit(browser, browser.get(link(back, "/unsubscribe/")))
        clock.move_to(utc("2027-01-18T15:00"))
        papers_come_out(7)
        submit(browser, browser.get("/"), email="ada@example.org")
        (question,) = mails_at(clock, "2027-01-18T15:01")
        welcome = submit(browser, browser.get(link(question, "/confirm/")))
        assert "You follow: honey bees" in text_of(welcome)
        (again,) = mails_at(clock, "2027-01-19T03:00") or mails_at(clock, "2027-01-22T17:00")
        assert "unsubscribe" in again.extra_headers["List-Unsubscribe"]

        # All that time nobody's looking has changed anything, and every digest is accounted for.
        for message in mail.outbox:
            open_every_link(message)
        assert_books_balance()
        assert Digest.objects.filter(state="sent").count() == len(mail.outbox) - 2


# -- the world -----------------------------------------------------------------------------


def papers_come_out(number: int) -> None:
    """Today's list: a paper on bees, on violins, on glaciers, and on a dozen other things."""
    now = timezone.now()
    subjects = [GLACIERS, BEES, VIOLINS]
    texts = [each[number % len(each)] for each in subjects]
    if number >= len(BEES):
        texts = [(f"{title}, once more", f"{text} Again.") for title, text in texts]
    texts += [
        (f"Notes on {subject}, {now:%d %B}", f"What {now:%A} taught us of {subject}.")
        for subject in OTHERS
    ]
    fetching.ensure_sources()
    editions.record_day(
        now.date(),
        [record(position, *text) for position, text in enumerate(texts, start=1)],
        source=Source.objects.get(slug="huggingface"),
        now=now,
        read_at=now,
        backfill=False,
    )


def record(position: int, title: str, abstract: str) -> PaperRecord:
    return PaperRecord(
        arxiv_id=f"2611.{next(_numbers):05}",
        title=title,
        abstract=abstract,
        authors=("Ben Sample",),
        published_at=timezone.now(),
        position=position,
        upvotes=60 - position,
    )


def mails_at(clock, moment: str) -> list:
    """What a tick at that moment sends. Every link in it is opened, as mail scanners do."""
    clock.move_to(utc(moment))
    before = len(mail.outbox)
    now = timezone.now()
    assert tasks.prepare(now) == []
    tasks.send_all(now)
    new = mail.outbox[before:]
    for message in new:
        open_every_link(message)
    return new


def open_every_link(message) -> None:
    """GET and HEAD of every link of ours, in both parts; nothing stored may change by it."""
    html = BeautifulSoup(message.alternatives[0][0], "html.parser")
    links = {tag["href"] for tag in html.find_all("a")}
    links.update(re.findall(r"https?://\S+", message.body))
    ours = {path_of(url) for url in links if url.startswith("http://paperround.test/")}
    before, scanner = everything(), Client()
    for path in ours:
        for look in (scanner.get, scanner.head):
            assert look(path).status_code in (200, 410)
    assert everything() == before


# -- what she sees and does ----------------------------------------------------------------


def submit(browser: Client, page, *, form: int = 0, action: str = "", button: str = "", **fields):
    """Fills in a form of the page and presses its button, as a browser would: the one that has
    this name, wherever that one sends it.
    """
    forms = [
        found
        for found in BeautifulSoup(page.content, "html.parser").find_all("form", method="post")
        if action in (found.get("action") or "")
    ]
    if action == "/preferences/":
        forms = [found for found in forms if found.find(attrs={"name": "cadence"})]
    chosen = forms[form]
    data = {**filled_in(chosen), **fields}
    target = chosen.get("action") or page.request["PATH_INFO"]
    if button:
        soup = BeautifulSoup(page.content, "html.parser")
        (pressed,) = [found for found in soup.find_all("button") if found.text.strip() == button]
        assert pressed.get("form", chosen.get("id")) == chosen.get("id")
        target = pressed.get("formaction", target)
        data |= {pressed["name"]: pressed["value"]} if pressed.get("name") else {}
    response = browser.post(target, data, follow=True)
    assert response.status_code == 200
    return response


def filled_in(form) -> dict[str, object]:
    data: dict[str, object] = {}
    for tag in form.find_all(["input", "textarea", "select"]):
        if tag.name == "select":
            selected = tag.find("option", selected=True)
            data[tag["name"]] = selected["value"] if selected else ""
        elif tag.name == "textarea":
            data[tag["name"]] = tag.get_text()
        elif tag.get("type") not in ("checkbox", "radio"):
            data[tag["name"]] = tag.get("value", "")
        elif tag.has_attr("checked"):
            data.setdefault(tag["name"], []).append(tag.get("value", "on"))
    return data


def link(message, part: str) -> str:
    """The path of the mail's link that has `part` in it."""
    return next(path_of(url) for url in re.findall(r"https?://\S+", message.body) if part in url)


def link_under(message, title: str, label: str) -> str:
    """The path of the link of that name under the paper of that title."""
    after = squeezed(message.body).partition(title)[2]
    return path_of(after.partition(label)[2].split()[0])


def true_reasons(message) -> set[str]:
    """The topics that the mail names; each of the words it says were found is in its paper."""
    topics = set()
    body = squeezed(message.body)
    for topic, terms in re.findall(r"Because you follow “([^”]+)”: (.+?)\. Abstract:", body):
        before = body[: body.index(terms)]
        paper = max(Paper.objects.all(), key=lambda each: before.rfind(each.title))
        assert all(term in paper.text.lower() for term in terms.lower().split(", "))
        topics.add(topic)
    return topics


def before_briefs(message) -> str:
    return squeezed(re.split(r"ALSO (?:IN|THIS)", message.body)[0])


def text_of(page) -> str:
    return squeezed(BeautifulSoup(page.content, "html.parser").get_text(" "))


def squeezed(text: str) -> str:
    return " ".join(text.split())


def path_of(url: str) -> str:
    return urlsplit(url).path


def utc(text: str) -> datetime:
    return datetime.combine(date.fromisoformat(text[:10]), time.fromisoformat(text[11:]), UTC)
