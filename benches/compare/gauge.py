"""What is measured: processor time and memory of a server's processes, and what its clients saw."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.load import executable as load_generator
from harness.process import pss_kib

HERE = Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")


class MeasurementError(Exception):
    """A tool that said nothing that can be used."""


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of processes so far, with that of children of theirs that have ended."""
    return sum(_own_seconds(pid) + _seconds_of_ended_children(pid) for pid in pids)


def _own_seconds(pid: int) -> float:
    """All threads, those that have ended too, in nanoseconds: /proc/PID/stat has only ticks."""
    # The kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED): what clock_getcpuclockid(3) gives.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _seconds_of_ended_children(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # cutime and cstime, fields 16 and 17 of proc(5).
    return (int(fields[13]) + int(fields[14])) / TICKS


def pss_mib(pids: Iterable[int]) -> float:
    """Memory, where what N processes share counts 1/N for each."""
    return sum(pss_kib(pid) for pid in pids) / 1024


@dataclass(frozen=True)
class Seen:
    """What the clients saw. Times are in milliseconds."""

    #: Whole responses; a part of one counts in proportion, where the length is known.
    requests: float
    seconds: float
    p50: float
    p99: float
    p999: float
    #: Responses of 400 and more, and connections that failed.
    errors: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True)
class Load:
    """How a server is kept busy."""

    connections: int = 16
    #: Bytes of a body to post.
    post: int | None = None
    #: Bytes of a response, where so few fit into a round that parts of one have to be counted.
    response: int | None = None
    #: Requests a second; without it as many as there can be.
    rate: float | None = None

    def run(self, port: int, path: str, seconds: int) -> Seen:
        if self.rate is not None:
            return self._paced(port, path, seconds, self.rate)
        environment = dict(os.environ)
        environment.pop("BODY", None)
        if self.post is not None:
            environment["BODY"] = str(self.post)
        out = _output(
            [
                *("wrk", "--threads", "1", "--connections", str(self.connections)),
                *("--duration", f"{seconds}s", "--timeout", "30s"),
                *("--script", str(HERE / "wrk.lua")),
                f"http://127.0.0.1:{port}{path}",
            ],
            environment,
            seconds + 60,
        )
        told = json.loads(out.splitlines()[-1])
        requests = told["bytes"] / self.response if self.response else told["requests"]
        return Seen(
            requests=requests,
            seconds=told["us"] / 1e6,
            p50=told["p50"] / 1000,
            p99=told["p99"] / 1000,
            p999=told["p999"] / 1000,
            errors=sum(told["errors"].values()),
        )

    def _paced(self, port: int, path: str, seconds: int, rate: float) -> Seen:
        """By the load generator of the tests: wrk cannot pace."""
        out = _output(
            [
                *(str(load_generator()), f"127.0.0.1:{port}", "--plain", "--path", path),
                *("--connections", str(self.connections), "--rate", str(rate)),
                *("--duration", str(seconds)),
            ],
            dict(os.environ),
            seconds + 90,
        )
        told = json.loads(out.splitlines()[-1])
        return Seen(
            requests=told["answered"],
            seconds=told["seconds"],
            p50=told["p50"] * 1000,
            p99=told["p99"] * 1000,
            p999=told["p999"] * 1000,
            errors=told["requests"] - told["answered"],
        )


def _output(command: list[str], environment: dict[str, str], patience: float) -> str:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"{command[0]} still ran {patience:g} s later") from None
    if done.returncode or not done.stdout.strip():
        raise MeasurementError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def machine() -> dict[str, str]:
    """What the figures depend on, for people."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model[1] if model else os.uname().machine,
        "processors": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": os.uname().release.partition("-")[0],
    }


def version_of(command: list[str], pattern: str = r"\d+(?:\.\d+)+") -> str:
    """The version that a program says it is."""
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[0] if found else "unknown"
