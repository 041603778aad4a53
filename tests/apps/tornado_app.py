"""A WSGI application, and Tornado's WSGI container serving it.

`python tornado_app.py` listens on a free port of 127.0.0.1 and prints its number. Tornado 6 has
no adapter for its own handlers any more: its WSGI support is this container.
"""

import asyncio
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

#: Copied for each response: Tornado appends to the list it is given.
PLAIN = (("Content-Type", "text/plain; charset=utf-8"),)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hello":
        name = parse_qs(environ["QUERY_STRING"]).get("name", ["nobody"])[0]
        start_response("200 OK", [*PLAIN, ("X-Method", environ["REQUEST_METHOD"])])
        return [f"Hello, {name}!".encode()]
    if path == "/body":
        body = environ["wsgi.input"].read()
        start_response("201 Made", [("Content-Type", "application/json")])
        digest = hashlib.sha256(body).hexdigest()
        return [json.dumps({"length": len(body), "sha256": digest}).encode()]
    if path == "/cookies":
        start_response("302 Found", [*PLAIN, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"),
                                     ("Location", "/hello")])  # fmt: skip
        return [environ.get("HTTP_COOKIE", "").encode()]
    if path == "/chunks":
        start_response("200 OK", [*PLAIN])
        return (b"chunk %d\n" % n for n in range(5))
    if path == "/written":
        start_response("200 OK", [*PLAIN])(b"written, ")
        return [b"returned"]
    if path.startswith("/path/"):
        shown = {name: environ[name] for name in ("PATH_INFO", "SCRIPT_NAME", "QUERY_STRING")}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(shown).encode()]
    start_response("404 Not Found", [*PLAIN])
    return [b"no such page"]


async def main():
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.wsgi import WSGIContainer

    sockets = bind_sockets(0, "127.0.0.1")
    HTTPServer(WSGIContainer(application, ThreadPoolExecutor(1))).add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
