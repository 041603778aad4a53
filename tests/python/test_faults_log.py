"""A standard error that nobody reads: lines of the log are lost, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Spile, Starter, wait_until
from harness.process import kill
from harness.waiting import PATIENCE
from harness.workers import mold_of


class Pipe:
    """A named pipe that is open for reading, and read only when asked to be."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "standard_error"
        os.mkfifo(self.path)
        # For both, so that it stays full when its last writer has gone.
        self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def fill(self) -> None:
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(self.fd, b"." * (size - 1) + b"\n")

    def drain(self) -> str:
        text = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                text += os.read(self.fd, 65536)
        return text.decode()


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    pipe = Pipe(tmp_path)
    yield pipe
    os.close(pipe.fd)


def started(start: Starter, pipe: Pipe, *arguments: str, app: str = "faulty:application") -> Spile:
    launcher = ["sh", "-c", f'exec "$@" 2>{pipe.path}', "sh"]
    return start.spile(app, *arguments, launcher=launcher)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_full_pipe_costs_neither_a_request_nor_a_reload_nor_a_stop(
    start: Starter, pipe: Pipe, form: str
) -> None:
    spile = started(start, pipe, "-w", "2", "-t", "2", "--log-format", form)
    first = int(spile.ask("/pid").text)
    pipe.fill()
    for _ in range(10):
        assert spile.ask("/raise?SystemExit").status == 500
    assert spile.ask("/pid").status == 200
    spile.reload()
    wait_until(lambda: first not in spile.worker_pids(), "the old workers to leave")
    kill(mold_of(spile), signal.SIGKILL)
    wait_until(lambda: len(spile.mold_pids()) == 1, "another mold")
    assert spile.ask("/pid").status == 200
    spile.stop()


def test_without_python_either(start: Starter, pipe: Pipe) -> None:
    spile = started(start, pipe, app="hello://")
    pipe.fill()
    assert spile.ask("/").status == 200
    spile.stop()


def test_nobody_outlives_a_master_that_is_killed(start: Starter, pipe: Pipe) -> None:
    spile = started(start, pipe, "-w", "2")
    assert spile.ask("/pid").status == 200
    pipe.fill()
    assert spile.ask("/raise?SystemExit").status == 500
    spile.signal(signal.SIGKILL)
    wait_until(lambda: not spile.family(), "the last process of spile to end")


def test_it_starts_and_says_so_when_nobody_reads_from_the_beginning(
    start: Starter, pipe: Pipe
) -> None:
    pipe.fill()
    spile = started(start, pipe)
    assert spile.ask("/pid").status == 200
    spile.stop()


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_was_lost_is_counted_and_told_when_there_is_room(
    start: Starter, pipe: Pipe, form: str
) -> None:
    spile = started(start, pipe, "--log-format", form)
    assert spile.ask("/pid").status == 200
    pipe.fill()
    for _ in range(3):
        assert spile.ask("/raise?SystemExit").status == 500
    assert "SystemExit" not in pipe.drain()
    assert spile.ask("/raise?KeyboardInterrupt").status == 500
    said = pipe.drain()
    told, _, rest = said.partition("\n")
    assert "KeyboardInterrupt" in rest
    message = "3 lines of the log were lost: nobody read standard error"
    if form == "json":
        for line in said.splitlines():
            json.loads(line)
        line = json.loads(told)
        assert (line["process"], line["level"], line["message"]) == ("worker", "WARN", message)
        assert line["timestamp"][:4].isdigit()
    else:
        assert f"[worker {spile.ask('/pid').text}]  WARN {message}" in told
    spile.stop()


def test_an_application_that_waits_to_print_holds_a_stop_up_for_the_graceful_timeout(
    start: Starter, pipe: Pipe
) -> None:
    spile = started(start, pipe, "--graceful-timeout", "1")
    worker = int(spile.ask("/pid").text)
    pipe.fill()
    with spile.connect() as connection:
        connection.request("/print?1")
        wait_until(
            lambda: "pipe" in Path(f"/proc/{worker}/wchan").read_text(), "the worker to wait"
        )
        spile.signal(signal.SIGTERM)
        spile.wait(PATIENCE)
    wait_until(lambda: not spile.family(), "the last process of spile to end")
