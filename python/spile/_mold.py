"""The mold: imports the applications once and forks workers when the master asks.

Started by the master, which calls ``main`` with FD for an argument: its end of the channel, a
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
    # Without waiting for threads that the import has started: nobody would end them.
    leave(0)


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
        #: What the application does about its own children; the mold has to hear of its workers.
        self.child_handler: Any = signal.SIG_DFL
        self.selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Imports, then does as the master says until it is gone."""
        try:
            applications = Loader(self.config).load_all()
        except ApplicationError as error:
            print(f"error: {error}\n  hint: {error.cure}", file=sys.stderr)
            sys.exit(1)
        self.child_handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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
        flush()  # What is still in the buffers would be written by each worker as well.
        try:
            pid = os.fork()
        except OSError as error:
            print(f"error: a worker cannot be forked: {error.strerror}", file=sys.stderr)
            self.report("not_forked", worker=order["worker"])
            return True
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
            restore_signals()  # Else the application's handlers would run beside the worker's.
            if self.child_handler is not None:
                signal.signal(signal.SIGCHLD, self.child_handler)
            worker = Worker(self.setup, self.channel.fileno(), applications)
            os.register_at_fork(after_in_child=worker.leave_to_the_application)
            os.register_at_fork(after_in_child=restore_signals)
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
            # As when an interpreter ends: threads and executors finish what they were given.
            with contextlib.suppress(BaseException):
                threading._shutdown()
            leave(status)

    def report(self, kind: str, **facts: Any) -> None:
        message = json.dumps({"report": kind, **facts}).encode()
        # When the master has gone, the channel ends, which is seen where orders are read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.channel.send(message)


def restore_signals() -> None:
    """Signals end this process again: a worker before its own handlers, or a child of one."""
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
    ):
        signal.signal(number, signal.SIG_DFL)


def leave(status: int) -> None:
    """Ends the process with what is to run at its end, and never returns."""
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    flush()
    os._exit(status)


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


if __name__ == "__main__":
    main()
