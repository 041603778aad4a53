"""Starts a command with listening sockets, as systemd does for a .socket unit.

    activate.py NAME=ADDRESS... -- COMMAND...

An address is a unix socket's path, `@name` for an abstract one, HOST:PORT, or `file` for a
descriptor that is no socket at all. The command replaces this process.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys

#: SD_LISTEN_FDS_START
FIRST = 3


def listening(address: str) -> int:
    """A descriptor above those that the command will see."""
    if address == "file":
        return fcntl.fcntl(os.open(os.devnull, os.O_RDONLY), fcntl.F_DUPFD, 100)
    host, _, port = address.rpartition(":")
    if host:
        sock = socket.create_server((host, int(port)))
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        sock.listen()
    return fcntl.fcntl(sock.detach(), fcntl.F_DUPFD, 100)


def main() -> None:
    end = sys.argv.index("--")
    pairs = [argument.split("=", 1) for argument in sys.argv[1:end]]
    descriptors = [listening(address) for _name, address in pairs]
    for number, descriptor in enumerate(descriptors, FIRST):
        os.dup2(descriptor, number, inheritable=True)
        os.close(descriptor)
    os.environ["LISTEN_FDS"] = str(len(descriptors))
    os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _address in pairs)
    os.environ["LISTEN_PID"] = str(os.getpid())
    command = sys.argv[end + 1 :]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
