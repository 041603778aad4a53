//! Applications that come with spile.

#[cfg(feature = "files")]
mod complaints;
mod echo;
#[cfg(feature = "files")]
mod files;
mod hello;
#[cfg(feature = "files")]
mod range;

pub use echo::echo;
#[cfg(feature = "files")]
pub use files::StaticFiles;
pub use hello::hello;
