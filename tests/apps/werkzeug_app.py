"""Werkzeug, without a framework on top."""

import hashlib
import json
import os

from werkzeug.exceptions import HTTPException
from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import wrap_file

HERE = os.path.dirname(os.path.abspath(__file__))


def hello(request, urls, name):
    return Response(f"{request.args.get('greeting', 'Hello')}, {name}!")


def form(request, urls):
    return as_json(request.form.to_dict())


def from_json(request, urls):
    return as_json({"received": request.get_json()})


def upload(request, urls):
    file = request.files["file"]
    digest = hashlib.sha256(file.read()).hexdigest()
    return as_json({"name": file.filename, "sha256": digest, "note": request.form["note"]})


def login(request, urls, user):
    response = redirect(urls.build("whoami"))
    response.set_cookie("user", user)
    response.set_cookie("theme", "dark")
    return response


def whoami(request, urls):
    return Response(request.cookies.get("user", "nobody"))


def stream(request, urls, count):
    return Response((f"line {n}\n" for n in range(count)), mimetype="text/plain")


def file(request, urls):
    stream = open(os.path.join(HERE, "static/hello.txt"), "rb")
    body = wrap_file(request.environ, stream)
    return Response(body, mimetype="text/plain", direct_passthrough=True)


def error(request, urls):
    raise RuntimeError("a page that fails")


def where(request, urls):
    return as_json(
        {
            "script_name": request.environ["SCRIPT_NAME"],
            "path_info": request.environ["PATH_INFO"],
            "link": urls.build("hello", {"name": "link"}),
        }
    )


def as_json(value):
    return Response(json.dumps(value), mimetype="application/json")


VIEWS = {
    "hello": hello,
    "form": form,
    "json": from_json,
    "upload": upload,
    "login": login,
    "whoami": whoami,
    "stream": stream,
    "file": file,
    "error": error,
    "where": where,
}

RULES = Map(
    [
        Rule("/hello/<name>", endpoint="hello", methods=["GET"]),
        Rule("/form", endpoint="form", methods=["POST"]),
        Rule("/json", endpoint="json", methods=["POST"]),
        Rule("/upload", endpoint="upload", methods=["POST"]),
        Rule("/login/<user>", endpoint="login"),
        Rule("/whoami", endpoint="whoami"),
        Rule("/stream/<int:count>", endpoint="stream"),
        Rule("/file", endpoint="file"),
        Rule("/error", endpoint="error"),
        Rule("/where", endpoint="where"),
    ]
)


@Request.application
def pages(request):
    urls = RULES.bind_to_environ(request.environ)
    try:
        endpoint, values = urls.match()
    except HTTPException as error:
        return error
    return VIEWS[endpoint](request, urls, **values)


application = SharedDataMiddleware(pages, {"/static": os.path.join(HERE, "static")})
