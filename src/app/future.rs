//! The type that futures of applications have.

use std::{future::Future, pin::Pin};

/// A boxed future that can move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
