"""The landing page of the demo: a bare WSGI callable that shows its environ."""

from html import escape
from pathlib import Path
from string import Template

PAGE = Template(Path(__file__).with_name("landing.html").read_text(encoding="utf-8"))


def application(environ, start_response):
    if environ["PATH_INFO"] not in ("", "/"):
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"There is no such page here.\n"]
    page = PAGE.substitute(
        request=table(environ, lambda name: name.isupper() and not name.startswith("HTTP_")),
        headers=table(environ, lambda name: name.startswith("HTTP_")),
        wsgi=table(environ, lambda name: not name.isupper()),
    ).encode()
    start_response(
        "200 OK",
        [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page)))],
    )
    return [page]


def table(environ, wanted):
    """The rows of the variables whose name is wanted, in the order of their names."""
    rows = (
        f"<tr><th>{escape(name)}<td>{shown(value)}"
        for name, value in sorted(environ.items())
        if wanted(name)
    )
    return "\n".join(rows)


def shown(value):
    if value == "":
        return '<span class="empty">empty</span>'
    return escape(value if isinstance(value, str) else repr(value))
