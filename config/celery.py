"""The Celery app and its clock. Every task is only a hint: the database knows what is due."""

import os
from typing import Any

from celery import Celery, bootsteps

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

# Plain intervals: no crontab, no local zone. Any number of beats may run these. What is not
# taken before its successor comes is dropped.
app.conf.beat_schedule = {
    "fetch": {
        "task": "papers.fetch_due",
        "schedule": 60.0,
        "options": {"queue": "fetch", "expires": 55},
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
