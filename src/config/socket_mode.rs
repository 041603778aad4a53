use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Cure;

/// Permissions of a unix socket's file: at most `0o777`. Written in octal, `660`, `0660` or `0o660`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SocketMode(u32);

impl SocketMode {
    /// Returns the permission bits, as chmod(2) takes them.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for SocketMode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(digits, 8) {
            Ok(bits) if bits <= 0o777 && !digits.starts_with('+') => Ok(Self(bits)),
            _ => Err(ModeError {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03o}", self.0)
    }
}

impl TryFrom<String> for SocketMode {
    type Error = ModeError;

    fn try_from(text: String) -> Result<Self, ModeError> {
        text.parse()
    }
}

impl From<SocketMode> for String {
    fn from(mode: SocketMode) -> Self {
        mode.to_string()
    }
}

/// A text that is no [`SocketMode`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a file mode")]
pub struct ModeError {
    /// The text.
    pub text: String,
}

impl Cure for ModeError {
    fn cure(&self) -> String {
        "give three octal digits: 660 lets owner and group connect, 666 everyone".to_owned()
    }
}

/// Returns the permissions that new files are not to have: written as a mode is, but it takes away.
pub(super) fn umask(text: &str) -> Result<SocketMode, UmaskError> {
    text.parse()
        .map_err(|ModeError { text }| UmaskError { text })
}

/// A text that is no umask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a umask")]
pub(super) struct UmaskError {
    /// The text.
    text: String,
}

impl Cure for UmaskError {
    fn cure(&self) -> String {
        "give three octal digits, of what others shall not have: 027 leaves the group reading, 077 leaves nobody \
         else anything"
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        for text in ["660", "0660", "0o660"] {
            assert_eq!(
                text.parse::<SocketMode>().map(SocketMode::bits),
                Ok(0o660),
                "{text}"
            );
        }
        assert_eq!("7".parse::<SocketMode>().unwrap().to_string(), "007");
        for text in ["", "668", "1777", "+660", "rw", "-1"] {
            assert_eq!(
                text.parse::<SocketMode>(),
                Err(ModeError {
                    text: text.to_owned()
                })
            );
        }
    }

    #[test]
    fn a_wrong_umask_has_a_cure_of_its_own() {
        assert_eq!(umask("077").map(SocketMode::bits), Ok(0o077));
        let error = umask("999").unwrap_err();
        assert_eq!(error.to_string(), "`999` is not a umask");
        assert!(error.cure().contains("077"), "{}", error.cure());
    }
}
