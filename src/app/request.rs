//! A request as an application gets it.

use super::{Body, Environ, Upgrade};

/// The variables that came with a request, and its body.
#[derive(Debug, Default)]
pub struct Request {
    environ: Environ,
    body: Body,
}

impl Request {
    /// Makes a request of these variables and this body.
    #[must_use]
    pub fn new(environ: Environ, body: Body) -> Self {
        Self { environ, body }
    }

    /// Returns the variables.
    #[must_use]
    pub fn environ(&self) -> &Environ {
        &self.environ
    }

    /// Returns the variables, to be changed.
    pub fn environ_mut(&mut self) -> &mut Environ {
        &mut self.environ
    }

    /// Returns REQUEST_METHOD, or `GET` when there is none (bare test clients leave it out).
    #[must_use]
    pub fn method(&self) -> &str {
        self.environ.text("REQUEST_METHOD").unwrap_or("GET")
    }

    /// Returns PATH_INFO: the path below the mount, decoded and normalised by the front server. It may be empty.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.environ.get("PATH_INFO").unwrap_or_default()
    }

    /// Returns the body. Its length is known unless the client sent none.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Returns the body, to be read.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Returns the client's wish to go on in `protocol`, such as `websocket`, in the place of HTTP; `None` where it has
    /// no such wish. See [`Upgrade`].
    #[must_use]
    pub fn upgrade(&self, protocol: &str) -> Option<Upgrade> {
        Upgrade::of(&self.environ, protocol)
    }

    /// Splits the request into its variables and its body.
    #[must_use]
    pub fn into_parts(self) -> (Environ, Body) {
        (self.environ, self.body)
    }
}
