"""Two Django projects in one process: Django has one set of settings, which is the first one's."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from ._errors import ApplicationError
from ._log import Log

NAME = "DJANGO_SETTINGS_MODULE"

CURE = (
    "run a server for each project, each with a socket of its own, and give each a location in "
    "nginx's configuration"
)


@contextlib.contextmanager
def one_project(config: dict[str, Any], log: Log) -> Iterator[None]:
    """Has no second project answer as the first while the applications are imported inside.

    Each project's wsgi.py names its settings by ``os.environ.setdefault``, which does nothing once
    another has named others.
    """
    given = os.environ.get(NAME)
    #: The settings that each mounted module has asked for, in their order.
    asked: dict[str, str] = {}

    def setdefault(name: str, value: str) -> str:
        if name == NAME:
            caller = sys._getframe(1).f_globals
            mounted = mounted_as(config, caller.get("__name__"), caller.get("__file__"))
            if mounted is not None:
                asked.setdefault(mounted, value)
        return type(environ).setdefault(environ, name, value)

    environ: Any = os.environ
    environ.setdefault = setdefault
    try:
        yield
    finally:
        with contextlib.suppress(AttributeError):
            del environ.setdefault
    used = settings_module()
    first = next((mounted for mounted, settings in asked.items() if settings == used), None)
    second = next((mounted for mounted, settings in asked.items() if settings != used), None)
    if first is None or second is None:
        return
    what = (
        f"two Django projects in one server: `{second}` asks for the settings {asked[second]}, but "
        f"a process has one set of settings, and that is {used}, which `{first}` has asked for: "
        "both would answer as the same project"
    )
    if given is None:
        raise ApplicationError(what, CURE)
    log.warn(f"{what}, since {NAME}={given} was set before", CURE)


def mounted_as(config: dict[str, Any], name: Any, file: Any) -> str | None:
    """How the configuration names a module, if it is one of those it has mounted."""
    for mount in config["mounts"]:
        target = mount["app"].get("wsgi", {}).get("target", {})
        if "module" in target and target["module"] == name:
            return str(name)
        is_file = "file" in target and isinstance(file, str)
        if is_file and os.path.realpath(target["file"]) == os.path.realpath(file):
            return str(target["file"])
    return None


def settings_module() -> str | None:
    """What Django has its settings from."""
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    if settings is None or not settings.configured:
        return None
    return getattr(settings, "SETTINGS_MODULE", None)
