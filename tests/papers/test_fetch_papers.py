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
from papers import client, fetching
from papers.management.commands.fetch_papers import Command
from papers.models import Answer, Edition, Entry, Fetch, Harvest, Paper, Signal
from papers.sources.huggingface import HuggingFace
from tests.database import everything
from tests.fakes.source_server import Submission, entry
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
    server.list_papers("2026-11-20", [entry(1, day="2026-11-20")])

    run("--date", "2026-11-20")

    edition = Edition.objects.get()
    assert (edition.is_backfill, edition.is_open) == (True, False)


def test_current_makes_past_days_news_and_closes_them_in_order(run, server):
    for day in ("2026-11-18", "2026-11-19", "2026-11-20"):
        server.list_papers(day, [entry(int(day[-2:]), day=day)])

    out = run("--since", "2026-11-18", "--until", "2026-11-20", "--current")

    assert [line[:10] for line in out.splitlines()] == ["2026-11-18", "2026-11-19", "2026-11-20"]
    news = Edition.objects.news().order_by("day").values_list("day", "closed_seq")
    assert [(day.day, seq) for day, seq in news] == [(18, 1), (19, 2), (20, 3)]


def test_current_makes_news_of_what_was_backfill(run, server):
    for day in ("2026-11-19", "2026-11-20"):
        server.list_papers(day, [entry(int(day[-2:]), day=day)])
    run("--since", "2026-11-19", "--until", "2026-11-20")
    assert not Edition.objects.news().exists()

    run("--date", "2026-11-20", "--current")

    assert [edition.day.day for edition in Edition.objects.news()] == [20]
    assert Edition.objects.get(day="2026-11-19").is_backfill


def test_a_range_without_its_end_runs_to_today(run, server):
    run("--since", "2026-11-21")

    assert server.days_asked() == ["2026-11-21", "2026-11-22", "2026-11-23"]


def test_a_failed_day_is_an_error_that_keeps_the_others(run, server):
    server.list_papers("2026-11-19", [entry(1, day="2026-11-19")])
    server.answer_once("2026-11-20", {"error": "no such page"}, status=404)
    server.list_papers("2026-11-21", [entry(2, day="2026-11-21")])

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
    monkeypatch.setattr(client, "ATTEMPTS", 1)
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
        (
            ["--date", "2026-11-19", "--since", "2026-11-18"],
            "--date and --since cannot go together",
        ),
        (["--week", "2026-W47", "--month", "2026-11"], "--week and --month cannot go together"),
        (["--trending", "--current"], "--trending and --current cannot go together"),
        (["--since", "2026-11-18", "--backfill", "--current"], "--current and --backfill cannot"),
        (["--from-file", "/x.json", "--replay"], "--from-file and --replay cannot go together"),
        (["--date", "2026-11-18", "--harvest", "--set", "cs"], "--date and --harvest cannot"),
        (["--since", "2026-11-18", "--set", "cs"], "--set needs --harvest"),
        (["--harvest", "--since", "2026-11-18"], "--harvest needs --set"),
        (["--harvest"], "--harvest needs --set and --since"),
        (["--harvest", "--set", "cs", "--since", "2026-11-01"], "--harvest needs --source arxiv"),
        (["--source", "arxiv", "--from-file", "/x.json"], "--from-file and --source arxiv cannot"),
        (["--set", "foo bar"], "'foo bar' is no archive, category or set"),
        (["--set", "c" * 41], "is no archive, category or set"),
        (["--backfill"], "--backfill needs --since"),
        (
            ["--backfill", "--since", "2026-11-20", "--until", "2026-11-23"],
            "no day of the past yet; the last one is 2026-11-22",
        ),
        (["--week", "2025-W53"], "'2025-W53' is no week such as 2026-W53"),
        (["--week", "2026-53"], "is no week such as"),
        (["--week", "2026-W48", "--source", "arxiv"], "has no list of that kind"),
        (["--week", "2026-W53"], "2026-W53 is in the future"),
        (["--month", "2026-13"], "'2026-13' is no month such as 2025-12"),
        (["--month", "2026-12"], "2026-12 is in the future"),
        (["--replay"], "No answer is kept of what was asked for"),
        (["--source", "semantic_scholar"], "Semantic Scholar lists nothing"),
        (["--date", "someday"], "'someday' is no day such as 2025-12-18"),
        (["--source", "nature"], "There is no source 'nature'; there is: arxiv, huggingface, "),
        (["--from-file", "/nowhere.json"], "/nowhere.json cannot be read: No such file"),
    ],
)
def test_what_cannot_be_meant_is_said(run, arguments, said):
    with pytest.raises(CommandError, match=said):
        run(*arguments)


def test_ctrl_c_leaves_whole_days(run, server, monkeypatch, capsys):
    server.list_papers("2026-11-18", [entry(1, day="2026-11-18")])
    parse = HuggingFace.parse

    def interrupt(self, body, url):
        if len(server.requests) == 2:
            raise KeyboardInterrupt
        return parse(self, body, url)

    monkeypatch.setattr(HuggingFace, "parse", interrupt)

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

    for word in ("examples:", "--from-file FILE", "--current", "UTC days", "exit code is 1",
                 "--backfill --since", "--harvest --set cs", "--replay", "2026-W53"):  # fmt: skip
        assert word in text


# -- other lists ---------------------------------------------------------------------------


def test_a_week_is_stored_and_is_in_no_edition(run, server):
    server.list_papers("2026-W47", [entry(n, day="2026-11-17") for n in (1, 2)])

    assert run("--week", "2026-W47") == "2026-W47  2 papers, 2 new\n"
    fetch = Fetch.objects.get()
    assert (fetch.kind, fetch.day) == (Fetch.Kind.WEEK, date(2026, 11, 16))
    assert not Edition.objects.exists()


def test_the_week_that_the_api_refuses_is_read_by_its_days(run, server):
    """2020 had one, as 2026 has."""
    server.list_papers("2020-12-28", [entry(1, day="2020-12-28")])
    server.list_papers("2021-01-03", [entry(2, day="2021-01-03")])

    assert run("--week", "2020-W53") == "2020-W53  2 papers, 2 new\n"
    assert len(server.days_asked()) == 7


def test_a_month_and_what_trends(run, server):
    server.list_papers("2026-11", [entry(1)])
    server.list_papers("trending", [entry(2)])

    assert run("--month", "2026-11") == "2026-11  1 paper, 1 new\n"
    assert run("--trending") == "trending  1 paper, 1 new\n"


def test_a_day_of_arxiv(run, server):
    server.arxiv.announce("2026-11-23", [Submission(1, categories=("cs.CL",))])

    assert run("--source", "arxiv") == "2026-11-23  1 paper, 1 new\n"
    assert Entry.objects.get().is_trending is False


# -- catching up ---------------------------------------------------------------------------


@pytest.fixture
def march(server):
    """Thirty-one days of a paper each."""
    days = [f"2025-03-{number:02}" for number in range(1, 32)]
    for number, day in enumerate(days, start=1):
        server.list_papers(day, [entry(number, day=day)])
    return days


BACKFILL = ("--backfill", "--since", "2025-03-01", "--until", "2025-03-31")


def test_a_backfill_reads_a_long_range_and_is_never_news(run, server, march):
    run(*BACKFILL)

    assert server.days_asked() == march
    assert Entry.objects.count() == 31
    assert not Edition.objects.news().exists()
    assert not Edition.objects.open().exists()


def test_a_backfill_given_again_asks_for_nothing_and_changes_nothing(run, server, march):
    run(*BACKFILL)
    before = everything()
    server.requests.clear()

    assert run(*BACKFILL) == "31 of 31 days were read before.\n"
    assert server.requests == []
    assert everything() == before


def test_a_backfill_leaves_out_only_days_that_were_read_after_they_ended(
    run, server, source, march
):
    for day, hour in ((4, "2025-03-04T12:00"), (5, "2025-03-06T00:00")):
        fetching.fetch_day(source, date(2025, 3, day), now=utc(hour), backfill=True)
    Fetch.objects.create(
        source=source, day=date(2025, 3, 6), status=Fetch.Status.FAILED, started_at=NOW
    )
    Fetch.objects.create(
        source=source, day=date(2025, 3, 7), status=Fetch.Status.OK, kind=Fetch.Kind.WEEK
    )
    server.requests.clear()

    assert run(*BACKFILL).startswith("1 of 31 days were read before.\n")
    assert server.days_asked() == [day for day in march if day != "2025-03-05"]


def test_a_day_of_a_file_may_have_been_saved_at_noon_and_is_read_again(run, server, archive):
    run("--from-file", archive)

    run("--backfill", "--since", "2025-12-16", "--until", "2025-12-18")

    assert server.days_asked() == ["2025-12-16", "2025-12-17", "2025-12-18"]


def test_a_backfill_runs_to_the_last_day_of_the_past(run, server):
    run("--backfill", "--since", "2026-11-20")

    assert server.days_asked() == ["2026-11-20", "2026-11-21", "2026-11-22"]


def test_before_yesterdays_edition_is_closed_a_backfill_ends_the_day_before(run, server):
    with time_machine.travel(utc("2026-11-23T01:00"), tick=False):
        run("--backfill", "--since", "2026-11-20")

    assert server.days_asked() == ["2026-11-20", "2026-11-21"]


def test_a_failed_backfill_is_finished_by_the_next_one(run, server, march):
    server.answer_once("2025-03-10", {"error": "no"}, status=404)
    with pytest.raises(CommandError, match="2025-03-10: HTTP 404"):
        run(*BACKFILL)
    server.requests.clear()

    run(*BACKFILL)

    assert server.days_asked() == ["2025-03-10"]
    assert Entry.objects.count() == 31


HARVEST = ("--source", "arxiv", "--harvest", "--set", "cs", "--since", "2026-11-01",
           "--until", "2026-11-20")  # fmt: skip


def test_a_harvest_tells_what_it_brought_and_that_it_is_done(run, server):
    server.arxiv.submit(Submission(1, submitted=utc("2026-11-05")))

    assert run(*HARVEST) == "set cs, 2026-11-01 to 2026-11-20  1 paper, 1 new\n"
    assert run(*HARVEST) == "cs from 2026-11-01 to 2026-11-20 was harvested before.\n"
    assert not Edition.objects.exists()


def test_a_category_is_harvested_by_the_name_that_it_has_elsewhere(run, server):
    run(*HARVEST[:4], "stat.ML", *HARVEST[5:])

    assert server.requests[0].query["set"] == "stat:stat:ML"
    assert Harvest.objects.get().name == "stat:stat:ML"


def test_a_harvest_that_fails_is_an_error(run, server):
    server.answer_always("/oai", b"", status=403)

    with pytest.raises(CommandError, match="set cs, 2026-11-01 to 2026-11-20: HTTP 403"):
        run(*HARVEST)


# -- kept answers --------------------------------------------------------------------------


def test_rows_are_rebuilt_from_kept_answers_the_oldest_first(run, server):
    server.list_papers("2026-11-23", [entry(1, upvotes=3)])
    run()
    server.list_papers("2026-11-23", [entry(1, upvotes=8), entry(2)])
    with time_machine.travel(utc("2026-11-23T09:00"), tick=False):
        run()
    Paper.objects.all().delete()
    server.requests.clear()

    with time_machine.travel(utc("2026-11-23T10:00"), tick=False):
        out = run("--replay")

    assert out == "2026-11-23  1 paper, 1 new\n2026-11-23  2 papers, 1 new\n"
    assert server.requests == []
    assert Paper.objects.get(arxiv_id="2611.00001").upvotes == 8
    readings = Signal.objects.filter(paper__arxiv_id="2611.00001").order_by("read_at")
    assert [(each.read_at.hour, each.upvotes) for each in readings] == [(7, 3), (9, 8)]


def test_a_replay_given_again_changes_no_paper(run, server):
    server.list_papers("2026-11-23", [entry(1), entry(2)])
    run()
    before = everything()["papers_paper"]

    run("--replay")
    run("--replay")

    assert everything()["papers_paper"] == before


def test_a_part_can_be_replayed(run, server):
    for day in ("2026-11-19", "2026-11-20"):
        server.list_papers(day, [entry(int(day[-2:]), day=day)])
    run("--since", "2026-11-19", "--until", "2026-11-20")

    assert run("--replay", "--date", "2026-11-19").startswith("2026-11-19  1 paper")
    with pytest.raises(CommandError, match="No answer is kept"):
        run("--replay", "--source", "arxiv")


def test_all_kinds_of_answers_are_replayed(run, server):
    server.list_papers("2026-W47", [entry(1, day="2026-11-17")])
    server.arxiv.submit(Submission(2, submitted=utc("2026-11-05")))
    run("--week", "2026-W47")
    run(*HARVEST)
    Paper.objects.all().delete()

    out = run("--replay")

    assert "2026-11-16 (a week’s list)  1 paper, 1 new" in out
    assert "set cs, 2026-11-01 to 2026-11-20  1 paper, 1 new" in out
    assert Answer.objects.exclude(fetch__origin="live").count() == 0


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
