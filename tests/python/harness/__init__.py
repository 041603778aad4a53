"""What the tests stand on: servers they start, clients they ask with."""

from harness.http import Answer, fetch
from harness.load import Load, Report
from harness.nginx import DISTRIBUTION_PARAMS, OWN_PARAMS, Nginx
from harness.site import APPS, Site, Starter
from harness.spile import Finished, Spile, run_spile
from harness.uwsgi import Connection, environ_for, packet
from harness.waiting import wait_until

__all__ = [
    "APPS",
    "DISTRIBUTION_PARAMS",
    "OWN_PARAMS",
    "Answer",
    "Connection",
    "Finished",
    "Load",
    "Nginx",
    "Report",
    "Site",
    "Spile",
    "Starter",
    "environ_for",
    "fetch",
    "packet",
    "run_spile",
    "wait_until",
]
