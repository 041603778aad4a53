"""A pytest plugin: writes what became of each test to $CONFORMANCE_OUTCOMES, as JSON.

The document maps a test's name, without the path of its file, to a pair: "passed", "failed" or
"skipped", and the last line of why.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


class Outcomes:
    """What became of each test so far."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[str, str]] = {}

    def add(self, name: str, outcome: str, why: str = "") -> None:
        """A failure is final: what comes later for the same test does not hide it."""
        if self.seen.get(name, ("", ""))[0] != "failed":
            self.seen[name] = (outcome, why)

    def write(self) -> None:
        Path(os.environ["CONFORMANCE_OUTCOMES"]).write_text(json.dumps(self.seen))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder(), "conformance-recorder")


class Recorder:
    """Hears of each test from pytest."""

    def __init__(self) -> None:
        self.outcomes = Outcomes()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("::")[2]
        if report.failed:
            # Once, with the line that the failure ends with.
            self.outcomes.add(name, "failed", last_line(report.longreprtext))
        elif report.skipped:
            self.outcomes.add(name, "skipped", str(report.longrepr))
        elif report.when == "call":
            self.outcomes.add(name, "passed")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes.add(f"{report.nodeid}: collecting", "failed", report.longreprtext)

    def pytest_sessionfinish(self) -> None:
        self.outcomes.write()


def last_line(text: str) -> str:
    """What pytest says an assertion was: the last line that begins with an E, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("E ")]
    return (said[0] if said else lines[-1] if lines else "")[:300]
