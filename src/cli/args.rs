use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand};

use crate::config::{Config, Layer, options};

/// Serve WSGI and Rust applications to nginx's uwsgi_pass.
#[derive(Debug, Parser)]
#[command(
    name = "spile",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve applications
    #[command(after_help = SERVE_HELP, after_long_help = SERVE_LONG_HELP)]
    Serve(ServeArgs),
    /// Say what `serve` would run, and every mistake, without running it
    ///
    /// Looks at the machine too: directories, sockets, users, the interpreter and its spile package, and the
    /// applications' source, which is read and never run. Nothing is listened on. A socket on which another process
    /// listens counts as a mistake.
    #[command(after_help = CHECK_HELP)]
    Check(ServeArgs),
    /// Send one request to a uwsgi server and print the answer
    ///
    /// The variables are those that nginx sends with `include uwsgi_params`.
    #[command(after_help = REQUEST_HELP)]
    Request(RequestArgs),
    /// Print the state of a running server, as JSON
    ///
    /// Master, workers with what they run now, sockets with their queues, counters and latencies: one document, on one
    /// line unless it goes to a terminal. Times are seconds, sizes are bytes, counters begin with the master.
    #[command(after_help = STATS_HELP)]
    Stats(ControlArgs),
    /// Import the applications of a running server again
    ///
    /// As the signal HUP does, and waits for the end of it. The old workers serve until the new ones are ready; if the
    /// import fails, they go on.
    #[command(after_help = RELOAD_HELP)]
    Reload(ControlArgs),
    /// Show what a server does, live in the terminal
    ///
    /// Its rates, sockets and workers, and what each of them runs now. The keys are in its help, on `?`; q quits.
    #[cfg(feature = "top")]
    #[command(after_help = TOP_HELP)]
    Top(TopArgs),
}

const SERVE_HELP: &str = "\
Examples:
  spile serve app:app --socket unix:/run/app.sock
  spile serve mysite.wsgi -s 127.0.0.1:3031 -w 4 --mount /static=static://public
  spile serve --config spile.toml

More with --help.";

const SERVE_LONG_HELP: &str = "\
Examples:
  spile serve app:app --socket unix:/run/app.sock
  spile serve mysite.wsgi -s 127.0.0.1:3031 -w 4 --mount /static=static://public
  spile serve --config spile.toml

In nginx:
  location / { include uwsgi_params; uwsgi_pass unix:/run/app.sock; }

An option is taken from the command line, else from its environment variable, else from the file given by --config, \
else it has its default. One that may be repeated is taken from one place as a whole. In a variable line ends separate \
its values, else commas, and \\, is a comma. What has no NAME= in SPILE_ENV belongs to the value before: \
SPILE_ENV=HOSTS=a.example,b.example,DEBUG=1 sets two variables.

Exit status: 0 after being asked to stop, 1 for a failure while running, 2 for mistakes in options.";

const CHECK_HELP: &str = "\
Exit status: 0 without mistakes, 2 with some.";

const REQUEST_HELP: &str = "\
Examples:
  spile request --socket unix:/run/app.sock /
  spile request -i -H 'Accept: text/html' '/search?q=cask'
  spile request -d @form.txt --var HTTPS=on --var REMOTE_USER=ann /order

Exit status: 0 for a complete answer, whatever its HTTP status; 1 otherwise; 2 for mistakes in options.";

const STATS_HELP: &str = "\
Examples:
  spile stats --socket unix:/run/app.sock
  spile stats --config spile.toml | jq '.workers[] | {pid, rss, running}'

Exit status: 0 with a document, 1 without, 2 for mistakes in options.";

const RELOAD_HELP: &str = "\
Examples:
  spile reload --socket unix:/run/app.sock
  spile reload --pidfile /run/app.pid

Exit status: 0 when the new workers serve, 1 when the old ones go on, 2 for mistakes in options.";

#[cfg(feature = "top")]
const TOP_HELP: &str = "\
Exit status: 0 after being asked to quit, 1 without a server or a terminal, 2 for mistakes in options.";

/// The options of `serve` and `check` that stand on the command line.
#[derive(Clone, Debug)]
pub(super) struct ServeArgs(pub(super) Layer);

impl Args for ServeArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(options::ALL.iter().enumerate().map(|(order, option)| {
            let (short, more) = option.help.split_once("\n\n").unwrap_or((option.help, ""));
            let often = if option.repeats { " (repeatable)" } else { "" };
            let arg = Arg::new(option.key)
                .value_name(if option.is_switch() {
                    "BOOL"
                } else {
                    option.value
                })
                .help(format!("{short}{often}"))
                .long_help(format!("{short}{often}\n\n{more}").trim_end().to_owned())
                .help_heading(option.heading)
                .display_order(order)
                .env(option.variable)
                // A variable may hold a secret, and help ends up in tickets.
                .hide_env_values(true)
                // `--threads -1` is a mistake that is told with the others.
                .allow_negative_numbers(true)
                .action(if option.repeats {
                    ArgAction::Append
                } else {
                    ArgAction::Set
                });
            let arg = if option.is_switch() {
                // `--lazy=false` overrides a file that says otherwise.
                arg.num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .hide_possible_values(true)
            } else {
                arg
            };
            if option.key == "app" {
                arg
            } else {
                arg.long(option.key).short(option.short)
            }
        }))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        // clap knows the variables to show them in the help; `config` reads them, to say where a mistake is.
        let written = options::ALL
            .iter()
            .filter(|option| matches.value_source(option.key) == Some(ValueSource::CommandLine))
            .flat_map(|option| {
                let values = matches.get_many::<String>(option.key).into_iter().flatten();
                values.map(move |value| (option, value.clone()))
            });
        Ok(Self(Layer::command_line(written)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The options of `request`, as text: `request` reads them, to say all mistakes at once.
#[derive(Debug, Args)]
pub(super) struct RequestArgs {
    /// What to ask for: path and query, as in `/search?q=cask`
    #[arg(value_name = "PATH")]
    pub(super) path: String,
    #[arg(short, long, value_name = "ADDR", help = format!(
        "Where the server listens [env: SPILE_SOCKET] [default: {}]", Config::DEFAULT_SOCKET
    ))]
    pub(super) socket: Option<String>,
    /// The method [default: GET, or POST with --data]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(super) method: Option<String>,
    /// Send a header (repeatable); an empty value leaves a header out that is sent by default
    #[arg(
        short = 'H',
        long = "header",
        value_name = "NAME: VALUE",
        allow_hyphen_values = true
    )]
    pub(super) headers: Vec<String>,
    /// Send a body: the text, the file after @, or standard input for @-
    ///
    /// Sent as it is. It is called a form (application/x-www-form-urlencoded) unless a Content-Type header says
    /// something else.
    #[arg(short, long, value_name = "DATA|@FILE|@-", allow_hyphen_values = true)]
    pub(super) data: Option<String>,
    /// Set a uwsgi variable (repeatable), in place of the one sent by default
    #[arg(long = "var", value_name = "NAME=VALUE", allow_hyphen_values = true)]
    pub(super) vars: Vec<String>,
    /// Print the status line and the headers too
    #[arg(short, long)]
    pub(super) include: bool,
    /// Give up when the server takes or sends nothing for so long
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    pub(super) timeout: String,
}

/// Where a running server is to be found: by the options that it was started with.
#[derive(Debug, Args)]
pub(super) struct ControlArgs {
    #[arg(short, long, value_name = "ADDR", help = format!(
        "The first address that it listens on [env: SPILE_SOCKET] [default: {}]", Config::DEFAULT_SOCKET
    ))]
    socket: Option<String>,
    /// Its pid file [env: SPILE_PIDFILE]
    #[arg(long, value_name = "PATH")]
    pidfile: Option<String>,
    /// Its control socket [env: SPILE_CONTROL]
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
    /// Its configuration file [env: SPILE_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    config: Option<String>,
}

impl ControlArgs {
    /// Returns these options as those of `serve`.
    pub(super) fn layer(&self) -> Layer {
        let written = [
            ("socket", &self.socket),
            ("pidfile", &self.pidfile),
            ("control", &self.control),
            ("config", &self.config),
        ];
        Layer::command_line(
            written
                .into_iter()
                .filter_map(|(key, value)| Some((options::find(key)?, value.clone()?))),
        )
    }
}

#[cfg(feature = "top")]
#[derive(Debug, Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    pub(super) server: ControlArgs,
    /// How often to ask the server
    #[arg(short = 'n', long, value_name = "SECONDS", default_value = "1")]
    pub(super) interval: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn layer(args: &[&str]) -> Layer {
        let args = ["spile", "serve"].iter().chain(args);
        match Cli::try_parse_from(args).unwrap().command {
            Command::Serve(ServeArgs(layer)) => layer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_keep_their_order_and_may_repeat() {
        let layer = layer(&[
            "-s",
            "/a.sock",
            "app:app",
            "-w4",
            "--socket=/b.sock",
            "--access-log",
            "-",
        ]);
        let texts = |key| {
            layer
                .get(key)
                .iter()
                .map(|given| given.text.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(texts("socket"), ["/a.sock", "/b.sock"]);
        assert_eq!(texts("app"), ["app:app"]);
        assert_eq!(texts("workers"), ["4"]);
        assert_eq!(texts("access-log"), ["-"]);
        assert_eq!(layer.get("socket")[1].place.to_string(), "--socket");
        assert_eq!(layer.keys().count(), 4);
    }

    #[test]
    fn every_option_and_its_variable_is_in_the_help() {
        let mut command = Cli::command();
        let help = command
            .find_subcommand_mut("serve")
            .unwrap()
            .render_long_help()
            .to_string();
        for option in options::ALL {
            assert!(help.contains(option.value), "{}", option.key);
            assert!(
                help.contains(&format!("[env: {}]", option.variable)),
                "{}",
                option.key
            );
        }
    }
}
