"""Imports files that are named by their path."""

from __future__ import annotations

import errno
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from ._errors import ApplicationError, failed
from ._places import hidden_by


def load_file(path: Path) -> ModuleType:
    """Imports a file; its directory is on the path, as with ``python FILE``."""
    if not path.is_file():
        raise ApplicationError(
            f"there is no file {path}",
            "a relative path means --chdir, or where spile was started",
            FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)),
        )
    directory = str(path.parent)
    if directory not in sys.path:
        sys.path.insert(0, directory)
    known = next((it for it in list(sys.modules.values()) if is_from(it, path)), None)
    if known is not None:
        return known  # Two mounts of one file are two names in one module.
    try:
        # Under its own name if that means it, so that who imports it gets this module.
        if means(path.stem, path):
            return importlib.import_module(path.stem)
        return run(path, private_name(path))
    except BaseException as error:
        raise failed(f"running {path} failed", error, hidden_by(path.stem, [directory])) from None


def means(name: str, path: Path) -> bool:
    """Whether importing ``name`` would run the file."""
    if "." in name or name in sys.modules:
        return False
    spec = importlib.util.find_spec(name)
    return spec is not None and is_same(spec.origin, path)


def private_name(path: Path) -> str:
    """A name that no import statement can mean: ``site.wsgi`` may import the package ``site``."""
    # Without a dot, which would make it a package's.
    base = name = path.name.replace(".", "-")
    number = 1
    while name in sys.modules:
        number += 1
        name = f"{base}-{number}"
    return name


def run(path: Path, name: str) -> ModuleType:
    # Named, because `site.wsgi` is a Python file too.
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def is_from(module: ModuleType, path: Path) -> bool:
    # Not by getattr: what stands in for a module may import it then.
    return is_same(getattr(module, "__dict__", {}).get("__file__"), path)


def is_same(file: object, path: Path) -> bool:
    return isinstance(file, str) and os.path.realpath(file) == os.path.realpath(path)
