"""Runs a command as on a kernel without Landlock.

    without_landlock.py ERRNO COMMAND...

Its system calls fail with ENOSYS, as where it is not built in, or EOPNOTSUPP, as where it is not
enabled. The command replaces this process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

#: landlock_create_ruleset(2), the first of three in a row. The numbers are the same everywhere.
FIRST, LAST = 444, 446

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
#: Classic BPF: load the word at an offset, jump if it is at least, return.
LOAD, JUMP_AT_LEAST, RETURN = 0x20, 0x35, 0x06


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def main() -> None:
    number = getattr(errno, sys.argv[1])
    instructions = [
        (LOAD, 0, 0, 0),
        (JUMP_AT_LEAST, 0, 2, FIRST),
        (JUMP_AT_LEAST, 1, 0, LAST + 1),
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
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
