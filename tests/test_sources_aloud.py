"""What is odd about a source is said by readiness, by metrics and by doctor."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine

from digest import health
from digest.management.commands import doctor
from papers import fetching
from papers.models import Fetch, Pace, Source
from tests.digest.test_metrics import scrape
from tests.factories import DUE

pytestmark = pytest.mark.django_db
NOW = DUE + timedelta(minutes=5)


@pytest.fixture(autouse=True)
def five_past_six():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def huggingface() -> Source:
    fetching.ensure_sources()
    Source.objects.update(next_fetch_at=NOW + timedelta(minutes=20))
    return Source.objects.get(slug="huggingface")


def read(source: Source, **fields) -> Fetch:
    return Fetch.objects.create(
        **{"source": source, "day": NOW.date(), "started_at": NOW - timedelta(minutes=10),
           "status": "ok", "pages": 1, "papers_seen": 30, "reader": "huggingface"} | fields
    )  # fmt: skip


def ready() -> tuple[bool, str]:
    (check,) = [each for each in health.checks(NOW) if each.name == "sources"]
    return check.is_ok, check.said


def found(subject: str) -> list[tuple[str, str, str]]:
    findings = [each for each in doctor.findings(NOW) if each.subject == subject]
    return [(each.verdict.value, each.text, each.mend) for each in findings]


def test_of_a_source_that_is_well_there_is_nothing_to_say(client, huggingface):
    read(huggingface)

    assert ready() == (True, "1 is as it should be.")
    assert found("huggingface")[0][0] == "ok"
    numbers = scrape(client)
    assert numbers["source_last_papers", "huggingface"] == 30
    for name in ("unknown_fields", "vanished_fields", "fallback_in_use", "rest_seconds"):
        assert numbers[f"source_{name}", "huggingface"] == 0


def test_a_changed_source_read_by_its_fallback_is_ready_and_everything_says_so(client, huggingface):
    read(
        huggingface, reader="huggingface_page", note="huggingface: HTTP 503 <b>",
        vanished_fields=["paper.upvotes"], unknown_fields={"paper.mood": 30, "mood": 2},
    )  # fmt: skip

    is_ok, said = ready()
    assert is_ok
    assert said.startswith("huggingface: Read 10\xa0minutes ago. Expected, and in no item")
    assert "paper.upvotes" in said
    assert "Read by its fallback huggingface_page, for more than 30 days or from the start." in said
    # What a source said is for the staff alone.
    assert "503" not in said and "mood" not in said
    ((verdict, text, mend),) = found("huggingface")
    assert (verdict, text.endswith("huggingface: HTTP 503 <b>")) == ("warn", True)
    assert "admin" in mend
    numbers = scrape(client)
    assert numbers["source_fresh", "huggingface"] == 1
    assert numbers["source_unknown_fields", "huggingface"] == 2
    assert numbers["source_vanished_fields", "huggingface"] == 1
    assert numbers["source_fallback_in_use", "huggingface"] == 1


def test_a_source_at_rest_says_until_when(client, huggingface, settings):
    settings.HUGGINGFACE_URL = "https://huggingface.co"
    read(huggingface)
    Pace.objects.create(host="huggingface.co", next_at=NOW, cool_until=NOW + timedelta(seconds=90))

    assert ready()[1].endswith("It asked for rest until 23 November, 06:06 UTC.")
    assert found("huggingface")[0][2] == "patience"
    assert scrape(client)["source_rest_seconds", "huggingface"] == 90


def test_the_source_that_is_not_fresh_is_named_beside_one_that_is_odd(huggingface):
    read(huggingface, vanished_fields=["title"])
    arxiv = Source.objects.get(slug="arxiv")
    arxiv.is_enabled, arxiv.next_fetch_at = True, NOW - timedelta(hours=2)
    arxiv.save()

    is_ok, said = ready()

    assert not is_ok
    assert said.startswith("arxiv: Never read; due for 2\xa0hours. huggingface: Read 10")


def test_all_sources_switched_off_are_a_decision_and_none_at_all_is_a_fault(huggingface):
    Source.objects.update(is_enabled=False)
    assert ready() == (True, "None is switched on.")
    Source.objects.all().delete()
    assert ready() == (False, "There is none.")


@pytest.mark.parametrize(
    ("is_enabled", "key", "verdicts"),
    [(True, "", ["warn", "warn"]), (True, "secret", ["warn"]), (False, "", [])],
)
def test_enrichment_without_a_key_is_told(huggingface, settings, is_enabled, key, verdicts):
    settings.SEMANTIC_SCHOLAR_KEY = key
    Source.objects.filter(slug="semantic_scholar").update(is_enabled=is_enabled)

    lines = found("semantic_scholar")

    assert [verdict for verdict, _text, _mend in lines] == verdicts  # never read: one of them
    assert ("SEMANTIC_SCHOLAR_KEY" in [mend for *_line, mend in lines]) is (len(verdicts) == 2)


@pytest.mark.parametrize(("is_enabled", "verdict"), [(True, "fail"), (False, "warn")])
def test_a_category_that_arxiv_does_not_have_is_told(huggingface, settings, is_enabled, verdict):
    settings.ARXIV_CATEGORIES = ["cs.LG", "math", "cs.XX", "Chess"]
    Source.objects.filter(slug="arxiv").update(is_enabled=is_enabled)

    ((told, text, _mend),) = found("ARXIV_CATEGORIES")
    assert (told, text) == (verdict, "no categories of arXiv: cs.XX, Chess")

    settings.ARXIV_CATEGORIES = ["cs.LG", "math", "hep-th"]
    assert found("ARXIV_CATEGORIES") == []
