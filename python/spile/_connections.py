"""Connections that processes forked from this one must not share."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys

from ._errors import traceback_of
from ._log import Log


def open_sockets() -> set[tuple[int, int]]:
    """The sockets this process has open, by number and inode."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found.add((int(name), status.st_ino))
    return found


def close_shared(before: set[tuple[int, int]], log: Log) -> None:
    """Closes what it knows how to close, and warns of what the import has left connected since."""
    close_django(log)
    for fd, _ in sorted(open_sockets() - before):
        peer = peer_of(fd)
        if peer:
            log.warn(
                f"importing the application has left a connection to {peer} open; all workers "
                "would use it at the same time",
                "open it in each worker: in a function decorated with @spile.post_fork, or with "
                "the first request",
            )


def close_django(log: Log) -> None:
    database = sys.modules.get("django.db")
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    if database is None or not getattr(settings, "configured", False):
        return
    try:
        database.connections.close_all()
        if "django.db.backends.postgresql.psycopg_any" in sys.modules:
            for connection in database.connections.all(initialized_only=True):
                # A pool (Django 5.1) has threads, which a fork does not have.
                getattr(connection, "close_pool", bool)()
    except Exception as error:
        log.warn(
            f"the connections of django.db cannot be closed before the fork\n{traceback_of(error)}",
            "workers may share them: do not query the database while the application is imported",
        )


def peer_of(fd: int) -> str | None:
    """Who a stream socket is connected to; nobody, if it is but a pair within this process."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as connection:
        if connection.type != socket.SOCK_STREAM:
            return None
        peer = connection.getpeername()
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            host, port = peer[:2]
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if connection.family == socket.AF_UNIX and peer:
            name = os.fsdecode(peer)
            return f"unix:@{name[1:]}" if name.startswith("\0") else f"unix:{name}"
    return None
