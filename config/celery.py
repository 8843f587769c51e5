"""The Celery app and its clock. Every task is only a hint: the database knows what is due."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("paperround")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Plain intervals: no crontab, no local zone. Any number of beats may run these.
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
}
