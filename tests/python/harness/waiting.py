"""Waiting for something outside this process, with a deadline."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

T = TypeVar("T")

#: Seconds a test waits for something that should take milliseconds. It is generous because a
#: loaded machine must not fail a test; no test measures speed.
PATIENCE = 20.0


def wait_until(
    question: Callable[[], T], what: str, patience: float = PATIENCE, pause: float = 0.02
) -> T:
    """Asks until the answer is true and returns it; fails naming `what` after `patience` s."""
    deadline = time.monotonic() + patience
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s in vain for {what}")
        time.sleep(pause)
