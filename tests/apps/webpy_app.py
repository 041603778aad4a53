"""web.py."""

import hashlib
import json
import os

import web

HERE = os.path.dirname(os.path.abspath(__file__))


class Hello:
    def GET(self, name):
        return f"{web.input(greeting='Hello').greeting}, {name}!"


class Form:
    def POST(self):
        return as_json(dict(web.input()))


class Json:
    def POST(self):
        return as_json({"received": json.loads(web.data())})


class Upload:
    def POST(self):
        form = web.input(file={})
        digest = hashlib.sha256(form.file.file.read()).hexdigest()
        return as_json({"name": form.file.filename, "sha256": digest, "note": form.note})


class Login:
    def GET(self, user):
        web.setcookie("user", user)
        web.setcookie("theme", "dark")
        raise web.seeother("/whoami")


class WhoAmI:
    def GET(self):
        return web.cookies(user="nobody").user


class Stream:
    def GET(self, count):
        web.header("Content-Type", "text/plain")
        for n in range(int(count)):
            yield f"line {n}\n"


class File:
    def GET(self):
        web.header("Content-Type", "text/plain")
        return open(os.path.join(HERE, "static/hello.txt"), "rb")


class Error:
    def GET(self):
        raise RuntimeError("a page that fails")


class Where:
    def GET(self):
        environ = web.ctx.environ
        return as_json(
            {
                "script_name": environ["SCRIPT_NAME"],
                "path_info": environ["PATH_INFO"],
                "link": web.url("/hello/link"),
            }
        )


def as_json(value):
    web.header("Content-Type", "application/json")
    return json.dumps(value)


urls = (
    "/hello/(.+)", Hello,
    "/form", Form,
    "/json", Json,
    "/upload", Upload,
    "/login/(.+)", Login,
    "/whoami", WhoAmI,
    r"/stream/(\d+)", Stream,
    "/file", File,
    "/static/hello.txt", File,
    "/error", Error,
    "/where", Where,
)  # fmt: skip

# web.py's debug mode would answer an error with a page of its own and reload modules.
web.config.debug = False
application = web.application(urls, globals()).wsgifunc()
