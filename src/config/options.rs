//! The table of options. The command line, the environment variables and the keys of spile.toml are made from
//! it, so that each option has the same name and the same explanation in all three. What a reload does with an option
//! that has changed stands there too.

use super::{Config, Mount, near};

use OnReload::{Applied, Restart, WithWorkers};

/// One option of `spile serve` and `spile check`.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The key in spile.toml, and after `--` on the command line. `app` is the positional APP.
    pub key: &'static str,
    /// The environment variable: `SPILE_SOCKET_MODE` for `socket-mode`.
    pub variable: &'static str,
    /// The letter after `-`, if it has one.
    pub short: Option<char>,
    /// What stands for its value in the help. Empty for a switch: given without a value it is `true`.
    pub value: &'static str,
    /// Whether it may be given more than once: an array in the file, commas or lines in the variable.
    pub repeats: bool,
    /// The heading it stands under in the help.
    pub heading: &'static str,
    /// What a reload does with it when it has changed.
    pub reload: OnReload,
    /// What it does: the first line is the short help.
    pub help: &'static str,
}

/// What a reload does with an option that has changed.
#[derive(Clone, Copy, Debug)]
pub enum OnReload {
    /// Puts it in force, for the sockets that are there too. So it is with what only Python's workers have.
    Applied,
    /// Gives it to the workers that it starts. Where this process serves without any, the option takes a restart.
    WithWorkers(Differs),
    /// Leaves it: the option takes a restart.
    Restart(Differs),
}

/// Tells whether two configurations differ in an option.
pub type Differs = fn(&Config, &Config) -> bool;

impl Opt {
    /// Whether it is on or off, and on when it is given without a value.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.value.is_empty()
    }

    /// The option as the command line has it: `--socket-mode`, or `APP`.
    #[cfg(feature = "cli")]
    pub(crate) fn written(&self) -> String {
        match self.key {
            "app" => self.value.to_owned(),
            key => format!("--{key}"),
        }
    }
}

/// The option of that key.
pub fn find(key: &str) -> Option<&'static Opt> {
    ALL.iter().find(|option| option.key == key)
}

/// The option whose key is nearest to a misspelt one, if one is near enough.
pub(crate) fn near(written: &str) -> Option<&'static Opt> {
    let written = written.replace('_', "-").to_lowercase();
    near::near(&written, ALL.iter().map(|option| option.key)).and_then(find)
}

/// The options that differ between two configurations and that a reload leaves as they were. `has_workers` says
/// whether it starts new workers.
#[cfg(feature = "cli")]
pub(crate) fn left_by_reload(
    running: &Config,
    new: &Config,
    has_workers: bool,
) -> Vec<&'static Opt> {
    let is_left = |option: &&Opt| match option.reload {
        Applied => false,
        WithWorkers(differs) => !has_workers && differs(running, new),
        Restart(differs) => differs(running, new),
    };
    ALL.iter().filter(is_left).collect()
}

/// Compares one field of two configurations.
macro_rules! differs {
    ($field:ident) => {
        |old, new| old.$field != new.$field
    };
}

fn at_root(config: &Config) -> impl Iterator<Item = &Mount> {
    config.mounts.iter().filter(|it| it.prefix.is_empty())
}

fn below_root(config: &Config) -> impl Iterator<Item = &Mount> {
    config.mounts.iter().filter(|it| !it.prefix.is_empty())
}

const APPLICATIONS: &str = "Applications";
const SOCKETS: &str = "Sockets";
const PROCESSES: &str = "Processes";
const PYTHON: &str = "Python";
const LIMITS: &str = "Time-outs and limits";
const LOGS: &str = "Logs";
const FILES: &str = "Files";

/// All of them, in the order of the help.
pub const ALL: &[Opt] = &[
    Opt {
        key: "app",
        variable: "SPILE_APP",
        short: None,
        value: "APP",
        repeats: false,
        heading: APPLICATIONS,
        reload: WithWorkers(|old, new| at_root(old).ne(at_root(new))),
        help: "The application to serve at /\n\n\
               Of Python: module:callable, module:factory(\"literal\", key=1), path/file.py[:callable] or file.wsgi, \
               with or without wsgi:// before it. Without a callable it is `application`, or else `app`. Of spile's \
               own: static://DIR for files; echo:// and hello:// to try things out.",
    },
    Opt {
        key: "mount",
        variable: "SPILE_MOUNT",
        short: None,
        value: "PREFIX=APP",
        repeats: true,
        heading: APPLICATIONS,
        reload: WithWorkers(|old, new| below_root(old).ne(below_root(new))),
        help: "Serve another application below a path, as in /shop=shop.wsgi:app\n\n\
               The longest prefix wins. The application sees it as SCRIPT_NAME.",
    },
    Opt {
        key: "socket",
        variable: "SPILE_SOCKET",
        short: Some('s'),
        value: "ADDR",
        repeats: true,
        heading: SOCKETS,
        reload: WithWorkers(differs!(sockets)),
        help: "Listen there [default: 127.0.0.1:3031]\n\n\
               unix:/run/app.sock or unix:///run/app.sock, or a path alone when it has a slash or ends in .sock; HOST:PORT; [::1]:PORT. \
               It is what nginx's uwsgi_pass names. Sockets that systemd passes are served as well, and take the \
               place of the default.",
    },
    Opt {
        key: "socket-mode",
        variable: "SPILE_SOCKET_MODE",
        short: None,
        value: "MODE",
        repeats: false,
        heading: SOCKETS,
        reload: Applied,
        help: "Permissions of unix sockets, in octal, such as 660 [default: as the umask leaves them]\n\n\
               nginx must be allowed to write to the socket.",
    },
    Opt {
        key: "socket-owner",
        variable: "SPILE_SOCKET_OWNER",
        short: None,
        value: "USER:GROUP",
        repeats: false,
        heading: SOCKETS,
        reload: Applied,
        help: "Owner of unix sockets: USER, USER:GROUP or :GROUP, as names or numbers",
    },
    Opt {
        key: "allow-from",
        variable: "SPILE_ALLOW_FROM",
        short: None,
        value: "CIDR",
        repeats: true,
        heading: SOCKETS,
        reload: Applied,
        help: "Take TCP connections from this network only, as in 10.0.0.0/8 [default: from everywhere]\n\n\
               IPv4 or IPv6; an address alone is that one machine. Others are closed before a byte of theirs is read. \
               Name the front servers: whoever may connect can say of a request what only they should, such as \
               REMOTE_USER. Unix sockets have --socket-mode and --socket-owner for it.",
    },
    Opt {
        key: "backlog",
        variable: "SPILE_BACKLOG",
        short: None,
        value: "N",
        repeats: false,
        heading: SOCKETS,
        reload: Applied,
        help: "Connections that may wait to be accepted [default: 4096]\n\n\
               The kernel lowers it to net.core.somaxconn. When a unix socket's queue is full, nginx answers 502.",
    },
    Opt {
        key: "tls-cert",
        variable: "SPILE_TLS_CERT",
        short: None,
        value: "FILE",
        repeats: false,
        heading: SOCKETS,
        reload: WithWorkers(|old, new| old.tls.is_some() != new.tls.is_some()),
        help: "Speak TLS on TCP sockets, with the certificates in this PEM file\n\n\
               The server's own comes first, then those that lead to its CA. In nginx write uwsgi_pass suwsgi://HOST:PORT. Unix \
               sockets stay plain. A reload (HUP) reads the files again.",
    },
    Opt {
        key: "tls-key",
        variable: "SPILE_TLS_KEY",
        short: None,
        value: "FILE",
        repeats: false,
        heading: SOCKETS,
        reload: Applied,
        help: "The private key of --tls-cert, in PEM\n\n\
               It is read before --user is taken on.",
    },
    Opt {
        key: "tls-client-ca",
        variable: "SPILE_TLS_CLIENT_CA",
        short: None,
        value: "FILE",
        repeats: false,
        heading: SOCKETS,
        reload: Applied,
        help: "Serve only TLS clients whose certificate one of these CAs has signed, in PEM\n\n\
               In nginx give uwsgi_ssl_certificate and uwsgi_ssl_certificate_key.",
    },
    Opt {
        key: "workers",
        variable: "SPILE_WORKERS",
        short: Some('w'),
        value: "N|auto",
        repeats: false,
        heading: PROCESSES,
        reload: Applied,
        help: "Worker processes, or auto for one a processor [default: 1]\n\n\
               Python runs on one core per worker. Each needs the application's memory, less what it shares. The signals \
               TTIN and TTOU make it one more or less.",
    },
    Opt {
        key: "workers-min",
        variable: "SPILE_WORKERS_MIN",
        short: None,
        value: "N",
        repeats: false,
        heading: PROCESSES,
        reload: Applied,
        help: "The fewest workers, when their number follows the load [default: --workers]",
    },
    Opt {
        key: "workers-max",
        variable: "SPILE_WORKERS_MAX",
        short: None,
        value: "N",
        repeats: false,
        heading: PROCESSES,
        reload: Applied,
        help: "The most workers: with it their number follows the load\n\n\
               A worker is added when the others are busy or requests wait in the listen queue, and taken away after half a \
               minute in which one fewer would have done.",
    },
    Opt {
        key: "threads",
        variable: "SPILE_THREADS",
        short: Some('t'),
        value: "N",
        repeats: false,
        heading: PROCESSES,
        reload: WithWorkers(differs!(threads)),
        help: "Requests a worker runs at the same time, each on a thread [default: 1]\n\n\
               More than one needs a thread-safe application.",
    },
    Opt {
        key: "max-worker-lifetime",
        variable: "SPILE_MAX_WORKER_LIFETIME",
        short: None,
        value: "SECONDS",
        repeats: false,
        heading: PROCESSES,
        reload: Applied,
        help: "Replace a worker after so long [default: never]\n\n\
               Up to a tenth more, so that workers are not replaced at the same time. A worker that is replaced for this or \
               another limit serves until the new one does.",
    },
    Opt {
        key: "user",
        variable: "SPILE_USER",
        short: None,
        value: "USER",
        repeats: false,
        heading: PROCESSES,
        reload: Restart(differs!(user)),
        help: "Become this user once the sockets are bound\n\n\
               A name or a number. spile has to be started as root for it. What that user cannot reach of the \
               applications, the interpreter and the places to write to is a mistake.",
    },
    Opt {
        key: "group",
        variable: "SPILE_GROUP",
        short: None,
        value: "GROUP",
        repeats: false,
        heading: PROCESSES,
        reload: Restart(differs!(group)),
        help: "Become a member of this group only [default: those of --user]",
    },
    Opt {
        key: "umask",
        variable: "SPILE_UMASK",
        short: None,
        value: "MODE",
        repeats: false,
        heading: PROCESSES,
        reload: Restart(differs!(umask)),
        help: "The umask of all processes, in octal, such as 027 [default: as it is]",
    },
    Opt {
        key: "sandbox",
        variable: "SPILE_SANDBOX",
        short: None,
        value: "",
        repeats: false,
        heading: PROCESSES,
        reload: WithWorkers(differs!(sandbox)),
        help: "Have applications write nowhere but to --sandbox-write and the temporary directory\n\n\
               What they start may not either. They can make, write, rename and remove no other file, whoever they run as; \
               modes, owners and times of files they can change as their user may. Nor may they signal or inspect processes \
               outside, or gain privileges. The kernel does that (Landlock); what it is too old for is a warning at start.",
    },
    Opt {
        key: "sandbox-write",
        variable: "SPILE_SANDBOX_WRITE",
        short: None,
        value: "PATH",
        repeats: true,
        heading: PROCESSES,
        reload: WithWorkers(differs!(sandbox_write)),
        help: "With --sandbox: let applications write to this file, or below this directory\n\n\
               For uploads, caches, or the directory of an SQLite database. $TMPDIR (or /tmp), /dev/shm and the access log, \
               which needs a directory of its own, need not be named.",
    },
    Opt {
        key: "pidfile",
        variable: "SPILE_PIDFILE",
        short: None,
        value: "PATH",
        repeats: false,
        heading: PROCESSES,
        reload: Restart(differs!(pidfile)),
        help: "Write the master's process id there\n\n\
               A file of a process that is gone is replaced; one of a process that runs is a mistake, and so is one that holds \
               anything but a number.",
    },
    Opt {
        key: "control",
        variable: "SPILE_CONTROL",
        short: None,
        value: "PATH",
        repeats: false,
        heading: PROCESSES,
        reload: Restart(differs!(control)),
        help: "The unix socket that `spile stats`, `top` and `reload` ask [default: beside --pidfile]\n\n\
               Without a pid file it is in the runtime directory ($RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR or /run), named after the \
               first --socket. Only the user that spile runs as may connect.",
    },
    Opt {
        key: "chdir",
        variable: "SPILE_CHDIR",
        short: None,
        value: "DIR",
        repeats: false,
        heading: PYTHON,
        reload: Applied,
        help: "Run applications in this directory [default: the current one]\n\n\
               Modules are looked for there, and a relative APP, --mount or --pythonpath means it. All other \
               relative paths mean the directory spile is started in, wherever they are written.",
    },
    Opt {
        key: "pythonpath",
        variable: "SPILE_PYTHONPATH",
        short: None,
        value: "DIR",
        repeats: true,
        heading: PYTHON,
        reload: Applied,
        help: "Look for modules there first",
    },
    Opt {
        key: "venv",
        variable: "SPILE_VENV",
        short: None,
        value: "DIR",
        repeats: false,
        heading: PYTHON,
        reload: Applied,
        help: "Use this virtual environment [default: the one that is active]",
    },
    Opt {
        key: "python",
        variable: "SPILE_PYTHON",
        short: None,
        value: "PATH",
        repeats: false,
        heading: PYTHON,
        reload: Applied,
        help: "Use this interpreter; it must have the spile package [default: python3]\n\n\
               Looked for in this order: --python, bin/python in --venv, the interpreter that spile was installed \
               into with pip, bin/python in $VIRTUAL_ENV, python3 on $PATH.",
    },
    Opt {
        key: "env",
        variable: "SPILE_ENV",
        short: None,
        value: "NAME=VALUE",
        repeats: true,
        heading: PYTHON,
        reload: Applied,
        help: "Set a variable in the applications' process environment",
    },
    Opt {
        key: "env-file",
        variable: "SPILE_ENV_FILE",
        short: None,
        value: "FILE",
        repeats: true,
        heading: PYTHON,
        reload: Applied,
        help: "Set the variables of this file there too\n\n\
               Lines are NAME=VALUE, the value in quotes if need be; a comment has # before it. Nothing is expanded, and \
               spile's own options are not among them. --env wins over it. A reload reads it again.",
    },
    Opt {
        key: "lazy",
        variable: "SPILE_LAZY",
        short: None,
        value: "",
        repeats: false,
        heading: PYTHON,
        reload: Applied,
        help: "Import the application in each worker, not once before they are forked\n\n\
               For applications that cannot be forked after their import. Workers then share less memory.",
    },
    Opt {
        key: "warmup",
        variable: "SPILE_WARMUP",
        short: None,
        value: "PATH",
        repeats: true,
        heading: PYTHON,
        reload: Applied,
        help: "Send a GET request for this path through the application before workers are forked\n\n\
               What it imports, compiles and caches is then shared by all workers.",
    },
    Opt {
        key: "reload",
        variable: "SPILE_RELOAD",
        short: None,
        value: "",
        repeats: false,
        heading: PYTHON,
        reload: Restart(differs!(reload)),
        help: "For development: reload when a file of an imported module changes",
    },
    Opt {
        key: "touch-reload",
        variable: "SPILE_TOUCH_RELOAD",
        short: None,
        value: "FILE",
        repeats: true,
        heading: PYTHON,
        reload: Restart(differs!(touch_reload)),
        help: "Reload when this file is touched",
    },
    Opt {
        key: "request-timeout",
        variable: "SPILE_REQUEST_TIMEOUT",
        short: None,
        value: "SECONDS",
        repeats: false,
        heading: LIMITS,
        reload: WithWorkers(differs!(request_timeout)),
        help: "The time an application may take to answer [default: 0, any]\n\n\
               Then an exception is raised in it, whose traceback shows where it hung. If it has not answered two seconds \
               later the client gets 504 and the worker is replaced.",
    },
    Opt {
        key: "max-requests",
        variable: "SPILE_MAX_REQUESTS",
        short: None,
        value: "N",
        repeats: false,
        heading: LIMITS,
        reload: Applied,
        help: "Replace a worker after so many requests [default: 0, never]",
    },
    Opt {
        key: "max-requests-jitter",
        variable: "SPILE_MAX_REQUESTS_JITTER",
        short: None,
        value: "N",
        repeats: false,
        heading: LIMITS,
        reload: Applied,
        help: "Up to so many more, a different number for each worker [default: 0]",
    },
    Opt {
        key: "max-rss",
        variable: "SPILE_MAX_RSS",
        short: None,
        value: "MIB",
        repeats: false,
        heading: LIMITS,
        reload: Applied,
        help: "Replace a worker that uses more memory than this [default: 0, never]\n\n\
               Resident memory, with what it shares. The worker finishes its requests.",
    },
    Opt {
        key: "max-rss-kill",
        variable: "SPILE_MAX_RSS_KILL",
        short: None,
        value: "MIB",
        repeats: false,
        heading: LIMITS,
        reload: Applied,
        help: "Kill a worker that uses more memory than this [default: twice --max-rss]",
    },
    Opt {
        key: "read-timeout",
        variable: "SPILE_READ_TIMEOUT",
        short: None,
        value: "SECONDS",
        repeats: false,
        heading: LIMITS,
        reload: WithWorkers(differs!(read_timeout)),
        help: "The time a client may take for its request [default: 60]\n\n\
               For the variables as a whole, then for each wait for more of the body.",
    },
    Opt {
        key: "graceful-timeout",
        variable: "SPILE_GRACEFUL_TIMEOUT",
        short: None,
        value: "SECONDS",
        repeats: false,
        heading: LIMITS,
        reload: WithWorkers(differs!(graceful_timeout)),
        help: "The time running requests get to finish at a stop or a reload [default: 30]",
    },
    Opt {
        key: "max-vars-size",
        variable: "SPILE_MAX_VARS_SIZE",
        short: None,
        value: "BYTES",
        repeats: false,
        heading: LIMITS,
        reload: WithWorkers(differs!(max_vars_size)),
        help: "The largest block of variables taken [default: 65535, the most there can be]",
    },
    Opt {
        key: "max-vars",
        variable: "SPILE_MAX_VARS",
        short: None,
        value: "N",
        repeats: false,
        heading: LIMITS,
        reload: WithWorkers(differs!(max_vars)),
        help: "The most variables of a request, its headers among them [default: 1024]",
    },
    Opt {
        key: "max-body",
        variable: "SPILE_MAX_BODY",
        short: None,
        value: "BYTES",
        repeats: false,
        heading: LIMITS,
        reload: WithWorkers(differs!(max_body)),
        help: "The largest body of a request [default: 0, any]\n\n\
               A larger one gets 413, and no byte of it is stored. nginx has a limit of its own, client_max_body_size.",
    },
    Opt {
        key: "max-in-flight",
        variable: "SPILE_MAX_IN_FLIGHT",
        short: None,
        value: "N",
        repeats: false,
        heading: LIMITS,
        reload: WithWorkers(differs!(max_in_flight)),
        help: "Connections a worker holds at the same time; never more than three quarters of its open files [default: 16384]",
    },
    Opt {
        key: "log-format",
        variable: "SPILE_LOG_FORMAT",
        short: None,
        value: "FORMAT",
        repeats: false,
        heading: LOGS,
        reload: Restart(differs!(log_format)),
        help: "text for people, json for programs [default: text]",
    },
    Opt {
        key: "log-level",
        variable: "SPILE_LOG_LEVEL",
        short: None,
        value: "LEVEL",
        repeats: false,
        heading: LOGS,
        reload: Restart(differs!(log_level)),
        help: "error, warn, info, debug or trace [default: info]",
    },
    Opt {
        key: "access-log",
        variable: "SPILE_ACCESS_LOG",
        short: None,
        value: "PATH|-|off",
        repeats: false,
        heading: LOGS,
        reload: WithWorkers(differs!(access_log)),
        help: "One line a request, to a file or to standard output (-) [default: off]",
    },
    Opt {
        key: "access-log-format",
        variable: "SPILE_ACCESS_LOG_FORMAT",
        short: None,
        value: "FORMAT",
        repeats: false,
        heading: LOGS,
        reload: WithWorkers(differs!(access_log_format)),
        help: "common, combined, json, or a format string [default: combined, or as --log-format]\n\n\
               A format string has the directives of Apache's mod_log_config: %h address, %l -, %u user, %t time, \
               %r request line, %s status, %b and %B bytes of the body, %T seconds, %{ms}T, %D microseconds, %m method, \
               %U path, %q query, %H protocol, %v and %p server's name and port, %P process, %X X if the response was cut, \
               %{NAME}i a request header, %{NAME}e a variable, %%.",
    },
    Opt {
        key: "metrics",
        variable: "SPILE_METRICS",
        short: None,
        value: "ADDR",
        repeats: false,
        heading: LOGS,
        reload: Restart(differs!(metrics)),
        help: "Answer Prometheus there, at /metrics: HOST:PORT or unix:PATH [default: off]",
    },
    Opt {
        key: "config",
        variable: "SPILE_CONFIG",
        short: Some('c'),
        value: "FILE",
        repeats: false,
        heading: FILES,
        reload: Applied,
        help: "Read options from a TOML file\n\n\
               Its keys are the long options without the dashes before them; options that may be repeated are arrays. \
               [mount] and [env] may be tables. Variables override the file, the command line overrides both.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Given, Layer, Place, Sources};

    #[test]
    fn a_near_miss_is_known() {
        let near = |written| near(written).map_or("", |near| near.key);
        assert_eq!(near("WORKER"), "workers");
        assert_eq!(near("socket_mod"), "socket-mode");
        assert_eq!(near("acess-log"), "access-log");
        for far in ["colour", "port", "service-host", "debug", "x"] {
            assert_eq!(near(far), "", "{far}");
        }
    }

    #[test]
    fn an_option_has_one_name_in_all_places() {
        for option in ALL {
            let variable = format!("SPILE_{}", option.key.to_uppercase().replace('-', "_"));
            assert_eq!(option.variable, variable);
            assert!(!(option.is_switch() && option.repeats), "{}", option.key);
        }
    }

    /// What an option may be given that is not its default.
    fn example(key: &str) -> &'static str {
        match key {
            "app" => "echo://",
            "mount" => "/x=echo://",
            "socket" => "127.0.0.1:3032",
            "tls-cert" => "cert.pem",
            "threads" | "request-timeout" | "read-timeout" | "graceful-timeout"
            | "max-vars-size" | "max-vars" | "max-body" | "max-in-flight" => "7",
            "umask" => "027",
            "user" | "group" => "0",
            "sandbox" | "reload" => "true",
            "log-format" | "access-log-format" => "json",
            "log-level" => "debug",
            "metrics" => "127.0.0.1:9000",
            "pidfile" | "control" | "sandbox-write" | "touch-reload" | "access-log" => "/tmp/it",
            other => panic!("give --{other} an example"),
        }
    }

    fn config(values: &[(&str, &str)]) -> Config {
        let mut layer = Layer::default();
        for (key, text) in values {
            let given = Given {
                text: (*text).to_owned(),
                place: Place::CommandLine("it"),
            };
            layer.add(find(key).unwrap(), given);
        }
        Config::load(Sources {
            command_line: layer,
            environment: Layer::default(),
            directory: "/".into(),
            host_python: None,
        })
        .config
    }

    #[test]
    fn an_option_that_a_reload_leaves_is_seen_to_have_changed() {
        let running = config(&[("app", "hello://")]);
        for option in ALL {
            let (WithWorkers(differs) | Restart(differs)) = option.reload else {
                continue;
            };
            let mut values = vec![(option.key, example(option.key))];
            if option.key != "app" {
                values.push(("app", "hello://"));
            }
            if option.key == "tls-cert" {
                values.push(("tls-key", "key.pem"));
            }
            assert!(!differs(&running, &running), "{}", option.key);
            let left = left_by_reload(&running, &config(&values), false);
            let left: Vec<_> = left.iter().map(|option| option.key).collect();
            assert_eq!(left, [option.key]);
        }
    }
}
