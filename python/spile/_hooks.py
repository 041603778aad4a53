"""What an application has run in each worker before it serves, and at the end."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Any, Callable, TypeVar

if TYPE_CHECKING:
    from ._log import Log

Function = TypeVar("Function", bound=Callable[[], Any])

_functions: list[Callable[[], Any]] = []


def post_fork(function: Function) -> Function:
    """Has a function run in each worker, after it was forked and before it serves.

    Workers are forks of one process that has imported the application. What must not be shared by
    them belongs here: connections, threads, seeds of random numbers::

        import spile

        pool = None

        @spile.post_fork
        def connect() -> None:
            global pool
            pool = ConnectionPool("postgresql:///shop")

    Functions run in the order of their registration, which has to happen while the application is
    imported, and after those of ``os.register_at_fork``. With ``--lazy`` they run after the
    worker's own import. One that raises is the worker's failure to start. Outside spile, nothing
    calls them.
    """
    if not callable(function):
        raise TypeError(f"post_fork decorates a function, not {type(function).__name__}")
    _functions.append(function)
    return function


def on_exit(function: Function) -> Function:
    """Has a function run once, when the process that registers it ends.

    What an import registers with ``atexit`` runs in each worker that ends, since workers are forks
    of the process that has imported the application: for what each worker has to flush that is
    right. This is for what all of them share, such as a directory of temporary files::

        import shutil, tempfile
        import spile

        scratch = tempfile.mkdtemp()

        @spile.on_exit
        def remove() -> None:
            shutil.rmtree(scratch)

    Registered by the import, it runs after the last worker of that import has left: once for a
    server, and once more for each reload, which imports the application anew. It has two seconds
    then. With ``--lazy``, where each worker imports the application, and when a worker registers it
    later, it runs at the end of that worker. Functions run in the reverse of their order, among
    those of ``atexit``; outside spile, too.
    """
    if not callable(function):
        raise TypeError(f"on_exit decorates a function, not {type(function).__name__}")
    atexit.register(_run_in, os.getpid(), function)
    return function


def _run_in(process: int, function: Callable[[], Any]) -> None:
    if os.getpid() == process:
        function()


def run_post_fork(log: Log) -> None:
    """Calls what was registered, until one fails."""
    # Here, because the master has no use for all that this imports.
    from ._errors import ApplicationError, traceback_of
    from ._forked import unless_forked
    from ._overdue import telling

    for function in _functions:
        name = getattr(function, "__qualname__", repr(function))
        what = f"the spile.post_fork function `{getattr(function, '__module__', '?')}.{name}`"
        try:
            with telling(log, what, "this worker does not serve before it returns"):
                unless_forked(log, function)
        except BaseException as error:
            raise ApplicationError(
                f"{what} failed\n{traceback_of(error)}",
                "the worker cannot start without it; the traceback says where",
                error,
            ) from None
