"""A real nginx in front of spile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.front import Front, example
from harness.net import Port

#: What nginx's own uwsgi_params file has held since 1.0.
OWN_PARAMS = """
uwsgi_param QUERY_STRING    $query_string;
uwsgi_param REQUEST_METHOD  $request_method;
uwsgi_param CONTENT_TYPE    $content_type;
uwsgi_param CONTENT_LENGTH  $content_length;
uwsgi_param REQUEST_URI     $request_uri;
uwsgi_param PATH_INFO       $document_uri;
uwsgi_param DOCUMENT_ROOT   $document_root;
uwsgi_param SERVER_PROTOCOL $server_protocol;
uwsgi_param REQUEST_SCHEME  $scheme;
uwsgi_param HTTPS           $https if_not_empty;
uwsgi_param REMOTE_ADDR     $remote_addr;
uwsgi_param REMOTE_PORT     $remote_port;
uwsgi_param SERVER_PORT     $server_port;
uwsgi_param SERVER_NAME     $server_name;
"""

#: Debian's file, which adds a Host without its port.
DEBIAN_PARAMS = OWN_PARAMS + "uwsgi_param HTTP_HOST $host;\n"

_INSTALLED = Path("/etc/nginx/uwsgi_params")

#: The file of the distribution where there is one.
DISTRIBUTION_PARAMS = f"include {_INSTALLED};\n" if _INSTALLED.exists() else DEBIAN_PARAMS


def executable() -> str | None:
    """nginx; Debian has it in /usr/sbin, which a user's PATH may lack."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Nginx(Front):
    """An nginx of one worker that passes everything to one upstream.

    `servers` names virtual servers, each with a port of its own and the directives that make it
    different: {"default": [], "unbuffered": ["uwsgi_request_buffering off;"]}.
    """

    def __init__(
        self,
        uwsgi_pass: str,
        folder: Path,
        servers: Mapping[str, Sequence[str]],
        params: str = DISTRIBUTION_PARAMS,
    ) -> None:
        self._ports = {name: Port() for name in servers}
        blocks = [
            SERVER.format(
                port=self._ports[name].number,
                params=params,
                uwsgi_pass=uwsgi_pass,
                directives="\n".join(directives),
            )
            for name, directives in servers.items()
        ]
        self._start(folder, "\n".join(blocks))

    def _start(self, folder: Path, servers: str) -> None:
        configuration = folder / "nginx.conf"
        configuration.write_text(
            MAIN.format(
                user="user root;" if os.geteuid() == 0 else "", folder=folder, servers=servers
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


class ExampleNginx(Nginx):
    """An nginx configured by a file of `nginx/sites`, with what it passes to changed.

    It uses the tree's own uwsgi_params. `http` is what an operator would have to raise beside it.
    """

    def __init__(
        self, site: str, changes: Iterable[tuple[str, str]], folder: Path, http: str = ""
    ) -> None:
        port = Port()
        self._ports = {"default": port}
        (folder / "uwsgi_params").write_text(example("uwsgi_params", ()))
        listen = ("listen       80;", f"listen 127.0.0.1:{port.number};")
        self._start(folder, http + example(f"sites/{site}", [listen, *changes]))


MAIN = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr info;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    {servers}
}}
"""

SERVER = """
server {{
    listen 127.0.0.1:{port};
    {params}
    {directives}
    location / {{
        uwsgi_pass {uwsgi_pass};
    }}
}}
"""
