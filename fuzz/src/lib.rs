//! What the fuzz targets share.
//!
//! - [`site`]: a server in this process, and clients of it.
//! - [`applications`]: what it serves to the target `connection`.
//! - [`reply`]: what an answer has to look like.
//! - [`naive`]: models to compare with, of the test tree.

pub mod applications;
#[path = "../../tests/naive/mod.rs"]
pub mod naive;
pub mod reply;
pub mod site;
