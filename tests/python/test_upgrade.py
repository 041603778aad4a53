"""USR2: a new master takes over the sockets of the old one."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from test_reload import load, project, write  # noqa: F401

from harness import Site, Spile, Starter, wait_until
from harness.process import kill, parent_of

#: As a container has it: what follows is the first process of a name space.
AS_FIRST = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def may_be_first() -> bool:
    try:
        return subprocess.run([*AS_FIRST, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


needs_name_spaces = pytest.mark.skipif(
    not may_be_first(), reason="no name space of processes may be made here"
)


def child_of(pid: int, spile: Spile) -> int:
    """Its only child."""
    (child,) = [it for it in spile.family() if parent_of(it) == pid]
    return child


def test_a_new_master_takes_over_without_a_lost_request(start: Starter, project: Path) -> None:  # noqa: F811
    site = start.site("app", "-w", "2", "--pidfile", "pid", cwd=project)
    spile = site.spile
    spile.wait_for_log("ready")
    pidfile = project / "pid"
    inode = os.stat(spile.uwsgi_pass.removeprefix("unix:")).st_ino
    write(project, "new")
    with load(site) as wrong:
        spile.signal(signal.SIGUSR2)
        assert spile.wait() == 0
    assert not wrong
    # Nobody is there who could be told of the new one, as systemd is.
    assert f"process {spile.pid} ends when process " in spile.log
    assert site.get("/").text.startswith("new ")
    assert os.stat(spile.uwsgi_pass.removeprefix("unix:")).st_ino == inode
    new = int(pidfile.read_text())
    assert new != spile.pid
    os.kill(new, signal.SIGTERM)
    wait_until(lambda: not spile.family(), "the new master and its processes to end")
    assert not pidfile.exists()
    assert not os.path.exists(spile.uwsgi_pass.removeprefix("unix:"))


def test_a_master_that_cannot_start_leaves_the_old_one(start: Starter, project: Path) -> None:  # noqa: F811
    config = project / "spile.toml"
    config.write_text('app = "app"\npidfile = "pid"\n')
    site = start.site("--config", str(config), cwd=project)
    site.spile.wait_for_log("ready")
    config.write_text('app = "app"\nworkers = "none"\n')
    with load(site) as wrong:
        site.spile.signal(signal.SIGUSR2)
        site.spile.wait_for_log("this one goes on")
    assert not wrong
    assert int((project / "pid").read_text()) == site.spile.pid
    config.write_text('app = "app:missing"\npidfile = "pid"\n')
    since = len(site.spile.log)
    with load(site) as wrong:
        site.spile.signal(signal.SIGUSR2)
        site.spile.wait_for_log("this one goes on", since)
    assert not wrong
    assert int((project / "pid").read_text()) == site.spile.pid
    site.spile.stop()
    assert not (project / "pid").exists()


def test_native_applications_are_upgraded_too(start: Starter, tmp_path: Path) -> None:
    site = start.site("hello://", "--pidfile", str(tmp_path / "pid"))
    with load(site) as wrong:
        site.spile.signal(signal.SIGUSR2)
        assert site.spile.wait() == 0
    assert not wrong
    assert site.get("/").status == 200
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    wait_until(lambda: not site.spile.family(), "the new server to end")


@needs_name_spaces
@pytest.mark.parametrize("app", ["app", "hello://"])
def test_the_first_process_of_a_container_outlives_upgrades(
    start: Starter,
    project: Path,  # noqa: F811
    app: str,
) -> None:
    spile = start.spile(app, "-w", "2", cwd=project, launcher=AS_FIRST)
    spile.wait_for_log("ready")
    site = Site(spile, start.nginx(spile))
    first = child_of(spile.pid, spile)
    with load(site) as wrong:
        kill(first, signal.SIGUSR2)
        spile.wait_for_log("this one only stays")
        since = len(spile.log)
        # The new master's to do: it leaves, and the first process stays for the next.
        kill(first, signal.SIGUSR2)
        spile.wait_for_log("serves: this one leaves", since)
        serving = wait_until(lambda: only_child(first, spile), "the master before it to be gone")
        since = len(spile.log)
        kill(first, signal.SIGHUP)
        done = "reloaded in" if app == "app" else "nothing to reload"
        spile.wait_for_log(done, since)
    assert not wrong
    assert serving != first
    kill(first, signal.SIGTERM)
    assert spile.wait() == 0
    wait_until(lambda: not spile.family(), "everybody to end")


@needs_name_spaces
def test_the_first_process_of_a_container_ends_with_a_master_that_fails(
    start: Starter,
    project: Path,  # noqa: F811
) -> None:
    spile = start.spile("app", cwd=project, launcher=AS_FIRST)
    spile.wait_for_log("ready")
    first = child_of(spile.pid, spile)
    kill(first, signal.SIGUSR2)
    spile.wait_for_log("this one only stays")
    serving = wait_until(lambda: only_child(first, spile), "the old processes to end")
    kill(serving, signal.SIGKILL)
    assert spile.wait() == 1
    assert "was killed by signal 9 (SIGKILL)" in spile.log


def only_child(pid: int, spile: Spile) -> int | None:
    children = [it for it in spile.family() if parent_of(it) == pid]
    return children[0] if len(children) == 1 else None
