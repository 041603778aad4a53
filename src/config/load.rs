use std::path::Path;

use super::loaded::{Loaded, Sources};
use super::number::{seconds, whole};
use super::reader::Reader;
use super::socket_mode::umask;
use super::value::{EmptyPath, below, name, not_empty, request_path, switch, variable};
use super::{
    AccessLog, Config, Mistake, Mount, Place, SocketAddress, TlsFiles, WordError, env_file, options,
};
use crate::plain::plain;

impl Config {
    /// Lays the layers over the defaults, with the file that `--config` names below the others, and parses them.
    pub fn load(sources: Sources) -> Loaded {
        let directory = sources.directory.clone();
        let host_python = sources.host_python.clone();
        let mut reader = Reader::new(sources);
        let mut config = reader.config(&directory);
        config.host_python = host_python;
        reader.loaded(config)
    }

    /// As [`Config::load`], of what says where a running server is to be found: `--socket`, `--pidfile` and
    /// `--control`. What is wrong with other options is not looked at.
    #[cfg(feature = "cli")]
    pub(crate) fn load_whereabouts(sources: Sources) -> Loaded {
        let directory = sources.directory.clone();
        let mut reader = Reader::new(sources);
        let mut config = Self::default();
        reader.whereabouts(&mut config, &directory);
        reader.loaded(config)
    }
}

/// More processes than that are a typing mistake.
const MOST_WORKERS: usize = 4096;

/// So many fit into a packet.
const MOST_VARS: usize = 13107;

/// A petabyte: more is a typing mistake.
const MOST_BYTES: usize = 1_000_000_000_000_000;

impl Reader {
    fn config(&mut self, directory: &Path) -> Config {
        let mut config = Config::default();
        let path = |text: &str| not_empty(text).map(|path| below(directory, &path));

        config.chdir = self
            .one("chdir", path)
            .unwrap_or_else(|| directory.to_owned());
        let entries = self.many("pythonpath", not_empty);
        config.pythonpath = entries
            .iter()
            .map(|entry| below(&config.chdir, entry))
            .collect();
        config.mounts = self.mounts(&config.chdir);

        self.whereabouts(&mut config, directory);
        config.socket_mode = self.one("socket-mode", str::parse);
        config.socket_owner = self.one("socket-owner", str::parse);
        config.allow_from = self.many("allow-from", str::parse);
        self.set(&mut config.backlog, "backlog", |text| {
            whole(text, 1..=65535)
        });

        config.tls = self.tls(directory);

        self.workers(&mut config);
        self.set(&mut config.threads, "threads", |text| whole(text, 1..=4096));
        config.user = self.one("user", name);
        config.group = self.one("group", name);
        config.umask = self.one("umask", umask);
        self.set(&mut config.sandbox, "sandbox", switch);
        config.sandbox_write = self.many("sandbox-write", path);

        config.venv = self.one("venv", path);
        // A name without a slash is searched on PATH, as a shell would.
        let command = |text: &str| {
            if text.contains('/') {
                path(text)
            } else {
                not_empty(text)
            }
        };
        config.python = self.one("python", command);
        self.variables(&mut config, directory);
        self.set(&mut config.lazy, "lazy", switch);
        config.warmup = self.many("warmup", request_path);
        self.set(&mut config.reload, "reload", switch);
        config.touch_reload = self.many("touch-reload", path);

        self.set(&mut config.read_timeout, "read-timeout", |text| {
            seconds(text, 0.001)
        });
        self.set(&mut config.graceful_timeout, "graceful-timeout", |text| {
            seconds(text, 0.0)
        });
        let optional = |text: &str| seconds(text, 0.0);
        self.set(&mut config.request_timeout, "request-timeout", optional);
        let (lifetime, key) = (&mut config.max_worker_lifetime, "max-worker-lifetime");
        self.set(lifetime, key, optional);
        let count = |text: &str| whole(text, 0..=1_000_000_000);
        self.set(&mut config.max_requests, "max-requests", count);
        let (jitter, key) = (&mut config.max_requests_jitter, "max-requests-jitter");
        self.set(jitter, key, count);
        self.set(&mut config.max_rss, "max-rss", count);
        config.max_rss_kill = self
            .one("max-rss-kill", count)
            .unwrap_or(config.max_rss.saturating_mul(2));
        self.set(&mut config.max_vars_size, "max-vars-size", |text| {
            whole(text, 1..=65535)
        });
        self.set(&mut config.max_vars, "max-vars", |text| {
            whole(text, 1..=MOST_VARS)
        });
        self.set(&mut config.max_body, "max-body", |text| {
            whole(text, 0..=MOST_BYTES)
        });
        self.set(&mut config.max_in_flight, "max-in-flight", |text| {
            whole(text, 1..=1_000_000)
        });

        self.set(&mut config.log_format, "log-format", str::parse);
        self.set(&mut config.log_level, "log-level", str::parse);
        self.set(&mut config.access_log, "access-log", |text| {
            Ok::<_, WordError>(match text.parse()? {
                AccessLog::File(file) => AccessLog::File(below(directory, &file)),
                other => other,
            })
        });
        config.access_log_format = self.one("access-log-format", str::parse);
        config.metrics = self.one("metrics", str::parse);
        config
    }

    /// Returns the applications' variables: those of the files, then those of `--env`.
    fn variables(&mut self, config: &mut Config, directory: &Path) {
        let named = |text: &str| {
            let file = not_empty(text)?;
            Ok::<_, EmptyPath>((below(directory, &file), file))
        };
        for (index, (path, file)) in self.many("env-file", named).into_iter().enumerate() {
            let text = match env_file::text_of(&path) {
                Ok(text) => text,
                Err(error) => {
                    self.mistakes.push(Mistake {
                        place: self.origins.of("env-file", index),
                        what: format!("cannot read `{}`: {}", file.display(), plain(&error)),
                        cure: "name a file of NAME=VALUE lines, in UTF-8, that the user spile runs as may read"
                            .to_owned(),
                    });
                    continue;
                }
            };
            for (line, variable) in env_file::read(&text) {
                let place = Place::File {
                    file: file.clone(),
                    line: Some(line),
                    key: None,
                };
                match variable {
                    Ok((name, value)) => {
                        if options::ALL.iter().any(|option| option.variable == name) {
                            self.doubts.push(Mistake {
                                place,
                                what: format!("{name} is for the applications, and no option of spile's, here"),
                                cure: "give the option itself, or set the variable where spile is started".to_owned(),
                            });
                        }
                        config.env.insert(name, value);
                    }
                    Err(error) => self.mistakes.push(Mistake::at(place, &error)),
                }
            }
            config.env_files.push(path);
        }
        config.env.extend(self.many("env", variable));
    }

    /// What a server is found by.
    fn whereabouts(&mut self, config: &mut Config, directory: &Path) {
        let path = |text: &str| not_empty(text).map(|path| below(directory, &path));
        if let Some(sockets) = self.sockets() {
            config.sockets = sockets;
            config.default_socket = false;
        }
        config.pidfile = self.one("pidfile", path);
        config.control = self.one("control", path);
    }

    /// Reads the certificate and its key, which need one another.
    fn tls(&mut self, directory: &Path) -> Option<TlsFiles> {
        let path = |text: &str| not_empty(text).map(|path| below(directory, &path));
        let cert = self.one("tls-cert", path);
        let key = self.one("tls-key", path);
        let client_ca = self.one("tls-client-ca", path);
        let missing = match (&cert, &key) {
            (None, None) if client_ca.is_none() => return None,
            (Some(_), Some(_)) => None,
            (Some(_), None) => Some(("tls-cert", "--tls-key, the certificate's private key")),
            (None, Some(_)) => Some(("tls-key", "--tls-cert, the key's certificate")),
            (None, None) => Some(("tls-client-ca", "--tls-cert and --tls-key, for TLS")),
        };
        // What could not be parsed is a mistake already.
        if let Some((key, missing)) = missing.filter(|_| self.mistakes.is_empty()) {
            self.mistakes.push(Mistake {
                place: self.origins.of(key, 0),
                what: "it is of no use alone".to_owned(),
                cure: format!("give {missing}, as well"),
            });
        }
        Some(TlsFiles {
            cert: cert?,
            key: key?,
            client_ca,
        })
    }

    /// How many workers, and between which numbers.
    fn workers(&mut self, config: &mut Config) {
        let range = 1..=MOST_WORKERS;
        let asked = self.one("workers", |text| match text {
            "auto" => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
            _ => whole(text, range.clone()),
        });
        let least = self.one("workers-min", |text| whole(text, range.clone()));
        let most = self.one("workers-max", |text| whole(text, range.clone()));
        config.workers = asked.or(least).unwrap_or(config.workers);
        config.workers_min = least.unwrap_or(config.workers);
        config.workers_max = most.unwrap_or(config.workers);
        for (key, wrong, relation) in [
            ("workers-min", config.workers_min > config.workers, "more"),
            ("workers-max", config.workers_max < config.workers, "less"),
        ] {
            if wrong {
                self.mistakes.push(Mistake {
                    place: self.origins.of(key, 0),
                    what: format!(
                        "it is {relation} than the {} workers to begin with",
                        config.workers
                    ),
                    cure: "have --workers-min, --workers and --workers-max in this order"
                        .to_owned(),
                });
            }
        }
    }

    /// Returns the addresses to listen on, no two alike; `None` when none was given.
    fn sockets(&mut self) -> Option<Vec<SocketAddress>> {
        let sockets: Vec<SocketAddress> = self.many("socket", str::parse);
        for (index, socket) in sockets.iter().enumerate() {
            let twice = sockets.iter().take(index).any(|other| other == socket);
            if twice && !matches!(socket, SocketAddress::Tcp(_, 0)) {
                self.mistakes.push(Mistake {
                    place: self.origins.of("socket", index),
                    what: format!("`{socket}` is given twice"),
                    cure: "leave one out".to_owned(),
                });
            }
        }
        (!sockets.is_empty()).then_some(sockets)
    }

    /// APP and the mounts; no two of one prefix, and at least one.
    fn mounts(&mut self, chdir: &Path) -> Vec<Mount> {
        let given = self.is_given("app") || self.is_given("mount");
        let app = self.one("app", str::parse).map(Mount::root);
        let mounts = self.many("mount", str::parse::<Mount>);
        let mut places: Vec<Place> = app.iter().map(|_| self.origins.of("app", 0)).collect();
        places.extend((0..mounts.len()).map(|index| self.origins.of("mount", index)));

        let mut kept: Vec<Mount> = Vec::new();
        for (mount, place) in app.into_iter().chain(mounts).zip(places) {
            if let Some(first) = kept.iter().position(|other| other.prefix == mount.prefix) {
                self.mistakes.push(Mistake {
                    what: format!(
                        "`{}` is mounted already, by {}",
                        mount.path(),
                        self.origins.mount(first)
                    ),
                    place,
                    cure: "leave one of the two out, or give it another prefix".to_owned(),
                });
            } else {
                kept.push(Mount {
                    prefix: mount.prefix,
                    app: mount.app.within(chdir),
                });
                self.origins.mounts.push(place);
            }
        }
        if !given {
            self.mistakes.push(Mistake {
                place: Place::CommandLine("app"),
                what: "no application is named".to_owned(),
                cure: "name one, as in `spile serve module:callable`, or mount some with --mount PREFIX=APP".to_owned(),
            });
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Given, options};
    use std::path::PathBuf;

    use super::*;
    use crate::config::Layer;

    fn layer(place: impl Fn(&'static str) -> Place, values: &[(&str, &str)]) -> Layer {
        let mut layer = Layer::default();
        for (key, text) in values {
            let option = options::find(key).expect(key);
            layer.add(
                option,
                Given {
                    text: (*text).to_owned(),
                    place: place(option.key),
                },
            );
        }
        layer
    }

    fn command_line(values: &[(&str, &str)]) -> Layer {
        layer(Place::CommandLine, values)
    }

    fn environment(values: &[(&str, &str)]) -> Layer {
        layer(
            |key| Place::Variable(options::find(key).unwrap().variable.to_owned()),
            values,
        )
    }

    fn load(command_line: Layer, environment: Layer) -> Loaded {
        let directory = PathBuf::from("/srv");
        Config::load(Sources {
            command_line,
            environment,
            directory,
            host_python: None,
        })
    }

    fn mistakes(values: &[(&str, &str)]) -> Vec<String> {
        load(command_line(values), Layer::default())
            .mistakes
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_application_is_all_that_is_needed() {
        let config = load(command_line(&[("app", "app:app")]), Layer::default())
            .into_result()
            .unwrap();
        let mounts = vec!["/=app:app".parse().unwrap()];
        assert_eq!(
            config,
            Config {
                mounts,
                chdir: "/srv".into(),
                ..Config::default()
            }
        );
        assert_eq!(
            config.sockets,
            [Config::DEFAULT_SOCKET.parse::<SocketAddress>().unwrap()]
        );
    }

    #[test]
    fn the_command_line_replaces_the_environment_and_that_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = "socket = ['/a.sock', '/b.sock']\nworkers = 2\nthreads = 2\napp = 'app:app'\n";
        std::fs::write(directory.path().join("spile.toml"), file).unwrap();
        let loaded = Config::load(Sources {
            command_line: command_line(&[("socket", "/c.sock"), ("config", "spile.toml")]),
            environment: environment(&[
                ("workers", "3"),
                ("socket", "/d.sock"),
                ("socket", "/e.sock"),
            ]),
            directory: directory.path().to_owned(),
            host_python: Some("/usr/bin/python3".into()),
        });
        assert_eq!(loaded.mistakes, []);
        let config = loaded.config;
        assert_eq!(config.sockets, [SocketAddress::Unix("/c.sock".into())]);
        assert!(!config.default_socket);
        assert_eq!((config.workers, config.threads), (3, 2));
        assert_eq!(config.host_python, Some("/usr/bin/python3".into()));
        let places =
            ["socket", "workers", "threads"].map(|key| loaded.origins.of(key, 0).to_string());
        assert_eq!(
            places,
            ["--socket", "SPILE_WORKERS", "spile.toml, line 3, threads"]
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_a_mistake() {
        let said = mistakes(&[("app", "hello://"), ("config", "none.toml")]);
        assert_eq!(
            said,
            ["--config: cannot read `none.toml`: no such file or directory"]
        );
    }

    #[test]
    fn relative_applications_mean_chdir_and_other_paths_the_start() {
        let values = [
            ("app", "app.py"),
            ("mount", "/files=static://public"),
            ("chdir", "site"),
            ("pythonpath", "./lib/"),
            ("pythonpath", "/opt/lib"),
            ("venv", ".venv"),
            ("python", "bin/python"),
            ("pidfile", "spile.pid"),
            ("access-log", "log/access"),
            ("socket", "app.sock"),
        ];
        let config = load(command_line(&values), Layer::default())
            .into_result()
            .unwrap();
        let mounts: Vec<_> = config.mounts.iter().map(ToString::to_string).collect();
        assert_eq!(
            mounts,
            ["/=/srv/site/app.py", "/files=static:///srv/site/public"]
        );
        let search_path: Vec<_> = config
            .search_path()
            .map(|path| path.to_str().unwrap())
            .collect();
        assert_eq!(search_path, ["/srv/site/lib", "/opt/lib", "/srv/site"]);
        assert_eq!(config.venv, Some("/srv/.venv".into()));
        assert_eq!(config.python, Some("/srv/bin/python".into()));
        assert_eq!(config.pidfile, Some("/srv/spile.pid".into()));
        assert_eq!(config.access_log, AccessLog::File("/srv/log/access".into()));
        assert_eq!(config.sockets, [SocketAddress::Unix("app.sock".into())]);
    }

    #[test]
    fn the_number_of_workers_may_follow_the_load() {
        let range = |given: &[(&'static str, &str)]| {
            let mut values = vec![("app", "hello://")];
            values.extend(given);
            let loaded = load(command_line(&values), Layer::default());
            let config = loaded.config;
            let numbers = [config.workers_min, config.workers, config.workers_max];
            (numbers, loaded.mistakes.len())
        };
        assert_eq!(range(&[]), ([1, 1, 1], 0));
        assert_eq!(range(&[("workers", "3")]), ([3, 3, 3], 0));
        assert_eq!(range(&[("workers-max", "8")]), ([1, 1, 8], 0));
        let processors = std::thread::available_parallelism().unwrap().get();
        assert_eq!(range(&[("workers", "auto")]), ([processors; 3], 0));
        let bounds = [("workers-min", "2"), ("workers-max", "8")];
        assert_eq!(range(&bounds), ([2, 2, 8], 0));
        let wrong = [("workers", "1"), ("workers-min", "2"), ("workers-max", "8")];
        assert_eq!(range(&wrong).1, 1);
    }

    #[test]
    fn every_mistake_is_collected() {
        let values = [
            ("app", "my-app"),
            ("socket", "localhost"),
            ("socket", "127.0.0.1:99999"),
            ("socket", "/run/a.sock"),
            ("socket", "unix:/run/a.sock"),
            ("socket-mode", "999"),
            ("socket-owner", ":"),
            ("backlog", "0"),
            ("workers", "several"),
            ("threads", "0"),
            ("env", "SECRET"),
            ("chdir", ""),
            ("pidfile", "a\0b"),
            ("read-timeout", "0"),
            ("max-vars-size", "65536"),
            ("log-level", "loud"),
        ];
        let loaded = load(command_line(&values), environment(&[("log-format", "xml")]));
        let mut said: Vec<_> = loaded.mistakes.iter().map(ToString::to_string).collect();
        said.sort();
        assert_eq!(
            said,
            [
                "--backlog: `0` is not a whole number from 1 to 65535",
                "--chdir: the path is empty",
                "--env: the value is not NAME=VALUE",
                "--log-level: `loud` is not known here",
                "--max-vars-size: `65536` is not a whole number from 1 to 65535",
                "--pidfile: the value has a NUL character",
                "--read-timeout: `0` is not a time in seconds",
                "--socket-mode: `999` is not a file mode",
                "--socket-owner: `:` is not USER, USER:GROUP or :GROUP",
                "--socket: `99999` is not a port, in `127.0.0.1:99999`",
                "--socket: `localhost` has no port",
                "--socket: `unix:/run/a.sock` is given twice",
                "--threads: `0` is not a whole number from 1 to 4096",
                "--workers: `several` is not a whole number from 1 to 4096",
                "APP: `my-app` is not the name of a Python module",
                "SPILE_LOG_FORMAT: `xml` is not known here",
            ]
        );
        assert!(
            loaded
                .mistakes
                .iter()
                .all(|mistake| !mistake.cure.is_empty())
        );
    }

    #[test]
    fn a_prefix_is_mounted_once_and_something_must_be() {
        assert_eq!(mistakes(&[]), ["APP: no application is named"]);
        assert_eq!(mistakes(&[("mount", "/a=echo://")]), [""; 0]);
        let values = [
            ("app", "echo://"),
            ("mount", "/a=echo://"),
            ("mount", "/=hello://"),
            ("mount", "/a/=hello://"),
        ];
        assert_eq!(
            mistakes(&values),
            [
                "--mount: `/` is mounted already, by APP",
                "--mount: `/a` is mounted already, by --mount"
            ]
        );
        let origins = load(command_line(&values), Layer::default()).origins;
        assert_eq!(
            [0, 1].map(|index| origins.mount(index).to_string()),
            ["APP", "--mount"]
        );
    }

    #[test]
    fn a_configuration_survives_the_way_to_python_and_back() {
        let values = [
            ("app", "shop:make()"),
            ("mount", "/rust=echo://"),
            ("mount", "/files=static:///srv/files"),
            ("socket", "/run/a.sock"),
            ("socket-mode", "660"),
            ("socket-owner", ":www-data"),
            ("env", "A=b=c"),
            ("read-timeout", "0.5"),
        ];
        let config = load(command_line(&values), Layer::default())
            .into_result()
            .unwrap();
        let json = serde_json::to_value(&config).unwrap();
        let app = serde_json::json!({"wsgi": {"target": {"module": "shop"}, "callable": {"name": "make", "arguments": ""}}});
        assert_eq!(
            json["mounts"][0],
            serde_json::json!({"prefix": "", "app": app})
        );
        assert_eq!(
            json["mounts"][2]["app"],
            serde_json::json!({"static": "/srv/files"})
        );
        assert_eq!(json["sockets"], serde_json::json!(["unix:/run/a.sock"]));
        assert_eq!(json["env"], serde_json::json!({"A": "b=c"}));
        assert_eq!(json["read_timeout"], serde_json::json!(0.5));
        assert_eq!(json["access_log"], "off");
        let back: Config = serde_json::from_value(json).unwrap();
        assert_eq!(back, config);
        assert_eq!(back.read_timeout, Duration::from_millis(500));
    }
}
