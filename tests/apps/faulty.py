"""Applications that go wrong in every way they can, and say who served.

/pid                 who serves
/memory?MIB          takes so much for this request
/file                opens a file
/length              the length of the body sent
/large?MIB           so much, in blocks of 64 KiB
/hold?started=P&gate=P   makes the first file, answers once the second exists
/segfault            a null pointer, by ctypes
/abort               as when Rust or C finds no memory
/exit_in_thread      ends the process from another thread
/half_then?HOW       half of a response, then the end of the process by one of ENDS
/raise?NAME          an exception that means the end of a program elsewhere
/close?FD            closes standard input, output or error
/rob?KIND            closes the worker's own files of a kind, such as socket; all without one
/replace?KIND        puts standard input in their place
/chdir               goes to another directory, and answers which
/signals             takes over every signal
/child               starts a program that outlives the request; its pid
/fork?KILL           a copy of the worker that outlives the request; its pid, which goes into the
                     file KILL as well if there is one, and then the worker is killed
/copied?WHERE-THEN   a copy of the worker in the middle of a response: in the iteration (next), in
                     close() or in a destructor (del); then it does one of return, raise, exit
/threads?N           starts threads that go on
/print?MIB           so much on standard error
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs

BLOCK = b"x" * 65536

ENDS = {
    "exit": lambda: os._exit(1),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
}


def application(environ, start_response):
    view = VIEWS[environ["PATH_INFO"]]
    body = view(environ["QUERY_STRING"], environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body] if isinstance(body, bytes) else body


def pid(query, environ):
    return str(os.getpid()).encode()


def memory(mib, environ):
    return str(len(bytearray(int(mib) << 20))).encode()


def file(query, environ):
    with open(__file__) as opened:
        return opened.readline().encode()


def length(query, environ):
    return str(len(environ["wsgi.input"].read())).encode()


def large(mib, environ):
    return (BLOCK for _ in range(int(mib) * 16))


def hold(query, environ):
    values = parse_qs(query)
    open(values["started"][0], "w").close()
    while not os.path.exists(values["gate"][0]):
        # libfaketime's sleep fails when the clock has gone back.
        select.select([], [], [], 0.01)
    return pid(query, environ)


def segfault(query, environ):
    return ctypes.string_at(0)


def abort(query, environ):
    os.abort()


def exit_in_thread(query, environ):
    threading.Thread(target=os._exit, args=(1,)).start()
    time.sleep(60)


def half_then(how, environ):
    yield b"half"
    ENDS[how]()


def fail(name, environ):
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[name](3)


def close(fd, environ):
    os.close(int(fd))
    return pid(fd, environ)


def rob(kind, environ):
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if kind in os.readlink(f"/proc/self/fd/{fd}") and fd > 2:
                os.close(fd) if environ["PATH_INFO"] == "/rob" else os.dup2(0, fd)
    return pid(kind, environ)


def chdir(query, environ):
    os.chdir("/")
    return os.getcwd().encode()


def signals(query, environ):
    # Only the main thread may, which is the only one with --threads 1.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGPIPE):
        signal.signal(number, lambda *_: None)
    return pid(query, environ)


def child(query, environ):
    started = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
    return str(started.pid).encode()


def fork(query, environ):
    copy = os.fork()
    if not copy:
        time.sleep(600)
        os._exit(0)
    if query:
        with open(query, "w") as file:
            file.write(str(copy))
        os.kill(os.getpid(), signal.SIGKILL)
    return str(copy).encode()


class Copied:
    """A response of two blocks in which the worker is copied."""

    def __init__(self, how):
        self.where, _, self.then = how.partition("-")

    def copy(self, where):
        if where != self.where or os.fork():
            return
        if self.then == "raise":
            raise RuntimeError("raised by the copy")
        if self.then == "exit":
            sys.exit(3)

    def __iter__(self):
        yield b"one "
        self.copy("next")
        yield b"two"

    def close(self):
        self.copy("close")

    def __del__(self):
        self.copy("del")


def copied(how, environ):
    return Copied(how)


def threads(count, environ):
    for _ in range(int(count)):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return pid(count, environ)


def write(mib, environ):
    for _ in range(int(mib) * 16):
        sys.stderr.write("x" * 65535 + "\n")
    return pid(mib, environ)


VIEWS = {
    "/pid": pid,
    "/memory": memory,
    "/file": file,
    "/length": length,
    "/large": large,
    "/hold": hold,
    "/segfault": segfault,
    "/abort": abort,
    "/exit_in_thread": exit_in_thread,
    "/half_then": half_then,
    "/raise": fail,
    "/close": close,
    "/rob": rob,
    "/replace": rob,
    "/chdir": chdir,
    "/signals": signals,
    "/child": child,
    "/fork": fork,
    "/copied": copied,
    "/threads": threads,
    "/print": write,
}
