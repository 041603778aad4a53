"""The applications of responses.py and inputs.py, and what they leave in memory.

/counts            collects garbage and tells how many blocks of memory Python has allocated; a
                   debug build of Python tells how many references there are, too
/input/…           inputs.py
/unclosed          opens a file and forgets it
anything else      responses.py
"""

import gc
import sys

import inputs
import responses


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/counts":
        # Twice: what the first finalises may leave more.
        gc.collect()
        gc.collect()
        start_response("200 OK", [("Content-Type", "text/plain")])
        counts = [sys.getallocatedblocks()]
        if hasattr(sys, "gettotalrefcount"):
            counts.append(sys.gettotalrefcount())
        return [" ".join(map(str, counts)).encode()]
    if path == "/unclosed":
        open(__file__)
        path = environ["PATH_INFO"] = "/hello"
    if path.startswith("/input/"):
        environ["PATH_INFO"] = path[len("/input") :]
        return inputs.application(environ, start_response)
    return responses.application(environ, start_response)
