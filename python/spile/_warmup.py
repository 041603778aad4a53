"""Requests that an application answers before anybody has asked (--warmup)."""

from __future__ import annotations

import io
import sys
import time
from typing import Any, Callable, Optional
from urllib.parse import unquote_to_bytes

from . import __version__
from ._forked import unless_forked
from ._load import ApplicationError, traceback_of
from ._log import Log
from ._spile import FileWrapper

#: The callables by mount; None for applications that are not Python.
Applications = list[Optional[Callable[..., Any]]]


def warm_up(config: dict[str, Any], applications: Applications, log: Log, *, strict: bool) -> None:
    """Sends a GET for each path through the application that it is mounted for.

    Failures are warnings, and serving begins. If it is strict, because others serve already, an
    exception or a status of 500 and above is an error instead.
    """
    for target in config["warmup"]:
        path, _, query = target.partition("?")
        # As nginx has it: decoded, and each byte a character (PEP 3333).
        path = unquote_to_bytes(path).decode("latin-1")
        place = route([mount["prefix"] for mount in config["mounts"]], path)
        if place is None:
            log.warn(
                f"warm-up: nothing is mounted for {target}",
                "correct the path of --warmup, or mount an application there",
            )
            continue
        application = applications[place]
        if application is None:
            log.warn(
                f"warm-up: {target} is not answered by a Python application; it is left out",
                "take it out of --warmup",
            )
            continue
        environ = make_environ(config, config["mounts"][place]["prefix"], path, query, target)
        start = time.monotonic()
        try:
            status = unless_forked(log, request, application, environ)
        except BaseException as error:
            what = f"warm-up: GET {target} failed after {since(start)}\n{traceback_of(error)}"
            if strict:
                raise ApplicationError(what, "the traceback says where", error) from None
            log.warn(what, "the application's first requests may fail in the same way")
            continue
        if strict and status[:1] == "5":
            raise ApplicationError(
                f"warm-up: GET {target} was answered with {status}",
                "the old workers go on; mend it, or take the path out of --warmup",
            )
        if status[:1] in ("4", "5"):
            log.warn(
                f"warm-up: GET {target} was answered with {status} after {since(start)}",
                f"the application saw a request for the host {environ['HTTP_HOST']} over http, "
                "without cookies",
            )
        else:
            log.info(f"warm-up: GET {target} was answered with {status} in {since(start)}")


def route(prefixes: list[str], path: str) -> int | None:
    """The number of the longest prefix that ends at a slash or at the path's end."""
    found = None
    for number, prefix in enumerate(prefixes):
        below = path.startswith(prefix) and (
            not prefix or path[len(prefix) : len(prefix) + 1] in ("", "/")
        )
        if below and (found is None or len(prefix) > len(prefixes[found])):
            found = number
    return found


def request(application: Callable[..., Any], environ: dict[str, Any]) -> str:
    """Has it answered to the end, and returns the status line."""
    status = ""

    def start_response(line: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        nonlocal status
        status = line
        return lambda block: None

    body = application(environ, start_response)
    try:
        for _ in body:
            pass
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    if not status:
        raise AssertionError("the application did not call start_response")
    return status


def make_environ(
    config: dict[str, Any], prefix: str, path: str, query: str, target: str
) -> dict[str, Any]:
    """What nginx's uwsgi_params give, and what ``python/src/wsgi/environ.rs`` adds."""
    host = allowed_host()
    return {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": target,
        "QUERY_STRING": query,
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "",
        "SCRIPT_NAME": prefix,
        "PATH_INFO": path[len(prefix) :],
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_SCHEME": "http",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "0",
        "SERVER_NAME": host,
        "SERVER_PORT": "80",
        "HTTP_HOST": host,
        "HTTP_ACCEPT": "*/*",
        "HTTP_USER_AGENT": f"spile/{__version__} (warm-up)",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": config["threads"] > 1,
        "wsgi.multiprocess": config["workers_max"] > 1,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }


def allowed_host() -> str:
    """``localhost``, or where Django would refuse that, the first host that it does not refuse."""
    if "django.conf" in sys.modules and "django.http.request" in sys.modules:
        settings = sys.modules["django.conf"].settings
        validate = sys.modules["django.http.request"].validate_host
        if settings.configured and settings.ALLOWED_HOSTS:
            hosts = list(settings.ALLOWED_HOSTS)
            return "localhost" if validate("localhost", hosts) else hosts[0].lstrip(".")
    return "localhost"


def since(start: float) -> str:
    return f"{time.monotonic() - start:.3f} s"
