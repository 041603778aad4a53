"""Requests that an application answers before anybody has asked (--warmup)."""

from __future__ import annotations

import io
import signal
import sys
import time
from typing import Any, Callable, Optional
from urllib.parse import unquote_to_bytes

from . import __version__
from ._errors import ApplicationError, traceback_of
from ._forked import unless_forked
from ._log import Log
from ._overdue import telling
from ._spile import FileWrapper, check_head
from ._timeout import RequestTimeout

#: Seconds for a response without ``--request-timeout``.
RESPONSE = 10.0

SLOW = "nothing is served before it is answered; if it never is, take the path out of --warmup"

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
        limit = Limit(config["request_timeout"] or RESPONSE)
        start = time.monotonic()
        try:
            with telling(log, f"warm-up: GET {target}", SLOW, limit.seconds):
                status, has_ended = unless_forked(log, request, application, environ, limit)
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
        if not has_ended:
            log.warn(
                f"warm-up: GET {target} was answered with {status}, and the response had not ended "
                f"after {limit.seconds:g} s: the rest of it is left",
                "take the path out of --warmup, or give one whose response ends",
            )
        elif status[:1] in ("4", "5"):
            log.warn(
                f"warm-up: GET {target} was answered with {status} after {since(start)}",
                f"the application saw a request for the host {environ['HTTP_HOST']} over http, "
                "without cookies",
            )
        else:
            log.info(f"warm-up: GET {target} was answered with {status} in {since(start)}")


class Limit:
    """Bounds the time for the response that the application has returned.

    Not for what comes before: a first request may take long, and is made here for that.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_over = False

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGALRM, self._ring)

    def begin(self) -> None:
        """The response is there: from now on an exception ends what takes longer."""
        # Again and again: the application may catch what is raised.
        signal.setitimer(signal.ITIMER_REAL, self.seconds, self.seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before or signal.SIG_DFL)

    def _ring(self, number: int, frame: Any) -> None:
        self.is_over = True
        raise RequestTimeout(f"the response takes longer than {self.seconds:g} s")


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


def request(
    application: Callable[..., Any], environ: dict[str, Any], limit: Limit
) -> tuple[str, bool]:
    """Has it answered, and returns the status line and whether the response has ended."""
    status = ""

    def start_response(line: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        nonlocal status
        check_head(line, headers)
        status = line
        return lambda block: None

    with limit:
        body = application(environ, start_response)
        limit.begin()
        try:
            # Bytes are sent as they are, though iterating over them gives numbers.
            for block in body if not isinstance(body, bytes) else [body]:
                if not isinstance(block, bytes):
                    kind = type(block).__name__
                    raise TypeError(f"a block of a WSGI response is bytes, not {kind}")
                if limit.is_over:
                    break
        except BaseException:
            if not (limit.is_over and status):
                raise
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
    if not status:
        raise AssertionError("the application did not call start_response")
    return status, not limit.is_over


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
