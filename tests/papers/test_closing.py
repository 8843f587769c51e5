"""A real day, lived through round by round: what was known when, when its edition closed, and what
two readers got. With `-s` the story is printed. Then the rule for closing, on all archived days.

The day is Monday, 21 October 2024: which papers Hugging Face listed, and the second at which each
was submitted. That a paper stands in the list from then on, and that its votes grow evenly until
the hour at which the archive counted them, is assumed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import closing
from benchmarks.closing import DEFAULT, Rule
from digest import assembly
from digest.models import Digest
from papers import editions, fetching, freshness
from papers.models import Edition, Entry, Fetch, Paper, Source
from tests.factories import make_reader
from tests.fakes.source_server import SourceServer
from tests.papers.factories import utc

DAY = date(2024, 10, 21)
MIDNIGHT, BREAKFAST = utc("2024-10-21T00:00"), utc("2024-10-22T05:00")
COUNTED_AT = utc("2024-10-21T17:05")
SUBMITTED = json.loads((Path(__file__).parent.parent / "data/closing_2024-10-21.json").read_text())
NOWHERE = "http://127.0.0.1:9"


# -- the day -------------------------------------------------------------------------------


@dataclass
class Story:
    """The day as it goes on, and what is to be told of it."""

    server: SourceServer
    settings: Any
    rows: list[dict[str, Any]] = field(default_factory=lambda: list(SUBMITTED))
    lines: list[str] = field(default_factory=list)
    is_broken: Callable[[datetime], bool] = lambda now: False  # all of it
    is_api_broken: Callable[[datetime], bool] = lambda now: False  # and its page is not

    def live(
        self, since: datetime = MIDNIGHT, until: datetime = BREAKFAST, *, minutes: int = 30
    ) -> Story:
        now = since
        with time_machine.travel(now, tick=False) as clock:
            while now <= until:
                clock.move_to(now)
                self.round(now)
                now += timedelta(minutes=minutes)
        return self

    def round(self, now: datetime) -> None:
        """One round of what beat wakes, as far as it is due."""
        self.settings.HUGGINGFACE_URL = NOWHERE if self.is_broken(now) else self.server.url
        self._serve(listed(self.rows, now), is_api_broken=self.is_api_broken(now))
        for fetch in fetching.fetch_due(now, sleep=lambda seconds: None):
            if fetch.day == DAY or fetch.papers_seen:
                self.tell(now, _read(fetch))
        for edition in editions.close_due(now):
            note = f" ({edition.note})" if edition.note else ""
            self.tell(now, f"the edition closes with {_papers(edition.entries.count())}{note}")
        known = set(Digest.objects.values_list("pk", flat=True))
        assembly.assemble_due(now)
        for digest in Digest.objects.exclude(pk__in=known).order_by("pk"):
            self.tell(now, _made(digest))

    def _serve(self, entries: list[dict[str, Any]], *, is_api_broken: bool) -> None:
        self.server.list_papers(f"{DAY}", entries)
        self.server.show_page(f"{DAY}", entries)
        if is_api_broken:
            self.server.answer_always("/api/daily_papers", {"error": "Oops"}, status=503)
        else:
            self.server.forget("/api/daily_papers")

    def tell(self, now: datetime, said: str) -> None:
        """What is said of the list again and again is told once."""
        about = [line for line in self.lines if said.startswith("the list") and "the list" in line]
        if not about or not about[-1].endswith(said):
            self.lines.append(f"{now:%a %H:%M}  {said}")


def listed(rows: Sequence[dict[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """The API's answer at that moment, most votes first."""
    grown = min((now - MIDNIGHT) / (COUNTED_AT - MIDNIGHT), 1.0)
    shown = [row for row in rows if datetime.fromisoformat(row["submitted_at"]) <= now]
    entries = [entry(row, upvotes=round(row["upvotes"] * grown)) for row in shown]
    return sorted(entries, key=lambda each: -each["paper"]["upvotes"])


def entry(row: dict[str, Any], *, upvotes: int) -> dict[str, Any]:
    return {
        "paper": {
            "id": row["id"],
            "title": row["title"],
            "summary": f"What is known of {row['title']}, told in one sentence.",
            "authors": [{"_id": "a", "name": name, "hidden": False} for name in row["authors"]],
            "publishedAt": row["published_at"],
            "submittedOnDailyAt": row["submitted_at"],
            "upvotes": upvotes,
            "discussionId": "d",
        },
        "publishedAt": row["published_at"],
        "title": row["title"],
        "numComments": 1,
    }


def _read(fetch: Fetch) -> str:
    """With what the operator reads on the page of the source, from then on."""
    judged = freshness.freshness(fetch.source, fetch.started_at)
    said = f"; {judged.health.value}: {judged.said}" if judged.is_remarkable else ""
    if fetch.status == Fetch.Status.FAILED:
        return f"the list cannot be read{said}"
    whose = "" if fetch.day == DAY else f" of {fetch.day:%a}"
    return f"the list{whose} has {_papers(fetch.papers_seen)}{said}"


def _papers(number: int) -> str:
    return f"{number} paper{'s' * (number != 1)}"


def _made(digest: Digest) -> str:
    name = digest.subscriber.email.partition("@")[0]
    if digest.state == Digest.State.SKIPPED:
        return f"{name}: no mail, {digest.skip_reason}"
    full = sum(item["section"] == "full" for item in digest.items)
    first = Paper.objects.get(pk=digest.items[0]["paper_id"]).title
    brief = len(digest.items) - full
    return f"{name}: a digest of {_papers(full)} and {brief} titles; first “{first[:54]}…”"


def _ids(digest: Digest) -> set[str]:
    """The papers that it shows."""
    shown = Paper.objects.filter(pk__in=[item["paper_id"] for item in digest.items])
    return set(shown.values_list("arxiv_id", flat=True))


def edition_of(day: date) -> Edition:
    return Edition.objects.get(day=day)


def held(edition: Edition) -> set[str]:
    return set(edition.entries.values_list("paper__arxiv_id", flat=True))


def mails(name: str) -> list[tuple[str, set[str]]]:
    """State and papers of each of that reader's digests, the first one first."""
    digests = Digest.objects.filter(subscriber__email=f"{name}@example.org").order_by("due_at")
    return [(digest.state, _ids(digest)) for digest in digests]


ALL = {row["id"] for row in SUBMITTED}


@pytest.fixture
def story(db, settings) -> Iterator[Story]:
    """Breakfast is at six in London, and at seven in Tokyo: 22:00 UTC of the day before."""
    fetching.ensure_sources()
    Source.objects.exclude(slug="huggingface").update(is_enabled=False)
    Source.objects.update(next_fetch_at=MIDNIGHT)
    source = Source.objects.get(slug="huggingface")
    for age in range(1, 15):  # so that nothing of before is to be read
        day, is_weekday = DAY - timedelta(days=age), (DAY - timedelta(days=age)).weekday() < 5
        Fetch.objects.create(source=source, day=day, started_at=MIDNIGHT - timedelta(hours=1),
                             status="ok" if is_weekday else "empty", pages=1,
                             papers_seen=12 * is_weekday)  # fmt: skip
    make_reader("ada@example.org", ["diffusion image generation"], hour=7,
                time_zone="Asia/Tokyo", next_due_at=utc("2024-10-21T22:00"))  # fmt: skip
    make_reader("ben@example.org", ["language model alignment"], hour=6,
                time_zone="Europe/London", next_due_at=utc("2024-10-21T05:00"))  # fmt: skip
    with SourceServer().running() as server:
        told = Story(server, settings)
        yield told
        print("", *told.lines, sep="\n")


def test_a_day_as_it_was_closes_when_it_is_quiet_and_feeds_the_next_breakfasts(story):
    story.live()

    edition = edition_of(DAY)
    assert edition.closed_at == utc("2024-10-21T18:00")
    assert (held(edition), edition.note) == (ALL, "")
    # Three papers were known at Ben's first breakfast: they wait until the day is whole.
    (before, nothing), (after, papers) = mails("ben")
    assert (before, nothing) == (Digest.State.SKIPPED, set())
    ((first, hers),) = mails("ada")
    assert first == after == Digest.State.ASSEMBLED
    assert papers and hers and papers | hers <= ALL
    assert papers != hers


def test_three_hours_without_the_source_keep_the_day_open_until_it_is_whole(story):
    story.is_broken = lambda now: utc("2024-10-21T14:00") <= now < utc("2024-10-21T17:00")
    story.live(until=utc("2024-10-21T22:00"))

    edition = edition_of(DAY)
    assert (held(edition), edition.note) == (ALL, "")
    # The list grew at the first reading after the outage; two quiet hours follow.
    back = Fetch.objects.succeeded().filter(started_at__gte=utc("2024-10-21T17:00")).earliest(
        "started_at"
    )  # fmt: skip
    assert back.started_at <= utc("2024-10-21T17:30")
    assert edition.closed_at == back.started_at + timedelta(hours=2)
    failed = Fetch.objects.filter(status=Fetch.Status.FAILED, day=DAY)
    assert 5 <= failed.count() <= 9
    ((state, papers),) = mails("ada")
    assert state == Digest.State.ASSEMBLED
    assert papers <= ALL


def test_three_hours_without_the_api_are_read_from_the_page_and_said_aloud(story):
    story.is_api_broken = lambda now: utc("2024-10-21T14:00") <= now < utc("2024-10-21T17:00")
    story.live(utc("2024-10-21T12:00"), utc("2024-10-21T22:00"))

    edition = edition_of(DAY)
    assert edition.closed_at == utc("2024-10-21T18:00")
    assert (held(edition), edition.note) == (ALL, "")
    assert not Fetch.objects.filter(status=Fetch.Status.FAILED).exists()
    by_page = Fetch.objects.filter(reader="huggingface_page", day=DAY).order_by("started_at")
    assert by_page.count() == 6
    assert by_page[1].papers_seen == 20
    assert "503" in by_page[0].note
    aloud = [line for line in story.lines if "Read by its fallback" in line]
    assert aloud and "since 21 October 2024, 14:00 UTC" in aloud[0]
    assert "Read by its fallback" not in story.lines[-1]


def test_a_source_that_does_not_come_back_closes_at_two_and_what_it_hid_is_news_next(story):
    story.is_broken = lambda now: utc("2024-10-21T14:00") <= now < utc("2024-10-22T06:00")
    story.live(until=utc("2024-10-22T06:00"), minutes=60)

    edition = edition_of(DAY)
    known = {row["id"] for row in SUBMITTED if row["submitted_at"] < "2024-10-21T13:00"}
    assert edition.closed_at == utc("2024-10-22T02:00")
    assert held(edition) == known
    assert len(ALL - known) == 5
    assert "failed: cannot reach 127.0.0.1:9" in edition.note
    assert held(edition_of(date(2024, 10, 22))) == ALL - known
    ((state, _papers),) = mails("ada")
    assert state == Digest.State.SKIPPED
    assert mails("ben")[1][0] == Digest.State.ASSEMBLED
    assert mails("ben")[1][1] <= known


def test_a_paper_after_closing_time_comes_with_the_next_edition_and_never_twice(story):
    late = {**SUBMITTED[0], "id": "2410.99999", "submitted_at": "2024-10-21T20:10:00Z",
            "title": "Language model alignment, late in the evening"}  # fmt: skip
    story.rows.append(late)
    story.live(minutes=60).live(utc("2024-10-22T08:00"), utc("2024-10-23T06:00"), minutes=120)

    assert held(edition_of(DAY)) == ALL
    assert held(edition_of(date(2024, 10, 22))) == {late["id"]}
    shown = [papers for _state, papers in mails("ben")]
    assert late["id"] in shown[2]
    assert not shown[1] & shown[2]


# -- the rule ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "rule", "at"),
    [
        ([1, 9], DEFAULT, 18),
        ([1, 17], DEFAULT, 19),
        ([1, 17, 19], DEFAULT, 21),  # read at the very moment: not closed without it
        ([1, 17, 19.5], DEFAULT, 19),
        ([1, 25], Rule(18, 2, 2), 18),
        ([17, 18.5, 20, 21.5, 23, 24.5, 25.5], DEFAULT, 26),
        ([23], Rule(12, 1, 0), 24),  # of a day without a paper there is no edition to close
    ],
)
def test_the_rule_closes_a_day(seen, rule, at):
    assert closing.closing(rule, [float(hour) for hour in seen]) == at


HOURS = st.lists(st.integers(0, 50).map(lambda half: half / 2), min_size=1, max_size=30).map(sorted)


@given(HOURS, st.integers(12, 22), st.integers(1, 4), st.integers(0, 8))
def test_more_patience_never_closes_earlier(seen, quiet_from, quiet, close):
    at = closing.closing(Rule(quiet_from, quiet, close), seen)
    assert quiet_from <= at <= 24 + close
    for patient in (
        Rule(quiet_from + 1, quiet, close),
        Rule(quiet_from, quiet + 1, close),
        Rule(quiet_from, quiet, close + 1),
    ):
        assert closing.closing(patient, seen) >= at


def test_the_product_closes_as_the_benchmark_says(story, settings):
    """The benchmark has the rule in a formula of its own; here both have the same days to close."""
    rng = random.Random(7)
    rule = Rule(
        settings.EDITION_QUIET_FROM_HOUR, settings.EDITION_QUIET_HOURS, settings.EDITION_CLOSE_HOUR
    )
    for number in range(5):
        day = date(2025, 3, 1) + timedelta(days=number)
        seen = sorted(rng.randrange(53) / 2 for _ in range(rng.randrange(1, 12)))
        assert _closed_by_product(day, seen) == closing.closing(rule, seen)
    assert rule == DEFAULT


def _closed_by_product(day: date, seen: Sequence[float]) -> float:
    """Hours after that day's midnight at which close_due closes it, asked every half hour."""
    midnight = utc(f"{day}")
    source = Source.objects.get(slug="huggingface")
    for step in range(27 * 2):
        now = midnight + step * timedelta(minutes=30)
        if step / 2 in seen:
            edition, _made = Edition.objects.get_or_create(day=day, defaults={"opened_at": now})
            paper = Paper.objects.create(
                arxiv_id=f"{day:%y%m}.{day.day:02}{step:03}", title="A paper", published_at=now
            )
            Entry.objects.create(edition=edition, paper=paper, source=source, position=1)
            Edition.objects.filter(pk=edition.pk).update(grew_at=now)
        Fetch.objects.update_or_create(
            source=source, day=day, defaults={"status": "ok", "started_at": now}
        )
        if closed := editions.close_due(now):
            return (closed[0].closed_at - midnight) / timedelta(hours=1)
    raise AssertionError("it never closed")


def test_what_the_archive_measures(shared_data):
    days = closing.read_days(shared_data / "hf_daily")

    evening, morning = (closing.measured(name, days[name]) for name in ("2024", "2025"))
    assert (evening["days"], morning["days"]) == (129, 197)
    assert evening["share"] == pytest.approx(0.964, abs=0.001)
    assert morning["share"] == pytest.approx(0.645, abs=0.001)
    # No reading of either year showed a younger paper.
    for era in (evening, morning):
        assert 1.5 < era["youngest"] < 1.54


def test_the_defaults_are_what_the_archive_speaks_for(shared_data):
    days = closing.read_days(shared_data / "hf_daily")
    for era in ("2024", "2025"):
        seen = closing.simulated(
            days[era], days["2024"], lag=closing.LAG_HOURS, tail=closing.TAILS["uniform"], draws=5
        )
        default = closing.judged(DEFAULT, seen)
        early = closing.judged(Rule(12, 2, 2), seen)
        late = closing.judged(Rule(22, 2, 2), seen)
        assert early.share < 0.90 < 0.96 < default.share < late.share
        assert default.by_asia > 0.97
        assert late.by_asia == 0
