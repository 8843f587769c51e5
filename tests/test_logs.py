"""What a line looks like, whoever wrote it, and what never stands in one."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
import structlog
from celery import Celery
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from config import logs
from subscribers import tokens
from subscribers.tokens import Purpose
from tests.services import free_port

PROJECT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
DAY = date(2026, 11, 22)
KEY = "0f8a4e5b1c2d4f6a8b9c0d1e2f3a4b5c-7ku-j6j25WkcveGtQQuVC_CSA-"


@contextmanager
def printed(form: str) -> Iterator[StringIO]:
    """What a console would show of everything that is said meanwhile."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(form))
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def objects(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(error: Exception) -> None:
    raise error


# -- the form of a line --------------------------------------------------------------------


def test_ours_and_foreign_lines_are_one_object_each_in_one_order() -> None:
    with printed("json") as stream:
        structlog.get_logger("papers.editions").info("edition closed", day=DAY, papers=48)
        logging.getLogger("somebody.else").warning("%d of %s", 3, "them")
    ours, theirs = objects(stream)
    assert list(ours) == ["timestamp", "level", "logger", "event", "day", "papers"]
    assert ours["timestamp"].endswith("Z")
    assert {**ours, "timestamp": ""} == {
        "timestamp": "", "level": "info", "logger": "papers.editions", "event": "edition closed",
        "day": "2026-11-22", "papers": 48,
    }  # fmt: skip
    assert (theirs["level"], theirs["logger"]) == ("warning", "somebody.else")
    assert theirs["event"] == "3 of them"


def test_a_traceback_is_a_fact_of_its_line() -> None:
    with printed("json") as stream:
        try:
            fail(RuntimeError("no such day"))
        except RuntimeError:
            structlog.get_logger("ours").exception("step failed", step="close_due")
            logging.getLogger("theirs").exception("failed")
    for line in objects(stream):
        assert line["level"] == "error"
        assert line["exception"].startswith("Traceback")
        assert line["exception"].endswith("RuntimeError: no such day")


def test_as_text_a_line_reads_from_left_to_right() -> None:
    with printed("text") as stream:
        structlog.get_logger("papers").info("day read", papers=48, error="two words", at=None)
    when, *said = stream.getvalue().split(maxsplit=1)
    assert len(when) == len("2026-11-22T08:00:00Z")
    assert said == ["INFO    papers  day read papers=48 error='two words' at=None\n"]


def test_a_value_cannot_begin_a_line_of_its_own() -> None:
    with printed("text") as stream:
        structlog.get_logger("papers").info("day read", error="x\n2026 ERROR  forged")
    assert len(stream.getvalue().splitlines()) == 1


# -- what never stands in one --------------------------------------------------------------


def doors(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    """Every path of the site that takes a key, `{}` in its place."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from doors(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern) and "<str:token>" in route:
            yield "/" + route.replace("<str:token>", "{}")


DOORS = sorted(doors(get_resolver().url_patterns))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "key",
    [KEY, KEY[:-4], KEY + "x", KEY + "_", KEY.replace("-", "%2D")],
    ids=["whole", "cut off", "longer", "longer by _", "encoded"],
)
def test_no_line_keeps_the_key_of_a_path(door: str, key: str) -> None:
    path = door.format(key)
    with printed("json") as stream:
        logging.getLogger("django.request").error("Not Found: %s", path)
        logging.getLogger("gunicorn.error").exception("Error handling request %s?a=b", path)
        structlog.get_logger("ours").debug("asked", path=f"http://paperround.test{path}")
    assert len(objects(stream)) == 3
    assert key[:40] not in stream.getvalue()
    assert "[key]" in stream.getvalue()


def test_a_key_is_known_by_its_shape_wherever_it_stands() -> None:
    made = [
        tokens.make(purpose, uuid4().hex + "0a1b2c3d" * (purpose == Purpose.CONFIRM), today=DAY)
        for purpose in Purpose
    ]
    with printed("text") as stream:
        for key in [*made, KEY]:
            structlog.get_logger("ours").info("seen", key=key, within=f"…{key}, and")
    assert not [key for key in [*made, KEY] if key[:32] in stream.getvalue()]


@pytest.mark.parametrize(
    "text",
    [
        f"/login/?next=%2Funsubscribe%2F{KEY}%2F&page=2",
        f"/login/?next=%252funsubscribe%252f{KEY.replace('-', '%252D')}",
        "/login/?next=%2Funsubscribe%2Fwhatever-was-tried",
        f"t=3D{KEY}",
        f"token_{KEY}",
        f"{KEY}_",
        f"{KEY}x",
        KEY[:-1],
        KEY[:-12],
        repr(f"\n{KEY}"),
        f"t={KEY.replace('-', '%2D')}",
    ],
)
def test_a_key_has_no_disguise(text: str) -> None:
    for part in (KEY[:30], KEY[-22:-13], "whatever"):
        assert part not in logs.blanked(text)
    assert "[key]" in logs.blanked(text)


def test_the_search_for_doors_finds_them() -> None:
    assert {"/unsubscribe/{}/", "/read/{}/"} <= set(DOORS)
    assert len(DOORS) > 10


def test_addresses_and_passwords_are_blanked_also_in_a_traceback() -> None:
    with printed("json") as stream:
        try:
            fail(OSError("550 <ada@example.org> unknown at smtp://me:p4ss@mail.example.org"))
        except OSError as error:
            structlog.get_logger("ours").exception("transport fell over", error=error)
        logging.getLogger("django.request").error("Error: %s", "/admin/?q=ada%40example.org")
    for secret in ("ada", "example.org>", "p4ss"):
        assert secret not in stream.getvalue()
    assert "550 <[address]> unknown" in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "/admin/?q=ada%2540example.org&page=40",
        '550 "ada b"@example.org unknown',
        '550 "ada \\"b"@example.org unknown',
        "550 <ada@[127.0.0.1]> unknown",
        "550 <ada@[IPv6:::1]> unknown",
        "ada@example.org=ben@example.org",
        "ada@b\\xfccher.example",
        "To: ada=40example.org",
        "?a=ada@example.org&b=ben%40example.org",
        "postgres://ada:p@ss@127.0.0.1/paperround",
    ],
)
def test_an_address_has_no_disguise(text: str) -> None:
    said = logs.blanked(text)
    assert not [secret for secret in ("ada", "ben", "cher", "ss@") if secret in said]


def test_a_blank_leaves_the_rest_of_the_line() -> None:
    said = logs.blanked("/admin/?next=/read/&q=ada%40example.org&page=40 not found")
    assert said == "/admin/?next=/read/&q=[address]&page=40 not found"


HOSTILE = [
    "a", "a@", "@", "a@a.", "%40", "%25", "a%40", "=40", "=40a", "a.", '"', '"a', '"\\', "\\x",
    "@[1", "://", "://a", "://a@", "/read/", "/read/1", "%2Fread%2F", "%2Fread%2F12345678",
    "a/?&;=", "0", "0" * 32 + "-", "0" * 32 + "-a-", "0" * 32 + "%25", "-", "é", " ",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("end", ["", "@", "\n"])
def test_a_long_text_costs_no_more_than_its_length(unit: str, end: str) -> None:
    """Ten times the text would cost a hundred times the work where a pattern begins anew in it."""

    def work(characters: int) -> float:
        text = (unit * characters)[:characters] + end
        return min(cpu_seconds(lambda: logs.blanked(text)) for _ in range(3))

    assert work(30_000) < 40 * work(3_000) + 0.02


def cpu_seconds(step: Callable[[], Any]) -> float:
    began = time.thread_time()
    step()
    return time.thread_time() - began


@pytest.mark.parametrize("form", logs.FORMATS)
def test_of_a_long_value_a_line_keeps_both_ends(form: str) -> None:
    with printed(form) as stream:
        structlog.get_logger("ours").info("read", error=f"first {'words ' * 100_000}last")
        try:
            fail(OSError("x" * 100_000))
        except OSError:
            logging.getLogger("theirs").exception("failed")
    short, traceback = stream.getvalue()[:5_000], stream.getvalue()
    assert "first words" in short
    assert "[of 600010 characters]" in short
    assert "words last" in short
    assert "in fail" in traceback
    assert len(traceback) < 30_000


@pytest.mark.parametrize("secret", [f"/read/{KEY}/", f"t={KEY},", "ada-lovelace@example.org"])
def test_a_key_or_address_that_is_cut_through_leaves_nothing(secret: str) -> None:
    half, more = logs.VALUE_CHARACTERS // 2, " x" * 2_000
    with printed("text") as stream:
        for visible in range(len(secret)):
            head = "x" * (half - visible - 1) + f" {secret}{more}"
            tail = f"{more} {secret} " + "x" * (half - visible - 1)
            structlog.get_logger("ours").info("read", head=head, tail=tail)
    left = [KEY[:4], KEY[-9:-4], "/read", "t=", "ada", "lace", "example"]
    assert not [part for part in left if part in stream.getvalue()]


def test_at_debug_an_address_stays_and_a_key_does_not() -> None:
    with printed("text") as stream:
        structlog.get_logger("ours").debug("asked by ada@example.org", path=f"/read/{KEY}/")
    assert "ada@example.org" in stream.getvalue()
    assert KEY not in stream.getvalue()


def test_what_a_line_is_found_by_is_left_alone() -> None:
    uid = uuid4()
    with printed("json") as stream:
        structlog.get_logger("ours").info("digest retry", digest=uid, path="/papers/2512.08765/")
    (line,) = objects(stream)
    assert line["digest"] == str(uid)
    assert line["path"] == "/papers/2512.08765/"


# -- how many lines anybody can have written ---------------------------------------------------


def test_of_provoked_lines_a_few_a_minute_are_said_and_the_rest_counted() -> None:
    seconds = 0.0
    with printed("json") as stream:
        (console,) = [h for h in logging.getLogger().handlers if getattr(h, "stream", 0) is stream]
        console.addFilter(logs.Provoked(clock=lambda: seconds))
        for minute in range(3):
            seconds = 60.0 * minute
            for _ in range(100):
                logging.getLogger("django.security.csrf").warning("Forbidden")
                logging.getLogger("gunicorn.error").warning("Invalid request from ip=::1: x")
            logging.getLogger("gunicorn.error").warning("Worker exiting")
            structlog.get_logger("ours").info("day read")
    said = objects(stream)
    assert [line["event"] for line in said].count("Worker exiting") == 3
    assert [line["event"] for line in said].count("day read") == 3
    assert len(said) == 3 * (logs.PROVOKED_A_MINUTE + 2)
    assert [line["left_out"] for line in said if "left_out" in line] == [190, 190]


# -- what belongs together -----------------------------------------------------------------


@pytest.mark.django_db
def test_a_request_s_name_is_in_the_answer_and_in_its_lines(client: Client) -> None:
    logging.getLogger("django.request").setLevel(logging.WARNING)
    try:
        with printed("json") as stream:
            response = client.get("/nowhere/")
    finally:
        logging.getLogger("django.request").setLevel(logging.ERROR)
    (line,) = [line for line in objects(stream) if line["logger"] == "django.request"]
    assert line["event"] == "Not Found: /nowhere/"
    assert line["request"] == response["X-Request-ID"]
    assert client.get("/nowhere/")["X-Request-ID"] != response["X-Request-ID"]


@pytest.mark.django_db
def test_a_request_is_named_by_a_trusted_proxy_alone(client: Client, settings: Any) -> None:
    def name(given: str) -> str:
        return str(client.get("/healthz", headers={"X-Request-ID": given})["X-Request-ID"])

    assert name("from-outside") != "from-outside"
    settings.TRUST_PROXY = True
    assert name("of-our-proxy.1") == "of-our-proxy.1"
    for hostile in ("a b", "a\u2028b", "x" * 65, "a=b", ""):
        assert name(hostile) != hostile


def test_a_task_s_lines_carry_its_id() -> None:
    app = Celery("other", set_as_current=False)

    @app.task
    def say() -> None:
        structlog.get_logger("ours").info("within")

    with printed("json") as stream:
        say.apply(task_id="task-1")
        structlog.get_logger("ours").info("after")
    within, after = [line for line in objects(stream) if line["logger"] == "ours"]
    assert within["task"] == "task-1"
    assert "task" not in after


# -- the real processes --------------------------------------------------------------------


def started(*command: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    base = {
        "PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "DATA_DIR": str(folder),
        "LOG_FORMAT": "json",
    }  # fmt: skip
    return subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        cwd=PROJECT,
        env=base | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_gunicorn_s_own_lines_and_its_pages_errors_look_the_same(
    tmp_path: Path,
) -> None:
    """There is no database, so a page that reads one fails; its path holds a key."""
    port = free_port()
    process = started(
        "gunicorn", "-c", "config/gunicorn.py", "config.wsgi:application",
        folder=tmp_path, WEB_BIND=f"127.0.0.1:{port}", WEB_WORKERS="1",
    )  # fmt: skip
    site = f"http://127.0.0.1:{port}"
    url = f"{site}/unsubscribe/{key_of(tmp_path)}/"

    def asked() -> bool:
        try:
            return requests.post(url, timeout=5).status_code == 500
        except requests.ConnectionError:
            return False

    until(asked)
    for _ in range(30):
        foreign = {"Origin": "a" * 8_000}
        assert requests.post(f"{site}/admin/login/", headers=foreign, timeout=5).status_code == 403
    said = ended(process)
    refused = [line for line in said if line["logger"] == "django.security.csrf"]
    assert 0 < len(refused) <= 2 * logs.PROVOKED_A_MINUTE
    assert max(len(line["event"]) for line in refused) < 300
    broken = [line for line in said if line["logger"] == "django.request"]
    assert broken[0]["event"] == "Internal Server Error: /unsubscribe/[key]/"
    assert "no such table" in broken[0]["exception"]
    assert len(broken[0]["request"]) == 32


def key_of(folder: Path) -> str:
    """An unsubscribe link's key as the installation in this folder would sign it."""
    code = (
        "import django; django.setup();"
        "from subscribers import tokens; from datetime import date;"
        "print(tokens.make(tokens.Purpose.UNSUBSCRIBE, 'a' * 32, today=date(2026, 11, 22)))"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "config.settings"}
    process = started("python", "-c", code, folder=folder, **environment)
    return process.communicate(timeout=30)[0].splitlines()[-1]


def test_a_worker_s_own_lines_and_its_tasks_errors_look_the_same(
    tmp_path: Path, redis_url: str
) -> None:
    process = started(
        "celery", "-q", "-A", "config", "worker", "-Q", f"logs-{tmp_path.name}", "-c", "1",
        folder=tmp_path, REDIS_URL=redis_url,
    )  # fmt: skip
    app = Celery("sender", broker=redis_url, set_as_current=False)
    sent = app.send_task("digest.heartbeat", args=[1, 2, 3, 4], queue=f"logs-{tmp_path.name}")
    with app.connection() as broker:
        until(lambda: not broker.default_channel.client.llen(f"logs-{tmp_path.name}"))
    time.sleep(0.5)
    (line,) = [line for line in ended(process) if line["logger"] == "celery.app.trace"]
    assert line["level"] == "error"
    assert "TypeError" in line["exception"]
    assert line["task"] == sent.id
