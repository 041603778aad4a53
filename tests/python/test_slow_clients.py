"""Slow, silent and confused clients: none holds a worker, and each is told what is wrong."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import Answer, Connection, Site, Spile, Starter, environ_for, packet, wait_until
from harness.process import status_kib
from harness.uwsgi import field
from harness.workers import mold_of

#: Seconds for one ordinary request while others are slow. It is no measure of speed: with a worker
#: held, the answer would not come at all.
PROMPT = 5.0


@pytest.fixture(scope="module")
def site(start_once: Starter) -> Site:
    """One worker with one thread: whoever holds it stops everybody."""
    return start_once.site("slow:application", "--workers", "1", "--threads", "1")


def assert_serves(site: Site) -> None:
    for _ in range(5):
        assert site.fetch("/quick", timeout=PROMPT).body == b"quick"
        with site.spile.connect(PROMPT) as connection:
            assert connection.request("/quick").answer().body == b"quick"


@contextlib.contextmanager
def connections(site: Site, count: int) -> Iterator[list[Connection]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(site.spile.connect()) for _ in range(count)]


def test_silent_clients(site: Site) -> None:
    """Sixteen of them stop a four-worker uWSGI."""
    with connections(site, 50):
        assert_serves(site)


def test_a_silent_client_takes_no_more_than_4_kib(start: Starter) -> None:
    spile = start.spile("slow:application")
    with contextlib.ExitStack() as stack:

        def resident_with(count: int) -> int:
            """The worker's KiB with so many more silent clients, all of them accepted."""
            for _ in range(count):
                stack.enter_context(spile.connect())
            spile.connect().request("/quick").answer()
            (worker,) = spile.worker_pids()
            return status_kib(worker, "VmRSS")

        before = resident_with(50)
        assert resident_with(800) - before < 800 * 4


def test_clients_that_trickle_their_head(site: Site) -> None:
    request = packet(environ_for("/quick"))
    with connections(site, 50) as slow:
        for number, connection in enumerate(slow):
            # Each stops at another byte: within the header, a length, a name, a value.
            connection.send(request[: 1 + number])
        assert_serves(site)
        for number, connection in enumerate(slow):
            rest = request[1 + number :]
            connection.send(rest[:10])
            connection.send(rest[10:])
            assert connection.answer().body == b"quick"


def test_clients_with_half_a_body(site: Site) -> None:
    head = packet(environ_for("/length", "POST", CONTENT_LENGTH="100000"))
    with connections(site, 20) as slow:
        for connection in slow:
            connection.send(head + b"x" * 50_000)
        assert_serves(site)
        for connection in slow:
            connection.send(b"x" * 50_000)
            assert connection.answer().body == b"100000"


@pytest.mark.parametrize("view", ["/large", "/large_file"])
def test_clients_that_do_not_read_the_answer(site: Site, view: str) -> None:
    with connections(site, 20) as slow:
        for connection in slow:
            connection.request(view)
        assert_serves(site)
        for connection in slow:
            answer = connection.answer()
            assert len(answer.body) == 5_000_000
            assert answer.complete


def test_all_of_them_at_once(site: Site) -> None:
    request = packet(environ_for("/quick"))
    half = packet(environ_for("/length", "POST", CONTENT_LENGTH="100000")) + b"x" * 50_000
    with contextlib.ExitStack() as stack:
        stack.enter_context(connections(site, 50))
        for connection in stack.enter_context(connections(site, 50)):
            connection.send(request[:20])
        for connection in stack.enter_context(connections(site, 20)):
            connection.send(half)
        for connection in stack.enter_context(connections(site, 20)):
            connection.request("/large")
        assert_serves(site)
    # They have all gone away in the middle of things.
    assert_serves(site)


# Threads.


def test_one_thread_runs_one_request_at_a_time(site: Site) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: site.get("/alone").body, range(8))
        assert set(answers) == {b"1"}


def test_four_threads_run_four_requests_at_once(start: Starter) -> None:
    site = start.site("slow:application", "--threads", "4")
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: site.get("/meet?4").body, range(4))
        assert list(answers) == [b"met"] * 4


def test_requests_beyond_the_threads_wait_and_are_answered(start: Starter) -> None:
    site = start.site("slow:application", "--threads", "2")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: site.get("/meet?2").body, range(20)))
    assert answers == [b"met"] * 20


def test_a_request_that_computes_does_not_stop_the_other_threads(
    start: Starter, tmp_path: Path
) -> None:
    site = start.site("slow:application", "--workers", "1", "--threads", "3")
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        computed = pool.submit(site.get, f"/compute?{gate}")
        for _ in range(50):
            assert site.get("/quick").body == b"quick"
        assert not computed.done()
        gate.touch()
        assert computed.result().body == b"computed"


def test_threads_sleep_when_there_is_nothing_to_do(start: Starter) -> None:
    """Also after many requests at once, which have woken more threads than one."""
    site = start.site("slow:application", "--workers", "1", "--threads", "4")
    with ThreadPoolExecutor(16) as pool:
        for path in ["/quick"] * 500 + ["/meet?4"] * 16:
            pool.submit(site.get, path)
    (worker,) = site.spile.family() - {site.spile.pid, mold_of(site.spile)}
    before = switches(worker)
    time.sleep(0.5)
    # A thread that looks every millisecond would have woken 500 times.
    assert switches(worker) - before < 20


def switches(pid: int) -> int:
    """How often the threads of a process have been woken."""
    files = Path(f"/proc/{pid}/task").glob("*/status")
    text = "".join(file.read_text() for file in files)
    return sum(map(int, re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.MULTILINE)))


# The read time-out.


@pytest.fixture(scope="module")
def impatient(start_once: Starter) -> Spile:
    return start_once.spile("slow:application", "--read-timeout", "1")


@pytest.mark.parametrize(
    "sent",
    [
        b"\0",
        b"\0\x10\x01",
        packet(environ_for("/quick"))[:100],
        packet(environ_for("/length", "POST", CONTENT_LENGTH="100")),
        packet(environ_for("/length", "POST", CONTENT_LENGTH="100")) + b"x" * 99,
    ],
    ids=["one byte", "half a header", "half the variables", "no body", "most of the body"],
)
def test_a_request_that_does_not_end_in_time_is_a_408(impatient: Spile, sent: bytes) -> None:
    seen = len(impatient.log)
    with impatient.connect() as connection:
        connection.send(sent)
        answer = connection.answer()
    assert answer.status == 408
    assert "Traceback" not in impatient.log[seen:]
    assert impatient.ask("/quick").body == b"quick"


def test_a_client_that_stays_silent_is_let_go_without_a_word(impatient: Spile) -> None:
    seen = len(impatient.log)
    with impatient.connect() as connection:
        assert connection.read_to_end() == (b"", "eof")
    assert quiet(impatient.log[seen:])


def test_a_probe_that_connects_and_leaves_is_no_error(impatient: Spile) -> None:
    seen = len(impatient.log)
    for _ in range(10):
        impatient.connect().close()
    assert impatient.ask("/quick").body == b"quick"
    assert quiet(impatient.log[seen:])


def quiet(log: str) -> bool:
    return not any(word in log.lower() for word in ("warn", "error", "traceback", "panic"))


# What is not a uwsgi request for an application.


@pytest.fixture(scope="module", params=["unix", "tcp", "tls"])
def strict(start_once: Starter, request: pytest.FixtureRequest) -> Spile:
    return start_once.spile("slow:application", socket=request.param)


def answer_to(spile: Spile, sent: bytes) -> Answer:
    with spile.connect() as connection:
        connection.send(sent)
        return connection.answer()


def block(variables: bytes, modifier1: int = 0) -> bytes:
    return struct.pack("<BHB", modifier1, len(variables), 0) + variables


@pytest.mark.parametrize(
    ("sent", "status", "cause"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "http"),
        (b"POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400, "http"),
        (bytes.fromhex("16030100c8010000c40303") + bytes(200), 400, "tls"),
        (bytes.fromhex("16030300c8010000c40303") + bytes(200), 400, "tls"),
        (packet(environ_for("/quick"), modifier1=5), 501, "modifier"),
        (packet({}, modifier1=30), 501, "30"),
        (block(field("NAME") + struct.pack("<H", 500) + b"short"), 400, "500"),
        (block(struct.pack("<H", 5000) + b"SHORT"), 400, "5000"),
        (block(field("") + field("value")), 400, "empty"),
        (block(field("NAME") + field("value") + b"\0"), 400, "byte"),
    ],
    ids=[
        "HTTP GET",
        "HTTP POST",
        "TLS 1.0",
        "TLS 1.2",
        "modifier 5",
        "modifier 30",
        "value past the end",
        "name past the end",
        "empty name",
        "lone byte",
    ],
)
def test_a_wrong_packet_is_answered_and_logged(
    strict: Spile, sent: bytes, status: int, cause: str
) -> None:
    """uWSGI closes in silence, and nginx says 502."""
    seen = len(strict.log)
    assert answer_to(strict, sent).status == status
    wait_until(lambda: cause in strict.log[seen:].lower(), f"{cause!r} in the log")
    assert strict.ask("/quick").body == b"quick"


def test_nginx_with_a_modifier_that_is_not_served(start_once: Starter, site: Site) -> None:
    nginx = start_once.nginx(site.spile, servers={"modifier": ["uwsgi_modifier1 7;"]})
    answer = Site(site.spile, nginx).get("/quick", server="modifier")
    assert answer.status == 501


def test_a_client_that_closes_after_half_a_packet(strict: Spile) -> None:
    with strict.connect() as connection:
        connection.send(packet(environ_for("/quick"))[:50])
        connection.socket.shutdown(socket.SHUT_WR)
        received, _ = connection.read_to_end()
    assert not received.startswith(b"HTTP/1.1 200")
    assert strict.ask("/quick").body == b"quick"


def test_the_largest_packet_there_can_be(strict: Spile) -> None:
    variables = environ_for("/quick")
    room = 65535 - (len(packet(variables)) - 4) - len(field("HTTP_X_LONG")) - 2
    variables["HTTP_X_LONG"] = "x" * room
    sent = packet(variables)
    assert len(sent) == 65535 + 4
    assert answer_to(strict, sent).body == b"quick"


def test_a_packet_one_byte_at_a_time(strict: Spile) -> None:
    sent = packet(environ_for("/length", "POST", CONTENT_LENGTH="3")) + b"abc"
    with strict.connect() as connection:
        if not isinstance(strict.address, str):
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in sent:
            connection.send(bytes([byte]))
        assert connection.answer().body == b"3"
