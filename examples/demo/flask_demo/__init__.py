"""The Flask part of the demo. Every link is made by url_for, so the mount's prefix shows."""

import hashlib
import io
import time

from flask import Flask, Response, jsonify, render_template, request, send_file, stream_with_context

app = Flask(__name__)

STREAM_LINES = 5
STREAM_PAUSE = 0.3  # seconds


@app.get("/")
def index():
    return render_template("index.html")


@app.route("/form", methods=["GET", "POST"])
def form():
    return render_template("form.html", name=request.form.get("name"))


@app.get("/json")
def environ_as_json():
    return jsonify({name: str(value) for name, value in sorted(request.environ.items())})


@app.get("/stream")
def stream():
    @stream_with_context
    def lines():
        for number in range(1, STREAM_LINES + 1):
            yield f"line {number} of {STREAM_LINES} at {time.strftime('%X')} for {request.path}\n"
            if number < STREAM_LINES:
                time.sleep(STREAM_PAUSE)

    # X-Accel-Buffering asks nginx to pass each piece on as it comes.
    return Response(lines(), mimetype="text/plain", headers={"X-Accel-Buffering": "no"})


@app.route("/upload", methods=["GET", "POST"])
def upload():
    file = request.files.get("file")
    if file is None:
        return render_template("upload.html")
    content = file.read()
    if request.form.get("answer") == "file":
        return send_file(io.BytesIO(content), mimetype=file.mimetype, download_name=file.filename)
    return render_template(
        "upload.html",
        file=file,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
