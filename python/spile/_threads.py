"""Threads of the system, also where the application has put green ones in their place.

gevent's and eventlet's monkey patching does so. Of lanes in green threads, which are one thread of
the system, the first would never let another run. What is patched is kept here before.
"""

from __future__ import annotations

import _thread
import sys
import threading
from typing import Callable

_start = _thread.start_new_thread
_allocate_lock = _thread.allocate_lock

#: ``threading.get_ident`` of the thread, whatever runs in it.
get_ident = _thread.get_ident

#: The main thread's.
MAIN = get_ident()


def start(function: Callable[[], None], name: str) -> Callable[[], object]:
    """Runs it in a thread of its own. Returns what waits for its end."""
    if not are_green():
        thread = threading.Thread(target=function, name=name, daemon=True)
        thread.start()
        return thread.join
    make_hub()
    is_ready, has_ended = _allocate_lock(), _allocate_lock()
    is_ready.acquire()
    has_ended.acquire()

    def run() -> None:
        try:
            make_hub()
            is_ready.release()
            function()
        finally:
            has_ended.release()

    _start(run, ())
    is_ready.acquire()
    return has_ended.acquire


def are_green() -> bool:
    """Whether what starts threads has been patched."""
    return _thread.start_new_thread is not _start


def make_hub() -> None:
    """Has the thread's hub made, of which gevent makes one where it first waits.

    It imports modules for that. Threads that do so at the same time wait for one another for ever,
    since the locks of imports are patched, too.
    """
    gevent = sys.modules.get("gevent")
    if gevent is not None:
        gevent.get_hub()
