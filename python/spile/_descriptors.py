"""The descriptors that this process has open."""

from __future__ import annotations

import contextlib
import os
import resource
import select

#: Without /proc no more are looked at: more than connections and files ever take.
MOST = 65536


class FoundLimit:
    """How many files a process may open, as spile found it: what applications are to have.

    A worker raises the limit when it holds many connections.
    """

    def __init__(self) -> None:
        self.soft, self.hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def restore(self) -> None:
        """In a child, unless the application has set a limit of its own."""
        if resource.getrlimit(resource.RLIMIT_NOFILE) == (self.hard, self.hard):
            self._set(self.soft)

    def _set(self, soft: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self.hard))


def open_descriptors() -> list[int]:
    """Their numbers. Some may be closed by now: at least the listing's own."""
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return polled()


def polled() -> list[int]:
    """Asks the kernel about each number that there may be, in one call: /proc may be missing."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if limit == resource.RLIM_INFINITY else min(limit, MOST)
    poll = select.poll()
    for fd in range(most):
        poll.register(fd, 0)
    closed = {fd for fd, event in poll.poll(0) if event & select.POLLNVAL}
    return [fd for fd in range(most) if fd not in closed]
