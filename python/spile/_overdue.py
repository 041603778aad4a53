"""Where the application is, when what it was asked for takes long.

A thread looks, because a signal's handler would not run while C code waits, and might end a wait
that is not the application's to repeat. No process is forked while there is such a thread.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Callable

from . import _threads
from ._log import Log

#: Seconds until the log says so, then from one line to the next; the last of them for ever.
INTERVALS = (10.0, 20.0, 30.0, 60.0, 300.0)

#: Modules whose loops serve clients, and end only with the server.
SERVERS = (
    *("socketserver", "wsgiref", "werkzeug.serving", "waitress", "cheroot", "uvicorn", "hypercorn"),
    *("tornado.ioloop", "asyncio.base_events", "gevent.baseserver", "eventlet.wsgi", "aiohttp.web"),
    *("twisted.internet", "gunicorn.app"),
)

HINT = "nothing is served before that ends"

CURE = (
    "it serves by itself, which never ends: put that call, such as `app.run()`, under "
    '`if __name__ == "__main__":`'
)

_now = time.monotonic
_OURS = os.path.join(os.path.dirname(__file__), "")
_LIBRARIES = tuple(
    os.path.join(sysconfig.get_path(name), "")
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


class Overdue:
    """Tells the log of the main thread's place, now and then, until it is stopped."""

    def __init__(self, log: Log, what: str, hint: str | None, first: float) -> None:
        self._log = log
        self._what = what
        self._hint = hint
        later = (after for after in INTERVALS if after > first)
        self._intervals = itertools.chain(later, itertools.repeat(INTERVALS[-1]))
        self._passed = first
        self._begun = _now()
        self._thread: _Thread | None = None

    def start(self) -> None:
        with contextlib.suppress(RuntimeError):  # The system allows no thread: nobody tells.
            self._thread = _Thread(self._run)

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.end()

    def _run(self, is_over: Any) -> None:
        while not is_over.acquire(timeout=max(0.0, self._begun + self._passed - _now())):
            frame = sys._current_frames().get(_threads.MAIN)
            where = f": it is at {place(frame)}" if frame is not None else ""
            self._log.warn(
                f"{self._what} has taken {self._passed:g} s so far{where}",
                self._hint or (CURE if frame is not None and serves(frame) else HINT),
            )
            self._passed += next(self._intervals)


class _Thread:
    """A thread that the application does not see, and whose end can be waited for.

    Not one of `threading`, which it lists and which gevent replaces meanwhile.
    """

    def __init__(self, run: Callable[[Any], None]) -> None:
        self._is_over = _threads.allocate_lock()
        self._has_ended = _threads.allocate_lock()
        self._is_over.acquire()
        self._has_ended.acquire()
        self._run = run
        # Signals are for the thread that the application runs in.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._ident = _threads.start_raw(self._begin, ())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def end(self) -> None:
        self._is_over.release()
        self._has_ended.acquire()
        while self._ident in sys._current_frames():
            self._has_ended.acquire(timeout=0.0001)

    def _begin(self) -> None:
        try:
            self._run(self._is_over)
        finally:
            self._has_ended.release()


#: What goes on: one thing at a time.
_current: list[Overdue] = []


@contextlib.contextmanager
def telling(
    log: Log, what: str, hint: str | None = None, first: float = INTERVALS[0]
) -> Iterator[None]:
    """Has the log tell where the main thread is, if what runs inside takes long."""
    overdue = Overdue(log, what, hint, first)
    _current.append(overdue)
    overdue.start()
    try:
        yield
    finally:
        # Nothing is left of it in a child that comes back here.
        if overdue in _current:
            _current.remove(overdue)
            overdue.stop()


def _before_fork() -> None:
    for overdue in _current:
        overdue.stop()


def _after_fork() -> None:
    for overdue in _current:
        overdue.start()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_current.clear)


def place(frame: FrameType) -> str:
    """The application's own line, and what it waits in."""
    frames = list(of_the_application(frame))
    if not frames:
        return described(frame)
    # An application that is installed has called all the others.
    own = next((it for it in frames if not is_library(it)), frames[-1])
    inside = "" if own is frames[0] else f", in {described(frames[0])}"
    return f"{described(own)}{inside}"


def described(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} ({code.co_name})"


def of_the_application(frame: FrameType) -> Iterator[FrameType]:
    """The frames, innermost first, without those of spile and of the import itself."""
    for it in stack(frame):
        file = it.f_code.co_filename
        if not file.startswith((_OURS, "<frozen importlib")):
            yield it


def stack(frame: FrameType | None) -> Iterable[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_library(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    # Of an environment inside the application's directory, too.
    return file.startswith(("<", *_LIBRARIES)) or any(
        f"{os.sep}{name}{os.sep}" in file for name in ("site-packages", "dist-packages")
    )


def serves(frame: FrameType) -> bool:
    """Whether it is the loop of a server."""
    modules = (it.f_globals.get("__name__") for it in of_the_application(frame))
    return any(
        name == server or name.startswith(f"{server}.")
        for name in modules
        if isinstance(name, str)
        for server in SERVERS
    )
