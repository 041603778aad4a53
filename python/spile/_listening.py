"""Sockets that the application listens on itself, since it was imported.

The process that has imported it, the mold, answers there: its threads run on. Workers part with
their copies, which would hold the address when the applications are imported anew; the mold does
when the master is about to have that done.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import socket
import socketserver
import stat
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple

from ._connections import described, open_sockets
from ._import_threads import Found
from ._log import Log

#: The kernel takes a port from this range for a socket that is not bound.
EPHEMERAL = range(32768, 61000)

CURE = (
    "for metrics use prometheus_client's multiprocess mode; or listen in each worker, on a port of "
    "its own: with --lazy, or in a function decorated with @spile.post_fork"
)


class Listening(NamedTuple):
    fd: int
    family: int
    #: Of a datagram socket there are no connections to accept.
    is_stream: bool
    name: Any

    @property
    def address(self) -> str:
        return described(self.family, self.name) + ("" if self.is_stream else " (datagrams)")


class ListeningSockets:
    """Those that were not there before the import."""

    def __init__(self) -> None:
        self._known = open_sockets()

    def find(self) -> list[Listening]:
        """All of them, also those that a thread has opened late."""
        new = sorted(open_sockets() - self._known)
        return [found for fd, _ in new if (found := listening(fd)) is not None]

    def part(self) -> None:
        """In a worker: the application's objects keep their numbers, and nothing behind them."""
        for one in self.find():
            self._put_away(one)

    def close(self) -> list[str]:
        """In the mold: the addresses that are free from now on."""
        closed = []
        for one in self.find():
            with contextlib.suppress(OSError), borrowed(one.fd) as borrowed_socket:
                # A thread that waits for a connection holds the socket, whatever its number means.
                borrowed_socket.shutdown(socket.SHUT_RDWR)
            self._put_away(one)
            remove_stale(one)
            closed.append(one.address)
        return closed

    def _put_away(self, one: Listening) -> None:
        """Puts a socket that nobody knows in its place, where threads may go on to wait."""
        with contextlib.suppress(OSError):
            substitute = silent(one)
            try:
                os.dup2(substitute, one.fd, inheritable=False)
            finally:
                os.close(substitute)
            self._known.add((one.fd, os.fstat(one.fd).st_ino))


@contextlib.contextmanager
def borrowed(fd: int) -> Iterator[_socket.socket]:
    """A socket for the call; the system's, also where the application has put another in place."""
    blocks = os.get_blocking(fd)
    found = _socket.socket(fileno=fd)
    try:
        yield found
    finally:
        found.detach()
        # With a default time-out, to make the object has changed that.
        os.set_blocking(fd, blocks)


def listening(fd: int) -> Listening | None:
    """What it is if it listens, or takes datagrams at an address that others know."""
    with contextlib.suppress(OSError), borrowed(fd) as found:
        name = found.getsockname()
        if found.type == socket.SOCK_DGRAM:
            is_server = not has_peer(found) and is_chosen(found.family, name)
            return Listening(fd, found.family, False, name) if is_server else None
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return Listening(fd, found.family, True, name)
    return None


def has_peer(found: _socket.socket) -> bool:
    try:
        found.getpeername()
    except OSError:
        return False
    return True


def is_chosen(family: int, name: Any) -> bool:
    """Whether somebody has bound it, as servers do; a client's has what the kernel gives it."""
    if family == socket.AF_UNIX:
        return isinstance(name, str) and name != ""  # one that the kernel has chosen is bytes
    if family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host, port = name[:2]
    return port != 0 and not (host in ("0.0.0.0", "::") and port in EPHEMERAL)


def silent(one: Listening) -> int:
    """A socket of its kind at which nothing ever arrives, so that nobody who waits there spins."""
    with contextlib.suppress(OSError):
        if not one.is_stream:
            return _socket.socket(one.family, socket.SOCK_DGRAM).detach()
        made = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.bind("")  # at an abstract address that the kernel chooses
            made.listen(0)
            return made.detach()
        finally:
            made.close()
    return os.open(os.devnull, os.O_RDWR)


def remove_stale(one: Listening) -> None:
    """Removes the file of a unix socket that is closed; left there, it is an address in use."""
    if one.family != socket.AF_UNIX or not isinstance(one.name, str) or not one.name:
        return
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(os.lstat(one.name).st_mode):
            return
        kind = socket.SOCK_STREAM if one.is_stream else socket.SOCK_DGRAM
        probe = _socket.socket(socket.AF_UNIX, kind)
        try:
            probe.connect(one.name)
        except ConnectionRefusedError:
            os.unlink(one.name)
        finally:
            probe.close()


def tell_of_listening(
    found: list[Listening], threads: list[Found], log: Log, *, again: bool
) -> list[Found]:
    """Names them, at a reload in short. Returns the threads that do something else."""
    serving = {one.fd: [it for it in threads if serves(it, one.fd)] for one in found}
    if found:
        places = ", ".join(
            one.address + "".join(f" (thread {it.name})" for it in serving[one.fd]) for one in found
        )
        what = f"importing the application has it listen on {places}"
        if again:
            log.info(what)
        else:
            log.warn(
                f"{what}: only this process, the mold {os.getpid()}, does, so what is answered "
                "there is not about the workers; a reload closes it before the application is "
                "imported again",
                CURE,
            )
    return [it for it in threads if not any(it in of_one for of_one in serving.values())]


def serves(thread: Found, fd: int) -> bool:
    """Whether it has the socket, or a server of the standard library with it, in a variable."""
    frame: FrameType | None = thread.frame
    while frame is not None:
        named = (frame.f_globals.get(name) for name in frame.f_code.co_names)
        for value in (*frame.f_locals.values(), *named):
            kind = type(value)
            if issubclass(kind, socketserver.BaseServer):
                value = getattr(value, "socket", None)
                kind = type(value)
            if issubclass(kind, _socket.socket) and value.fileno() == fd:
                return True
        frame = frame.f_back
    return False
