"""Reads wsgi.input as the query says and tells what came.

/ops?read:3,readline,readlines:10,iter:2   each call and its result, in order, as JSON
/ops?...&log                               the outcome as a line in the log too
/sha256?N                                  the digest and length of the body, read N bytes at a time
/unread                                    an answer without a look at the body
"""

import hashlib
import json


def application(environ, start_response):
    view = {"/ops": ops, "/sha256": sha256, "/unread": unread}[environ["PATH_INFO"]]
    body = json.dumps(view(environ)).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


def ops(environ):
    plan, _, log = environ["QUERY_STRING"].partition("&")
    try:
        results = play(environ["wsgi.input"], plan)
    except Exception as error:
        environ["wsgi.errors"].write(f"input failed: {type(error).__name__}\n")
        raise
    if log:
        environ["wsgi.errors"].write("input complete\n")
    return results


def play(stream, plan):
    """Does the calls of a plan on a file and returns what each gave."""
    return [show(call(stream, *step.split(":"))) for step in plan.split(",")]


def call(stream, name, *numbers):
    if name == "iter":
        # Takes that many lines, or all there are.
        count = int(numbers[0]) if numbers else None
        lines = []
        for line in stream:
            lines.append(line)
            if len(lines) == count:
                break
        return lines
    return getattr(stream, name)(*map(int, numbers))


def show(result):
    """JSON for bytes or a list of them; anything else shows by its type that it is wrong."""
    if isinstance(result, list):
        return [show(item) for item in result]
    if isinstance(result, bytes):
        return result.decode("latin-1")
    return {"not bytes": type(result).__name__}


def sha256(environ):
    size = int(environ["QUERY_STRING"])
    stream = environ["wsgi.input"]
    digest, length, largest = hashlib.sha256(), 0, 0
    while True:
        piece = stream.read(size)
        if not piece:
            break
        digest.update(piece)
        length += len(piece)
        largest = max(largest, len(piece))
    return {
        "sha256": digest.hexdigest(),
        "length": length,
        "largest": largest,
        "content_length": environ.get("CONTENT_LENGTH"),
    }


def unread(environ):
    return {"unread": True}
