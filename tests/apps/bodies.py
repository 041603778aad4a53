"""Large bodies in constant memory.

/up?N     reads the body in pieces of N bytes: its length, checksum and the worker's pid
/down?N   N bytes of a pattern
"""

import json
import os
import zlib

BLOCK = bytes(range(256)) * 256


def application(environ, start_response):
    number = int(environ["QUERY_STRING"])
    if environ["PATH_INFO"] == "/down":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return pattern(number)
    body = json.dumps(measure(environ["wsgi.input"], number)).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


def pattern(length):
    """That many bytes, of which none repeats where a lost block would put it."""
    for at in range(0, length, len(BLOCK)):
        block = at.to_bytes(8, "big") + BLOCK[8:]
        yield block[: length - at]


def measure(stream, size):
    length = checksum = 0
    while True:
        piece = stream.read(size)
        if not piece:
            return {"length": length, "checksum": checksum, "pid": os.getpid()}
        length += len(piece)
        checksum = zlib.crc32(piece, checksum)
