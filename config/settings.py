"""Every setting, from the environment alone. `.env.example` explains each variable.

Without any variable this is one machine with SQLite, a local outbox and keys of its own, made
on the first start and kept in DATA_DIR. What a public installation must set is checked by
`manage.py check --deploy`.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
SQLITE, POSTGRESQL = "django.db.backends.sqlite3", "django.db.backends.postgresql"
VERSION: str = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"]


class _Env(environ.Env):
    """django-environ; what is empty is unset, and a value of the wrong form is told by its name."""

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        if "default" in kwargs and not self.ENVIRON.get(var):
            return kwargs["default"]
        try:
            return super().get_value(var, *args, **kwargs)
        except ValueError as error:
            raise ImproperlyConfigured(f"{var}: {error}.") from error

    def http_url(self, var: str, *, default: str) -> str:
        value = str(self.str(var, default=default)).rstrip("/")
        try:
            parts = urlsplit(value)
            is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            is_good = False
        if not is_good:
            raise ImproperlyConfigured(f"{var} must be an http(s) address, not {value!r}.")
        return value

    def database(self, var: str, *, default: str) -> dict[str, Any]:
        value = self.str(var, default=default)
        if self.DB_SCHEMES.get(value.partition(":")[0]) in (SQLITE, POSTGRESQL):
            with suppress(ValueError):
                return dict(self.db_url_config(value))
        # The value is not repeated: it may hold a password.
        raise ImproperlyConfigured(
            f"{var} must look like postgres://user:password@host:5432/name or sqlite:////path, "
            "its parts percent-encoded."
        )

    def mail_server(self, var: str, *, default: str) -> dict[str, Any]:
        value = self.str(var, default=default)
        if value == "outbox:":
            return {"EMAIL_BACKEND": "subscribers.transports.outbox.EmailBackend"}
        if value.partition(":")[0] in self.EMAIL_SCHEMES:
            with suppress(ValueError):
                return dict(self.email_url_config(value))
        raise ImproperlyConfigured(
            f"{var} must be outbox: or look like smtp+tls://user:password@host:587, its parts "
            "percent-encoded."
        )

    def broker_url(self, var: str, *, default: str) -> str:
        value = str(self.str(var, default=default))
        if value.partition("://")[0] not in ("redis", "rediss", "redis+socket", "memory"):
            raise ImproperlyConfigured(f"{var} must look like redis://host:6379/0.")
        return value

    def log_level(self, var: str, *, default: str) -> str:
        value = str(self.str(var, default=default)).upper()
        if value not in logging.getLevelNamesMapping():
            raise ImproperlyConfigured(f"{var} must be DEBUG, INFO, WARNING or ERROR.")
        return value


env = _Env()
ENV_FILE = Path(os.environ.get("ENV_FILE", BASE_DIR / ".env"))
if ENV_FILE.is_file():
    env.read_env(ENV_FILE)

# -- where things are ----------------------------------------------------------------------

DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var")))
PORT = env.int("PORT", default=8000)
SITE_URL = env.http_url("SITE_URL", default=f"http://127.0.0.1:{PORT}")
SITE_NAME = env.str("SITE_NAME", default="Paperround")
_site = urlsplit(SITE_URL)
SITE_HOST = _site.hostname
IS_PUBLIC = _site.scheme == "https"

DATABASES = {
    "default": env.database(
        "DATABASE_URL", default=f"sqlite:///{quote(str(DATA_DIR))}/paperround.sqlite3"
    )
}
_database = DATABASES["default"]
if _database["ENGINE"] == SQLITE:
    # Measured: default options gave 1,454 lock errors in 15 s of load, these none.
    _database["ENGINE"] = "config.sqlite_queue"
    _database["TEST"] = {"NAME": ":memory:"}  # a foreign engine's name would get a suffix
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    _database["CONN_MAX_AGE"] = env.int("DATABASE_CONN_MAX_AGE", default=60)
    _database["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _own_secret(name: str) -> str:
    """The variable; on a private machine, else, a key of its own that is made once and kept."""
    if value := str(env.str(name, default="")):
        return value
    if IS_PUBLIC or "sqlite" not in _database["ENGINE"]:
        raise ImproperlyConfigured(
            f"Set {name}: a public or shared installation needs one, the same on every machine. "
            'Make one with: python -c "import secrets; print(secrets.token_urlsafe(50))"'
        )
    path = DATA_DIR / name.lower()
    try:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(50))
        except FileExistsError:
            pass
        value = path.read_text().strip()
    except OSError as error:
        sys.exit(
            f"DATA_DIR: cannot use {DATA_DIR} ({error.strerror}). Make it writable or set another."
        )
    if len(value) < 50:
        sys.exit(f"{path} is damaged (an interrupted first start?). Delete it and start again.")
    return value


# -- keys ----------------------------------------------------------------------------------

SECRET_KEY = _own_secret("SECRET_KEY")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
SUPPRESSION_KEY = _own_secret("SUPPRESSION_KEY")

# -- Django --------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[SITE_HOST, "localhost", "127.0.0.1", "[::1]"])
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "anymail",
    "papers",
    "subscribers",
    "digest",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "papers.views.site",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
    )
]
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# -- safety --------------------------------------------------------------------------------

# Our links carry keys, so no other site is told where a visitor came from. Not "no-referrer":
# under it browsers post our own forms with `Origin: null`, which the CSRF check must refuse.
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_PUBLIC
SECURE_SSL_REDIRECT = IS_PUBLIC
SECURE_HSTS_SECONDS = 31_536_000 if IS_PUBLIC else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_PUBLIC
CSRF_TRUSTED_ORIGINS = [f"{_site.scheme}://{_site.netloc}"]
TRUST_PROXY = env.bool("TRUST_PROXY", default=False)
if TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# -- mail ----------------------------------------------------------------------------------

MAIL_FROM = env.str("MAIL_FROM", default=f"{SITE_NAME} <digest@{SITE_HOST}>")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = MAIL_FROM
POSTAL_ADDRESS = env.str("POSTAL_ADDRESS", default="")
LIST_ID = env.str("LIST_ID", default=f"digest.{SITE_HOST}")
UNSUBSCRIBE_MAILTO = env.str("UNSUBSCRIBE_MAILTO", default="")
OUTBOX_DIR = DATA_DIR / "outbox"

EMAIL_BACKEND = env.str("EMAIL_BACKEND", default="")
if EMAIL_BACKEND:
    # A provider by anymail; its keys are the ANYMAIL_* variables that anymail documents.
    ANYMAIL = {
        key.removeprefix("ANYMAIL_"): {"true": True, "false": False}.get(value.lower(), value)
        for key, value in os.environ.items()
        if key.startswith("ANYMAIL_")
    }
else:
    vars().update(env.mail_server("EMAIL_URL", default="outbox:"))
EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT", default=30)

# -- Celery --------------------------------------------------------------------------------

CELERY_BROKER_URL = env.broker_url("REDIS_URL", default="memory://")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"papers.*": {"queue": "fetch"}, "digest.send_due": {"queue": "send"}}
CELERY_TASK_QUEUES: dict[str, dict[str, str]] = {"default": {}, "fetch": {}, "send": {}}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_TIME_LIMIT = 600
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {"polling_interval": 0.2} if CELERY_BROKER_URL == "memory://" else {"visibility_timeout": 3600}
)
CELERY_TIMEZONE = "UTC"
# The task that a page may send to have its mail leave now rather than at the next minute.
WAKE_TASK = env.str("WAKE_TASK", default="digest.tick")

# -- sources -------------------------------------------------------------------------------

HUGGINGFACE_URL = env.http_url("HUGGINGFACE_URL", default="https://huggingface.co")
HUGGINGFACE_TOKEN = env.str("HUGGINGFACE_TOKEN", default="")
FETCH_TIMEOUT_SECONDS = env.float("FETCH_TIMEOUT_SECONDS", default=20)
FETCH_MINUTES = env.int("FETCH_MINUTES", default=30)
ENCODER = "words-1"

# -- editions and digests ------------------------------------------------------------------

EDITION_QUIET_FROM_HOUR = env.int("EDITION_QUIET_FROM_HOUR", default=18)  # UTC
EDITION_QUIET_HOURS = env.float("EDITION_QUIET_HOURS", default=2)
EDITION_CLOSE_HOUR = env.int("EDITION_CLOSE_HOUR", default=2)  # UTC, on the day after
LATE_LIMIT_HOURS = env.float("LATE_LIMIT_HOURS", default=6)
LEASE_SECONDS = env.int("LEASE_SECONDS", default=300)
CLAIM_LIMIT = env.int("CLAIM_LIMIT", default=500)
SEND_WINDOW = env.int("SEND_WINDOW", default=32)
MAX_ATTEMPTS = env.int("MAX_ATTEMPTS", default=8)
MANAGE_LINK_DAYS = env.int("MANAGE_LINK_DAYS", default=30)
DIGEST_RETENTION_DAYS = env.int("DIGEST_RETENTION_DAYS", default=90)

# -- logging: few, readable lines, and never an address at info --------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "%(asctime)s %(levelname)-7s %(name)s  %(message)s",
            "datefmt": "%H:%M:%S",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.log_level("LOG_LEVEL", default="INFO")},
    "loggers": {
        "celery": {"level": "WARNING"},
        "kombu": {"level": "ERROR"},
        "waitress": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}
