"""The application that spile serves when the real one lives in another process: the test's.

All that the real one does with the WSGI interface is done here, on the objects that spile gave:
reading `wsgi.input`, writing to `wsgi.errors`, `start_response` and its `write`, and what spile
asks of the response: the next block, the end, a file of it (which comes as a descriptor). So
tests with their settings, database and patches of the moment in one process meet spile's side of
the interface as it is.

$CONFORMANCE_BRIDGE is the unix socket where the test's process waits.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from rpc import Peer


def application(environ, start_response):
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(os.environ["CONFORMANCE_BRIDGE"])
        interface = Interface(sock, environ, start_response)
        plain = {key: value for key, value in environ.items() if is_plain(value)}
        kind = interface.peer.call("application", plain)
        if kind == "file":
            return interface.file(environ["wsgi.file_wrapper"])
        return Body(interface)
    except BaseException:
        sock.close()
        raise


def is_plain(value: Any) -> bool:
    return isinstance(value, (str, bool, tuple))


class Interface:
    """What the real application calls, for one request."""

    def __init__(self, sock, environ, start_response):
        self.peer = Peer(sock, self.serve)
        self._socket = sock
        self._environ = environ
        self._start_response = start_response
        self._write = None
        self._file = None
        self._block_size = 0

    def serve(self, name, *arguments):
        return getattr(self, "do_" + name)(*arguments)

    def do_input(self, method, *arguments):
        return getattr(self._environ["wsgi.input"], method)(*arguments)

    def do_errors(self, method, *arguments):
        return getattr(self._environ["wsgi.errors"], method)(*arguments)

    def do_start_response(self, status, headers, again):
        if again:
            try:
                raise RuntimeError("the application has changed its mind")
            except RuntimeError as error:
                exc_info = (type(error), error, error.__traceback__)
            self._write = self._start_response(status, headers, exc_info)
        else:
            self._write = self._start_response(status, headers)

    def do_write(self, data):
        self._write(data)

    def do_file(self, block_size, offset):
        descriptor = self.peer.take_descriptor()
        if descriptor >= 0:
            self._file = LocalFile(self, os.fdopen(descriptor, "rb"))
            self._file.seek(offset)
        else:
            self._file = RemoteFile(self)
        self._block_size = block_size

    def file(self, wrapper):
        """The file that the real application hands over."""
        return wrapper(self._file, self._block_size)

    def close(self):
        """Of the response, which the real application hears of."""
        try:
            self.peer.call("close")
        finally:
            self._socket.close()


class Body:
    """The blocks of the response, each asked for when spile asks for it."""

    def __init__(self, interface):
        self._interface = interface

    def __iter__(self):
        return self

    def __next__(self):
        block = self._interface.peer.call("next")
        if block is None:
            raise StopIteration
        return block

    def close(self):
        self._interface.close()


class RemoteFile:
    """A file that has nothing but `read`."""

    def __init__(self, interface):
        self._interface = interface

    def read(self, *size):
        return self._interface.peer.call("read", *size)

    def close(self):
        self._interface.close()


class LocalFile:
    """A file with a descriptor, which is that of the real application's."""

    def __init__(self, interface, file):
        self._interface = interface
        self._file = file

    def close(self):
        self._file.close()
        self._interface.close()

    def __getattr__(self, name):
        return getattr(self._file, name)
