"""Readers who leave, move or are erased while mails go out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from .stage import Stage

ZONES = ["Pacific/Kiritimati", "Asia/Tokyo", "Europe/Berlin", "America/Lima", "Pacific/Pago_Pago"]


@dataclass(frozen=True)
class Readers:
    """How many of them leave by the one-click header, change zone and hour, and are erased."""

    leave: int
    move: int
    erased: int

    @contextmanager
    def acting(self, stage: Stage, *, seconds: float) -> Iterator[None]:
        """Spread over so long, at random. Whoever is not answered asks again."""
        act = _Acting(self, stage, seconds)
        thread = threading.Thread(target=act.run, daemon=True)
        thread.start()
        try:
            yield
            thread.join()
        finally:
            act.over.set()
            thread.join()
        assert act.error is None, act.error


class _Acting:
    def __init__(self, readers: Readers, stage: Stage, seconds: float) -> None:
        self.over = threading.Event()
        self.error: Exception | None = None
        self._stage, self._random = stage, Random(f"{stage.random.random()}")
        self._keys = stage.ledger.readers()
        chosen = self._random.sample(
            list(self._keys), readers.leave + readers.move + readers.erased
        )
        self._erased = [chosen.pop() for _ in range(readers.erased)]
        steps = [(self._leave, chosen.pop()) for _ in range(readers.leave)]
        steps += [(self._move, address) for address in chosen]
        self._random.shuffle(steps)
        self._steps = steps
        self._pause_seconds = seconds / max(len(steps), 1)

    def run(self) -> None:
        try:
            self._act()
        except Exception as error:  # of a thread: the round ends by it
            self.error = error

    def _act(self) -> None:
        for number, (step, address) in enumerate(self._steps):
            if self.over.wait(self._random.uniform(0, 2 * self._pause_seconds)):
                return
            step(address)
            if self._erased and number == len(self._steps) // 2:
                self._erase()

    def _leave(self, address: str) -> None:
        """RFC 8058's POST."""
        path = f"/unsubscribe/{_token('unsubscribe', self._keys[address])}/"
        self._post(path, {"List-Unsubscribe": "One-Click"})
        self._stage.gone[address] = time.time()

    def _move(self, address: str) -> None:
        wishes = {
            "cadence": "daily",
            "hour": str(self._random.randrange(24)),
            "time_zone": self._random.choice(ZONES),
            "papers_per_digest": "5",
            "likes_popular": "on",
        }
        self._post(f"/preferences/{_token('manage', self._keys[address])}/", wishes)

    def _post(self, path: str, fields: dict[str, str]) -> None:
        while not self.over.is_set():
            with suppress(requests.RequestException):
                answer = requests.post(f"{self._stage.url}{path}", fields, timeout=10)
                if answer.status_code < 500:
                    assert answer.ok, f"{path}: {answer.status_code}"
                    return
            self.over.wait(0.1)

    def _erase(self) -> None:
        code = (
            "from digest.erasure import erase\n"
            "from subscribers.models import Subscriber\n"
            f"erase(Subscriber.objects.filter(email__in={self._erased}))\n"
        )
        while not self.over.is_set():
            with suppress(AssertionError):  # the database was killed: erasing is tried again
                self._stage.python(code)
                break
        self._stage.gone |= dict.fromkeys(self._erased, time.time())


def _token(purpose: str, subject: str) -> str:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from subscribers import tokens

    return tokens.make(tokens.Purpose(purpose), subject, today=tokens.utc_today())
