"""What runs at the end: what an import makes for all workers outlives each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import Starter, wait_until
from harness.process import kill
from harness.workers import answers, mold_of

APPLICATION = """
import atexit, json, os, tempfile
import spile

directory = tempfile.TemporaryDirectory(dir=os.environ["TEST_PLACE"])

def note(what):
    with open(os.path.join(os.environ["TEST_PLACE"], "ends"), "a") as ends:
        ends.write(f"{what} {os.getpid()}\\n")

atexit.register(note, "atexit")

@spile.on_exit
def remove():
    note("on_exit")

def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        import time
        time.sleep(1)
    start_response("200 OK", [])
    said = {"served_by": os.getpid(), "directory": os.path.isdir(directory.name)}
    return [json.dumps(said).encode()]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APPLICATION)
    place = tmp_path / "place"
    place.mkdir()
    return place


def ends(place: Path) -> list[tuple[str, int]]:
    file = place / "ends"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(what, int(pid)) for what, pid in map(str.split, lines)]


def directories(place: Path) -> list[Path]:
    return [entry for entry in place.iterdir() if entry.is_dir()]


def test_a_worker_that_leaves_takes_nothing_that_is_shared(start: Starter, place: Path) -> None:
    spile = start.spile("app", "-w", "2", cwd=place.parent, env={"TEST_PLACE": str(place)})
    first, second = answers(spile, 2)
    mold = mold_of(spile)
    os.kill(first, signal.SIGTERM)
    spile.wait_for_log(f"(process {first}) exited with status 0")
    assert ends(place) == [("atexit", first)]
    assert all(said["directory"] for said in answers(spile, 2).values())
    spile.reload()
    wait_until(lambda: ("on_exit", mold) in ends(place), "the end of the first import")
    wait_until(lambda: len(directories(place)) == 1, "its directory to be removed")
    last = mold_of(spile)
    spile.stop()
    assert [end for end in ends(place) if end[0] == "on_exit"] == [
        ("on_exit", mold),
        ("on_exit", last),
    ]
    assert ends(place)[-1] == ("atexit", last)
    assert not directories(place)
    assert second


def test_it_waits_for_workers_that_outlive_the_master(start: Starter, place: Path) -> None:
    spile = start.spile("app", cwd=place.parent, env={"TEST_PLACE": str(place)})
    (worker,) = answers(spile)
    mold = mold_of(spile)
    with spile.connect() as connection:
        connection.request("/wait")
        kill(spile.pid, signal.SIGKILL)
        assert b'"directory": true' in connection.answer().body
    wait_until(lambda: not spile.family(), "the others to follow the master")
    assert ends(place) == [("atexit", worker), ("on_exit", mold), ("atexit", mold)]
    assert not directories(place)
    spile.wait()


def test_with_lazy_each_worker_runs_its_own(start: Starter, place: Path) -> None:
    spile = start.spile("app", "--lazy", cwd=place.parent, env={"TEST_PLACE": str(place)})
    (worker,) = answers(spile)
    spile.stop()
    assert ends(place) == [("on_exit", worker), ("atexit", worker)]
    assert not directories(place)


def test_outside_spile_it_runs_at_the_end(place: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", "import app"],
        cwd=place.parent,
        env={**os.environ, "TEST_PLACE": str(place)},
    )
    assert run.wait() == 0
    assert ends(place) == [("on_exit", run.pid), ("atexit", run.pid)]
