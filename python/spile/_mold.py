"""The mold: imports the applications once and forks workers when the master asks.

Started by the master as ``python -m spile._mold FD``, where FD is its end of the channel: a
SEQPACKET socket with one JSON message a packet. ``src/supervisor/channel.rs`` says what the
messages are.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import platform
import selectors
import signal
import socket
import sys
import threading
from typing import Any

from . import __version__
from ._load import ApplicationError, Loader
from ._spile import Worker

#: The longest message; the master keeps to the same.
LONGEST = 192 * 1024


def main() -> None:
    # A Ctrl-C is the master's to act on; the workers set handlers of their own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    mold = Mold(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = ["spile"]
    mold.run()


class Mold:
    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.setup = channel.recv(LONGEST).decode()
        if not self.setup:
            sys.exit(1)  # The master has gone before it said anything.
        setup = json.loads(self.setup)
        if setup["version"] != __version__:
            sys.exit(
                f"error: the master is spile {setup['version']}, but the wheel in {sys.prefix} is "
                f"spile {__version__}\n"
                f"  hint: {sys.executable} -m pip install spile=={setup['version']}"
            )
        self.config = setup["config"]
        # Programs that the application starts are not to hold the sockets open.
        self.listeners = [listener["fd"] for listener in setup["listeners"]]
        for fd in [channel.fileno(), setup["lifeline"], *self.listeners]:
            os.set_inheritable(fd, False)
        #: The workers' processes by the descriptors that tell of their end.
        self.workers: dict[int, int] = {}
        self.selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Imports, then does as the master says until it is gone."""
        try:
            applications = Loader(self.config).load_all()
        except ApplicationError as error:
            print(f"error: {error}\n  hint: {error.cure}", file=sys.stderr)
            sys.exit(1)
        if threading.active_count() > 1:
            names = ", ".join(thread.name for thread in threading.enumerate()[1:])
            print(
                f"warning: importing the application started threads ({names}); workers are forked "
                "and do not have them\n"
                "  hint: start threads with the first request, or in os.register_at_fork",
                file=sys.stderr,
            )
        # What the import has made is shared with the workers: their collectors never touch it.
        gc.collect()
        gc.freeze()
        self.report(
            "imported",
            python=f"{platform.python_implementation()} {platform.python_version()}",
            prefix=sys.prefix,
            venv=sys.prefix != sys.base_prefix,
        )
        self.selector.register(self.channel, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is not self.channel:
                    self.reap(key.fd)
                elif not self.obey(applications):
                    return

    def obey(self, applications: list[Any]) -> bool:
        """Does what the next order says; false when there will be no more."""
        try:
            message = self.channel.recv(LONGEST)
        except ConnectionResetError:
            return False
        if not message:
            return False
        order = json.loads(message)
        if order["order"] == "release":
            self.release()
            return True
        pid = os.fork()
        if pid == 0:
            self.become_worker(applications)
        fd = os.pidfd_open(pid)
        self.workers[fd] = pid
        self.selector.register(fd, selectors.EVENT_READ)
        self.report("forked", worker=order["worker"], pid=pid)
        return True

    def release(self) -> None:
        """Closes the sockets, so that nobody connects to a process that never accepts."""
        for listener in self.listeners:
            os.close(listener)
        self.listeners = []

    def reap(self, fd: int) -> None:
        """Reports a worker's end."""
        self.selector.unregister(fd)
        os.close(fd)
        pid, status = os.waitpid(self.workers.pop(fd), 0)
        self.report("exited", pid=pid, status=status)

    def become_worker(self, applications: list[Any]) -> None:
        """Serves in this process, which has just been forked, and never returns."""
        status = 1
        try:
            self.selector.close()
            for fd in self.workers:
                os.close(fd)
            gc.enable()
            worker = Worker(self.setup, self.channel.fileno(), applications)
            self.release()  # The worker has its own.
            threads = [
                threading.Thread(target=worker.run_lane, name=f"spile-{number}", daemon=True)
                for number in range(2, self.config["threads"] + 1)
            ]
            for thread in threads:
                thread.start()
            worker.run_lane()
            for thread in threads:
                thread.join()
            status = worker.finish()
        except BaseException:  # whatever it is, it must not unwind into the mold's code
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(BaseException):
                atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(status)

    def report(self, kind: str, **facts: Any) -> None:
        message = json.dumps({"report": kind, **facts}).encode()
        # When the master has gone, the channel ends, which is seen where orders are read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.channel.send(message)


if __name__ == "__main__":
    main()
