"""Children that the application forks: one that comes back from the application's code ends there.

Requests have the same in ``python/src/wsgi/mod.rs``.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import Any, Callable, NoReturn, TypeVar

from ._errors import ApplicationError, traceback_of
from ._log import Log

Result = TypeVar("Result")


def unless_forked(log: Log, function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls what runs the application's code, and returns in no child that this has forked.

    It would go on as a second mold or worker, on the same channel.
    """
    process = os.getpid()
    try:
        result = function(*arguments)
    except BaseException as error:
        if os.getpid() == process:
            raise
        leave(exit_status(error, log))
    if os.getpid() != process:
        leave(0)
    return result


def exit_status(error: BaseException, log: Log) -> int:
    """The status of an interpreter that ends so; says what it ends with."""
    if isinstance(error, ApplicationError) and error.error is not None:
        error = error.error
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    log.error(
        f"in a process that the application forked: the application failed\n{traceback_of(error)}"
    )
    return 1


def leave(status: int) -> NoReturn:
    """Ends the process with what is to run at its end, and never returns."""
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    flush()
    os._exit(status)


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
