"""A websocket client (RFC 6455) that sees each frame."""

from __future__ import annotations

import base64
import hashlib
import os
import socket

from harness.waiting import PATIENCE

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

#: RFC 6455, section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocket:
    """A connection to a port of 127.0.0.1 whose handshake has been accepted."""

    def __init__(self, port: int, path: str = "/") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._received = b""
        key = base64.b64encode(os.urandom(16))
        self._socket.sendall(
            b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive, Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
            % (path.encode(), key)
        )
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")
        assert self.head.startswith("HTTP/1.1 101 "), self.head
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        assert f"sec-websocket-accept: {accept}".lower() in self.head.lower()

    def send(self, kind: int, payload: bytes) -> None:
        """One masked frame, which is a whole message."""
        length = len(payload)
        if length < 126:
            size = bytes([0x80 | length])
        elif length < 1 << 16:
            size = bytes([0x80 | 126]) + length.to_bytes(2, "big")
        else:
            size = bytes([0x80 | 127]) + length.to_bytes(8, "big")
        mask = os.urandom(4)
        repeated = (mask * (length // 4 + 1))[:length]
        masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
        frame = bytes([0x80 | kind]) + size + mask + masked.to_bytes(length, "big")
        self._socket.sendall(frame)

    def receive(self) -> tuple[int, bytes]:
        """The next frame, which has to be a whole message: its kind, and what it holds."""
        first, length = self._take(2)
        assert first & 0x80
        assert not length & 0x80
        if length == 126:
            length = int.from_bytes(self._take(2), "big")
        elif length == 127:
            length = int.from_bytes(self._take(8), "big")
        return first & 0x0F, self._take(length)

    def is_over(self) -> bool:
        """Waits for what comes next; whether it is the end."""
        return not self._received and self._socket.recv(1) == b""

    def close(self) -> None:
        self._socket.close()

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive()
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _receive(self) -> None:
        part = self._socket.recv(65536)
        assert part, "the connection ended"
        self._received += part
