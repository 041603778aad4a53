"""The server's sockets in a child that the application forks, as multiprocessing does."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any


class Sockets:
    """Those that listen and those that were accepted: they have the same address.

    A child that keeps copies keeps the address of a server that has ended, and the connection of a
    client whose worker has died. What is executed closes them; a fork alone does not.
    """

    def __init__(self, listeners: list[int]) -> None:
        self._addresses = {address_of(fd) for fd in listeners}

    def give_up(self) -> None:
        """Puts something else in their places: the numbers stay taken for whoever knows them."""
        with contextlib.suppress(OSError):
            null = os.open(os.devnull, os.O_RDWR)
            for name in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    if address_of(int(name)) in self._addresses:
                        os.dup2(null, int(name), inheritable=False)
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
