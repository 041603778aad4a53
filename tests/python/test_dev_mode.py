"""Python's development mode finds nothing to object to: `python -X dev`, with warnings as errors.

In it memory is checked at both ends of each block, calls into the interpreter without its lock end
the process, and what is not closed is told. Garbage is collected after each part, so that it shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import Site, Starter

#: What it is switched on by, in the environment that mold and workers inherit.
DEV_MODE = {
    "PYTHONDEVMODE": "1",
    "PYTHONMALLOC": "debug",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONWARNINGS": "error",
}

#: What it says in a log.
OBJECTIONS = (
    "Fatal Python error",
    "Debug memory block",
    "ResourceWarning",
    "DeprecationWarning",
    "Exception ignored",
    "SystemError",
    "PanicException",
    "panicked at",
    "Segmentation fault",
)

#: Each way of answering in tests/apps/responses.py: rightly, wrongly, and not at all.
RESPONSES = [
    "hello",
    "hello_tuple",
    "hello_generator",
    "started_after_empty_chunks",
    "never_started",
    "never_started_empty",
    "chunk_before_start",
    "no_chunks",
    "empty_chunks_only",
    "sequence_protocol",
    "write_only",
    "write_then_iterable",
    "write_streams?gate=/",
    "write_str",
    "raises",
    "raises_after_start",
    "raises_before_first_chunk",
    "raises_after_empty_chunk",
    "raises_in_body",
    "raises_in_body_with_length",
    "raises_after_write",
    "raises_in_close",
    "exits?kind=SystemExit",
    "exits?kind=KeyboardInterrupt",
    "replaced",
    "replaced_after_empty_chunks",
    "too_late_to_replace",
    "too_late_after_write",
    "started_twice",
    "first_start_with_exc_info",
    "exc_info_none",
    "bad_then_good",
    "reason",
    "status?line=299%20Own",
    "many_headers",
    "repeated_headers",
    "latin_1_headers",
    "header_case",
    "length_in_list",
    "bodyless?line=204%20No%20Content",
    "bodyless_right?line=304%20Not%20Modified",
    "head_probe?key=k",
    "streams?gate=/&key=k",
    "streams_with_length?gate=/&key=k",
    "numbered?n=200",
    "sized?size=1000&n=100",
    "closes?key=k",
    "closes_without_start?key=k",
    "bare_bytes",
    "bare_str",
    "str_chunk",
    "str_chunk_in_list",
    "int_chunk",
    "str_chunk_later",
    "none",
    "number",
    "file?path={file}",
    "file?path={file}&seek=5&read=3&length=100",
    "file?path={file}&length=100000000",
    "file_without_descriptor?key=k",
    "file_bytes_io",
    "file_closes?path={file}&key=k",
    "file_through_middleware?key=k",
    "file_after_write?path={file}",
    "file_without_close",
    "errors",
    "no_such_view",
]

#: Each way of reading in tests/apps/inputs.py.
INPUTS = [
    "input/ops?read",
    "input/ops?read:3,readline,readlines:10,iter:2",
    "input/ops?readlines,read,readline",
    "input/ops?iter",
    "input/ops?read:x",
    "input/sha256?7",
    "input/unread",
]


#: Path, method and body.
Request = tuple[str, str, bytes]


@pytest.fixture(scope="module")
def whole_site(start_once: Starter) -> Site:
    """One worker of one thread, so that its memory can be counted."""
    return start_once.site("collected:application", env=DEV_MODE)


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The site; the test fails if there were objections meanwhile, or the worker is another."""
    counts(whole_site)
    seen, workers = len(whole_site.spile.log), whole_site.spile.worker_pids()
    yield whole_site
    counts(whole_site)
    assert_no_objections(whole_site.spile.log[seen:])
    assert whole_site.spile.worker_pids() == workers


def assert_no_objections(log: str) -> None:
    objections = [line for line in log.splitlines() if any(it in line for it in OBJECTIONS)]
    assert not objections, log


def counts(site: Site) -> list[int]:
    """How many blocks of memory the worker's Python has, now that garbage is collected.

    A debug build of Python (`--python`, or $SPILE_BIN) counts its references too.
    """
    answer = site.spile.ask("/counts")
    assert answer.status == 200, answer.text
    return [int(count) for count in answer.text.split()]


def test_a_worker_objects_to_what_is_not_closed(start: Starter) -> None:
    """The mode is on in workers, and what it says comes to the log."""
    spile = start.spile("collected:application", env=DEV_MODE)
    assert spile.ask("/unclosed").status == 200
    spile.wait_for_log("ResourceWarning: unclosed file")


def requests() -> list[Request]:
    """One of each kind, the bodies of a size that is kept in memory and of one that is not."""
    # An own file: what is open on another is not counted.
    paths = ["/" + view.format(file=__file__) for view in RESPONSES]
    bodies = [b"one\ntwo\n\nfour", b"0123456789\n" * 10_000]
    return [
        *((path, method, b"") for path in paths for method in ("GET", "HEAD")),
        *(("/" + view, "POST", body) for view in INPUTS for body in bodies),
    ]


#: How often each request is made in a round.
TIMES = 20


def test_no_request_leaves_anything(site: Site) -> None:
    """A block of memory that each request of a kind leaves would show in every round."""
    left = blocks_left(site, requests())
    if left >= TIMES // 2:
        left_by = {it[:2]: blocks_left(site, [it]) for it in requests()}
        leaking = {it: count for it, count in left_by.items() if count >= TIMES // 2}
        pytest.fail(f"{left} blocks in a round: {leaking}")


def blocks_left(site: Site, requests: list[Request]) -> int:
    """How many more blocks the worker has after a round, in the round that leaves the fewest.

    Code specialises itself, and caches fill, while it runs the first times.
    """
    growth = []
    before = counts(site)
    # A response that breaks off takes its client 0.2 s, and the worker nothing.
    with ThreadPoolExecutor(16) as clients:
        while len(growth) < 12 and min(growth, default=TIMES) >= TIMES // 2:
            list(clients.map(lambda request: site.spile.ask(*request), requests * TIMES))
            after = counts(site)
            growth.append(max(last - first for first, last in zip(before, after)))
            before = after
    return max(0, min(growth))


def test_clients_that_leave(site: Site) -> None:
    for _ in range(5):
        with site.spile.connect() as connection:
            connection.request("/endless?key=k")
            connection.read_until(b"\r\n\r\n")
        with site.spile.connect() as connection:
            connection.request("/input/ops?read", "POST", b"half", CONTENT_LENGTH="8")
    assert counts(site)


def test_through_nginx(site: Site) -> None:
    for path in ("/hello", "/write_then_iterable", "/numbered?n=200", "/raises"):
        site.get(path)
        site.head(path)
    assert site.post("/input/sha256?100", b"x" * 300_000).status == 200


def test_interrupted_requests_and_a_reload(start: Starter) -> None:
    """What raises in another thread, what warms up, and what begins and ends a worker."""
    spile = start.spile(
        "hanging:application",
        *("--threads", "2", "--request-timeout", "0.3", "--warmup", "/quick"),
        env=DEV_MODE,
    )
    for path in ("/spin", "/caught", "/flask", "/stream"):
        for _ in range(2):
            spile.ask(path)
    spile.reload()
    assert spile.ask("/quick").status == 200
    spile.stop()
    assert_no_objections(spile.log)
    assert not re.search(r"\bWarning\b", spile.log), spile.log
