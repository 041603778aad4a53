"""Connections that processes forked from this one must not share."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import stat
import sys
from typing import Any

from ._descriptors import open_descriptors
from ._errors import traceback_of
from ._log import Log


def open_sockets() -> set[tuple[int, int]]:
    """The sockets this process has open, by number and inode."""
    found = set()
    for fd in open_descriptors():
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            status = os.fstat(fd)
            if stat.S_ISSOCK(status.st_mode):
                found.add((fd, status.st_ino))
    return found


def close_shared(before: set[tuple[int, int]], log: Log) -> None:
    """Closes what it knows how to close, and warns of what the import has left connected since."""
    close_django(log)
    peers = {fd: peer_of(fd) for fd, _ in sorted(open_sockets() - before)}
    connected = {fd: peer for fd, peer in peers.items() if peer}
    minded = idle_of_redis() if connected else set()
    for fd, peer in connected.items():
        if fd in minded:
            log.debug(
                f"importing the application has left a connection to {peer} open: redis-py opens "
                "others in each worker"
            )
        else:
            log.warn(
                f"importing the application has left a connection to {peer} open; all workers "
                "would use it at the same time",
                "--lazy has each worker import the application and open its own; or open it in a "
                "function decorated with @spile.post_fork, or with the first request",
            )


def idle_of_redis() -> set[int]:
    """Those that wait in a pool of redis-py, which leaves them alone in another process.

    Whoever has taken one out of the pool, as a PubSub does, keeps it there.
    """
    module = sys.modules.get("redis.connection")
    kind = getattr(module, "ConnectionPool", None)
    if kind is None:
        return set()
    found = set()
    for pool in gc.get_objects():
        # By its type: what stands in for something else may do anything when it is asked.
        if issubclass(type(pool), kind):
            queue = getattr(getattr(pool, "pool", None), "queue", ())  # of a BlockingConnectionPool
            for connection in [*getattr(pool, "_available_connections", ()), *queue]:
                with contextlib.suppress(Exception):
                    found.add(connection._sock.fileno())
    return found


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
        known = connection.family in (socket.AF_INET, socket.AF_INET6)
        if known or (connection.family == socket.AF_UNIX and peer):
            return described(connection.family, peer)
    return None


def described(family: int, name: Any) -> str:
    """A socket's name as a person writes it."""
    if family in (socket.AF_INET, socket.AF_INET6):
        host, port = name[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if family == socket.AF_UNIX:
        text = os.fsdecode(name)
        return f"unix:@{text[1:]}" if text.startswith("\0") else f"unix:{text}"
    return str(name)
