"""For tests under load: answers that can be checked, and ways to go wrong.

/work?n=N&size=S     takes 2 ms; answers "N\\n" and S bytes that follow from N, or the body sent
/pid                 who serves
/grow?mb=N           keeps so much memory
/hang                never answers, and is inside C
/spin                never answers, in Python
/exit?status=N       ends the worker at once
/crash               ends it by SIGSEGV

RELIABLE_IMPORT_SECONDS is how long the import takes.
"""

import ctypes
import os
import signal
import time
from urllib.parse import parse_qs

time.sleep(float(os.environ.get("RELIABLE_IMPORT_SECONDS", 0)))

#: Seconds of each answer to /work.
WORK = 0.002

_grown = []


def application(environ, start_response):
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    body = VIEWS[environ["PATH_INFO"]](environ, query)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def work(environ, query):
    sent = environ["wsgi.input"].read() if environ["REQUEST_METHOD"] == "POST" else None
    return answer(query["n"], int(query["size"]), sent)


def answer(number, size, sent=None):
    """What the load generator expects for a request of that number."""
    time.sleep(WORK)
    if sent is None:
        unit = f"{number} ".encode()
        sent = (unit * (size // len(unit) + 1))[:size]
    return f"{number}\n".encode() + sent


def pid(environ, query):
    return str(os.getpid()).encode()


def grow(environ, query):
    # Written to, or it would not be resident.
    _grown.append(bytearray(os.urandom(4096)) * (int(query["mb"]) * 256))
    return str(os.getpid()).encode()


def hang(environ, query):
    # A lock that is taken twice: no exception and no signal gets a thread out of it.
    libc = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def spin(environ, query):
    while True:
        time.sleep(0.001)


def leave(environ, query):
    os._exit(int(query["status"]))


def crash(environ, query):
    os.kill(os.getpid(), signal.SIGSEGV)
    return b"survived"


VIEWS = {
    "/work": work,
    "/pid": pid,
    "/grow": grow,
    "/hang": hang,
    "/spin": spin,
    "/exit": leave,
    "/crash": crash,
}
