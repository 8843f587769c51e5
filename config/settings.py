"""Every setting, from the environment alone. `.env.example` explains each variable.

Without any variable this is one machine with SQLite, a local outbox and keys of its own, made
on the first start and kept in DATA_DIR. An environment that is unsafe or contradicts itself is
refused at the end of this file, every problem by its name; what a public installation should
have besides is checked by `manage.py check --deploy` and `manage.py doctor`.
"""

from __future__ import annotations

import os
import secrets
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from config import logs
from config.environment import KEY_LENGTH, MAKE_A_KEY, SQLITE, Env, contradictions, unknown_names

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION: str = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"]


env = Env()
ENV_FILE = Path(os.environ.get("ENV_FILE", BASE_DIR / ".env"))
if ENV_FILE.is_file():
    env.read_env(ENV_FILE)

# -- where things are ----------------------------------------------------------------------

DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var")))
PORT = env.int("PORT", default=8000)
SITE_URL = env.http_url("SITE_URL", default=f"http://127.0.0.1:{PORT}")
SITE_NAME = env.str("SITE_NAME", default="Paperround")
LOGO_TEXT = env.str("LOGO_TEXT", default=SITE_NAME)
# The grounds are those of mails and of papers/site.css, whose words on a button are dark at night.
# What is legible on these is so on black, too, once a mail client has inverted it.
BRAND_COLOR = env.color("BRAND_COLOR", default="#1d5c43", on=("#ffffff", "#f5f2ea"))
BRAND_COLOR_DARK = env.color(
    "BRAND_COLOR_DARK", default="#8fd0b0", on=("#000000", "#23211d", "#10281d")
)
HAS_OWN_COLORS = (BRAND_COLOR, BRAND_COLOR_DARK) != ("#1d5c43", "#8fd0b0")
FOOTER_TEXT = env.str("FOOTER_TEXT", default="")
TEMPLATES_DIR = env.folder("TEMPLATES_DIR")
_site = urlsplit(SITE_URL)
SITE_HOST = _site.hostname or ""
IS_PUBLIC = _site.scheme == "https"

DATABASES = {
    "default": env.database(
        "DATABASE_URL", default=f"sqlite:///{quote(str(DATA_DIR))}/paperround.sqlite3"
    )
}
_database = DATABASES["default"]
DATABASE_CONN_MAX_AGE = env.int("DATABASE_CONN_MAX_AGE", default=60)
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
    _database["CONN_MAX_AGE"] = DATABASE_CONN_MAX_AGE
    _database["CONN_HEALTH_CHECKS"] = True
    # A server that hangs is given up on: /readyz has to say so in time.
    _database.setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _own_secret(name: str) -> str:
    """The variable; on a private machine, else, a key of its own that is made once and kept."""
    if value := str(env.str(name, default="")):
        return value
    if IS_PUBLIC or "sqlite" not in _database["ENGINE"]:
        env.problems.append(
            f"Set {name}: a public or shared installation needs one, the same on every machine. "
            f"{MAKE_A_KEY}"
        )
    # Nothing is made in a folder that a wrong environment may have named.
    return "" if env.problems else _kept_secret(DATA_DIR / name.lower())


def _kept_secret(path: Path) -> str:
    try:
        DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    if len(value) < KEY_LENGTH:
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
    "digest.desk.DeskConfig",
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
    "config.logs.request_id",
    "django.middleware.security.SecurityMiddleware",
    "config.headers.own_headers",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "config.headers.no_language_cookie",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "subscribers.limits.AdminLogins",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [*TEMPLATES_DIR, BASE_DIR / "templates"],
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
# The first is the installation's own: what is the same for everybody (feeds) speaks it, and a
# reader whose language is no longer offered.
LANGUAGES = env.languages("LANGUAGES")
LANGUAGE_CODE = LANGUAGES[0][0]
LOCALE_PATHS = [BASE_DIR / "config" / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["config.formats"]

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
# Only staff have a session: one working day.
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_PUBLIC
# Under __Host- a browser takes a cookie from this very host alone, and over https alone.
_prefix = "__Host-" if IS_PUBLIC else ""
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"{_prefix}sessionid", f"{_prefix}csrftoken"
SECURE_SSL_REDIRECT = IS_PUBLIC
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # probes ask the machine itself, by http
SECURE_HSTS_SECONDS = 31_536_000 if IS_PUBLIC else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_PUBLIC
# Pages bring their own files and nothing else runs. A mail's styles stand in its elements, so a
# mail in a frame is a document with a policy of its own (subscribers.views, digest.admin).
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "frame-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "upgrade-insecure-requests": IS_PUBLIC,
    }
}
# A library of a thousand papers comes back as that many ticks.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 3000
CSRF_TRUSTED_ORIGINS = [f"{_site.scheme}://{_site.netloc}"]
TRUST_PROXY = env.bool("TRUST_PROXY", default=False)
if TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# -- mail ----------------------------------------------------------------------------------

# An IPv6 address in a mail address is read by some Pythons and refused by others.
_mail_host = "localhost" if ":" in SITE_HOST else SITE_HOST
MAIL_FROM = env.str("MAIL_FROM", default=f"{SITE_NAME} <digest@{_mail_host}>")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = MAIL_FROM
POSTAL_ADDRESS = env.str("POSTAL_ADDRESS", default="")
LIST_ID = env.str("LIST_ID", default=f"digest.{SITE_HOST}")
UNSUBSCRIBE_MAILTO = env.str("UNSUBSCRIBE_MAILTO", default="")
OUTBOX_DIR = DATA_DIR / "outbox"

EMAIL_BACKEND = env.str("EMAIL_BACKEND", default="")
_mail_server = env.mail_server("EMAIL_URL", default="outbox:")
if not EMAIL_BACKEND:
    vars().update(_mail_server)
# Providers by anymail; their keys are the ANYMAIL_* variables that anymail documents.
ANYMAIL = {
    key.removeprefix("ANYMAIL_"): {"true": True, "false": False}.get(value.lower(), value)
    for key, value in os.environ.items()
    if key.startswith("ANYMAIL_")
}
EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT", default=30)
# Of one process to one mail server, at a time.
SMTP_CONNECTIONS = env.int("SMTP_CONNECTIONS", default=2)

# The second transport, as EMAIL_* settings of its own; empty where there is none.
FALLBACK_EMAIL: dict[str, Any] = env.smtp_server("FALLBACK_EMAIL_URL")
if _fallback := env.str("FALLBACK_EMAIL_BACKEND", default=""):
    FALLBACK_EMAIL = {"EMAIL_BACKEND": _fallback}
if FALLBACK_EMAIL:
    FALLBACK_EMAIL["EMAIL_TIMEOUT"] = EMAIL_TIMEOUT

# Limits hold for each transport by itself; 0: none.
MAIL_PER_SECOND = env.float("MAIL_PER_SECOND", default=0)
MAIL_PER_DAY = env.int("MAIL_PER_DAY", default=0)
MAIL_WARMUP_FROM = env.day("MAIL_WARMUP_FROM")
MAIL_WARMUP_FIRST_DAY = env.int("MAIL_WARMUP_FIRST_DAY", default=200)
MAIL_WARMUP_GROWTH = env.float("MAIL_WARMUP_GROWTH", default=1.5)

# -- Celery --------------------------------------------------------------------------------

CELERY_BROKER_URL = env.broker_url("REDIS_URL", default="memory://")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"papers.*": {"queue": "fetch"}, "digest.send_due": {"queue": "send"}}
CELERY_TASK_QUEUES: dict[str, dict[str, str]] = {"default": {}, "fetch": {}, "send": {}}
CELERY_TASK_TIME_LIMIT = 600
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "digest.beat.Scheduler"

# Tasks are hints, so they are acknowledged as they begin, and nothing that the broker forgets or
# repeats matters. Acknowledged late they would have to be killed when the broker is lost, lest
# they run twice: in the middle of a window that would leave digests in doubt.
CELERY_TASK_ACKS_LATE = False
# Kills those acknowledged late, so none of ours; left unset, every lost connection is lectured on.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
# Celery takes fewer tasks after a reconnect, as those that run would be delivered again. Not ours.
CELERY_WORKER_ENABLE_PREFETCH_COUNT_REDUCTION = False
# A broker may be away for as long as it likes: after 100 tries (the default) a worker would end.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
    # Kombu waits for ever by default, also on a connection that died without a word.
    "socket_timeout": 15,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 15,
}
if CELERY_BROKER_URL == "memory://":
    CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.2}
# The task that a page may send to have its mail leave now rather than at the next minute.
WAKE_TASK = env.str("WAKE_TASK", default="digest.tick")

# -- what the processes know together: how often whom was asked ---------------------------------

if _redis := env.cache_url("REDIS_URL"):
    _cache: dict[str, Any] = {
        "BACKEND": "config.cache.SharedCache",
        "LOCATION": _redis,
        "KEY_PREFIX": "paperround",
    }
else:
    _local = "django.core.cache.backends.locmem.LocMemCache"
    _cache = {"BACKEND": _local, "OPTIONS": {"MAX_ENTRIES": 10_000}}
CACHES = {"default": _cache}

# -- sources -------------------------------------------------------------------------------

HUGGINGFACE_URL = env.http_url("HUGGINGFACE_URL", default="https://huggingface.co")
HUGGINGFACE_TOKEN = env.str("HUGGINGFACE_TOKEN", default="")
ARXIV_URL = env.http_url("ARXIV_URL", default="https://export.arxiv.org")
ARXIV_FEED_URL = env.http_url("ARXIV_FEED_URL", default="https://rss.arxiv.org")
ARXIV_OAI_URL = env.http_url("ARXIV_OAI_URL", default="https://oaipmh.arxiv.org")
ARXIV_CATEGORIES = env.list(
    "ARXIV_CATEGORIES", default=["cs.AI", "cs.CL", "cs.CV", "cs.LG", "stat.ML"]
)
SEMANTIC_SCHOLAR_URL = env.http_url(
    "SEMANTIC_SCHOLAR_URL", default="https://api.semanticscholar.org"
)
SEMANTIC_SCHOLAR_KEY = env.str("SEMANTIC_SCHOLAR_KEY", default="")
ORCID_URL = env.http_url("ORCID_URL", default="https://pub.orcid.org")
ANSWER_RETENTION_DAYS = env.int("ANSWER_RETENTION_DAYS", default=14)
PUBLIC_ENTRIES = env.int("PUBLIC_ENTRIES", default=60)
FETCH_TIMEOUT_SECONDS = env.float("FETCH_TIMEOUT_SECONDS", default=20)
FETCH_MINUTES = env.int("FETCH_MINUTES", default=30)
SOURCE_STALE_HOURS = env.float("SOURCE_STALE_HOURS", default=6)
ENCODER = "words-1"
SEMANTIC_MODEL = env.semantic_model("SEMANTIC_MODEL")
SEMANTIC_MODEL_NAME = env.str("SEMANTIC_MODEL_NAME", default="")
SEMANTIC_API_KEY = env.str("SEMANTIC_API_KEY", default="")
# A model elsewhere that writes summaries, where the source has none.
SUMMARY_URL = env.endpoint("SUMMARY_URL")
SUMMARY_MODEL = env.str("SUMMARY_MODEL", default="")
SUMMARY_API_KEY = env.str("SUMMARY_API_KEY", default="")
SUMMARY_PER_MINUTE = env.int("SUMMARY_PER_MINUTE", default=10)
SUMMARY_PER_DAY = env.int("SUMMARY_PER_DAY", default=500)

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
SILENCE_NOTE_SLOTS = env.int("SILENCE_NOTE_SLOTS", default=5)
ALERTS_TO = env.addresses("ALERTS_TO")
ALERT_AFTER_MINUTES = env.int("ALERT_AFTER_MINUTES", default=15)
DIGEST_RETENTION_DAYS = env.int("DIGEST_RETENTION_DAYS", default=90)

# -- logging: few lines, and never an address at info ------------------------------------------

LOGGING = logs.configuration(
    level=env.log_level("LOG_LEVEL", default="INFO"),
    form=env.one_of("LOG_FORMAT", logs.FORMATS),
)
LOGGING_CONFIG = "config.logs.configure"

# -- watching: when /readyz says no, and who may read /metrics ----------------------------------

READY_BEAT_SECONDS = env.int("READY_BEAT_SECONDS", default=180)
READY_WORKER_SECONDS = env.int("READY_WORKER_SECONDS", default=300)
READY_OLDEST_DUE_SECONDS = env.int("READY_OLDEST_DUE_SECONDS", default=900)
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# -- what is wrong with all that ----------------------------------------------------------------

_typos = unknown_names(ENV_FILE, env.asked) if ENV_FILE.is_file() else iter(())
env.refuse_problems(chain(_typos, contradictions(vars(), os.environ, sys.argv)))
