"""Runs a command as on a kernel, or below a seccomp filter, that refuses some system calls.

    without_calls.py ERRNO CALLS COMMAND...

They fail with the error: ENOSYS where a call is not built in, EPERM where a filter refuses it. The
command replaces this process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

#: The numbers of the calls, from the first to the last. Those since 2019 have the same everywhere.
CALLS = {
    "landlock": (444, 446),
    "sendfile": (40, 40) if platform.machine() == "x86_64" else (71, 71),
}

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
#: Classic BPF: load the word at an offset, jump if it is at least, return.
LOAD, JUMP_AT_LEAST, RETURN = 0x20, 0x35, 0x06


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def main() -> None:
    number = getattr(errno, sys.argv[1])
    first, last = CALLS[sys.argv[2]]
    instructions = [
        (LOAD, 0, 0, 0),
        (JUMP_AT_LEAST, 0, 2, first),
        (JUMP_AT_LEAST, 1, 0, last + 1),
        (RETURN, 0, 0, RET_ERRNO | number),
        (RETURN, 0, 0, RET_ALLOW),
    ]
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
