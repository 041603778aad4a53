"""`make bench`: it measures, and README.md has the table that it printed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from harness.spile import ROOT, executable

RESULTS = ROOT / "benches/results"


@pytest.mark.parametrize("case", ["wsgi-hello", "wsgi-idle-workers", "idle-connections"])
def test_a_case_has_figures(tmp_path: Path, case: str) -> None:
    """One of each kind: by wrk, by the load generator that paces, and without a load."""
    done = subprocess.run(
        [ROOT / "benches/compare/run.sh", "--rounds=1", "--seconds=1", f"--out={tmp_path}"],
        env={**os.environ, "CASE": case, "SERVERS": "spile", "SPILE_BIN": str(executable())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "latest.json").read_text())["cases"]
    row = found["rows"][0]
    assert (found["name"], row["server"], row.get("failure")) == (case, "spile", None)
    if case == "idle-connections":
        assert 0 < row["bytes_per_connection"] < 1 << 20
    else:
        assert row["errors"] == 0
        assert row["cpu_us"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["p999_ms"]
        assert row["pss_mib"] > 1
    assert found["title"] in (tmp_path / "latest.md").read_text()
    assert (tmp_path / "latest.svg").read_text().startswith("<svg")


def test_the_table_of_the_readme_is_what_was_measured() -> None:
    """compare.py --render benches/results/latest.json --readme puts it there."""
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.split("<!-- make bench -->\n")[1].split("<!-- /make bench -->")[0]
    assert table.count("\n") > 10
    assert table in (RESULTS / "latest.md").read_text("utf-8")
