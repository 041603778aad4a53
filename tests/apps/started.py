"""Answers for tests of what happens before a worker serves.

/               who serves, who imported it, and what is in the cache
/cached         fills the cache first: with who did so, and the environ
/fail           an exception
/missing        a 404
"""

import json
import os

IMPORTED_BY = os.getpid()

_cache = {}


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise LookupError("nothing works yet")
    if path == "/missing":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"nothing here"]
    if path in ("/cached", "/caf\xc3\xa9") and not _cache:
        _cache.update(filled_by=os.getpid(), environ=shown(environ), ended=[])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Watched()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"served_by": os.getpid(), "imported_by": IMPORTED_BY, **_cache}).encode()]


def shown(environ):
    return {
        name: value if isinstance(value, (str, bool)) else type(value).__name__
        for name, value in environ.items()
    }


class Watched:
    """A body that notes how it was used: what fills the cache is not answered with JSON."""

    def __iter__(self):
        yield json.dumps({"served_by": os.getpid()}).encode()
        _cache["ended"].append("iterated")

    def close(self):
        _cache["ended"].append("closed")
