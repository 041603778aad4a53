"""WSGI applications, one a case. Every server gets this file."""

import os

PLAIN = ("Content-Type", "text/plain")
BYTES = ("Content-Type", "application/octet-stream")

MEGABYTE = [b"x" * 65536] * 16
CHUNK = b"a small chunk of 33 bytes, again\n"


def hello(environ, start_response):
    start_response("200 OK", [PLAIN])
    return [b"hello, world\n"]


def echo(environ, start_response):
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [BYTES, ("Content-Length", str(len(body)))])
    return [body]


def megabyte(environ, start_response):
    start_response("200 OK", [BYTES, ("Content-Length", "1048576")])
    return MEGABYTE


def chunks(environ, start_response):
    start_response("200 OK", [PLAIN])
    return (CHUNK for _ in range(1000))


def file(environ, start_response):
    """$BENCH_FILE, which is there before the server."""
    path = os.environ["BENCH_FILE"]
    start_response("200 OK", [BYTES, ("Content-Length", str(os.path.getsize(path)))])
    return environ["wsgi.file_wrapper"](open(path, "rb"), 65536)


def sized(environ, start_response):
    """As many bytes as the query says, from a list."""
    size = int(environ["QUERY_STRING"])
    body = [MEGABYTE[0]] * (size // 65536) + [MEGABYTE[0][: size % 65536]]
    start_response("200 OK", [BYTES, ("Content-Length", str(size))])
    return body


def received(environ, start_response):
    """Reads the body and says how long it was."""
    stream, total = environ["wsgi.input"], 0
    while True:
        piece = stream.read(65536)
        if not piece:
            break
        total += len(piece)
    start_response("200 OK", [PLAIN])
    return [b"%d\n" % total]
