"""What a request that takes too long sees."""

from __future__ import annotations


class RequestTimeout(Exception):
    """Raised in the thread whose request has taken longer than ``--request-timeout``.

    Where it is raised is where the request hung. An application may catch it, as it catches any
    exception, and answer; it has two seconds to do so. It is no ``TimeoutError``: that is an
    ``OSError``, which libraries take for a failure of their own connection and try again.
    """

    __module__ = "spile"

    #: What ``--request-timeout`` says in this process, for the message.
    _seconds = 0.0

    def __init__(self, *args: object) -> None:
        # The interpreter makes it from the bare class when it raises it in another thread.
        super().__init__(
            *(args or (f"the request takes longer than {self._seconds:g} s (--request-timeout)",))
        )
