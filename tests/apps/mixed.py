"""What a site does in a day, for the soak: answers that can be checked, slow ones, and failures.

/work?n=N&size=S    what the load generator asks for (see reliable.py)
/form               the fields of a form, as JSON
/upload             the length and checksum of the body
/download?N         N bytes of a pattern, as a stream
/file?N             the same as a file
/stream             ten lines in half a second
/error              an exception
/spin               never answers, in Python
/hang               never answers, in C
"""

import json
import tempfile
import time
import zlib
from urllib.parse import parse_qsl

import reliable

from bodies import pattern


def application(environ, start_response):
    view = VIEWS.get(environ["PATH_INFO"])
    if view is None:
        return reliable.application(environ, start_response)
    body = view(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body] if isinstance(body, bytes) else body


def form(environ):
    return json.dumps(dict(parse_qsl(environ["wsgi.input"].read().decode()))).encode()


def upload(environ):
    length = checksum = 0
    while piece := environ["wsgi.input"].read(65536):
        length += len(piece)
        checksum = zlib.crc32(piece, checksum)
    return f"{length} {checksum}".encode()


def download(environ):
    return pattern(int(environ["QUERY_STRING"]))


def file(environ):
    opened = tempfile.TemporaryFile()
    for block in download(environ):
        opened.write(block)
    opened.seek(0)
    return environ["wsgi.file_wrapper"](opened)


def stream(environ):
    for number in range(10):
        yield f"line {number}\n".encode()
        time.sleep(0.05)


def error(environ):
    raise RuntimeError("as it should")


VIEWS = {
    "/form": form,
    "/upload": upload,
    "/download": download,
    "/file": file,
    "/stream": stream,
    "/error": error,
}
