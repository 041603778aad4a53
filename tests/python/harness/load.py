"""The load generator of tests/load: keeps a port busy and checks every response."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.process import Process
from harness.spile import ROOT

#: No load goes on for longer, whatever becomes of the test, unless that says so.
LIMIT = 900


def executable() -> Path:
    """$SPILE_LOAD, else what `make build` leaves in the target directory."""
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return Path(os.environ.get("SPILE_LOAD", Path(target) / "release/load")).absolute()


@dataclass(frozen=True)
class Failure:
    """A request that was not answered, or not as it should be. Times are seconds since 1970."""

    kind: str
    number: int
    began: float
    seconds: float

    def was_running_at(self, moment: float, margin: float) -> bool:
        return self.began - margin <= moment <= self.began + self.seconds + margin


class Report:
    """What the load generator saw: its JSON document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.answered: int = document["answered"]
        self.requests: int = document["requests"]
        self.failures = [Failure(**failure) for failure in document["failures"]]
        wait = document["longest_wait"]
        #: Seconds: the longest wait of one request, and the longest time without any answer.
        self.longest_wait: float = wait["seconds"] if wait else 0.0
        self.longest_silence: float = document["longest_silence"]["seconds"]

    @property
    def lost(self) -> int:
        return self.requests - self.answered

    def lost_at(self, moments: Iterable[float], margin: float) -> list[Failure]:
        """The failures that at least one of the moments can explain."""
        moments = list(moments)
        return [
            failure
            for failure in self.failures
            if any(failure.was_running_at(moment, margin) for moment in moments)
        ]

    def __str__(self) -> str:
        return json.dumps(self.document, indent=1)


class Load(Process):
    """Requests to a port of 127.0.0.1 until `stop`."""

    def __init__(
        self,
        port: int,
        folder: Path,
        connections: int = 8,
        rate: float | None = 400,
        arguments: Iterable[str] = (),
        limit: float = LIMIT,
    ) -> None:
        program = executable()
        assert program.is_file(), f"no {program}: cargo build --release --package load"
        command = [
            *(str(program), f"127.0.0.1:{port}", "--connections", str(connections)),
            *("--duration", str(limit), *arguments),
        ]
        if rate:
            command += ["--rate", str(rate)]
        super().__init__(command, folder / "load.log", folder, os.environ)

    def wait_ready(self) -> Load:
        """Waits for the first answer."""
        self.wait_for_log("first answer")
        return self

    def stop(self) -> Report:
        """No new requests; waits for the answers to those that run."""
        self.signal(signal.SIGTERM)
        status = self.wait(patience=90)
        lines = self.log.splitlines()
        assert status == 0, f"load ended with status {status}:\n{self.log}"
        return Report(json.loads(lines[-1]))
