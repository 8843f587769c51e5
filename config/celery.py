"""The Celery app and its clock. Every task is only a hint: the database knows what is due."""

import gc
import os
from typing import Any

from celery import Celery, bootsteps, signals

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


class NothingIsPutBack(bootsteps.StartStopStep):
    """Tasks taken and not begun are not returned to the broker: the next tick will see the rows.

    Kombu (5.7) would return them over the connection that it has just lost, and the worker would
    end by an AttributeError.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        consumer.task_consumer.channel.do_restore = False


app = Celery("paperround")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["consumer"].add(NothingIsPutBack)


@signals.worker_process_shutdown.connect
def leave_politely(**_facts: Any) -> None:
    """A worker's children end without atexit, which is where a process says QUIT to its server."""
    from subscribers.transports.smtp_connection import kept

    kept.close()


OBJECTS_BETWEEN_COLLECTIONS = 50_000


@signals.worker_process_init.connect
def keep_what_stands(**_: Any) -> None:
    """What is loaded by now stays: looking through it for garbage, over and over, was a fifth of
    the time that assembling took. And a batch's rows are let go of by counting: looking for rings
    among every 700 of them was a twentieth of what a morning takes.
    """
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)


# Plain intervals: no crontab, no local zone. Any number of beats may run these. What is not
# taken before its successor comes is dropped.
app.conf.beat_schedule = {
    "fetch": {
        "task": "papers.fetch_due",
        "schedule": 60.0,
        "options": {"queue": "fetch", "expires": 55},
    },
    "look-up": {
        "task": "papers.look_up_wanted",
        "schedule": 60.0,
        "options": {"queue": "fetch", "expires": 55},
    },
    "enrich": {
        "task": "papers.enrich",
        "schedule": 600.0,
        "options": {"queue": "fetch", "expires": 550},
    },
    "encode": {
        "task": "papers.encode",
        "schedule": 60.0,
        "options": {"queue": "fetch", "expires": 55},
    },
    "summarize": {
        "task": "papers.summarize",
        "schedule": 60.0,
        "options": {"queue": "fetch", "expires": 55},
    },
    "encode-topics": {
        "task": "subscribers.encode_topics",
        "schedule": 600.0,
        "options": {"queue": "fetch", "expires": 550},
    },
    "fit-trending": {
        "task": "papers.fit_trending",
        "schedule": 3600.0,
        "options": {"queue": "fetch", "expires": 3500},
    },
    "pass-on-wishes": {
        "task": "subscribers.pass_on_wishes",
        "schedule": 3600.0,
        "options": {"queue": "default", "expires": 3500},
    },
    "tick": {
        "task": "digest.tick",
        "schedule": 60.0,
        "options": {"queue": "default", "expires": 55},
    },
    **{
        f"heartbeat-{queue}": {
            "task": "digest.heartbeat",
            "schedule": 60.0,
            "args": [queue],
            "options": {"queue": queue, "expires": 55},
        }
        for queue in ("default", "fetch", "send")
    },
}
