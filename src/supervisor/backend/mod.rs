//! What serves the applications: Python's in processes of their own, or spile's own in this one.

pub(super) mod native;
pub(super) mod python;
