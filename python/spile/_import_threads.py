"""Threads that importing an application has started: a forked worker does not have them."""

from __future__ import annotations

import functools
import os
import sys
import threading
from types import FrameType
from typing import Any, NamedTuple

from . import _threads
from ._log import Log

#: Packages that start their threads anew in a process that was forked.
MINDFUL = (
    "opentelemetry",  # its processors and readers have os.register_at_fork do it
    "sentry_sdk",  # each use of a thread of its own compares os.getpid() first
)

CURE = (
    "--lazy has each worker import the application and start its own; or start them in a function "
    "decorated with @spile.post_fork, or with the first request"
)


class Found(NamedTuple):
    name: str
    #: The module whose code runs in it.
    module: str
    #: Where it is now; None while it begins or ends.
    frame: FrameType | None


def other_threads() -> list[Found]:
    """Those beside the main one, of the `_thread` module too."""
    frames = sys._current_frames()
    found = []
    frames.pop(_threads.MAIN, None)
    # Green ones are no threads of the system: a forked process has them, too.
    for thread in [] if _threads.are_green() else threading.enumerate():
        if thread is not threading.main_thread():
            frame = frames.pop(thread.ident or 0, None)
            found.append(Found(thread.name, module_of(thread), frame))
    for frame in frames.values():
        first = frame
        while first.f_back is not None:
            first = first.f_back
        module = str(first.f_globals.get("__name__", "?"))
        # Debuggers have a copy of `threading`, whose threads the other one does not list.
        name = getattr(first.f_locals.get("self"), "_name", None)
        found.append(Found(str(name or f"{module}.{first.f_code.co_name}"), module, frame))
    return found


def module_of(thread: threading.Thread) -> str:
    """The module of what it runs: a function's, or that of the class whose method it is."""
    if type(thread) is not threading.Thread and type(thread).__module__ != "threading":
        return type(thread).__module__
    target: Any = getattr(thread, "_target", None)
    while isinstance(target, functools.partial):
        target = target.func
    return str(getattr(target, "__module__", None) or "?")


def tell_of_threads(threads: list[Found], log: Log) -> None:
    """Warns of those that workers will miss."""
    mindful = [it for it in threads if it.module.partition(".")[0] in MINDFUL]
    others = [it.name for it in threads if it not in mindful]
    if mindful:
        log.debug(
            f"importing the application has started threads ({named(it.name for it in mindful)}) "
            "of libraries that start them anew in each worker"
        )
    if others:
        log.warn(
            f"importing the application has started threads ({named(others)}): they run on in this "
            f"process, the mold {os.getpid()}, and workers, which are forked from it, do not have "
            "them",
            CURE,
        )


def named(names: Any) -> str:
    """As many as fit into a line."""
    names = list(names)
    shown = names if len(names) <= 10 else [*names[:9], f"{len(names) - 9} more"]
    return ", ".join(shown)
