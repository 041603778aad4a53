"""Answers that take their time, until the test lets them go.

/quick           at once
/large           5 MB in one chunk; /large_file as a file
/meet?N          when N requests are inside at the same time
/compute?FILE    does not end, nor sleep, before the file exists
/alone           how many requests were inside at the same time, at most
/length          the length of the body
"""

import os
import tempfile
import threading
import time

LARGE = b"x" * 5_000_000

_meetings = {}
_lock = threading.Lock()
_inside = 0
_most = 0


def application(environ, start_response):
    view = VIEWS[environ["PATH_INFO"]]
    body = view(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body] if isinstance(body, bytes) else body


def quick(environ):
    return b"quick"


def large(environ):
    return LARGE


def large_file(environ):
    file = tempfile.TemporaryFile()
    file.write(LARGE)
    file.seek(0)
    return environ["wsgi.file_wrapper"](file)


def meet(environ):
    count = int(environ["QUERY_STRING"])
    with _lock:
        barrier = _meetings.setdefault(count, threading.Barrier(count))
    barrier.wait(timeout=15)
    return b"met"


def compute(environ):
    while not os.path.exists(environ["QUERY_STRING"]):
        pass
    return b"computed"


def alone(environ):
    global _inside, _most
    with _lock:
        _inside += 1
        _most = max(_most, _inside)
    # Long enough for another to come in, if it can.
    time.sleep(0.05)
    with _lock:
        _inside -= 1
        return str(_most).encode()


def length(environ):
    return str(len(environ["wsgi.input"].read())).encode()


VIEWS = {
    "/quick": quick,
    "/large": large,
    "/large_file": large_file,
    "/meet": meet,
    "/compute": compute,
    "/alone": alone,
    "/length": length,
}
