"""The application that $CONFORMANCE_APP names, as `module:callable`, inside wsgiref.validate."""

import os
from importlib import import_module
from wsgiref.validate import validator


class SizedReads:
    """`wsgi.input` for an application that calls `read()`: the validator wants a size."""

    def __init__(self, stream):
        self._stream = stream

    def read(self, size=-1):
        if size is not None and size >= 0:
            return self._stream.read(size)
        return b"".join(iter(lambda: self._stream.read(65536), b""))

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __iter__(self):
        return iter(self._stream)


def sizing(app):
    """The application, on the inside of the validator."""

    def sized(environ, start_response):
        environ["wsgi.input"] = SizedReads(environ["wsgi.input"])
        return app(environ, start_response)

    return sized


def named():
    """The application by its name."""
    module, _, attribute = os.environ["CONFORMANCE_APP"].partition(":")
    return getattr(import_module(module), attribute)


application = validator(sizing(named()))
