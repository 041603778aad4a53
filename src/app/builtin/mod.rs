//! Applications that come with spile.

mod echo;
#[cfg(feature = "files")]
mod files;
mod hello;

pub use echo::echo;
#[cfg(feature = "files")]
pub use files::StaticFiles;
pub use hello::hello;
