"""wsgi.input: PEP 3333, rule 4."""

from __future__ import annotations

import hashlib
import io
import random
from typing import Any

import pytest

import inputs
from harness import Answer, Site, Starter, environ_for, packet
from harness.http import open_request
from harness.net import exchange

LINES = b"first line\nsecond\n\nfourth, longer than the others\nno newline at the end"
#: Does not compress to a pattern: a piece that is lost, doubled or moved shows.
LARGE = random.Random(1).randbytes(5_000_000)


@pytest.fixture(scope="module")
def site(start_once: Starter, transport: str) -> Site:
    return start_once.site(
        "inputs:application",
        socket=transport,
        servers={"unbuffered": ["uwsgi_request_buffering off;"]},
    )


@pytest.fixture(params=["default", "unbuffered"])
def server(request: pytest.FixtureRequest) -> str:
    """nginx with and without buffering of the request."""
    return request.param


@pytest.mark.parametrize(
    "plan",
    [
        "read",
        "read:-1",
        "read:4,read:4,read",
        "read:1000000",
        "read:0,read:3,read:0",
        "read,read,read:1,readline,readlines",
        "readline,readline,readline,readline,readline,readline",
        "readline:-1,readline",
        "readline:3,readline:3,readline:100,readline:100",
        "readline:0,readline",
        "readline:11,readline",
        "readlines",
        "readlines:0",
        "readlines:1",
        "readlines:11",
        "readlines:12,readlines:1,readlines",
        "readlines:1000000",
        "iter",
        "iter:1,iter:1,iter",
        "iter:2,read:3,readline,read",
        "read:7,iter",
        "readline,read:2,readlines",
    ],
)
def test_reads_like_any_file(site: Site, plan: str) -> None:
    """uWSGI ignores the sizes of readline and readlines; granian's iteration stops after a line."""
    for body in (LINES, LINES + b"\n", b"\n\n\n", b"x", b""):
        expected = inputs.play(io.BytesIO(body), plan)
        assert site.post(f"/ops?{plan}", body).json() == expected, body


def test_a_line_longer_than_any_buffer(site: Site) -> None:
    long = b"x" * 300_000
    body = long + b"\nshort\n" + long
    plan = "readline:10,readline,iter"
    expected = inputs.play(io.BytesIO(body), plan)
    assert site.post(f"/ops?{plan}", body).json() == expected


def test_ten_thousand_lines(site: Site, server: str) -> None:
    body = b"".join(b"line %d\n" % n for n in range(10_000))
    assert site.post("/ops?iter", body, server=server).json() == [
        [f"line {n}\n" for n in range(10_000)]
    ]


@pytest.mark.every_transport
def test_end_of_file_at_content_length(site: Site) -> None:
    """Bytes after the declared body are not the application's."""
    with site.spile.connect() as connection:
        variables = environ_for("/ops?read,read", "POST", CONTENT_LENGTH="5")
        connection.send(packet(variables) + b"12345" + b"surplus")
        assert connection.answer().json() == ["12345", ""]


def test_no_content_length_is_an_empty_body(site: Site) -> None:
    assert site.spile.ask("/ops?read,readline,readlines,iter").json() == ["", "", [], []]


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "+5", "5 5", "99999999999999999999"])
def test_a_content_length_that_is_no_number_is_refused(site: Site, length: str) -> None:
    answer = site.spile.ask("/ops?read", "POST", CONTENT_LENGTH=length)
    assert answer.status in (400, 413)


@pytest.mark.every_transport
@pytest.mark.parametrize("size", [1, 100, 65_536, 10_000_000])
def test_a_large_body_arrives_whole(site: Site, server: str, size: int) -> None:
    body = LARGE if size > 1 else LARGE[:20_000]
    got = site.post(f"/sha256?{size}", body, server=server).json()
    assert got["length"] == len(body)
    assert got["sha256"] == hashlib.sha256(body).hexdigest()
    assert got["largest"] <= size


def test_a_chunked_request_arrives_whole(site: Site, server: str) -> None:
    # nginx buffers a chunked request whatever it was told, and so knows its length.
    pieces = [LARGE[at : at + 70_001] for at in range(0, 1_000_000, 70_001)]
    body = b"".join(pieces)
    got = site.post("/sha256?8192", iter(pieces), server=server).json()
    assert got["sha256"] == hashlib.sha256(body).hexdigest()
    assert got["content_length"] == str(len(body))


def test_a_client_that_expects_to_be_told_to_continue(site: Site) -> None:
    """nginx answers for itself and passes HTTP_EXPECT on."""
    request = (
        b"POST /ops?read HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\nbody"
    )
    received, end = exchange(("127.0.0.1", site.port()), request)
    interim, _, rest = received.partition(b"\r\n\r\n")
    assert interim == b"HTTP/1.1 100 Continue"
    assert Answer.parse(rest, complete=end == "eof").json() == ["body"]


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_an_empty_body(site: Site, kind: str) -> None:
    body: Any = b"" if kind == "length" else iter([])
    assert site.post("/ops?read,readline,iter", body).json() == ["", "", []]


@pytest.mark.every_transport
def test_an_unread_body_does_not_cost_the_answer(site: Site, server: str) -> None:
    """Closing while the body still comes would reset the connection, and nginx say 502."""
    for _ in range(3):
        answer = site.post("/unread", LARGE * 2, server=server)
        assert answer.json() == {"unread": True}


@pytest.mark.every_transport
def test_a_body_read_in_part_does_not_cost_the_answer(site: Site, server: str) -> None:
    answer = site.post("/ops?read:10", LARGE * 2, server=server)
    assert answer.json() == [LARGE[:10].decode("latin-1")]


@pytest.mark.every_transport
def test_an_unread_body_without_nginx(site: Site) -> None:
    with site.spile.connect() as connection:
        connection.request("/unread", "POST", b"x" * 10_000_000)
        assert connection.answer().json() == {"unread": True}


@pytest.mark.every_transport
def test_a_body_cut_short_is_never_taken_for_a_whole_one(site: Site) -> None:
    seen = len(site.spile.log)
    with site.spile.connect() as connection:
        variables = environ_for("/ops?read&log", "POST", CONTENT_LENGTH="1000")
        connection.send(packet(variables) + b"x" * 500)
        connection.socket.shutdown(1)
        received, _ = connection.read_to_end()
    assert b" 200 " not in received.partition(b"\r\n")[0]
    # The site still answers, and by now the application has said what it saw.
    assert site.get("/unread").status == 200
    assert "input complete" not in site.spile.log[seen:]


@pytest.mark.every_transport
def test_a_client_that_leaves_in_mid_upload(site: Site) -> None:
    seen = len(site.spile.log)
    connection = open_request(
        site.port("unbuffered"),
        "/ops?read&log",
        "POST",
        [("Content-Length", "1000000")],
        b"x" * 500_000,
    )
    connection.close()
    assert site.get("/unread").status == 200
    assert "input complete" not in site.spile.log[seen:]
