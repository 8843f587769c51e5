"""The benchmark of ingestion, over a few days."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import PROJECT


def benchmark(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.ingest", *words],
        cwd=PROJECT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.processes
def test_recorded_days_are_stored_once_and_measured_beside_the_bare_rows(shared_data):
    ran = benchmark("--json", "--days=3", "--passes=1", f"--data={shared_data}")

    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout)
    assert (found["papers"], found["entries"], found["signals"], found["editions"]) == (
        found["papers"],
        found["papers"],
        found["papers"],
        3,
    )
    assert found["papers"] > 20
    assert found["new_the_second_time"] == 0
    assert all(times["wall"] > 0 for times in found["ratio_to_bare_rows"].values())
    assert found["memory"]["oai_papers"] == 2538
    assert len(found["memory"]["peak_mb_after_each_pass"]) == 1


def test_an_absent_folder_is_named(tmp_path):
    ran = benchmark("--data", str(tmp_path / "nowhere"))

    assert ran.returncode == 1
    assert "--data: there is no folder" in ran.stderr
