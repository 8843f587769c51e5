"""What is shipped, as far as it can be tried without Docker and systemd: the image's files in a
folder, and the commands of docker-compose.yml with their own environment on real servers.
"""

from __future__ import annotations

import compileall
import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
import yaml
from django.core.management import CommandError, call_command
from django.utils import timezone

from digest.models import Heartbeat
from tests.services import (
    BIN,
    COMMANDS,
    NOBODY,
    PROJECT,
    Sink,
    free_port,
    mail_server,
    own_database,
    own_redis,
    wait_for,
)  # fmt: skip

UNITS = PROJECT / "config" / "systemd"
SITE_URL = "https://papers.example.org"
# What docker-compose.yml asks one to set, and a source that is not the world's.
DOT_ENV = {
    "SITE_URL": SITE_URL,
    "TRUST_PROXY": "true",
    "SECRET_KEY": "for-the-shipment-2f1c7a9be04d8356-0123456789-abcdefghij",
    "SUPPRESSION_KEY": "for-the-shipment-81d2c6f0a97b3e54-0123456789-abcdefghij",
    "POSTAL_ADDRESS": "Paperround, 1 Test Street, 12345 Testville",
    "MAIL_FROM": "Paperround <digest@papers.example.org>",
    "EMAIL_URL": "smtp://mailbox:1025",
    "POSTGRES_PASSWORD": "letters4ndDigits",
    "HUGGINGFACE_URL": NOBODY,
}


# -- docker-compose.yml, run ---------------------------------------------------------------


@pytest.mark.processes
@pytest.mark.usefixtures("redis_url")  # asks whether services are wanted; the server is our own
def test_what_docker_compose_starts_is_healthy_mails_and_ends_in_order(
    postgresql_url: str, tmp_path: Path
) -> None:
    with composed(postgresql_url, tmp_path) as site:
        shipped = listing(site.image)
        for name in ("migrate", "web", "worker", "sender", "beat"):
            site.start(name)
        wait_for(lambda: site.is_healthy("web"), say=site.outputs)
        # The first task for each queue comes a minute after beat's start.
        wait_for(lambda: len(site.heartbeats()) == 4, say=site.outputs, within_seconds=120)
        for name in ("worker", "sender", "beat"):
            assert site.is_healthy(name), site.outputs()

        answer = site.post("/subscribe/", {"email": "ada@example.org"})
        assert answer.status_code == 302
        wait_for(lambda: site.sink.mails, say=site.outputs)
        ((recipient, mail),) = site.sink.mails
        assert recipient == "ada@example.org"
        assert f"{SITE_URL}/confirm/" in mail.get_body(("plain",)).get_content()

        site.start("backup")
        assert list((tmp_path / "backups").glob("paperround-*.tar"))

        for name in ("web", "worker", "sender", "beat"):
            site.stop(name)
        assert "Traceback" not in site.outputs()
        assert "@example.org" not in site.outputs()
        assert listing(site.image) == shipped  # its file system is read-only


@dataclass
class Container:
    command: str
    environment: Mapping[str, str]
    folder: Path
    log: Path

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                shlex.split(self.command),
                cwd=self.folder,
                env=dict(self.environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def ended(self, *, within_seconds: float) -> int:
        return self._process.wait(timeout=within_seconds)

    def stopped(self, number: int, *, within_seconds: float) -> int:
        assert self._process.poll() is None, self.output
        self._process.send_signal(number)
        return self.ended(within_seconds=within_seconds)

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def output(self) -> str:
        return self.log.read_text()


@dataclass
class Composed:
    """The services of docker-compose.yml that are ours, each from the folder of one image."""

    services: dict[str, Any]
    image: Path
    home: Mapping[str, str]  # what the file says -> where that is here
    sink: Sink
    folder: Path
    running: dict[str, Container] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Once what it waits for is there; a one-off service runs to its end."""
        service = self.services[name]
        for other, wanted in service["depends_on"].items():
            assert other in ("postgres", "redis") or other in self.running
            if wanted["condition"] == "service_completed_successfully":
                assert self.running[other].ended(within_seconds=0) == 0
            else:
                assert self.services[other]["healthcheck"]["test"]
        command = service.get("command") or shlex.join(dockerfile_json("CMD"))
        container = Container(
            self._here(command), self.environment(name), self.image, self.folder / f"{name}.log"
        )
        container.start()
        self.running[name] = container
        if service.get("restart") != "unless-stopped":
            assert container.ended(within_seconds=60) == 0, container.output

    def environment(self, name: str) -> dict[str, str]:
        """The image's, then .env, then the service's own: nothing of this machine's but PATH."""
        service = self.services[name]
        assert service["env_file"] == ".env"
        path = f"{BIN}:{os.environ['PATH']}"
        told = {**dockerfile_env(), **DOT_ENV, **service["environment"], "PATH": path}
        return {name: self._here(value) for name, value in told.items()}

    def is_healthy(self, name: str) -> bool:
        check = self.services[name].get("healthcheck", {}).get("test")
        command = check[1:] if check else dockerfile_json("HEALTHCHECK")
        limit = seconds(self.services[name].get("healthcheck", {}).get("timeout", "10s"))
        done = subprocess.run(
            command,
            cwd=self.image,
            env=self.environment(name),
            capture_output=True,
            timeout=limit,
            check=False,
        )
        return done.returncode == 0

    def heartbeats(self) -> set[str]:
        with psycopg.connect(self.environment("web")["DATABASE_URL"]) as database:
            return {name for (name,) in database.execute("SELECT name FROM digest_heartbeat")}

    def stop(self, name: str) -> None:
        service = self.services[name]
        number = signal.Signals[service.get("stop_signal") or dockerfile_word("STOPSIGNAL")]
        grace = seconds(service["stop_grace_period"])
        container = self.running[name]
        assert container.stopped(number, within_seconds=grace) == 0, container.output

    def post(self, path: str, data: Mapping[str, str]) -> requests.Response:
        """As the proxy hands it on."""
        url = f"http://{self.environment('web')['WEB_BIND']}{path}"
        headers = {"Host": urlsplit(SITE_URL).netloc, "X-Forwarded-Proto": "https"}
        return requests.post(url, data, headers=headers, timeout=10, allow_redirects=False)

    def outputs(self) -> str:
        return "\n".join(f"== {name}\n{one.output}" for name, one in self.running.items())

    def _here(self, text: str) -> str:
        for there, here in self.home.items():
            text = text.replace(there, here)
        return text


@contextmanager
def composed(postgresql_url: str, folder: Path) -> Iterator[Composed]:
    with ExitStack() as stack:
        sink = Sink()
        broker = stack.enter_context(own_redis(folder))
        services = compose_file()["services"]
        home = {
            named_database(services): stack.enter_context(own_database(postgresql_url)),
            "redis://redis:6379/0": broker.url,
            "smtp://mailbox:1025": stack.enter_context(mail_server(sink)),
            "0.0.0.0:8000": f"127.0.0.1:{free_port()}",
            "/data": str(folder / "data"),
            "/backups": str(folder / "backups"),
        }
        for volume in ("data", "backups"):
            (folder / volume).mkdir()
        site = Composed(services, build_image(folder / "image"), home, sink, folder)
        try:
            yield site
        finally:
            for container in site.running.values():
                container.kill()


def named_database(services: Mapping[str, Any]) -> str:
    """The address that the services are given, which must be that of the one that is started."""
    server = services["postgres"]["environment"]
    user, password = server["POSTGRES_USER"], server["POSTGRES_PASSWORD"]
    return f"postgres://{user}:{password}@postgres:5432/{server['POSTGRES_DB']}"


def compose_file(environment: Mapping[str, str] = DOT_ENV) -> Any:
    """With anchors and ${…} resolved as compose does it."""

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: resolved(each) for name, each in value.items()}
        if isinstance(value, list):
            return [resolved(each) for each in value]
        return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", chosen, value) if is_text(value) else value

    def chosen(found: re.Match[str]) -> str:
        name, kind, word = found.groups()
        if not environment.get(name) and kind == "?":
            raise KeyError(f"{name}: {word}")
        return environment.get(name) or word

    return resolved(yaml.safe_load((PROJECT / "docker-compose.yml").read_text()))


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def seconds(span: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", span).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


# -- docker-compose.yml, read --------------------------------------------------------------


def test_every_service_that_goes_on_has_a_health_check_and_an_end_to_its_log() -> None:
    for name, service in compose_file()["services"].items():
        assert service["logging"]["options"]["max-size"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        if service.get("restart") == "unless-stopped" and name != "web":  # the image's own
            assert service["healthcheck"]["test"], name


def test_our_services_write_to_their_volumes_alone_and_may_do_nothing_special() -> None:
    ours = [each for each in compose_file()["services"].values() if each["image"] == "paperround"]
    assert len(ours) == 6
    for service in ours:
        assert service["read_only"]
        assert service["tmpfs"] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]
        assert seconds(service.get("stop_grace_period", "10s")) >= 10


def test_nothing_but_the_web_and_the_mailbox_is_reached_from_outside_and_only_from_here() -> None:
    ports = {name: each.get("ports", []) for name, each in compose_file()["services"].items()}
    assert {name: given for name, given in ports.items() if given} == {
        "web": ["127.0.0.1:8000:8000"],
        "mailbox": ["127.0.0.1:8025:8025"],
    }


def test_without_a_password_compose_says_what_to_set() -> None:
    with pytest.raises(KeyError, match=r"POSTGRES_PASSWORD: set it in \.env"):
        compose_file({})


def test_a_stop_gives_gunicorn_longer_than_it_gives_its_requests() -> None:
    text = (PROJECT / "config" / "gunicorn.py").read_text()
    graceful = int(re.search(r"^graceful_timeout = (\d+)$", text, re.MULTILINE)[1])
    assert graceful < seconds(compose_file()["services"]["web"]["stop_grace_period"])
    assert graceful < int(unit("paperround-web.service")["Service"]["TimeoutStopSec"])


# -- the image -----------------------------------------------------------------------------


def dockerfile() -> list[str]:
    """Its instructions, a line each."""
    text = (PROJECT / "Dockerfile").read_text()
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]


def dockerfile_word(instruction: str) -> str:
    """What the last of them says."""
    return [line.split(" ", 1)[1] for line in dockerfile() if line.startswith(instruction)][-1]


def dockerfile_json(instruction: str) -> list[str]:
    said = dockerfile_word(instruction)
    return json.loads(said[said.index("[") :])


def dockerfile_env() -> dict[str, str]:
    return dict(part.split("=", 1) for part in shlex.split(dockerfile_word("ENV")))


def copied() -> list[tuple[str, str]]:
    """Source, target; without what comes from another stage."""
    words = [line.split()[1:] for line in dockerfile() if line.startswith("COPY")]
    words = words[1:] if words[0] == ["requirements.txt", "/"] else words
    return [(source, each[-1]) for each in words if "--from" not in each[0] for source in each[:-1]]


def is_sent(path: PurePosixPath) -> bool:
    """Whether Docker's build sees the file; the last rule of .dockerignore that fits decides."""
    sent = True
    for rule in (PROJECT / ".dockerignore").read_text().splitlines():
        pattern = rule.removeprefix("!")
        if rule and not rule.startswith("#") and fits(path, pattern):
            sent = rule.startswith("!")
    return sent


def fits(path: PurePosixPath, pattern: str) -> bool:
    for part in (path, *path.parents[:-1]):
        if pattern.startswith("**/") and fnmatchcase(part.name, pattern[3:]):
            return True
        same_depth = len(part.parts) == pattern.count("/") + 1
        if same_depth and fnmatchcase(str(part), pattern):
            return True
    return False


def build_image(folder: Path) -> Path:
    """What the Dockerfile copies, out of what .dockerignore lets through, and
    compiled as there.
    """

    def left_out(where: str, names: list[str]) -> list[str]:
        inside = PurePosixPath(Path(where).relative_to(PROJECT))
        return [name for name in names if not is_sent(inside / name)]

    for source, target in copied():
        if (PROJECT / source).is_dir():
            shutil.copytree(PROJECT / source, folder / target, ignore=left_out)
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(PROJECT / source, folder / target)
    assert "RUN python -m compileall -q ." in dockerfile()
    assert compileall.compile_dir(folder, quiet=1)
    return folder


def listing(folder: Path) -> list[tuple[str, float]]:
    return sorted((str(file), file.stat().st_mtime) for file in folder.rglob("*"))


def test_the_image_s_files_exist_and_are_let_through() -> None:
    assert copied()
    for source, _target in [*copied(), ("requirements.txt", "/")]:
        assert (PROJECT / source).exists()
        assert is_sent(PurePosixPath(source)), source


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".git/config", ".venv/bin/python", "var/secret_key", "backups/one.tar",
        "tests/conftest.py", "docs/operations.md", "db.sqlite3", "config/systemd/paperround.target",
        "digest/__pycache__/models.cpython-312.pyc", "papers/__pycache__",
    ],
)  # fmt: skip
def test_the_image_holds_no_secret_no_data_and_nothing_that_it_does_not_need(path: str) -> None:
    assert not is_sent(PurePosixPath(path))


@pytest.mark.parametrize("path", ["config/settings.py", "papers/data/sample_day.json", "manage.py"])
def test_the_image_holds_the_program(path: str) -> None:
    assert is_sent(PurePosixPath(path))


def test_the_image_runs_as_nobody_special_and_as_the_tests_do() -> None:
    assert dockerfile_word("USER").split(":")[0] not in ("root", "0")
    assert shlex.join(dockerfile_json("CMD")) == COMMANDS["web"]
    assert dockerfile_word("STOPSIGNAL") == "SIGTERM"


def test_the_image_s_pg_dump_is_of_the_server_s_version() -> None:
    (client,) = re.findall(r"postgresql-client-(\d+)", (PROJECT / "Dockerfile").read_text())
    assert compose_file()["services"]["postgres"]["image"] == f"postgres:{client}"


# -- systemd -------------------------------------------------------------------------------


def unit(name: str) -> configparser.RawConfigParser:
    parsed = configparser.RawConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str
    parsed.read(UNITS / name)
    return parsed


@pytest.mark.parametrize("name", ["web", "worker", "sender", "beat", "migrate"])
def test_units_run_the_same_commands_as_compose(name: str) -> None:
    command = compose_file()["services"][name].get("command") or shlex.join(dockerfile_json("CMD"))
    said = unit(f"paperround-{name}.service")["Service"]["ExecStart"]
    assert said.removeprefix("/opt/paperround/.venv/bin/").replace("%%", "%") == command


def test_units_give_workers_as_long_to_stop_and_spare_their_children() -> None:
    for name in ("worker", "sender"):
        service = unit(f"paperround-{name}.service")["Service"]
        grace = seconds(compose_file()["services"][name]["stop_grace_period"])
        assert int(service["TimeoutStopSec"]) == grace
        assert service["KillMode"] == "mixed"


def test_the_target_wants_every_unit_that_goes_on() -> None:
    wanted = set(unit("paperround.target")["Unit"]["Wants"].split())
    goes_on = {file.name for file in UNITS.glob("*.timer")} | {
        file.name
        for file in UNITS.glob("*.service")
        if unit(file.name)["Service"].get("Restart") == "always"
    }
    assert wanted == goes_on
    assert len(goes_on) == 5


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    for file in UNITS.rglob("paperround*"):
        target = tmp_path / file.relative_to(UNITS)
        if file.is_file():
            target.parent.mkdir(exist_ok=True)
            text = file.read_text().replace("/opt/paperround/.venv/bin", str(BIN))
            target.write_text(text.replace("/opt/paperround", str(PROJECT)))
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.glob("paperround*.*"))],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


# -- manage.py heartbeat -------------------------------------------------------------------


@pytest.mark.django_db
def test_a_part_is_alive_while_its_last_sign_is_young(capsys: Any) -> None:
    Heartbeat.note("default", ago(290))
    Heartbeat.note("beat", ago(30))
    call_command("heartbeat", "default", "beat")
    assert re.fullmatch(r"default: 29\d s ago, beat: 3\d s ago\n", capsys.readouterr().out)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (["default", "fetch"], {}, r"^fetch: 4\d\d s ago$"),
        (["beat"], {}, r"^beat: 2\d\d s ago$"),
        (["default"], {"within": 10}, r"^default: 2\d s ago$"),
        (["send"], {}, r"^send: no sign of life yet$"),
    ],
)
def test_a_part_that_is_silent_is_named(
    names: list[str], options: dict[str, Any], said: str
) -> None:
    for name, seconds_ago in (("default", 20), ("fetch", 400), ("beat", 200)):
        Heartbeat.note(name, ago(seconds_ago))
    with pytest.raises(CommandError, match=said):
        call_command("heartbeat", *names, **options)


def ago(seconds_ago: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds_ago)
