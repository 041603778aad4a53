"""Temporary directories that an import has made, in the workers that share them."""

from __future__ import annotations

import sys
import weakref


def leave_to_the_mold() -> None:
    """Has this worker's end remove none of them; to clean one up by its method still does."""
    made = getattr(sys.modules.get("tempfile"), "TemporaryDirectory", None)
    if made is None:
        return
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        alive = finalizer.peek()
        if alive is not None and issubclass(type(alive[0]), made):
            finalizer.detach()
