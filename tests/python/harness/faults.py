"""What a system can lack: descriptors, memory, room on a disk; and what that costs a process."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import status_kib
from harness.spile import Spile


def descriptors(pid: int) -> int:
    """How many it has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextlib.contextmanager
def limited(pid: int, which: int, soft: int) -> Iterator[None]:
    """Lowers one of a process's soft limits for a while."""
    before = resource.prlimit(pid, which)
    resource.prlimit(pid, which, (soft, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, which, before)


def with_descriptors(pid: int, spare: int) -> contextlib.AbstractContextManager[None]:
    """Lets a process open so many more, and none beyond."""
    highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    gaps = highest + 1 - descriptors(pid)
    # A limit is of the numbers: what is free below counts too.
    return limited(pid, resource.RLIMIT_NOFILE, highest + 1 + max(spare - gaps, 0))


def without_descriptors(pid: int) -> contextlib.AbstractContextManager[None]:
    """Lets a process open none, whatever it closes; those that it has stay."""
    return limited(pid, resource.RLIMIT_NOFILE, 3)


def with_memory(pid: int, mib: int) -> contextlib.AbstractContextManager[None]:
    """Lets a process take so much more address space."""
    return limited(pid, resource.RLIMIT_AS, status_kib(pid, "VmSize") * 1024 + (mib << 20))


def cpu_seconds(pid: int) -> float:
    """The processor's time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class SmallDisk:
    """A file system of its own for one spile, which `launcher` mounts where only that sees it."""

    def __init__(self, folder: Path, size: str) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may mount a small disk")
        self.folder = folder
        script = f'mount -t tmpfs -o size={size} tmpfs {folder} && exec "$@"'
        self.launcher = ["unshare", "--mount", "sh", "-c", script, "sh"]

    def path(self, spile: Spile, name: str = "") -> Path:
        """A file on it, as this process reaches it."""
        return Path(f"/proc/{spile.pid}/root{self.folder}") / name

    def free(self, spile: Spile) -> int:
        """Bytes."""
        found = os.statvfs(self.path(spile))
        return found.f_bavail * found.f_frsize

    def fill(self, spile: Spile) -> Path:
        """Leaves no room; removing the file gives it back."""
        filler = self.path(spile, "filler")
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert self.free(spile) == 0
        return filler
