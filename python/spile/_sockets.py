"""The server's sockets in a child that the application forks, as multiprocessing does."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

from ._descriptors import open_descriptors

#: What the names of such sockets begin with (src/server/net/tls/relay.rs).
RELAY = b"\0spile-tls-"


class Sockets:
    """Those that listen and those that were accepted, which have the same address; and those that
    lie between TLS and the rest of the server.

    A child that keeps copies keeps the address of a server that has ended, and the connection of a
    client whose worker has died. What is executed closes them; a fork alone does not.
    """

    def __init__(self, listeners: list[int]) -> None:
        self._addresses = {address_of(fd) for fd in listeners}

    def give_up(self) -> None:
        """Puts something else in their places: the numbers stay taken for whoever knows them."""
        with contextlib.suppress(OSError):
            null = os.open(os.devnull, os.O_RDWR)
            for fd in open_descriptors():
                with contextlib.suppress(OSError):
                    address = address_of(fd)
                    if address in self._addresses or is_relay(address):
                        os.dup2(null, fd, inheritable=False)
            os.close(null)


def address_of(fd: int) -> tuple[int, Any]:
    """Family and name of a socket, of a TCP socket the port alone; an OSError for anything else."""
    found = socket.socket(fileno=fd)
    try:
        name = found.getsockname()
    finally:
        found.detach()
    is_tcp = found.family in (socket.AF_INET, socket.AF_INET6)
    return found.family, name[1] if is_tcp else name


def is_relay(address: tuple[int, Any]) -> bool:
    """Whether it is that of a socket that what comes over TLS is passed on by."""
    family, name = address
    return family == socket.AF_UNIX and isinstance(name, bytes) and name.startswith(RELAY)
