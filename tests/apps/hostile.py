"""What a client says, given back in the places where it could do harm.

/ran?FILE        leaves a file behind
/header, /status the path's rest, decoded, as a header's value or a reason phrase
/two_lengths     Content-Length twice
/chunked         a Transfer-Encoding of its own
anything else    the environ's strings as JSON
"""

import json
import pathlib


def application(environ, start_response):
    plain = ("Content-Type", "text/plain")
    kind, _, rest = environ["PATH_INFO"].lstrip("/").partition("/")
    if kind == "ran":
        pathlib.Path(environ["QUERY_STRING"]).touch()
    elif kind == "header":
        start_response("302 Found", [plain, ("Location", rest)])
        return [b"moved"]
    elif kind == "status":
        start_response("200 " + rest, [plain])
        return [b"ok"]
    elif kind == "two_lengths":
        start_response("200 OK", [plain, ("Content-Length", "2"), ("content-length", "60")])
        return [b"ok"]
    elif kind == "chunked":
        start_response("200 OK", [plain, ("Transfer-Encoding", "chunked")])
        return [b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nmine"]
    strings = {name: value for name, value in environ.items() if isinstance(value, str)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(strings).encode()]
