"""Finds the applications that the configuration names."""

from __future__ import annotations

import errno
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

from ._errors import ApplicationError, failed
from ._forked import unless_forked
from ._log import Log


class Loader:
    """Imports applications as a configuration has them."""

    def __init__(self, config: dict[str, Any], log: Log) -> None:
        self.config = config
        self.log = log

    def load_all(self) -> list[Callable[..., Any] | None]:
        """The callables by mount; None for applications that are not Python."""
        self.set_path()
        return [
            unless_forked(self.log, load, mount["app"]["wsgi"]) if "wsgi" in mount["app"] else None
            for mount in self.config["mounts"]
        ]

    def set_path(self) -> None:
        """Puts --pythonpath and --chdir first."""
        if self.config["venv"]:
            add_site_packages(Path(self.config["venv"]))
        sys.path[:0] = [*self.config["pythonpath"], self.config["chdir"]]


def load(app: dict[str, Any]) -> Callable[..., Any]:
    """Imports a module and takes the callable from it."""
    module = (
        load_file(Path(app["target"]["file"]))
        if "file" in app["target"]
        else load_module(app["target"]["module"])
    )
    where = f"{module.__name__} ({getattr(module, '__file__', None) or 'built in'})"
    found: Any = module
    for name in app["callable"].split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ApplicationError(
                f"there is no `{app['callable']}` in {where}",
                f"it has {', '.join(callables(module)) or 'no callables'}; write module:name",
            ) from None
    if app["call"]:
        try:
            found = found()
        except BaseException as error:
            raise failed(f"the factory `{app['callable']}()` of {where} failed", error) from None
    if not callable(found):
        raise ApplicationError(
            f"`{app['callable']}` in {where} is {type(found).__name__}, which cannot be called",
            "name a WSGI application, or a factory with `()` behind it",
        )
    refuse_what_cannot_be_called(found, f"`{app['callable']}` in {where}")
    return found


def refuse_what_cannot_be_called(application: Callable[..., Any], what: str) -> None:
    """Says at once what every request would fail with."""
    if any(map(inspect.iscoroutinefunction, (application, type(application).__call__))):
        raise ApplicationError(
            f"{what} is an async application (ASGI)",
            "serve it with an ASGI server, or name a WSGI application",
        )
    try:
        # What is called counts, not what it wraps: Werkzeug's `Request.application` makes a WSGI
        # application of a function of one argument, and names that as `__wrapped__`.
        inspect.signature(application, follow_wrapped=False).bind({}, None)
    except TypeError:
        raise ApplicationError(
            f"{what} cannot be called with environ and start_response",
            "name a WSGI application, or a factory with `()` behind it",
        ) from None
    except ValueError:
        pass  # An extension's callable does not say what it takes.


def load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and error.name and is_part_of(error.name, name):
            looked = "\n".join(f"    {entry}" for entry in sys.path)
            raise ApplicationError(
                f"there is no module `{error.name}`; it was looked for in\n{looked}",
                "name the directory that holds it with --chdir or --pythonpath, or its environment "
                "with --venv",
                error,
            ) from None
        raise failed(f"importing `{name}` failed", error) from None


def load_file(path: Path) -> ModuleType:
    """Imports a file under its own name; its directory is on the path, as with ``python FILE``."""
    if not path.is_file():
        raise ApplicationError(
            f"there is no file {path}",
            "a relative path means --chdir, or where spile was started",
            FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)),
        )
    directory = str(path.parent)
    if directory not in sys.path:
        sys.path.insert(0, directory)
    name = path.stem
    while (known := sys.modules.get(name)) is not None:
        if is_from(known, path):
            return known  # Two mounts of one file are two names in one module.
        name = f"spile_app_{name}"
    # Named, because `site.wsgi` is a Python file too.
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException as error:
        raise failed(f"running {path} failed", error) from None
    return module


def is_from(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and os.path.realpath(file) == os.path.realpath(path)


def is_part_of(missing: str, name: str) -> bool:
    """Whether the missing module is the one asked for or a package around it."""
    return name == missing or name.startswith(missing + ".")


def callables(module: ModuleType) -> list[str]:
    """The names that could have been meant."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and not isinstance(value, type)
    ]


def add_site_packages(venv: Path) -> None:
    """Has a virtual environment's packages, whichever interpreter runs."""
    import site

    if os.path.realpath(sys.prefix) != os.path.realpath(venv):
        site.addsitedir(
            # Named: Debian's own scheme would look in local/lib/.../dist-packages.
            sysconfig.get_path("purelib", "posix_prefix", vars={"base": str(venv)})
        )
