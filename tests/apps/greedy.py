"""An application that takes more than it should.

/pid            who serves
/grow?MIB       keeps so much memory more
/crash          ends the worker by SIGSEGV
/busy?SECONDS   works, without waiting
"""

import os
import signal
import time

_kept = []


def application(environ, start_response):
    view = VIEWS[environ["PATH_INFO"]]
    view(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


def grow(mib):
    _kept.append(b"x" * (int(mib) << 20))


def crash(_):
    os.kill(os.getpid(), signal.SIGSEGV)


def busy(seconds):
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        pass


VIEWS = {"/pid": lambda _: None, "/grow": grow, "/crash": crash, "/busy": busy}
