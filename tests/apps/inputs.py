"""Reads wsgi.input as the query says and tells what came.

/ops?read:3,readline,readlines:10,iter:2   each call and its result, in order, as JSON
/ops?...&log                               the outcome as a line in the log too
/sha256?N                                  the digest and length of the body, read N bytes at a time
/unread                                    an answer without a look at the body
/file                                      what it says of itself, and what it refuses
/threads                                   digests of the pieces that four threads read at once
/keep, /kept                               keeps the input beyond its request; reads what was kept
"""

import hashlib
import io
import json
import weakref
from concurrent.futures import ThreadPoolExecutor

KEPT = []


def application(environ, start_response):
    view = VIEWS[environ["PATH_INFO"]]
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
    if name in ("readinto", "readinto1"):
        buffer = bytearray(int(numbers[0]))
        count = getattr(stream, name)(buffer)
        return [count, bytes(buffer)]
    if name == "text":
        text = io.TextIOWrapper(stream, encoding="latin-1", newline="")
        lines = [line.encode("latin-1") for line in text]
        text.detach()
        return lines
    if name == "buffered":
        buffered = io.BufferedReader(stream, 1000)
        pieces = [buffered.read(10), buffered.readline(), buffered.read()]
        buffered.detach()
        return pieces
    return getattr(stream, name)(*map(int, numbers))


def show(result):
    """JSON for bytes, numbers or a list of them; anything else shows by its type to be wrong."""
    if isinstance(result, list):
        return [show(item) for item in result]
    if isinstance(result, bytes):
        if len(result) > 100_000:
            return [len(result), hashlib.sha256(result).hexdigest()]
        return result.decode("latin-1")
    if isinstance(result, int):
        return result
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


def file(environ):
    stream = environ["wsgi.input"]
    assert weakref.ref(stream)() is stream
    told = {
        "is": [isinstance(stream, kind) for kind in (io.BufferedIOBase, io.IOBase, io.TextIOBase)],
        "can": [stream.readable(), stream.seekable(), stream.writable(), stream.isatty()],
        "refuses": {
            "fileno": refusal(stream.fileno),
            "detach": refusal(stream.detach),
            "truncate": refusal(stream.truncate, 0),
            "write": refusal(stream.write, b"x"),
            "writelines": refusal(stream.writelines, [b"x"]),
            "read a word": refusal(stream.read, "x"),
            "readinto bytes": refusal(stream.readinto, b"xxxx"),
            "readinto text": refusal(stream.readinto, "xxxx"),
            "seek before it": refusal(stream.seek, -1),
            "seek from nowhere": refusal(stream.seek, 0, 3),
        },
    }
    stream.flush()
    with stream as same:
        told["first"] = show(same.peek(3)[:3]), show(same.read(3)), same.closed
    told["closed"] = stream.closed
    for name in ("read", "readline", "readlines", "tell", "readable", "flush", "__iter__"):
        told["refuses"]["closed: " + name] = refusal(getattr(stream, name))
    stream.close()
    return told


def refusal(function, *arguments):
    try:
        return repr(function(*arguments))
    except Exception as error:
        return type(error).__name__


def threads(environ):
    stream = environ["wsgi.input"]

    def digests(size):
        return [hashlib.sha256(piece).hexdigest() for piece in iter(lambda: stream.read(size), b"")]

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(digests, [50_000] * 4), [])


def keep(environ):
    KEPT.append(environ["wsgi.input"])
    return KEPT[-1].read(4).decode()


def kept(environ):
    return KEPT.pop().read().decode()


VIEWS = {f"/{view.__name__}": view for view in (ops, sha256, unread, file, threads, keep, kept)}
