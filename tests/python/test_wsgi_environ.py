"""The environ an application is called with: PEP 3333, rules 1 to 3, and CGI."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness import DISTRIBUTION_PARAMS, OWN_PARAMS, Site, Starter, environ_for, packet

#: Set in the environment of spile itself.
PROCESS_VARIABLE = "TEST_PROCESS_VARIABLE"


@pytest.fixture(scope="module")
def site(start_once: Starter, transport: str) -> Site:
    return start_once.site(
        "environ:application",
        socket=transport,
        env={PROCESS_VARIABLE: "inherited"},
        servers={
            "named": ["server_name example.test;"],
            "params": [
                "uwsgi_param REMOTE_USER alice;",
                "uwsgi_param X_TENANT blue;",
                "uwsgi_param my.dotted-name value;",
                "uwsgi_param EMPTY '';",
            ],
            "own_host": ["uwsgi_param HTTP_HOST $http_host;"],
            "https": ["uwsgi_param HTTPS on;"],
            "scheme": ["uwsgi_param UWSGI_SCHEME https;"],
            "forwarded": ["uwsgi_param UWSGI_SCHEME $http_x_forwarded_proto;"],
            "modifier": ["uwsgi_modifier2 3;"],
        },
    )


@pytest.fixture(scope="module", params=["distribution", "own"])
def by_params(start_once: Starter, site: Site, request: pytest.FixtureRequest) -> Site:
    """The site through the distribution's uwsgi_params and through the minimal set."""
    if request.param == "distribution":
        return Site(site.spile, start_once.nginx(site.spile, params=DISTRIBUTION_PARAMS))
    return Site(site.spile, start_once.nginx(site.spile, params=OWN_PARAMS))


def strings(site: Site, path: str = "/", server: str = "default", **more: Any) -> dict[str, str]:
    return site.fetch(path, server=server, **more).json()["strings"]


def raw_strings(site: Site, pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The strings for a packet made by hand."""
    with site.spile.connect() as connection:
        connection.send(packet(pairs))
        return connection.answer().json()["strings"]


# Rule 1: the call.


def test_environ_is_exactly_a_dict_and_passed_by_position(site: Site) -> None:
    shown = site.get("/").json()
    assert shown["exact_dict"]
    assert shown["positional"]


def test_environ_is_fresh_for_each_request(site: Site) -> None:
    """uWSGI reuses the dict between requests."""
    assert [site.get("/").json()["used_before"] for _ in range(5)] == [False] * 5


def test_a_variable_of_one_request_is_not_in_the_next(site: Site) -> None:
    assert strings(site, headers=[("X-Once", "1")])["HTTP_X_ONCE"] == "1"
    assert "HTTP_X_ONCE" not in strings(site)


def test_what_one_request_brought_is_not_in_another(site: Site) -> None:
    """What comes again and again is put into the next environ ahead of time."""
    long = "x" * 1000
    for value in ["a", "a", "a", "b", "b", "a", "", "", long, long, "", "é", "é", "a"]:
        sent = environ_for("/", X_FIELD=value, HTTP_COOKIE=value, HTTP_X_EMPTY="")
        seen = raw_strings(site, list(sent.items()))
        assert {name: seen[name] for name in sent} == sent


def test_environs_of_many_kinds_keep_apart(site: Site) -> None:
    kinds = [("HTTP_X_" + "ABCDEFGHIJ"[n % 10] * (1 + n // 10), str(n)) for n in range(50)]
    for _ in range(3):
        for kind in kinds:
            seen = raw_strings(site, [*environ_for("/").items(), kind])
            assert [(k, v) for k, v in seen.items() if k.startswith("HTTP_X_")] == [kind]


def test_threads_that_change_over_in_a_collection_get_their_own(start: Starter) -> None:
    """Making a dict may run finalizers, and they may let another thread make one."""
    spile = start.spile("finalizers:application", "--threads", "4")

    def ask(number: int) -> bytes:
        return spile.ask(f"/{number}?{number}", HTTP_X_FIELD=str(number % 2)).body

    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(ask, range(400)))
    assert bodies == [f"/{n} {n} {n % 2}".encode() for n in range(400)]


def test_the_order_of_the_variables_does_not_matter(site: Site) -> None:
    pairs = list(environ_for("/").items())
    for order in [pairs, pairs[::-1]] * 3:
        assert raw_strings(site, order).items() >= dict(pairs).items()


def test_what_is_derived_follows_what_it_is_derived_from(site: Site) -> None:
    cases = [
        # HTTPS, UWSGI_SCHEME, Host, SERVER_NAME, SERVER_PORT; then the scheme and the last two as
        # they are to be
        ("", "", "one.test:81", "", "", "http", "one.test", "80"),
        ("on", "", "one.test:81", "", "", "https", "one.test", "443"),
        ("on", "", "two.test", "", "", "https", "two.test", "443"),
        ("on", "http", "two.test", "", "", "http", "two.test", "80"),
        ("", "https", "two.test", "", "", "https", "two.test", "443"),
        ("", "", "two.test", "own.test", "8080", "http", "own.test", "8080"),
        ("on", "", "two.test", "own.test", "8080", "https", "own.test", "8080"),
        ("", "", "", "", "", "http", "localhost", "80"),
    ]
    for times in [1, 2, 3]:
        for https, scheme, host, name, port, *derived in cases * 2:
            given = {"HTTPS": https, "UWSGI_SCHEME": scheme, "HTTP_HOST": host}
            given.update(SERVER_NAME=name, SERVER_PORT=port)
            for _ in range(times):
                seen = raw_strings(site, list(environ_for("/", **given).items()))
                assert [
                    seen["wsgi.url_scheme"],
                    seen["SERVER_NAME"],
                    seen["SERVER_PORT"],
                ] == derived


# Rule 2: the CGI variables.


def test_the_request_line(by_params: Site) -> None:
    seen = strings(by_params, "/some/path?a=1&b=2", method="DELETE")
    assert seen["REQUEST_METHOD"] == "DELETE"
    assert seen["SCRIPT_NAME"] == ""
    assert seen["PATH_INFO"] == "/some/path"
    assert seen["QUERY_STRING"] == "a=1&b=2"
    assert seen["SERVER_PROTOCOL"] == "HTTP/1.1"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "OPTIONS", "PROPFIND"])
def test_any_method_arrives(site: Site, method: str) -> None:
    body = None if method == "GET" else b""
    assert strings(site, method=method, body=body)["REQUEST_METHOD"] == method


def test_server_name_and_port_without_a_server_name(by_params: Site) -> None:
    """nginx sends an empty SERVER_NAME when it has none; PEP 3333 wants one."""
    seen = strings(by_params)
    assert seen["SERVER_NAME"]
    assert seen["SERVER_PORT"] == str(by_params.port())


def test_server_name_is_the_one_configured(site: Site) -> None:
    """gunicorn takes it from Host."""
    seen = strings(site, server="named", headers=[("Host", "other.test:1234")])
    assert seen["SERVER_NAME"] == "example.test"
    assert seen["SERVER_PORT"] == str(site.port("named"))


@pytest.mark.every_transport
def test_what_pep_3333_requires_is_there_when_the_front_sends_nothing(site: Site) -> None:
    seen = raw_strings(site, [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/")])
    assert seen["REQUEST_METHOD"] == "GET"
    assert seen["PATH_INFO"] == "/"
    assert seen["SCRIPT_NAME"] == ""
    assert seen["SERVER_NAME"]
    assert seen["SERVER_PORT"].isdigit()
    assert seen["SERVER_PROTOCOL"].startswith("HTTP/")
    assert seen.get("QUERY_STRING", "") == ""


@pytest.mark.parametrize("name", ["SERVER_NAME", "SERVER_PORT"])
def test_an_empty_required_variable_is_filled_in(site: Site, name: str) -> None:
    assert raw_strings(site, list(environ_for("/", **{name: ""}).items()))[name]


def test_a_percent_encoded_path_arrives_as_latin_1(site: Site) -> None:
    seen = strings(site, "/caf%C3%A9/%E2%98%83")
    assert seen["PATH_INFO"] == "/café/☃".encode().decode("latin-1")
    assert seen["REQUEST_URI"] == "/caf%C3%A9/%E2%98%83"


def test_a_byte_that_is_not_utf_8_arrives_as_latin_1(site: Site) -> None:
    seen = strings(site, "/%ff%FE", headers=[("X-Byte", b"caf\xe9")])
    assert seen["PATH_INFO"] == "/\xff\xfe"
    assert seen["HTTP_X_BYTE"] == "caf\xe9"


def test_a_utf_8_header_arrives_as_latin_1(site: Site) -> None:
    """fastwsgi decodes headers as UTF-8."""
    seen = strings(site, headers=[("X-Name", "Jürgen".encode())])
    assert seen["HTTP_X_NAME"] == "Jürgen".encode().decode("latin-1")


def test_the_path_is_decoded_once(site: Site) -> None:
    """gunicorn decodes what nginx has decoded already."""
    assert strings(site, "/a%2525b")["PATH_INFO"] == "/a%25b"


def test_a_plus_in_the_path_stays(site: Site) -> None:
    assert strings(site, "/a+b%20c")["PATH_INFO"] == "/a+b c"


def test_the_query_string_stays_raw(site: Site) -> None:
    raw = "q=%2525&name=%C3%A9&plus=a+b&empty=&flag"
    assert strings(site, "/?" + raw)["QUERY_STRING"] == raw


@pytest.mark.parametrize("path", ["/", "/?x=1"])
def test_the_root_path_is_a_slash(site: Site, path: str) -> None:
    seen = strings(site, path)
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("", "/")


def test_an_http_1_0_request(site: Site) -> None:
    answer = site.raw(b"GET /old?x HTTP/1.0\r\n\r\n")
    seen = answer.json()["strings"]
    assert seen["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert (seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/old", "x")


def test_a_request_for_an_absolute_uri(site: Site) -> None:
    request = b"GET http://example.test/abs?x HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n"
    # The answer has a length, so nginx does not send it in chunks.
    seen = site.raw(request).json()["strings"]
    assert seen["PATH_INFO"] == "/abs"


# Rule 3: the wsgi.* keys.


def test_the_wsgi_keys(site: Site) -> None:
    shown = site.get("/").json()
    assert shown["version"] == [1, 0]
    assert shown["types"]["wsgi.version"] == "tuple"
    assert shown["run_once"] is False
    assert shown["input_terminated"] is True
    assert shown["strings"]["wsgi.url_scheme"] == "http"
    assert set(shown["methods"]["wsgi.input"]) >= {"read", "readline", "readlines", "__iter__"}
    assert set(shown["methods"]["wsgi.errors"]) >= {"write", "writelines", "flush"}
    assert "__call__" in shown["methods"]["wsgi.file_wrapper"]


@pytest.mark.parametrize(
    ("options", "multithread", "multiprocess"),
    [
        ("", False, False),
        ("--threads 1", False, False),
        ("--threads 4", True, False),
        ("--workers 2", False, True),
        ("-w 2 -t 2", True, True),
        ("--workers-min 1 --workers-max 4", False, True),
    ],
)
def test_multithread_and_multiprocess(
    start: Starter, options: str, multithread: bool, multiprocess: bool
) -> None:
    shown = start.spile("environ:application", *options.split()).ask("/").json()
    assert shown["multithread"] is multithread
    assert shown["multiprocess"] is multiprocess


@pytest.mark.parametrize(
    ("variables", "scheme"),
    [
        ({"HTTPS": "on"}, "https"),
        ({"HTTPS": "1"}, "https"),
        ({"HTTPS": "off"}, "http"),
        ({"HTTPS": ""}, "http"),
        ({"REQUEST_SCHEME": "https"}, "https"),
        ({"REQUEST_SCHEME": "http"}, "http"),
        ({"REQUEST_SCHEME": ""}, "http"),
        ({"UWSGI_SCHEME": "https"}, "https"),
        ({"UWSGI_SCHEME": "HTTPS"}, "https"),
        ({"UWSGI_SCHEME": "http", "HTTPS": "on", "REQUEST_SCHEME": "https"}, "http"),
        ({"UWSGI_SCHEME": "", "HTTPS": "on"}, "https"),
        ({"UWSGI_SCHEME": "javascript", "REQUEST_SCHEME": "https"}, "https"),
        ({"UWSGI_SCHEME": "https, http"}, "http"),
    ],
    ids=str,
)
def test_the_url_scheme(site: Site, variables: dict[str, str], scheme: str) -> None:
    seen = raw_strings(site, list(environ_for("/", **variables).items()))
    assert seen["wsgi.url_scheme"] == scheme


@pytest.mark.every_transport
def test_the_url_scheme_behind_nginx(site: Site) -> None:
    assert strings(site)["wsgi.url_scheme"] == "http"
    assert strings(site, server="https")["wsgi.url_scheme"] == "https"


def test_the_url_scheme_behind_what_ends_tls_before_nginx(site: Site) -> None:
    """As in the configurations of Sentry, Indico, GeoNode and others."""
    assert strings(site, server="scheme")["wsgi.url_scheme"] == "https"
    for told, scheme in [("https", "https"), ("http", "http"), ("", "http")]:
        seen = strings(site, server="forwarded", headers=[("X-Forwarded-Proto", told)])
        assert seen["wsgi.url_scheme"] == scheme


def test_a_client_cannot_choose_the_url_scheme(site: Site) -> None:
    seen = strings(site, headers=[("X-Forwarded-Proto", "https"), ("HTTPS", "on")])
    assert seen["wsgi.url_scheme"] == "http"


# What the front server says is kept.


def test_what_the_front_server_says_is_kept(by_params: Site) -> None:
    """gunicorn drops REQUEST_URI, REQUEST_SCHEME and DOCUMENT_ROOT."""
    seen = strings(by_params, "/x?y=%20z")
    assert seen["REQUEST_URI"] == "/x?y=%20z"
    assert seen["REQUEST_SCHEME"] == "http"
    assert seen["DOCUMENT_ROOT"]


@pytest.mark.every_transport
def test_remote_address_and_port(by_params: Site) -> None:
    """On a unix socket gunicorn's is empty."""
    seen = strings(by_params)
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["REMOTE_PORT"].isdigit()


def test_custom_params_are_kept(site: Site) -> None:
    seen = strings(site, server="params")
    assert seen["REMOTE_USER"] == "alice"
    assert seen["X_TENANT"] == "blue"
    assert seen["my.dotted-name"] == "value"
    assert seen["EMPTY"] == ""


def test_a_client_header_cannot_pass_for_a_param(site: Site) -> None:
    seen = strings(site, server="params", headers=[("Remote-User", "mallory")])
    assert seen["REMOTE_USER"] == "alice"
    assert seen["HTTP_REMOTE_USER"] == "mallory"


def test_the_second_modifier_does_not_matter(site: Site) -> None:
    assert strings(site, "/x", server="modifier")["PATH_INFO"] == "/x"


def test_a_later_host_param_wins(site: Site) -> None:
    """Debian sends $host, without the port; a site's own $http_host comes after it."""
    host = f"example.test:{site.port('own_host')}"
    assert strings(site, server="own_host", headers=[("Host", host)])["HTTP_HOST"] == host


@pytest.mark.parametrize("name", ["REMOTE_USER", "X_TENANT", "HTTP_HOST", "SERVER_NAME"])
def test_the_last_of_a_repeated_param_wins(site: Site, name: str) -> None:
    pairs = [(k, v) for k, v in environ_for("/").items() if k != name]
    assert raw_strings(site, [*pairs, (name, "first"), (name, "last")])[name] == "last"


# Client headers.


@pytest.mark.parametrize("name", ["HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_PROXY"])
def test_headers_that_must_not_arrive(site: Site, name: str) -> None:
    """CONTENT_* have their own names; HTTP_PROXY would pass for a process's proxy setting."""
    headers = [("Content-Type", "text/plain"), ("Proxy", "http://mallory.test")]
    seen = strings(site, method="POST", body=b"abc", headers=headers)
    assert name not in seen
    assert seen["CONTENT_TYPE"] == "text/plain"
    assert seen["CONTENT_LENGTH"] == "3"


def test_headers_with_similar_names_do_arrive(site: Site) -> None:
    seen = strings(site, headers=[("Proxy-Thing", "1"), ("X-Content-Type", "2")])
    assert seen["HTTP_PROXY_THING"] == "1"
    assert seen["HTTP_X_CONTENT_TYPE"] == "2"


def test_repeated_headers_are_joined(site: Site) -> None:
    """nginx before 1.23 passes them one by one, later ones join them the same way."""
    headers = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("Accept", "text/html"),
        ("X-Forwarded-For", "192.0.2.2"),
        ("Accept", "*/*"),
    ]
    seen = strings(site, headers=headers)
    assert seen["HTTP_X_FORWARDED_FOR"] == "192.0.2.1, 192.0.2.2"
    assert seen["HTTP_ACCEPT"] == "text/html, */*"


def test_repeated_cookies_are_joined_with_a_semicolon(site: Site) -> None:
    seen = strings(site, headers=[("Cookie", "a=1"), ("Cookie", "b=2; c=3"), ("Cookie", "d=4")])
    assert seen["HTTP_COOKIE"] == "a=1; b=2; c=3; d=4"


def test_a_hundred_headers_arrive(site: Site) -> None:
    # nginx reads at most four buffers of 8k of headers.
    headers = [(f"X-Field-{n}", "v" * 200 + str(n)) for n in range(100)]
    seen = strings(site, headers=headers)
    assert {name: seen["HTTP_" + name.upper().replace("-", "_")] for name, _ in headers} == dict(
        headers
    )


def test_content_type_and_length_without_a_body(by_params: Site) -> None:
    """nginx sends them empty; absent is as good to PEP 3333."""
    seen = strings(by_params)
    assert seen.get("CONTENT_TYPE", "") == ""
    assert seen.get("CONTENT_LENGTH", "") in ("", "0")


def test_the_content_length_of_a_chunked_request_is_the_true_one(site: Site) -> None:
    seen = strings(site, method="POST", body=iter([b"abc", b"defg"]))
    assert seen["CONTENT_LENGTH"] == "7"


# What must not get in.


def test_the_process_environment_is_not_merged(site: Site) -> None:
    """granian merges it, which shows an application's secrets to every debug page."""
    shown = site.get("/").json()
    assert shown["process"]["environment"][PROCESS_VARIABLE] == "inherited"
    assert PROCESS_VARIABLE not in shown["strings"]
    assert not {"PATH", "HOME", "PWD"} & set(shown["strings"])


def test_uwsgi_variables_load_no_code(site: Site, start: Starter) -> None:
    """uWSGI runs what UWSGI_FILE names: to it a socket is as good as a shell."""
    folder = start.folder()
    trace = folder / "was_run"
    evil = folder / "evil.py"
    evil.write_text(f"open({str(trace)!r}, 'w').close()\napplication = None\n")
    orders = {
        "UWSGI_FILE": str(evil),
        "UWSGI_SCRIPT": "evil",
        "UWSGI_MODULE": "evil",
        "UWSGI_CALLABLE": "application",
        "UWSGI_CHDIR": str(folder),
        "UWSGI_PYHOME": str(folder),
        "UWSGI_SETENV": "TEST_SET_BY_SOCKET=1",
        "UWSGI_APPID": "evil",
        "UWSGI_TOUCH_RELOAD": str(evil),
    }
    with site.spile.connect() as connection:
        connection.send(packet(environ_for("/", **orders)))
        shown = connection.answer().json()
    assert {name: shown["strings"].get(name) for name in orders} == orders
    assert "TEST_SET_BY_SOCKET" not in shown["process"]["environment"]
    assert shown["process"]["cwd"] == site.get("/").json()["process"]["cwd"] != str(folder)
    assert not trace.exists()


def test_a_variable_cannot_replace_a_wsgi_key(site: Site) -> None:
    pairs = list(environ_for("/").items())
    forged = ["wsgi.input", "wsgi.errors", "wsgi.version", "wsgi.url_scheme", "wsgi.file_wrapper"]
    with site.spile.connect() as connection:
        connection.send(packet([*pairs, *((name, "forged") for name in forged)]))
        shown = connection.answer().json()
    assert shown["version"] == [1, 0]
    assert "forged" not in json.dumps(shown)
