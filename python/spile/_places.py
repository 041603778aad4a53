"""Where modules are, found without importing any.

``src/cli/check/inspect.py`` finds them in the same way.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec


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
