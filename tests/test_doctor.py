"""What `manage.py doctor` says of an installation, and whether it says so in its exit code."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError

from digest.management.commands import doctor
from digest.models import Digest, Heartbeat, Hold, Slot
from papers import encoding, fetching
from papers.models import Fetch, Source
from subscribers.models import TransportState
from tests.database import everything
from tests.factories import DUE, make_paper, make_reader
from tests.fakes.embeddings import EmbeddingServer

pytestmark = pytest.mark.django_db
NOBODY = "redis://127.0.0.1:9/0"


@pytest.fixture
def public(settings: Any) -> Any:
    """As an installation for everybody should be."""
    settings.IS_PUBLIC = True
    settings.SITE_URL = "https://papers.example.org"
    settings.SITE_HOST = "papers.example.org"
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "mail.example.org", 587
    settings.EMAIL_HOST_PASSWORD = "a-password-of-ours"
    settings.MAIL_FROM = "Paperround <digest@papers.example.org>"
    return settings


@pytest.fixture
def source() -> Source:
    fetching.ensure_sources()
    return Source.objects.get(slug="huggingface")


def line(subject: str) -> tuple[str, str]:
    """Its verdict, and the rest of its line."""
    (found,) = [each for each in doctor.findings(DUE) if each.subject == subject]
    return found.verdict, f"{found.text} -> {found.mend}"


def test_each_line_says_ok_warn_or_fail_and_a_failure_is_the_exit_code(settings: Any) -> None:
    settings.SITE_URL, settings.SITE_HOST = "http://papers.example.org", "papers.example.org"
    said = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", stdout=said)

    assert ended.value.code == 1
    lines = said.getvalue().splitlines()
    assert {each.split()[0] for each in lines} <= {"ok", "warn", "fail"}
    assert any(
        each.startswith("fail  SITE_URL") and each.endswith("-> SITE_URL=https://…")
        for each in lines
    )


def test_one_machine_that_was_never_set_up_further_passes_with_warnings(settings: Any) -> None:
    settings.SITE_URL, settings.SITE_HOST = "http://127.0.0.1:8000", "127.0.0.1"
    settings.EMAIL_BACKEND = "subscribers.transports.outbox.EmailBackend"
    settings.MAIL_FROM, settings.POSTAL_ADDRESS = "Paperround <digest@127.0.0.1>", ""
    fetching.ensure_sources()
    said = StringIO()
    call_command("doctor", stdout=said)

    verdicts = {words[1]: words[0] for words in map(str.split, said.getvalue().splitlines())}
    for subject in ("SITE_URL", "transport", "MAIL_FROM", "POSTAL_ADDRESS", "broker"):
        assert verdicts[subject] == "warn"
    assert verdicts["database"] == "ok"


@pytest.mark.usefixtures("public", "source")
def test_a_public_installation_that_lacks_nothing_has_no_complaint_of_its_settings() -> None:
    for subject in ("SITE_URL", "transport", "MAIL_FROM", "POSTAL_ADDRESS", "database"):
        assert line(subject)[0] == "ok"
    assert "smtp by mail.example.org:587" in line("transport")[1]


@pytest.mark.parametrize(
    ("setting", "value", "subject"),
    [
        ("EMAIL_BACKEND", "subscribers.transports.outbox.EmailBackend", "transport"),
        ("EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend", "transport"),
        ("MAIL_FROM", "Paperround <digest@localhost>", "MAIL_FROM"),
        ("MAIL_FROM", "nobody", "MAIL_FROM"),
        ("POSTAL_ADDRESS", " ", "POSTAL_ADDRESS"),
        ("CELERY_BROKER_URL", "memory://", "broker"),
    ],
)
def test_what_a_public_installation_lacks_fails(
    public: Any, setting: str, value: str, subject: str
) -> None:
    setattr(public, setting, value)
    assert line(subject)[0] == "fail"


def test_no_line_tells_a_key_or_a_password(public: Any) -> None:
    said = StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", stdout=said)
    for secret in (public.SECRET_KEY, public.SUPPRESSION_KEY, public.EMAIL_HOST_PASSWORD):
        assert secret not in said.getvalue()


def test_a_broker_that_cannot_be_reached_fails_and_names_its_setting(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CELERY_BROKER_URL = NOBODY
    connection_for_write = doctor.current_app.connection_for_write
    monkeypatch.setattr(
        doctor.current_app, "connection_for_write", lambda: connection_for_write(NOBODY)
    )
    verdict, text = line("broker")
    assert verdict == "fail"
    assert text.endswith("-> REDIS_URL")


def test_a_broker_that_answers_is_reachable(
    redis_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CELERY_BROKER_URL = redis_url
    connection_for_write = doctor.current_app.connection_for_write
    monkeypatch.setattr(
        doctor.current_app, "connection_for_write", lambda: connection_for_write(redis_url)
    )
    assert line("broker")[0] == "ok"


def test_a_database_that_cannot_be_used_fails_and_stops_no_other_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(connection: Any) -> None:
        raise DatabaseError("could not connect\n  to the server")

    monkeypatch.setattr(doctor, "MigrationExecutor", unreachable)
    found = {each.subject: each for each in doctor.findings(DUE)}

    assert found["database"].verdict == "fail"
    assert "could not connect to the server" in found["database"].text
    assert found["database"].mend == "DATABASE_URL"
    assert {"broker", "transport"} <= set(found)
    assert "slots" not in found


def test_missing_migrations_fail_and_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor.MigrationExecutor, "migration_plan", lambda executor, targets: ["one", "two"]
    )
    verdict, text = line("database")
    assert verdict == "fail"
    assert "2 migrations are missing -> ./manage.py migrate" in text


# -- what the rows tell --------------------------------------------------------------------


def fetched(source: Source, status: Fetch.Status, *, hours_ago: float, error: str = "") -> None:
    at = DUE - timedelta(hours=hours_ago)
    Fetch.objects.create(
        source=source, day=at.date(), status=status, started_at=at, error=error, papers_seen=1
    )


def test_without_a_source_a_warning() -> None:
    assert line("sources")[0] == "warn"


def test_a_source_is_judged_by_what_is_expected_of_it(source: Source) -> None:
    Source.objects.update(next_fetch_at=DUE)
    assert line(source.slug) == (
        "warn", "Not read yet. -> a running worker and beat, or the network",
    )  # fmt: skip
    fetched(source, Fetch.Status.OK, hours_ago=5)
    assert line(source.slug)[0] == "ok"
    fetched(source, Fetch.Status.FAILED, hours_ago=1, error="503 from the source\nand more")
    verdict, text = line(source.slug)
    assert (verdict, "503 from the source" in text) == ("warn", True)
    Fetch.objects.filter(status=Fetch.Status.OK).delete()
    fetched(source, Fetch.Status.OK, hours_ago=30)
    fetched(source, Fetch.Status.FAILED, hours_ago=29, error="503 from the source")
    assert line(source.slug)[0] == "fail"


def test_a_source_that_is_switched_off_is_not_missed(source: Source) -> None:
    Source.objects.update(is_enabled=False)
    assert source.slug not in {each.subject for each in doctor.findings(DUE)}


def test_a_second_transport_is_told_and_tried_out_in_peace(public: Any) -> None:
    verdict, text = line("fallback")
    assert (verdict, text) == ("ok", "none; mail waits while the transport is in trouble -> ")
    public.FALLBACK_EMAIL = {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": "second.example.org",
        "EMAIL_PORT": 587,
        "EMAIL_HOST_USER": "",
        "EMAIL_HOST_PASSWORD": "a-password-of-ours",
        "EMAIL_TIMEOUT": 30,
    }
    assert line("fallback") == ("ok", "smtp-fallback by second.example.org:587 -> ")
    public.FALLBACK_EMAIL = {"EMAIL_BACKEND": "anymail.backends.postmark.EmailBackend"}
    verdict, text = line("fallback")
    assert verdict == "fail"
    assert "POSTMARK_SERVER_TOKEN" in text


def test_a_transport_whose_key_is_missing_fails(public: Any) -> None:
    public.EMAIL_BACKEND = "anymail.backends.postmark.EmailBackend"
    verdict, text = line("transport")
    assert verdict == "fail"
    assert "POSTMARK_SERVER_TOKEN" in text


def test_limits_are_told_as_they_are_today(settings: Any) -> None:
    assert line("limits") == ("ok", "none -> ")
    settings.MAIL_PER_SECOND, settings.MAIL_PER_DAY = 12.5, 50_000
    assert line("limits")[1] == "12.5 a second, 50,000 today -> "
    settings.MAIL_WARMUP_FROM = DUE.date() - timedelta(days=3)
    assert line("limits")[1] == ("12.5 a second, 675 today, warming up since 2026-11-20 -> ")


def test_a_transport_that_rests_fails_alone_and_warns_beside_another(settings: Any) -> None:
    assert line("circuit") == ("ok", "mail may leave by locmem -> ")
    TransportState.objects.create(
        name="locmem", failures=2, open_until=DUE + timedelta(minutes=1), error="535 wrong password"
    )
    verdict, text = line("circuit")
    assert verdict == "fail"
    assert "locmem: It rests until" in text
    assert "535 wrong password" in text
    settings.FALLBACK_EMAIL = {"EMAIL_BACKEND": "anymail.backends.test.EmailBackend"}
    assert line("circuit")[0] == "warn"


def test_a_day_s_limit_that_is_used_up_is_a_warning(settings: Any) -> None:
    settings.MAIL_PER_DAY = 10
    TransportState.objects.create(name="locmem", day=DUE.date(), used=10)
    verdict, text = line("day’s limit")
    assert verdict == "warn"
    assert text.endswith("-> MAIL_PER_DAY, or patience")


def test_processes_are_judged_by_their_signs_of_life() -> None:
    assert line("processes")[0] == "warn"
    for name in ("beat", "default", "fetch", "send"):
        Heartbeat.note(name, DUE - timedelta(seconds=170))
    assert line("processes") == ("ok", "alive: beat, default, fetch, send -> ")
    Heartbeat.note("beat", DUE - timedelta(seconds=190))
    Heartbeat.note("send", DUE - timedelta(hours=3))
    verdict, text = line("processes")
    assert verdict == "fail"
    assert "silent: beat (3 min), send (3 h)" in text


def test_where_cron_runs_the_tick_nothing_else_is_missed() -> None:
    Heartbeat.note("tick", DUE - timedelta(seconds=70))
    assert line("processes") == ("ok", "alive: tick -> ")
    Heartbeat.note("tick", DUE - timedelta(minutes=20))
    verdict, text = line("processes")
    assert verdict == "fail"
    assert "silent: tick (20 min) -> " in text


def test_readers_of_another_suppression_key_fail(settings: Any) -> None:
    assert line("SUPPRESSION_KEY")[0] == "ok"
    make_reader()
    assert line("SUPPRESSION_KEY")[0] == "ok"
    settings.SUPPRESSION_KEY = "m" * 50
    verdict, text = line("SUPPRESSION_KEY")
    assert verdict == "fail"
    assert "no suppressed address is recognised" in text


def test_a_database_file_that_others_can_read_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "paperround.sqlite3"
    file.touch()
    monkeypatch.setattr(doctor.connection, "vendor", "sqlite")
    monkeypatch.setitem(doctor.connection.settings_dict, "NAME", file)

    file.chmod(0o644)
    tmp_path.chmod(0o755)
    assert line("database file") == (
        "warn", f"{file} can be read by others on this machine (mode 644) -> chmod 700 {tmp_path}",
    )  # fmt: skip
    tmp_path.chmod(0o700)
    assert line("database file")[0] == "ok"
    tmp_path.chmod(0o755)
    file.chmod(0o600)
    assert line("database file")[0] == "ok"


def test_a_hold_is_a_warning_that_says_whose_it_is() -> None:
    assert line("sending")[0] == "ok"
    Hold.objects.create(began_at=DUE - timedelta(minutes=20), began_by="ada")
    assert line("sending") == ("warn", "held by ada for 20 min -> release it in the admin")


def test_readers_whose_time_passed_long_ago_are_counted() -> None:
    make_reader(next_due_at=DUE - timedelta(hours=5))
    assert line("due readers") == ("ok", "1 active, none forgotten -> ")
    make_reader("ben@example.org", next_due_at=DUE - timedelta(hours=7))
    verdict, text = line("due readers")
    assert verdict == "fail"
    assert "1 active readers fell due more than 6 h ago" in text


def test_a_slot_that_does_not_add_up_fails_by_its_date() -> None:
    slot = Slot.objects.create(date=DUE.date(), due=1)
    verdict, text = line("slots")
    assert verdict == "fail"
    assert "2026-11-23" in text

    Digest.objects.create(subscriber=make_reader(), slot=slot, due_at=DUE)
    assert line("slots")[0] == "ok"


def test_digests_in_doubt_are_a_warning() -> None:
    assert line("uncertain")[0] == "ok"
    slot = Slot.objects.create(date=DUE.date(), due=1)
    Digest.objects.create(
        subscriber=make_reader(), slot=slot, due_at=DUE, state=Digest.State.UNCERTAIN
    )
    assert line("uncertain")[0] == "warn"


def test_it_changes_nothing(source: Source) -> None:
    make_reader()
    before = everything()
    assert list(doctor.findings(DUE)) == list(doctor.findings(DUE))
    assert everything() == before


def test_the_model_and_how_far_it_has_come_are_told(settings: Any, monkeypatch: Any) -> None:
    settings.SEMANTIC_MODEL = ""
    assert line("meaning") == ("ok", "static-1 has read 0 of 0 papers -> ")
    monkeypatch.setattr(doctor, "UNREAD_PAPERS", 1)
    with EmbeddingServer().running() as server:
        settings.SEMANTIC_MODEL, settings.SEMANTIC_MODEL_NAME = server.url, "small"
        make_paper()
        encoding.encode_missing()
        make_paper()
        assert line("meaning") == ("ok", "small-16 has read 1 of 2 papers -> ")
        make_paper()
        verdict, said = line("meaning")
    encoding._endpoint.cache_clear()
    assert verdict == "warn"
    assert said.endswith("read 1 of 3 papers -> `manage.py encode_papers`, or patience")


def test_a_model_that_cannot_be_had_is_a_failure(settings: Any, tmp_path: Path) -> None:
    settings.SEMANTIC_MODEL = str(tmp_path)
    verdict, said = line("meaning")
    assert verdict == "fail"
    assert "words alone decide" in said
    assert said.endswith("-> SEMANTIC_MODEL")
