"""What a front server is asked for: the views of `responses`, and those that tell a request.

The first part of the path names a view.

/request/...             the environ's strings, and the length and digest of the body, as JSON
/early?line=413+Too+Big  answers without a look at the body
/headers?n=3&size=100    n fields of that size; &name=Set-Cookie for all of them
/redirect?to=/there      to any Location
/sent_by_nginx?path=P    has nginx send P
/paced?key=K             never ends, and notes each close()
/reads                   notes `key` when the body is whole
"""

import hashlib
import json
import time

from responses import PLAIN, VIEWS, Body, application, note, query, view

__all__ = ["application"]


@view
def request(environ, start_response):
    digest, length = hashlib.sha256(), 0
    while True:
        piece = environ["wsgi.input"].read(65536)
        if not piece:
            break
        digest.update(piece)
        length += len(piece)
    told = {
        "strings": {name: value for name, value in environ.items() if isinstance(value, str)},
        "length": length,
        "sha256": digest.hexdigest(),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


@view
def early(environ, start_response):
    start_response(query(environ, "line"), [*PLAIN])
    return [b"early"]


@view
def headers(environ, start_response):
    name, size = query(environ, "name", "X-Field"), int(query(environ, "size"))
    fields = [(name, f"{n}=".ljust(size, "x")) for n in range(int(query(environ, "n")))]
    start_response("200 OK", [*PLAIN, *fields])
    return [b"headers"]


@view
def redirect(environ, start_response):
    start_response("302 Found", [("Location", query(environ, "to"))])
    return []


@view
def sent_by_nginx(environ, start_response):
    start_response("200 OK", [*PLAIN, ("X-Accel-Redirect", query(environ, "path"))])
    return [b"not this"]


@view
def paced(environ, start_response):
    """As much as any client takes, and not as much as a disk holds."""

    def chunks():
        while True:
            yield b"x" * 16384
            time.sleep(0.002)

    start_response("200 OK", [*PLAIN])
    return Body(environ, chunks())


@view
def reads(environ, start_response):
    environ["wsgi.input"].read()
    note(environ)
    start_response("200 OK", [*PLAIN])
    return [b"read"]


def _root(environ, start_response):
    """For what has no view: the path itself was not as it should be."""
    return request(environ, start_response)


VIEWS[""] = _root
