"""Requests that hang in each way there is.

/quick             the worker's process
/pause?S           answers after S seconds spent in Python code
/spin              loops in Python code for ever
/caught            the same, and answers 503 when it is interrupted
/sleep /receive /select /lock     waits for ever in a call of the interpreter's
/c                 waits for ever in C code, which nothing interrupts
/c_with_lock       the same, and holds the interpreter's lock
/stream            sends a part, then loops in Python code for ever
/stream_c          sends a part, then waits in C code for ever
/flask             Flask, with a handler for errors
"""

import ctypes
import os
import select
import socket
import threading
import time

from flask import Flask

flask = Flask(__name__)


@flask.errorhandler(Exception)
def say(error):
    return f"the error page: {type(error).__name__}", 503


@flask.get("/flask")
def page():
    spin({})


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/flask":
        return flask(environ, start_response)
    if path == "/caught":
        return caught(environ, start_response)
    body = VIEWS[path](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body] if isinstance(body, bytes) else body


def quick(environ):
    return str(os.getpid()).encode()


def pause(environ):
    end = time.monotonic() + float(environ["QUERY_STRING"])
    while time.monotonic() < end:
        pass
    return b"in time"


def spin(environ):
    while True:
        time.sleep(0.001)  # the line where it hangs


def caught(environ, start_response):
    try:
        spin(environ)
    except Exception as error:
        start_response("503 Busy", [("Content-Type", "text/plain")])
        return [f"{type(error).__module__}.{type(error).__name__}: {error}".encode()]


def sleep(environ):
    time.sleep(3600)


def receive(environ):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)


def wait(environ):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        select.select([ours], [], [])


def lock(environ):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def deadlock(library):
    # All zeros is a mutex of the usual kind; a second lock waits for ever, whatever signals come.
    mutex = ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def c(environ):
    deadlock(ctypes.CDLL(None))


def c_with_lock(environ):
    deadlock(ctypes.PyDLL(None))


def stream(environ):
    yield b"x" * 1000
    spin(environ)


def stream_c(environ):
    yield b"x" * 1000
    c(environ)


VIEWS = {
    "/quick": quick,
    "/pause": pause,
    "/spin": spin,
    "/sleep": sleep,
    "/receive": receive,
    "/select": wait,
    "/lock": lock,
    "/c": c,
    "/c_with_lock": c_with_lock,
    "/stream": stream,
    "/stream_c": stream_c,
}
