//! `spile request`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use super::{
    args::RequestArgs,
    outcome::{Status, refuse, say_error},
};
use crate::client::{ClientError, Content, Request};
use crate::config::{Config, Cure, Layer, Mistake, Place, SocketAddress, plain, seconds};

/// Sends the request and prints the answer.
pub(super) fn run(args: &RequestArgs) -> Status {
    let environment = Layer::environment(std::env::vars_os());
    let Job {
        request,
        address,
        timeout,
    } = match read(args, &environment) {
        Ok(job) => job,
        Err(mistakes) => return refuse(&mistakes),
    };
    match print(request, &address, timeout, args.include) {
        Ok(()) => Status::Success,
        // Whoever read it has seen enough, as with `| head`.
        Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Status::Failure
        }
        Err(error) => {
            say_error(&error.to_string(), &error.cure());
            Status::Failure
        }
    }
}

fn print(
    request: Request,
    address: &SocketAddress,
    timeout: Duration,
    with_head: bool,
) -> Result<(), ClientError> {
    let response = request.send(address, timeout)?;
    let mut out = io::stdout().lock();
    if with_head {
        out.write_all(response.head())
            .map_err(ClientError::Output)?;
    }
    response.copy_to(&mut out)?;
    Ok(())
}

/// What the options ask for.
struct Job {
    request: Request,
    address: SocketAddress,
    timeout: Duration,
}

fn read(args: &RequestArgs, environment: &Layer) -> Result<Job, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut request = Request::new(args.path.clone());
    if !(args.path.starts_with('/') || args.path == "*") {
        mistakes.push(Mistake {
            place: Place::CommandLine("PATH"),
            what: format!("`{}` does not start with a slash", args.path),
            cure: "give the path and query alone; --socket says where, -H 'Host: …' for which host"
                .to_owned(),
        });
    }
    if let Some(method) = &args.method {
        if !is_token(method) {
            mistakes.push(Mistake {
                place: Place::CommandLine("method"),
                what: format!("`{method}` is not a method"),
                cure: "give one such as GET, HEAD or PUT".to_owned(),
            });
        }
        request = request.method(method);
    }
    for header in &args.headers {
        match header.split_once(':') {
            Some((name, value)) if is_token(name) => request = request.header(name, value.trim()),
            _ => mistakes.push(Mistake {
                place: Place::CommandLine("header"),
                what: format!("`{header}` is not a header"),
                cure: "write -H 'Name: value'".to_owned(),
            }),
        }
    }
    for var in &args.vars {
        match var.split_once('=') {
            Some((name, value)) if !name.is_empty() => request = request.var(name, value),
            _ => mistakes.push(Mistake {
                place: Place::CommandLine("var"),
                what: format!("`{var}` is not a variable"),
                cure: "write --var NAME=VALUE; nothing after the equals sign sends it empty"
                    .to_owned(),
            }),
        }
    }
    if let Some(data) = &args.data {
        match content(data) {
            Ok(content) => request = request.content(content),
            Err(error) => mistakes.push(Mistake {
                place: Place::CommandLine("data"),
                what: format!(
                    "cannot read {}: {}",
                    data.trim_start_matches('@'),
                    plain(&error)
                ),
                cure: "name a file that this user may read after the @".to_owned(),
            }),
        }
    }

    let timeout = seconds(&args.timeout, 0.001)
        .map_err(|error| mistakes.push(Mistake::at(Place::CommandLine("timeout"), &error)));
    let address = address(args, environment).map_err(|mistake| mistakes.push(mistake));
    match (timeout, address) {
        (Ok(timeout), Ok(address)) if mistakes.is_empty() => Ok(Job {
            request,
            address,
            timeout,
        }),
        _ => Err(mistakes),
    }
}

/// `--socket`, else the first address that SPILE_SOCKET names, else the default.
fn address(args: &RequestArgs, environment: &Layer) -> Result<SocketAddress, Mistake> {
    let (text, place) = match (&args.socket, environment.get("socket").first()) {
        (Some(text), _) => (text.as_str(), Place::CommandLine("socket")),
        (None, Some(given)) => (given.text.as_str(), given.place.clone()),
        (None, None) => (Config::DEFAULT_SOCKET, Place::CommandLine("socket")),
    };
    text.parse().map_err(|error| Mistake::at(place, &error))
}

fn content(data: &str) -> io::Result<Content> {
    let Some(name) = data.strip_prefix('@') else {
        return Ok(Content::Bytes(data.into()));
    };
    if name == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(Content::Bytes(bytes));
    }
    let mut file = File::open(name)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok(Content::File(file, metadata.len()));
    }
    // A pipe has no length before its end.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Content::Bytes(bytes))
}

/// Tells whether it can be a method or a header's name (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Cli, Command};
    use super::*;

    fn job(args: &[&str], variable: Option<&str>) -> Result<Job, Vec<String>> {
        let args = ["spile", "request"].iter().chain(args);
        let Command::Request(args) = Cli::try_parse_from(args).unwrap().command else {
            panic!("another subcommand");
        };
        let variable = variable.map(|value| ("SPILE_SOCKET".into(), value.into()));
        let environment = Layer::environment(variable);
        read(&args, &environment)
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn options_become_variables() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        let data = format!("@{}", file.path().display());
        let args = [
            "/a?b", "-H", "X-A:  1 ", "--var", "HTTPS=on", "--var", "A=", "-d", &data,
        ];
        let variables = job(&args, None).ok().unwrap().request.variables();
        let value = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, v)| v.as_slice())
        };
        for (name, expected) in [
            ("HTTP_X_A", &b"1"[..]),
            ("HTTPS", b"on"),
            ("A", b""),
            ("REQUEST_METHOD", b"POST"),
            ("CONTENT_LENGTH", b"5"),
        ] {
            assert_eq!(value(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn the_address_is_the_option_else_the_variable_else_the_default() {
        let address =
            |args: &[&str], variable| job(args, variable).ok().unwrap().address.to_string();
        assert_eq!(address(&["/"], None), Config::DEFAULT_SOCKET);
        assert_eq!(address(&["/"], Some("/a.sock,/b.sock")), "unix:/a.sock");
        assert_eq!(
            address(&["/", "-s", "/c.sock"], Some("/a.sock")),
            "unix:/c.sock"
        );
    }

    #[test]
    fn all_mistakes_are_said_at_once() {
        let args = [
            "x",
            "-X",
            "G T",
            "-H",
            "none",
            "--var",
            "=1",
            "-d",
            "@/nonexistent",
            "--timeout",
            "0",
        ];
        assert_eq!(
            job(&args, Some("localhost")).err().unwrap(),
            [
                "PATH: `x` does not start with a slash",
                "--method: `G T` is not a method",
                "--header: `none` is not a header",
                "--var: `=1` is not a variable",
                "--data: cannot read /nonexistent: no such file or directory",
                "--timeout: `0` is not a time in seconds",
                "SPILE_SOCKET: `localhost` has no port",
            ]
        );
    }
}
