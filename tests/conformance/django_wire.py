"""Django's test client and live server, over the wire."""

from __future__ import annotations

import re
import socketserver
import unittest
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote

from django.core.handlers.wsgi import WSGIRequest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.http.response import HttpResponseBase, ResponseHeaders
from django.test import client
from django.test.runner import DiscoverRunner
from django.test.testcases import LiveServerThread, QuietWSGIRequestHandler

from outcomes import Outcomes
from wire import CHOSEN, Received, Served, Wire


def install() -> None:
    """Puts what is here in the place of Django's."""
    client.ClientHandler = Handler
    LiveServerThread._create_server = create_server


class State:
    """What the tests share."""

    wire: Wire
    #: Requests that went over the wire, and those that could not be sent.
    sent = 0
    kept = 0


class Unsendable(Exception):
    """A request that HTTP has no form for, or that is not for nginx to hand on (TRACE)."""


class Handler(client.ClientHandler):
    """The test client's: the request goes over the wire, the view runs in this thread."""

    def __call__(self, environ: dict[str, Any]) -> HttpResponseBase:
        try:
            request, rest = encoded(environ)
        except Unsendable:
            State.kept += 1
            return super().__call__(environ)
        if self._middleware_chain is None:
            self.load_middleware()
        responses: list[HttpResponseBase] = []

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            environ.update(rest)
            responses.append(self._respond(environ))
            return started(responses[0], environ, start_response)

        State.sent += 1
        received = State.wire.fetch(request, environ["REQUEST_METHOD"], application)
        assert responses, f"not answered by Django: {received}"
        return overlaid(responses[0], received)

    def _respond(self, environ: dict[str, Any]) -> HttpResponseBase:
        """As ClientHandler does, less what a server is there for."""
        request_started.disconnect(close_old_connections)
        request_started.send(sender=self.__class__, environ=environ)
        request_started.connect(close_old_connections)
        request = WSGIRequest(environ)
        request._dont_enforce_csrf_checks = not self.enforce_csrf_checks
        response = self.get_response(request)
        response.wsgi_request = request
        return response


def started(
    response: HttpResponseBase, environ: dict[str, Any], start_response: Callable[..., Any]
) -> Any:
    """As WSGIHandler does with a response."""
    headers = [
        *response.items(),
        *(("Set-Cookie", cookie.output(header="")) for cookie in response.cookies.values()),
    ]
    start_response(f"{response.status_code} {response.reason_phrase}", headers)
    closing = Closing(response)
    file = getattr(response, "file_to_stream", None)
    if file is not None:
        file.close = closing.close
        return environ["wsgi.file_wrapper"](file, response.block_size)
    return closing


class Closing:
    """A response whose end leaves the test's database connections open."""

    def __init__(self, response: HttpResponseBase) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        request_finished.disconnect(close_old_connections)
        self._response.close()
        request_finished.connect(close_old_connections)


#: What a request may not have in it.
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def encoded(environ: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """A request of the test client in HTTP, and what of its environ has no place there."""
    path = latin1(environ["PATH_INFO"])
    query = environ.get("QUERY_STRING", "")
    if environ["REQUEST_METHOD"] == "TRACE":
        raise Unsendable
    if not path.startswith(b"/") or CONTROL.search(query) or " " in query:
        raise Unsendable
    target = quote(path, safe="/!$&'()*+,;=:@~") + ("?" + query if query else "")
    headers = [("Host", host(environ)), ("Connection", "close")]
    rest = {}
    scheme = environ.get("wsgi.url_scheme", "http")
    for key, value in {**environ, "REQUEST_SCHEME": scheme}.items():
        if key in CHOSEN and value:
            headers.append((CHOSEN[key], str(value)))
        elif key.startswith("HTTP_") and isinstance(value, str):
            if key != "HTTP_HOST" and (value or key != "HTTP_COOKIE"):
                headers.append((key[5:].replace("_", "-").title(), value))
        elif key == "CONTENT_TYPE":
            headers.append(("Content-Type", str(value)))
        elif key not in HERE_ALREADY and not key.startswith("wsgi."):
            rest[key] = value
    body = b""
    if environ.get("CONTENT_LENGTH"):
        payload = environ["wsgi.input"]
        if type(payload) is not client.FakePayload or len(payload) != int(
            environ["CONTENT_LENGTH"]
        ):
            raise Unsendable
        body = payload.read()
        headers.append(("Content-Length", str(len(body))))
    lines = [f"{environ['REQUEST_METHOD']} {target} HTTP/1.1"]
    for name, value in headers:
        if CONTROL.search(value):
            raise Unsendable
        lines.append(f"{name}: {value}")
    return latin1("\r\n".join(lines) + "\r\n\r\n") + body, rest


#: Variables that the wire brings anew.
HERE_ALREADY = {
    *("CONTENT_LENGTH", "PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "SERVER_PROTOCOL"),
    *CHOSEN,
}


def latin1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise Unsendable from None


def host(environ: dict[str, Any]) -> str:
    """As Django's get_host makes it of a request without a Host."""
    if "HTTP_HOST" in environ:
        return str(environ["HTTP_HOST"])
    usual = {"http": "80", "https": "443"}.get(environ.get("wsgi.url_scheme", "http"))
    port = str(environ["SERVER_PORT"])
    return environ["SERVER_NAME"] + ("" if port == usual else f":{port}")


def overlaid(response: HttpResponseBase, received: Received) -> HttpResponseBase:
    """The response object that the view gave, with what came over the wire in it."""
    response.status_code = received.status
    response.reason_phrase = received.reason
    headers = ResponseHeaders({})
    cookies: SimpleCookie = SimpleCookie()
    for name, value in received.headers:
        if name == "Set-Cookie":
            cookies.load(value)
        elif name not in ADDED or name in response.headers:
            headers[name] = value
    response.headers = headers
    for cookie in cookies.values():
        # A number, as whoever sets it gives it.
        if cookie["max-age"]:
            cookie["max-age"] = int(cookie["max-age"])
    response.cookies = cookies
    if response.streaming:
        response.streaming_content = [received.body]
    else:
        response.content = received.body
    return response


#: Headers that servers add.
ADDED = {"Connection", "Content-Length", "Date", "Server", "Transfer-Encoding"}


def create_server(thread: LiveServerThread, connections_override: Any = None) -> Any:
    """In the place of LiveServerThread's: a server of its class, with the wire for its socket."""
    return type("WireServer", (WireServer, thread.server_class), {})(
        ("localhost", 0),
        QuietWSGIRequestHandler,
        bind_and_activate=False,
        connections_override=connections_override,
    )


class WireServer(socketserver.BaseServer):
    """Of a server class, what has to be different when requests arrive over the wire."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.socket.close()
        self._wire = Wire()
        self.socket = self._wire.listener
        self.server_address = ("localhost", self._wire.port)

    def finish_request(self, request: Any, client_address: Any) -> None:
        State.sent += 1
        Served(request, self.get_app()).peer.serve_forever()

    def server_close(self) -> None:
        super().server_close()
        self._wire.close()


class Runner(DiscoverRunner):
    """Has the wire while tests run, and writes what became of those that used it."""

    def get_resultclass(self) -> type[unittest.TextTestResult]:
        return Result

    def run_suite(self, suite: Any, **options: Any) -> Any:
        State.wire = Wire()
        try:
            return super().run_suite(suite, **options)
        finally:
            State.wire.close()
            Result.outcomes.write()
            print(f"{State.sent} requests over the wire, {State.kept} kept in the process")


class Result(unittest.TextTestResult):
    """What became of each test, by its name."""

    outcomes = Outcomes()
    _before = 0

    def startTest(self, test: Any) -> None:
        self._before = State.sent
        super().startTest(test)

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self._note(test, "passed")

    def addFailure(self, test: Any, error: Any) -> None:
        super().addFailure(test, error)
        self._note(test, "failed", repr(error[1]))

    def addError(self, test: Any, error: Any) -> None:
        super().addError(test, error)
        self._note(test, "failed", repr(error[1]))

    def addSubTest(self, test: Any, subtest: Any, error: Any) -> None:
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._note(test, "failed", repr(error[1]))

    def _note(self, test: Any, outcome: str, why: str = "") -> None:
        # A class that cannot be set up has not come to its first request.
        if State.sent > self._before or not isinstance(test, unittest.TestCase):
            self.outcomes.add(test.id(), outcome, why[:300])
