from __future__ import annotations

import gzip
import io
import json
import os
from datetime import date
from pathlib import Path

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper

import manage
from papers import fetching
from papers.management.commands.fetch_papers import Command
from papers.models import Edition, Entry, Fetch, Paper, Signal
from tests.fakes.source_server import entry
from tests.papers.factories import utc

DATA = Path(__file__).resolve().parent.parent / "data"
NOW = utc("2026-11-23T07:00")


@pytest.fixture(autouse=True)
def frozen():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def run(db, server):
    """Runs the command; returns what it printed."""

    def run(*arguments):
        out = io.StringIO()
        try:
            call_command("fetch_papers", *map(str, arguments), stdout=out)
        finally:
            run.out = out.getvalue()
        return run.out

    return run


@pytest.fixture
def archive(tmp_path):
    """Three days in the archive's lines, plain."""
    lines = [
        {
            "date": f"2025-12-{day}",
            "captured_at": f"2025-12-{day}T07:50:25Z",
            "rank": 1,
            "entry": entry(day, day=f"2025-12-{day}"),
        }
        for day in (18, 16, 17)
    ]
    path = tmp_path / "archive.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


# -- live ----------------------------------------------------------------------------------


def test_without_options_today_is_read(run, server):
    server.list_papers("2026-11-23", [entry(1), entry(2)])

    assert run() == "2026-11-23  2 papers, 2 new\n"
    assert server.days_asked() == ["2026-11-23"]
    assert Edition.objects.get().is_backfill is False


def test_a_past_day_is_backfill_and_closed(run, server):
    server.list_papers("2026-11-20", [entry(1)])

    run("--date", "2026-11-20")

    edition = Edition.objects.get()
    assert (edition.is_backfill, edition.is_open) == (True, False)


def test_current_makes_past_days_news_and_closes_them_in_order(run, server):
    for day in ("2026-11-18", "2026-11-19", "2026-11-20"):
        server.list_papers(day, [entry(int(day[-2:]))])

    out = run("--since", "2026-11-18", "--until", "2026-11-20", "--current")

    assert [line[:10] for line in out.splitlines()] == ["2026-11-18", "2026-11-19", "2026-11-20"]
    news = Edition.objects.news().order_by("day").values_list("day", "closed_seq")
    assert [(day.day, seq) for day, seq in news] == [(18, 1), (19, 2), (20, 3)]


def test_current_makes_news_of_what_was_backfill(run, server):
    for day in ("2026-11-19", "2026-11-20"):
        server.list_papers(day, [entry(int(day[-2:]))])
    run("--since", "2026-11-19", "--until", "2026-11-20")
    assert not Edition.objects.news().exists()

    run("--date", "2026-11-20", "--current")

    assert [edition.day.day for edition in Edition.objects.news()] == [20]
    assert Edition.objects.get(day="2026-11-19").is_backfill


def test_a_range_without_its_end_runs_to_today(run, server):
    run("--since", "2026-11-21")

    assert server.days_asked() == ["2026-11-21", "2026-11-22", "2026-11-23"]


def test_a_failed_day_is_an_error_that_keeps_the_others(run, server):
    server.list_papers("2026-11-19", [entry(1)])
    server.answer_once("2026-11-20", {"error": "no such page"}, status=404)
    server.list_papers("2026-11-21", [entry(2)])

    with pytest.raises(CommandError, match="2026-11-20: HTTP 404"):
        run("--since", "2026-11-19", "--until", "2026-11-21")

    assert run.out.splitlines()[1] == "2026-11-20  0 papers, 0 new, failed"
    assert Paper.objects.count() == 2


def test_an_entry_that_cannot_be_read_is_an_error_too(run, server):
    server.list_papers("2026-11-23", [entry(1), {}])

    with pytest.raises(CommandError, match="2026-11-23: entry 2: without an id"):
        run()

    assert run.out == "2026-11-23  1 paper, 1 new, 1 skipped\n"


def test_a_source_that_stays_down_is_not_asked_day_after_day(run, settings, monkeypatch):
    monkeypatch.setattr(fetching, "ATTEMPTS", 1)
    settings.HUGGINGFACE_URL = "http://127.0.0.1:9"

    with pytest.raises(CommandError, match="stopped after 3 failures in a row"):
        run("--since", "2025-01-01")

    assert Fetch.objects.count() == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--date", "2026-11-24"], "is in the future"),
        (["--since", "2026-11-20", "--until", "2026-11-19"], "ends before it begins"),
        (["--until", "2026-11-19"], "--until needs --since"),
        (["--date", "2026-11-19", "--since", "2026-11-18"], "either --date, or"),
        (["--date", "someday"], "'someday' is no day such as 2025-12-18"),
        (["--source", "nature"], "There is no source 'nature'; there is: huggingface."),
        (["--from-file", "/nowhere.json"], "/nowhere.json cannot be read: No such file"),
    ],
)
def test_what_cannot_be_meant_is_said(run, arguments, said):
    with pytest.raises(CommandError, match=said):
        run(*arguments)


def test_ctrl_c_leaves_whole_days(run, server, monkeypatch, capsys):
    server.list_papers("2026-11-18", [entry(1)])
    parse = fetching.sources.HuggingFace.parse

    def interrupt(self, body):
        if len(server.requests) == 2:
            raise KeyboardInterrupt
        return parse(self, body)

    monkeypatch.setattr(fetching.sources.HuggingFace, "parse", interrupt)

    with pytest.raises(SystemExit) as stopped:
        run("--since", "2026-11-18", "--until", "2026-11-20")

    assert stopped.value.code == 130
    assert "Stopped. 1 of 3 days are done and kept." in capsys.readouterr().err
    assert Entry.objects.count() == 1
    assert Fetch.objects.get(day=date(2026, 11, 19)).error == "interrupted"


def test_ctrl_c_before_the_first_day_is_no_traceback(monkeypatch):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr("django.core.management.execute_from_command_line", interrupted)
    with pytest.raises(SystemExit) as stopped:
        manage.main()
    assert stopped.value.code == 130


def test_the_exit_code_and_the_message_reach_the_shell(db, server):
    server.answer_once("2026-11-23", {"error": "no"}, status=404)
    command = fetch_papers_command()
    command.stderr = OutputWrapper(io.StringIO())

    with pytest.raises(SystemExit) as stopped:
        command.run_from_argv(["manage.py", "fetch_papers"])

    assert stopped.value.code == 1
    said = command.stderr._out.getvalue()
    assert said == "CommandError: Not everything could be read:\n  2026-11-23: HTTP 404 Not Found\n"


def fetch_papers_command():
    return Command(stdout=io.StringIO())


def test_the_help_shows_examples_and_explains_days():
    text = fetch_papers_command().create_parser("manage.py", "fetch_papers").format_help()

    for word in ("examples:", "--from-file FILE", "--current", "UTC days", "exit code is 1"):
        assert word in text


# -- files ---------------------------------------------------------------------------------


def test_a_saved_answer_is_read_on_the_day_it_names(run, server):
    out = run("--from-file", DATA / "hf_2025-12-18.json")

    assert out == "2025-12-18  3 papers, 3 new\n"
    assert server.requests == []
    assert Fetch.objects.get().origin == "file"


def test_a_saved_answer_that_names_no_day_needs_one(run):
    with pytest.raises(CommandError, match="does not say which day it is of; add --date"):
        run("--from-file", DATA / "hf_2024-05-27.json")

    run("--from-file", DATA / "hf_2024-05-27.json", "--date", "2024-05-27")
    assert Edition.objects.get().day == date(2024, 5, 27)


def test_a_saved_answer_counts_as_old_as_its_file(run, tmp_path):
    path = tmp_path / "day.json"
    path.write_bytes((DATA / "hf_2025-12-18.json").read_bytes())
    os.utime(path, (utc("2025-12-19T10:00").timestamp(),) * 2)

    run("--from-file", path)

    assert set(Signal.objects.values_list("read_at", flat=True)) == {utc("2025-12-19T10:00")}


def test_an_archive_is_read_in_the_order_of_its_days_at_its_capture_times(run, archive):
    out = run("--from-file", archive)

    assert [line[:10] for line in out.splitlines()] == ["2025-12-16", "2025-12-17", "2025-12-18"]
    assert Signal.objects.get(paper__arxiv_id="2611.00017").read_at == utc("2025-12-17T07:50:25")
    assert Edition.objects.filter(is_backfill=True, closed_seq__isnull=False).count() == 3


def test_a_compressed_archive_and_a_part_of_it(run, archive, tmp_path):
    packed = tmp_path / "archive.bin"
    packed.write_bytes(gzip.compress(archive.read_bytes()))

    run("--from-file", packed, "--since", "2025-12-17", "--current")

    assert [edition.day.day for edition in Edition.objects.news().order_by("closed_seq")] == [
        17,
        18,
    ]


def test_lines_that_cannot_be_read_fail_after_the_rest_is_stored(run, archive):
    archive.write_text(archive.read_text() + "\n{broken\n")

    with pytest.raises(CommandError, match="line 4: no JSON"):
        run("--from-file", archive)

    assert Paper.objects.count() == 3


def test_a_range_that_the_file_does_not_hold_is_said(run, archive):
    with pytest.raises(CommandError, match="holds no day that was asked for"):
        run("--from-file", archive, "--since", "2026-01-01")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b'{"error":"no such page"}', "no list of papers, nor .*no such page"),
        (b"\x1f\x8bbroken", "cannot be read"),
        (gzip.compress(b"[]" * 5000, mtime=0)[:-9], "damaged"),
        (b"<html>", "no JSON"),
    ],
)
def test_a_file_that_is_something_else_is_refused_in_words(run, tmp_path, body, said):
    path = tmp_path / "odd"
    path.write_bytes(body)

    with pytest.raises(CommandError, match=said):
        run("--from-file", path, "--date", "2025-12-18")

    assert not Fetch.objects.exists()


def test_the_bundled_sample_day_is_read_without_a_word(run):
    sample = Path(fetching.__file__).parent / "data" / "sample_day.json"

    run("--from-file", sample, "--current")

    assert Edition.objects.news().get().entries.count() >= 20
    assert Fetch.objects.get().error == ""
