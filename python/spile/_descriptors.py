"""The descriptors that this process has open."""

from __future__ import annotations

import os
import resource
import select

#: Without /proc no more are looked at: more than connections and files ever take.
MOST = 65536


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
