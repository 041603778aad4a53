//! gunicorn's options: all of them. `gunicorn.txt` is the list that a test compares with.

use super::row::{Section, always, is, no, other};

const ASGI: &str = "it is for ASGI, which spile does not serve yet";
const DIRTY: &str = "run long work in a task queue, as a program of its own";
const HTTP: &str = "the front server reads HTTP, and spile gets variables";
const HTTP_2: &str = "the front server speaks HTTP/2 with browsers";
const SYSLOG: &str =
    "the log is standard error: let the unit keep it (journalctl), or pipe it to logger(1)";
const STATSD: &str = "Prometheus asks there; statsd is not spoken";
const LOGGING: &str = "the log can be text or json; the application sets up its own logging itself";

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Applications",
        rows: &[
            is(&[], &["app"], "`shop.wsgi:app` and `shop:create_app(\"prod\")` mean the same").settings(&["wsgi_app"]),
            is(&["chdir"], &["chdir"], "modules are looked for there too"),
            is(&["pythonpath"], &["pythonpath"], "give it once for each directory"),
            is(&["env"], &["env"], "the letter `-e` is not taken").letters("e").settings(&["raw_env"]),
            always(
                &["preload"],
                "the application is imported once, before workers are forked; --lazy has each worker import it",
            )
            .settings(&["preload_app"]),
            no(
                &["worker-class"],
                "`sync` and `gthread` are what --workers and --threads make; slow clients need no `gevent` or \
                 `eventlet`, and ASGI is not served yet",
            )
            .letters("k"),
            is(&["reload"], &["reload"], "it watches the files of all imported modules"),
            always(&["reload-engine"], "the kernel tells of changes (inotify)"),
            is(&["reload-extra-file"], &["touch-reload"], "it needs no --reload")
                .settings(&["reload_extra_files"]),
            no(
                &["paste", "paster"],
                "write a module with `application = paste.deploy.loadapp('config:/srv/shop.ini')`, and name that",
            )
            .settings(&["paste"]),
            no(&["paste-global"], "give it to `loadapp` in a module of your own")
                .settings(&["raw_paste_global_conf"]),
            is(&["root-path"], &["mount"], "`--mount /prefix=APP` sets SCRIPT_NAME"),
            no(&["asgi-loop"], ASGI),
            no(&["asgi-lifespan"], ASGI),
            no(&["asgi-disconnect-grace-period"], ASGI),
            no(&["websocket-max-message-size"], ASGI),
            no(&["spew"], "run the application with `python3 -m trace`"),
        ],
    },
    Section {
        title: "Sockets",
        rows: &[
            is(
                &["bind"],
                &["socket"],
                "`HOST:PORT` or `unix:/run/app.sock`, and no `:8000` without a host. It speaks uwsgi: in nginx \
                 `include uwsgi_params; uwsgi_pass …;` takes the place of `proxy_pass`",
            )
            .letters("b"),
            is(&["backlog"], &["backlog"], "4096 unless given"),
            no(&["reuse-port"], "workers share the sockets, and one that waits is woken for a connection"),
            is(
                &["certfile"],
                &["tls-cert"],
                "for TLS between nginx and spile (`uwsgi_pass suwsgi://…`); nginx speaks it with browsers",
            ),
            is(&["keyfile"], &["tls-key"], ""),
            is(&["ca-certs"], &["tls-client-ca"], "clients are asked for a certificate then"),
            is(&["cert-reqs"], &["tls-client-ca"], "with it a certificate is required, without it none is asked for"),
            always(&["ssl-version"], "TLS 1.2 and 1.3"),
            no(&["ciphers"], "those that are considered safe are offered"),
            no(&["suppress-ragged-eofs"], "a connection that ends early is no request"),
            always(&["do-handshake-on-connect"], "within --read-timeout"),
            no(&[], "--tls-cert, --tls-key and --tls-client-ca name the files").settings(&["ssl_context"]),
            always(&["protocol"], "spile speaks uwsgi, as gunicorn does with `uwsgi` here"),
            is(&["uwsgi-allow-from"], &["allow-from"], "networks too. Everybody unless given: unix sockets need none")
                .settings(&["uwsgi_allow_ips"]),
            is(
                &["forwarded-allow-ips"],
                &["allow-from"],
                "the scheme is what the front server says in `HTTPS` or `REQUEST_SCHEME`, and no header changes it",
            ),
            no(&[], "in nginx `uwsgi_param HTTPS $https if_not_empty;`, or a `map` of the header")
                .settings(&["secure_scheme_headers"]),
            always(&["forwarder-headers"], "SCRIPT_NAME and PATH_INFO are variables of the front server"),
            no(&["header-map"], "nginx leaves out headers with an underscore (`underscores_in_headers`)"),
            no(&["proxy-protocol"], "in nginx `listen … proxy_protocol;`"),
            no(&["proxy-allow-from"], "in nginx `set_real_ip_from`").settings(&["proxy_allow_ips"]),
        ],
    },
    Section {
        title: "Processes",
        rows: &[
            is(
                &["workers"],
                &["workers"],
                "`auto` is one a processor. `WEB_CONCURRENCY` is not looked at: set SPILE_WORKERS",
            )
            .letters("w"),
            is(&["threads"], &["threads"], "its letter here is `-t`"),
            is(
                &["worker-connections"],
                &["max-in-flight"],
                "16384 unless given: a connection that waits holds neither worker nor thread",
            ),
            is(&["max-requests"], &["max-requests"], "the next worker serves before this one leaves"),
            is(&["max-requests-jitter"], &["max-requests-jitter"], ""),
            is(
                &["timeout"],
                &["request-timeout"],
                "the time for one request, and none unless given; gunicorn kills a worker that is silent for 30 s. The \
                 application gets an exception first, the client 504. The letter `-t` is --threads here",
            )
            .letters("t"),
            is(&["graceful-timeout"], &["graceful-timeout"], "of a stop and of a reload"),
            no(&["keep-alive"], "nginx keeps the connections of browsers (`keepalive_timeout`)").settings(&["keepalive"]),
            no(&["daemon"], "run it from a unit, or with `setsid`").letters("D"),
            is(&["pid"], &["pidfile"], "the letter `-p` is not taken").letters("p").settings(&["pidfile"]),
            is(&["user"], &["user"], "the whole server, once its sockets are bound; the letter `-u` is not taken")
                .letters("u"),
            is(&["group"], &["group"], "the letter `-g` is not taken").letters("g"),
            is(&["umask"], &["umask"], "octal: 027. Unix sockets have --socket-mode").letters("m"),
            is(&["initgroups"], &["user"], "without --group all groups of the user are taken on"),
            no(&["worker-tmp-dir"], "workers are watched through shared memory, and no file"),
            other(&[], "the variable TMPDIR", "set it for spile").settings(&["tmp_upload_dir"]),
            no(&["name"], "a unit has the name").letters("n").settings(&["proc_name"]),
            no(&[], "a unit has the name").settings(&["default_proc_name"]),
            no(&["no-sendfile"], "files go by sendfile(2) where that can be done").settings(&["sendfile"]),
            is(&["control-socket"], &["control"], "`spile stats`, `spile top` and `spile reload` ask there"),
            always(&["control-socket-mode"], "only the user that spile runs as may connect"),
            no(&["no-control-socket"], "it is always there, for the user that spile runs as")
                .settings(&["control_socket_disable"]),
            no(&["dirty-app"], DIRTY).settings(&["dirty_apps"]),
            no(&["dirty-workers"], DIRTY),
            no(&["dirty-timeout"], DIRTY),
            no(&["dirty-threads"], DIRTY),
            no(&["dirty-graceful-timeout"], DIRTY),
        ],
    },
    Section {
        title: "HTTP",
        rows: &[
            is(&["limit-request-fields"], &["max-vars"], "1024 unless given, with some twenty that are no headers"),
            is(&["limit-request-field_size"], &["max-vars-size"], "all variables together, in bytes"),
            is(&["limit-request-line"], &["max-vars-size"], "all variables together; nginx has `large_client_header_buffers`"),
            no(&["http-parser"], HTTP),
            no(&["permit-obsolete-folding"], HTTP),
            no(&["strip-header-spaces"], HTTP),
            no(&["permit-unconventional-http-method"], HTTP),
            no(&["permit-unconventional-http-version"], HTTP),
            no(&["casefold-http-method"], HTTP),
            no(&["http-protocols"], HTTP_2),
            no(&["http2-cleartext"], HTTP_2),
            no(&["http2-max-concurrent-streams"], HTTP_2),
            no(&["http2-initial-window-size"], HTTP_2),
            no(&["http2-max-frame-size"], HTTP_2),
            no(&["http2-max-header-list-size"], HTTP_2),
        ],
    },
    Section {
        title: "Logs and statistics",
        rows: &[
            is(&["access-logfile"], &["access-log"], "`-` is standard output here too").settings(&["accesslog"]),
            is(
                &["access-logformat"],
                &["access-log-format"],
                "the directives are Apache's, `%h` for `%(h)s`",
            )
            .settings(&["access_log_format"]),
            no(
                &["error-logfile", "log-file"],
                "the log is standard error: redirect it (`2>> spile.log`), or let the unit keep it (journalctl)",
            )
            .settings(&["errorlog"]),
            is(&["log-level"], &["log-level"], "`warning` is `warn`, and `critical` is `error`").settings(&["loglevel"]),
            always(&["capture-output"], "what the application writes to its standard files goes there"),
            always(&["enable-stdio-inheritance"], "").letters("R"),
            is(&["log-config"], &["log-format"], LOGGING).settings(&["logconfig"]),
            is(&["log-config-json"], &["log-format"], LOGGING).settings(&["logconfig_json"]),
            is(&[], &["log-format"], LOGGING).settings(&["logconfig_dict"]),
            is(&["logger-class"], &["log-format"], LOGGING),
            no(&["log-syslog"], SYSLOG).settings(&["syslog"]),
            no(&["log-syslog-to"], SYSLOG).settings(&["syslog_addr"]),
            no(&["log-syslog-prefix"], SYSLOG).settings(&["syslog_prefix"]),
            no(&["log-syslog-facility"], SYSLOG).settings(&["syslog_facility"]),
            no(&["disable-redirect-access-to-syslog"], SYSLOG),
            is(&["statsd-host"], &["metrics"], STATSD),
            is(&["statsd-prefix"], &["metrics"], STATSD),
            is(&["dogstatsd-tags"], &["metrics"], STATSD),
            always(&["enable-backlog-metric"], "`spile stats` and --metrics have the queue of each socket"),
        ],
    },
    Section {
        title: "Hooks",
        rows: &[
            other(&[], "`@spile.post_fork`", "each worker runs what it marks before it serves").settings(&["post_fork"]),
            other(&[], "`@spile.post_fork`", "each worker runs what it marks before it serves")
                .settings(&["post_worker_init"]),
            no(&[], "write it where the application is imported").settings(&["on_starting"]),
            no(&[], "the new workers import the application: write it there").settings(&["on_reload"]),
            no(&[], "systemd is told (`Type=notify`)").settings(&["when_ready"]),
            other(&[], "`os.register_at_fork(before=…)`", "").settings(&["pre_fork"]),
            no(&[], "the log tells of it").settings(&["worker_int"]),
            no(&[], "the log has the stack of a request that takes too long").settings(&["worker_abort"]),
            no(&[], "USR2 replaces spile itself, and runs nothing of the application's").settings(&["pre_exec"]),
            no(&[], "wrap the application (WSGI middleware)").settings(&["pre_request"]),
            no(&[], "wrap the application (WSGI middleware), or read the access log").settings(&["post_request"]),
            no(&[], "the log tells how a worker ended").settings(&["child_exit"]),
            other(&[], "`atexit`", "").settings(&["worker_exit"]),
            no(&[], "`spile stats` and --metrics tell of it").settings(&["nworkers_changed"]),
            other(&[], "`@spile.on_exit`", "once for each import, after the last of its workers has left")
                .settings(&["on_exit"]),
            no(&[], DIRTY).settings(&["on_dirty_starting"]),
            no(&[], DIRTY).settings(&["dirty_post_fork"]),
            no(&[], DIRTY).settings(&["dirty_worker_init"]),
            no(&[], DIRTY).settings(&["dirty_worker_exit"]),
        ],
    },
    Section {
        title: "Configuration",
        rows: &[
            is(&["config"], &["config"], "a TOML file, and no Python").letters("c"),
            other(&["check-config"], "the command `spile check`", "it looks at the machine too"),
            other(&["print-config"], "the command `spile check`", ""),
        ],
    },
];
