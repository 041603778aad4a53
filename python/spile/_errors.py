"""What is wrong with an application, in words."""

from __future__ import annotations

import os
import traceback
from typing import Any


class ApplicationError(Exception):
    """An application that cannot be served: what is wrong, and what to do about it."""

    def __init__(self, what: str, cure: str, error: BaseException | None = None) -> None:
        super().__init__(what)
        self.cure = cure
        #: What it comes from: its traceback names files that may have to be mended.
        self.error = error


def failed(what: str, error: BaseException, hidden: str | None = None) -> ApplicationError:
    """The application's own failure, with its traceback from the application's first line on.

    ``hidden`` is a module of the same name as the one that failed.
    """
    cure = "the traceback says where; it is the application's own code"
    # These are what follows from importing the wrong one of two.
    if hidden and isinstance(error, (ImportError, AttributeError)):
        cure = f"if {hidden} was to be imported: rename the file, which hides it"
    return ApplicationError(f"{what}\n{traceback_of(error)}", cure, error)


def traceback_of(error: BaseException) -> str:
    """The traceback from the application's first line on."""
    trace = error.__traceback__
    while trace is not None and (
        "importlib" in trace.tb_frame.f_code.co_filename or is_ours(trace)
    ):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()


def is_ours(trace: Any) -> bool:
    return os.path.dirname(trace.tb_frame.f_code.co_filename) == os.path.dirname(__file__)
