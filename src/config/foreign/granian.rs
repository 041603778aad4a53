//! granian's options.

use super::{
    row::{Section, always, is, no},
    uvicorn::{ADDRESS, CERTIFICATE, FRONT, LOGGING, PASSWORD, WATCHED},
};

const METRICS: &str = "one address for Prometheus, `HOST:PORT`";
const RUNTIME: &str =
    "there is nothing to choose: --threads says how many requests a worker runs at once";
const STATIC: &str = "`--mount /static=static://DIR`; nginx does it better";

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Applications",
        rows: &[
            no(
                &["interface"],
                "applications are WSGI; ASGI is not served yet",
            ),
            is(
                &["working-dir"],
                &["chdir"],
                "modules are looked for there too",
            ),
            is(
                &["factory", "no-factory"],
                &["app"],
                "write the call: `shop:create_app()`",
            ),
            is(
                &["url-path-prefix"],
                &["mount"],
                "`--mount /prefix=APP` sets SCRIPT_NAME",
            ),
            is(
                &["env-files"],
                &["env-file"],
                "no `${NAME}` in it is expanded",
            ),
            is(&["static-path-route"], &["mount"], STATIC),
            is(&["static-path-mount"], &["mount"], STATIC),
            is(&["static-path-dir-to-file"], &["mount"], STATIC),
            is(&["static-path-expires"], &["mount"], STATIC),
            is(
                &["reload", "no-reload"],
                &["reload"],
                "it watches the files of imported modules",
            ),
            no(&["reload-paths"], WATCHED),
            no(&["reload-ignore-dirs"], WATCHED),
            no(&["reload-ignore-patterns"], WATCHED),
            no(&["reload-ignore-paths"], WATCHED),
            no(
                &["reload-tick"],
                "it waits until files have been quiet for 0.1 s",
            ),
            always(
                &[
                    "reload-ignore-worker-failure",
                    "no-reload-ignore-worker-failure",
                ],
                "code that cannot be imported changes nothing",
            ),
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
            is(&["uds-permissions"], &["socket-mode"], ""),
            is(&["backlog"], &["backlog"], "4096 unless given"),
            is(&["ssl-certificate"], &["tls-cert"], CERTIFICATE),
            is(&["ssl-keyfile"], &["tls-key"], ""),
            no(&["ssl-keyfile-password"], PASSWORD),
            always(&["ssl-protocol-min"], "TLS 1.2 and 1.3"),
            is(
                &["ssl-ca"],
                &["tls-client-ca"],
                "clients are asked for a certificate then",
            ),
            no(
                &["ssl-crl"],
                "have the CA of --tls-client-ca sign front servers alone",
            ),
            is(
                &["ssl-client-verify", "no-ssl-client-verify"],
                &["tls-client-ca"],
                "with it a certificate is required, without it none is asked for",
            ),
        ],
    },
    Section {
        title: "HTTP",
        rows: &[
            no(&["http"], FRONT),
            no(&["ws", "no-ws"], "there are no websockets yet"),
            is(
                &["http1-buffer-size"],
                &["max-vars-size"],
                "all variables of a request, in bytes",
            ),
            is(
                &["http1-header-read-timeout"],
                &["read-timeout"],
                "in seconds, where granian has milliseconds",
            ),
            no(&["http1-keep-alive", "no-http1-keep-alive"], FRONT),
            no(&["http1-pipeline-flush", "no-http1-pipeline-flush"], FRONT),
            no(
                &["http2-adaptive-window", "no-http2-adaptive-window"],
                FRONT,
            ),
            no(&["http2-initial-connection-window-size"], FRONT),
            no(&["http2-initial-stream-window-size"], FRONT),
            no(&["http2-keep-alive-interval"], FRONT),
            no(&["http2-keep-alive-timeout"], FRONT),
            no(&["http2-max-concurrent-streams"], FRONT),
            no(&["http2-max-frame-size"], FRONT),
            no(&["http2-max-headers-size"], FRONT),
            no(&["http2-max-send-buffer-size"], FRONT),
        ],
    },
    Section {
        title: "Processes",
        rows: &[
            is(&["workers"], &["workers"], "`auto` is one a processor"),
            is(&["blocking-threads"], &["threads"], "1 unless given"),
            no(
                &["blocking-threads-idle-timeout"],
                "threads stay as long as their worker",
            ),
            no(&["runtime-threads"], RUNTIME),
            no(&["runtime-blocking-threads"], RUNTIME),
            no(&["runtime-mode"], RUNTIME),
            no(&["loop"], "it is for ASGI, which spile does not serve yet"),
            no(
                &["task-impl"],
                "it is for ASGI, which spile does not serve yet",
            ),
            is(
                &["backpressure"],
                &["max-in-flight"],
                "of each worker; --threads of them run, the others wait",
            ),
            always(
                &["respawn-failed-workers", "no-respawn-failed-workers"],
                "a worker that dies is replaced, and the log says why",
            ),
            no(
                &["respawn-interval"],
                "the pause grows with each worker that dies before it serves",
            ),
            is(
                &["workers-lifetime"],
                &["max-worker-lifetime"],
                "in seconds",
            ),
            is(&["workers-max-rss"], &["max-rss"], "in MiB too"),
            no(
                &["rss-sample-interval"],
                "--max-rss is looked at every second",
            ),
            no(&["rss-samples"], "--max-rss is looked at every second"),
            is(
                &["workers-kill-timeout"],
                &["graceful-timeout"],
                "30 s unless given, of a stop and of a reload",
            ),
            is(&["pid-file"], &["pidfile"], ""),
            no(&["process-name"], "a unit has the name"),
        ],
    },
    Section {
        title: "Logs and statistics",
        rows: &[
            is(
                &["log", "no-log"],
                &["log-level"],
                "`error` is the least there is",
            ),
            is(
                &["log-level"],
                &["log-level"],
                "`warning` is `warn`, and `critical` is `error`",
            ),
            is(&["log-config"], &["log-format"], LOGGING),
            is(
                &["access-log", "no-access-log"],
                &["access-log"],
                "off unless given, and it takes a place: `--access-log -` is standard output",
            ),
            is(
                &["access-log-fmt"],
                &["access-log-format"],
                "the directives are Apache's, such as `%h`",
            ),
            is(&["metrics", "no-metrics"], &["metrics"], METRICS),
            is(&["metrics-address"], &["metrics"], METRICS),
            is(&["metrics-port"], &["metrics"], METRICS),
            no(
                &["metrics-scrape-interval"],
                "the numbers are those of the moment that Prometheus asks at",
            ),
        ],
    },
];
