//! The same things once more, written to be obviously right and not to be quick: what the fuzz targets and the
//! property tests compare the library with. Only `agree` knows the library.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "every user needs a part of it, and the fuzz targets from another crate"
)]
#![allow(
    clippy::indexing_slicing,
    reason = "a model that panics is a failed test"
)]

pub mod agree;
pub mod decoder;
pub mod environ;
pub mod router;
