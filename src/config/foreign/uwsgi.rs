//! uWSGI's options, the common ones. It has a thousand.

use super::row::{Section, always, is, no, other};

const ALONE: &str = "programs of their own: a task queue, timers, a cache server";
const FRONT: &str = "nginx's business";
const HTTP: &str = "spile speaks uwsgi, to a front server";
const LOG: &str = "the log is standard error: redirect it, or let the unit keep it";
const UNIT: &str = "the unit does that";
const CONFIGURATION: &str =
    "spile reads one TOML file; `spile check --config spile.toml` says what is wrong in it";
const GREEN: &str = "an application with gevent's or eventlet's monkey patching is served, but each thread has one request \
                     at a time: leave the patching out, and have more --threads";
const TITLES: &str = "a unit has the name";

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Applications",
        rows: &[
            is(
                &["module", "wsgi"],
                &["app"],
                "`module = shop.wsgi:app` is `shop.wsgi:app` here too, `module = wsgi:app` is `wsgi:app`. \
                 Without a callable it is `application`, or else `app`. The letter `-w` is --workers here",
            )
            .letters("w"),
            is(
                &["callable"],
                &["app"],
                "after the colon: `shop.wsgi:app`. A factory is called, \
                 with literals if it takes arguments: `'shop:create_app(\"prod\", debug=True)'`",
            ),
            is(
                &["wsgi-file", "file"],
                &["app"],
                "`path/file.py` or `path/file.py:app`. `site.wsgi` is the file of that name \
                 unless there is a module `wsgi` in a package `site`; a name that ends in neither needs a slash: `./site`",
            ),
            is(&["mount"], &["mount"], "`--mount /shop=shop.wsgi:app`, repeatable; any number of applications in one spile"),
            always(&["manage-script-name"], "a mount moves its prefix from PATH_INFO to SCRIPT_NAME"),
            is(&["chdir", "chdir2"], &["chdir"], "modules are looked for there too"),
            is(&["pythonpath", "python-path", "pp"], &["pythonpath"], ""),
            is(
                &["virtualenv", "venv", "home", "pyhome"],
                &["venv"],
                "it must have the spile package; --python names an interpreter itself",
            )
            .letters("H"),
            no(&["plugin", "plugins", "need-plugin", "need-plugins", "plugin-dir", "plugins-dir"], "there are none"),
            is(&["env"], &["env"], "set before the application is imported"),
            no(&["import", "py-import", "python-import", "shared-import"], "import it in the application's module"),
            is(
                &["lazy", "lazy-apps"],
                &["lazy"],
                "otherwise the application is imported once, and workers are forks. Often not needed: connections that \
                 must not be shared may be opened in a function decorated with `@spile.post_fork`",
            ),
            always(&["need-app"], "a failed import ends the start with status 1 and the traceback"),
            always(&["single-interpreter"], "").letters("i"),
            no(
                &["eval", "paste", "ini-paste", "ini-paste-logged", "pecan", "pump", "web3", "wsgi-lite"],
                "write a module that makes the application; \
                 for PasteDeploy `application = paste.deploy.loadapp(\"config:/srv/app/production.ini\")`",
            ),
            is(&["optimize"], &["env"], "`PYTHONOPTIMIZE=1`: the interpreter starts with these variables").letters("O"),
            is(&["static-map"], &["mount"], "`--mount /static=static://DIR`; nginx does it better"),
            no(
                &[
                    "check-static",
                    "static-index",
                    "static-expires",
                    "static-expires-type",
                    "static-gzip-all",
                    "route",
                    "route-uri",
                    "route-host",
                    "route-if",
                    "route-run",
                    "add-header",
                    "del-header",
                    "vhost",
                ],
                FRONT,
            ),
            no(&["no-default-app"], "paths that no mount has get 404"),
            no(&["wsgi-disable-file-wrapper"], "leave `wsgi.file_wrapper` alone in the application"),
            always(&["py-call-osafterfork"], "workers come of `os.fork()`"),
            is(&["limit-post"], &["max-body"], "nginx: `client_max_body_size` comes before it"),
        ],
    },
    Section {
        title: "Sockets",
        rows: &[
            is(
                &["socket", "uwsgi-socket"],
                &["socket"],
                "repeatable. `:3031` has to say for whom: `127.0.0.1:3031`, or `0.0.0.0:3031` for all, and then --allow-from \
                 for whom",
            )
            .letters("s"),
            no(
                &[
                    "http",
                    "http-socket",
                    "https",
                    "https-socket",
                    "fastcgi-socket",
                    "scgi-socket",
                    "http-timeout",
                    "http-keepalive",
                    "http-auto-chunked",
                    "http-auto-gzip",
                    "http-to",
                ],
                HTTP,
            ),
            is(
                &["suwsgi-socket"],
                &["tls-cert", "tls-key", "tls-client-ca"],
                "every TCP socket speaks TLS then; unix sockets stay plain",
            ),
            no(&["abstract-socket", "shared-socket"], "nginx connects to a path, or to an address and a port").letters("a"),
            is(&["chmod-socket", "chmod"], &["socket-mode"], "`660`. Without it, what the umask leaves").letters("C"),
            is(&["chown-socket"], &["socket-owner"], "`USER:GROUP`, `USER` or `:GROUP`"),
            is(&["umask"], &["umask"], ""),
            is(
                &["listen"],
                &["backlog"],
                "4096 where uWSGI has 100; the kernel caps both at `net.core.somaxconn`",
            )
            .letters("l"),
            always(&["buffer-size"], "65535, the most there can be; --max-vars-size makes it smaller").letters("b"),
            is(&["max-vars"], &["max-vars"], "").letters("v"),
            is(&["socket-timeout"], &["read-timeout"], "a client that is slow holds no worker here").letters("z"),
            always(&["vacuum"], "a socket's file goes when spile stops"),
            no(&["protocol", "socket-protocol"], "uwsgi"),
            always(&["tcp-nodelay"], ""),
            no(
                &["so-keepalive", "so-send-timeout", "reuse-port", "tcp-fast-open", "no-defer-accept"],
                "a client that is slow or silent holds no worker",
            ),
        ],
    },
    Section {
        title: "Processes",
        rows: &[
            always(&["master"], "").letters("M"),
            is(&["processes", "workers"], &["workers"], "").letters("p"),
            is(&["threads"], &["threads"], ""),
            always(&["enable-threads"], "an application may start threads, with the first request or later").letters("T"),
            always(&["thunder-lock"], "one waiting worker is woken for a connection"),
            always(
                &["offload-threads", "post-buffering", "post-buffering-bufsize"],
                "bodies are gathered and slow clients served beside the workers",
            ),
            is(
                &["pidfile", "pidfile2", "safe-pidfile"],
                &["pidfile"],
                "the master's; after an upgrade it has the new master",
            ),
            no(&["daemonize", "daemonize2"], "run it from a unit, or with `setsid`").letters("d"),
            is(&["uid"], &["user"], "after the sockets are bound, which belong to that user then"),
            is(&["gid"], &["group"], "without it the user's own groups"),
            always(&["die-on-term"], "TERM stops, and requests finish"),
            always(&["no-orphans"], ""),
            always(
                &["hook-master-start"],
                "if it makes TERM graceful; other commands are the unit's (`ExecStartPre=`)",
            ),
            is(
                &["harakiri"],
                &["request-timeout"],
                "the application gets an exception first; then the client gets 504, and the log says where it hung. The \
                 letter `-t` is --threads here",
            )
            .letters("t"),
            always(&["harakiri-verbose"], ""),
            is(
                &["harakiri-graceful-timeout"],
                &["request-timeout"],
                "an exception is raised first, and two seconds later the request is taken away",
            ),
            is(&["max-requests"], &["max-requests"], "the next worker serves before this one leaves").letters("R"),
            is(&["max-requests-delta"], &["max-requests-jitter"], "at random"),
            is(&["reload-on-rss"], &["max-rss"], "in MiB"),
            is(&["evil-reload-on-rss"], &["max-rss-kill"], "twice --max-rss unless given"),
            no(&["reload-on-as", "evil-reload-on-as"], "--max-rss looks at resident memory"),
            is(&["max-worker-lifetime"], &["max-worker-lifetime"], ""),
            is(
                &["reload-mercy", "worker-reload-mercy"],
                &["graceful-timeout"],
                "of a stop and of a reload",
            ),
            is(&["touch-reload"], &["touch-reload"], "repeatable"),
            is(
                &["touch-workers-reload", "touch-chain-reload"],
                &["touch-reload"],
                "the new workers serve before the old ones leave",
            ),
            is(
                &["py-autoreload", "py-auto-reload", "python-autoreload", "python-auto-reload"],
                &["reload"],
                "it watches the files of imported modules; there is no interval to give",
            ),
            always(&["chain-reloading", "worker-reload"], "the old workers serve until the new ones do"),
            no(&["master-fifo"], "signals, and `spile reload`"),
            is(&["cheaper"], &["workers-min"], "the number follows the load between it and --workers-max"),
            is(&["cheaper-initial"], &["workers"], "how many to begin with, between --workers-min and --workers-max"),
            no(
                &["cheaper-step", "cheaper-algo", "cheaper-overload"],
                "--workers-min and --workers-max are the bounds, and there is one algorithm between them",
            ),
            no(
                &[
                    "async",
                    "gevent",
                    "gevent-monkey-patch",
                    "gevent-early-monkey-patch",
                    "asyncio",
                    "ugreen",
                    "loop",
                ],
                GREEN,
            ),
            no(
                &["emperor", "vassals", "zerg", "fastrouter", "subscribe-to", "subscription-server"],
                "one unit an application; --mount for several in one",
            ),
            no(
                &[
                    "mule",
                    "mules",
                    "spooler",
                    "spooler-processes",
                    "cron",
                    "cron2",
                    "unique-cron",
                    "attach-daemon",
                    "attach-daemon2",
                    "smart-attach-daemon",
                    "cache",
                    "cache2",
                ],
                ALONE,
            )
            .letters("Q"),
            no(
                &["auto-procname", "procname", "procname-prefix", "procname-prefix-spaced", "procname-master"],
                TITLES,
            ),
            no(&["chroot", "cap", "cgroup", "namespace", "unshare"], "the unit does that; --sandbox restricts writing"),
            no(&["cpu-affinity", "prio", "max-fd", "limit-as", "limit-nproc"], UNIT),
            no(
                &["hook-asap", "hook-pre-app", "exec-asap", "exec-pre-app", "exec-as-root"],
                "the unit does that (`ExecStartPre=`)",
            ),
            other(&["hook-post-fork"], "`@spile.post_fork`", "each worker runs what it marks before it serves"),
        ],
    },
    Section {
        title: "Logs and statistics",
        rows: &[
            no(&["logto", "logto2", "logger", "log-master", "log-master-stream"], LOG),
            always(&["disable-logging"], "a line a request is written only if asked for").letters("L"),
            is(&["req-logger"], &["access-log"], "a path, or `-` for standard output"),
            is(
                &["log-format", "logformat"],
                &["access-log-format"],
                "`common`, `combined`, `json`, or a format string with the directives of Apache's mod_log_config",
            ),
            is(
                &["log-4xx", "log-5xx", "log-slow", "log-big", "log-zero"],
                &["access-log"],
                "of every request",
            ),
            no(
                &["logformat-strftime", "log-date", "log-prefix", "log-micros"],
                "times of the log are in UTC (RFC 3339), `%t` is Apache's",
            ),
            no(&["log-x-forwarded-for"], "in nginx `set_real_ip_from` and `real_ip_header`"),
            always(&["log-reopen", "touch-logreopen"], "USR1 opens the access log anew"),
            is(&["stats", "stats-server", "stats-http"], &["control"], "always there: `spile stats` prints it, `spile top` shows it"),
            is(&["stats-push", "stats-pusher", "metric", "enable-metrics", "carbon"], &["metrics"], "for Prometheus"),
            no(&["memory-report"], "`spile stats` has the memory of each worker").letters("m"),
            always(
                &["ignore-sigpipe", "ignore-write-errors", "disable-write-exception"],
                "a client that leaves is no error",
            ),
        ],
    },
    Section {
        title: "Configuration files",
        rows: &[
            is(&["ini", "yaml", "yml", "json", "xml", "include", "inherit"], &["config"], CONFIGURATION).letters("xyj"),
            always(&["strict"], "an unknown key is a mistake, with its line"),
            no(
                &["set", "set-ph", "set-placeholder", "for", "if-env", "if-file", "if-opt", "print"],
                "a file has no logic. Variables override it, the command line overrides both",
            )
            .letters("S"),
            other(&["show-config", "get"], "the command `spile check`", "it says what would run"),
            other(&["connect-and-read"], "the command `spile stats`", ""),
            other(&["stop"], "`kill -TERM`", ""),
        ],
    },
];
