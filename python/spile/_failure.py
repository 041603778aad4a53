"""Why an application cannot be served, in the words that the master repeats."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from ._errors import ApplicationError
from ._ports import children_of, holders, listens_on

#: Characters of it: the master has room for 32 KiB in one report.
LONGEST = 2000


def in_short(error: ApplicationError) -> str:
    """What has failed, and with what, in one line: the log has the whole of it."""
    first, _, rest = str(error).partition("\n")
    what = first.removesuffix("; it was looked for in")
    if error.error is not None and rest and what == first:
        what = f"{what}: {described(error.error)}"
    return what[:LONGEST]


def described(error: BaseException) -> str:
    """As the last line of a traceback."""
    text = ""
    with contextlib.suppress(Exception):  # the application's own code
        text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def cure_of_failure(error: ApplicationError, *, in_worker: bool) -> str:
    """What to do about it, also where only the cause of it tells."""
    cause = error.error
    if "the traceback says where" not in error.cure:
        return error.cure  # Something is known already.
    missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
    is_library = missing is not None and missing.partition(".")[0] not in sys.modules
    if is_library and "\nTraceback" in str(error):
        return (
            f"install what has the module `{missing}` into {sys.prefix}, or name the environment "
            "that has it with --venv"
        )
    if cause is not None and is_in_use(cause):
        return cure_of_address_in_use(in_worker)
    return error.cure


def is_in_use(error: BaseException) -> bool:
    """Whether an address that others listen on is behind it, in whatever that was wrapped."""
    text = os.strerror(errno.EADDRINUSE)
    one: BaseException | None = error
    for _ in range(20):  # a chain may be a circle
        if one is None:
            break
        if getattr(one, "errno", None) == errno.EADDRINUSE or text in described(one):
            return True
        one = one.__cause__ or one.__context__
    return False


def cure_of_address_in_use(in_worker: bool) -> str:
    if not in_worker:
        held = holders()
        if held:
            return f"what an earlier import has started listens ({held}): stop and start the server"
        return "stop what listens there: `ss -lntp` shows it, and for unix sockets `ss -lxp`"
    others = [(pid, listens_on(pid)) for pid in children_of(os.getppid()) - {os.getpid()}]
    held = ", ".join(f"process {pid} on {' and '.join(places)}" for pid, places in others if places)
    who = f"another worker listens already ({held})" if held else "another worker may listen there"
    return (
        f"each worker takes the address for itself, and {who}: take it once, when the application "
        "is imported without --lazy, or have each worker take one of its own"
    )
