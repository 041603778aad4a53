"""Where modules are, found without importing any.

``src/cli/check/inspect.py`` finds them in the same way.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from importlib.machinery import ModuleSpec, PathFinder

from ._errors import ApplicationError


def is_module(name: str) -> bool:
    """Whether there is a module of that dotted name."""
    path, done = None, ""
    for part in name.split("."):
        if done and path is None:
            return False
        done = f"{done}.{part}" if done else part
        try:
            spec = find(done, path)
        except KeyError:
            return True  # A namespace in another asks for that one, which nobody has imported.
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return True


def find(name: str, path: list[str] | None) -> ModuleSpec | None:
    specs = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next(filter(None, specs), None)


def refuse_taken(name: str, behind: str, directories: list[str]) -> None:
    """Refuses a module of the project in whose place Python has loaded one of its own.

    ``behind`` is what stands behind the module's name.
    """
    top = name.partition(".")[0]
    ours = PathFinder.find_spec(top, directories)
    own = "built-in" if top in sys.builtin_module_names else file_of(top)
    if ours is None or own is None or not is_pythons(own):
        return
    if ours.origin is None and "." not in name:
        return  # A directory without an __init__.py cannot have been meant.
    place = ours.origin or next(iter(ours.submodule_search_locations or ()))
    if os.path.realpath(place) == os.path.realpath(own):
        return
    raise ApplicationError(
        f"`{top}` is {place}, but Python has loaded its own module of that name ({own})",
        "rename the package: nothing can import it beside Python's"
        if ours.submodule_search_locations is not None
        else f"rename the file, or name it by its path: {place}{behind}",
    )


def file_of(name: str) -> str | None:
    """Where a module is from that has been imported."""
    module = sys.modules.get(name)
    return getattr(module, "__file__", None) or getattr(
        getattr(module, "__spec__", None), "origin", None
    )


def is_pythons(file: str) -> bool:
    """Whether a module is the standard library's, or spile's."""
    if file in ("built-in", "frozen") or os.path.dirname(file) == os.path.dirname(__file__):
        return True
    libraries = (os.path.join(sysconfig.get_path(it), "") for it in ("stdlib", "platstdlib"))
    return file.startswith(tuple(libraries)) and not any(
        f"{os.sep}{it}{os.sep}" in file for it in ("site-packages", "dist-packages")
    )


def hidden_by(name: str, directories: list[str]) -> str | None:
    """The module that nobody can import because ``directories`` have one of the same name."""
    rest = [entry for entry in sys.path if entry not in directories]
    if "." in name or PathFinder.find_spec(name, directories) is None:
        return None
    other = PathFinder.find_spec(name, rest)
    return other.origin if other is not None else None
