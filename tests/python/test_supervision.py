"""Signals and failures that meet a master while it is busy with another."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from test_reload import load, name_and_pid, project, reload, write  # noqa: F401

from harness import Spile, Starter, wait_until
from harness.process import kill
from harness.workers import mold_of

#: Its import waits until it may go on.
WAITING = """
import os, time
open("importing", "w").close()
while not os.path.exists("import-it"):
    time.sleep(0.01)
"""

#: Its workers end before they serve.
STILLBORN = """
import os, spile

@spile.post_fork
def end():
    os._exit(3)
"""


def put(folder: Path, before: str, name: str = "new") -> None:
    """An application with something before it."""
    write(folder, name)
    app = folder / "app.py"
    app.write_text(before + app.read_text())


def stats(spile: Spile) -> dict:
    finished = spile.control("stats")
    assert finished.status == 0, finished.err
    return json.loads(finished.out)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ('workers = "none"', "there are mistakes in the configuration"),
        ('socket = ["unix:spile.sock", "192.0.2.1:1"]', "the reload has failed"),
    ],
    ids=["a bad value", "a socket that cannot be bound"],
)
def test_a_mistake_in_the_configuration_does_not_end_the_import_that_goes_on(
    start: Starter,
    project: Path,  # noqa: F811
    mistake: str,
    said: str,
) -> None:
    put(project, WAITING)
    config = project / "spile.toml"
    config.write_text('app = "app"\nsocket = "unix:spile.sock"\n')
    spile = start.spile(
        "--config", str(config), cwd=project, socket=None, address=str(project / "spile.sock")
    )
    wait_until((project / "importing").exists, "the import to begin")
    config.write_text(f'app = "app"\n{mistake}\n')
    spile.signal(signal.SIGHUP)
    spile.wait_for_log(said)
    (project / "import-it").touch()
    assert name_and_pid(spile)[0] == "new"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "exited with status 3"),
        ("kill", "was killed by signal 9 (SIGKILL)"),
    ],
)
def test_a_first_start_whose_workers_end_before_they_serve_fails(
    start: Starter,
    project: Path,  # noqa: F811
    how: str,
    said: str,
) -> None:
    put(
        project,
        STILLBORN if how == "exit" else STILLBORN.replace("_exit(3)", "kill(os.getpid(), 9)"),
    )
    spile = start.spile("app", "-w", "2", cwd=project)
    assert spile.wait() == 1
    assert "new workers end before they serve: the last one, process " in spile.log
    assert said in spile.log
    assert "ready" not in spile.log


def test_a_worker_that_cannot_open_the_access_log_ends_a_first_start(
    start: Starter,
    project: Path,  # noqa: F811
) -> None:
    # The application takes away what `check` has found there.
    put(project, "import os\nos.remove('logs/access.log')\nos.rmdir('logs')\n")
    (project / "logs").mkdir()
    (project / "logs/access.log").touch()
    spile = start.spile("app", "--access-log", "logs/access.log", cwd=project)
    assert spile.wait() == 1
    assert "a worker cannot start: " in spile.log
    assert "logs/access.log: No such file or directory" in spile.log


def test_with_reload_a_crash_loop_at_the_start_waits_for_a_change(
    start: Starter,
    project: Path,  # noqa: F811
) -> None:
    put(project, STILLBORN)
    spile = start.spile("app", "-w", "2", "--reload", cwd=project)
    spile.wait_for_log("the next try is when a file changes")
    write(project, "mended")
    wait_until(lambda: name_and_pid(spile)[0] == "mended", "the new code to serve")


def test_an_end_at_once_that_costs_no_request_is_no_warning(
    start: Starter,
    project: Path,  # noqa: F811
) -> None:
    spile = start.spile("app", "-w", "2", cwd=project)
    spile.wait_for_log("ready")
    spile.signal(signal.SIGQUIT)
    assert spile.wait() == 0
    assert spile.log.count("has left: stop") == 2
    assert "WARN" not in spile.log


def test_a_reload_whose_workers_hang_is_given_up_for_the_next(
    start: Starter,
    project: Path,  # noqa: F811
) -> None:
    site = start.site("app", "-w", "2", cwd=project)
    site.spile.wait_for_log("ready")
    hang = "import time, spile\n@spile.post_fork\ndef hang():\n    open('hung', 'w').close()\n"
    put(project, hang + "    time.sleep(3600)\n")
    with load(site) as wrong:
        site.spile.signal(signal.SIGHUP)
        wait_until((project / "hung").exists, "a worker to hang")
        write(project, "mended")
        assert "reloaded in" in reload(site.spile)
    assert not wrong
    wait_until(lambda: name_and_pid(site.spile)[0] == "mended", "the new code to serve")
    wait_until(lambda: len(site.spile.family()) == 4, "the workers that hang to be gone")


def test_the_new_master_outlives_a_quick_end_of_the_old(
    start: Starter,
    project: Path,  # noqa: F811
) -> None:
    site = start.site("app", "--pidfile", "pid", cwd=project)
    spile = site.spile
    spile.wait_for_log("ready")
    held = threading.Thread(target=lambda: site.get("/hold"))
    held.start()
    wait_until((project / "held").exists, "the request to begin")
    spile.signal(signal.SIGUSR2)
    spile.wait_for_log("serves: this one leaves")
    spile.signal(signal.SIGQUIT)
    assert spile.wait() == 0
    held.join()
    new = int((project / "pid").read_text())
    assert name_and_pid(spile)[0] == "old"
    os.kill(new, 0)
    os.kill(new, signal.SIGTERM)
    wait_until(lambda: not spile.family(), "the new master and its processes to end")


def test_a_new_master_that_hangs_is_given_up_by_hand(
    start: Starter,
    project: Path,  # noqa: F811
) -> None:
    site = start.site("app", "--pidfile", "pid", cwd=project)
    spile = site.spile
    spile.wait_for_log("ready")
    put(project, WAITING)
    spile.signal(signal.SIGUSR2)
    wait_until((project / "importing").exists, "the import to begin")
    spile.signal(signal.SIGUSR2)
    said = spile.wait_for_log("gives it up")
    new = int(said.rpartition("`kill ")[2].split("`")[0])
    write(project, "reloaded")
    assert "reloaded in" in reload(spile)
    os.kill(new, signal.SIGTERM)
    spile.wait_for_log("this one goes on")
    wait_until(lambda: name_and_pid(spile)[0] == "reloaded", "the new code to serve")
    assert int((project / "pid").read_text()) == spile.pid


def test_spile_reload_is_answered_when_nothing_serves_yet(
    start: Starter,
    project: Path,  # noqa: F811
) -> None:
    put(project, "import no_such_module_anywhere\n")
    spile = start.spile("app", "--reload", cwd=project)
    spile.wait_for_log("the next try is when a file changes")
    failed = spile.control("reload")
    assert failed.status == 1
    assert "importing `app` failed: ModuleNotFoundError" in failed.err
    write(project, "mended")
    wait_until(lambda: "ready" in spile.log or "reloaded in" in spile.log, "the next try")
    assert name_and_pid(spile)[0] == "mended"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
def test_a_mold_that_says_nothing_keeps_no_master(start: Starter, how: int) -> None:
    spile = start.spile("greedy", "-w", "2", "--graceful-timeout", "0.2")
    spile.wait_for_log("ready")
    os.kill(mold_of(spile), signal.SIGSTOP)
    spile.signal(how)
    assert spile.wait() == 0
    wait_until(lambda: not spile.family(), "the last process to end")


def test_a_mold_that_says_nothing_is_left_behind_by_a_reload(start: Starter) -> None:
    spile = start.spile("greedy", "-w", "2", "--graceful-timeout", "0.2")
    spile.wait_for_log("ready")
    before = spile.family() - {spile.pid}
    os.kill(mold_of(spile), signal.SIGSTOP)
    assert "reloaded in" in reload(spile)
    wait_until(lambda: not before & spile.family(), "the old generation to be gone")
    assert len(spile.family()) == 4


def test_a_worker_that_is_too_old_before_it_serves_is_replaced_when_it_does(
    start: Starter,
    project: Path,  # noqa: F811
) -> None:
    put(project, "import time\ntime.sleep(0.5)\n", "old")
    spile = start.spile("app", "--lazy", "--max-worker-lifetime", "0.2", cwd=project)
    spile.wait_for_log("has left: lifetime")


def test_more_workers_wanted_during_a_reload_stay_wanted_when_it_fails(
    start: Starter,
    project: Path,  # noqa: F811
) -> None:
    spile = start.spile("app", "-w", "1", cwd=project)
    spile.wait_for_log("ready")
    put(project, WAITING + "import no_such_module_anywhere\n")
    spile.signal(signal.SIGHUP)
    wait_until((project / "importing").exists, "the import to begin")
    spile.signal(signal.SIGTTIN)
    spile.wait_for_log("2 workers in place of 1")
    (project / "import-it").touch()
    spile.wait_for_log("the reload has failed")
    said = stats(spile)
    assert said["master"]["workers_wanted"] == 2
    wait_until(lambda: len(stats(spile)["workers"]) == 2, "two workers")


def test_reloads_leave_nothing_behind(start: Starter, project: Path) -> None:  # noqa: F811
    spile = start.spile("app", "-w", "2", cwd=project)
    spile.wait_for_log("ready")
    reload(spile)
    wait_until(lambda: len(spile.family()) == 4, "the old generation to be gone")

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{spile.pid}/fd"))

    before = descriptors()
    for _ in range(5):
        reload(spile)
    wait_until(lambda: len(spile.family()) == 4, "the old generations to be gone")
    # Whoever asked for the reload may not have left yet.
    wait_until(lambda: descriptors() <= before, "their descriptors to be closed")
    children = Path(f"/proc/{spile.pid}/task/{spile.pid}/children").read_text().split()
    assert len(children) == 1, "no zombie: the mold alone"
    for pid in spile.worker_pids():
        kill(pid, signal.SIGKILL)
    wait_until(lambda: spile.log.count("another starts at once") == 2, "workers to be replaced")


def test_a_memory_limit_below_what_the_applications_take_does_not_spin(start: Starter) -> None:
    spile = start.spile("greedy", "--max-rss", "1", "--max-rss-kill", "1000")
    spile.wait_for_log("ready")
    since = time.monotonic()
    wait_until(lambda: spile.log.count("has left: max-rss") >= 2, "two workers to be replaced")
    assert time.monotonic() - since > 8


@pytest.mark.soak
def test_a_mold_that_hangs_is_given_up(start: Starter, project: Path) -> None:  # noqa: F811
    spile = start.spile("app", "-w", "2", cwd=project)
    spile.wait_for_log("ready")
    mold = mold_of(spile)
    os.kill(mold, signal.SIGSTOP)
    kill(min(spile.worker_pids()), signal.SIGKILL)
    wait_until(lambda: "ready again" in spile.log, "another mold's workers to serve", patience=60)
    assert f"the mold (process {mold}) does not react: it is killed" in spile.log
    assert name_and_pid(spile)[0] == "old"
    wait_until(lambda: len(spile.family()) == 4, "the others to be gone")


def test_workers_of_a_dead_mold_are_still_heard(start: Starter, project: Path) -> None:  # noqa: F811
    """They say that they accept no more, and so the reload ends before they do."""
    spile = start.spile("app", "-w", "2", cwd=project)
    spile.wait_for_log("ready")
    held = threading.Thread(target=spile.ask, args=("/hold",))
    held.start()
    wait_until((project / "held").exists, "a request to begin")
    put(project, WAITING)
    kill(mold_of(spile), signal.SIGKILL)
    wait_until((project / "importing").exists, "the next mold to import")
    write(project, "newer")
    (project / "importing").unlink()
    reload(spile)
    assert name_and_pid(spile)[0] == "newer"
    (project / "let-go").touch()
    held.join()


@pytest.mark.soak
def test_a_new_master_that_hangs_is_named(start: Starter, project: Path) -> None:  # noqa: F811
    spile = start.spile("app", cwd=project)
    spile.wait_for_log("ready")
    put(project, WAITING)
    spile.signal(signal.SIGUSR2)
    wait_until(
        lambda: "does not serve after 60s, and this one goes on" in spile.log, "a word", patience=80
    )
    assert name_and_pid(spile)[0] == "old"
    new = int(spile.log.rpartition("hint: `kill ")[2].split("`")[0])
    os.kill(new, signal.SIGTERM)
    spile.wait_for_log("this one goes on", len(spile.log))
    assert name_and_pid(spile)[0] == "old"
