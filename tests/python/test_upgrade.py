"""USR2: a new master takes over the sockets of the old one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from test_reload import load, project, write  # noqa: F401

from harness import Starter, wait_until


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
