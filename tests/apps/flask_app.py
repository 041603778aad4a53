"""Flask. The frameworks' applications all have the same pages: see test_frameworks.py."""

import hashlib

from flask import Flask, Response, jsonify, redirect, request, send_file, url_for

app = Flask(__name__, static_folder="static", static_url_path="/static")


@app.get("/hello/<name>")
def hello(name):
    return f"{request.args.get('greeting', 'Hello')}, {name}!"


@app.post("/form")
def form():
    return jsonify(request.form.to_dict())


@app.post("/json")
def json():
    return jsonify(received=request.get_json())


@app.post("/upload")
def upload():
    file = request.files["file"]
    digest = hashlib.sha256(file.read()).hexdigest()
    return jsonify(name=file.filename, sha256=digest, note=request.form["note"])


@app.get("/login/<user>")
def login(user):
    response = redirect(url_for("whoami"))
    response.set_cookie("user", user)
    response.set_cookie("theme", "dark")
    return response


@app.get("/whoami")
def whoami():
    return request.cookies.get("user", "nobody")


@app.get("/stream/<int:count>")
def stream(count):
    return Response((f"line {n}\n" for n in range(count)), mimetype="text/plain")


@app.get("/file")
def file():
    return send_file("static/hello.txt")


@app.get("/error")
def error():
    raise RuntimeError("a page that fails")


@app.get("/where")
def where():
    environ = request.environ
    return jsonify(
        script_name=environ["SCRIPT_NAME"],
        path_info=environ["PATH_INFO"],
        link=url_for("hello", name="link"),
    )
