"""Redis is gone for a while, in the middle of a morning's sending: nobody restarts anything."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import requests

from tests.services import Sink, installation, own_database, own_redis, wait_for

pytestmark = pytest.mark.processes

OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "120"))
READERS = 300
NEW = "ada@example.org"


@pytest.mark.usefixtures("redis_url")  # asks whether services are wanted; the server is our own
def test_a_broker_that_dies_in_mid_send_and_comes_back_empty_costs_no_mail_and_no_restart(
    postgresql_url: str, tmp_path: Path
) -> None:
    slow = Sink(seconds_a_mail=0.1)
    with (
        own_redis(tmp_path) as broker,
        own_database(postgresql_url) as database,
        # Three batches: one is being sent, and the tasks for the others are lost with the broker.
        installation(
            tmp_path, database=database, broker=broker.url, sink=slow, CLAIM_LIMIT="100"
        ) as site,
    ):
        site.readers_fall_due(READERS)
        wait_for(lambda: len(slow.mails) >= 50, say=site.outputs, within_seconds=30)

        broker.kill()
        gone_at = time.time()
        asked = time.monotonic()
        page = requests.post(f"{site.url}/subscribe/", {"email": NEW}, timeout=10)
        assert page.status_code == 200
        assert "/check-your-mail/" in page.url
        assert time.monotonic() - asked < 3
        time.sleep(max(0, OUTAGE_SECONDS - (time.time() - gone_at)))
        assert site.mails_to(NEW) == []
        # Beat needs no broker to be alive; the queues do, and say so by their silence.
        beats = site.heartbeats()
        assert time.time() - beats.pop("beat") < 30
        assert OUTAGE_SECONDS < 60 or max(beats.values(), default=0) < gone_at + 60

        broker.start()
        back_at = time.time()
        wait_for(
            lambda: len(slow.times_by_address()) == READERS + 1,
            say=site.outputs,
            within_seconds=180,
        )
        wait_for(
            lambda: len(site.heartbeats()) == 4 and min(site.heartbeats().values()) > back_at,
            say=site.outputs,
            within_seconds=90,
        )

        assert set(slow.times_by_address().values()) == {1}
        assert site.states() == {"sent": READERS}
        site.assert_books_balance()
        for process in site.processes.values():
            assert process.is_alive(), process.output
        for process in site.processes.values():
            process.stop()
        for process in site.processes.values():
            assert process.ended(within_seconds=10) == 0, process.output
