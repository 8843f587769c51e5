"""The measure of summaries, on papers made up for it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import pytest

from benchmarks import summaries as benchmark
from benchmarks.summaries import Known

PAPER = {
    "title": "Gated Bees: Waggle Dances",
    "summary": "Bees are many. However, few dance. We propose Gated Bees, a waggle dance for all.",
    "ai_summary": "Gated Bees is a waggle dance for all bees.",
}


@pytest.fixture
def data(tmp_path):
    archive = tmp_path / benchmark.ARCHIVE
    archive.parent.mkdir()
    lines = [
        json.dumps(
            {"date": f"2025-12-0{day}", "entry": {"paper": PAPER | {"id": f"2512.0000{day}"}}}
        )
        for day in range(1, 5)
    ]
    silent = {"id": "2512.00009", "title": "A", "summary": "B."}
    lines.append(json.dumps({"date": "2025-12-05", "entry": {"paper": silent}}))
    archive.write_bytes(gzip.compress("\n".join([*lines, lines[0]]).encode()))
    return tmp_path


def test_only_papers_with_a_summary_count_and_each_once(data):
    papers = list(benchmark.read(data / benchmark.ARCHIVE))
    assert [paper.day for paper in papers] == [f"2025-12-0{day}" for day in range(1, 5)]
    parts = [benchmark.part_of(papers, part) for part in benchmark.PARTS]
    assert [len(part) for part in parts] == [2, 2]
    assert not {paper.day for paper in parts[0]} & {paper.day for paper in parts[1]}


def test_the_measures_are_those_of_the_book():
    one, two, longest, recall = benchmark._rouge("a b c d", "a c d")
    assert one == pytest.approx(2 * (3 / 4) * 1 / (3 / 4 + 1))
    assert recall == 1
    assert two == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert longest == pytest.approx(2 * (3 / 4) * 1 / (3 / 4 + 1))
    assert benchmark._rouge("x", "y") == (0, 0, 0, 0)


def test_what_says_it_is_nearer_than_how_it_begins():
    texts = (PAPER["title"], PAPER["summary"], PAPER["ai_summary"])
    found = benchmark.measure([Known("2025-12-01", *texts)] * 2, seed=1)
    assert found["gist"]["rouge_1"] > found["first sentence"]["rouge_1"]
    assert found["oracle"]["rouge_1"] >= found["last two"]["rouge_1"]
    assert found["first two"]["characters"] == len("Bees are many. However, few dance.")


def test_the_command_prints_a_table_or_names_what_is_missing(data, tmp_path):
    said = run("--data", str(data), "--part", "held-out", "--no-progress")
    assert said.returncode == 0
    assert "2 papers, held-out" in said.stdout
    assert "| gist |" in said.stdout
    missing = run("--data", str(tmp_path / "nowhere"))
    assert missing.returncode == 1
    assert "--data DIR" in missing.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.summaries", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)
