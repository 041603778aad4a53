"""The client's side of the uwsgi protocol, for what nginx would never send."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterable, Mapping
from typing import Union

from harness.http import Answer
from harness.net import Address, connect, over_tls, read_to_end
from harness.waiting import PATIENCE

Vars = Union[Mapping[str, str], Iterable["tuple[str, str]"]]


def packet(variables: Vars, modifier1: int = 0, modifier2: int = 0) -> bytes:
    """A header and its variables; pairs keep their order and repeats."""
    pairs = variables.items() if isinstance(variables, Mapping) else variables
    block = b"".join(field(name) + field(value) for name, value in pairs)
    return struct.pack("<BHB", modifier1, len(block), modifier2) + block


def field(text: str | bytes) -> bytes:
    """A name or a value with its length."""
    raw = text.encode("latin-1") if isinstance(text, str) else text
    return struct.pack("<H", len(raw)) + raw


def environ_for(path: str, method: str = "GET", **variables: str) -> dict[str, str]:
    """The variables nginx would send for a path with an optional query."""
    path_info, _, query = path.partition("?")
    given = {
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "",
        "REQUEST_URI": path,
        "PATH_INFO": path_info,
        "DOCUMENT_ROOT": "/usr/share/nginx/html",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_SCHEME": "http",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "54321",
        "SERVER_PORT": "80",
        "SERVER_NAME": "localhost",
        "HTTP_HOST": "localhost",
    }
    given.update(variables)
    return given


class Connection:
    """One uwsgi connection, driven by hand, over TLS if there is a context for it."""

    def __init__(
        self,
        address: Address,
        timeout: float = PATIENCE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = connect(address, timeout)
        if tls:
            self.socket = over_tls(self.socket, tls)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(
        self, path: str, method: str = "GET", body: bytes = b"", **variables: str
    ) -> Connection:
        """Sends a whole request."""
        if body:
            variables.setdefault("CONTENT_LENGTH", str(len(body)))
        self.send(packet(environ_for(path, method, **variables)) + body)
        return self

    def read_to_end(self) -> tuple[bytes, str]:
        """All that arrives and how it ended: "eof" or "reset"."""
        return read_to_end(self.socket)

    def read_until(self, wanted: bytes) -> bytes:
        """Reads until the bytes have come; an end before that is an error."""
        received = b""
        while wanted not in received:
            piece = self.socket.recv(65536)
            assert piece, f"the connection ended before {wanted!r}: {received[-200:]!r}"
            received += piece
        return received

    def answer(self) -> Answer:
        """The response, read to the end of the connection."""
        raw, end = self.read_to_end()
        return Answer.parse(raw, complete=end == "eof")
