"""A server process, its log and its whole family."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.waiting import PATIENCE, wait_until

#: Marks, in the environment, every process a test started.
MARK = "TEST_FAMILY"


class Process:
    """A started program whose output goes to one file.

    It leads a session of its own, and it and its children carry a mark in their environment. By
    either (nginx writes its title over its environment) `family` finds them, and `destroy` ends
    them, even when the leader has died.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        cwd: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.command = list(command)
        self.log_path = log
        self._mark = uuid.uuid4().hex
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**environment, MARK: self._mark},
                start_new_session=True,
            )
        self.pid = self._popen.pid

    @property
    def log(self) -> str:
        """What the process has written so far."""
        return self.log_path.read_text("utf-8", "replace")

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    def family(self) -> set[int]:
        """The pids of the process and all its descendants that are alive."""
        pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
        return {pid for pid in pids if in_session(pid, self.pid) or has_mark(pid, self._mark)}

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit status; still running after `patience` seconds is an error."""
        try:
            return self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.command[0]} still runs {patience:g} s later; its log:\n{self.log}"
            ) from None

    def destroy(self) -> None:
        """Ends every process of the family, whatever state it is in."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for pid in self.family():
                kill(pid, signal.SIGKILL)
            if self._popen.poll() is None:
                self._popen.kill()
                self._popen.wait()
            if not self.family():
                return
            assert time.monotonic() < deadline, f"cannot end {self.family()}"
            time.sleep(0.01)

    def wait_for_log(self, text: str, since: int = 0) -> str:
        """Waits for a text in the log, from an offset on; returns the log from there."""
        wait_until(lambda: text in self.log[since:], f"{text!r} in the log {self.log_path}")
        return self.log[since:]


def kill(pid: int, number: int) -> None:
    """Sends a signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def in_session(pid: int, session: int) -> bool:
    """Whether a process is alive and in the session."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    state, _parent, _group, its_session = fields[:4]
    return state != "Z" and int(its_session) == session


def parent_of(pid: int) -> int | None:
    """The process whose child it is, if it is alive."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]) if fields[0] != "Z" else None


def threads_of(pid: int) -> int:
    """How many threads it has: none when it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def has_mark(pid: int, mark: str) -> bool:
    """Whether a process is alive and carries the mark. A zombie has no environment left."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={mark}".encode() in environment.split(b"\0")


def status_kib(pid: int, field: str) -> int:
    """A field of /proc/PID/status that is given in kB, such as VmRSS or VmHWM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise KeyError(field)


def pss_kib(pid: int) -> int:
    """Its memory, where what N processes share counts 1/N for each."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.split()[0])
    raise KeyError("Pss")
