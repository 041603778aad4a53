"""Collects garbage whenever it can, and lets other threads run in the middle of it."""

import gc
import time

gc.set_threshold(1)


class Cycle:
    def __init__(self):
        self.itself = self

    def __del__(self):
        time.sleep(0.001)


def application(environ, start_response):
    for _ in range(3):
        Cycle()
    seen = [environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_X_FIELD"]]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(seen).encode()]
