"""The front servers that the matrix goes through, and what each of them does by itself."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from harness.apache import Apache
from harness.certificates import Authority, Certificate
from harness.front import Front
from harness.lighttpd import Lighttpd
from harness.net import Port
from harness.nginx import ExampleNginx
from harness.site import APPS, Site, Starter
from harness.spile import Spile


@dataclass(frozen=True)
class Upstream:
    """One spile on a unix socket and on a port of 127.0.0.1: the same behind all front servers."""

    spile: Spile
    path: str
    port: int
    #: What stands for the examples' `/srv/app`.
    files: Path
    #: The front server's own certificate, if the port speaks TLS.
    client: Certificate | None = None

    @property
    def unix(self) -> list[tuple[str, str]]:
        """The changes to an example that has the unix socket."""
        return [("/run/spile/app.sock", self.path), ("/srv/app", str(self.files))]


@dataclass(frozen=True)
class Kind:
    """A front server, how it reaches spile, and where it differs from the others.

    A status of 200 says that it passes such a request on; another one is its own answer. The limits
    are those of its example configuration, or of its default where that has none.
    """

    name: str
    start: Callable[[Starter, Upstream], Front]
    over_tls: bool = False
    #: To a request body in chunks.
    chunked_request: int = 200
    #: To POST without a Content-Length and without a body.
    post_without_length: int = 200
    #: To GET with a body.
    get_with_body: int = 200
    #: To a method that no RFC names.
    unknown_method: int = 200
    trace: int = 200
    #: To %2F in a path.
    encoded_slash: int = 200
    #: To bytes in a URL that are not UTF-8, and to control characters there.
    odd_bytes: int = 200
    #: To a path with %00.
    nul_in_path: int = 400
    #: Characters that a URL cannot have arrive in QUERY_STRING as the client sent them.
    raw_query: bool = True
    #: HTTP_COOKIE of a client that sends two Cookie headers, which no browser does.
    cookies_joined: str = "a=1; b=2"
    #: A header whose name has an underscore arrives too, as if it were the one with a dash.
    passes_underscores: bool = False
    #: The largest field of a response that it passes on, in bytes of name and value, and of a
    #: response head as a whole.
    response_field: int = 60_000
    response_head: int = 60_000
    #: To more variables than a packet holds.
    too_many_variables: int = 500
    #: The reason phrase of a status is the application's.
    keeps_reason: bool = True
    #: It cuts a range out of a whole response, which the application has not offered.
    makes_ranges: bool = False
    #: It knows a connection that was lost from one that was ended. Over TLS nginx does not look.
    sees_resets: bool = True
    #: The pieces of a response reach the client as they are made.
    streams: bool = True


class FrontSite(Site):
    """A front server of the matrix and the spile behind it."""

    def __init__(self, kind: Kind, upstream: Upstream, starter: Starter) -> None:
        super().__init__(upstream.spile, starter.add(kind.start(starter, upstream)))
        self.kind = kind


def upstream(starter: Starter, *arguments: str, over_tls: bool = False) -> Upstream:
    """A spile with these arguments that every front server can reach, whoever runs it."""
    port = Port()
    starter.at_end(port.release)
    folder = starter.folder()
    folder.chmod(0o711)
    path = f"{folder}/spile.sock"
    shutil.copytree(APPS / "static", folder / "static")
    sockets = ["--socket", f"unix:{path}", "--socket", f"127.0.0.1:{port.number}"]
    client = None
    if over_tls:
        authority = Authority(folder)
        client = authority.issue(name="nginx.internal")
        server = authority.issue(name="app.internal")
        sockets += [*server.arguments, "--tls-client-ca", str(authority.file)]
    spile = starter.spile(*arguments, *sockets, "--socket-mode", "666", socket=None, address=path)
    return Upstream(spile, path, port.number, folder, client)


#: For requests whose variables nearly fill a packet.
LARGE_HEADERS = "client_header_buffer_size 4k; large_client_header_buffers 8 128k;\n"
APACHE_LARGE_HEADERS = "LimitRequestFieldSize 131072\nLimitRequestLine 131072\n"
LIGHTTPD_LARGE_HEADERS = "server.max-request-field-size = 65535\n"


def nginx_unix(starter: Starter, upstream: Upstream) -> Front:
    return ExampleNginx("unix-socket.conf", upstream.unix, starter.folder(), LARGE_HEADERS)


def nginx_tcp(starter: Starter, upstream: Upstream) -> Front:
    # Both servers of the example are this one.
    changes = [(f"127.0.0.1:{port}", f"127.0.0.1:{upstream.port}") for port in (3031, 3032)]
    return ExampleNginx("tcp-upstreams.conf", changes, starter.folder(), LARGE_HEADERS)


def nginx_tls(starter: Starter, upstream: Upstream) -> Front:
    assert upstream.client
    changes = [
        ("10.0.0.5:3031", f"127.0.0.1:{upstream.port}"),
        ("/etc/nginx/spile/ca.pem", str(upstream.client.ca)),
        ("/etc/nginx/spile/nginx.pem", str(upstream.client.cert)),
        ("/etc/nginx/spile/nginx.key", str(upstream.client.key)),
    ]
    return ExampleNginx("tls-upstream.conf", changes, starter.folder(), LARGE_HEADERS)


def nginx_unbuffered(starter: Starter, upstream: Upstream) -> Front:
    """All paths are as the example's `/upload/`, and responses are not buffered either."""
    changes = [
        ("location / {\n        uwsgi_pass  unix:/run/spile/app.sock;\n    }", ""),
        ("location /upload/ {", "uwsgi_buffering off;\n location / {"),
        *upstream.unix,
    ]
    return ExampleNginx("uploads.conf", changes, starter.folder(), LARGE_HEADERS)


def apache_unix(starter: Starter, upstream: Upstream) -> Front:
    return Apache(upstream.unix, starter.folder(), APACHE_LARGE_HEADERS)


def apache_tcp(starter: Starter, upstream: Upstream) -> Front:
    changes = [
        ('    ProxyPass "/" "unix:', "    # "),
        (
            '# ProxyPass "/" "uwsgi://127.0.0.1:3031/"',
            f'ProxyPass "/" "uwsgi://127.0.0.1:{upstream.port}/"',
        ),
    ]
    return Apache(changes, starter.folder(), APACHE_LARGE_HEADERS)


def lighttpd_unix(starter: Starter, upstream: Upstream) -> Front:
    return Lighttpd(upstream.unix, starter.folder(), LIGHTTPD_LARGE_HEADERS)


def lighttpd_tcp(starter: Starter, upstream: Upstream) -> Front:
    changes = [
        ('"socket"      => "/run/spile/app.sock",', ""),
        ("# Over TCP, in place of socket: ", ""),
        ("3031", str(upstream.port)),
    ]
    return Lighttpd(changes, starter.folder(), LIGHTTPD_LARGE_HEADERS)


_NGINX = Kind(
    "nginx",
    nginx_unix,
    trace=405,
    response_field=15_000,
    response_head=15_000,
    streams=False,
)
_NGINX_TCP = replace(
    _NGINX,
    name="nginx-tcp",
    start=nginx_tcp,
    # nginx's own default is a page of memory.
    response_field=3_500,
    response_head=3_500,
)
_UNBUFFERED = replace(_NGINX_TCP, name="nginx-unbuffered", start=nginx_unbuffered, streams=True)
_APACHE = Kind(
    "apache",
    apache_unix,
    chunked_request=411,
    encoded_slash=404,
    nul_in_path=404,
    cookies_joined="a=1, b=2",
    response_field=8_100,
)
_LIGHTTPD = Kind(
    "lighttpd",
    lighttpd_unix,
    post_without_length=411,
    get_with_body=400,
    unknown_method=501,
    odd_bytes=400,
    raw_query=False,
    passes_underscores=True,
    too_many_variables=431,
    keeps_reason=False,
    makes_ranges=True,
)

#: Each front server, as its example is.
SERVERS = [_NGINX, _APACHE, _LIGHTTPD]

#: Each over each transport that it has; and nginx without buffers, where the client sets the pace.
KINDS = [
    *SERVERS,
    _NGINX_TCP,
    replace(_NGINX_TCP, name="nginx-tls", start=nginx_tls, over_tls=True, sees_resets=False),
    _UNBUFFERED,
    replace(_APACHE, name="apache-tcp", start=apache_tcp),
    replace(_LIGHTTPD, name="lighttpd-tcp", start=lighttpd_tcp),
]
