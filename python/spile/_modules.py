"""For --reload: the files that the applications are made of."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Callable

from . import _threads

#: Bytes of names in one report, which the master reads as a whole.
PIECE = 24 * 1024

#: Seconds between two looks at the modules that requests import.
INTERVAL = 1.0


class Modules:
    """Tells the master, through ``report``, of files that it has not been told of."""

    def __init__(self, report: Callable[[list[str], int], None]) -> None:
        self._report = report
        self._told: set[str] = set()
        self._libraries = tuple(
            os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib")
        )

    def tell(self, error: BaseException | None = None) -> None:
        """Tells of the modules' files, and of those that an import has failed in."""
        now = time.time_ns()
        found = {*files_of_modules(), *(files_of(error) if error else ())}
        new = sorted(file for file in found - self._told if not self._is_standard(file))
        self._told.update(new)
        for piece in pieces(new):
            self._report(piece, now)

    def keep_telling(self) -> None:
        """Starts a thread that tells of modules which are imported later."""
        _threads.start(self._watch, "spile-modules")

    def _watch(self) -> None:
        count = 0
        while True:
            if len(sys.modules) != count:
                count = len(sys.modules)
                self.tell()
            time.sleep(INTERVAL)

    def _is_standard(self, file: str) -> bool:
        """Whether it is the standard library's, which nobody edits."""
        return file.startswith(self._libraries) and not any(
            f"{os.sep}{name}{os.sep}" in file for name in ("site-packages", "dist-packages")
        )


def files_of_modules() -> Iterator[str]:
    for module in list(sys.modules.values()):
        # Not by getattr: what stands in for a module may import it then.
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str):
            yield os.path.abspath(file)


def files_of(error: BaseException) -> Iterator[str]:
    """The files whose change may mend an import that has failed."""
    seen: set[int] = set()
    errors: list[BaseException | None] = [error]
    while errors:
        one = errors.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        errors += [one.__cause__, one.__context__]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if os.path.isfile(frame.f_code.co_filename):
                yield os.path.abspath(frame.f_code.co_filename)
        if isinstance(one, (SyntaxError, FileNotFoundError)) and isinstance(one.filename, str):
            yield os.path.abspath(one.filename)
        if isinstance(one, ModuleNotFoundError) and one.name:
            for entry in sys.path:
                path = os.path.abspath(os.path.join(entry, *one.name.split(".")))
                yield f"{path}.py"
                yield os.path.join(path, "__init__.py")


def pieces(files: Iterable[str]) -> Iterator[list[str]]:
    """The names, as many in a piece as one report has room for."""
    piece: list[str] = []
    size = 0
    for file in files:
        try:
            file.encode()
        except UnicodeEncodeError:
            continue  # JSON has no way to say it.
        length = len(json.dumps(file)) + 2
        if piece and size + length > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(file)
        size += length
    if piece:
        yield piece
