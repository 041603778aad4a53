"""A WSGI application of this process, served over the wire: nginx, spile, and back by bridge.py."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

from harness import Starter
from on_spile import CGI_PARAMS, HERE, finish, serve
from rpc import Peer

#: Seconds that an answer may take.
PATIENCE = 30

#: Variables of a server that a request chooses for itself, each by a header of this name; nginx
#: hands it on with its uwsgi_param.
CHOSEN = {
    name: f"Wire-{name.replace('_', '-').title()}"
    for name in (
        *("REMOTE_ADDR", "REMOTE_USER", "REQUEST_SCHEME"),
        *("SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT"),
    )
}


def chosen_params() -> list[str]:
    """nginx's own, and the chosen ones in their place."""
    lines = [line for line in CGI_PARAMS.splitlines() if not set(line.split()) & set(CHOSEN)]
    for name, header in CHOSEN.items():
        variable = "$http_" + header.lower().replace("-", "_")
        lines.append(f"uwsgi_param {name} {variable} if_not_empty;")
    return lines


DIRECTIVES = (
    # What a request says reaches the application as it is.
    "merge_slashes off;",
    "underscores_in_headers on;",
    "large_client_header_buffers 4 64k;",
    "uwsgi_buffer_size 64k;",
    "uwsgi_buffers 8 64k;",
)


class Wire:
    """A spile behind an nginx, and the socket that the requests arrive at again."""

    def __init__(self) -> None:
        self._starter = Starter()
        #: Where requests arrive.
        self.listener = socket.socket(socket.AF_UNIX)
        path = str(self._starter.folder() / "bridge.sock")
        self.listener.bind(path)
        self.listener.listen(64)
        try:
            self._site = serve(
                self._starter,
                "bridge:application",
                HERE,
                # Some applications make a request while they answer one.
                threads=8,
                params="",
                servers={
                    "default": [*CGI_PARAMS.splitlines(), *DIRECTIVES],
                    "chosen": [*chosen_params(), *DIRECTIVES],
                },
                env={"CONFORMANCE_BRIDGE": path},
            )
        except BaseException:
            self._starter.close()
            raise
        #: For any client.
        self.port = self._site.port()
        #: For one that says what the variables of CHOSEN are.
        self.chosen_port = self._site.port("chosen")

    def close(self) -> None:
        try:
            finish(self._site)
        finally:
            self._starter.close()
            self.listener.close()

    def fetch(self, request: bytes, method: str, app: Callable[..., Any]) -> Received:
        """Sends a request, serves what arrives of it here on this thread, and gives the answer.

        What the application raises is raised after the answer has been read.
        """
        exchange = Exchange(self.chosen_port, request, method)
        raised = None
        try:
            while not exchange.done:
                ready, _, _ = select.select([self.listener, exchange.waker], [], [], PATIENCE)
                if not ready:
                    raise AssertionError(f"no answer within {PATIENCE} s; {self._site.spile.log}")
                if self.listener in ready:
                    raised = self.serve_next(app) or raised
                elif exchange.waker in ready:
                    break
        finally:
            exchange.join()
        if raised:
            raise raised
        return exchange.received()

    def serve_next(self, app: Callable[..., Any]) -> BaseException | None:
        """Serves one request: what its application raised before it gave a response."""
        connection, _ = self.listener.accept()
        with connection:
            served = Served(connection, app)
            served.peer.serve_forever()
        return served.raised


@dataclass
class Received:
    """An answer as it came."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class Exchange(threading.Thread):
    """Sends a request and reads the answer, on a thread of its own."""

    def __init__(self, port: int, request: bytes, method: str) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._request = request
        self._method = method
        self._received: Received | Exception | None = None
        #: Readable when it is done.
        self.waker, self._bell = socket.socketpair()
        self.done = False
        self.start()

    def run(self) -> None:
        try:
            self._received = self._fetch()
        except Exception as error:
            self._received = error
        self.done = True
        self._bell.close()

    def _fetch(self) -> Received:
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as sock:
            # nginx may refuse a request before it has read it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(self._request)
            response = HTTPResponse(sock, method=self._method)
            response.begin()
            with response:
                return Received(
                    response.status, response.reason, response.getheaders(), response.read()
                )

    def join(self, timeout: float | None = PATIENCE) -> None:
        super().join(timeout)
        self.waker.close()

    def received(self) -> Received:
        if isinstance(self._received, (OSError, HTTPException)):
            raise AssertionError(f"no whole answer: {self._received!r}") from self._received
        if isinstance(self._received, Exception):
            raise self._received
        assert self._received
        return self._received


class Served:
    """One request that has arrived: runs the application, on calls of bridge.py."""

    def __init__(self, connection: socket.socket, app: Callable[..., Any]) -> None:
        self.peer = Peer(connection, self._serve)
        self._app = app
        self._response: Any = None
        self._blocks: Any = None
        self.raised: BaseException | None = None

    def _serve(self, name: str, *arguments: Any) -> Any:
        return getattr(self, "do_" + name)(*arguments)

    def do_application(self, environ: dict[str, Any]) -> str:
        for header in CHOSEN.values():
            environ.pop("HTTP_" + header.upper().replace("-", "_"), None)
        environ["wsgi.input"] = Input(self.peer)
        environ["wsgi.errors"] = Errors(self.peer)
        environ["wsgi.file_wrapper"] = File
        try:
            self._response = self._app(environ, self._start_response)
        except BaseException as error:
            self.raised = error
            raise
        if not isinstance(self._response, File):
            return "blocks"
        file = self._response.file
        try:
            descriptor, offset = file.fileno(), file.tell()
        except (AttributeError, OSError):
            descriptor, offset = None, 0
        self.peer.call("file", self._response.block_size, offset, descriptor=descriptor)
        return "file"

    def _start_response(
        self, status: str, headers: Sequence[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        self.peer.call("start_response", status, headers, exc_info is not None)
        return lambda data: self.peer.call("write", data)

    def do_next(self) -> bytes | None:
        try:
            if self._blocks is None:
                self._blocks = iter(self._response)
            return next(self._blocks, None)
        except BaseException as error:
            self.raised = error
            raise

    def do_read(self, *size: int) -> bytes:
        return self._response.file.read(*size)

    def do_close(self) -> None:
        target = self._response.file if isinstance(self._response, File) else self._response
        if hasattr(target, "close"):
            target.close()


class File:
    """What `wsgi.file_wrapper` makes here."""

    def __init__(self, file: Any, block_size: int = 8192) -> None:
        self.file = file
        self.block_size = block_size


class Stream:
    """A stream of spile's, by calls."""

    kind = ""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._peer.call(self.kind, method, *arguments)


class Input(Stream):
    """wsgi.input"""

    kind = "input"

    def read(self, *size: int) -> bytes:
        return self._call("read", *size)

    def readline(self, *size: int) -> bytes:
        return self._call("readline", *size)

    def readlines(self, *hint: int) -> list[bytes]:
        return self._call("readlines", *hint)

    def __iter__(self) -> Any:
        return iter(self.readline, b"")


class Errors(Stream):
    """wsgi.errors"""

    kind = "errors"

    def write(self, text: str) -> None:
        self._call("write", text)

    def writelines(self, lines: Sequence[str]) -> None:
        self._call("writelines", lines)

    def flush(self) -> None:
        self._call("flush")
