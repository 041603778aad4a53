//! Files that options name, each of which is for one purpose.

use std::path::{Path, PathBuf};

use super::Report;
use crate::config::{AccessLog, Mistake, SocketAddress};

impl Report {
    /// Files that are to be made for two purposes, however they are spelled.
    pub(super) fn in_two_roles(&self) -> Vec<Mistake> {
        let config = &self.config;
        let mut roles = Vec::new();
        for (index, address) in config.sockets.iter().enumerate() {
            roles.extend(file_of(address).map(|path| ("socket", index, path)));
        }
        // The same words in both are a mistake of their own.
        let metrics = config
            .metrics
            .iter()
            .filter(|it| !config.sockets.contains(it));
        roles.extend(metrics.filter_map(file_of).map(|path| ("metrics", 0, path)));
        roles.extend(
            config
                .control
                .iter()
                .map(|path| ("control", 0, path.as_path())),
        );
        roles.extend(
            config
                .pidfile
                .iter()
                .map(|path| ("pidfile", 0, path.as_path())),
        );
        if let AccessLog::File(path) = &config.access_log {
            roles.push(("access-log", 0, path));
        }
        let files: Vec<_> = roles.iter().map(|(.., path)| named(path)).collect();
        let mut mistakes = Vec::new();
        for (number, ((key, index, path), file)) in roles.iter().zip(&files).enumerate() {
            let before = roles.iter().zip(&files).take(number);
            let other = before.into_iter().find(|(_, other)| *other == file);
            if let Some(((other, ..), _)) = other {
                mistakes.push(Mistake {
                    place: self.origins.of(key, *index),
                    what: format!("`{}` is a --{other} as well", path.display()),
                    cure: "give each a file of its own".to_owned(),
                });
            }
        }
        mistakes
    }
}

fn file_of(address: &SocketAddress) -> Option<&Path> {
    match address {
        SocketAddress::Unix(path) => Some(path),
        SocketAddress::Tcp(..) => None,
    }
}

/// Returns the one name of a file, which need not be there yet.
fn named(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| {
        let directory = path.parent().and_then(|it| it.canonicalize().ok());
        match (directory, path.file_name()) {
            (Some(directory), Some(name)) => directory.join(name),
            _ => path.to_owned(),
        }
    })
}
