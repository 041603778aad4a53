"""Applications inside wsgiref.validate, which checks the server as much as the application."""

from wsgiref.validate import validator


def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"plain"]


def streaming(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"chunk %d\n" % n for n in range(3))


def late(environ, start_response):
    """Calls start_response only when iterated."""

    def body():
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"late"

    return body()


def written(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])(b"written")
    return []


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def echo_read(environ, start_response):
    return echo(start_response, [environ["wsgi.input"].read(1000), environ["wsgi.input"].read(0)])


def echo_readline(environ, start_response):
    lines = []
    while True:
        line = environ["wsgi.input"].readline()
        if not line:
            return echo(start_response, lines)
        lines.append(line)


def echo_readlines(environ, start_response):
    return echo(start_response, environ["wsgi.input"].readlines())


def echo_iterated(environ, start_response):
    return echo(start_response, list(environ["wsgi.input"]))


def echo(start_response, pieces):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"".join(pieces)]


def errors(environ, start_response):
    log = environ["wsgi.errors"]
    log.write("validated write\n")
    log.writelines(["validated writelines\n"])
    log.flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"logged"]


INNER = {
    "/" + inner.__name__: validator(inner)
    for inner in (
        plain,
        streaming,
        late,
        written,
        no_content,
        echo_read,
        echo_readline,
        echo_readlines,
        echo_iterated,
        errors,
    )
}


def application(environ, start_response):
    return INNER[environ["PATH_INFO"]](environ, start_response)
