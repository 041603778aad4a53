"""Runs a command that the kernel refuses system calls to, as an old one or a filter does.

    without_calls.py ERRNO NAME[,NAME]... COMMAND...

These calls fail with ENOSYS, EPERM or another error. The command replaces this process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

#: The numbers of those that every machine has one of its own for; from 424 on they are the same.
OWN_NUMBERS = {
    "x86_64": {
        "sendfile": 40,
        "statx": 332,
        "memfd_create": 319,
        "execveat": 322,
        "copy_file_range": 326,
        "preadv2": 327,
        "pwritev2": 328,
        "getrandom": 318,
        "prlimit64": 302,
    },
    "aarch64": {
        "sendfile": 71,
        "statx": 291,
        "memfd_create": 279,
        "execveat": 281,
        "copy_file_range": 285,
        "preadv2": 286,
        "pwritev2": 287,
        "getrandom": 278,
        "prlimit64": 261,
    },
}.get(platform.machine(), {})

NUMBERS = {
    **OWN_NUMBERS,
    "pidfd_send_signal": 424,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "faccessat2": 439,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
#: Classic BPF: load the word at an offset, jump if it is equal, return.
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def main() -> None:
    error, names = getattr(errno, sys.argv[1]), sys.argv[2].split(",")
    instructions = [(LOAD, 0, 0, 0)]
    for name in names:
        instructions.append((JUMP_IF_EQUAL, 0, 1, NUMBERS[name]))
        instructions.append((RETURN, 0, 0, RET_ERRNO | error))
    instructions.append((RETURN, 0, 0, RET_ALLOW))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    program = Program(len(instructions), code)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"prctl{arguments}")
    os.execvp(sys.argv[3], sys.argv[3:])


if __name__ == "__main__":
    main()
