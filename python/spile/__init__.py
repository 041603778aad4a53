"""spile: an application server for nginx's uwsgi_pass.

An application needs nothing from here: ``spile serve module:callable`` serves any WSGI callable.
What there is, is for one that wants to know of spile: :func:`post_fork` marks what runs first in
each worker, and :class:`RequestTimeout` is raised in a request that takes too long.
"""

from ._hooks import post_fork
from ._spile import VERSION as __version__
from ._timeout import RequestTimeout

__all__ = ["RequestTimeout", "__version__", "post_fork"]
