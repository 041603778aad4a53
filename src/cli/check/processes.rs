use std::time::Duration;

use super::Report;
use crate::config::{Config, Mistake, Place};
use crate::supervisor::{Identity, PrivilegeError};

impl Report {
    /// Workers, what limits them, and options that have nothing to act on.
    pub(super) fn processes(&mut self) {
        let config = &self.config;
        self.facts.push(("workers", workers(config)));
        let replaced = replaced(config);
        if !replaced.is_empty() {
            self.facts.push(("replaced", replaced.join(", ")));
        }
        let mut time_outs = format!(
            "{} s for a client to send its request, {} s to finish when stopped",
            config.read_timeout.as_secs_f64(),
            config.graceful_timeout.as_secs_f64()
        );
        if config.request_timeout > Duration::ZERO {
            let seconds = config.request_timeout.as_secs_f64();
            time_outs += &format!(", {seconds} s for an application to answer");
        }
        self.facts.push(("time-outs", time_outs));
        let limits = format!(
            "{} bytes of variables, {} connections a worker, {} waiting a socket",
            config.max_vars_size, config.max_in_flight, config.backlog
        );
        self.facts.push(("limits", limits));
        if !config.warmup.is_empty() {
            self.facts.push(("warm-up", config.warmup.join(", ")));
        }
        if let Some(umask) = config.umask {
            self.facts.push(("umask", umask.to_string()));
        }
        let contradictions = self.contradictions();
        self.mistakes.extend(contradictions);
    }

    /// Whom the processes run as, and whether this user may become that.
    pub(super) fn identity(&mut self) {
        let (key, wrong) = match Identity::of(&self.config) {
            Ok(None) => return,
            Ok(Some(identity)) => {
                self.fact("runs as", identity.described());
                let is_root = rustix::process::geteuid().is_root();
                if is_root || identity.is_current() {
                    return;
                }
                let key = if self.config.user.is_some() {
                    "user"
                } else {
                    "group"
                };
                (key, identity.not_allowed())
            }
            Err(wrong) => (key_of(&self.config, &wrong), wrong),
        };
        let place = self.origins.of(key, 0);
        self.mistakes.push(Mistake::at(place, &wrong));
    }

    /// Options of which one makes the other useless.
    fn contradictions(&self) -> Vec<Mistake> {
        let config = &self.config;
        let mut mistakes = Vec::new();
        let mut say = |place: Place, what: String, cure: &str| {
            mistakes.push(Mistake {
                place,
                what,
                cure: cure.to_owned(),
            });
        };
        if config.lazy && !config.warmup.is_empty() {
            say(
                self.origins.of("warmup", 0),
                "with --lazy nothing is imported before workers are forked".to_owned(),
                "leave one of the two out",
            );
        }
        if config.max_requests == 0 && config.max_requests_jitter > 0 {
            say(
                self.origins.of("max-requests-jitter", 0),
                "it is added to --max-requests, which is not given".to_owned(),
                "give --max-requests, or leave this out",
            );
        }
        let kill = config.max_rss_kill;
        if kill > 0 && kill <= config.max_rss {
            say(
                self.origins.of("max-rss-kill", 0),
                format!(
                    "a worker is killed at {kill} MiB before --max-rss replaces it at {}",
                    config.max_rss
                ),
                "give more than --max-rss, or leave it out: then it is twice that",
            );
        }
        mistakes
    }
}

fn workers(config: &Config) -> String {
    let plural = if config.threads == 1 { "" } else { "s" };
    let threads = format!("of {} thread{plural} each", config.threads);
    let number = config.workers;
    let lazy = if config.lazy {
        ", each imports by itself"
    } else {
        ""
    };
    if config.is_adaptive() {
        let (least, most) = (config.workers_min, config.workers_max);
        format!("{number} {threads}, then {least} to {most} as the load asks{lazy}")
    } else {
        format!("{number} {threads}{lazy}")
    }
}

/// What makes a worker be replaced.
fn replaced(config: &Config) -> Vec<String> {
    let mut reasons = Vec::new();
    match (config.max_requests, config.max_requests_jitter) {
        (0, _) => {}
        (requests, 0) => reasons.push(format!("after {requests} requests")),
        (requests, jitter) => {
            let most = requests.saturating_add(jitter);
            reasons.push(format!("after {requests} to {most} requests"));
        }
    }
    if config.max_rss > 0 {
        reasons.push(format!("above {} MiB", config.max_rss));
    }
    if config.max_rss_kill > 0 {
        reasons.push(format!("killed above {} MiB", config.max_rss_kill));
    }
    if config.max_worker_lifetime > Duration::ZERO {
        let seconds = config.max_worker_lifetime.as_secs_f64();
        reasons.push(format!("after {seconds} s"));
    }
    reasons
}

/// Returns the option whose user or group does not exist.
fn key_of(config: &Config, wrong: &PrivilegeError) -> &'static str {
    match wrong {
        PrivilegeError::NoGroup { .. } => "user",
        _ if config.user.is_none() => "group",
        PrivilegeError::Unknown(error) => match (&config.group, error) {
            (Some(_), crate::config::ResolveError::NoGroup(_)) => "group",
            (Some(group), crate::config::ResolveError::Database { name, .. }) if group == name => {
                "group"
            }
            _ => "user",
        },
        _ => "user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, Origins};

    fn report(config: Config) -> Report {
        Report::new(Loaded {
            config,
            origins: Origins::default(),
            mistakes: Vec::new(),
            doubts: Vec::new(),
        })
    }

    fn said(config: Config) -> Vec<String> {
        let mut report = report(config);
        report.processes();
        report.identity();
        report.mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn options_that_exclude_one_another_are_mistakes() {
        assert_eq!(said(Config::default()), [""; 0]);
        let config = Config {
            lazy: true,
            warmup: vec!["/".to_owned()],
            max_requests_jitter: 10,
            max_rss: 200,
            max_rss_kill: 200,
            ..Config::default()
        };
        assert_eq!(
            said(config),
            [
                "--warmup: with --lazy nothing is imported before workers are forked",
                "--max-requests-jitter: it is added to --max-requests, which is not given",
                "--max-rss-kill: a worker is killed at 200 MiB before --max-rss replaces it at 200",
            ]
        );
    }

    #[test]
    fn who_is_not_there_is_named_with_the_option() {
        let with = |user: &str, group: &str| {
            said(Config {
                user: Some(user.to_owned()),
                group: Some(group.to_owned()),
                ..Config::default()
            })
        };
        let nobody = "--user: there is no user `no-such` on this machine";
        assert_eq!(with("no-such", "root"), [nobody]);
        let nothing = "--group: there is no group `no-such` on this machine";
        assert_eq!(with("root", "no-such"), [nothing]);
    }

    #[test]
    fn limits_are_facts() {
        let config = Config {
            workers: 2,
            workers_min: 2,
            workers_max: 8,
            max_requests: 1000,
            max_requests_jitter: 50,
            max_rss: 200,
            max_rss_kill: 400,
            max_worker_lifetime: Duration::from_secs(3600),
            ..Config::default()
        };
        let mut report = report(config);
        report.processes();
        let fact = |name| {
            report
                .facts
                .iter()
                .find(|(known, _)| *known == name)
                .unwrap()
                .1
                .as_str()
        };
        assert_eq!(
            fact("workers"),
            "2 of 1 thread each, then 2 to 8 as the load asks"
        );
        assert_eq!(
            fact("replaced"),
            "after 1000 to 1050 requests, above 200 MiB, killed above 400 MiB, after 3600 s"
        );
    }
}
