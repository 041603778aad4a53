"""`--pidfile`: whose it is, and when it may be replaced."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness import APPS, Spile, Starter, run_spile


@pytest.fixture
def path(start: Starter) -> Path:
    return start.folder() / "spile.pid"


def serve(start: Starter, path: Path) -> Spile:
    spile = start.spile("hello://", "--pidfile", str(path))
    assert spile.ask("/").status == 200
    return spile


def test_it_is_there_as_long_as_the_master_is(start: Starter, path: Path) -> None:
    spile = serve(start, path)
    assert path.read_text() == f"{spile.pid}\n"
    spile.stop()
    assert list(path.parent.iterdir()) == []


def test_a_live_master_keeps_it(start: Starter, path: Path) -> None:
    spile = serve(start, path)
    other = str(path.parent / "other.sock")
    finished = run_spile("serve", "hello://", "-s", other, "--pidfile", str(path), cwd=APPS)
    assert finished.status == 1
    assert f" ERROR process {spile.pid} runs with the pid file {path}" in finished.err
    assert f"hint: stop it (kill {spile.pid})" in finished.err
    assert path.read_text() == f"{spile.pid}\n"
    assert spile.ask("/").status == 200


def test_one_of_a_master_that_was_killed_is_replaced(start: Starter, path: Path) -> None:
    killed = serve(start, path)
    killed.signal(signal.SIGKILL)
    killed.wait()
    assert path.exists()
    spile = serve(start, path)
    assert path.read_text() == f"{spile.pid}\n"


def test_a_number_that_another_program_has_now_does_not_matter(start: Starter, path: Path) -> None:
    path.write_text(f"{os.getpid()}\n")
    spile = serve(start, path)
    assert path.read_text() == f"{spile.pid}\n"


@pytest.mark.parametrize(
    "content", [b"def application(): ...\n", b"12 monkeys\n", b"\xff\0", b"9" * 99]
)
def test_a_file_that_is_no_pid_file_is_refused_and_left_as_it_is(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    for command in ("check", "serve"):
        socket = str(path.parent / "spile.sock")
        options = ["hello://", "-s", socket, "--pidfile", str(path)]
        finished = run_spile(command, *options, cwd=APPS)
        assert finished.status == 2, command
        said = finished.err + finished.out.decode()
        assert f"--pidfile: `{path}` holds something other than a process id" in said
        assert "hint: name another file, or remove this one" in said
        assert path.read_bytes() == content


@pytest.mark.parametrize("content", ["", "\n", "4711", "  4711 \n\n"])
def test_an_empty_file_and_one_of_a_number_are_taken(
    start: Starter, path: Path, content: str
) -> None:
    path.write_text(content)
    spile = serve(start, path)
    assert path.read_text() == f"{spile.pid}\n"
