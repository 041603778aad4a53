"""A suite while it runs: its process, its logs, what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path

from expected import Judgement, explanations, judge
from suites import HERE, Suite

ROOT = HERE.parents[1]
CACHE = ROOT / "target/conformance"


class Run:
    """One suite, once. What it and spile print goes to logs below the cache folder."""

    def __init__(self, suite: Suite, source: Path, validated: bool) -> None:
        self.name = f"{suite.name}, validated" if validated else suite.name
        self._suite = suite
        self._validated = validated
        self._began = time.monotonic()
        self._scratch = tempfile.TemporaryDirectory(prefix="conformance-")
        self._outcomes = Path(self._scratch.name) / "outcomes.json"
        self._log = CACHE / f"{self.name.replace(', ', '-')}.log"
        spile_log = self._log.with_suffix(".spile.log")
        spile_log.unlink(missing_ok=True)
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                suite.command(),
                cwd=source / suite.folder,
                env={
                    **environment(Path(self._scratch.name)),
                    "CONFORMANCE_OUTCOMES": str(self._outcomes),
                    "CONFORMANCE_SPILE_LOG": str(spile_log),
                    "CONFORMANCE_VALIDATED": "1" if validated else "0",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def over(self) -> bool:
        """Whether it has ended, or should have."""
        return self._process.poll() is not None or self._late

    @property
    def _late(self) -> bool:
        return time.monotonic() - self._began > self._suite.limit

    def finish(self) -> Judgement:
        """What became of it."""
        seconds = time.monotonic() - self._began
        trouble = []
        if self._process.poll() is None:
            trouble.append(f"still ran after {self._suite.limit} s")
        trouble += [f"left behind: {command}" for command in self.end()]
        seen = {}
        if self._outcomes.exists():
            seen = json.loads(self._outcomes.read_text())
        else:
            trouble.append("no outcome")
        self._scratch.cleanup()
        if trouble:
            seen["the run"] = ("failed", f"{'; '.join(trouble)}; see {self._log}")
        return judge(
            self.name,
            metadata.version(self._suite.package),
            seen,
            explanations(self._suite.name, self._validated),
            seconds,
        )

    def end(self) -> list[str]:
        """Ends it and whatever it has started: the commands of what it has left behind.

        They are known by the temporary folder: it is in the environment of all, or, of nginx, which
        writes over that, the current directory is in it.
        """
        if self._process.poll() is None:
            # As from a keyboard: it ends its servers itself.
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        mark = f"\0TMPDIR={self._scratch.name}".encode()
        left = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (
                    mark in b"\0" + (process / "environ").read_bytes()
                    or Path(self._scratch.name) in (process / "cwd").readlink().parents
                ):
                    left.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
                    os.kill(int(process.name), signal.SIGKILL)
        self._process.wait()
        return left


def environment(scratch: Path) -> dict[str, str]:
    """Of a suite's process. Some tests mind proxies, and none is to leave byte code behind."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("PYTEST_")
    }
    return {
        **kept,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join((str(HERE), str(ROOT / "tests/python"))),
        "TMPDIR": str(scratch),
    }
