"""--lazy: each worker imports the application itself."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

from harness import APPS, Starter, run_spile, wait_until
from harness.process import kill
from harness.workers import answers, mold_of

FAILING = "def load():\n    raise RuntimeError('no database')\nload()\n"


def test_each_worker_imports_the_application(start: Starter) -> None:
    spile = start.spile("started:application", "--lazy", "-w", "3")
    seen = answers(spile, 3)
    assert {pid: said["imported_by"] for pid, said in seen.items()} == {pid: pid for pid in seen}


def test_each_worker_is_warmed_up(start: Starter) -> None:
    spile = start.spile("started:application", "--lazy", "-w", "2", "--warmup", "/cached")
    seen = answers(spile, 2)
    assert {pid: said["filled_by"] for pid, said in seen.items()} == {pid: pid for pid in seen}
    assert spile.log.count("warm-up: GET /cached was answered with 200 OK") >= 2


def test_without_it_the_mold_imports(start: Starter) -> None:
    spile = start.spile("started:application", "-w", "2")
    seen = answers(spile, 2)
    assert {said["imported_by"] for said in seen.values()} == {mold_of(spile)}


def test_the_applications_signal_handlers_do_not_keep_a_worker(
    start: Starter, tmp_path: Path
) -> None:
    """Like those that are set in the mold, they do not run beside the worker's own."""
    marks = tmp_path / "marks"
    (tmp_path / "handlers.py").write_text(
        "import signal\n"
        "def note(number, frame):\n"
        f"    open({str(marks)!r}, 'a').write(f'{{number}} ')\n"
        "for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):\n"
        "    signal.signal(number, note)\n"
        "from started import application\n"
    )
    for arguments in ([], ["--lazy"]):
        spile = start.spile(
            "handlers:application", *arguments, "--pythonpath", str(APPS), cwd=tmp_path
        )
        (worker,) = answers(spile)
        os.kill(worker, signal.SIGTERM)
        spile.wait_for_log(f"(process {worker}) exited with status 0")
        assert not marks.exists()
        # The next one may be told to stop at any moment of its start, its import included.
        spile.stop()
        marks.unlink(missing_ok=True)


def test_a_stop_that_the_import_takes_for_its_own_is_told_again(
    start: Starter, tmp_path: Path
) -> None:
    importing, taken, go_on = (tmp_path / name for name in ("importing", "taken", "go_on"))
    (tmp_path / "handlers.py").write_text(
        "import os, signal, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: open({str(taken)!r}, 'w').close())\n"
        f"open({str(importing)!r}, 'w').close()\n"
        f"while not os.path.exists({str(go_on)!r}):\n"
        "    time.sleep(0.01)\n"
        "from started import application\n"
    )
    spile = start.spile("handlers:application", "--lazy", "--pythonpath", str(APPS), cwd=tmp_path)
    wait_until(importing.exists, "the import to begin")
    spile.signal(signal.SIGTERM)
    wait_until(taken.exists, "the import to take the signal")
    go_on.touch()
    # Well before the time to finish is over, when it would be killed.
    spile.stop()


def test_a_worker_that_cannot_import_says_why(tmp_path: Path, start: Starter) -> None:
    """As the mold says it: the traceback begins in the application."""
    (tmp_path / "failing.py").write_text(FAILING)
    eager = run_spile("serve", "failing", "--socket", str(start.folder() / "s"), cwd=tmp_path)
    lazy = run_lazily(start, tmp_path)
    for log in (eager.err, lazy):
        assert re.search(
            r"ERROR importing `failing` failed\n"
            r"Traceback \(most recent call last\):\n"
            r'  File ".*failing.py", line 3, in <module>\n(?s:.*?)'
            r"RuntimeError: no database\n"
            r"  hint: the traceback says where",
            log,
        )


def test_a_failure_to_start_is_one_line_of_json(tmp_path: Path, start: Starter) -> None:
    """Of the mold as of a worker, like all the others."""
    (tmp_path / "failing.py").write_text(FAILING)
    as_json = ("--log-format", "json")
    socket = str(start.folder() / "s")
    eager = run_spile("serve", "failing", *as_json, "--socket", socket, cwd=tmp_path)
    lazy = run_lazily(start, tmp_path, *as_json)
    for log in (eager.err, lazy):
        # The last of them is not the log's, but the command's.
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        (line, *_) = (line for line in lines if "no database" in line["message"])
        assert line["level"] == "ERROR"
        assert line["message"].startswith("importing `failing` failed\nTraceback")
        assert line["hint"].startswith("the traceback says where")


def run_lazily(start: Starter, folder: Path, *arguments: str) -> str:
    """The log of a spile whose workers cannot start."""
    socket = str(start.folder() / "s")
    run = run_spile("serve", "failing", "--lazy", "--socket", socket, *arguments, cwd=folder)
    assert run.status == 1
    return run.err


def test_nobody_who_hangs_in_an_import_outlives_the_master(start: Starter, tmp_path: Path) -> None:
    started = tmp_path / "started"
    (tmp_path / "hanging.py").write_text(
        f"import time\nopen({str(started)!r}, 'w').close()\nwhile True: time.sleep(1)\n"
    )
    for arguments in ([], ["--lazy"]):
        spile = start.spile("hanging", *arguments, cwd=tmp_path)
        wait_until(started.exists, "the import to begin")
        started.unlink()
        kill(spile.pid, signal.SIGKILL)
        wait_until(lambda spile=spile: not spile.family(), "its processes to follow it")
        spile.wait()
