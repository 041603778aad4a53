"""Threads and forks of the system, also where the application has put others in their place.

gevent's and eventlet's monkey patching does so. Of lanes in green threads, which are one thread of
the system, the first would never let another run. What is patched is kept here before.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
from typing import Callable

#: Those of the system, as they were before an application could replace them.
start_raw = _thread.start_new_thread
allocate_lock = _thread.allocate_lock

#: gevent's versions collect children in a handler of SIGCHLD, so that waitid(2) finds none.
fork = os.fork
waitpid = os.waitpid

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
    is_ready, has_ended = allocate_lock(), allocate_lock()
    is_ready.acquire()
    has_ended.acquire()

    def run() -> None:
        try:
            make_hub()
            is_ready.release()
            function()
        finally:
            has_ended.release()

    start_raw(run, ())
    is_ready.acquire()
    return has_ended.acquire


def are_green() -> bool:
    """Whether gevent or eventlet has put green ones in their place; debuggers wrap theirs, too."""
    gevent = sys.modules.get("gevent.monkey")
    eventlet = sys.modules.get("eventlet.patcher")
    return bool(
        (gevent and gevent.is_object_patched("_thread", "start_new_thread"))
        or (eventlet and eventlet.is_monkey_patched("thread"))
    )


def begin_child() -> None:
    """Has gevent forget its parent's hub, as its own fork does in the child."""
    gevent = sys.modules.get("gevent")
    if gevent is not None:
        gevent.reinit()


def make_hub() -> None:
    """Has the thread's hub made, of which gevent makes one where it first waits.

    It imports modules for that. Threads that do so at the same time wait for one another for ever,
    since the locks of imports are patched, too.
    """
    gevent = sys.modules.get("gevent")
    if gevent is not None:
        gevent.get_hub()
