//! The interpreter's lock, around waits.

use pyo3::Python;
use spile::server::{Pause, Turns};

/// Lets other Python threads run while one waits.
pub(crate) struct Gil;

impl Pause for Gil {
    fn pause(&self, wait: &mut (dyn FnMut() + Send)) {
        Python::attach(|py| py.detach(wait));
    }

    fn turns(&self) -> Turns {
        Turns::InTurn
    }
}
