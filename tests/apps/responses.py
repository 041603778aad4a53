"""Answers in every way PEP 3333 allows, and in some that it forbids.

The first part of the path names a view below; the query holds its parameters. `/count?key=K`
tells how often the views noted K.
"""

import collections
import io
import os
import sys
import threading
import time
from urllib.parse import parse_qs

#: Copied for each response: the list belongs to the server then.
PLAIN = (("Content-Type", "text/plain"),)

_noted = collections.Counter()
_lock = threading.Lock()


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/").split("/")[0]
    return VIEWS[name](environ, start_response)


def query(environ, name, default=""):
    return parse_qs(environ["QUERY_STRING"]).get(name, [default])[0]


def note(environ):
    """Counts one event under the request's key."""
    with _lock:
        _noted[query(environ, "key")] += 1


def wait_for_gate(environ, patience=20):
    """Waits until the file exists that the test makes when it has seen enough."""
    deadline = time.monotonic() + patience
    while not os.path.exists(query(environ, "gate")):
        if time.monotonic() > deadline:
            raise TimeoutError("nobody opened the gate")
        time.sleep(0.01)


class Body:
    """An iterable that notes each close()."""

    def __init__(self, environ, chunks):
        self.environ = environ
        self.chunks = iter(chunks)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        note(self.environ)


VIEWS = {}


def view(function):
    VIEWS[function.__name__] = function
    return function


@view
def count(environ, start_response):
    with _lock:
        number = _noted[query(environ, "key")]
    start_response("200 OK", [*PLAIN])
    return [str(number).encode()]


@view
def pid(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return [str(os.getpid()).encode()]


@view
def empty_blocks(environ, start_response):
    """Has nothing to send and goes on: before its first block, or after it."""
    start_response("200 OK", [*PLAIN])

    def blocks():
        if query(environ, "first"):
            yield b"first"
        with _lock:
            _noted[query(environ, "key") + "-begun"] += 1
        deadline = time.monotonic() + float(query(environ, "seconds", "60"))
        while time.monotonic() < deadline:
            time.sleep(0.01)
            yield b""
        yield b"last"

    return Body(environ, blocks())


# When start_response is called.


@view
def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Kind", "list of one")])
    return [b"hello, world\n"]


@view
def hello_tuple(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return (b"hello, ", b"world\n")


@view
def hello_generator(environ, start_response):
    """start_response is called by the first step of the iteration."""
    start_response("200 OK", [*PLAIN])
    yield b"hello, "
    yield b"world\n"


@view
def started_after_empty_chunks(environ, start_response):
    yield b""
    yield b""
    start_response("200 OK", [*PLAIN])
    yield b"late start"


@view
def never_started(environ, start_response):
    return [b"no start_response"]


@view
def never_started_empty(environ, start_response):
    return []


@view
def chunk_before_start(environ, start_response):
    yield b"too early"
    start_response("200 OK", [*PLAIN])


@view
def no_chunks(environ, start_response):
    start_response("202 Accepted", [*PLAIN, ("X-Kind", "empty")])
    return []


@view
def empty_chunks_only(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return iter([b"", b"", b""])


@view
def sequence_protocol(environ, start_response):
    """Iterable by __getitem__ alone."""

    class Old:
        def __getitem__(self, index):
            return [b"a", b"b", b"c"][index]

    start_response("200 OK", [*PLAIN])
    return Old()


# write().


@view
def write_only(environ, start_response):
    write = start_response("200 OK", [*PLAIN])
    write(b"one ")
    write(b"two")
    return []


@view
def write_then_iterable(environ, start_response):
    write = start_response("200 OK", [*PLAIN])
    write(b"written first, ")
    write(b"")
    write(b"and second, ")
    return iter([b"iterated third, ", b"and fourth"])


@view
def write_streams(environ, start_response):
    write = start_response("200 OK", [*PLAIN])
    write(b"first\n")
    wait_for_gate(environ)
    write(b"second\n")
    return []


@view
def written_by_a_thread(environ, start_response):
    """Returns while another thread writes: the block `too`, if there is one."""
    write = start_response("200 OK", [*PLAIN])
    size, too = int(query(environ, "size")), query(environ, "too")
    threading.Thread(target=write, args=(b"x" * size,)).start()
    wait_for_gate(environ)
    return Body(environ, [too.encode()] if too else [])


@view
def write_str(environ, start_response):
    write = start_response("200 OK", [*PLAIN])
    write("text")
    return []


# Errors of the application.


@view
def raises(environ, start_response):
    raise RuntimeError("raised before start_response")


@view
def raises_after_start(environ, start_response):
    start_response("200 OK", [*PLAIN])
    raise RuntimeError("raised after start_response")


@view
def raises_before_first_chunk(environ, start_response):
    start_response("200 OK", [*PLAIN])
    note(environ)
    raise RuntimeError("raised before the first chunk")
    yield b"never"


@view
def raises_after_empty_chunk(environ, start_response):
    start_response("200 OK", [*PLAIN])
    yield b""
    raise RuntimeError("raised after an empty chunk")


@view
def raises_a_surrogate(environ, start_response):
    raise ValueError("a name that is no UTF-8: \udcff")


def chunks_then_error():
    yield b"first chunk\n"
    yield b"second chunk\n"
    raise RuntimeError("raised in mid-body")


@view
def raises_in_body(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return Body(environ, chunks_then_error())


@view
def raises_in_body_with_length(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "1000")])
    return Body(environ, chunks_then_error())


@view
def raises_after_write(environ, start_response):
    write = start_response("200 OK", [*PLAIN])
    write(b"written\n")
    raise RuntimeError("raised after write")


@view
def raises_in_close(environ, start_response):
    class Bad(Body):
        def close(self):
            super().close()
            raise RuntimeError("raised in close")

    start_response("200 OK", [*PLAIN])
    return Bad(environ, [b"whole ", b"body"])


@view
def exits(environ, start_response):
    kind = {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}
    raise kind[query(environ, "kind")]("raised by the application")


# start_response again.


def failure():
    try:
        raise ValueError("the application's own error")
    except ValueError:
        return sys.exc_info()


@view
def replaced(environ, start_response):
    start_response("200 OK", [*PLAIN, ("X-First", "1")])
    start_response("503 Replaced", [*PLAIN, ("X-Second", "2")], failure())
    return [b"replaced"]


@view
def replaced_after_empty_chunks(environ, start_response):
    """Possible only because empty chunks do not send the headers."""
    start_response("200 OK", [*PLAIN, ("X-First", "1")])
    yield b""
    yield b""
    start_response("503 Replaced", [*PLAIN, ("X-Second", "2")], failure())
    yield b"replaced"


@view
def too_late_to_replace(environ, start_response):
    """The error handler finds the headers sent: start_response raises what it was given."""
    start_response("200 OK", [*PLAIN])
    yield b"sent\n"
    given = failure()
    try:
        start_response("500 Too Late", [*PLAIN], given)
    except ValueError as error:
        if error is given[1]:
            note(environ)
        raise
    yield b"start_response did not raise\n"


@view
def too_late_after_write(environ, start_response):
    write = start_response("200 OK", [*PLAIN])
    write(b"sent\n")
    given = failure()
    try:
        start_response("500 Too Late", [*PLAIN], given)
    except ValueError as error:
        if error is given[1]:
            note(environ)
        raise
    return [b"start_response did not raise\n"]


@view
def started_twice(environ, start_response):
    start_response("200 OK", [*PLAIN])
    start_response("200 OK", [*PLAIN])
    return [b"twice"]


@view
def first_start_with_exc_info(environ, start_response):
    start_response("500 Oops", [*PLAIN], failure())
    return [b"oops"]


@view
def exc_info_none(environ, start_response):
    start_response("200 OK", [*PLAIN], None)
    return [b"fine"]


# What start_response is given. BAD_* are refused.

BAD_STATUSES = {
    "int": 200,
    "bytes": b"200 OK",
    "two digits": "99 x",
    "four digits": "2000 OK",
    "letters": "abc OK",
    "interim": "103 Early Hints",
    "switching": "101 Switching Protocols",
    "empty": "",
    "None": None,
    "leading space": " 200 OK",
    "newline": "200 OK\r\nX-Injected: 1",
    "bare newline": "200 O\nK",
    "NUL": "200 O\0K",
    "not latin-1": "200 \u2603",
}

BAD_HEADERS = {
    "newline in value": ("X-Bad", "a\r\nX-Injected: 1"),
    "bare newline in value": ("X-Bad", "a\nb"),
    "bare return in value": ("X-Bad", "a\rb"),
    "NUL in value": ("X-Bad", "a\0b"),
    "newline in name": ("X-Bad\r\nX-Injected", "1"),
    "NUL in name": ("X-\0Bad", "1"),
    "colon in name": ("X-Bad:", "1"),
    "space in name": ("X Bad", "1"),
    "empty name": ("", "1"),
    "bytes name": (b"X-Bad", "1"),
    "bytes value": ("X-Bad", b"1"),
    "int value": ("Content-Length", 5),
    "None value": ("X-Bad", None),
    "not latin-1 value": ("X-Bad", "\u2603"),
    "not latin-1 name": ("X-\u2603", "1"),
    "one item": ("X-Bad",),
    "three items": ("X-Bad", "1", "2"),
    "a string": "X-Bad: 1",
}

HOP_BY_HOP = {
    "connection": "close",
    "keep-alive": "timeout=5",
    "proxy-authenticate": "Basic",
    "proxy-authorization": "Basic x",
    "te": "trailers",
    "trailer": "X-Sum",
    "transfer-encoding": "chunked",
    "upgrade": "websocket",
}


@view
def bad_status(environ, start_response):
    start_response(BAD_STATUSES[query(environ, "which")], [*PLAIN])
    return [b"accepted"]


@view
def bad_header(environ, start_response):
    start_response("200 OK", [*PLAIN, BAD_HEADERS[query(environ, "which")]])
    return [b"accepted"]


@view
def hop_by_hop(environ, start_response):
    name = query(environ, "which")
    start_response("200 OK", [*PLAIN, (name, HOP_BY_HOP[name.lower()])])
    return [b"accepted"]


@view
def events(environ, start_response):
    """As examples of server-sent events have it."""
    headers = [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-cache"),
        ("Connection", "keep-alive"),
        ("X-Accel-Buffering", "no"),
    ]
    start_response("200 OK", headers)
    return Body(environ, [b"data: 1\n\n", b"data: 2\n\n"])


@view
def proxied(environ, start_response):
    """The headers of another server that sends chunks, copied; they were undone or were not."""
    start_response("200", [*PLAIN, ("Transfer-Encoding", "chunked"), ("Keep-Alive", "timeout=5")])
    if query(environ, "as") == "chunks":
        return Body(environ, [b"5\r\nhello\r\n", b"0\r\n\r\n"])
    return Body(environ, [b"hello"])


@view
def lengths(environ, start_response):
    """Several lengths, one header each."""
    given = parse_qs(environ["QUERY_STRING"])["length"]
    start_response("200 OK", [*PLAIN, *(("Content-Length", length) for length in given)])
    return [b"hello world"]


@view
def bad_then_good(environ, start_response):
    """An application may handle the refusal: it is an exception like any other."""
    try:
        start_response("20 OK", [*PLAIN])
    except Exception:
        start_response("200 Handled", [*PLAIN])
    return [b"handled"]


@view
def reason(environ, start_response):
    start_response("200 Fine By Me", [*PLAIN])
    return [b"fine"]


@view
def status(environ, start_response):
    start_response(query(environ, "line"), [*PLAIN])
    return [b"body"]


@view
def many_headers(environ, start_response):
    headers = [(f"X-Field-{n}", f"value {n}") for n in range(60)]
    start_response("200 OK", [*PLAIN, *headers])
    return [b"many"]


@view
def repeated_headers(environ, start_response):
    headers = [("Set-Cookie", "a=1"), ("X-Between", "x"), ("Set-Cookie", "b=2; Path=/")]
    start_response("200 OK", [*PLAIN, *headers, ("Set-Cookie", "c=3")])
    return [b"repeated"]


@view
def latin_1_headers(environ, start_response):
    start_response("200 Tr\xe8s bien", [*PLAIN, ("X-Name", "J\xfcrgen"), ("X-Empty", "")])
    return [b"latin-1"]


@view
def header_case(environ, start_response):
    start_response("200 OK", [*PLAIN, ("X-mIxEd-CaSe", "kept")])
    return [b"case"]


# Lengths.


@view
def length(environ, start_response):
    """Declares one length and sends another."""
    declared = query(environ, "declared")
    start_response("200 OK", [*PLAIN, ("Content-Length", declared)])
    return Body(environ, [b"hello ", b"world"])


@view
def length_in_list(environ, start_response):
    start_response("200 OK", [*PLAIN, ("content-length", query(environ, "declared"))])
    return [b"hello world"]


@view
def bodyless(environ, start_response):
    """A body where the status allows none."""
    line = query(environ, "line")
    headers = [("ETag", '"x"')]
    if query(environ, "declared"):
        headers.append(("Content-Length", query(environ, "declared")))
    start_response(line, headers)
    if query(environ, "as") == "generator":
        return Body(environ, [b"must ", b"not be sent"])
    return [b"must not be sent"]


@view
def bodyless_right(environ, start_response):
    start_response(query(environ, "line"), [])
    return [b""]


@view
def head_probe(environ, start_response):
    """The same for GET and HEAD: the server drops the body."""
    kind = query(environ, "as")
    if kind == "write":
        start_response("200 OK", [*PLAIN])(b"body")
        return []
    headers = [*PLAIN, ("Content-Length", "4")] if kind == "declared" else [*PLAIN]
    start_response("200 OK", headers)
    return [b"body"] if kind == "list" else Body(environ, [b"bo", b"dy"])


# Streaming.


@view
def streams(environ, start_response):
    start_response("200 OK", [*PLAIN])
    yield b"first\n"
    wait_for_gate(environ)
    yield b"second\n"


@view
def streams_with_length(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "13")])
    yield b"first\n"
    wait_for_gate(environ)
    yield b"second\n"


@view
def endless(environ, start_response):
    def chunks():
        while True:
            yield b"x" * 65536

    headers = [*PLAIN]
    if query(environ, "declared"):
        headers.append(("Content-Length", query(environ, "declared")))
    start_response(query(environ, "line", "200 OK"), headers)
    return Body(environ, chunks())


@view
def endless_write(environ, start_response):
    write = start_response("200 OK", [*PLAIN, ("Content-Length", "10")])
    try:
        while True:
            write(b"x" * 10)
    finally:
        note(environ)


@view
def numbered(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return (b"chunk %d\n" % n for n in range(int(query(environ, "n"))))


@view
def sized(environ, start_response):
    start_response("200 OK", [*PLAIN])
    size, n = int(query(environ, "size")), int(query(environ, "n"))
    return (bytes([65 + i % 26]) * size for i in range(n))


@view
def closes(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return Body(environ, [b"one ", b"two"])


@view
def closes_without_start(environ, start_response):
    return Body(environ, [b"never started"])


# What is not an iterable of bytes.


@view
def bare_bytes(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return b"bare bytes"


@view
def bare_str(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return "bare str"


@view
def str_chunk(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return Body(environ, ["str chunk"])


@view
def str_chunk_in_list(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return ["str chunk"]


@view
def int_chunk(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return [42]


@view
def str_chunk_later(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return Body(environ, [b"bytes first\n", "then str"])


@view
def none(environ, start_response):
    start_response("200 OK", [*PLAIN])


@view
def number(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return 42


# wsgi.file_wrapper.


class Noting:
    """A file-like object without a descriptor that notes each close()."""

    def __init__(self, environ, content):
        self.environ = environ
        self.file = io.BytesIO(content)

    def read(self, size=-1):
        return self.file.read(size)

    def close(self):
        note(self.environ)


@view
def file(environ, start_response):
    """`path` from `seek`, after reading `read` bytes, with a Content-Length if `length`."""
    stream = open(query(environ, "path"), "rb")
    stream.seek(int(query(environ, "seek", "0")))
    stream.read(int(query(environ, "read", "0")))
    headers = list(PLAIN)
    if query(environ, "length"):
        headers.append(("Content-Length", query(environ, "length")))
    start_response("200 OK", headers)
    block = query(environ, "block")
    wrapper = environ["wsgi.file_wrapper"]
    return wrapper(stream, int(block)) if block else wrapper(stream)


@view
def file_without_descriptor(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](Noting(environ, b"0123456789" * 10_000), 4096)


@view
def file_bytes_io(environ, start_response):
    """Has a fileno() that raises, and is not at its start."""
    stream = io.BytesIO(b"0123456789" * 10_000)
    stream.seek(5)
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](stream)


@view
def file_closes(environ, start_response):
    class File(io.FileIO):
        def close(self):
            if not self.closed:
                note(environ)
            super().close()

    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](File(query(environ, "path")))


@view
def file_through_middleware(environ, start_response):
    start_response("200 OK", [*PLAIN])
    wrapper = environ["wsgi.file_wrapper"](Noting(environ, b"lower case " * 1000), 100)
    try:
        for chunk in wrapper:
            yield chunk.upper()
    finally:
        wrapper.close()


@view
def file_after_write(environ, start_response):
    start_response("200 OK", [*PLAIN])(b"written, then: ")
    return environ["wsgi.file_wrapper"](open(query(environ, "path"), "rb"))


@view
def file_for_writing(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](open(query(environ, "path"), "ab", buffering=0))


@view
def file_without_close(environ, start_response):
    class Bare:
        def __init__(self):
            self.read = io.BytesIO(b"only read()").read

    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](Bare())


# wsgi.errors.


@view
def errors(environ, start_response):
    log = environ["wsgi.errors"]
    log.write("written to errors\n")
    log.writelines(["a line of several\n", "and another\n"])
    print("printed to errors", "J\u00fcrgen \u2603", file=log)
    log.flush()
    log.write("in two ")
    log.write("pieces\n")
    log.write("without a newline")
    log.flush()
    start_response("200 OK", [*PLAIN])
    return [b"logged"]
