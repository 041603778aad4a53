"""Bottle."""

import hashlib
import os

from bottle import Bottle, redirect, request, response, static_file

HERE = os.path.dirname(os.path.abspath(__file__))

app = Bottle()


@app.get("/hello/<name>", name="hello")
def hello(name):
    return f"{request.query.getunicode('greeting') or 'Hello'}, {name}!"


@app.post("/form")
def form():
    return {name: request.forms.getunicode(name) for name in request.forms}


@app.post("/json")
def json():
    return {"received": request.json}


@app.post("/upload")
def upload():
    file = request.files["file"]
    digest = hashlib.sha256(file.file.read()).hexdigest()
    return {"name": file.raw_filename, "sha256": digest, "note": request.forms["note"]}


@app.get("/login/<user>")
def login(user):
    response.set_cookie("user", user)
    response.set_cookie("theme", "dark")
    redirect(app.get_url("whoami"))


@app.get("/whoami", name="whoami")
def whoami():
    return request.get_cookie("user") or "nobody"


@app.get("/stream/<count:int>")
def stream(count):
    response.content_type = "text/plain"
    for n in range(count):
        yield f"line {n}\n"


@app.get("/file")
@app.get("/static/hello.txt")
def file():
    return static_file("hello.txt", root=os.path.join(HERE, "static"))


@app.get("/error")
def error():
    raise RuntimeError("a page that fails")


@app.get("/where")
def where():
    return {
        "script_name": request.environ["SCRIPT_NAME"],
        "path_info": request.environ["PATH_INFO"],
        "link": app.get_url("hello", name="link"),
    }
