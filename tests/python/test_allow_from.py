"""Who may connect over TCP: `--allow-from`, and the warning where it is missing."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import APPS, Answer, Site, Spile, Starter, environ_for, packet, run_spile, wait_until
from harness.net import Port, read_to_end
from harness.waiting import PATIENCE
from harness.workers import stats

#: A native application in one process, and a Python one below a master.
APPLICATIONS = ["echo://", "hostile:application"]

#: What the log has of a peer that is not allowed.
CAUSE = "a connection from outside --allow-from"


def ask_from(source: str, address: tuple[str, int]) -> Answer | None:
    """The answer to a client at that address; None if it was closed without one."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(PATIENCE)
        sock.bind((source, 0))
        sock.connect(address)
        # It may be closed already.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(packet(environ_for("/")))
        received, _ = read_to_end(sock)
    return Answer.parse(received) if received else None


def has_answer(source: str, address: tuple[str, int]) -> bool:
    answer = ask_from(source, address)
    assert answer is None or answer.status == 200
    return answer is not None


def listening(spile: Spile, host: str) -> tuple[str, int]:
    """Where it listens, by its log: on a port of the kernel's choice."""
    begin = f"listening on {host}:"
    log = spile.wait_for_log(begin)
    return host.strip("[]"), int(log.partition(begin)[2].split()[0])


@pytest.fixture(params=["127.0.0.1", "[::1]", "[::]"])
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param != "127.0.0.1":
        with socket.socket(socket.AF_INET6) as sock:
            try:
                sock.bind(("::1", 0))
            except OSError:
                pytest.skip("no IPv6 here")
    return request.param


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_peer_outside_is_closed_unheard_and_one_inside_served(
    start: Starter, application: str
) -> None:
    spile = start.spile(
        *(application, "--allow-from", "127.0.0.1", "--allow-from", "127.1.0.0/16"),
        socket="tcp",
    )
    assert not isinstance(spile.address, str)
    for source, allowed in [
        ("127.0.0.1", True),
        ("127.0.0.2", False),
        ("127.1.255.255", True),
        ("127.2.0.0", False),
    ]:
        assert has_answer(source, spile.address) is allowed, source
    line = next(line for line in spile.log.splitlines() if CAUSE in line)
    assert "peer=127.0.0.2" in line
    assert "--allow-from" in line.partition("cure=")[2]
    assert stats(spile)["totals"]["refused"]["not_allowed"] == 2


def test_ipv4_and_ipv6(start: Starter, host: str) -> None:
    """At [::] an IPv4 peer comes as ::ffff:127.0.0.1."""
    rules = {"127.0.0.1": "127.0.0.0/31", "[::1]": "::1", "[::]": "127.0.0.0/31"}
    spile = start.spile("echo://", "--allow-from", rules[host], "--socket", f"{host}:0")
    _, port = listening(spile, host)
    v4, v6 = ("127.0.0.1", port), ("::1", port)
    if host == "[::1]":
        assert has_answer("::1", v6)
    else:
        assert has_answer("127.0.0.1", v4)
        assert not has_answer("127.0.0.2", v4)
    if host == "[::]":
        assert not has_answer("::1", v6)


def test_without_the_option_everybody_may(start: Starter) -> None:
    spile = start.spile("echo://", "--socket", "127.0.0.1:0")
    assert has_answer("127.9.9.9", listening(spile, "127.0.0.1"))


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_reload_applies_a_changed_list(start: Starter, tmp_path: Path, application: str) -> None:
    file = tmp_path / "spile.toml"
    file.write_text('allow-from = ["127.0.0.1"]\n')
    spile = start.spile(application, "--config", str(file), "--socket", "127.0.0.1:0", cwd=APPS)
    address = listening(spile, "127.0.0.1")
    assert (has_answer("127.0.0.1", address), has_answer("127.0.0.2", address)) == (True, False)
    file.write_text('allow-from = ["127.0.0.2"]\n')
    spile.signal(signal.SIGHUP)
    wait_until(lambda: has_answer("127.0.0.2", address), "the new list")
    wait_until(lambda: not has_answer("127.0.0.1", address), "the old workers to leave")
    # A mistake in it changes nothing.
    file.write_text('allow-from = ["127.0.0.1/8"]\n')
    seen = len(spile.log)
    spile.signal(signal.SIGHUP)
    spile.wait_for_log("127.0.0.0/8", since=seen)
    assert (has_answer("127.0.0.1", address), has_answer("127.0.0.2", address)) == (False, True)


def test_it_holds_for_a_socket_that_systemd_passes(start: Starter) -> None:
    port = Port()
    activate = Path(__file__).parent / "harness/activate.py"
    address = ("127.0.0.1", port.number)
    spile = start.spile(
        *("hostile:application", "--allow-from", "127.0.0.2"),
        socket=None,
        address=address,
        launcher=[sys.executable, str(activate), f"web=127.0.0.1:{port.number}", "--"],
    )
    assert (has_answer("127.0.0.2", address), has_answer("127.0.0.1", address)) == (True, False)
    spile.stop()
    port.release()


def test_what_waits_in_the_queue_at_a_stop_is_looked_at_too(start: Starter) -> None:
    """A worker that leaves takes what waits: one that is closed does not hide those behind it."""
    spile = start.spile(
        *("slow:application", "--workers", "1", "--threads", "1", "--allow-from", "127.0.0.1"),
        *("--max-in-flight", "1"),
        socket="tcp",
    )
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(spile.connect())
        # It is taken, so the others wait.
        request = packet(environ_for("/quick"))
        first.send(request[:10])
        wait_until(lambda: stats(spile)["sockets"][0]["queue"] == 0, "it to be taken")
        waiting = []
        for source in ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]:
            sock = stack.enter_context(socket.socket())
            sock.settimeout(PATIENCE)
            sock.bind((source, 0))
            sock.connect(spile.address)
            sock.sendall(request)
            waiting.append((source, sock))
        spile.signal(signal.SIGTERM)
        for source, sock in waiting:
            received, _ = read_to_end(sock)
            assert (b" 200 OK" in received) is (source == "127.0.0.1"), source
        first.send(request[10:])
        assert first.answer().body == b"quick"


def test_a_flood_from_outside_fills_no_log(start: Starter) -> None:
    spile = start.spile("echo://", "--allow-from", "127.0.0.1", "--socket", "127.0.0.1:0")
    address = listening(spile, "127.0.0.1")
    for _ in range(100):
        assert not has_answer("127.0.0.2", address)
    assert has_answer("127.0.0.1", address)
    # A unix socket is for whom its mode says.
    assert spile.ask("/").status == 200
    spile.stop()
    assert spile.log.count(CAUSE) == 11
    assert f"{CAUSE}: 90 more in the last" in spile.log


# What it is told, and what it tells.


@pytest.mark.parametrize(
    ("cidr", "cure"),
    [
        ("10.1.2.3/8", "write 10.0.0.0/8 for the network, or 10.1.2.3 for this address alone"),
        ("fe80::1/64", "write fe80::/64 for the network"),
        ("10.0.0.0/33", "0 is every address, 32 this one alone"),
        ("localhost", "names are not looked up"),
    ],
)
def test_a_wrong_network_is_a_mistake_that_says_what_was_meant(cidr: str, cure: str) -> None:
    for command in ["serve", "check"]:
        finished = run_spile(command, "echo://", "--allow-from", cidr, cwd=APPS)
        assert finished.status == 2
        assert f"--allow-from: `{cidr}`" in finished.err
        assert cure in finished.err


def warned(spile: Spile) -> bool:
    return "--allow-from" in spile.log


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_socket_that_everybody_may_reach_is_a_warning(start: Starter, application: str) -> None:
    spile = start.spile(application, "--socket", "0.0.0.0:0")
    line = next(line for line in spile.log.splitlines() if "WARN" in line)
    assert "0.0.0.0:" in line
    assert "name the front servers with --allow-from" in line


@pytest.mark.parametrize("application", APPLICATIONS)
def test_others_are_not(start: Starter, application: str) -> None:
    assert not warned(start.spile(application, "--socket", "127.0.0.1:0"))
    assert not warned(start.spile(application))
    allowed = start.spile(application, "--socket", "0.0.0.0:0", "--allow-from", "10.0.0.0/8")
    assert "WARN" not in allowed.log


def test_check_warns_as_well(tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        finished = run_spile("check", "echo://", *arguments, cwd=tmp_path)
        assert finished.status == 0, finished.err
        return finished.out.decode()

    assert "warning" in said("--socket", "0.0.0.0:0")
    for quiet in ["127.0.0.1:0", "unix:x.sock"]:
        assert "warning" not in said("--socket", quiet)
    named = said("--socket", "0.0.0.0:0", "--allow-from", "10.0.0.0/8", "--allow-from", "::1")
    assert "warning" not in named
    assert "10.0.0.0/8, ::1" in named


def test_nginx_on_an_allowed_address(start: Starter) -> None:
    spile = start.spile("hostile:application", "--allow-from", "127.0.0.0/8", socket="tcp")
    assert Site(spile, start.nginx(spile)).get("/").status == 200
