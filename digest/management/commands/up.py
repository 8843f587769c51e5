"""Everything in one process: web server, worker, beat. The program as it is, not a demo of it."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import secrets
import signal
import socket
import sys
import threading
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NoReturn, TextIO
from urllib.parse import urlsplit

from celery import Celery, current_app
from celery.beat import Service as Beat
from celery.worker import WorkController
from celery.worker import state as worker_state
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.core.servers.basehttp import get_internal_wsgi_application
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from waitress.server import create_server

from digest import tasks
from papers import fetching
from papers.models import Edition, Fetch, Source

SAMPLE_DAY = settings.BASE_DIR / "papers" / "data" / "sample_day.json"
FIRST_FETCH_SECONDS = 20
WORKER_THREADS = 4
WEB_THREADS = 8
# A task that hands mail to a server is waited for longer: cut off in the middle, nobody could
# say whether the mail left. Everything else is taken up again at the next start.
PATIENCE_SECONDS = 3.0
PATIENCE_WITH_MAIL_SECONDS = 30.0


class Command(BaseCommand):
    help = (
        "Starts everything in one process: the web server, a Celery worker and beat. The first "
        "start creates the database, an admin account and an edition to look at; later starts "
        "keep what is there. Ctrl-C stops it, a second Ctrl-C at once. For several processes, "
        "PostgreSQL and Redis see docs/operations.md."
    )

    # Run by hand once the folder and the port are ours: they import everything, and whoever
    # typed a taken port should not wait for that.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="The address to listen on (default: %(default)s)."
        )
        parser.add_argument(
            "--port",
            type=int,
            default=settings.PORT,
            help="The port to listen on (default: PORT, now %(default)s).",
        )
        parser.add_argument(
            "--no-fetch",
            dest="fetch",
            action="store_false",
            help="Reach for no source during this run; show what is stored, or the sample day.",
        )

    def handle(self, *, host: str, port: int, fetch: bool, **options: Any) -> None:
        if port != settings.PORT:
            _restart_with_port(port)
        # Both, since a shell starts what it puts in the background with SIGINT ignored.
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            with _lock(settings.DATA_DIR), _listen(host, port) as listener:
                self._prepare(fetch=fetch)
                self._serve(listener, fetch=fetch)
        except KeyboardInterrupt:
            self._say("Stopped.")
        except DatabaseError as error:
            raise CommandError(f"DATABASE_URL: the database cannot be used: {error}") from error

    def _prepare(self, *, fetch: bool) -> None:
        self.check()
        call_command("migrate", verbosity=0, interactive=False)
        self._ensure_admin()
        fetching.ensure_sources()
        if not Edition.objects.exists():
            self._bring_an_edition(fetch=fetch)

    def _ensure_admin(self) -> None:
        users = get_user_model()._default_manager
        if users.filter(Q(is_superuser=True) | Q(username="admin")).exists():
            return
        chosen = os.environ.get("ADMIN_PASSWORD", "")
        password = chosen or secrets.token_urlsafe(12)
        users.create_superuser("admin", password=password)
        shown = "as ADMIN_PASSWORD says" if chosen else f"{password}  (shown only now)"
        self._say(f"Admin account: admin, password {shown}")

    def _bring_an_edition(self, *, fetch: bool) -> None:
        if fetch:
            # The host alone: a mirror's address may hold a password.
            self._say(f"Fetching papers from {urlsplit(settings.HUGGINGFACE_URL).hostname} …")
            _fetch_for_a_while()
        if not Edition.objects.exists():
            call_command(
                "fetch_papers", "--from-file", SAMPLE_DAY, "--current", stdout=io.StringIO()
            )
            reason = _why_nothing_came() if fetch else "As asked, no source was read"
            self._say(f"{reason}; showing the bundled sample day instead.")
        edition = Edition.objects.latest()
        self._say(f"Papers: {edition.entries.count()} of {edition.day}.")

    def _serve(self, listener: socket.socket, *, fetch: bool) -> None:
        application = get_internal_wsgi_application()
        # Proxies' headers reach Django, where TRUST_PROXY judges them: dropped on the way, they
        # would make every visitor behind a local proxy look like somebody at this machine.
        server = create_server(
            application,
            sockets=[listener],
            threads=WEB_THREADS,
            clear_untrusted_proxy_headers=False,
            max_request_header_size=16_384,
        )
        worker, beat = _worker(current_app, fetch=fetch), _beat(current_app, fetch=fetch)
        threads = [_start(worker.start, name="worker"), _start(beat.start, name="beat")]
        _wake(current_app)
        self._say_where(listener)
        server.run()  # until Ctrl-C or SIGTERM
        signal.signal(signal.SIGINT, _leave_at_once)
        signal.signal(signal.SIGTERM, _leave_at_once)
        self._say("Stopping …")
        server.close()
        beat.stop()
        tasks.stop_sending()
        worker_state.should_stop = 0
        _wait_for(threads)
        self._say("Stopped.")
        if any(thread.is_alive() for thread in threads):
            _leave_at_once(exit_code=0)

    def _say_where(self, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        self._say(f"\n{settings.SITE_NAME}  {settings.SITE_URL}/  (listening on {host}:{port})")
        if settings.EMAIL_BACKEND == "subscribers.transports.outbox.EmailBackend":
            self._say(f"Mails       {settings.SITE_URL}{reverse('subscribers:outbox')}")
        self._say(f"Admin       {settings.SITE_URL}{reverse('admin:index')}")
        if settings.CELERY_BROKER_URL != "memory://":
            self._say("Broker      REDIS_URL; other workers may share the work")
        self._say("Ctrl-C stops it.\n")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _restart_with_port(port: int) -> NoReturn:
    """The links in mails follow PORT, and the settings have read it already."""
    os.environ["PORT"] = str(port)
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606  our own command line


def _lock(data_dir: Path) -> TextIO:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / "up.lock").open("w")
    except OSError as error:
        raise CommandError(
            f"DATA_DIR: cannot write to {data_dir} ({error.strerror}). "
            "Make it writable, or set DATA_DIR to another folder."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise CommandError(
            f"Another `up` is running on {data_dir}. Stop it, or set DATA_DIR to another folder."
        ) from error
    return lock


def _listen(host: str, port: int) -> socket.socket:
    if not 0 < port < 65536:
        raise CommandError(f"PORT must be a number from 1 to 65535, not {port}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error})"
        raise CommandError(
            f"Port {port} on {host} {reason}. Choose another: PORT={port % 65535 + 1} make run"
        ) from error


def _fetch_for_a_while() -> None:
    """Fetches until there is an edition to show; a slow source goes on behind the open page."""
    thread = _start(_fetch, name="first fetch")
    deadline = time.monotonic() + FIRST_FETCH_SECONDS
    while thread.is_alive() and time.monotonic() < deadline and not Edition.objects.exists():
        thread.join(0.2)


def _fetch() -> None:
    now = timezone.now()
    try:
        # An earlier start that was cut off may still have claimed them.
        Source.objects.update(next_fetch_at=now)
        fetching.fetch_due(now)
    finally:
        connection.close()


def _why_nothing_came() -> str:
    failed = Fetch.objects.filter(status=Fetch.Status.FAILED).first()
    if failed is not None:
        return f"The source could not be read ({failed.error.splitlines()[0]})"
    if Fetch.objects.succeeded().exists():
        return "The source lists no papers now"
    return "The source did not answer in time"


def _worker(app: Celery, *, fetch: bool) -> WorkController:
    queues = ["default", "send", "fetch"] if fetch else ["default", "send"]
    return WorkController(
        app=app,
        pool_cls="threads",
        concurrency=WORKER_THREADS,
        queues=queues,
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )


def _beat(app: Celery, *, fetch: bool) -> Beat:
    if not fetch:
        app.conf.beat_schedule = {
            name: entry
            for name, entry in app.conf.beat_schedule.items()
            if entry["options"]["queue"] != "fetch"
        }
    # Awake every second so that it stops within one.
    return Beat(app, scheduler_cls=settings.CELERY_BEAT_SCHEDULER, max_interval=1)


def _wake(app: Celery) -> None:
    """One round at once: beat's own first round comes a minute after its start."""
    for entry in app.conf.beat_schedule.values():
        app.send_task(entry["task"], entry.get("args"), **entry["options"])


def _start(work: Any, *, name: str) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def _wait_for(threads: list[threading.Thread]) -> None:
    began = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        patience = PATIENCE_WITH_MAIL_SECONDS if _may_be_mailing() else PATIENCE_SECONDS
        if time.monotonic() - began > patience:
            return
        time.sleep(0.05)


def _may_be_mailing() -> bool:
    active = list(worker_state.active_requests)
    return any(not request.name.startswith("papers.") for request in active)


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _leave_at_once(*_: Any, exit_code: int = 130) -> NoReturn:
    """Leaves without waiting for threads that still hang on a slow server."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
