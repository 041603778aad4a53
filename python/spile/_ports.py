"""What other processes listen on, as far as /proc shows it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from ._connections import described
from ._log import Log

#: The state of a TCP socket that listens, in /proc/net/tcp (see the kernel's tcp_states.h).
LISTEN = "0A"

#: The flag of a unix socket that listens, in /proc/net/unix.
ACCEPTS = 0x10000


def children_of(pid: int) -> set[int]:
    """The processes whose parent it is."""
    with contextlib.suppress(OSError, ValueError):
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return {int(it) for task in tasks for it in (task / "children").read_text().split()}
    return set()


def listens_on(pid: int) -> list[str]:
    """Where a process listens, and this one does not."""
    with contextlib.suppress(OSError):
        inodes = inodes_of(pid) - inodes_of(os.getpid())
        return [address for inode, address in listeners() if inode in inodes]
    return []


def inodes_of(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            status = os.stat(entry)
            if stat.S_ISSOCK(status.st_mode):
                found.add(str(status.st_ino))
    return found


def listeners() -> Iterator[tuple[str, str]]:
    """Every socket of this network that listens, with its inode."""
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN:
                    host, port = fields[1].split(":")
                    yield fields[9], described(family, (decoded(family, host), int(port, 16)))
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/net/unix").read_text(errors="replace").splitlines()[1:]:
            fields = line.split(maxsplit=7)
            if int(fields[3], 16) & ACCEPTS and len(fields) == 8:
                yield fields[6], f"unix:{fields[7]}"


def decoded(family: int, host: str) -> str:
    """An address of words in the machine's order."""
    raw = bytes.fromhex(host)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return socket.inet_ntop(family, raw)


class Started:
    """The processes that an import starts."""

    def __init__(self) -> None:
        self._before = below()

    def tell_of_ports(self, log: Log) -> None:
        """Warns of what they hold when the application is imported again."""
        for pid in sorted(below() - self._before):
            places = listens_on(pid)
            if places:
                log.warn(
                    f"importing the application has started process {pid} ({command_of(pid)}), "
                    f"which listens on {', '.join(places)} and does so until it ends: a reload, "
                    "which imports the application again meanwhile, fails if that opens the same",
                    "stop and start the server in place of a reload, or have that process started "
                    "by something else than the import",
                )


def below() -> set[int]:
    """The processes below this one, and below the master, to which daemons are left."""
    found, new = set(), children_of(os.getpid()) | children_of(os.getppid())
    new.discard(os.getpid())
    while new - found:
        found |= new
        new = {child for pid in new for child in children_of(pid)}
    return found - {os.getpid()}


def holders() -> str:
    """Which of them listen, and where."""
    places = ((pid, listens_on(pid)) for pid in sorted(below()))
    return "; ".join(
        f"process {pid} ({command_of(pid)}) on {', '.join(on)}" for pid, on in places if on
    )


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        raw = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        command = " ".join(raw.decode("utf-8", "replace").split())
        return command if len(command) <= 100 else f"{command[:97]}..."
    return "?"
