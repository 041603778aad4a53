"""Responses through nginx, Apache and lighttpd: what a client sees of what an application answers.

Each front server is configured by its example in `nginx/`; `harness/fronts.py` is the table of what
each of them does by itself.
"""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.parse import quote

import pytest

from harness import Answer, Starter, wait_until
from harness.fronts import KINDS, FrontSite, Upstream, upstream
from harness.http import finish, open_request
from harness.process import kill
from harness.workers import stats

#: What `upstream` serves as `/files/content`.
CONTENT = bytes(range(256)) * 400


def assert_closed_once(front: FrontSite, key: str) -> None:
    def counted() -> bytes:
        return front.spile.ask(f"/count?key={key}").body

    wait_until(lambda: counted() != b"0", "close()")
    assert counted() == b"1"


# Bodies.

BODIES = {
    "/hello": b"hello, world\n",
    "/hello_tuple": b"hello, world\n",
    "/hello_generator": b"hello, world\n",
    "/write_only": b"one two",
    "/write_then_iterable": b"written first, and second, iterated third, and fourth",
    "/started_after_empty_chunks": b"late start",
    "/length?declared=11": b"hello world",
    "/empty_chunks_only": b"",
}

LARGE_BODIES = {
    "/numbered?n=1000": b"".join(b"chunk %d\n" % n for n in range(1000)),
    "/sized?size=65536&n=160": b"".join(bytes([65 + i % 26]) * 65536 for i in range(160)),
}


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.partition("?")[0])
def test_a_body(front: FrontSite, path: str) -> None:
    assert_whole(front.get(path), BODIES[path])


@pytest.mark.every_transport
@pytest.mark.parametrize("path", LARGE_BODIES, ids=lambda path: path.partition("?")[0])
def test_a_large_body(front: FrontSite, path: str) -> None:
    assert_whole(front.get(path), LARGE_BODIES[path])


def assert_whole(answer: Answer, body: bytes) -> None:
    assert (answer.status, answer.complete) == (200, True)
    assert answer.header("Content-Type") == "text/plain"
    assert answer.body == body


def test_an_empty_body(front: FrontSite) -> None:
    answer = front.get("/no_chunks")
    assert (answer.status, answer.body, answer.complete) == (202, b"", True)
    assert answer.header("X-Kind") == "empty"


def test_a_response_to_http_1_0(front: FrontSite) -> None:
    """There are no chunks in HTTP/1.0: the end of the connection is the end of the body."""
    answer = front.raw(b"GET /hello_generator HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert (answer.status, answer.body, answer.complete) == (200, b"hello, world\n", True)
    assert answer.header("Transfer-Encoding") is None


@pytest.mark.every_transport
@pytest.mark.parametrize("view", ["streams", "streams_with_length"])
def test_a_piece_arrives_before_the_next_is_made(front: FrontSite, view: str, gate: Path) -> None:
    if not front.kind.streams:
        # It collects a response first.
        gate.touch()
    connection = open_request(front.port(), f"/{view}?gate={quote(str(gate))}")
    response = connection.getresponse()
    assert response.read(6) == b"first\n"
    gate.touch()
    assert response.read() == b"second\n"
    connection.close()


# Statuses.


@pytest.mark.parametrize("path", ["/hello", "/length?declared=11", "/head_probe?as=declared"])
def test_head_with_a_length(front: FrontSite, path: str) -> None:
    whole, head = front.get(path), front.head(path)
    assert (head.status, head.body, head.complete) == (200, b"", True)
    assert head.header("Content-Length") == whole.header("Content-Length")
    assert head.header("Content-Type") == whole.header("Content-Type")


@pytest.mark.parametrize("path", ["/hello_generator", "/write_only", "/head_probe?as=generator"])
def test_head_without_a_length(front: FrontSite, path: str) -> None:
    head = front.head(path)
    assert (head.status, head.body, head.complete) == (200, b"", True)


@pytest.mark.parametrize("kind", ["list", "generator"])
@pytest.mark.parametrize("line", ["204 No Content", "304 Not Modified"])
def test_a_status_without_a_body(front: FrontSite, line: str, kind: str) -> None:
    answer = front.get(f"/bodyless?line={quote(line)}&as={kind}")
    assert (answer.status, answer.body, answer.complete) == (int(line[:3]), b"", True)
    assert answer.header("ETag") == '"x"'
    assert answer.header("Transfer-Encoding") is None


def test_205(front: FrontSite) -> None:
    answer = front.get("/bodyless_right?line=205+Reset+Content")
    assert (answer.status, answer.body, answer.complete) == (205, b"", True)


LINES = ["200 Fine", "201 Created", "400 Bad", "404 Gone Away", "418 Teapot", "503 Busy", "599 Odd"]


@pytest.mark.parametrize("line", LINES)
def test_a_status_and_its_reason(front: FrontSite, line: str) -> None:
    answer = front.get(f"/status?line={quote(line)}")
    assert (answer.status, answer.body) == (int(line[:3]), b"body")
    if front.kind.keeps_reason:
        assert answer.reason == line[4:]


@pytest.mark.parametrize(
    "to",
    ["/there", "there", "?page=2", "//other.test/x", "http://other.test/a%20b?x=1#f", "https://a/"],
)
def test_a_redirect(front: FrontSite, to: str) -> None:
    answer = front.get(f"/redirect?to={quote(to, safe='')}")
    assert (answer.status, answer.body, answer.complete) == (302, b"", True)
    assert answer.header("Location") == to


# Headers.


def test_repeated_headers(front: FrontSite) -> None:
    answer = front.get("/repeated_headers")
    assert answer.all("Set-Cookie") == ["a=1", "b=2; Path=/", "c=3"]
    assert answer.header("X-Between") == "x"


def test_many_cookies(front: FrontSite) -> None:
    answer = front.get("/headers?name=Set-Cookie&n=60&size=40")
    assert answer.all("Set-Cookie") == [f"{n}=".ljust(40, "x") for n in range(60)]


def test_a_header_that_is_repeated(front: FrontSite) -> None:
    values = front.get("/headers?name=X-List&n=2&size=4").all("X-List")
    assert ", ".join(values) == "0=xx, 1=xx"


def test_bytes_of_latin_1_in_a_header(front: FrontSite) -> None:
    assert front.get("/latin_1_headers").header("X-Name") == "J\xfcrgen"


def test_a_field_near_the_limit(front: FrontSite) -> None:
    size = front.kind.response_field
    answer = front.get(f"/headers?n=1&size={size}")
    assert answer.header("X-Field") == "0=".ljust(size, "x")


def test_a_head_near_the_limit(front: FrontSite) -> None:
    size = front.kind.response_head // 20
    answer = front.get(f"/headers?n=20&size={size - 12}")
    assert len(answer.all("X-Field")) == 20


def test_a_head_beyond_the_limit(front: FrontSite) -> None:
    assert front.get("/headers?n=1&size=70000").status == 502
    assert front.get("/hello").status == 200


# Files.


@pytest.mark.every_transport
def test_a_file_through_file_wrapper(front: FrontSite, tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT * 20)
    for more in ("", f"&length={len(CONTENT) * 20}"):
        answer = front.get(f"/file?path={quote(str(path))}{more}")
        assert (answer.status, answer.complete) == (200, True)
        assert answer.body == CONTENT * 20


@pytest.mark.every_transport
def test_a_file_of_a_native_application(front: FrontSite) -> None:
    answer = front.get("/files/content")
    assert (answer.status, answer.body, answer.complete) == (200, CONTENT, True)
    head = front.head("/files/content")
    assert (head.status, head.header("Content-Length")) == (200, str(len(CONTENT)))


@pytest.mark.parametrize(
    ("range", "part"),
    [("0-9", slice(0, 10)), ("1000-", slice(1000, None)), ("-5", slice(-5, None))],
)
def test_a_range(front: FrontSite, range: str, part: slice) -> None:
    answer = front.get("/files/content", headers=[("Range", f"bytes={range}")])
    first, last, _ = part.indices(len(CONTENT))
    assert (answer.status, answer.body, answer.complete) == (206, CONTENT[part], True)
    assert answer.header("Content-Range") == f"bytes {first}-{last - 1}/{len(CONTENT)}"


def test_a_range_that_is_not_there(front: FrontSite) -> None:
    answer = front.get("/files/content", headers=[("Range", "bytes=200000-")])
    assert (answer.status, answer.complete) == (416, True)
    assert answer.header("Content-Range") == f"bytes */{len(CONTENT)}"


def test_a_range_that_the_application_does_not_offer(front: FrontSite) -> None:
    answer = front.get("/hello", headers=[("Range", "bytes=0-3")])
    if front.kind.makes_ranges:
        assert (answer.status, answer.body) == (206, b"hell")
    else:
        assert (answer.status, answer.body) == (200, b"hello, world\n")


def test_a_file_that_has_not_changed(front: FrontSite) -> None:
    etag = front.head("/files/content").header("ETag")
    answer = front.get("/files/content", headers=[("If-None-Match", etag)])
    assert (answer.status, answer.body, answer.complete) == (304, b"", True)


# Early answers.


@pytest.mark.every_transport
@pytest.mark.parametrize("line", ["200 OK", "413 Content Too Large"])
def test_an_answer_to_an_upload_that_nobody_reads(front: FrontSite, line: str) -> None:
    answer = front.post(f"/early?line={quote(line)}", b"x" * 20_000_000)
    assert (answer.status, answer.body, answer.complete) == (int(line[:3]), b"early", True)


@pytest.mark.every_transport
def test_an_exception_instead_of_reading_an_upload(front: FrontSite) -> None:
    answer = front.post("/raises", b"x" * 20_000_000)
    assert (answer.status, answer.complete) == (500, True)


@pytest.mark.every_transport
def test_a_native_application_that_does_not_read_an_upload(front: FrontSite) -> None:
    answer = front.post("/files/content", b"x" * 20_000_000)
    assert (answer.status, answer.complete) == (405, True)


# Failures.


@pytest.mark.parametrize(
    "view",
    ["raises", "raises_after_start", "raises_before_first_chunk", "never_started", "str_chunk"],
)
def test_a_failure_before_the_head(front: FrontSite, view: str) -> None:
    answer = front.get(f"/{view}")
    assert (answer.status, answer.complete) == (500, True)
    assert "raised" not in answer.text


@pytest.mark.every_transport
@pytest.mark.parametrize("body", ["", "_with_length"])
def test_a_failure_in_mid_body_is_never_a_clean_end(front: FrontSite, body: str, key: str) -> None:
    for _ in range(2):
        assert_broken(front.get(f"/raises_in_body{body}?key={key}"))


@pytest.mark.every_transport
@pytest.mark.parametrize("path", ["/raises_after_write", "/length?declared=1000"])
def test_less_than_was_promised_is_never_a_clean_end(front: FrontSite, path: str) -> None:
    for _ in range(2):
        assert_broken(front.get(path))


def assert_broken(answer: Answer) -> None:
    """The client can tell that something is missing."""
    assert not answer.complete or answer.status == 502, (answer, answer.body[-100:])


@pytest.mark.every_transport
def test_a_worker_that_is_killed_in_mid_body(
    start: Starter, front: FrontSite, gate: Path, request: pytest.FixtureRequest
) -> None:
    """A body of unknown length is not whole just because its connection has ended."""
    doomed = request.getfixturevalue("doomed_over_tls" if front.kind.over_tls else "doomed")
    site = FrontSite(front.kind, doomed, start)
    view = "streams" if front.kind.sees_resets else "streams_with_length"
    connection = open_request(site.port(), f"/{view}?gate={quote(str(gate))}")
    (worker,) = wait_until(lambda: busy(site), "the request to run")
    if front.kind.streams:
        response = connection.getresponse()
        assert response.read(6) == b"first\n"
    kill(worker, signal.SIGKILL)
    if not front.kind.streams:
        response = connection.getresponse()
    assert_broken(finish(response))
    connection.close()
    assert site.get("/hello").status == 200


@pytest.fixture(scope="module")
def doomed(start_once: Starter) -> Upstream:
    """A spile with a worker for each front server to lose: one that dies again is made to wait."""
    return upstream(start_once, "fronts:application", "--workers", str(2 * len(KINDS)))


@pytest.fixture(scope="module")
def doomed_over_tls(start_once: Starter) -> Upstream:
    return upstream(start_once, "fronts:application", "--workers", "2", over_tls=True)


def busy(front: FrontSite) -> set[int]:
    """The workers that run a request."""
    return {worker["pid"] for worker in stats(front.spile)["workers"] if worker["running"]}


# Clients that leave.


@pytest.mark.every_transport
def test_a_client_that_leaves_in_mid_body(front: FrontSite, key: str) -> None:
    connection = open_request(front.port(), f"/paced?key={key}")
    response = connection.getresponse()
    assert len(response.read(200_000)) == 200_000
    connection.close()
    assert_closed_once(front, key)
    assert front.get("/hello").body == b"hello, world\n"


@pytest.mark.every_transport
def test_a_client_that_does_not_wait_for_the_answer(front: FrontSite, key: str) -> None:
    connection = open_request(front.port(), f"/paced?key={key}")
    wait_until(lambda: busy(front), "the request to run")
    connection.close()
    assert_closed_once(front, key)
