"""Descriptors that are left to applications, and how many they may open."""

from __future__ import annotations

import contextlib
import resource
import socket
from pathlib import Path

import pytest

from harness import Starter, wait_until
from harness.faults import descriptors

#: Answers with the limits of this process, a child and a program, or a new descriptor's number.
APP = """
import os, resource, select, subprocess

def soft():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

def forked():
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(soft()).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read) as found:
        return found.read()

def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/number":
        with open(os.devnull) as file:
            select.select([file], [], [], 0)
            return [str(file.fileno()).encode()]
    program = subprocess.run(["sh", "-c", "ulimit -Sn"], capture_output=True, check=True)
    return [f"{soft()} {forked()} {program.stdout.decode().strip()}".encode()]
"""

#: Beyond what select(2) takes.
CROWD = 1200

_, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)
needs_files = pytest.mark.skipif(
    HARD != resource.RLIM_INFINITY and HARD < 4 * CROWD, reason="too few files may be opened here"
)


def with_soft_limit(files: int) -> list[str]:
    return ["sh", "-c", f'ulimit -Sn {files} && exec "$@"', "sh"]


@needs_files
def test_applications_have_the_limit_that_spile_was_started_with(
    start: Starter, tmp_path: Path
) -> None:
    (tmp_path / "limits.py").write_text(APP)
    spile = start.spile("limits", cwd=tmp_path, launcher=with_soft_limit(640))
    assert spile.ask("/").text == "640 640 640"
    spile.reload()
    assert spile.ask("/").text == "640 640 640"


@needs_files
def test_select_works_beside_many_connections(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "limits.py").write_text(APP)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        spile = start.spile("limits", cwd=tmp_path, launcher=with_soft_limit(1024))
        spile.wait_for_log("ready")
        (worker,) = spile.worker_pids()
        with contextlib.ExitStack() as crowd:
            for _ in range(CROWD):
                silent = crowd.enter_context(socket.socket(socket.AF_UNIX))
                silent.connect(spile.address)
            wait_until(lambda: descriptors(worker) > CROWD, "the crowd to be accepted")
            assert int(spile.ask("/number").text) < 1024
            # The application's own child has what was found, though the worker needs more.
            assert spile.ask("/").text.split()[1] == "1024"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
