"""spile: an application server for nginx's uwsgi_pass.

There is nothing to import for an application: ``spile serve module:callable`` serves any WSGI callable.
"""

from ._spile import VERSION as __version__

__all__ = ["__version__"]
