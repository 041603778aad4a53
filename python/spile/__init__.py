"""spile: an application server for nginx's uwsgi_pass.

An application has nothing to import from here: ``spile serve module:callable`` serves any WSGI
callable.
"""

from ._spile import VERSION as __version__

__all__ = ["__version__"]
