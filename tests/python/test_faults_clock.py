"""The clock on the wall jumps by hours, as when it is set or a machine wakes up.

libfaketime shows a spile another time, by a file that the test writes. What the kernel measures
time with (CLOCK_MONOTONIC) never jumps, and so is left as it is.
"""

from __future__ import annotations

import datetime
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from harness import Spile, Starter, environ_for, packet, wait_until
from harness.process import kill

LIBRARIES = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))

pytestmark = pytest.mark.skipif(
    not LIBRARIES, reason="needs libfaketime: apt-get install libfaketime"
)

HOURS = 3600


class Clock:
    """The clock of a spile."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.turn(0)

    def turn(self, seconds: int) -> None:
        """By so many seconds from the real time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}")
        new.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture
def clock(start: Starter) -> Clock:
    return Clock(start.folder())


def started(start: Starter, clock: Clock, *arguments: str) -> Spile:
    spile = start.spile("faulty:application", *arguments, env=clock.environment)
    spile.wait_for_log("ready")
    return spile


@pytest.mark.parametrize("jump", [-12 * HOURS, 12 * HOURS], ids=["back", "forward"])
def test_nothing_that_waits_ends_early_or_late(start: Starter, clock: Clock, jump: int) -> None:
    log = start.folder() / "access.log"
    spile = started(
        *(start, clock, "-w", "2", "--read-timeout", "3", "--request-timeout", "3"),
        *("--access-log", str(log), "--access-log-format", "%U %s %D %t"),
    )
    folder = start.folder()
    gate = folder / "gate"
    with spile.connect() as half, spile.connect() as held:
        request = packet(environ_for("/pid"))
        half.send(request[:50])
        began = time.monotonic()
        held.request(f"/hold?started={folder}/started&gate={gate}")
        wait_until((folder / "started").exists, "the request to begin")
        clock.turn(jump)
        assert spile.ask("/pid?after").status == 200
        # Neither the one nor the other has run out of time. They may have the same thread.
        half.send(request[50:])
        gate.touch()
        assert held.answer().status == 200, spile.log
        assert half.answer().status == 200
    # And time still runs out when it should.
    with spile.connect() as half, spile.connect() as held:
        gate.unlink()
        half.send(request[:50])
        began = time.monotonic()
        held.request(f"/hold?started={folder}/started&gate={gate}")
        assert held.answer().status == 504
        assert 2.5 < time.monotonic() - began < 15
        assert half.answer().status == 408
        assert time.monotonic() - began < 15

    def lines() -> list[str]:
        return [line for line in log.read_text().splitlines() if line.startswith("/hold 200")]

    wait_until(lines, "the access log")
    # The time of day is the new one, and the duration is none of its business.
    _, _, micros, when = lines()[0].split(" ", 3)
    assert 0 < int(micros) < 20_000_000
    written = datetime.datetime.strptime(when, "[%d/%b/%Y:%H:%M:%S %z]").timestamp()
    # It is written with the request's beginning, counted back from its end.
    assert abs(written - (time.time() + jump)) < 60


def test_the_master_keeps_its_own_time(start: Starter, clock: Clock) -> None:
    """Replaces what dies at once, reloads, and counts its uptime, whatever the clock says."""
    spile = started(start, clock, "--pidfile", str(start.folder() / "pid"))
    for jump in (12 * HOURS, -24 * HOURS):
        clock.turn(jump)
        pid = int(spile.ask("/pid").text)
        kill(pid, signal.SIGKILL)
        wait_until(lambda: int(spile.ask("/pid").text) != pid, "another worker")  # noqa: B023
    assert "another starts at once" in spile.log
    seen = len(spile.log)
    spile.signal(signal.SIGHUP)
    said = spile.wait_for_log("reloaded in", seen)
    (seconds,) = re.findall(r"reloaded in ([\d.]+) s", said)
    assert float(seconds) < 20


def test_a_load_loses_nothing_while_the_clock_jumps(start: Starter, clock: Clock) -> None:
    spile = started(start, clock, "-w", "2", "--max-requests", "100", "--request-timeout", "5")
    load = start.load(start.nginx(spile).port(), "--plain", "--path", "/pid", rate=200)
    ended = threading.Event()
    for jump in (1, -1, HOURS, -HOURS, 48 * HOURS, 0) * 2:
        clock.turn(jump)
        ended.wait(0.2)
    report = load.stop()
    assert report.answered > 0
    assert report.lost == 0, str(report)
