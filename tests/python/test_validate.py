"""wsgiref.validate finds nothing to object to in spile's side of the interface."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import DISTRIBUTION_PARAMS, OWN_PARAMS, Connection, Site, Starter, packet

#: A validator's complaint is an AssertionError, or a line on stderr for an unclosed iterator.
COMPLAINTS = ("AssertionError", "Iterator garbage collected without being closed")


@pytest.fixture(scope="module", params=["distribution", "own"])
def whole_site(start_once: Starter, request: pytest.FixtureRequest) -> Site:
    params = {"distribution": DISTRIBUTION_PARAMS, "own": OWN_PARAMS}[request.param]
    return start_once.site("validated:application", "--threads", "2", params=params)


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The site; the test fails if the validator complained meanwhile."""
    seen = len(whole_site.spile.log)
    yield whole_site
    complaints = whole_site.spile.log[seen:]
    assert not any(text in complaints for text in COMPLAINTS), complaints


@pytest.mark.parametrize(
    ("view", "body"),
    [
        ("plain", b"plain"),
        ("streaming", b"chunk 0\nchunk 1\nchunk 2\n"),
        ("late", b"late"),
        ("written", b"written"),
        ("errors", b"logged"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_responses(site: Site, view: str, body: bytes, method: str) -> None:
    answer = site.fetch(f"/{view}?a=1", method, body=b"x=1" if method == "POST" else None)
    assert answer.status == 200, answer.text
    assert answer.body == (b"" if method == "HEAD" else body)
    assert answer.complete


def test_no_content(site: Site) -> None:
    answer = site.get("/no_content")
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize("view", ["echo_read", "echo_readline", "echo_readlines", "echo_iterated"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_request_bodies(site: Site, view: str, chunked: bool) -> None:
    pieces = [b"one\ntwo\n", b"\nfour"]
    body = iter(pieces) if chunked else b"".join(pieces)
    answer = site.post(f"/{view}", body, [("Content-Type", "text/plain")])
    assert (answer.status, answer.body) == (200, b"".join(pieces)), answer.text


def test_headers_that_tempt(site: Site) -> None:
    """The validator refuses HTTP_CONTENT_TYPE and HTTP_CONTENT_LENGTH in environ."""
    headers = [("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2"), ("X-B", b"\xe9")]
    answer = site.post("/echo_read", b"body", headers)
    assert (answer.status, answer.body) == (200, b"body"), answer.text


def test_a_packet_with_next_to_nothing(site: Site) -> None:
    with Connection(site.spile.address) as connection:
        connection.send(packet([("REQUEST_METHOD", "GET"), ("PATH_INFO", "/plain")]))
        answer = connection.answer()
    assert (answer.status, answer.body) == (200, b"plain"), answer.text
