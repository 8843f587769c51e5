"""A minimal Django for the other programs: what each one's own documentation asks for.

PEER_FOLDER holds the database and templates made on the way; PEER_MAIL_PORT is the sink's.
"""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = Path(os.environ["PEER_FOLDER"])

SECRET_KEY = "k" * 50
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sites",
    "sorl.thumbnail",
    "post_office",
    "newsletter",
]
SITE_ID = 1
ROOT_URLCONF = "newsletter.urls"
STATIC_URL, MEDIA_URL = "static/", "media/"
# As our own: SQLite is no slower for them.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "peer.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [FOLDER, HERE / "templates", HERE.parent.parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {"libraries": {"picks": "benchmarks.peers.picks"}},
    }
]
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", int(os.environ["PEER_MAIL_PORT"])
DEFAULT_FROM_EMAIL = "Paperround <digest@papers.example.org>"
# All else of post_office as it comes: batches of 100, five threads, a log row for each mail.
POST_OFFICE = {"BACKENDS": {"default": EMAIL_BACKEND}}
NEWSLETTER_THUMBNAIL = "sorl-thumbnail"
NEWSLETTER_USE_HTTPS = False
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "WARNING", "handlers": []},
    "loggers": {"post_office": {"level": "WARNING", "propagate": False}},
}
