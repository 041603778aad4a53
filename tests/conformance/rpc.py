"""Calls between two processes that nest: while one waits for an answer it serves the other's calls.

A message is a pickle after its length; a descriptor may go with it. Both ends are ours.
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any

HEAD = struct.Struct("<I?")


class Closed(Exception):
    """The other end has gone."""


class Peer:
    """One end. `serve` answers the other's calls: it gets their name and arguments."""

    def __init__(self, sock: socket.socket, serve: Callable[..., Any]) -> None:
        self._socket = sock
        self._serve = serve
        #: The descriptor that came with the last message that had one.
        self._descriptor = -1

    def call(self, *call: Any, descriptor: int | None = None) -> Any:
        """Has the other end do something; what it raises is raised here."""
        self._send(("call", call), descriptor)
        while True:
            kind, content = self._receive()
            if kind == "answer":
                return content
            if kind == "raised":
                raise content
            self._answer(content)

    def serve_forever(self) -> None:
        """Answers calls until the other end closes."""
        try:
            while True:
                kind, content = self._receive()
                assert kind == "call", kind
                self._answer(content)
        except Closed:
            pass

    def take_descriptor(self) -> int:
        """What came with the call that is being served; it is the caller's to close."""
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def _answer(self, call: tuple[Any, ...]) -> None:
        try:
            message = ("answer", self._serve(*call))
        except Exception as error:
            message = ("raised", error)
        self._send(message)

    def _send(self, message: Any, descriptor: int | None = None) -> None:
        try:
            content = pickle.dumps(message)
        except Exception:
            # An exception with something in it that cannot be sent.
            content = pickle.dumps((message[0], RuntimeError(repr(message[1]))))
        try:
            if descriptor is None:
                self._socket.sendall(HEAD.pack(len(content), False) + content)
            else:
                socket.send_fds(self._socket, [HEAD.pack(len(content), True)], [descriptor])
                self._socket.sendall(content)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def _receive(self) -> Any:
        head, descriptors, _, _ = socket.recv_fds(self._socket, HEAD.size, 1)
        if not head:
            raise Closed
        head += self._exactly(HEAD.size - len(head))
        length, _ = HEAD.unpack(head)
        if descriptors:
            (self._descriptor,) = descriptors
        return pickle.loads(self._exactly(length))

    def _exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            piece = self._socket.recv(size - len(received))
            if not piece:
                raise Closed
            received += piece
        return bytes(received)
