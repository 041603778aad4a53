"""Addresses and bare sockets: free ports, connecting, reading to the end."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Union

from harness.certificates import NAME
from harness.waiting import PATIENCE

#: A path for a unix socket, a pair of host and port for TCP.
Address = Union[str, "tuple[str, int]"]


class Port:
    """A free TCP port on 127.0.0.1, kept from others until `release`.

    The port stays bound, but not listening, by a socket that allows address reuse: a server may
    then listen on it, while the kernel gives it to nobody who asks for any free port.
    """

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.bind(("127.0.0.1", 0))
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number: int = self._holder.getsockname()[1]

    def release(self) -> None:
        self._holder.close()


def connect(address: Address, timeout: float = PATIENCE) -> socket.socket:
    """A connected stream socket."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = socket.socket(family)
    sock.settimeout(timeout)
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def over_tls(sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The client's end of a TLS connection, after its handshake."""
    try:
        # An end without a close_notify is an error, as it is to nginx.
        return context.wrap_socket(sock, server_hostname=NAME, suppress_ragged_eofs=False)
    except BaseException:
        sock.close()
        raise


def accepts(address: Address) -> bool:
    """Whether somebody listens at the address."""
    try:
        connect(address, timeout=1).close()
    except OSError:
        return False
    return True


def read_to_end(sock: socket.socket) -> tuple[bytes, str]:
    """All that arrives and how it ended: "eof" or "reset".

    With TLS a fatal alert is a "reset" too, and an end without a close_notify is "cut".
    """
    received = bytearray()
    while True:
        try:
            piece = sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return bytes(received), "reset"
        except ssl.SSLEOFError:
            return bytes(received), "cut"
        except ssl.SSLError:
            return bytes(received), "reset"
        if not piece:
            return bytes(received), "eof"
        received += piece


def exchange(address: Address, data: bytes, timeout: float = PATIENCE) -> tuple[bytes, str]:
    """Sends bytes and reads to the end of the connection."""
    with connect(address, timeout) as sock:
        # The other side may answer and close before it has read everything.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(data)
        return read_to_end(sock)
