"""Clients of every kind for the soak: each checks its answers and keeps what failed, and when."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Callable
from urllib.parse import urlencode

import bodies
from harness.http import open_request
from harness.site import Site
from harness.uwsgi import environ_for, packet

#: No body is larger.
LARGEST = 5_000_000


@dataclass(frozen=True)
class Lost:
    """A request without a right answer. Times are seconds since 1970."""

    kind: str
    what: str
    began: float
    ended: float


class Visitors:
    """Threads that visit a site until `finish`, each in a way and at a rate of its own."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.lost: list[Lost] = []
        self._threads: list[threading.Thread] = []

    def begin(self, kind: str, visit: Callable[[Site], None], every: float, count: int = 1) -> None:
        """So many threads that visit once in `every` seconds, more or less."""
        for _ in range(count):
            arguments = (kind, visit, every)
            self._threads.append(threading.Thread(target=self._go_on, args=arguments, daemon=True))
            self._threads[-1].start()

    def _go_on(self, kind: str, visit: Callable[[Site], None], every: float) -> None:
        while not self._end.wait(random.uniform(0.5, 1.5) * every):
            began = time.time()
            try:
                visit(self._site)
            except Exception as error:
                # Whatever it is: it is judged by when it was.
                what = f"{type(error).__name__}: {error}"[:300]
                with self._lock:
                    self.lost.append(Lost(kind, what, began, time.time()))
            with self._lock:
                self.asked[kind] += 1

    def finish(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def size() -> int:
    """From 0 to LARGEST, small ones more often."""
    return int(LARGEST * random.random() ** 4)


def expect(found: object, wanted: object) -> None:
    assert found == wanted, f"{found!r:.100} in place of {wanted!r:.100}"


def form(site: Site) -> None:
    fields = {f"field{number}": str(random.random()) for number in range(random.randrange(30))}
    answer = site.post("/form", urlencode(fields).encode())
    expect((answer.status, json.loads(answer.body)), (200, fields))


def upload(site: Site) -> None:
    body = random.randbytes(size())
    answer = site.post("/upload", body)
    expect((answer.status, answer.text), (200, f"{len(body)} {zlib.crc32(body)}"))


def download(site: Site) -> None:
    length = size()
    answer = site.get(random.choice(["/download", "/file"]) + f"?{length}")
    expect((answer.status, len(answer.body), answer.complete), (200, length, True))
    expect(zlib.crc32(answer.body), zlib.crc32(b"".join(bodies.pattern(length))))


def stream(site: Site) -> None:
    answer = site.get("/stream", server="unbuffered")
    expect((answer.status, answer.text.count("line")), (200, 10))


def abort(site: Site) -> None:
    """Leaves in the middle of an answer, or of its own request."""
    server = random.choice(["default", "unbuffered"])
    if random.random() < 0.5:
        connection = open_request(site.port(server), f"/download?{LARGEST}")
        connection.getresponse().read(random.randrange(1, 100_000))
    else:
        headers = [("Content-Length", "100000")]
        connection = open_request(site.port(server), "/upload", "POST", headers, b"x" * 50_000)
    connection.close()


def error(site: Site) -> None:
    expect(site.get("/error").status, 500)


def spin(site: Site) -> None:
    """Is interrupted."""
    expect(site.get("/spin").status, 504)


def hang(site: Site) -> None:
    """Costs its worker, which finishes what else it has."""
    expect(site.get("/hang").status, 504)


def wrong(site: Site) -> None:
    """Speaks another protocol."""
    with site.spile.connect() as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        expect(connection.answer().status, 400)


def slow(site: Site) -> None:
    """Takes seconds for a request that others send at once, and again for the answer."""
    length = random.randrange(100_000, 2_000_000)
    sent = packet(environ_for(f"/download?{length}"))
    with site.spile.connect() as connection:
        for at in range(0, len(sent), 40):
            connection.send(sent[at : at + 40])
            time.sleep(0.1)
        received = 0
        while piece := connection.socket.recv(65536):
            received += len(piece)
            time.sleep(0.05)
    assert received > length, f"{received} bytes, of {length} and a head"


def silent(site: Site) -> None:
    """Says nothing, and goes."""
    with site.spile.connect() as connection:
        connection.socket.settimeout(random.uniform(0.1, 5))
        with contextlib.suppress(socket.timeout):
            connection.socket.recv(1)
