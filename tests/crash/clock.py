"""Celery's app with minutes that last two seconds, for beat alone: an hour's outage in two minutes.

Whatever else lasts a minute or more (a mail's next try, a circuit's rest) is shortened by the
same factor in the database (`ledger.Ledger.hurry`).
"""

import os
import select
import time

from config.celery import app

from .speed import SPEED

for _entry in app.conf.beat_schedule.values():
    _entry["schedule"] /= SPEED
    # What is not taken before its successor comes is dropped, as ever.
    _entry["options"]["expires"] /= SPEED

if "faketime" in os.environ.get("LD_PRELOAD", ""):
    # libfaketime 0.9.10 hands clock_nanosleep(2) a moment of the monotonic clock that it refuses.
    time.sleep = lambda seconds: select.select([], [], [], seconds)

__all__ = ["app"]
