//! uvicorn's options.

use super::row::{Section, always, is, no};

const ASGI: &str = "it is for ASGI, which spile does not serve yet";
const WEBSOCKETS: &str = "there are no websockets yet";
pub(super) const FRONT: &str = "the front server speaks HTTP with browsers";
pub(super) const ADDRESS: &str = "one address, `HOST:PORT`. It speaks uwsgi: in nginx `include uwsgi_params; uwsgi_pass …;` \
                                  takes the place of `proxy_pass`";
pub(super) const LOGGING: &str =
    "the log can be text or json; the application sets up its own logging itself";
pub(super) const CERTIFICATE: &str =
    "for TLS between nginx and spile (`uwsgi_pass suwsgi://…`); nginx speaks it with browsers";
pub(super) const PASSWORD: &str = "give a key without one, in a file that only root may read";
pub(super) const WATCHED: &str =
    "--reload watches the files of imported modules, and what --touch-reload names";

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Applications",
        rows: &[
            no(
                &["interface"],
                "applications are WSGI; ASGI is not served yet",
            ),
            is(
                &["app-dir"],
                &["chdir"],
                "or --pythonpath, which only looks for modules there",
            ),
            is(
                &["factory"],
                &["app"],
                "write the call: `shop:create_app()`",
            ),
            is(
                &["root-path"],
                &["mount"],
                "`--mount /prefix=APP` sets SCRIPT_NAME",
            ),
            is(
                &["env-file"],
                &["env-file"],
                "no `${NAME}` in it is expanded",
            ),
            is(
                &["reload"],
                &["reload"],
                "it watches the files of imported modules",
            ),
            no(&["reload-dir"], WATCHED),
            no(&["reload-include"], WATCHED),
            no(&["reload-exclude"], WATCHED),
            no(
                &["reload-delay"],
                "it waits until files have been quiet for 0.1 s",
            ),
            no(&["loop"], ASGI),
            no(&["lifespan"], ASGI),
            no(&["reset-contextvars"], ASGI),
        ],
    },
    Section {
        title: "Sockets",
        rows: &[
            is(&["host"], &["socket"], ADDRESS),
            is(&["port"], &["socket"], ADDRESS),
            is(
                &["uds"],
                &["socket"],
                "`unix:/run/app.sock`; --socket-mode has its permissions",
            ),
            no(
                &["fd"],
                "sockets that systemd passes are served without being named",
            ),
            is(&["backlog"], &["backlog"], "4096 unless given"),
            is(&["ssl-certfile"], &["tls-cert"], CERTIFICATE),
            is(&["ssl-keyfile"], &["tls-key"], ""),
            no(&["ssl-keyfile-password"], PASSWORD),
            always(&["ssl-version"], "TLS 1.2 and 1.3"),
            is(
                &["ssl-cert-reqs"],
                &["tls-client-ca"],
                "with it a certificate is required, without it none is asked for",
            ),
            is(
                &["ssl-ca-certs"],
                &["tls-client-ca"],
                "clients are asked for a certificate then",
            ),
            no(
                &["ssl-ciphers"],
                "those that are considered safe are offered",
            ),
        ],
    },
    Section {
        title: "HTTP",
        rows: &[
            no(&["http"], FRONT),
            no(&["http2"], FRONT),
            no(&["h11-max-incomplete-event-size"], FRONT),
            no(
                &["timeout-keep-alive"],
                "nginx keeps the connections of browsers (`keepalive_timeout`)",
            ),
            always(
                &["proxy-headers", "no-proxy-headers"],
                "scheme and address are what the front server says in variables, and no header changes them",
            ),
            is(
                &["forwarded-allow-ips"],
                &["allow-from"],
                "the scheme is what the front server says in `HTTPS` or `REQUEST_SCHEME`, and no header changes it",
            ),
            always(
                &["server-header", "no-server-header"],
                "spile adds none; nginx has its own",
            ),
            always(
                &["date-header", "no-date-header"],
                "spile adds none; nginx has its own",
            ),
            no(&["header"], "in nginx `add_header`"),
            no(&["ws"], WEBSOCKETS),
            no(&["ws-max-size"], WEBSOCKETS),
            no(&["ws-max-queue"], WEBSOCKETS),
            no(&["ws-ping-interval"], WEBSOCKETS),
            no(&["ws-ping-timeout"], WEBSOCKETS),
            no(&["ws-per-message-deflate"], WEBSOCKETS),
        ],
    },
    Section {
        title: "Processes",
        rows: &[
            is(
                &["workers"],
                &["workers"],
                "`auto` is one a processor. `WEB_CONCURRENCY` is not looked at: set SPILE_WORKERS",
            ),
            is(
                &["limit-concurrency"],
                &["max-in-flight"],
                "of each worker; more of them wait in the listen queue and get no 503",
            ),
            is(
                &["limit-max-requests"],
                &["max-requests"],
                "the next worker serves before this one leaves",
            ),
            is(&["limit-max-requests-jitter"], &["max-requests-jitter"], ""),
            is(
                &["timeout-graceful-shutdown"],
                &["graceful-timeout"],
                "30 s unless given, of a stop and of a reload",
            ),
            is(
                &["timeout-worker-healthcheck"],
                &["request-timeout"],
                "a worker that hangs in a request is replaced then",
            ),
        ],
    },
    Section {
        title: "Logs",
        rows: &[
            is(
                &["access-log", "no-access-log"],
                &["access-log"],
                "off unless given, and it takes a place: `--access-log -` is standard output",
            ),
            is(
                &["log-level"],
                &["log-level"],
                "`warning` is `warn`, and `critical` is `error`",
            ),
            is(&["log-config"], &["log-format"], LOGGING),
            no(&["use-colors", "no-use-colors"], "the log has no colours"),
        ],
    },
];
