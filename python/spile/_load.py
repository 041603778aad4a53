"""Finds the applications that the configuration names."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

from ._errors import ApplicationError, failed
from ._files import load_file
from ._forked import unless_forked
from ._log import Log
from ._places import hidden_by, is_module, refuse_taken


class Loader:
    """Imports applications as a configuration has them."""

    def __init__(self, config: dict[str, Any], log: Log) -> None:
        self.config = config
        self.log = log

    def load_all(self) -> list[Callable[..., Any] | None]:
        """The callables by mount; None for applications that are not Python."""
        self.set_path()
        return [
            unless_forked(self.log, self.load, mount["app"]["wsgi"])
            if "wsgi" in mount["app"]
            else None
            for mount in self.config["mounts"]
        ]

    def set_path(self) -> None:
        """Puts --pythonpath and --chdir first."""
        if self.config["venv"]:
            add_site_packages(Path(self.config["venv"]))
        sys.path[:0] = self.directories()

    def directories(self) -> list[str]:
        """Where modules of the project are."""
        return [*self.config["pythonpath"], self.config["chdir"]]

    def load(self, app: dict[str, Any]) -> Callable[..., Any]:
        """Imports a module and takes the callable from it."""
        written = shown(app["callable"])
        module, where = self.load_target(app["target"], written)
        name = app["callable"]["name"] if app["callable"] else default(module, where)
        found: Any = module
        for part in name.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                raise ApplicationError(f"there is no `{name}` in {where}", named(module)) from None
        if app["callable"] and app["callable"]["arguments"] is not None:
            found = call(found, name, app["callable"]["arguments"], where)
        if not callable(found):
            raise ApplicationError(
                f"`{name}` in {where} is {type(found).__name__}, which cannot be called",
                "name a WSGI application, or a factory with `()` behind it",
            )
        refuse_what_cannot_be_called(found, f"`{name}` in {where}")
        return found

    def load_target(self, target: dict[str, Any], written: str) -> tuple[ModuleType, str]:
        """Imports the module or file, and says which."""
        if "file" in target:
            return load_file(Path(target["file"])), target["file"]
        name = target["module"]
        refuse_taken(name, written and f":{written}", self.directories())
        file = Path(self.config["chdir"], name)
        if name.endswith(".wsgi") and file.is_file() and not is_module(name):
            self.log.info(f"there is no module `{name}`: serving the file {file}")
            return load_file(file), str(file)
        module = load_module(name, written, self.directories())
        return module, f"{name} ({getattr(module, '__file__', None) or 'built in'})"


def shown(written: dict[str, Any] | None) -> str:
    """A callable as it was written; empty if none was."""
    if written is None:
        return ""
    arguments = written["arguments"]
    return written["name"] if arguments is None else f"{written['name']}({arguments})"


def default(module: ModuleType, where: str) -> str:
    """The name of what is served when none was written."""
    there = [name for name in ("application", "app") if hasattr(module, name)]
    if not there:
        raise ApplicationError(
            f"there is neither `application` nor `app` in {where}", named(module)
        )
    return next((name for name in there if callable(getattr(module, name))), there[0])


def named(module: ModuleType) -> str:
    """What to write instead, given what the module has."""
    names = callables(module)
    factory = next((name for name in ("create_app", "make_app") if name in names), None)
    if factory:
        return f"did you mean the factory, module:{factory}()? It has {', '.join(names)}"
    return f"it has {', '.join(names) or 'no callables'}; write module:name"


def call(factory: Any, name: str, arguments: str, where: str) -> Any:
    """What a factory returns."""
    positional, keywords = literals(name, arguments)
    if not callable(factory):
        raise ApplicationError(
            f"`{name}` in {where} is {type(factory).__name__}, which cannot be called",
            "name a function that returns a WSGI application",
        )
    try:
        inspect.signature(factory, follow_wrapped=False).bind(*positional, **keywords)
    except TypeError as error:
        raise ApplicationError(
            f"`{name}` in {where} cannot be called so: {error}",
            f'give it what it takes, as literals: module:{name}("text", key=1)',
        ) from None
    except ValueError:
        pass  # An extension's callable does not say what it takes.
    try:
        return factory(*positional, **keywords)
    except BaseException as error:
        raise failed(f"the factory `{name}({arguments})` of {where} failed", error) from None


def literals(name: str, text: str) -> tuple[list[Any], dict[str, Any]]:
    """A factory's arguments and keyword arguments; check/inspect.py reads them in the same way."""
    try:
        found: Any = ast.parse(f"f({text})", mode="eval").body
        positional = [ast.literal_eval(argument) for argument in found.args]
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in found.keywords}
        if None in keywords or len(keywords) < len(found.keywords):
            raise ValueError
    except Exception:
        raise ApplicationError(
            f"`{name}({text})` calls a factory with what are no literals",
            "write strings in quotation marks, numbers, True, False, None, and tuples, lists, sets "
            "and dicts of these; quote the whole for the shell",
        ) from None
    return positional, keywords


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


def load_module(name: str, written: str, directories: list[str]) -> ModuleType:
    url = f"; {URLS[name].format(written)}" if written and name in URLS else ""
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and error.name and is_part_of(error.name, name):
            looked = "\n".join(f"    {entry}" for entry in sys.path)
            raise ApplicationError(
                f"there is no module `{error.name}`; it was looked for in\n{looked}",
                "name the directory that holds it with --chdir or --pythonpath, or its environment "
                f"with --venv{url}",
                error,
            ) from None
        raise failed(f"importing `{name}` failed", error, hidden_by(name, directories)) from None
    if getattr(module, "__file__", None) is None and hasattr(module, "__path__"):
        raise ApplicationError(
            f"`{name}` is a directory without an __init__.py: {next(iter(module.__path__), '')}",
            "name the module in it that has the application, as in package.module:callable" + url,
        )
    return module


#: What a module that is not there was to say.
URLS = {
    "static": "to serve the files of that directory: static://{}",
    "wsgi": "for the module of that name: wsgi://{}",
}


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
