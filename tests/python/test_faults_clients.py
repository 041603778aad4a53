"""Crowds of slow clients, and one that takes a large response slowly, beside ordinary requests."""

from __future__ import annotations

import contextlib
import hashlib
import resource
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import bodies
from harness import Site, Starter, environ_for, packet, wait_until
from harness.faults import SmallDisk, descriptors
from harness.http import open_request
from harness.process import status_kib

MIB = 1 << 20

#: What one client may cost a worker that it does not keep busy, in KiB.
KIB_EACH = 4


@pytest.fixture
def many_files() -> Iterator[int]:
    """Raises this process's limit of open files as far as it goes."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


#: More would fill the listen queue on a busy machine, and nginx would find no room in it.
AT_ONCE = 1000

#: Descriptors of requests that come and go meanwhile.
OTHERS = 50


class Crowd:
    """Connections that are all driven by one thread."""

    def __init__(self, address: str, count: int, worker: int) -> None:
        self.sockets: list[socket.socket] = []
        least = descriptors(worker) - OTHERS
        for number in range(1, count + 1):
            client = socket.socket(socket.AF_UNIX)
            self.sockets.append(client)
            client.connect(address)
            if number % AT_ONCE == 0 or number == count:
                self._wait_until_accepted(worker, least + number)

    def _wait_until_accepted(self, worker: int, least: int) -> None:
        wait_until(lambda: descriptors(worker) >= least, "them to be accepted")

    def close(self) -> None:
        for client in self.sockets:
            client.close()


class Trickle(threading.Thread):
    """Sends one byte after another of a request on each connection of a crowd."""

    def __init__(self, crowd: Crowd, request: bytes) -> None:
        super().__init__()
        self._crowd = crowd
        self._request = request
        self._end = threading.Event()
        #: How many bytes each has sent.
        self.sent = 0
        self.start()

    def run(self) -> None:
        while not self._end.wait(0.2) and self.sent < len(self._request) // 2:
            for client in self._crowd.sockets:
                client.send(self._request[self.sent : self.sent + 1])
            self.sent += 1

    def finish(self) -> int:
        """Sends the rest everywhere; how many are answered."""
        self._end.set()
        self.join()
        answered = 0
        with selectors.DefaultSelector() as selector:
            for client in self._crowd.sockets:
                client.send(self._request[self.sent :])
                selector.register(client, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(20)
                assert ready, f"no answer after {answered}"
                for key, _ in ready:
                    answered += b"200 OK" in key.fileobj.recv(4096)
                    selector.unregister(key.fileobj)
        return answered


def test_thousands_of_silent_and_of_trickling_clients_beside_a_load(
    start: Starter, many_files: int
) -> None:
    """One worker with one thread: whoever holds it stops everybody."""
    # Of each, as far as open files allow.
    count = min(5000, (many_files - 500) // 2)
    site = start.site("faulty:application")
    site.spile.wait_for_log("ready")
    worker = int(site.get("/pid").text)
    address = str(site.spile.address)
    load = start.load(site.port(), "--plain", "--path", "/pid", rate=100)
    idle, before = descriptors(worker), status_kib(worker, "VmRSS")
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(contextlib.closing(Crowd(address, count, worker)))
        trickling = stack.enter_context(contextlib.closing(Crowd(address, count, worker)))
        trickle = Trickle(trickling, packet(environ_for("/pid")))
        wait_until(lambda: trickle.sent >= 10, "ten bytes of each")
        assert status_kib(worker, "VmRSS") - before < 2 * count * KIB_EACH
        assert site.get("/pid").text == str(worker)
        assert trickle.finish() == count
        assert len(silent.sockets) == count
    wait_until(lambda: descriptors(worker) < idle + 50, "all of them to be gone")
    report = load.stop()
    assert report.answered > 0
    assert report.lost == 0, str(report)


SIZES = [
    pytest.param(40 * MIB, id="40 MB"),
    pytest.param(1024 * MIB, id="1 GB", marks=[pytest.mark.big, pytest.mark.timeout(900)]),
]


@pytest.mark.parametrize("size", SIZES)
def test_a_slow_reader_of_a_large_response_costs_a_file_and_nobody_else(
    start: Starter, size: int
) -> None:
    disk = SmallDisk(start.folder(), "1100m")
    spile = start.spile(
        "bodies:application", env={"TMPDIR": str(disk.folder)}, launcher=disk.launcher
    )
    spile.wait_for_log("ready")
    # Without its own files nginx is as slow as its client.
    nginx = start.nginx(spile, servers={"slow": ["uwsgi_max_temp_file_size 0;"]})
    site = Site(spile, nginx)
    site.get("/down?1000000")
    free = disk.free(spile)
    (worker,) = spile.worker_pids()
    before = status_kib(worker, "VmHWM")
    connection = open_request(site.port("slow"), f"/down?{size}", timeout=300)
    response = connection.getresponse()
    digest = hashlib.sha256(response.read(MIB))
    # It reads no more, and the only thread serves others; what it left waits on the disk.
    wait_until(lambda: free - disk.free(spile) > size * 0.8, "the response to be on the disk", 120)
    for _ in range(20):
        assert site.get("/down?100").status == 200
    while piece := response.read(MIB):
        digest.update(piece)
    connection.close()
    assert digest.hexdigest() == expected(size)
    assert status_kib(worker, "VmHWM") - before < 16 * 1024
    wait_until(lambda: disk.free(spile) == free, "the file to be gone")


def expected(size: int) -> str:
    digest = hashlib.sha256()
    for block in bodies.pattern(size):
        digest.update(block)
    return digest.hexdigest()


@pytest.mark.big
@pytest.mark.timeout(300)
def test_a_reader_that_takes_nothing_at_all_is_given_up(start: Starter, tmp_path: Path) -> None:
    """After 60 s, and its file with it."""
    disk = SmallDisk(start.folder(), "100m")
    spile = start.spile(
        *("bodies:application", "--access-log", str(tmp_path / "log")),
        env={"TMPDIR": str(disk.folder)},
        launcher=disk.launcher,
    )
    spile.wait_for_log("ready")
    spile.ask("/down?1")
    free = disk.free(spile)
    with spile.connect(timeout=100) as connection:
        connection.request(f"/down?{40 * MIB}")
        wait_until(lambda: free - disk.free(spile) > 30 * MIB, "the response to be on the disk")
        assert spile.ask("/down?100").status == 200
        wait_until(lambda: disk.free(spile) == free, "it to be given up", patience=100)
        received, end = connection.read_to_end()
    assert len(received) < 40 * MIB
    assert end == "reset"
