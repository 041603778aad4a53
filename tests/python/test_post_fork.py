"""What happens at a fork: spile.post_fork, and signals on both sides of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import APPS, Starter, run_spile, wait_until
from harness.workers import answers, mold_of

APPLICATION = """
import json
import os
import spile

steps = []
os.register_at_fork(after_in_child=lambda: steps.append("register_at_fork"))

@spile.post_fork
def first():
    steps.append(f"first {os.getpid()}")

@spile.post_fork
def second():
    steps.append("second")

def application(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps({"served_by": os.getpid(), "steps": steps}).encode()]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hooked.py").write_text(APPLICATION)
    return tmp_path


def test_functions_run_in_each_worker_in_their_order(start: Starter, folder: Path) -> None:
    spile = start.spile("hooked:application", "-w", "2", cwd=folder)
    for pid, said in answers(spile, 2).items():
        assert said["steps"] == ["register_at_fork", f"first {pid}", "second"]


def test_a_lazy_worker_runs_them_after_its_import(start: Starter, folder: Path) -> None:
    spile = start.spile("hooked:application", "--lazy", "-w", "2", cwd=folder)
    for pid, said in answers(spile, 2).items():
        assert said["steps"] == [f"first {pid}", "second"]


def test_a_worker_whose_function_fails_says_so_and_does_not_serve(
    start: Starter, tmp_path: Path
) -> None:
    database = tmp_path / "database"
    (tmp_path / "failing.py").write_text(
        "import os, spile\n"
        "from started import application\n"
        "@spile.post_fork\n"
        "def connect():\n"
        f"    if not os.path.exists({str(database)!r}):\n"
        "        raise ConnectionError('no database')\n"
    )
    socket = str(start.folder() / "s")
    run = run_spile("serve", "failing", "--pythonpath", str(APPS), "--socket", socket, cwd=tmp_path)
    assert run.status == 1
    assert re.search(
        r"ERROR the spile.post_fork function `failing.connect` failed\n"
        r"Traceback.*\n"
        r'  File ".*failing.py", line 6, in connect\n(?s:.*?)'
        r"ConnectionError: no database\n"
        r"  hint: ",
        run.err,
    )


def test_outside_spile_it_changes_nothing(folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import hooked; print(hooked.first.__name__, hooked.steps)"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "first []\n"


# Signals.


def test_a_term_to_all_processes_is_a_graceful_stop(start: Starter) -> None:
    """systemd tells every process of a unit; the mold is not to end before the workers."""
    spile = start.spile("started:application", "-w", "2")
    answers(spile, 2)
    for pid in (mold_of(spile), spile.pid):
        os.kill(pid, signal.SIGTERM)
    assert spile.wait() == 0
    assert "the mold" not in spile.log


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_the_mold_outlives_signals_that_end_the_applications_children(
    start: Starter, tmp_path: Path, name: str
) -> None:
    number = int(getattr(signal, name))
    (tmp_path / "children.py").write_text(
        "import json, os, signal, subprocess\n"
        "def forked():\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        while True: signal.pause()\n"
        "    return pid\n"
        "def started():\n"
        "    return subprocess.Popen(['sleep', '600'])\n"
        "children = [forked(), started().pid]\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    said = {'served_by': os.getpid()}\n"
        "    if environ['PATH_INFO'] == '/end':\n"
        "        pid, process = forked(), started()\n"
        "        for child in [*children, pid, process.pid]:\n"
        f"            os.kill(child, {number})\n"
        "        said.update(children=children, forked=os.waitpid(pid, 0)[1])\n"
        "        said.update(started=process.wait())\n"
        "    return [json.dumps(said).encode()]\n"
    )
    spile = start.spile("children", cwd=tmp_path)
    answers(spile)
    (said,) = answers(spile, path="/end").values()
    assert (said["forked"], said["started"]) == (number, -number)
    # The mold does not wait for them, so they may be seen as zombies.
    wait_until(lambda: spile.family().isdisjoint(said["children"]), "the mold's children to end")
    mold = mold_of(spile)
    os.kill(mold, number)
    os.kill(said["served_by"], signal.SIGKILL)
    wait_until(lambda: said["served_by"] not in spile.family(), "the worker to end")
    assert said["served_by"] not in answers(spile)
    assert mold in spile.family()
