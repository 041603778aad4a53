"""The nginx that all servers of a case stand behind: one worker, no access log, a port for each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.net import Port, accepts
from harness.nginx import DISTRIBUTION_PARAMS, executable
from harness.process import Process
from harness.waiting import wait_until


@dataclass(frozen=True)
class Upstream:
    """A unix socket, and what is spoken there: "uwsgi" or "http"."""

    socket: Path
    protocol: str = "uwsgi"
    #: For its server block.
    directives: Sequence[str] = ()
    #: The uwsgi_param directives.
    params: str = DISTRIBUTION_PARAMS


class Front(Process):
    """An nginx with a port for each of these servers."""

    def __init__(self, folder: Path, upstreams: Mapping[str, Upstream]) -> None:
        self._ports = {name: Port() for name in upstreams}
        configuration = folder / "nginx.conf"
        configuration.write_text(
            MAIN.format(
                user="user root;" if os.geteuid() == 0 else "",
                folder=folder,
                servers="".join(
                    self._block(number, name, upstream)
                    for number, (name, upstream) in enumerate(upstreams.items())
                ),
            )
        )
        command = executable()
        assert command, "no nginx"
        super().__init__(
            [command, "-p", str(folder), "-e", "stderr", "-c", str(configuration)],
            folder / "nginx.log",
            folder,
            os.environ,
        )

    def _block(self, number: int, name: str, upstream: Upstream) -> str:
        template = {"uwsgi": UWSGI, "http": HTTP}[upstream.protocol]
        return template.format(
            upstream=f"server_{number}",
            socket=upstream.socket,
            port=self._ports[name].number,
            params=upstream.params,
            directives="\n".join(upstream.directives),
        )

    def port(self, name: str) -> int:
        return self._ports[name].number

    def wait_ready(self) -> Front:
        def ready() -> bool:
            assert self.returncode is None, f"nginx ended:\n{self.log}"
            return all(accepts(("127.0.0.1", port.number)) for port in self._ports.values())

        wait_until(ready, "nginx to listen")
        return self

    def destroy(self) -> None:
        super().destroy()
        for port in self._ports.values():
            port.release()


MAIN = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 32768; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    # No client is told to connect anew in the middle of a round.
    keepalive_requests 1000000000;
    {servers}
}}
"""

#: nginx makes a connection for each request: it keeps none to uwsgi servers.
UWSGI = """
server {{
    listen 127.0.0.1:{port} backlog=16384;
    {params}
    {directives}
    location / {{
        uwsgi_pass unix:{socket};
    }}
}}
"""

#: With connections kept, as nginx's documentation has it for HTTP.
HTTP = """
upstream {upstream} {{
    server unix:{socket};
    keepalive 32;
    keepalive_requests 1000000000;
}}
server {{
    listen 127.0.0.1:{port} backlog=16384;
    {directives}
    location / {{
        proxy_pass http://{upstream};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }}
}}
"""
