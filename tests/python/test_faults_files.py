"""Somebody removes the files that a server is found by while it runs."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from harness import Site, Spile, Starter, run_spile, wait_until
from harness.net import accepts


def started(start: Starter, *arguments: str) -> Spile:
    """A spile whose workers serve."""
    spile = start.spile("faulty:application", *arguments)
    spile.wait_for_log("ready")
    return spile


def test_a_socket_whose_file_is_removed_is_made_anew(start: Starter, tmp_path: Path) -> None:
    spile = started(start, "--socket-mode", "600")
    site = Site(spile, start.nginx(spile))
    path = Path(str(spile.address))
    gate = tmp_path / "gate"
    answers = []
    held = threading.Thread(
        target=lambda: answers.append(site.get(f"/hold?started={tmp_path}/started&gate={gate}"))
    )
    held.start()
    wait_until((tmp_path / "started").exists, "a request to begin")
    path.unlink()
    wait_until(lambda: accepts(spile.address), "the socket to be there again")
    assert path.stat().st_mode & 0o777 == 0o600
    spile.wait_for_log(f"the file of the socket unix:{path} is gone, so nobody can connect there")
    spile.wait_for_log("reloaded in")
    wait_until(lambda: site.get("/pid").status == 200, "nginx to get through")
    # Who was connected is answered.
    gate.touch()
    held.join()
    assert [answer.status for answer in answers] == [200]
    assert spile.log.count("is gone, so nobody can connect") == 1
    spile.stop()
    assert not path.exists()


def test_one_of_two_sockets_is_made_anew_and_the_other_loses_nothing(start: Starter) -> None:
    folder = start.folder()
    spile = started(start, "-w", "2", "--socket", f"unix:{folder}/other.sock")
    site = Site(spile, start.nginx(spile))
    load = start.load(site.port(), "--plain", "--path", "/pid", rate=100)
    (folder / "other.sock").unlink()
    wait_until(lambda: accepts(f"{folder}/other.sock"), "the socket to be there again")
    spile.wait_for_log("reloaded in")
    report = load.stop()
    assert report.lost == 0, str(report)


def test_without_its_directory_it_is_tried_again_and_said_again(start: Starter) -> None:
    folder = start.folder() / "run"
    folder.mkdir()
    address = str(folder / "spile.sock")
    spile = started(start, "--socket", f"unix:{address}")
    Path(address).unlink()
    folder.rmdir()
    spile.wait_for_log("the reload has failed, and the old workers go on")
    assert spile.ask("/pid").status == 200
    folder.mkdir()
    wait_until(lambda: accepts(address), "the socket to be there again")


def test_a_reload_takes_back_a_name_that_a_dead_socket_has(start: Starter) -> None:
    spile = started(start)
    path = Path(str(spile.address))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path) + "-")
        os.replace(str(path) + "-", path)
    spile.wait_for_log("another file is where the socket")
    assert not accepts(spile.address)
    spile.signal(signal.SIGHUP)
    wait_until(lambda: accepts(spile.address), "the socket to be there again")
    assert spile.ask("/pid").status == 200


def test_a_live_server_that_has_taken_the_name_is_left_alone(start: Starter) -> None:
    spile = started(start)
    path = str(spile.address)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path + "-")
        other.listen()
        os.replace(path + "-", path)
        spile.wait_for_log("another file is where the socket")
        spile.signal(signal.SIGHUP)
        spile.wait_for_log("the reload has failed")
        assert "is in use by process" in spile.log
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            other.accept()[0].close()


def test_the_pid_file_and_the_control_socket_are_made_anew(start: Starter) -> None:
    pidfile = start.folder() / "pid"
    spile = started(start, "--pidfile", str(pidfile))
    control = Path(f"{pidfile}.control")
    assert control.is_socket()
    pidfile.unlink()
    control.unlink()
    wait_until(lambda: pidfile.exists() and accepts(str(control)), "both to be there again")
    assert pidfile.read_text() == f"{spile.pid}\n"
    assert f"the pid file {pidfile} was gone and is made anew" in spile.log
    assert "the control socket's file was gone" in spile.log
    finished = run_spile("stats", "--control", str(control), cwd=spile.folder)
    assert finished.status == 0, finished.err
    spile.stop()
    assert not pidfile.exists()
    assert not control.exists()


def test_an_upgrade_makes_a_socket_that_is_missing(start: Starter) -> None:
    """What serves without Python has no workers to be given a new socket."""
    folder = start.folder()
    spile = start.spile("hello://", "--pidfile", str(folder / "pid"))
    spile.wait_for_log("ready")
    path = Path(str(spile.address))
    path.unlink()
    spile.wait_for_log("send it SIGUSR2")
    spile.signal(signal.SIGUSR2)
    wait_until(lambda: accepts(spile.address), "the socket to be there again")
    assert spile.ask("/").status == 200
    assert spile.wait() == 0
    new = int((folder / "pid").read_text())
    os.kill(new, signal.SIGTERM)
    wait_until(lambda: not spile.family(), "the new one to end")


@pytest.mark.parametrize("app", ["faulty:application", "hello://"])
def test_nothing_is_said_of_files_that_are_there(start: Starter, app: str) -> None:
    pidfile = start.folder() / "pid"
    spile = start.spile(app, "--pidfile", str(pidfile))
    spile.wait_for_log("ready")
    before = pidfile.stat().st_ino, Path(str(spile.address)).stat().st_ino
    spile.signal(signal.SIGHUP)
    spile.wait_for_log("reloaded in" if app != "hello://" else "nothing to reload")
    assert (pidfile.stat().st_ino, Path(str(spile.address)).stat().st_ino) == before
    assert "gone" not in spile.log
