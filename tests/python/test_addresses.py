"""Addresses to listen on: how they may be written, and host names that have several."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from harness import Spile, Starter, run_spile, wait_until
from harness.net import Port, accepts
from harness.spile import environment, executable


def test_a_unix_socket_may_be_written_as_nginx_does(start: Starter) -> None:
    folder = start.folder()
    path, metrics = folder / "app.sock", folder / "metrics.sock"
    config = folder / "spile.toml"
    config.write_text(f'socket = "unix://{path}"\nmetrics = "unix://{metrics}"\n')
    arguments = ["environ:application", "--config", str(config)]
    spile = start.spile(*arguments, socket=None, address=str(path))
    assert accepts(str(metrics))
    asked = run_spile("request", "--socket", f"unix://{path}", "/a", cwd=folder)
    assert json.loads(asked.out)["strings"]["PATH_INFO"] == "/a"
    found = run_spile("stats", "--socket", f"unix://{path}", cwd=folder, env=spile.surroundings)
    assert json.loads(found.out)["sockets"][0]["address"] == f"unix:{path}"
    spile.stop()


@pytest.mark.parametrize(
    ("address", "cure"),
    [
        ("unix://run/app.sock", "unix:///run/app.sock"),
        ("fd://3", "systemd"),
        ("http://127.0.0.1:8000", "leave out the scheme"),
    ],
)
def test_other_urls_are_refused_with_what_to_write(tmp_path: Path, address: str, cure: str) -> None:
    finished = run_spile("check", "echo://", "--socket", address, cwd=tmp_path)
    assert finished.status == 2
    assert f"--socket: `{address}`" in finished.err
    assert cure in finished.err


class Name:
    """Has a spile see another /etc/hosts, in which localhost is what is given."""

    def __init__(self, folder: Path, *addresses: str) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may give a process another /etc/hosts")
        self.hosts = folder / "hosts"
        self.say(*addresses)
        script = f'mount --bind {self.hosts} /etc/hosts && exec "$@"'
        self.launcher = ["unshare", "--mount", "sh", "-c", script, "sh"]

    def say(self, *addresses: str) -> None:
        self.hosts.write_text("".join(f"{address} localhost\n" for address in addresses))


def needs_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")


def is_answered(host: str, port: int) -> bool:
    """Whether a whole answer comes from this address."""
    with socket.create_connection((host, port), 20) as sock:
        sock.sendall(bytes(4))
        return sock.recv(1) == b"H"


@pytest.fixture
def port() -> Port:
    return Port()


def both(start: Starter, port: Port, application: str, *arguments: str) -> Spile:
    needs_ipv6()
    name = Name(start.folder(), "127.0.0.1", "::1")
    start.at_end(port.release)
    return start.spile(
        *(application, "--socket", f"localhost:{port.number}", *arguments),
        socket=None,
        address=("127.0.0.1", port.number),
        launcher=name.launcher,
    )


@pytest.mark.parametrize("application", ["environ:application", "echo://"])
def test_a_host_name_is_listened_on_at_each_of_its_addresses(
    start: Starter, port: Port, application: str
) -> None:
    spile = both(start, port, application)
    for host in ("127.0.0.1", "::1"):
        assert is_answered(host, port.number)
    # The commands find it by the name that it was started with.
    name = f"localhost:{port.number}"
    if application != "echo://":
        reload_with(spile, name)
    for host in ("127.0.0.1", "::1"):
        assert is_answered(host, port.number)
    found = run_spile("stats", "--socket", name, cwd=spile.folder, env=spile.surroundings)
    addresses = [listed["address"] for listed in json.loads(found.out)["sockets"]]
    assert sorted(addresses) == [f"127.0.0.1:{port.number}", f"[::1]:{port.number}"]
    # A new master gets both, and the old one leaves.
    spile.signal(signal.SIGUSR2)
    assert spile.wait() == 0
    for host in ("127.0.0.1", "::1"):
        assert is_answered(host, port.number)
    found = run_spile("stats", "--socket", name, cwd=spile.folder, env=spile.surroundings)
    os.kill(json.loads(found.out)["master"]["pid"], signal.SIGTERM)
    wait_until(lambda: not spile.family(), "the new master to end")


def test_the_metrics_are_at_each_address_too(start: Starter, port: Port) -> None:
    metrics = Port()
    start.at_end(metrics.release)
    both(start, port, "echo://", "--metrics", f"localhost:{metrics.number}")
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, metrics.number), 20) as sock:
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert sock.recv(9) == b"HTTP/1.0 "


def test_port_0_is_one_port_at_each_address(start: Starter) -> None:
    needs_ipv6()
    name = Name(start.folder(), "127.0.0.1", "::1")
    spile = start.spile("echo://", "--socket", "localhost:0", launcher=name.launcher)
    ports = re.findall(r"listening on (?:127\.0\.0\.1|\[::1\]):(\d+) ", spile.log)
    assert len(ports) == 2
    assert len(set(ports)) == 1
    for host in ("127.0.0.1", "::1"):
        assert is_answered(host, int(ports[0]))


def test_an_address_that_the_machine_lacks_is_left_out(start: Starter, port: Port) -> None:
    # TEST-NET-2 (RFC 5737) and its like in IPv6 belong to nobody.
    name = Name(start.folder(), "198.51.100.1", "2001:db8::1", "127.0.0.1")
    start.at_end(port.release)
    spile = start.spile(
        *("echo://", "--socket", f"localhost:{port.number}"),
        socket=None,
        address=("127.0.0.1", port.number),
        launcher=name.launcher,
    )
    assert is_answered("127.0.0.1", port.number)
    assert "not at 198.51.100.1" in spile.log


def test_one_address_in_use_is_a_mistake(start: Starter) -> None:
    needs_ipv6()
    name = Name(start.folder(), "127.0.0.1", "::1")
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        for command in ("serve", "check"):
            finished = run_with(name, command, "echo://", "--socket", f"localhost:{port}")
            assert finished != 0, command


def run_with(name: Name, *arguments: str) -> int:
    """The status that a command ends with where localhost is that."""
    command = [*name.launcher, str(executable()), *arguments]
    return subprocess.run(
        command,
        cwd=name.hosts.parent,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=20,
        check=False,
    ).returncode


def test_a_reload_follows_the_name_and_survives_without_it(start: Starter, port: Port) -> None:
    needs_ipv6()
    name = Name(start.folder(), "127.0.0.1")
    start.at_end(port.release)
    spile = start.spile(
        *("environ:application", "--socket", f"localhost:{port.number}"),
        socket=None,
        address=("127.0.0.1", port.number),
        launcher=name.launcher,
    )
    v6 = ("::1", port.number)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(v6, 1)
    name.say("127.0.0.1", "::1")
    reload_with(spile, f"localhost:{port.number}")
    assert is_answered(*v6)
    # Without a resolver the sockets stay.
    name.hosts.write_text("")
    reload_with(spile, f"localhost:{port.number}")
    assert is_answered("127.0.0.1", port.number)
    assert is_answered(*v6)


def reload_with(spile: Spile, address: str) -> None:
    arguments = ["reload", "--socket", address]
    finished = run_spile(*arguments, cwd=spile.folder, env=spile.surroundings)
    assert finished.status == 0, spile.log
