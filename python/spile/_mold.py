"""The mold: imports the applications once and forks workers when the master asks.

Started by the master, which calls ``main`` with FD for an argument: its end of the channel, a
SEQPACKET socket with one JSON message a packet. What the messages are is said by
``src/supervisor/backend/python/channel.rs``.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import platform
import selectors
import signal
import socket
import sys
import threading
import time
from typing import Any

from . import __version__, _threads
from ._connections import close_shared, open_sockets
from ._descriptors import FoundLimit
from ._django import one_project
from ._errors import ApplicationError, traceback_of
from ._failure import cure_of_failure, in_short
from ._forked import flush, leave
from ._hooks import run_post_fork
from ._import_threads import other_threads, tell_of_threads
from ._listening import ListeningSockets, tell_of_listening
from ._load import Loader
from ._log import Log
from ._modules import Modules
from ._overdue import telling
from ._ports import Started
from ._sockets import Sockets
from ._spile import Worker, end_with_parent
from ._temporary import leave_to_the_mold
from ._warmup import Applications, warm_up

#: The longest message; the master keeps to the same.
LONGEST = 192 * 1024

#: Seconds beyond the graceful time-out, which workers keep themselves.
LAST_PATIENCE = 3.0


def main() -> None:
    reset_signals()
    # A Ctrl-C is the master's to act on; the workers set handlers of their own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ignore_signals()
    watch_forks()
    mold = Mold(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = ["spile"]
    mold.run()
    mold.outlast_workers()
    # Without waiting for threads that the import has started: nobody would end them.
    leave(0)


class Mold:
    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.setup = channel.recv(LONGEST).decode()
        if not self.setup:
            sys.exit(1)  # The master has gone before it said anything.
        setup = json.loads(self.setup)
        self.config = setup["config"]
        #: Whether others serve already, and go on if this mold's applications will not do.
        self.replaces = setup["replaces"]
        self.log = Log(self.config)
        if setup["version"] != __version__:
            self.log.error(
                f"the master is spile {setup['version']}, but the wheel in {sys.prefix} is spile "
                f"{__version__}",
                f"in a checkout of spile {setup['version']} run {sys.executable} -m pip install . "
                "(it is not on PyPI yet)",
            )
            sys.exit(1)
        # Programs that the application starts are not to hold the sockets open.
        self.listeners = [listener["fd"] for listener in setup["listeners"]]
        inherited = [channel.fileno(), setup["lifeline"], setup["scoreboard"], *self.listeners]
        if setup["credentials"] is not None:
            inherited.append(setup["credentials"])
        for fd in inherited:
            os.set_inheritable(fd, False)
        self.sockets = Sockets(self.listeners)
        self.open_files = FoundLimit()
        #: Those of the application itself, once it is imported.
        self.listening: ListeningSockets | None = None
        #: Whether the fork that goes on is a worker's, and not the application's.
        self.is_forking = False
        os.register_at_fork(after_in_child=self.part_with_sockets)
        #: The workers' processes by the descriptors that tell of their end.
        self.workers: dict[int, int] = {}
        #: Those that have none, because the system knows no such descriptors: they are looked at.
        self.unwatched: set[int] = set()
        #: What the application does about its own children; the mold has to hear of its workers.
        self.child_handler: Any = signal.SIG_DFL
        self.selector = selectors.DefaultSelector()
        self.modules = Modules(lambda files, at: self.report("modules", files=files, at=at))

    def run(self) -> None:
        """Imports, then does as the master says until it is gone."""
        applications = None if self.config["lazy"] else self.load_to_share()
        self.child_handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ignore_signals()  # The application may have set its own handlers.
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
            for key, _ in self.selector.select(LOOK if self.unwatched else None):
                if key.fileobj is not self.channel:
                    self.reap(self.workers[key.fd], key.fd)
                elif not self.obey(applications):
                    return
            self.look_at_unwatched()

    def load_to_share(self) -> Applications:
        """Imports the applications for all workers, or ends the process."""
        before = open_sockets()
        self.listening = ListeningSockets()
        started = Started()
        end_with_parent(True)
        if self.master_is_gone():  # before that could have had an effect
            os._exit(1)
        try:
            applications = self.load()
            warm_up(self.config, applications, self.log, strict=self.replaces)
        except ApplicationError as error:
            self.listening.close()  # The next import may find no file of a socket in its way.
            self.report("not_imported", **self.tell_failure(error))
            leave(1)
        end_with_parent(False)
        self.tell_modules()
        close_shared(before, self.log)
        self.tell_of_green_threads()
        threads = other_threads()
        found = self.listening.find()
        threads = tell_of_listening(found, threads, self.log, again=self.replaces)
        tell_of_threads(threads, self.log)
        started.tell_of_ports(self.log)
        return applications

    def tell_of_green_threads(self) -> None:
        if _threads.are_green():
            self.log.warn(
                "importing the application has replaced threads by green ones (gevent's or "
                "eventlet's monkey patching); each thread of a worker still serves one request at "
                "a time, and green threads run only while a request in theirs waits",
                "leave the patching out, and have as many --threads as requests are to wait at the "
                "same time",
            )

    def load(self) -> Applications:
        """Imports the applications. Files whose change may mend a failure are told first."""
        try:
            hanging = telling(self.log, "importing the application")
            with hanging, one_project(self.config, self.log):
                return Loader(self.config, self.log).load_all()
        except ApplicationError as error:
            self.tell_modules(error.error)
            raise

    def tell_modules(self, error: BaseException | None = None) -> None:
        if self.config["reload"]:
            self.modules.tell(error)

    def tell_failure(self, error: ApplicationError) -> dict[str, str]:
        """Has the log say it as a whole, and returns it in short, for the master."""
        cure = cure_of_failure(error, in_worker=self.log.process == "worker")
        self.log.error(str(error), cure)
        return {"what": in_short(error), "cure": cure}

    def master_is_gone(self) -> bool:
        try:
            return not self.channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def obey(self, applications: Applications | None) -> bool:
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
        if order["order"] == "part":
            self.report("parted", addresses=self.listening.close() if self.listening else [])
            return True
        flush()  # What is still in the buffers would be written by each worker as well.
        mold = os.getpid()
        # Nothing to a worker that has no logs to open anew yet, once it can say so.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        pid = fd = None
        try:
            # Held for the descriptor that tells of its end: a worker without one would be lost.
            place = os.dup(self.channel.fileno())
            self.is_forking = True
            try:
                pid = _threads.fork()
            finally:
                self.is_forking = False
                os.close(place)
            if pid == 0:
                self.become_worker(applications, mold, order["slot"])
            fd = watch(pid)
        except OSError as error:
            if pid:
                os.kill(pid, signal.SIGKILL)
                _threads.waitpid(pid, 0)
            what = f"a worker cannot be forked: {error.strerror}"
            why = {"what": what, "cure": cure_of(error) or "see fork(2)"}
            self.log.error(what, why["cure"])
            self.report("not_forked", worker=order["worker"], slot=order["slot"], why=why)
            return True
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        if fd is None:
            self.unwatched.add(pid)
        else:
            self.workers[fd] = pid
            self.selector.register(fd, selectors.EVENT_READ)
        self.report("forked", worker=order["worker"], slot=order["slot"], pid=pid)
        return True

    def part_with_sockets(self) -> None:
        """In every child: what the application forks, here or in a worker, is no server."""
        self.open_files.restore()
        if not self.is_forking:
            self.sockets.give_up()

    def release(self) -> None:
        """Closes the sockets, so that nobody connects to a process that never accepts."""
        for listener in self.listeners:
            os.close(listener)
        self.listeners = []

    def outlast_workers(self) -> None:
        """Waits for those that finish what they have though the master has gone.

        What the import has registered for the end may remove what they use. With --lazy there is
        nothing of the kind here, and those that still import end with this process.
        """
        if self.config["lazy"]:
            return
        self.selector.unregister(self.channel)
        self.release()
        end = time.monotonic() + self.config["graceful_timeout"] + LAST_PATIENCE
        while (self.workers or self.unwatched) and (left := end - time.monotonic()) > 0:
            for key, _ in self.selector.select(min(left, LOOK) if self.unwatched else left):
                self.reap(self.workers[key.fd], key.fd)
            self.look_at_unwatched()

    def look_at_unwatched(self) -> None:
        for pid in list(self.unwatched):
            self.reap(pid)

    def reap(self, pid: int, fd: int | None = None) -> None:
        """Reports a worker's end, if it has ended."""
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended is None:
            return
        status = ended.si_status
        if ended.si_code == os.CLD_EXITED:
            status <<= 8
        elif ended.si_code == os.CLD_DUMPED:
            status |= 0x80
        # Told before it is collected: if this process is killed in between, the master can do that.
        self.report("exited", pid=pid, status=status)
        if fd is None:
            self.unwatched.remove(pid)
        else:
            self.selector.unregister(fd)
            os.close(fd)
            del self.workers[fd]
        _threads.waitpid(pid, 0)

    def become_worker(self, applications: Applications | None, mold: int, slot: int) -> None:
        """Serves in this process, which has just been forked, and never returns.

        ``slot`` is its place on the scoreboard.
        """
        status = 1
        self.log.process = "worker"
        try:
            _threads.begin_child()
            self.selector.close()
            for fd in self.workers:
                os.close(fd)
            if self.listening is not None:
                self.listening.part()
                leave_to_the_mold()
            restore_signals()  # Else the application's handlers would run beside the worker's.
            signal.signal(signal.SIGUSR1, do_nothing)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
            if self.child_handler is not None:
                signal.signal(signal.SIGCHLD, self.child_handler)
            applications = self.prepare(applications, mold)
            worker = self.make_worker(slot, applications)
            os.register_at_fork(after_in_child=worker.leave_to_the_application)
            self.release()  # The worker has its own.
            joins = [
                _threads.start(worker.run_lane, f"spile-{number}")
                for number in range(2, self.config["threads"] + 1)
            ]
            worker.run_lane()
            for join in joins:
                join()
            status = worker.finish()
        except ApplicationError as error:
            self.report("not_loaded", **self.tell_failure(error))
        except BaseException as error:  # whatever it is, it must not unwind into the mold's code
            self.log.error(f"a worker failed\n{traceback_of(error)}", cure_of(error))
        finally:
            # As when an interpreter ends: threads and executors finish what they were given.
            with contextlib.suppress(BaseException):
                threading._shutdown()
            leave(status)

    def make_worker(self, slot: int, applications: Applications) -> Worker:
        try:
            return Worker(self.setup, slot, self.channel, applications)
        except OSError as error:
            raise ApplicationError(
                f"a worker cannot start: {error.strerror or error}",
                cure_of(error) or "`spile check` looks at the options one by one",
            ) from error

    def prepare(self, applications: Applications | None, mold: int) -> Applications:
        """Has the application make itself ready in this worker."""
        # Nobody watches for the master's end yet. The mold goes with the master.
        end_with_parent(True)
        if os.getppid() != mold:  # before that could have had an effect
            os._exit(1)
        if applications is None:
            applications = self.load()
            self.tell_of_green_threads()
            restore_signals()  # as after the mold's import
            signal.signal(signal.SIGUSR1, do_nothing)
            run_post_fork(self.log)
            warm_up(self.config, applications, self.log, strict=self.replaces)
        else:
            run_post_fork(self.log)
        end_with_parent(False)
        if self.config["reload"]:
            self.modules.tell()
            self.modules.keep_telling()
        return applications

    def report(self, kind: str, **facts: Any) -> None:
        message = json.dumps({"report": kind, **facts}).encode()
        # When the master has gone, the channel ends, which is seen where orders are read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.channel.send(message)


#: The longest that the end of a worker goes unnoticed, in seconds, where it has to be looked for.
LOOK = 0.05


def watch(pid: int) -> int | None:
    """A descriptor that tells of a child's end; None where the system, or a filter, has no such."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        return None


#: What an operator can do about what the system refuses to a mold or a worker.
CURES = {
    errno.EAGAIN: "raise the limit of processes (TasksMax= in a unit, ulimit -u)",
    errno.EMFILE: "raise the limit of open files (LimitNOFILE= in a unit, ulimit -n)",
    errno.ENFILE: "raise the system's limit of open files (sysctl fs.file-max)",
    errno.ENOMEM: "the system has no memory left: have fewer workers, or more memory",
}


def cure_of(error: BaseException) -> str | None:
    """What to do about it, where that is known."""
    return CURES.get(error.errno or 0) if isinstance(error, OSError) else None


#: Signals that mean something to masters and workers.
SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def reset_signals() -> None:
    """Undoes what whoever started spile has ignored or blocked: an application may need it.

    What Python itself ignores stays so; programs that it starts get it back as it was.
    """
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def ignore_signals() -> None:
    """Lets the mold outlive what is meant for master and workers: systemd tells every process.

    By a handler: what is ignored would be so in programs that the application starts, too.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, do_nothing)


def do_nothing(number: int, frame: Any) -> None:
    pass


def restore_signals() -> None:
    """Signals end this process again: a worker without handlers yet, or an application's child."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def watch_forks() -> None:
    """Has no child lose a signal to its parent's handlers before they are restored."""
    masks = threading.local()

    def block() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def begin() -> None:
        restore_signals()
        unblock()

    # Registered before those of the application, they run next to the fork itself.
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=begin)


if __name__ == "__main__":
    main()
