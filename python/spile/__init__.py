"""spile: an application server for nginx's uwsgi_pass.

An application needs nothing from here: ``spile serve module:callable`` serves any WSGI callable.
What there is, is for one that wants to know of spile: :func:`post_fork` marks what runs first in
each worker, :func:`on_exit` what runs once when the last of them has left, and
:class:`RequestTimeout` is raised in a request that takes too long.
"""

from ._hooks import on_exit, post_fork
from ._spile import VERSION as __version__
from ._timeout import RequestTimeout

__all__ = ["RequestTimeout", "__version__", "on_exit", "post_fork"]
