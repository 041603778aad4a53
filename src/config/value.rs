//! What the values of options may be: paths, names, switches, variables. Numbers are in their own file.

use std::path::{Path, PathBuf};

use super::{Cure, WordError};

/// `path` taken from `directory`, without any `.` in it.
pub(super) fn below(directory: &Path, path: &Path) -> PathBuf {
    directory.join(path).components().collect()
}

pub(super) fn not_empty(text: &str) -> Result<PathBuf, EmptyPath> {
    if text.is_empty() {
        Err(EmptyPath)
    } else {
        Ok(PathBuf::from(text))
    }
}

pub(super) fn name(text: &str) -> Result<String, EmptyPath> {
    not_empty(text).map(|_| text.to_owned())
}

pub(super) fn switch(text: &str) -> Result<bool, WordError> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(WordError {
            text: text.to_owned(),
            known: &["true", "false"],
        }),
    }
}

pub(super) fn request_path(text: &str) -> Result<String, RequestPathError> {
    if text.starts_with('/') && !text.contains(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(RequestPathError {
            text: text.to_owned(),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not the path of a request")]
pub(super) struct RequestPathError {
    text: String,
}

impl Cure for RequestPathError {
    fn cure(&self) -> String {
        "begin with a slash, as in /products?page=1".to_owned()
    }
}

pub(super) fn variable(text: &str) -> Result<(String, String), VariableError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(VariableError),
    }
}

/// The text is not shown: it may be a secret with its name forgotten.
#[derive(Debug, thiserror::Error)]
#[error("the value is not NAME=VALUE")]
pub(super) struct VariableError;

impl Cure for VariableError {
    fn cure(&self) -> String {
        "write the variable's name, an equals sign and the value: DJANGO_SETTINGS_MODULE=shop.settings".to_owned()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the path is empty")]
pub(super) struct EmptyPath;

impl Cure for EmptyPath {
    fn cure(&self) -> String {
        "give a path, or leave the option out".to_owned()
    }
}
