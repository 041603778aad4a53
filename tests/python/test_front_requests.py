"""Requests through nginx, Apache and lighttpd: what reaches an application, and what they refuse.

Each front server is configured by its example in `nginx/`; `harness/fronts.py` is the table of what
each of them does by itself.
"""

from __future__ import annotations

import hashlib
import http.client
import random
from typing import Any

import pytest

from harness import Answer
from harness.fronts import FrontSite
from harness.http import Body, open_request
from harness.net import connect, exchange

KIB = 1024
#: Does not compress to a pattern: a piece that is lost, doubled or moved shows.
LARGE = random.Random(3).randbytes(20_000_000)

#: What the application is asked to do without a look at the path behind it.
TELL = "/request"


def told(answer: Answer) -> dict[str, Any]:
    """What the view `request` says it was asked."""
    assert answer.status == 200, f"{answer.status}: {answer.text[:300]}"
    return answer.json()


def strings(front: FrontSite, path: str = TELL, **more: Any) -> dict[str, str]:
    return told(front.fetch(path, **more))["strings"]


def assert_body(front: FrontSite, method: str, body: Body, whole: bytes) -> None:
    said = told(front.fetch(TELL, method, body=body))
    assert said["strings"]["REQUEST_METHOD"] == method
    assert said["strings"]["CONTENT_LENGTH"] == str(len(whole))
    assert said["length"] == len(whole)
    assert said["sha256"] == hashlib.sha256(whole).hexdigest()


# Methods.


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_a_method_without_a_body(front: FrontSite, method: str) -> None:
    said = told(front.fetch(TELL, method))
    assert said["strings"]["REQUEST_METHOD"] == method
    assert said["length"] == 0


def test_post_without_a_length(front: FrontSite) -> None:
    answer = front.fetch(TELL, "POST")
    assert answer.status == front.kind.post_without_length
    if answer.status == 200:
        assert told(answer)["length"] == 0


@pytest.mark.parametrize("method", ["BREW", "M-SEARCH"])
def test_a_method_of_ones_own(front: FrontSite, method: str) -> None:
    answer = front.fetch(TELL, method)
    assert answer.status == front.kind.unknown_method
    if answer.status == 200:
        assert told(answer)["strings"]["REQUEST_METHOD"] == method


def test_trace(front: FrontSite) -> None:
    assert front.fetch(TELL, "TRACE").status == front.kind.trace


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods_of_a_native_application(front: FrontSite, method: str) -> None:
    said = front.fetch("/echo/x?format=json", method).json()
    assert said["variables"]["REQUEST_METHOD"] == method
    assert said["variables"]["SCRIPT_NAME"] == "/echo"
    assert said["variables"]["PATH_INFO"] == "/x"


# Bodies.

SIZES = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, KIB * KIB + 1, 20_000_000]


@pytest.mark.every_transport
def test_a_body_arrives_whole(front: FrontSite) -> None:
    for size in SIZES:
        assert_body(front, "POST", LARGE[:size], LARGE[:size])


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_body_of_another_method(front: FrontSite, method: str) -> None:
    assert_body(front, method, LARGE[:1000], LARGE[:1000])


def test_a_body_of_get(front: FrontSite) -> None:
    if front.kind.get_with_body == 200:
        assert_body(front, "GET", LARGE[:1000], LARGE[:1000])
    else:
        assert front.fetch(TELL, body=b"x").status == front.kind.get_with_body


@pytest.mark.parametrize("size", [0, 1, 64 * KIB + 1, 20_000_000])
def test_a_body_in_chunks(front: FrontSite, size: int) -> None:
    """What buffers it knows its length, and does not leave that to the application."""
    pieces = [LARGE[at : min(size, at + 70_001)] for at in range(0, size, 70_001)]
    if front.kind.chunked_request == 200:
        assert_body(front, "POST", iter(pieces), LARGE[:size])
    else:
        answer = front.post(TELL, iter(pieces[:1]))
        assert answer.status == front.kind.chunked_request


@pytest.mark.parametrize("size", [0, 1, KIB * KIB + 1])
def test_a_body_for_a_native_application(front: FrontSite, size: int) -> None:
    said = front.post("/echo?format=json", LARGE[:size]).json()
    assert said["body_length"] == size


def test_a_client_that_expects_to_be_told_to_continue(front: FrontSite) -> None:
    request = (
        b"POST /request HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    )
    with connect(("127.0.0.1", front.port())) as client:
        client.sendall(request)
        interim = client.recv(65536)
        assert interim.startswith(b"HTTP/1.1 100 Continue\r\n"), interim
        client.sendall(b"body")
        received = interim.partition(b"\r\n\r\n")[2]
        while piece := client.recv(65536):
            received += piece
    assert told(Answer.parse(received))["length"] == 4


# Paths and variables.

#: A path as the client sends it, and PATH_INFO as CGI has it: decoded, without the mount.
PATHS = {
    "/request": "/request",
    "/request/": "/request/",
    "/request/a%20b": "/request/a b",
    "/request/a+b": "/request/a+b",
    "/request/caf%C3%A9": "/request/caf\xc3\xa9",
    "/request/a;b=c": "/request/a;b=c",
    "/request/%3Bx": "/request/;x",
    "/request/a%25b": "/request/a%b",
    "/request/a%3Fb": "/request/a?b",
    "/request/a%23b": "/request/a#b",
    "/request/a%5Cb": "/request/a\\b",
    "/request/~a": "/request/~a",
    "/request/[x]|{y}": "/request/[x]|{y}",
    "//request/x": "/request/x",
    "/request//x": "/request/x",
    "/request/./x": "/request/x",
    "/request/../request/x": "/request/x",
    "/x/%2e%2e/request/y": "/request/y",
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path(front: FrontSite, path: str) -> None:
    seen = strings(front, path)
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("", PATHS[path])
    assert seen["REQUEST_URI"] == path
    assert seen["QUERY_STRING"] == ""


@pytest.mark.parametrize("path", ["/shop/request/x", "/shop//request/x", "//shop/./request/x"])
def test_a_path_below_a_mount(front: FrontSite, path: str) -> None:
    seen = strings(front, path)
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/shop", "/request/x")
    assert seen["REQUEST_URI"] == path


def test_a_path_that_leaves_the_root(front: FrontSite) -> None:
    """`..` reaches no application, and what is above the root is nothing."""
    for path in ("/../request", "/%2e%2e/request", "/files/../../etc/passwd"):
        answer = front.get(path)
        assert answer.status in (200, 400, 404, 500), path
        assert b"root:" not in answer.body
        if answer.status == 200:
            assert ".." not in told(answer)["strings"]["PATH_INFO"]


def test_an_encoded_slash(front: FrontSite) -> None:
    answer = front.get("/request/a%2Fb")
    assert answer.status == front.kind.encoded_slash
    if answer.status == 200:
        assert told(answer)["strings"]["PATH_INFO"] == "/request/a/b"


@pytest.mark.parametrize(("code", "sent"), [("%ff", "\xff"), ("a%0d%0ab", "a\r\nb")])
def test_odd_bytes_in_a_path(front: FrontSite, code: str, sent: str) -> None:
    answer = front.get(f"/request/{code}")
    assert answer.status == front.kind.odd_bytes
    if answer.status == 200:
        assert told(answer)["strings"]["PATH_INFO"] == f"/request/{sent}"


def test_a_path_with_nul(front: FrontSite) -> None:
    assert front.get("/request/%00").status == front.kind.nul_in_path


@pytest.mark.parametrize("query", ["", "a=1&b=%2F%20+&a=2", "x?y/../z", "=&&;"])
def test_a_query(front: FrontSite, query: str) -> None:
    seen = strings(front, f"{TELL}?{query}")
    assert seen["QUERY_STRING"] == query
    assert seen["REQUEST_URI"] == f"{TELL}?{query}"


def test_odd_bytes_in_a_query(front: FrontSite) -> None:
    answer = front.get(f"{TELL}?%ff=%00")
    assert answer.status == front.kind.odd_bytes
    if answer.status == 200:
        assert told(answer)["strings"]["QUERY_STRING"] == "%ff=%00"


def test_a_query_that_is_no_url(front: FrontSite) -> None:
    seen = strings(front, f'{TELL}?a=<">')
    assert seen["QUERY_STRING"] == ('a=<">' if front.kind.raw_query else "a=%3C%22%3E")
    assert seen["REQUEST_URI"] == f'{TELL}?a=<">'


def test_what_is_known_of_client_and_server(front: FrontSite) -> None:
    with connect(("127.0.0.1", front.port())) as client:
        port = client.getsockname()[1]
        client.sendall(
            b"GET /request HTTP/1.1\r\nHost: shop.test:8080\r\nConnection: close\r\n\r\n"
        )
        received = b""
        while piece := client.recv(65536):
            received += piece
    seen = told(Answer.parse(received))["strings"]
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["REMOTE_PORT"] == str(port)
    assert seen["SERVER_PORT"] == str(front.port()) or seen["SERVER_PORT"] == "8080"
    assert seen["SERVER_NAME"]
    assert seen["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert seen["HTTP_HOST"] == "shop.test:8080"
    assert seen["wsgi.url_scheme"] == "http"
    assert seen.get("HTTPS", "") in ("", "off")


def test_http_1_0(front: FrontSite) -> None:
    answer = front.raw(b"GET /request HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert answer.complete
    assert told(answer)["strings"]["SERVER_PROTOCOL"] == "HTTP/1.0"


# Headers.


def test_headers_become_variables(front: FrontSite) -> None:
    sent = [
        ("User-Agent", "test/1"),
        ("Accept", "*/*;q=0.1"),
        ("Cookie", "a=1; b=2"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Latin-1", "J\xfcrgen".encode("latin-1")),
        ("Content-Type", "text/x-test; a=b"),
        ("Authorization", "Basic eDp5"),
    ]
    seen = strings(front, method="PUT", headers=sent, body=b"1")
    assert seen["HTTP_USER_AGENT"] == "test/1"
    assert seen["HTTP_ACCEPT"] == "*/*;q=0.1"
    assert seen["HTTP_COOKIE"] == "a=1; b=2"
    assert seen["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
    assert seen["HTTP_X_LATIN_1"] == "J\xfcrgen"
    assert seen["CONTENT_TYPE"] == "text/x-test; a=b"
    assert seen["HTTP_AUTHORIZATION"] == "Basic eDp5"
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & seen.keys()


def test_headers_that_the_client_repeats(front: FrontSite) -> None:
    sent = [("X-List", "a"), ("Cookie", "a=1"), ("X-List", "b"), ("Cookie", "b=2")]
    seen = strings(front, headers=sent)
    assert seen["HTTP_X_LIST"] == "a, b"
    assert seen["HTTP_COOKIE"] == front.kind.cookies_joined


def test_a_header_with_an_underscore(front: FrontSite) -> None:
    """It would be the same variable as the one with a dash, which a front server may have set."""
    seen = strings(front, headers=[("X-User", "alice"), ("X_User", "mallory")])
    assert seen["HTTP_X_USER"] == ("alice, mallory" if front.kind.passes_underscores else "alice")


def test_proxy_is_no_variable(front: FrontSite) -> None:
    """httpoxy: programs would take HTTP_PROXY for their own setting."""
    seen = strings(front, headers=[("Proxy", "http://evil.test"), ("X-Other", "1")])
    assert "HTTP_PROXY" not in seen
    assert seen["HTTP_X_OTHER"] == "1"


def test_a_large_header(front: FrontSite) -> None:
    value = "x" * 30_000
    assert strings(front, headers=[("X-Large", value)])["HTTP_X_LARGE"] == value


@pytest.mark.every_transport
def test_variables_that_nearly_fill_a_packet(front: FrontSite) -> None:
    value = "x" * 63_000
    assert strings(front, headers=[("X-Large", value)])["HTTP_X_LARGE"] == value


def test_more_variables_than_a_packet_holds(front: FrontSite) -> None:
    answer = front.fetch(TELL, headers=[("X-Large", "x" * 66_000)])
    assert answer.status == front.kind.too_many_variables
    assert strings(front)["REQUEST_METHOD"] == "GET"


# Connections of the client.


@pytest.mark.every_transport
def test_requests_on_one_connection(front: FrontSite) -> None:
    """Each kind of response ends where the next one begins."""
    connection = http.client.HTTPConnection("127.0.0.1", front.port(), timeout=20)
    connection.connect()
    socket = connection.sock
    plan = [
        ("GET", "/hello", None, 200, b"hello, world\n"),
        ("HEAD", "/hello", None, 200, b""),
        ("GET", "/hello_generator", None, 200, b"hello, world\n"),
        ("POST", "/early?line=200+OK", LARGE[:100_000], 200, b"early"),
        ("GET", "/bodyless_right?line=204+No+Content", None, 204, b""),
        ("GET", "/bodyless?line=304+Not+Modified", None, 304, b""),
        ("GET", "/no_chunks", None, 202, b""),
        ("GET", "/hello", None, 200, b"hello, world\n"),
    ]
    for method, path, body, status, expected in plan:
        connection.request(method, path, body)
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, expected), path
    assert connection.sock is socket, "the front server closed the connection"
    connection.close()


def test_pipelined_requests(front: FrontSite) -> None:
    """The second is sent before the first is answered; answers come in order."""
    first = b"POST /request/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
    last = b"GET /request/2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    received, _ = exchange(("127.0.0.1", front.port()), first + last)
    heads = received.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert len(heads) == 2, received
    assert b"/request/1" in heads[0]
    assert b'"length": 3' in heads[0]
    assert b"/request/2" in heads[1]


@pytest.mark.every_transport
def test_an_upload_is_given_up(front: FrontSite) -> None:
    """The application never takes half a body for a whole one, and goes on."""
    for _ in range(3):
        head = [("Content-Length", "1000000")]
        connection = open_request(front.port(), "/reads?key=given-up", "POST", head, b"x" * 500_000)
        connection.close()
    assert front.get("/hello").status == 200
    assert front.get("/count?key=given-up").body == b"0"
