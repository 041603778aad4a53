"""Large bodies through nginx, both ways, in constant memory."""

from __future__ import annotations

import zlib

import pytest

import bodies
from harness import Site, Starter
from harness.http import open_request
from harness.process import status_kib

MIB = 1024 * 1024

SIZES = [
    pytest.param(50 * MIB, id="50 MB"),
    # Time for a loaded machine; the run itself takes seconds.
    pytest.param(1024 * MIB, id="1 GB", marks=[pytest.mark.big, pytest.mark.timeout(900)]),
]

#: What spile may need on top of what it has after a first request. A body held in memory would
#: need all its size.
GROWTH_KIB = 24 * 1024


@pytest.fixture(scope="module")
def site(start_once: Starter) -> Site:
    return start_once.site(
        "bodies:application",
        servers={"unbuffered": ["uwsgi_request_buffering off;", "uwsgi_buffering off;"]},
    )


class Memory:
    """The most memory that each process of a spile had since it began to serve."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.post("/up?65536", b"x" * 1_000_000).json()
        site.get("/down?1000000")
        self.before = self.peaks()

    def peaks(self) -> dict[int, int]:
        return {pid: status_kib(pid, "VmHWM") for pid in self.site.spile.family()}

    def assert_constant(self) -> None:
        after = self.peaks()
        assert after.keys() == self.before.keys()
        for pid, peak in after.items():
            assert peak - self.before[pid] < GROWTH_KIB


@pytest.fixture
def memory(site: Site) -> Memory:
    return Memory(site)


def checksum_of_pattern(size: int) -> int:
    checksum = 0
    for block in bodies.pattern(size):
        checksum = zlib.crc32(block, checksum)
    return checksum


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("server", ["default", "unbuffered"])
def test_upload(site: Site, memory: Memory, server: str, size: int) -> None:
    headers = [("Content-Length", str(size))]
    answer = site.fetch(
        "/up?65536", "POST", headers, bodies.pattern(size), server=server, timeout=300
    )
    got = answer.json()
    assert (got["length"], got["checksum"]) == (size, checksum_of_pattern(size))
    assert got["pid"] in memory.before
    memory.assert_constant()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("server", ["default", "unbuffered"])
def test_download(site: Site, memory: Memory, server: str, size: int) -> None:
    connection = open_request(site.port(server), f"/down?{size}", timeout=300)
    response = connection.getresponse()
    length = checksum = 0
    while True:
        piece = response.read(MIB)
        if not piece:
            break
        length += len(piece)
        checksum = zlib.crc32(piece, checksum)
    connection.close()
    assert (length, checksum) == (size, checksum_of_pattern(size))
    memory.assert_constant()
