from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.db import DatabaseError

from papers import answers
from papers.models import Answer, Fetch
from tests.papers.factories import utc

MORNING = utc("2026-11-23T07:00")


@pytest.fixture
def fetch(source):
    return Fetch.objects.create(source=source, day=date(2026, 11, 23), started_at=MORNING)


@pytest.fixture
def keep(fetch):
    def keep(number=0, body=b"[]", url="http://x.example/list", at=MORNING):
        answers.keep(fetch, number, "huggingface", url, body, at)

    return keep


def test_a_body_comes_back_byte_for_byte_and_takes_little_room(keep, fetch):
    body = b"\x00\xff the same words again" * 1000
    keep(body=body)

    row = Answer.objects.get()
    assert row.size == len(body)
    assert len(row.body) < len(body) / 20
    (kept,) = answers.bodies(fetch)
    assert (kept.body, kept.reader, kept.received_at) == (body, "huggingface", MORNING)


def test_bodies_come_in_the_order_in_which_they_were_received(keep, fetch):
    for number in (2, 0, 1):
        keep(number, body=b"%d" % number)

    assert [kept.body for kept in answers.bodies(fetch)] == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://me:s3cr3t@x.example:80/list?date=2026-11-23&p=0", "/list?date=2026-11-23&p=0"),
        ("https://x.example/list?date=2026-12-28#2026-W53", "/list?date=2026-12-28#2026-W53"),
        ("https://x.example/" + "x" * 5000, "/" + "x" * 1999),
    ],
)
def test_the_address_is_kept_without_the_site_and_its_password(keep, fetch, url, kept):
    keep(url=url)

    assert Answer.objects.get().url == kept


def test_an_answer_that_cannot_be_kept_stops_nothing(keep, monkeypatch, caplog):
    def fail(**fields):
        raise DatabaseError("disk full")

    monkeypatch.setattr(Answer.objects, "create", fail)
    keep()

    assert "answer not kept" in caplog.text


def test_a_place_in_a_fetch_is_taken_once(keep):
    keep()
    keep(body=b"another")

    assert Answer.objects.get().size == 2


def test_with_a_retention_of_no_days_nothing_is_kept(keep, settings):
    settings.ANSWER_RETENTION_DAYS = 0
    keep()

    assert not Answer.objects.exists()


def test_what_is_older_than_its_retention_goes_and_nothing_else(keep, settings):
    settings.ANSWER_RETENTION_DAYS = 14
    limit = MORNING - timedelta(days=14)
    keep(0, at=limit - timedelta(seconds=1))
    keep(1, at=limit)
    keep(2)

    assert answers.prune(MORNING) == 1
    assert list(Answer.objects.values_list("number", flat=True)) == [1, 2]
    assert answers.prune(MORNING) == 0


def test_a_round_of_pruning_is_bounded(keep, monkeypatch):
    monkeypatch.setattr(answers, "BATCH", 2)
    monkeypatch.setattr(answers, "MOST_BATCHES", 2)
    for number in range(5):
        keep(number, at=MORNING - timedelta(days=100, hours=number))

    assert answers.prune(MORNING) == 4
    assert Answer.objects.get().number == 0  # the oldest went first


def test_pruning_reads_no_bodies(keep, django_assert_num_queries):
    keep(at=MORNING - timedelta(days=100))

    with django_assert_num_queries(3) as queries:
        answers.prune(MORNING)

    assert not any('"body"' in query["sql"] for query in queries.captured_queries)
