//! Which application answers a request.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use thiserror::Error;

use super::{Application, BlockingApplication, Environ};

/// Applications by the path prefix they are mounted at.
///
/// The longest prefix wins, and it ends at a slash or at the path's end: `/app` takes `/app` and `/app/x`, not
/// `/apple`. What matched moves from PATH_INFO to SCRIPT_NAME, as CGI has it (RFC 3875, section 4.1.13).
#[derive(Clone, Debug, Default)]
pub struct Router {
    /// Longest prefix first.
    mounts: Vec<(Bytes, Handler)>,
}

/// An application of either kind.
#[derive(Clone)]
#[non_exhaustive]
pub enum Handler {
    /// Answers asynchronously.
    Async(Arc<dyn Application>),
    /// Answers on the calling thread.
    Blocking(Arc<dyn BlockingApplication>),
}

impl Router {
    /// Makes a router that answers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Mounts an application. `/` and the empty prefix are the root; a trailing slash makes no difference.
    ///
    /// # Errors
    /// The prefix does not start with a slash, or something is mounted there already.
    pub fn mount(&mut self, prefix: &str, handler: Handler) -> Result<(), MountError> {
        let trimmed = prefix.trim_end_matches('/');
        if !trimmed.is_empty() && !trimmed.starts_with('/') {
            return Err(MountError::Relative {
                prefix: prefix.to_owned(),
            });
        }
        if self
            .mounts
            .iter()
            .any(|(other, _)| other == trimmed.as_bytes())
        {
            return Err(MountError::Taken {
                prefix: prefix.to_owned(),
            });
        }
        let place = self
            .mounts
            .partition_point(|(other, _)| other.len() >= trimmed.len());
        self.mounts
            .insert(place, (Bytes::copy_from_slice(trimmed.as_bytes()), handler));
        Ok(())
    }

    /// Returns the application for these variables, whose SCRIPT_NAME and PATH_INFO then say where it stands; and its
    /// number among the [`Router::prefixes`].
    pub fn route(&self, environ: &mut Environ) -> Option<(usize, &Handler)> {
        if environ.get("PATH_INFO").is_none() {
            // lighttpd without `fix-root-scriptname` sends the path as SCRIPT_NAME.
            let path = environ.get_bytes("SCRIPT_NAME").unwrap_or_default();
            environ.set("PATH_INFO", path);
            environ.set("SCRIPT_NAME", Bytes::new());
        }
        let path = environ.get("PATH_INFO").unwrap_or_default();
        let mut mounts = (0..).zip(&self.mounts);
        let (number, (prefix, handler)) = mounts.find(|(_, (prefix, _))| is_below(path, prefix))?;
        if !prefix.is_empty() {
            move_to_script_name(environ, prefix);
        }
        Some((number, handler))
    }

    /// Where applications are mounted, `/` for the root; the longest first.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().map(|(prefix, _)| {
            // They came as text.
            match std::str::from_utf8(prefix).unwrap_or_default() {
                "" => "/",
                prefix => prefix,
            }
        })
    }

    /// Tells whether any mount blocks the thread that calls it.
    #[must_use]
    pub fn has_blocking(&self) -> bool {
        self.mounts
            .iter()
            .any(|(_, handler)| matches!(handler, Handler::Blocking(_)))
    }
}

/// Moves a prefix from the front of PATH_INFO to the end of SCRIPT_NAME.
fn move_to_script_name(environ: &mut Environ, prefix: &Bytes) {
    let above = environ.get("SCRIPT_NAME").unwrap_or_default();
    // nginx recipes for uWSGI set SCRIPT_NAME and leave the prefix in PATH_INFO too.
    let script_name = if above == prefix {
        prefix.clone()
    } else {
        [above, prefix].concat().into()
    };
    environ.set("SCRIPT_NAME", script_name);
    let path = environ.get_bytes("PATH_INFO").unwrap_or_default();
    environ.set("PATH_INFO", path.slice(prefix.len()..));
}

fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || prefix.is_empty())
}

/// The reason why an application cannot be mounted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountError {
    /// The prefix has no slash in front.
    #[error("the mount {prefix:?} does not start with a slash")]
    Relative {
        /// As given.
        prefix: String,
    },
    /// There is an application at this prefix.
    #[error("something is mounted at {prefix:?} already")]
    Taken {
        /// As given.
        prefix: String,
    },
}

impl fmt::Debug for Handler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Handler::Async(_) => "Async",
            Handler::Blocking(_) => "Blocking",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Request, Response};

    fn environ(path: &str, script_name: &str) -> Environ {
        let mut environ = Environ::default();
        environ.set("PATH_INFO", path.to_owned());
        environ.set("SCRIPT_NAME", script_name.to_owned());
        environ
    }

    fn router(prefixes: &[&str]) -> Router {
        let mut router = Router::new();
        for prefix in prefixes {
            let application = |_: Request| async { Response::new() };
            router
                .mount(prefix, Handler::Async(Arc::new(application)))
                .unwrap();
        }
        router
    }

    fn split(router: &Router, path: &str, script_name: &str) -> Option<(String, String)> {
        let mut environ = environ(path, script_name);
        router.route(&mut environ)?;
        let text =
            |name: &str| String::from_utf8(environ.get(name).unwrap_or_default().to_vec()).unwrap();
        Some((text("SCRIPT_NAME"), text("PATH_INFO")))
    }

    #[test]
    fn the_longest_prefix_at_a_slash_wins() {
        let router = router(&["/a/", "/a/b", "/apple/pie"]);
        let said = |path| split(&router, path, "").map(|(script, path)| format!("{script}|{path}"));
        assert_eq!(said("/a").as_deref(), Some("/a|"));
        assert_eq!(said("/a/").as_deref(), Some("/a|/"));
        assert_eq!(said("/a/bc").as_deref(), Some("/a|/bc"));
        assert_eq!(said("/a/b/c").as_deref(), Some("/a/b|/c"));
        assert_eq!(said("/apple"), None);
        assert_eq!(said("/"), None);
    }

    #[test]
    fn the_root_takes_the_rest_and_leaves_the_path_alone() {
        let router = router(&["/a", "/"]);
        assert_eq!(split(&router, "/b", ""), Some((String::new(), "/b".into())));
        assert_eq!(split(&router, "", ""), Some((String::new(), String::new())));
    }

    #[test]
    fn a_script_name_from_the_front_server_is_kept_in_front_once() {
        let router = router(&["/a"]);
        assert_eq!(
            split(&router, "/a/x", "/outer"),
            Some(("/outer/a".into(), "/x".into()))
        );
        assert_eq!(
            split(&router, "/a/x", "/a"),
            Some(("/a".into(), "/x".into()))
        );
    }

    #[test]
    fn lighttpd_may_send_the_path_as_script_name() {
        let mut environ = Environ::default();
        environ.set("SCRIPT_NAME", "/a/x");
        assert!(router(&["/a"]).route(&mut environ).is_some());
        assert_eq!(environ.text("SCRIPT_NAME"), Some("/a"));
        assert_eq!(environ.text("PATH_INFO"), Some("/x"));
    }

    #[test]
    fn a_route_says_which_prefix_it_took() {
        let router = router(&["/a", "/", "/longer/"]);
        let prefixes: Vec<_> = router.prefixes().collect();
        assert_eq!(prefixes, ["/longer", "/a", "/"]);
        for (number, path) in ["/longer/x", "/a", "/x"].into_iter().enumerate() {
            let mut environ = Environ::default();
            environ.set("PATH_INFO", path);
            assert_eq!(router.route(&mut environ).unwrap().0, number, "{path}");
        }
    }

    #[test]
    fn a_mount_needs_a_slash_and_a_free_place() {
        let mut router = router(&["/a"]);
        let handler = Handler::Async(Arc::new(|_: Request| async { Response::new() }));
        assert_eq!(
            router.mount("b", handler.clone()),
            Err(MountError::Relative { prefix: "b".into() })
        );
        assert_eq!(
            router.mount("/a/", handler),
            Err(MountError::Taken {
                prefix: "/a/".into()
            })
        );
    }
}
