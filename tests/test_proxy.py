"""What a proxy says is believed under TRUST_PROXY alone, also by gunicorn from this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

PROJECT = Path(__file__).resolve().parent.parent
SAID = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "SCRIPT_NAME": "/evil"}


@pytest.fixture
def gunicorn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A public installation; the parameter is its TRUST_PROXY."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "DATA_DIR": str(tmp_path),
        "SITE_URL": "https://papers.example.org", "SECRET_KEY": "one-key-of-" * 6,
        "SUPPRESSION_KEY": "another-key" * 6, "TRUST_PROXY": request.param,
        "WEB_BIND": f"127.0.0.1:{port}", "WEB_WORKERS": "1",
    }  # fmt: skip
    binary = Path(sys.executable).parent / "gunicorn"
    command = [str(binary), "-c", "config/gunicorn.py", "config.wsgi:application"]
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(url)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            ask(url)
        except requests.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def ask(url: str, **headers: str) -> requests.Response:
    host = {"Host": "papers.example.org"}
    return requests.get(f"{url}/link/", headers=host | headers, timeout=10, allow_redirects=False)


@pytest.mark.parametrize("gunicorn", ["false"], indirect=True)
def test_untold_nobody_s_word_is_taken(gunicorn: str) -> None:
    for said in ({}, SAID):
        away = ask(gunicorn, **said)
        assert (away.status_code, away.headers["Location"]) == (
            301, "https://papers.example.org/link/",
        )  # fmt: skip


@pytest.mark.parametrize("gunicorn", ["true"], indirect=True)
def test_when_told_the_proxy_names_the_scheme_and_nothing_else(gunicorn: str) -> None:
    assert ask(gunicorn).status_code == 301
    page = ask(gunicorn, **SAID)
    assert page.status_code == 200
    assert "evil" not in page.text
    assert page.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert "upgrade-insecure-requests" in page.headers["Content-Security-Policy"]
    assert ask(gunicorn, **{**SAID, "Host": "evil.example"}).status_code == 400
