"""systemd: what it is told, the sockets it passes, and the units in the tree."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness import APPS, Spile, Starter, wait_until
from harness.net import Address, Port, accepts
from harness.site import Site
from harness.spile import ROOT, environment, executable
from harness.waiting import PATIENCE

#: A native application in one process, and a Python one below a master.
APPLICATIONS = ["hello://", "environ:application"]


class Manager:
    """The end of the notify protocol that systemd has."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE)
        self._socket.bind(str(self.path))

    def hears(self) -> dict[str, str]:
        """The next message."""
        lines = self._socket.recv(65536).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def hears_of(self, name: str) -> dict[str, str]:
        """The next message that has `name`."""
        while True:
            message = self.hears()
            if name in message:
                return message

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(start: Starter) -> Iterator[Manager]:
    manager = Manager(start.folder())
    yield manager
    manager.close()


# What it is told.


@pytest.mark.parametrize("application", APPLICATIONS)
def test_systemd_is_told_when_spile_is_ready_and_when_it_stops(
    start: Starter, manager: Manager, application: str
) -> None:
    spile = start.spile(application, env={"NOTIFY_SOCKET": str(manager.path)})
    ready = manager.hears()
    assert ready["READY"] == "1"
    assert ready["STATUS"]
    assert spile.ask("/").status == 200
    spile.stop()
    assert manager.hears()["STOPPING"] == "1"


@pytest.mark.parametrize("application", APPLICATIONS)
def test_the_watchdog_is_told_again_and_again(
    start: Starter, manager: Manager, application: str
) -> None:
    environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"}
    start.spile(application, env=environment)
    for _ in range(3):
        assert manager.hears_of("WATCHDOG")["WATCHDOG"] == "1"


def test_a_watchdog_of_another_process_is_not_told(start: Starter, manager: Manager) -> None:
    environment = {
        "NOTIFY_SOCKET": str(manager.path),
        "WATCHDOG_USEC": "1000",
        "WATCHDOG_PID": "1",
    }
    spile = start.spile("hello://", env=environment)
    assert list(manager.hears())[0] == "READY"
    spile.stop()
    assert list(manager.hears())[0] == "STOPPING"


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_reload_is_told_from_its_beginning_to_its_end(
    start: Starter, manager: Manager, application: str
) -> None:
    spile = start.spile(application, env={"NOTIFY_SOCKET": str(manager.path)})
    manager.hears_of("READY")
    spile.signal(signal.SIGHUP)
    reloading = manager.hears()
    assert reloading["RELOADING"] == "1"
    # Without it systemd 253 ends the service.
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert manager.hears()["READY"] == "1"
    assert spile.ask("/").status == 200


def test_applications_know_nothing_of_systemd(start: Starter, manager: Manager) -> None:
    path = str(start.folder() / "passed.sock")
    spile = start.spile(
        "environ:application",
        socket=None,
        address=path,
        env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "10000000"},
        launcher=activation(f"web={path}"),
    )
    seen = spile.ask("/").json()["process"]["environment"]
    names = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
    assert names.isdisjoint(seen)


def test_spile_serves_even_if_systemd_cannot_be_told(start: Starter) -> None:
    spile = start.spile("hello://", env={"NOTIFY_SOCKET": str(start.folder() / "nobody")})
    assert spile.ask("/").status == 200
    spile.wait_for_log("systemd cannot be told")


# Sockets it passes.


def activation(*sockets: str) -> Sequence[str]:
    """The launcher that passes sockets."""
    return [sys.executable, str(Path(__file__).parent / "harness/activate.py"), *sockets, "--"]


def activated(start: Starter, *arguments: str, sockets: Sequence[str], address: Address) -> Spile:
    return start.spile(*arguments, socket=None, address=address, launcher=activation(*sockets))


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_socket_that_systemd_passes_is_served_and_left_to_it(
    start: Starter, application: str
) -> None:
    path = start.folder() / "passed.sock"
    spile = activated(start, application, sockets=[f"web={path}"], address=str(path))
    site = Site(spile, start.nginx(spile))
    assert site.get("/").status == 200
    # Only what was passed: the default is for those who name nothing.
    assert spile.log.count("listening on") == 1
    spile.stop()
    assert path.exists()


def test_a_reload_listens_where_systemd_said_and_nowhere_else(start: Starter) -> None:
    path = start.folder() / "passed.sock"
    arguments = {"sockets": [f"web={path}"], "address": str(path)}
    spile = activated(start, "environ:application", **arguments)
    spile.wait_for_log("ready")
    spile.reload()
    assert spile.log.count("listening on") == 1
    assert spile.ask("/").status == 200


def test_a_tcp_socket_may_be_passed_too(start: Starter) -> None:
    port = Port()
    address = f"127.0.0.1:{port.number}"
    spile = activated(
        start, "hello://", sockets=[f"web={address}"], address=("127.0.0.1", port.number)
    )
    assert Site(spile, start.nginx(spile)).get("/").status == 200
    port.release()


def test_a_socket_that_is_passed_and_named_is_one_and_others_are_bound(start: Starter) -> None:
    folder = start.folder()
    passed, other = folder / "passed.sock", folder / "other.sock"
    spile = activated(
        start,
        *("hello://", "--socket", f"{folder}/../{folder.name}/passed.sock", "--socket", str(other)),
        sockets=[f"web={passed}"],
        address=str(passed),
    )
    assert spile.ask("/").status == 200
    wait_until(lambda: accepts(str(other)), "the other socket")
    assert spile.log.count("listening on") == 2
    spile.stop()
    assert (passed.exists(), other.exists()) == (True, False)


def test_sockets_for_another_process_are_not_touched(start: Starter) -> None:
    spile = start.spile("hello://", env={"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    assert spile.ask("/").status == 200


@pytest.mark.parametrize(
    ("address", "said"),
    [("file", "is not a socket"), ("@spile-test", "abstract address @spile-test")],
)
def test_what_cannot_be_served_is_named(address: str, said: str) -> None:
    command = [*activation(f"shop.socket={address}"), str(executable()), "serve", "hello://"]
    finished = subprocess.run(
        command, capture_output=True, text=True, env=environment(), cwd=APPS, timeout=PATIENCE
    )
    assert finished.returncode == 1
    assert f"descriptor 3 (shop.socket), which was passed as a listening socket, {said}" in (
        finished.stderr.replace("listens on the ", "")
    )
    assert "hint: " in finished.stderr


# The units.


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for unit in ("spile@.service", "spile@.socket"):
        text = (ROOT / "systemd" / unit).read_text()
        # It looks for the program as well.
        installed = text.replace("/usr/local/bin/spile ", f"{executable()} ")
        assert (text == installed) == (unit == "spile@.socket")
        (tmp_path / unit).write_text(installed)
    finished = subprocess.run(
        ["systemd-analyze", "verify", "spile@shop.service", "spile@shop.socket"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    # systemd before 253 says that it does not know a type, and keeps the one before.
    unknown = "Failed to parse service type, ignoring: notify-reload"
    found = [line for line in finished.stderr.splitlines() if unknown not in line]
    assert (finished.returncode, found) == (0, [])
