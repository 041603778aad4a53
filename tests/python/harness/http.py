"""HTTP as a browser or curl would speak it, with nothing hidden from the test."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Union

from harness.waiting import PATIENCE

Body = Union[bytes, Iterable[bytes], None]
Headers = Iterable["tuple[str, str | bytes]"]


@dataclass(frozen=True)
class Answer:
    """A response, with its header fields in order of arrival."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = field(repr=False)
    #: False when the connection ended before the body did.
    complete: bool = True

    def all(self, name: str) -> list[str]:
        """The values of every header field of that name, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The one value of a header field; more than one is an error, none is None."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        assert self.status == 200, f"{self.status} {self.reason}: {self.text[:500]}"
        return json.loads(self.body)

    @classmethod
    def parse(cls, raw: bytes, complete: bool = True) -> Answer:
        """From the bytes of a connection that was read to its end."""
        head, separator, body = raw.partition(b"\r\n\r\n")
        assert separator, f"no end of headers in {raw[:200]!r}"
        status_line, *fields = head.decode("latin-1").split("\r\n")
        version, code, reason = (*status_line.split(" ", 2), "")[:3]
        assert version in ("HTTP/1.0", "HTTP/1.1"), status_line
        headers = []
        for line in fields:
            name, _, value = line.partition(":")
            headers.append((name, value.strip()))
        return cls(int(code), reason, headers, body, complete)


def fetch(
    port: int,
    path: str,
    method: str = "GET",
    headers: Headers = (),
    body: Body = None,
    timeout: float = PATIENCE,
) -> Answer:
    """One request to 127.0.0.1 on its own connection.

    `body` as bytes is sent with its Content-Length; as an iterable in HTTP chunks, unless the
    headers have a Content-Length. A connection that fails before the headers came raises; one that
    fails later gives `complete=False`.
    """
    connection = open_request(port, path, method, headers, body, timeout)
    try:
        response = connection.getresponse()
        return finish(response)
    finally:
        connection.close()


def open_request(
    port: int,
    path: str,
    method: str = "GET",
    headers: Headers = (),
    body: Body = None,
    timeout: float = PATIENCE,
) -> http.client.HTTPConnection:
    """A connection on which the request has been sent: `getresponse()` waits for the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    headers = list(headers)
    given = {name.lower() for name, _ in headers}
    if "host" not in given:
        connection.putheader("Host", f"127.0.0.1:{port}")
    in_chunks = False
    if body is not None and "content-length" not in given:
        if isinstance(body, bytes):
            connection.putheader("Content-Length", str(len(body)))
        else:
            in_chunks = True
            connection.putheader("Transfer-Encoding", "chunked")
    for name, value in headers:
        connection.putheader(name, value)
    # A server may answer and close before it has read the body; the answer is still there to read.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.endheaders(body, encode_chunked=in_chunks)
    return connection


def finish(response: http.client.HTTPResponse) -> Answer:
    """Reads the rest of a response whose headers have come."""
    complete = True
    try:
        content = response.read()
    except http.client.IncompleteRead as error:
        content, complete = error.partial, False
    except ConnectionResetError:
        content, complete = b"", False
    return Answer(response.status, response.reason, response.getheaders(), content, complete)
