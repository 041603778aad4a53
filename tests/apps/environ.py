"""Shows the environ it is called with, as JSON."""

import json
import os
import sys

#: Put into every environ: a later request that finds it was given a used dict.
STAMP = "test.stamp"


def application(*arguments, **named):
    environ, start_response = arguments
    shown = {
        "exact_dict": type(environ) is dict,
        "positional": not named,
        "used_before": STAMP in environ,
        "strings": {k: v for k, v in environ.items() if isinstance(v, str)},
        "types": {k: type(v).__name__ for k, v in environ.items()},
        "version": environ.get("wsgi.version"),
        "multithread": environ.get("wsgi.multithread"),
        "multiprocess": environ.get("wsgi.multiprocess"),
        "run_once": environ.get("wsgi.run_once"),
        "input_terminated": environ.get("wsgi.input_terminated"),
        "methods": {
            "wsgi.input": methods(environ.get("wsgi.input")),
            "wsgi.errors": methods(environ.get("wsgi.errors")),
            "wsgi.file_wrapper": methods(environ.get("wsgi.file_wrapper")),
        },
        "process": {
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "cwd": os.getcwd(),
            "environment": dict(os.environ),
            "path": sys.path,
            "prefix": sys.prefix,
            "version": ".".join(map(str, sys.version_info[:3])),
        },
    }
    environ[STAMP] = "seen"
    environ["REQUEST_METHOD"] = "changed"
    del environ["QUERY_STRING"]
    body = json.dumps(shown).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


def methods(value):
    names = (
        "__call__",
        "__iter__",
        "read",
        "readline",
        "readlines",
        "write",
        "writelines",
        "flush",
    )
    return [name for name in names if callable(getattr(value, name, None))]
