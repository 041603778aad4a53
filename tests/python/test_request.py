"""`spile request`: curl for uwsgi."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from harness import Finished, Spile, Starter, run_spile

Ask = Callable[..., Finished]


@pytest.fixture(scope="module", params=["unix", "tcp"])
def environ(start_once: Starter, request: pytest.FixtureRequest) -> Spile:
    return start_once.spile("environ:application", socket=request.param)


@pytest.fixture(scope="module")
def responses(start_once: Starter) -> Spile:
    return start_once.spile("responses:application")


@pytest.fixture(scope="module")
def inputs(start_once: Starter) -> Spile:
    return start_once.spile("inputs:application")


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Runs `spile request` at a spile."""

    def run(spile: Spile, *arguments: str) -> Finished:
        return run_spile("request", "--socket", spile.uwsgi_pass, *arguments, cwd=tmp_path)

    return run


def strings(finished: Finished) -> dict[str, str]:
    assert finished.status == 0, finished.err
    return json.loads(finished.out)["strings"]


def test_it_prints_the_body_and_nothing_else(responses: Spile, ask: Ask) -> None:
    assert ask(responses, "/hello") == Finished(0, b"hello, world\n", "")


def test_i_prints_the_head_too(responses: Spile, ask: Ask) -> None:
    finished = ask(responses, "-i", "/reason")
    head, _, body = finished.out.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 200 Fine By Me"
    assert b"Content-Type: text/plain" in head.split(b"\r\n")
    assert body == b"fine"


def test_what_nginx_would_send(environ: Spile, ask: Ask) -> None:
    seen = strings(ask(environ, "/caf%C3%A9/x?q=1%202"))
    assert seen["REQUEST_METHOD"] == "GET"
    assert seen["PATH_INFO"] == "/café/x".encode().decode("latin-1")
    assert seen["QUERY_STRING"] == "q=1%202"
    assert seen["REQUEST_URI"] == "/caf%C3%A9/x?q=1%202"
    assert seen["SERVER_PROTOCOL"] == "HTTP/1.1"
    for name in ("REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "REQUEST_SCHEME", "HTTP_HOST"):
        assert seen[name]


def test_method_headers_and_variables(environ: Spile, ask: Ask) -> None:
    options = ["-X", "PUT", "-H", "X-One: 1", "-H", "Accept: text/html"]
    variables = ["--var", "REMOTE_USER=alice", "--var", "HTTPS=on", "--var", "EMPTY="]
    seen = strings(ask(environ, *options, *variables, "/"))
    assert seen["REQUEST_METHOD"] == "PUT"
    assert (seen["HTTP_X_ONE"], seen["HTTP_ACCEPT"]) == ("1", "text/html")
    assert (seen["REMOTE_USER"], seen["EMPTY"]) == ("alice", "")
    assert seen["wsgi.url_scheme"] == "https"


def test_data_is_a_post(environ: Spile, inputs: Spile, ask: Ask) -> None:
    seen = strings(ask(environ, "-d", "a=1&b=2", "/"))
    assert seen["REQUEST_METHOD"] == "POST"
    assert seen["CONTENT_LENGTH"] == "7"
    assert seen["CONTENT_TYPE"] == "application/x-www-form-urlencoded"
    assert json.loads(ask(inputs, "-d", "a=1&b=2", "/ops?read").out) == ["a=1&b=2"]


def test_data_from_a_file(inputs: Spile, ask: Ask, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "body").write_bytes(content)
    finished = ask(inputs, "-d", "@body", "-H", "Content-Type: image/png", "/sha256?65536")
    got = json.loads(finished.out)
    assert got["length"] == len(content)
    assert got["sha256"] == hashlib.sha256(content).hexdigest()


def test_head_has_no_body(responses: Spile, ask: Ask) -> None:
    finished = ask(responses, "-i", "-X", "HEAD", "/hello")
    assert finished.status == 0
    assert finished.out.endswith(b"\r\n\r\n")
    assert b"Content-Length: 13" in finished.out


@pytest.mark.parametrize("path", ["/hello", "/hello_generator", "/raises", "/no_chunks"])
def test_a_complete_answer_is_status_0_whatever_it_says(
    responses: Spile, ask: Ask, path: str
) -> None:
    finished = ask(responses, path)
    assert (finished.status, finished.err) == (0, "")


@pytest.mark.parametrize(
    "path",
    ["/length?declared=100&key=k", "/raises_in_body?key=k", "/raises_in_body_with_length?key=k"],
)
def test_an_incomplete_answer_is_status_1(responses: Spile, ask: Ask, path: str) -> None:
    finished = ask(responses, path)
    assert finished.status == 1
    assert finished.err.startswith("error: ")


def test_nobody_there(ask: Ask, tmp_path: Path) -> None:
    finished = run_spile("request", "--socket", "unix:nobody.sock", "/", cwd=tmp_path)
    assert finished.status == 1
    assert "nobody.sock" in finished.err


@pytest.fixture
def hangs_up() -> Iterator[str]:
    """The address of a server that closes each connection without a word."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.recv(65536)
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_no_answer_at_all(hangs_up: str, tmp_path: Path) -> None:
    finished = run_spile("request", "--socket", hangs_up, "/", cwd=tmp_path)
    assert finished.status == 1
    assert "without an answer" in finished.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-slash"], "no-slash"),
        (["/", "-H", "no colon"], "no colon"),
        (["/", "--var", "NO_EQUALS"], "NO_EQUALS"),
        (["/", "-d", "@missing_file"], "missing_file"),
        (["/", "--socket", "nowhere"], "nowhere"),
        ([], "PATH"),
    ],
    ids=["path", "header", "variable", "data", "socket", "nothing"],
)
def test_mistakes_are_status_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    finished = run_spile("request", *arguments, cwd=tmp_path)
    assert finished.status == 2
    assert said in finished.err
