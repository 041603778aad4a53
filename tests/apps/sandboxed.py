"""An application that tries what a sandbox may forbid. 200, or 403 with the name of the error.

/write?PATH     writes a file
/remove?PATH    removes one
/move?FROM&TO   renames one
/read?PATH      reads one
/file?PATH      answers with one, by wsgi.file_wrapper
/run?PATH       has a shell write a file
/later?PATH     has a thread do it
/signal?PID     asks whether it may send a signal there
/spool          gives the length of the body, and where temporary files go
/lock           makes a lock of multiprocessing, in shared memory
/sqlite?PATH    writes to a database
/connect?PORT   connects to 127.0.0.1
/user           becomes root
/imported       the error of writing while it was imported, if there was one
"""

import errno
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path


def application(environ, start_response):
    view = VIEWS[environ["PATH_INFO"]]
    try:
        body = view(environ)
    except OSError as error:
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [errno.errorcode[error.errno].encode()]
    if isinstance(body, str):
        body = [body.encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body


def path_of(environ):
    return Path(environ["QUERY_STRING"])


def write(environ):
    path_of(environ).write_text("written")
    return ""


def remove(environ):
    path_of(environ).unlink()
    return ""


def move(environ):
    os.rename(*environ["QUERY_STRING"].split("&"))
    return ""


def read(environ):
    return path_of(environ).read_text("latin-1")


def file(environ):
    return environ["wsgi.file_wrapper"](path_of(environ).open("rb"))


def run(environ):
    script = 'echo written > "$0"'
    done = subprocess.run(
        ["sh", "-c", script, str(path_of(environ))], check=False, stderr=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise PermissionError(errno.EACCES, "the shell could not")
    return ""


def later(environ):
    failed = []

    def work():
        try:
            write(environ)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    for error in failed:
        raise error
    return ""


def signal(environ):
    os.kill(int(environ["QUERY_STRING"]), 0)
    return ""


def spool(environ):
    length = len(environ["wsgi.input"].read())
    return f"{length} {tempfile.gettempdir()}"


def lock(environ):
    with multiprocessing.Lock():
        return ""


def sqlite(environ):
    try:
        with sqlite3.connect(path_of(environ)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (number INTEGER)")
            connection.execute("INSERT INTO kept VALUES (1)")
    except sqlite3.OperationalError as error:
        raise PermissionError(errno.EACCES, str(error)) from None
    return ""


def connect(environ):
    with socket.create_connection(("127.0.0.1", int(environ["QUERY_STRING"]))) as connection:
        return connection.recv(100).decode()


def user(environ):
    os.setuid(0)
    return str(os.getuid())


def imported(environ):
    return IMPORTED


def try_to_write_at_import():
    path = os.environ.get("WRITE_AT_IMPORT")
    if not path:
        return ""
    try:
        Path(path).write_text("written")
    except OSError as error:
        return errno.errorcode[error.errno]
    return "written"


VIEWS = {
    "/write": write,
    "/remove": remove,
    "/move": move,
    "/read": read,
    "/file": file,
    "/run": run,
    "/later": later,
    "/signal": signal,
    "/spool": spool,
    "/lock": lock,
    "/sqlite": sqlite,
    "/connect": connect,
    "/user": user,
    "/imported": imported,
}

IMPORTED = try_to_write_at_import()
