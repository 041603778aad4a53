"""Pyramid."""

import hashlib
import os

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.response import FileResponse, Response

HERE = os.path.dirname(os.path.abspath(__file__))


def hello(request):
    greeting = request.params.get("greeting", "Hello")
    return Response(f"{greeting}, {request.matchdict['name']}!")


def form(request):
    return dict(request.POST)


def from_json(request):
    return {"received": request.json_body}


def upload(request):
    file = request.POST["file"]
    digest = hashlib.sha256(file.file.read()).hexdigest()
    return {"name": file.filename, "sha256": digest, "note": request.POST["note"]}


def login(request):
    response = HTTPFound(request.route_path("whoami"))
    response.set_cookie("user", request.matchdict["user"])
    response.set_cookie("theme", "dark")
    return response


def whoami(request):
    return Response(request.cookies.get("user", "nobody"))


def stream(request):
    lines = (b"line %d\n" % n for n in range(int(request.matchdict["count"])))
    return Response(app_iter=lines, content_type="text/plain")


def file(request):
    return FileResponse(os.path.join(HERE, "static/hello.txt"), request=request)


def error(request):
    raise RuntimeError("a page that fails")


def where(request):
    return {
        "script_name": request.environ["SCRIPT_NAME"],
        "path_info": request.environ["PATH_INFO"],
        "link": request.route_path("hello", name="link"),
    }


PAGES = [
    ("/hello/{name}", "hello", hello, None),
    ("/form", "form", form, "json"),
    ("/json", "json", from_json, "json"),
    ("/upload", "upload", upload, "json"),
    ("/login/{user}", "login", login, None),
    ("/whoami", "whoami", whoami, None),
    ("/stream/{count}", "stream", stream, None),
    ("/file", "file", file, None),
    ("/error", "error", error, None),
    ("/where", "where", where, "json"),
]


def main():
    with Configurator() as config:
        for path, name, page, renderer in PAGES:
            config.add_route(name, path)
            config.add_view(page, route_name=name, renderer=renderer)
        config.add_static_view("static", os.path.join(HERE, "static"))
        return config.make_wsgi_app()
