"""One line for one event, ours and every library's: text for people, JSON for machines.

Our own calls go through structlog (`log.info("edition closed", day=…, papers=48)`), foreign ones
through the standard library; both meet in one formatter. What belongs together carries the same
fact: `digest` (the UUID that is in the mail's Message-ID and in the provider's metadata),
`request`, `task`. Keys of readers never reach a line, addresses only one at DEBUG.
"""

from __future__ import annotations

import logging.config
import re
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from celery.signals import setup_logging, task_postrun, task_prerun
from django.http import HttpRequest, HttpResponse
from structlog.types import EventDict, Processor

FORMATS = ("text", "json")
# What a caller's X-Request-ID may look like: it goes into lines that others read.
_REQUEST_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")

# Anybody can have any text logged, as long as a request may be: so many such lines, of a long
# value its two ends, and patterns that read a text once, whatever stands in it.
PROVOKED_A_MINUTE = 10  # of one process
VALUE_CHARACTERS = 2_000
TRACEBACK_CHARACTERS = 20_000
_TRACEBACKS = ("exception", "stack")

# A key by its shape (subscribers.tokens), and whatever else was tried at a door that takes one.
# Within a query `/` is %2F, within that again %252F.
_DOORS = "confirm|preferences|unsubscribe|address|welcome|read"
_SLASH = r"(?:/|%(?:25)*2[Ff])"
_DASH = r"(?:-|%(?:25)*2[Dd])"
_SECRETS = [
    (re.compile(rf"(?<![0-9a-z])[0-9a-z]{{32,}}{_DASH}[0-9a-z]{{1,9}}{_DASH}[\w%-]*"), "[key]"),
    (re.compile(rf"({_SLASH}(?:{_DOORS}){_SLASH})(?!\[key\])[^/\s?#&\"'<>]{{8,}}"), r"\1[key]"),
    (re.compile(r"(?<=://)[^\s/]+(?=@)"), "[secret]"),
]
# Words that end in @ and a host. A word is eaten whole even if it does not: to begin again at its
# second letter would cost a long one the square of its length.
_WORD = r"[\w.!#$%&'*+/=?^`{|}~\\-]+"
_QUOTED = r'"(?:[^"\\\n]|\\.){1,64}"(?=@)'
_HOST = r"(?:[\w-]+(?:(?:\.|\\[xu])[\w-]+)*|\[[0-9A-Za-z:.]{2,60}\])"
_ADDRESS = re.compile(rf"(?:{_QUOTED}|{_WORD})(?P<host>@{_HOST})?")
# Within a query @ is %40, in a mail's source =40.
_ENCODED_AT = re.compile(r"%(?:25)*40|=40(?=[\w-]+\.[a-z])")
_PARTS = re.compile(r"([/?&;]|=(?!40))")
_QUIET_WORD = re.compile(r"[^\s\"'=]+")


def configuration(*, level: str, form: str) -> dict[str, Any]:
    """A dictConfig of plain data, as Django and gunicorn take it."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "config.logs.formatter", "form": form}},
        "filters": {"provoked": {"()": "config.logs.Provoked"}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["provoked"],
            }
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "celery": {"level": "WARNING"},
            "kombu": {"level": "ERROR"},
            "waitress": {"level": "WARNING"},
            "django.request": {"level": "ERROR"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            # It brings handlers of its own; its lines are to look like all others.
            "gunicorn.error": {"handlers": [], "propagate": True},
        },
    }


def configure(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG: the standard library, and structlog in front of it."""
    logging.config.dictConfig(config)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_FACTS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def formatter(form: str) -> logging.Formatter:
    as_line: Processor = structlog.processors.JSONRenderer() if form == "json" else _as_text
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_FACTS, structlog.stdlib.ExtraAdder(allow=["left_out"])],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact,
            _in_order,
            as_line,
        ],
    )


class Provoked(logging.Filter):
    """Lines that anybody can have written with a bad request: a few a minute, then they are only
    counted, and the next one says how many were left out. Faults of ours are never among them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._minute, self._seen = 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not _is_provoked(record):
            return True
        with self._lock:
            minute = int(self._clock() // 60)
            if minute != self._minute:
                if self._seen > PROVOKED_A_MINUTE:
                    record.left_out = self._seen - PROVOKED_A_MINUTE
                self._minute, self._seen = minute, 0
            self._seen += 1
            return self._seen <= PROVOKED_A_MINUTE


def _is_provoked(record: logging.LogRecord) -> bool:
    if record.name == "gunicorn.error":
        return str(record.msg).startswith("Invalid request from")
    return record.name.startswith(("django.security.", "waitress.queue"))


def redact(logger: Any, method: str, event: EventDict) -> EventDict:
    """Blanks keys in every text of the line, its traceback included; from INFO up addresses too."""
    keeps_addresses = event.get("level") == "debug"
    return {name: _redacted(name, value, keeps_addresses) for name, value in event.items()}


def _redacted(name: str, value: Any, keeps_addresses: bool) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    limit = TRACEBACK_CHARACTERS if name in _TRACEBACKS else VALUE_CHARACTERS
    return blanked(_ends(str(value), limit), keeps_addresses=keeps_addresses)


def blanked(text: str, *, keeps_addresses: bool = False) -> str:
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    if keeps_addresses or not ("@" in text or "40" in text):
        return text
    return _ADDRESS.sub(_without_address, text)


def _without_address(word: re.Match[str]) -> str:
    if word["host"]:
        return "[address]"
    if not _ENCODED_AT.search(word[0]):
        return word[0]
    parts = _PARTS.split(word[0])
    return "".join("[address]" if _ENCODED_AT.search(part) else part for part in parts)


def _ends(text: str, limit: int) -> str:
    """A long text's two ends, in whole words: half a key or address would not be known for one."""
    if len(text) <= limit:
        return text
    head, _space, _half = text[: limit // 2].rpartition(" ")
    _half, _space, tail = text[-limit // 2 :].partition(" ")
    return f"{head} [of {len(text)} characters] {tail}".strip()


def _in_order(logger: Any, method: str, event: EventDict) -> EventDict:
    first = {name: event.pop(name, "") for name in ("timestamp", "level", "logger", "event")}
    last = {"exception": event.pop("exception")} if "exception" in event else {}
    return {**first, **event, **last}


def _as_text(logger: Any, method: str, event: EventDict) -> str:
    head = f"{event.pop('timestamp')[:19]}Z {event.pop('level').upper():<7} {event.pop('logger')}"
    said, exception = event.pop("event"), event.pop("exception", "")
    facts = [f"{name}={_as_word(value)}" for name, value in event.items()]
    line = f"{head}  {' '.join([said, *facts])}"
    return f"{line}\n{exception}" if exception else line


def _as_word(value: Any) -> str:
    text = str(value)
    return text if _QUIET_WORD.fullmatch(text) else repr(text)


_FACTS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


# -- what belongs together -----------------------------------------------------------------


def request_id(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Middleware: names the request in every line about it, and in the answer's X-Request-ID.

    The name stays until the thread's next request: Django tells of a 404 or 500 only after the
    middlewares.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        name = _given_id(request) or uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(request=name)
        response = get_response(request)
        response["X-Request-ID"] = name
        return response

    return middleware


def _given_id(request: HttpRequest) -> str:
    from django.conf import settings  # the settings import this module

    given = request.headers.get("X-Request-ID", "") if settings.TRUST_PROXY else ""
    return given if _REQUEST_ID.fullmatch(given) else ""


@setup_logging.connect
def _leave_logging_alone(**kwargs: Any) -> None:
    """Celery replaces nothing where somebody listens here, --loglevel and --logfile included."""


@task_prerun.connect
def _name_task(task_id: str, **kwargs: Any) -> None:
    structlog.contextvars.bind_contextvars(task=task_id)


@task_postrun.connect
def _forget_task(**kwargs: Any) -> None:
    structlog.contextvars.unbind_contextvars("task")
