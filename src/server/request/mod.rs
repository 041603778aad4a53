//! Requests before their application has them.
//!
//! # Layout
//! - `validate`: what the variables must not say.
//! - `refusal`: why a request gets no further; `reject`: tells the peer so.
//! - `body`: gathers a body, or streams it; `memory`: what bodies are gathered in.

pub(crate) mod body;
pub(crate) mod memory;
pub(crate) mod refusal;
pub(crate) mod reject;
pub(crate) mod validate;
