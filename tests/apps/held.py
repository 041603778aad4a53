"""Answers for tests of processes: who serves, what dies, what is let finish.

/pid                       who serves; `?pause=S` after so many seconds
/hold?started=P&gate=P     makes the first file, answers 1 MB once the second exists
/stream?started=P&gate=P   the same with half of the answer before the gate
/forever?started=P         never answers
/exit?status=N             ends the worker at once
/crash                     ends it by SIGSEGV
/errors                    a line to wsgi.errors
/raise                     an exception
"""

import os
import signal
import time
from urllib.parse import parse_qs

#: Where the application was imported, and by whose child.
IMPORTED_BY = os.getpid()

_marks = os.environ.get("TEST_DIE_AFTER_FORK")


def die_after_fork():
    """A worker that cannot start, once there is a file for it: notes the time there and ends."""
    if not os.path.exists(_marks):
        return
    with open(_marks, "a") as marks:
        marks.write(f"{time.monotonic()}\n")
    os._exit(3)


if _marks:
    os.register_at_fork(after_in_child=die_after_fork)


def application(environ, start_response):
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    body = VIEWS[environ["PATH_INFO"]](environ, query)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body] if isinstance(body, bytes) else body


def pid(environ, query):
    time.sleep(float(query.get("pause", 0)))
    return f"{os.getpid()} {os.getppid()} {IMPORTED_BY}".encode()


def hold(environ, query):
    open(query["started"], "w").close()
    wait_for(query["gate"])
    return b"x" * 1_000_000


def stream(environ, query):
    yield b"x" * 500_000
    open(query["started"], "w").close()
    wait_for(query["gate"])
    yield b"x" * 500_000


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)


def forever(environ, query):
    open(query["started"], "w").close()
    while True:
        time.sleep(0.01)


def leave(environ, query):
    os._exit(int(query["status"]))


def crash(environ, query):
    os.kill(os.getpid(), signal.SIGSEGV)


def errors(environ, query):
    environ["wsgi.errors"].write("from the application\n")
    return b"written"


def fail(environ, query):
    raise RuntimeError("raised in a page")


VIEWS = {
    "/pid": pid,
    "/hold": hold,
    "/stream": stream,
    "/forever": forever,
    "/exit": leave,
    "/crash": crash,
    "/errors": errors,
    "/raise": fail,
}
